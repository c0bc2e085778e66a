"""Bodies fitted to markers whose truth is known: places on any body, their derivatives, one shape, and poses."""

from __future__ import annotations

import numpy as np
import pytest

from bodystream.body import BodyDecoder, Person
from bodystream.body.fitting import PlacedBody, Placement
from bodystream.body.fitting.joint_rings import joint_rings
from bodystream.body.fitting.marker_places import (
    STAND_OFF_M,
    MarkedLabels,
    MarkerPlaces,
    labels_of_map,
    plain_label,
    usual_labels,
)
from bodystream.body.fitting.marker_sets import MARKER_SPOTS, vertex_of_spot
from bodystream.body.fitting.markers import MarkerFit, key_frames, marker_loss
from bodystream.body.fitting.rates import place_rates
from bodystream.bundles import open_bundle
from bodystream.errors import InputError
from bodystream.geometry.normals import vertex_normals
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS
from bodystream.types import Array
from helpers.linear_people import linear_people
from helpers.marker_people import CMU_LABELS, moving_person
from helpers.needs import needs

needs("onnx", "pip install 'bodystream[export]'")


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> BodyDecoder:
    return BodyDecoder(open_bundle(linear_people(tmp_path_factory.mktemp("people") / "linear")))


@pytest.fixture(scope="module")
def neutral(decoder: BodyDecoder) -> Array:
    return decoder.vertices(np.zeros(decoder.facts.shape))


@pytest.fixture(scope="module")
def marked(decoder: BodyDecoder) -> MarkedLabels:
    return usual_labels(decoder, CMU_LABELS)


def test_usual_labels_are_where_anatomy_has_them(decoder: BodyDecoder, neutral: Array, marked: MarkedLabels) -> None:
    assert set(marked.vertices) == set(CMU_LABELS) and len(CMU_LABELS) == 41
    skin = decoder.skin
    assert skin is not None
    joints = dict(zip(JOINTS, skin.joints(neutral), strict=True))
    at = {label: neutral[vertex] for label, vertex in marked.vertices.items()}
    for letter, side, out in (("L", "left", -1.0), ("R", "right", 1.0)):
        assert at[f"{letter}FHD"][2] < joints["head"][2] < at[f"{letter}BHD"][2], "-z is ahead"
        assert at[f"{letter}FHD"][1] > joints["head"][1]
        assert at[f"{letter}SHO"][1] > joints[f"{side}_shoulder"][1]
        for label in ("SHO", "UPA", "ELB", "FRM", "FIN", "KNE", "ANK", "MT5", "FWT", "THI", "SHN"):
            assert out * at[letter + label][0] > 0.05, f"{letter}{label} is on its side"
        for label, joint, far in (("ELB", "elbow", 0.08), ("KNE", "knee", 0.1), ("ANK", "ankle", 0.08)):
            assert np.linalg.norm(at[letter + label] - joints[f"{side}_{joint}"]) < far
            assert out * (at[letter + label] - joints[f"{side}_{joint}"])[0] > 0.015
        assert at[f"{letter}WRA"][2] < at[f"{letter}WRB"][2], "the thumb is ahead"
        assert at[f"{letter}FWT"][2] < joints["pelvis"][2] < at[f"{letter}BWT"][2]
        assert at[f"{letter}TOE"][2] < joints[f"{side}_ankle"][2] < at[f"{letter}HEE"][2]
    for ahead, behind in (("CLAV", "C7"), ("STRN", "T10")):
        assert at[ahead][2] < at[behind][2] and abs(at[ahead][0]) < 0.02 and abs(at[behind][0]) < 0.02
    names = sorted(MARKER_SPOTS)
    for other in (name for name in names if name[0] == "R"):
        mirrored = neutral[vertex_of_spot(MARKER_SPOTS["L" + other[1:]], skin, neutral)] * (-1.0, 1.0, 1.0)
        here = neutral[vertex_of_spot(MARKER_SPOTS[other], skin, neutral)]
        assert np.linalg.norm(mirrored - here) < 0.015, other


