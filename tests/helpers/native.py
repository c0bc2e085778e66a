"""C programs of tests: built with the system's compiler, and a writer of numbered poses for them to read."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from bodystream.sinks.shm import ShmWriter, pose_record
from bodystream.sinks.shm.layout import Offer
from bodystream.types import Array, Mesh
from helpers.sent_poses import t_pose_sent

__all__ = ["HAMMER", "INCLUDE", "ROOT", "built", "free_name", "marked_pose", "marked_surface", "writing"]

ROOT = Path(__file__).resolve().parents[2]
INCLUDE = ROOT / "include"
HAMMER = ROOT / "tests" / "native" / "hammer.c"
_names = iter(range(1_000_000))


def built(source: Path, out: Path, *options: str, include: Path = INCLUDE, compiler: str = "cc") -> Path:
    """A program, built without a warning; the test is skipped where there is no compiler."""
    if shutil.which(compiler) is None:
        pytest.skip(f"no C compiler: {compiler} is not installed")
    command = [compiler, str(source), f"-I{include}", "-o", str(out), "-pthread", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return out


def free_name() -> str:
    """A name that no other test has."""
    import os

    return f"t{os.getpid()}-{next(_names)}"


def marked_pose(number: int) -> Array:
    """The record of a pose each of whose numbers is that of the pose, as tests/native/hammer.c wants it."""
    record = pose_record(t_pose_sent())
    record["joints"].view(np.float32)[:] = number % 1_000_003
    record["sample_ns"] = number
    return record


def marked_surface(number: int, vertices: int = 700, faces: int = 1300) -> Mesh:
    """The same of a surface."""
    mark = number % 1_000_003
    return Mesh(
        np.full((vertices, 3), mark, np.float32),
        np.full((faces, 3), number % 251, np.int32),
        np.full((vertices, 3), mark, np.float32),
        np.full((vertices, 3), number % 251, np.uint8),
    )


@contextmanager
def writing(name: str, what: str, hz: float) -> Iterator[subprocess.Popen[str]]:
    """Another process that writes numbered poses or surfaces under a name, until the block ends.

    Args:
        what: `poses` or `surfaces`. hz: so many a second; 0 = as many as it can.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "helpers.native", name, what, str(hz)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT / "tests",
        env=_environment(),
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "writing\n"
        yield process
    finally:
        process.terminate()
        process.wait(20)
        assert process.stdout is not None
        process.stdout.close()
        _clean(name)


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": f"{ROOT / 'runtime'}{os.pathsep}{ROOT / 'tests'}"}


def _clean(name: str) -> None:
    path = Path(f"/dev/shm/bodystream.{name}")  # a killed one leaves it
    path.unlink(missing_ok=True)


def _main(words: Sequence[str]) -> None:
    import time

    from bodystream.types import Status

    name, what, hz = words[0], words[1], float(words[2])
    writer = ShmWriter(name, Offer.POSES | Offer.SURFACES, 1000, 2000)
    record = marked_pose(1)
    floats = record["joints"].view(np.float32)
    number, due = 0, time.perf_counter()
    while True:
        number += 1
        if what == "poses":
            floats[:], record["sample_ns"] = number % 1_000_003, number
            assert writer.write_pose(record) == number
        else:
            writer.write_surface(marked_surface(number), number, Status.TRACKED, number, in_camera=True)
        if number == 1:
            print("writing", flush=True)
        if hz:
            due += 1.0 / hz
            time.sleep(max(0.0, due - time.perf_counter()))


if __name__ == "__main__":
    _main(sys.argv[1:])
