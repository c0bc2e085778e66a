"""Limbs that rigs turn about themselves differently: the same motion comes of them, and no joint moves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bodystream.errors import InputError
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.rotations import quaternion_from_matrix
from bodystream.geometry.skeleton import JOINT_INDEX, Skeleton, local_rotations
from bodystream.sources.motion import Take
from bodystream.sources.motion.hinged import HingedTakes
from bodystream.sources.motion.rolls import LimbRolls, find_rolls, roll_evidence, rolled
from helpers.evaluation_motions import person

SIDES = ("left", "right")
BONES = {
    **{f"left_{part}": (-1.0, 0.0, 0.0) for part in ("shoulder", "elbow")},
    **{f"right_{part}": (1.0, 0.0, 0.0) for part in ("shoulder", "elbow")},
    **{f"{side}_{part}": (0.0, -1.0, 0.0) for side in SIDES for part in ("hip", "knee")},
}
WITHOUT_BONES = [f"{side}_{part}" for side in SIDES for part in ("ankle", "foot", "collar")]
STANDING, MOVING = 60, 140


def people_move(
    seed: int = 0, *, elbows: tuple[bool, bool] = (True, True), knees: bool = True, stands: bool = True
) -> MotionClip:
    """Somebody as people are built: stands with hanging arms, then moves all limbs; 20 Hz.

    Args:
        elbows: which of them bend.
        knees: whether knees bend.
        stands: else the whole body goes up and down and about all the time.
    """
    rng = np.random.default_rng(seed)
    frames = STANDING + MOVING
    moves = np.concatenate([np.zeros(STANDING), np.sin(np.linspace(0.0, np.pi, MOVING))])
    wave = [np.sin(np.arange(frames) * rng.uniform(0.05, 0.2) + rng.uniform(0, 6)) * moves for _ in range(12)]
    turns = np.tile(np.eye(3), (frames, 22, 1, 1))

    def about(axis: str | list[str], *angles_deg: np.ndarray) -> np.ndarray:
        words = "".join(axis)
        return Rotation.from_euler(words, np.stack(angles_deg, axis=1), degrees=True).as_matrix()

    for side, (name, out) in enumerate((("left", 1.0), ("right", -1.0))):
        lifted = 70.0 - 60.0 * np.abs(wave[side])
        turns[:, JOINT_INDEX[f"{name}_shoulder"]] = about("ZYX", out * lifted, 25.0 * wave[2], 15.0 * wave[3])
        turns[:, JOINT_INDEX[f"{name}_collar"]] = about("Z", out * 12.0 * np.abs(wave[side]) * (lifted < 40.0))
        bend = (10.0 + 95.0 * np.abs(wave[4 + side])) * elbows[side]
        twist = 70.0 * wave[6 + side]  # of the hand; half of it is the forearm's
        # the right forearm goes ahead by a turn about +y, the left one about -y
        turns[:, JOINT_INDEX[f"{name}_elbow"]] = about("YX", -out * bend, 0.5 * twist)
        turns[:, JOINT_INDEX[f"{name}_wrist"]] = about("XZ", 0.5 * twist, 20.0 * wave[8])
        knee = 80.0 * np.abs(wave[10 + side]) * knees
        turns[:, JOINT_INDEX[f"{name}_hip"]] = about("XZ", 0.6 * knee, 5.0 * wave[9])
        turns[:, JOINT_INDEX[f"{name}_knee"]] = about("X", -knee)
        turns[:, JOINT_INDEX[f"{name}_ankle"]] = about("XY", 20.0 * wave[11], 10.0 * wave[10])
        turns[:, JOINT_INDEX[f"{name}_foot"]] = about("X", 30.0 * np.abs(wave[9]))
    turns[:, 0] = about("Y", np.full(frames, 35.0))
    turns[:, JOINT_INDEX["spine2"]] = about("XY", 10.0 * wave[0], 10.0 * wave[1])
    skeleton = person()
    roots = np.tile([0.3, skeleton.pelvis_height_m, -0.2], (frames, 1))
    roots[STANDING:, 1] += 0.3  # on nothing, so that no foot stands that is not flat
    if not stands:
        roots = roots + np.stack([0.4 * np.arange(frames) / 20.0, *(0.0 * moves,) * 2], axis=1) * 4.0
    return MotionClip("made up", "somebody", 20.0, skeleton, quaternion_from_matrix(turns).astype(np.float32),
                      roots.astype(np.float32))  # fmt: skip


def on_another_rig(clip: MotionClip, seed: int = 1, frame_noise_deg: float = 60.0) -> MotionClip:
    """The same motion of a rig whose bones' frames are turned: about the bones, and of feet and collars anyhow."""
    rng = np.random.default_rng(seed)
    _, world = clip.joints()
    offsets = clip.skeleton.offsets_m.copy()
    frames = np.tile(np.eye(3), (22, 1, 1))
    for name, bone in BONES.items():
        frames[JOINT_INDEX[name]] = Rotation.from_rotvec(np.array(bone) * rng.uniform(-0.9, 0.9)).as_matrix()
    for name in WITHOUT_BONES:
        frames[JOINT_INDEX[name]] = Rotation.from_rotvec(rng.uniform(-0.3, 0.3, 3)).as_matrix()
    world = world @ frames
    for name in ("left_elbow", "right_elbow", "left_knee", "right_knee"):  # rigs turn forearms and shanks by the hand
        angles = np.radians(frame_noise_deg) * np.sin(np.arange(len(clip)) * 0.1)
        along = Rotation.from_rotvec(angles[:, None] * np.array(BONES[name])).as_matrix()
        world[:, JOINT_INDEX[name]] = world[:, JOINT_INDEX[name]] @ along
    for parent, child in (("ankle", "foot"), ("collar", "shoulder")):
        for side in SIDES:
            joint = JOINT_INDEX[f"{side}_{child}"]
            offsets[joint] = frames[JOINT_INDEX[f"{side}_{parent}"]].T @ offsets[joint]
    turns = quaternion_from_matrix(local_rotations(world)).astype(np.float32)
    return replace(clip, skeleton=Skeleton(offsets), rotations_xyzw=turns)


