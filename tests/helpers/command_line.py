"""The installed command as a user runs it: in a process of its own, in a folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from bodystream.types import RgbdFrame

__all__ = ["Running", "environment", "run", "write_recording"]

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(sys.executable).with_name("bodystream.exe" if os.name == "nt" else "bodystream")
COMMAND = [str(SCRIPT)] if SCRIPT.is_file() else [sys.executable, "-m", "bodystream.cli.main"]
LIMIT_S = 240.0  # a first run builds all kernels


def environment() -> dict[str, str]:
    """This checkout comes before any other that is installed."""
    paths = [str(ROOT / "runtime"), str(ROOT / "benchmarks")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


def run(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `bodystream <words>` to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, words)],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


class Running:
    """`bodystream <words>` in the background; its stderr is read line by line."""

    def __init__(self, *words: str | Path, cwd: Path) -> None:
        self._process = subprocess.Popen(
            [*COMMAND, *map(str, words)],
            cwd=cwd,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._more:
                self.lines.append(line.rstrip("\n"))
                self._more.notify_all()
        with self._more:
            self._more.notify_all()

    def wait_for_line(self, beginning: str, number: int = 1) -> str:
        """The first line of stderr with this beginning, or a later one by its number."""
        deadline = time.monotonic() + LIMIT_S
        with self._more:
            while time.monotonic() < deadline:
                found = [line for line in self.lines if line.startswith(beginning)]
                if len(found) >= number:
                    return found[number - 1]
                assert self._process.poll() is None or self._reader.is_alive(), f"it ended:\n{self.text}"
                self._more.wait(0.2)
        raise AssertionError(f"no line {beginning!r} within {LIMIT_S:g} s:\n{self.text}")

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def signal(self, number: int) -> None:
        """Send a signal to the process alone."""
        self._process.send_signal(number)

    def finish(self) -> int:
        """Wait for the end; the exit code."""
        try:
            code = self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise AssertionError(f"it did not end:\n{self.text}") from None
        self._reader.join(10)
        return code

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._reader.join(10)
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()


def write_recording(
    folder: Path, frames: Iterable[RgbdFrame], *, units_per_m: float = 1000.0, intrinsics: bool = True
) -> Path:
    """Write frames as colour/ and depth/ png files with intrinsics.txt."""
    for name in ("colour", "depth"):
        (folder / name).mkdir(parents=True)
    for frame in frames:
        assert frame.colour is not None
        depth = np.clip(np.rint(frame.depth_m * units_per_m), 0, 65535).astype(np.uint16)
        assert cv2.imwrite(str(folder / "depth" / f"{frame.index:04d}.png"), depth)
        assert cv2.imwrite(str(folder / "colour" / f"{frame.index:04d}.png"), frame.colour[..., ::-1])
        k = frame.intrinsics
        if intrinsics:
            (folder / "intrinsics.txt").write_text(f"{k.fx} {k.fy} {k.cx} {k.cy}\n", encoding="utf-8")
    return folder
