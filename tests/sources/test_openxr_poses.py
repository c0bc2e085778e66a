"""Which poses of an OpenXR runtime are passed on, and on which clock."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bodystream.sources.headset.openxr_clock import CounterClock, split_ns
from bodystream.sources.headset.openxr_poses import HandChooser, choose_space, device_from, wrist_from_palm
from bodystream.sources.headset.openxr_types import Located, Side
from bodystream.types import DeviceKind
from helpers.openxr_fake import guessed, pose

S = 1_000_000_000


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ({"VIEW", "LOCAL", "STAGE", "LOCAL_FLOOR"}, "STAGE"),
        ({"VIEW", "LOCAL", "LOCAL_FLOOR"}, "LOCAL_FLOOR"),
    ],
)
def test_a_space_with_a_floor_is_preferred(offered: set[str], chosen: str) -> None:
    assert choose_space(offered, "Fake") == (chosen, None)


def test_a_space_without_a_floor_comes_with_a_warning() -> None:
    chosen, warning = choose_space({"VIEW", "LOCAL", "UNBOUNDED_MSFT"}, "Fake")
    assert chosen == "LOCAL"
    assert warning is not None and "Fake knows no floor" in warning and "calibrate" in warning
    with pytest.raises(ValueError, match="Fake offers the reference spaces .*VIEW"):
        choose_space({"VIEW"}, "Fake")


@given(
    st.tuples(*[st.floats(-1, 1, width=32)] * 4).filter(lambda q: sum(x * x for x in q) > 1e-3),
    st.floats(0.75, 1.5),
    st.tuples(*[st.floats(-10, 10)] * 3),
)
def test_a_pose_keeps_its_rotation_and_gets_one_sign(
    rotation: tuple[float, ...], length: float, position: tuple[float, float, float]
) -> None:
    unit = np.array(rotation) / np.linalg.norm(rotation)
    device = device_from(Located(position, tuple(unit * length)), DeviceKind.VIEW)
    assert device is not None
    assert np.linalg.norm(device.rotation_xyzw) == pytest.approx(1, abs=1e-12) and device.rotation_xyzw[3] >= 0
    turned_back = Rotation.from_quat(unit).inv() * Rotation.from_quat(device.rotation_xyzw)
    assert turned_back.magnitude() < 1e-6
    np.testing.assert_array_equal(device.position_m, position)


@pytest.mark.parametrize(
    "located",
    [
        replace(pose(), position_valid=False),
        replace(pose(), orientation_valid=False),
        pose(rotation=(0, 0, 0, 0)),
        pose(rotation=(0, 0, 0, 3)),
        pose(rotation=(0, 0, 0, float("nan"))),
        pose(x=float("nan")),
        pose(y=float("inf")),
    ],
)
def test_what_is_no_pose_is_not_passed_on(located: Located) -> None:
    assert device_from(located, DeviceKind.VIEW) is None


@pytest.mark.parametrize("missing", ["position_tracked", "orientation_tracked", "position_valid", "orientation_valid"])
def test_tracked_wants_all_four_bits(missing: str) -> None:
    assert pose().tracked
    assert not replace(pose(), **{missing: False}).tracked


def chosen(chooser: HandChooser, t_ns: int = 0, **poses: Located) -> DeviceKind | None:
    given_poses: dict[str, Located | None] = {"grip": None, "palm": None, "wrist": None, **poses}
    device = chooser.choose(t_ns, **given_poses)
    return None if device is None else device.kind


def test_a_controller_wins_over_the_hand_that_holds_it() -> None:
    chooser = HandChooser("left")
    assert chosen(chooser, grip=pose(), wrist=pose()) is DeviceKind.GRIP
    assert chosen(chooser, wrist=pose()) is DeviceKind.HAND_WRIST
    assert chosen(chooser) is None


def test_a_controller_that_is_not_seen_gives_way_to_the_hand() -> None:
    chooser = HandChooser("left")
    assert chosen(chooser, grip=guessed(pose()), wrist=pose()) is DeviceKind.HAND_WRIST
    assert chosen(chooser, grip=replace(pose(), position_valid=False), wrist=pose()) is DeviceKind.HAND_WRIST


def test_a_guess_is_good_for_a_while() -> None:
    chooser = HandChooser("right", inferred_s=0.3)
    assert chosen(chooser, 0, grip=guessed(pose())) is None
    assert chosen(chooser, 1 * S, grip=pose()) is DeviceKind.GRIP
    assert chosen(chooser, 1 * S + 300_000_000, grip=guessed(pose())) is DeviceKind.GRIP
    assert chosen(chooser, 1 * S + 300_000_001, grip=guessed(pose())) is None
    # A guess does not prolong itself, and a measured hand is no reason to believe in a controller.
    assert chosen(chooser, 2 * S, wrist=pose()) is DeviceKind.HAND_WRIST
    assert chosen(chooser, 2 * S + 1, grip=guessed(pose())) is None
    assert chosen(chooser, 3 * S, grip=pose()) is DeviceKind.GRIP


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_wrist_of_a_palm_has_the_axes_of_a_hand_joint(side: Side) -> None:
    # A hand held out flat, palm down, fingers forward. Its palm pose: -z along the fingers; x is the palm's normal,
    # which goes out of the palm (down) on the left and into it (up) on the right.
    x = np.array((0, 1.0, 0) if side == "right" else (0, -1.0, 0))
    z = np.array((0, 0, 1.0))
    rotation = Rotation.from_matrix(np.column_stack((x, np.cross(z, x), z)))
    palm = device_from(pose(0.2, 1.0, -0.5, tuple(rotation.as_quat())), DeviceKind.GRIP)
    assert palm is not None
    wrist = wrist_from_palm(palm, side)
    assert wrist.kind is DeviceKind.HAND_WRIST
    # A hand joint of that hand is not turned at all: -z along the fingers, y out of its back.
    np.testing.assert_allclose(Rotation.from_quat(wrist.rotation_xyzw).as_matrix(), np.eye(3), atol=1e-12)
    # The wrist is behind the palm, and above its skin.
    offset_m = wrist.position_m - palm.position_m
    assert offset_m[0] == pytest.approx(0, abs=1e-12) and offset_m[1] > 0.01 and 0.05 < offset_m[2] < 0.1


def test_the_palm_is_preferred_where_there_is_one() -> None:
    chooser = HandChooser("right")
    assert chosen(chooser, grip=pose(), palm=pose()) is DeviceKind.HAND_WRIST
    assert chosen(chooser, grip=pose(), palm=replace(pose(), position_valid=False)) is DeviceKind.GRIP


# Clocks


def test_timespec_has_whole_seconds_and_the_rest() -> None:
    assert split_ns(12_345_678_901_234) == (12_345, 678_901_234)


class TwoClocks:
    """A counter of 10 MHz, and a host clock of another zero that advances in steps."""

    def __init__(self, step_ns: int, offset_ns: int) -> None:
        self.true_ns = 0
        self._step_ns = step_ns
        self.offset_ns = offset_ns

    def ticks(self) -> int:
        return self.true_ns // 100

    def host_ns(self) -> int:
        return (self.true_ns + self.offset_ns) // self._step_ns * self._step_ns


def test_a_coarse_host_clock_gets_the_resolution_of_the_counter() -> None:
    clocks = TwoClocks(step_ns=15_625_000, offset_ns=77 * S + 123)
    clock = CounterClock(clocks.ticks, 10_000_000, host_ns=clocks.host_ns)
    times_ns, errors_ns = [], []
    for _ in range(500):
        clocks.true_ns += 11_111_100
        t_ns, ticks = clock.now()
        assert ticks == clocks.ticks()
        times_ns.append(t_ns)
        errors_ns.append(t_ns - (clocks.true_ns + clocks.offset_ns))
    # Not to the tick: the offset still gets better by some 100 ns now and then.
    np.testing.assert_allclose(np.diff(times_ns[100:]), 11_111_100, rtol=0, atol=1000)
    assert (np.diff(times_ns) >= 0).all()
    assert max(errors_ns) <= 0 and min(errors_ns[100:]) > -1_000_000


def test_clocks_that_drift_apart_are_followed() -> None:
    clocks = TwoClocks(step_ns=1, offset_ns=0)
    clock = CounterClock(clocks.ticks, 10_000_000, host_ns=clocks.host_ns, window=50)
    for k in range(3000):
        clocks.true_ns += 11_111_100
        clocks.offset_ns -= 333  # 30 parts per million, the host being the slower
        t_ns, _ = clock.now()
        if k > 100:
            assert abs(t_ns - (clocks.true_ns + clocks.offset_ns)) < 51 * 333 + 100
