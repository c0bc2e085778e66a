"""Takes out of public data sets, as they are laid out when unpacked: CAPE and DFAUST.

**CAPE** (Ma et al., 2020): `sequences/SUBJECT/CLOTHING_ACTION/CLOTHING_ACTION.NNNNNN.npz`, each with `v_posed`
(6890, 3) in the world, `pose` (72,) rotation vectors of SMPL's 24 joints and `transl` (3,);
`minimal_body_shape/SUBJECT/SUBJECT_minimal.npy`, the body at rest without clothes.

**DFAUST** (Bogo et al., 2017): one HDF5 file for each sex with `SUBJECT_SEQUENCE` (6890, 3, T) and `faces`. It holds no
poses: those are AMASS's, `SUBJECT/SUBJECT_SEQUENCE_poses.npz`, in a world whose up is z.

Both surfaces have SMPL's topology, so that where a pose's world is in the surface's is found by fitting the model's
body to the surface, rigidly; a pose that does not belong to its surface shows as a distance. Neither data set, nor
SMPL, is part of this project; each has its licence (research only).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from bodystream.avatar.take.canonical import BONES, pose_of_bones
from bodystream.avatar.take.checks import check_finite, check_rigid
from bodystream.avatar.take.frames import AvatarTake, PosedFrame
from bodystream.bundles.arrays import load_npz
from bodystream.errors import InputError, MissingDependencyError
from bodystream.files import read_bounded
from bodystream.types import Array
from bodystream_training.avatar.data.smpl_body import SmplBody, fitted_rigidly, load_smpl_body

__all__ = ["read_cape", "read_dfaust", "split_motions"]

_MAX_BYTES = 64 << 20
_FARTHEST_M = 0.10
"""Clothes are nearer to the body on average."""
_CAPE_HZ = _DFAUST_HZ = 60.0
_TEST_EVERY = 10  # the paper's 9:1, by sequences


@dataclass(frozen=True, slots=True)
class _Posed:
    """What a data set says of one frame."""

    where: str
    motion: str
    vertices: Array  # (V, 3) in the surface's world
    rotations: Array  # (24, 3, 3) in each parent's frame


def split_motions(names: Sequence[str], test: Sequence[str] | None = None) -> dict[str, tuple[str, ...]]:
    """`train` and `test`: the named ones for tests, or each tenth, at least one, of the names in order.

    Raises:
        InputError: a name that is not there, or nothing left to train on.
    """
    names = sorted(names)
    if test is None:
        chosen = set(names[_TEST_EVERY - 1 :: _TEST_EVERY]) or set(names[-1:])
    else:
        chosen = set(test)
    unknown = chosen - set(names)
    if unknown:
        raise InputError(f"there are no motions {', '.join(sorted(unknown))}, but {', '.join(names[:8])}, ...")
    train = tuple(name for name in names if name not in chosen)
    if not train:
        raise InputError(f"of {len(names)} motions ({', '.join(names[:4])}) none is left to train on")
    return {"train": train, "test": tuple(sorted(chosen))}


def read_cape(
    root: Path, subject: str, clothing: str, model: Path, every: int = 1, test: Sequence[str] | None = None
) -> AvatarTake:
    """A subject in one outfit of CAPE.

    Args:
        root: the folder with `sequences` and `minimal_body_shape`.
        clothing: as in the sequences' names: `shortlong`, `blazerlong`, ...
        model: SMPL as `.npz`; see `smpl_body`.
        every: frames that are taken, each of how many.
        test: names of sequences for tests; see `split_motions`.

    Raises:
        InputError: a folder or array is not there, or poses and surfaces do not belong together.
    """
    folder = root / "sequences" / subject
    sequences = sorted(f for f in folder.glob(f"{clothing}_*") if f.is_dir()) if folder.is_dir() else []
    if not sequences:
        raise InputError(f"{folder} has no sequences {clothing}_*: CAPE has sequences/SUBJECT/CLOTHING_ACTION")
    rest = _load_npy(root / "minimal_body_shape" / subject / f"{subject}_minimal.npy")
    body = load_smpl_body(model, rest=rest)

    def frames() -> Iterator[_Posed]:
        for sequence in sequences:
            for file in sorted(sequence.glob("*.npz"))[::every]:
                arrays = load_npz(file, _MAX_BYTES, ("v_posed", "pose"))
                vertices, pose = arrays.get("v_posed"), arrays.get("pose")
                if vertices is None or pose is None or pose.size != 3 * len(BONES):
                    raise InputError(f"{file} must hold v_posed (V, 3) and pose (72,), as CAPE's frames do")
                yield _Posed(str(file), sequence.name, vertices, _matrices(pose.reshape(-1, 3)))

    motions = split_motions([sequence.name for sequence in sequences], test)
    return _take(body, frames(), motions, subject, clothing, _CAPE_HZ / every, "CAPE")


def read_dfaust(
    file: Path, subject: str, amass: Path, model: Path, every: int = 1, test: Sequence[str] | None = None
) -> AvatarTake:
    """A subject of DFAUST.

    Args:
        file: `registrations_f.hdf5` or `registrations_m.hdf5`.
        amass: the folder of AMASS's DFAUST poses, in which there are folders for each subject.
        model: SMPL-H (or SMPL) as `.npz`.
        every, test: as of `read_cape`.

    Raises:
        MissingDependencyError: h5py is not installed.
        InputError: as `read_cape`.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError(
            "h5py", "to read DFAUST's .hdf5", "Install it: pip install 'bodystream[garments]'"
        ) from error
    try:
        with h5py.File(file, "r") as opened:
            archive: Any = opened
            names = sorted(name.removeprefix(f"{subject}_") for name in archive if name.startswith(f"{subject}_"))
            if not names or "faces" not in archive:
                raise InputError(f"{file} has no sequences of subject {subject}, or no faces, as DFAUST's files have")
            poses = {name: _amass_pose(amass / subject / f"{subject}_{name}_poses.npz") for name in names}
            betas = next(iter(poses.values()))[1]
            body = load_smpl_body(model, betas=betas)

            def frames() -> Iterator[_Posed]:
                for name in names:
                    surfaces = archive[f"{subject}_{name}"]
                    rotations = poses[name][0]
                    if surfaces.shape != (len(body.vertices), 3, len(rotations)):
                        raise InputError(
                            f"{file}: {subject}_{name} has shape {surfaces.shape}, wanted ({len(body.vertices)}, 3, "
                            f"{len(rotations)}): AMASS has as many poses as DFAUST has surfaces"
                        )
                    for number in range(0, len(rotations), every):
                        where = f"{file}: {subject}_{name}, frame {number}"
                        yield _Posed(where, name, surfaces[:, :, number], rotations[number])

            return _take(body, frames(), split_motions(names, test), subject, "minimal", _DFAUST_HZ / every, "DFAUST")
    except OSError as error:
        raise InputError(f"{file} is not a readable HDF5 file: {error}") from error


