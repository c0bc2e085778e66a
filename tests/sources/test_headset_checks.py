"""Faults of streams are found and named, and streams without a fault raise no alarm."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.errors import ConfigurationError
from bodystream.geometry.hands import hand_in_world
from bodystream.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix
from bodystream.geometry.tracker_noise import TrackerNoise
from bodystream.sources.headset.axes import axis_matrix
from bodystream.sources.headset.checks import MESSAGES, HeadsetOptions, SampleChecker
from bodystream.sources.headset.synthetic import MotionHeadset, TrackingLoss
from bodystream.sources.headset.trace import read_trace
from bodystream.types import DeviceKind, HandJoints, HeadsetSample, TrackedDevice
from helpers.hands import a_hand
from helpers.headset_motions import DOWN, arms_crossed, crouching, hands_raised, make_clip, walking, working

RECORDINGS = ("quest3_session", "vive_dance", "vive_dev", "vive_grab_right", "vive_tracked")
MOTIONS = {make.__name__: make for make in (walking, arms_crossed, crouching, hands_raised, working)}


@cache
def recording(folder, name):
    return read_trace(folder / "headset" / f"{name}.json")


def changed(sample, change):
    """The sample with `change(position, quaternion)` of each device."""

    def device(d):
        if d is None:
            return None
        position, rotation = change(d.position_m.copy(), d.rotation_xyzw.copy())
        return replace(d, position_m=np.asarray(position), rotation_xyzw=np.asarray(rotation))

    return replace(sample, head=device(sample.head), left=device(sample.left), right=device(sample.right))


def as_wxyz(sample):
    return changed(sample, lambda p, q: (p, np.roll(q, 1)))


def scaled(factor):
    return lambda sample: changed(sample, lambda p, q: (p * factor, q))


def as_unity(sample):
    return changed(sample, lambda p, q: (p * (1, 1, -1), q * (-1, -1, 1, 1)))


def swapped(sample):
    return replace(sample, left=sample.right, right=sample.left)


def turned(sample):
    """Axes with +z ahead: right-handed, turned about y in the world and in the devices."""
    half = Rotation.from_euler("y", 180, degrees=True)
    return changed(sample, lambda p, q: (half.apply(p), (half * Rotation.from_quat(q) * half).as_quat()))


def z_up(sample):
    turn = Rotation.from_euler("x", 90, degrees=True)
    return changed(sample, lambda p, q: (turn.apply(p), (turn * Rotation.from_quat(q)).as_quat()))


@cache
def motion(name, seconds):
    """Made once: this takes longer than the check of it."""
    return MOTIONS[name](seconds)


def samples_of(clip, **options):
    return list(MotionHeadset(clip, **options))


def run(samples, options=None, fault=lambda sample: sample):
    checker = SampleChecker(options)
    return checker, [checker.check(fault(sample)) for sample in samples]


def assert_same_poses(checked, samples):
    for result, want in zip(checked, samples, strict=True):
        for side in ("head", "left", "right"):
            got, true = getattr(result.sample, side), getattr(want, side)
            np.testing.assert_allclose(got.position_m, true.position_m, atol=1e-6)
            assert abs(got.rotation_xyzw @ true.rotation_xyzw) == pytest.approx(1.0, abs=1e-9)


def standing(t_ns=0, index=0, head=(0.0, 1.6, 0.0), rotation=(0.0, 0.0, 0.0, 1.0)):
    def device(position, kind):
        return TrackedDevice(np.array(position, float), np.array(rotation, float), kind)

    return HeadsetSample(
        index,
        t_ns,
        device(head, DeviceKind.VIEW),
        device((-0.25, 0.8, 0.0), DeviceKind.GRIP),
        device((0.25, 0.8, 0.0), DeviceKind.GRIP),
    )


@pytest.mark.parametrize("name", RECORDINGS)
def test_no_alarm_on_recordings(shared_data, name):
    trace = recording(shared_data, name)
    checker, checked = run(trace.samples)
    assert not checker.counts and not checker.warnings and checker.dropped == 0
    assert len(checked) == len(trace.samples)
    for result, sample in zip(checked, trace.samples, strict=True):
        assert (result.sample.left is None) == (sample.left is None)
        assert np.linalg.norm(result.sample.head.rotation_xyzw) == pytest.approx(1.0, abs=1e-12)
        assert result.sample.head.rotation_xyzw[3] >= 0


@pytest.mark.parametrize("hands", ["joint", "grip", "hand"])
@pytest.mark.parametrize("name", MOTIONS)
def test_no_alarm_on_motions(name, hands):
    samples = samples_of(
        motion(name, 10.0 if name == "arms_crossed" else 6.0),
        hands=hands,
        noise=TrackerNoise(),
        lost=TrackingLoss(),
        seed=3,
    )
    checker, _ = run(samples)
    assert not checker.counts


@pytest.mark.parametrize("name", RECORDINGS)
def test_faults_of_recordings_are_found(shared_data, name):
    samples = recording(shared_data, name).samples[::3]
    for fault, flag in ((swapped, "hands_swapped"), (as_wxyz, "wxyz_suspected"), (scaled(100), "units_suspected")):
        checker, _ = run(samples, fault=fault)
        assert set(checker.counts) == {flag}, fault


@pytest.mark.parametrize("name", ["quest3_session", "vive_grab_right", "vive_tracked"])
def test_left_handed_recordings_are_found(shared_data, name):
    samples = recording(shared_data, name).samples[::3]
    checker, _ = run(samples, fault=as_unity)
    assert set(checker.counts) == {"left_handed_axes"}
    assert "--left-handed" in checker.warnings[0]


@pytest.mark.parametrize("name", ["walking", "hands_raised", "crouching"])
@pytest.mark.parametrize("order", ["auto", "wxyz", "xyzw"])
def test_wxyz(name, order):
    samples = samples_of(motion(name, 6.0))[:200]
    checker, checked = run(samples, HeadsetOptions(quaternion_order=order), as_wxyz)
    if order == "wxyz":
        assert not checker.counts
        assert_same_poses(checked, samples)
        return
    first = next(k for k, result in enumerate(checked) if "wxyz_suspected" in result.flags)
    assert first < 60
    assert "--quaternion-order wxyz" in checker.warnings[0]
    if order == "auto":
        assert_same_poses(checked, samples)
        assert checker.quaternion_order == "wxyz" and set(checker.counts) == {"wxyz_suspected"}
    else:
        assert checked[-1].sample.head.rotation_xyzw @ samples[-1].head.rotation_xyzw < 0.9


def test_a_headset_put_on_after_it_lay_upside_down_is_not_wxyz_for_ever():
    lying = [standing(k * 11_000_000, k, (0.0, 0.75, 0.0), (1.0, 0.0, 0.0, 0.0)) for k in range(90)]
    worn = [standing(k * 11_000_000, k) for k in range(90, 270)]
    checker, checked = run(lying + worn)
    assert "wxyz_suspected" not in checked[-1].flags and checker.quaternion_order == "xyzw"
    np.testing.assert_allclose(checked[-1].sample.head.rotation_xyzw, (0, 0, 0, 1))


def test_a_head_stand_later_on_is_no_fault_of_quaternions():
    samples = [standing(k * 11_000_000, k) for k in range(400)]
    samples += [standing(k * 11_000_000, k, rotation=(1.0, 0.0, 0.0, 0.0)) for k in range(400, 600)]
    checker, _ = run(samples)
    assert "wxyz_suspected" not in checker.counts


@pytest.mark.parametrize(("factor", "units"), [(100, "cm"), (1000, "mm")])
@pytest.mark.parametrize("name", ["walking", "crouching"])
def test_units(name, factor, units):
    samples = samples_of(motion(name, 6.0))[:200]
    checker, checked = run(samples, None, scaled(factor))
    assert checker.units == units and set(checker.counts) == {"units_suspected"}
    assert f"--units {units}" in checker.warnings[0]
    assert_same_poses(checked, samples)

    checker, checked = run(samples, HeadsetOptions(units=units), scaled(factor))
    assert not checker.counts
    assert_same_poses(checked, samples)

    checker, checked = run(samples, HeadsetOptions(units="m"), scaled(factor))
    assert "units_suspected" in checker.counts and checker.units == "m"


def test_units_of_a_head_alone():
    head = replace(standing(), left=None, right=None)
    assert run([scaled(100)(head)])[0].units == "cm"
    assert run([scaled(1000)(head)])[0].units == "mm"
    assert run([head])[0].units == "m"


def test_controllers_that_lie_far_away_are_no_fault_of_units():
    away = TrackedDevice(np.array((3.0, 0.8, 0.0)), np.array((0.0, 0.0, 0.0, 1.0)), DeviceKind.GRIP)
    checker, checked = run([replace(standing(k * 11_000_000, k), left=away, right=away) for k in range(100)])
    assert checker.units == "m" and not checker.counts
    np.testing.assert_allclose(checked[-1].sample.head.position_m, (0.0, 1.6, 0.0))


def test_a_place_high_above_the_floor_is_no_fault_of_units():
    """Hands within reach of the head are in metres, wherever the floor is."""
    samples = [changed(standing(k * 11_000_000, k), lambda p, q: (p + (0, 40, 0), q)) for k in range(300)]
    checker, checked = run(samples)
    assert set(checker.counts) == {"head_height"}
    assert checker.units == "m"


@pytest.mark.parametrize("name", ["hands_raised", "walking", "working"])
def test_left_handed_axes(name):
    samples = samples_of(motion(name, 15.0 if name == "walking" else 6.0))
    checker, _ = run(samples, None, as_unity)
    assert set(checker.counts) == {"left_handed_axes"}
    checker, checked = run(samples, HeadsetOptions(left_handed=True), as_unity)
    assert not checker.counts
    assert_same_poses(checked, samples)


@pytest.mark.parametrize(("axes", "factor"), [("RUB", 100.0), ("FLU", 1.0), ("RUF", 1000.0)])
def test_joints_of_a_hand_follow_units_and_axes(axes, factor):
    """Converted wholly, as programs do, and back: the joints are at the same places of the world."""
    (sample,) = samples_of(working(0.02), hands="hand")[:1]
    sample = replace(sample, left=replace(sample.left, hand=a_hand()))
    ours = axis_matrix(axes)  # of their axes: p' = W p
    theirs = HandJoints(
        (factor * a_hand().in_wrist_m @ ours.T).astype(np.float32),
        quaternion_from_matrix(ours @ matrix_from_quaternion(a_hand().wrist_from_joint_xyzw) @ ours.T),
        np.float32(factor) * a_hand().radii_m,
    )

    def convert(device):
        turn = ours @ matrix_from_quaternion(device.rotation_xyzw) @ ours.T
        hand = None if device.hand is None else theirs
        return TrackedDevice(factor * ours @ device.position_m, quaternion_from_matrix(turn), device.kind, hand)

    units = {1.0: "m", 100.0: "cm", 1000.0: "mm"}[factor]
    came = replace(sample, head=convert(sample.head), left=convert(sample.left), right=convert(sample.right))
    checked = SampleChecker(HeadsetOptions(units, axes=axes)).check(came).sample
    for got, want in zip(hand_in_world(checked.left), hand_in_world(sample.left), strict=True):
        np.testing.assert_allclose(got, want, atol=2e-6)
    np.testing.assert_allclose(checked.left.hand.radii_m, a_hand().radii_m, rtol=1e-5)
    assert checked.right.hand is None


def test_left_handed_wxyz_in_centimetres_of_swapped_hands():
    """All that can be asked for, at once."""
    samples = samples_of(working())
    options = HeadsetOptions("cm", "wxyz", left_handed=True, swap_hands=True)
    checker, checked = run(samples, options, lambda sample: scaled(100)(as_wxyz(as_unity(swapped(sample)))))
    assert not checker.counts
    assert_same_poses(checked, samples)


def test_axes_turned():
    checker, _ = run(samples_of(working(12.0)), None, turned)
    assert checker.counts["axes_turned"] > 100
    assert "+z instead of -z" in " ".join(checker.warnings)


@pytest.mark.parametrize("name", ["walking", "hands_raised", "working"])
def test_hands_swapped(name):
    samples = samples_of(motion(name, 10.0))
    checker, checked = run(samples, None, swapped)
    assert set(checker.counts) == {"hands_swapped"} and "hands_swapped" in checked[-1].flags
    assert "--swap-hands" in checker.warnings[0]
    checker, checked = run(samples, HeadsetOptions(swap_hands=True), swapped)
    assert not checker.counts
    assert_same_poses(checked, samples)


@pytest.mark.parametrize("name", RECORDINGS)
def test_controllers_that_are_exchanged_in_the_middle_are_told_at_once(shared_data, name):
    samples = recording(shared_data, name).samples
    middle = len(samples) // 2
    both = [k for k in range(middle, len(samples)) if samples[k].left and samples[k].right]
    exchanged = next(k for k in both if k - 1 in both)
    checker = SampleChecker()
    checked = [checker.check(swapped(s) if k >= exchanged else s) for k, s in enumerate(samples)]
    flagged = [k for k, result in enumerate(checked) if "hands_swapped" in result.flags]
    # where the sides were not sure yet, as soon as they are
    assert exchanged <= flagged[0] <= exchanged + 60 and "hands_swapped" in checked[-1].flags
    assert "--swap-hands" in checker.warnings[0]


def test_controllers_that_are_exchanged_and_given_back_are_no_longer_told():
    samples = samples_of(motion("walking", 10.0))
    checker = SampleChecker()
    checked = [checker.check(swapped(s) if 700 <= k < 850 else s) for k, s in enumerate(samples)]
    flagged = [k for k, result in enumerate(checked) if "hands_swapped" in result.flags]
    assert flagged == list(range(700, 850))


def test_hands_that_cross_slowly_are_not_exchanged():
    """Each comes to where the other one was, but not from one sample to the next."""
    checker = SampleChecker()
    for k in range(300):
        apart = 0.3 * np.cos(k / 15.0) if k > 200 else 0.3
        sample = standing(k * 11_111_111, k)
        left, right = (
            replace(device, position_m=np.array([side * apart, 1.2, -0.4]))
            for device, side in ((sample.left, -1.0), (sample.right, 1.0))
        )
        result = checker.check(replace(sample, left=left, right=right))
        assert "hands_swapped" not in result.flags


def test_hands_swapped_with_the_option_by_mistake_is_found_too():
    checker, _ = run(samples_of(walking(10.0)), HeadsetOptions(swap_hands=True))
    assert set(checker.counts) == {"hands_swapped"}


def test_z_up_is_found():
    checker, _ = run(samples_of(walking()), None, z_up)
    assert "head_tilted" in checker.counts
    assert any("z may be the vertical axis" in warning for warning in checker.warnings)


def test_quaternions_that_are_not_normalised():
    samples = samples_of(walking(1.0))
    checker, checked = run(samples, None, lambda sample: changed(sample, lambda p, q: (p, q * 3.7)))
    assert set(checker.counts) == {"not_normalised"} and len(checker.warnings) == 1
    assert_same_poses(checked, samples)


@pytest.mark.parametrize(
    ("position", "rotation"),
    [
        ((np.nan, 0.8, 0.0), (0, 0, 0, 1)),
        ((0.0, 0.8, np.nan), (0, 0, 0, 1)),
        ((np.inf, 0.8, 0.0), (0, 0, 0, 1)),
        ((0.0, -101.0, 0.0), (0, 0, 0, 1)),
        ((0.0, 0.8, 0.0), (0, 0, 0, 0)),
        ((0.0, 0.8, 0.0), (0, np.nan, 0, 1)),
        ((0.0, 0.8, 0.0), (0, np.inf, 0, 1)),
    ],
)
def test_values_that_make_no_sense_lose_the_device(position, rotation):
    bad = TrackedDevice(np.array(position), np.array(rotation, float), DeviceKind.GRIP)
    good = [standing(k, k) for k in range(10)]
    checker, (*_, first, second) = run([*good, replace(standing(10), left=bad), replace(standing(11), head=bad)])
    assert first.flags == second.flags == ("invalid_pose",)
    assert first.sample.left is None and first.sample.right is not None and first.sample.head is not None
    assert second.sample.head is None and second.sample.left is not None
    assert len(checker.warnings) == 1


def test_time_going_backwards_drops_samples():
    times = (0, 11, 22, 15, 22, 33, 44)
    checker, checked = run([standing(t * 1_000_000, k) for k, t in enumerate(times)])
    assert [result.sample is None for result in checked] == [False, False, False, True, True, False, False]
    assert checked[3].flags == checked[4].flags == ("time_backwards",)
    assert checker.dropped == 2 and checker.counts["time_backwards"] == 2
    kept = [result.sample.t_ns for result in checked if result.sample is not None]
    assert kept == sorted(set(kept))


def test_a_clock_that_was_set_back_is_followed_after_a_while():
    samples = [standing(10**12 + k * 11_000_000, k) for k in range(20)]
    samples += [standing(k * 11_000_000, k) for k in range(20, 60)]
    checker, checked = run(samples)
    assert checker.dropped == 9
    assert [k for k, result in enumerate(checked) if "time_jump" in result.flags] == [29]
    assert checked[-1].sample is not None and not checked[-1].flags


def test_time_jumping_ahead():
    times = (0, 11, 22, 622, 633)
    checker, checked = run([standing(t * 1_000_000, k) for k, t in enumerate(times)])
    assert [result.flags for result in checked] == [(), (), (), ("time_jump",), ()]
    assert checker.dropped == 0


@pytest.mark.parametrize("height", [0.1, 2.9])
def test_head_height(height):
    samples = [standing(k * 11_000_000, k, (0.0, height, 0.0)) for k in range(300)]
    checker, checked = run([replace(sample, left=None, right=None) for sample in samples])
    first = next(k for k, result in enumerate(checked) if result.flags)
    assert set(checker.counts) == {"head_height"} and 1.8 < first * 0.011 < 2.5
    assert "floor" in checker.warnings[0]


def test_a_head_that_is_low_for_a_moment_is_fine():
    samples = [standing(k * 11_000_000, k, (0.0, 0.2 if 100 < k < 200 else 1.5, 0.0)) for k in range(300)]
    checker, _ = run(samples)
    assert set(checker.counts) <= {"head_teleport"}


@pytest.mark.parametrize(
    ("head", "rotation"), [((1.5, 1.6, 0.0), (0, 0, 0, 1)), ((0.0, 1.6, 0.0), (0.0, 1.0, 0.0, 0.0))]
)
def test_head_teleport(head, rotation):
    samples = [standing(k * 11_000_000, k) for k in range(10)]
    samples += [standing(k * 11_000_000, k, head, rotation) for k in range(10, 20)]
    _, checked = run(samples)
    assert [k for k, result in enumerate(checked) if "head_teleport" in result.flags] == [10]


@pytest.mark.parametrize(("away_s", "moved_m", "jumped"), [(0.3, 3, True), (1, 3, True), (1, 2, False), (3, 5, False)])
def test_a_head_that_returns_elsewhere(away_s, moved_m, jumped):
    """Further than somebody could have walked unseen."""
    period_ns = 11_000_000
    gone = range(10, 10 + round(away_s * 1e9 / period_ns))
    samples = [
        replace(
            standing(k * period_ns, k, (0.0 if k < 10 else moved_m, 1.6, 0.0)), **({"head": None} if k in gone else {})
        )
        for k in range(gone.stop + 10)
    ]
    _, checked = run(samples)
    assert [k for k, result in enumerate(checked) if "head_teleport" in result.flags] == ([gone.stop] if jumped else [])


def test_a_head_that_turned_unseen_is_no_teleport():
    samples = [replace(standing(k * 11_000_000, k), **({} if k < 10 else {"head": None})) for k in range(60)]
    checker, _ = run([*samples, standing(700_000_000, 60, rotation=(0.0, 1.0, 0.0, 0.0))])
    assert not checker.counts


def test_a_source_that_knows_that_its_origin_moved():
    samples = [standing(k * 11_000_000, k) for k in range(10)]
    samples += [standing(k * 11_000_000, k, (0.3, 1.6, 0.0)) for k in range(10, 20)]  # too near to be noticed
    checker, checked = run([replace(s, origin_moved=s.index == 10) for s in samples])
    assert [k for k, result in enumerate(checked) if result.flags] == [10]
    assert checked[10].flags == ("head_teleport",)
    # without a head, and on a sample that is dropped
    _, checked = run([samples[0], replace(samples[1], head=None, origin_moved=True), *samples[2:4]])
    assert [result.flags for result in checked] == [(), ("head_teleport",), (), ()]
    _, checked = run([samples[1], replace(samples[0], origin_moved=True), *samples[2:4]])
    assert [result.flags for result in checked] == [(), ("time_backwards",), ("head_teleport",), ()]


def test_a_hand_at_a_guessed_place_is_flagged_and_told_after_a_while():
    samples = [replace(standing(k * 11_000_000, k), left=None, emulated=("left",)) for k in range(200)]
    checker, checked = run(samples[:50])
    assert all(result.flags == ("left_emulated",) for result in checked) and not checker.warnings
    checker, _ = run(samples)
    assert len(checker.warnings) == 1 and "the left hand" in checker.warnings[0] and "guesses" in checker.warnings[0]
    _, checked = run(samples, HeadsetOptions(swap_hands=True))
    assert checked[-1].flags == ("right_emulated",) and checked[-1].sample.emulated == ("right",)


def test_fast_motion_is_no_teleport():
    clip = make_clip("dash", 3.0, lambda t: (DOWN,) * 4, place=lambda t: (0, 0, -4.0 * t), yaw=lambda t: 8.0 * t)
    checker, _ = run(samples_of(clip))
    assert "head_teleport" not in checker.counts


def test_a_lost_head_is_passed_on():
    samples = [replace(standing(k), head=None) for k in range(3)]
    checker, checked = run(samples)
    assert all(result.sample.head is None and result.sample.left is not None for result in checked)
    assert not checker.counts


@pytest.mark.parametrize("options", [{"units": "inch"}, {"quaternion_order": "zyxw"}])
def test_options_are_checked(options):
    with pytest.raises(ConfigurationError, match="must be one of"):
        HeadsetOptions(**options)


def test_every_message_says_what_to_do():
    for flag, message in MESSAGES.items():
        assert len(message) > 60, flag


@pytest.mark.parametrize("fault", [z_up, lambda sample: changed(sample, lambda p, q: (p, q[[3, 0, 1, 2]]))])
def test_a_source_that_makes_its_own_poses_has_no_convention_in_doubt(fault):
    # A handstand or somebody who lies, in a motion file: it has no order of quaternions.
    samples = samples_of(motion("walking", 12.0))
    suspicious, _ = run(samples, fault=fault)
    assert suspicious.warnings
    settled, checked = run(samples, HeadsetOptions(is_settled=True), fault)
    assert not settled.warnings
    assert (settled.units, settled.quaternion_order, settled.axes) == ("m", "xyzw", "RUB")
    for result, sample in zip(checked, samples, strict=True):
        np.testing.assert_allclose(result.sample.head.position_m, fault(sample).head.position_m, atol=1e-9)
