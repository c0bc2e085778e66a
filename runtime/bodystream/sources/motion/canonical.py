"""From a file's joints, axes and unit to a motion of the canonical skeleton.

For every bone the file's world orientation, relative to a pose in which the person is known to stand, is applied to the
canonical T-pose (`geometry.skeleton.align_rest`): rigs of different rest poses and bone axes give the same rotations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from bodystream.errors import InputError
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.rotations import quaternion_from_matrix
from bodystream.geometry.skeleton import (
    HEAD,
    JOINT_INDEX,
    JOINTS,
    PARENTS,
    Skeleton,
    align_rest,
    forward_kinematics,
    local_rotations,
)
from bodystream.sources.motion.mapping import JointMap, map_joints
from bodystream.sources.motion.rest import Rest, find_rest, zero_pose
from bodystream.sources.motion.rig import RigMotion, rig_kinematics
from bodystream.sources.motion.units import metres_per_unit
from bodystream.sources.motion.upright import floor_shift_m, turn_upright
from bodystream.types import Array

__all__ = ["TakeFacts", "canonical_clip"]

_TRUNK = 0.4
"""Length from the pelvis to the head, as a part of the height of the head."""
_RIGID_M = 1e-5
_USUAL_RATE_HZ = 120.0
_PELVIS = JOINT_INDEX["pelvis"]


@dataclass(frozen=True, slots=True)
class TakeFacts:
    """What is known about a take besides its file.

    Attributes:
        name, subject, description, origin: as in `MotionClip`.
        rate_hz: the true rate where the file's header lies, else None.
        metres_per_unit: None where it must be inferred.
        skip_first: the first frame is a T-pose and no part of the motion.
        up: the axis of the motion that is up (`y`, `-y`, `z`...); None where it must be found out.
    """

    name: str
    subject: str = ""
    description: str = ""
    origin: str = ""
    rate_hz: float | None = None
    metres_per_unit: float | None = None
    skip_first: bool = False
    up: str | None = None


def canonical_clip(motion: RigMotion, facts: TakeFacts, warnings: list[str] | None = None) -> MotionClip:
    """The motion on the canonical skeleton, the floor at y = 0.

    Args:
        motion: of a file.
        facts: what an index says about it.
        warnings: what had to be guessed is appended here, each naming the take.

    Raises:
        InputError: joints are missing, the pose at rest is no person's, or no unit gives a person's size.
    """
    try:
        return _canonical(motion, facts, warnings)
    except InputError as error:  # of a skeleton that knows no file
        if motion.name in str(error):
            raise
        raise InputError(f"{motion.name}: {error}") from error


def _canonical(motion: RigMotion, facts: TakeFacts, warnings: list[str] | None) -> MotionClip:
    notes = list(motion.notes)
    if facts.skip_first and len(motion) > 1:
        motion = _without_first(motion)
    joint_map = map_joints(motion, zero_pose(motion)[0])
    rest = find_rest(motion, joint_map, notes)
    turned = (rest.positions - rest.positions[_PELVIS]) @ rest.ours_from_file.T
    skeleton, rest_from_canonical = align_rest(_in_range(turned, motion.name))
    given = metres_per_unit(
        skeleton.stature_m * _range_factor(turned), motion.metres_per_unit, facts.metres_per_unit, motion.name, notes
    )
    skeleton = Skeleton(skeleton.offsets_m * _range_factor(turned) * given)
    positions, world = _world_motion(motion, joint_map, rest, given)
    file_from_ours = motion.file_from_motion @ rest.ours_from_file.T
    axes_notes: list[str] = []
    upright = turn_upright(positions, skeleton.stature_m, file_from_ours, facts.up, axes_notes)
    notes += axes_notes
    if not np.array_equal(upright, np.eye(3)):
        positions, world = {joint: at @ upright.T for joint, at in positions.items()}, upright @ world
    _palms_down(rest_from_canonical, joint_map, motion, rest)
    skeleton, world, residual_m = _rigid(skeleton, world @ rest_from_canonical, positions)
    if residual_m > 0.02:
        notes.append(
            f"joints between the 22 bend in it, so that bones change their length; joints are off by up to "
            f"{100 * residual_m:.1f} cm"
        )
    roots = positions[_PELVIS].copy()
    lies = np.median((positions[HEAD] - roots)[:, 1]) < 0.3 * skeleton.stature_m * _TRUNK
    if lies and not axes_notes and facts.up is None:
        notes.append(
            "the person mostly lies, crawls or has the head below; if not, its motion has other axes than its zero "
            "pose, and up=z (or the axis that it is) in an index.csv beside it settles that"
        )
    on_top = rest.ours_from_file @ motion.root_offset * given
    roots[:, 1] += floor_shift_m(skeleton, world, roots, (on_top[1], (upright @ on_top)[1]), notes)
    rate_hz = facts.rate_hz or motion.rate_hz
    if rate_hz is None:
        rate_hz = _USUAL_RATE_HZ
        notes.append(f"its format says no frame rate; {rate_hz:.0f} Hz was taken, as CMU's database has")
    if warnings is not None:
        warnings.extend(f"{facts.name}: {note}" for note in notes)
    return MotionClip(
        name=facts.name,
        subject=facts.subject,
        rate_hz=float(rate_hz),
        skeleton=skeleton,
        rotations_xyzw=quaternion_from_matrix(local_rotations(world)).astype(np.float32),
        root_positions_m=roots.astype(np.float32),
        description=facts.description,
        origin=facts.origin,
    )


def _without_first(motion: RigMotion) -> RigMotion:
    return replace(
        motion,
        rotations=motion.rotations[1:],
        root_positions=motion.root_positions[1:],
        translations={joint: values[1:] for joint, values in motion.translations.items()},
    )


def _range_factor(positions: Array) -> float:
    """What to divide positions of any unit by so that a skeleton takes them for metres."""
    return float(np.abs(positions).max())


def _in_range(positions: Array, name: str) -> Array:
    factor = _range_factor(positions)
    if not factor > 0:
        raise InputError(f"{name}: all joints of the skeleton are in one point")
    return positions / factor


def _world_motion(motion: RigMotion, joint_map: JointMap, rest: Rest, metres: float) -> tuple[dict[int, Array], Array]:
    """Positions of the joints that the file has [m], and (T, 22, 3, 3) orientations relative to the rest; our axes."""
    positions, frames = rig_kinematics(motion, joint_map.used())
    turn = rest.ours_from_file
    out: dict[int, Array] = {}
    world = np.empty((len(motion), len(JOINTS), 3, 3))
    for joint in range(len(JOINTS)):
        theirs = joint_map.joints.get(joint)
        if theirs is None:
            world[:, joint] = world[:, PARENTS[joint]]  # identity: it follows its parent
            if joint in joint_map.feet_from_end_sites:
                ankle = joint_map.feet_from_end_sites[joint]
                out[joint] = (positions[ankle] + frames[ankle] @ motion.end_sites[ankle]) @ turn.T * metres
            continue
        out[joint] = positions[theirs] @ turn.T * metres
        # A rig may hold the hand's own bend in a joint beyond the wrist: the hand is what is tracked.
        bone = joint_map.hands.get(joint, theirs)
        world[:, joint] = turn @ frames[bone] @ rest.orientations[bone].T @ turn.T
    return out, world


def _palms_down(aligned: Array, joint_map: JointMap, motion: RigMotion, rest: Rest) -> None:
    """Twist the wrists' canonical frames so that the thumbs point ahead in the T-pose; changes `aligned` in place."""
    zero, _ = zero_pose(motion, rest.orientations)
    for wrist, thumb in joint_map.thumbs.items():
        base = joint_map.joints[wrist]
        tip = motion.end_sites.get(thumb, np.zeros(3))
        along = zero[thumb] - zero[base] + rest.orientations[thumb] @ tip
        local = aligned[wrist].T @ (rest.ours_from_file @ along)
        if np.hypot(local[1], local[2]) > 0.2 * np.linalg.norm(local) > 0.0:
            aligned[wrist] = aligned[wrist] @ Rotation.from_euler("x", np.arctan2(local[1], -local[2])).as_matrix()


