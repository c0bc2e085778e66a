"""A pose that is far from all that an avatar was learned from is told, with the joint and by how much."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from helpers.needs import needs

needs("torch", "pip install 'bodystream[train]'")
needs("onnx", "pip install 'bodystream[export]'")

from bodystream.avatar.clothed.avatar import ClothedAvatar, ClothedModel  # noqa: E402
from bodystream.avatar.clothed.known_poses import POSES_FILE, KnownPoses, without_heading  # noqa: E402
from bodystream.avatar.heading import bones_in_heading  # noqa: E402
from bodystream.bundles import open_bundle  # noqa: E402
from bodystream.cli.main import main  # noqa: E402
from bodystream.device import select_device  # noqa: E402
from bodystream.errors import BundleError  # noqa: E402
from bodystream.geometry.motion import MotionClip  # noqa: E402
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS  # noqa: E402
from bodystream.pipelines.repose.pipeline import Reposer  # noqa: E402
from bodystream.pipelines.repose.run import repose  # noqa: E402
from bodystream.types import Array  # noqa: E402
from bodystream_export.avatar.known_poses import known_poses  # noqa: E402
from helpers.ball_people import ball_take  # noqa: E402
from helpers.clothed_bundles import FINE, prepared_balls, write_balls  # noqa: E402
from helpers.headset_motions import walking  # noqa: E402
from helpers.headset_takes import write_bvh  # noqa: E402

TAKE = ball_take(40, 3)
ELBOW = JOINT_INDEX["left_elbow"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_balls(tmp_path_factory.mktemp("known") / "balls", prepared_balls(), FINE).place


def bent(pose: Array, joint: int, degrees: float) -> Array:
    """Another pose in which one joint is bent by so much more about its z axis."""
    out = pose.astype(np.float64)
    out[joint] = (Rotation.from_quat(out[joint]) * Rotation.from_euler("z", degrees, degrees=True)).as_quat()
    return out


def test_a_pose_of_the_training_is_known_wherever_it_stands_and_faces() -> None:
    known = known_poses(TAKE)
    for frame in TAKE.split("train"):
        pose = frame.rotations_xyzw[:22].astype(np.float64)
        assert known.far(pose) is None and known.angles_deg(pose).max() <= 4.0 + 1e-2
        pose[0] = (Rotation.from_euler("y", 140, degrees=True) * Rotation.from_quat(pose[0])).as_quat()
        assert known.far(-3.0 * pose) is None, "of any length and sign"


def test_one_joint_that_is_bent_beyond_is_named_with_how_far() -> None:
    known = known_poses(TAKE)
    trained = np.stack([frame.rotations_xyzw[:22] for frame in TAKE.split("train")])
    pose = bent(trained[5], ELBOW, 120.0)
    far = known.far(pose)
    assert far is not None and far.joint == "left_elbow" and far.joints == ("left_elbow",)
    # Beside a slow twin: the nearest of all frames, of which those that were kept are within four degrees.
    turn = Rotation.from_quat(pose[ELBOW])
    nearest = min(np.degrees((turn.inv() * Rotation.from_quat(q)).magnitude()) for q in trained[:, ELBOW])
    assert nearest - 1e-3 <= far.angle_deg <= nearest + 4.0
    assert far.known_deg == pytest.approx(known.known_deg[ELBOW]) and 15.0 <= far.known_deg <= 30.0
    assert str(far).startswith(f"the left elbow is turned by {far.angle_deg:.0f} degrees")


def test_leaning_is_part_of_the_pose_and_turning_is_not() -> None:
    known = known_poses(TAKE)
    pose = TAKE.frames[0].rotations_xyzw[:22].astype(np.float64)
    lying = pose.copy()
    lying[0] = (Rotation.from_euler("x", -100, degrees=True) * Rotation.from_quat(pose[0])).as_quat()
    far = known.far(lying)
    assert far is not None and far.joint == "pelvis"


def test_the_heading_is_that_which_networks_are_asked_in() -> None:
    rotations = np.tile(np.array([0.0, 0.0, 0.0, 1.0]), (200, 22, 1))
    rotations[:, 0] = Rotation.random(200, random_state=3).as_quat()
    bones = np.tile(np.eye(4), (200, 1, 1, 1))
    bones[:, 0, :3, :3] = Rotation.from_quat(rotations[:, 0]).as_matrix()
    seen, _ = bones_in_heading(bones)
    np.testing.assert_allclose(
        Rotation.from_quat(without_heading(rotations)[:, 0]).as_matrix(), seen[:, 0, :3, :3], atol=1e-9
    )
    upside_down = np.array([[1.0, 0.0, 0.0, 0.0]] + [[0.0, 0.0, 0.0, 1.0]] * 21)
    np.testing.assert_array_equal(without_heading(upside_down), upside_down)


def test_poses_that_the_avatar_was_judged_by_widen_what_is_known_within_bounds() -> None:
    known = known_poses(TAKE)
    trained, held = (np.stack([f.rotations_xyzw[:22] for f in TAKE.split(name)]) for name in ("train", "test"))
    assert known.known_deg.min() >= 15.0 and known.known_deg.max() <= 30.0
    for joint in range(1, len(JOINTS)):
        angles = 2 * np.degrees(np.arccos(np.minimum(np.abs(held[:, joint] @ trained[:, joint].T).max(axis=1), 1)))
        assert np.clip(angles.max(), 15, 30) - 1e-2 <= known.known_deg[joint] <= min(30, max(15, angles.max() + 4.0))


def test_an_avatar_poses_what_is_far_all_the_same_and_says_so(bundle: Path) -> None:
    avatar = ClothedAvatar(ClothedModel(open_bundle(bundle)))
    pose = TAKE.split("train")[0].rotations_xyzw[:22]
    avatar.pose(pose, np.zeros(3))
    assert avatar.posing.far is None and avatar.posing.method in ("tables", "network")
    mesh = avatar.pose(bent(pose, ELBOW, 150.0), np.zeros(3))
    far = avatar.posing.far
    assert far is not None and far.joint == "left_elbow" and np.isfinite(mesh.vertices).all()
    avatar.pose(pose, np.zeros(3))
    assert avatar.posing.far is None, "of the last pose alone"


def test_a_motion_is_taken_to_files_with_what_is_far_counted(bundle: Path) -> None:
    poses = np.stack([frame.rotations_xyzw[:22] for frame in TAKE.split("train")[:4]]).astype(np.float32)
    poses[2] = bent(poses[2], ELBOW, 150.0)
    model = ClothedModel(open_bundle(bundle))
    clip = MotionClip("four", "", 30.0, model.build.skeleton, poses, np.zeros((4, 3), np.float32))
    reposer = Reposer(clip, lambda _, device: ClothedAvatar(model, None, device), select_device("cpu"))
    assert repose(reposer) == []
    far = reposer.report().far
    assert far.frames == 1 and far.joints == {"left_elbow": 1}
    assert far.worst is not None and (far.worst.frame, far.worst.joint) == (2, "left_elbow")


def changed(bundle: Path, out: Path, **arrays: Array | None) -> Path:
    """A copy with other known poses, None = without them; its manifest knows it."""
    shutil.copytree(bundle, out)
    with np.load(out / POSES_FILE) as archive:
        content = {name: archive[name] for name in archive.files} | arrays
    manifest = json.loads((out / "manifest.json").read_text())
    if not arrays:
        (out / POSES_FILE).unlink()
        manifest["files"] = [file for file in manifest["files"] if file["path"] != POSES_FILE]
    else:
        np.savez_compressed(out / POSES_FILE, **{name: array for name, array in content.items() if array is not None})
        data = (out / POSES_FILE).read_bytes()
        for file in manifest["files"]:
            if file["path"] == POSES_FILE:
                file |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (out / "manifest.json").write_text(json.dumps(manifest))
    return out


def test_a_bundle_of_another_version_is_refused_by_name(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = changed(bundle, tmp_path / "old")
    with pytest.raises(BundleError, match=r"bundle 'balls' .* lacks poses.npz, since it was made by another version"):
        ClothedModel(open_bundle(old))
    motion = write_bvh(tmp_path / "walk.bvh", walking(0.1))
    assert main(["repose", str(old), "--motion", str(motion), "--headless"]) == 2
    assert "export the avatar again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rotations_xyzw": None}, "rotations_xyzw must have shape"),
        ({"rotations_xyzw": np.zeros((22, 3), np.float32)}, "rotations_xyzw must have shape"),
        ({"rotations_xyzw": np.zeros((21, 3, 4), np.float32)}, "rotations_xyzw must be float32 of shape"),
        ({"rotations_xyzw": np.zeros((22, 3, 4), np.float32)}, "must be unit quaternions"),
        ({"rotations_xyzw": np.full((22, 3, 4), np.nan, np.float32)}, "must be unit quaternions"),
        ({"known_deg": None}, "known_deg must be 22 angles"),
        ({"known_deg": np.full(22, np.nan)}, "known_deg must be 22 angles"),
        ({"known_deg": np.full(22, 200.0)}, "known_deg must be 22 angles"),
    ],
)
def test_damaged_known_poses_are_named(bundle: Path, tmp_path: Path, change: dict, said: str) -> None:
    with pytest.raises(BundleError, match=f"{POSES_FILE}: .*{said}"):
        ClothedModel(open_bundle(changed(bundle, tmp_path / "bad", **change)))


def test_looking_allocates_nothing_of_the_size_of_what_is_known() -> None:
    rotations = np.tile(np.array([0.0, 0.0, 0.0, 1.0], np.float32), (22, 512, 1))
    known = KnownPoses(rotations, np.full(22, 20.0))
    held = known._cosines
    assert known.far(rotations[:, 0]) is None
    assert known._cosines is held and held.nbytes == 22 * 512 * 4
