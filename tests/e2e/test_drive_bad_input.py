"""`bodystream drive` with what headsets and files really get wrong: a clear message, or a defined fallback.

The sources' own tests look at each check closely. Here each fault goes through the very command, in this process since
there are many of them: what is wrong is on stderr, in the report's warnings and among its flags, and what can be driven
is driven.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bodystream.cli.main import main
from bodystream.sources.headset.check_messages import MESSAGES
from bodystream.types import HeadsetSample
from helpers.command_line import run
from helpers.headset_motions import walking, working
from helpers.headset_takes import RATE_HZ, change_devices, samples_of, write_bvh, write_table

SECOND_NS = 1_000_000_000


@dataclass
class Driven:
    """What became of one command."""

    code: int
    stderr: str
    report: dict[str, Any]

    def say(self, flag: str) -> bool:
        """Whether a flag is counted, and its message both on stderr and in the report."""
        begin = MESSAGES[flag].split("{")[0]
        told = any(line.startswith(f"warning: {begin}") for line in self.stderr.splitlines())
        kept = any(warning.startswith(begin) for warning in self.report["warnings"])
        assert told == kept, (self.stderr, self.report["warnings"])
        return told

    @property
    def processed(self) -> int:
        return self.report["frames"]["processed"]


Drive = Callable[..., Driven]


@pytest.fixture
def drive(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Drive:
    """Drives samples as a table, headless and as fast as it goes, in the folder of the test."""
    monkeypatch.chdir(tmp_path)

    def driven(samples: list[HeadsetSample], *words: str) -> Driven:
        write_table(tmp_path / "take.csv", samples)
        code = main(
            ["drive", "--headset", "trace:take.csv", "--headless", "--pace", "all", "--report", "r.json", *words]
        )
        stderr = capfd.readouterr().err
        path = tmp_path / "r.json"
        return Driven(code, stderr, json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {})

    return driven


@pytest.fixture(scope="module")
def at_work() -> list[HeadsetSample]:
    """Hands before the chest, 3 s."""
    return samples_of(working(3.0))


def test_a_sound_stream_is_not_blamed(drive: Drive, at_work: list[HeadsetSample]) -> None:
    done = drive(at_work)
    assert done.code == 0 and done.processed == len(at_work)
    assert done.report["warnings"] == [] and not set(done.report["flags"]) & set(MESSAGES)


def test_hands_swapped(drive: Drive, at_work: list[HeadsetSample]) -> None:
    swapped = [replace(sample, left=sample.right, right=sample.left) for sample in at_work]
    done = drive(swapped)
    assert done.code == 0 and done.processed == len(swapped), "driven all the same"
    assert done.say("hands_swapped") and "--swap-hands" in done.stderr
    assert done.report["flags"]["hands_swapped"] > 10
    assert done.report["tracking"]["status"]["degraded"] >= done.report["flags"]["hands_swapped"]
    mended = drive(swapped, "--swap-hands")
    assert not mended.say("hands_swapped") and "hands_swapped" not in mended.report["flags"]


def test_left_handed_axes(drive: Drive, at_work: list[HeadsetSample]) -> None:
    unity = change_devices(at_work, lambda p, q: (p * (1, 1, -1), q * (-1, -1, 1, 1)))
    done = drive(unity)
    assert done.code == 0 and done.processed == len(unity)
    assert done.say("left_handed_axes") and "--left-handed" in done.stderr
    assert done.report["flags"]["left_handed_axes"] > 10
    mended = drive(unity, "--left-handed")
    assert mended.report["warnings"] == []


def test_quaternions_wxyz(drive: Drive, at_work: list[HeadsetSample]) -> None:
    wxyz = change_devices(at_work, lambda p, q: (p, np.roll(q, 1)))
    done = drive(wxyz)
    assert done.code == 0 and done.processed == len(wxyz)
    assert done.say("wxyz_suspected") and "they are taken so now" in done.stderr
    assert "--quaternion-order wxyz" in done.stderr
    mended = drive(wxyz, "--quaternion-order", "wxyz")
    assert mended.report["warnings"] == [] and "wxyz_suspected" not in mended.report["flags"]


@pytest.mark.parametrize(("units", "per_metre"), [("cm", 100.0), ("mm", 1000.0)])
def test_other_units(drive: Drive, at_work: list[HeadsetSample], units: str, per_metre: float) -> None:
    scaled = change_devices(at_work, lambda p, q: (p * per_metre, q))
    done = drive(scaled)
    assert done.code == 0 and done.processed == len(scaled)
    assert done.say("units_suspected") and f"--units {units} to be sure; they are taken so now" in done.stderr
    assert done.report["quality"]["head_error_mean_cm"] < 0.5
    if units == "cm":
        assert drive(scaled, "--units", units).report["warnings"] == []


def test_quaternions_that_are_not_normalised(drive: Drive, at_work: list[HeadsetSample]) -> None:
    done = drive(change_devices(at_work, lambda p, q: (p, q * 1.7)))
    assert done.code == 0 and done.processed == len(at_work)
    assert done.say("not_normalised") and done.report["flags"]["not_normalised"] == len(at_work)
    assert done.report["quality"]["head_error_mean_cm"] < 0.5


def test_one_hand_only(drive: Drive, at_work: list[HeadsetSample]) -> None:
    done = drive([replace(sample, left=None) for sample in at_work])
    assert done.code == 0 and done.processed == len(at_work)
    assert done.report["flags"]["left_lost"] == len(at_work) and "right_lost" not in done.report["flags"]
    assert done.report["tracking"]["status"]["degraded"] == len(at_work)
    assert any("the left hand not tracked" in reason for reason in done.report["tracking"]["reasons"])
    assert done.report["warnings"] == []


def test_head_only(drive: Drive, at_work: list[HeadsetSample]) -> None:
    done = drive([replace(sample, left=None, right=None) for sample in at_work], "--out", "out")
    assert done.code == 0 and done.processed == len(at_work)
    assert done.report["flags"] == {"left_lost": len(at_work), "right_lost": len(at_work)}
    assert done.report["quality"]["head_error_mean_cm"] < 0.5 and done.report["quality"]["hand_error_mean_cm"] is None
    assert Path("out/driven.bvh").is_file() and Path("out/driven.glb").is_file()


def test_no_head_at_all(drive: Drive, at_work: list[HeadsetSample]) -> None:
    done = drive([replace(sample, head=None) for sample in at_work[:60]], "--out", "out")
    assert done.code == 2 and done.report["tracking"]["status"] == {"tracked": 0, "degraded": 0, "lost": 60}
    assert "error: nothing was driven: all 60 poses were lost" in done.stderr
    assert done.report["flags"]["head_lost"] == 60
    assert "no pose was tracked, so there is no motion to write" in done.stderr
    assert sorted(path.name for path in Path("out").iterdir()) == ["headset.csv"]


def test_devices_that_are_nowhere(drive: Drive, at_work: list[HeadsetSample]) -> None:
    spoilt = list(at_work)
    for k in range(30, 40):
        (spoilt[k],) = change_devices([at_work[k]], lambda p, q: (p + 1e5, q))
    done = drive(spoilt)
    assert done.code == 0 and done.processed == len(at_work)
    assert done.say("invalid_pose") and done.report["flags"]["invalid_pose"] == 10
    assert done.report["flags"]["head_lost"] == 10, "it counts as not tracked"


def test_time_going_backwards(drive: Drive, at_work: list[HeadsetSample]) -> None:
    shuffled = list(at_work)
    shuffled[50], shuffled[51] = shuffled[51], shuffled[50]  # out of order
    shuffled.insert(80, shuffled[79])  # twice
    done = drive(shuffled)
    assert done.code == 0 and done.say("time_backwards")
    assert done.report["frames"] == {"in": len(shuffled), "processed": len(shuffled) - 2, "dropped": 2}
    assert "time_jump" not in done.report["flags"]


def test_clock_that_is_set_back_and_clock_that_jumps(drive: Drive, at_work: list[HeadsetSample]) -> None:
    half = len(at_work) // 2
    back = at_work[half:] + at_work[:half]
    done = drive(back)
    assert done.code == 0 and done.say("time_backwards") and done.say("time_jump")
    assert done.report["frames"]["dropped"] == 9, "followed from the tenth on"
    assert done.processed == len(back) - 9

    ahead = [replace(s, t_ns=s.t_ns + (30 * SECOND_NS if k >= half else 0)) for k, s in enumerate(at_work)]
    done = drive(ahead)
    assert done.code == 0 and done.say("time_jump") and done.processed == len(ahead)
    assert done.report["flags"]["time_jump"] == 1 and done.report["tracking"]["restarts"] == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("t_ns,head_px\n0,1\n", "the head has no column head_py"),
        ("seconds,x\n0,1\n", "wanted one column of t_ns, t_ms, t_s"),
        ("", "is empty"),
        ('{"frames": 3}', "no known recording format"),
        ('{"frames": [', "is not valid JSON"),
        ("t_s,head_px,head_py,head_pz,head_qx,head_qy,head_qz,head_qw\n0,0,1.6,zero,0,0,0,1\n", "'head_pz' must be"),
        ("t_s,head_px,head_py,head_pz,head_qx,head_qy,head_qz,head_qw\n0,0,1.6,0,0,0\n", "line 2 has 6 cells"),
    ],
)
def test_tables_that_are_none(
    content: str, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("take.csv").write_text(content, encoding="utf-8")
    assert said in refusal(["--headset", "trace:take.csv", "--headless"], capfd)


@pytest.fixture(scope="module")
def motion_text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A sound motion file, to be damaged."""
    path = write_bvh(tmp_path_factory.mktemp("motion") / "take.bvh", walking(2.0))
    return path.read_text(encoding="latin-1")


