"""AMASS: poses of the SMPL family in `.npz` files, y up and looking along -z here, where AMASS has z up.

The files hold rotations only. The joints' places come from a body model that AMASS's users get under its own terms:
give it as `amass:PATH?model=FILE.npz` (SMPL, SMPL-H or SMPL-X: `v_template`, `shapedirs` and `J_regressor`), and each
subject's own proportions are used. Without one, every take gets the skeleton of the shipped body; rotations are the
same, and a warning says so.
"""

from __future__ import annotations

import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from bodystream.avatar.rig import load_rig
from bodystream.bundles import load_npz
from bodystream.errors import InputError, excerpt
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.skeleton import JOINTS, PARENTS, Skeleton, align_rest
from bodystream.sources.motion.canonical import TakeFacts, canonical_clip
from bodystream.sources.motion.rig import RigMotion, check_length
from bodystream.types import Array

__all__ = ["read_amass", "smpl_joints"]

_MAX_BYTES = 512 << 20
_MAX_RATE_HZ = 2000
_MAX_ANGLE_RAD = 25.0
"""Four turns: fitted rotation vectors pass one now and then, and in degrees an upright body has 90."""
_MAX_TRANS_M = 10_000.0
_MAX_BETA = 1000.0
_MAX_POSE = 1024
_RATE_KEYS = ("mocap_framerate", "mocap_frame_rate", "frame_rate", "fps")
_PARTS = (("root_orient", "pose_body"), ("global_orient", "body_pose"))
_WANTED = ("poses", *_PARTS[0], *_PARTS[1], "trans", "transl", "betas", *_RATE_KEYS)
_MODEL = ("v_template", "shapedirs", "J_regressor")
_Y_UP_FROM_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


def read_amass(
    path: Path, facts: TakeFacts, model: Path | None = None, warnings: list[str] | None = None
) -> MotionClip:
    """One take of AMASS on the canonical skeleton.

    Args:
        path: `poses` (T, 66 or more: 22 body joints of axis times angle, then hands), or `root_orient` (T, 3) and
            `pose_body` (T, 63); `trans` (T, 3), `betas`, and `mocap_framerate` or `mocap_frame_rate`. Other arrays are
            not looked at: SMPL-X's `*_stageii.npz` hold a pickled one.
        facts: name, subject and what an index says.
        model: a model of the SMPL family, or None for the shipped body's proportions.
        warnings: guesses are appended.

    Raises:
        InputError: the file is no AMASS take or holds unusable numbers; the message says which array and why.
    """
    arrays = load_npz(path, _MAX_BYTES, _WANTED)
    poses, trans = _poses(arrays, path), _array(arrays, "transl" if "transl" in arrays else "trans", path)
    if trans.shape != (len(poses), 3):
        raise InputError(f"{path}: trans must be ({len(poses)}, 3), one per pose, got {trans.shape}: it is damaged")
    if np.abs(trans).max() > _MAX_TRANS_M:
        raise InputError(
            f"{path}: trans goes as far as {np.abs(trans).max():.3g}, wanted metres of a person, {_MAX_TRANS_M:.0f} at "
            "most: it is damaged or in another unit"
        )
    largest = float(np.abs(poses).max())
    if largest > _MAX_ANGLE_RAD:
        raise InputError(f"{path}: a pose has an angle of {largest:.3g}: AMASS has radians, these look like degrees")
    rate_hz = _rate_hz(arrays, path)
    if facts.rate_hz is None and rate_hz is None:
        raise InputError(f"{path} says no frame rate: it should hold mocap_framerate in Hz, from 1 to {_MAX_RATE_HZ}")
    if model is not None:
        betas = _array(arrays, "betas", path).reshape(-1) if "betas" in arrays else np.zeros(0)
        if np.abs(betas).max(initial=0.0) > _MAX_BETA:
            raise InputError(f"{path}: betas holds {np.abs(betas).max():.3g}, wanted {_MAX_BETA:.0f} at most")
        joints = smpl_joints(model, betas)
    else:
        joints = _shipped_joints()
        if warnings is not None:
            warnings.append(
                f"{facts.name}: AMASS files hold no bone lengths; the shipped body's were taken (name a model for the "
                "subject's own: amass:PATH?model=FILE.npz)"
            )
    rotations = Rotation.from_rotvec(poses.reshape(-1, 3)).as_matrix().reshape(-1, len(JOINTS), 3, 3)
    rotations[:, 0] = _Y_UP_FROM_Z_UP @ rotations[:, 0]
    offsets = joints - joints[[max(parent, 0) for parent in PARENTS]]
    # SMPL's trans moves the whole body, whose pelvis is not at the origin of the model.
    motion = RigMotion(
        name=str(path),
        joints=JOINTS,
        parents=PARENTS,
        offsets=offsets,
        rotations=rotations,
        root_positions=(trans + joints[0]) @ _Y_UP_FROM_Z_UP.T,
        rate_hz=rate_hz,
        kind="amass",
        metres_per_unit=1.0,
        file_from_motion=_Y_UP_FROM_Z_UP.T,
    )
    return canonical_clip(motion, facts, warnings)


