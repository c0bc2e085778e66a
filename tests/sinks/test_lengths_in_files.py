"""Motion files of a person whose lengths change, by readers of the tests' own and by ours: every joint, every pose."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bodystream.avatar import LbsAvatar
from bodystream.errors import InputError
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, Skeleton, forward_kinematics
from bodystream.sinks.body_files import write_body
from bodystream.sinks.bvh import BvhRecorder, finish_bvh
from bodystream.sinks.drive_take import pose_recorder
from bodystream.sinks.rigs import OWN_RIG, RIGS
from bodystream.sources.motion import find_takes
from bodystream.sources.motion.bvh import read_bvh
from bodystream.sources.motion.rig import rig_kinematics
from bodystream.types import Array, BodyPose
from helpers.avatar_poses import lengthened, own_skeleton
from helpers.gltf_player import Player
from helpers.needs import khronos_issues
from sinks.test_bvh_recorder import TOLERANCE_M, body_pose, read, swing

RATE_HZ = 90.0
TURN = np.array([-1.0, 1.0, -1.0])
SHORT, TALL, LONG_ARMS = own_skeleton().scaled(0.85), own_skeleton(), lengthened(1.2, "elbow", "wrist")


def takes_of(count: int = 90, rate_hz: float = RATE_HZ) -> list[tuple[BodyPose, Skeleton]]:
    """A short person, who grows in poses 21 to 30, and whose arms then turn out to be longer."""
    out = []
    for i in range(count):
        part = min(max((i - 20) / 10.0, 0.0), 1.0)
        grown = SHORT if part == 0.0 else TALL
        if 0.0 < part < 1.0:
            grown = Skeleton(SHORT.offsets_m + part * (TALL.offsets_m - SHORT.offsets_m))
        out.append((body_pose(i / rate_hz, *swing(i / rate_hz)), LONG_ARMS if i >= 60 else grown))
    return out


def joints_of(take: list[tuple[BodyPose, Skeleton]]) -> Array:
    """(T, 22, 3) in the files' axes."""
    return TURN * np.stack(
        [
            forward_kinematics(
                person.offsets_m,
                matrix_from_quaternion(pose.rotations_xyzw.astype(float)),
                pose.root_position_m.astype(float),
            )[0]
            for pose, person in take
        ]
    )


def record(path: Path, take: list[tuple[BodyPose, Skeleton]], **options: Any) -> None:
    with BvhRecorder(path, take[0][1], RATE_HZ, **options) as recorder:
        for pose, person in take:
            recorder.add(pose, person)


@pytest.mark.parametrize("rig", [OWN_RIG, *RIGS.values()], ids=lambda rig: rig.name)
def test_every_joint_of_every_frame_is_where_it_was_driven(tmp_path: Path, rig) -> None:
    take = takes_of()
    record(tmp_path / "d.bvh", take, rig=rig)
    named, _, numbers = read(tmp_path / "d.bvh")
    assert numbers.shape == (90, 6 * len(rig.bones))
    wanted = joints_of(take)
    for bone in rig.bones:
        if bone.is_joint:
            got = named[bone.name] * rig.metres
            assert np.abs(got - wanted[:, JOINT_INDEX[bone.joint]]).max() < TOLERANCE_M, bone.name


def test_our_reader_finds_them_too_and_makes_one_person_of_them(tmp_path: Path) -> None:
    take = takes_of()
    record(tmp_path / "d.bvh", take)
    motion = read_bvh(tmp_path / "d.bvh").motion()
    positions, _ = rig_kinematics(motion)
    got = np.stack([positions[motion.joints.index(name)] for name in JOINTS], axis=1) / 100.0
    assert np.abs(got - joints_of(take)).max() < TOLERANCE_M
    (found,) = find_takes(f"bvh:{tmp_path / 'd.bvh'}")
    clip = found.load()
    assert clip.skeleton.stature_m == pytest.approx(TALL.stature_m, abs=0.005), "who it was most of the time"


def test_the_offsets_are_those_of_the_person_as_known_last(tmp_path: Path) -> None:
    record(tmp_path / "d.bvh", takes_of())
    motion = read_bvh(tmp_path / "d.bvh").motion()
    order = [motion.joints.index(name) for name in JOINTS]
    np.testing.assert_allclose(motion.offsets[order] / 100.0, LONG_ARMS.offsets_m * TURN, atol=1e-6)


