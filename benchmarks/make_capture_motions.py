"""Makes the motions of `bodystream eval capture`: pieces of recorded takes that are hard for live capture.

    python benchmarks/make_capture_motions.py MOTION_DATA [OUT.npz]

MOTION_DATA is a specification as for `find_takes` that holds the takes named below, of the CMU Graphics Lab database
and of ACCAD. Of each take, the window in which the wanted thing happens most is looked for; the same files give the
same result, bit for bit. Afterwards, run the benchmark and write its new figures to docs/capture-benchmark.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bodystream.evaluation.capture.pieces import RATE_HZ, write_pieces
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.skeleton import JOINT_INDEX
from bodystream.sources.motion import find_takes
from bodystream.types import Array

__all__ = ["PIECES", "Wanted", "find_piece"]

_OPEN = 6
"""Frames at the start for which the arms are beside the torso."""
_MEET_M = 0.14
_CLAPS = 4
_OUT = Path(__file__).resolve().parents[1] / "runtime" / "bodystream" / "evaluation" / "capture" / "motions.npz"


class _Measures:
    """Of each frame of a clip, how much of something there is; (T,) each."""

    def __init__(self, clip: MotionClip) -> None:
        self._rate_hz = clip.rate_hz
        self._positions, _ = clip.joints()
        left, right = self._at("left_shoulder"), self._at("right_shoulder")
        middle = 0.5 * (left + right)
        up = _unit(middle - self._at("pelvis"))
        across = right - left
        across = _unit(across - (across * up).sum(axis=1, keepdims=True) * up)
        self._torso = np.stack([across, up, np.cross(across, up)], axis=1)
        # In the torso's frame: x to the right, y up, z to the back, from between the shoulders.
        self._wrists = [
            np.einsum("tij,tj->ti", self._torso, self._at(f"{side}_wrist") - middle) for side in ("left", "right")
        ]

    def _at(self, joint: str) -> Array:
        return self._positions[:, JOINT_INDEX[joint]].astype(np.float64)

    def crossed(self) -> Array:
        """Each wrist before the body and on the other side of it."""
        left, right = self._wrists
        return (left[:, 0] > 0.03) & (right[:, 0] < -0.03) & (left[:, 2] < 0.0) & (right[:, 2] < 0.0)

    def before(self) -> Array:
        """Wrists before the torso."""
        return np.sum(
            [(np.abs(w[:, 0]) < 0.2) & (w[:, 1] < 0.1) & (w[:, 1] > -0.5) & (w[:, 2] < -0.1) for w in self._wrists],
            axis=0,
        )

    def hips(self) -> Array:
        """Hands on the hips with bent elbows, coming and going: how much that changes."""
        on = np.ones(len(self._positions))
        for side in ("left", "right"):
            wrist, elbow = self._at(f"{side}_wrist"), self._at(f"{side}_elbow")
            near = np.linalg.norm(wrist - self._at(f"{side}_hip") - 0.1 * self._torso[:, 1], axis=1) < 0.24
            bent = (_unit(self._at(f"{side}_shoulder") - elbow) * _unit(wrist - elbow)).sum(axis=1) > -0.57
            on *= near & bent
        return on

    def apart(self) -> Array:
        """How far the right wrist is to the right of the left one [m]."""
        return self._wrists[1][:, 0] - self._wrists[0][:, 0]

    def fast(self) -> Array:
        """Speed of the faster wrist against the torso."""
        return np.max([np.linalg.norm(np.gradient(w, axis=0), axis=1) for w in self._wrists], axis=0) * self._rate_hz

    def turning(self) -> Array:
        """Turn of the torso about the vertical."""
        back = self._torso[:, 2]
        return np.abs(np.gradient(np.unwrap(np.arctan2(back[:, 0], back[:, 2]))))

    def lowered(self) -> Array:
        """How much lower than upright the head is."""
        height = self._at("head")[:, 1]
        return np.maximum(np.percentile(height, 95.0) - height, 0.0)

    def walking(self) -> Array:
        """Speed over the floor."""
        return np.linalg.norm(np.gradient(self._at("pelvis")[:, (0, 2)], axis=0), axis=1)


def _unit(vectors: Array) -> Array:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A piece: of which take, how long, where most of what happens, and how much of the take before that is kept."""

    take: str
    seconds: float
    measure: Callable[[_Measures], Array]
    lead_s: float = 0.7