def test_markers_stand_off_the_skin_and_have_exact_derivatives(decoder: BodyDecoder, marked: MarkedLabels) -> None:
    rng = np.random.default_rng(0)
    labels = ["LFHD", "C7", "LWRIST", "RKNE"]
    mixed = MarkedLabels(marked.vertices, {"LWRIST": "left_wrist"})
    places = MarkerPlaces(decoder, mixed, labels)
    vertices = decoder.vertices(rng.normal(size=decoder.facts.shape), rng.normal(size=decoder.facts.pose))
    found, normals = places(vertices), vertex_normals(vertices, decoder.space.faces)
    for row in (0, 1, 3):
        vertex = marked.vertices[labels[row]]
        np.testing.assert_allclose(found[row], vertices[vertex] + STAND_OFF_M * normals[vertex], atol=1e-5)
    np.testing.assert_allclose(found[2], joint_rings(decoder)[JOINT_INDEX["left_wrist"]] @ vertices)
    bar, way = rng.normal(size=(4, 3)), 1e-3 * rng.normal(size=vertices.shape)
    ends = [float((bar * places(vertices + side * way)).sum()) for side in (1e-3, -1e-3)]
    slope = float((places.pull_back(vertices, bar) * way).sum())
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-3, rel=1e-5)


def test_joints_of_posed_bodies_are_those_of_their_skeleton(decoder: BodyDecoder) -> None:
    rings, rng = joint_rings(decoder), np.random.default_rng(1)
    assert decoder.skin is not None
    off, plain = [], []
    for _ in range(2):
        shape, pose = rng.normal(size=decoder.facts.shape), rng.normal(size=decoder.facts.pose)
        vertices = decoder.vertices(shape, pose)
        person = Person(decoder.skin, decoder.vertices(shape), decoder.space.faces)
        truth = person.kinematics(person.pose_of(vertices).state)[1]
        off.append(np.linalg.norm(rings @ vertices - truth, axis=1))
        plain.append(np.linalg.norm(decoder.skin.joint_weights @ vertices - truth, axis=1))
    limbs = [
        JOINT_INDEX[f"{side}_{part}"] for side in ("left", "right") for part in ("elbow", "wrist", "knee", "ankle")
    ]
    assert np.mean(off, axis=0)[limbs].max() < 0.01 and np.mean(off, axis=0).max() < 0.03
    assert np.mean(off, axis=0)[limbs].mean() < np.mean(plain, axis=0)[limbs].mean()


def test_rates_are_derivatives(decoder: BodyDecoder, marked: MarkedLabels) -> None:
    rng = np.random.default_rng(2)
    places = MarkerPlaces(decoder, marked, CMU_LABELS)
    body = PlacedBody(decoder, Placement(np.eye(3), np.array([0.3, 0.0, 1.0])))
    codes = body.codes(np.concatenate([0.5 * rng.normal(size=body.size - 6), np.zeros(6)]))
    rates = place_rates(decoder, codes, places).by_unknowns(body.placement(body.unknowns(codes)))
    at, bar = body.unknowns(codes), rng.normal(size=(41, 3))
    vertices = body.vertices(at)
    exact = body.pull_back(at, places.pull_back(vertices, bar))
    found = np.einsum("mi,miu->u", bar, rates)
    assert found[-6:] == pytest.approx(exact[-6:], rel=1e-6, abs=1e-9)
    assert exact[:-6] @ found[:-6] > 0.97 * np.linalg.norm(exact[:-6]) * np.linalg.norm(found[:-6])


def test_a_person_is_found_in_noisy_markers(decoder: BodyDecoder, marked: MarkedLabels) -> None:
    person = moving_person(decoder, frames=12, noise_m=0.004, missing=0.08, seed=4)
    fit = MarkerFit(decoder, MarkerPlaces(decoder, marked, CMU_LABELS))
    shape = fit.shape(person.markers_m)
    frames = sorted(fit.frames(person.markers_m, person.t_s, shape), key=lambda frame: frame.number)
    assert [frame.number for frame in frames] == list(range(12))
    off_mm, seen_mm = [], []
    for frame, truth, markers in zip(frames, person.bodies_m, person.markers_m, strict=True):
        body = frame.placement.applied(decoder.vertices(frame.codes.shape, frame.codes.pose))
        off_mm.append(1e3 * np.linalg.norm(body - truth, axis=1).mean())
        assert np.array_equal(np.isnan(frame.distances_m), np.isnan(markers).any(axis=1))
        seen_mm.append(1e3 * np.nanmean(frame.distances_m))
        np.testing.assert_array_equal(frame.codes.shape, frames[0].codes.shape)
    assert np.mean(off_mm) < 8.0 and np.max(off_mm) < 15.0, off_mm
    assert 4.0 < np.mean(seen_mm) < 8.0, "noise of 4 mm along each axis is 6.4 mm long"
    mean_body = np.linalg.norm(decoder.vertices(np.zeros_like(shape)) - decoder.vertices(person.shape), axis=1).mean()
    found_body = np.linalg.norm(decoder.vertices(shape) - decoder.vertices(person.shape), axis=1).mean()
    assert found_body < 0.4 * mean_body


