"""What is made of an avatar that is posed by a motion: an animated glTF, a mesh for each pose, a contact sheet."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bodystream.errors import ConfigurationError
from bodystream.files import check_output, prepare_folder
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skinning import body_motion, posed
from bodystream.pipelines.repose.baked import BakedGltf
from bodystream.pipelines.repose.output import Output
from bodystream.pipelines.repose.pipeline import Reposer
from bodystream.sinks.body_files import write_body
from bodystream.sinks.drive_take import pose_recorder
from bodystream.sinks.ply import write_ply
from bodystream.sinks.reports.repose import WrittenSection
from bodystream.sinks.sheet import View, draw_mesh, write_sheet
from bodystream.types import Array, BodyPose, BoneMotion, SkinnedMesh

__all__ = ["PlySequence", "Sheet", "SkinnedGltf", "output_for"]

_MEASURED = 64
"""Poses at which a file with the avatar's own skin is compared with what was posed."""
_NUMBER = re.compile(r"%0?\d*d")
_PICTURES, _PICTURE_PX, _HALF_M = 24, 240, 0.96


def output_for(path: str) -> Callable[[Reposer], Output]:
    """What makes the files that a path asks for: a `.glb` file, a folder, or a pattern of `.ply` files.

    Raises:
        ConfigurationError: it is none of them.
        InputError: it cannot be written to.
    """
    target = Path(path).expanduser()
    suffix = target.suffix.lower()
    if "%" in target.name:
        if suffix != ".ply" or len(_NUMBER.findall(target.name)) != 1 or target.name.count("%") != 1:
            raise ConfigurationError(
                f"--out {path}: the name of a sequence has one number and ends in .ply, such as walk/%04d.ply"
            )
        prepare_folder(target.absolute().parent, "--out")
        return lambda reposer: PlySequence(reposer, target)
    if suffix == ".glb" and not target.is_dir():
        check_output(target, "--out")
        return lambda reposer: _gltf(reposer, target)
    if target.is_dir() or not suffix or path.endswith(("/", "\\")):
        prepare_folder(target, "--out")
        return lambda reposer: PlySequence(reposer, target / "%04d.ply")
    raise ConfigurationError(
        f"--out {path}: give an animated glTF (walk.glb), a folder for a mesh of each pose (walk/), or a pattern of "
        "their names (walk/%04d.ply)"
    )


def _gltf(reposer: Reposer, path: Path) -> Output:
    return BakedGltf(reposer, path) if reposer.avatar.skin is None else SkinnedGltf(reposer, path)


class SkinnedGltf(Output):
    """The avatar's own skin and bones, animated.

    How far the surface by these bones is from what was posed is measured at some of the poses.
    """

    def __init__(self, reposer: Reposer, path: Path) -> None:
        self._reposer, self._path = reposer, path
        frames = reposer.frames
        self._row = {frame: row for row, frame in enumerate(frames)}
        chosen = np.linspace(0, len(frames) - 1, min(_MEASURED, len(frames))).round().astype(int)
        self._measured = {frames[row] for row in chosen.tolist()}
        self._mean_m = self._max_m = 0.0

    def take(self, frame: int) -> None:
        if frame not in self._measured:
            return
        body, row, skin = self._reposer.body, self._row[frame], self._reposer.avatar.skin
        assert skin is not None
        pose = BodyPose(0, body.rotations_xyzw[row], body.root_positions_m[row])
        joints_m = body.joints([row])[0][0]
        motion = body_motion(pose, joints_m)
        if len(skin.bone_from_bind) > len(joints_m):
            motion = _with_others(motion, skin)
        off = np.linalg.norm(posed(skin, motion).vertices - self._reposer.vertices, axis=1)
        self._mean_m += float(off.mean()) / len(self._measured)
        self._max_m = max(self._max_m, float(off.max()))

    def finish(self) -> WrittenSection:
        reposer = self._reposer
        recorder = pose_recorder(max(2, len(reposer.frames)))
        for frame in reposer.frames:
            clip = reposer.clip
            recorder.add(reposer.t_ns(frame), clip.rotations_xyzw[frame], clip.root_positions_m[frame][None])
        write_body(self._path, reposer.avatar, recorder)
        return WrittenSection(
            path=str(self._path),
            holds="skin",
            files=1,
            bytes=self._path.stat().st_size,
            frames=len(recorder),
            error_mean_mm=1e3 * self._mean_m,
            error_max_mm=1e3 * self._max_m,
            error_frames=len(self._measured),
        )