def apart_deg(one: MotionClip, other: MotionClip) -> np.ndarray:
    """(22,) the largest angle between the joints' rotations."""
    turn = Rotation.from_matrix(one.rotation_matrices().reshape(-1, 3, 3)).inv() * Rotation.from_matrix(
        other.rotation_matrices().reshape(-1, 3, 3)
    )
    return np.degrees(turn.magnitude()).reshape(len(one), 22).max(axis=0)


def canonical(clip: MotionClip) -> tuple[MotionClip, LimbRolls]:
    rolls = find_rolls(roll_evidence(clip), clip.skeleton)
    return rolled(clip, rolls), rolls


@pytest.mark.parametrize("seed", range(5))
def test_a_motion_comes_back_from_a_rig_whose_limbs_are_turned_otherwise(seed: int) -> None:
    wanted = people_move(seed)
    given = on_another_rig(wanted, seed + 10)
    assert apart_deg(given, wanted)[JOINT_INDEX["left_shoulder"]] > 1.0  # the disguise is one
    found, rolls = canonical(given)
    assert rolls.notes == ()
    np.testing.assert_allclose(apart_deg(found, wanted), 0.0, atol=0.2)
    np.testing.assert_allclose(found.skeleton.offsets_m, wanted.skeleton.offsets_m, atol=2e-4)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_canonical_already_stays_as_it_is(seed: int) -> None:
    wanted = people_move(seed)
    found, _ = canonical(wanted)
    np.testing.assert_allclose(apart_deg(found, wanted), 0.0, atol=0.2)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_no_joint_moves_and_trunk_head_and_hands_keep_their_orientation(seed: int) -> None:
    rng = np.random.default_rng(seed)  # of nobody: any rotations at all
    turns = Rotation.from_quat(rng.normal(0.0, 1.0, (40 * 22, 4))).as_quat().reshape(40, 22, 4).astype(np.float32)
    clip = MotionClip("any", "", 20.0, person(), turns, rng.normal(0.0, 1.0, (40, 3)).astype(np.float32))
    found, _ = canonical(clip)
    (joints, world), (wanted, frames) = found.joints(), clip.joints()
    np.testing.assert_allclose(joints, wanted, atol=1e-5)
    kept = [JOINT_INDEX[name] for name in ("pelvis", "spine3", "neck", "head", "left_wrist", "right_wrist")]
    np.testing.assert_allclose(world[:, kept], frames[:, kept], atol=1e-5)


