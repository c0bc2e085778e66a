"""What the commands with a session share, and options that are keys of a source now."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from bodystream.cli import main as cli
from bodystream.cli.drive import Drive
from bodystream.cli.live import Live
from bodystream.cli.run_options import RunOptions
from bodystream.errors import BodystreamError
from helpers.folder_takes import write_plain


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("live --depth-scale 0.001", "write --source 'folder:PATH?depth_scale_m=0.001'"),
        ("live --source folder:take --depth_scale=0.001", "'folder:take?depth_scale_m=0.001'"),
        ("live --source folder:take?loop=1 --rate-hz 15", "'folder:take?loop=1&rate_hz=15'"),
        ("live --source=realsense:7 --rate-hz 15", "'realsense:7?rate_hz=15'"),
        ("live --rate-hz 15", "'synthetic?rate_hz=15'"),
        ("live --intrinsics 1 2 3 4 5 6 --headless", "'folder:PATH?intrinsics=1,2,3,4,5,6'"),
        ("live --source synthetic --loop", "'folder:PATH?loop=1'"),
        ("live --motion walk", "'synthetic?motion=walk'"),
        ("live --noise none", "'synthetic?noise=none'"),
        ("live --emitter off", "'realsense?emitter=off'"),
        ("live --exposure-us 8000", "'realsense?exposure_us=8000'"),
        ("live --preset", "'realsense?preset=High Accuracy'"),
        ("drive --headset webxr:9000 --host 0.0.0.0", "write --headset 'webxr:9000?host=0.0.0.0'"),
    ],
)
def test_options_that_moved_say_where_to(words: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words.split()) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "is a key of the source now" in said and says in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("live --framse 3", "did you mean --frames?"),
        ("live --out_folder x --heedless", "did you mean --headless?"),
        ("drive --headset trace:x --no-refin", "did you mean --no-refine?"),
        ("live --zzzzzz", "Unrecognized options: --zzzzzz (see `bodystream live --help`)"),
        ("drive", "give one of --headset openxr, webxr:PORT, vmc:PORT, trace:FILE, take:FILE, motion:PATH"),
        ("drive --headless", "give one of --headset openxr"),
        ("live --frames abc", "(see `bodystream live --help`)"),
    ],
)
def test_options_that_are_wrong_or_missing_say_what_was_meant(
    words: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(words.split())
    said = capsys.readouterr().err
    assert left.value.code == 2 and said.count("\n") == 1 and says in said


def test_a_pace_that_a_source_does_not_have_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_plain(tmp_path)
    words = ["live", "--source", f"folder:{tmp_path}", "--pace", "live", "--headless", "--device", "cpu"]
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert "--pace live is for the synthetic camera: every frame of folder:" in said


@pytest.mark.parametrize("command", [Live, Drive])
def test_what_moved_is_no_option_and_is_a_key(command: type[RunOptions]) -> None:
    options = {field.name.replace("_", "-") for field in dataclasses.fields(command)}
    kinds = {kind.name: kind for kind in command.kinds()}
    for option, there in command.moved.items():
        assert option not in options
        for source in there.sources:
            assert there.key in kinds[source.partition(":")[0]].keys()


@pytest.mark.parametrize("make", [lambda **options: Live(**options), lambda **options: Drive(headset="x", **options)])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"frames": 0}, "--frames must be at least 1, got 0"),
        ({"port": -1}, "--port must be 0 .* to 65535, got -1"),
        ({"report": Path("nowhere/r.json")}, "--report: cannot write"),
        ({"out": Path("file")}, "--out: cannot write to the folder file"),
    ],
)
def test_shared_options_are_checked_alike(make, options, says, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "nowhere").write_text("")
    with pytest.raises(BodystreamError, match=says):
        make(**options).run()


@pytest.mark.parametrize(("command", "chooser"), [("live", "--source"), ("drive", "--headset")])
def test_help_lists_the_keys_of_each_kind(command: str, chooser: str, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    shown = capsys.readouterr().out
    assert all(len(line) <= 80 for line in shown.splitlines() if not line.startswith("  bodystream"))
    entry = next(entry for entry in cli.COMMANDS if entry.words == (command,))
    loaded = entry.load()
    assert issubclass(loaded, RunOptions) and f"What {chooser} takes" in shown
    for kind in loaded.kinds():
        assert f"  {kind.name}" in shown and all(f" {key}=" in shown for key in kind.keys())
