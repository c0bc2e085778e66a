"""What was driven, as a BVH file: a rig's bones at rest as OFFSETs, our 22 joints' in the T-pose unless another rig is
chosen (`sinks.rigs`), and one line of angles per frame.

The file's frame is that of `driven.glb`: right-handed, y up, the T-pose looks along +z, as most motion files do. It is
the world turned by 180 degrees about y (`sinks.facing`). Blender's import takes it as it is with its defaults (forward
-Z, up Y; scale 0.01 for centimetres) and shows it from the front, as the glTF. Every joint has the channels Zrotation
Xrotation Yrotation: its rotation in its parent's frame is Rz(z) @ Rx(x) @ Ry(y), in degrees; the root has Xposition
Yposition Zposition before them, absolute, and so has every joint in its parent's frame, in place of its OFFSET, once
the person's lengths have changed. Angles are continuous from frame to frame and may so leave +-180 degrees.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from bodystream.errors import ConfigurationError, InputError
from bodystream.files import atomic_path, finish_part, growing_path
from bodystream.geometry.skeleton import Skeleton
from bodystream.sinks.bvh_text import COUNT_WIDTH, BvhText, same_lengths
from bodystream.sinks.facing import FACING_QUATERNION, FACING_VECTOR
from bodystream.sinks.rigs import OWN_RIG, FittedRig, Rig
from bodystream.types import Array, BodyPose

__all__ = ["BvhRecorder", "BvhSummary", "BvhUnit", "euler_zxy_deg", "finish_bvh"]

BvhUnit = Literal["cm", "m"]
_PER_METRE: dict[BvhUnit, float] = {"cm": 100.0, "m": 1.0}
_DECIMALS: dict[BvhUnit, int] = {"cm": 4, "m": 6}
_LONGEST_GAP_S = 2.0


@dataclass(frozen=True, slots=True)
class BvhSummary:
    """What went into the file.

    Attributes:
        frames, duration_s: of the file.
        poses: that were recorded. skipped: poses left out: not finite, or their time did not increase.
        gaps: pauses of more than two seconds, which the file leaves out.
        bytes: size of the file.
    """

    frames: int
    duration_s: float
    poses: int
    skipped: int
    gaps: int
    bytes: int


class BvhRecorder:
    """Writes poses to a BVH file as they come.

    BVH has one frame time, and poses come when they come: frames are taken on a regular grid from the first pose on,
    between two poses by spherical interpolation. They go to another file beside `path`, so that memory does not
    grow, and `close` makes that the file; its number of frames is blank until then. Leaving a `with` block closes,
    whatever ended it: after Ctrl-C, or after an error elsewhere, the file holds all that was recorded. Where nothing
    was, no file is made.

    A person who is known better has other lengths from then on. With the first such pose the file is written anew,
    with channels of position at every joint, and takes the place of the one that grew until then.

    Args:
        path: of the `.bvh` file; what was there stays until `close`.
        skeleton: whose motion it is, to begin with.
        rate_hz: frames per second in the file.
        rig: whose names, tree and rest pose it has.
        unit: of its lengths; default: the rig's.
        part: name of the file while it grows; it stays there if nobody closes it. Default: a hidden one that vanishes
            with what is not closed.
        flushing: write each pose at once; else when `flush` is called.

    Attributes:
        part: as given.

    Raises:
        ConfigurationError: a rate or unit that cannot be used.
        InputError: the file cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        skeleton: Skeleton,
        rate_hz: float = 90.0,
        unit: BvhUnit | None = None,
        part: str | os.PathLike[str] | None = None,
        flushing: bool = True,
        rig: Rig = OWN_RIG,
    ) -> None:
        if not 1.0 <= rate_hz <= 1000.0:
            raise ConfigurationError(f"a BVH file takes 1 to 1000 frames per second, got {rate_hz}")
        if unit is not None and unit not in get_args(BvhUnit):
            raise ConfigurationError(
                f"the unit of a BVH file must be one of {', '.join(get_args(BvhUnit))}, got {unit!r}"
            )
        self._path = path
        self._fitted = FittedRig(rig, skeleton)
        self._rate_hz = rate_hz
        per_metre = 1.0 / rig.metres if unit is None else _PER_METRE[unit]
        decimals = rig.decimals if unit is None else _DECIMALS[unit]
        self._text = BvhText(self._fitted, per_metre, decimals, rate_hz)
        self._skeleton, self._offsets = skeleton, self._fitted.offsets_m
        self._moving = False  # every joint has channels of position
        self._in_head = self._offsets
        self._files = ExitStack()
        self._growing = Path(path)
        self._file: FileIO | None = None
        self._count_at = 0
        self._start_ns = 0
        self._frames = 0
        self.part = part
        self._flushing = flushing
        self._waiting: list[bytes] = []
        self._whole = 0  # bytes up to the end of the last whole frame
        self._poses = 0
        self._skipped = 0
        self._gaps = 0
        self._last_ns = 0
        self._last: tuple[Array, Array, Array] | None = None
        self._angles: Array | None = None
        self._summary: BvhSummary | None = None

    def __enter__(self) -> BvhRecorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, pose: BodyPose, skeleton: Skeleton | None = None) -> None:
        """Record one pose; one whose time does not increase, or that is not finite, is left out and counted.

        Args:
            skeleton: of this pose; default: that of the pose before. Between two, lengths go evenly.

        Raises:
            InputError: the recorder is closed, or the file system refused.
        """
        if self._summary is not None:
            raise InputError(f"{self._path}: the recording is closed, no pose can be added")
        quaternions = np.asarray(pose.rotations_xyzw, np.float64) * FACING_QUATERNION
        root = np.asarray(pose.root_position_m, np.float64) * FACING_VECTOR
        lengths = np.linalg.norm(quaternions, axis=1, keepdims=True)
        if not (np.isfinite(lengths).all() and np.isfinite(root).all() and lengths.min() > 1e-6):
            self._skipped += 1
            return
        quaternions = quaternions / lengths
        if self._last is not None and pose.t_ns <= self._last_ns:
            self._skipped += 1
            return
        if skeleton is not None and skeleton is not self._skeleton:
            offsets, self._skeleton = self._fitted.offsets_of(skeleton), skeleton
            self._offsets = self._offsets if same_lengths(offsets, self._offsets) else offsets
        try:
            if self._last is None:
                self._start_ns = pose.t_ns
                self._in_head = self._offsets
                self._open()
                self._write(quaternions, root, self._offsets)
            else:
                if not self._moving and self._offsets is not self._in_head:
                    self._widen()
                self._advance(pose.t_ns, quaternions, root, self._offsets)
            if self._flushing:
                self._hand_over()
        except OSError as error:
            raise self._ended_by(error) from error
        self._last_ns, self._last = pose.t_ns, (quaternions, root, self._offsets)
        self._poses += 1

    def flush(self) -> None:
        """Write the frames that wait.

        Raises:
            InputError: the file system refused; the recording has ended then.
        """
        if self._summary is not None:
            return
        try:
            self._hand_over()
        except OSError as error:
            raise self._ended_by(error) from error

    def close(self) -> BvhSummary:
        """Finish the file; calling again gives the same summary.

        Raises:
            InputError: the file system refused; what was at the path before is still there.
        """
        if self._summary is None:
            self._summary = BvhSummary(0, 0.0, self._poses, self._skipped, self._gaps, 0)
            with self._files:
                if self._file is not None:
                    if self._waiting:
                        self._hand_over()
                    self._file.seek(self._count_at)
                    self._put(str(self._frames).ljust(COUNT_WIDTH).encode())
            duration = max(self._frames - 1, 0) / self._rate_hz
            self._summary = replace(self._summary, frames=self._frames, duration_s=duration, bytes=self._whole)
        return self._summary

    def _open(self) -> None:
        growing = atomic_path(self._path) if self.part is None else growing_path(self._path, self.part)
        self._growing = self._files.enter_context(growing)
        head, self._count_at = self._text.head(self._in_head, self._moving)
        # Unbuffered: after each frame the file is whole, and what the disk refuses is known at once.
        self._file = self._files.enter_context(open(self._growing, "wb", buffering=0))
        self._put(head)
        self._whole = len(head)

    def _widen(self) -> None:
        """Write the file anew, with channels of position at every joint; it appears in one go, where the other was."""
        assert self._file is not None
        self._hand_over()
        try:
            with atomic_path(self._growing) as wider:
                head, count_at = self._text.head(self._in_head, moving=True)
                with open(self._growing, "rb") as before, open(wider, "wb") as after:
                    before.seek(len(self._text.head(self._in_head, moving=False)[0]))
                    after.write(head)
                    for line in before:
                        after.write(self._text.widened(line, self._in_head))
                        time.sleep(0)  # let the thread that drives go on
                    whole = after.tell()
                self._file.close()  # some systems replace nothing that is open
            self._whole, self._count_at, self._moving = whole, count_at, True
        except InputError as error:
            raise (error.__cause__ if isinstance(error.__cause__, OSError) else error) from error
        finally:
            if self._file.closed:
                self._file = self._files.enter_context(open(self._growing, "rb+", buffering=0))
                self._file.seek(0, os.SEEK_END)

    def _put(self, data: bytes) -> None:
        assert self._file is not None
        if self._file.write(data) != len(data):
            raise OSError(errno.ENOSPC, "the file system took a part of a frame")

    def _advance(self, t_ns: int, quaternions: Array, root: Array, offsets: Array) -> None:
        """Write the frames of the grid up to `t_ns`; a long pause moves the grid instead."""
        assert self._last is not None
        if (t_ns - self._last_ns) * 1e-9 > _LONGEST_GAP_S:
            self._gaps += 1
            self._start_ns = t_ns - round(self._frames * 1e9 / self._rate_hz)
        while True:
            tick_ns = self._start_ns + round(self._frames * 1e9 / self._rate_hz)
            if tick_ns > t_ns + 1000:  # a grid of the same rate may be off by rounding
                return
            part = min(max((tick_ns - self._last_ns) / (t_ns - self._last_ns), 0.0), 1.0)
            before, from_root, from_offsets = self._last
            self._write(
                _slerp(before, quaternions, part),
                from_root + part * (root - from_root),
                offsets if offsets is from_offsets else from_offsets + part * (offsets - from_offsets),
            )

    def _write(self, quaternions: Array, root: Array, offsets: Array) -> None:
        angles = euler_zxy_deg(self._fitted.rotations(quaternions[None])[0], self._angles)
        self._angles = angles
        self._waiting.append(self._text.frame(root, angles, offsets if self._moving else None))
        self._frames += 1

    def _hand_over(self) -> None:
        if self._waiting:
            lines = b"".join(self._waiting)
            self._put(lines)
            self._waiting.clear()
            self._whole += len(lines)
        if self._moving and self._in_head is not self._offsets:
            self._put_head()

    def _put_head(self) -> None:
        """Write the OFFSETs of the person as known now over those of before."""
        assert self._file is not None
        self._file.seek(0)
        self._put(self._text.head(self._offsets, moving=True)[0])
        self._in_head = self._offsets
        self._file.seek(0, os.SEEK_END)

    def _ended_by(self, error: OSError) -> InputError:
        """Cut off what was written in part, and keep the frames before it."""
        reason = error.strerror or str(error)
        self._frames -= len(self._waiting)
        self._waiting.clear()
        if self._frames == 0 or self._file is None:
            self._summary = BvhSummary(0, 0.0, self._poses, self._skipped, self._gaps, 0)
            self._file = None
            try:
                self._files.__exit__(type(error), error, error.__traceback__)
            except InputError as refusal:
                return refusal
            return InputError(f"{self._path} could not be written: {reason}: free some space or choose another folder")
        self._file.truncate(self._whole)
        self.close()
        return InputError(
            f"{self._path}: the recording ended after {self._frames} frames, which are kept: {reason}: free some space "
            "or choose another folder"
        )


