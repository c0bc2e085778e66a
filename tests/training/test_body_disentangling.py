"""How far shape and pose are kept apart, by networks that keep them apart wholly or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.bar_people import bar_people
from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")

from bodystream_training.body.data.features import BodyFeatures, cached_features  # noqa: E402
from bodystream_training.body.data.folder import MeshFolder  # noqa: E402
from bodystream_training.body.disentangling import shape_variance_share, transfer_mm  # noqa: E402
from bodystream_training.body.model import BodyNetwork, BodyNetworkConfig, Codes, Decoded  # noqa: E402


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> BodyFeatures:
    folder = bar_people(tmp_path_factory.mktemp("people") / "bars", people=6, poses=3)
    return cached_features(MeshFolder(folder, test_share=0.5), tmp_path_factory.mktemp("features"))


class Oracle(BodyNetwork):
    """Knows each item: the first number of the shape code is its identity's, or its own; that of the pose code is its
    own. Its decoder makes the mesh of a table."""

    def __init__(self, features: BodyFeatures, share: float, table: dict[tuple[int, int], Any] | None = None) -> None:
        super().__init__(BodyNetworkConfig(features.space.count, features.parts.count, hidden=4, wide=8))
        for scale, found in ((self.scale, features.scale), (self.coarse_scale, features.coarse_scale)):
            scale.low.copy_(torch.from_numpy(found.low))
            scale.high.copy_(torch.from_numpy(found.high))
        self._features, self._share, self._table = features, share, table or {}

    def encode(self, f: torch.Tensor) -> Codes:
        known = torch.stack([self._features[n][0] for n in range(len(self._features))])
        number = int((known - f).abs().flatten(1).mean(dim=1).argmin())
        e_s, e_p = torch.zeros(1, 50), torch.zeros(1, 72)
        e_s[0, 0] = self._features.items[number].neutral + self._share * (number % 3)
        e_p[0, 0] = number
        return Codes(e_s, e_s, e_p, e_p)

    def decode(self, e_s: torch.Tensor, e_p: torch.Tensor) -> Decoded:
        features = self._table[(round(float(e_s[0, 0])), int(e_p[0, 0]))]
        return Decoded(self.scale.scaled(torch.from_numpy(features).float()[None]), None)


def test_a_shape_code_that_is_the_identitys_does_not_vary(features: BodyFeatures) -> None:
    assert shape_variance_share(Oracle(features, 0.0), features) == 0.0
    share = shape_variance_share(Oracle(features, 2.0), features)
    by_identity: dict[str, list[float]] = {}
    for number in features.test_posed.tolist():
        item = features.items[number]
        by_identity.setdefault(item.identity, []).append(item.neutral + 2.0 * (number % 3))
    within = np.mean([np.var(row, ddof=1) for row in by_identity.values()])
    assert share == pytest.approx(within / np.var([np.mean(row) for row in by_identity.values()], ddof=1))


def test_a_transfer_is_judged_by_the_truth(features: BodyFeatures) -> None:
    space, items = features.space, features.items
    truths, table = {}, {}
    for who in features.test_posed.tolist():
        for pose in features.test_posed.tolist():
            # Anything that is another mesh of each pair: the one between both.
            truths[who, pose] = 0.5 * (features.vertices(who) + features.vertices(pose))
            table[items[who].neutral, pose] = features.unscaled(pose)
    right = {(items[w].neutral, p): space.features(v) for (w, p), v in truths.items()}
    one_each = {(w, p): space.vertices(right[items[w].neutral, p]) for w, p in truths}
    perfect = transfer_mm(Oracle(features, 0.0, right), features, lambda w, p: one_each[w, p], 4)
    assert perfect is not None and perfect.pairs == 4
    assert perfect.transferred_mm < 0.01 < 1.0 < perfect.other_mm
    other = transfer_mm(Oracle(features, 0.0, table), features, lambda w, p: truths[w, p], 4)
    assert other is not None and other.transferred_mm == pytest.approx(other.other_mm, abs=0.01)


def test_where_nobody_knows_the_truth_there_is_no_figure(features: BodyFeatures, tmp_path: Path) -> None:
    folder = MeshFolder(bar_people(tmp_path / "bars"))
    assert transfer_mm(Oracle(features, 0.0), features, folder.posed_as, 3) is None
