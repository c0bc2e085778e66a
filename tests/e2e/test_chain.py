"""The chain's steps are done once and in order, and what comes of them is measured against a truth that is known."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from bodystream.body import Person
from bodystream.bundles import find_bundle
from bodystream.cli import main as cli
from bodystream.errors import BodystreamError
from bodystream.geometry.normals import vertex_normals
from bodystream.pipelines.fit import RegisteredFrame, write_motion, write_registered
from bodystream.sinks.facing import FACING_VECTOR
from bodystream.sinks.ply import write_ply
from bodystream.sources.captures import read_capture
from bodystream.sources.motion import read_motion
from bodystream.sources.synthetic import SyntheticConfig, SyntheticSource
from bodystream.types import Array, Mesh
from helpers.body_meshes import shipped_body, shipped_skin
from helpers.captured_body import CAMERA, write_captured_body
from helpers.needs import needs

needs("torch", "pip install 'bodystream[train]'")

from bodystream_export import cli as export_cli  # noqa: E402
from bodystream_training import cli as train_cli  # noqa: E402

DOCS = Path(__file__).resolve().parents[2] / "docs"
SOURCE = "synthetic?motion=limbs&width=160&height=120"
FRAMES = (0, 20, 40, 59)


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS))


def script(name: str) -> ModuleType:
    return __import__(name)


def writing(name: str, out: Path, text: str, reads: Sequence[Path] = ()) -> Any:
    """A step that writes a file, and counts how often it did."""
    code = (
        f"from pathlib import Path; out = Path({str(out)!r}); out.write_text({text!r}); "
        f"log = out.with_suffix('.log'); log.write_text((log.read_text() if log.exists() else '') + 'x')"
    )
    return script("chain_steps").Step(name, ("python", "-c", code), tuple(reads), (out,))


def times_done(*files: Path) -> list[int]:
    return [len(file.with_suffix(".log").read_text()) for file in files]


def test_a_step_is_done_once_and_again_where_its_inputs_changed(tmp_path: Path) -> None:
    run_steps = script("chain_steps").run_steps
    a, b, c = (tmp_path / f"{name}.txt" for name in "abc")
    said: list[str] = []

    def run(first: str = "1") -> dict[str, float]:
        steps = [writing("a", a, first), writing("b", b, "2", [a]), writing("c", c, "3", [b])]
        return run_steps(steps, tmp_path, said.append)

    taken = run()
    assert times_done(a, b, c) == [1, 1, 1] and list(taken) == ["a", "b", "c"] and min(taken.values()) > 0.0
    assert said[0].startswith("[1/3] a: python -c ")
    said.clear()
    assert run() == taken and times_done(a, b, c) == [1, 1, 1]
    assert [line.rpartition(",")[0] for line in said] == [
        f"[{n}/3] {name}: done before" for n, name in enumerate("abc", 1)
    ]
    b.unlink()
    run()
    assert times_done(a, b, c) == [1, 2, 2], "what comes after it read another file"
    run("another")
    assert times_done(a, b, c) == [2, 3, 3] and a.read_text() == "another"


def test_what_fails_is_named_and_what_came_before_stays(tmp_path: Path) -> None:
    steps = script("chain_steps")
    good = writing("good", tmp_path / "good.txt", "1")
    failing = steps.Step("bad", ("python", "-c", "raise SystemExit(3)"), (), (tmp_path / "none",))
    for step, said in (
        (failing, r"step bad failed \(exit status 3\)"),
        (steps.Step("idle", ("python", "-c", ""), (), (tmp_path / "none",)), "step idle failed .it wrote no .*none"),
        (steps.Step("gone", ("no-such-command",), (), ()), "no-such-command cannot be run .*extras train and export"),
    ):
        with pytest.raises(steps.StepError, match=said) as found:
            steps.run_steps([good, step], tmp_path, lambda _: None)
        assert found.value.code == 1
    assert times_done(tmp_path / "good.txt") == [1]
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(steps.StepError, match=r"mine.txt is there already, and not of this chain"):
        steps.run_steps([writing("mine", tmp_path / "mine.txt", "lost")], tmp_path, lambda _: None)
    assert (tmp_path / "mine.txt").read_text() == "kept"


def test_ctrl_c_ends_the_command_and_the_next_run_goes_on(tmp_path: Path) -> None:
    """The command is told once, and is waited for: it writes what it has."""
    command = """
