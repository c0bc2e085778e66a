"""Where the floor really is, from a hand that lies on it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from bodystream.errors import ConfigurationError
from bodystream.pose.observation import JointTargets
from bodystream.types import Array, HeadsetSample, TrackedDevice

__all__ = ["FloorConfig", "FloorFinder", "lowered"]


@dataclass(frozen=True, slots=True)
class FloorConfig:
    """What is taken for a hand, or the controller in it, that lies on the floor.

    Attributes:
        hold_s: for so long it lies still [s].
        travel_m: and moves no more than this [m].
        wrist_m: the wrist's joint is so high above the floor then [m].
        below_head_m: it is at least so far below the head, unlike one that lies on a table [m].
        wrong_m: a floor is wrong by this at most [m].
        patience_s: somebody who does not lay a hand down within this time has not understood [s].
    """

    hold_s: float = 1.0
    travel_m: float = 0.02
    wrist_m: float = 0.035
    below_head_m: float = 0.4
    wrong_m: float = 0.4
    patience_s: float = 20.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0.0):
                raise ConfigurationError(f"floor: {name} must be positive, got {value}")


class FloorFinder:
    """Watches hands until one lies on the floor."""

    def __init__(self, config: FloorConfig | None = None) -> None:
        self.config = FloorConfig() if config is None else config
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self._began_ns: int | None = None
        self._seen: deque[tuple[int, Array]] = deque()
        self.given_up = False
        """Whether nobody laid a hand down for too long."""

    def step(self, joints: JointTargets) -> float | None:
        """Height of the floor [m], once it is known.

        Args:
            joints: head and hands, in ascending time, y up.
        """
        config = self.config
        self._began_ns = joints.t_ns if self._began_ns is None else self._began_ns
        self.given_up = (joints.t_ns - self._began_ns) * 1e-9 > config.patience_s
        if not joints.tracked[0]:
            self._seen.clear()
            return None
        hands = np.where(joints.tracked[1:, None], joints.positions_m[1:], np.nan)
        below = hands[:, 1] < joints.positions_m[0, 1] - config.below_head_m
        near = np.abs(hands[:, 1] - config.wrist_m) < config.wrong_m
        hands[~(below & near)] = np.nan
        self._seen.append((joints.t_ns, hands))
        while (joints.t_ns - self._seen[0][0]) * 1e-9 > config.hold_s:
            self._seen.popleft()
        if (joints.t_ns - self._seen[0][0]) * 1e-9 < 0.9 * config.hold_s or len(self._seen) < 10:
            return None
        places = np.stack([place for _, place in self._seen])  # (N, 2, 3)
        still = np.ptp(places, axis=0).max(axis=-1) < config.travel_m  # a hand that was not there once is nan: no
        if not still.any():
            return None
        return float(np.median(places[:, still, 1], axis=0).min()) - config.wrist_m


def lowered(sample: HeadsetSample, floor_m: float) -> HeadsetSample:
    """The sample with heights above a floor at `floor_m` [m]; the sample itself where that is 0."""
    if floor_m == 0.0:
        return sample
    shift = np.array([0.0, floor_m, 0.0])

    def down(device: TrackedDevice | None) -> TrackedDevice | None:
        return None if device is None else replace(device, position_m=device.position_m - shift)

    truth = sample.truth
    if truth is not None:
        truth = replace(truth, root_position_m=(truth.root_position_m - shift).astype(np.float32))
    return replace(sample, head=down(sample.head), left=down(sample.left), right=down(sample.right), truth=truth)
