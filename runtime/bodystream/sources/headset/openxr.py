"""A headset and hands by OpenXR: SteamVR, Monado, WiVRn and every other runtime that works without drawing.

The session is headless (`XR_MND_headless`): nothing is shown in the headset, and no window or graphics card is needed.
Poses are asked for at the moment they are delivered, in the runtime's floor space, which has the axes of this project:
right-handed, y up, -z forward. docs/openxr.md tells a user how to connect, and what the messages mean.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from bodystream.errors import BodystreamError, ConfigurationError, SourceError
from bodystream.sources.base import SourceCounts
from bodystream.sources.headset.openxr_poses import ControllerPose, HandChooser, device_from
from bodystream.sources.headset.openxr_types import (
    SIDES,
    ConnectionLostError,
    HeadsetAbsentError,
    RuntimeInfo,
    SessionState,
    Side,
    XrConnection,
    XrEvent,
    XrEventKind,
)
from bodystream.types import DeviceKind, HeadsetSample, TrackedDevice

__all__ = ["OpenXrHeadset"]

DEFAULT_RATE_HZ = 90.0
_MAX_SLEEP_S = 0.02
"""Longest sleep, and so how late `close` is noticed."""
_RETRY_S = 0.5
_MAX_EVENTS = 1000
_UNFOCUSED_S = 2.0


class OpenXrHeadset:
    """Samples of the headset that the active OpenXR runtime has; see `bodystream.sources.headset.base.HeadsetSource`.

    A runtime or headset that goes away is waited for and continued with (`counts.reconnects`). While a headset rests
    (taken off), samples go on with `head=None`. The iteration ends when the runtime is told to quit, or by `close`.

    Args:
        application_name: what the runtime shows of this program.
        rate_hz: samples per second; None takes the display's rate, or 90 where the runtime does not tell it.
        controller_pose: `grip` passes on the grip pose of controllers (DeviceKind.GRIP). `palm` takes their palm pose
            where the runtime has it, which lies in the hand the same way for every kind of controller, and passes on
            the wrist that follows from it (DeviceKind.HAND_WRIST).
        inferred_s: how long a hand that is only guessed is passed on after it was last measured [s].
        start_timeout_s: longest wait for the session to run [s].
        reconnect_s: longest wait for a runtime or headset that went away [s].
        opener: makes the connection, from the application's name; None takes pyopenxr.

    Attributes:
        info: the runtime, headset, reference space and rate.

    Raises:
        MissingDependencyError: pyopenxr or an OpenXR runtime is not installed.
        SourceError: the runtime does not start, has no headset, or cannot do without graphics.
        ConfigurationError: an option cannot be used.
    """

    live = True

    def __init__(
        self,
        application_name: str = "bodystream",
        rate_hz: float | None = None,
        *,
        controller_pose: ControllerPose = "grip",
        inferred_s: float = 0.3,
        start_timeout_s: float = 30.0,
        reconnect_s: float = 30.0,
        opener: Callable[[str], XrConnection] | None = None,
    ) -> None:
        if not 1 <= len(application_name.encode()) <= 127:
            raise ConfigurationError(
                f"OpenXR option application_name must have 1 to 127 bytes, got {len(application_name.encode())}"
            )
        if rate_hz is not None and not 1.0 <= rate_hz <= 1000.0:
            raise ConfigurationError(f"OpenXR option rate_hz must be between 1 and 1000 Hz, got {rate_hz:g}")
        if controller_pose not in ("grip", "palm"):
            raise ConfigurationError(
                f"OpenXR option controller_pose must be one of grip, palm, got {controller_pose!r}"
            )
        for name, value in (
            ("inferred_s", inferred_s),
            ("start_timeout_s", start_timeout_s),
            ("reconnect_s", reconnect_s),
        ):
            if not 0 <= value < float("inf"):
                raise ConfigurationError(f"OpenXR option {name} must be 0 or more seconds, got {value:g}")
        self.counts = SourceCounts()
        self._application_name = application_name
        self._wanted_rate_hz = rate_hz
        self._start_timeout_s = start_timeout_s
        self._reconnect_s = reconnect_s
        self._opener = opener if opener is not None else _pyopenxr(controller_pose)
        self._hands: dict[Side, HandChooser] = {side: HandChooser(side, inferred_s=inferred_s) for side in SIDES}
        self._closing = threading.Event()
        # Held by whoever is inside the connection, which one thread at a time may use.
        self._lock = threading.Lock()
        self._next_index = 0
        self._refused: list[str] = []
        self._last_t_ns = -1
        self._origin_moved = False
        self._connection: XrConnection | None = None
        self._attach(self._opener(application_name))
        self.name = f"openxr:{self.info.runtime}"

    def __iter__(self) -> Iterator[HeadsetSample]:
        due_s = time.perf_counter()
        while not self._closing.is_set():
            try:
                due_s = self._skip_missed(due_s)
                self._sleep_until(due_s)
                with self._lock:
                    sample = self._poll()
            except BaseException:
                self.close()
                raise
            if sample is None:
                # Not running yet, or connected anew: what was due meanwhile was not lost, there was nothing.
                due_s = time.perf_counter() + self._period_s
                continue
            due_s += self._period_s
            self.counts.delivered += 1
            yield sample
            del sample
        self.close()

    def close(self) -> None:
        """End the session and disconnect; safe to call twice and from another thread."""
        self._closing.set()
        with self._lock:
            self._detach()

    def __enter__(self) -> OpenXrHeadset:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Pace

    def _sleep_until(self, due_s: float) -> None:
        # Not Event.wait: on Windows that keeps time by steps of 15.6 ms, which sleep does not.
        while not self._closing.is_set() and (left_s := due_s - time.perf_counter()) > 0:
            time.sleep(min(left_s, _MAX_SLEEP_S))

    def _skip_missed(self, due_s: float) -> float:
        """When the next sample is due; those that a slow consumer made us miss are counted and never caught up."""
        missed = max(0, int((time.perf_counter() - due_s) / self._period_s))
        self.counts.lost += missed
        self._next_index += missed
        return due_s + missed * self._period_s

    # Connection

    def _attach(self, connection: XrConnection) -> None:
        self._connection = connection
        self.info: RuntimeInfo = connection.info
        for warning in self.info.warnings:
            self.counts.warn(warning)
        wanted = self._wanted_rate_hz if self._wanted_rate_hz is not None else self.info.rate_hz
        self.rate_hz: float | None = wanted if wanted is not None else DEFAULT_RATE_HZ
        self._period_s = 1.0 / self.rate_hz
        self._state = SessionState.UNKNOWN
        self._running = False
        self._ran = False
        self._since_s = time.monotonic()
        self._unfocused_s: float | None = None

    def _detach(self) -> None:
        connection, self._connection = self._connection, None
        self._running = False
        if connection is not None:
            connection.close()

    def _poll(self) -> HeadsetSample | None:
        """One sample, through all faults; None where there is none yet, or the source was closed."""
        if self._connection is None:
            return None
        try:
            self._take_events(self._connection)
            return None if self._closing.is_set() else self._sample(self._connection)
        except ConnectionLostError as error:
            self._reconnect(error)
            return None

    def _take_events(self, connection: XrConnection) -> None:
        # Bounded, so that a runtime which floods us with events cannot keep us from the poses.
        for _ in range(_MAX_EVENTS):
            event = connection.poll()
            if event is None:
                return
            self._take(connection, event)

    def _take(self, connection: XrConnection, event: XrEvent) -> None:
        runtime = self.info.runtime
        if event.kind is XrEventKind.LOSS:
            raise ConnectionLostError(f"{runtime} announced that it goes away")
        if event.kind is XrEventKind.ORIGIN_MOVED:
            self._origin_moved = True
            self.counts.warn(
                f"{runtime} moved the origin of its space (view recentred or room set up anew): poses before and after "
                "do not fit together, calibrate again"
            )
        elif event.kind is XrEventKind.EVENTS_LOST:
            self.counts.warn(f"{runtime} lost events that this program did not fetch in time")
        elif event.kind is XrEventKind.STATE:
            self._enter(connection, event.state)

    def _enter(self, connection: XrConnection, state: SessionState) -> None:
        self._state = state
        if state is SessionState.READY and not self._running:
            connection.begin()
            self._running = self._ran = True
        elif state is SessionState.STOPPING and self._running:
            self._running = False
            connection.end()
            self.counts.warn(f"{self.info.runtime} paused the session: no poses until the headset is put on again")
        elif state is SessionState.LOSS_PENDING:
            raise ConnectionLostError(f"{self.info.runtime} lost the headset")
        elif state is SessionState.EXITING:
            self.counts.warn(f"{self.info.runtime} asked this program to quit")
            self._closing.set()

    def _reconnect(self, cause: ConnectionLostError) -> None:
        """Connect again, or raise what stood in the way at the end."""
        wait_s = self._reconnect_s
        self.counts.warn(f"{cause}; waiting {wait_s:g} s for it to come back")
        with_name, deadline_s = self._application_name, time.monotonic() + wait_s
        self._detach()
        while not self._closing.wait(min(_RETRY_S, wait_s)):
            try:
                self._attach(self._opener(with_name))
            except BodystreamError as error:
                if time.monotonic() < deadline_s:
                    continue
                hint = "connect it and start again" if isinstance(error, HeadsetAbsentError) else str(error)
                raise SourceError(f"{cause}, and did not come back within {wait_s:g} s: {hint}") from error
            self.counts.reconnects += 1
            return

    # Samples

    def _sample(self, connection: XrConnection) -> HeadsetSample | None:
        if not self._ran:
            if time.monotonic() - self._since_s > self._start_timeout_s:
                raise SourceError(
                    f"{self.info.runtime} did not let the session run within {self._start_timeout_s:g} s (its state is "
                    f"{self._state.name}): put the headset on, and close other programs that use it"
                )
            return None
        t_ns, xr_time = connection.now()
        # A host clock of coarse steps must not give two samples the same time.
        t_ns = self._last_t_ns = max(t_ns, self._last_t_ns + 1)
        head, hands = None, dict.fromkeys(SIDES)
        self._refused.clear()
        if self._running:
            head = self._head(connection, xr_time)
            hands = self._both_hands(connection, t_ns, xr_time)
        index, self._next_index = self._next_index, self._next_index + 1
        moved, self._origin_moved = self._origin_moved, False
        return HeadsetSample(
            index=index,
            t_ns=t_ns,
            head=head,
            left=hands["left"],
            right=hands["right"],
            device_t_ns=xr_time,
            origin_moved=moved,
            emulated=tuple(self._refused),
        )

    def _head(self, connection: XrConnection, xr_time: int) -> TrackedDevice | None:
        located = connection.head(xr_time)
        head = device_from(located, DeviceKind.VIEW)
        if head is None and located.valid:
            self.counts.warn(f"{self.info.runtime} gave a head pose that is not one: {located}; update the runtime")
        elif head is not None and not located.tracked:
            self.counts.warn(
                f"{self.info.runtime} only guesses where the head is at times: light the room, keep the headset's "
                "cameras or sensors free, check the base stations"
            )
        return head

    def _both_hands(self, connection: XrConnection, t_ns: int, xr_time: int) -> dict[str, TrackedDevice | None]:
        focused = connection.sync()
        self._watch_focus(focused)
        devices: dict[str, TrackedDevice | None] = {}
        for side, chooser in self._hands.items():
            grip = connection.controller(side, xr_time) if focused else None
            palm = connection.palm(side, xr_time) if grip is not None else None
            if grip is not None and palm is None and self.info.palm:
                self.counts.warn(
                    f"{self.info.runtime} gives no palm pose for the {side} controller: its grip pose is used"
                )
            # Asked for only where no controller is held: locating 26 joints is the dearest call of all.
            device = chooser.choose(t_ns, grip=grip, palm=palm, wrist=None) if grip is not None else None
            refused = grip is not None and chooser.refused
            if device is None:
                device = chooser.choose(t_ns, grip=None, palm=None, wrist=connection.wrist(side, xr_time))
                if device is None and (refused or chooser.refused):
                    self._refused.append(side)
            devices[side] = device
        return devices

    def _watch_focus(self, focused: bool) -> None:
        now_s = time.monotonic()
        if focused:
            self._unfocused_s = None
        elif self._unfocused_s is None:
            self._unfocused_s = now_s
        elif now_s - self._unfocused_s > _UNFOCUSED_S:
            self.counts.warn(
                f"{self.info.runtime} keeps the controllers from this program (its session is {self._state.name}, not "
                "FOCUSED): close the runtime's menu and other programs in the headset, and put the headset on"
            )


def _pyopenxr(controller_pose: ControllerPose) -> Callable[[str], XrConnection]:
    from bodystream.sources.headset.openxr_runtime import open_connection

    return lambda application_name: open_connection(application_name, controller_pose=controller_pose)