import signal, sys, time
from pathlib import Path
part = Path("part.txt")
def stop(*_):
    part.write_text(part.read_text() + "stopped ")
    time.sleep(0.5)
    sys.exit(130)
signal.signal(signal.SIGINT, stop)
if part.exists():
    Path("whole.txt").write_text(part.read_text() + "whole")
else:
    part.write_text("begun ")
    time.sleep(60)
"""
    (tmp_path / "command.py").write_text(command)
    driver = """
import sys
from pathlib import Path
from chain_steps import Step, StepError, run_steps
here = Path.cwd()
step = Step("long", ("python", "command.py"), (), (here / "whole.txt", here / "part.txt"))
try:
    print(run_steps([step], here, lambda line: print(line, file=sys.stderr)))
except StepError as error:
    print(error, file=sys.stderr)
    sys.exit(error.code)
"""
    paths = os.pathsep.join([str(DOCS), *sys.path])
    begin = lambda: subprocess.Popen(  # noqa: E731
        [sys.executable, "-c", driver], cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths}, text=True,
        stderr=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    running = begin()
    limit = time.monotonic() + 60.0
    part = tmp_path / "part.txt"
    # a file that is there may not be written yet, and what stops then writes first
    while not (part.exists() and part.read_text()) and time.monotonic() < limit:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130 and "stopped in step long; the same command goes on from there" in said
    assert (tmp_path / "part.txt").read_text() == "begun stopped "
    again = begin()
    _, said = again.communicate(timeout=60)
    assert again.returncode == 0, said
    assert (tmp_path / "whole.txt").read_text() == "begun stopped whole"
    kept = json.loads((tmp_path / "steps" / "long.json").read_text())
    assert kept["done"] and kept["seconds"] > 0.0


def test_each_command_of_the_chain_is_one_that_users_have(tmp_path: Path) -> None:
    """In order, each reads what came before it, and its options are those of the installed commands."""
    chain = script("make_chain")
    rig = find_bundle("person").place
    options = chain.parsed(["--out", str(tmp_path), "--steps", "7", "--bundle", f"body={rig}"])
    with pytest.raises(BodystreamError, match="skinned-body"):
        chain.steps_of(tmp_path, options)
    options = chain.parsed(["--out", str(tmp_path), "--steps", "7"])
    steps = chain.steps_of(tmp_path, options, body=rig)
    assert [step.name for step in steps] == ["capture", "fit", "train", "export", "repose"]
    programs = {"bodystream": cli.COMMANDS, "bodystream-train": train_cli.PROGRAM.commands}
    programs["bodystream-export"] = export_cli.PROGRAM.commands
    made: set[Path] = {rig}
    for step in steps:
        assert made.issuperset(step.reads)
        made.update(step.writes)
        program, *words = step.words
        (entry,) = [one for one in programs[program] if tuple(words[: len(one.words)]) == one.words]
        parsed = cli.parse(entry, words[len(entry.words) :], program)
        assert getattr(parsed, "steps", 7) == 7


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the steps of a chain would have written of bodies that lie off the truth by so many millimetres: the
    registered ones 4, the fitted ones 9, and the avatar 6 in the frame that is held out, 60 in the others."""
    folder = tmp_path_factory.mktemp("chain")
    write_captured_body(folder / "capture")
    camera = SyntheticSource(SyntheticConfig(motion="limbs", width=160, height=120), "cpu")
    mesh, kept = shipped_body()
    person = Person(shipped_skin(), mesh.vertices, mesh.faces)

    def off(vertices: Array, mm: float) -> Array:
        return vertices + 1e-3 * mm * vertex_normals(vertices, mesh.faces)

    truths, frames = [], []
    for number, index in enumerate(FRAMES):
        truth = camera.render(index, 0).truth
        assert truth is not None
        truths.append(truth.mesh.vertices[kept] @ CAMERA[:3, :3].T + CAMERA[:3, 3])
        state = person.pose_of(truths[-1]).state
        known = np.ones(len(kept), bool)
        frames.append(
            RegisteredFrame(number, index / 30, off(truths[-1], 4.0), truths[-1], state, np.zeros(len(kept)), known)
        )
    write_registered(folder / "fit", person, frames, read_capture(folder / "capture"), "one")
    write_motion(folder / "fit" / "motion.bvh", person, frames)
    plain = np.stack([off(vertices, 9.0) for vertices in truths])
    times = np.array(FRAMES) / 30
    np.savez(folder / "fit" / "plain.npz", vertices=plain, t_s=times, file_from_camera=CAMERA)
    lifted = read_motion(folder / "fit" / "motion.bvh").root_positions_m[0] - FACING_VECTOR * frames[0].state.root
    (folder / "reposed").mkdir()
    colours = np.full(mesh.vertices.shape, 99, np.uint8)
    for number, vertices in enumerate(truths):
        shown = off(vertices, 6.0 if number == 3 else 60.0) * FACING_VECTOR + lifted
        write_ply(folder / "reposed" / f"{number:04d}.ply", Mesh(shown.astype(np.float32), mesh.faces, None, colours))
    return folder


