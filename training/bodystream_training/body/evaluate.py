"""`bodystream-train eval body`: an embedding beside what it is compared with, on bodies it has not seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from bodystream.cli.options import optional

if TYPE_CHECKING:
    from torch import Tensor

    from bodystream.types import Array
    from bodystream_training.body.data.features import BodyFeatures
    from bodystream_training.body.model import BodyNetwork, MeshVae
    from bodystream_training.body.pca import PcaBody

__all__ = ["EvaluateBody", "med_mm", "roundtrip_max_mm"]


@dataclass(frozen=True, kw_only=True)
class EvaluateBody:
    """Compare the networks of a run with each other and with principal components, on its test bodies.

    For each test mesh the code is sought whose mesh is nearest (eq. 15), by the decoder alone. Told is the mean
    distance of vertices from where they are, of neutral and of posed bodies, and how far a mesh is at most off after
    being made features and mesh again. Of networks with two codes, the encoder says how much of the shape code changes
    with the pose, and where the bodies were generated, how far a transferred pose is off.
    Examples:
      bodystream-train eval body --data generated --motion bvh:mocap/cmu --run runs/body
      bodystream-train eval body --data meshes:bodies --run runs/mine --json
    """

    data: str
    """The bodies that it was trained on, as `bodystream-train body` takes them."""

    motion: Annotated[str | None, optional("SPEC")] = None
    """Motion files, as they were trained on."""

    run_folder: Annotated[Path, tyro.conf.arg(name="run")] = Path("runs/body")
    """Folder of the training run."""

    neutral: int = 3183
    """Generated identities, as they were trained on."""

    posed: int = 2411
    """Generated bodies in poses, as they were trained on."""

    seed: int = 0
    """As it was trained with."""

    bodies: Annotated[int | None, optional("N")] = None
    """At most so many test bodies of each kind, evenly chosen; default: all."""

    iterations: int = 20
    """Steps of each fit, at most; it ends where they gain less than 0.3 %."""

    components_of: int = 1500
    """At most so many bodies make the principal components."""

    threads: Annotated[int | None, optional("N")] = None
    """Processor threads; default: all."""

    json: bool = False
    """Print one JSON object."""

    def run(self) -> int:
        import torch
        from rich.console import Console
        from rich.table import Table

        from bodystream.evaluation.progress import counted_progress
        from bodystream_training.body.data.features import cached_features
        from bodystream_training.body.data.open import open_bodies
        from bodystream_training.body.model import BodyNetwork
        from bodystream_training.body.pca import fit_pca
        from bodystream_training.body.tasks import load_network, trained

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        notes = Console(stderr=True, highlight=False)
        names = trained(self.run_folder)
        bodies = open_bodies(self.data, self.motion, self.neutral, self.posed, self.seed)
        with counted_progress("features", len(bodies.items), notes) as advance:
            features = cached_features(bodies, self.run_folder / "features", advance)
        loaded = {name: load_network(self.run_folder / f"{name}.safetensors") for name in names}
        models: dict[str, BodyNetwork | MeshVae | PcaBody] = {name: model for name, (model, _) in loaded.items()}
        size = loaded[names[0]][0].config.code
        with counted_progress("principal components", self.components_of, notes) as advance:
            models["pca"] = fit_pca(features, size, self.components_of, lambda done: advance(done, ""))
        rows: dict[str, dict[str, Any]] = {}
        for name, model in models.items():
            row = {}
            for kind, numbers in (("neutral", features.test_neutral), ("pose", features.test_posed)):
                with counted_progress(f"{name}, {kind}", len(_some(numbers, self.bodies)), notes) as advance:
                    row[f"med_{kind}_mm"] = med_mm(
                        model, features, _some(numbers, self.bodies), self.iterations,
                        lambda done, advance=advance: advance(done, ""),
                    )  # fmt: skip
            if isinstance(model, BodyNetwork):
                with counted_progress(f"{name}, transfer", 1, notes) as advance:
                    row |= _apart(model, features, bodies.posed_as, self.bodies)
                    advance(1, "")
            if name in loaded:
                row |= {"steps": loaded[name][1]["step"], "training_s": loaded[name][1]["seconds"]}
            rows[name] = row
        chosen = [*_some(features.test_neutral, self.bodies), *_some(features.test_posed, self.bodies)]
        back = roundtrip_max_mm(bodies.vertices, features, [int(n) for n in chosen])
        if self.json:
            figures = {key: rows[names[0]][key] for key in ("med_neutral_mm", "med_pose_mm")}
            print(json.dumps({**figures, "roundtrip_max_mm": back, "rows": rows}))
            return 0
        table = Table(title=f"{len(chosen)} test bodies; there and back {back:.4f} mm at most")
        columns = {
            "neutral [mm]": "med_neutral_mm", "pose [mm]": "med_pose_mm", "transfer [mm]": "transfer_mm",
            "shape with pose": "shape_variance_share",
        }  # fmt: skip
        for column in ("network", *columns, "steps"):
            table.add_column(column, justify="left" if column == "network" else "right")
        for name, row in rows.items():
            figures = (f"{row[key]:.2f}" if row.get(key) is not None else "" for key in columns.values())
            table.add_row(name, *figures, str(row.get("steps", "")))
        Console().print(table)
        return 0


def _some(numbers: Array, most: int | None) -> Array:
    import numpy as np

    count = len(numbers) if most is None else min(most, len(numbers))
    return numbers[np.linspace(0, len(numbers) - 1, count).round().astype(int)] if count else numbers[:0]


def _apart(
    model: BodyNetwork, features: BodyFeatures, truth: Callable[[int, int], Array | None], pairs: int | None
) -> dict[str, float | None]:
    from bodystream_training.body.disentangling import shape_variance_share, transfer_mm

    found = transfer_mm(model, features, truth, len(features.test_posed) if pairs is None else pairs)
    return {
        "shape_variance_share": shape_variance_share(model, features),
        "transfer_mm": found.transferred_mm if found else None,
        "transfer_other_mm": found.other_mm if found else None,
    }


def med_mm(
    model: BodyNetwork | MeshVae | PcaBody,
    features: BodyFeatures,
    numbers: Array,
    iterations: int,
    on_body: Callable[[int], None] = lambda _: None,
) -> float | None:
    """Mean Euclidean distance of the vertices of test bodies from those of the fitted codes [mm]; None without any.

    Args:
        numbers: of items. iterations: of each fit.
    """
    import torch

    from bodystream_training.body.fit import fit_codes
    from bodystream_training.body.surface import AcapSurface

    surface = AcapSurface(features.space)
    low, high = torch.from_numpy(features.scale.low), torch.from_numpy(features.scale.high)

    def decode(code: Tensor) -> Tensor:
        return (model.decode_code(code.float()).double() + 0.95) * ((high - low) / 1.9) + low

    found = []
    for done, number in enumerate(numbers.tolist(), 1):
        wanted = torch.from_numpy(features.vertices(number))
        with torch.no_grad():
            start = model.mean_code(features.fine(number)[None])[0]
        _, vertices = fit_codes(decode, surface, wanted, start, iterations)
        found.append(float((vertices - wanted).norm(dim=1).mean()))
        on_body(done)
    return 1e3 * sum(found) / len(found) if found else None


def roundtrip_max_mm(vertices: Callable[[int], Array], features: BodyFeatures, numbers: list[int]) -> float:
    """The largest distance of a vertex of any of these meshes from where its features, as kept, put it [mm].

    Args:
        vertices: gives the mesh of an item.
    """
    import numpy as np

    worst = 0.0
    for number in numbers:
        off = features.vertices(number) - vertices(number)
        worst = max(worst, float(np.linalg.norm(off - off.mean(axis=0), axis=1).max()))
    return 1e3 * worst
