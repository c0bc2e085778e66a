"""One client's conversation, driven by hand: what is accepted, answered, counted and noticed."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodystream.geometry.hands import hand_bytes
from bodystream.sources.headset.webxr_limits import CloseCode, SessionLimits, WireCounts
from bodystream.sources.headset.webxr_messages import (
    End,
    ErrorMessage,
    HandPose,
    Hello,
    Notice,
    Ping,
    Pong,
    PoseMessage,
    RigidPose,
    SpaceReset,
    Visibility,
    Welcome,
    encode,
)
from bodystream.sources.headset.webxr_session import HeadsetSession, Phase
from bodystream.types import DeviceKind, HeadsetSample
from bodystream.web.limits import LeakyBucket
from helpers.hands import a_hand
from helpers.webxr_client import HEAD, LEFT, RIGHT

MS = 1_000_000
START_NS = 10**15


class Talk:
    """A session in simulated time, with a client whose clock is 3 s behind the host's start."""

    def __init__(self, **limits) -> None:
        self.t_ns = START_NS
        self.samples: list[HeadsetSample] = []
        self.reports: list[tuple[str, str]] = []
        self.counts = WireCounts()
        self.session = HeadsetSession(
            self.samples.append,
            lambda kind, text: self.reports.append((kind, text)),
            self.counts,
            self.t_ns,
            SessionLimits(**limits),
        )
        self.seq = 0
        self.shift_ms = 0.0
        self.delay_ns = 2 * MS
        self.answers = True

    def device_ms(self) -> float:
        return (self.t_ns - START_NS) / MS + 3000.0 + self.shift_ms

    def say(self, message) -> list:
        """Send and let it travel; pings in the replies are answered."""
        data = message if isinstance(message, str | bytes) else encode(message)
        self.t_ns += self.delay_ns
        return self._handle(self.session.receive(data, self.t_ns))

    def pass_time(self, seconds: float, step_ms: int = 30) -> list:
        out, end_ns = [], self.t_ns + round(seconds * 1e9)
        while self.t_ns < end_ns:
            self.t_ns += step_ms * MS
            out += self._handle(self.session.tick(self.t_ns))
        return out

    def _handle(self, replies: list) -> list:
        out = []
        for reply in replies:
            if not isinstance(reply, Ping):
                out.append(reply)
            elif self.answers:
                self.t_ns += self.delay_ns
                pong = Pong(reply.id, self.device_ms())
                self.t_ns += self.delay_ns
                out += self._handle(self.session.receive(encode(pong), self.t_ns))
        return out

    def enter(self, space="local-floor") -> Talk:
        replies = self.say(Hello(1, space, "test", 90.0)) + self.pass_time(0.6)
        assert Welcome() in replies
        assert self.session.phase is Phase.RUNNING
        return self

    def pose(self, head: RigidPose | None = HEAD, left=None, right=None, **more) -> list:
        message = PoseMessage(self.seq, self.device_ms(), head, left, right, **more)
        self.seq += 1
        return self.say(message)

    def stream(self, seconds: float) -> list:
        """Poses at 90 Hz."""
        out, step_ns, self.delay_ns = [], self.delay_ns, 1 * MS
        for _ in range(round(seconds * 90)):
            out += self.pose()
            self.t_ns += 10 * MS
            out += self._handle(self.session.tick(self.t_ns))
        self.delay_ns = step_ns
        return out

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.reports]


def test_a_pose_becomes_a_sample_at_the_host_time_it_was_read() -> None:
    talk = Talk().enter()
    read_ns = talk.t_ns
    assert talk.pose(HEAD, LEFT, RIGHT) == []
    (sample,) = talk.samples
    assert sample.index == 0
    assert abs(sample.t_ns - read_ns) < 0.1 * MS  # the message took 2 ms
    assert sample.device_t_ns == round(((read_ns - START_NS) / MS + 3000) * MS)
    assert sample.head is not None and sample.left is not None and sample.right is not None
    assert (sample.head.kind, sample.left.kind, sample.right.kind) == (
        DeviceKind.VIEW,
        DeviceKind.GRIP,
        DeviceKind.HAND_WRIST,
    )
    np.testing.assert_array_equal(sample.left.position_m, LEFT.position_m)
    np.testing.assert_allclose(sample.right.rotation_xyzw, RIGHT.rotation_xyzw)