def test_figures_are_the_distances_from_the_truth(chain: Path) -> None:
    found = script("chain_truth").figures(files_of(chain))
    for name, mm in {"registered": 4.0, "plain": 9.0, "avatar_held_out": 6.0, "plain_held_out": 9.0}.items():
        # A vertex that is moved along its normal is a little nearer than that to the surface, where this is bent.
        assert 0.85 * mm < found[f"{name}_mm"] <= mm + 0.05, name
        assert 0.85 * mm < found[f"{name}_back_mm"] <= mm + 0.05, name
        assert found[f"{name}_both_mm"] == pytest.approx((found[f"{name}_mm"] + found[f"{name}_back_mm"]) / 2)


def test_what_is_missing_is_told_by_the_way_back() -> None:
    compared = script("chain_truth").compared
    mesh, _ = shipped_body()
    corners = mesh.vertices[mesh.faces]
    below = Mesh(mesh.vertices, mesh.faces[corners[..., 1].max(axis=1) < 1.0])
    found = compared(below, mesh)
    assert found.there < 0.1 and found.back > 50.0


def test_each_step_has_a_picture(chain: Path) -> None:
    pictures = script("chain_truth").pictures(files_of(chain))
    assert list(pictures) == ["chain-capture", "chain-fit", "chain-avatar", "chain-repose"]
    for name, picture in pictures.items():
        pixels = np.asarray(picture)
        assert (pixels != pixels[0, 0]).any(axis=-1).mean() > 0.05, name


def test_only_the_synthetic_camera_knows_its_truth(chain: Path, tmp_path: Path) -> None:
    said = script("make_chain").main(["--out", str(tmp_path), "--source", "realsense"])
    assert said == 2


def files_of(folder: Path) -> Any:
    return script("chain_truth").ChainFiles(SOURCE, *(folder / name for name in ("capture", "fit", "reposed")))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "file"], "--out: cannot write to the folder"),
        (["--json", "."], "--json: '.' is no name of a file"),
        (["--train", "'--batch 2"], "--train '--batch 2: No closing quotation: close what is quoted"),
    ],
)
def test_what_cannot_be_used_is_told_before_the_first_step(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setattr(script("chain_steps"), "_call", lambda _: pytest.fail("a step is run"))
    assert script("make_chain").main(words) == 2
    assert f"chain: {message}" in capsys.readouterr().err


def test_the_chain_has_the_options_that_it_tells_of() -> None:
    told = [line for line in script("make_chain").__doc__.splitlines() if "python docs/make_chain.py" in line]
    assert told
    for line in told:
        script("make_chain").parsed(shlex.split(line, comments=True)[2:])
