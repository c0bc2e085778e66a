"""Skeletons that other programs know: names, tree, rest pose, bones' axes and unit of what users import there.

Our 22 joints are the bones of every rig; a rig may have further ones, which stand still to one of these: SMPL's hands,
CMU's hip joints, Mixamo's ends. What each is made of:

- `vrm`: bones named as in VRM 1.0, unturned at rest in the T-pose, as of a normalised avatar.
- `mixamo`: names with `mixamorig:`, centimetres; in a glTF bones have Mixamo's axes: y along the bone.
- `smpl`: the 24 joints by the names of SMPL's FBX files (`m_avg_...`), unturned at rest in the T-pose, metres.
- `cmu`: the joints of the CMU motion files, which rest with their legs 20 degrees apart, in their unit, 1/0.45 inch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from bodystream.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix, turn_about
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, PARENTS, Skeleton, forward_kinematics
from bodystream.geometry.skeleton_maps import VRM_BONES
from bodystream.sinks.facing import FACING_VECTOR
from bodystream.types import Array, SkinnedMesh

__all__ = ["OWN_RIG", "RIGS", "FittedRig", "Rig", "RigBone", "RigName"]

RigName = Literal["vrm", "mixamo", "smpl", "cmu"]

_INCH_M = 0.0254
_SPREAD_DEG = 20.0  # of each of CMU's legs
# Where the bones of the last joints end, in parts of the stature: toes ahead, the crown above, knuckles outwards.
_ENDS = {
    "left_foot": (0.0, 0.0, -0.05),
    "right_foot": (0.0, 0.0, -0.05),
    "head": (0.0, 0.1, 0.0),
    "left_wrist": (-0.06, 0.0, 0.0),
    "right_wrist": (0.06, 0.0, 0.0),
}


@dataclass(frozen=True, slots=True)
class RigBone:
    """A bone of a rig.

    Attributes:
        name: in the rig.
        joint: ours that it turns as.
        above: name of the bone that it hangs on; empty = none.
        towards: of a further bone, the joint that it lies on the way to from `joint`; empty = it ends `joint`'s bone.
        part: of that way, 0 = on the joint. A bone on its joint with `is_joint` is that joint.
        is_joint: whether it is the joint itself, and no further bone.
        end: of one on which nothing hangs, where it ends, from it in parts of the stature, in the axes of the T-pose;
            None = where the joint's bone ends.
    """

    name: str
    joint: str
    above: str
    towards: str = ""
    part: float = 0.0
    is_joint: bool = True
    end: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Rig:
    """A skeleton that other programs know.

    Attributes:
        name: as a user types it.
        bones: each after the one that it hangs on, and so that what hangs on one comes before the next.
        metres: of its unit of length in motion files [m].
        decimals: of lengths in motion files.
        spread_deg: how far each leg is from the T-pose's at rest.
        y_along: whether bones of a glTF have their y along them, as Mixamo's have.
    """

    name: str
    bones: tuple[RigBone, ...]
    metres: float = 0.01
    decimals: int = 4
    spread_deg: float = 0.0
    y_along: bool = False


def _depth_first(names: dict[str, str]) -> tuple[RigBone, ...]:
    """Our joints by other names."""
    out: list[RigBone] = []

    def visit(joint: int) -> None:
        above = PARENTS[joint]
        out.append(RigBone(names[JOINTS[joint]], JOINTS[joint], names[JOINTS[above]] if above >= 0 else ""))
        for child, parent in enumerate(PARENTS):
            if parent == joint:
                visit(child)

    visit(0)
    return tuple(out)


def _with(bones: tuple[RigBone, ...], *further: RigBone) -> tuple[RigBone, ...]:
    """Further bones, each right behind the one that it hangs on, which has no other."""
    out = list(bones)
    for bone in further:
        out.insert(next(k for k, other in enumerate(out) if other.name == bone.above) + 1, bone)
    return tuple(out)


_MIXAMO_CENTRE = {"pelvis": "Hips", "spine1": "Spine", "spine2": "Spine1", "spine3": "Spine2", "neck": "Neck",
                  "head": "Head"}  # fmt: skip
_MIXAMO_SIDED = {"hip": "UpLeg", "knee": "Leg", "ankle": "Foot", "foot": "ToeBase", "collar": "Shoulder",
                 "shoulder": "Arm", "elbow": "ForeArm", "wrist": "Hand"}  # fmt: skip


def _mixamo_name(joint: str) -> str:
    side, _, part = joint.partition("_")
    return f"mixamorig:{_MIXAMO_CENTRE.get(joint) or side.capitalize() + _MIXAMO_SIDED[part]}"


def _smpl_name(joint: str) -> str:
    side, _, part = joint.partition("_")
    return f"m_avg_{side[0].upper()}_{part.capitalize()}" if part else f"m_avg_{joint.capitalize()}"


def _end(name: str, joint: str, above: str) -> RigBone:
    return RigBone(name, joint, above, part=1.0, is_joint=False)


def _cmu() -> tuple[RigBone, ...]:
    def further(
        name: str,
        joint: str,
        above: str,
        towards: str = "",
        part: float = 0.0,
        end: tuple[float, float, float] | None = None,
    ) -> RigBone:
        return RigBone(name, joint, above, towards, part, False, end)

    out = [RigBone("Hips", "pelvis", "")]
    for side in ("left", "right"):
        s, name = side[0].upper(), side.capitalize()
        out += [
            further(f"{s}HipJoint", "pelvis", "Hips"),
            RigBone(f"{name}UpLeg", f"{side}_hip", f"{s}HipJoint"),
            RigBone(f"{name}Leg", f"{side}_knee", f"{name}UpLeg"),
            RigBone(f"{name}Foot", f"{side}_ankle", f"{name}Leg"),
            RigBone(f"{name}ToeBase", f"{side}_foot", f"{name}Foot"),
        ]
    out += [
        RigBone("LowerBack", "spine1", "Hips"),
        RigBone("Spine", "spine2", "LowerBack"),
        RigBone("Spine1", "spine3", "Spine"),
        RigBone("Neck", "neck", "Spine1"),
        further("Neck1", "neck", "Neck", "head", 0.5),
        RigBone("Head", "head", "Neck1"),
    ]
    for side in ("left", "right"):
        s, name = side[0].upper(), side.capitalize()
        out += [
            RigBone(f"{name}Shoulder", f"{side}_collar", "Spine1"),
            RigBone(f"{name}Arm", f"{side}_shoulder", f"{name}Shoulder"),
            RigBone(f"{name}ForeArm", f"{side}_elbow", f"{name}Arm"),
            # Two thirds down the forearm, whose twist it has; the wrist is the base of the fingers.
            further(f"{name}Hand", f"{side}_elbow", f"{name}ForeArm", f"{side}_wrist", 2.0 / 3.0),
            RigBone(f"{name}FingerBase", f"{side}_wrist", f"{name}Hand"),
            further(f"{name}HandIndex1", f"{side}_wrist", f"{name}FingerBase", part=0.6),
            further(f"{s}Thumb", f"{side}_wrist", f"{name}Hand", end=(-0.02 if s == "L" else 0.02, 0.0, -0.02)),
        ]
    return tuple(out)


OWN_RIG = Rig("own", _depth_first({name: name for name in JOINTS}))
RIGS: dict[RigName, Rig] = {
    "vrm": Rig("vrm", _depth_first(VRM_BONES)),
    "mixamo": Rig(
        "mixamo",
        _with(
            _depth_first({name: _mixamo_name(name) for name in JOINTS}),
            _end("mixamorig:HeadTop_End", "head", "mixamorig:Head"),
            *(
                _end(f"mixamorig:{side}Toe_End", f"{side.lower()}_foot", f"mixamorig:{side}ToeBase")
                for side in ("Left", "Right")
            ),
        ),
        y_along=True,
    ),
    "smpl": Rig(
        "smpl",
        _with(
            _depth_first({name: _smpl_name(name) for name in JOINTS}),
            *(
                _end(f"m_avg_{s}_Hand", f"{side}_wrist", f"m_avg_{s}_Wrist")
                for s, side in (("L", "left"), ("R", "right"))
            ),
        ),
        metres=1.0,
        decimals=6,
    ),
    "cmu": Rig("cmu", _cmu(), metres=_INCH_M / 0.45, decimals=6, spread_deg=_SPREAD_DEG),
}
assert tuple(RIGS) == get_args(RigName)


class FittedRig:
    """A rig with a person's lengths, in the files' axes: right-handed, y up, looking along +z.

    Args:
        rig: the rig.
        skeleton: the person's.
        turned: bones have the rig's own axes at rest, as a glTF can say; else those of the file, as in BVH.

    Attributes:
        rig: as given.
        names: of the bones.
        parents: of each bone its parent, -1 = none.
        offsets_m: (B, 3) from each bone's parent to it at rest, in the parent's axes [m]; of the root zero.
        ends_m: of each bone on which nothing hangs, by index, (3,) where it ends in its own axes [m].
        rest: (B, 3, 3) of each bone at rest in its parent's frame.
        height_m: of the root above the lowest joint at rest [m].
    """

    def __init__(self, rig: Rig, skeleton: Skeleton, turned: bool = False) -> None:
        self.rig = rig
        self.names = tuple(bone.name for bone in rig.bones)
        self.parents = [self.names.index(bone.above) if bone.above else -1 for bone in rig.bones]
        self._follows = np.array([JOINT_INDEX[bone.joint] for bone in rig.bones])
        joints, world, ends, places = _at_rest(rig, skeleton)
        self.height_m = float(-joints[:, 1].min())
        axes = (
            _axes(rig, places, self.parents, self._follows, ends) if turned else np.tile(np.eye(3), (len(places), 1, 1))
        )
        # Of each bone, its frame as seen from its joint's canonical one; the same in every pose.
        turns = np.swapaxes(world[self._follows], 1, 2)
        self._frames = np.tile(np.eye(4), (len(places), 1, 1))
        self._frames[:, :3, :3] = turns @ axes
        self._frames[:, :3, 3] = np.einsum("bij,bj->bi", turns, places - joints[self._follows])
        above = np.maximum(self.parents, 0)
        self._axes = axes
        self.offsets_m = self._between(places)
        self.rest = np.swapaxes(axes[above], 1, 2) @ axes
        self.rest[0] = axes[0]
        self.ends_m: dict[int, Array] = {}
        for bone, described in enumerate(rig.bones):
            if bone in self.parents:
                continue
            joint = self._follows[bone]
            end = joints[joint] + ends[joint] - places[bone]
            if described.end is not None:
                end = world[joint] @ (np.array(described.end) * FACING_VECTOR * skeleton.stature_m)
            if np.linalg.norm(end) > 1e-6:
                self.ends_m[bone] = axes[bone].T @ end

    def offsets_of(self, skeleton: Skeleton) -> Array:
        """(B, 3) as `offsets_m`, of another person on these bones, whose axes stay as they are [m]."""
        return self._between(_at_rest(self.rig, skeleton)[3])

    def _between(self, places: Array) -> Array:
        above = np.maximum(self.parents, 0)
        return np.einsum("bji,bj->bi", self._axes[above], places - places[above])

    def rotations(self, rotations_xyzw: Array) -> Array:
        """(T, B, 4) quaternions of the bones in their parents' frames.

        Args:
            rotations_xyzw: (T, 22, 4) of our joints, as seen from the files' axes (`sinks.facing`).
        """
        if self.is_own:
            return rotations_xyzw[:, self._follows]
        local = matrix_from_quaternion(rotations_xyzw)
        _, world = forward_kinematics(np.zeros((len(JOINTS), 3)), local, np.zeros((len(local), 3)))
        bones = world[:, self._follows] @ self._frames[:, :3, :3]
        out = bones.copy()
        for bone, parent in enumerate(self.parents):
            if parent >= 0:
                out[:, bone] = np.swapaxes(bones[:, parent], 1, 2) @ bones[:, bone]
        return quaternion_from_matrix(out)

    @property
    def is_own(self) -> bool:
        """Whether the bones are our joints and turn as they do."""
        return self.rig is OWN_RIG

    def skin(self, skin: SkinnedMesh) -> SkinnedMesh:
        """A skin on our joints, turned to the files' axes, on these bones instead."""
        bone_of = np.zeros(len(JOINTS), np.int32)
        for bone, described in enumerate(self.rig.bones):
            if described.is_joint:
                bone_of[self._follows[bone]] = bone
        which = np.where(skin.bones >= 0, bone_of[skin.bones], -1).astype(np.int32)
        bind = np.linalg.inv(self._frames) @ skin.bone_from_bind[self._follows]
        bind[:, 3] = (0.0, 0.0, 0.0, 1.0)
        parents = np.array(self.parents, np.int32)
        return replace(skin, bones=which, bone_from_bind=bind, parents=parents, names=self.names)


