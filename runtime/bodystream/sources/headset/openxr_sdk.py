"""A headless OpenXR session by pyopenxr: its spaces, actions and hand trackers.

Source: the OpenXR specification 1.1; XR_MND_headless, XR_EXT_hand_tracking, XR_EXT_palm_pose,
XR_FB_display_refresh_rate.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
from collections.abc import Iterator
from typing import Any

from bodystream.errors import SourceError
from bodystream.sources.headset.openxr_abi import check, decode_event, locate_wrist, located, make_clock
from bodystream.sources.headset.openxr_poses import choose_space
from bodystream.sources.headset.openxr_types import (
    SIDES,
    ConnectionLostError,
    HeadsetAbsentError,
    Located,
    RuntimeInfo,
    Side,
    XrEvent,
)

__all__ = ["PROFILES", "SdkConnection", "describe", "describe_error"]

PROFILES = (
    "khr/simple_controller",
    "oculus/touch_controller",
    "valve/index_controller",
    "htc/vive_controller",
    "microsoft/motion_controller",
)
"""Interaction profiles whose grip (and palm) poses are asked for; runtimes map other controllers to one of them."""


def describe(xr: Any, instance: Any) -> str:
    """The name of the runtime, and its version where that is not a part of the name."""
    properties = xr.get_instance_properties(instance)
    name = properties.runtime_name.decode(errors="replace")
    number = xr.Version(properties.runtime_version)
    version = f"{number.major}.{number.minor}.{number.patch}"
    return name if version in name else f"{name} {version}"


def describe_error(error: Exception) -> str:
    """The text of an OpenXR result for a person: pyopenxr's is marked up (`slink:XrInstance`)."""
    text = re.sub(r"\b(?:[a-z]link|[a-z]name|basetype|code):", "", str(error)).rstrip(".")
    return f"{text} ({type(error).__name__})"


