"""Streams of other axes: found by where head and hands are, converted exactly, and never taken for something else."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.errors import ConfigurationError
from bodystream.geometry.tracker_noise import TrackerNoise
from bodystream.sources.headset.axes import CONVENTIONS, AxisConversion, axis_matrix
from bodystream.sources.headset.checks import HeadsetOptions, SampleChecker
from bodystream.sources.headset.synthetic import MotionHeadset
from bodystream.sources.headset.trace import read_trace
from helpers.headset_motions import arms_crossed, crouching, hands_raised, make_clip, walking, working

MOTIONS = {make.__name__: make for make in (walking, arms_crossed, crouching, hands_raised, working)}
DIRECTIONS = {"R": (1, 0, 0), "L": (-1, 0, 0), "U": (0, 1, 0), "D": (0, -1, 0), "F": (0, 0, -1), "B": (0, 0, 1)}
OTHER_UP = [code for code in CONVENTIONS if code[1] != "U"]


@cache
def samples_of(name, seconds=8.0):
    return list(MotionHeadset(MOTIONS[name](seconds), noise=TrackerNoise(), seed=1))


def as_axes(sample, code, own=None, scale=1.0, offset=(0.0, 0.0, 0.0), wxyz=False):
    """The sample as another program has it; the matrices are made here, not by what is tested."""
    world = np.array([DIRECTIONS[c] for c in code], float)
    device = np.array([DIRECTIONS[c] for c in own or code], float)

    def turned(d):
        if d is None:
            return None
        q = Rotation.from_matrix(world @ Rotation.from_quat(d.rotation_xyzw).as_matrix() @ device.T).as_quat()
        return replace(
            d, position_m=scale * (world @ d.position_m + offset), rotation_xyzw=np.roll(q, 1) if wxyz else q
        )

    return replace(sample, head=turned(sample.head), left=turned(sample.left), right=turned(sample.right))


def run(samples, options=None, prime=True):
    checker = SampleChecker(options)
    if prime:
        checker.prime(samples)
    return checker, [checker.check(sample) for sample in samples]


def assert_same(checked, samples):
    for result, want in zip(checked, samples, strict=True):
        for side in ("head", "left", "right"):
            got, true = getattr(result.sample, side), getattr(want, side)
            np.testing.assert_allclose(got.position_m, true.position_m, atol=1e-9)
            assert abs(got.rotation_xyzw @ true.rotation_xyzw) == pytest.approx(1.0, abs=1e-12)


def test_every_conversion_is_undone():
    rng = np.random.default_rng(0)
    codes = [
        "".join(code) for pairs in itertools.permutations(("RL", "UD", "FB")) for code in itertools.product(*pairs)
    ]
    assert len(codes) == 48
    for code, own in itertools.product(codes, repeat=2):
        world, device = (np.array([DIRECTIONS[c] for c in name], float) for name in (code, own))
        np.testing.assert_array_equal(axis_matrix(code), world)
        if np.linalg.det(world) * np.linalg.det(device) < 0:
            with pytest.raises(ConfigurationError, match="left-handed"):
                AxisConversion(code, own)
            continue
        p, true = rng.normal(size=3), Rotation.random(random_state=rng)
        conversion = AxisConversion(code, own)
        q = Rotation.from_matrix(world @ true.as_matrix() @ device.T).as_quat()
        np.testing.assert_allclose(conversion.position((world @ p).tolist()), p)
        got = Rotation.from_quat(conversion.rotation(q.tolist()))
        assert (got.inv() * true).magnitude() < 1e-7


@pytest.mark.parametrize("code", ["", "RUBX", "RRU", "XYZ", "rub", "RLU", "UDF", "R" * 5000])
def test_axes_that_are_none(code):
    with pytest.raises(ConfigurationError, match="three letters.*FLU"):
        HeadsetOptions(axes=code)


def test_options_that_contradict_each_other():
    with pytest.raises(ConfigurationError, match="--left-handed stands for --axes RUF"):
        HeadsetOptions(left_handed=True, axes="FLU")
    with pytest.raises(ConfigurationError, match="needs --axes"):
        HeadsetOptions(device_axes="RUB")


@pytest.mark.parametrize("name", ["walking", "working", "crouching"])
@pytest.mark.parametrize("code", [*OTHER_UP, "LBU", "BRU", "UFR", "LDB"])
def test_streams_converted_wholly(name, code):
    samples = samples_of(name)
    checker, checked = run([as_axes(s, code) for s in samples])
    assert set(checker.counts) == {"axes_suspected"}, checker.warnings
    if "(or " in checker.warnings[0]:  # nothing was seen of what lies ahead: the other of the two is named
        assert f"--axes {checker.axes}" in checker.warnings[0] and code in checker.warnings[0]
        checker, checked = run([as_axes(s, code) for s in samples], HeadsetOptions(axes=code))
        assert not checker.counts
    assert checker.axes == code and checked[0].reread is False
    assert_same(checked, samples)


@pytest.mark.parametrize("code", OTHER_UP)
@pytest.mark.parametrize("scale", [100.0, 1000.0])
def test_other_axes_in_other_units(code, scale):
    samples = samples_of("walking")
    checker, checked = run([as_axes(s, code, scale=scale) for s in samples])
    assert set(checker.counts) == {"axes_suspected", "units_suspected"}
    assert checker.axes == code and checker.units == {100.0: "cm", 1000.0: "mm"}[scale]
    assert_same(checked, samples)


@pytest.mark.parametrize("code", ["RFU", "FLU", "FRU"])
def test_other_axes_and_wxyz(code):
    samples = samples_of("walking")
    checker, checked = run([as_axes(s, code, wxyz=True) for s in samples])
    assert set(checker.counts) <= {"axes_suspected", "wxyz_suspected"} and checker.axes == code
    assert_same(checked, samples)


def test_a_camera_whose_origin_is_the_first_head():
    samples = samples_of("walking")
    start = samples[0].head.position_m
    checker, checked = run([as_axes(s, "RDF", offset=-np.array([1, -1, -1]) * start) for s in samples])
    assert checker.axes == "RDF" and "y down" in checker.warnings[0]
    assert not {"wxyz_suspected", "left_handed_axes", "hands_swapped"} & set(checker.counts)
    np.testing.assert_allclose(checked[0].sample.head.position_m, 0.0, atol=1e-9)


def test_y_down_in_the_world_alone_is_no_wxyz():
    samples = samples_of("walking")
    stream = [as_axes(s, "RDF", "RUB") for s in samples]
    checker, checked = run(stream)
    assert set(checker.counts) == {"axes_suspected"} and "y down" in checker.warnings[0]
    # A camera's quaternions as w, x, y, z look the same but for the head's nodding: that is said, too.
    assert "Use --axes RDF --device-axes RUB (or --axes RDF --quaternion-order wxyz)" in checker.warnings[0]
    assert_same(checked, samples)
    stream = [as_axes(s, "RDF", wxyz=True) for s in samples]
    assert run(stream)[0].warnings == checker.warnings
    checker, checked = run(stream, HeadsetOptions(axes="RDF", quaternion_order="wxyz"))
    assert not checker.counts
    assert_same(checked, samples)


@pytest.mark.parametrize("code", ["RFU", "FLU"])
def test_z_up_in_the_world_alone_may_be_somebody_who_lies(code):
    samples = samples_of("walking")
    stream = [as_axes(s, code, "RUB") for s in samples]
    checker, _ = run(stream)
    assert set(checker.counts) == {"head_tilted", "head_height"}
    assert any("--axes RFU --device-axes RUB" in warning for warning in checker.warnings)
    checker, checked = run(stream, HeadsetOptions(axes=code, device_axes="RUB"))
    assert not checker.counts
    assert_same(checked, samples)


def test_without_hands_only_the_vertical_axis_is_told():
    samples = [replace(s, left=None, right=None) for s in samples_of("walking")]
    stream = [as_axes(s, "RFU", offset=(5.0, 7.0, 0.0)) for s in samples]
    checker, _ = run(stream)
    assert "axes_unknown" in checker.counts and "z up" in checker.warnings[0] and "--axes" in checker.warnings[0]
    assert "wxyz_suspected" not in checker.counts and checker.axes == "RUB"


def test_a_live_stream_is_read_anew_once_it_is_found():
    samples = samples_of("walking")
    checker, checked = run([as_axes(s, "FLU") for s in samples], prime=False)
    (first,) = [k for k, result in enumerate(checked) if result.reread]
    assert 180 <= first < 400 and "head_teleport" not in checker.counts and "wxyz_suspected" not in checker.counts
    assert_same(checked[first:], samples[first:])


@pytest.mark.parametrize("name", MOTIONS)
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_no_alarm_whatever_the_way_one_faces(name, degrees):
    """Boxers and typists, with arms stretched ahead, face somewhere: z is not up for that."""
    turn = Rotation.from_euler("y", degrees, degrees=True)

    def turned(d):
        return replace(
            d,
            position_m=turn.apply(d.position_m) + (1.0, 0.0, 1.0),
            rotation_xyzw=(turn * Rotation.from_quat(d.rotation_xyzw)).as_quat(),
        )

    stream = [replace(s, head=turned(s.head), left=turned(s.left), right=turned(s.right)) for s in samples_of(name)]
    assert not run(stream)[0].counts


@pytest.mark.parametrize("ahead", [(0.0, 0.1, -1.0), (0.0, -0.3, -1.0), (0.0, 1.0, -0.1)])
def test_hands_that_are_held_up_all_the_time_are_no_other_axes(ahead):
    clip = make_clip("held", 8.0, lambda t: (ahead,) * 4)
    assert not {"axes_suspected", "axes_unknown"} & set(run(list(MotionHeadset(clip)))[0].counts)


def test_somebody_who_lies_and_looks_up_is_no_other_axes():
    samples = samples_of("working")
    lying = Rotation.from_euler("x", 90, degrees=True)

    def laid(d):
        return replace(
            d,
            position_m=lying.apply(d.position_m - (0, 0.8, 0)) + (0.0, 0.6, 0.0),
            rotation_xyzw=(lying * Rotation.from_quat(d.rotation_xyzw)).as_quat(),
        )

    stream = [replace(s, head=laid(s.head), left=laid(s.left), right=laid(s.right)) for s in samples]
    assert set(run(stream)[0].counts) <= {"head_tilted"}


@pytest.mark.parametrize("name", ["quest3_session", "vive_dance", "vive_dev", "vive_grab_right", "vive_tracked"])
@pytest.mark.parametrize("code", ["RUB", "RFU", "FRU", "RDF"])
def test_recordings_in_other_axes(shared_data, name, code):
    samples = read_trace(shared_data / "headset" / f"{name}.json").samples
    checker, _ = run([as_axes(s, code) for s in samples])
    if code == "RUB":
        assert not checker.counts
        return
    assert ("y down" if code == "RDF" else "z up") in checker.warnings[0]
    if name == "vive_grab_right":  # one hand is held beside the other: sides are seen late
        assert set(checker.counts) <= {"axes_suspected", "axes_unknown"}
    else:
        assert set(checker.counts) == {"axes_suspected"}
        assert checker.axes == code or f"(or --axes {code}" in checker.warnings[0]
