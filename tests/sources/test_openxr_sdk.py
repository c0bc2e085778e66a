"""The OpenXR source's use of pyopenxr: its real structures and errors, with the functions of a runtime replaced."""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from bodystream.errors import MissingDependencyError, SourceError
from bodystream.sources.headset.openxr import OpenXrHeadset
from bodystream.sources.headset.openxr_abi import CLOCK_EXTENSION, decode_event, locate_wrist
from bodystream.sources.headset.openxr_runtime import open_connection, require_xr
from bodystream.sources.headset.openxr_sdk import PROFILES, describe_error
from bodystream.sources.headset.openxr_types import (
    ConnectionLostError,
    HeadsetAbsentError,
    Located,
    SessionState,
    XrEvent,
    XrEventKind,
)

HEADLESS, HANDS, PALM = "XR_MND_headless", "XR_EXT_hand_tracking", "XR_EXT_palm_pose"
XR_OFFSET_NS = 7_000_000_000


@pytest.mark.skipif(sys.platform == "win32", reason="the runtime of these tests tells the time as on Linux")
class TestOnARuntime:
    def test_a_session_is_opened_and_closed(self, runtime: PatchedRuntime) -> None:
        connection = open_connection("tests")
        info = connection.info
        assert (info.runtime, info.system, info.space) == ("Patched 1.2.3", "Patched headset", "STAGE")
        assert (info.hands, info.palm, info.rate_hz, info.warnings) == (False, False, None, ())
        assert runtime.profiles == {profile: {"grip"} for profile in PROFILES}
        assert set(runtime.enabled) == {HEADLESS, CLOCK_EXTENSION}
        t_ns, xr_time = connection.now()
        assert xr_time == t_ns - XR_OFFSET_NS
        connection.close()
        connection.close()
        assert runtime.destroyed == ["session", "action_set", "instance"]

    def test_an_older_runtime_is_asked_for_1_0(self, runtime: PatchedRuntime) -> None:
        runtime.newest = 0
        runtime.extensions |= {PALM}
        connection = open_connection("tests", controller_pose="palm")
        assert connection.info.palm
        assert runtime.profiles["khr/simple_controller"] == {"grip", "palm_ext"}

    def test_a_newer_runtime_has_the_palm_pose_by_its_new_name(self, runtime: PatchedRuntime) -> None:
        runtime.rejected_inputs = {("htc/vive_controller", "grip_surface")}
        runtime.rejected_profiles = {"microsoft/motion_controller"}
        assert open_connection("tests", controller_pose="palm").info.palm
        # A controller without a palm pose is bound by its grip; one that is not known is left out.
        assert runtime.profiles["htc/vive_controller"] == {"grip"}
        assert runtime.profiles["valve/index_controller"] == {"grip", "grip_surface"}
        assert "microsoft/motion_controller" not in runtime.profiles

    def test_a_runtime_without_palm_poses_warns(self, runtime: PatchedRuntime) -> None:
        runtime.newest = 0
        connection = open_connection("tests", controller_pose="palm")
        assert not connection.info.palm
        assert connection.info.warnings == (
            "Patched 1.2.3 offers no palm pose of controllers: their grip pose is used",
        )

    def test_a_runtime_without_a_floor_warns(self, runtime: PatchedRuntime) -> None:
        runtime.spaces = ["VIEW", "LOCAL"]
        info = open_connection("tests").info
        assert info.space == "LOCAL" and "knows no floor" in info.warnings[0]

    @pytest.mark.parametrize("supported", [False, True])
    def test_hands_are_tracked_where_the_headset_can(self, runtime: PatchedRuntime, supported: bool) -> None:
        runtime.extensions |= {HANDS}
        runtime.hands_supported = supported
        connection = open_connection("tests")
        assert connection.info.hands is supported
        wrist = connection.wrist("left", 1)
        assert wrist == (Located((1.0, 2.0, 3.0), (0.0, 0.0, 0.0, 1.0)) if supported else None)

    def test_display_rate_and_its_absence(self, runtime: PatchedRuntime) -> None:
        runtime.extensions |= {"XR_FB_display_refresh_rate"}
        runtime.rate_hz = 72.0
        assert open_connection("tests").info.rate_hz == 72.0
        runtime.rate_hz = 0.0
        assert open_connection("tests").info.rate_hz is None
        runtime.raising["get_display_refresh_rate_fb"] = runtime.xr.FunctionUnsupportedError()
        assert open_connection("tests").info.rate_hz is None

    def test_poses_focus_and_activity(self, runtime: PatchedRuntime) -> None:
        connection = open_connection("tests")
        assert connection.head(1) == Located((1.0, 2.0, 3.0), (0.0, 0.0, 0.0, 1.0), position_tracked=False)
        assert connection.sync() and connection.controller("left", 1) is None
        runtime.active = True
        assert connection.controller("left", 1) is not None
        assert connection.palm("left", 1) is None
        runtime.raising["sync_actions"] = runtime.xr.SessionNotFocused()
        assert connection.sync() is False
        assert connection.poll() is None

    @pytest.mark.parametrize(
        "name", ["InstanceLostError", "SessionLostError", "SessionLossPending", "RuntimeFailureError"]
    )
    def test_loss_is_told_apart_from_other_failures(self, runtime: PatchedRuntime, name: str) -> None:
        connection = open_connection("tests")
        runtime.raising["locate_space"] = getattr(runtime.xr, name)()
        with pytest.raises(ConnectionLostError, match=rf"Patched 1\.2\.3 is gone while locating a pose: .*{name}"):
            connection.head(1)
        runtime.raising["locate_space"] = runtime.xr.ValidationFailureError()
        with pytest.raises(SourceError, match=r"failed while locating a pose") as caught:
            connection.head(1)
        assert not isinstance(caught.value, ConnectionLostError)

    # What stands in the way

    def test_no_headless_session_names_runtime_and_cure(self, runtime: PatchedRuntime) -> None:
        runtime.extensions -= {HEADLESS}
        with pytest.raises(SourceError, match=r"Patched 1\.2\.3 does not offer XR_MND_headless.*SteamVR.*webxr"):
            OpenXrHeadset("tests")
        assert runtime.destroyed == ["instance"]

    def test_no_headless_session_of_a_runtime_without_a_name(self, runtime: PatchedRuntime) -> None:
        runtime.extensions -= {HEADLESS}
        runtime.raising["create_instance"] = runtime.xr.RuntimeFailureError()
        with pytest.raises(SourceError, match="the OpenXR runtime that is active does not offer XR_MND_headless"):
            open_connection("tests")

    def test_no_common_clock(self, runtime: PatchedRuntime) -> None:
        runtime.extensions -= {CLOCK_EXTENSION}
        with pytest.raises(SourceError, match=rf"Patched 1\.2\.3 does not offer {CLOCK_EXTENSION}"):
            open_connection("tests")

    def test_no_headset(self, runtime: PatchedRuntime) -> None:
        runtime.raising["get_system"] = runtime.xr.FormFactorUnavailableError()
        with pytest.raises(HeadsetAbsentError, match=r"Patched 1\.2\.3 has no headset: connect it"):
            open_connection("tests")
        assert runtime.destroyed == ["instance"]

    def test_a_session_that_is_refused_leaves_nothing_behind(self, runtime: PatchedRuntime) -> None:
        runtime.raising["attach_session_action_sets"] = runtime.xr.LimitReachedError()
        with pytest.raises(SourceError, match="failed while opening the session.*LimitReachedError"):
            open_connection("tests")
        assert runtime.destroyed == ["session", "action_set", "instance"]

    def test_no_known_controller(self, runtime: PatchedRuntime) -> None:
        runtime.rejected_profiles = set(PROFILES)
        with pytest.raises(SourceError, match="knows none of the controllers khr/simple_controller"):
            open_connection("tests")

    def test_a_service_that_is_not_running(self, runtime: PatchedRuntime) -> None:
        runtime.raising["create_instance"] = runtime.xr.RuntimeFailureError()
        with pytest.raises(SourceError, match="does not start.*RuntimeFailureError.*Start its service"):
            open_connection("tests")

    def test_a_runtime_of_another_age(self, runtime: PatchedRuntime) -> None:
        runtime.newest = -1
        with pytest.raises(SourceError, match=r"neither OpenXR 1\.1 nor 1\.0"):
            open_connection("tests")

    def test_no_runtime_at_all(self, runtime: PatchedRuntime, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
        runtime.raising["enumerate_instance_extension_properties"] = runtime.xr.RuntimeUnavailableError()
        with pytest.raises(MissingDependencyError, match="an OpenXR runtime is needed.*SteamVR.*XR_RUNTIME_JSON"):
            open_connection("tests")
        manifest = tmp_path / "broken.json"
        manifest.write_text("{}")
        monkeypatch.setenv("XR_RUNTIME_JSON", str(manifest))
        with pytest.raises(SourceError, match=r"broken\.json \(XR_RUNTIME_JSON\) cannot be loaded"):
            open_connection("tests")
        monkeypatch.setenv("XR_RUNTIME_JSON", str(tmp_path / "absent.json"))
        with pytest.raises(SourceError, match=r"XR_RUNTIME_JSON names .*absent\.json, which is not a file"):
            open_connection("tests")
        monkeypatch.delenv("XR_RUNTIME_JSON")
        runtime.raising["enumerate_instance_extension_properties"] = runtime.xr.RuntimeFailureError()
        with pytest.raises(SourceError, match="does not answer"):
            open_connection("tests")


# Structures


def event_buffer(xr: Any, event: Any) -> Any:
    buffer = xr.EventDataBuffer()
    ctypes.memmove(ctypes.byref(buffer), ctypes.byref(event), ctypes.sizeof(event))
    return buffer


def test_events_are_decoded(xr: Any) -> None:
    for value in SessionState:
        changed = xr.EventDataSessionStateChanged(state=xr.SessionState(value))
        assert decode_event(xr, event_buffer(xr, changed)) == XrEvent(XrEventKind.STATE, value)
    assert decode_event(xr, event_buffer(xr, xr.EventDataInstanceLossPending())).kind is XrEventKind.LOSS
    moved = xr.EventDataReferenceSpaceChangePending()
    assert decode_event(xr, event_buffer(xr, moved)).kind is XrEventKind.ORIGIN_MOVED
    assert decode_event(xr, event_buffer(xr, xr.EventDataEventsLost())).kind is XrEventKind.EVENTS_LOST


def test_events_and_states_of_the_future_are_passed_over(xr: Any) -> None:
    buffer = xr.EventDataBuffer()
    buffer._type = 1_999_999_999
    assert decode_event(xr, buffer).kind is XrEventKind.OTHER
    changed = xr.EventDataSessionStateChanged()
    changed._state = 77
    assert decode_event(xr, event_buffer(xr, changed)).kind is XrEventKind.OTHER


def joints_function(xr: Any, *, active: bool = True, flags: int = 15, result: int = 0) -> Any:
    def locate(_tracker: Any, info: Any, locations: Any) -> int:
        if info.contents.time != 42 or locations.contents.joint_count != 26:
            return xr.Result.ERROR_VALIDATION_FAILURE.value
        locations.contents.is_active = active
        wrist = locations.contents._joint_locations[1]
        wrist._location_flags = flags
        wrist.pose = xr.Posef(xr.Quaternionf(0, 0.6, 0, 0.8), xr.Vector3f(0.25, 1.5, -0.5))
        return result

    return xr.PFN_xrLocateHandJointsEXT(locate)


def test_the_wrist_is_found_among_the_joints(xr: Any) -> None:
    wrist = locate_wrist(xr, joints_function(xr), xr.HandTrackerEXT(), xr.Space(), 42)
    assert wrist is not None and wrist.tracked
    assert wrist.position_m == (0.25, 1.5, -0.5) and wrist.rotation_xyzw == pytest.approx((0, 0.6, 0, 0.8), abs=1e-7)
    assert locate_wrist(xr, joints_function(xr, active=False), xr.HandTrackerEXT(), xr.Space(), 42) is None
    with pytest.raises(xr.TimeInvalidError):
        function = joints_function(xr, result=xr.Result.ERROR_TIME_INVALID.value)
        locate_wrist(xr, function, xr.HandTrackerEXT(), xr.Space(), 42)


@pytest.mark.parametrize("flags", range(16))
def test_the_four_flags_are_told_apart(xr: Any, flags: int) -> None:
    wrist = locate_wrist(xr, joints_function(xr, flags=flags), xr.HandTrackerEXT(), xr.Space(), 42)
    bits = xr.SpaceLocationFlags
    assert wrist is not None
    assert wrist.orientation_valid == bool(flags & bits.ORIENTATION_VALID_BIT.value)
    assert wrist.position_valid == bool(flags & bits.POSITION_VALID_BIT.value)
    assert wrist.orientation_tracked == bool(flags & bits.ORIENTATION_TRACKED_BIT.value)
    assert wrist.position_tracked == bool(flags & bits.POSITION_TRACKED_BIT.value)


def test_errors_are_written_without_markup(xr: Any) -> None:
    text = describe_error(xr.InstanceLostError())
    assert "slink:" not in text and "XrInstance was lost" in text and text.endswith("(InstanceLostError)")


# Packages


class Absent:
    """Makes imports of some packages fail, as if they were not installed or did not find a library."""

    def __init__(self, name: str, error: Exception) -> None:
        self._name, self._error = name, error

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == self._name:
            raise self._error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("No module", name="xr"), r"pyopenxr is needed.*pip install 'bodystream\[openxr\]'"),
        (ModuleNotFoundError("No module", name="OpenGL"), r"OpenGL \(a part of pyopenxr\) is needed.*pip install"),
        (ImportError("Unable to load OpenGL library"), "the OpenGL library is needed.*Unable to load.*libgl1"),
        (OSError("libGL.so.1: cannot open"), "the OpenGL library is needed"),
    ],
)
def test_what_is_not_installed_is_named(error: Exception, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "xr" or name.startswith("xr.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Absent("xr", error), *sys.meta_path])
    with pytest.raises(MissingDependencyError, match=message):
        OpenXrHeadset("tests")


# A runtime made of Python


@pytest.fixture
def xr() -> Any:
    try:
        return require_xr()
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture
def runtime(xr: Any, monkeypatch: pytest.MonkeyPatch) -> PatchedRuntime:
    monkeypatch.delenv("XR_RUNTIME_JSON", raising=False)
    patched = PatchedRuntime(xr)
    for name in PatchedRuntime.FUNCTIONS:
        monkeypatch.setattr(xr, name, patched.function(name))
    monkeypatch.setattr(xr.raw_functions, "xrGetSystemProperties", patched.get_system_properties)
    return patched


class PatchedRuntime:
    """Stands in for the functions of pyopenxr that call the runtime; a test changes what is public."""

    FUNCTIONS = (
        "attach_session_action_sets",
        "create_action",
        "create_action_set",
        "create_action_space",
        "create_hand_tracker_ext",
        "create_instance",
        "create_reference_space",
        "create_session",
        "destroy_action_set",
        "destroy_hand_tracker_ext",
        "destroy_instance",
        "destroy_session",
        "enumerate_instance_extension_properties",
        "enumerate_reference_spaces",
        "get_action_state_pose",
        "get_display_refresh_rate_fb",
        "get_instance_proc_addr",
        "get_instance_properties",
        "get_system",
        "locate_space",
        "poll_event",
        "string_to_path",
        "suggest_interaction_profile_bindings",
        "sync_actions",
    )

    def __init__(self, xr: Any) -> None:
        self.xr = xr
        self.extensions = {HEADLESS, CLOCK_EXTENSION, "XR_KHR_vulkan_enable2"}
        self.newest = 1
        self.spaces = ["VIEW", "LOCAL", "STAGE"]
        self.hands_supported = True
        self.rate_hz = 0.0
        self.active = False
        self.rejected_profiles: set[str] = set()
        self.rejected_inputs: set[tuple[str, str]] = set()
        self.raising: dict[str, Exception] = {}
        self.enabled: list[str] = []
        self.profiles: dict[str, set[str]] = {}
        self.destroyed: list[str] = []
        self._paths = ["(none)"]
        self._convert = xr.PFN_xrConvertTimespecTimeToTimeKHR(self._convert_time)
        self._joints = xr.PFN_xrLocateHandJointsEXT(self._locate_joints)

    def function(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            if name in self.raising:
                raise self.raising[name]
            if name.startswith("destroy_"):
                self.destroyed.append(name.removeprefix("destroy_"))
                return None
            return getattr(self, name)(*args)

        return call

    def get_system_properties(self, _instance: Any, _system: Any, reference: Any) -> Any:
        properties = reference._obj
        properties.system_name = b"Patched headset"
        if properties._next:
            chained = ctypes.cast(properties._next, ctypes.POINTER(self.xr.SystemHandTrackingPropertiesEXT)).contents
            chained.supports_hand_tracking = self.hands_supported
        return self.xr.Result.SUCCESS

    def enumerate_instance_extension_properties(self) -> list[Any]:
        return [SimpleNamespace(extension_name=name.encode()) for name in sorted(self.extensions)]

    def create_instance(self, info: Any) -> Any:
        names = [name.decode() for name in info.enabled_extension_names] if info.enabled_extension_count else []
        if self.xr.Version(info.application_info._api_version).minor > self.newest:
            raise self.xr.ApiVersionUnsupportedError
        assert set(names) <= self.extensions
        self.enabled = names
        return self.xr.Instance()

    def get_instance_properties(self, _instance: Any) -> Any:
        return SimpleNamespace(runtime_name=b"Patched", runtime_version=self.xr.Version(1, 2, 3).number())

    def get_system(self, _instance: Any) -> Any:
        return self.xr.SystemId(1)

    def create_session(self, _instance: Any, info: Any) -> Any:
        assert not info._next  # no graphics
        return self.xr.Session()

    def enumerate_reference_spaces(self, _session: Any) -> list[int]:
        return [*(self.xr.ReferenceSpaceType[name].value for name in self.spaces), 1_999_999_999]

    def create_reference_space(self, _session: Any, info: Any) -> Any:
        assert info.reference_space_type.name in self.spaces
        assert info.pose_in_reference_space.orientation.w == 1.0
        return self.xr.Space()

    def create_action_set(self, _instance: Any, _info: Any) -> Any:
        return self.xr.ActionSet()

    def create_action(self, _action_set: Any, info: Any) -> Any:
        assert info.count_subaction_paths == 2
        return self.xr.Action()

    def create_action_space(self, _session: Any, _info: Any) -> Any:
        return self.xr.Space()

    def create_hand_tracker_ext(self, _session: Any, _info: Any) -> Any:
        return self.xr.HandTrackerEXT()

    def string_to_path(self, _instance: Any, text: str) -> int:
        self._paths.append(text)
        return len(self._paths) - 1

    def suggest_interaction_profile_bindings(self, _instance: Any, suggestion: Any) -> None:
        profile = self._paths[suggestion.interaction_profile].removeprefix("/interaction_profiles/")
        bound = [self._paths[binding.binding].split("/") for binding in suggestion.suggested_bindings]
        assert {parts[3] for parts in bound} == {"left", "right"}
        inputs = {parts[5] for parts in bound}
        if profile in self.rejected_profiles or any((profile, name) in self.rejected_inputs for name in inputs):
            raise self.xr.PathUnsupportedError
        self.profiles[profile] = inputs

    def attach_session_action_sets(self, _session: Any, info: Any) -> None:
        assert info.count_action_sets == 1

    def get_instance_proc_addr(self, _instance: Any, name: str) -> Any:
        return {"xrConvertTimespecTimeToTimeKHR": self._convert, "xrLocateHandJointsEXT": self._joints}[name]

    def get_display_refresh_rate_fb(self, _session: Any) -> Any:
        return ctypes.c_float(self.rate_hz)

    def locate_space(self, _space: Any, _base: Any, _time: int) -> Any:
        return self.xr.SpaceLocation(self.xr.SpaceLocationFlags(7), self._pose())

    def sync_actions(self, _session: Any, info: Any) -> None:
        assert info.count_active_action_sets == 1

    def get_action_state_pose(self, _session: Any, _info: Any) -> Any:
        return SimpleNamespace(is_active=self.active)

    def poll_event(self, _instance: Any) -> Any:
        raise self.xr.EventUnavailable

    def _pose(self) -> Any:
        return self.xr.Posef(self.xr.Quaternionf(0, 0, 0, 1), self.xr.Vector3f(1, 2, 3))

    def _convert_time(self, _instance: Any, timespec: Any, out: Any) -> int:
        value = timespec.contents
        out[0] = value.tv_sec * 1_000_000_000 + value.tv_nsec - XR_OFFSET_NS
        return 0

    def _locate_joints(self, _tracker: Any, _info: Any, locations: Any) -> int:
        locations.contents.is_active = 1
        joint = locations.contents._joint_locations[1]
        joint._location_flags, joint.pose = 15, self._pose()
        return 0
