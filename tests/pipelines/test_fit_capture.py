"""A person is followed through a capture whose truth is known, and what is written is a take of an avatar."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bodystream.avatar.take.files import load_take
from bodystream.avatar.take.frames import AvatarTake
from bodystream.body import JointState, Person, target_of_mesh
from bodystream.errors import InputError
from bodystream.pipelines.fit_capture import CaptureRegistration, RegisteredFrame, write_registered
from bodystream.sources.captures import CapturedModel, read_capture
from bodystream.types import Array, Mesh
from helpers.body_meshes import shipped_body, shipped_skin
from helpers.captured_body import write_captured_body


def smaller(person_scale: float) -> Person:
    mesh, _ = shipped_body()
    return Person(shipped_skin(), person_scale * mesh.vertices, mesh.faces)


Followed = tuple[Array, list[CapturedModel], Person, list[RegisteredFrame]]


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Followed:
    """Two frames, seen from ahead only, by somebody who is 2 % too small."""
    folder = tmp_path_factory.mktemp("capture")
    truth = write_captured_body(folder)
    models = read_capture(folder)
    mesh = models[0].mesh(0)
    corners = mesh.vertices[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    skin = models[0].skin
    ahead = replace(skin, mesh=replace(skin.mesh, faces=skin.mesh.faces[normals[:, 2] > 0.0]))
    models = [replace(models[0], skin=ahead)]
    person = smaller(0.98)
    start = smaller(1.0).pose_of(truth[0]).state
    frames = CaptureRegistration(person, JointState(start.rotations, start.root + 0.02), every=3).frames(models)
    return truth[::3], models, person, list(frames)


def test_registered_frames_are_near_the_truth_and_nearer_than_the_plain_body(followed: Followed) -> None:
    truth, _, person, frames = followed
    assert [frame.t_s for frame in frames] == pytest.approx([0.0, 0.3])
    for frame, vertices in zip(frames, truth, strict=True):
        surface = target_of_mesh(Mesh(vertices, person.faces))
        registered, plain = (1e3 * surface.distances(v).mean() for v in (frame.vertices, frame.plain))
        assert registered < 5.0 and registered < 0.8 * plain
        assert 1e3 * np.linalg.norm(frame.vertices - vertices, axis=1).mean() < 15.0
        assert 0.3 < frame.matched.mean() < 0.8 and 1e3 * frame.mean_m < 3.0


def test_the_take_is_one_that_avatars_are_learned_from(followed: Followed, tmp_path: Path) -> None:
    truth, models, person, frames = followed
    write_registered(tmp_path / "fit", person, frames, models, "somebody")
    take = load_take(tmp_path / "fit")
    assert isinstance(take, AvatarTake) and len(take) == 2 and take.subject == "somebody"
    assert take.motions == {"train": ("begin",), "test": ("end",)}
    assert take.rate_hz == pytest.approx(1 / 0.3, rel=1e-3)
    assert take.colours is not None and np.abs(take.colours.astype(int) - 120).max() <= 1
    one, other = take.frames
    np.testing.assert_allclose(one.vertices, frames[0].vertices, atol=1e-5)
    # Bones carry the surface of one frame to the other: by each vertex' heaviest bone it lands near where it is.
    assert take.skin_weights is not None
    heaviest = take.skin_weights.argmax(axis=1)
    moved = other.posed_from_canonical.astype(np.float64) @ np.linalg.inv(one.posed_from_canonical.astype(np.float64))
    landed = np.einsum("vij,vj->vi", moved[heaviest, :3, :3], one.vertices) + moved[heaviest, :3, 3]
    still = np.linalg.norm(truth[1] - truth[0], axis=1).mean()
    assert np.linalg.norm(landed - truth[1], axis=1).mean() < 0.4 * still + 0.012


def test_somebody_else_and_too_few_frames_are_refused(followed: Followed, tmp_path: Path) -> None:
    _, models, person, frames = followed
    with pytest.raises(InputError, match="at least 2 frames, got 1"):
        write_registered(tmp_path, person, frames[:1], models, "somebody")
    with pytest.raises(InputError, match="every must be 1 or more"):
        CaptureRegistration(person, frames[0].state, every=0)
    away = JointState(frames[0].state.rotations, frames[0].state.root + (2.0, 0.0, 0.0))
    with pytest.raises(InputError, match=r"the capture at 0.00 s: the person is \d+ cm from the surface"):
        next(CaptureRegistration(person, away).frames(models))