def test_a_marker_that_somebody_mixed_up_is_outvoted(decoder: BodyDecoder, marked: MarkedLabels) -> None:
    person = moving_person(decoder, frames=3, noise_m=0.001, missing=0.0, seed=5)
    wrong = person.markers_m[0].copy()
    wrong[CMU_LABELS.index("LKNE")] += (0.0, 0.4, 0.0)
    fit = MarkerFit(decoder, MarkerPlaces(decoder, marked, CMU_LABELS))
    shape = fit.shape(np.stack([wrong, *person.markers_m[1:]]))
    frame = next(fit.frames(np.stack([wrong, *person.markers_m[1:]]), person.t_s, shape))
    body = frame.placement.applied(decoder.vertices(frame.codes.shape, frame.codes.pose))
    assert 1e3 * np.linalg.norm(body - person.bodies_m[frame.number], axis=1).mean() < 10.0


def test_losses_are_those_of_the_markers_that_are_seen(decoder: BodyDecoder, marked: MarkedLabels) -> None:
    person = moving_person(decoder, frames=1, noise_m=0.0, missing=0.0, seed=6)
    places = MarkerPlaces(decoder, marked, CMU_LABELS)
    wanted = person.markers_m[0].copy()
    exact, bar = marker_loss(places, wanted)(person.bodies_m[0])
    assert exact == pytest.approx(0.0, abs=1e-9) and np.abs(bar).max() < 1e-3
    wanted[3] += (0.01, 0.0, 0.0)
    off, _ = marker_loss(places, wanted)(person.bodies_m[0])
    assert 1.0 < off < 4.0
    wanted[3] = np.nan
    gone, bar = marker_loss(places, wanted)(person.bodies_m[0])
    assert gone == pytest.approx(0.0, abs=1e-9) and np.isfinite(bar).all()


def test_key_frames_are_spread_and_have_many_markers() -> None:
    points = np.zeros((100, 20, 3))
    points[:, 10:] = np.nan
    points[[7, 30, 62, 99], :] = 0.0
    assert key_frames(points) == [7, 30, 62, 99]
    points[:, 5:] = np.nan
    with pytest.raises(InputError, match=r"no frame has 6 markers with a known place \(at most 5\)"):
        key_frames(points)


def test_mirrored_markers_and_what_is_no_person_are_told(decoder: BodyDecoder, marked: MarkedLabels) -> None:
    person = moving_person(decoder, frames=2, noise_m=0.0, missing=0.0, seed=7)
    fit = MarkerFit(decoder, MarkerPlaces(decoder, marked, CMU_LABELS), "a.c3d")
    with pytest.raises(InputError, match="a.c3d: the markers are mirrored .* left-handed"):
        fit.shape(person.markers_m * (-1.0, 1.0, 1.0))
    shuffled = np.random.default_rng(0).permutation(41)
    with pytest.raises(InputError, match="a.c3d: the nearest body is .* from its markers on average"):
        fit.shape(person.markers_m[:, shuffled])


def test_labels_are_plain_and_maps_are_checked(decoder: BodyDecoder) -> None:
    assert plain_label("Subject 1:lfhd ") == "LFHD" and plain_label("C7") == "C7"
    found = labels_of_map({"a:head": 7, "LWRIST": "left_wrist"}, decoder, "m.json")
    assert found.vertices == {"HEAD": 7} and found.joints == {"LWRIST": "left_wrist"}
    for given in ([], {}, 3, None):
        with pytest.raises(InputError, match="m.json must be an object of labels"):
            labels_of_map(given, decoder, "m.json")
    for place in (-1, 13348, 1.5, True, None, "nose", [1]):
        with pytest.raises(InputError, match="m.json: 'LFHD' must be a vertex of the body, 0 to 13347, or a joint"):
            labels_of_map({"LFHD": place}, decoder, "m.json")


def test_a_bundle_without_joints_wants_vertices(decoder: BodyDecoder) -> None:
    bare = BodyDecoder(decoder.bundle)
    bare.skin = None
    assert labels_of_map({"A": 3}, bare, "m.json").vertices == {"A": 3}
    with pytest.raises(InputError, match="knows no joints, so that 'A' has no place"):
        labels_of_map({"A": "head"}, bare, "m.json")
    with pytest.raises(InputError, match="knows no joints, by which the usual labels have places: give --markers"):
        usual_labels(bare, CMU_LABELS)
    with pytest.raises(InputError, match="knows no joints"):
        joint_rings(bare)