def _poses(arrays: dict[str, Array], path: Path) -> Array:
    """(T, 66) rotation vectors of the body: from `poses`, or from the parts that SMPL-X's files have beside it."""
    parts = next((keys for keys in _PARTS if all(key in arrays for key in keys)), None)
    if "poses" in arrays or parts is None:
        poses = _flat(_array(arrays, "poses", path))
    else:
        root, body = (_flat(_array(arrays, key, path)) for key in parts)
        if root.ndim != 2 or body.ndim != 2 or root.shape[1:] != (3,) or len(root) != len(body):
            raise InputError(f"{path}: {parts[0]} {root.shape} and {parts[1]} {body.shape} must be (T, 3) and (T, 63)")
        poses = np.concatenate([root, body], axis=1)
    if poses.ndim != 2 or not 66 <= poses.shape[1] <= _MAX_POSE or poses.shape[1] % 3 or not len(poses):
        raise InputError(
            f"{path}: poses must be (frames, 156) as in SMPL-H, at least the 22 body joints' 66 numbers, got "
            f"{poses.shape}"
        )
    check_length(len(poses), len(JOINTS), str(path))
    return poses[:, :66]


def _flat(poses: Array) -> Array:
    """(T, J, 3) as (T, 3 J)."""
    return poses.reshape(len(poses), poses.shape[1] * 3) if poses.ndim == 3 and poses.shape[2] == 3 else poses


def _rate_hz(arrays: dict[str, Array], path: Path) -> float | None:
    for key in _RATE_KEYS:
        if key in arrays:
            values = _array(arrays, key, path).reshape(-1)
            if values.size == 1 and 1.0 <= values[0] <= _MAX_RATE_HZ:
                return float(values[0])
            raise InputError(f"{path}: {key} is {values[:3]}, wanted one rate from 1 to {_MAX_RATE_HZ} Hz")
    return None


def smpl_joints(model: Path, betas: Array) -> Array:
    """The 22 body joints of a person (22, 3) at rest in SMPL's frame: y up, facing +z [m].

    Args:
        model: an `.npz` with `v_template` (V, 3), `shapedirs` (V, 3, B) and `J_regressor` (J >= 22, V), dense.
        betas: the shape; as many as the model has are used.

    Raises:
        InputError: the arrays are not there or do not fit each other.
    """
    template, directions, regressor = _model(model)
    count = min(len(betas), directions.shape[2])
    vertices = template + directions[:, :, :count] @ betas[:count]
    return regressor[: len(JOINTS)] @ vertices


@lru_cache(maxsize=2)
def _model(path: Path) -> tuple[Array, Array, Array]:
    arrays = load_npz(path, 2 * _MAX_BYTES, _MODEL)
    template, directions, regressor = (_array(arrays, key, path) for key in ("v_template", "shapedirs", "J_regressor"))
    count = template.size // 3
    if (
        template.shape != (count, 3)
        or directions.ndim != 3
        or directions.shape[:2] != (count, 3)
        or regressor.ndim != 2
        or regressor.shape[1] != count
        or len(regressor) < len(JOINTS)
    ):
        raise InputError(
            f"{path} is no model of the SMPL family: v_template {template.shape}, shapedirs {directions.shape} and "
            f"J_regressor {regressor.shape} do not fit; wanted (V, 3), (V, 3, B) and (J >= {len(JOINTS)}, V)"
        )
    return template, directions, regressor


def _shipped_joints() -> Array:
    """The shipped body's joints in SMPL's frame, in the canonical rest pose."""
    skeleton, _ = align_rest(load_rig().bind_positions_m)
    return Skeleton(skeleton.offsets_m).rest_positions_m * (-1.0, 1.0, -1.0)


def _array(arrays: dict[str, Array], key: str, path: Path) -> Array:
    if key not in arrays:
        have = ", ".join(excerpt(name, 40)[1:-1] for name in _names(path)) or "nothing"
        hint = "; a file of the body's shape only (`shape.npz`) has no motion" if key == "poses" else ""
        raise InputError(f"{path} holds no array {key!r}; it has {have}{hint}")
    if arrays[key].dtype.kind not in "fiu":
        raise InputError(f"{path}: the array {key!r} does not hold numbers")
    with np.errstate(over="ignore"):  # longer floats than ours become infinite
        values = arrays[key].astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{path}: the array {key!r} holds values that are not finite")
    return values


def _names(path: Path) -> list[str]:
    """Some of the arrays that the archive has, for messages."""
    with zipfile.ZipFile(path) as archive:
        return sorted(name.removesuffix(".npy") for name in archive.namelist())[:20]