def finish_bvh(part: Path, path: Path) -> int:
    """Finish the file of a recorder that was killed: cut off a frame that is not whole, and put in their number.

    Returns:
        The number of frames.

    Raises:
        InputError: it is not such a file, or cannot be written; it stays as it is then.
    """
    blank = b"\nMOTION\nFrames: " + b" " * COUNT_WIDTH + b"\n"
    try:
        with open(part, "rb+") as file:
            start = file.read(1 << 16).find(blank)
            if start < 0:
                raise InputError(f"{part}: is no BVH file that was left unfinished")
            count_at = start + len(blank) - COUNT_WIDTH - 1
            file.seek(start + len(blank))
            file.readline()  # Frame Time
            end, frames = file.tell(), 0
            for line in file:
                if not line.endswith(b"\n"):
                    break
                end, frames = end + len(line), frames + 1
            file.truncate(end)
            file.seek(count_at)
            file.write(str(frames).ljust(COUNT_WIDTH).encode())
    except OSError as error:
        raise InputError(f"{part}: cannot be finished ({error.strerror or error})") from error
    finish_part(part, path)
    return frames


def _slerp(start: Array, end: Array, part: float) -> Array:
    """Between (J, 4) unit quaternions along the shorter arc; the chord, renormalised, where they nearly agree."""
    if part >= 1.0:
        return end
    dots = np.sum(start * end, axis=1, keepdims=True)
    end = np.where(dots < 0, -end, end)
    angle = np.arccos(np.clip(np.abs(dots), 0.0, 1.0))
    near = angle < 1e-4
    sine = np.where(near, 1.0, np.sin(angle))
    first = np.where(near, 1.0 - part, np.sin((1.0 - part) * angle) / sine)
    second = np.where(near, part, np.sin(part * angle) / sine)
    out = first * start + second * end
    return out / np.linalg.norm(out, axis=1, keepdims=True)


