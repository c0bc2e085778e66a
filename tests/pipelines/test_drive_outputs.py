"""The files of a driven body come back as what was driven."""

from __future__ import annotations

import errno
import json
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.errors import InputError
from bodystream.geometry.skeleton import HEAD
from bodystream.pipelines.capture.take_files import WrittenFiles
from bodystream.pipelines.drive.files import DriveFiles
from bodystream.pipelines.drive.pipeline import Driver, DriveResult
from bodystream.pipelines.drive.view import DriveView
from bodystream.pipelines.recovery import recover_folder
from bodystream.pose.observation import joints_of_sample
from bodystream.sinks import Occasion
from bodystream.sinks.drive_take import DriveTake, person_record, poses_record
from bodystream.sinks.journal import MAGIC, JournalReader, encode_record
from bodystream.sources.headset.table import parse_table
from bodystream.sources.motion import find_takes
from bodystream.types import BodyPose, Status
from helpers.drive_parts import ESTIMATOR, new_driver, samples_of
from helpers.fuzzing import fuzz_file
from helpers.gltf_player import Player
from helpers.headset_motions import make_clip, walking
from sinks.test_bvh_recorder import read as read_bvh_of_others

RATE_HZ = 45.0
CLIP = walking(1.0)


def driven(driver: Driver, headless: int = 0) -> list[DriveResult]:
    """Results of a short walk; the first samples have no head."""
    samples = samples_of(CLIP, rate_hz=RATE_HZ)
    results = [driver.step(replace(s, head=None) if k < headless else s) for k, s in enumerate(samples)]
    return [result for result in results if result is not None]


@pytest.fixture(scope="module")
def driver():
    made = new_driver(skeleton=CLIP.skeleton, estimator=replace(ESTIMATOR, smooth=False))
    yield made
    made.close()


def show(files: DriveFiles, view: DriveView) -> None:
    """What a session does on the pipeline's thread and on the sink's, one after the other."""
    driven = files.prepare(view)
    if driven is not None:
        files.publish(driven)


def add(files: DriveFiles, driver: Driver, result: DriveResult) -> None:
    show(files, DriveView(Occasion.RESULT, result, driver))


def flush(files: DriveFiles) -> None:
    files.flush()
    files._journal.flush()


def finish(files: DriveFiles) -> WrittenFiles:
    assert files.close() == files.written.lines
    return files.written


def on_floor(joints_m):
    """The reader of motions puts the floor where the feet stand."""
    return joints_m - (0.0, joints_m[..., 1].min(), 0.0)


def glb_document(path: Path) -> dict:
    data = path.read_bytes()
    magic, _, length = struct.unpack_from("<4sII", data)
    assert magic == b"glTF" and length == len(data)
    size, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON"
    return json.loads(data[20 : 20 + size])


def test_a_drive_is_written_as_motion_animation_and_samples(driver: Driver, tmp_path: Path) -> None:
    driver.estimator.reset(CLIP.skeleton)
    folder = tmp_path / "made" / "out"
    files = DriveFiles(folder, RATE_HZ)
    results = driven(driver)
    for result in results:
        add(files, driver, result)
    written = finish(files)
    assert [path.name for path in written.paths] == ["headset.csv", "driven.bvh", "driven.glb"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in written.paths)
    assert written.notes == ()

    (take,) = find_takes(f"bvh:{folder / 'driven.bvh'}")
    motion = take.load()
    # the grid's last frame may fall between two samples by rounding
    assert len(results) - 1 <= len(motion) <= len(results) and motion.rate_hz == pytest.approx(RATE_HZ, rel=1e-4)
    joints, _ = motion.joints()
    wanted = np.stack([result.joints_m for result in results])[: len(joints)]
    assert np.linalg.norm(on_floor(joints) - on_floor(wanted), axis=-1).max() < 0.002

    trace = parse_table((folder / "headset.csv").read_bytes(), "headset.csv")
    assert len(trace.samples) == len(results)
    for got, result in zip(trace.samples, results, strict=True):
        assert got.device_t_ns == result.sample.t_ns
        for side in ("head", "left", "right"):
            first, second = getattr(got, side), getattr(result.sample, side)
            assert first.kind is second.kind
            np.testing.assert_allclose(first.position_m, second.position_m, atol=1e-7)
            np.testing.assert_allclose(first.rotation_xyzw, second.rotation_xyzw, atol=1e-7)

    document = glb_document(folder / "driven.glb")
    assert len(document["skins"][0]["joints"]) == 22
    sampler = document["animations"][0]["samplers"][0]
    assert document["accessors"][sampler["input"]]["count"] == len(results)
    assert document["accessors"][sampler["input"]]["max"][0] == pytest.approx((len(results) - 1) / RATE_HZ, abs=1e-3)