def _rigid(skeleton: Skeleton, world: Array, positions: dict[int, Array]) -> tuple[Skeleton, Array, float]:
    """Offsets and orientations that reproduce the file's joints, and the largest distance that remains [m].

    Where the file bends between two of our joints (CMU's `Neck1`), the bone gets its median length and is turned to
    point at the file's joint. Elsewhere nothing changes but the last digits.
    """
    offsets, world = skeleton.offsets_m.copy(), world.copy()
    for joint in range(1, len(JOINTS)):
        parent = PARENTS[joint]
        if joint not in positions or parent not in positions:
            continue
        local = np.einsum("tji,tj->ti", world[:, parent], positions[joint] - positions[parent])
        if np.abs(local - offsets[joint]).max() < _RIGID_M:
            continue
        lengths = np.linalg.norm(local, axis=1)
        if PARENTS.count(parent) > 1 or lengths.min() < 1e-3:
            offsets[joint] = np.median(local, axis=0)
            continue
        direction = offsets[joint] / np.linalg.norm(offsets[joint])
        offsets[joint] = direction * np.median(lengths)
        axis = np.cross(np.broadcast_to(direction, local.shape), local)
        sine = np.linalg.norm(axis, axis=1)
        angle = np.arctan2(sine, local @ direction)
        turn = Rotation.from_rotvec(axis * (angle / np.maximum(sine, 1e-12))[:, None]).as_matrix()
        world[:, parent] = world[:, parent] @ turn
    fitted, _ = forward_kinematics(offsets, local_rotations(world), positions[_PELVIS])
    residual = max(float(np.linalg.norm(fitted[:, j] - at, axis=1).max()) for j, at in positions.items())
    return Skeleton(offsets), world, residual
