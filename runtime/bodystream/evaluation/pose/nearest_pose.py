"""A baseline without training: the poses of the recordings whose head and hands were held most alike.

Features are positions, orientations and velocities of head and hands in the head's heading frame, lengths in units of
stature; a kd-tree finds the k nearest, their joint rotations are averaged as quaternions (Markley et al., Averaging
Quaternions, 2007), and the pelvis is placed so that the head is where it was measured.
"""
# pyright: reportArgumentType=false

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from scipy.spatial import KDTree

from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix
from bodystream.geometry.skeleton import HEAD, JOINTS, LEFT_HAND, RIGHT_HAND, Skeleton
from bodystream.pose.features import heading_rotation, place_by_head
from bodystream.types import Array, BodyPose, DeviceKind, HeadsetSample, Status

__all__ = ["NearestPose", "NearestPoseConfig", "PoseDatabase", "build_database", "quaternion_mean"]

_STATE = 12  # of each device: position 3, two columns of its rotation 6, velocity 3
_MAX_POSES = 5_000_000


class NearestPoseConfig(msgspec.Struct, frozen=True):
    """What counts as alike, and how many poses are averaged.

    Attributes:
        neighbours: number of poses averaged.
        rotation_weight: of a matrix entry's difference against a difference of a whole stature in position.
        velocity_weight_s: of a velocity of one stature per second, likewise.
        velocity_window_s: over which velocities are measured, backwards.
        sharpness: neighbours are weighted by 1 / distance^sharpness.
    """

    neighbours: int = 5
    rotation_weight: float = 0.15
    velocity_weight_s: float = 0.1
    velocity_window_s: float = 0.1
    sharpness: float = 2.0

    def __post_init__(self) -> None:
        weights = (self.rotation_weight, self.velocity_weight_s, self.sharpness)
        if self.neighbours < 1 or any(not weight >= 0 for weight in weights) or not self.velocity_window_s > 0:
            raise ConfigurationError(f"nearest poses take at least one neighbour and weights of at least 0, got {self}")


@dataclass(frozen=True, slots=True)
class PoseDatabase:
    """Recorded poses and what a headset would have seen of them.

    Attributes:
        features: (N, 36) float16, of head, left and right hand: position [statures], first two columns of the rotation
            (column after column), velocity [statures per second]; all in the head's heading frame.
        rotations_xyzw: (N, 22, 4) float16 rotations in the parents' frames, the pelvis' in the heading frame.
    """

    features: Array
    rotations_xyzw: Array

    def __post_init__(self) -> None:
        count = len(self.features)
        shapes = (self.features.shape, self.rotations_xyzw.shape)
        if shapes != ((count, 3 * _STATE), (count, len(JOINTS), 4)) or not 0 < count <= _MAX_POSES:
            raise InputError(
                f"a pose database takes 1 to {_MAX_POSES} poses, features (N, {3 * _STATE}) and rotations "
                f"(N, {len(JOINTS)}, 4), got {shapes[0]} and {shapes[1]}"
            )
        if not np.isfinite(self.features).all() or not np.isfinite(self.rotations_xyzw).all():
            raise InputError("a pose database must be finite, got nan or infinity: build it again")

    def __len__(self) -> int:
        return len(self.features)

    def arrays(self) -> dict[str, Array]:
        """What to store, for instance as `.npz`."""
        return {"features": self.features, "rotations_xyzw": self.rotations_xyzw}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> PoseDatabase:
        """Undoes `arrays`.

        Raises:
            InputError: an array is missing or has another shape.
        """
        missing = [name for name in ("features", "rotations_xyzw") if name not in arrays]
        if missing:
            raise InputError(f"not a pose database: {' and '.join(missing)} missing")
        return cls(*(np.asarray(arrays[name], np.float16) for name in ("features", "rotations_xyzw")))