def test_poses_from_before_the_first_head_are_left_out_and_their_samples_kept(driver: Driver, tmp_path: Path) -> None:
    driver.estimator.reset(CLIP.skeleton)
    driver.checker._last_t_ns = None
    files = DriveFiles(tmp_path, RATE_HZ)
    results = driven(driver, headless=10)
    for result in results:
        add(files, driver, result)
    assert sum(result.pose.status is Status.LOST for result in results) == 10
    finish(files)
    document = glb_document(tmp_path / "driven.glb")
    keys = document["accessors"][document["animations"][0]["samplers"][0]["input"]]["count"]
    assert keys == len(results) - 10
    trace = parse_table((tmp_path / "headset.csv").read_bytes(), "headset.csv")
    assert [sample.head is None for sample in trace.samples[:11]] == [True] * 10 + [False]


def test_where_nothing_was_tracked_there_is_a_note_and_no_motion(driver: Driver, tmp_path: Path) -> None:
    driver.estimator.reset(CLIP.skeleton)
    files = DriveFiles(tmp_path, RATE_HZ)
    sample = replace(samples_of(CLIP)[0], head=None)
    pose = replace(driver.estimator.step(sample), status=Status.LOST)
    add(
        files,
        driver,
        DriveResult(sample, joints_of_sample(sample), pose, driver.estimator.joints_m, float("nan"), (), float("nan")),
    )
    written = finish(files)
    assert [path.name for path in written.paths] == ["headset.csv"]
    assert len(written.notes) == 1 and "no pose was tracked" in written.notes[0]
    assert [path.name for path in tmp_path.iterdir()] == ["headset.csv"]


def test_a_folder_that_cannot_be_made_is_named_before_anything_is_driven(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"--out: cannot write to the folder .*file"):
        DriveFiles(tmp_path / "file", RATE_HZ)


def test_the_head_is_in_the_file_where_it_was_seen(driver: Driver, tmp_path: Path) -> None:
    driver.estimator.reset(CLIP.skeleton)
    driver.checker._last_t_ns = None
    files = DriveFiles(tmp_path, RATE_HZ)
    for result in driven(driver):
        add(files, driver, result)
    finish(files)
    (take,) = find_takes(f"bvh:{tmp_path / 'driven.bvh'}")
    joints, _ = take.load().joints()
    wanted = CLIP.resampled(RATE_HZ).joints()[0][: len(joints), HEAD]
    lift = (joints[:, HEAD] - wanted)[:, 1].mean()
    assert abs(lift) < 0.03  # the reader of motions puts the floor where the feet stand
    assert np.linalg.norm(joints[:, HEAD] - wanted - (0.0, lift, 0.0), axis=1).max() < 0.002


@pytest.mark.parametrize("yaw_deg", [0.0, 50.0, 90.0, 180.0, -120.0])
def test_the_heading_of_what_came_in_is_that_of_what_is_written(driver: Driver, tmp_path: Path, yaw_deg: float) -> None:
    """As the docs say: yaw 0 looks along -z in what came in and in `headset.csv`, along +z in both motion files."""
    driver.estimator.reset(CLIP.skeleton)
    driver.checker._last_t_ns = None
    yaw = np.deg2rad(yaw_deg)
    looks = np.array([-np.sin(yaw), -np.cos(yaw)])  # x and z, in the headset's world
    steps = make_clip(
        "ahead",
        1.5,
        lambda t: ((0.0, -1.0, -0.1), (0.0, -1.0, -0.3)) * 2,
        place=lambda t: (0.7 * t * looks[0], 0.0, 0.7 * t * looks[1]),
        yaw=lambda t: yaw,
    )
    files = DriveFiles(tmp_path, RATE_HZ)
    results = [result for s in samples_of(steps, rate_hz=RATE_HZ) if (result := driver.step(s)) is not None]
    for result in results:
        add(files, driver, result)
    finish(files)

    trace = parse_table((tmp_path / "headset.csv").read_bytes(), "headset.csv")
    heads = [sample.head for sample in trace.samples]
    ahead = Rotation.from_quat(heads[-1].rotation_xyzw).apply([0.0, 0.0, -1.0])
    assert _angle_deg(ahead[[0, 2]], looks) < 1.0
    assert _angle_deg((heads[-1].position_m - heads[0].position_m)[[0, 2]], looks) < 1.0

    named, _, _ = read_bvh_of_others(tmp_path / "driven.bvh")
    player = Player(tmp_path / "driven.glb")
    nodes = {node.name: number for number, node in enumerate(player.gltf.nodes)}
    times = player.key_times
    shown = {
        name: np.stack([player.matrix(nodes[name], t)[:3, 3] for t in times[[0, -1]]])
        for name in ("head", "left_hip", "right_hip")
    }
    for joints in (named, shown):
        across = (joints["left_hip"] - joints["right_hip"])[-1]
        front = np.cross(across, [0.0, 1.0, 0.0])
        walked = joints["head"][-1] - joints["head"][0]
        assert _angle_deg(walked[[0, 2]], -looks) < 1.0  # the world is turned by 180 degrees
        assert _angle_deg(front[[0, 2]], -looks) < 25.0  # the network guesses the pelvis

    (take,) = find_takes(f"bvh:{tmp_path / 'driven.bvh'}")
    again = take.load().joints()[0]
    wanted = np.stack([result.joints_m for result in results])[: len(again)]
    assert np.linalg.norm(on_floor(again) - on_floor(wanted), axis=-1).max() < 0.002