def euler_zxy_deg(quaternions_xyzw: Array, previous_deg: Array | None = None) -> Array:
    """Angles z, x, y [degrees] with R = Rz(z) @ Rx(x) @ Ry(y), of the solutions the one nearest to `previous_deg`.

    Args:
        quaternions_xyzw: (J, 4) unit. previous_deg: (J, 3) of the frame before; default: zero.

    Returns:
        (J, 3). Where x is +-90 degrees, only the sum or difference of z and y is defined: y stays as it was.
    """
    qx, qy, qz, qw = np.asarray(quaternions_xyzw, np.float64).T
    previous = np.zeros((len(qx), 3)) if previous_deg is None else np.deg2rad(previous_deg)
    r00, r10 = 1.0 - 2.0 * (qy * qy + qz * qz), 2.0 * (qx * qy + qz * qw)
    r01, r11 = 2.0 * (qx * qy - qz * qw), 1.0 - 2.0 * (qx * qx + qz * qz)
    r20, r22 = 2.0 * (qx * qz - qy * qw), 1.0 - 2.0 * (qx * qx + qy * qy)
    r21 = 2.0 * (qy * qz + qx * qw)
    locked = np.hypot(r01, r11) < 1e-7
    x = np.arctan2(r21, np.hypot(r01, r11))
    sign = np.where(r21 > 0, 1.0, -1.0)
    z = np.where(locked, np.arctan2(r10, r00) - sign * previous[:, 2], np.arctan2(-r01, r11))
    y = np.where(locked, previous[:, 2], np.arctan2(-r20, r22))
    first = np.stack([z, x, y], axis=1)
    second = np.stack([z + np.pi, np.pi - x, y + np.pi], axis=1)  # the same rotation
    candidates = [s + 2.0 * np.pi * np.round((previous - s) / (2.0 * np.pi)) for s in (first, second)]
    distance = [np.abs(c - previous).sum(axis=1) for c in candidates]
    return np.rad2deg(np.where((distance[0] <= distance[1])[:, None], candidates[0], candidates[1]))