def test_joints_of_a_hand_are_in_the_sample_and_bad_ones_are_answered() -> None:
    talk = Talk().enter()
    whole = msgspec.structs.replace(RIGHT, joints=hand_bytes(a_hand()))
    assert talk.pose(HEAD, LEFT, whole) == []
    (sample,) = talk.samples
    assert sample.left is not None and sample.left.hand is None
    assert sample.right is not None and sample.right.hand is not None
    np.testing.assert_array_equal(sample.right.hand.in_wrist_m, a_hand().in_wrist_m)
    (error,) = talk.pose(HEAD, LEFT, msgspec.structs.replace(RIGHT, joints=bytes(24 * 32)))
    assert isinstance(error, ErrorMessage) and error.code == "value" and not error.fatal
    assert "768 bytes" in error.message and talk.counts.refused["value"] == 1
    assert talk.pose(HEAD, LEFT, whole) == []  # and all goes on
    assert len(talk.samples) == 2


def test_a_hand_at_a_guessed_place_has_no_joints_either() -> None:
    talk = Talk().enter()
    talk.pose(HEAD, None, msgspec.structs.replace(RIGHT, joints=hand_bytes(a_hand()), emulated=True))
    assert talk.samples[0].right is None


def test_a_predicted_pose_is_valid_at_the_predicted_time() -> None:
    talk = Talk().enter()
    read_ns = talk.t_ns
    talk.pose(display_ms=talk.device_ms() + 25.0)
    assert abs(talk.samples[0].t_ns - read_ns - 25 * MS) < 0.1 * MS


@pytest.mark.parametrize(
    "display_ms",
    [
        lambda t: t + 1.7e9,
        lambda t: t + 1.7e12,  # Date.now()
        lambda t: t * 1e-3,  # seconds
        lambda t: t * 1e3,  # microseconds
        lambda t: 0.0,
        lambda t: -1e300,
        lambda t: 1e15,
    ],
)
def test_a_display_time_of_another_clock_is_left_out_and_told(display_ms) -> None:
    talk = Talk().enter()
    for k in range(60):
        read_ns = talk.t_ns
        assert talk.pose(display_ms=display_ms(talk.device_ms())) == []
        assert abs(talk.samples[k].t_ns - read_ns) < 0.1 * MS
    assert len(talk.samples) == 60 and talk.session.close is None
    assert talk.kinds().count("display clock") > 0 and set(talk.kinds()) == {"display clock"}
    assert talk.counts.display_clock == 60 and not talk.counts.refused
    # One that is near by chance must not make time jump.
    read_ns = talk.t_ns
    talk.pose(display_ms=talk.device_ms() - 900)
    assert abs(talk.samples[-1].t_ns - read_ns) < 0.1 * MS


def test_a_single_odd_display_time_is_no_other_clock() -> None:
    talk = Talk().enter()
    talk.pose(display_ms=0.0)
    read_ns = talk.t_ns
    talk.pose(display_ms=talk.device_ms() + 25.0)
    assert abs(talk.samples[-1].t_ns - read_ns - 25 * MS) < 0.1 * MS and talk.kinds() == []


def test_samples_that_the_client_did_not_send_are_gaps() -> None:
    talk = Talk().enter()
    for seq in (5, 6, 9, 2, 3):  # the last two: the page was reloaded within the session
        talk.seq = seq
        talk.pose()
    assert [s.index for s in talk.samples] == [0, 1, 4, 5, 6]


def test_a_hand_at_a_guessed_place_is_left_out_and_a_guessed_head_is_reported() -> None:
    talk = Talk().enter()
    guessed = HandPose(LEFT.position_m, LEFT.rotation_xyzw, True, kind="grip")
    talk.pose(RigidPose(HEAD.position_m, HEAD.rotation_xyzw, True), guessed, RIGHT)
    (sample,) = talk.samples
    assert sample.left is None and sample.right is not None and sample.head is not None
    assert talk.counts.emulated == 1 and sample.emulated == ("left",)
    assert "emulated head" in talk.kinds()


def test_the_page_is_told_of_a_hand_that_stays_guessed() -> None:
    talk = Talk().enter()
    guessed = HandPose(RIGHT.position_m, RIGHT.rotation_xyzw, True, kind="grip")
    notices = []
    for k in range(400):
        hand = RIGHT if k < 40 else guessed
        replies = talk.pose(HEAD, LEFT, hand)
        if replies:
            notices.append((k, replies))
        talk.t_ns += 8 * MS
    ((k, (notice,)),) = notices
    assert isinstance(notice, Notice) and "the right hand is not used" in notice.message
    assert 130 <= k <= 150  # a second later
    assert talk.samples[-1].emulated == ("right",) and talk.samples[-1].left is not None


