"""Takes of clothed people: written and read again, and every fault of one named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from bodystream.avatar.proportions import fit_rig
from bodystream.avatar.rig import load_rig
from bodystream.avatar.take.canonical import (
    BONES,
    LEG_TURN_DEG,
    canonical_rotations,
    matrices_of_pose,
    pose_of_bones,
    posed_from_canonical,
    rest_joints,
)
from bodystream.avatar.take.checks import open_edges
from bodystream.avatar.take.files import load_take, load_truth, save_take
from bodystream.avatar.take.frames import AvatarTake, PosedFrame, TakeTruth
from bodystream.errors import InputError
from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS

SKELETON = fit_rig(load_rig()).skeleton


def pose(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return matrix_from_rotation_vector(rng.normal(0, 0.3, (len(JOINTS), 3))), np.array([0.3, 0.95, -0.2])


def capsule_person() -> trimesh.Trimesh:
    """Small closed parts about the bones of the canonical pose."""
    joints = rest_joints(SKELETON)
    return trimesh.util.concatenate([trimesh.creation.icosphere(1, 0.06).apply_translation(j) for j in joints])


def take(frames: int = 3) -> AvatarTake:
    mesh = capsule_person()
    owner = np.repeat(np.arange(len(BONES)), len(mesh.vertices) // len(BONES))
    posed = []
    for number in range(frames):
        transforms = posed_from_canonical(SKELETON, *pose(number))
        vertices = np.einsum("vij,vj->vi", transforms[owner, :3, :3], mesh.vertices) + transforms[owner, :3, 3]
        motion = "walk" if number < frames - 1 else "turn"
        posed.append(
            PosedFrame(
                number,
                motion,
                vertices.astype(np.float32),
                transforms.astype(np.float32),
                pose_of_bones(transforms).astype(np.float32),
            )
        )
    return AvatarTake(
        "1", "balls", 7, 12.0, rest_joints(SKELETON).astype(np.float32), tuple(posed),
        {"train": ("walk",), "test": ("turn",)}, mesh.faces.astype(np.int32),
        np.zeros((len(mesh.vertices), 3), np.uint8), skin_weights=np.eye(len(BONES), dtype=np.float32)[owner],
    )  # fmt: skip


def edited(path: Path, file: str, **arrays: np.ndarray | None) -> None:
    with np.load(path / file) as archive:
        content = {name: archive[name] for name in archive.files}
    np.savez_compressed(path / file, **{k: v for k, v in (content | arrays).items() if v is not None})


def edited_head(path: Path, **fields: object) -> None:
    head = json.loads((path / "take.json").read_text())
    (path / "take.json").write_text(json.dumps(head | fields))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    truth = TakeTruth(*(np.zeros(s, d) for s, d in (((10, 3), np.float32), (10, bool), (10, bool))))
    save_take(tmp_path, take(), truth)
    return tmp_path


def test_a_take_is_read_as_it_was_written(folder: Path) -> None:
    wanted, got = take(), load_take(folder)
    assert (got.subject, got.outfit, got.seed, got.rate_hz, got.motions) == ("1", "balls", 7, 12.0, wanted.motions)
    assert got.notes == ()
    for a, b in zip(wanted.frames, got.frames, strict=True):
        assert (a.number, a.motion) == (b.number, b.motion)
        for name in ("vertices", "posed_from_canonical", "rotations_xyzw"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    np.testing.assert_array_equal(got.skin_weights, wanted.skin_weights)
    assert [frame.number for frame in got.split("train")] == [0, 1]
    assert load_truth(folder).canonical_vertices.shape == (10, 3)


def test_transforms_and_rotations_tell_the_same_pose() -> None:
    rotations, root = pose(3)
    transforms = posed_from_canonical(SKELETON, rotations, root)
    quaternions = pose_of_bones(transforms)
    np.testing.assert_allclose(matrices_of_pose(quaternions), rotations, atol=1e-9)
    np.testing.assert_allclose(quaternions[len(JOINTS) :], [[0, 0, 0, 1]] * 2, atol=1e-9)  # hands do not turn
    at_rest = posed_from_canonical(SKELETON, canonical_rotations(), np.zeros(3))
    np.testing.assert_allclose(at_rest, np.tile(np.eye(4), (len(BONES), 1, 1)), atol=1e-12)


def test_the_canonical_pose_is_a_star() -> None:
    joints = rest_joints(SKELETON)
    for side, sign in (("left", -1), ("right", 1)):
        hip, ankle = joints[JOINT_INDEX[f"{side}_hip"]], joints[JOINT_INDEX[f"{side}_ankle"]]
        leg = ankle - hip
        assert np.degrees(np.arctan2(sign * leg[0], -leg[1])) == pytest.approx(LEG_TURN_DEG)
        shoulder, hand = joints[JOINT_INDEX[f"{side}_shoulder"]], joints[BONES.index(f"{side}_hand")]
        np.testing.assert_allclose((hand - shoulder)[1:], 0, atol=1e-9)  # arms level
        assert sign * hand[0] > sign * joints[JOINT_INDEX[f"{side}_wrist"]][0]


def test_a_frame_about_its_pelvis_keeps_only_the_pose() -> None:
    frame = take().frames[1]
    about = frame.about_pelvis()
    np.testing.assert_allclose(about.posed_from_canonical[0], np.eye(4), atol=1e-5)
    owner = np.repeat(np.arange(len(BONES)), len(frame.vertices) // len(BONES))
    at_rest = capsule_person().vertices
    again = np.einsum("vij,vj->vi", about.posed_from_canonical[owner, :3, :3], at_rest)
    np.testing.assert_allclose(about.vertices, again + about.posed_from_canonical[owner, :3, 3], atol=1e-5)
    np.testing.assert_allclose(pose_of_bones(about.posed_from_canonical)[1:], frame.rotations_xyzw[1:], atol=1e-5)


def test_bones_in_another_order_are_named(folder: Path) -> None:
    edited_head(folder, bones=[*BONES[:4], BONES[5], BONES[4], *BONES[6:]])
    with pytest.raises(InputError, match=r"take\.json: bones in another order: number 4 is 'right_knee', wanted 'left"):
        load_take(folder)


def test_another_number_of_bones_is_named(folder: Path) -> None:
    edited(folder, "frames/000001.npz", posed_from_canonical=np.tile(np.eye(4, dtype=np.float32), (22, 1, 1)))
    with pytest.raises(InputError, match=r"000001\.npz: transforms of 22 bones, wanted SMPL's 24"):
        load_take(folder)
    edited_head(folder, bones=list(BONES[:22]))
    with pytest.raises(InputError, match=r"take\.json: 22 bones, wanted SMPL's 24"):
        load_take(folder)


@pytest.mark.parametrize(
    ("linear", "message"),
    [
        (np.diag([1.0, 1.031, 1.0]), r"left_knee is not rigid: it scales lengths by 1\.0000 to 1\.0310 \(up to 3\.1 %"),
        (np.array([[1, 0.01, 0], [0, 1, 0], [0, 0, 1.0]]), "left_knee is not rigid"),
        (np.diag([-1.0, 1.0, 1.0]), "left_knee mirrors"),
        (np.full((3, 3), np.nan), "left_knee is not finite"),
    ],
)
def test_transforms_that_are_not_rigid_are_told_by_how_much(folder: Path, linear: np.ndarray, message: str) -> None:
    transforms = take().frames[1].posed_from_canonical.copy()
    transforms[JOINT_INDEX["left_knee"], :3, :3] @= linear.astype(np.float32)
    edited(folder, "frames/000001.npz", posed_from_canonical=transforms)
    with pytest.raises(InputError, match=rf"000001\.npz: the transform of {message}"):
        load_take(folder)


def test_transposed_transforms_are_refused(folder: Path) -> None:
    transforms = np.swapaxes(take().frames[0].posed_from_canonical, 1, 2)
    edited(folder, "frames/000000.npz", posed_from_canonical=transforms)
    with pytest.raises(InputError, match="may be transposed"):
        load_take(folder)


def test_transforms_of_another_frame_of_reference_are_refused(folder: Path) -> None:
    transforms = take().frames[0].posed_from_canonical.copy()
    transforms[:, 0, 3] += 2.0
    edited(folder, "frames/000000.npz", posed_from_canonical=transforms)
    with pytest.raises(InputError, match=r"000000\.npz: .* m outside the surface's box"):
        load_take(folder)


@pytest.mark.parametrize("factor", [100.0, 1000.0, 0.01, 0.001])
@pytest.mark.parametrize("bones_too", [False, True])
def test_units_are_found(folder: Path, factor: float, bones_too: bool) -> None:
    wanted = take()
    for frame in wanted.frames:
        transforms = frame.posed_from_canonical.copy()
        if bones_too:
            transforms[:, :3, 3] *= np.float32(factor)
        vertices = frame.vertices * np.float32(factor)
        edited(folder, f"frames/{frame.number:06}.npz", vertices=vertices, posed_from_canonical=transforms)
    if bones_too:
        edited(folder, "mesh.npz", rest_joints_m=wanted.rest_joints_m * np.float32(factor))
    got = load_take(folder)
    assert any(f"vertices were off by {factor:g}" in note for note in got.notes)
    assert bones_too == any(f"bones were off by {factor:g}" in note for note in got.notes)
    np.testing.assert_allclose(got.frames[1].vertices, wanted.frames[1].vertices, atol=1e-5)
    np.testing.assert_allclose(got.frames[1].posed_from_canonical, wanted.frames[1].posed_from_canonical, atol=1e-5)
    np.testing.assert_allclose(got.rest_joints_m, wanted.rest_joints_m, atol=1e-5)


def test_another_unit_is_refused(folder: Path) -> None:
    edited(folder, "frames/000000.npz", vertices=take().frames[0].vertices * np.float32(12))
    with pytest.raises(InputError, match="no person is that in metres, centimetres or millimetres"):
        load_take(folder)


def test_an_empty_take_and_one_of_a_single_frame_are_refused(folder: Path) -> None:
    for number in (1, 2):
        (folder / f"frames/{number:06}.npz").unlink()
    with pytest.raises(InputError, match="a single frame, 000000.npz"):
        load_take(folder)
    (folder / "frames/000000.npz").unlink()
    with pytest.raises(InputError, match="holds no frames"):
        load_take(folder)


def test_vertices_that_are_not_finite_are_counted(folder: Path) -> None:
    vertices = take().frames[2].vertices.copy()
    vertices[[5, 9], 1] = np.nan
    edited(folder, "frames/000002.npz", vertices=vertices)
    with pytest.raises(InputError, match=r"000002\.npz: 2 of \d+ vertices are not finite, the first is number 5"):
        load_take(folder)


def test_open_surfaces_are_noted(folder: Path) -> None:
    faces = take().faces
    assert faces is not None and open_edges(faces) == 0
    edited(folder, "mesh.npz", faces=faces[1:])
    assert [note for note in load_take(folder).notes if "not watertight (3 open edges)" in note]
    edited(folder, "frames/000001.npz", faces=faces[2:])
    assert [note for note in load_take(folder).notes if "1 frames are not watertight (000001:" in note]


def test_frames_may_have_their_own_topology(tmp_path: Path) -> None:
    whole = take()
    faces = whole.faces
    assert faces is not None
    per_ball = len(whole.frames[0].vertices) // len(BONES)
    kept = 20 * per_ball
    few = replace(
        whole.frames[1], vertices=whole.frames[1].vertices[:kept], faces=faces[(faces < kept).all(axis=1)],
        colours=np.ones((kept, 3), np.uint8),
    )  # fmt: skip
    save_take(tmp_path, replace(whole, frames=(whole.frames[0], few)))
    got = load_take(tmp_path)
    assert len(got.faces_of(got.frames[1])) == 20 * 80 and len(got.faces_of(got.frames[0])) == len(faces)
    assert got.colours_of(got.frames[1]).max() == 1
    assert any("motions without frames: turn" in note for note in got.notes)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": "something"}, "no take of an avatar"),
        ({"version": 9}, "is of version 9, this program reads 1"),
        ({"rate_hz": 0}, "rate_hz is 0"),
        ({"motions": {"train": ["walk"]}}, "split into train and test"),
        ({"motions": {"train": ["walk", "turn"], "test": ["turn"]}}, "turn is for training and for tests"),
        ({"motions": {"train": ["walk"], "test": []}}, "its motion 'turn' is of no split"),
        ({"canonical_rotations_xyzw": [[0, 0, 0, 1]] * 24}, "another pose than the star"),
        ({"parents": [-1] * 24}, "parents are"),
        ({"subject": 3}, "take.json: Expected `str`"),
    ],
)
def test_what_is_wrong_with_a_head_is_told(folder: Path, fields: dict[str, object], message: str) -> None:
    edited_head(folder, **fields)
    with pytest.raises(InputError, match=message):
        load_take(folder)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"vertices": None}, "lacks vertices"),
        ({"vertices": np.zeros((7, 2), np.float32)}, "vertices must be floating-point numbers of shape"),
        ({"motion": None}, "lacks the name of its motion"),
        ({"rotations_xyzw": np.zeros((24, 4), np.float32)}, "must be unit quaternions"),
        ({"faces": np.array([[0, 1, 99999]])}, "faces name vertices 0 to 99999"),
    ],
)
def test_what_is_wrong_with_a_frame_is_told(folder: Path, arrays: dict[str, np.ndarray | None], message: str) -> None:
    edited(folder, "frames/000001.npz", **arrays)
    with pytest.raises(InputError, match=message):
        load_take(folder)
