"""The examples for Unity and Godot: built, run or read without those programs, and compared with what was written."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.geometry.skeleton import JOINTS
from bodystream.geometry.skeleton_maps import UNITY_BONES
from bodystream.geometry.unity import unity_quaternions, unity_vectors
from bodystream.sinks.shm import ABI, ShmWriter, pose_record
from bodystream.sinks.shm import layout as layouts
from bodystream.sinks.shm.layout import HEADER, JOINT, POSE, POSE_SLOT, Offer, offset_of
from bodystream.types import Mesh, Status
from helpers.native import ROOT, free_name
from helpers.needs import needs
from helpers.sent_poses import angle_deg, generated_poses

UNITY, GODOT = ROOT / "examples" / "unity", ROOT / "examples" / "godot" / "bodystream_body.gd"
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX shared memory; Windows has named mappings")


@pytest.fixture(scope="module")
def unity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("mcs") is None or shutil.which("mono") is None:
        pytest.skip("no C# compiler: mcs and mono are not installed")
    out = tmp_path_factory.mktemp("unity") / "unity.exe"
    sources = [*sorted(map(str, UNITY.glob("*.cs"))), str(ROOT / "tests" / "native" / "unity_stand_in.cs")]
    done = subprocess.run(["mcs", "-warn:4", f"-out:{out}", *sources], capture_output=True, text=True, timeout=120)
    # Of the stand-in some fields are not used; the examples bring no warning.
    assert done.returncode == 0 and "examples" not in done.stdout + done.stderr, done.stdout + done.stderr
    return out


def run(program: Path, *words: str, code: int = 0) -> list[str]:
    done = subprocess.run(["mono", str(program), *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    return (done.stdout if code == 0 else done.stderr).splitlines()


@posix
def test_unity_moves_an_avatar_as_the_person(unity: Path) -> None:
    name = free_name()
    assert run(unity, name, "poses", code=3) == [], "nobody writes"
    writer = ShmWriter(name, Offer.POSES)
    try:
        for driven in generated_poses(1)[:2]:
            writer.write_pose(pose_record(driven))
            head, *rows = run(unity, name, "poses")
            assert head == "Tracked True"
            body = Rotation.from_quat([0.0, 0.6, 0.0, 0.8])
            turns = Rotation.from_matrix(driven.person.orientations).as_quat()
            for joint, row in enumerate(rows):
                if joint == 9:
                    assert row == "-"
                    continue
                numbers = [float(number) for number in row.split()]
                rest = Rotation.from_quat([np.sin(0.05 * joint), 0, 0, np.cos(0.05 * joint)])
                wanted = body * Rotation.from_quat(unity_quaternions(turns[joint])) * rest
                assert angle_deg(Rotation.from_quat(numbers[3:]).as_matrix(), wanted.as_matrix()) < 0.05
                if joint == 0:
                    scale = 0.75 / driven.person.skeleton.stature_m
                    at = body.apply(unity_vectors(driven.person.joints_m[0]) * scale) + [1, 2, 3]
                    np.testing.assert_allclose(numbers[:3], at, atol=1e-4)
    finally:
        writer.close()


@posix
def test_unity_shows_a_surface(unity: Path) -> None:
    name, rng = free_name(), np.random.default_rng(1)
    mesh = Mesh(
        rng.normal(size=(50, 3)).astype(np.float32),
        rng.integers(0, 50, (80, 3), dtype=np.int32),
        rng.normal(size=(50, 3)).astype(np.float32),
        rng.integers(0, 256, (50, 3), dtype=np.uint8),
    )
    writer = ShmWriter(name, Offer.SURFACES, 64, 128)
    try:
        writer.write_surface(mesh, 0, Status.TRACKED, 5, in_camera=True)
        rows = np.array([[float(number) for number in row.split()] for row in run(unity, name, "surface")])
    finally:
        writer.close()
    np.testing.assert_allclose(rows[:50], mesh.vertices * (1, 1, -1), rtol=1e-6)
    np.testing.assert_allclose(rows[50:100], mesh.normals * (1, 1, -1), rtol=1e-6)  # type: ignore[operator]
    np.testing.assert_array_equal(rows[100:150], mesh.colours)
    np.testing.assert_array_equal(rows[150:], mesh.faces[:, [0, 2, 1]])


@posix
def test_unity_refuses_another_version(unity: Path) -> None:
    name = free_name()
    writer = ShmWriter(name, Offer.POSES)
    try:
        writer._segment.header["abi"] = 4
        told = run(unity, name, "poses", code=3)
    finally:
        writer.close()
    assert told == ["bodystream: bodystream publishes ABI 4 and this program reads ABI 1"]


def test_unitys_bones_are_in_the_order_of_the_joints() -> None:
    text = (UNITY / "BodystreamBody.cs").read_text(encoding="utf-8")
    table = text.partition("HumanBodyBones[] Bones =")[2].partition("};")[0]
    names = [name[:1].upper() + name[1:] for name in (UNITY_BONES[joint] for joint in JOINTS)]
    assert re.findall(r"HumanBodyBones\.(\w+)", table) == names


def test_godots_script_parses_and_is_clean() -> None:
    parser = needs("gdtoolkit.parser", "pip install 'bodystream[dev]'").parser
    assert parser.parse(GODOT.read_text(encoding="utf-8"), gather_metadata=True)


def godot_constants() -> dict[str, int]:
    text = GODOT.read_text(encoding="utf-8")
    return {name: int(value) for name, value in re.findall(r"^const (\w+) := (\d+)$", text, re.MULTILINE)}


def test_godots_script_has_the_offsets_of_the_header() -> None:
    assert godot_constants() == {
        "ABI": ABI,
        "JOINTS": len(JOINTS),
        "HEADER_BYTES": HEADER.itemsize,
        "AT_ABI": offset_of(HEADER, "abi"),
        "AT_OFFERS": offset_of(HEADER, "offers"),
        "AT_POSE_OFFSET": offset_of(HEADER, "pose_offset"),
        "AT_POSE_STRIDE": offset_of(HEADER, "pose_stride"),
        "AT_POSE_SLOTS": offset_of(HEADER, "pose_slots"),
        "AT_HEARTBEAT": offset_of(HEADER, "heartbeat_ns"),
        "AT_ENDED": offset_of(HEADER, "ended_ns"),
        "AT_POSE_NUMBER": offset_of(HEADER, "pose_number"),
        "AT_POSE": offset_of(POSE_SLOT, "pose"),
        "AT_STATUS": offset_of(POSE, "status"),
        "AT_JOINTS": offset_of(POSE, "joints"),
        "JOINT_BYTES": JOINT.itemsize,
        "OFFERS_POSES": int(Offer.POSES),
        "LOST": layouts.STATUS[Status.LOST],
        "DEAD_AFTER_MS": layouts.DEAD_AFTER_NS // 1_000_000,
    }
    assert (offset_of(JOINT, "position_m"), offset_of(JOINT, "rotation_xyzw")) == (0, 12)


def basis(x: str, y: str) -> np.ndarray:
    named = {"RIGHT": (1, 0, 0), "LEFT": (-1, 0, 0), "UP": (0, 1, 0), "DOWN": (0, -1, 0), "FORWARD": (0, 0, -1),
             "BACK": (0, 0, 1)}  # fmt: skip
    x_axis, y_axis = np.array(named[x]), np.array(named[y])
    return np.stack([x_axis, y_axis, np.cross(x_axis, y_axis)], axis=1)


def test_godots_table_is_its_humanoid_profile() -> None:
    """Each bone's rest in its parent, as Godot's `SkeletonProfileHumanoid` documents it by its axes."""
    text = GODOT.read_text(encoding="utf-8").partition("GODOT_JOINTS: Array[Array] = [")[2].partition("\n]")[0]
    rows = re.findall(r"\[XRBodyTracker\.JOINT_(\w+), Vector3\.(\w+), Vector3\.(\w+)\]", text)
    assert len(rows) == 22
    rest = {name: basis(x, y) for name, x, y in rows}
    identity = np.eye(3)
    # Rows of the matrix that takes a bone's axes to its parent's.
    profile = {
        ("SPINE", "HIPS"): identity,
        ("CHEST", "SPINE"): identity,
        ("UPPER_CHEST", "CHEST"): identity,
        ("NECK", "UPPER_CHEST"): identity,
        ("HEAD", "NECK"): identity,
        ("LEFT_SHOULDER", "UPPER_CHEST"): [[0, 1, 0], [0, 0, 1], [1, 0, 0]],
        ("LEFT_UPPER_ARM", "LEFT_SHOULDER"): [[-1, 0, 0], [0, 1, 0], [0, 0, -1]],
        ("LEFT_LOWER_ARM", "LEFT_UPPER_ARM"): [[0, 0, -1], [0, 1, 0], [1, 0, 0]],
        ("LEFT_HAND", "LEFT_LOWER_ARM"): [[0, 0, 1], [0, 1, 0], [-1, 0, 0]],
        ("RIGHT_SHOULDER", "UPPER_CHEST"): [[0, -1, 0], [0, 0, 1], [-1, 0, 0]],
        ("RIGHT_UPPER_ARM", "RIGHT_SHOULDER"): [[-1, 0, 0], [0, 1, 0], [0, 0, -1]],
        ("RIGHT_LOWER_ARM", "RIGHT_UPPER_ARM"): [[0, 0, 1], [0, 1, 0], [-1, 0, 0]],
        ("RIGHT_HAND", "RIGHT_LOWER_ARM"): [[0, 0, -1], [0, 1, 0], [1, 0, 0]],
        ("LEFT_UPPER_LEG", "HIPS"): [[-1, 0, 0], [0, -1, 0], [0, 0, 1]],
        ("LEFT_LOWER_LEG", "LEFT_UPPER_LEG"): [[-1, 0, 0], [0, 1, 0], [0, 0, -1]],
        ("LEFT_FOOT", "LEFT_LOWER_LEG"): [[-1, 0, 0], [0, 0, -1], [0, -1, 0]],
        ("LEFT_TOES", "LEFT_FOOT"): [[-1, 0, 0], [0, 1, 0], [0, 0, -1]],
        ("RIGHT_UPPER_LEG", "HIPS"): [[-1, 0, 0], [0, -1, 0], [0, 0, 1]],
        ("RIGHT_LOWER_LEG", "RIGHT_UPPER_LEG"): [[-1, 0, 0], [0, 1, 0], [0, 0, -1]],
        ("RIGHT_FOOT", "RIGHT_LOWER_LEG"): [[-1, 0, 0], [0, 0, -1], [0, -1, 0]],
        ("RIGHT_TOES", "RIGHT_FOOT"): [[-1, 0, 0], [0, 1, 0], [0, 0, -1]],
    }  # fmt: skip
    for (bone, parent), wanted in profile.items():
        np.testing.assert_array_equal(rest[parent].T @ rest[bone], wanted, err_msg=bone)
    np.testing.assert_array_equal(rest["HIPS"], np.diag([-1, 1, -1]))
