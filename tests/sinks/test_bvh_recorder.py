"""BVH files against a reader of the test's own, which knows nothing of the writer."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skeleton import JOINTS, Skeleton, forward_kinematics
from bodystream.sinks.bvh import BvhRecorder, euler_zxy_deg, finish_bvh
from bodystream.types import Array, BodyPose
from helpers.avatar_poses import IDENTITY, POSES, SKELETONS, own_skeleton, random_pose

TOLERANCE_M = 1e-4
RATE_HZ = 90.0


def body_pose(t_s: float, rotations: Array, root: Array) -> BodyPose:
    return BodyPose(1_000_000_000 + round(t_s * 1e9), np.float32(rotations), np.float32(root))


def swing(t_s: float) -> tuple[Array, Array]:
    """A smooth motion of all joints, the pelvis through several whole turns."""
    rng = np.random.default_rng(1)
    axes, phases = rng.normal(size=(22, 3)) * 0.4, rng.uniform(0, 6, 22)
    rotations = Rotation.from_rotvec(axes * np.sin(2.0 * t_s + phases)[:, None]).as_quat()
    rotations[0] = Rotation.from_euler("yx", [5.0 * t_s, 0.3 * np.sin(t_s)]).as_quat()
    return rotations, np.array([0.5 * t_s, 0.9 + 0.1 * np.sin(3 * t_s), -t_s])


def read(path: Path) -> tuple[dict[str, Array], float, Array]:
    """Positions (T, 3) of each named joint in units of the file, the frame time, and the numbers (T, C)."""
    lines = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
    assert lines[0] == ["HIERARCHY"]
    motion = lines.index(["MOTION"])
    joints: list[tuple[str, int, Array, list[str]]] = []
    stack: list[int] = []
    in_end = False
    for number, words in enumerate(lines[1:motion], 1):
        if words[0] in ("ROOT", "JOINT"):
            offset, channels = lines[number + 2], lines[number + 3]
            assert offset[0] == "OFFSET" and channels[0] == "CHANNELS" and int(channels[1]) == len(channels) - 2
            joints.append((words[1], stack[-1] if stack else -1, np.array(offset[1:], float), channels[2:]))
            stack.append(len(joints) - 1)
        elif words[0] == "End":
            in_end = True
        elif words[0] == "}":
            if in_end:
                in_end = False
            else:
                stack.pop()
    assert not stack
    assert lines[motion + 1][0] == "Frames:" and lines[motion + 2][:2] == ["Frame", "Time:"]
    numbers = np.array(lines[motion + 3 :], float)
    assert len(numbers) == int(lines[motion + 1][1])
    positions: list[Array] = []
    turns: list[Rotation] = []
    column = 0
    for _, parent, offset, channels in joints:
        turn, place = Rotation.identity(len(numbers)), np.tile(offset, (len(numbers), 1))
        for channel in channels:
            values = numbers[:, column]
            column += 1
            if channel.endswith("rotation"):
                axis = np.eye(3)["XYZ".index(channel[0])]
                turn = turn * Rotation.from_rotvec(values[:, None] * axis, degrees=True)
            else:
                place[:, "XYZ".index(channel[0])] = values
        positions.append(place if parent < 0 else positions[parent] + turns[parent].apply(place))
        turns.append(turn if parent < 0 else turns[parent] * turn)
    assert column == numbers.shape[1]
    named = {joint[0]: place for joint, place in zip(joints, positions, strict=True)}
    return named, float(lines[motion + 2][2]), numbers


def wanted_joints(skeleton: Skeleton, poses: list[BodyPose]) -> Array:
    """As the file has them: the world turned by 180 degrees about y, so that the T-pose looks along +z."""
    return [-1.0, 1.0, -1.0] * np.stack(
        [
            forward_kinematics(
                skeleton.offsets_m,
                matrix_from_quaternion(pose.rotations_xyzw.astype(float)),
                pose.root_position_m.astype(float),
            )[0]
            for pose in poses
        ]
    )


@pytest.mark.parametrize(("unit", "per_metre"), [("cm", 100.0), ("m", 1.0)])
@pytest.mark.parametrize("person", list(SKELETONS))
def test_another_reader_finds_every_joint(tmp_path: Path, unit, per_metre: float, person: str) -> None:
    skeleton = SKELETONS[person]()
    poses = [body_pose(i / RATE_HZ, *swing(i / RATE_HZ)) for i in range(60)]
    with BvhRecorder(tmp_path / "drive.bvh", skeleton, RATE_HZ, unit) as recorder:
        for pose in poses:
            recorder.add(pose)
    summary = recorder.close()
    assert (summary.frames, summary.poses, summary.skipped, summary.gaps) == (60, 60, 0, 0)
    assert summary.bytes == (tmp_path / "drive.bvh").stat().st_size
    named, frame_time, _ = read(tmp_path / "drive.bvh")
    assert frame_time == pytest.approx(1 / RATE_HZ, abs=1e-8)
    assert set(named) == set(JOINTS)
    got = np.stack([named[name] for name in JOINTS], axis=1) / per_metre
    assert np.abs(got - wanted_joints(skeleton, poses)).max() < TOLERANCE_M


def test_the_house_reader_reads_it(tmp_path: Path) -> None:
    from bodystream.sources.motion import bvh, rig

    poses = [body_pose(i / RATE_HZ, POSES[name], [0.0, 0.9, i]) for i, name in enumerate(POSES)]
    with BvhRecorder(tmp_path / "drive.bvh", own_skeleton(), RATE_HZ) as recorder:
        for pose in poses:
            recorder.add(pose)
    motion = bvh.read_bvh(tmp_path / "drive.bvh").motion()
    assert motion.rate_hz == pytest.approx(RATE_HZ, rel=1e-6)
    positions, orientations = rig.rig_kinematics(motion)
    got = np.stack([positions[motion.joints.index(name)] for name in JOINTS], axis=1) / 100.0
    assert np.abs(got - wanted_joints(own_skeleton(), poses)).max() < TOLERANCE_M
    assert len(motion.end_sites) == 5


def test_uneven_poses_are_put_on_the_grid(tmp_path: Path) -> None:
    """Poses at 60 to 120 Hz with jitter give frames at exactly 90 Hz, on the arc between their neighbours."""
    rng = np.random.default_rng(4)
    times = np.cumsum(rng.uniform(1 / 120, 1 / 60, 80))
    times -= times[0]
    poses = [body_pose(t, *swing(t)) for t in times]
    with BvhRecorder(tmp_path / "uneven.bvh", own_skeleton(), RATE_HZ, "m") as recorder:
        for pose in poses:
            recorder.add(pose)
    named, _, _ = read(tmp_path / "uneven.bvh")
    count = len(named["pelvis"])
    assert count == int(times[-1] * RATE_HZ) + 1
    grid = np.arange(count) / RATE_HZ
    rotations = np.stack(
        [Slerp(times, Rotation.from_quat([p.rotations_xyzw[j] for p in poses]))(grid).as_quat() for j in range(22)],
        axis=1,
    )
    roots = np.stack([np.interp(grid, times, [p.root_position_m[k] for p in poses]) for k in range(3)], axis=1)
    wanted = wanted_joints(own_skeleton(), [body_pose(0, r, p) for r, p in zip(rotations, roots, strict=True)])
    got = np.stack([named[name] for name in JOINTS], axis=1)
    assert np.abs(got - wanted).max() < TOLERANCE_M


def test_angles_are_continuous_through_whole_turns(tmp_path: Path) -> None:
    poses = [body_pose(i / RATE_HZ, *swing(i / RATE_HZ)) for i in range(300)]  # 2.6 turns of the pelvis
    with BvhRecorder(tmp_path / "turns.bvh", own_skeleton(), RATE_HZ) as recorder:
        for pose in poses:
            recorder.add(pose)
    _, _, numbers = read(tmp_path / "turns.bvh")
    assert np.abs(np.diff(numbers[:, 3:], axis=0)).max() < 20.0
    assert np.ptp(numbers[:, 3:6], axis=0).max() > 800.0


@settings(max_examples=200, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-720, 720)] * 3),
    previous=st.tuples(*[st.floats(-720, 720)] * 3),
    locked=st.sampled_from([None, 90.0, -90.0]),
)
def test_euler_angles_give_the_rotation_back(angles, previous, locked) -> None:
    z, x, y = angles if locked is None else (angles[0], locked, angles[2])
    truth = Rotation.from_euler("ZXY", [z, x, y], degrees=True)
    got = euler_zxy_deg(truth.as_quat()[None], np.array([previous]))[0]
    assert (Rotation.from_euler("ZXY", got, degrees=True).inv() * truth).magnitude() < 1e-6
    if locked is None and abs(np.cos(np.deg2rad(x))) > 1e-3:
        again = euler_zxy_deg(truth.as_quat()[None], np.array([[z, x, y]]))[0]
        np.testing.assert_allclose(again, [z, x, y], atol=1e-4)  # nearest to itself


def test_poses_out_of_order_or_broken_are_left_out_and_counted(tmp_path: Path) -> None:
    good = [body_pose(i / RATE_HZ, random_pose(i, 0.2), np.zeros(3)) for i in range(4)]
    broken = random_pose(9, 0.2)
    broken[3] = np.nan
    none = random_pose(9, 0.2)
    none[3] = 0
    with BvhRecorder(tmp_path / "b.bvh", own_skeleton()) as recorder:
        for pose in (
            *good[:3],
            good[1],
            good[2],
            body_pose(0.5, broken, np.zeros(3)),
            body_pose(0.5, none, np.zeros(3)),
        ):
            recorder.add(pose)
        recorder.add(body_pose(0.5, IDENTITY, np.array([0, np.inf, 0])))
        recorder.add(good[3])
    summary = recorder.close()
    assert (summary.frames, summary.poses, summary.skipped) == (4, 4, 5)
    read(tmp_path / "b.bvh")


def test_a_jump_of_the_clock_does_not_fill_the_disk(tmp_path: Path) -> None:
    times = [0.0, 1 / RATE_HZ, 3600.0, 3600.0 + 1 / RATE_HZ]
    with BvhRecorder(tmp_path / "gap.bvh", own_skeleton(), RATE_HZ, "m") as recorder:
        for i, t in enumerate(times):
            recorder.add(body_pose(t, IDENTITY, np.array([i, 0.9, 0])))
    summary = recorder.close()
    assert (summary.frames, summary.gaps) == (4, 1)
    named, _, _ = read(tmp_path / "gap.bvh")
    np.testing.assert_allclose(named["pelvis"][:, 0], [0, -1, -2, -3], atol=1e-4)


def test_an_interrupt_keeps_what_was_recorded(tmp_path: Path) -> None:
    path = tmp_path / "stopped.bvh"
    with pytest.raises(KeyboardInterrupt), BvhRecorder(path, own_skeleton(), RATE_HZ) as recorder:
        for i in range(10):
            recorder.add(body_pose(i / RATE_HZ, IDENTITY, np.zeros(3)))
            assert not path.exists()
        raise KeyboardInterrupt
    assert len(read(path)[2]) == 10
    assert [p.name for p in tmp_path.iterdir()] == ["stopped.bvh"]


def test_nothing_recorded_makes_no_file(tmp_path: Path) -> None:
    with BvhRecorder(tmp_path / "none.bvh", own_skeleton()) as recorder:
        pass
    assert recorder.close().frames == 0 and not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="recording is closed"):
        recorder.add(body_pose(0, IDENTITY, np.zeros(3)))


def test_a_full_disk_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "drive.bvh"
    path.write_text("earlier", encoding="ascii")
    recorder = BvhRecorder(path, own_skeleton())
    recorder.add(body_pose(0, IDENTITY, np.zeros(3)))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="drive.bvh could not be written .*earlier file is unchanged.*disk is full"):
        recorder.close()
    assert path.read_text(encoding="ascii") == "earlier"
    assert [p.name for p in tmp_path.iterdir()] == ["drive.bvh"]


class FullDisk:
    """A file that takes a part of the next write, and then no more."""

    def __init__(self, file: Any) -> None:
        self._file, self._full = file, False

    def write(self, data: bytes) -> int:
        if len(data) > 100:  # a frame; the number of frames is written over what is there already
            self._full = True
            return self._file.write(data[: len(data) // 2])
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_a_disk_that_fills_up_keeps_the_frames_before(tmp_path: Path) -> None:
    path = tmp_path / "drive.bvh"
    recorder = BvhRecorder(path, own_skeleton(), RATE_HZ)
    for i in range(5):
        recorder.add(body_pose(i / RATE_HZ, IDENTITY, np.zeros(3)))
    recorder._file = FullDisk(recorder._file)  # type: ignore[assignment]
    with pytest.raises(InputError, match="ended after 5 frames, which are kept.*free some space"):
        recorder.add(body_pose(5 / RATE_HZ, IDENTITY, np.zeros(3)))
    with pytest.raises(InputError, match="recording is closed"):
        recorder.add(body_pose(6 / RATE_HZ, IDENTITY, np.zeros(3)))
    assert recorder.close().frames == 5 and recorder.close().bytes == path.stat().st_size
    assert len(read(path)[2]) == 5
    assert [p.name for p in tmp_path.iterdir()] == ["drive.bvh"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="ascii")
    recorder = BvhRecorder(tmp_path / "file" / "drive.bvh", own_skeleton())
    with pytest.raises(InputError, match="drive.bvh could not be written"):
        recorder.add(body_pose(0, IDENTITY, np.zeros(3)))
    (tmp_path / "drive.bvh").mkdir()
    with (
        pytest.raises(InputError, match="drive.bvh could not be written"),
        BvhRecorder(tmp_path / "drive.bvh", own_skeleton()) as other,
    ):
        other.add(body_pose(0, IDENTITY, np.zeros(3)))
    (kept,) = {p.name for p in tmp_path.iterdir()} - {"drive.bvh", "file"}
    assert kept.startswith("drive.kept-"), "only the rename failed"


@pytest.mark.parametrize(
    ("options", "message"),
    [({"rate_hz": 0.0}, "1 to 1000 frames per second, got 0"), ({"unit": "inch"}, "one of cm, m, got 'inch'")],
)
def test_options_that_cannot_be_used(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        BvhRecorder(tmp_path / "x.bvh", own_skeleton(), **options)


def test_a_person_at_rest_looks_along_z_with_the_left_side_on_x(tmp_path: Path) -> None:
    """As glTF's front, and as most motion files have it."""
    with BvhRecorder(tmp_path / "rest.bvh", own_skeleton(), RATE_HZ) as recorder:
        recorder.add(body_pose(0, IDENTITY, np.array([0.0, 0.9, 0.0])))
    named, _, _ = read(tmp_path / "rest.bvh")
    assert named["left_wrist"][0, 0] > 0.4 and named["right_wrist"][0, 0] < -0.4
    assert named["left_foot"][0, 2] > named["left_ankle"][0, 2] + 0.05, "toes are ahead"


