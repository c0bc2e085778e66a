"""Takes out of public layouts, written here by SMPL's definition: CAPE's folders, DFAUST's HDF5 with AMASS's poses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from bodystream.avatar.take.canonical import BONE_PARENTS, BONES, LEG_TURN_DEG
from bodystream.avatar.take.files import load_take, save_take
from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.skeleton import JOINT_INDEX
from bodystream_training.avatar.data.open_take import open_take
from bodystream_training.avatar.data.public_layouts import split_motions
from bodystream_training.avatar.data.smpl_body import load_smpl_body
from helpers.needs import needs

PER_BONE = 12
UP_FROM_Z = Rotation.from_euler("x", 90, degrees=True)


def joints_at_rest() -> np.ndarray:
    """24 joints in SMPL's frame: y up, facing +z, the left at +x."""
    at = {"pelvis": (0.0, -0.22, 0.03), "spine1": (0.0, -0.11, 0.0), "spine2": (0.0, 0.02, 0.0)}
    at |= {"spine3": (0.0, 0.08, 0.0), "neck": (0.0, 0.29, -0.02), "head": (0.0, 0.36, 0.03)}
    for side, x in (("left", 1.0), ("right", -1.0)):
        at |= {f"{side}_hip": (0.07 * x, -0.31, 0.02), f"{side}_knee": (0.11 * x, -0.70, 0.02)}
        at |= {f"{side}_ankle": (0.09 * x, -1.10, -0.02), f"{side}_foot": (0.12 * x, -1.16, 0.10)}
        at |= {f"{side}_collar": (0.08 * x, 0.20, -0.01), f"{side}_shoulder": (0.19 * x, 0.22, -0.02)}
        at |= {f"{side}_elbow": (0.45 * x, 0.20, -0.04), f"{side}_wrist": (0.71 * x, 0.21, -0.04)}
        at |= {f"{side}_hand": (0.79 * x, 0.20, -0.05)}
    return np.array([at[name] for name in BONES])


def balls() -> trimesh.Trimesh:
    return trimesh.util.concatenate(
        [trimesh.creation.icosphere(0, 0.05).apply_translation(j) for j in joints_at_rest()]
    )


def write_model(path: Path, hands: bool = False) -> Path:
    """A ball about each joint; its middle is the joint. With `hands`, SMPL-H's 52 joints."""
    mesh = balls()
    regressor = np.kron(np.eye(len(BONES)), np.full((1, PER_BONE), 1 / PER_BONE))
    weights = np.kron(np.eye(len(BONES)), np.ones((PER_BONE, 1)))
    if hands:  # all fingers stand in the palm, and share its skin
        regressor = np.concatenate([regressor[:22], np.repeat(regressor[22:], 15, axis=0)])
        weights = np.concatenate([weights[:, :22], np.repeat(weights[:, 22:] / 15, 15, axis=1)], axis=1)
    directions = np.random.default_rng(0).normal(0, 0.002, (len(mesh.vertices), 3, 10))
    np.savez(path, v_template=mesh.vertices, shapedirs=directions, J_regressor=regressor, weights=weights, f=mesh.faces)
    return path


def posed(rest: np.ndarray, pose: np.ndarray, transl: np.ndarray) -> np.ndarray:
    """By SMPL's definition: each ball about its joint, rotations of parents first, `transl` on top."""
    joints = rest.reshape(len(BONES), PER_BONE, 3).mean(axis=1)
    turns, places = [], []
    for bone, parent in enumerate(BONE_PARENTS):
        own = Rotation.from_rotvec(pose[bone])
        turns.append(own if parent < 0 else turns[parent] * own)
        offset = joints[bone] - joints[max(parent, 0)]
        places.append(joints[0] if parent < 0 else places[parent] + turns[parent].apply(offset))
    out = [turns[b].apply(rest[PER_BONE * b : PER_BONE * (b + 1)] - joints[b]) + places[b] for b in range(len(BONES))]
    return np.concatenate(out) + transl


