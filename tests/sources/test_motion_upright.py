"""Which way is up, where the floor is, and where the head looks: of a person who walks, written in many ways."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from test_motion_amass import write_take

from bodystream.errors import InputError
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.skeleton import HEAD, JOINT_INDEX
from bodystream.sources.motion.amass import read_amass
from bodystream.sources.motion.canonical import TakeFacts, canonical_clip
from bodystream.sources.motion.catalogue import index_rows
from bodystream.sources.motion.rig import RigMotion, rig_kinematics
from helpers.motion_files import rig_file, walking_file

FACTS = TakeFacts("take", metres_per_unit=0.01)
FEET = [JOINT_INDEX["left_foot"], JOINT_INDEX["right_foot"]]


def turned(motion: RigMotion, rotation: Rotation, shift: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> RigMotion:
    """The motion in other axes, its zero pose as it was."""
    matrix = rotation.as_matrix()
    rotations = motion.rotations.copy()
    rotations[:, 0] = matrix @ rotations[:, 0]
    return replace(motion, rotations=rotations, root_positions=motion.root_positions @ matrix.T + shift)


def assert_same_but_for_the_heading(found: MotionClip, wanted: MotionClip, atol: float = 1e-4) -> None:
    ours, theirs = found.joints(), wanted.joints()
    np.testing.assert_allclose(ours[0][:, :, 1], theirs[0][:, :, 1], atol=atol)
    np.testing.assert_allclose(found.rotations_xyzw[:, 1:], wanted.rotations_xyzw[:, 1:], atol=1e-5)
    np.testing.assert_allclose(ours[1][:, :, 1, 1], theirs[1][:, :, 1, 1], atol=1e-5)
    steps = [np.linalg.norm(np.diff(clip.root_positions_m[:, [0, 2]], axis=0), axis=1) for clip in (found, wanted)]
    np.testing.assert_allclose(steps[0], steps[1], atol=1e-4)


WALK = canonical_clip(walking_file().motion(), FACTS)
TO_AXIS = {
    "z": Rotation.from_euler("x", 90, degrees=True),
    "-z": Rotation.from_euler("x", -90, degrees=True),
    "-y": Rotation.from_euler("x", 180, degrees=True),
    "x": Rotation.from_euler("z", -90, degrees=True),
    "-x": Rotation.from_euler("z", 90, degrees=True),
}


def test_the_walk_is_one() -> None:
    warnings: list[str] = []
    canonical_clip(walking_file().motion(), FACTS, warnings)
    assert not warnings
    positions, world = WALK.joints()
    assert 1.4 < np.median(positions[:, HEAD, 1]) < 1.7
    assert np.median(world[:, HEAD, 1, 1]) > 0.99
    assert WALK.root_positions_m[-1, 2] < WALK.root_positions_m[0, 2] - 1.0


@pytest.mark.parametrize("axis", TO_AXIS)
@pytest.mark.parametrize("heading_deg", [0.0, 90.0, 37.0])
def test_a_motion_in_other_axes_than_its_zero_pose_is_turned(axis: str, heading_deg: float) -> None:
    motion = turned(walking_file().motion(), TO_AXIS[axis] * Rotation.from_euler("y", heading_deg, degrees=True))
    warnings: list[str] = []
    clip = canonical_clip(motion, FACTS, warnings)
    assert_same_but_for_the_heading(clip, WALK)
    assert any(f"upright along the file's {axis} axis, which was taken for up" in note for note in warnings)
    assert not any("wxyz" in note for note in warnings)


def test_a_camera_above_the_ground_with_y_down() -> None:
    motion = turned(walking_file().motion(), TO_AXIS["-y"], (30.0, 140.0, 250.0))
    warnings: list[str] = []
    assert_same_but_for_the_heading(canonical_clip(motion, FACTS, warnings), WALK)
    assert any("upright along the file's -y axis" in note for note in warnings)


@pytest.mark.parametrize("axis", ["z", "-y"])
def test_zero_pose_and_motion_in_one_system_need_no_turn(axis: str) -> None:
    motion, turn = walking_file().motion(), TO_AXIS[axis].as_matrix()
    whole = replace(
        motion,
        offsets=motion.offsets @ turn.T,
        rotations=turn @ motion.rotations @ turn.T,
        root_positions=motion.root_positions @ turn.T,
        end_sites={joint: turn @ site for joint, site in motion.end_sites.items()},
    )
    warnings: list[str] = []
    assert_same_but_for_the_heading(canonical_clip(whole, FACTS, warnings), WALK)
    assert not warnings


def lying(kind: str) -> RigMotion:
    """Somebody who lies on the floor and moves a little."""
    motion = rig_file("mixamo", frames=40, bend_deg=4.0).motion()
    turn = Rotation.from_euler("x", {"on the back": -90, "on the face": 90}[kind], degrees=True)
    level = turned(replace(motion, root_positions=motion.root_positions * 0.02), turn, (0.0, 12.0, 0.0))
    # Away from where the file's zero is: nothing stands on it.
    return replace(level, root_positions=level.root_positions + (170.0, 0.0, 230.0))


@pytest.mark.parametrize("kind", ["on the back", "on the face"])
def test_who_lies_stays_lying(kind: str) -> None:
    warnings: list[str] = []
    clip = canonical_clip(lying(kind), FACTS, warnings)
    positions, _ = clip.joints()
    assert np.median(positions[:, HEAD, 1]) < 0.4
    assert any("the person mostly lies, crawls" in note and "up=z" in note for note in warnings)


def test_who_stands_on_the_hands_stays_so() -> None:
    file = rig_file("mixamo", frames=40, bend_deg=4.0)
    motion = file.motion()
    rotations = motion.rotations.copy()
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        arm = motion.joints.index(f"mixamorig:{side}Arm")
        rotations[:, arm] = Rotation.from_euler("z", 88.0 * sign, degrees=True).as_matrix()
    motion = turned(
        replace(motion, rotations=rotations), Rotation.from_euler("x", 180, degrees=True), (0.0, 200.0, 0.0)
    )
    positions, world = canonical_clip(motion, FACTS).joints()
    assert (positions[:, HEAD, 1] < positions[:, 0, 1]).all()
    assert np.median(world[:, HEAD, 1, 1]) < -0.9


def test_doubt_names_both_causes_and_the_index_settles_it(tmp_path: Path) -> None:
    # In place, as far from the file's zero as anybody, and with the floor nowhere.
    motion = rig_file("mixamo", frames=40, bend_deg=4.0).motion()
    doubtful = turned(replace(motion, root_positions=motion.root_positions * 0.02), TO_AXIS["z"], (20.0, -60.0, 30.0))
    warnings: list[str] = []
    kept = canonical_clip(doubtful, FACTS, warnings)
    assert any("either the person lies" in n and "up=z in an index.csv beside it settles" in n for n in warnings)
    assert np.median(kept.joints()[1][:, HEAD, 1, 1]) < 0.3
    (tmp_path / "index.csv").write_text("clip,up\ntake,z\nother,Y\n")
    assert index_rows(tmp_path)["other"].up == "y"
    warnings.clear()
    clip = canonical_clip(doubtful, replace(FACTS, up=index_rows(tmp_path)["take"].up), warnings)
    assert np.median(clip.joints()[1][:, HEAD, 1, 1]) > 0.9
    assert not any("lies" in note or "axes" in note for note in warnings)


def test_the_index_overrules_what_was_found() -> None:
    motion = turned(walking_file().motion(), TO_AXIS["z"])
    clip = canonical_clip(motion, replace(FACTS, up="y"))
    assert np.median(clip.joints()[1][:, HEAD, 1, 1]) < 0.3


def test_an_axis_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text("clip,up\ntake,skywards\n")
    with pytest.raises(InputError, match="line 2: up is 'skywards', wanted an axis of the file: x, y, z, -x, -y or -z"):
        index_rows(tmp_path)


@pytest.mark.parametrize(("axis", "degrees"), [("y", -90.0), ("-y", 90.0)])
def test_amass_files_of_others_with_other_axes(tmp_path: Path, axis: str, degrees: float) -> None:
    rng = np.random.default_rng(3)
    poses = np.zeros((40, 156))
    poses[:, 3:66] = rng.normal(0.0, 0.05, (40, 63))
    poses[:, 48:54] = [0, 0, -1.2, 0, 0, 1.2]  # the arms hang
    upright = Rotation.from_euler("x", 90, degrees=True)
    trans = np.linspace((0.0, 0.0, 1.2), (0.0, -2.0, 1.2), 40)
    poses[:, :3] = upright.as_rotvec()
    write_take(tmp_path / "usual.npz", poses=poses, trans=trans)
    turn = Rotation.from_euler("x", degrees, degrees=True)  # AMASS's z to the other file's axis
    poses[:, :3] = (turn * upright).as_rotvec()
    write_take(tmp_path / "other.npz", poses=poses, trans=turn.apply(trans))
    warnings: list[str] = []
    usual, other = (
        read_amass(tmp_path / f"{name}.npz", TakeFacts(name), warnings=warnings) for name in ("usual", "other")
    )
    assert_same_but_for_the_heading(other, usual, atol=4e-2)  # the pelvis is not where the model's origin is
    assert any(f"upright along the file's {axis} axis" in note for note in warnings)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("relative to the OFFSET", "relative to the root's OFFSET, which is 99 cm up"),
        ("hips at the origin", "its feet stand -102 cm above the file's zero"),
        ("above a camera", "its feet stand 49 cm above the file's zero"),
        ("no translation", "its root never moves"),
        ("no translation, OFFSET", "its root never moves"),
    ],
)
def test_the_floor_is_where_the_feet_are(kind: str, message: str) -> None:
    file = walking_file()
    frames, offset = file.frames.copy(), np.zeros(3)
    if kind == "relative to the OFFSET":
        frames[:, 1] -= 99.0
        offset = np.array([0.0, 99.0, 0.0])
    elif kind == "hips at the origin":
        frames[:, 1] -= 99.0
    elif kind == "above a camera":
        frames[:, 1] += 52.0
    else:
        frames[:, :3] = 0.0
        offset = np.array([0.0, 99.0 if "OFFSET" in kind else 0.0, 0.0])
    file = replace(file, frames=frames, joints=(replace(file.joints[0], offset=offset), *file.joints[1:]))
    warnings: list[str] = []
    clip = canonical_clip(file.motion(), FACTS, warnings)
    assert any(message in note for note in warnings), warnings
    heights = clip.joints()[0][:, FEET, 1].min(axis=1)
    np.testing.assert_allclose(np.percentile(heights, 5), 0.02, atol=1e-3)
    wanted = np.median(WALK.joints()[0][:, HEAD, 1])
    assert np.median(clip.joints()[0][:, HEAD, 1]) == pytest.approx(wanted, abs=0.1 if "no " in kind else 0.03)


def test_a_squat_without_translation_goes_down() -> None:
    file = rig_file("mixamo", frames=30, bend_deg=0.0)
    frames, column = file.frames.copy(), 0
    frames[:, :3] = 0.0
    bend = np.linspace(0.0, 60.0, 30)
    for joint in file.joints:
        column += 3 if joint.parent < 0 else 0
        if joint.name.endswith(("LeftUpLeg", "RightUpLeg")):
            frames[:, column + 2] = -bend
        elif joint.name.endswith(("LeftLeg", "RightLeg")):
            frames[:, column + 2] = 2 * bend
        column += 3
    clip = canonical_clip(replace(file, frames=frames).motion(), FACTS)
    thigh_and_shin = 0.85
    assert clip.root_positions_m[0, 1] - clip.root_positions_m[-1, 1] > 0.4 * thigh_and_shin
    assert clip.joints()[0][:, FEET, 1].min() == pytest.approx(0.02, abs=1e-3)


def test_jumps_on_top_of_the_offset_come_down_to_the_floor() -> None:
    file = walking_file()
    frames = file.frames.copy()
    frames[:, 1] += 60.0 * np.abs(np.sin(np.arange(60) / 6.0)) - 99.0
    file = replace(
        file, frames=frames, joints=(replace(file.joints[0], offset=np.array([0, 99.0, 0])), *file.joints[1:])
    )
    heights = canonical_clip(file.motion(), FACTS).joints()[0][:, FEET, 1].min(axis=1)
    assert np.percentile(heights, 5) == pytest.approx(0.02, abs=0.01)
    assert heights.max() > 0.5


def crumpled(motion: RigMotion, seed: int = 3) -> RigMotion:
    """The same motion of bones with axes of their own, so that the zero pose is no person."""
    turns = Rotation.random(len(motion.joints), random_state=seed).as_matrix()
    above = [turns[parent] if parent >= 0 else np.eye(3) for parent in motion.parents]
    return replace(
        motion,
        offsets=np.stack([a.T @ offset for a, offset in zip(above, motion.offsets, strict=True)]),
        rotations=np.stack([np.swapaxes(a, 0, 1) @ motion.rotations[:, j] @ turns[j] for j, a in enumerate(above)], 1),
        end_sites={joint: turns[joint].T @ site for joint, site in motion.end_sites.items()},
    )


def with_crown(motion: RigMotion, crown: tuple[float, float, float] | None = (0.0, 17.0, 0.0)) -> RigMotion:
    head = motion.joints.index("mixamorig:Head")
    sites = {joint: site for joint, site in motion.end_sites.items() if joint != head}
    return replace(motion, end_sites=sites if crown is None else sites | {head: np.array(crown)})


def head_angles_deg(clip: MotionClip) -> np.ndarray:
    """(T, 2): how far up the head looks, and its roll's sine as degrees."""
    _, world = clip.joints()
    return np.rad2deg(np.arcsin(np.clip(np.stack([-world[:, HEAD, 1, 2], world[:, HEAD, 1, 0]], axis=1), -1, 1)))


