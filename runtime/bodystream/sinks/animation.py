"""The motion of bones, recorded in bounded memory: a growing deformation graph's, or a skeleton's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from bodystream.errors import InputError
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.types import Array

__all__ = ["Animation", "AnimationRecorder"]

_Frame = tuple[int, int, int, Array, Array | None]
"""Number, t_ns, how many bones have no parent, (4 B + 3 R,) float32: quaternions xyzw, then ways from rest [m], and
lengths of the bones, which neighbours share."""


@dataclass(frozen=True, slots=True)
class Animation:
    """How the bones of a `SkinnedMesh` moved, at all key frames.

    Attributes:
        t_ns: (T,) int64, increasing.
        rotations_xyzw: (T, B, 4) unit quaternions, each bone in its parent's frame; what has no parent in the frame of
            the scene.
        positions_m: (T, R, 3) of the bones that have no parent, in the frame of the scene: all nodes of a graph, the
            pelvis of a body [m].
        stride: every so many recorded frames became a key frame.
        offsets_m: (T, B, 3) from each bone's parent to it, in the parent's axes [m]; None where they were not told.
    """

    t_ns: Array
    rotations_xyzw: Array
    positions_m: Array
    stride: int = 1
    offsets_m: Array | None = None


class AnimationRecorder:
    """Keeps the motion of one model: 16 bytes per bone and 12 per bone without a parent in each key frame, never more
    than `max_frames` of them and the last one.

    When it is full, every second key frame is dropped and from then on every second frame is recorded, and so on. An
    hour at 30 Hz of 300 free nodes stays below 25 MB with 3000 key frames; of a body's 22 joints, 54,000 hold ten
    minutes at 90 Hz whole, or an hour at 11 Hz, in 35 MB. Bones may be appended between frames (`take_up`); fewer of
    them or others are another model's, which needs a recorder of its own.

    Args:
        rest_m: (R, 3) from where the positions of the bones without a parent are counted [m].
        max_frames: most key frames that are kept; None = until `thin` is called.
        stride: every so many frames become a key frame from the start.

    Attributes:
        recorded: frames that were offered and could be used.
        skipped: frames that were left out: their time did not increase, or they are no motion.
    """

    def __init__(self, rest_m: Array | None = None, max_frames: int | None = None, stride: int = 1) -> None:
        if max_frames is not None and max_frames < 2:
            raise InputError(f"an animation needs at least 2 key frames, got max_frames={max_frames}")
        self._rest_m = np.zeros((0, 3), np.float32) if rest_m is None else np.array(rest_m, np.float32)
        self._max_frames = max_frames
        self._keys: list[_Frame] = []
        self._tail: _Frame | None = None  # the newest frame, where it is no key frame
        self._stride = stride
        self.recorded = self.skipped = 0

    def __len__(self) -> int:
        """Key frames."""
        return len(self._keys)

    @property
    def stride(self) -> int:
        """Every so many frames become a key frame."""
        return self._stride

    @property
    def rest_m(self) -> Array:
        """(R, 3) float32 of the bones without a parent so far [m]."""
        return self._rest_m

    @property
    def nbytes(self) -> int:
        """Bytes held by the recorded motions."""
        return sum(frame[3].nbytes for frame in self._frames()) + self._rest_m.nbytes

    def take_up(self, rest_m: Array) -> None:
        """All bones without a parent, (R, 3), of which the first ones are known [m].

        Raises:
            InputError: they are another model's.
        """
        known = len(self._rest_m)
        if len(rest_m) < known or not np.allclose(rest_m[:known], self._rest_m, rtol=0, atol=1e-6):
            raise InputError(f"{len(rest_m)} nodes are not those that were recorded: the model was started anew")
        if len(rest_m) > known:
            self._rest_m = np.array(rest_m, np.float32)

    def add(
        self,
        t_ns: int,
        rotations_xyzw: Array,
        ways_m: Array,
        number: int | None = None,
        offsets_m: Array | None = None,
    ) -> None:
        """Record one frame; what changes in each is copied. One that cannot be used is left out and counted in
        `skipped`.

        Args:
            rotations_xyzw: (B, 4), each bone in its parent's frame; of any length but zero.
            ways_m: (R, 3) of each bone without a parent from its `rest_m` [m].
            number: of the frame, by which key frames are chosen; default: how many were recorded before.
            offsets_m: (B, 3) of all bones of a model whose bones may get other lengths, the same object while they do
                not [m]. Of one model all frames have them or none.

        Raises:
            InputError: another shape, fewer bones than before, or more than are known.
        """
        bones, free = len(rotations_xyzw), len(ways_m)
        last = self._tail if self._tail is not None else self._keys[-1] if self._keys else None
        fits = rotations_xyzw.shape == (bones, 4) and ways_m.shape == (free, 3) and 0 < free <= bones
        if not fits or free > len(self._rest_m) or (last is not None and 4 * bones + 3 * free < last[3].size):
            raise InputError(
                f"motion of shapes {rotations_xyzw.shape} and {ways_m.shape} for {len(self._rest_m)} free bones"
            )
        squares = np.einsum("ij,ij->i", rotations_xyzw, rotations_xyzw)
        usable = np.isfinite(squares).all() and squares.min() > 1e-12 and np.isfinite(ways_m).all()
        if not usable or (last is not None and t_ns <= last[1]):
            self.skipped += 1
            return
        number = self.recorded if number is None else number
        self.recorded += 1
        motion = np.concatenate([rotations_xyzw, ways_m], axis=None, dtype=np.float32)
        self._tail = (number, t_ns, free, motion, offsets_m)
        if self._due(number) and len(self._keys) == self._max_frames:
            self.thin(2 * self._stride)
        if self._due(number):
            self._keys.append(self._tail)
            self._tail = None

    def _due(self, number: int) -> bool:
        return number % self._stride == 0 or not self._keys

    def thin(self, stride: int) -> None:
        """Keep every so many frames only, and the first and the last one."""
        self._stride = stride
        newest = self._keys[-1]
        self._keys = [frame for i, frame in enumerate(self._keys) if frame[0] % stride == 0 or i == 0]
        if self._tail is None and newest is not self._keys[-1]:
            self._tail = newest

    def _frames(self) -> list[_Frame]:
        return self._keys if self._tail is None else [*self._keys, self._tail]

    def result(self) -> Animation:
        """The motion of all bones at all key frames, and at the last frame.

        Before a node was there it follows the nearest of the nodes that are older, rigidly: with parent p, R_i = R_p
        and v_i + t_i = R_p (v_i - v_p) + v_p + t_p.

        Raises:
            InputError: nothing was recorded.
        """
        frames = self._frames()
        if not frames:
            raise InputError("no motion was recorded: no frame was tracked")
        free = np.array([frame[2] for frame in frames])
        bones = [(motion.size - 3 * n) // 4 for _, _, n, motion, _ in frames]
        rotations = np.zeros((len(frames), bones[-1], 4), np.float32)
        ways = np.zeros((len(frames), int(free[-1]), 3), np.float32)
        for f, (_, _, n, motion, _) in enumerate(frames):
            rotations[f, : bones[f]] = motion[: 4 * bones[f]].reshape(-1, 4)
            ways[f, :n] = motion[4 * bones[f] :].reshape(-1, 3)
        v = self._rest_m[: free[-1]].astype(np.float64)
        older = self._nearest_older(free)
        for i in range(int(free[0]), int(free[-1])):  # parents come before their children, so one pass is enough
            without, p = free <= i, int(older[i])
            q, arm = rotations[without, p], v[i] - v[p]
            rotations[without, i] = q
            ways[without, i] = matrix_from_quaternion(q) @ arm - arm + ways[without, p]
        times = np.array([frame[1] for frame in frames], np.int64)
        lengths = [frame[4] for frame in frames if frame[4] is not None]
        offsets = np.stack(lengths).astype(np.float32) if len(lengths) == len(frames) else None
        return Animation(times, rotations, v + ways, self._stride, offsets)

    def _nearest_older(self, counts: Array) -> Array:
        """For each node the nearest of the nodes that were there before its batch was added."""
        older = np.arange(counts[-1], dtype=np.int32)
        sizes = np.unique(counts)
        for before, after in zip(sizes[:-1], sizes[1:], strict=True):
            tree = KDTree(self._rest_m[:before])
            older[before:after] = tree.query(self._rest_m[before:after])[1]
        return older
