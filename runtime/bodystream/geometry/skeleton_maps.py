"""Our 22 joints in the words of others: XR_BD, VRM and Unity bones, OpenXR's FB/META body joints, WebXR names.

Only names and indices; frames of reference differ too and are converted where a format is written. Which of the 22 a
name means is where its joint is in the body: `spine3` carries the arms, as META's and WebXR's `chest` does.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS
from bodystream.types import Array

__all__ = [
    "META_JOINTS",
    "UNITY_BONES",
    "VRM_BONES",
    "VRM_REQUIRED",
    "WEBXR_BODY_JOINTS",
    "WEBXR_FROM_OURS",
    "XR_BD_JOINTS",
    "ours_from_meta",
    "ours_from_named",
    "vrm_bones_for",
    "webxr_name",
    "xr_bd_poses",
]

_SIDES = ("left", "right")
_HAND_M = 0.085
"""From the wrist to the joint in the middle of the hand along it, as in SMPL's template [m]."""

XR_BD_JOINTS = (*JOINTS, "left_hand", "right_hand")
"""The 24 joints of `XR_BD_body_tracking`, by index."""

_VRM_CENTRE = {
    "pelvis": "hips",
    "spine1": "spine",
    "spine2": "chest",
    "spine3": "upperChest",
    "neck": "neck",
    "head": "head",
}
_VRM_SIDED = {
    "hip": "UpperLeg",
    "knee": "LowerLeg",
    "ankle": "Foot",
    "foot": "Toes",
    "collar": "Shoulder",
    "shoulder": "UpperArm",
    "elbow": "LowerArm",
    "wrist": "Hand",
}
VRM_BONES: dict[str, str] = {
    name: _VRM_CENTRE[name] if name in _VRM_CENTRE else name.split("_")[0] + _VRM_SIDED[name.split("_")[1]]
    for name in JOINTS
}
"""Of each of our joints, the VRM 1.0 humanoid bone; VRM 0 names these the same."""

VRM_REQUIRED = frozenset(
    {"hips", "spine", "head"}
    | {side + bone for side in _SIDES for bone in _VRM_SIDED.values() if bone not in ("Toes", "Shoulder")}
)
"""Bones that every VRM 1.0 humanoid has."""

UNITY_BONES: dict[str, str] = {name: bone[0].upper() + bone[1:] for name, bone in VRM_BONES.items()}
"""Of each of our joints, the name in Unity's HumanBodyBones, as VMC sends it."""


def _webxr_hand(side: str) -> list[str]:
    names = [f"{side}-hand-palm", f"{side}-hand-wrist"]
    names += [f"{side}-hand-thumb-{part}" for part in ("metacarpal", "phalanx-proximal", "phalanx-distal", "tip")]
    parts = ("metacarpal", "phalanx-proximal", "phalanx-intermediate", "phalanx-distal", "tip")
    fingers = ("index", "middle", "ring", "little")
    return names + [f"{side}-hand-{finger}-{part}" for finger in fingers for part in parts]


WEBXR_BODY_JOINTS: tuple[str, ...] = (
    *("hips", "spine-lower", "spine-middle", "spine-upper", "chest", "neck", "head"),
    *(
        f"{side}-{part}"
        for side in _SIDES
        for part in ("shoulder", "scapula", "arm-upper", "arm-lower", "hand-wrist-twist")
    ),
    *_webxr_hand("left"),
    *_webxr_hand("right"),
    *(
        f"{side}-{part}"
        for side in _SIDES
        for part in (
            *("upper-leg", "lower-leg", "foot-ankle-twist", "foot-ankle"),
            *("foot-subtalar", "foot-transverse", "foot-ball"),
        )
    ),
)
"""The 83 joints of `XRFrame.body` in their order, in one spelling (`webxr_name` takes the draft's others)."""

META_JOINTS: tuple[str, ...] = ("root", *WEBXR_BODY_JOINTS)
"""The 84 joints of `XR_META_body_tracking_full_body` by index, in WebXR's words.

The first 70 are those of `XR_FB_body_tracking`.
"""