@pytest.mark.parametrize("down_deg", [50.0, 25.0, 0.0, -30.0])
def test_a_head_that_looks_down_all_the_time_does(down_deg: float) -> None:
    warnings: list[str] = []
    motion = crumpled(with_crown(walking_file(head_deg=down_deg).motion()))
    clip = canonical_clip(motion, FACTS, warnings)
    assert np.abs(head_angles_deg(clip) - (-down_deg, 0.0)).max() < 3.0
    assert any("the direction in which the head looks was worked out" in note for note in warnings)


def test_a_head_that_was_turned_in_the_most_upright_frame_only() -> None:
    file = walking_file()
    frames = file.frames.copy()
    names = [joint.name for joint in file.joints]
    column = 3 + 3 * names.index("mixamorig:Head")
    frames[:, column + 1] = 70.0 * np.sin(np.arange(60) / 60.0 * 4 * np.pi + 1.5)  # looks about, first to the left
    motion = replace(file, frames=frames).motion()
    clip = canonical_clip(crumpled(with_crown(motion)), FACTS)
    wanted = canonical_clip(motion, FACTS).rotation_matrices()[:, HEAD]
    apart = Rotation.from_matrix(clip.rotation_matrices()[:, HEAD] @ np.swapaxes(wanted, 1, 2)).magnitude()
    assert np.rad2deg(apart).max() < 15.0


