"""How far an avatar's bundle is from the network that it was made of."""

from __future__ import annotations

import numpy as np
import warp as wp

from bodystream.avatar.clothed.avatar import ClothedModel
from bodystream.avatar.clothed.body import REPOSE_GRAPH, TABLES_GRAPH, graph_signatures
from bodystream.avatar.clothed.exact import ExactPoser
from bodystream.avatar.clothed.tables import TablePoser
from bodystream.bundles import Bundle
from bodystream.engines import open_engine
from bodystream_export.avatar.convert import Prepared
from bodystream_export.parity import Difference

__all__ = ["avatar_differences"]

_NETWORK_MM = 0.05


def avatar_differences(bundle: Bundle, prepared: Prepared, mean_mm: float, max_mm: float) -> list[Difference]:
    """Of poses that neither grids nor weights were made from.

    Args:
        mean_mm, max_mm: what tables may be off.
    """
    device = wp.get_device("cpu")
    model = ClothedModel(bundle)
    wanted = graph_signatures(model.body.section, len(model.body.vertices))
    engines = {file: open_engine(bundle, file, provider="cpu", wanted=wanted[file]) for file in wanted}
    tables = TablePoser(model.body, engines[TABLES_GRAPH], device)
    exact = ExactPoser(model.body, engines[REPOSE_GRAPH], device)
    here, from_network, from_tables = np.eye(4), [], []
    for bones, truth in zip(prepared.held, prepared.truth, strict=True):
        pose = bones.numpy().astype(np.float64)
        exact.pose(pose, here)
        tables.pose(pose, here)
        from_network.append(np.linalg.norm(exact.vertices.download() - truth, axis=1))
        from_tables.append(np.linalg.norm(tables.vertices.download() - truth, axis=1))
    network, table = 1e3 * np.concatenate(from_network), 1e3 * np.concatenate(from_tables)
    return [
        Difference("network_error_max_mm", float(network.max()), "vertices by the exported network", _NETWORK_MM),
        Difference("table_error_mean_mm", float(table.mean()), "vertices by tables, on average", mean_mm),
        Difference("table_error_max_mm", float(table.max()), "vertices by tables, at most", max_mm),
    ]
