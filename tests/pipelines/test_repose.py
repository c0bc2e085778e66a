"""An avatar posed by a motion: any avatar, in step with it, to files that hold what was posed."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh

from bodystream.avatar import LbsAvatar, open_avatar
from bodystream.avatar.base import FAR_FLAG, FarPose, Posing
from bodystream.avatar.open import AvatarChoice
from bodystream.device import select_device
from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.pipelines.repose.files import PlySequence, Sheet, output_for
from bodystream.pipelines.repose.motion import MotionPart, cut
from bodystream.pipelines.repose.pipeline import Reposer
from bodystream.pipelines.repose.run import repose
from bodystream.pipelines.repose.viewer import Playback
from bodystream.sinks.reports.figures import write_json
from bodystream.sinks.reports.repose import read_repose_report
from bodystream.sinks.viewer.body_page import BodyPage
from bodystream.types import Array
from helpers.gltf_player import Player
from helpers.headset_motions import walking
from helpers.needs import khronos_issues
from helpers.plain_avatar import PlainAvatar
from helpers.vrm_files import BUILDS, write_vrm

CLIP = walking(0.5)
DEVICE = select_device("cpu")
TURN = np.array([-1.0, 1.0, -1.0])  # files look along +z


def swings(rotations: Array) -> Array:
    """(T,) how far the left arm is before where it counts as ahead."""
    return -matrix_from_quaternion(rotations[:, 16].astype(np.float64))[:, 2, 1] - 0.3


class Billowing(PlainAvatar):
    """Its pieces swell with the swing of the left arm, and nothing that bones could carry moves that way."""

    def pose_on_device(self, rotations: Array, root_position_m: Array) -> None:
        super().pose_on_device(rotations, root_position_m)
        swing = matrix_from_quaternion(np.asarray(rotations[16], np.float64))[2, 1]
        ripples = np.sin(np.arange(len(self.vertices.numpy())))
        pelvis = matrix_from_quaternion(np.asarray(rotations[0], np.float64))
        offsets = np.stack([0.05 * swing * ripples, 0.03 * swing**2 * ripples[::-1], 0.02 * ripples], axis=1)
        self.vertices.assign((self.vertices.numpy() + offsets @ pelvis.T).astype(np.float32))


class Unsure(PlainAvatar):
    """Far from what it knows where the left arm is ahead."""

    def pose_on_device(self, rotations: Array, root_position_m: Array) -> None:
        super().pose_on_device(rotations, root_position_m)
        ahead = float(swings(rotations[None])[0])
        far = FarPose("left_shoulder", 30.0 + 100 * ahead, 30.0, ("left_shoulder",)) if ahead > 0 else None
        self.posing = Posing("guessing", "it knows no better", far)


def posed(reposer: Reposer, frame: int) -> Array:
    reposer.pose(frame)
    reposer.fetch()
    return reposer.vertices.copy()


@pytest.fixture(scope="module")
def vrm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vrm(tmp_path_factory.mktemp("vrm") / "me.vrm", BUILDS["short"](), version="1")


# The part of a motion


def test_a_part_has_the_frames_that_were_asked_for() -> None:
    part = cut(CLIP, MotionPart(start_s=0.1, seconds=0.2))
    np.testing.assert_array_equal(part.root_positions_m, CLIP.root_positions_m[9:28])
    assert len(cut(CLIP, MotionPart(frames=7))) == 7 and len(cut(CLIP, MotionPart(frames=10_000))) == len(CLIP)
    slower = cut(CLIP, MotionPart(start_s=0.1, rate_hz=30.0, frames=5))
    assert slower.rate_hz == 30.0
    np.testing.assert_allclose(slower.root_positions_m, CLIP.root_positions_m[9:22:3], atol=1e-6)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"start_s": -1.0}, "--start-s must be 0 or more"),
        ({"start_s": float("nan")}, "--start-s must be 0 or more"),
        ({"seconds": 0.0}, "--seconds must be positive"),
        ({"rate_hz": 0.0}, "--rate-hz must be 0.1 to 1000"),
        ({"rate_hz": float("inf")}, "--rate-hz must be 0.1 to 1000"),
        ({"frames": 0}, "--frames must be at least 1"),
        ({"start_s": 0.5}, "behind the end of the motion walking, which has 45 frames and lasts 0.49 s"),
    ],
)
def test_parts_that_are_not_there_are_named(part: dict, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        cut(CLIP, MotionPart(**part))


def test_a_motion_without_poses_is_refused() -> None:
    with pytest.raises(InputError, match="the motion walking has no poses"):
        Reposer(CLIP.sliced(0, 0), PlainAvatar, DEVICE)


def broken(frames: dict[int, float]) -> MotionClip:
    rotations = CLIP.rotations_xyzw.copy()
    for frame, value in frames.items():
        rotations[frame, 18] = value
    return replace(CLIP, rotations_xyzw=rotations)


def test_poses_that_cannot_be_are_left_out_and_told() -> None:
    reposer = Reposer(broken({3: np.nan, 7: 0.0}), PlainAvatar, DEVICE)
    assert reposer.frames == [frame for frame in range(len(CLIP)) if frame not in (3, 7)]
    repose(reposer)
    report = reposer.report()
    assert (report.frames.received, report.frames.posed, report.frames.refused) == (45, 43, 2)
    assert "the pose is not finite at left_elbow" in next(iter(report.frames.reasons))
    assert "2 of 45 frames are left out" in report.warnings[0]
    with pytest.raises(InputError, match="none of the 45 poses .* not finite at left_elbow"):
        Reposer(broken(dict.fromkeys(range(45), np.nan)), PlainAvatar, DEVICE)
    with pytest.raises(InputError, match=r"not finite in 1 of 45 frames, first in frame 3 at left_elbow"):
        Reposer(broken({3: np.nan}), PlainAvatar, DEVICE, MotionPart(rate_hz=30.0))


# Whatever the avatar


@pytest.mark.parametrize("choice", ["default", "vrm", "plain"])
def test_any_avatar_is_posed_as_by_itself(choice: str, vrm: Path) -> None:
    avatar = {"default": "default", "vrm": vrm, "plain": PlainAvatar}[choice]
    reposer = Reposer(CLIP, avatar, DEVICE)
    twin = open_avatar(avatar, CLIP.skeleton)
    mesh = twin.pose(CLIP.rotations_xyzw[20], CLIP.root_positions_m[20])
    np.testing.assert_array_equal(posed(reposer, 20), mesh.vertices)
    np.testing.assert_array_equal(reposer.normals, mesh.normals)
    method = "placing" if choice == "plain" else "skinning"
    assert reposer.report().posed_by == {method: 1} and list(reposer.report().reasons) == [method]


def test_the_report_says_what_was_done(tmp_path: Path) -> None:
    reposer = Reposer(CLIP, "default", DEVICE, MotionPart(start_s=0.1), file="walk.bvh")
    written = repose(reposer, [output_for(str(tmp_path / "walk.glb"))(reposer)])
    assert written is not None
    write_json(tmp_path / "report.json", reposer.report(written))
    report = read_repose_report(tmp_path / "report.json")
    assert report.avatar == "default" and report.vertices == 13_492
    assert (report.motion.name, report.motion.file, report.motion.frames) == ("walking", "walk.bvh", 36)
    assert report.motion.start_s == 0.1 and report.frames.posed == 36
    assert report.pose.p50_ms is not None and report.pose.p99_ms is not None and report.pose.p50_ms > 0
    assert report.memory.rss_peak_mb > 0 and report.providers["kernels"].startswith("cpu")
    (file,) = report.written
    assert file.bytes == (tmp_path / "walk.glb").stat().st_size and file.holds == "skin" and file.morphs is None
    assert file.error_max_mm is not None and file.error_max_mm < 0.01 and file.error_frames == 36
    with pytest.raises(InputError, match="is not a report of an avatar that was posed"):
        read_repose_report(Path(__file__))


def test_poses_far_from_training_are_counted_once_each_and_told_once() -> None:
    reposer = Reposer(CLIP, Unsure, DEVICE)
    ahead = swings(CLIP.rotations_xyzw)
    for _ in range(2):
        repose(reposer)
    far = reposer.report().far
    assert far.frames == np.count_nonzero(ahead > 0) > 0 and far.joints == {"left_shoulder": far.frames}
    assert far.worst is not None and far.worst.frame == int(ahead.argmax())
    assert far.worst.angle_deg == pytest.approx(30 + 100 * ahead.max(), rel=1e-5)
    (told,) = reposer.warnings
    assert "the left shoulder is turned by" in told and "where 30 are known" in told
    assert Reposer(CLIP, PlainAvatar, DEVICE).report().far.worst is None


# Files


def test_a_surface_without_a_skin_is_played_as_it_was_posed(tmp_path: Path) -> None:
    reposer = Reposer(CLIP, Billowing, DEVICE)
    written = repose(reposer, [output_for(str(tmp_path / "billow.glb"))(reposer)])
    assert written is not None
    (file,) = written
    assert file.holds == "morphs" and file.frames == 45 and file.error_frames == 45
    assert file.morphs is not None and 1 <= file.morphs <= 3, "two ways of swelling need two shapes, or little more"
    player = Player(tmp_path / "billow.glb")
    off = []
    for frame in (0, 11, 30, 44):
        shown = player.visible(frame / CLIP.rate_hz)
        off.append(np.linalg.norm(shown.vertices * TURN - posed(reposer, frame), axis=1))
        np.testing.assert_array_equal(shown.faces, reposer.avatar.faces)
    assert file.error_max_mm is not None and file.error_mean_mm is not None
    assert 1e3 * np.max(off) <= file.error_max_mm + 0.01, "the error that is told is that of the file"
    assert file.error_max_mm < 1.5 and file.error_mean_mm < 0.3
    player._tracks = {key: track for key, track in player._tracks.items() if key[1] != "weights"}
    player.gltf.meshes[0].primitives[0].targets = None
    bare = [player.visible(frame / CLIP.rate_hz).vertices * TURN - posed(reposer, frame) for frame in (0, 22)]
    assert 1e3 * np.linalg.norm(bare, axis=2).max() > 4.0, "bones alone are far off"


def test_what_bones_can_carry_needs_no_shapes(tmp_path: Path) -> None:
    reposer = Reposer(CLIP, PlainAvatar, DEVICE)
    written = repose(reposer, [output_for(str(tmp_path / "plain.glb"))(reposer)])
    assert written is not None and written[0].morphs == 0
    assert written[0].error_max_mm is not None and written[0].error_max_mm < 0.5
    assert json.loads(khronos_issues(tmp_path / "plain.glb"))["numErrors"] == 0


@pytest.mark.parametrize("choice", [Billowing, "default", "vrm"])
def test_khronos_validator_finds_nothing(choice: AvatarChoice, vrm: Path, tmp_path: Path) -> None:
    reposer = Reposer(CLIP, vrm if choice == "vrm" else choice, DEVICE, MotionPart(rate_hz=30.0))
    assert repose(reposer, [output_for(str(tmp_path / "walk.glb"))(reposer)])
    issues = json.loads(khronos_issues(tmp_path / "walk.glb"))
    assert issues["numErrors"] == issues["numWarnings"] == 0, issues["messages"][:5]


def test_a_vrm_is_written_with_its_own_bones(vrm: Path, tmp_path: Path) -> None:
    reposer = Reposer(CLIP, vrm, DEVICE)
    written = repose(reposer, [output_for(str(tmp_path / "me.glb"))(reposer)])
    assert written is not None and written[0].error_max_mm is not None and written[0].error_max_mm < 0.05
    assert len(Player(tmp_path / "me.glb").key_times) == len(CLIP)


def test_one_pose_is_a_still(tmp_path: Path) -> None:
    for choice, name in ((Billowing, "one.glb"), ("default", "two.glb")):
        reposer = Reposer(CLIP.sliced(5, 6), choice, DEVICE)
        written = repose(reposer, [output_for(str(tmp_path / name))(reposer)])
        assert written is not None and written[0].frames == 1
        shown = Player(tmp_path / name).visible(0.0)
        assert np.linalg.norm(shown.vertices * TURN - posed(reposer, 0), axis=1).max() < 1e-3
        assert json.loads(khronos_issues(tmp_path / name))["numErrors"] == 0


def test_a_mesh_for_each_pose(tmp_path: Path) -> None:
    reposer = Reposer(CLIP, PlainAvatar, DEVICE, MotionPart(frames=4))
    written = repose(reposer, [output_for(str(tmp_path / "walk"))(reposer)])
    assert written is not None and (written[0].files, written[0].holds) == (4, "meshes")
    names = sorted(path.name for path in (tmp_path / "walk").iterdir())
    assert names == ["0000.ply", "0001.ply", "0002.ply", "0003.ply"]
    assert written[0].bytes == sum(path.stat().st_size for path in (tmp_path / "walk").iterdir())
    loaded = trimesh.load_mesh(tmp_path / "walk" / "0003.ply", process=False)
    np.testing.assert_array_equal(np.asarray(loaded.vertices, np.float32), posed(reposer, 3))
    assert repose(reposer, [output_for(str(tmp_path / "walk" / "pose-%d.ply"))(reposer)])
    assert (tmp_path / "walk" / "pose-3.ply").is_file()
    assert repose(reposer, [output_for(f"{tmp_path / 'walk'}/")(reposer)]), "the same again takes the place of before"
    shorter = Reposer(CLIP, PlainAvatar, DEVICE, MotionPart(frames=2))
    with pytest.raises(ConfigurationError, match=r"holds 2 meshes of another motion \(0002.ply, ...\)"):
        output_for(str(tmp_path / "walk"))(shorter)


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("walk.fbx", "give an animated glTF"),
        ("walk.ply", "give an animated glTF"),
        ("walk-%04d.obj", "one number and ends in .ply"),
        ("%d-%d.ply", "one number and ends in .ply"),
        ("%s.ply", "one number and ends in .ply"),
        ("file/walk.glb", "--out: cannot write to the folder"),
        ("file/walk/", "--out: cannot write to the folder"),
        ("file/%d.ply", "--out: cannot write to the folder"),
    ],
)
def test_places_that_nothing_can_be_written_to_are_named(
    out: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises((ConfigurationError, InputError), match=said):
        output_for(out)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_sheet_shows_moments_and_says_which_are_far(tmp_path: Path) -> None:
    reposer = Reposer(CLIP, Unsure, DEVICE)
    written = repose(reposer, [Sheet(reposer, tmp_path / "sheet.png")])
    assert written is not None and (written[0].frames, written[0].holds) == (24, "sheet")
    seen = cv2.imread(str(tmp_path / "sheet.png"))
    assert seen is not None and seen.shape[1] == 8 * 240 and seen.shape[0] % 3 == 0
    ahead = swings(CLIP.rotations_xyzw)
    height = seen.shape[0] // 3
    for place, frame in enumerate(np.linspace(0, 44, 24).round().astype(int)):
        row, column = divmod(place, 8)
        label = seen[(row + 1) * height - 18 : (row + 1) * height, 240 * column : 240 * (column + 1)].astype(int)
        orange = label[..., 2] > label[..., 0] + 60
        assert orange.any() == (ahead[frame] > 0), f"{frame}"


@pytest.mark.parametrize("after", [0, 30, 60])
def test_what_is_stopped_leaves_whole_files_or_none(after: int, tmp_path: Path) -> None:
    reposer = Reposer(CLIP, Billowing, DEVICE)
    outputs = [output_for(str(tmp_path / "walk.glb"))(reposer), output_for(str(tmp_path / "walk"))(reposer)]
    told: list[tuple[int, int]] = []
    written = repose(reposer, outputs, lambda *p: told.append(p), lambda: len(told) == after)
    assert written is None and len(told) == after and all(total == 90 for _, total in told)
    assert not (tmp_path / "walk.glb").exists() and not outputs[0].stopped()
    meshes = list((tmp_path / "walk").iterdir())
    assert len(meshes) == max(0, after - 45)
    assert all(len(trimesh.load_mesh(path, process=False).vertices) == 88 for path in meshes)
    sequence = outputs[1]
    assert isinstance(sequence, PlySequence)
    assert sequence.stopped().startswith(f"{len(meshes)} of 45 meshes" if meshes else "")


# On the page


@pytest.mark.parametrize("choice", ["default", Unsure])
def test_playback_keeps_the_pace_of_the_motion_and_goes_round(choice, monkeypatch: pytest.MonkeyPatch) -> None:
    reposer = Reposer(CLIP, choice, DEVICE)
    playback = Playback(reposer)
    viewer = playback.open(0)
    clock_ns, states = [0], []
    monkeypatch.setattr("bodystream.pipelines.repose.viewer.now_ns", lambda: clock_ns[0])
    monkeypatch.setattr(type(viewer), "wants_state", property(lambda _: True))
    monkeypatch.setattr(viewer, "publish", states.append)
    playback.begin_anew()
    script = iter([0.1, 0.2, 0.2, 0.45, 0.55, "pause", 0.8, "resume", 0.9, "anew", 1.0, "stop"])

    def wait(_: float) -> bool:
        for step in script:
            if isinstance(step, float):
                clock_ns[0] = round(step * 1e9)
                return False
            {"pause": playback.pause, "resume": playback.resume, "anew": playback.begin_anew, "stop": playback.stop}[
                step
            ]()
            if step == "stop":
                return True
        raise AssertionError("nothing stopped it")

    monkeypatch.setattr(playback._changed, "wait", wait)
    playback.play(viewer)
    # Shown are the frames that their times say, each once; paused at 0.55 s, going on from there at 0.8 s.
    frames = [0, 9, 18, 40, (49) % 45, (49 + 9) % 45, 9]
    got = [int(np.argmin(np.abs(CLIP.root_positions_m - state.pose.root_position_m).sum(axis=1))) for state in states]
    assert got == frames and playback.shown == len(frames)
    page = viewer._page
    assert isinstance(page, BodyPage)
    for state in states:
        page.show(state)
        assert (state.mesh is None) == (choice == "default")
    if choice is Unsure:
        ahead = swings(CLIP.rotations_xyzw)
        assert [FAR_FLAG in (state.flags or ()) for state in states] == [ahead[frame] > 0 for frame in got]
        assert states[-1].warnings == reposer.warnings != []
        assert not np.shares_memory(states[0].mesh.vertices, states[1].mesh.vertices)
    viewer.close()


def test_playback_ends_from_another_thread_and_poses_for_nobody() -> None:
    reposer = Reposer(CLIP, "default", DEVICE)
    playback = Playback(reposer)
    viewer = playback.open(0)
    timer = threading.Timer(0.3, playback.stop)
    timer.start()
    playback.play(viewer)
    assert playback.shown == 1, "the first pose is kept for the browser to come, and no other is made without one"
    assert isinstance(reposer.avatar, LbsAvatar)
    viewer.close()