PIECES = {
    "cross": Wanted("basketball_signal_train_02", 3.5, _Measures.crossed),
    "strike": Wanted("Male2_Extended_2", 2.0, _Measures.crossed, 0.2),
    "hips": Wanted("Female1_A02_SwayT2", 6.4, _Measures.hips, 1.8),
    "signal": Wanted("basketball_signal_train_05", 3.5, _Measures.before),
    "walk": Wanted("Male1_B3_Walk", 3.4, _Measures.walking),
    "sit": Wanted("14_30", 3.5, _Measures.lowered, 1.6),
    "turn": Wanted("Male1_B15_WalkTurnAround", 3.5, _Measures.turning, 0.8),
    "dance": Wanted("94_04", 3.5, _Measures.fast),
    "box": Wanted("14_02", 2.5, _Measures.before, 0.4),
    "bend": Wanted("02_06", 3.5, _Measures.lowered, 1.2),
    "pick-up": Wanted("Female1_A05_PickUpBox", 4.9, _Measures.lowered, 1.6),
    "salsa": Wanted("60_01", 3.5, _Measures.walking),
    "fold": Wanted("49_11", 3.5, _Measures.crossed, 1.8),
    "traffic": Wanted("14_25", 2.5, _Measures.fast),
    "gesture": Wanted("Female1_D1_Urban", 3.5, _Measures.fast),
    "stool": Wanted("14_32", 5.0, _Measures.lowered, 3.0),
    "spar": Wanted("17_10", 2.5, _Measures.before, 0.4),
    "stroll": Wanted("Female1_B15_WalkTurnAround180", 3.5, _Measures.turning, 1.0),
}


def find_piece(clip: MotionClip, wanted: Wanted) -> MotionClip:
    """The piece of a take at `RATE_HZ` with the most of what is measured after its first `lead_s`.

    Where the take allows it, it starts upright and with the arms beside the torso, as people do who have themselves
    captured.
    """
    clip = clip.resampled(RATE_HZ)
    frames = min(round(wanted.seconds * RATE_HZ), len(clip))
    lead = round(wanted.lead_s * RATE_HZ)
    measures = _Measures(clip)
    happens = np.asarray(wanted.measure(measures), np.float64)
    sums = np.convolve(happens, np.ones(frames - lead), "valid")[lead:]
    open_ = (np.convolve(measures.before() + (measures.lowered() > 0.12), np.ones(_OPEN), "valid") == 0)[: len(sums)]
    return clip.sliced(start := int(np.argmax(np.where(open_, sums + 1e6, sums))), start + frames)


def clapping(clip: MotionClip) -> MotionClip:
    """Claps made of a piece in which arms cross: from wide apart until the hands meet, to and fro.

    None of the takes shows a person who claps for more than a moment.
    """
    apart = _Measures(clip).apart()
    meet = int(np.argmax((apart < _MEET_M) & (np.arange(len(clip)) > int(np.argmax(apart)))))
    wide = int(np.argmax(apart[:meet]))
    order = np.concatenate([np.arange(wide, meet), np.arange(meet, wide, -1)])
    order = np.concatenate([np.arange(wide), np.tile(order, _CLAPS)])
    return replace(
        clip, rotations_xyzw=clip.rotations_xyzw[order], root_positions_m=clip.root_positions_m[order], name="clap"
    )


def main(data: str, out: Path) -> None:
    takes = {take.name: take for take in find_takes(data)}
    pieces = {name: find_piece(takes[wanted.take].load(), wanted) for name, wanted in PIECES.items()}
    pieces["clap"] = clapping(pieces["cross"])
    write_pieces(out, pieces)
    print(f"{out}: {len(pieces)} pieces, {sum(map(len, pieces.values()))} frames, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else _OUT)