def write_cape(root: Path, sequences: int = 3, frames: int = 4) -> dict[str, np.ndarray]:
    """Clothes are a little noise about the body; returns the poses by file."""
    rng = np.random.default_rng(4)
    rest = balls().vertices * 1.02
    minimal = root / "minimal_body_shape" / "00032"
    minimal.mkdir(parents=True)
    np.save(minimal / "00032_minimal.npy", rest)
    poses = {}
    for sequence in range(sequences):
        name = f"shortlong_action{sequence}"
        folder = root / "sequences" / "00032" / name
        folder.mkdir(parents=True)
        for frame in range(frames):
            pose, transl = rng.normal(0, 0.3, (24, 3)), rng.normal(0, 0.5, 3)
            vertices = posed(rest, pose, transl) + rng.normal(0, 0.002, rest.shape)
            file = folder / f"{name}.{frame + 1:06}.npz"
            np.savez(file, v_posed=vertices, v_cano=rest, pose=pose.reshape(-1), transl=transl)
            poses[f"{name}/{frame}"] = pose
    return poses


def cape_spec(root: Path, more: str = "") -> str:
    return f"cape:{root}?subject=00032&clothing=shortlong&model={write_model(root / 'model.npz')}{more}"


def test_cape_is_read_by_smpls_definition(tmp_path: Path) -> None:
    poses = write_cape(tmp_path)
    take = open_take(cape_spec(tmp_path))
    assert len(take) == 12 and take.rate_hz == 60.0 and (take.subject, take.outfit) == ("00032", "shortlong")
    assert take.motions == {"train": ("shortlong_action0", "shortlong_action1"), "test": ("shortlong_action2",)}
    rest = balls().vertices * 1.02
    owner = np.repeat(np.arange(len(BONES)), PER_BONE)
    body = load_smpl_body(tmp_path / "model.npz", rest=rest)
    canonical, _ = body.canonical_from_rest()
    at_canonical = np.einsum("vij,vj->vi", canonical[owner, :3, :3], rest) + canonical[owner, :3, 3]
    for frame in take.frames:  # transforms carry the canonical body to the surface, up to the noise
        moved = np.einsum("vij,vj->vi", frame.posed_from_canonical[owner, :3, :3], at_canonical)
        assert np.abs(moved + frame.posed_from_canonical[owner, :3, 3] - frame.vertices).max() < 0.012
    # a turn about x is one about -x in this project's frame, about y the same
    pose = poses["shortlong_action0/0"][JOINT_INDEX["left_knee"]]
    ours = Rotation.from_quat(take.frames[0].rotations_xyzw[JOINT_INDEX["left_knee"]]).as_rotvec()
    np.testing.assert_allclose(ours, pose * (-1, 1, -1), atol=1e-4)
    ankle = take.rest_joints_m[JOINT_INDEX["left_ankle"]] - take.rest_joints_m[JOINT_INDEX["left_hip"]]
    at_rest = (joints_at_rest()[JOINT_INDEX["left_ankle"]] - joints_at_rest()[JOINT_INDEX["left_hip"]]) * (-1, 1, -1)
    turned = np.degrees(np.arctan2(ankle[0], -ankle[1]) - np.arctan2(at_rest[0], -at_rest[1]))
    assert turned == pytest.approx(-LEG_TURN_DEG, abs=1e-3)
    save_take(tmp_path / "ours", take)  # and it passes all checks of our format
    assert len(open_take(str(tmp_path / "ours"))) == len(load_take(tmp_path / "ours")) == 12


def test_frames_and_test_sequences_can_be_chosen(tmp_path: Path) -> None:
    write_cape(tmp_path)
    take = open_take(cape_spec(tmp_path, "&every=2&test=shortlong_action0"))
    assert len(take) == 6 and take.rate_hz == 30.0 and take.motions["test"] == ("shortlong_action0",)
    many = split_motions([f"{n:02}" for n in range(25)])
    assert many["test"] == ("09", "19") and len(many["train"]) == 23


def test_a_pose_of_another_surface_is_refused(tmp_path: Path) -> None:
    write_cape(tmp_path)
    file = tmp_path / "sequences/00032/shortlong_action1/shortlong_action1.000002.npz"
    with np.load(file) as archive:
        content = dict(archive)
    np.savez(file, **(content | {"pose": content["pose"] + 1.0}))
    with pytest.raises(InputError, match=r"000002\.npz: the posed body is \d+ cm from the surface on average"):
        open_take(cape_spec(tmp_path))
    np.savez(file, **(content | {"pose": np.full(72, np.nan)}))
    with pytest.raises(InputError, match="a pose is not finite"):
        open_take(cape_spec(tmp_path))
    np.savez(file, **(content | {"v_posed": content["v_posed"][:100]}))
    with pytest.raises(InputError, match=r"000002\.npz has 100 vertices, the model 288"):
        open_take(cape_spec(tmp_path))
    np.savez(file, pose=content["pose"])
    with pytest.raises(InputError, match=r"must hold v_posed \(V, 3\) and pose \(72,\)"):
        open_take(cape_spec(tmp_path))


