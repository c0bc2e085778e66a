"""AMASS takes made here by SMPL's definition, and what is wrong with a file or a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.errors import InputError
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, PARENTS
from bodystream.sources.motion import amass
from bodystream.sources.motion.amass import read_amass, smpl_joints
from bodystream.sources.motion.canonical import TakeFacts

FACTS = TakeFacts("take")
OURS_FROM_Z_UP = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])  # SMPL's left is +x, ours -x


def rest_joints() -> np.ndarray:
    """22 joints in SMPL's frame: y up, facing +z, the left at +x, the pelvis not at the origin."""
    at = {"pelvis": (0.0, -0.22, 0.03), "spine1": (0.0, -0.11, 0.0), "spine2": (0.0, 0.02, 0.0)}
    at |= {"spine3": (0.0, 0.08, 0.0), "neck": (0.0, 0.29, -0.02), "head": (0.0, 0.36, 0.03)}
    for side, x in (("left", 1.0), ("right", -1.0)):
        at |= {f"{side}_hip": (0.07 * x, -0.31, 0.02), f"{side}_knee": (0.11 * x, -0.70, 0.02)}
        at |= {f"{side}_ankle": (0.09 * x, -1.10, -0.02), f"{side}_foot": (0.12 * x, -1.16, 0.10)}
        at |= {f"{side}_collar": (0.08 * x, 0.20, -0.01), f"{side}_shoulder": (0.19 * x, 0.22, -0.02)}
        at |= {f"{side}_elbow": (0.45 * x, 0.20, -0.04), f"{side}_wrist": (0.71 * x, 0.21, -0.04)}
    return np.array([at[name] for name in JOINTS])


def write_model(path: Path, seed: int = 0) -> np.ndarray:
    """A model of one vertex per joint, and what its shape does; returns the shape directions."""
    directions = np.random.default_rng(seed).normal(0.0, 0.004, (22, 3, 10))
    np.savez(path, v_template=rest_joints(), shapedirs=directions, J_regressor=np.eye(22))
    return directions


def write_take(path: Path, **changes) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    poses = np.zeros((7, 156))
    poses[:, :66] = rng.normal(0.0, 0.25, (7, 66))
    upright = Rotation.from_euler("x", 90, degrees=True)  # SMPL's y is AMASS's z
    poses[:, :3] = (Rotation.from_euler("z", rng.uniform(-3, 3, (7, 1))) * upright).as_rotvec()
    arrays = {
        "poses": poses,
        "trans": rng.normal(0.0, 0.3, (7, 3)) + (0.0, 0.0, 1.16),
        "betas": rng.normal(0.0, 1.0, 16),
        "mocap_framerate": np.array(120.0),
        "gender": np.array("male"),
    } | changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return arrays


def smpl_kinematics(arrays: dict[str, np.ndarray], joints: np.ndarray) -> np.ndarray:
    """(T, 22, 3) by SMPL's definition: rotations about the joints, then `trans` on top; z up."""
    out = np.zeros((len(arrays["poses"]), 22, 3))
    for frame, pose in enumerate(arrays["poses"]):
        world = []
        for joint, parent in enumerate(PARENTS):
            local = np.eye(4)
            local[:3, :3] = Rotation.from_rotvec(pose[3 * joint : 3 * joint + 3]).as_matrix()
            local[:3, 3] = joints[joint] - (joints[parent] if parent >= 0 else 0.0)
            world.append(local if parent < 0 else world[parent] @ local)
            out[frame, joint] = world[-1][:3, 3] + arrays["trans"][frame]
    return out


def from_first_pelvis(clip: MotionClip) -> np.ndarray:
    positions, _ = clip.joints()
    return positions - positions[:1, :1]


