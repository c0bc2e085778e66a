"""Performances without poses: bones found again in surfaces that were posed here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.avatar.proportions import fit_rig
from bodystream.avatar.rig import load_rig, skin
from bodystream.avatar.take.checks import check_rigid
from bodystream.avatar.take.files import load_take, save_take
from bodystream.errors import InputError
from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, forward_kinematics
from bodystream.sources.synthetic.people import Person, build_person
from bodystream_training.avatar.data import performance
from bodystream_training.avatar.data.open_take import open_take
from bodystream_training.avatar.data.performance import fit_performance

FRAMES = 5


@pytest.fixture(scope="module")
def performed() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Surfaces of another person than the shipped body, their faces, and the rotations of the joints.

    They stand turned to the side and lift an arm, a knee and the head more and more.
    """
    rig = load_rig()
    body = build_person(rig, fit_rig(rig).skeleton, Person(1.78, 1.05))
    vectors = np.zeros((FRAMES, len(JOINTS), 3))
    vectors[:, 0, 1] = 1.2
    part = np.linspace(0, 1, FRAMES)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        vectors[:, JOINT_INDEX[f"{side}_shoulder"], 2] = sign * np.radians(62)
    vectors[:, JOINT_INDEX["left_shoulder"], 2] -= np.radians(70) * part
    vectors[:, JOINT_INDEX["right_hip"], 0] = np.radians(60) * part
    vectors[:, JOINT_INDEX["right_knee"], 0] = -np.radians(70) * part
    vectors[:, JOINT_INDEX["spine3"], 1] = 0.3 * part
    rotations = matrix_from_rotation_vector(vectors)
    roots = np.array([0.4, 0.95, -0.2]) + part[:, None] * (0.2, 0.0, 0.1)
    places, turns = forward_kinematics(body.skeleton.offsets_m, rotations, roots)
    world = np.zeros((*places.shape[:2], 4, 4))
    world[..., :3, :3], world[..., :3, 3], world[..., 3, 3] = turns, places, 1.0
    surfaces = np.stack([skin(body.skin, w @ body.skin.bone_from_bind.astype(np.float64)) for w in world])
    return surfaces, body.skin.mesh.faces, rotations


def test_bones_are_found_again(
    performed: tuple[np.ndarray, np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    surfaces, faces, rotations = performed
    monkeypatch.setattr(performance, "_FINE_ROUNDS", 12)
    monkeypatch.setattr(performance, "_YAWS", 5)
    np.savez(tmp_path / "someone.npz", vertices_q=np.round(surfaces * 1e4).astype(np.int16), scale=1e-4, faces=faces)
    take = open_take(f"captured:{tmp_path / 'someone.npz'}")
    assert len(take) == FRAMES and take.motions == {"train": ("begin",), "test": ("end",)}
    assert "poses were fitted" in take.notes[0] and len(take.split("test")) == 1
    for name, most_deg in (("right_hip", 5.0), ("right_knee", 6.0), ("left_shoulder", 8.0), ("left_elbow", 5.0)):
        joint = JOINT_INDEX[name]
        # how each limb turned since the first frame, seen from its parent
        true = Rotation.from_matrix(rotations[0, joint].T @ rotations[-1, joint]).magnitude()
        quaternions = [take.frames[k].rotations_xyzw[joint] for k in (0, -1)]
        found = (Rotation.from_quat(quaternions[0]).inv() * Rotation.from_quat(quaternions[1])).magnitude()
        assert abs(np.degrees(true - found)) < most_deg, name
    # the transforms carry the surface of one frame to that of another
    first, last = take.frames[0], take.frames[-1]
    assert take.skin_weights is not None
    step = last.posed_from_canonical.astype(np.float64) @ np.linalg.inv(first.posed_from_canonical.astype(np.float64))
    moved = np.einsum("vb,bij,vj->vi", take.skin_weights, step[:, :3, :3], first.vertices)
    moved += take.skin_weights @ step[:, :3, 3]
    assert np.median(np.linalg.norm(moved - last.vertices, axis=1)) < 0.002
    for frame in take.frames:
        check_rigid(frame.posed_from_canonical, "frame")
    save_take(tmp_path / "take", take)
    assert len(load_take(tmp_path / "take")) == FRAMES


def test_what_no_body_fits_into_is_refused(
    performed: tuple[np.ndarray, np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    surfaces, faces, _ = performed
    for name in ("_YAWS", "_ROUGH_ROUNDS", "_FINE_ROUNDS"):
        monkeypatch.setattr(performance, name, 1)
    with pytest.raises(InputError, match="no body fits into the first frame"):
        fit_performance(surfaces[:, :, [1, 0, 2]], faces)  # lies on the side
    np.savez(tmp_path / "a.npz", vertices=surfaces)
    with pytest.raises(InputError, match="must hold faces"):
        open_take(f"captured:{tmp_path / 'a.npz'}")
    np.savez(tmp_path / "a.npz", vertices=surfaces[0], faces=faces)
    with pytest.raises(InputError, match="of at least 2 frames"):
        open_take(f"captured:{tmp_path / 'a.npz'}")
    surfaces = surfaces.copy()
    surfaces[2, 7] = np.nan
    np.savez(tmp_path / "a.npz", vertices=surfaces, faces=faces)
    with pytest.raises(InputError, match="frame 2: 1 of"):
        open_take(f"captured:{tmp_path / 'a.npz'}")
