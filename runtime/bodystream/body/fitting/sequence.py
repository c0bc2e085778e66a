"""One person in many moments: a shape that a few of them share, then pose and placement from one to the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bodystream.body.decoder import BodyCodes, BodyDecoder
from bodystream.body.fitting.placed import PlacedBody, Placement
from bodystream.body.fitting.search import minimised
from bodystream.errors import InputError
from bodystream.types import Array

__all__ = ["FollowedFrame", "FrameLoss", "PoseFollower", "Steadiness", "shared_shape"]

FrameLoss = Callable[[Array], tuple[float, Array]]
"""Of placed vertices (V, 3) [m]: what a moment's data say against them, and the (V, 3) derivatives of that.

It is added to the squares of the codes, so it is in their units: a squared distance over its variance (eq. 15)."""

_USUAL_S = 1.0 / 30.0


@dataclass(frozen=True, slots=True)
class FollowedFrame:
    """A body in one moment.

    Attributes:
        codes: the shape is that of all moments. placement: where it stands.
        vertices: (V, 3) float64, placed [m].
        loss: what the moment's data say against it, without what codes and steadiness add.
    """

    codes: BodyCodes
    placement: Placement
    vertices: Array
    loss: float


@dataclass(frozen=True, slots=True)
class Steadiness:
    """What changes cost, as a random walk has it: the weight falls with the time between two moments.

    Attributes:
        pose: of the squared change of the pose code in a thirtieth of a second.
        placement: of the squared turn and move, in units of 0.02 rad and 0.02 m.
    """

    pose: float = 1.0
    placement: float = 0.05


def shared_shape(
    decoder: BodyDecoder, losses: Sequence[FrameLoss], starts: Sequence[tuple[BodyCodes, Placement]],
    evaluations: int = 40, curvatures: Sequence[Array] | None = None,
) -> list[FollowedFrame]:  # fmt: skip
    """The bodies of one person that fit some moments best, found together: one shape, and a pose and a placement each.

    Minimised are the losses of all moments, and the squares of the shape and of all poses (eq. 15 over moments).

    Args:
        losses: of the moments, K.
        starts: codes and placement to begin with in each; the mean of the shapes is the one to begin with.
        evaluations: of all moments together, at most; each makes K bodies.
        curvatures: (S + P + 6, S + P + 6) of each moment's loss about its start, as `PlaceRates.curvature` gives them:
            far fewer evaluations are needed with them.

    Raises:
        InputError: there is no moment.
        BundleError: the bundle has no derivatives.
    """
    if not losses or len(losses) != len(starts):
        raise InputError(f"a shape is found in one or more moments with a start each, got {len(losses)}")
    bodies = [PlacedBody(decoder, placement) for _, placement in starts]
    shape_size = decoder.facts.shape
    rest = bodies[0].size - shape_size
    first = np.concatenate(
        [
            np.mean([codes.shape for codes, _ in starts], axis=0),
            *(body.unknowns(codes)[shape_size:] for body, (codes, _) in zip(bodies, starts, strict=True)),
        ]
    )

    def own(unknowns: Array, number: int) -> Array:
        begin = shape_size + number * rest
        return np.concatenate([unknowns[:shape_size], unknowns[begin : begin + rest]])

    def loss(unknowns: Array) -> tuple[float, Array]:
        bar = np.zeros_like(unknowns)
        total = float(unknowns[:shape_size] @ unknowns[:shape_size])
        bar[:shape_size] = 2.0 * unknowns[:shape_size]
        for number, (body, of_frame) in enumerate(zip(bodies, losses, strict=True)):
            mine = own(unknowns, number)
            value, vertices_bar = of_frame(body.vertices(mine))
            pose = mine[shape_size:-6]
            found = body.pull_back(mine, vertices_bar)
            begin = shape_size + number * rest
            bar[:shape_size] += found[:shape_size]
            bar[begin : begin + rest] = found[shape_size:]
            bar[begin : begin + rest - 6] += 2.0 * pose
            total += value + float(pose @ pose)
        return total, bar

    best, _ = minimised(loss, first, evaluations, _joined(curvatures, shape_size) if curvatures is not None else None)
    out = []
    for number, (body, of_frame) in enumerate(zip(bodies, losses, strict=True)):
        mine = own(best, number)
        vertices = body.vertices(mine)
        out.append(FollowedFrame(body.codes(mine), body.placement(mine), vertices, of_frame(vertices)[0]))
    return out


def _joined(curvatures: Sequence[Array], shape_size: int) -> Array:
    """Of all unknowns together: the shape is in all moments, pose and placement of each are its own."""
    rest = len(curvatures[0]) - shape_size
    out = np.zeros((shape_size + rest * len(curvatures),) * 2)
    out[:shape_size, :shape_size] = 2.0 * np.eye(shape_size)
    for number, one in enumerate(curvatures):
        own = slice(shape_size + number * rest, shape_size + (number + 1) * rest)
        out[:shape_size, :shape_size] += one[:shape_size, :shape_size]
        out[:shape_size, own], out[own, :shape_size] = one[:shape_size, shape_size:], one[shape_size:, :shape_size]
        out[own, own] = one[shape_size:, shape_size:] + np.diag(_drawn(rest, 1.0, 0.0))
    return out


def _drawn(rest: int, pose: float, placement: float) -> Array:
    """(rest,) second derivatives of squares of pose and placement, by their weights; never quite nothing."""
    return 2.0 * np.r_[np.full(rest - 6, pose), np.full(6, max(placement, 1e-6))]


class PoseFollower:
    """Pose and placement of somebody whose shape is known, from one moment to the next.

    Args:
        decoder: whose bundle has derivatives.
        shape: (S,) code.
        steadiness: what changes cost.
        evaluations: bodies that are made for a moment at most.
        still: a moment is done where a step betters its loss by less than this share.
    """

    def __init__(
        self, decoder: BodyDecoder, shape: Array, steadiness: Steadiness | None = None, evaluations: int = 15,
        still: float = 1e-7,
    ) -> None:  # fmt: skip
        decoder.open_gradient()
        self._decoder, self._shape = decoder, np.asarray(shape, np.float64)
        self._steadiness = Steadiness() if steadiness is None else steadiness
        self._evaluations, self._still = evaluations, still
        self._last: tuple[float, BodyCodes, Placement] | None = None
        self.evaluations = 0

    def begin(self, t_s: float, codes: BodyCodes, placement: Placement) -> None:
        """Where the next moment is followed from: a pose and a placement that are known at a time, in either
        direction."""
        self._last = t_s, codes, placement

    def step(self, t_s: float, loss: FrameLoss, curvature: Array | None = None) -> FollowedFrame:
        """The body in one more moment, sought from the last one.

        Args:
            curvature: as those of `shared_shape`.

        Raises:
            InputError: nothing was begun with.
        """
        found = self.tried(t_s, loss, curvature=curvature)
        self.begin(t_s, found.codes, found.placement)
        return found

    def tried(
        self, t_s: float, loss: FrameLoss, start: tuple[BodyCodes, Placement] | None = None, evaluations: int = 0,
        curvature: Array | None = None,
    ) -> FollowedFrame:  # fmt: skip
        """The same without going on from there, or sought from another start, to which nothing draws.

        Args:
            evaluations: other than usual where not 0. curvature: as of `step`.
        """
        if start is not None:
            (codes, placement), share = start, 0.0
        elif self._last is not None:
            last_s, codes, placement = self._last
            share = _USUAL_S / max(abs(t_s - last_s), 1e-3)
        else:
            raise InputError("begin with a pose and a placement before moments are followed")
        body = PlacedBody(self._decoder, placement)
        size = len(self._shape)
        before = np.asarray(codes.pose, np.float64)
        still_pose, still_placement = share * self._steadiness.pose, share * self._steadiness.placement

        def whole(rest: Array) -> Array:
            return np.concatenate([self._shape, rest])

        def cost(rest: Array) -> tuple[float, Array]:
            value, vertices_bar = loss(body.vertices(whole(rest)))
            bar = body.pull_back(whole(rest), vertices_bar)[size:]
            pose, change, moved = rest[:-6], rest[:-6] - before, rest[-6:]
            bar[:-6] += 2.0 * pose + 2.0 * still_pose * change
            bar[-6:] += 2.0 * still_placement * moved
            value += float(pose @ pose + still_pose * (change @ change) + still_placement * (moved @ moved))
            return value, bar

        first = np.concatenate([before, np.zeros(6)])
        whole_curvature = None
        if curvature is not None:
            drawn = _drawn(len(first), 1.0 + still_pose, still_placement)
            whole_curvature = curvature[size:, size:] + np.diag(drawn)
        best, _ = minimised(cost, first, evaluations or self._evaluations, whole_curvature, self._still)
        unknowns = whole(best)
        vertices = body.vertices(unknowns)
        self.evaluations += body.evaluations
        return FollowedFrame(body.codes(unknowns), body.placement(unknowns), vertices, loss(vertices)[0])