def test_an_untracked_head_is_a_sample_without_head() -> None:
    talk = Talk().enter()
    talk.pose(None, None, RIGHT)
    assert talk.samples[0].head is None and talk.samples[0].right is not None


def test_without_a_floor_both_sides_are_told() -> None:
    talk = Talk()
    replies = talk.say(Hello(1, "local"))
    assert [type(r) for r in replies] == [Notice] and "floor" in replies[0].message
    assert "floor" in talk.kinds()
    for space in ("local-floor", "bounded-floor"):
        assert Talk().enter(space).reports == []


@pytest.mark.parametrize(
    "message", [PoseMessage(0, 1.0, HEAD), Pong(1, 1.0), End(), SpaceReset(), Visibility("hidden")]
)
def test_hello_comes_first(message) -> None:
    talk = Talk()
    (error,) = talk.say(message)
    assert error.code == "order" and "hello" in error.message and not error.fatal


def test_order_of_the_rest() -> None:
    talk = Talk()
    talk.answers = False
    talk.say(Hello(1, "local-floor"))
    assert talk.pose()[0].code == "order"  # before welcome
    assert talk.say(Hello(1, "local-floor"))[0].code == "order"  # twice
    assert talk.say(Pong(999, 1.0))[0].code == "order"  # never asked
    assert talk.session.close is None and talk.samples == []


def test_a_page_that_was_held_up_may_answer_all_at_once() -> None:
    """As one that enters a headset while its graphics processor is busy: it was asked more often than is remembered."""
    talk = Talk()
    talk.answers = False
    talk.say(Hello(1, "local-floor"))
    asked: list[int] = []
    for _ in range(200):
        talk.t_ns += 30 * MS
        asked += [reply.id for reply in talk.session.tick(talk.t_ns) if isinstance(reply, Ping)]
    assert len(asked) > 100
    replies = [reply for number in asked for reply in talk.say(Pong(number, talk.device_ms()))]
    assert not [reply for reply in replies if isinstance(reply, ErrorMessage)]
    assert talk.session.close is None and talk.session.phase is Phase.RUNNING


def test_another_version_is_refused_with_both_numbers() -> None:
    talk = Talk()
    (error,) = talk.say(Hello(2, "local-floor"))
    assert (error.code, error.fatal) == ("version", True)
    assert "version 1" in error.message and "version 2" in error.message
    assert talk.session.close is not None and talk.session.close[0] == CloseCode.VERSION
    assert talk.say(Hello(1, "local-floor")) == []


def test_a_client_that_says_nothing_or_answers_no_ping_is_let_go() -> None:
    talk = Talk()
    errors = talk.pass_time(10.5)
    assert [e.code for e in errors] == ["clock"] and "hello" in errors[0].message
    talk = Talk()
    talk.answers = False
    talk.say(Hello(1, "local-floor"))
    errors = talk.pass_time(10.5)
    assert errors[-1].code in ("clock", "stalled") and errors[-1].fatal
    assert talk.session.close is not None


def test_a_few_bad_messages_are_forgiven_and_many_are_not() -> None:
    talk = Talk().enter()
    for _ in range(15):
        (error,) = talk.say("nonsense")
        assert (error.code, error.fatal) == ("malformed", False)
    talk.pose()
    assert len(talk.samples) == 1
    assert talk.counts.refused["malformed"] == 15
    errors = [e for _ in range(20) for e in talk.say("nonsense")]
    assert errors[-1].fatal
    assert talk.session.close is not None and talk.session.close[0] == CloseCode.POLICY
    assert talk.pose() == [] and len(talk.samples) == 1


def test_one_bad_message_a_second_is_forgiven_for_ever() -> None:
    talk = Talk().enter()
    for _ in range(100):
        talk.pass_time(1.1)
        talk.pose()
        talk.say("nonsense")
    assert talk.session.close is None


def test_what_a_client_wrote_cannot_steer_a_terminal() -> None:
    talk = Talk().enter()
    talk.say('{"type":"\\u001b[2J"}')
    talk.say(End("\x1b[31mred\r\n"))
    assert talk.reports and all(text.isprintable() for _, text in talk.reports)


