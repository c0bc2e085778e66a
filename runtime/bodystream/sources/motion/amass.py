"""AMASS: poses of the SMPL family in `.npz` files, y up and looking along -z here, where AMASS has z up.

The files hold rotations only. The joints' places come from a body model that AMASS's users get under its own terms:
give it as `amass:PATH?model=FILE.npz` (SMPL, SMPL-H or SMPL-X: `v_template`, `shapedirs` and `J_regressor`), and each
subject's own proportions are used. Without one, every take gets the skeleton of the shipped body; rotations are the
same, and a warning says so.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from bodystream.bundles import find_bundle, load_npz
from bodystream.errors import InputError
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.skeleton import JOINTS, PARENTS, Skeleton, align_rest
from bodystream.sources.motion.canonical import TakeFacts, canonical_clip
from bodystream.sources.motion.rig import RigMotion
from bodystream.types import Array

__all__ = ["read_amass", "smpl_joints"]

_MAX_BYTES = 1 << 30
_MAX_FRAMES = 2_000_000
_MAX_RATE_HZ = 2000
_MAX_ANGLE_RAD = 100.0
_RATE_KEYS = ("mocap_framerate", "mocap_frame_rate", "frame_rate", "fps")
_Y_UP_FROM_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


def read_amass(
    path: Path, facts: TakeFacts, model: Path | None = None, warnings: list[str] | None = None
) -> MotionClip:
    """One take of AMASS on the canonical skeleton.

    Args:
        path: `poses` (T, 66 or more: 22 body joints of axis times angle, then hands), `trans` (T, 3), `betas`, and
            `mocap_framerate` or `mocap_frame_rate`.
        facts: name, subject and what an index says.
        model: a model of the SMPL family, or None for the shipped body's proportions.
        warnings: guesses are appended.

    Raises:
        InputError: the file is no AMASS take or holds unusable numbers; the message says which array and why.
    """
    arrays = load_npz(path, _MAX_BYTES)
    poses = _array(arrays, "poses", path)
    if poses.ndim == 3 and poses.shape[2] == 3:
        poses = poses.reshape(len(poses), -1)
    if poses.ndim != 2 or poses.shape[1] < 66 or poses.shape[1] % 3 or not 0 < len(poses) <= _MAX_FRAMES:
        hint = "; a file of the body's shape only (`shape.npz`) has no motion" if "poses" not in arrays else ""
        raise InputError(
            f"{path}: poses must be (frames, 156) as in SMPL-H, at least the 22 body joints' 66 numbers, got "
            f"{poses.shape}{hint}"
        )
    trans = _array(arrays, "trans", path)
    if trans.shape != (len(poses), 3):
        raise InputError(f"{path}: trans must be ({len(poses)}, 3), one per pose, got {trans.shape}: it is damaged")
    largest = float(np.abs(poses[:, :66]).max())
    if largest > _MAX_ANGLE_RAD:
        raise InputError(f"{path}: a pose has an angle of {largest:.0f}: AMASS has radians, these look like degrees")
    rate_hz = _rate_hz(arrays, path)
    if facts.rate_hz is None and rate_hz is None:
        raise InputError(f"{path} says no frame rate: it should hold mocap_framerate in Hz, from 1 to {_MAX_RATE_HZ}")
    if model is not None:
        betas = np.asarray(arrays["betas"], np.float64).reshape(-1) if "betas" in arrays else np.zeros(0)
        joints = smpl_joints(model, betas)
    else:
        joints = _shipped_joints()
        if warnings is not None:
            warnings.append(
                f"{facts.name}: AMASS files hold no bone lengths; the shipped body's were taken (name a model for the "
                "subject's own: amass:PATH?model=FILE.npz)"
            )
    rotations = Rotation.from_rotvec(poses[:, :66].reshape(-1, 3)).as_matrix().reshape(-1, len(JOINTS), 3, 3)
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
    )
    return canonical_clip(motion, facts, warnings)


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
    arrays = load_npz(path, _MAX_BYTES)
    template, directions, regressor = (_array(arrays, key, path) for key in ("v_template", "shapedirs", "J_regressor"))
    count = len(template)
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
    bundle = find_bundle("body")
    joints = np.asarray(load_npz(bundle.path("body.npz"))["joints"], np.float64)
    skeleton, _ = align_rest(joints)
    return Skeleton(skeleton.offsets_m).rest_positions_m * (-1.0, 1.0, -1.0)


def _array(arrays: dict[str, Array], key: str, path: Path) -> Array:
    if key not in arrays:
        have = ", ".join(sorted(arrays)[:20]) or "nothing"
        raise InputError(f"{path} holds no array {key!r}; it has {have}")
    try:
        values = np.asarray(arrays[key], np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: the array {key!r} does not hold numbers") from error
    if not np.isfinite(values).all():
        raise InputError(f"{path}: the array {key!r} holds values that are not finite")
    return values
