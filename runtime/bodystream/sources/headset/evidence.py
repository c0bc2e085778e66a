"""What the hands' places around the head say about axes and sides, gathered over time.

One sample tells little: arms cross, reach back, hang. Each sample adds a little evidence for or against, old evidence
fades, and a verdict takes a clear majority.
"""

from __future__ import annotations

import math

from bodystream.types import TrackedDevice

__all__ = ["BodyEvidence"]

_FADE_S = 60.0
_MAX_STEP_S = 0.1
"""So much is one sample worth at most, however long the time since the one before."""
_MAJORITY, _STAY = 4.0, 2.0
"""A verdict needs four times as much evidence as there is against it, and is taken back below twice as much."""
_ENOUGH_S = 1.0
_TILTED_ENOUGH_S = 3.0

# Hands above the chest are ahead. Lower ones may be behind the eyes: they hang, or the person bends down.
_RAISED_M, _AHEAD_M, _BEHIND_M = -0.35, 0.2, -0.25
_LOW_M = -0.65
_WALK_M_S = 0.5
_BACKWARDS_WEIGHT = 0.3

# Of a shoulder from the point between the eyes: aside, down and back [m]; and how far an arm reaches to the grip.
_SHOULDER_ASIDE_M, _SHOULDER_DOWN_M, _SHOULDER_BACK_M = 0.18, 0.27, 0.12
_IN_REACH_M, _OUT_OF_REACH_M = 0.72, 0.80
# How far the left hand is on the right of the right one [m], and how much a second of that is worth: folded arms reach
# 0.3 m, arms that hang are further apart.
_CROSSED_M, _CROSSED_WEIGHT = (0.0, 0.05, 0.25, 0.30, 0.45), (0.0, 0.0, 0.15, 0.15, 0.6)
_REACH_WEIGHT = 0.4
# Hands at least so far apart that are each where the other one was, within a fraction of that, were exchanged.
_EXCHANGED_APART_M, _EXCHANGED_WITHIN = 0.25, 0.3


class _Verdict:
    """Seconds of evidence for and against something."""

    def __init__(self, enough_s: float) -> None:
        self._enough_s = enough_s
        self._pro_s = self._contra_s = 0.0
        self.holds = False

    def add(self, pro: float, contra: float, dt_s: float) -> None:
        keep = 1.0 - dt_s / _FADE_S
        self._pro_s = self._pro_s * keep + pro * dt_s
        self._contra_s = self._contra_s * keep + contra * dt_s
        factor = _STAY if self.holds else _MAJORITY
        self.holds = self._pro_s > self._enough_s and self._pro_s > factor * self._contra_s

    def reverse(self) -> None:
        """What was for it is against it from now on."""
        self._pro_s, self._contra_s = self._contra_s, self._pro_s


