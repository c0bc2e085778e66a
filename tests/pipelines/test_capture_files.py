"""What a capture writes is what it showed: both meshes, and the animation played as a viewer plays it."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from bodystream.errors import InputError
from bodystream.files import prepare_folder
from bodystream.foreground.planes import Plane
from bodystream.pipelines.capture.files import CaptureFiles, floor_of
from bodystream.pipelines.capture.pipeline import Capture
from bodystream.pipelines.capture.result import CaptureResult
from bodystream.pipelines.capture.take_files import WrittenFiles
from bodystream.pipelines.capture.view import CaptureView
from bodystream.pipelines.recovery import journals_in, recover_folder, recover_journal
from bodystream.sinks import Occasion
from bodystream.sinks.capture_take import CaptureTake, world_from_camera
from bodystream.sinks.journal import MAGIC, JournalReader, Record, encode_record
from helpers.gltf_player import Player
from helpers.needs import khronos_issues
from helpers.pipeline_frames import empty, frames, new_capture


def show(capture: Capture, files: CaptureFiles, occasion: Occasion, result: CaptureResult | None = None) -> None:
    """What a session does on the pipeline's thread and on the sink's, one after the other."""
    motion = None if result is None or not result.nodes else capture.field.snapshot(result.frame.t_ns)
    recorded = files.prepare(CaptureView(occasion, result, capture, motion, 30.0, {}))
    if recorded is not None:
        files.publish(recorded)


def record(capture: Capture, files: CaptureFiles, first: int, end: int, gone: tuple[int, ...] = ()) -> None:
    capture.on_forget = lambda: show(capture, files, Occasion.FORGET)
    for frame in frames()[first:end]:
        show(capture, files, Occasion.RESULT, capture.step(empty(frame) if frame.index in gone else frame))


def finish(capture: Capture, files: CaptureFiles) -> WrittenFiles:
    show(capture, files, Occasion.END)
    assert files.close() == files.written.lines
    return files.written


def recording(capture: Capture, folder: Path, first: int = 0, end: int = 6) -> CaptureFiles:
    files = CaptureFiles(folder)
    record(capture, files, first, end)
    return files


def journal_of(folder: Path) -> Path:
    (path,) = folder.glob("capture-*.journal")
    return path


@pytest.fixture
def capture():
    made = new_capture()
    yield made
    made.close()


def test_files_hold_what_was_captured(tmp_path: Path) -> None:
    capture, files = new_capture(), CaptureFiles(tmp_path / "a" / "out")
    try:
        record(capture, files, 0, 10, gone=(4, 5))
        written = finish(capture, files)
        surface, live = capture.surface, capture.live_mesh()
        assert surface is not None and live is not None
        canonical = surface.download()
    finally:
        capture.close()
    assert [path.name for path in written.paths] == ["canonical.ply", "live.ply", "capture.glb"]
    assert sorted((tmp_path / "a" / "out").iterdir()) == sorted(written.paths)
    for path, mesh in zip(written.paths, (canonical, live), strict=False):
        read = trimesh.load(path, process=False)
        assert isinstance(read, trimesh.Trimesh)
        np.testing.assert_allclose(read.vertices, mesh.vertices, atol=1e-6)
        np.testing.assert_array_equal(read.faces, mesh.faces)
        np.testing.assert_array_equal(np.asarray(read.visual.vertex_colors)[:, :3], mesh.colours)  # type: ignore[union-attr]
    player = Player(written.paths[2])
    # The two frames without a person have no key; the time between them stays.
    expected = [frames()[i].t_ns * 1e-9 - frames()[0].t_ns * 1e-9 for i in (0, 1, 2, 3, 6, 7, 8, 9)]
    np.testing.assert_allclose(player.key_times, expected, atol=1e-4)
    before, after = player.visible(0.0).vertices, player.visible(expected[-1]).vertices
    # One rigid motion takes the camera's frame to the file's, at any time.
    turn = Rotation.align_vectors(before - before.mean(0), canonical.vertices - canonical.vertices.mean(0))[0]
    shift = before.mean(0) - turn.apply(canonical.vertices).mean(0)
    np.testing.assert_allclose(after, turn.apply(live.vertices) + shift, atol=2e-4)
    assert np.abs(before - after).max() > 0.01, "it moves"
    # Upright on the floor, above the origin, and what faces the camera faces +z, as the format's assets do.
    assert turn.apply([0, -1, 0])[1] > 0.97 and turn.apply([0, 0, -1])[2] > 0.97
    assert -0.03 < before[:, 1].min() < 0.06 and 1.4 < before[:, 1].max() < 2.0
    np.testing.assert_allclose(np.median(before[:, [0, 2]], axis=0), 0, atol=1e-3)
    assert written.notes == ()


def test_nothing_captured_is_said_and_writes_nothing(tmp_path: Path, capture: Capture) -> None:
    files = CaptureFiles(tmp_path / "out")
    with pytest.raises(InputError, match="nothing was captured"):
        finish(capture, files)
    record(capture, files, 0, 3, gone=(0, 1, 2))
    with pytest.raises(InputError, match="nothing was captured"):
        finish(capture, files)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_restart_begins_a_segment_and_drops_nothing(tmp_path: Path, capture: Capture) -> None:
    files = recording(capture, tmp_path, 0, 7)
    first = capture.live_mesh()
    capture.reset()
    record(capture, files, 7, 12)
    capture.reset()
    record(capture, files, 12, 15)
    assert capture.restart_count == 2
    last = capture.live_mesh()
    written = finish(capture, files)
    assert first is not None and last is not None
    assert any("started anew 2 time(s)" in note and "3 models" in note for note in written.notes)
    player = Player(tmp_path / "capture.glb")
    t_s = [(frame.t_ns - frames()[0].t_ns) * 1e-9 for frame in frames()[:15]]
    np.testing.assert_allclose(player.key_times, t_s, atol=1e-4)
    assert len(player.gltf.animations) == 1, "players show one animation, or all at once"
    sizes = [len(mesh.vertices) for mesh in player.shown(0.0)]
    assert len(sizes) == 3
    for number, model in ((6, 0), (7, 1), (14, 2)):
        shown = player.shown(t_s[number] + 1e-4)
        assert [mesh.visible for mesh in shown] == [k == model for k in range(3)]
    assert [mesh.visible for mesh in player.shown(None)] == [True, False, False], "and one where nothing is played"
    # The same way to the floor for all: distances between models are those of the camera's frame.
    a, b = player.visible(t_s[6]).vertices, player.visible(t_s[14]).vertices
    assert len(a) == len(first.vertices) and len(b) == len(last.vertices)
    turn = Rotation.align_vectors(a - a.mean(0), first.vertices - first.vertices.mean(0))[0]
    shift = a.mean(0) - turn.apply(first.vertices).mean(0)
    np.testing.assert_allclose(b, turn.apply(last.vertices) + shift, atol=3e-4)


def test_khronos_validator_on_several_models(tmp_path: Path, capture: Capture) -> None:
    files = recording(capture, tmp_path, 0, 3)
    capture.reset()
    record(capture, files, 3, 6)
    finish(capture, files)
    issues = json.loads(khronos_issues(tmp_path / "capture.glb"))
    assert issues["numErrors"] == issues["numWarnings"] == 0, issues["messages"][:5]


def test_saving_writes_the_files_as_they_stand_and_recording_goes_on(tmp_path: Path, capture: Capture) -> None:
    told: list[str] = []
    files = CaptureFiles(tmp_path, told.append)
    show(capture, files, Occasion.SAVE)
    assert told == ["nothing was captured yet, so there is nothing to save"]
    record(capture, files, 0, 3)
    show(capture, files, Occasion.SAVE)
    assert files._saving is not None
    files._saving.join()
    assert "saved" in told[1] and "capture.glb" in told[1]
    assert len(Player(tmp_path / "capture.glb").key_times) == 3
    record(capture, files, 3, 6)
    finish(capture, files)
    assert len(Player(tmp_path / "capture.glb").key_times) == 6
    assert len(list(tmp_path.iterdir())) == 3


def test_what_a_killed_capture_leaves_is_made_into_files(tmp_path: Path, capture: Capture) -> None:
    files = recording(capture, tmp_path, 0, 8)
    assert files._journal is not None and files._journal.flush()
    assert journals_in(tmp_path) == [], "somebody is writing it"
    killed = tmp_path / "killed"
    killed.mkdir()
    copy = killed / journal_of(tmp_path).name
    copy.write_bytes(journal_of(tmp_path).read_bytes()[:-100])  # the last record was cut off
    (killed / "capture.glb").write_text("of the session before")
    told: list[str] = []
    assert recover_folder(killed, told.append) == 1
    (line,) = told
    assert line.startswith("recovered an earlier session in ") and "capture-" in line
    session = copy.stem.removeprefix("capture-")
    names = [
        f"{stem}-{session}{suffix}" for stem, suffix in (("canonical", ".ply"), ("capture", ".glb"), ("live", ".ply"))
    ]
    assert sorted(path.name for path in killed.iterdir()) == sorted([*names, "capture.glb"])
    assert (killed / "capture.glb").read_text() == "of the session before"
    assert len(Player(killed / f"capture-{session}.glb").key_times) >= 7
    live = trimesh.load(killed / f"live-{session}.ply", process=False)
    assert isinstance(live, trimesh.Trimesh) and len(live.faces) > 500
    finish(capture, files)


@pytest.mark.skipif(os.name == "nt", reason="Windows lets nobody remove an open file")
@pytest.mark.parametrize("moved", [True, False])
def test_a_folder_that_is_taken_away_meanwhile_costs_nothing(tmp_path: Path, capture: Capture, moved: bool) -> None:
    folder = tmp_path / "out"
    files = recording(capture, folder, 0, 4)
    assert files._journal is not None and files._journal.flush()
    if moved:
        folder.rename(tmp_path / "elsewhere")
    else:
        shutil.rmtree(folder)
    record(capture, files, 4, 8)
    finish(capture, files)
    assert {path.name for path in folder.iterdir()} == {"canonical.ply", "live.ply", "capture.glb"}
    assert len(Player(folder / "capture.glb").key_times) == 8


def test_a_journal_of_a_session_that_still_runs_is_left_to_it(tmp_path: Path, capture: Capture) -> None:
    files = recording(capture, tmp_path, 0, 3)
    assert files._journal is not None and files._journal.flush()
    with pytest.raises(InputError, match=r"capture-.*\.journal: its session still runs"):
        recover_journal(journal_of(tmp_path))
    finish(capture, files)
    assert len(Player(tmp_path / "capture.glb").key_times) == 3


def test_a_damaged_beginning_costs_itself(tmp_path: Path, capture: Capture) -> None:
    files = recording(capture, tmp_path / "a", 0, 4)
    assert files._journal is not None and files._journal.flush()
    journal = journal_of(tmp_path / "a")
    data = bytearray(journal.read_bytes())
    start = len(MAGIC)
    data[start : start + 40] = bytes(40)  # the record that says what the session was
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / journal.name).write_bytes(data)
    written = recover_journal(tmp_path / "b" / journal.name)
    assert any("damaged bytes" in note for note in written.notes)
    (glb,) = (tmp_path / "b").glob("capture-*.glb")
    assert len(Player(glb).key_times) == 4
    finish(capture, files)


def test_journals_that_hold_nothing_or_something_else(tmp_path: Path) -> None:
    empty_one, cut, other = (tmp_path / f"capture-{k}.journal" for k in range(3))
    empty_one.write_bytes(MAGIC)
    cut.write_bytes(MAGIC + encode_record(Record("session", {"what": "capture"}))[:-3])
    other.write_bytes(MAGIC + encode_record(Record("session", {"what": "another thing"})))
    assert recover_journal(empty_one).paths == () and not empty_one.exists()
    with pytest.raises(InputError, match=r"capture-1\.journal: holds no whole record"):
        recover_journal(cut)
    with pytest.raises(InputError, match=r"capture-2\.journal: is a journal of another version"):
        recover_journal(other)
    assert cut.exists() and other.exists()


def test_a_disk_that_takes_too_long_is_told_and_the_journal_stays(
    tmp_path: Path, capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = recording(capture, tmp_path, 0, 4)
    assert files._journal is not None and files._journal.flush()
    monkeypatch.setattr(files._journal, "flush", lambda: False)
    with pytest.raises(InputError, match=r"the disk takes too long.*capture\.glb; all that was recorded is in"):
        finish(capture, files)
    monkeypatch.undo()
    assert recover_folder(tmp_path, lambda line: None) == 1
    assert len(list(tmp_path.glob("capture-*.glb"))) == 1


def test_recovering_twice_replaces_nothing(tmp_path: Path, capture: Capture) -> None:
    files = recording(capture, tmp_path / "a", 0, 3)
    assert files._journal is not None and files._journal.flush()
    (tmp_path / "b").mkdir()
    name = journal_of(tmp_path / "a").name
    for _ in range(2):
        (tmp_path / "b" / name).write_bytes(journal_of(tmp_path / "a").read_bytes())
        assert recover_folder(tmp_path / "b", lambda line: None) == 1
    assert len(list((tmp_path / "b").glob("capture-*.glb"))) == 2
    finish(capture, files)


def test_a_file_that_fails_takes_no_other_along_and_the_journal_stays(tmp_path: Path, capture: Capture) -> None:
    (tmp_path / "live.ply" / "in the way").mkdir(parents=True)
    files = recording(capture, tmp_path)
    with pytest.raises(InputError, match=r"live.ply.*written all the same: .*capture.glb; .*bodystream recover"):
        finish(capture, files)
    assert (tmp_path / "canonical.ply").is_file() and (tmp_path / "capture.glb").is_file()
    recover_folder(tmp_path, lambda line: None)
    assert len(list(tmp_path.glob("live-*.ply"))) == 1 and not list(tmp_path.glob("*.journal"))


def test_faces_that_refer_to_no_vertex_cost_themselves(
    tmp_path: Path, capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = recording(capture, tmp_path)
    surface = capture.surface
    assert surface is not None
    whole = type(surface).download

    def torn(self):
        mesh = whole(self)
        faces, vertices = mesh.faces.copy(), mesh.vertices.copy()
        faces[3], faces[7] = (-1, 0, 1), (0, 1, len(vertices))
        vertices[11] = np.nan
        return replace(mesh, faces=faces, vertices=vertices)

    monkeypatch.setattr(type(surface), "download", torn)
    count = surface.vertex_count
    written = finish(capture, files)
    assert any(
        "2 faces that refer to no vertex and 1 vertices that are not finite left out" in n for n in written.notes
    )
    for name in ("canonical.ply", "live.ply"):
        mesh = trimesh.load(tmp_path / name, process=False)
        assert isinstance(mesh, trimesh.Trimesh) and len(mesh.vertices) == count - 1
    assert len(Player(tmp_path / "capture.glb").visible(0.0).vertices) == count - 1


def test_a_disk_that_is_full_is_told_once_and_ends_nothing(
    tmp_path: Path, capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    files = CaptureFiles(tmp_path, told.append)
    record(capture, files, 0, 3)
    assert files._journal is not None and files._journal.flush()
    write, full = os.write, True

    def refusing(descriptor: int, data: bytes) -> int:
        if full and descriptor == files._journal._file:  # type: ignore[union-attr]
            write(descriptor, bytes(data)[:50])  # as a disk does that takes a part
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", refusing)
    record(capture, files, 3, 6)
    assert not files._journal.flush(5.0)
    record(capture, files, 6, 8)
    assert not files._journal.flush(5.0)
    assert len(told) == 1 and "No space left on device" in told[0] and "make room" in told[0]
    assert len(CaptureTake(JournalReader(journal_of(tmp_path))).segments[0].recorder) == 3
    full = False
    finish(capture, files)
    assert len(Player(tmp_path / "capture.glb").key_times) == 8, "nothing is lost once there is room"
    assert len(told) == 1


def test_long_captures_keep_a_bounded_number_of_key_frames(
    tmp_path: Path, capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bodystream.pipelines.capture.files.MAX_KEY_FRAMES", 8)
    files = recording(capture, tmp_path, 0, 30)
    assert files._journal is not None and files._journal.flush()
    take = CaptureTake(JournalReader(journal_of(tmp_path)), max_frames=8)
    assert len(take.segments[0].recorder) <= 9
    times = take.segments[0].recorder.result().t_ns
    assert times[0] == frames()[0].t_ns and times[-1] == pytest.approx(frames()[28].t_ns, abs=200_000_000)
    assert any("long recording" in note for note in take.notes)
    finish(capture, files)


def test_folders_that_cannot_be_written_are_refused_before_the_capture(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="--out: cannot write to the folder .*choose another"):
            CaptureFiles(path)
    assert (tmp_path / "file").read_text() == "kept"
    prepare_folder(tmp_path / "new" / "deep", "--report")
    assert list((tmp_path / "new" / "deep").iterdir()) == [], "the trial leaves nothing behind"


def test_a_frame_whose_time_stands_still_has_no_key(tmp_path: Path, capture: Capture) -> None:
    files = recording(capture, tmp_path, 0, 3)
    again = replace(frames()[3], t_ns=frames()[2].t_ns)
    # The capture itself leaves such a frame out; a journal of others may hold one.
    show(capture, files, Occasion.RESULT, replace(capture.step(frames()[3]), frame=again))
    written = finish(capture, files)
    assert len(Player(written.paths[2]).key_times) == 3
    assert any("did not increase" in note for note in written.notes)


def test_a_pause_of_days_is_cut_short(tmp_path: Path, capture: Capture) -> None:
    files = recording(capture, tmp_path, 0, 3)
    days_ns = 5 * 86_400 * 10**9
    for frame in frames()[3:6]:
        show(capture, files, Occasion.RESULT, capture.step(replace(frame, t_ns=frame.t_ns + days_ns)))
    written = finish(capture, files)
    times = Player(written.paths[2]).key_times
    assert len(times) == 6 and times[3] - times[2] == pytest.approx(10.0, abs=1e-3)
    assert np.diff(times)[[0, 1, 3, 4]] == pytest.approx(1 / 30, abs=1e-4)
    assert any("1 pause(s) of more than 10 seconds" in note for note in written.notes)


@pytest.mark.parametrize("tilt_deg", [0.0, 25.0, -30.0])
def test_the_floor_is_what_faces_up(tilt_deg: float) -> None:
    tilt = Rotation.from_euler("x", tilt_deg, degrees=True)
    floor = Plane(tilt.apply([0.0, -1.0, 0.0]), 1.2, 0.002)
    wall = Plane(tilt.apply([0.0, 0.0, -1.0]), 3.0, 0.002)
    ceiling = Plane(tilt.apply([0.0, 1.0, 0.0]), 1.0, 0.002)
    found = floor_of([wall, ceiling, floor])
    assert found is not None
    np.testing.assert_allclose(found, [*floor.normal, 1.2])
    assert floor_of([wall, ceiling]) is None and floor_of([]) is None
    # A person who stands on it stands on y = 0 in the file, upright, facing the camera: +z.
    feet, head, nose = (tilt.apply(p) for p in ([0.3, 1.2, 2.0], [0.3, -0.5, 2.0], [0.3, -0.4, 1.9]))
    place = world_from_camera(np.stack([feet, head, feet, head]), found)
    feet, head, nose = (place[:3, :3] @ p + place[:3, 3] for p in (feet, head, nose))
    np.testing.assert_allclose(feet, [0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(head, [0, 1.7, 0], atol=1e-6)
    np.testing.assert_allclose(nose, [0, 1.6, 0.1], atol=1e-6)
    assert np.linalg.det(place[:3, :3]) == pytest.approx(1.0)