def test_joints_are_smpls(tmp_path: Path) -> None:
    directions = write_model(tmp_path / "model.npz")
    arrays = write_take(tmp_path / "take.npz")
    clip = read_amass(tmp_path / "take.npz", FACTS, tmp_path / "model.npz")
    joints = rest_joints() + directions @ arrays["betas"][:10]
    np.testing.assert_allclose(smpl_joints(tmp_path / "model.npz", arrays["betas"]), joints, atol=1e-12)
    wanted = smpl_kinematics(arrays, joints) @ OURS_FROM_Z_UP.T
    np.testing.assert_allclose(from_first_pelvis(clip), wanted - wanted[:1, :1], atol=1e-5)
    assert clip.rate_hz == 120.0


def test_a_person_who_walks_ahead_goes_where_we_look(tmp_path: Path) -> None:
    poses = np.zeros((5, 156))
    poses[:, 0] = np.pi / 2  # upright, facing -y in AMASS's axes
    trans = np.linspace((0, 0, 1.2), (0, -1, 1.2), 5)
    write_take(tmp_path / "take.npz", poses=poses, trans=trans)
    warnings: list[str] = []
    clip = read_amass(tmp_path / "take.npz", FACTS, warnings=warnings)
    step = clip.root_positions_m[-1] - clip.root_positions_m[0]
    np.testing.assert_allclose(step, [0.0, 0.0, -1.0], atol=1e-6)
    np.testing.assert_allclose(clip.rotation_matrices()[:, 0], np.tile(np.eye(3), (5, 1, 1)), atol=1e-6)
    positions, _ = clip.joints()
    assert positions[0, JOINT_INDEX["left_wrist"], 0] < positions[0, JOINT_INDEX["right_wrist"], 0]
    assert any("no bone lengths" in warning for warning in warnings)


@pytest.mark.parametrize("key", ["mocap_frame_rate", "mocap_framerate"])
def test_both_spellings_of_the_rate(tmp_path: Path, key: str) -> None:
    write_take(tmp_path / "take.npz", **{"mocap_framerate": None, key: np.array(60.0)})
    assert read_amass(tmp_path / "take.npz", FACTS).rate_hz == 60.0


def test_poses_by_joint(tmp_path: Path) -> None:
    arrays = write_take(tmp_path / "flat.npz")
    write_take(tmp_path / "split.npz", poses=arrays["poses"].reshape(7, 52, 3))
    flat, split = (read_amass(tmp_path / f"{name}.npz", FACTS) for name in ("flat", "split"))
    np.testing.assert_array_equal(flat.rotations_xyzw, split.rotations_xyzw)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"poses": None}, "holds no array 'poses'; it has betas"),
        ({"trans": None}, "holds no array 'trans'"),
        ({"poses": np.zeros((7, 60))}, r"poses must be \(frames, 156\) .* got \(7, 60\)"),
        ({"poses": np.zeros((0, 156)), "trans": np.zeros((0, 3))}, "poses must be"),
        ({"poses": np.zeros((0, 52, 3)), "trans": np.zeros((0, 3))}, "poses must be"),
        ({"poses": np.array(3.0)}, r"poses must be .* got \(\)"),
        ({"trans": np.array(3.0)}, r"trans must be \(7, 3\), one per pose, got \(\)"),
        ({"trans": np.full((7, 3), 1e300)}, "trans goes as far as 1e.300, wanted metres of a person"),
        ({"trans": np.full((7, 3), 1e39)}, "trans goes as far as 1e.39"),
        ({"poses": np.full((7, 156), 1e200)}, "look like degrees"),
        ({"poses": np.zeros((7, 156), np.complex128)}, "'poses' does not hold numbers"),
        ({"poses": np.zeros((7, 156), "datetime64[s]")}, "'poses' does not hold numbers"),
        ({"poses": np.zeros((7, 156), [("a", "f4")])}, "'poses' does not hold numbers"),
        ({"trans": np.zeros((6, 3))}, r"trans must be \(7, 3\)"),
        ({"poses": np.full((7, 156), np.nan)}, "'poses' holds values that are not finite"),
        ({"poses": np.full((7, 156), 170.0)}, "look like degrees"),
        ({"poses": np.where(np.arange(156) == 0, 90.0, 5.0) * np.ones((7, 1))}, "look like degrees"),
        ({"mocap_framerate": None}, "says no frame rate"),
        ({"mocap_framerate": np.array(0.0)}, r"mocap_framerate is \[0.\], wanted one rate"),
        ({"mocap_framerate": np.array("fast")}, "'mocap_framerate' does not hold numbers"),
        ({"mocap_framerate": np.zeros(0)}, r"mocap_framerate is \[\], wanted one rate"),
        ({"poses": np.array(["a", "b"])}, "'poses' does not hold numbers"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, changes: dict, message: str) -> None:
    write_take(tmp_path / "take.npz", **changes)
    with pytest.raises(InputError, match=message) as caught:
        read_amass(tmp_path / "take.npz", FACTS)
    assert "take.npz" in str(caught.value)


