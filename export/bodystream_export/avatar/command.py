"""`bodystream-export avatar`: from a training run to an avatar that is posed without PyTorch."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

__all__ = ["ExportAvatar"]

_RUNS = 50
_MEAN_MM, _MAX_MM = 0.08, 0.4
_LEAST_M, _MOST_M = 0.004, 0.1


@dataclass(frozen=True, kw_only=True)
class ExportAvatar:
    """Write a trained avatar as a bundle: its surface, extracted once, with the colours of the scans, and its networks.

    Tables of what the networks do in a pose, which pose it many times as fast, are made as coarse as an error of
    0.08 mm on average and 0.4 mm at most allows on poses of the take; the manifest says what it is. Where the finest
    are further off, the avatar is posed by its network. Examples:
      bodystream-export avatar --checkpoint runs/me --out avatars/me
      bodystream drive --headset openxr --avatar avatars/me
    """

    checkpoint: Path
    """Folder of the training run."""

    data: Annotated[str | None, tyro.conf.arg(metavar="TAKE", help_behavior_hint="")] = None
    """The take, whose colours and poses it gets; default: the one that it was trained on."""

    out: Path = Path("avatars/me")
    """Folder of the bundle; its last part is the bundle's name."""

    zip: bool = False
    """Write one zip file instead of a folder; `.zip` is added to the name where it is missing."""

    spacing_m: Annotated[float, tyro.conf.arg(metavar="METRES")] = 0.012
    """Between the surface's vertices, about."""

    bundle_version: int = 1
    """Grows with every change of the bundle."""

    metrics: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """JSON of `bodystream-train eval avatar --json`, whose figures of the network go into the manifest."""

    credit: Annotated[str, tyro.conf.arg(metavar="TEXT", help_behavior_hint="")] = ""
    """What the terms of the take's data ask to be said of it; the manifest then says it."""

    json: bool = False
    """Print one JSON object at the end: folder, bytes, vertices, what poses it, and how far tables are from the
    network."""

    def run(self) -> int:
        from functools import partial

        from rich.console import Console

        from bodystream.avatar.clothed.body import PosedBy
        from bodystream.device.quiet import quiet_warp
        from bodystream.errors import ConfigurationError
        from bodystream_export.avatar.convert import FINENESSES, prepare, write_avatar
        from bodystream_export.avatar.errors import avatar_differences
        from bodystream_export.avatar.known_poses import write_known_poses
        from bodystream_export.bundle import evaluated_figures, write_metrics
        from bodystream_export.measure import measure_and_put
        from bodystream_export.parity import parity_table, refuse_too_far
        from bodystream_export.place import Place
        from bodystream_training.avatar.data.open_take import open_take, take_of_run
        from bodystream_training.avatar.networks import load_network

        if not _LEAST_M <= self.spacing_m <= _MOST_M:
            raise ConfigurationError(f"--spacing-m must be {_LEAST_M} to {_MOST_M} metres, got {self.spacing_m}")
        evaluated = evaluated_figures(self.metrics)
        place = Place.of(self.out, self.zip)
        console = Console(stderr=True, highlight=False)
        with quiet_warp(), tempfile.TemporaryDirectory() as made:
            console.print("[1/4] reading the network and the take", markup=False, soft_wrap=True)
            model, facts = load_network(self.checkpoint / "ins.safetensors")
            take = open_take(take_of_run(self.data, facts, self.checkpoint))
            console.print("[2/4] extracting the surface", markup=False, soft_wrap=True)
            prepared = prepare(model, take, self.spacing_m)
            console.print("[3/4] making graphs, and tables as fine as they have to be", markup=False, soft_wrap=True)
            folder = Path(made) / place.name
            folder.mkdir()
            write_known_poses(take, folder)
            provenance = _provenance(facts, take.subject, take.outfit, take.origin, self.credit)
            write = partial(
                write_avatar, prepared, folder=folder, name=place.name, version=self.bundle_version,
                provenance=provenance,
            )  # fmt: skip
            for fineness in FINENESSES:
                bundle = write(fineness)
                network, *tables = differences = avatar_differences(bundle, prepared, _MEAN_MM, _MAX_MM)
                told = ", ".join(f"{found.name} {found.value:.3f}" for found in tables)
                console.print(
                    f"      {fineness.controls} vertices look up tables: {told}", markup=False, soft_wrap=True
                )
                if network.too_far or not any(found.too_far for found in tables):
                    break
            console.print(parity_table(differences, len(prepared.held)))
            refuse_too_far([network], "export again with the same versions of PyTorch and bodystream that trained it")
            posed_by: PosedBy = "network" if any(found.too_far for found in tables) else "tables"
            if posed_by == "network":
                bundle = write(fineness, posed_by=posed_by)
                console.print(
                    "note: the finest tables are too far from the network, so this avatar is posed by the network, "
                    "which takes many times as long: for one that is posed live, train with a lower --omega, longer, "
                    "or on more poses",
                    markup=False,
                    soft_wrap=True,
                )  # fmt: skip
            figures = {found.name: round(found.value, 5) for found in differences}
            write_metrics(folder, figures | evaluated | {"vertices": float(len(prepared.vertices))})
            console.print("[4/4] measuring the providers of this machine", markup=False, soft_wrap=True)
            size = measure_and_put(bundle, folder, place, _RUNS, console, f", {len(prepared.vertices)} vertices")
        console.print(f"drive it: bodystream drive --headset ... --avatar {place.path}", markup=False, soft_wrap=True)
        if self.json:
            facts = {"out": str(place.path), "bytes": size, "vertices": len(prepared.vertices)}
            print(json.dumps(facts | {"posed_by": posed_by} | figures))
        return 0


def _provenance(facts: dict[str, object], subject: str, outfit: str, origin: str, credit: str) -> dict[str, object]:
    kept = ("config", "network", "step", "hurry", "seconds")
    return {
        "method": "Invertible Neural Skinning (Kant et al., CVPR 2023)",
        "recipe": {name: facts[name] for name in kept if name in facts},
        "take": {"subject": subject, "outfit": outfit, "origin": origin} | ({"credit": credit} if credit else {}),
    }