def test_too_many_messages_are_dropped_and_a_flood_is_closed() -> None:
    talk = Talk().enter()
    talk.delay_ns = 1000
    sent = 0
    errors: list = []
    while talk.session.close is None:
        errors += talk.pose()
        sent += 1
        assert sent < 5000
    assert len(talk.samples) <= 520  # the burst, and what two thousand microseconds allow
    assert [(e.code, e.fatal) for e in errors] == [("rate", False), ("rate", True)]
    assert talk.counts.refused["rate"] == sent - len(talk.samples)


def test_a_burst_after_a_hold_up_is_kept() -> None:
    """Three seconds of Wi-Fi silence at 120 Hz arrive at once."""
    talk = Talk().enter()
    messages = []
    for _ in range(360):
        messages.append(encode(PoseMessage(talk.seq, talk.device_ms(), HEAD)))
        talk.seq += 1
        talk.t_ns += 8 * MS
    for message in messages:
        assert talk.session.receive(message, talk.t_ns) == []
    assert len(talk.samples) == 360
    assert talk.session.close is None
    ages_s = [(talk.t_ns - s.t_ns) * 1e-9 for s in talk.samples]
    assert ages_s[0] == pytest.approx(2.88, abs=0.02) and ages_s[-1] < 0.02


def test_poses_that_are_seconds_late_are_dropped_without_a_strike() -> None:
    talk = Talk().enter()
    old_ms = talk.device_ms()
    talk.pass_time(6.0)
    for i in range(100):
        assert talk.say(PoseMessage(i, old_ms + i, HEAD)) == []
    talk.seq = 100
    talk.pose()
    assert [s.index for s in talk.samples if s.head is not None] and talk.counts.refused["late"] == 100
    assert talk.session.close is None


@pytest.mark.parametrize("wrong_ms", [1.7e12, 5000.0, -100_000.0])
def test_times_of_another_clock_are_explained_once_and_then_strikes(wrong_ms: float) -> None:
    talk = Talk().enter()
    errors = []
    for _ in range(900):
        talk.t_ns += 11 * MS
        errors += talk.say(PoseMessage(talk.seq, talk.device_ms() + wrong_ms, HEAD))
        talk.seq += 1
        errors += talk._handle(talk.session.tick(talk.t_ns))
    assert not any(s.head for s in talk.samples)
    assert (errors[0].code, errors[0].fatal) == ("time", False) and "performance.now()" in errors[0].message
    assert errors[-1].fatal and talk.session.close is not None
    assert sum(not e.fatal for e in errors) < 40


def test_time_going_back_is_dropped() -> None:
    talk = Talk().enter()
    talk.pose()
    (error,) = talk.say(PoseMessage(1, talk.device_ms() - 50, HEAD))
    assert error.code == "time" and "went back" in error.message
    talk.seq = 2
    assert talk.pose() == []
    assert [s.index for s in talk.samples] == [0, 2]
    times = [s.t_ns for s in talk.samples]
    assert times == sorted(times)


@pytest.mark.parametrize("jump_ms", [3_600_000.0, -2000.0])
def test_a_jump_of_the_browsers_clock_is_survived(jump_ms: float) -> None:
    talk = Talk().enter()
    talk.stream(2.0)
    before = len(talk.samples)
    talk.shift_ms += jump_ms
    talk.stream(2.0)
    assert talk.session.close is None
    assert "clock jump" in talk.kinds()
    assert talk.session.clock.resets == 1
    regained = [s for s in talk.samples[before:] if s.head is not None]
    assert len(regained) > 90  # of 180: lost for less than a second
    assert abs(talk.samples[-1].t_ns - talk.t_ns) < 50 * MS


def test_a_stall_is_reported_within_a_second_and_its_end_too() -> None:
    talk = Talk().enter()
    talk.stream(0.5)
    stalled_at_ns, count = talk.t_ns, len(talk.samples)
    talk.pass_time(1.0)
    assert talk.kinds()[-1].startswith("stall") and "draws no frames" in talk.reports[-1][1]
    empty = talk.samples[count:]
    assert empty and all(s.head is None for s in empty)
    assert empty[0].t_ns - stalled_at_ns < 1e9
    talk.pose()
    assert talk.kinds()[-1] == "resumed"
    assert talk.samples[-1].head is not None
    assert [s.index for s in talk.samples] == list(range(len(talk.samples)))