def test_one_side_is_told_by_the_other() -> None:
    wanted = people_move(3, elbows=(False, True))
    rng = np.random.default_rng(4)
    angle = rng.uniform(0.4, 0.8)
    # A rig with symmetrical habits: the left upper arm is turned as the mirror image of the right one.
    _, world = wanted.joints()
    for side, sign in (("left", 1.0), ("right", -1.0)):
        turn = Rotation.from_rotvec(np.array(BONES[f"{side}_shoulder"]) * sign * angle).as_matrix()
        world[:, JOINT_INDEX[f"{side}_shoulder"]] = world[:, JOINT_INDEX[f"{side}_shoulder"]] @ turn
    given = replace(wanted, rotations_xyzw=quaternion_from_matrix(local_rotations(world)).astype(np.float32))
    found, rolls = canonical(given)
    assert rolls.notes == (
        "its left elbow bends too little, or not as a hinge does: the mirror image of the other side was taken",
    )
    np.testing.assert_allclose(apart_deg(found, wanted), 0.0, atol=0.2)


def test_limbs_that_tell_nothing_stay_as_at_rest_and_are_named() -> None:
    clip = people_move(5, elbows=(False, False), knees=False, stands=False)
    found, rolls = canonical(clip)
    named = " ".join(rolls.notes)
    for words in ("elbows bend too little", "knees bend too little", "feet never stand flat"):
        assert words in named, words
    for name in ("shoulder", "hip", "ankle", "foot"):
        for side in SIDES:
            np.testing.assert_array_equal(rolls.turns[JOINT_INDEX[f"{side}_{name}"]], np.eye(3))
    np.testing.assert_allclose(apart_deg(found, clip), 0.0, atol=0.2)


def test_elbows_that_bend_anyhow_are_no_hinges() -> None:
    clip = people_move(6)
    turns = clip.rotation_matrices()
    rng = np.random.default_rng(7)
    around = Rotation.from_rotvec(np.array([1.0, 0.0, 0.0]) * rng.uniform(0, 2 * np.pi, (len(clip), 1))).as_matrix()
    shoulder = JOINT_INDEX["right_shoulder"]
    elbow = JOINT_INDEX["right_elbow"]
    turns[:, elbow] = around @ turns[:, elbow]
    _, rolls = canonical(replace(clip, rotations_xyzw=quaternion_from_matrix(turns).astype(np.float32)))
    assert any("right elbow" in note for note in rolls.notes)
    np.testing.assert_allclose(rolls.turns[shoulder], np.eye(3), atol=0.01)  # the left one's, which is right


