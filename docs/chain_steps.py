"""Commands one after the other, each done once: used by `make_chain.py`.

A step is done again where its command has changed, or a file that it reads. What stopped it, Ctrl-C or a fault, leaves
the steps before it done; one that was stopped begins with what it has written, which a training goes on from.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bodystream.cli.interrupts import EXIT_BY_SIGNAL, StopOnInterrupt
from bodystream.files import atomic_path


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: a word. words: the command, as it is typed.
        reads: files and folders that it depends on. writes: those that it makes, in the folder of the steps.
        prints: file of `writes` that gets what the command prints, or None.
    """

    name: str
    words: tuple[str, ...]
    reads: tuple[Path, ...]
    writes: tuple[Path, ...]
    prints: Path | None = None


class StepError(Exception):
    """A step did not come to its end.

    Attributes:
        code: for the process to exit with.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def run_steps(steps: Sequence[Step], folder: Path, say: Callable[[str], object]) -> dict[str, float]:
    """Run what is not done yet; gives the processor time of each step [s], when it was done.

    Of a step that was stopped, all that it took until it was done counts.

    Args:
        folder: that keeps what was done, in `steps`.
        say: told of each step.

    Raises:
        StepError: a command failed, or was stopped.
    """
    taken: dict[str, float] = {}
    for number, step in enumerate(steps, start=1):
        head = f"[{number}/{len(steps)}] {step.name}"
        file = folder / "steps" / f"{step.name}.json"
        wanted, before = _wanted(step), _read(file)
        same = before.get("wanted") == wanted
        if same and before.get("done") and all(path.exists() for path in step.writes):
            say(f"{head}: done before, in {before['seconds']:.0f} s of a processor")
            taken[step.name] = before["seconds"]
            continue
        if not same:
            _remove(step, known=bool(before))
        say(f"{head}: {shlex.join(step.words)}")
        seconds = before["seconds"] if same else 0.0
        began = _processor_s()
        _write(file, wanted, seconds, done=False)
        code, stopped = _call(step)
        seconds += _processor_s() - began
        missing = [path for path in step.writes if not path.exists()]
        done = code == 0 and not stopped and not missing
        _write(file, wanted, seconds, done)
        if stopped:
            told = f"stopped in step {step.name}; the same command goes on from there"
            raise StepError(told, EXIT_BY_SIGNAL + stopped)
        if not done:
            what = f"exit status {code}" if code else f"it wrote no {missing[0]}"
            raise StepError(f"step {step.name} failed ({what}): mend what it says above, and run the same again", 1)
        say(f"{head}: {seconds:.0f} s of a processor")
        taken[step.name] = seconds
    return taken


def _processor_s() -> float:
    """That commands which have ended took of all processors: other work on the machine does not count."""
    taken = os.times()
    return taken.children_user + taken.children_system


def _call(step: Step) -> tuple[int, int]:
    """The exit status, and the number of the signal that asked for an end, or 0.

    The command has a session of its own, so that a Ctrl-C reaches it once, handed on from here.
    """
    program = shutil.which(step.words[0], path=str(Path(sys.executable).parent)) or step.words[0]
    printed = None if step.prints is None else step.prints.open("w", encoding="utf-8")
    try:
        child = subprocess.Popen([program, *step.words[1:]], stdout=printed, start_new_session=True)
    except OSError as error:
        cure = "install bodystream with its extras train and export"
        raise StepError(f"{step.words[0]} cannot be run ({error}): {cure}", 1) from error
    finally:
        if printed is not None:
            printed.close()
    with StopOnInterrupt(lambda: child.send_signal(signal.SIGINT)) as interrupt:
        try:
            return child.wait(), interrupt.number or 0
        except KeyboardInterrupt:  # the second one: no more waiting
            child.kill()
            return child.wait(), signal.SIGINT


def _wanted(step: Step) -> dict[str, Any]:
    """What a step is known by: its command, and name, size and time of each file that it reads."""
    seen = hashlib.sha256()
    for path in step.reads:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file():
                facts = file.stat()
                seen.update(f"{file}\0{facts.st_size}\0{facts.st_mtime_ns}\0".encode())
    return {"words": list(step.words), "reads": seen.hexdigest()}


def _remove(step: Step, known: bool) -> None:
    """Remove what a step made of other inputs; files that no step is known to have made stay."""
    for path in step.writes:
        if path.exists() and not known:
            raise StepError(f"{path} is there already, and not of this chain: give another folder, or remove it", 2)
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _read(file: Path) -> dict[str, Any]:
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        return {"wanted": kept["wanted"], "seconds": float(kept["seconds"]), "done": kept["done"] is True}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write(file: Path, wanted: dict[str, Any], seconds: float, done: bool) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(file) as waiting:
        waiting.write_text(json.dumps({"wanted": wanted, "seconds": seconds, "done": done}, indent=1), encoding="utf-8")
