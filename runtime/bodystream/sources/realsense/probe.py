"""Opens a recording in a process of its own first: the camera library spins, or crashes, on some damaged ones.

Run as a script (`python probe.py PATH`) this goes through the library's own steps to a first frame, and ends.
What is wrong with a recording that comes to an end is found, and told, when it is opened for use.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bodystream.errors import InputError, excerpt

__all__ = ["probe_recording"]

_MOST_SAID = 4000
_FIRST_FRAME_S = 5.0
_AGAIN = "copy it again from where it was recorded, or record it again"


def probe_recording(path: Path, limit_s: float, command: Sequence[str] | None = None) -> None:
    """See whether the camera library comes to an end with a recording.

    Args:
        path: of a file that `check_recording` found to be whole.
        limit_s: how long it may take until its first frame.
        command: what is run in place of this script, with the path as its last word.

    Raises:
        InputError: it did not within the limit, or it ended the process.
    """
    # -P: the folder of this script is no place for imports, its modules have everyday names.
    words = [sys.executable, "-P", __file__] if command is None else command
    with subprocess.Popen(
        [*words, str(path.absolute())], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as child:
        try:
            said = child.communicate(timeout=limit_s)[1]
        except subprocess.TimeoutExpired as error:
            raise InputError(
                f"{path}: the camera library was not done with it after {limit_s:g} s, and was stopped. It is "
                f"damaged: {_AGAIN}; an intact one that is slow to read is better copied to this machine"
            ) from error
        finally:
            child.kill()  # also where we are interrupted; nothing happens to one that has ended
    if child.returncode < 0:
        raise InputError(
            f"{path}: the camera library crashed when it opened it (signal {-child.returncode}). "
            f"It is damaged: {_AGAIN}"
        )
    if child.returncode > 0:
        last = (said[-_MOST_SAID:].decode(errors="replace").strip().splitlines() or ["nothing was said"])[-1]
        raise InputError(f"{path} could not be tried out ({excerpt(last, 200)}): see `bodystream doctor`, or {_AGAIN}")


def _open(rs: Any, path: str) -> None:
    """The steps of `sdk.open_recording`, and the wait for a frame."""
    context = rs.context()
    device = context.load_device(path).as_playback()
    device.set_real_time(False)
    for sensor in device.query_sensors():
        sensor.get_stream_profiles()
    pipeline = rs.pipeline(context)
    pipeline.set_device(device)
    pipeline.start(rs.config())
    until_s = time.monotonic() + _FIRST_FRAME_S
    while not pipeline.try_wait_for_frames(100)[0] and time.monotonic() < until_s:
        pass
    pipeline.stop()
    context.unload_device(path)


def _main(path: str) -> None:
    import pyrealsense2 as rs

    try:
        _open(rs, path)
    except RuntimeError:
        pass  # it came to an end


if __name__ == "__main__":
    _main(sys.argv[-1])
