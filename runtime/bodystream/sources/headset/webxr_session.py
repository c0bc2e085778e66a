"""One client's conversation, without sockets or threads: bytes in, replies and samples out.

The order is: `hello`; pings and their `pong` until the clocks are aligned; `welcome`; then `pose` for each frame, with
pings in between, until `end`. A message that is not accepted is answered with an `error` and counted. A few of them are
forgiven, a stream of them closes the connection.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from bodystream.sources.headset.webxr_limits import CloseCode, SessionLimits, WireCounts
from bodystream.sources.headset.webxr_messages import (
    PROTOCOL_VERSION,
    End,
    ErrorCode,
    ErrorMessage,
    Hello,
    Notice,
    Ping,
    Pong,
    PoseMessage,
    RigidPose,
    ServerMessage,
    SpaceReset,
    Visibility,
    WebXrMessageError,
    Welcome,
    decode_client,
    display_ahead_ms,
    tracked_device,
)
from bodystream.types import HeadsetSample, TrackedDevice
from bodystream.web.clock import ClockAlignment
from bodystream.web.limits import LeakyBucket

__all__ = ["HeadsetSession", "Phase"]

_NS_PER_MS = 1_000_000
_NS_PER_S = 1_000_000_000
_SIDES = ("left", "right")
_ODD_DISPLAYS = 3
"""So many display times of another clock in a row, and the display is known to have one of its own."""


class Phase(enum.Enum):
    HELLO = "hello"
    ALIGNING = "aligning"
    RUNNING = "running"
    OVER = "over"


class HeadsetSession:
    """State of one client from its connection to its end.

    Args:
        deliver: takes each sample.
        report: takes what a person should know: a kind, which stays the same when it happens again, and a sentence.
        counts: shared by all sessions.
        now_ns: time of the connection, host monotonic.

    Attributes:
        close: (code, reason) once the connection is to be closed.
        ended: the client said `end`.
        next_index: of the next sample.
    """

    def __init__(
        self,
        deliver: Callable[[HeadsetSample], None],
        report: Callable[[str, str], None],
        counts: WireCounts,
        now_ns: int,
        limits: SessionLimits,
    ) -> None:
        self._deliver, self._report, self._counts, self._limits = deliver, report, counts, limits
        self.phase = Phase.HELLO
        self.close: tuple[int, str] | None = None
        self.ended = False
        self.hello: Hello | None = None
        self.clock = ClockAlignment()
        self.stalled = False
        self._rate = LeakyBucket(limits.rate_burst, limits.rate_hz)
        self._excess = LeakyBucket(limits.excess_burst, limits.excess_per_s)
        self._errors = LeakyBucket(limits.errors_burst, limits.errors_per_s)
        self._rate_told_ns: int | None = None
        self._misfit_ns: int | None = None
        self._idle_ns = now_ns
        self._started_ns = self._last_message_ns = self._last_pose_ns = now_ns
        self._pings: dict[int, int] = {}
        self._ping_id = 0
        self._ping_ns: int | None = None
        self._hidden = False
        self._origin_moved = False
        self.next_index = 0
        self._last_seq: int | None = None
        self._last_t_ms: float | None = None
        self._emulated_ns: dict[str, int] = {}
        self._emulated_told: set[str] = set()
        self._odd_displays = 0
        self._own_display_clock = False
        self._second_ns = now_ns
        self._second_lags_s: list[float] = []

    def receive(self, data: str | bytes, now_ns: int) -> list[ServerMessage]:
        """Take one message that arrived at `now_ns`; return what is to be sent back. Never raises."""
        if self.phase is Phase.OVER:
            return []
        self._last_message_ns = now_ns
        if not self._rate.take(now_ns):
            return self._too_many(now_ns)
        try:
            replies = self._accept(decode_client(data), now_ns)
        except WebXrMessageError as error:
            return self._refuse(error.code, str(error), now_ns)
        self._counts.messages += 1
        return replies

    def tick(self, now_ns: int) -> list[ServerMessage]:
        """To be called some twenty times a second: pings that are due, and what did not come."""
        limits = self._limits
        if self.phase is Phase.OVER:
            return []
        if self.phase is not Phase.RUNNING and now_ns - self._started_ns > limits.start_s * _NS_PER_S:
            waited_for = "hello" if self.phase is Phase.HELLO else "enough answers to pings"
            return self._fatal("clock", f"no {waited_for} within {limits.start_s:g} s", CloseCode.NO_CLOCK)
        if now_ns - self._last_message_ns > limits.silent_s * _NS_PER_S:
            self._report("silent", f"the headset was silent for {limits.silent_s:g} s and was disconnected")
            return self._fatal("stalled", f"no message for {limits.silent_s:g} s", CloseCode.SILENT)
        if self.phase is Phase.RUNNING:
            self._watch(now_ns)
        return self._due_ping(now_ns)

    def finish(self, code: ErrorCode, message: str, close_code: CloseCode) -> list[ServerMessage]:
        """End the conversation from the server's side."""
        return self._fatal(code, message, close_code)

    def disconnected(self) -> None:
        """The connection is gone; nothing more will come."""
        self.phase = Phase.OVER

    def _accept(self, message, now_ns: int) -> list[ServerMessage]:
        if isinstance(message, Hello):
            return self._hello(message, now_ns)
        if self.hello is None:
            raise WebXrMessageError("order", "the first message must be hello")
        if isinstance(message, Pong):
            return self._pong(message, now_ns)
        if isinstance(message, PoseMessage):
            return self._pose(message, now_ns)
        if isinstance(message, SpaceReset):
            self._counts.space_resets += 1
            self._origin_moved = True
            self._report("recentred", "the headset's user recentred the view: the world has another origin from now on")
        elif isinstance(message, Visibility):
            self._hidden = message.state == "hidden"
        elif isinstance(message, End):
            self.ended = True
            self.phase, self.stalled = Phase.OVER, False
            self.close = (CloseCode.NORMAL, "ended by the client")
            reason = f": {_printable(message.reason)}" if message.reason else ""
            self._report("end", f"the session on the headset ended{reason}")
        return []

    def _hello(self, hello: Hello, now_ns: int) -> list[ServerMessage]:
        if hello.version != PROTOCOL_VERSION:
            self._counts.refused["version"] += 1
            self._report(
                "version", f"a page of version {hello.version} was refused, wanted {PROTOCOL_VERSION}: reload it"
            )
            return self._fatal(
                "version",
                f"this server speaks version {PROTOCOL_VERSION} and the page version {hello.version}: reload the page",
                CloseCode.VERSION,
            )
        if self.hello is not None:
            raise WebXrMessageError("order", "hello must be said once")
        self.hello = hello
        self.phase = Phase.ALIGNING
        self._started_ns = now_ns
        self._counts.clients += 1
        replies: list[ServerMessage] = []
        if hello.space == "local":
            text = (
                "the headset does not know where the floor is (reference space local): heights are relative to where "
                "the session started; set up the room's boundary on the headset"
            )
            self._report("floor", text)
            replies.append(Notice(text))
        return replies + self._due_ping(now_ns)

    def _pong(self, pong: Pong, now_ns: int) -> list[ServerMessage]:
        sent_ns = self._pings.pop(pong.id, None)
        if sent_ns is None:
            if 0 < pong.id <= self._ping_id:
                return []  # a page that was held up answers all that it was asked meanwhile; the oldest says nothing
            raise WebXrMessageError("order", f"there was no ping {pong.id}")
        resets = self.clock.resets
        self.clock.add(sent_ns, round(pong.t_ms * _NS_PER_MS), now_ns)
        if self.clock.resets != resets:
            self._last_t_ms = None
            self._report("clock jump", "the headset's clock jumped and was aligned anew")
        if self.phase is Phase.ALIGNING and self.clock.samples >= self._limits.first_pings:
            self.phase = Phase.RUNNING
            self._last_pose_ns = self._second_ns = now_ns
            return [Welcome()]
        return self._due_ping(now_ns)

    def _pose(self, pose: PoseMessage, now_ns: int) -> list[ServerMessage]:
        if self.phase is not Phase.RUNNING:
            raise WebXrMessageError("order", "poses may be sent after welcome only")
        if self._last_t_ms is not None and pose.t_ms < self._last_t_ms:
            text = f"t_ms went back from {self._last_t_ms:.3f} to {pose.t_ms:.3f}: use performance.now()"
            return self._misfit(text, now_ns)
        device_ns = round(pose.t_ms * _NS_PER_MS)
        read_ns = self.clock.host_ns(device_ns)
        lag_s = (now_ns - read_ns) * 1e-9
        if not -0.1 <= lag_s <= 60:
            return self._misfit(
                f"t_ms is {abs(lag_s):.3g} s {'in the past' if lag_s > 0 else 'ahead'} by the clock of the pongs: use "
                "performance.now() for both",
                now_ns,
            )
        head = None if pose.head is None else tracked_device("head", pose.head)
        hands = {side: self._hand(side, getattr(pose, side)) for side in _SIDES}  # before anything is noted of it
        self._misfit_ns = None
        if lag_s > self._limits.late_s:
            self._counts.refused["late"] += 1
            self._report("late", f"poses that were held up for more than {self._limits.late_s:g} s were not used")
            return []
        self._last_t_ms = pose.t_ms
        self._second_lags_s.append(lag_s)
        if self.stalled:
            self.stalled = False
            self._report("resumed", "poses come from the headset again")
        self._last_pose_ns = now_ns
        # A count that went back, or on by more than a client could have skipped, was started anew.
        step = 1 if self._last_seq is None else pose.seq - self._last_seq
        self._last_seq = pose.seq
        self.next_index += (step if 0 < step < 1000 else 1) - 1
        if pose.head is not None and pose.head.emulated:
            self._report(
                "emulated head", "the headset guesses its own position (it tracks rotation only, or sees too little)"
            )
        ahead_ns = self._ahead_ns(pose)
        emulated = tuple(side for side in _SIDES if (hand := getattr(pose, side)) is not None and hand.emulated)
        # It cannot have been read after it arrived.
        self._give(
            min(read_ns, now_ns) + ahead_ns,
            head,
            hands["left"],
            hands["right"],
            device_ns + ahead_ns,
            emulated,
        )
        return self._guessed(emulated, now_ns)

    def _guessed(self, emulated: tuple[str, ...], now_ns: int) -> list[ServerMessage]:
        """Tell the page once of a hand that is refused for longer than a moment out of sight."""
        notices: list[ServerMessage] = []
        for side in _SIDES:
            since_ns = self._emulated_ns.setdefault(side, now_ns) if side in emulated else None
            if since_ns is None:
                self._emulated_ns.pop(side, None)
            elif now_ns - since_ns >= self._limits.emulated_s * _NS_PER_S and side not in self._emulated_told:
                self._emulated_told.add(side)
                text = (
                    f"the {side} hand is not used while the browser only guesses its position (emulatedPosition): hold "
                    "it where the headset sees it"
                )
                notices.append(Notice(text))
        return notices

    def _ahead_ns(self, pose: PoseMessage) -> int:
        """How far the display time is ahead of the poses; 0 where it is not told, or by another clock."""
        ahead_ms = display_ahead_ms(pose)
        # After a few in a row none is used any more: one that lies near by chance would make time jump.
        self._odd_displays = self._odd_displays + 1 if ahead_ms is None else 0
        self._own_display_clock = self._own_display_clock or self._odd_displays >= _ODD_DISPLAYS
        if ahead_ms is None or (self._own_display_clock and pose.display_ms is not None):
            self._counts.display_clock += 1
            if self._own_display_clock:
                self._report(
                    "display clock",
                    "the browser's display time is on another clock than performance.now(): it is left out, and poses "
                    "count for when they were read",
                )
            return 0
        return round(ahead_ms * _NS_PER_MS)

    def _misfit(self, text: str, now_ns: int) -> list[ServerMessage]:
        """A pose whose time cannot be: its clock may have jumped, which the next pongs will tell."""
        if self._misfit_ns is not None and now_ns - self._misfit_ns > self._limits.misfit_s * _NS_PER_S:
            raise WebXrMessageError("time", text)
        self._counts.refused["time"] += 1
        if self._misfit_ns is not None:
            return []
        self._misfit_ns = now_ns
        self._report("time", f"poses with an impossible time were not used: {text}")
        return [ErrorMessage("time", text)]

    def _give(
        self,
        t_ns: int,
        head: TrackedDevice | None = None,
        left: TrackedDevice | None = None,
        right: TrackedDevice | None = None,
        device_t_ns: int | None = None,
        emulated: tuple[str, ...] = (),
    ) -> None:
        index, self.next_index = self.next_index, self.next_index + 1
        moved, self._origin_moved = self._origin_moved, False
        self._deliver(HeadsetSample(index, t_ns, head, left, right, device_t_ns, origin_moved=moved, emulated=emulated))

    def _hand(self, side: str, pose: RigidPose | None) -> TrackedDevice | None:
        if pose is None:
            return None
        if pose.emulated:
            # A browser lets the controller hang at a guessed place; to leave it out says what is known.
            self._counts.emulated += 1
            return None
        return tracked_device(side, pose)

    def _watch(self, now_ns: int) -> None:
        limits = self._limits
        if not self.stalled and now_ns - self._last_pose_ns > limits.stall_s * _NS_PER_S:
            self.stalled = True
            self._counts.stalls += 1
            if self._hidden:
                why = "its session is hidden: it was taken off, or its menu is open"
            elif now_ns - self._last_message_ns > limits.stall_s * _NS_PER_S:
                why = "nothing comes at all: is it in reach of the network, and switched on?"
            else:
                why = "its page still answers, but its session draws no frames"
            self._report(f"stall: {why}", f"no pose from the headset for {limits.stall_s:g} s ({why})")
        if self.stalled and now_ns - self._idle_ns >= limits.idle_s * _NS_PER_S:
            self._idle_ns = now_ns
            self._give(now_ns)
        if now_ns - self._second_ns < _NS_PER_S:
            return
        lags_s = sorted(self._second_lags_s)
        elapsed_s = (now_ns - self._second_ns) * 1e-9
        self._second_ns, self._second_lags_s = now_ns, []
        if self.stalled or not lags_s:
            return
        if len(lags_s) / elapsed_s < limits.slow_hz:
            self._report("slow", f"the headset is slow: fewer than {limits.slow_hz:g} poses came in a second")
        if lags_s[len(lags_s) // 2] > limits.slow_lag_s:
            text = f"the network is slow: poses come more than {limits.slow_lag_s * 1e3:g} ms late"
            self._report("lag", f"{text}; use Wi-Fi of 5 or 6 GHz, near the access point, and this computer on a cable")

    def _due_ping(self, now_ns: int) -> list[ServerMessage]:
        if self.phase not in (Phase.ALIGNING, Phase.RUNNING):
            return []
        hurried = self.phase is Phase.ALIGNING or self.clock.in_doubt or self._misfit_ns is not None
        interval_s = self._limits.first_ping_s if hurried else self._limits.ping_s
        if self._ping_ns is not None and now_ns - self._ping_ns < interval_s * _NS_PER_S:
            return []
        self._ping_ns = now_ns
        self._ping_id += 1
        self._pings[self._ping_id] = now_ns
        while len(self._pings) > 64:
            del self._pings[next(iter(self._pings))]
        return [Ping(self._ping_id)]

    def _too_many(self, now_ns: int) -> list[ServerMessage]:
        self._counts.refused["rate"] += 1
        text = f"more than {self._limits.rate_hz:g} messages a second"
        if not self._excess.take(now_ns):
            self._report("rate", f"a client was disconnected: {text}")
            return self._fatal("rate", text, CloseCode.POLICY)
        if self._rate_told_ns is not None and now_ns - self._rate_told_ns < _NS_PER_S:
            return []
        self._rate_told_ns = now_ns
        return [ErrorMessage("rate", f"{text}: those above are dropped")]

    def _refuse(self, code: ErrorCode, text: str, now_ns: int) -> list[ServerMessage]:
        self._counts.refused[code] += 1
        text = _printable(text)
        self._report(f"error {code}", f"messages of the headset are not accepted ({code}), for one: {text}")
        if not self._errors.take(now_ns):
            self._report("disconnected", "a client was disconnected: too many of its messages were not accepted")
            return self._fatal(code, f"too many messages that are not accepted, the last: {text}", CloseCode.POLICY)
        return [ErrorMessage(code, text)]

    def _fatal(self, code: ErrorCode, text: str, close_code: CloseCode) -> list[ServerMessage]:
        self.phase = Phase.OVER
        # A close frame holds at most 123 bytes of reason.
        self.close = (close_code, text.encode()[:120].decode(errors="ignore"))
        return [ErrorMessage(code, text, fatal=True)]


def _printable(text: str) -> str:
    """Without what would steer a terminal or cannot be encoded."""
    return "".join(c if c.isprintable() else "?" for c in text)