def _angle_deg(a, b) -> float:
    return float(np.rad2deg(abs(np.arctan2(a[0] * b[1] - a[1] * b[0], a @ b))))


def test_motions_go_on_after_a_clock_that_was_set_back(driver: Driver, tmp_path: Path) -> None:
    driver.estimator.reset(CLIP.skeleton)
    driver.checker._last_t_ns = None
    files = DriveFiles(tmp_path, RATE_HZ)
    results = driven(driver)
    half = len(results) // 2
    ahead = [replace(r, pose=replace(r.pose, t_ns=r.pose.t_ns + 3_600_000_000_000)) for r in results[:half]]
    for result in [*ahead, *results[half:]]:
        add(files, driver, result)
    written = finish(files)
    assert [note for note in written.notes if "set back 1 times" in note] and len(written.notes) == 1
    (take,) = find_takes(f"bvh:{tmp_path / 'driven.bvh'}")
    assert len(results) - 1 <= len(take.load()) <= len(results)
    sampler = glb_document(tmp_path / "driven.glb")["animations"][0]["samplers"][0]
    times = glb_document(tmp_path / "driven.glb")["accessors"][sampler["input"]]
    assert times["count"] == len(results)
    assert times["max"][0] == pytest.approx((len(results) - 1) / RATE_HZ, abs=1e-3)


def test_what_the_motions_leave_out_is_noted(driver: Driver, tmp_path: Path) -> None:
    driver.estimator.reset(CLIP.skeleton)
    driver.checker._last_t_ns = None
    files = DriveFiles(tmp_path, RATE_HZ)
    results = driven(driver)[:5]
    broken = np.full_like(results[2].pose.root_position_m, np.nan)
    results[2] = replace(results[2], pose=replace(results[2].pose, root_position_m=broken))
    for result in results:
        add(files, driver, result)
    notes = finish(files).notes
    assert [note.split(" leaves out ")[0] for note in notes] == ["driven.bvh", "driven.glb"]


@pytest.mark.parametrize("failing", ["headset.csv", "driven.bvh", "driven.glb"])
def test_each_file_is_finished_whatever_becomes_of_the_others(driver: Driver, tmp_path: Path, failing: str) -> None:
    driver.estimator.reset(CLIP.skeleton)
    driver.checker._last_t_ns = None
    files = DriveFiles(tmp_path, RATE_HZ)
    for result in driven(driver)[:5]:
        add(files, driver, result)
    (tmp_path / failing).mkdir()  # no file can take its place
    (tmp_path / failing / "something").write_text("")
    with pytest.raises(InputError, match=failing) as error:
        finish(files)
    there = str(error.value).split("written all the same: ")[1].split(", ")
    others = [name for name in ("headset.csv", "driven.bvh", "driven.glb") if name != failing]
    assert [Path(path).name for path in there] == others
    assert all((tmp_path / name).is_file() for name in others)


