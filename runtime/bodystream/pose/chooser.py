"""One pose out of several hypotheses: likely, near the last one, within joint limits, feet above the floor.

Hypotheses of successive frames are drawn from the same latent offsets, so an index means the same kind of pose from
frame to frame; the choice leaves it only for one that is clearly better for some time, or much better at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, Skeleton, forward_kinematics
from bodystream.pose.limits import violations
from bodystream.timing import Tick
from bodystream.types import Array

__all__ = ["Choice", "ChooserConfig", "Constraint", "HypothesisChooser"]

Constraint = Callable[[Array, Array], Array]
"""Takes (K, 22, 3) joint positions [m] and (K, 22, 3, 3) orientations in the world; returns (K,) penalties >= 0, in
units of log-likelihood; infinite forbids."""

_FEET = [JOINT_INDEX[f"{side}_{part}"] for side in ("left", "right") for part in ("ankle", "foot")]


@dataclass(frozen=True, slots=True)
class ChooserConfig:
    """What a hypothesis pays, in units of log-likelihood.

    Attributes:
        motion_std_m: joints are believed to move so far from one frame to the next, in the mean [m].
        limit_std_rad: a joint so far beyond its limits costs one half [rad].
        floor_std_m: a foot so far below the floor costs one half [m].
        score_share: weight of the flow's log-likelihood, which is sharper than it is true.
        margin: how much better another one must be to be taken after `patience_s`.
        jump_margin: how much better it must be to be taken at once.
        patience_s: [s].
    """

    motion_std_m: float = 0.03
    limit_std_rad: float = 0.1
    floor_std_m: float = 0.02
    score_share: float = 0.1
    margin: float = 1.0
    jump_margin: float = 20.0
    patience_s: float = 0.15

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0.0):
                raise ConfigurationError(f"choice of hypotheses: {name} must be finite and not negative, got {value}")
        if min(self.motion_std_m, self.limit_std_rad, self.floor_std_m) <= 0.0:
            raise ConfigurationError("choice of hypotheses: standard deviations must be positive")


@dataclass(frozen=True, slots=True)
class Choice:
    """Which hypothesis was taken.

    Attributes:
        index: of the hypothesis.
        costs: (K,) what each pays; the least is the best by itself.
        switched: whether it is another index than in the frame before.
    """

    index: int
    costs: Array
    switched: bool


class HypothesisChooser:
    """Chooses frame by frame, and remembers what it chose."""

    def __init__(self, skeleton: Skeleton, config: ChooserConfig | None = None) -> None:
        self.config = ChooserConfig() if config is None else config
        self._skeleton = skeleton
        self.reset()

    def set_person(self, skeleton: Skeleton) -> None:
        """The person's proportions, a little changed: what was chosen is kept."""
        self._skeleton = skeleton

    def reset(self) -> None:
        """Forget what was chosen."""
        self._positions = np.zeros((len(JOINTS), 3))
        self._index = 0
        self._count = 0
        self._rival: tuple[int, int] | None = None  # index, and since when it is better [ns]

    def choose(
        self,
        tick: Tick,
        rotations: Array,
        root_positions_m: Array,
        scores: Array,
        constraint: Constraint | None = None,
    ) -> Choice:
        """Choose among K hypotheses of one time.

        Args:
            rotations: (K, 22, 3, 3) in the parents' frames.
            root_positions_m: (K, 3) [m].
            scores: (K,) log-likelihoods.

        Raises:
            InputError: shapes that do not fit, a constraint that does not return (K,) penalties, or no hypothesis
                that is finite and allowed.
        """
        rotations, roots = np.asarray(rotations, np.float64), np.asarray(root_positions_m, np.float64)
        scores = np.asarray(scores, np.float64)
        count = len(scores)
        if scores.ndim != 1 or rotations.shape != (count, len(JOINTS), 3, 3) or roots.shape != (count, 3) or count < 1:
            raise InputError(
                f"K hypotheses have shapes (K, {len(JOINTS)}, 3, 3), (K, 3) and (K,), got {rotations.shape}, "
                f"{roots.shape} and {scores.shape}"
            )
        usable = np.isfinite(rotations).all(axis=(1, 2, 3)) & np.isfinite(roots).all(axis=1) & np.isfinite(scores)
        rotations = np.where(usable[:, None, None, None], rotations, np.eye(3))
        roots = np.where(usable[:, None], roots, 0.0)
        positions, world = forward_kinematics(self._skeleton.offsets_m, rotations, roots)
        recent = self._count > 0 and not tick.fresh and tick.seconds > 0.0
        costs = self._costs(rotations, positions, np.where(usable, scores, 0.0), recent)
        if constraint is not None:
            penalties = np.asarray(constraint(positions, world), np.float64)
            if penalties.shape != (count,) or np.isnan(penalties).any():
                raise InputError(f"a constraint must return ({count},) penalties, got shape {penalties.shape}, or nan")
            costs = costs + penalties
        costs = np.where(usable, costs, np.inf)
        if not np.isfinite(costs).any():
            raise InputError("no hypothesis is left: all are not finite or forbidden by the constraint")
        before = self._index
        same = recent and count == self._count
        index = self._settle(tick.t_ns, costs) if same else int(costs.argmin())
        if not same:
            self._rival = None
        self._positions, self._index, self._count = positions[index], index, count
        return Choice(index, costs, same and index != before)

    def _costs(self, rotations: Array, positions: Array, scores: Array, recent: bool) -> Array:
        config = self.config
        costs = config.score_share * (scores.max() - scores)
        costs = costs + 0.5 * np.sum((violations(rotations) / config.limit_std_rad) ** 2, axis=1)
        below = np.maximum(-positions[:, _FEET, 1], 0.0)
        costs = costs + 0.5 * np.sum((below / config.floor_std_m) ** 2, axis=1)
        if recent:
            moved = np.linalg.norm(positions - self._positions, axis=-1).mean(axis=1)
            costs = costs + 0.5 * (moved / config.motion_std_m) ** 2
        return costs

    def _settle(self, t_ns: int, costs: Array) -> int:
        """The index after hysteresis."""
        best, gain = int(costs.argmin()), float(costs[self._index] - costs.min())
        if gain <= self.config.margin:
            self._rival = None
            return self._index
        if gain > self.config.jump_margin:
            self._rival = None
            return best
        if self._rival is None:
            self._rival = (best, t_ns)
        # Rivals may take turns; what counts is for how long the present one has been worse than some other.
        since = self._rival[1]
        if (t_ns - since) * 1e-9 >= self.config.patience_s:
            self._rival = None
            return best
        self._rival = (best, since)
        return self._index