def build_database(
    clips: Iterable[MotionClip],
    config: NearestPoseConfig | None = None,
    poses_per_s: float = 10.0,
    mirrored: bool = True,
) -> PoseDatabase:
    """Poses of clips, `poses_per_s` of them per second of motion, and of their mirror images.

    Raises:
        InputError: the clips hold no pose.
    """
    config = NearestPoseConfig() if config is None else config
    features, rotations = [], []
    for original in clips:
        for clip in (original, original.mirrored()) if mirrored else (original,):
            positions, world = clip.joints()
            devices = [HEAD, LEFT_HAND, RIGHT_HAND]
            seen = _features(
                positions[:, devices],
                world[:, devices],
                clip.skeleton.stature_m,
                clip.rate_hz,
                config.velocity_window_s,
            )
            keep = np.arange(0, len(clip), max(clip.rate_hz / poses_per_s, 1.0)).astype(int)
            local = clip.rotation_matrices()[keep]
            local[:, 0] = np.swapaxes(heading_rotation(world[keep, HEAD]), -1, -2) @ local[:, 0]
            features.append(seen[keep].astype(np.float16))
            rotations.append(quaternion_from_matrix(local).astype(np.float16))
    if not features:
        raise InputError("a pose database needs at least one clip, got none")
    return PoseDatabase(np.concatenate(features), np.concatenate(rotations))


def quaternion_mean(quaternions_xyzw: Array, weights: Array) -> Array:
    """Mean rotations of (..., K, 4) unit quaternions with weights (..., K): (..., 4), w >= 0.

    The eigenvector of `sum_k w_k q_k q_k^T` of the largest eigenvalue: it minimises the weighted sum of squared chords
    between rotation matrices, and does not care about the signs of quaternions.
    """
    moment = np.einsum("...k,...ki,...kj->...ij", weights, quaternions_xyzw, quaternions_xyzw)
    mean = np.linalg.eigh(moment)[1][..., -1]
    return np.where(mean[..., 3:] < 0, -mean, mean)


class NearestPose:
    """The k-nearest-pose estimator; see the module.

    A hand that is not tracked is left out of the comparison and flagged; without the head the last pose is held.
    """

    name = "nearest_pose"

    def __init__(self, database: PoseDatabase, config: NearestPoseConfig | None = None) -> None:
        self.config = NearestPoseConfig() if config is None else config
        c = self.config
        state = [1.0] * 3 + [c.rotation_weight] * 6 + [c.velocity_weight_s] * 3
        self._weights = np.tile(state, 3)
        self._rotations = database.rotations_xyzw
        self._features = database.features
        self._trees: dict[tuple[bool, ...], KDTree] = {}
        self._tree((True, True, True))
        self._skeleton: Skeleton | None = None
        self._past: deque[tuple[int, Array]] = deque()
        self._last: BodyPose | None = None

    def reset(self, skeleton: Skeleton) -> None:
        """A new clip of a person of these proportions."""
        self._skeleton = skeleton
        self._past = deque()
        self._last = None

    def step(self, sample: HeadsetSample) -> BodyPose:
        """The pose at the time of the sample."""
        return self.run([sample])[0]

    def run(self, samples: Sequence[HeadsetSample]) -> list[BodyPose]:
        """Poses of samples that follow each other.

        Raises:
            InputError: `reset` was not called, a device is not `DeviceKind.JOINT`, or the first sample has no head.
        """
        if self._skeleton is None:
            raise InputError("nearest poses need a person's proportions: call reset(skeleton) first")
        tracked = [sample for sample in samples if sample.head is not None]
        found = iter(self._search(tracked, self._skeleton) if tracked else [])
        poses = []
        for sample in samples:
            if sample.head is not None:
                self._last = next(found)
            elif self._last is None:
                raise InputError("nearest poses need the head's pose in the first sample, got none")
            else:
                held = self._last
                self._last = BodyPose(
                    sample.t_ns,
                    held.rotations_xyzw,
                    held.root_position_m,
                    Status.LOST,
                    ("head_lost",),
                    reason="the headset is not tracked",
                )
            poses.append(self._last)
        return poses

    def _tree(self, tracked: tuple[bool, ...]) -> KDTree:
        """The tree over the features of those of head, left and right hand that are tracked."""
        if tracked not in self._trees:
            columns = np.repeat(tracked, _STATE)
            weighted = self._features[:, columns].astype(np.float32) * self._weights[columns]
            self._trees[tracked] = KDTree(weighted, leafsize=32)
        return self._trees[tracked]

    def _search(self, samples: Sequence[HeadsetSample], skeleton: Skeleton) -> list[BodyPose]:
        """Poses of samples that all have a head."""
        heads = np.empty((len(samples), 3))
        headings = np.empty((len(samples), 3, 3))
        features = np.empty((len(samples), 3, _STATE))
        tracked = np.empty((len(samples), 3), bool)
        for row, sample in enumerate(samples):
            positions, rotations = _devices(sample)
            tracked[row] = ~np.isnan(positions[:, 0])
            velocity = self._velocity(sample.t_ns, positions)
            heads[row], headings[row] = positions[0], heading_rotation(rotations[0])
            features[row] = _state(positions, rotations, velocity, skeleton.stature_m)

        count = min(self.config.neighbours, len(self._features))
        distance, index = np.empty((len(samples), count)), np.empty((len(samples), count), int)
        for pattern in np.unique(tracked, axis=0):
            rows = (tracked == pattern).all(axis=1)
            columns = np.repeat(pattern, _STATE)
            asked = (features[rows].reshape(-1, 3 * _STATE) * self._weights)[:, columns]
            tree = self._tree(tuple(bool(seen) for seen in pattern))
            distance[rows], index[rows] = tree.query(asked, k=range(1, count + 1))

        weights = 1.0 / np.maximum(distance, 1e-4) ** self.config.sharpness
        weights /= weights.sum(axis=1, keepdims=True)
        candidates = np.moveaxis(self._rotations[index].astype(np.float64), 1, 2)  # (T, 22, K, 4)
        candidates /= np.linalg.norm(candidates, axis=-1, keepdims=True)
        quaternions = quaternion_mean(candidates, weights[:, None, :])
        local = matrix_from_quaternion(quaternions)
        local[:, 0] = headings @ local[:, 0]
        roots = place_by_head(skeleton.offsets_m, local, heads)
        quaternions[:, 0] = quaternion_from_matrix(local[:, 0])
        return [_pose(*row) for row in zip(samples, quaternions, roots, strict=True)]

    def _velocity(self, t_ns: int, positions: Array) -> Array:
        """(3, 3) [m/s] over the last `velocity_window_s`; 0 for what was not tracked at its beginning."""
        past, window_ns = self._past, self.config.velocity_window_s * 1e9
        past.append((t_ns, positions))
        while len(past) > 2 and t_ns - past[1][0] >= window_ns - 1e6:
            past.popleft()
        then_ns, then = past[0]
        if t_ns <= then_ns:
            return np.zeros((3, 3))
        return np.nan_to_num((positions - then) / ((t_ns - then_ns) * 1e-9), nan=0.0)


