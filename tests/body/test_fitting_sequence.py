"""One person in many moments: derivatives, a shape that moments share, and poses followed, with known truth."""

from __future__ import annotations

import numpy as np
import pytest

from bodystream.body import BodyCodes
from bodystream.body.fitting import FrameLoss, PlacedBody, Placement, PoseFollower, Steadiness, shared_shape
from bodystream.bundles import open_bundle
from bodystream.errors import InputError
from bodystream.geometry.rotations import turn_about
from bodystream.types import Array
from helpers.body_bundles import exported_bars, trained_bars
from helpers.needs import needs

needs("torch", "pip install 'bodystream[export]'")
needs("onnx", "pip install 'bodystream[export]'")
needs("lightning_fabric", "pip install 'bodystream[train]'")

from bodystream.body import BodyDecoder  # noqa: E402

SEEN = np.arange(0, 106, 5)
PER_SQUARE_METRE = 1e6


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> BodyDecoder:
    run = trained_bars(tmp_path_factory.mktemp("sequences"))
    return BodyDecoder(open_bundle(exported_bars(run, run.parent / "full", "--full", "--no-encoder")))


@pytest.fixture(scope="module")
def truth(decoder: BodyDecoder) -> tuple[Array, list[Array], list[Placement]]:
    """A shape, and a pose and a placement in each of eight moments that change evenly."""
    rng = np.random.default_rng(3)
    shape = rng.normal(0.0, 0.7, decoder.facts.shape)
    ends = rng.normal(0.0, 1.5, (2, decoder.facts.pose))
    poses = [(1.0 - a) * ends[0] + a * ends[1] for a in np.linspace(0.0, 1.0, 8)]
    up = np.array([0.0, 1.0, 0.0])
    return shape, poses, [Placement(turn_about(up, 0.1 * n), np.array([0.05 * n, 0.0, 2.0])) for n in range(8)]


def loss_of(wanted: Array) -> FrameLoss:
    def loss(vertices: Array) -> tuple[float, Array]:
        off = vertices[SEEN] - wanted[SEEN]
        bar = np.zeros_like(vertices)
        bar[SEEN] = 2.0 * PER_SQUARE_METRE * off
        return PER_SQUARE_METRE * float((off * off).sum()), bar

    return loss


def bodies(decoder: BodyDecoder, truth: tuple[Array, list[Array], list[Placement]]) -> list[Array]:
    shape, poses, placements = truth
    return [at.applied(decoder.vertices(shape, pose)) for pose, at in zip(poses, placements, strict=True)]


def off_mm(one: Array, other: Array) -> float:
    return 1e3 * float(np.linalg.norm(one - other, axis=1).mean())


def still(decoder: BodyDecoder, placement: Placement) -> tuple[BodyCodes, Placement]:
    return (BodyCodes(np.zeros(decoder.facts.shape), np.zeros(decoder.facts.pose)), placement)


def test_a_shape_is_found_in_moments_together(decoder: BodyDecoder, truth) -> None:
    wanted, placements = bodies(decoder, truth), truth[2]
    chosen = (0, 3, 7)
    found = shared_shape(decoder, [loss_of(wanted[n]) for n in chosen], [still(decoder, placements[n]) for n in chosen])
    for number, one in zip(chosen, found, strict=True):
        np.testing.assert_array_equal(one.codes.shape, found[0].codes.shape)
        mean_body = placements[number].applied(decoder.vertices(np.zeros(decoder.facts.shape)))
        assert off_mm(one.vertices, wanted[number]) < 0.25 * off_mm(mean_body, wanted[number])
        again = one.placement.applied(decoder.vertices(one.codes.shape, one.codes.pose))
        np.testing.assert_allclose(again, one.vertices, atol=1e-6)
        assert one.loss == pytest.approx(loss_of(wanted[number])(one.vertices)[0])


def test_poses_are_followed_both_ways(decoder: BodyDecoder, truth) -> None:
    shape, poses, placements = truth
    wanted = bodies(decoder, truth)
    follower = PoseFollower(decoder, shape)
    for order in ((4, 5, 6, 7), (4, 3, 2, 1, 0)):
        follower.begin(order[0] / 30.0, BodyCodes(shape, poses[order[0]]), placements[order[0]])
        for number in order[1:]:
            one = follower.step(number / 30.0, loss_of(wanted[number]))
            assert off_mm(one.vertices, wanted[number]) < 4.0, f"moment {number}"
            assert off_mm(wanted[number - 1] if number > 4 else wanted[number + 1], wanted[number]) > 20.0
            np.testing.assert_allclose(one.codes.shape, shape, atol=1e-6)
    assert 0 < follower.evaluations <= 7 * 15


def test_changes_cost_more_the_less_time_they_take(decoder: BodyDecoder, truth) -> None:
    shape, poses, placements = truth
    wanted = bodies(decoder, truth)
    moved = []
    for seconds in (1e-3, 1.0 / 30.0, 10.0):
        follower = PoseFollower(decoder, shape, Steadiness(pose=3e3, placement=3e3))
        follower.begin(0.0, BodyCodes(shape, poses[0]), placements[0])
        moved.append(off_mm(follower.tried(seconds, loss_of(wanted[2])).vertices, wanted[0]))
    assert moved[0] < 0.5 * moved[1] and moved[1] < 0.9 * moved[2]
    follower = PoseFollower(decoder, shape, Steadiness(pose=1e6, placement=1e6))
    follower.begin(0.0, BodyCodes(shape, poses[0]), placements[0])
    anew = follower.tried(0.0, loss_of(wanted[2]), (BodyCodes(shape, poses[2]), placements[2]))
    assert off_mm(anew.vertices, wanted[2]) < 4.0, "another start is not drawn to the last moment"


def test_derivatives_are_of_the_body_that_is_asked_though_another_was_made(decoder: BodyDecoder) -> None:
    rng = np.random.default_rng(0)
    one, other = (PlacedBody(decoder, Placement(np.eye(3), np.zeros(3))) for _ in range(2))
    at, elsewhere = rng.normal(size=(2, one.size))
    bar = rng.normal(size=one.vertices(at).shape)
    wanted = one.pull_back(at, bar)
    other.vertices(elsewhere)
    one.vertices(at)
    np.testing.assert_array_equal(one.pull_back(at, bar), wanted)


def test_what_cannot_be_is_told(decoder: BodyDecoder) -> None:
    with pytest.raises(InputError, match="one or more moments with a start each, got 0"):
        shared_shape(decoder, [], [])
    with pytest.raises(InputError, match="begin with a pose and a placement"):
        PoseFollower(decoder, np.zeros(decoder.facts.shape)).step(0.0, lambda v: (0.0, np.zeros_like(v)))