class Unpicklable:
    """Whoever loads this pickle fails."""

    def __reduce__(self) -> tuple:
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize("name", ["markers_latent_vids", "labels", "gender"])
def test_a_pickled_array_that_nobody_needs_is_not_loaded(tmp_path: Path, name: str) -> None:
    write_take(tmp_path / "plain.npz")
    write_take(tmp_path / "take.npz", **{name: np.array({"a": Unpicklable()}, dtype=object)})
    plain, found = (read_amass(tmp_path / f"{n}.npz", FACTS) for n in ("plain", "take"))
    np.testing.assert_array_equal(found.rotations_xyzw, plain.rotations_xyzw)


@pytest.mark.parametrize("keys", [("root_orient", "pose_body", "trans"), ("global_orient", "body_pose", "transl")])
def test_poses_in_parts(tmp_path: Path, keys: tuple[str, str, str]) -> None:
    arrays = write_take(tmp_path / "whole.npz")
    parts = {keys[0]: arrays["poses"][:, :3], keys[1]: arrays["poses"][:, 3:66].reshape(7, 21, 3)}
    write_take(tmp_path / "parts.npz", poses=None, **({"trans": None} | parts | {keys[2]: arrays["trans"]}))
    whole, found = (read_amass(tmp_path / f"{n}.npz", FACTS) for n in ("whole", "parts"))
    np.testing.assert_array_equal(found.rotations_xyzw, whole.rotations_xyzw)
    write_take(tmp_path / "short.npz", poses=None, **({"trans": arrays["trans"]} | parts | {keys[0]: np.zeros((6, 3))}))
    with pytest.raises(InputError, match=f"{keys[0]} .*must be"):
        read_amass(tmp_path / "short.npz", FACTS)


def test_shapes_are_bounded(tmp_path: Path) -> None:
    write_model(tmp_path / "model.npz")
    write_take(tmp_path / "take.npz", betas=np.full(10, 1e30))
    with pytest.raises(InputError, match="betas holds 1e.30, wanted 1000 at most"):
        read_amass(tmp_path / "take.npz", FACTS, tmp_path / "model.npz")


def test_what_unpacks_to_gigabytes_is_refused_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amass, "_MAX_BYTES", 1 << 20)
    np.savez_compressed(tmp_path / "take.npz", poses=np.zeros((2000, 165), np.float32), trans=np.zeros((2000, 3)))
    assert (tmp_path / "take.npz").stat().st_size < 10_000
    with pytest.raises(InputError, match="its arrays take .* bytes, at most 1048576"):
        read_amass(tmp_path / "take.npz", FACTS)


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    write_take(tmp_path / "take.npz", poses=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="not a readable .npz file"):
        read_amass(tmp_path / "take.npz", FACTS)


def test_a_wrong_model_is_named(tmp_path: Path) -> None:
    write_take(tmp_path / "take.npz")
    np.savez(tmp_path / "model.npz", v_template=np.zeros((9, 3)), shapedirs=np.zeros((9, 3, 2)),
             J_regressor=np.zeros((22, 8)))  # fmt: skip
    with pytest.raises(InputError, match=r"no model of the SMPL family: .*J_regressor \(22, 8\)"):
        read_amass(tmp_path / "take.npz", FACTS, tmp_path / "model.npz")
