"""What the networks see: the same wherever, whichever way round and however large a person is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bodystream.errors import InputError
from bodystream.geometry.skeleton import (
    HEAD,
    JOINT_INDEX,
    JOINTS,
    Skeleton,
    forward_kinematics,
    mirror_rotations,
)
from bodystream.pose.features import (
    BETA_SIZE,
    DEVICES,
    POSE_SIZE,
    FeatureConfig,
    beta_of_skeleton,
    decode_poses,
    device_features,
    encode_poses,
    heading_rotation,
    place_by_head,
)
from bodystream.types import Array
from helpers.headset_motions import person, walking

EXACT = 1e-12  # of float64 sums of metres
AGES = len(FeatureConfig().ages_s)
TOKEN = FeatureConfig().token_size
_SWAP = [0, 2, 1]


def observed(seed: int) -> tuple[Array, Array]:
    """(A, 3, 3) positions and (A, 3, 3, 3) orientations of someone who looks anywhere but straight up or down."""
    rng = np.random.default_rng(seed)
    positions = rng.normal(0.0, 0.4, (AGES, 3, 3)) + (0.3, 1.3, -0.8)
    angles = rng.uniform(-1.0, 1.0, (AGES, 3, 3)) * (np.pi, 1.2, 0.8)
    return positions, Rotation.from_euler("YXZ", angles.reshape(-1, 3)).as_matrix().reshape(AGES, 3, 3, 3)


def seen(*lost: tuple[int, int]) -> Array:
    tracked = np.ones((AGES, 3), bool)
    for age, device in lost:
        tracked[age, device] = False
    return tracked


def features(positions: Array, rotations: Array, tracked: Array | None = None, stature_m: float = 1.5) -> Array:
    return device_features(positions, rotations, seen() if tracked is None else tracked, np.asarray(stature_m))[0]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("turn_deg", "shift"), [(180.0, (5.0, 0.0, 0.0)), (37.0, (-3.0, 0.0, 4.0)), (0.0, (0, 0, 5))])
def test_moving_and_turning_the_world_changes_nothing(seed: int, turn_deg: float, shift: tuple) -> None:
    positions, rotations = observed(seed)
    turn = Rotation.from_euler("y", turn_deg, degrees=True).as_matrix()
    moved = features(positions @ turn.T + shift, turn @ rotations)
    np.testing.assert_allclose(moved, features(positions, rotations), atol=EXACT)


def test_height_is_seen() -> None:
    positions, rotations = observed(0)
    higher = features(positions + (0.0, 0.3, 0.0), rotations, stature_m=1.5) - features(positions, rotations)
    np.testing.assert_allclose(higher[:, 1], 0.2, atol=EXACT)  # of the present states, in statures
    higher[:, 1] = 0.0
    np.testing.assert_allclose(higher, 0.0, atol=EXACT)


def test_size_changes_nothing() -> None:
    positions, rotations = observed(1)
    larger = features(1.3 * positions, rotations, stature_m=1.3 * 1.5)
    np.testing.assert_allclose(larger, features(positions, rotations), atol=EXACT)


def test_the_mirror_image_has_mirrored_features() -> None:
    positions, rotations = observed(2)
    tracked = seen((0, 1), (2, 2))
    sign = np.array([-1.0, 1.0, 1.0])
    mirrored = features(positions[:, _SWAP] * sign, rotations[:, _SWAP] * np.outer(sign, sign), tracked[:, _SWAP])
    # x of the position; of the first column y and z, of the second x: the signs of the mirrored matrix
    state = np.array([-1, 1, 1, 1, -1, -1, -1, 1, 1])
    expected = features(positions, rotations, tracked)[_SWAP] * np.concatenate([state, [1], np.tile(state, AGES - 1)])
    np.testing.assert_allclose(mirrored, expected, atol=EXACT)


def test_layout_of_a_token() -> None:
    """Present position and two columns, whether it is tracked, then the changes since each earlier state."""
    positions, rotations = observed(3)
    x = features(positions, rotations, stature_m=1.6)
    assert x.shape == (3, TOKEN) and FeatureConfig().condition_size == 3 * TOKEN + BETA_SIZE
    heading = heading_rotation(rotations[0, 0])
    origin = positions[0, 0] * (1.0, 0.0, 1.0)
    for device in range(3):
        states = [
            np.concatenate([
                heading.T @ (positions[age, device] - origin) / 1.6,
                (heading.T @ rotations[age, device])[:, 0],
                (heading.T @ rotations[age, device])[:, 1],
            ])
            for age in range(AGES)
        ]  # fmt: skip
        changes = [state - states[0] for state in states[1:]]
        np.testing.assert_allclose(x[device], np.concatenate([states[0], [1.0], *changes]), atol=EXACT)
    assert x[0, 0] == 0.0 and x[0, 2] == 0.0 and x[0, 1] == pytest.approx(positions[0, 0, 1] / 1.6)


def test_what_is_not_tracked_is_zeros_whatever_its_values() -> None:
    positions, rotations = observed(4)
    tracked = seen((0, 1), (3, 2))
    positions[0, 1], rotations[0, 1] = 99.0, 7.0
    positions[3, 2], rotations[3, 2] = -99.0, -7.0
    x = features(positions, rotations, tracked)
    assert not x[1].any()  # the present one is not tracked: no state, no flag, and no change from it
    changes = x[2, 10:].reshape(AGES - 1, 9)
    assert not changes[2].any() and np.abs(np.delete(changes, 2, axis=0)).min(axis=1).max() > 0
    # what is tracked does not notice
    np.testing.assert_array_equal(x[0], features(*observed(4))[0])


def test_batches_are_what_each_is_alone() -> None:
    both = [observed(seed) for seed in (5, 6)]
    positions, rotations = (np.stack(part) for part in zip(*both, strict=True))
    statures = np.array([1.4, 1.7])
    tracked = np.stack([seen(), seen((1, 0))])
    x, headings = device_features(positions, rotations, tracked, statures)
    np.testing.assert_array_equal(headings, heading_rotation(rotations[:, 0, 0]))
    for k, (p, r) in enumerate(both):
        np.testing.assert_allclose(x[k], features(p, r, tracked[k], statures[k]), atol=EXACT)


@given(yaw=st.floats(-3.1, 3.1), pitch=st.floats(-2.2, 2.2))
def test_heading_is_the_yaw_also_of_a_head_that_looks_at_its_feet_or_behind(yaw: float, pitch: float) -> None:
    """At +-90 degrees of pitch the projected line of sight vanishes, beyond them it turns round; the heading stays."""
    rotation = Rotation.from_euler("YX", (yaw, pitch)).as_matrix()
    np.testing.assert_allclose(heading_rotation(rotation), Rotation.from_euler("y", yaw).as_matrix(), atol=1e-9)


@given(st.floats(-0.3, 0.3), st.floats(-0.1, 0.1), st.sampled_from([-np.pi / 2, np.pi / 2]))
def test_heading_is_steady_where_the_head_looks_straight_down_or_up(nod: float, roll: float, pitch: float) -> None:
    start = Rotation.from_euler("x", pitch).as_matrix()
    end = Rotation.from_euler("YXZ", (0.0, pitch + nod, roll)).as_matrix()
    turned = heading_rotation(end) @ heading_rotation(start).T
    # a twist follows a small rotation by less than twice its angle over the cosine of half the tilt
    assert Rotation.from_matrix(turned).magnitude() <= 1.5 * abs(roll) + 1e-9


@given(st.integers(0, 10_000))
def test_heading_turns_with_the_world_and_about_the_vertical_only(seed: int) -> None:
    rotation = Rotation.random(random_state=seed).as_matrix()
    turn = Rotation.from_euler("y", seed % 7).as_matrix()
    heading = heading_rotation(rotation)
    np.testing.assert_allclose(heading[1], (0.0, 1.0, 0.0), atol=EXACT)
    np.testing.assert_allclose(heading[:, 1], (0.0, 1.0, 0.0), atol=EXACT)
    np.testing.assert_allclose(heading @ heading.T, np.eye(3), atol=EXACT)
    np.testing.assert_allclose(heading_rotation(turn @ rotation), turn @ heading, atol=1e-6)


def test_a_head_exactly_upside_down_has_a_heading_all_the_same() -> None:
    np.testing.assert_array_equal(heading_rotation(np.diag([1.0, -1.0, -1.0])), np.eye(3))
    np.testing.assert_array_equal(heading_rotation(np.diag([-1.0, -1.0, 1.0])), np.eye(3))


VECTORS = st.lists(
    st.lists(st.floats(-1.5, 1.5), min_size=3, max_size=3), min_size=len(JOINTS), max_size=len(JOINTS)
).map(np.array)


@settings(max_examples=50)
@given(VECTORS, st.floats(-3.1, 3.1))
def test_what_is_encoded_is_decoded(vectors: Array, yaw: float) -> None:
    rotations = Rotation.from_rotvec(vectors).as_matrix()
    heading = Rotation.from_euler("y", yaw).as_matrix()
    code = encode_poses(rotations, heading)
    assert code.shape == (POSE_SIZE,)
    np.testing.assert_allclose(decode_poses(code, heading), rotations, atol=1e-9)
    # the pelvis alone is relative to the heading
    np.testing.assert_allclose(code[3:], vectors[1:].reshape(-1), atol=1e-7)


@settings(max_examples=50)
@given(VECTORS, st.floats(-3.1, 3.1))
def test_what_is_decoded_is_encoded(vectors: Array, yaw: float) -> None:
    heading = Rotation.from_euler("y", yaw).as_matrix()
    batch = np.stack([vectors.reshape(-1), -vectors.reshape(-1)])
    np.testing.assert_allclose(encode_poses(decode_poses(batch, heading), heading), batch, atol=1e-7)


def test_decoding_leaves_its_input_alone_and_encoding_too() -> None:
    rotations = Rotation.random(len(JOINTS), random_state=0).as_matrix()
    kept = rotations.copy()
    heading = Rotation.from_euler("y", 1.0).as_matrix()
    code = encode_poses(rotations, heading)
    before = code.copy()
    decode_poses(code, heading)
    assert np.array_equal(rotations, kept) and np.array_equal(code, before)


def test_the_head_is_placed_where_it_was_seen() -> None:
    clip = walking(0.2)
    positions, _ = clip.joints()
    roots = place_by_head(clip.skeleton.offsets_m, clip.rotation_matrices(), positions[:, HEAD])
    np.testing.assert_allclose(roots, clip.root_positions_m, atol=1e-6)
    moved = positions[:, HEAD] + (1.0, 2.0, 3.0)
    roots = place_by_head(clip.skeleton.offsets_m, clip.rotation_matrices(), moved)
    placed, _ = forward_kinematics(clip.skeleton.offsets_m, clip.rotation_matrices(), roots)
    np.testing.assert_allclose(placed[:, HEAD], moved, atol=1e-9)


def test_proportions_are_those_of_the_person_without_the_size() -> None:
    skeleton = person()
    beta = beta_of_skeleton(skeleton)
    assert beta.shape == (BETA_SIZE,)
    # by hand from the offsets of the made-up person, 1.55 m to the head joint
    metres = [0.08, 0.09, 0.40, 0.41, 0.06, 0.51, 0.09, 0.17, 0.28, 0.25]
    np.testing.assert_allclose(beta, np.array(metres) / skeleton.stature_m, atol=EXACT)
    np.testing.assert_allclose(beta_of_skeleton(skeleton.scaled(1.2)), beta, atol=EXACT)
    np.testing.assert_allclose(beta_of_skeleton(skeleton.mirrored()), beta, atol=EXACT)


def test_each_number_of_the_proportions_answers_to_its_bone() -> None:
    beta = beta_of_skeleton(person())
    for name, place in (("knee", 2), ("ankle", 3), ("elbow", 8), ("wrist", 9)):
        offsets = person().offsets_m.copy()
        for side in ("left", "right"):
            offsets[JOINT_INDEX[f"{side}_{name}"]] *= 1.1
        longer = Skeleton(offsets)
        change = beta_of_skeleton(longer) * longer.stature_m / person().stature_m - beta
        assert change[place] == pytest.approx(0.1 * beta[place])
        np.testing.assert_allclose(np.delete(change, place), 0.0, atol=EXACT)


def test_mirrored_poses_have_mirrored_codes() -> None:
    rng = np.random.default_rng(7)
    rotations = Rotation.from_rotvec(rng.normal(0, 0.5, (len(JOINTS), 3))).as_matrix()
    heading, sign = np.eye(3), np.array([1.0, -1.0, -1.0])
    code = encode_poses(rotations, heading).reshape(-1, 3)
    mirrored = encode_poses(mirror_rotations(rotations), heading).reshape(-1, 3)
    for name in JOINTS:
        other = name.replace("left", "?").replace("right", "left").replace("?", "right")
        np.testing.assert_allclose(mirrored[JOINT_INDEX[name]], code[JOINT_INDEX[other]] * sign, atol=1e-9)


@pytest.mark.parametrize("history", [(0.0,), (-0.1,), (0.2, 0.1), (0.1, float("nan"))])
def test_histories_that_make_no_sense_are_refused(history: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="ascending positive ages"):
        FeatureConfig(history)


def test_single_frames_have_no_history() -> None:
    config = FeatureConfig(())
    assert config.ages_s == (0.0,) and config.token_size == 10 and config.observation_size == len(DEVICES) * 10
    positions, rotations = observed(8)
    x, _ = device_features(positions[:1], rotations[:1], np.ones((1, 3), bool), np.asarray(1.5))
    np.testing.assert_array_equal(x, features(positions, rotations)[:, :10])