def test_a_person_who_stays_the_same_has_rotations_only(tmp_path: Path) -> None:
    """To the byte, whether told once or with each pose, and by whichever object."""
    take = [(pose, Skeleton(TALL.offsets_m)) for pose, _ in takes_of(20)]
    record(tmp_path / "told.bvh", take)
    with BvhRecorder(tmp_path / "once.bvh", TALL, RATE_HZ) as recorder:
        for pose, _ in take:
            recorder.add(pose)
    assert (tmp_path / "told.bvh").read_bytes() == (tmp_path / "once.bvh").read_bytes()
    assert read(tmp_path / "once.bvh")[2].shape == (20, 69)


def test_between_two_poses_lengths_go_evenly(tmp_path: Path) -> None:
    """Poses at half the file's rate: every second frame is half-way in lengths, too."""
    poses = [body_pose(i / 45.0, *swing(0.0)) for i in range(4)]
    record(tmp_path / "d.bvh", list(zip(poses, [SHORT, SHORT, TALL, TALL], strict=True)), unit="m")
    named, _, _ = read(tmp_path / "d.bvh")
    tall, short = (joints_of([(poses[0], person)])[0] for person in (TALL, SHORT))
    got = np.stack([named[name] for name in JOINTS], axis=1)
    for frame, part in enumerate([0.0, 0.0, 0.0, 0.5, 1.0, 1.0, 1.0]):
        np.testing.assert_allclose(got[frame], short + part * (tall - short), atol=TOLERANCE_M)


@pytest.mark.parametrize("poses", [5, 25, 45, 80])
def test_what_a_killed_recorder_left_is_read_and_finished(tmp_path: Path, poses: int) -> None:
    """Before the person changes, while, and after: the part is a whole file at any time."""
    take, part = takes_of(), tmp_path / "d.part.bvh"
    recorder = BvhRecorder(tmp_path / "d.bvh", SHORT, RATE_HZ, part=part, flushing=False)
    for number, (pose, person) in enumerate(take[:poses]):
        recorder.add(pose, person)
        if number % 7 == 0:
            recorder.flush()
    recorder.flush()
    left = tmp_path / "left.part.bvh"
    left.write_bytes(part.read_bytes()[:-9])  # it was writing the last frame
    (found,) = find_takes(f"bvh:{left}")
    assert len(found.load()) == poses - 1
    assert finish_bvh(left, tmp_path / "left.bvh") == poses - 1
    named, _, _ = read(tmp_path / "left.bvh")
    got = np.stack([named[name] for name in JOINTS], axis=1) / 100.0
    assert np.abs(got - joints_of(take)[: poses - 1]).max() < TOLERANCE_M
    recorder.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.bvh", "left.bvh"]


def test_a_disk_that_refuses_the_wider_file_keeps_what_there_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, path = takes_of(), tmp_path / "d.bvh"
    recorder = BvhRecorder(path, SHORT, RATE_HZ)
    for pose, person in take[:21]:
        recorder.add(pose, person)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        patched.setattr("bodystream.sinks.bvh.BvhRecorder.close", lambda self: None)  # the disk has space again by then
        with pytest.raises(InputError, match="ended after 21 frames, which are kept.*free some space"):
            for pose, person in take[21:]:
                recorder.add(pose, person)
    assert recorder.close().frames == 21
    assert read(path)[2].shape == (21, 69)
    assert [p.name for p in tmp_path.iterdir()] == ["d.bvh"]


@pytest.mark.parametrize("rig", [None, *RIGS])
def test_a_player_sees_every_joint_where_it_was_driven(tmp_path: Path, rig) -> None:
    take, recorder = takes_of(), pose_recorder()
    for pose, person in take:
        recorder.add(pose.t_ns, pose.rotations_xyzw, pose.root_position_m[None], offsets_m=person.offsets_m)
    write_body(tmp_path / "driven.glb", LbsAvatar(LONG_ARMS), recorder, rig)
    bones = (OWN_RIG if rig is None else RIGS[rig]).bones
    names = {bone.joint: bone.name for bone in bones if bone.is_joint}
    got = Player(tmp_path / "driven.glb").paths([names[joint] for joint in JOINTS])
    assert np.abs(got - joints_of(take)).max() < 2e-5


