"""A capture to registered bodies: its fused surface in each key frame gets the body's topology, and joints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csc_matrix, diags
from scipy.spatial import KDTree

from bodystream.avatar.take.canonical import pose_of_bones, posed_from_canonical, rest_joints
from bodystream.avatar.take.files import frame_files, save_frame, save_head
from bodystream.avatar.take.frames import AvatarTake, PosedFrame
from bodystream.body import JointState, Person, RegistrationStage, Target, register, target_of_mesh
from bodystream.body.acap import factors
from bodystream.body.person import POSING_STAGES, PosingStage
from bodystream.body.rings import rings_of
from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.normals import vertex_areas
from bodystream.geometry.rotations import quaternion_from_matrix
from bodystream.sinks.bvh import BvhRecorder
from bodystream.sinks.facing import FACING_VECTOR
from bodystream.sources.captures import CapturedModel
from bodystream.types import Array, BodyPose, Mesh

__all__ = ["CaptureRegistration", "RegisteredFrame", "write_motion", "write_registered"]

FOLLOWED = (
    RegistrationStage(0.06, 0.06, 4), RegistrationStage(0.025, 0.04, 4), RegistrationStage(0.015, 0.025, 4),
)  # fmt: skip
"""Of a body that was posed to its frame already."""
FIRST_POSING = (PosingStage(0.25, 12, 0.3, False), *POSING_STAGES)
_LEARNED_FROM = 12
"""Of so many frames the surface is a running mean, so that it follows what is fused later."""
_MOST_WORN_M, _SMOOTH_M = 0.06, 0.008
"""How far from the fitted body what somebody wears may be, and details of it that are taken for noise."""
_FARTHEST_M = 0.05
_TEST_SHARE = 0.25


@dataclass(frozen=True)
class RegisteredFrame:
    """One key frame of a capture.

    Attributes:
        number: among the frames that were taken. t_s: its time.
        vertices: (V, 3) float64, registered, y up [m].
        plain: (V, 3) float64, the fitted person alone in that pose, as skinning has it [m].
        state: of the joints.
        distances_m: (V,) of vertices from the captured surface. matched: (V,) bool.
    """

    number: int
    t_s: float
    vertices: Array
    plain: Array
    state: JointState
    distances_m: Array
    matched: Array

    @property
    def mean_m(self) -> float:
        """Mean distance of the vertices that have a match [m]."""
        return float(self.distances_m[self.matched].mean()) if self.matched.any() else float("nan")


class CaptureRegistration:
    """Follows a person through a capture.

    In each frame the person is posed to the surface, beginning with the last pose; what they wear is what was
    registered before, with skinning undone; from there vertices are free.

    Args:
        person: with the shape that was fitted.
        start: pose in the first frame, roughly.
        every: of the key frames each so many are taken.
    """

    def __init__(self, person: Person, start: JointState, every: int = 1) -> None:
        if every < 1:
            raise InputError(f"every must be 1 or more frames, got {every}")
        self.person, self._state, self._every = person, start, every
        self._worn = person
        self._seen, self._off = np.zeros(len(person.neutral)), np.zeros(person.neutral.shape)
        self._laplacian = rings_of(person.neutral, person.faces).laplacian
        self._areas = vertex_areas(person.neutral, person.faces)

    def frames(self, models: Sequence[CapturedModel]) -> Iterator[RegisteredFrame]:
        """All frames of a capture, one after the other.

        Raises:
            InputError: a frame has hardly a surface, or the person cannot be found in it.
        """
        number = 0
        for model in models:
            for key in range(0, len(model), self._every):
                where = f"the capture at {model.t_s[key]:.2f} s"
                target = target_of_mesh(model.mesh(key), where)
                yield self._frame(number, float(model.t_s[key]), target, where)
                number += 1

    def _frame(self, number: int, t_s: float, target: Target, where: str) -> RegisteredFrame:
        fitted = self._worn.posed_to(target, self._state, POSING_STAGES if number else FIRST_POSING)
        if not fitted.distance_m < _FARTHEST_M:
            raise InputError(
                f"{where}: the person is {100 * fitted.distance_m:.0f} cm from the surface (at most "
                f"{100 * _FARTHEST_M:.0f}): is it the same person, alone?"
            )
        start = Mesh(self._worn.vertices(fitted.state), self.person.faces)
        found = register(start, target, rest=self._worn.neutral, stages=FOLLOWED, where=where)
        state = self._worn.pose_of(found.vertices).state
        self._state = state
        self._wear(state, found.vertices, found.matched)
        return RegisteredFrame(
            number, t_s, found.vertices, self.person.vertices(state), state, found.distances_m, found.matched
        )

    def _wear(self, state: JointState, vertices: Array, matched: Array) -> None:
        """What was seen, in the neutral pose: of each vertex the mean of some frames, smoothed and carried on to where
        nothing was seen, where it fades."""
        off = self.person.undone(state, vertices) - self.person.neutral
        fits = matched & (np.linalg.norm(off, axis=1) < _MOST_WORN_M)
        self._seen[fits] = np.minimum(self._seen[fits] + 1.0, _LEARNED_FROM)
        share = np.where(fits, 1.0 / np.maximum(self._seen, 1.0), 0.0)[:, None]
        self._off += share * (off - self._off)
        sure = self._areas * self._seen / _LEARNED_FROM
        system = diags(sure + 1e-3 * self._areas) + _SMOOTH_M**2 * self._laplacian
        smooth = factors(csc_matrix(system)).solve(sure[:, None] * self._off)
        self._worn = self.person.wearing(self.person.neutral + smooth)


def check_take_folder(folder: Path, count: int) -> None:
    """Refuse, before they are made, frames that are too few for an avatar, and a folder where frames of another take
    would be left over, and read as such of theirs.

    Args:
        count: of the frames that are to be written there.

    Raises:
        ConfigurationError: there are others. InputError: fewer than two frames.
    """
    if count < 2:
        raise InputError(f"an avatar is learned from at least 2 frames, got {count}: take more of the capture")
    others = [file.name for file in frame_files(folder) if int(file.stem) >= count]
    if others:
        raise ConfigurationError(
            f"--out: {folder / 'frames'} holds {len(others)} frames of another take ({others[0]}, ...), which would be "
            "taken for this one's: give another folder, or remove them"
        )


def write_registered(
    folder: Path, person: Person, frames: Sequence[RegisteredFrame], models: Sequence[CapturedModel], name: str
) -> AvatarTake:
    """Write a take of registered frames, which `bodystream-train avatar --data` reads.

    The last quarter of the frames is for tests: motions are called `begin` and `end`.

    Args:
        folder: that of the take. name: of the subject.

    Raises:
        ConfigurationError: the folder holds frames of another take.
        InputError: fewer than two frames, or the file system refused.
    """
    check_take_folder(folder, len(frames))
    skeleton = person.skeleton
    first_test = len(frames) - max(1, round(_TEST_SHARE * len(frames)))
    weights = np.concatenate([person.points.weights, np.zeros((len(person.points.weights), 2))], axis=1)
    take = AvatarTake(
        name, "captured", 0, _rate_hz(frames), rest_joints(skeleton).astype(np.float32), (),
        {"train": ("begin",), "test": ("end",)}, faces=person.faces.astype(np.int32),
        colours=_colours(frames, models), skin_weights=weights.astype(np.float32),
        origin="captured, registered to a body",
    )  # fmt: skip
    save_head(folder, take)
    for frame in frames:
        moved = posed_from_canonical(skeleton, frame.state.rotations, frame.state.root)
        save_frame(
            folder,
            PosedFrame(
                frame.number, "begin" if frame.number < first_test else "end", frame.vertices.astype(np.float32),
                moved.astype(np.float32), pose_of_bones(moved).astype(np.float32),
            ),
        )  # fmt: skip
    return take


def write_motion(path: Path, person: Person, frames: Sequence[RegisteredFrame]) -> None:
    """Write how the person moved as a BVH file in the axes of `capture.glb`, one pose for each frame.

    Its rate is the mean one of the frames, 1 Hz at least, as motion files have it.

    Raises:
        InputError: the file system refused.
    """
    rate = max(1.0, _rate_hz(frames))
    with BvhRecorder(path, person.skeleton, rate) as recorder:
        for number, frame in enumerate(frames):
            # A capture looks along +z as its file does; the recorder takes poses of a world where one looks along -z.
            turns = frame.state.rotations.copy()
            turns[0] = np.diag(FACING_VECTOR) @ turns[0]
            root = (FACING_VECTOR * frame.state.root).astype(np.float32)
            rotations = quaternion_from_matrix(turns).astype(np.float32)
            recorder.add(BodyPose(round(1e9 * number / rate), rotations, root))


def _rate_hz(frames: Sequence[RegisteredFrame]) -> float:
    rate = (len(frames) - 1) / max(frames[-1].t_s - frames[0].t_s, 1e-3)
    return float(np.clip(rate, 0.1, 1000.0))


def _colours(frames: Sequence[RegisteredFrame], models: Sequence[CapturedModel]) -> Array | None:
    """(V, 3) uint8 of the captured surface where it is nearest, of its last frame; None where it has none."""
    surface = models[-1].mesh(len(models[-1]) - 1)
    if surface.colours is None:
        return None
    near = np.asarray(KDTree(surface.vertices).query(frames[-1].vertices)[1])
    return surface.colours[near]