@pytest.mark.parametrize("rate_hz", [24.0, 25.0, 30.0, 59.94, 60.0, 90.0, 120.0])
def test_other_rates_last_as_long(tmp_path: Path, rate_hz: float) -> None:
    poses = [body_pose(i / 90.0, *swing(i / 90.0)) for i in range(181)]
    with BvhRecorder(tmp_path / "r.bvh", own_skeleton(), rate_hz, "m") as recorder:
        for pose in poses:
            recorder.add(pose)
    named, frame_time, _ = read(tmp_path / "r.bvh")
    assert frame_time == pytest.approx(1 / rate_hz, abs=1e-8)
    assert (len(named["pelvis"]) - 1) * frame_time == pytest.approx(2.0, abs=1 / rate_hz)
    grid = np.arange(len(named["pelvis"])) / rate_hz
    np.testing.assert_allclose(named["pelvis"][:, 0], -0.5 * grid, atol=1e-4)


@pytest.mark.parametrize("cut", [0, 1, 200])
def test_what_a_killed_recorder_left_is_read_and_can_be_finished(tmp_path: Path, cut: int) -> None:
    from bodystream.sources.motion import bvh

    recorder = BvhRecorder(
        tmp_path / "drive.bvh", own_skeleton(), RATE_HZ, part=tmp_path / "drive.part.bvh", flushing=False
    )
    for i in range(10):
        recorder.add(body_pose(i / RATE_HZ, *swing(i / RATE_HZ)))
    recorder.flush()
    whole = (tmp_path / "drive.part.bvh").read_bytes()
    part = tmp_path / "killed.part.bvh"
    part.write_bytes(whole[: len(whole) - cut])
    count = 10 if cut == 0 else 9
    # A last row that lost its end of line only is whole to a reader, and cut to who cannot know.
    assert len(bvh.read_bvh(part).frames) in (count, 10 if cut == 1 else count)
    assert finish_bvh(part, tmp_path / "finished.bvh") == count
    assert len(read(tmp_path / "finished.bvh")[2]) == count and not part.exists()
    assert len(bvh.read_bvh(tmp_path / "finished.bvh").frames) == count
    recorder.close()
    assert len(read(tmp_path / "drive.bvh")[2]) == 10 and not (tmp_path / "drive.part.bvh").exists()
    with pytest.raises(InputError, match="is no BVH file that was left unfinished"):
        finish_bvh(tmp_path / "drive.bvh", tmp_path / "again.bvh")