class BodyEvidence:
    """Verdicts on a stream in metres, right-handed, with unit quaternions."""

    def __init__(self) -> None:
        self._backwards = _Verdict(_ENOUGH_S)
        self._crossed = _Verdict(_ENOUGH_S)
        self._tilted = _Verdict(_TILTED_ENOUGH_S)
        self._last_place: tuple[float, float] | None = None
        self._last_hands: tuple[list[float], list[float]] | None = None

    def add(
        self, head: TrackedDevice, left: TrackedDevice | None, right: TrackedDevice | None, dt_s: float
    ) -> list[str]:
        """Add one sample, `dt_s` seconds after the one before, and return the flags that hold now."""
        whole = 0.0 < dt_s <= _MAX_STEP_S
        if self._exchanged(left, right, whole):
            self._crossed.reverse()
        dt_s = min(dt_s, _MAX_STEP_S)
        qx, qy, qz, qw = head.rotation_xyzw.tolist()
        up = 1.0 - 2.0 * (qx * qx + qz * qz)
        self._tilted.add(up < 0.3, up > 0.5, dt_s)
        # Where the head looks is read only while it is upright enough to tell.
        length = qy * qy + qw * qw
        if up > 0.3 and length > 1e-6:
            cosine, sine = (qw * qw - qy * qy) / length, 2.0 * qy * qw / length
            places = [None if h is None else _place(head, h, cosine, sine) for h in (left, right)]
            x, _, z = head.position_m.tolist()
            speed = 0.0
            if self._last_place is not None and whole:
                speed = (-sine * (x - self._last_place[0]) - cosine * (z - self._last_place[1])) / dt_s
            self._last_place = x, z
            self._add_backwards([place for place in places if place is not None], speed, dt_s)
            if places[0] is not None and places[1] is not None:
                self._add_crossed(places[0], places[1], dt_s)
        else:
            self._last_place = None
        flags = []
        if self._tilted.holds:
            flags.append("head_tilted")
        if self._backwards.holds:
            flags.append("axes_turned" if self._crossed.holds else "left_handed_axes")
        elif self._crossed.holds:
            flags.append("hands_swapped")
        return flags

    def _exchanged(self, left: TrackedDevice | None, right: TrackedDevice | None, whole: bool) -> bool:
        """Whether each hand is where the other one was a sample ago, as where a runtime assigns controllers anew."""
        last, self._last_hands = self._last_hands, None
        if left is None or right is None:
            return False
        now = left.position_m.tolist(), right.position_m.tolist()
        self._last_hands = now
        if last is None or not whole:
            return False
        apart = math.dist(*last)
        return apart > _EXCHANGED_APART_M and (
            max(math.dist(now[0], last[1]), math.dist(now[1], last[0])) < _EXCHANGED_WITHIN * apart
        )

    def _add_backwards(self, places: list[tuple[float, float, float]], speed_m_s: float, dt_s: float) -> None:
        """People walk ahead and raise their hands before them."""
        pro = contra = 0.0
        if abs(speed_m_s) > _WALK_M_S:
            pro, contra = (_BACKWARDS_WEIGHT, 0.0) if speed_m_s < 0 else (0.0, 1.0)
        for aside, height, ahead_m in places:
            if height > _RAISED_M and ahead_m < _BEHIND_M and abs(aside) < -0.9 * ahead_m:
                pro = 1.0
            elif height > _LOW_M and ahead_m > _AHEAD_M:
                contra = 1.0
        self._backwards.add(pro, contra, dt_s)

    def _add_crossed(self, left: tuple[float, float, float], right: tuple[float, float, float], dt_s: float) -> None:
        """Crossed arms are possible, yet a hand beyond its own arm's reach is not.

        The reach does not depend on which way ahead is, only on the sides: it is measured in the plane across.
        """
        apart = left[0] - right[0]
        own = max(_reach(left, -_SHOULDER_ASIDE_M), _reach(right, _SHOULDER_ASIDE_M))
        other = max(_reach(left, _SHOULDER_ASIDE_M), _reach(right, -_SHOULDER_ASIDE_M))
        weight = _interpolated(abs(apart))
        pro, contra = (weight, 0.0) if apart > 0 else (0.0, weight)
        if own > _OUT_OF_REACH_M and other < _IN_REACH_M:
            pro += _REACH_WEIGHT
        elif other > _OUT_OF_REACH_M and own < _IN_REACH_M:
            contra += _REACH_WEIGHT
        self._crossed.add(pro, contra, dt_s)


def _interpolated(apart_m: float) -> float:
    """The weight of hands that are `apart_m` on each other's side."""
    for k in range(1, len(_CROSSED_M)):
        if apart_m < _CROSSED_M[k]:
            u = (apart_m - _CROSSED_M[k - 1]) / (_CROSSED_M[k] - _CROSSED_M[k - 1])
            return _CROSSED_WEIGHT[k - 1] + u * (_CROSSED_WEIGHT[k] - _CROSSED_WEIGHT[k - 1])
    return _CROSSED_WEIGHT[-1]


def _place(head: TrackedDevice, hand: TrackedDevice, cosine: float, sine: float) -> tuple[float, float, float]:
    """Of a hand from the eyes, with the head's heading: to the right, up, ahead [m]."""
    hx, hy, hz = head.position_m.tolist()
    x, y, z = hand.position_m.tolist()
    x, y, z = x - hx, y - hy, z - hz
    return cosine * x - sine * z, y, -sine * x - cosine * z


def _reach(place: tuple[float, float, float], shoulder_m: float) -> float:
    aside, height, ahead_m = place
    return math.hypot(aside - shoulder_m, height + _SHOULDER_DOWN_M, ahead_m + _SHOULDER_BACK_M)
