"""Where OpenXR is spoken in C structures, because pyopenxr has no function that does it, or none that does it right.

Nothing here needs a runtime: each function takes the runtime's function, or a structure that the runtime filled.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

from bodystream.sources.headset.openxr_clock import CounterClock, split_ns
from bodystream.sources.headset.openxr_types import Located, SessionState, XrEvent, XrEventKind
from bodystream.timing import now_ns

__all__ = ["CLOCK_EXTENSION", "check", "decode_event", "locate_wrist", "located", "make_clock"]

CLOCK_EXTENSION = (
    "XR_KHR_win32_convert_performance_counter_time" if sys.platform == "win32" else "XR_KHR_convert_timespec_time"
)
"""What turns host time into XrTime on this system."""

_WRIST = 1  # XR_HAND_JOINT_WRIST_EXT


def check(xr: Any, result: Any) -> None:
    """Raise what pyopenxr raises for a result that is not a success.

    Raises:
        xr.ResultException: for all others.
    """
    checked = xr.check_result(xr.Result(result))
    if checked.is_exception():
        raise checked


def located(flags: int, pose: Any) -> Located:
    """From an `XrSpaceLocation` or `XrHandJointLocationEXT`."""
    # XrSpaceLocationFlagBits: orientation valid 1, position valid 2, orientation tracked 4, position tracked 8.
    p, q = pose.position, pose.orientation
    return Located(
        (p.x, p.y, p.z),
        (q.x, q.y, q.z, q.w),
        position_valid=bool(flags & 2),
        orientation_valid=bool(flags & 1),
        position_tracked=bool(flags & 8),
        orientation_tracked=bool(flags & 4),
    )


def decode_event(xr: Any, event: Any) -> XrEvent:
    """What an `XrEventDataBuffer` holds."""
    kinds = xr.StructureType
    # As a number: a runtime may send events, and states, that this version of pyopenxr has no name for.
    kind = event._type
    if kind == kinds.EVENT_DATA_SESSION_STATE_CHANGED.value:
        changed = ctypes.cast(ctypes.byref(event), ctypes.POINTER(xr.EventDataSessionStateChanged)).contents
        known = changed._state in SessionState._value2member_map_
        return XrEvent(XrEventKind.STATE, SessionState(changed._state)) if known else XrEvent(XrEventKind.OTHER)
    if kind == kinds.EVENT_DATA_INSTANCE_LOSS_PENDING.value:
        return XrEvent(XrEventKind.LOSS)
    if kind == kinds.EVENT_DATA_REFERENCE_SPACE_CHANGE_PENDING.value:
        return XrEvent(XrEventKind.ORIGIN_MOVED)
    if kind == kinds.EVENT_DATA_EVENTS_LOST.value:
        return XrEvent(XrEventKind.EVENTS_LOST)
    return XrEvent(XrEventKind.OTHER)


def locate_wrist(xr: Any, locate_joints: Any, tracker: Any, base_space: Any, xr_time: int) -> Located | None:
    """The wrist of a hand, None while the tracker sees none.

    pyopenxr's own `locate_hand_joints_ext` leaves no room for the joints, and so always fails.

    Args:
        locate_joints: the runtime's `xrLocateHandJointsEXT`.

    Raises:
        xr.ResultException: the runtime refused.
    """
    joints = (xr.HandJointLocationEXT * xr.HAND_JOINT_COUNT_EXT)()
    locations = xr.HandJointLocationsEXT()
    locations.joint_count = len(joints)
    locations._joint_locations = ctypes.cast(joints, ctypes.POINTER(xr.HandJointLocationEXT))
    info = xr.HandJointsLocateInfoEXT(base_space=base_space, time=xr_time)
    check(xr, locate_joints(tracker, info, ctypes.byref(locations)))
    if not locations.is_active:
        return None
    return located(joints[_WRIST]._location_flags, joints[_WRIST].pose)


def make_clock(xr: Any, instance: Any, function: Callable[[str, Any], Any]) -> Callable[[], tuple[int, int]]:
    """A function that reads this moment as host nanoseconds and as XrTime.

    Args:
        function: gives the runtime's function of a name, cast to a type.
    """
    if sys.platform == "win32":
        return _counter_clock(xr, instance, function)
    convert = function("xrConvertTimespecTimeToTimeKHR", xr.PFN_xrConvertTimespecTimeToTimeKHR)

    def now() -> tuple[int, int]:
        t_ns, xr_time = now_ns(), xr.Time()
        check(xr, convert(instance, xr.timespec(*split_ns(t_ns)), ctypes.byref(xr_time)))
        return t_ns, xr_time.value

    return now


def _counter_clock(xr: Any, instance: Any, function: Callable[[str, Any], Any]) -> Callable[[], tuple[int, int]]:
    name = "xrConvertWin32PerformanceCounterToTimeKHR"
    convert = function(name, xr.PFN_xrConvertWin32PerformanceCounterToTimeKHR)
    kernel32 = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined]

    def read(system_function: Any) -> int:
        value = ctypes.c_longlong()
        system_function(ctypes.byref(value))
        return value.value

    clock = CounterClock(lambda: read(kernel32.QueryPerformanceCounter), read(kernel32.QueryPerformanceFrequency))

    def now() -> tuple[int, int]:
        (t_ns, ticks), xr_time = clock.now(), xr.Time()
        check(xr, convert(instance, ctypes.c_longlong(ticks), ctypes.byref(xr_time)))
        return t_ns, xr_time.value

    return now