def _with_others(motion: BoneMotion, skin: SkinnedMesh) -> BoneMotion:
    """The motion of all bones of a skin, of which those that are no joints move as the joint that they stand on."""
    joints = len(motion.positions_m)
    assert skin.parents is not None
    rows = np.concatenate([np.arange(joints), skin.parents[joints:]])
    return BoneMotion(motion.t_ns, motion.rotations_xyzw[rows], motion.positions_m[rows])


class PlySequence(Output):
    """A mesh for each pose, numbered by the motion's frames.

    Args:
        pattern: of the files' names.

    Raises:
        ConfigurationError: the folder holds meshes of such names that would be left over beside those of this motion.
    """

    def __init__(self, reposer: Reposer, pattern: Path) -> None:
        self._reposer, self._pattern = reposer, pattern
        self._bytes = self._files = 0
        self._paths = {frame: pattern.with_name(pattern.name % frame) for frame in reposer.frames}
        lead, _, tail = _NUMBER.sub("\0", pattern.name).partition("\0")
        like = re.compile(f"{re.escape(lead)}\\d+{re.escape(tail)}")
        own = {path.name for path in self._paths.values()}
        others = [p.name for p in pattern.absolute().parent.iterdir() if like.fullmatch(p.name) and p.name not in own]
        if others:
            raise ConfigurationError(
                f"--out: {pattern.parent} holds {len(others)} meshes of another motion ({min(others)}, ...), which "
                "would be taken for this one's: give another folder, or remove them"
            )

    def take(self, frame: int) -> None:
        path = self._paths[frame]
        write_ply(path, self._reposer.mesh())
        self._files += 1
        self._bytes += path.stat().st_size

    def finish(self) -> WrittenSection:
        first = next(iter(self._paths.values()))
        return WrittenSection(str(first), "meshes", self._files, self._bytes, self._files)

    def stopped(self) -> str:
        if not self._files:
            return ""
        return f"{self._files} of {len(self._paths)} meshes are in {self._pattern.parent}, each of them whole"


class Sheet(Output):
    """Some moments of the motion side by side, seen from ahead and a little from the side; as PNG."""

    def __init__(self, reposer: Reposer, path: Path) -> None:
        self._reposer, self._path = reposer, path
        frames = reposer.frames
        chosen = np.linspace(0, len(frames) - 1, min(_PICTURES, len(frames))).round().astype(int)
        self._row = {frames[row]: row for row in chosen.tolist()}
        self._pictures: list[Array] = []

    def take(self, frame: int) -> None:
        if frame not in self._row:
            return
        reposer = self._reposer
        mesh, rotation = reposer.mesh(), matrix_from_quaternion(reposer.clip.rotations_xyzw[frame, 0])
        low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
        centre = 0.5 * (low + high)
        ahead = -rotation[:, 2]
        half_m = max(_HALF_M, 0.52 * float(high[1] - low[1]))
        view = View(centre, float(np.arctan2(-ahead[0], -ahead[2])) + 0.4, half_m)
        far = reposer.avatar.posing.far is not None
        label = f"{reposer.t_ns(frame) * 1e-9:.2f} s{'  far from training' if far else ''}"
        self._pictures.append(draw_mesh(mesh, view, _PICTURE_PX, label, alarm=far))

    def finish(self) -> WrittenSection:
        size = write_sheet(self._path, self._pictures)
        return WrittenSection(str(self._path), "sheet", 1, size, len(self._pictures))