class SdkConnection:
    """A session of an instance that it owns; see `XrConnection`.

    Raises:
        HeadsetAbsentError: no headset is connected.
        SourceError: the runtime refuses something that is needed.
    """

    def __init__(self, xr: Any, instance: Any, extensions: frozenset[str], is_1_1: bool, palm: bool) -> None:
        self._xr = xr
        self._instance: Any = instance
        self._session: Any = None
        self._action_set: Any = None
        self._spaces: dict[str, Any] = {}
        self._actions: dict[str, Any] = {}
        self._trackers: dict[str, Any] = {}
        self._paths: dict[str, int] = {}
        self._runtime = describe(xr, instance)
        warnings: list[str] = []
        try:
            with self._calling("opening the session"):
                try:
                    system_id = xr.get_system(instance)
                except xr.FormFactorUnavailableError as error:
                    raise HeadsetAbsentError(
                        f"the OpenXR runtime {self._runtime} has no headset: connect it and switch it on"
                    ) from error
                self._session = xr.create_session(instance, xr.SessionCreateInfo(system_id=system_id))
                space, warning = choose_space(self._offered_spaces(), self._runtime)
                warnings += [] if warning is None else [warning]
                self._base = self._spaces["base"] = self._reference_space(space)
                self._spaces["view"] = self._reference_space("VIEW")
                palm_path = "grip_surface" if is_1_1 else "palm_ext" if "XR_EXT_palm_pose" in extensions else ""
                if palm and not palm_path:
                    warnings.append(f"{self._runtime} offers no palm pose of controllers: their grip pose is used")
                self._make_actions(palm_path if palm else "")
                system, hands = self._make_trackers(system_id, "XR_EXT_hand_tracking" in extensions)
                self._clock = make_clock(xr, instance, self._function)
                rate_hz = self._display_rate_hz("XR_FB_display_refresh_rate" in extensions)
        except BaseException:
            self._release()
            raise
        self.info = RuntimeInfo(self._runtime, system, space, hands, bool(palm and palm_path), rate_hz, tuple(warnings))

    # Session

    def poll(self) -> XrEvent | None:
        xr = self._xr
        with self._calling("polling events"):
            try:
                return decode_event(xr, xr.poll_event(self._instance))
            except xr.EventUnavailable:
                return None

    def begin(self) -> None:
        # The kind of view is ignored for a session without graphics, and has to be a valid one all the same.
        stereo = self._xr.ViewConfigurationType.PRIMARY_STEREO
        with self._calling("beginning the session"):
            self._xr.begin_session(self._session, self._xr.SessionBeginInfo(stereo))

    def end(self) -> None:
        with self._calling("ending the session"):
            self._xr.end_session(self._session)

    def now(self) -> tuple[int, int]:
        with self._calling("reading the time"):
            return self._clock()

    # Poses

    def sync(self) -> bool:
        xr = self._xr
        active = xr.ActiveActionSet(action_set=self._action_set)
        with self._calling("reading the controllers"):
            try:
                xr.sync_actions(self._session, xr.ActionsSyncInfo(active_action_sets=[active]))
            except xr.SessionNotFocused:
                return False
        return True

    def head(self, xr_time: int) -> Located:
        return self._locate(self._spaces["view"], xr_time)

    def controller(self, side: Side, xr_time: int) -> Located | None:
        return self._locate_action("grip", side, xr_time)

    def palm(self, side: Side, xr_time: int) -> Located | None:
        return self._locate_action("palm", side, xr_time) if "palm" in self._actions else None

    def wrist(self, side: Side, xr_time: int) -> Located | None:
        tracker = self._trackers.get(side)
        if tracker is None:
            return None
        with self._calling("locating the hands"):
            return locate_wrist(self._xr, self._locate_joints, tracker, self._base, xr_time)

    def close(self) -> None:
        self._release()
        instance, self._instance = self._instance, None
        if instance is not None:
            with contextlib.suppress(self._xr.ResultException):  # the runtime may be gone
                self._xr.destroy_instance(instance)

    # Opening

    def _offered_spaces(self) -> set[str]:
        names = {kind.value: kind.name for kind in self._xr.ReferenceSpaceType}
        found = self._xr.enumerate_reference_spaces(self._session)
        return {names[int(value)].removesuffix("_EXT") for value in found if int(value) in names}

    def _reference_space(self, name: str) -> Any:
        xr = self._xr
        info = xr.ReferenceSpaceCreateInfo(xr.ReferenceSpaceType[name], _identity(xr))
        return xr.create_reference_space(self._session, info)

    def _make_actions(self, palm_path: str) -> None:
        xr, instance = self._xr, self._instance
        self._paths = {side: xr.string_to_path(instance, f"/user/hand/{side}") for side in SIDES}
        self._action_set = xr.create_action_set(
            instance, xr.ActionSetCreateInfo(action_set_name="hands", localized_action_set_name="Hands", priority=0)
        )
        inputs = {"grip": "grip"} | ({"palm": palm_path} if palm_path else {})
        for name in inputs:
            create_info = xr.ActionCreateInfo(
                action_name=name,
                action_type=xr.ActionType.POSE_INPUT,
                subaction_paths=list(self._paths.values()),
                localized_action_name=f"Hand {name}",
            )
            self._actions[name] = xr.create_action(self._action_set, create_info)
            for side, path in self._paths.items():
                space_info = xr.ActionSpaceCreateInfo(self._actions[name], path, _identity(xr))
                self._spaces[f"{name}-{side}"] = xr.create_action_space(self._session, space_info)
        accepted = [profile for profile in PROFILES if self._suggest(profile, inputs)]
        if not accepted:
            raise SourceError(f"{self._runtime} knows none of the controllers {', '.join(PROFILES)}: update it")
        xr.attach_session_action_sets(self._session, xr.SessionActionSetsAttachInfo(action_sets=[self._action_set]))

    def _suggest(self, profile: str, inputs: dict[str, str]) -> bool:
        """Whether the runtime knows that kind of controller; one that lacks the palm pose is bound by its grip."""
        xr = self._xr
        for names in dict.fromkeys((tuple(inputs), ("grip",))):
            bindings = [
                xr.ActionSuggestedBinding(
                    self._actions[name],
                    xr.string_to_path(self._instance, f"/user/hand/{side}/input/{inputs[name]}/pose"),
                )
                for name in names
                for side in SIDES
            ]
            profile_path = xr.string_to_path(self._instance, f"/interaction_profiles/{profile}")
            suggestion = xr.InteractionProfileSuggestedBinding(profile_path, suggested_bindings=bindings)
            try:
                xr.suggest_interaction_profile_bindings(self._instance, suggestion)
            except xr.PathUnsupportedError:
                continue
            return True
        return False

    def _make_trackers(self, system_id: Any, offered: bool) -> tuple[str, bool]:
        """The name of the headset, and whether hands can be tracked; makes their trackers."""
        xr = self._xr
        support = xr.SystemHandTrackingPropertiesEXT()
        properties = xr.SystemProperties()
        if offered:
            properties._next = ctypes.cast(ctypes.pointer(support), ctypes.c_void_p)
        check(xr, xr.raw_functions.xrGetSystemProperties(self._instance, system_id, ctypes.byref(properties)))
        if offered and support.supports_hand_tracking:
            for side in SIDES:
                info = xr.HandTrackerCreateInfoEXT(xr.HandEXT[side.upper()])
                self._trackers[side] = xr.create_hand_tracker_ext(self._session, info)
            self._locate_joints = self._function("xrLocateHandJointsEXT", xr.PFN_xrLocateHandJointsEXT)
        return properties.system_name.decode(errors="replace"), bool(self._trackers)

    def _display_rate_hz(self, offered: bool) -> float | None:
        if not offered:
            return None
        try:
            rate_hz = float(self._xr.get_display_refresh_rate_fb(self._session).value)
        except self._xr.ErrorResult:  # some runtimes list the extension for headsets that cannot tell
            return None
        return rate_hz if rate_hz > 0 else None

    # Calls

    def _locate(self, space: Any, xr_time: int) -> Located:
        with self._calling("locating a pose"):
            location = self._xr.locate_space(space, self._base, xr_time)
        return located(location._location_flags, location.pose)

    def _locate_action(self, name: str, side: Side, xr_time: int) -> Located | None:
        xr = self._xr
        with self._calling("reading a controller"):
            state = xr.get_action_state_pose(
                self._session, xr.ActionStateGetInfo(self._actions[name], self._paths[side])
            )
        return self._locate(self._spaces[f"{name}-{side}"], xr_time) if state.is_active else None

    def _function(self, name: str, kind: Any) -> Any:
        return ctypes.cast(self._xr.get_instance_proc_addr(self._instance, name), kind)

    @contextlib.contextmanager
    def _calling(self, what: str) -> Iterator[None]:
        """Turn the results of OpenXR into our errors."""
        xr = self._xr
        # A runtime whose service was killed answers one call with "lost" and another with "failure".
        lost = (xr.InstanceLostError, xr.SessionLostError, xr.SessionLossPending, xr.RuntimeFailureError)
        try:
            yield
        except lost as error:
            raise ConnectionLostError(f"{self._runtime} is gone while {what}: {describe_error(error)}") from error
        except xr.ResultException as error:
            raise SourceError(
                f"{self._runtime} failed while {what}: {describe_error(error)}. Restart it; its own log says more"
            ) from error

    def _release(self) -> None:
        """Destroy what belongs to the session; the instance goes last, and by itself."""
        xr = self._xr
        with contextlib.suppress(xr.ResultException):
            for tracker in self._trackers.values():
                xr.destroy_hand_tracker_ext(tracker)
        with contextlib.suppress(xr.ResultException):
            if self._session is not None:
                xr.destroy_session(self._session)  # takes its spaces with it
        with contextlib.suppress(xr.ResultException):
            if self._action_set is not None:
                xr.destroy_action_set(self._action_set)  # takes its actions with it
        self._trackers, self._session, self._action_set = {}, None, None
        self._spaces, self._actions = {}, {}


def _identity(xr: Any) -> Any:
    return xr.Posef(xr.Quaternionf(0.0, 0.0, 0.0, 1.0), xr.Vector3f(0.0, 0.0, 0.0))
