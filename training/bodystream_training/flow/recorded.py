"""Pairs of a data set in DeepDeform's layout, cropped to the subject and brought to one size."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import torch

from bodystream.errors import InputError
from bodystream.evaluation.deepdeform_labels import PairPlace, find_pairs
from bodystream.sources.layouts.masks import read_mask
from bodystream.sources.layouts.pair import DeepDeformPair, load_pair
from bodystream.types import Array, CameraIntrinsics
from bodystream_training.flow.sample import FlowSample
from bodystream_training.synthetic.scenes import framed

__all__ = ["DeepDeformPairs", "cropped_pair"]

_SAME_SURFACE_M = 0.04  # how far the target's depth may be from where a visible point went


class DeepDeformPairs:
    """The pairs with dense flow of one split, or of one sequence folder; crops are drawn anew each time.

    Args:
        path: a data set with `<split>_dense.json`, or the folder of a take.
        size: (width, height) of the crops [px].
        split: of a data set, None for its only one, else `val`.

    Raises:
        InputError: no such folder, split or labels.
    """

    def __init__(self, path: Path, size: tuple[int, int], split: str | None = None) -> None:
        self.size = size
        self._places = find_pairs(path, split)
        labels = [place.label for place in self._places]
        self.digest = hashlib.sha256(json.dumps([labels, size]).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self._places)

    def sample(self, index: int, generator: torch.Generator) -> FlowSample:
        """Pair `index`, in a crop drawn from `generator`.

        Raises:
            IndexError: there is no such pair.
            InputError: its files are absent, damaged or do not go together, or its mask is empty.
        """
        if not 0 <= index < len(self._places):
            raise IndexError(f"pair {index} of {len(self._places)}")
        place = self._places[index]
        seed = int(torch.randint(1 << 62, (1,), generator=generator))
        pair = load_pair(place.folder, place.name)
        return cropped_pair(pair, _target_mask(place, pair), self.size, np.random.default_rng(seed))


def cropped_pair(
    pair: DeepDeformPair, target_mask: Array | None, size: tuple[int, int], rng: np.random.Generator
) -> FlowSample:
    """A crop of a recorded pair that shows its subject.

    Where a point is seen in the target is not recorded: it counts as seen where the target's depth is what its scene
    flow says, or is not measured.

    Args:
        target_mask: (H, W) bool, the subject in the target; None: where the flow leads.

    Raises:
        InputError: no flow, no colour, or nothing in the mask.
    """
    if pair.flow_px is None or pair.scene_flow_m is None:
        raise InputError(f"pair {pair.name} has no optical_flow/*.oflow and scene_flow/*.sflow to learn from")
    if pair.source.colour is None or pair.target.colour is None:
        raise InputError(f"pair {pair.name} has no colour images; color/NNNNNN.jpg of both frames are needed")
    if pair.target.depth_m.shape != pair.source.depth_m.shape:
        raise InputError(
            f"pair {pair.name}: the frames have sizes {pair.source.depth_m.shape} and {pair.target.depth_m.shape}"
        )
    source_m, target_m = pair.source.depth_m, pair.target.depth_m
    known = np.asarray(np.isfinite(pair.flow_px).all(axis=2))
    mask = known if pair.source.mask is None else pair.source.mask
    if not (mask & known).any():
        raise InputError(f"pair {pair.name}: its mask has no pixel whose flow is known")
    visible = _seen(pair.flow_px, pair.scene_flow_m, source_m, target_m)
    if target_mask is None:
        target_mask = _landed(pair.flow_px, mask & visible)
    c = pair.source.intrinsics
    v, u = np.nonzero(mask & known)
    ends = np.stack([u, v], -1) + pair.flow_px[v, u]
    places = np.concatenate([np.stack([u, v], -1), ends])
    camera, _ = framed(rng, (places - (c.cx, c.cy)) / (c.fx, c.fy), size, 0.5 * (c.fx + c.fy))
    crop = _Crop(c, camera)
    return FlowSample(
        source_rgb=crop.smooth(pair.source.colour),
        target_rgb=crop.smooth(pair.target.colour),
        source_depth_m=crop.nearest(source_m, 0.0),
        target_depth_m=crop.nearest(target_m, 0.0),
        intrinsics=camera,
        mask=crop.inside(mask),
        target_mask=crop.inside(target_mask),
        flow_px=(crop.nearest(pair.flow_px, np.nan) * crop.scale).astype(np.float32),
        scene_flow_m=crop.nearest(pair.scene_flow_m, np.nan),
        visible=crop.inside(visible) & crop.lands_inside(pair.flow_px),
    )


class _Crop:
    """Images of one camera as another camera at the same place sees them."""

    def __init__(self, camera: CameraIntrinsics, crop: CameraIntrinsics) -> None:
        self._size = crop.width, crop.height
        self.scale = np.array([crop.fx / camera.fx, crop.fy / camera.fy])
        u = (np.arange(crop.width) - crop.cx) / crop.fx * camera.fx + camera.cx
        v = (np.arange(crop.height) - crop.cy) / crop.fy * camera.fy + camera.cy
        self._u, self._v = (grid.astype(np.float32) for grid in np.meshgrid(u, v))
        self._sigma_px = 0.45 * np.sqrt(np.maximum(1.0 / self.scale**2 - 1.0, 0.0))

    def smooth(self, image: Array) -> Array:
        """Colours; where the crop is smaller than the image, averaged."""
        if self._sigma_px.min() > 0.1:
            image = cv2.GaussianBlur(image, (0, 0), float(self._sigma_px[0]), sigmaY=float(self._sigma_px[1]))
        return cv2.remap(image, self._u, self._v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)

    def nearest(self, values: Array, outside: float) -> Array:
        """Of each pixel, the value of the nearest one."""
        return cv2.remap(
            values, self._u, self._v, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=[outside] * 4
        )

    def inside(self, chosen: Array) -> Array:
        """Of each pixel, whether the nearest one is chosen."""
        return self.nearest(chosen.astype(np.uint8), 0) > 0

    def lands_inside(self, flow_px: Array) -> Array:
        """(h, w) whether the flow of each of the crop's pixels ends within the crop."""
        flow = self.nearest(flow_px, np.nan) * self.scale
        v, u = np.mgrid[: self._size[1], : self._size[0]]
        with np.errstate(invalid="ignore"):
            x, y = np.round(u + flow[..., 0]), np.round(v + flow[..., 1])
            return (x >= 0) & (y >= 0) & (x < self._size[0]) & (y < self._size[1])


