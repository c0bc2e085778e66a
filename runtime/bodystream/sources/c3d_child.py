"""Reads the markers of a C3D file in a process of its own: the library ends the process on some damaged ones.

`python c3d_child.py PATH MOST` writes an `.npz` to its standard output, or says in one line what is wrong and ends
with 2. It knows nothing of this package.
"""

from __future__ import annotations

import io
import sys

__all__ = ["main"]


def _limit_memory(most: int) -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    except (ImportError, OSError, ValueError):
        pass  # where the system has no such limit, that of the time remains


def _words(parameters: dict, name: str) -> list[str]:
    """Of a parameter, and of those that go on where there are more than 255: LABELS, LABELS2, ..."""
    out: list[str] = []
    for number in range(1, 100):
        key = name if number == 1 else f"{name}{number}"
        if key not in parameters:
            break
        out += [str(word) for word in parameters[key]["value"]]
    return out


def _frames(parameters: dict) -> int:
    """How many there are by TRIAL, which counts in two words of 16 bits, not one as the header; 0: it says nothing."""
    try:
        trial = parameters["TRIAL"]
        first, last = (
            [int(word) & 0xFFFF for word in trial[f"ACTUAL_{end}_FIELD"]["value"]] for end in ("START", "END")
        )
        return max(0, last[0] + (last[1] << 16) - first[0] - (first[1] << 16) + 1)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError):
        return 0


def main(path: str, most: int) -> int:
    import ezc3d
    import numpy as np

    _limit_memory(most)
    try:
        content = ezc3d.c3d(path)
        points = np.asarray(content["data"]["points"], np.float64)
        residuals = np.asarray(content["data"]["meta_points"]["residuals"], np.float64)
        about = content["parameters"]["POINT"]
        rate = about["RATE"]["value"] if "RATE" in about else []
        rate = float(rate[0]) if len(rate) else float(content["header"]["points"]["frame_rate"])
        first = int(content["header"]["points"]["first_frame"])
        labels, units = _words(about, "LABELS"), _words(about, "UNITS")
        frames = _frames(content["parameters"])
    except Exception as error:  # the binding raises whatever its C++ throws
        print(f"{type(error).__name__}: {error}".splitlines()[0][:300], file=sys.stderr)
        return 2
    buffer = io.BytesIO()
    np.savez(
        buffer, points=points, residuals=residuals, rate_hz=np.array(rate), first_frame=np.array(first),
        frames=np.array(frames),
        labels=np.array(labels or [""], dtype=np.str_), labelled=np.array(bool(labels)),
        unit=np.array(units[0] if units else "", dtype=np.str_),
    )  # fmt: skip
    sys.stdout.buffer.write(buffer.getvalue())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