_WEBXR_CENTRE = {
    "pelvis": "hips",
    "spine1": "spine-lower",
    "spine2": "spine-middle",
    "spine3": "chest",
    "neck": "neck",
    "head": "head",
}
_WEBXR_SIDED = {
    "hip": "upper-leg",
    "knee": "lower-leg",
    "ankle": "foot-ankle",
    "foot": "foot-ball",
    "collar": "shoulder",
    "shoulder": "arm-upper",
    "elbow": "arm-lower",
    "wrist": "hand-wrist",
}
WEBXR_FROM_OURS: dict[str, str] = {
    name: _WEBXR_CENTRE[name] if name in _WEBXR_CENTRE else f"{name.split('_')[0]}-{_WEBXR_SIDED[name.split('_')[1]]}"
    for name in JOINTS
}
"""Of each of our joints, the WebXR body joint."""


def webxr_name(name: str) -> str:
    """A WebXR body joint's name in the spelling of `WEBXR_BODY_JOINTS`.

    The draft writes `left-hand-middle-phalanx-metacarpal` on the left and `right-hand-middle-metacarpal` on the right;
    both spellings are taken for every finger of both hands.

    Raises:
        InputError: it is no joint of the list.
    """
    spelled = name.replace("-phalanx-metacarpal", "-metacarpal")
    if spelled not in WEBXR_BODY_JOINTS:
        raise InputError(f"{name!r} is no WebXR body joint; they are named like 'left-arm-upper', 83 in all")
    return spelled


def ours_from_meta(poses: Array) -> Array:
    """Our 22 rows (22, ...) of the 84 of META's full body (84, ...).

    Raises:
        InputError: there are not 84 rows; the 70 of `XR_FB_body_tracking` have no legs.
    """
    if len(poses) != len(META_JOINTS):
        hint = ": XR_FB_body_tracking alone has no legs, ask for the full body" if len(poses) == 70 else ""
        raise InputError(f"META's full body has {len(META_JOINTS)} joints, got {len(poses)}{hint}")
    return poses[[META_JOINTS.index(WEBXR_FROM_OURS[name]) for name in JOINTS]]


def ours_from_named(poses: dict[str, Array], names: dict[str, str]) -> tuple[Array, Array]:
    """Our 22 rows of poses by name, and which of them were there.

    Args:
        poses: equally shaped arrays by the other's joint names.
        names: of each of our joints, the other's name: `VRM_BONES`, `UNITY_BONES` or `WEBXR_FROM_OURS`.

    Returns:
        (22, ...) float64, zero where absent, and (22,) bool.

    Raises:
        InputError: none of the names is there.
    """
    present = np.array([names[joint] in poses for joint in JOINTS])
    if not present.any():
        raise InputError(
            f"none of the joints {', '.join(list(names.values())[:4])}... is there; got "
            f"{', '.join(sorted(poses)[:8]) or 'nothing'}"
        )
    shape = np.shape(next(iter(poses.values())))
    out = np.zeros((len(JOINTS), *shape))
    for joint in np.flatnonzero(present):
        out[joint] = poses[names[JOINTS[joint]]]
    return out, present


def vrm_bones_for(available: Collection[str]) -> dict[int, str]:
    """Which VRM bone of a model each of our joints drives.

    A model need not have all: `upperChest` exists only with `chest`, toes, shoulders, chest and neck are optional.

    Args:
        available: bones of the model, in VRM's spelling.

    Raises:
        InputError: a bone that VRM requires is missing.
    """
    missing = sorted(VRM_REQUIRED - set(available))
    if missing:
        raise InputError(f"the model is no VRM humanoid: the required bones {', '.join(missing)} are missing")
    return {
        joint: VRM_BONES[name]
        for joint, name in enumerate(JOINTS)
        if VRM_BONES[name] in available and (VRM_BONES[name] != "upperChest" or "chest" in available)
    }


def xr_bd_poses(positions_m: Array, orientations: Array) -> tuple[Array, Array]:
    """Positions (24, 3) and orientations (24, 3, 3) in `XR_BD_JOINTS`' order from ours; the hands follow the wrists.

    Args:
        positions_m: (22, 3) world positions [m].
        orientations: (22, 3, 3) world from bone, canonical frames.
    """
    wrists = [JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"]]
    along = np.array([[-_HAND_M, 0.0, 0.0], [_HAND_M, 0.0, 0.0]])
    hands = positions_m[wrists] + np.einsum("hij,hj->hi", orientations[wrists], along)
    return np.concatenate([positions_m, hands]), np.concatenate([orientations, orientations[wrists]])
