"""`bodystream-train eval avatar`: a trained avatar beside its ablations and baselines, on motions it has not seen."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from bodystream.cli.options import optional
from bodystream.errors import InputError

if TYPE_CHECKING:
    from bodystream.avatar.take.frames import AvatarTake, TakeTruth
    from bodystream.types import Array
    from bodystream_training.avatar.baselines import SkinnedScan
    from bodystream_training.avatar.model import Ins

__all__ = ["EvaluateAvatar"]

_PLACED_BY = 8
"""Frames that say where in the canonical space a vertex is: the median of what each gives."""


@dataclass(frozen=True, kw_only=True)
class EvaluateAvatar:
    """Compare the networks of a run with each other and with skinned scans, on the frames of a split.

    Rows: every network that the run's folder holds (the paper's, its ablations, forward skinning alone), and, where the
    take has skinning weights of a fitted body, its scans carried by them: avg-lbs, the average of all, and first-lbs.
    Columns: intersection over union of points near the surface and in the box around it, and, where the take knows
    which vertex is which, how far each vertex of the surface is from where the avatar puts it.
    Examples:
      bodystream-train eval avatar runs/me
      bodystream-train eval avatar runs/me --split train --json
    """

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="run", metavar="RUN")] = Path("runs/avatar")
    """Folder of the training run."""

    data: Annotated[str | None, optional("TAKE")] = None
    """The take, as `bodystream-train avatar` takes it; default: the one that it was trained on."""

    split: Literal["test", "train"] = "test"
    """Which motions: those that were not trained on, or those that were."""

    points: int = 20_000
    """Points of either kind about each frame."""

    frames: Annotated[int | None, optional("N")] = None
    """At most so many frames, evenly over the split; default: all."""

    threads: Annotated[int | None, optional("N")] = None
    """Processor threads; default: all."""

    json: bool = False
    """Print one JSON object."""

    def run(self) -> int:
        import torch
        from rich.console import Console
        from rich.table import Table

        from bodystream.avatar.take.files import load_truth
        from bodystream.device.quiet import quiet_warp
        from bodystream.evaluation.progress import counted_progress
        from bodystream_training.avatar.data.open_take import open_take, take_of_run
        from bodystream_training.avatar.data.sampling import SamplingConfig
        from bodystream_training.avatar.examples import frames_of
        from bodystream_training.avatar.judge import network_occupancy, overlap, scan_occupancy
        from bodystream_training.avatar.networks import load_network, trained

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        notes = Console(stderr=True, highlight=False)
        names = trained(self.run_folder)
        networks = {name: load_network(self.run_folder / f"{name}.safetensors") for name in names}
        data = take_of_run(self.data, networks[names[0]][1], self.run_folder)
        with quiet_warp():
            take = open_take(data)
            known = (Path(data) / "truth.npz").is_file()
            truth = load_truth(Path(data)) if known else None
            sampling = SamplingConfig(self.points, self.points, seed=1)
            count = len(take.split(self.split))
            wanted = count if self.frames is None else min(self.frames, count)
            with counted_progress("points about each frame", wanted, notes) as advance:
                done = iter(range(1, wanted + 1))
                posed = frames_of(
                    take, self.split, sampling, self.run_folder / "points", most=self.frames,
                    on_frame=lambda: advance(next(done), ""),
                )  # fmt: skip
            rows: dict[str, dict[str, Any]] = {}
            for name, (model, facts) in networks.items():
                began_s = time.monotonic()
                score = overlap(network_occupancy(model), posed, self.points)
                rows[name] = {"iou_surface": score.iou_surface, "iou_bbox": score.iou_bbox}
                rows[name] |= {"steps": facts["step"], "training_s": facts["seconds"]}
                if truth is not None and not model.config.posed_occupancy:
                    rows[name]["correspondence_error_mm"] = self._followed(take, truth, _reposed(model, take, truth))
                notes.print(f"{name}: judged in {time.monotonic() - began_s:.0f} s", markup=False, soft_wrap=True)
            for name, scan in _scans(take).items():
                score = overlap(scan_occupancy(scan), posed, self.points)
                rows[name] = {"iou_surface": score.iou_surface, "iou_bbox": score.iou_bbox}
                if truth is not None:
                    outer = _outer(truth)
                    rows[name]["correspondence_error_mm"] = self._followed(
                        take, truth, lambda bones, scan=scan, outer=outer: scan.posed(bones)[outer]
                    )
        if self.json:
            print(json.dumps({"split": self.split, "frames": len(posed), "model": rows[names[0]], "rows": rows}))
            return 0
        table = Table(title=f"{take.subject}, {take.outfit}: {len(posed)} frames of the split {self.split}")
        table.add_column("avatar")
        for column in ("IoU surface [%]", "IoU box [%]", "vertices off by [mm]", "steps"):
            table.add_column(column, justify="right")
        for name, row in rows.items():
            error = row.get("correspondence_error_mm")
            table.add_row(
                name, f"{100 * row['iou_surface']:.2f}", f"{100 * row['iou_bbox']:.2f}",
                "" if error is None else f"{error:.2f}", str(row.get("steps", "")),
            )  # fmt: skip
        Console().print(table)
        return 0

    def _followed(self, take: AvatarTake, truth: TakeTruth, pose: Callable[[Array], Array]) -> float:
        from bodystream_training.avatar.judge import correspondence_errors_mm

        return float(correspondence_errors_mm(pose, take.split(self.split), _outer(truth)).mean())


def _outer(truth: TakeTruth) -> Array:
    """(N,) indices of the vertices that are seen."""
    import numpy as np

    return np.flatnonzero(truth.outer)


def _reposed(model: Ins, take: AvatarTake, truth: TakeTruth) -> Callable[[Array], Array]:
    """Carries the vertices from where frames that were trained on say they are, as AVG-LBS does with its weights."""
    import numpy as np
    import torch

    from bodystream.avatar.heading import bones_in_heading
    from bodystream_training.avatar.judge import canonical_places

    frames = take.split("train")
    chosen = [frames[i] for i in np.linspace(0, len(frames) - 1, min(_PLACED_BY, len(frames))).round().astype(int)]
    found = []
    for frame in chosen:
        bones, heading = bones_in_heading(frame.posed_from_canonical.astype(np.float64))
        back = np.linalg.inv(heading)
        places = frame.vertices[_outer(truth)] @ back[:3, :3].T + back[:3, 3]
        found.append(canonical_places(model, places, bones.astype(np.float32)))
    every = np.stack(found)
    known = np.isfinite(every).any(axis=(0, 2))
    canonical = np.full(every.shape[1:], np.nan, np.float32)
    canonical[known] = np.nanmedian(every[:, known], axis=0)

    @torch.no_grad()
    def pose(bones: Array) -> Array:
        return model.repose(torch.from_numpy(canonical), torch.from_numpy(bones)).numpy()

    return pose


def _scans(take: AvatarTake) -> dict[str, SkinnedScan]:
    """AVG-LBS and FIRST-LBS, where the take has what they need."""
    from bodystream_training.avatar.baselines import average_scan, first_scan

    try:
        return {"avg-lbs": average_scan(take), "first-lbs": first_scan(take)}
    except InputError:
        return {}