def _target_mask(place: PairPlace, pair: DeepDeformPair) -> Array | None:
    label, _, target = pair.name.rsplit("_", 2)
    path = place.folder / "mask" / f"{target}_{label}.png"
    mask = read_mask(path) if path.is_file() else pair.target.mask
    if mask is not None and mask.shape != pair.target.depth_m.shape:
        raise InputError(f"{path} has shape {mask.shape}, but the frame has {pair.target.depth_m.shape}")
    return mask


def _ends(flow_px: Array) -> tuple[Array, Array, Array]:
    """Rows and columns (H, W) of the pixels where flow ends, 0 where it ends outside, and where it ends inside."""
    height, width = flow_px.shape[:2]
    v, u = np.mgrid[:height, :width]
    with np.errstate(invalid="ignore"):
        x, y = np.round(u + flow_px[..., 0]), np.round(v + flow_px[..., 1])
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    return np.where(inside, y, 0).astype(np.intp), np.where(inside, x, 0).astype(np.intp), inside


def _seen(flow_px: Array, scene_flow_m: Array, source_m: Array, target_m: Array) -> Array:
    rows, columns, inside = _ends(flow_px)
    there = target_m[rows, columns]
    with np.errstate(invalid="ignore"):
        same = np.abs(there - source_m - scene_flow_m[..., 2]) < _SAME_SURFACE_M
    return inside & ((there == 0) | same | ~np.isfinite(scene_flow_m).all(axis=2) | (source_m == 0))


def _landed(flow_px: Array, chosen: Array) -> Array:
    """(H, W) bool: where the flow of the chosen pixels leads, its gaps closed."""
    rows, columns, inside = _ends(flow_px)
    out = np.zeros(chosen.shape, np.uint8)
    out[rows[inside & chosen], columns[inside & chosen]] = 1
    return cv2.morphologyEx(out, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8)) > 0
