"""A recorded or generated motion of one skeleton."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from bodystream.errors import InputError
from bodystream.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix
from bodystream.geometry.skeleton import JOINTS, MIRROR, Skeleton, forward_kinematics
from bodystream.types import Array

__all__ = ["MotionClip"]


@dataclass(frozen=True, slots=True)
class MotionClip:
    """One take at a constant rate, on the canonical skeleton: y up, metres, the floor near y = 0.

    Attributes:
        name: of the take, as a person would call it.
        subject: whose motion it is; splits go by this. Empty where it is not known.
        rate_hz: frames per second.
        skeleton: the person's proportions.
        rotations_xyzw: (T, 22, 4) float32 unit quaternions, each joint in its parent's frame, the pelvis in the world.
        root_positions_m: (T, 3) float32 pelvis in the world [m].
        description: what is done in it.
        origin: which data set or conversion it is from, for messages and splits.
    """

    name: str
    subject: str
    rate_hz: float
    skeleton: Skeleton
    rotations_xyzw: Array
    root_positions_m: Array
    description: str = ""
    origin: str = ""

    def __post_init__(self) -> None:
        frames = len(self.root_positions_m)
        if self.rotations_xyzw.shape != (frames, len(JOINTS), 4) or self.root_positions_m.shape != (frames, 3):
            raise InputError(
                f"motion {self.name}: rotations must be ({frames}, {len(JOINTS)}, 4) for {frames} root positions, "
                f"got {self.rotations_xyzw.shape} and {self.root_positions_m.shape}"
            )
        if not self.rate_hz > 0:
            raise InputError(f"motion {self.name}: the rate must be positive, got {self.rate_hz} Hz")

    def __len__(self) -> int:
        return len(self.root_positions_m)

    @property
    def duration_s(self) -> float:
        """Time from the first frame to the last [s]."""
        return max(len(self) - 1, 0) / self.rate_hz

    def rotation_matrices(self) -> Array:
        """(T, 22, 3, 3) float64."""
        return matrix_from_quaternion(self.rotations_xyzw.astype(np.float64))

    def joints(self) -> tuple[Array, Array]:
        """(T, 22, 3) world positions [m] and (T, 22, 3, 3) world orientations, float64."""
        return forward_kinematics(
            self.skeleton.offsets_m, self.rotation_matrices(), self.root_positions_m.astype(np.float64)
        )

    def sliced(self, start: int, stop: int, step: int = 1) -> MotionClip:
        """Frames `start:stop:step`."""
        part = slice(start, stop, step)
        return replace(
            self,
            rate_hz=self.rate_hz / step,
            rotations_xyzw=self.rotations_xyzw[part],
            root_positions_m=self.root_positions_m[part],
        )

    def resampled(self, rate_hz: float) -> MotionClip:
        """The same motion at another rate: slerp and linear interpolation between frames, from the first on."""
        if len(self) < 2 or abs(rate_hz - self.rate_hz) < 1e-6:
            return replace(self, rate_hz=rate_hz)
        have_s = np.arange(len(self)) / self.rate_hz
        want_s = np.arange(int(np.floor(self.duration_s * rate_hz + 1e-6)) + 1) / rate_hz
        want_s = np.minimum(want_s, have_s[-1])
        rotations = np.stack(
            [
                Slerp(have_s, Rotation.from_quat(self.rotations_xyzw[:, joint]))(want_s).as_quat(canonical=True)
                for joint in range(len(JOINTS))
            ],
            axis=1,
        )
        positions = np.stack([np.interp(want_s, have_s, self.root_positions_m[:, k]) for k in range(3)], axis=1)
        return replace(
            self,
            rate_hz=rate_hz,
            rotations_xyzw=rotations.astype(np.float32),
            root_positions_m=positions.astype(np.float32),
        )

    def mirrored(self) -> MotionClip:
        """Left and right exchanged, mirrored at x = 0."""
        return replace(
            self,
            name=f"{self.name} mirrored",
            skeleton=self.skeleton.mirrored(),
            rotations_xyzw=self.rotations_xyzw[:, list(MIRROR)] * np.array([1, -1, -1, 1], np.float32),
            root_positions_m=self.root_positions_m * np.array([-1, 1, 1], np.float32),
        )

    def moved(self, turn_rad: float, offset_m: Array) -> MotionClip:
        """The same motion elsewhere: turned about the vertical through the origin, then shifted."""
        turn = Rotation.from_euler("y", turn_rad).as_matrix()
        roots = matrix_from_quaternion(self.rotations_xyzw[:, 0].astype(np.float64))
        rotations = self.rotations_xyzw.copy()
        rotations[:, 0] = quaternion_from_matrix(turn @ roots)
        positions = self.root_positions_m @ turn.T + np.asarray(offset_m)
        return replace(self, rotations_xyzw=rotations, root_positions_m=positions.astype(np.float32))