def test_the_reason_of_a_stall_is_named() -> None:
    talk = Talk().enter()
    talk.pose()
    talk.say(Visibility("hidden"))
    talk.pass_time(1.0)
    assert "hidden" in talk.reports[-1][1]
    talk = Talk().enter()
    talk.pose()
    talk.answers = False
    talk.pass_time(1.0)
    assert "nothing comes" in talk.reports[-1][1]
    errors = talk.pass_time(10.0)
    assert errors[-1].code == "stalled" and talk.session.close is not None
    assert talk.session.close[0] == CloseCode.SILENT


def test_a_headset_taken_off_may_come_back_after_an_hour() -> None:
    talk = Talk().enter()
    talk.say(Visibility("hidden"))
    talk.pass_time(3600.0, step_ms=1000)
    assert talk.session.close is None
    talk.say(Visibility("visible"))
    talk.pose()
    assert talk.samples[-1].head is not None and talk.counts.stalls == 1


def test_slow_poses_and_a_slow_network_are_reported() -> None:
    talk = Talk().enter()
    for _ in range(40):
        talk.pass_time(0.05)
        talk.pose()
    assert "slow" in talk.kinds() and "lag" not in talk.kinds()
    talk = Talk().enter()
    for _ in range(200):
        message = PoseMessage(talk.seq, talk.device_ms() - 300, HEAD)
        talk.seq += 1
        talk.t_ns += 8 * MS
        talk.say(message)
        talk._handle(talk.session.tick(talk.t_ns))
    assert "lag" in talk.kinds() and "slow" not in talk.kinds()


def test_recentring_and_the_end_are_told() -> None:
    talk = Talk().enter()
    talk.say(SpaceReset())
    assert talk.counts.space_resets == 1 and "recentred" in talk.kinds()
    talk.pose()
    talk.pose()
    assert [sample.origin_moved for sample in talk.samples] == [True, False]
    talk.say(End("the session was left"))
    assert talk.session.ended and talk.session.close == (CloseCode.NORMAL, "ended by the client")


def test_leaky_bucket() -> None:
    bucket = LeakyBucket(3, 2.0)
    assert [bucket.take(0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(500 * MS), bucket.take(500 * MS)] == [True, False]
    assert [bucket.take(100_000 * MS) for _ in range(4)] == [True, True, True, False]


HEADS = {"position_m": [0, 1.6, 0], "rotation_xyzw": [0, 0, 0, 1]}
steps = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from(
            [
                '{"type":"hello","version":1,"space":"local"}',
                '{"type":"reset"}',
                '{"type":"visibility","state":"hidden"}',
                '{"type":"visibility","state":"visible"}',
                '{"type":"end","reason":"\\u001b"}',
            ]
        ).map(str.encode),
        st.builds(
            lambda i, t: json.dumps({"type": "pong", "id": i, "t_ms": t}).encode(),
            st.integers(0, 12),
            st.floats(-1e13, 1e13),
        ),
        st.builds(
            lambda s, t, d: json.dumps(
                {"type": "pose", "seq": s, "t_ms": t, "display_ms": t + d, "head": HEADS}
            ).encode(),
            st.integers(0, 2**53 - 1),
            st.floats(-1e13, 1e13) | st.floats(0, 100),
            st.floats(-2000, 500),
        ),
        st.integers(0, 3_000),  # milliseconds that pass
    ),
    max_size=40,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(steps, st.booleans())
def test_nothing_that_is_sent_raises_or_breaks_the_samples(moves, welcomed: bool) -> None:
    talk = Talk()
    if welcomed:
        talk.enter()
    replies: list = []
    for move in moves:
        if isinstance(move, int):
            replies += talk.pass_time(move * 1e-3, step_ms=200)
        else:
            replies += talk.say(move)
    assert all(isinstance(r, ErrorMessage | Notice | Welcome) for r in replies)
    assert all(len(encode(r)) < 1500 for r in replies)
    indices = [s.index for s in talk.samples]
    assert indices == sorted(set(indices))
    for sample in talk.samples:
        assert sample.t_ns <= talk.t_ns + 250 * MS
    assert all(text.isprintable() for _, text in talk.reports)
    if talk.session.close is not None:
        assert len(talk.session.close[1].encode()) <= 123
        assert talk.say(Hello(1, "local")) == []
