"""Which poses an avatar was learned from, so that one that is far from all of them is told from others."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bodystream.avatar.base import FarPose
from bodystream.bundles import Bundle, read_npz
from bodystream.errors import BundleError
from bodystream.geometry.skeleton import JOINTS
from bodystream.types import Array

__all__ = ["POSES_FILE", "KnownPoses", "load_known_poses", "without_heading"]

POSES_FILE = "poses.npz"
_MAX_BYTES = 16 << 20
_MOST = 4096  # rotations of a joint


class KnownPoses:
    """Rotations of each joint in its parent's frame, of the pelvis in that of its heading, and how near is known.

    Joints are looked at one by one: that rotations which are known each by itself never came together is not seen.

    Args:
        rotations: (22, N, 4) unit quaternions xyzw.
        known_deg: (22,) up to which angle from one of these a joint's rotation is known.
    """

    def __init__(self, rotations: Array, known_deg: Array) -> None:
        self.rotations, self.known_deg = np.ascontiguousarray(rotations, np.float32), known_deg
        self._cosines = np.empty((len(JOINTS), rotations.shape[1], 1), np.float32)
        self._nearest = np.empty((len(JOINTS), 1), np.float32)

    def angles_deg(self, rotations_xyzw: Array) -> Array:
        """(22,) from the nearest known rotation of each joint: of (22, 4) quaternions of any length."""
        turned = without_heading(rotations_xyzw).astype(np.float32)
        np.matmul(self.rotations, turned[:, :, None], out=self._cosines)
        np.abs(self._cosines, out=self._cosines)
        np.max(self._cosines, axis=1, out=self._nearest)
        return np.degrees(2.0 * np.arccos(np.minimum(self._nearest[:, 0], 1.0)))

    def far(self, rotations_xyzw: Array) -> FarPose | None:
        """What of a pose is far from all that is known, or None."""
        angles = self.angles_deg(rotations_xyzw)
        beyond = angles - self.known_deg
        if beyond.max() <= 0.0:
            return None
        worst = int(beyond.argmax())
        joints = tuple(JOINTS[joint] for joint in np.flatnonzero(beyond > 0.0).tolist())
        return FarPose(JOINTS[worst], float(angles[worst]), float(self.known_deg[worst]), joints)


def without_heading(rotations_xyzw: Array) -> Array:
    """(..., 22, 4) unit quaternions, the pelvis' in the frame of its heading, as networks see it: leaning, not turned.

    The heading is that of `avatar.heading`: the twist about y, which a body upside down does not have.
    """
    q = np.array(rotations_xyzw, np.float64)
    q /= np.linalg.norm(q, axis=-1, keepdims=True)
    x, y, z, w = (q[..., 0, i].copy() for i in range(4))
    length = np.hypot(y, w)
    known = length > 1e-6
    scale = np.where(known, length, 1.0)
    sine, cosine = np.where(known, -y / scale, 0.0), np.where(known, w / scale, 1.0)  # of the turn back
    q[..., 0, 0] = cosine * x + sine * z
    q[..., 0, 1] = cosine * y + sine * w
    q[..., 0, 2] = cosine * z - sine * x
    q[..., 0, 3] = cosine * w - sine * y
    return q


def load_known_poses(bundle: Bundle) -> KnownPoses:
    """Read them from an avatar's bundle.

    Raises:
        BundleError: the bundle is of a version that had none, or they are damaged.
    """
    if POSES_FILE not in {file.path for file in bundle.manifest.files}:
        raise BundleError(
            f"bundle {bundle.manifest.name!r} ({bundle.place}) lacks {POSES_FILE}, since it was made by another "
            "version of bodystream: export the avatar again"
        )
    path = bundle.label(POSES_FILE)
    arrays = read_npz(bundle.read(POSES_FILE), path, _MAX_BYTES)
    problem = _problem(arrays)
    if problem:
        raise BundleError(f"{path}: {problem}: export the avatar again")
    return KnownPoses(arrays["rotations_xyzw"], arrays["known_deg"].astype(np.float64))


def _problem(arrays: Mapping[str, Array]) -> str:
    rotations, known = arrays.get("rotations_xyzw"), arrays.get("known_deg")
    count = len(JOINTS)
    if rotations is None or rotations.ndim != 3 or not 1 <= rotations.shape[1] <= _MOST:
        return f"rotations_xyzw must have shape ({count}, N, 4) for 1 to {_MOST} rotations"
    if rotations.shape[::2] != (count, 4) or rotations.dtype != np.float32:
        return f"rotations_xyzw must be float32 of shape ({count}, N, 4), got {rotations.dtype} of {rotations.shape}"
    if not np.isfinite(rotations).all() or np.abs(np.linalg.norm(rotations, axis=-1) - 1.0).max() > 1e-3:
        return "rotations_xyzw must be unit quaternions"
    if known is None or known.shape != (count,) or not ((known >= 0) & (known <= 180)).all():
        return f"known_deg must be {count} angles from 0 to 180"
    return ""
