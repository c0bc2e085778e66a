"""Automatic separation of the person or object from floor, walls and everything else."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from bodystream.errors import ConfigurationError, InputError
from bodystream.foreground.components import Component, linked
from bodystream.foreground.config import ForegroundConfig
from bodystream.foreground.growth import come_off, grown, is_whole
from bodystream.foreground.memory import NEARBY_M, Memory, Patch, part
from bodystream.foreground.outline import OutlineRefiner
from bodystream.foreground.planes import Plane
from bodystream.foreground.scene import Grid, Scene
from bodystream.foreground.support import find_support, follow_support
from bodystream.types import Array, CameraIntrinsics, Foreground, RgbdFrame, Status

__all__ = ["ForegroundSegmenter"]

_SAME_DEPTH_M = 0.25  # a surface that moves by more between two frames is taken for another
_SEED_CELLS = 3  # about the seed: so far off may it be
_REACH_MARGIN_M = 0.03  # a thing that turns shows its diagonal
_MOST_LEFT = 0.25  # a thing is smaller than what it stands on
_MOST_TOUCH = 10  # times `hold_frames`: what has touched the body for longer belongs to it
_MOST_SOUGHT = 4  # times `hold_frames`: anything else is taken for a lost body only after so long


class ForegroundSegmenter:
    """Follows one body through the frames of one camera.

    Per frame: floor and walls are found or updated and taken out, the rest is cut where depth jumps, the pieces are
    labelled on a coarse grid, the one that continues the last frame's mask (or the seed's, or the nearest of a body's
    size) is kept with the loose pieces that touch it, and its outline is refined on all pixels. Where it may be a part
    of a person only, as arms before the chest are, the rest is looked for across the jumps of depth.

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
        self._grid = Grid(config, intrinsics)
        self._outline = OutlineRefiner(intrinsics, self._grid.stride, config.near_m, config.jump_m)
        self.reset()

    @property
    def planes(self) -> list[Plane]:
        """The floor and walls as of the last frame."""
        return list(self._grid.planes.planes)

    def reset(self) -> None:
        """Forget the body and the planes; the next frame starts afresh."""
        self._grid.planes.reset()
        self._memory: Memory | None = None
        self._sought: Memory | None = None  # who was lost for long
        self._support: Plane | None = None
        self._missing = 0
        self._given: RgbdFrame | None = None  # the last one with a mask
        self._masks_ended = ""

    @property
    def masks_ended(self) -> str:
        """The last frame that the source gave a mask for, where a later one came without; else empty."""
        return self._masks_ended

    def step(self, frame: RgbdFrame) -> Foreground:
        """Separate one frame.

        Raises:
            InputError: the frame has another size than the intrinsics, or mode `given` and no mask from the start.
        """
        size = (self.intrinsics.height, self.intrinsics.width)
        if frame.depth_m.shape != size:
            raise InputError(
                f"frame {frame.label}: expected {size[1]}x{size[0]} pixels as in the first frame, got "
                f"{frame.depth_m.shape[1]}x{frame.depth_m.shape[0]}; make a new segmenter for another camera"
            )
        depth_m = frame.depth_m
        if self.config.mode == "all":
            near, far = np.float32(self.config.near_m), np.float32(self.config.far_m)
            mask = (depth_m > near) & (depth_m < far)
            return _finish(frame, mask, f"no depth between {near:g} and {far:g} m")
        if not self._given_wins:
            return self._find(frame)
        if frame.mask is not None:
            self._given, self._masks_ended = frame, ""
            return _finish(frame, frame.mask & (depth_m > 0), "the given mask has no pixel with depth")
        return self._without_mask(frame)

    @property
    def _given_wins(self) -> bool:
        return self.config.mode == "given" or (self.config.mode == "auto" and self.config.use_given_mask)

    def _without_mask(self, frame: RgbdFrame) -> Foreground:
        """A frame without a mask from a source that may give some."""
        given = self._given
        if given is None:
            if self.config.mode == "given":
                raise InputError(f"frame {frame.label} has no mask: take --mask auto, or a source that gives masks")
            return self._find(frame)
        ended = "the frame has no mask, unlike those before"
        first, self._masks_ended = not self._masks_ended, given.label
        if self.config.mode == "given":
            return Foreground(frame.t_ns, np.zeros(frame.depth_m.shape, bool), Status.LOST, ended)
        if first:
            self._adopt(given)
        found = self._find(frame)
        if found.status is Status.LOST:
            return replace(found, reason=f"{ended}, and {found.reason}")
        return replace(found, status=Status.DEGRADED, reason=f"{ended}: its outline is found")

    def _adopt(self, given: RgbdFrame) -> None:
        """Remember what a given mask shows, to go on from it."""
        assert given.mask is not None
        self._memory, self._missing = None, 0
        scene = self._scene(given.depth_m)
        if scene is None:
            return
        s = self._grid.stride
        mask = (given.mask[::s, ::s] & (scene.depth_m > 0)).astype(np.uint8) * np.uint8(255)
        if mask.any():
            centre, area = self._grid.place(mask, scene.depth_m)
            # A mask often ends a little before the body does: what is next to it is no stranger.
            beside = scene.connected & cv2.bitwise_not(cv2.dilate(mask, np.ones((5, 5), np.uint8)))
            body, strangers = Patch.of(mask, scene.depth_m), Patch.of(beside, scene.depth_m)
            self._memory = Memory(body, strangers, centre, area, told=True, whole=True)

    def _scene(self, depth_m: Array) -> Scene | None:
        """A frame in pieces; None where nothing is in range."""
        measured = self._grid.measure(depth_m)
        if measured is None:
            return None
        depth, in_range, planes = measured
        if self._support is not None and self._memory is not None:
            points, centre = self._grid.points(depth), self._memory.centre
            self._support = follow_support(self._support, points, in_range != 0, centre)
        return self._grid.cut(depth, in_range, planes if self._support is None else [*planes, self._support])

    def _find(self, frame: RgbdFrame) -> Foreground:
        config = self.config
        scene = self._scene(frame.depth_m)
        if scene is None:
            return self._lose(frame, f"no depth between {config.near_m:g} and {config.far_m:g} m")
        memory = self._memory
        if memory is None and config.seed_px is not None:
            scene = self._off_its_support(scene)
        bodies = [c for c in scene.components if c.area_m2 >= self._least_area and c.extent_m <= config.max_extent_m]
        if not bodies:
            return self._lose(frame, f"nothing of {self._what}'s size stands out from the background")
        continued = self._continued(scene)
        main = self._choose(bodies, scene, continued)
        if main is None:
            return self._lose(frame, f"{self._what} that was followed is not where it was")
        limbs = self._rest_of(main, scene, continued)
        mask, members = self._join(main, limbs, scene, continued)
        status, reason, strained = Status.TRACKED, "", 0
        # What was found to belong to it is no stranger any more.
        carried = None if memory is None or limbs else self._carried_on(memory, mask, members, scene)
        if carried is not None and memory is not None:
            mask, parted = carried
            strained = memory.strained + 1
            if not (parted and self._small):  # a thing that is held touches a hand all the time
                status = Status.DEGRADED
                reason = f"{self._what} touches something large; its outline is carried on"
        if memory is None or np.isfinite(memory.reach_m):
            mask = self._within_reach(mask, scene, main)
        full = self._outline.refine(frame.depth_m, scene.depth_m, mask, scene.planes)
        if not full.any():
            return self._lose(frame, f"{self._what} has no pixels left after its outline was refined")
        self._remember(mask, scene, members, strained)
        return Foreground(frame.t_ns, full, status, reason)

    @property
    def _small(self) -> bool:
        """Whether a thing smaller than a body is followed."""
        known = self._memory or self._sought
        return known is not None and bool(np.isfinite(known.reach_m))

    @property
    def _what(self) -> str:
        return "the object" if self._small else "the body" if self._memory or self._sought else "a body"

    @property
    def _least_area(self) -> float:
        config, known = self.config, self._memory or self._sought
        if known is not None and (self._small or known.told):
            return min(config.min_area_m2, 0.25 * known.area_m2)
        return config.min_object_m2 if config.seed_px is not None else config.min_area_m2

    def _lose(self, frame: RgbdFrame, reason: str) -> Foreground:
        self._missing += 1
        if self._missing > self.config.hold_frames and self._memory is not None:
            self._sought, self._memory = self._memory, None
        if self._missing > _MOST_SOUGHT * self.config.hold_frames and not self._small:
            self._sought = None
        return Foreground(frame.t_ns, np.zeros(frame.depth_m.shape, bool), Status.LOST, reason)

    def _off_its_support(self, scene: Scene) -> Scene:
        """The scene without the table that a seeded thing stands on, if it stands on one."""
        at = self._seed_cell(scene)
        label = scene.labels[at]
        if label == 0:
            return scene
        points, piece = self._grid.points(scene.depth_m), scene.labels == label
        support = find_support(points, piece, points[at])
        if support is None:
            return scene
        without = self._grid.cut(scene.depth_m, scene.measured, [*scene.planes, support])
        left = np.count_nonzero(without.labels == without.labels[at])
        if without.labels[at] == 0 or left > _MOST_LEFT * np.count_nonzero(piece):
            return scene
        self._support = support
        return without

    def _seed_cell(self, scene: Scene) -> tuple[int, int]:
        """The cell of the seed, or the nearest one within a few of it that belongs to a piece."""
        assert self.config.seed_px is not None
        u, v = (p // self._grid.stride for p in self.config.seed_px)
        n = _SEED_CELLS
        rows, columns = np.nonzero(scene.labels[max(0, v - n) : v + n + 1, max(0, u - n) : u + n + 1])
        if len(rows) == 0:
            return v, u
        rows, columns = rows + max(0, v - n), columns + max(0, u - n)
        nearest = int(np.argmin((rows - v) ** 2 + (columns - u) ** 2))
        return int(rows[nearest]), int(columns[nearest])

    def _continued(self, scene: Scene) -> Array | None:
        """(labels,) cells of each piece where the body was a frame ago at much the same depth; None at the start."""
        memory = self._memory
        if memory is None:
            return None
        tolerance = min(_SAME_DEPTH_M, memory.reach_m)
        same = memory.body.still_at(scene.depth_m, tolerance)
        return np.bincount(scene.labels.ravel()[same], minlength=int(scene.labels.max()) + 1)

    def _choose(self, bodies: list[Component], scene: Scene, continued: Array | None) -> Component | None:
        """The body that continues the memory, or the seed's, or the nearest; None while a lost one is waited for."""
        memory = self._memory
        if memory is not None and continued is not None:
            best = max(bodies, key=lambda c: continued[c.label])
            if continued[best.label] > 0.1 * len(memory.body.cells):
                return best
            return memory.nearest_alike(bodies, scene.depth_m, scene.labels, NEARBY_M, self._missing)
        if self._sought is not None:
            return self._sought.nearest_alike(bodies, scene.depth_m, scene.labels, np.inf, self._missing)
        if self.config.seed_px is not None:
            seeded = self._seeded(bodies, scene)
            if seeded is not None:
                return seeded
        bodies = [c for c in bodies if c.area_m2 >= self.config.min_area_m2]
        if not bodies:
            return None
        largest = max(c.area_m2 for c in bodies)
        # a detached hand may be nearer than its body
        return min((c for c in bodies if c.area_m2 >= 0.15 * largest), key=lambda c: c.depth_m)

    def _seeded(self, bodies: list[Component], scene: Scene) -> Component | None:
        """The piece at the seed, of whatever size; else the body that is nearest to it in the image."""
        label = scene.labels[self._seed_cell(scene)]
        for c in bodies:
            if c.label == label:
                return c
        large = [c.label for c in bodies if c.area_m2 >= self.config.min_area_m2]
        rows, columns = np.nonzero(np.isin(scene.labels, large))
        if len(rows) == 0:
            return None
        assert self.config.seed_px is not None
        u, v = (p // self._grid.stride for p in self.config.seed_px)
        nearest = int(np.argmin((rows - v) ** 2 + (columns - u) ** 2))
        label = scene.labels[rows[nearest], columns[nearest]]
        return next(c for c in bodies if c.label == label)

    def _rest_of(self, main: Component, scene: Scene, continued: Array | None) -> list[Component]:
        """What else of the person is seen, where what was found may be a part of one; else nothing."""
        memory, config = self._memory, self.config
        # Of a seed that is all that is meant: a thing is not to take whoever holds it.
        if config.seed_px is not None or (memory is not None and not memory.in_part(config.hold_frames)):
            return []
        own, others = [main], []
        for c in scene.components:
            if c is not main and continued is not None and continued[c.label] > 0.5 * c.pixels:
                own.append(c)
            elif c is not main and c.extent_m <= config.max_extent_m:
                others.append(c)
        return grown(own, others, scene.labels, scene.depth_m)

    def _join(
        self, main: Component, limbs: list[Component], scene: Scene, continued: Array | None
    ) -> tuple[Array, list[Component]]:
        """The body with its loose pieces: (h, w) uint8, 0 or 255, and the components it is made of."""
        pieces, parts = [], list(limbs)
        taken = {c.label for c in (main, *limbs)}
        for c in scene.components:
            if c.label in taken:
                continue
            if continued is not None and continued[c.label] > 0.5 * c.pixels:
                parts.append(c)  # of the body a frame ago, however far the cut through it is wide
            elif c.area_m2 < min(0.5 * main.area_m2, 2 * self.config.min_area_m2):
                pieces.append(c)  # what is larger may be somebody else
        link_m = min(self.config.link_m, 0.25 * main.extent_m)
        members = [main, *parts, *linked([main, *parts], pieces, link_m)]
        if self._memory is not None and self.config.seed_px is None and not self._small:
            rest = [c for c in pieces if c not in members]
            members += come_off(members, rest, scene.labels, scene.depth_m, self._memory.beside)
        return scene.marked([c.label for c in members]), members

    def _carried_on(
        self, memory: Memory, mask: Array, members: list[Component], scene: Scene
    ) -> tuple[Array, bool] | None:
        """What was the body a frame ago, where it has run together with something else; None where it has not.

        Returns:
            Its cells, and whether it was parted from what was seen beside it before.
        """
        config = self.config
        if memory.told or memory.strained < _MOST_TOUCH * config.hold_frames:
            parted = part(memory, mask, scene.depth_m, self._grid.camera)
            if parted is not None and parted.any():
                return parted, True
        small = np.isfinite(memory.reach_m)
        most = 2.0 * memory.area_m2 if small or memory.told else max(2.0 * memory.area_m2, config.max_area_m2)
        if sum(c.area_m2 for c in members) <= most or (memory.strained >= config.hold_frames and not small):
            return None
        # What is new came into the picture as one piece with it: the body, widened by a frame's motion.
        before = np.zeros(mask.shape, np.uint8)
        before.ravel()[memory.body.cells] = 255
        return mask & cv2.dilate(before, np.ones((9, 9), np.uint8)), False

    def _within_reach(self, mask: Array, scene: Scene, main: Component) -> Array:
        """Without what is farther from a small thing than it is long."""
        memory, known = self._memory, self._memory or self._sought
        if known is not None and np.isfinite(known.reach_m):
            reach, centre = known.reach_m, main.centre if memory is None else memory.centre
        elif self.config.seed_extent_m is not None:
            reach, centre = 0.6 * self.config.seed_extent_m, self._grid.points(scene.depth_m)[self._seed_cell(scene)]
        else:
            return mask
        away = np.linalg.norm(self._grid.points(scene.depth_m) - np.asarray(centre, np.float32), axis=2)
        return mask * (away < np.float32(reach))

    def _remember(self, mask: Array, scene: Scene, members: list[Component], strained: int) -> None:
        before = self._memory
        centre, area = self._grid.place(mask, scene.depth_m)
        if before is None or before.in_part(self.config.hold_frames):
            whole = is_whole(members)
        else:
            whole = before.whole
        known = before or self._sought
        if known is not None:
            reach, told = known.reach_m, known.told
            area = known.area_m2 if strained else max(area, 0.98 * known.area_m2)
        else:
            told, reach = False, np.inf
            if self.config.seed_extent_m is not None:
                reach = self.config.seed_extent_m
            elif self.config.seed_px is not None and area < self.config.min_area_m2:
                reach = members[0].extent_m + _REACH_MARGIN_M
        own = [c.label for c in members]
        large = [c.label for c in scene.components if c.label not in own and c.area_m2 >= 0.5 * area]
        strangers = scene.marked(large + own) & ~mask
        beside = np.flatnonzero(scene.marked([c.label for c in scene.components if c.label not in own]))
        self._memory = Memory(
            Patch.of(mask, scene.depth_m, None if before is None else before.body),
            Patch.of(strangers, scene.depth_m, None if before is None else before.strangers),
            centre,
            area,
            reach,
            strained,
            told,
            whole,
            0 if before is None else before.age + 1,
            beside,
        )
        self._sought, self._missing = None, 0


def _finish(frame: RgbdFrame, mask: Array, reason_if_empty: str) -> Foreground:
    if mask.any():
        return Foreground(frame.t_ns, mask)
    return Foreground(frame.t_ns, mask, Status.LOST, reason_if_empty)