def test_samples_that_cannot_be_written_keep_what_was_before(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.estimator.reset(CLIP.skeleton)
    driver.checker._last_t_ns = None
    told: list[str] = []
    files = DriveFiles(tmp_path, RATE_HZ, told.append)
    results = driven(driver)[:5]
    for result in results[:4]:
        add(files, driver, result)
    flush(files)

    class Full:
        def writerow(self, row: list[object]) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files._samples, "_rows", Full())
    for _ in range(2):
        add(files, driver, results[4])
        flush(files)
        monkeypatch.setattr(files._samples, "_rows", None)  # it is not tried again
    (line,) = told
    assert "No space left on device: what came before is in headset-" in line
    assert line.endswith("nothing more is recorded in headset.csv, driving goes on")
    with pytest.raises(InputError, match=r"written all the same: \S*driven.bvh, \S*driven.glb$"):
        finish(files)
    (part,) = tmp_path.glob("headset-*.part.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["driven.bvh", "driven.glb", part.name]
    assert len(parse_table(part.read_bytes(), part.name).samples) == 4


def test_a_pause_of_days_is_left_out_of_the_motions(driver: Driver, tmp_path: Path) -> None:
    driver.estimator.reset(CLIP.skeleton)
    driver.checker._last_t_ns = None
    files = DriveFiles(tmp_path, RATE_HZ)
    results = driven(driver)
    days_ns = 3 * 86_400 * 10**9
    for k, result in enumerate(results):
        add(
            files,
            driver,
            replace(result, pose=replace(result.pose, t_ns=result.pose.t_ns + (days_ns if k >= 20 else 0))),
        )
    notes = finish(files).notes
    assert notes == ("1 pause(s) of more than two seconds are left out of the motions",)
    player = Player(tmp_path / "driven.glb")
    assert len(player.key_times) == len(results)
    assert player.key_times[-1] == pytest.approx((len(results) - 1) / RATE_HZ, abs=1e-3)


def test_what_a_killed_session_left_is_made_into_files(driver: Driver, tmp_path: Path) -> None:
    driver.estimator.reset(CLIP.skeleton)
    driver.checker._last_t_ns = None
    (tmp_path / "live").mkdir()
    files = DriveFiles(tmp_path / "live", RATE_HZ)
    results = driven(driver)
    for result in results:
        add(files, driver, result)
    flush(files)
    killed = tmp_path / "killed"
    shutil.copytree(tmp_path / "live", killed)
    (journal,) = killed.glob("drive-*.journal")
    session = journal.stem.removeprefix("drive-")
    # As they stand, parts are read by our own readers.
    (take,) = find_takes(f"bvh:{killed / f'driven-{session}.part.bvh'}")
    assert len(take.load()) >= len(results) - 1
    table = killed / f"headset-{session}.part.csv"
    assert len(parse_table(table.read_bytes()[:-9], "t").samples) == len(results) - 1
    (killed / "driven.glb").write_text("of the session before")
    told: list[str] = []
    assert recover_folder(killed, told.append) == 1 and len(told) == 1
    names = {f"driven-{session}.glb", f"driven-{session}.bvh", f"headset-{session}.csv", "driven.glb"}
    assert {path.name for path in killed.iterdir()} == names
    assert (killed / "driven.glb").read_text() == "of the session before"
    finish(files)
    ours, theirs = Player(killed / f"driven-{session}.glb"), Player(tmp_path / "live" / "driven.glb")
    assert len(ours.key_times) == len(theirs.key_times) == len(results)
    for t_s in (0.0, 0.5):
        np.testing.assert_allclose(ours.visible(t_s).vertices, theirs.visible(t_s).vertices, atol=1e-4)
    whole = tmp_path / "live"
    assert {path.name for path in whole.iterdir()} == {"driven.glb", "driven.bvh", "headset.csv"}
    assert (killed / f"driven-{session}.bvh").read_bytes() == (whole / "driven.bvh").read_bytes()
    assert (killed / f"headset-{session}.csv").read_bytes() == (whole / "headset.csv").read_bytes()


def test_saving_writes_the_motion_as_it_stands(driver: Driver, tmp_path: Path) -> None:
    driver.estimator.reset(CLIP.skeleton)
    driver.checker._last_t_ns = None
    told: list[str] = []
    files = DriveFiles(tmp_path, RATE_HZ, told.append)
    results = driven(driver)
    for result in results[:10]:
        add(files, driver, result)
    show(files, DriveView(Occasion.SAVE, None, driver))
    assert files._saving is not None
    files._saving.join()
    assert told[0].startswith("saved ") and len(Player(tmp_path / "driven.glb").key_times) == 10
    for result in results[10:]:
        add(files, driver, result)
    finish(files)
    assert len(Player(tmp_path / "driven.glb").key_times) == len(results)


def test_fuzz_journal_of_a_drive(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    poses = [
        BodyPose(k * 10_000_000, rng.normal(size=(22, 4)).astype(np.float32), rng.normal(size=3).astype(np.float32))
        for k in range(3)
    ]
    whole = MAGIC + encode_record(person_record(CLIP.skeleton)) + encode_record(poses_record(poses))
    fuzz_file(lambda path: DriveTake(JournalReader(path)), [whole], tmp_path / "x.journal")