@pytest.mark.parametrize("hands", [False, True])
def test_dfaust_takes_its_poses_from_amass(tmp_path: Path, hands: bool) -> None:
    h5py = needs("h5py", "pip install 'bodystream[garments]'")
    rng = np.random.default_rng(5)
    model = write_model(tmp_path / "model.npz", hands)
    betas = rng.normal(size=16)
    body = load_smpl_body(model, betas=betas)
    (tmp_path / "amass" / "50004").mkdir(parents=True)
    knees = []
    with h5py.File(tmp_path / "registrations_f.hdf5", "w") as archive:
        archive["faces"] = balls().faces
        for name in ("hips", "knees"):
            poses = np.zeros((5, 156))
            poses[:, :66] = rng.normal(0, 0.3, (5, 66))
            pose = np.concatenate([poses[:, :66].reshape(5, 22, 3), np.zeros((5, 2, 3))], axis=1)
            knees.append(pose[:, JOINT_INDEX["left_knee"]])
            surfaces = [posed(body.vertices, p, np.zeros(3)) for p in pose]
            archive[f"50004_{name}"] = np.stack(surfaces, axis=2)
            # AMASS's world has z up: its pelvis is turned by 90 degrees about x against the surface's
            poses[:, :3] = (UP_FROM_Z * Rotation.from_rotvec(pose[:, 0])).as_rotvec()
            file = tmp_path / "amass" / "50004" / f"50004_{name}_poses.npz"
            np.savez(file, poses=poses, betas=betas, trans=rng.normal(size=(5, 3)), mocap_framerate=60.0)
    spec = f"dfaust:{tmp_path}/registrations_f.hdf5?subject=50004&amass={tmp_path}/amass&model={model}"
    take = open_take(spec)
    assert len(take) == 10 and take.motions == {"train": ("hips",), "test": ("knees",)}
    assert "at most 0.0 cm from the surface" in take.notes[0]
    wanted = np.concatenate(knees) * (-1, 1, -1)
    got = [f.rotations_xyzw[JOINT_INDEX["left_knee"]] for f in take.frames]
    np.testing.assert_allclose(Rotation.from_quat(got).as_rotvec(), wanted, atol=1e-4)
    save_take(tmp_path / "ours", take)
    assert len(load_take(tmp_path / "ours")) == 10
    with pytest.raises(InputError, match="no sequences of subject 50002"):
        open_take(spec.replace("50004", "50002"))
    file = tmp_path / "amass" / "50004" / "50004_hips_poses.npz"
    np.savez(file, poses=np.zeros((3, 156)), betas=betas)
    with pytest.raises(InputError, match="AMASS has as many poses as DFAUST has surfaces"):
        open_take(spec)


def test_what_is_wrong_with_a_layout_is_told(tmp_path: Path) -> None:
    write_cape(tmp_path)
    spec = cape_spec(tmp_path)
    for words, kind, message in (
        (spec.replace("00032", "00099"), InputError, r"has no sequences shortlong_\*"),
        (spec.replace("&clothing=shortlong", ""), ConfigurationError, "lacks clothing"),
        (spec + "&speed=2", ConfigurationError, "does not know speed"),
        (spec + "&every=0", ConfigurationError, "a whole number from 1 on"),
        (spec + "&test=dance", InputError, "no motions dance"),
        (spec + "&test=shortlong_action0,shortlong_action1,shortlong_action2", InputError, "none is left to train on"),
    ):
        with pytest.raises(kind, match=message):
            open_take(words)
    np.savez(tmp_path / "model.npz", v_template=np.zeros((4, 3)))
    with pytest.raises(InputError, match="lacks shapedirs, J_regressor, weights, f"):
        load_smpl_body(tmp_path / "model.npz")
    (tmp_path / "bad.hdf5").write_bytes(b"no hdf5")
    needs("h5py", "pip install 'bodystream[garments]'")
    with pytest.raises(InputError, match="not a readable HDF5 file"):
        open_take(f"dfaust:{tmp_path}/bad.hdf5?subject=1&amass={tmp_path}&model={tmp_path}/model.npz")
