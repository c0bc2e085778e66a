"""Which files a driven avatar has its motion written to, and their writing."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from bodystream.avatar.base import Avatar
from bodystream.avatar.vrm import VrmAvatar
from bodystream.errors import InputError
from bodystream.geometry.skeleton import Skeleton
from bodystream.sinks.animation import Animation, AnimationRecorder
from bodystream.sinks.drive_take import persons_of, write_driven_gltf
from bodystream.sinks.rigs import RIGS, RigName
from bodystream.sinks.vrm_gltf import write_vrm_gltf
from bodystream.sinks.vrma import write_vrma

__all__ = ["BODY_FILES", "body_files", "write_body"]

BODY_FILES = ("driven.glb", "driven.vrma")
"""All that there can be."""


def body_files(avatar: Avatar, rig: RigName | None = None) -> tuple[str, ...]:
    """The files that can be written of an avatar: none of one that has posed vertices only."""
    if isinstance(avatar, VrmAvatar):
        return BODY_FILES
    return () if avatar.skin is None else BODY_FILES if rig == "vrm" else BODY_FILES[:1]


def write_body(
    path: str | os.PathLike[str], avatar: Avatar, recorder: AnimationRecorder, rig: RigName | None = None
) -> None:
    """Write the motion of an avatar to a file of the kind that its suffix says.

    Args:
        path: ends in `.glb` or `.vrma`.
        avatar: of the person who was driven last.
        recorder: of the person's poses; recording may go on afterwards.
        rig: whose bones a glTF has; that of a VRM file keeps its own.

    Raises:
        InputError: nothing was recorded, or the file cannot be written.
    """
    if not len(recorder):
        raise InputError(f"{path}: no pose was recorded, so there is no animation to write")
    is_vrma = Path(path).suffix == ".vrma"
    if isinstance(avatar, VrmAvatar):
        motion, build = _of_the_body(avatar, recorder.result()), avatar.model.build
        if is_vrma:
            write_vrma(path, build.skeleton, build.hips_m, motion, build.bones.has)
        else:
            write_vrm_gltf(path, avatar.model, motion)
        return
    assert avatar.skin is not None
    if is_vrma:
        soles_m = float(avatar.skin.bind_positions_m[:, 1].min() - avatar.skin.mesh.vertices[:, 1].min())
        motion = _of_one_person(recorder.result(), avatar.skeleton)
        write_vrma(path, avatar.skeleton, avatar.skeleton.pelvis_height_m + soles_m, motion)
    else:
        write_driven_gltf(path, avatar.skin, avatar.skeleton, recorder, None if rig is None else RIGS[rig])


def _of_the_body(avatar: VrmAvatar, motion: Animation) -> Animation:
    """The motion on the avatar's bones: of each pose as for the person that it was of."""
    rotations, roots = np.empty_like(motion.rotations_xyzw), np.empty((len(motion.t_ns), 3), np.float32)
    for frames, person in persons_of(motion, avatar.skeleton):
        taken = avatar.retarget.of(person).poses(motion.rotations_xyzw[frames], motion.positions_m[frames, 0])
        rotations[frames], roots[frames] = taken
    return replace(motion, rotations_xyzw=rotations, positions_m=roots[:, None], offsets_m=None)


def _of_one_person(motion: Animation, last: Skeleton) -> Animation:
    """The motion of somebody whose lengths changed on those known last, where only hips can move: their way is in
    proportion to how high they stand, so that feet stay on the floor."""
    places = motion.positions_m.copy()
    for frames, person in persons_of(motion, last):
        places[frames] *= last.pelvis_height_m / person.pelvis_height_m
    return replace(motion, positions_m=places, offsets_m=None)