def _at_rest(rig: Rig, skeleton: Skeleton) -> tuple[Array, Array, dict[int, Array], Array]:
    """A person as the rig stands: (22, 3) joints with the pelvis at the origin and their (22, 3, 3) orientations, where
    the bones of the last joints end, from these, and (B, 3) places of the bones; in the files' axes [m]."""
    local = np.tile(np.eye(3), (len(JOINTS), 1, 1))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        spread = turn_about(np.array([0.0, 0.0, 1.0]), sign * np.radians(rig.spread_deg))
        local[JOINT_INDEX[f"{side}_hip"]] = spread
    joints, world = forward_kinematics(skeleton.offsets_m * FACING_VECTOR, local, np.zeros(3))
    size = skeleton.stature_m
    ends = {
        JOINT_INDEX[name]: world[JOINT_INDEX[name]] @ (np.array(end) * FACING_VECTOR * size)
        for name, end in _ENDS.items()
    }
    return joints, world, ends, np.array([_place(bone, joints, ends) for bone in rig.bones])


def _place(bone: RigBone, joints: Array, ends: dict[int, Array]) -> Array:
    joint = JOINT_INDEX[bone.joint]
    if bone.is_joint or bone.part == 0.0:
        return joints[joint]
    end = joints[JOINT_INDEX[bone.towards]] if bone.towards else joints[joint] + ends[joint]
    return joints[joint] + bone.part * (end - joints[joint])


def _axes(rig: Rig, places: Array, parents: list[int], follows: Array, ends: dict[int, Array]) -> Array:
    """(B, 3, 3) axes of bones at rest in the file's: y along each of them, as Mixamo has it."""
    out = np.tile(np.eye(3), (len(places), 1, 1))
    if not rig.y_along:
        return out
    for bone in range(1, len(places)):
        side, _, part = JOINTS[follows[bone]].partition("_")
        x = np.array([1.0, 0.0, 0.0])
        if part in ("hip", "knee", "ankle", "foot"):
            x = -x
        elif part:
            x = np.array([0.0, 0.0, -1.0 if side == "left" else 1.0])
        children = [k for k, parent in enumerate(parents) if parent == bone]
        if children:
            along = places[children[0]] - places[bone]
        elif follows[bone] in ends and not np.allclose(places[bone], places[parents[bone]]):
            along = ends[int(follows[bone])]
        else:
            along = places[bone] - places[parents[bone]]
        y = along - x * (x @ along)
        y /= np.linalg.norm(y)
        out[bone] = np.stack([x, y, np.cross(x, y)], axis=1)
    return out
