"""`bodystream record` and `convert` as a user runs them: killed, interrupted, played again."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from bodystream.cli import main as cli
from bodystream.sources.headset.take import TakeHeadset
from bodystream.sources.take import TakeSource
from bodystream.takes import TakeReader
from helpers.command_line import Running, run
from helpers.headset_motions import walking
from helpers.headset_takes import write_bvh
from helpers.needs import needs
from helpers.takes import frames, samples, write_take

needs("mcap", "pip install 'bodystream[mcap]'")

SMALL = "synthetic?width=96&height=72"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_killed_recording_opens_by_itself_and_loses_less_than_a_second(tmp_path: Path) -> None:
    write_bvh(tmp_path / "walk.bvh", walking(20.0))
    words = ("record", "--source", SMALL, "--headset", "motion:walk.bvh", "take.mcap")
    with Running(*words, cwd=tmp_path) as recording:
        recording.wait_for_line("frame ")
        recording.wait_for_line("frame ", 2)
        killed_ns = time.monotonic_ns()
        recording.signal(signal.SIGKILL)
        recording.finish()
    source = TakeSource(tmp_path / "take.mcap")
    assert any("no table of contents" in text for text in source.counts.warnings)
    got = list(source)
    assert len(got) > 30
    assert np.all(np.diff([frame.index for frame in got]) >= 1)
    # The times are those of this host's monotonic clock; what the synthetic camera draws is late by a frame or two.
    assert killed_ns - got[-1].t_ns < 1_000_000_000
    heard = list(TakeHeadset(tmp_path / "take.mcap"))
    assert killed_ns - heard[-1].t_ns < 1_000_000_000
    assert [sample.index for sample in heard] == list(range(len(heard)))

    done = run("convert", "take.mcap", "mended.mcap", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [frame.t_ns for frame in TakeSource(tmp_path / "mended.mcap")] == [frame.t_ns for frame in got]
    with TakeReader(tmp_path / "mended.mcap") as reader:
        assert reader.whole


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_a_recording_whole(tmp_path: Path, number: int) -> None:
    with Running("record", "--source", SMALL, "take.mcap", "--report", "r.json", "--json", cwd=tmp_path) as recording:
        recording.wait_for_line("frame ")
        recording.signal(number)
        assert recording.finish() == 0, recording.text
    report = json.loads((tmp_path / "r.json").read_text())
    with TakeReader(tmp_path / "take.mcap") as reader:
        assert reader.whole and reader.problems == []
    assert report["recorded"]["frames"] == len(list(TakeSource(tmp_path / "take.mcap"))) > 0
    assert report["recorded"]["dropped"] == 0
    assert recording.wait_for_line("recorded ").startswith(f"recorded {report['recorded']['frames']} frame")


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code and stderr of the command, in this process."""
    code = cli.main(list(words))
    return code, capsys.readouterr().err


def test_what_cannot_be_recorded_is_said_before_anything_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_take(tmp_path / "there.mcap", frames(1))
    for words, wanted in (
        (("take.mcap",), "nothing to record"),
        (("--source", "synthetic", "there.mcap"), "not written over"),
        (("--source", "synthetic", "take.bag"), "ends in .mcap"),
        (("--source", "synthetic", "take.mcap", "--jpeg-quality", "0"), "--jpeg-quality must be 1 to 100"),
        (("--source", "synthetic", "take.mcap", "--frames", "0"), "--frames must be at least 1"),
        (("--source", "take:there.mcap?loop=maybe", "take.mcap"), "loop must be 1 or 0"),
        (("--headset", "take:there.mcap", "take.mcap"), "without head and hands"),
    ):
        code, text = said(capsys, "record", *words)
        assert code == 2 and wanted in text, text
    for words, wanted in (
        (("live", "--headless", "--record", "there.mcap"), "--record: there.mcap is there already"),
        (("drive", "--headset", "openxr", "--record", "take.bag"), "ends in .mcap"),
        (("drive", "--headset", "openxr", "--speed", "2"), "openxr is live and has no speed"),
        (
            ("drive", "--headset", "take:there.mcap", "--pace", "all", "--speed", "2"),
            "for recordings at their own pace",
        ),
    ):
        code, text = said(capsys, *words)
        assert code == 2 and wanted in text, text
    assert {path.name for path in tmp_path.iterdir()} == {"there.mcap"}


def test_a_take_is_captured_and_driven(tmp_path: Path) -> None:
    write_bvh(tmp_path / "walk.bvh", walking(1.0))
    words = ("--source", "synthetic?width=320&height=240", "--headset", "motion:walk.bvh", "--frames", "5", "take.mcap")
    done = run("record", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run("live", "--source", "take:take.mcap", "--headless", "--record", "again.mcap", cwd=tmp_path)
    assert done.returncode == 0 and "captured 5 frames" in done.stderr, done.stderr
    assert len(list(TakeSource(tmp_path / "again.mcap"))) == 5
    words = ("--headset", "take:take.mcap", "--headless", "--speed", "0.5", "--record", "driven.mcap")
    done = run("drive", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    heard = list(TakeHeadset(tmp_path / "take.mcap"))
    again = list(TakeHeadset(tmp_path / "driven.mcap"))
    assert np.diff([s.t_ns for s in again]).tolist() == np.diff([s.t_ns for s in heard]).tolist()


def test_a_folder_becomes_a_take_and_a_take_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_take(tmp_path / "first.mcap", frames(5), samples(4))
    for words in (("first.mcap", "folder:out"), ("out", "second.mcap", "--lossless-colour")):
        assert cli.main(["convert", *words, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["frames"] == 5
    got = list(TakeSource(tmp_path / "second.mcap"))
    for frame, want in zip(got, frames(5), strict=True):
        np.testing.assert_array_equal(frame.depth_m, want.depth_m)
        np.testing.assert_array_equal(frame.colour, want.colour)
    for words, wanted in (
        (("first.mcap", "out"), "give a take"),
        (("first.mcap", "folder:out"), "has files in it"),
        (("synthetic", "new.mcap"), "no recording with an end"),
        (("first.mcap", "second.mcap"), "not written over"),
        (("absent.mcap", "new.mcap"), "there is no take"),
        (("first.mcap", "new.mcap", "--lossless-colour"), "copied to another as it is"),
    ):
        code, text = said(capsys, "convert", *words)
        assert code == 2 and wanted in text, text
    assert not (tmp_path / "new.mcap").exists()