def _pose(sample: HeadsetSample, quaternions: Array, root: Array) -> BodyPose:
    lost = tuple(f"{side}_lost" for side in ("left", "right") if getattr(sample, side) is None)
    return BodyPose(
        sample.t_ns,
        quaternions.astype(np.float32),
        root.astype(np.float32),
        Status.DEGRADED if lost else Status.TRACKED,
        lost,
        reason="a hand is not tracked" if lost else "",
    )


def _devices(sample: HeadsetSample) -> tuple[Array, Array]:
    """(3, 3) positions and (3, 3, 3) rotations of head, left and right hand in the world; nan where not tracked."""
    positions, rotations = np.full((3, 3), np.nan), np.full((3, 3, 3), np.nan)
    for slot, label in enumerate(("head", "left", "right")):
        device = getattr(sample, label)
        if device is None:
            continue
        if device.kind is not DeviceKind.JOINT:
            raise InputError(
                f"nearest poses take the pose of the {label} joint (DeviceKind.JOINT), got one of kind {device.kind}"
            )
        positions[slot] = device.position_m
        rotations[slot] = matrix_from_quaternion(np.asarray(device.rotation_xyzw, np.float64))
    return positions, rotations


def _state(positions: Array, rotations: Array, velocity: Array, stature_m: float) -> Array:
    """(..., 3, 12) features of world positions (..., 3, 3), rotations (..., 3, 3, 3) and velocities (..., 3, 3)."""
    heading = heading_rotation(rotations[..., 0, :, :])
    origin = positions[..., :1, :] * (1.0, 0.0, 1.0)
    turned = np.einsum("...ji,...djk->...dik", heading, rotations)
    return np.concatenate(
        [
            (positions - origin) @ heading / stature_m,
            turned[..., 0],
            turned[..., 1],
            velocity @ heading / stature_m,
        ],
        axis=-1,
    )


def _features(positions: Array, rotations: Array, stature_m: float, rate_hz: float, window_s: float) -> Array:
    """(T, 36) features of a clip; velocities look back over the window, or as far as the clip goes."""
    frames = np.arange(len(positions))
    then = np.maximum(frames - max(round(window_s * rate_hz), 1), 0)
    elapsed_s = np.maximum(frames - then, 1) / rate_hz
    velocity = (positions - positions[then]) / elapsed_s[:, None, None]
    return _state(positions, rotations, velocity, stature_m).reshape(len(positions), -1)
