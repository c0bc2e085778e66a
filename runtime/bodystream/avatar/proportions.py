"""How the surface of the shipped body is fitted to the proportions of a person.

Skeletons of different origin agree on hips, knees, ankles, shoulders, elbows and wrists: a person has these in one
place. They do not agree on the pelvis, the spine, the collars and the neck, which are where a rig's maker put them, and
some have their head joint half-way down the neck. So the surface is fitted to the former, and the latter are pivots of
the pose only; the head sits on its joint where that leaves it a neck.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, Skeleton, align_rest, forward_kinematics, local_rotations
from bodystream.types import Array, SkinnedMesh

__all__ = ["FittedRig", "fit_rig"]

_WIDEST, _NARROWEST = 1.25, 0.8  # how far the torso's width may leave the body's size
_LONGEST_NECK, _SHORTEST_NECK = 1.6, 0.8
_FLATTEST = 0.5  # how far the height of the foot below the ankle may leave the body's size
_LONGEST, _SHORTEST = 4.0, 0.25  # how far the length of a bone may leave the body's size
_TOES = [JOINT_INDEX["left_foot"], JOINT_INDEX["right_foot"]]


@dataclass(frozen=True, slots=True)
class FittedRig:
    """A body in a person's proportions.

    Attributes:
        skin: at bind, an A-pose: vertices and joints are the person's; the pelvis is where the shipped body has it. Its
            `bone_from_bind`, float64 and rigid, leads to each bone's canonical frame: a vertex is in the T-pose where
            its bones, blended, take it.
        skeleton: the person's.
    """

    skin: SkinnedMesh
    skeleton: Skeleton


def fit_rig(rig: SkinnedMesh, skeleton: Skeleton | None = None) -> FittedRig:
    """The body with a person's proportions; default: its own.

    Girth follows the person's size (the height of the shoulders above the ankles), length follows each bone, the torso
    reaches from hips to shoulders and follows their width within limits, and feet are as high as their joints say, so
    that the soles come to the person's floor.

    Raises:
        InputError: bones that no body has (no length, upside down, many times too long), with the bone's name.
    """
    at_rest, vertices = rig.bind_positions_m.astype(np.float64), rig.mesh.vertices
    own, bind_from_bone = align_rest(at_rest)
    bone_from_bind = np.tile(np.eye(4), (len(JOINTS), 1, 1))
    bone_from_bind[:, :3, :3] = np.swapaxes(bind_from_bone, 1, 2)
    if skeleton is None:
        skeleton, joints = own, at_rest
    else:
        turns = local_rotations(bind_from_bone)
        joints, _ = forward_kinematics(skeleton.offsets_m, turns, at_rest[0])
        # Of each bone: its own bind pose to its own T-pose, to the person's T-pose, to the person's bind pose.
        tpose_from_bind = _rigid(bone_from_bind[:, :3, :3], at_rest, own.rest_positions_m)
        bind_from_tpose = _rigid(bind_from_bone, skeleton.rest_positions_m, joints)
        sole = float(at_rest[_TOES, 1].mean() - rig.mesh.vertices[:, 1].min())
        maps = bind_from_tpose @ _person_from_own(own, skeleton, sole) @ tpose_from_bind
        vertices = _blend(rig, maps).astype(np.float32)
        vertices.flags.writeable = False
    bone_from_bind[:, :3, 3] = -np.einsum("jab,jb->ja", bone_from_bind[:, :3, :3], joints)
    mesh = replace(rig.mesh, vertices=vertices)
    return FittedRig(replace(rig, mesh=mesh, bone_from_bind=bone_from_bind), skeleton)


def _rigid(turns: Array, start: Array, end: Array) -> Array:
    """(J, 4, 4): each of the (J, 3, 3) turns about its `start`, which goes to its `end`."""
    out = np.tile(np.eye(4), (len(turns), 1, 1))
    out[:, :3, :3] = turns
    out[:, :3, 3] = end - np.einsum("jab,jb->ja", turns, start)
    return out


def _blend(rig: SkinnedMesh, maps: Array) -> Array:
    """(V, 3): the vertices by the (J, 4, 4) maps of their joints, blended by their weights."""
    blended = np.einsum("vk,vkab->vab", rig.weights.astype(np.float64), maps[rig.bones, :3])
    return np.einsum("vab,vb->va", blended[..., :3], rig.mesh.vertices.astype(np.float64)) + blended[..., 3]


def _person_from_own(own: Skeleton, person: Skeleton, sole: float) -> Array:
    """(22, 4, 4): of each bone, the map from the body's own T-pose to the person's; its soles are `sole` below its
    toes' joints [m]."""
    c, p = own.rest_positions_m, person.rest_positions_m
    maps = np.tile(np.eye(4), (len(JOINTS), 1, 1))

    def middle(points: Array, part: str) -> Array:
        return 0.5 * (points[JOINT_INDEX[f"left_{part}"]] + points[JOINT_INDEX[f"right_{part}"]])

    tall, to_tall = (float(middle(points, "shoulder")[1] - middle(points, "ankle")[1]) for points in (c, p))
    size = to_tall / tall
    if not 0.2 < size < 5.0:
        raise InputError(
            f"the skeleton's shoulders are {to_tall:.2f} m above its ankles, wanted 0.3 to 6 m: check its unit, and "
            "that its T-pose stands upright along y"
        )

    def width(points: Array, part: str) -> float:
        return float(points[JOINT_INDEX[f"right_{part}"]][0] - points[JOINT_INDEX[f"left_{part}"]][0])

    def stretch(what: str, start: Array, end: Array, to_start: Array, to_end: Array, across: Array, axis: int) -> Array:
        """Takes `start` to `to_start` and `end` to `to_end`; the axes across are scaled, `axis` leans as it must."""
        along = end - start
        linear = np.diag(across)
        linear[:, axis] = 0.0
        linear[:, axis] = (to_end - to_start - linear @ along) / along[axis]
        if not _SHORTEST * size < linear[axis, axis] < _LONGEST * size:
            raise InputError(
                f"the skeleton's {what} is {100 * (to_end - to_start)[axis]:.0f} cm long where the body's is "
                f"{100 * along[axis]:.0f} cm: a joint is missing, mapped twice, or has another unit or axis"
            )
        return _affine(linear, start, to_start)

    girth = np.full(3, size)
    hips, shoulders = middle(c, "hip"), middle(c, "shoulder")
    to_hips, to_shoulders = middle(p, "hip"), middle(p, "shoulder")
    for part, bones in (("hip", ("pelvis", "spine1")), ("shoulder", ("spine2", "spine3"))):
        if width(p, part) <= 0.0:
            raise InputError(f"the skeleton's left {part} is not left of the right one: left and right are swapped")
        across = girth * (np.clip(width(p, part) / width(c, part) / size, _NARROWEST, _WIDEST), 1.0, 1.0)
        for bone in bones:
            maps[JOINT_INDEX[bone]] = stretch("torso", hips, shoulders, to_hips, to_shoulders, across, 1)
    pelvis, chest = maps[JOINT_INDEX["pelvis"]], maps[JOINT_INDEX["spine3"]]

    head, neck = JOINT_INDEX["head"], JOINT_INDEX["neck"]
    nape, to_head, neck_m = _apply(chest, c[neck]), p[head].copy(), size * (c[head] - c[neck])[1]
    to_head[1] = nape[1] + np.clip(to_head[1] - nape[1], _SHORTEST_NECK * neck_m, _LONGEST_NECK * neck_m)
    maps[head] = _affine(np.diag(girth), c[head], to_head)
    maps[neck] = stretch("neck", c[neck], c[head], nape, to_head, girth, 1)
    for side in ("left", "right"):
        joint = {part: JOINT_INDEX[f"{side}_{part}"] for part in ("hip", "knee", "ankle", "foot")}
        joint |= {part: JOINT_INDEX[f"{side}_{part}"] for part in ("collar", "shoulder", "elbow", "wrist")}
        # The thigh's flesh starts where the torso's ends; rigs differ in how far apart they put the hip joints.
        hip = _apply(pelvis, c[joint["hip"]])
        maps[joint["hip"]] = stretch(
            f"{side} thigh", c[joint["hip"]], c[joint["knee"]], hip, p[joint["knee"]], girth, 1
        )
        for part, child, axis, what in (
            ("knee", "ankle", 1, "shin"),
            ("shoulder", "elbow", 0, "upper arm"),
            ("elbow", "wrist", 0, "forearm"),
        ):
            a, b = joint[part], joint[child]
            maps[a] = stretch(f"{side} {what}", c[a], c[b], p[a], p[b], girth, axis)
        collar = chest.copy()
        collar[:3, 3] += p[joint["shoulder"]] - _apply(chest, c[joint["shoulder"]])
        maps[joint["collar"]] = collar
        maps[joint["wrist"]] = _affine(np.diag(girth), c[joint["wrist"]], p[joint["wrist"]])
        ankle, foot = joint["ankle"], joint["foot"]
        length = (p[foot] - p[ankle])[2] / (c[foot] - c[ankle])[2] / size
        # Rigs differ in how far their toes' joints are below their ankles; the sole is where the person's floor is.
        drop, to_drop = (c[ankle] - c[foot])[1], (p[ankle] - p[foot])[1]
        height = (to_drop / size + sole) / (drop + sole)
        along_foot = girth * (
            1.0,
            np.clip(height, _FLATTEST, _WIDEST),
            np.clip(length, _NARROWEST, _WIDEST),
        )
        maps[ankle] = maps[foot] = _affine(np.diag(along_foot), c[ankle], p[ankle])
    return maps


def _affine(linear: Array, start: Array, to_start: Array) -> Array:
    """(4, 4): `linear` about `start`, which goes to `to_start`."""
    out = np.eye(4)
    out[:3, :3] = linear
    out[:3, 3] = to_start - linear @ start
    return out


def _apply(affine: Array, point: Array) -> Array:
    return affine[:3, :3] @ point + affine[:3, 3]
