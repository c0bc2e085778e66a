"""An avatar and a motion: poses one of the motion's frames at a time. Wiring only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import warp as wp

from bodystream.avatar import VrmAvatar
from bodystream.avatar.base import Avatar, pose_quaternions
from bodystream.avatar.open import AvatarChoice, avatar_label, avatar_maker
from bodystream.device import describe_device
from bodystream.device.transfers import download
from bodystream.errors import InputError
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skeleton import JOINTS, Skeleton, forward_kinematics
from bodystream.pipelines.repose.motion import MotionPart, cut
from bodystream.pipelines.warmup import AVATAR_MODULES, warm_up
from bodystream.sinks.reports.figures import Tally
from bodystream.sinks.reports.repose import MotionSection, ReposeFigures, ReposeReport, WrittenSection
from bodystream.timing import now_ns
from bodystream.types import Array, BodyPose, Mesh

__all__ = ["BodyMotion", "Reposer"]


@dataclass(frozen=True, slots=True)
class BodyMotion:
    """The motion as that of the body that is shown, which may have proportions of its own.

    Attributes:
        skeleton: of the body.
        rotations_xyzw: (N, 22, 4) float32, of the frames that can be posed. root_positions_m: (N, 3) float32.
    """

    skeleton: Skeleton
    rotations_xyzw: Array
    root_positions_m: Array

    def joints(self, rows: slice | Sequence[int] = slice(None)) -> tuple[Array, Array]:
        """(N, 22, 3) world positions [m] and (N, 22, 3, 3) world orientations of some of the frames, float64."""
        turns = matrix_from_quaternion(self.rotations_xyzw[rows].astype(np.float64))
        roots = self.root_positions_m[rows].astype(np.float64)
        return forward_kinematics(self.skeleton.offsets_m, turns, roots)


class Reposer:
    """Poses an avatar by a motion. The steady state allocates nothing on the device and nothing large on the host.

    Args:
        clip: the motion; the avatar gets its person's proportions, as far as it can.
        choice: the avatar: whatever `open_avatar` takes.
        device: of kernels.
        part: of the motion.
        file: that the motion was read from, for the report.
        on_kernel_build: see `warm_up`.

    Attributes:
        clip: the part of the motion.
        avatar, label: the avatar, and what it is called.
        frames: numbers of the frames that can be posed.
        refused: how many cannot, by reason.
        vertices, normals: (V, 3) float32 of the last pose that was fetched, overwritten by the next.
        figures: of the poses so far. warnings: lines for a person, each once.

    Raises:
        ConfigurationError, InputError, BundleError: there is no such avatar; a motion without poses, or none that can
            be posed; a part that is not there.
    """

    def __init__(
        self,
        clip: MotionClip,
        choice: AvatarChoice,
        device: wp.Device,
        part: MotionPart | None = None,
        *,
        file: str = "",
        on_kernel_build: Callable[[str, int, int], None] | None = None,
    ) -> None:
        part = MotionPart() if part is None else part
        self.clip = cut(clip, part)
        self.refused: dict[str, int] = {}
        self.frames = self._usable()
        make = avatar_maker(choice)  # a wrong one is told before kernels are built
        warm_up(device, on_kernel_build, AVATAR_MODULES)
        self.avatar: Avatar = make(clip.skeleton, device)
        self.label = avatar_label(make)
        self.warnings: list[str] = []
        if isinstance(self.avatar, VrmAvatar):
            self.warnings += self.avatar.model.notes
        if self.refused:
            count, reason = sum(self.refused.values()), next(iter(self.refused))
            self.warnings.append(f"{count} of {len(self.clip)} frames are left out: {reason}")
        self.figures = ReposeFigures()
        count = self.avatar.vertices.size
        self.vertices, self.normals = np.empty((2, count, 3), np.float32)
        self._device, self._file, self._start_s = device, file, part.start_s
        self._pose(self.frames[0])  # first launches and inferences take longer than all that follow

    def _usable(self) -> list[int]:
        frames, reasons = [], Tally()
        for frame in range(len(self.clip)):
            try:
                pose_quaternions(self.clip.rotations_xyzw[frame], self.clip.root_positions_m[frame])
            except InputError as error:
                reasons.add(str(error))
            else:
                frames.append(frame)
        self.refused = reasons.commonest()
        if not frames:
            raise InputError(
                f"none of the {len(self.clip)} poses of the motion {self.clip.name} can be: {next(iter(self.refused))}"
            )
        return frames

    @cached_property
    def body(self) -> BodyMotion:
        """The motion of the body that is shown, in the order of `frames`."""
        rotations, roots = self.clip.rotations_xyzw[self.frames], self.clip.root_positions_m[self.frames]
        retarget = self.avatar.retarget
        if retarget is None:
            return BodyMotion(self.avatar.skeleton, rotations, roots)
        return BodyMotion(retarget.skeleton, *retarget.poses(rotations, roots))

    def t_ns(self, frame: int) -> int:
        """When a frame is, from the first one on."""
        return round(frame * 1e9 / self.clip.rate_hz)

    def pose(self, frame: int) -> None:
        """Pose one of `frames` on the device, and count it."""
        start_ns = now_ns()
        self._pose(frame)
        end_ns = now_ns()
        posing = self.avatar.posing
        self.figures.add(frame, posing, start_ns, end_ns)
        if posing.far is not None and self.figures.far_frames == 1:
            self.warn(f"frame {frame}: {posing.far}; such poses are counted in the report")

    def _pose(self, frame: int) -> None:
        self.avatar.pose_on_device(self.clip.rotations_xyzw[frame], self.clip.root_positions_m[frame])
        wp.synchronize_device(self._device)

    def fetch(self) -> None:
        """Bring the last pose to `vertices` and `normals`."""
        np.copyto(self.vertices, download(self.avatar.vertices))
        np.copyto(self.normals, download(self.avatar.normals))

    def rest(self) -> tuple[Mesh, Array]:
        """The surface of the body as it stands in the T-pose, in arrays of its own, and (22, 4, 4) where its joints
        are then."""
        person = self.avatar.skeleton
        upright = np.tile(np.array([0.0, 0.0, 0.0, 1.0], np.float32), (len(JOINTS), 1))
        standing = BodyPose(0, upright, np.array([0.0, person.pelvis_height_m, 0.0], np.float32))
        mesh = self.avatar.pose(standing.rotations_xyzw, standing.root_position_m)
        retarget = self.avatar.retarget
        pose = standing if retarget is None else retarget.pose(standing)
        motion = BodyMotion(self.body.skeleton, pose.rotations_xyzw[None], pose.root_position_m[None])
        places, turns = motion.joints()
        bones = np.tile(np.eye(4), (len(JOINTS), 1, 1))
        bones[:, :3, :3], bones[:, :3, 3] = turns[0], places[0]
        return mesh, bones

    def mesh(self) -> Mesh:
        """The last pose that was fetched; its arrays are overwritten by the next."""
        return Mesh(self.vertices, self.avatar.faces, self.normals, self.avatar.colours)

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def report(self, written: Sequence[WrittenSection] = ()) -> ReposeReport:
        """Of all that was posed so far."""
        clip = self.clip
        return self.figures.build(
            avatar=self.label,
            surface=(len(self.vertices), len(self.avatar.faces)),
            motion=MotionSection(clip.name, self._file, clip.rate_hz, len(clip), clip.duration_s, self._start_s),
            refused=self.refused,
            written=list(written),
            providers={"kernels": describe_device(self._device)},
            warnings=list(self.warnings),
        )
