"""Bodies fitted to joints in pictures whose truth is known: derivatives, how joints bend, starts, and what is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bodystream.body import BodyDecoder
from bodystream.body.fitting.joint_rings import joint_rings
from bodystream.body.fitting.joints2d import fit_keypoints, reprojection_loss
from bodystream.body.fitting.keypoint_places import HINGES, HingeLoss, keypoint_weights
from bodystream.bundles import open_bundle
from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINT_INDEX
from bodystream.sources.keypoints import LAYOUTS
from bodystream.types import Array, CameraIntrinsics
from helpers.linear_people import TURNS, linear_people
from helpers.needs import needs
from helpers.pictured_people import CAMERA, pictured_person

needs("onnx", "pip install 'bodystream[export]'")

INTRINSICS = CameraIntrinsics(*CAMERA, 1280, 960)
NAMES = LAYOUTS["BODY_25"]


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> BodyDecoder:
    return BodyDecoder(open_bundle(linear_people(tmp_path_factory.mktemp("people") / "linear")))


def pose_of(**turns: float) -> Array:
    """A pose code by what it turns about its axis."""
    out = np.zeros(len(TURNS))
    for name, value in turns.items():
        out[[f"{joint}{axis}" for joint, axis in TURNS].index(name)] = value
    return out


def test_keypoints_are_where_they_are_called(decoder: BodyDecoder) -> None:
    neutral = decoder.vertices(np.zeros(decoder.facts.shape))
    at = dict(zip(NAMES, keypoint_weights(decoder, NAMES) @ neutral, strict=True))
    assert decoder.skin is not None
    joints = decoder.skin.joints(neutral)
    head = joints[JOINT_INDEX["head"]]
    assert at["nose"][2] == min(place[2] for name, place in at.items() if name not in ("left_wrist", "right_wrist") and
                                "toe" not in name), "-z is ahead, and the nose is foremost"  # fmt: skip
    for side, out in (("left", -1.0), ("right", 1.0)):
        assert 0.01 < out * at[f"{side}_eye"][0] < out * at[f"{side}_ear"][0]
        assert at[f"{side}_eye"][2] < at[f"{side}_ear"][2] and at[f"{side}_eye"][1] > at["nose"][1] > head[1]
        assert at[f"{side}_big_toe"][2] < at[f"{side}_ankle"][2] < at[f"{side}_heel"][2]
        assert out * at[f"{side}_small_toe"][0] > out * at[f"{side}_big_toe"][0]
        for part in ("elbow", "wrist", "knee", "ankle", "hip"):
            joint = joints[JOINT_INDEX[f"{side}_{part}"]]
            assert np.linalg.norm(at[f"{side}_{part}"] - joint) < 0.005
    np.testing.assert_allclose(at["neck"], 0.5 * (at["left_shoulder"] + at["right_shoulder"]))
    np.testing.assert_allclose(at["middle_hip"], 0.5 * (at["left_hip"] + at["right_hip"]))


def test_losses_have_the_derivatives_of_themselves(decoder: BodyDecoder) -> None:
    person = pictured_person(decoder, 1, 8.0)
    weights, rng = keypoint_weights(decoder, NAMES), np.random.default_rng(0)
    terms = {
        "picture": reprojection_loss(weights, person.points_px, rng.uniform(0.1, 1.0, 25), INTRINSICS, 5.0, 40.0),
        "hinges": HingeLoss(decoder),
    }
    bent = decoder.vertices(np.zeros(4), pose_of(left_knee0=-2.0, right_elbow1=3.0, left_elbow1=3.0, right_knee0=2.0))
    for name, vertices in (("picture", person.body_m), ("hinges", bent)):
        way = rng.normal(size=vertices.shape)
        value, bar = terms[name](vertices)
        ends = [terms[name](vertices + side * way)[0] for side in (1e-5, -1e-5)]
        assert value > 0.0 and float((bar * way).sum()) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-3), name


def test_the_picture_is_that_of_a_pinhole(decoder: BodyDecoder) -> None:
    person = pictured_person(decoder, 2, 0.0)
    term = reprojection_loss(keypoint_weights(decoder, NAMES), person.points_px, np.ones(25), INTRINSICS, 5.0, 40.0)
    assert term(person.body_m)[0] == pytest.approx(0.0, abs=1e-9)
    assert term(person.body_m + (0.01, 0.0, 0.0))[0] > 1.0
    behind, bar = term(person.body_m * (1.0, 1.0, -1.0))
    assert np.isfinite(behind) and np.isfinite(bar).all()


def test_knees_bend_behind_and_elbows_ahead(decoder: BodyDecoder) -> None:
    hinges, nobody = HingeLoss(decoder), np.zeros(decoder.facts.shape)
    assert [hinge[1] for hinge in HINGES] == ["left_knee", "left_elbow", "right_knee", "right_elbow"]
    rings = joint_rings(decoder)
    for side in ("left", "right"):
        for turn in (-2.5, 2.5):
            vertices = decoder.vertices(nobody, pose_of(**{f"{side}_knee0": turn}))
            thigh, shin = (
                vertices.T @ (rings[JOINT_INDEX[f"{side}_{end}"]] - rings[JOINT_INDEX[f"{side}_{begin}"]])
                for begin, end in (("hip", "knee"), ("knee", "ankle"))
            )
            behind = (shin / np.linalg.norm(shin) - thigh / np.linalg.norm(thigh))[2] > 0.0  # +z is behind
            bend = hinges.bends(vertices)[0 if side == "left" else 2]
            assert (bend > 0.3) == behind and (bend < -0.3) == (not behind)
    straight = hinges.bends(decoder.vertices(nobody, pose_of()))
    assert straight.min() > -0.05
    wrong = decoder.vertices(nobody, pose_of(left_knee0=-2.0, right_knee0=-2.0))
    right = decoder.vertices(nobody, pose_of(left_knee0=2.0, right_knee0=2.0))
    costs = sorted((hinges(wrong)[0], hinges(right)[0]))
    assert costs[0] == 0.0 and costs[1] > 0.1, "one way costs nothing"


@pytest.mark.parametrize(("layout", "yaw"), [("BODY_25", 0.4), ("COCO-17", -0.9)])
def test_a_person_is_found_in_a_picture(decoder: BodyDecoder, layout: str, yaw: float) -> None:
    person = pictured_person(decoder, 3, 1.5, layout, yaw)
    found = fit_keypoints(
        decoder, LAYOUTS[layout], person.points_px, np.ones(len(person.points_px)), INTRINSICS
    )  # fmt: skip
    assert found.distances_px.mean() < 6.0 and found.evaluations > 50 and found.seconds > 0.0
    again = found.placement.applied(decoder.vertices(found.codes.shape, found.codes.pose))
    np.testing.assert_allclose(again, found.vertices, atol=1e-5)
    places = keypoint_weights(decoder, LAYOUTS[layout]) @ found.vertices
    fx, fy, cx, cy = CAMERA
    by_hand = np.stack([fx * places[:, 0] / places[:, 2] + cx, fy * places[:, 1] / places[:, 2] + cy], axis=1)
    np.testing.assert_allclose(found.projected_px, by_hand, atol=1e-3)
    rings = joint_rings(decoder)
    off = rings @ found.vertices - rings @ person.body_m
    assert np.linalg.norm(off - off[0], axis=1).mean() < 0.08, "joints about the pelvis"
    assert np.abs(off[:, 2]).mean() < 0.35, "how far away somebody of unknown size is"


def test_a_joint_that_is_wrong_or_unsure_hardly_counts(decoder: BodyDecoder) -> None:
    person = pictured_person(decoder, 4, 1.0)
    points, sure = person.points_px.copy(), np.ones(25)
    points[NAMES.index("left_wrist")] += (250.0, -200.0)
    unsure = replace(person, points_px=points)
    found = fit_keypoints(decoder, NAMES, unsure.points_px, sure, INTRINSICS)
    others = np.delete(found.distances_px, NAMES.index("left_wrist"))
    assert others.mean() < 8.0 and found.distances_px[NAMES.index("left_wrist")] > 100.0


def test_pictures_that_cannot_be_are_told(decoder: BodyDecoder) -> None:
    points = np.random.default_rng(0).uniform(100.0, 500.0, (25, 2))
    with pytest.raises(InputError, match="a.json: 5 keypoints were found of the person, at least 6 are needed"):
        fit_keypoints(decoder, NAMES[:5], points[:5], np.ones(5), INTRINSICS, "a.json")
    with pytest.raises(InputError, match="a.json: all keypoints are within 4.2 px"):
        fit_keypoints(decoder, NAMES, np.array([[3.0 * (k % 2)] * 2 for k in range(25)]), np.ones(25), INTRINSICS,
                      "a.json")  # fmt: skip
    bare = BodyDecoder(decoder.bundle)
    bare.skin = None
    with pytest.raises(InputError, match="knows no joints"):
        fit_keypoints(bare, NAMES, points, np.ones(25), INTRINSICS)
