"""The text of a BVH file: its hierarchy, and a line for each frame.

A person whose lengths never change has them as OFFSETs, and joints below the root have channels of rotation only. One
who changes has channels of position at every joint, too: where it is in its parent's frame, in place of the OFFSET, as
the root's are; so Blender's import takes them. OFFSETs are then those of the person as known last, for programs that
pass over such channels.
"""

from __future__ import annotations

import numpy as np

from bodystream.sinks.rigs import FittedRig
from bodystream.types import Array

__all__ = ["COUNT_WIDTH", "BvhText", "same_lengths"]

COUNT_WIDTH = 10
"""Of the number of frames, which is put in when a file is finished."""
_OFFSET_WIDTH = 16
"""Of a number of an OFFSET that is written over: a person with other lengths takes the same place in the file."""
_ROTATION = "Zrotation Xrotation Yrotation"
_POSITION = "Xposition Yposition Zposition"


class BvhText:
    """Writes lines of one rig.

    Args:
        fitted: the rig with the first person's lengths.
        per_metre: units of the file in a metre.
        decimals: of lengths in frames; OFFSETs have two more.
        rate_hz: frames per second.
    """

    def __init__(self, fitted: FittedRig, per_metre: float, decimals: int, rate_hz: float) -> None:
        self._fitted, self._per_metre, self._decimals = fitted, per_metre, decimals
        self._frame_time = f"\nFrame Time: {1.0 / rate_hz:.9f}\n"

    def head(self, offsets_m: Array, moving: bool) -> tuple[bytes, int]:
        """All up to the first frame, and where in it the number of frames is to be put.

        Args:
            offsets_m: (B, 3) of the bones. moving: whether every joint has channels of position; the head is then of
                the same length for any offsets.
        """
        text = self._hierarchy(offsets_m, moving) + "MOTION\nFrames: "
        return (text + " " * COUNT_WIDTH + self._frame_time).encode(), len(text)

    def frame(self, root_m: Array, angles_deg: Array, offsets_m: Array | None) -> bytes:
        """One line.

        Args:
            root_m: (3,) the root in the file's axes. angles_deg: (B, 3) z, x, y.
            offsets_m: (B, 3) of the bones below the root where they have channels of position; else None.
        """
        turns = [f"{v:.4f}" for v in angles_deg.reshape(-1).tolist()]
        words = [self._places(root_m), *turns]
        if offsets_m is not None:
            words = [" ".join(words[:4])]
            for bone, place in enumerate(self._bones(offsets_m), 1):
                words += [place, *turns[3 * bone : 3 * bone + 3]]
        return (" ".join(words) + "\n").encode()

    def widened(self, line: bytes, offsets_m: Array) -> bytes:
        """A line of `frame` without channels of position, with those of (B, 3) `offsets_m`."""
        words = line.decode().split()
        out = words[:6]
        for bone, place in enumerate(self._bones(offsets_m), 1):
            out += [place, *words[3 + 3 * bone : 6 + 3 * bone]]
        return (" ".join(out) + "\n").encode()

    def _places(self, values_m: Array) -> str:
        return " ".join([f"{v * self._per_metre:.{self._decimals}f}" for v in values_m.tolist()])

    def _bones(self, offsets_m: Array) -> list[str]:
        return [self._places(offset) for offset in offsets_m[1:]]

    def _hierarchy(self, offsets_m: Array, moving: bool) -> str:
        lines = ["HIERARCHY"]

        def numbers(values: Array) -> str:
            width = _OFFSET_WIDTH if moving else 0
            return " ".join(f"{v * self._per_metre:{width}.{self._decimals + 2}f}" for v in values.tolist())

        fitted = self._fitted
        hanging: list[list[int]] = [[] for _ in fitted.names]
        for bone, parent in enumerate(fitted.parents[1:], 1):
            hanging[parent].append(bone)

        def visit(bone: int, depth: int) -> None:
            pad = "\t" * depth
            lines.append(f"{pad}{'JOINT' if depth else 'ROOT'} {fitted.names[bone]}")
            lines.append(pad + "{")
            lines.append(f"{pad}\tOFFSET {numbers(offsets_m[bone])}")
            placed = moving or not depth
            lines.append(f"{pad}\tCHANNELS " + (f"6 {_POSITION} {_ROTATION}" if placed else f"3 {_ROTATION}"))
            for child in hanging[bone]:
                visit(child, depth + 1)
            if bone in fitted.ends_m:
                end = numbers(fitted.ends_m[bone])
                lines.extend([f"{pad}\tEnd Site", pad + "\t{", f"{pad}\t\tOFFSET {end}", pad + "\t}"])
            lines.append(pad + "}")

        visit(0, 0)
        return "\n".join(lines) + "\n"


def same_lengths(first_m: Array, second_m: Array) -> bool:
    """Whether two skeletons are one in a file, to a hundredth of a millimetre."""
    return first_m is second_m or bool(np.abs(first_m - second_m).max() < 1e-5)
