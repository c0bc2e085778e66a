"""A person is followed through a capture whose truth is known, and what is written is a take of an avatar."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from bodystream.avatar.take.files import load_take
from bodystream.avatar.take.frames import AvatarTake
from bodystream.body import BodyCodes, BodyDecoder, BodySkin, JointState, Person, target_of_mesh
from bodystream.body.fitting import FittedBody, Placement, ScanPoints, Start
from bodystream.errors import ConfigurationError, InputError
from bodystream.pipelines import fit
from bodystream.pipelines.fit import CaptureRegistration, RegisteredFrame, write_motion, write_registered
from bodystream.pipelines.fit.capture import key_frame_step
from bodystream.sources.captures import CapturedModel, read_capture
from bodystream.sources.motion import read_motion
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


def test_the_motion_of_the_frames_is_a_file_that_bodies_are_posed_by(followed: Followed, tmp_path: Path) -> None:
    _, _, person, frames = followed
    write_motion(tmp_path / "motion.bvh", person, frames)
    clip = read_motion(tmp_path / "motion.bvh")
    assert len(clip) == len(frames) and clip.rate_hz == pytest.approx(1 / 0.3, rel=1e-2)
    joints, _ = clip.joints()
    joints = joints * (-1.0, 1.0, -1.0)  # files look along +z, what is read of them along -z
    for frame, found in zip(frames, joints, strict=True):
        _, places = person.kinematics(frame.state)
        away = found - places
        # Who reads a motion puts the feet on the floor, and else leaves all where it is.
        assert np.abs(away - away.mean(axis=0)).max() < 1e-3 and np.abs(away.mean(axis=0)[[0, 2]]).max() < 1e-3
        assert abs(away[0, 1]) < 0.1


def test_somebody_else_and_too_few_frames_are_refused(followed: Followed, tmp_path: Path) -> None:
    _, models, person, frames = followed
    with pytest.raises(InputError, match="at least 2 frames, got 1"):
        write_registered(tmp_path, person, frames[:1], models, "somebody")
    with pytest.raises(InputError, match="every must be 1 or more"):
        CaptureRegistration(person, frames[0].state, every=0)
    away = JointState(frames[0].state.rotations, frames[0].state.root + (2.0, 0.0, 0.0))
    with pytest.raises(InputError, match=r"the capture at 0.00 s: the person is \d+ cm from the surface"):
        next(CaptureRegistration(person, away).frames(models))


class _Decoder:
    """An embedding of one person, the shipped body, who is known to any fit."""

    def __init__(self, skin: BodySkin | None) -> None:
        self.mesh, _ = shipped_body()
        self.skin, self.space = skin, SimpleNamespace(faces=self.mesh.faces)
        self.facts = SimpleNamespace(shape=2, pose=3)
        self.bundle = SimpleNamespace(manifest=SimpleNamespace(name="one", version=1))

    def open_gradient(self) -> None:
        """It has none, and nobody asks."""

    def vertices(self, shape: Array) -> Array:
        assert shape.shape == (2,)
        return self.mesh.vertices


def test_a_capture_is_a_kind_of_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = write_captured_body(tmp_path / "out")
    begun = []

    class Poses:
        def __init__(self, decoder: object) -> None:
            self.codes = BodyCodes(np.ones(2, np.float32), np.ones(3, np.float32))

        def check_upright(self, surface: ScanPoints, where: str) -> None:
            assert np.ptp(surface.points, axis=0).argmax() == 1

        def best(self, surface: ScanPoints, *, facing: Array) -> list[Start]:
            np.testing.assert_array_equal(facing, (0.0, 0.0, 1.0))
            return [Start(self.codes, Placement(np.diag([-1.0, 1.0, -1.0]), np.zeros(3)), 0.0)] * 2

    def fitted(decoder: object, surface: ScanPoints, *, start: Start, where: str) -> FittedBody:
        begun.append(start)
        assert where == f"{tmp_path / 'out'}, first frame"
        if len(begun) == 3:
            raise InputError("no body lies on it from there")
        off = np.full(5, 0.01 + 0.01 * len(begun))
        return FittedBody(start.codes, start.placement, truth[0] + 0.01 * len(begun), off, 1, 0.0)

    monkeypatch.setattr("bodystream.pipelines.fit.capture.StartPoses", Poses)
    monkeypatch.setattr("bodystream.pipelines.fit.capture.fit_surface", fitted)
    said: list[str] = []
    options = fit.FitOptions(tmp_path / "fit", frames=2, progress=said.append)
    decoder = cast(BodyDecoder, _Decoder(shipped_skin()))
    report = fit.fit_target(decoder, f"capture:{tmp_path / 'out'}", options)
    assert len(begun) == 3, "from the neutral pose, and from usual ones that look at the camera"
    assert not begun[0].codes.pose.any() and begun[1].codes.pose.all()
    for start in begun:
        assert start.placement.rotation[2] @ (0.0, 0.0, -1.0) > 0.99
    placed = begun[0].placement.applied(shipped_body()[0].vertices)
    assert np.abs(placed.mean(axis=0) - truth[0].mean(axis=0)).max() < 0.1
    take = load_take(tmp_path / "fit")
    assert take.subject == "out" and len(take) == 2 and len(said) == 2
    assert report.facts["frames"] == 2 and report.facts["point_to_mesh_mean_mm"] < 2.0
    assert report.facts["first_fit_mm"] == pytest.approx(20.0), "the nearer one"
    with np.load(tmp_path / "fit" / "plain.npz") as plain:
        assert plain["vertices"].shape == (2, len(truth[0]), 3) and plain["seen"].mean() > 0.5
    assert all(path.exists() for path in report.written)


@pytest.mark.parametrize(
    ("lengths", "most", "step"),
    [((600,), 40, 15), ((40,), 40, 1), ((7, 7, 7, 7), 8, 4), ((100, 1, 1, 1, 1), 8, 25), ((3, 3, 3), 2, 5)],
)
def test_a_capture_that_began_anew_gives_no_more_frames_than_one_that_did_not(
    lengths: tuple[int, ...], most: int, step: int
) -> None:
    assert key_frame_step(lengths, most) == step
    assert sum(len(range(0, length, step)) for length in lengths) <= max(most, len(lengths))


def test_captures_that_cannot_be_fitted_are_told(tmp_path: Path) -> None:
    options = fit.FitOptions(tmp_path / "fit", landmarks=tmp_path / "l.json")
    decoder = cast(BodyDecoder, _Decoder(shipped_skin()))
    with pytest.raises(ConfigurationError, match="leave --landmarks out"):
        fit.fit_target(decoder, f"capture:{tmp_path}", options)
    with pytest.raises(InputError, match="holds no capture.glb"):
        fit.fit_target(decoder, f"capture:{tmp_path}", fit.FitOptions(tmp_path / "fit"))
    with pytest.raises(InputError, match="bundle 'one' knows no joints"):
        fit.fit_target(cast(BodyDecoder, _Decoder(None)), f"capture:{tmp_path}", fit.FitOptions(tmp_path / "fit"))
    with pytest.raises(ConfigurationError, match="--frames must be 2 or more, got 1"):
        fit.FitOptions(tmp_path, frames=1)


def test_frames_of_another_take_and_too_few_are_told_before_the_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames of a longer fit would be read as such of this one, and be learned from."""
    monkeypatch.setattr("bodystream.pipelines.fit.capture.fit_surface", lambda *_, **__: pytest.fail("it is fitted"))
    monkeypatch.setattr("bodystream.pipelines.fit.capture.StartPoses", lambda _: pytest.fail("it is fitted"))
    decoder = cast(BodyDecoder, _Decoder(shipped_skin()))
    write_captured_body(tmp_path / "out")
    write_captured_body(tmp_path / "short", frames=1)
    frames = tmp_path / "fit" / "frames"
    frames.mkdir(parents=True)
    for number in range(4):
        (frames / f"{number:06}.npz").touch()
    options = fit.FitOptions(tmp_path / "fit", frames=2)
    with pytest.raises(ConfigurationError, match=r"frames holds 2 frames of another take \(000002.npz, ...\)"):
        fit.fit_target(decoder, f"capture:{tmp_path / 'out'}", options)
    with pytest.raises(InputError, match="at least 2 frames, got 1"):
        fit.fit_target(decoder, f"capture:{tmp_path / 'short'}", options)