def test_the_surface_was_as_large_as_the_person(tmp_path: Path) -> None:
    """Against the avatar of that person: soles on the floor, no skin pushed into itself at knees and elbows."""
    take, recorder = takes_of(60), pose_recorder()
    for pose, person in take:
        recorder.add(pose.t_ns, pose.rotations_xyzw, pose.root_position_m[None], offsets_m=person.offsets_m)
    write_body(tmp_path / "driven.glb", LbsAvatar(TALL), recorder)
    player, then = Player(tmp_path / "driven.glb"), LbsAvatar(SHORT)
    for frame in (0, 10, 19):
        pose = take[frame][0]
        wanted = then.pose(pose.rotations_xyzw, pose.root_position_m).vertices * TURN
        off = np.linalg.norm(player.visible(player.key_times[frame]).vertices - wanted, axis=1)
        assert off.mean() < 0.002 and off.max() < 0.03
    now = LbsAvatar(TALL).pose(take[-1][0].rotations_xyzw, take[-1][0].root_position_m).vertices * TURN
    np.testing.assert_allclose(player.visible(player.key_times[-1]).vertices, now, atol=1e-4)
    at_rest = player.visible(None).vertices
    assert at_rest[:, 1].min() == pytest.approx(0.0, abs=0.03), "at rest it is the person as known last"


def test_khronos_validator_finds_nothing(tmp_path: Path) -> None:
    recorder = pose_recorder()
    for pose, person in takes_of(60):
        recorder.add(pose.t_ns, pose.rotations_xyzw, pose.root_position_m[None], offsets_m=person.offsets_m)
    write_body(tmp_path / "driven.glb", LbsAvatar(TALL), recorder)
    issues = json.loads(khronos_issues(tmp_path / "driven.glb"))
    assert issues["numErrors"] == issues["numWarnings"] == 0, issues["messages"][:5]


def test_a_person_who_stays_the_same_has_no_keys_of_translation(tmp_path: Path) -> None:
    recorder = pose_recorder()
    for pose, _ in takes_of(10):
        recorder.add(pose.t_ns, pose.rotations_xyzw, pose.root_position_m[None], offsets_m=TALL.offsets_m.copy())
    write_body(tmp_path / "driven.glb", LbsAvatar(TALL), recorder)
    player = Player(tmp_path / "driven.glb")
    assert [node for node, path in player._tracks if path != "rotation"] == [0]
    assert not player.gltf.meshes[0].primitives[0].targets


def test_a_long_recording_is_thinned_and_stays_true(tmp_path: Path) -> None:
    take, recorder = takes_of(), pose_recorder(max_frames=20)
    for pose, person in take:
        recorder.add(pose.t_ns, pose.rotations_xyzw, pose.root_position_m[None], offsets_m=person.offsets_m)
    write_body(tmp_path / "driven.glb", LbsAvatar(LONG_ARMS), recorder)
    player = Player(tmp_path / "driven.glb")
    frames = np.rint(player.key_times * RATE_HZ).astype(int)
    assert len(frames) <= 21 and frames[-1] == 89
    assert np.abs(player.paths(JOINTS) - joints_of(take)[frames]).max() < 2e-5


def test_the_hips_of_a_vrm_animation_are_as_high_as_the_person_s_last(tmp_path: Path) -> None:
    """Where only hips can move, they are in proportion to how high they stand, and so are the feet on the floor."""
    recorder = pose_recorder()
    unturned = np.tile(np.float32([0.0, 0.0, 0.0, 1.0]), (22, 1))
    for number, person in enumerate([SHORT, SHORT, TALL]):
        root = np.float32([0.2, person.pelvis_height_m, 0.4])
        recorder.add(number * 11_000_000, unturned, root[None], offsets_m=person.offsets_m)
    write_body(tmp_path / "driven.vrma", LbsAvatar(TALL), recorder, "vrm")
    hips = Player(tmp_path / "driven.vrma").paths(["hips"])[:, 0]
    np.testing.assert_allclose(hips[:, 1], TALL.pelvis_height_m, atol=1e-5)
    np.testing.assert_allclose(hips[:2, [0, 2]], hips[2, [0, 2]] / 0.85 * np.ones((2, 1)), atol=1e-5)
