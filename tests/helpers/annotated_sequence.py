"""A small data set in DeepDeform's layout, drawn by the synthetic camera, with annotations from its truth."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from bodystream.geometry.camera import nearest_pixels, project
from bodystream.sources.synthetic.source import SyntheticConfig, SyntheticSource
from bodystream.types import Array, FrameTruth, RgbdFrame

__all__ = ["AnnotatedSet", "write_annotated_set"]


@dataclass(frozen=True)
class AnnotatedSet:
    """What was written.

    Attributes:
        root: of the data set; its one sequence is `val/seq001`. frames: all of them, with their truth.
        annotated: numbers of the frames with a mask; each later one is matched with the first.
    """

    root: Path
    frames: list[RgbdFrame]
    annotated: tuple[int, ...]

    @property
    def sequence(self) -> Path:
        return self.root / "val" / "seq001"

    def truth(self, number: int) -> FrameTruth:
        found = self.frames[number].truth
        assert found is not None
        return found


def write_annotated_set(
    root: Path, count: int = 24, annotated: tuple[int, ...] = (0, 12, 23), size: tuple[int, int] = (320, 240)
) -> AnnotatedSet:
    """Frames without noise before a wall, in millimetres; 150 matches per pair, on vertices that both frames show."""
    source = SyntheticSource(SyntheticConfig(seed=1, width=size[0], height=size[1], frames=count, noise="none"), "cpu")
    frames = [source.render(number, number * 33_333_333) for number in range(count)]
    sequence = root / "val" / "seq001"
    for folder in ("color", "depth", "mask"):
        (sequence / folder).mkdir(parents=True)
    for frame in frames:
        assert frame.colour is not None
        cv2.imwrite(str(sequence / "color" / f"{frame.index:06d}.jpg"), frame.colour[..., ::-1])
        depth = np.round(frame.depth_m * 1e3).astype(np.uint16)
        cv2.imwrite(str(sequence / "depth" / f"{frame.index:06d}.png"), depth)
    k = source.intrinsics
    rows = ((k.fx, 0, k.cx, 0), (0, k.fy, k.cy, 0), (0, 0, 1, 0), (0, 0, 0, 1))
    (sequence / "intrinsics.txt").write_text("\n".join(" ".join(map(str, row)) for row in rows))
    out = AnnotatedSet(root, frames, annotated)
    for number in annotated:
        mask = out.truth(number).mask.astype(np.uint16)
        cv2.imwrite(str(sequence / "mask" / f"{number:06d}.png"), mask)
    pairs = [_pair(frames[annotated[0]], frames[number]) for number in annotated[1:]]
    masks = [{"seq_id": "seq001", "frame_id": f"{number:06d}", "mask": "ignored"} for number in annotated]
    (root / "val_matches.json").write_text(json.dumps(pairs))
    (root / "val_masks.json").write_text(json.dumps(masks))
    return out


def _pair(source: RgbdFrame, target: RgbdFrame) -> dict:
    shown = _shown(source) & _shown(target)
    chosen = np.random.default_rng(0).choice(np.flatnonzero(shown), 150, replace=False)
    assert source.truth is not None and target.truth is not None
    a, b = (
        project(t.mesh.vertices[chosen].astype(np.float64), source.intrinsics) for t in (source.truth, target.truth)
    )
    matches = [
        {"source_x": float(p[0]), "source_y": float(p[1]), "target_x": float(q[0]), "target_y": float(q[1])}
        for p, q in zip(a, b, strict=True)
    ]
    return {
        "seq_id": "seq001", "object_id": "body", "source_id": f"{source.index:06d}",
        "target_id": f"{target.index:06d}", "source_color": "ignored", "matches": matches,
    }  # fmt: skip


def _shown(frame: RgbdFrame) -> Array:
    """(V,) bool: vertices that the camera sees."""
    assert frame.truth is not None
    vertices = frame.truth.mesh.vertices
    at, inside = nearest_pixels(project(vertices, frame.intrinsics), frame.intrinsics)
    return inside & (np.abs(frame.truth.depth_m[at[:, 1], at[:, 0]] - vertices[:, 2]) < 0.005)