@pytest.mark.parametrize("crown", [None, (0.0, 0.5, 0.0), (0.0, 0.0, 15.0)])
def test_a_head_whose_bone_has_no_end_above_is_unknown(crown: tuple[float, float, float] | None) -> None:
    warnings: list[str] = []
    canonical_clip(crumpled(with_crown(walking_file(head_deg=40.0).motion(), crown)), FACTS, warnings)
    assert any("the direction in which the head looks is unknown" in note for note in warnings)


def test_a_joint_at_the_top_of_the_head_is_its_end() -> None:
    motion = walking_file(head_deg=50.0).motion()
    head = motion.joints.index("mixamorig:Head")
    motion = with_crown(motion, None)
    motion = replace(
        motion,
        joints=(*motion.joints, "mixamorig:HeadTop_End"),
        parents=(*motion.parents, head),
        offsets=np.concatenate([motion.offsets, [[0.0, 17.0, 0.0]]]),
        rotations=np.concatenate([motion.rotations, np.tile(np.eye(3), (60, 1, 1, 1))], axis=1),
    )
    assert np.abs(head_angles_deg(canonical_clip(crumpled(motion), FACTS))[:, 0] + 50.0).max() < 3.0


def test_hands_of_bones_with_axes_of_their_own_are_straight_where_they_are() -> None:
    file = walking_file()
    frames = file.frames.copy()
    names = [joint.name for joint in file.joints]
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        frames[:, 3 + 3 * names.index(f"mixamorig:{side}Hand")] = 40.0 * sign  # bent all the time
    motion = replace(file, frames=frames).motion()
    found = canonical_clip(crumpled(motion), FACTS).rotation_matrices()
    wrists = [JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"]]
    angles = np.rad2deg(Rotation.from_matrix(found[:, wrists].reshape(-1, 3, 3)).magnitude())
    assert np.abs(angles - 40.0).max() < 3.0


def test_a_runner_with_bent_arms_will_do() -> None:
    file = walking_file()
    frames = file.frames.copy()
    names = [joint.name for joint in file.joints]
    for side, sign in (("Left", -1.0), ("Right", 1.0)):
        frames[:, 4 + 3 * names.index(f"mixamorig:{side}ForeArm")] = 80.0 * sign
    motion = with_crown(replace(file, frames=frames).motion())
    found, wanted = (canonical_clip(m, FACTS).joints()[0] for m in (crumpled(motion), motion))
    np.testing.assert_allclose(found[:, :, 1], wanted[:, :, 1], atol=0.02)


def test_who_lies_down_for_a_moment_stands_for_the_rest() -> None:
    motion = walking_file(frames=60).motion()
    rotations, roots = motion.rotations.copy(), motion.root_positions.copy()
    turn = Rotation.from_euler("x", -90, degrees=True).as_matrix()
    rotations[45:, 0], roots[45:, 1] = turn @ rotations[45:, 0], 10.0
    clip = canonical_clip(crumpled(with_crown(replace(motion, rotations=rotations, root_positions=roots))), FACTS)
    positions, world = clip.joints()
    assert np.median(world[:45, HEAD, 1, 1]) > 0.9
    assert np.median(positions[45:, HEAD, 1]) < 0.5


def test_crumpling_leaves_the_motion() -> None:
    motion = walking_file().motion()
    ours, theirs = rig_kinematics(motion)[0], rig_kinematics(crumpled(motion))[0]
    for joint, at in ours.items():
        np.testing.assert_allclose(theirs[joint], at, atol=1e-9)
