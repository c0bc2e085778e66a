"""What one client of the headset server may do, and what came from all of them."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field

__all__ = ["CloseCode", "SessionLimits", "WireCounts"]


class CloseCode(enum.IntEnum):
    """Why the server closed a websocket; below 4000 as RFC 6455 has them."""

    NORMAL = 1000
    POLICY = 1008
    REPLACED = 4001
    VERSION = 4002
    NO_CLOCK = 4003
    SILENT = 4004


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What a client may do, and when it is noticed that it does not.

    Attributes:
        stall_s: without a pose for so long it is reported as stalled.
        idle_s: while stalled, a sample without head and hands is delivered at this interval.
        silent_s: without any message for so long it is disconnected.
        start_s: it must have said hello and answered the first pings within this time.
        first_pings: exchanges before `welcome`, `first_ping_s` apart; later ones are `ping_s` apart.
        rate_hz, rate_burst: messages per second that are read, and how many may come at once after a hold-up.
        excess_per_s, excess_burst: messages above that which are dropped before the connection is closed.
        errors_per_s, errors_burst: the same for messages that were not accepted.
        emulated_s: a hand whose position is guessed for so long is told of.
        late_s: a pose older than this is not used.
        misfit_s: poses with impossible times are dropped for so long, while the clocks are aligned anew, before each
            counts as a message that was not accepted.
        slow_hz, slow_lag_s: fewer poses or later ones, over a second, are reported.
    """

    stall_s: float = 0.7
    idle_s: float = 0.1
    silent_s: float = 10.0
    start_s: float = 10.0
    first_pings: int = 8
    first_ping_s: float = 0.03
    ping_s: float = 0.25
    rate_hz: float = 250.0
    rate_burst: float = 500.0
    excess_per_s: float = 50.0
    excess_burst: float = 1000.0
    errors_per_s: float = 1.0
    errors_burst: float = 20.0
    emulated_s: float = 1.0
    late_s: float = 5.0
    misfit_s: float = 3.0
    slow_hz: float = 40.0
    slow_lag_s: float = 0.15


@dataclass(slots=True)
class WireCounts:
    """What came over the network, of all clients together.

    Attributes:
        messages: that were accepted.
        clients: that said hello.
        stalls: how often poses stopped coming.
        refused: messages by error code, also `late` and `oversize`; requests by `host`, `origin`, `token`, `path` and
            `busy`.
        emulated: hands left out because their position was a guess.
        display_clock: display times left out because they were of another clock.
        space_resets: how often the user recentred.
    """

    messages: int = 0
    clients: int = 0
    stalls: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    emulated: int = 0
    display_clock: int = 0
    space_resets: int = 0
