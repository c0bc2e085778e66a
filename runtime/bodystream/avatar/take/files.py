"""Takes as folders: `take.json`, `mesh.npz`, `frames/NNNNNN.npz`, and `truth.npz` for evaluation only.

| file | holds |
|---|---|
| `take.json` | format, version, the 24 bones and their parents, canonical pose, rate, subject, outfit, seed, motions |
| `mesh.npz` | `rest_joints_m`, and where frames share them `faces`, `colours`, `uv`, `skin_weights` |
| `frames/NNNNNN.npz` | `vertices`, `posed_from_canonical`, `rotations_xyzw`, `motion`, and own `faces`, `colours` |
| `truth.npz` | `canonical_vertices`, `outer`, `garment`: see `TakeTruth` |

A take can grow: `save_head` writes what is no frame, `save_frame` one frame, each whole or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bodystream.avatar.take.canonical import BONE_PARENTS, BONES, canonical_rotations
from bodystream.avatar.take.checks import (
    check_bones,
    check_finite,
    check_fits_bones,
    check_rigid,
    metres_per_unit,
    open_edges,
)
from bodystream.avatar.take.frames import SPLITS, AvatarTake, PosedFrame, TakeTruth
from bodystream.bundles.arrays import load_npz
from bodystream.errors import InputError, excerpt
from bodystream.files import atomic_path, read_bounded
from bodystream.geometry.rotations import quaternion_from_matrix
from bodystream.types import Array

__all__ = [
    "FORMAT", "VERSION", "frame_files", "load_take", "load_truth", "save_frame", "save_head", "save_take", "save_truth",
]  # fmt: skip

FORMAT, VERSION = "bodystream-avatar-take", 1
_MAX_JSON_BYTES, _MAX_ARRAYS_BYTES = 16 << 20, 256 << 20
_MAX_FRAMES = 100_000
_FRAME = re.compile(r"(\d{6})\.npz")
_POSE_TOLERANCE = 1e-3


class _Head(msgspec.Struct):
    """`take.json`."""

    format: str
    version: int
    bones: list[str]
    parents: list[int]
    canonical_rotations_xyzw: list[list[float]]
    rate_hz: float
    subject: str
    outfit: str
    seed: int
    motions: dict[str, list[str]]
    origin: str = ""


def save_take(path: Path, take: AvatarTake, truth: TakeTruth | None = None) -> None:
    """Write a whole take into a folder.

    Raises:
        InputError: the file system refused.
    """
    save_head(path, take)
    for frame in take.frames:
        save_frame(path, frame)
    if truth is not None:
        save_truth(path, truth)


def save_head(path: Path, take: AvatarTake) -> None:
    """Write `take.json` and `mesh.npz`; the take's frames are not looked at."""
    head = _Head(
        FORMAT,
        VERSION,
        list(BONES),
        list(BONE_PARENTS),
        _canonical_quaternions().tolist(),
        take.rate_hz,
        take.subject,
        take.outfit,
        take.seed,
        {name: list(motions) for name, motions in take.motions.items()},
        take.origin,
    )
    shared = {"faces": take.faces, "colours": take.colours, "uv": take.uv, "skin_weights": take.skin_weights}
    _save_arrays(path / "mesh.npz", {"rest_joints_m": take.rest_joints_m} | shared)
    with atomic_path(path / "take.json") as waiting:
        waiting.write_bytes(msgspec.json.format(msgspec.json.encode(head), indent=1))


def save_frame(path: Path, frame: PosedFrame) -> None:
    """Write one frame into a take's folder."""
    arrays = {
        "vertices": frame.vertices,
        "posed_from_canonical": frame.posed_from_canonical,
        "rotations_xyzw": frame.rotations_xyzw,
        "motion": np.array(frame.motion),
        "faces": frame.faces,
        "colours": frame.colours,
    }
    _save_arrays(path / "frames" / f"{frame.number:06}.npz", arrays)


def save_truth(path: Path, truth: TakeTruth) -> None:
    """Write `truth.npz` into a take's folder."""
    arrays = {"canonical_vertices": truth.canonical_vertices, "outer": truth.outer, "garment": truth.garment}
    _save_arrays(path / "truth.npz", arrays)


