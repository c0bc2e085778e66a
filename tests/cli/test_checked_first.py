"""What a user gives is checked before kernels are built: a wrong path must not cost minutes on a fresh machine."""

from __future__ import annotations

import threading
import webbrowser
from pathlib import Path

import pytest

from bodystream.cli.browser import open_page
from bodystream.cli.drive import Drive
from bodystream.cli.live import Live
from bodystream.cli.serve import Serve
from bodystream.errors import BodystreamError, ConfigurationError
from helpers.headset_motions import walking
from helpers.headset_takes import write_bvh


@pytest.fixture(autouse=True)
def no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: object, **__: object) -> None:
        raise AssertionError("kernels are built before the input is checked")

    monkeypatch.setattr("bodystream.pipelines.warmup.warm_up", build)
    monkeypatch.setattr("bodystream.pipelines.drive.pipeline.Driver.warm_up", build)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "folder:nowhere"}, "nowhere: does not exist"),
        ({"source": "webcam"}, "there is no source"),
        ({"report": Path("")}, "--report: '.' is no name of a file"),
        ({"report": Path("folder")}, "--report: folder is a folder"),
        ({"report": Path("file/r.json")}, "--report: cannot write to the folder"),
        ({"out": Path("file")}, "--out: cannot write to the folder file"),
        ({"frames": 0}, "--frames must be at least 1"),
        ({"voxel_mm": -1.0}, "voxel"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"source": "synthetic?motion=fly"}, "motion must be one of .*got 'fly'"),
    ],
)
def test_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BodystreamError, match=message):
        Live(headless=True, **options).run()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"], "nothing is left behind"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"headset": "trace:nowhere.json"}, "nowhere.json"),
        ({"headset": "trace:x?realtime=soon"}, "realtime must be 1 or 0"),
        ({"headset": "glasses"}, "there is no headset source"),
        ({"headset": "trace:x", "report": Path(".")}, "--report: '.' is no name of a file"),
        ({"headset": "trace:x", "out": Path("file/below")}, "--out: cannot write to the folder"),
        ({"headset": "trace:x", "calibrate": "T", "calibration": Path("folder")}, "--calibration: folder is a folder"),
        ({"headset": "trace:x", "height": 9.0}, "--height must be"),
        (
            {"headset": "motion:walk.bvh", "avatar": "nobody"},
            "there is no avatar 'nobody': choose default, default-clothed, or give a .vrm",
        ),
        ({"headset": "motion:walk.bvh", "avatar": "folder"}, "folder"),
        (
            {"headset": "motion:walk.bvh", "avatar": "folder", "bundle": ("person=folder",)},
            "--bundle person is the body of --avatar default, and --avatar folder was given, too",
        ),
    ],
)
def test_drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    write_bvh(tmp_path / "walk.bvh", walking(0.2))
    with pytest.raises(BodystreamError, match=message):
        Drive(headless=True, **options).run()


def test_serve_refuses_two_bodies_as_drive_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    options = {"headset": "motion:walk.bvh", "avatar": "me.vrm", "bundle": ("person=folder",)}
    for source in (None, "folder:take"):
        with pytest.raises(ConfigurationError, match="--bundle person is .* --avatar me.vrm was given, too"):
            Serve(source=source, **options).run()
    # Before the synthetic camera stands the one, and the headset drives the other.
    with pytest.raises(BodystreamError, match="folder holds no bundle"):
        Serve(source="synthetic", port=0, tls=False, **options).run()


def test_a_browser_that_blocks_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, go = threading.Event(), threading.Event()

    def slow(url: str) -> bool:
        asked.set()
        return go.wait(20)

    monkeypatch.setattr(webbrowser, "open", slow)
    open_page("http://127.0.0.1:1/")
    assert asked.wait(20) and not go.is_set()
    go.set()