def _amass_pose(file: Path) -> tuple[Array, Array]:
    """(T, 24, 3, 3) rotations in each parent's frame, hands open, and the shape."""
    arrays = load_npz(file, _MAX_BYTES, ("poses", "betas"))
    poses, betas = arrays.get("poses"), arrays.get("betas")
    if poses is None or betas is None or poses.ndim != 2 or poses.shape[1] < 66:
        raise InputError(f"{file} must hold poses (T, 156) and betas, as AMASS's files do")
    body = np.zeros((len(poses), len(BONES), 3))
    body[:, :22] = poses[:, :66].reshape(-1, 22, 3)
    return _matrices(body), betas


def _matrices(rotation_vectors: Array) -> Array:
    flat = np.asarray(rotation_vectors, np.float64).reshape(-1, 3)
    if not np.isfinite(flat).all():
        raise InputError("a pose is not finite: leave its frame out")
    return Rotation.from_rotvec(flat).as_matrix().reshape(*rotation_vectors.shape[:-1], 3, 3)


def _load_npy(file: Path) -> Array:
    content = read_bounded(file, _MAX_BYTES)
    try:
        return np.asarray(np.load(io.BytesIO(content), allow_pickle=False), np.float64)
    except (ValueError, EOFError) as error:
        raise InputError(f"{file} is not a readable .npy file: {error}") from error


def _take(
    body: SmplBody, posed: Iterator[_Posed], motions: dict[str, tuple[str, ...]], subject: str, outfit: str,
    rate_hz: float, origin: str,
) -> AvatarTake:  # fmt: skip
    canonical_from_rest, joints = body.canonical_from_rest()
    rest_from_canonical = np.linalg.inv(canonical_from_rest)
    frames: list[PosedFrame] = []
    farthest = 0.0
    for number, frame in enumerate(posed):
        vertices = np.asarray(frame.vertices, np.float64)
        check_finite(vertices, frame.where)
        if vertices.shape != body.vertices.shape:
            raise InputError(f"{frame.where} has {len(vertices)} vertices, the model {len(body.vertices)}")
        posed_from_rest = body.posed_from_rest(frame.rotations)
        world_from_model, distance = fitted_rigidly(body.skinned(posed_from_rest), vertices)
        farthest = max(farthest, distance)
        if distance > _FARTHEST_M:
            raise InputError(
                f"{frame.where}: the posed body is {100 * distance:.0f} cm from the surface on average: the pose "
                "belongs to another surface, or the model to another person"
            )
        transforms = world_from_model @ posed_from_rest @ rest_from_canonical
        check_rigid(transforms, frame.where)
        frames.append(
            PosedFrame(
                number, frame.motion, vertices.astype(np.float32), transforms.astype(np.float32),
                pose_of_bones(transforms).astype(np.float32),
            )
        )  # fmt: skip
    if len(frames) < 2:
        raise InputError(f"{origin}, subject {subject}, {outfit}: {len(frames)} frames, at least 2 are needed")
    note = f"the posed body is at most {100 * farthest:.1f} cm from the surface, on average over a frame"
    return AvatarTake(
        subject, outfit, 0, rate_hz, joints.astype(np.float32), tuple(frames), motions, faces=body.faces,
        skin_weights=body.weights.astype(np.float32), origin=origin, notes=(note,),
    )  # fmt: skip