def load_take(path: Path) -> AvatarTake:
    """Read a take and look at everything in it.

    What is off by 100 or 1000 is brought to metres; that, open surfaces and motions without frames are told in the
    take's `notes`.

    Raises:
        InputError: the folder is no take, is of another version, has no or one frame, or a frame has bones in another
            order or number, transforms that are not rigid, vertices that are not finite, or arrays that do not fit
            each other. The message names the file and the fault.
    """
    path = Path(path)
    head = _read_head(path / "take.json")
    mesh_path = path / "mesh.npz"
    mesh = load_npz(mesh_path, _MAX_ARRAYS_BYTES)
    joints = _array(mesh, "rest_joints_m", mesh_path, (len(BONES), 3), "f")
    check_finite(joints, f"{mesh_path}: rest_joints_m")
    files = frame_files(path)
    if not files:
        raise InputError(f"{path} holds no frames (frames/000000.npz, ...): an avatar is learned from at least 2")
    if len(files) == 1:
        raise InputError(f"{path} holds a single frame, {files[0].name}: an avatar is learned from at least 2 poses")
    notes: list[str] = []
    joint_unit = metres_per_unit(joints, f"{mesh_path}: the joints")
    if joint_unit != 1.0:
        notes.append(f"the bones were off by {1 / joint_unit:g}: taken to be {joint_unit:g} m per unit")
    joints = (joint_unit * joints.astype(np.float64)).astype(np.float32)
    take = AvatarTake(
        head.subject, head.outfit, head.seed, head.rate_hz, joints, (),
        {name: tuple(motions) for name, motions in head.motions.items()},
        faces=_faces(mesh, mesh_path),
        colours=_optional(mesh, "colours", mesh_path, (None, 3), "u"),
        uv=_optional(mesh, "uv", mesh_path, (None, 2), "f"),
        skin_weights=_optional(mesh, "skin_weights", mesh_path, (None, len(BONES)), "f"),
        origin=head.origin,
    )  # fmt: skip
    known = {motion for motions in take.motions.values() for motion in motions}
    frames: list[PosedFrame] = []
    unit: float | None = None
    for file in files:
        frame = _read_frame(file, joint_unit, known)
        if unit is None:
            unit = metres_per_unit(frame.vertices, f"{file}: the vertices")
            if unit != 1.0:
                notes.append(f"the vertices were off by {1 / unit:g}: taken to be {unit:g} m per unit")
        if unit != 1.0:
            scaled = (unit * frame.vertices.astype(np.float64)).astype(np.float32)
            frame = replace(frame, vertices=scaled)
        _check_shared(frame, take, file)
        check_fits_bones(frame.vertices, joints, frame.posed_from_canonical, str(file))
        frames.append(frame)
    notes += _surface_notes(take, frames)
    seen = {frame.motion for frame in frames}
    missing = sorted(known - seen)
    if missing:
        notes.append(f"motions without frames: {', '.join(missing)}")
    return replace(take, frames=tuple(frames), notes=tuple(notes))


def load_truth(path: Path) -> TakeTruth:
    """Read `truth.npz` of a take.

    Raises:
        InputError: it is absent (captured takes have none) or damaged.
    """
    file = Path(path) / "truth.npz"
    arrays = load_npz(file, _MAX_ARRAYS_BYTES)
    vertices = _array(arrays, "canonical_vertices", file, (None, 3), "f").astype(np.float32)
    check_finite(vertices, str(file))
    outer, garment = (_array(arrays, name, file, (len(vertices),), "b") for name in ("outer", "garment"))
    return TakeTruth(vertices, outer, garment)


def _canonical_quaternions() -> Array:
    """(24, 4) xyzw of the canonical pose."""
    hands = np.tile(np.eye(3), (len(BONES) - len(canonical_rotations()), 1, 1))
    return quaternion_from_matrix(np.concatenate([canonical_rotations(), hands]))


def _read_head(file: Path) -> _Head:
    content = read_bounded(file, _MAX_JSON_BYTES)
    try:
        kind = msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise InputError(f"{file} is no JSON ({error}): write the take anew") from error
    if not isinstance(kind, dict) or kind.get("format") != FORMAT:
        raise InputError(f"{file}: the format is not {FORMAT}: this is no take of an avatar")
    if kind.get("version") != VERSION:
        raise InputError(
            f"{file} is of version {excerpt(kind.get('version'))}, this program reads {VERSION}: make the take anew, "
            "or use the program that made it"
        )
    try:
        head = msgspec.json.decode(content, type=_Head)
    except msgspec.ValidationError as error:
        raise InputError(f"{file}: {error}: write the take anew") from error
    check_bones(head.bones, str(file))
    if head.parents != list(BONE_PARENTS):
        raise InputError(f"{file}: the bones' parents are {head.parents}, wanted SMPL's {list(BONE_PARENTS)}")
    canonical = np.array(head.canonical_rotations_xyzw) if _is_pose(head.canonical_rotations_xyzw) else None
    if canonical is None or np.abs(canonical - _canonical_quaternions()).max() > _POSE_TOLERANCE:
        raise InputError(
            f"{file}: canonical_rotations_xyzw is another pose than the star of this version (T-pose with legs turned "
            "outwards): carry the transforms over to it"
        )
    if not 0.0 < head.rate_hz <= 1000.0:
        raise InputError(f"{file}: rate_hz is {head.rate_hz}, wanted frames per second above 0")
    if set(head.motions) != set(SPLITS):
        raise InputError(f"{file}: motions must be split into {' and '.join(SPLITS)}, got {sorted(head.motions)}")
    both = set(head.motions["train"]) & set(head.motions["test"])
    if both:
        raise InputError(
            f"{file}: {', '.join(sorted(both))} is for training and for tests: a motion is for one of them"
        )
    return head


def _is_pose(rows: list[list[float]]) -> bool:
    return len(rows) == len(BONES) and all(len(row) == 4 for row in rows)