def with_tail(text: str) -> str:
    """The skeleton with a joint more."""
    first = "CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation\n"
    assert text.count(first) == 1
    tail = "JOINT tail { OFFSET 0 0 12 CHANNELS 0 End Site { OFFSET 0 0 5 } }\n"
    return text.replace(first, first + tail)


def without_left_arm(text: str) -> str:
    """No name of the left arm is left, and no other name tells that it is one."""
    for part in ("collar", "shoulder", "elbow", "wrist"):
        text = text.replace(f"left_{part}", f"gizmo_{part[::-1]}")
    return text


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without_left_arm, "the skeleton has no joint for left_"),
        (lambda text: text[: len(text) // 2], "the file is cut off"),
        (lambda text: text[: text.index("MOTION")], "has no MOTION section"),
        (lambda text: text.replace("OFFSET", "OFSET", 2), "line "),
        (lambda text: text.replace("Zrotation", "Wrotation", 1), "the channel 'Wrotation' is unknown"),
        (lambda text: "not a motion at all", "is not a BVH file"),
    ],
    ids=["missing joint", "cut off", "no motion", "misspelt", "channel", "another file"],
)
def test_damaged_motion_is_refused(
    damage: Callable[[str], str],
    said: str,
    motion_text: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("take.bvh").write_text(damage(motion_text), encoding="latin-1")
    line = refusal(["--headset", "motion:take.bvh", "--headless"], capfd)
    assert said in line and "take" in line


def test_motion_with_further_joints(
    motion_text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("take.bvh").write_text(with_tail(motion_text), encoding="latin-1")
    words = ["drive", "--headset", f"motion:take.bvh?rate_hz={RATE_HZ:g}", "--headless", "--pace", "all"]
    assert main([*words, "--report", "r.json"]) == 0, capfd.readouterr().err
    report = json.loads(Path("r.json").read_text(encoding="utf-8"))
    assert report["tracking"]["status"]["lost"] == 0 and report["quality"]["head_error_mean_cm"] < 0.5


def refusal(words: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    """The one line with which `bodystream drive` refuses."""
    assert main(["drive", *words]) == 2
    out, err = capfd.readouterr()
    lines = [line for line in err.splitlines() if not line.startswith("building kernels")]
    assert out == "" and len(lines) == 1 and lines[0].startswith("error: "), err
    return lines[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--headset", "hololens"], "there is no headset source 'hololens' (there are openxr, webxr"),
        (["--headset", "a_file"], "for a recording write trace:a_file or take:a_file or motion:a_file"),
        (["--headset", "trace:nowhere.json"], "cannot read the headset recording nowhere.json"),
        (
            ["--headset", "trace:take.csv?speed=2"],
            "trace has no key 'speed', got 'trace:take.csv?speed=2' (keys: realtime)",
        ),
        (["--headset", "motion:nowhere.bvh"], "nowhere.bvh is not there"),
        (["--headset", "webxr:http"], "webxr: port must be a whole number, got 'http'"),
        (["--headset", "openxr", "--frames", "0"], "--frames must be at least 1, got 0"),
        (["--headset", "openxr", "--height", "175"], "--height must be 1.0 to 2.3 metres, got 175"),
        (["--headset", "openxr", "--port", "70000"], "--port must be 0"),
        (["--headset", "trace:take.csv", "--report", "a_file/r.json"], "--report: cannot write to the folder"),
        (["--headset", "trace:take.csv", "--out", "a_file"], "--out: cannot write to the folder a_file"),
        (["--headset", "trace:take.csv", "--calibration", "who.json"], "--calibration who.json is not a file"),
        (["--headset", "trace:take.csv", "--calibration", "a_file"], "a_file is not a calibration"),
        (["--headset", "trace:take.csv", "--hypotheses", "0"], "hypotheses must be 1 to 64, got 0"),
        (["--headset", "trace:take.csv", "--device", "gpu"], "device must be auto, cpu, cuda or cuda:N"),
    ],
)
def test_wrong_options_are_refused(
    words: list[str],
    said: str,
    at_work: list[HeadsetSample],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a_file").write_text("not a folder")
    write_table(tmp_path / "take.csv", at_work[:5])
    assert said in refusal([*words, "--headless"], capfd)
    assert Path("a_file").read_text() == "not a folder"


def test_openxr_without_a_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own: the loader of OpenXR reads the variable once, and speaks on stderr itself."""
    monkeypatch.setenv("XR_RUNTIME_JSON", str(tmp_path / "no_runtime.json"))
    done = run("drive", "--headset", "openxr", "--headless", cwd=tmp_path)
    line = refused_last(done)
    if importlib.util.find_spec("xr") is None:
        assert "pyopenxr is needed" in line and "pip install 'bodystream[openxr]'" in line
    else:
        assert "no_runtime.json, which is not a file" in line or "the OpenGL library is needed" in line


def refused_last(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr, done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    return line