def test_a_fifth_of_frames_in_which_a_marker_slips_changes_nothing() -> None:
    wanted = people_move(8)
    given = on_another_rig(wanted, 9)
    _, world = given.joints()
    slips = np.random.default_rng(10).permutation(len(given))[: len(given) // 5]
    for side in SIDES:
        shoulder = JOINT_INDEX[f"{side}_shoulder"]
        about = Rotation.from_rotvec(np.array(BONES[f"{side}_shoulder"]) * 1.6).as_matrix()
        world[slips, shoulder] = world[slips, shoulder] @ about
    bad = replace(given, rotations_xyzw=quaternion_from_matrix(local_rotations(world)).astype(np.float32))
    rolls = find_rolls(roll_evidence(bad), bad.skeleton)
    clean = find_rolls(roll_evidence(given), given.skeleton)
    between = Rotation.from_matrix(rolls.turns).inv() * Rotation.from_matrix(clean.turns)
    assert np.degrees(between.magnitude()).max() < 0.5


def test_a_forearm_never_jumps_while_the_hand_turns_all_the_way_round() -> None:
    clip = people_move(11)
    turns = clip.rotation_matrices()
    around = np.linspace(-2.0 * np.pi, 2.0 * np.pi, len(clip))
    wrist, elbow = JOINT_INDEX["right_wrist"], JOINT_INDEX["right_elbow"]
    turns[:, wrist] = Rotation.from_rotvec(np.outer(around, [1.0, 0.0, 0.0])).as_matrix()
    turns[:, [elbow, JOINT_INDEX["right_shoulder"]]] = np.eye(3)
    found, _ = canonical(replace(clip, rotations_xyzw=quaternion_from_matrix(turns).astype(np.float32)))
    _, world = found.joints()
    step = Rotation.from_matrix(world[1:, elbow]) * Rotation.from_matrix(world[:-1, elbow]).inv()
    assert np.degrees(step.magnitude()).max() < 1.1 * np.degrees(around[1] - around[0]) + 12.0  # the trunk's own


def test_short_clips_say_nothing_and_are_kept() -> None:
    for frames in (1, 2, 3):
        clip = people_move(12).sliced(0, frames)
        found, rolls = canonical(clip)
        assert len(rolls.notes) == 4
        np.testing.assert_allclose(found.joints()[0], clip.joints()[0], atol=1e-5)


@dataclass(frozen=True)
class GivenTake(Take):
    """A take whose motion is known, or that cannot be read."""

    clip: MotionClip | None = None

    def load(self, warnings: list[str] | None = None) -> MotionClip:
        if self.clip is None:
            raise InputError(f"{self.name} cannot be read")
        return self.clip


def given_take(name: str, clip: MotionClip | None, subject: str = "somebody") -> GivenTake:
    return GivenTake(name=name, subject=subject, path=Path(name), kind="bvh", clip=clip)


def test_a_take_that_does_not_tell_is_told_by_the_persons_other_takes() -> None:
    whole, still = people_move(13), people_move(14, elbows=(False, False), knees=False)
    told, silent = (on_another_rig(clip, 15) for clip in (whole, still))
    takes = [given_take("still", silent), given_take("damaged", None), given_take("whole", told)]
    warnings: list[str] = []
    found = HingedTakes(takes).load(takes[0], warnings)
    assert warnings == []
    np.testing.assert_allclose(apart_deg(found, still), 0.0, atol=0.3)
    alone = HingedTakes(takes[:1]).load(takes[0], warnings)
    assert [warning.split(":")[0] for warning in warnings] == ["still", "still"]
    assert apart_deg(alone, still)[JOINT_INDEX["left_shoulder"]] > 5.0
    # A take is told by its own name, whatever the order, and the same comes of it each time.
    again = HingedTakes(takes[::-1]).load(takes[0])
    np.testing.assert_allclose(again.rotations_xyzw, found.rotations_xyzw, atol=1e-5)


def test_other_people_and_other_rigs_tell_nothing() -> None:
    whole, still = people_move(16), people_move(17, elbows=(False, False))
    told, silent = on_another_rig(whole, 18), on_another_rig(still, 18)
    longer = told.skeleton.offsets_m.copy()
    longer[[JOINT_INDEX["left_elbow"], JOINT_INDEX["right_elbow"]]] *= 1.1
    stranger = given_take("stranger", told, "another")
    other_rig = given_take("other rig", replace(told, skeleton=Skeleton(longer)))
    takes = [given_take("still", silent), stranger, other_rig]
    warnings: list[str] = []
    HingedTakes(takes).load(takes[0], warnings)
    assert len(warnings) == 1 and warnings[0].startswith("still: its elbows bend too little")


def test_what_cannot_be_read_is_an_error_of_its_own_take() -> None:
    takes = [given_take("damaged", None), given_take("whole", people_move(19))]
    hinged = HingedTakes(takes)
    hinged.load(takes[1])
    with pytest.raises(InputError, match="damaged cannot be read"):
        hinged.load(takes[0])