def frame_files(path: Path) -> list[Path]:
    """Of a take's folder the files of its frames, by number; what else is in the folder is passed over.

    Raises:
        InputError: there are too many.
    """
    folder = path / "frames"
    if not folder.is_dir():
        return []
    files = sorted(file for file in folder.iterdir() if _FRAME.fullmatch(file.name))
    if len(files) > _MAX_FRAMES:
        raise InputError(f"{folder} holds {len(files)} frames, at most {_MAX_FRAMES} are read")
    return files


def _read_frame(file: Path, translation_unit: float, known: set[str]) -> PosedFrame:
    arrays = load_npz(file, _MAX_ARRAYS_BYTES)
    vertices = _array(arrays, "vertices", file, (None, 3), "f")
    check_finite(vertices, str(file))
    transforms = _array(arrays, "posed_from_canonical", file, None, "f").astype(np.float64)
    if transforms.ndim == 3 and transforms.shape[1:] == (4, 4) and len(transforms) != len(BONES):
        raise InputError(f"{file}: transforms of {len(transforms)} bones, wanted SMPL's {len(BONES)}")
    check_rigid(transforms, str(file))
    transforms[:, :3, 3] *= translation_unit
    rotations = _array(arrays, "rotations_xyzw", file, (len(BONES), 4), "f")
    lengths = np.linalg.norm(rotations, axis=1)
    if not np.abs(lengths - 1.0).max() < 1e-2:  # nan fails, too
        raise InputError(
            f"{file}: rotations_xyzw must be unit quaternions, got lengths {lengths.min()} to {lengths.max()}"
        )
    motion = arrays.get("motion")
    if motion is None or motion.shape != () or motion.dtype.kind != "U":
        raise InputError(f"{file}: lacks the name of its motion")
    if str(motion) not in known:
        raise InputError(f"{file}: its motion {excerpt(str(motion))} is of no split of take.json: list it there")
    return PosedFrame(
        int(file.stem), str(motion), vertices.astype(np.float32), transforms.astype(np.float32),
        rotations.astype(np.float32), _faces(arrays, file), _optional(arrays, "colours", file, (len(vertices), 3), "u"),
    )  # fmt: skip


def _check_shared(frame: PosedFrame, take: AvatarTake, file: Path) -> None:
    """Refuse a frame whose number of vertices is not that of what it shares."""
    count = len(frame.vertices)
    faces = take.faces if frame.faces is None else frame.faces
    if faces is None or not len(faces):
        raise InputError(f"{file}: no faces, here or in mesh.npz")
    if int(faces.min()) < 0 or int(faces.max()) >= count:
        raise InputError(f"{file}: faces name vertices {int(faces.min())} to {int(faces.max())} of {count}")
    if frame.faces is not None:
        return
    for name in ("colours", "uv", "skin_weights"):
        shared = getattr(take, name)
        if shared is not None and len(shared) != count and not (name == "colours" and frame.colours is not None):
            raise InputError(f"{file}: {count} vertices, and mesh.npz has {name} of {len(shared)}")


def _surface_notes(take: AvatarTake, frames: list[PosedFrame]) -> Iterator[str]:
    own = [frame for frame in frames if frame.faces is not None]
    some = {f"{frame.number:06}": frame.faces for frame in own}
    if take.faces is not None and len(own) < len(frames):
        some[""] = take.faces
    opened = {name: count for name, faces in some.items() if faces is not None and (count := open_edges(faces))}
    if "" in opened:
        yield (
            f"the surface is not watertight ({opened.pop('')} open edges): inside is where the winding number "
            "exceeds 0.5"
        )
    if opened:
        name, count = next(iter(opened.items()))
        yield (
            f"{len(opened)} frames are not watertight ({name}: {count} open edges): inside is where the winding number "
            "exceeds 0.5"
        )


def _save_arrays(path: Path, arrays: Mapping[str, Array | None]) -> None:
    with atomic_path(path) as waiting:
        given: dict[str, Any] = {name: array for name, array in arrays.items() if array is not None}
        np.savez_compressed(waiting, **given)


def _array(arrays: dict[str, Array], name: str, file: Path, shape: tuple[int | None, ...] | None, kinds: str) -> Array:
    """An array by its name, of a shape in which None is any length.

    Raises:
        InputError: it is absent, or of another shape or kind.
    """
    array = arrays.get(name)
    if array is None:
        raise InputError(f"{file}: lacks {name}")
    fits = shape is None or (
        len(shape) == array.ndim and all(b in (None, a) for a, b in zip(array.shape, shape, strict=True))
    )
    if not fits or array.dtype.kind not in kinds:
        kind = {"f": "floating-point", "u": "uint8", "b": "bool", "iu": "whole"}[kinds]
        raise InputError(f"{file}: {name} must be {kind} numbers of shape {shape}, got {array.dtype} of {array.shape}")
    return array


def _optional(
    arrays: dict[str, Array], name: str, file: Path, shape: tuple[int | None, ...], kinds: str
) -> Array | None:
    if name not in arrays:
        return None
    return _array(arrays, name, file, shape, kinds)


def _faces(arrays: dict[str, Array], file: Path) -> Array | None:
    if "faces" not in arrays:
        return None
    return _array(arrays, "faces", file, (None, 3), "iu").astype(np.int32)
