"""How much of the model is probably wrong, judged node by node by what contradicts it and what nobody has seen of it.

Surface that the camera sees where the model has it is right; what is wrong is hidden, or the camera sees through it.
So each node has a doubt from 0 to 1:

- Out of sight, it moves as its surroundings do. The more it has moved against them since it was seen, and the farther
  away along the surface they are, the more of that motion is guessed.
- What the camera sees through, well inside the outline or well outside of it, is not there. A few points of a node may
  be noise at an edge, or were just taken out; `RIM_POWER` has them count for far less than their share.

The doubts of all nodes, weighted by their surface, are the share of the model in doubt. `DRIFT_M`, `FAR_M`, `RIM_POWER`
and `DOUBTED_SHARE` were fitted on the takes for tuning of `eval capture`, where truth is known: a frame is wrong with
more than 2 % of the vertices over 30 mm off. Around them the figures hardly change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodystream.types import Array

__all__ = ["DOUBTED_SHARE", "Judgement", "doubts", "judged", "seen_through"]

DRIFT_M = 0.04
FAR_M = 0.07
RIM_POWER = 4.0
DOUBTED_SHARE = 0.0285
"""A frame with a larger share of its model in doubt is told."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Of one frame.

    Attributes:
        hidden_share, through_share: of the model's surface, how much is in doubt because it moved out of sight, and
            because the camera sees through it; each node counts for what is worse.
        place: where the middle of what is in doubt is on the model, as the camera sees it; empty where nothing is.
    """

    hidden_share: float = 0.0
    through_share: float = 0.0
    place: str = ""

    @property
    def share(self) -> float:
        """Of the model's surface, how much is in doubt."""
        return self.hidden_share + self.through_share

    @property
    def wrong(self) -> bool:
        """A part of the model is probably wrong."""
        return self.share > DOUBTED_SHARE

    @property
    def reason(self) -> str:
        """What is in doubt, in words."""
        hidden, through = (
            f"{self.hidden_share:.0%} of it moved out of sight",
            f"{self.through_share:.0%} is seen through",
        )
        worse = hidden if self.hidden_share >= self.through_share else through
        return f"a part of the model is probably wrong: {worse}, {self.place}"


def doubts(points: Array, through: Array, far_m: Array, drift_m: Array) -> tuple[Array, Array]:
    """(N,) doubts 0 to 1 of each node: because it is out of sight, and because the camera sees through it.

    Args:
        points: (N,) points of the model that go with each node. through: (N,) of these, those seen through.
        far_m, drift_m: (N,) see `Sight`.
    """
    hidden = -np.expm1(-drift_m / DRIFT_M) * -np.expm1(-far_m / FAR_M)
    return hidden, _through_doubts(points, through)


def seen_through(points: Array, through: Array) -> float:
    """Of the model's surface, how much is in doubt because the camera sees through it: what a frame alone says.

    Args:
        points, through: (N,) as for `doubts`.
    """
    return float(points @ _through_doubts(points, through)) / max(float(points.sum()), 1.0)


def _through_doubts(points: Array, through: Array) -> Array:
    return (through / np.maximum(points, 1)) ** RIM_POWER


def judged(points: Array, through: Array, far_m: Array, drift_m: Array, lost: Array, live: Array) -> Judgement:
    """The judgement of a frame.

    Args:
        points, through, far_m, drift_m: as for `doubts`.
        lost: (N,) bool, nodes whose surface is forgotten with this frame; they do not count.
        live: (N, 3) nodes in the camera's frame [m].
    """
    surface = np.where(lost, 0, points)
    total = float(surface.sum())
    if total == 0.0:
        return Judgement()
    hidden, seen_through = doubts(points, through, far_m, drift_m)
    is_hidden = hidden >= seen_through
    weight = surface * np.where(is_hidden, hidden, seen_through)
    doubted = float(weight.sum())
    if doubted == 0.0:
        return Judgement()
    of_hidden = float(weight[is_hidden].sum())
    return Judgement(of_hidden / total, (doubted - of_hidden) / total, _place(weight @ live / doubted, live))


def _place(centre: Array, live: Array) -> str:
    """In which ninth of the model a point is, as the camera sees them."""
    low, high = live[:, :2].min(axis=0), live[:, :2].max(axis=0)
    column, row = np.clip(3.0 * (centre[:2] - low) / np.maximum(high - low, 1e-6), 0, 2).astype(int)
    if row == column == 1:
        return "in its middle"
    return f"at its {('upper', 'middle', 'lower')[row]} {('left', 'middle', 'right')[column]}".replace(" middle", "")
