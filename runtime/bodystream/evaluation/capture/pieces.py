"""The motions of the benchmark: pieces of recordings that are shipped with it.

Made by `benchmarks/make_capture_motions.py` of takes of the CMU Graphics Lab motion capture database and of ACCAD, The
Ohio State University (CC BY 3.0); see THIRD_PARTY.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from bodystream.bundles import read_npz
from bodystream.errors import InputError
from bodystream.files import atomic_path
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.skeleton import JOINTS, Skeleton
from bodystream.types import Array

__all__ = ["RATE_HZ", "load_pieces", "write_pieces"]

RATE_HZ = 30.0
_FILE = "motions.npz"
_MAX_BYTES = 4 << 20
_PER_RAD = 4096.0
_PER_M = 4096.0
_TURNS = 3 * len(JOINTS)


@cache
def load_pieces() -> dict[str, MotionClip]:
    """All pieces by their names, each of the skeleton of whoever moved.

    Raises:
        InputError: the file is not what was shipped.
    """
    return _pieces((files("bodystream.evaluation.capture") / _FILE).read_bytes())


def _pieces(content: bytes) -> dict[str, MotionClip]:
    arrays = read_npz(content, _FILE, _MAX_BYTES)
    pieces = {}
    for key, steps in arrays.items():
        name, _, what = key.rpartition(".")
        if what == "steps":
            offsets = arrays.get(f"{name}.offsets_m")
            if steps.ndim != 2 or steps.shape[1] != _TURNS + 3 or offsets is None or offsets.shape != (len(JOINTS), 3):
                raise InputError(f"{_FILE}: the motion {name} has not the shape of a motion: install bodystream again")
            pieces[name] = _clip(name, steps, offsets)
    return pieces


def _clip(name: str, steps: Array, offsets_m: Array) -> MotionClip:
    values = np.cumsum(steps, axis=0, dtype=np.int16).astype(np.float64)
    turns = Rotation.from_rotvec(values[:, :_TURNS].reshape(-1, 3) / _PER_RAD).as_quat(canonical=True)
    return MotionClip(
        name=name,
        subject="",
        rate_hz=RATE_HZ,
        skeleton=Skeleton(offsets_m.astype(np.float64)),
        rotations_xyzw=turns.reshape(len(values), len(JOINTS), 4).astype(np.float32),
        root_positions_m=(values[:, _TURNS:] / _PER_M).astype(np.float32),
    )


def write_pieces(path: Path, pieces: Mapping[str, MotionClip]) -> None:
    """Rotation vectors and root positions in steps of 1/4096 rad and m, as differences from frame to frame.

    The path on the floor starts at the origin.
    """
    arrays: dict[str, Array] = {}
    for name, clip in pieces.items():
        vectors = Rotation.from_quat(clip.rotations_xyzw.reshape(-1, 4)).as_rotvec().reshape(len(clip), _TURNS)
        roots = clip.root_positions_m - clip.root_positions_m[0] * (1.0, 0.0, 1.0)
        values = np.round(np.concatenate([vectors * _PER_RAD, roots * _PER_M], axis=1)).astype(np.int16)
        arrays[f"{name}.steps"] = np.diff(values, axis=0, prepend=np.zeros((1, _TURNS + 3), np.int16))
        arrays[f"{name}.offsets_m"] = clip.skeleton.offsets_m.astype(np.float32)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
