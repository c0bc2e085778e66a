"""Automatic separation of the person or object from floor, walls and everything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from bodystream.errors import ConfigurationError, InputError
from bodystream.foreground.components import Component, cut_at_jumps, label_components, linked
from bodystream.foreground.outline import OutlineRefiner
from bodystream.foreground.planes import BackgroundPlanes, Plane
from bodystream.types import Array, CameraIntrinsics, Foreground, RgbdFrame, Status

__all__ = ["ForegroundConfig", "ForegroundSegmenter"]

_COARSE_WIDTH = 240  # labelling runs on a grid of at least this width
_PLANE_WIDTH = 64
_SAME_DEPTH_M = 0.25  # a surface that moves by more between two frames is taken for another
_NEARBY_M = 0.5  # how far from where it was a lost body is recognised


@dataclass(frozen=True, slots=True)
class ForegroundConfig:
    """What counts as foreground.

    Attributes:
        mode: `auto` finds it; `given` takes the frame's mask and fails without one; `all` takes every pixel in range.
        use_given_mask: in `auto`, a mask that comes with the frame wins.
        near_m, far_m: depth outside is ignored.
        seed_px: (u, v) on the person or object in the first frame; the nearest body-sized piece if None.
        remove_planes: take out the floor and walls.
        min_area_m2: smallest body, as its pixels would measure facing the camera.
        max_area_m2: what doubles in size from one frame to the next and exceeds this has run together with something.
        max_extent_m: nothing larger is a body.
        jump_m: difference of depth between two surfaces at the camera; it grows by 1 cm per m^2.
        link_m: loose pieces nearer than this belong to the body (a hand before the chest cuts it into pieces).
        hold_frames: how long a lost body is waited for before another one is taken.
    """

    mode: Literal["auto", "given", "all"] = "auto"
    use_given_mask: bool = True
    near_m: float = 0.25
    far_m: float = 5.0
    seed_px: tuple[int, int] | None = None
    remove_planes: bool = True
    min_area_m2: float = 0.04
    max_area_m2: float = 1.2
    max_extent_m: float = 2.6
    jump_m: float = 0.04
    link_m: float = 0.10
    hold_frames: int = 15

    def __post_init__(self) -> None:
        if self.mode not in ("auto", "given", "all"):
            raise ConfigurationError(f"mode must be auto, given or all, got {self.mode!r}")
        if not 0 <= self.near_m < self.far_m:
            raise ConfigurationError(f"near_m must be >= 0 and below far_m, got {self.near_m} and {self.far_m}")
        for name in ("min_area_m2", "max_area_m2", "max_extent_m", "jump_m", "link_m"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} must be positive, got {getattr(self, name)}")
        if self.hold_frames < 0:
            raise ConfigurationError(f"hold_frames must be >= 0, got {self.hold_frames}")


@dataclass(frozen=True, slots=True)
class _Memory:
    """The body as it was last seen, on the coarse grid.

    Attributes:
        cells: (n,) where on the grid, flat; depth_m: (n,) in that frame.
        centre: (3,) [m].
        area_m2: decays slowly from its largest value, so that a body half out of the image is still known by its size.
        strained: frames in a row whose outline was carried on.
    """

    cells: Array
    depth_m: Array
    centre: Array
    area_m2: float
    strained: int = 0


class ForegroundSegmenter:
    """Follows one body through the frames of one camera.

    Per frame: floor and walls are found or updated and taken out, the rest is cut where depth jumps, the pieces are
    labelled on a coarse grid, the one that continues the last frame's mask (or the seed's, or the nearest of a body's
    size) is kept with the loose pieces that touch it, and its outline is refined on all pixels.

    Args:
        intrinsics: of all frames to come.
    """

    def __init__(self, config: ForegroundConfig, intrinsics: CameraIntrinsics) -> None:
        self.config = config
        self.intrinsics = intrinsics
        if config.seed_px is not None:
            u, v = config.seed_px
            if not (0 <= u < intrinsics.width and 0 <= v < intrinsics.height):
                raise ConfigurationError(
                    f"seed_px must lie within the {intrinsics.width}x{intrinsics.height} image, got {config.seed_px}"
                )
        self._stride = max(1, intrinsics.width // _COARSE_WIDTH)
        self._coarse_camera = intrinsics.strided(self._stride)
        self._outline = OutlineRefiner(intrinsics, self._stride, config.near_m, config.jump_m)
        self._rays = self._outline.ray_x[:: self._stride], self._outline.ray_y[:: self._stride]
        self._planes = BackgroundPlanes()
        self.reset()

    @property
    def planes(self) -> list[Plane]:
        """The floor and walls as of the last frame."""
        return list(self._planes.planes)

    def reset(self) -> None:
        """Forget the body and the planes; the next frame starts afresh."""
        self._planes.reset()
        self._memory: _Memory | None = None
        self._missing = 0

    def step(self, frame: RgbdFrame) -> Foreground:
        """Separate one frame.

        Raises:
            InputError: the frame has another size than the intrinsics, or mode `given` and no mask.
        """
        size = (self.intrinsics.height, self.intrinsics.width)
        if frame.depth_m.shape != size:
            raise InputError(
                f"frame {frame.label}: expected {size[1]}x{size[0]} pixels as in the first frame, got "
                f"{frame.depth_m.shape[1]}x{frame.depth_m.shape[0]}; make a new segmenter for another camera"
            )
        depth_m = frame.depth_m
        if self.config.mode == "given" and frame.mask is None:
            raise InputError(f"frame {frame.label} has no mask: take --mask auto, or a source that gives masks")
        if frame.mask is not None and (self.config.mode == "given" or self._given_wins):
            return _finish(frame, frame.mask & (depth_m > 0), "the given mask has no pixel with depth")
        if self.config.mode == "all":
            near, far = np.float32(self.config.near_m), np.float32(self.config.far_m)
            mask = (depth_m > near) & (depth_m < far)
            return _finish(frame, mask, f"no depth between {near:g} and {far:g} m")
        return self._find(frame)

    @property
    def _given_wins(self) -> bool:
        return self.config.mode == "auto" and self.config.use_given_mask

    def _find(self, frame: RgbdFrame) -> Foreground:
        config, s = self.config, self._stride
        depth = np.ascontiguousarray(frame.depth_m[::s, ::s])
        candidate = cv2.inRange(depth, config.near_m, config.far_m)
        if not candidate.any():
            return self._lose(frame, f"no depth between {config.near_m:g} and {config.far_m:g} m")
        planes = self._update_planes(depth, candidate) if config.remove_planes else []
        for plane in planes:
            candidate &= plane.in_front(depth, *self._rays)
        connected = cut_at_jumps(depth, candidate, config.jump_m)
        labels, components = label_components(depth, connected, self._coarse_camera, min(0.002, config.min_area_m2))
        bodies = [c for c in components if c.area_m2 >= config.min_area_m2 and c.extent_m <= config.max_extent_m]
        if not bodies:
            return self._lose(frame, "nothing of a body's size stands out from the background")
        continued = self._continued(labels, depth)
        main = self._choose(bodies, labels, continued)
        if main is None:
            return self._lose(frame, "the body that was followed is not where it was")
        mask, members = self._join(main, components, continued, labels)
        status, reason = Status.TRACKED, ""
        area = sum(c.area_m2 for c in members)
        known, strained = self._memory, 0
        if (
            known is not None
            and area > max(2.0 * known.area_m2, config.max_area_m2)
            and (known.strained < config.hold_frames)
        ):
            # It ran together with something: keep what was the body a frame ago, widened by a frame's motion.
            before = np.zeros(depth.shape, np.uint8)
            before.ravel()[known.cells] = 255
            mask &= cv2.dilate(before, np.ones((9, 9), np.uint8))
            area, strained = known.area_m2, known.strained + 1
            status, reason = Status.DEGRADED, "the body touches something large; its outline is carried on"
        full = self._outline.refine(frame.depth_m, depth, mask, planes)
        if not full.any():
            return self._lose(frame, "the body has no pixels left after its outline was refined")
        if known is not None:
            area = max(area, 0.98 * known.area_m2)
        cells = np.flatnonzero(mask != 0)
        self._memory = _Memory(cells, depth.ravel()[cells], main.centre, area, strained)
        self._missing = 0
        return Foreground(frame.t_ns, full, status, reason)

    def _lose(self, frame: RgbdFrame, reason: str) -> Foreground:
        self._missing += 1
        if self._missing > self.config.hold_frames:
            self._memory = None
        return Foreground(frame.t_ns, np.zeros(frame.depth_m.shape, bool), Status.LOST, reason)

    def _update_planes(self, depth: Array, measured: Array) -> list[Plane]:
        k = max(1, depth.shape[1] // _PLANE_WIDTH)
        z = depth[::k, ::k]
        points = np.stack([self._rays[0][::k] * z, self._rays[1][::k, None] * z, z], axis=2)
        return self._planes.step(points, measured[::k, ::k] != 0)

    def _continued(self, labels: Array, depth: Array) -> Array | None:
        """(labels,) pixels of each piece where the body was a frame ago at much the same depth; None at the start."""
        memory = self._memory
        if memory is None:
            return None
        same = np.abs(depth.ravel()[memory.cells] - memory.depth_m) < np.float32(_SAME_DEPTH_M)
        return np.bincount(labels.ravel()[memory.cells[same]], minlength=int(labels.max()) + 1)

    def _choose(self, bodies: list[Component], labels: Array, continued: Array | None) -> Component | None:
        """The body that continues the memory, or the seed's, or the nearest; None while a lost one is waited for."""
        memory = self._memory
        if memory is not None and continued is not None:
            best = max(bodies, key=lambda c: continued[c.label])
            if continued[best.label] > 0.1 * len(memory.cells):
                return best
            near = min(bodies, key=lambda c: float(np.linalg.norm(c.centre - memory.centre)))
            return near if np.linalg.norm(near.centre - memory.centre) < _NEARBY_M else None
        if self.config.seed_px is not None:
            u, v = (p // self._stride for p in self.config.seed_px)
            is_body = np.isin(labels, [c.label for c in bodies])
            rows, columns = np.nonzero(is_body)
            nearest = int(np.argmin((rows - v) ** 2 + (columns - u) ** 2))
            seeded = labels[rows[nearest], columns[nearest]]
            return next(c for c in bodies if c.label == seeded)
        largest = max(c.area_m2 for c in bodies)
        # a detached hand may be nearer than its body
        return min((c for c in bodies if c.area_m2 >= 0.15 * largest), key=lambda c: c.depth_m)

    def _join(
        self, main: Component, components: list[Component], continued: Array | None, labels: Array
    ) -> tuple[Array, list[Component]]:
        """The body with its loose pieces: (h, w) uint8, 0 or 255, and the components it is made of."""
        pieces, parts = [], []
        for c in components:
            if c is main:
                continue
            if continued is not None and continued[c.label] > 0.5 * c.pixels:
                parts.append(c)  # of the body a frame ago, however far the cut through it is wide
            elif c.area_m2 < min(0.5 * main.area_m2, 2 * self.config.min_area_m2):
                pieces.append(c)  # what is larger may be somebody else
        members = [main, *parts, *linked([main, *parts], pieces, self.config.link_m)]
        wanted = np.zeros(int(labels.max()) + 1, np.uint8)
        wanted[[c.label for c in members]] = 255
        return wanted[labels], members


def _finish(frame: RgbdFrame, mask: Array, reason_if_empty: str) -> Foreground:
    if mask.any():
        return Foreground(frame.t_ns, mask)
    return Foreground(frame.t_ns, mask, Status.LOST, reason_if_empty)
