"""Bodies fitted to depth frames whose truth is known: drawn ones of the shipped embedding."""

from __future__ import annotations

import numpy as np
import pytest

from bodystream.body import BodyDecoder
from bodystream.body.fitting import DepthClip, DepthView, depth_view, fit_depth_clips, fit_depth_sequence
from bodystream.body.fitting.depth import DepthLoss
from bodystream.body.nearest import BodySurface
from bodystream.errors import InputError
from bodystream.geometry.rotations import turn_about
from bodystream.types import Array
from helpers.drawn_depth import KINECT, drawn_depth

UP = np.array([0.0, 1.0, 0.0])
TO_CAMERA = turn_about(UP, np.pi)


@pytest.fixture(scope="module")
def decoder() -> BodyDecoder:
    return BodyDecoder()


def moving(decoder: BodyDecoder, frames: int) -> list[Array]:
    """Somebody three metres ahead who goes from the neutral pose to another, facing the camera."""
    rng = np.random.default_rng(3)
    shape = rng.normal(0.0, 0.8, decoder.facts.shape)
    end = rng.normal(0.0, 0.6, decoder.facts.pose)
    out = []
    for share in np.linspace(0.0, 0.6, frames):
        body = decoder.vertices(shape, share * end)
        out.append(body @ TO_CAMERA.T + (0.1, -0.1, -3.0))
    return out


def view_of(body: Array, decoder: BodyDecoder) -> DepthView:
    depth = drawn_depth(body, decoder.space.faces)
    return depth_view(depth, depth > 0.0, KINECT, cut_out=True)


def test_points_are_where_pixels_are(decoder: BodyDecoder) -> None:
    body = moving(decoder, 1)[0]
    view = view_of(body, decoder)
    away = BodySurface(body, decoder.space.faces).distances(view.points)
    assert np.median(away) < 1e-3 and np.percentile(away, 95) < 0.01, "with y up, and the camera at the origin"
    assert len(view.chosen) <= 1500 and view.outside_px[0, 0] > 0.0
    assert (view.outside_px[view.depth_m > 0.0] == 0.0).all()


def test_what_is_hidden_is_no_fault(decoder: BodyDecoder) -> None:
    depth = drawn_depth(moving(decoder, 1)[0], decoder.space.faces)
    person = depth > 0.0
    room = np.where(person, depth, np.float32(4.5))
    room[:, :80], room[:, 240:] = 1.0, 0.0  # a wall before the person, and nothing measured
    view = depth_view(room, person, KINECT)
    assert (view.outside_px[:, :80] == 0.0).all() and (view.outside_px[:, 240:] == 0.0).all()
    assert view.outside_px[5, 160] > 0.0, "the background was seen there"


def test_the_loss_has_the_derivatives_of_itself(decoder: BodyDecoder) -> None:
    """Points that move to the side by a little stay what they are: a move in the image's plane and one along it."""
    body = moving(decoder, 1)[0]
    view = view_of(body, decoder)
    terms = DepthLoss(view, body, decoder.space.faces)
    moved = body + (0.06, 0.03, 0.05)
    for way in np.eye(3):
        bar = float((terms(moved, 0.1)[1] @ way).sum())
        ends = [terms(moved + h * way, 0.1)[0] for h in (2e-3, -2e-3)]
        assert bar == pytest.approx((ends[0] - ends[1]) / 4e-3, rel=0.25), way
    assert terms(body, 0.1)[0] < 0.05 * terms(moved, 0.1)[0]


def test_somebody_is_followed_with_one_shape(decoder: BodyDecoder) -> None:
    truth = moving(decoder, 5)
    views = [view_of(body, decoder) for body in truth]
    said: list[str] = []
    t_s = [0.1 * number for number in range(len(views))]
    frames = fit_depth_sequence(decoder, views, t_s, progress=said.append)
    assert [frame.t_s for frame in frames] == t_s and said
    assert all(np.array_equal(frame.body.codes.shape, frames[0].body.codes.shape) for frame in frames)
    for frame, body in zip(frames, truth, strict=True):
        assert frame.mean_m < 0.012
        assert np.linalg.norm(frame.body.vertices - body, axis=1).mean() < 0.045, "the hidden back included"
        again = frame.body.placement.applied(decoder.vertices(frame.body.codes.shape, frame.body.codes.pose))
        np.testing.assert_allclose(again, frame.body.vertices, atol=1e-5)
    known = fit_depth_sequence(decoder, views[:2], t_s[:2], frames[0].body.codes.shape.astype(np.float64))
    np.testing.assert_array_equal(known[1].body.codes.shape, frames[0].body.codes.shape)
    assert known[1].mean_m < 0.015


def test_frames_without_a_person_are_told(decoder: BodyDecoder) -> None:
    nothing = np.zeros((240, 320), np.float32)
    with pytest.raises(InputError, match=r"frame 7 shows nobody: 0 pixels of a person have a depth"):
        depth_view(nothing, nothing > 0.0, KINECT, "frame 7")
    with pytest.raises(InputError, match="a sequence has one or more frames"):
        fit_depth_sequence(decoder, [], [])
    wall = np.zeros((240, 320), np.float32)
    wall[20:220, 20:300] = 2.5  # 2.5 m wide and 1.8 m high, flat
    view = depth_view(wall, wall > 0.0, KINECT, cut_out=True)
    with pytest.raises(InputError, match="the wall seem to show no person"):
        fit_depth_sequence(decoder, [view], [0.0], where="the wall")


def test_a_clip_without_frames_or_a_person_is_named(decoder: BodyDecoder) -> None:
    view = view_of(moving(decoder, 1)[0], decoder)
    wall = np.zeros((240, 320), np.float32)
    wall[20:220, 20:300] = 2.5
    clip, shape = DepthClip([view], [0.0], "the walk"), np.zeros(decoder.facts.shape)
    with pytest.raises(InputError, match=r"the wall: a sequence has one or more frames with a time each, got 1, 0"):
        fit_depth_clips(decoder, [clip, DepthClip([view], [], "the wall")])
    nobody = DepthClip([depth_view(wall, wall > 0.0, KINECT, cut_out=True)], [0.0], "the wall")
    with pytest.raises(InputError, match="the wall seem to show no person"):
        fit_depth_clips(decoder, [clip, nobody], shape)
