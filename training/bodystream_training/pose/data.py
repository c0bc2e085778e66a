"""Training examples of the pose sampler: motion clips, re-proportioned and mirrored, as the networks see them."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bodystream.errors import InputError
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, Skeleton, forward_kinematics
from bodystream.pose.features import (
    DEVICES,
    FeatureConfig,
    beta_of_skeleton,
    device_features,
    encode_poses,
)
from bodystream.types import Array

__all__ = ["RATE_HZ", "Examples", "build_examples", "reproportioned"]

RATE_HZ = 60.0


@dataclass
class Examples:
    """Tensors of N examples; lengths are in units of stature.

    Attributes:
        observation: (N, 3, token) float16, `x_H`.
        pose: (N, 66) float16 rotation vectors [rad].
        states: (N, 22, 9) float16, position and two axes of every joint, relative to the head's floor projection.
        contacts: (N, 2) bool, left and right foot on the floor.
        person: (N,) int32, which of `beta` and `offsets` the example has.
        beta: (P, 10) float32.
        offsets: (P, 22, 3) float32 bones over stature.
        stature_m: (P,) float32.
        base: how many examples there are without augmentation: the length of an epoch.
    """

    observation: Tensor
    pose: Tensor
    states: Tensor
    contacts: Tensor
    person: Tensor
    beta: Tensor
    offsets: Tensor
    stature_m: Tensor
    base: int

    def __len__(self) -> int:
        return len(self.pose)


# Bones that change length together, so that a person stays a person.
_GROUPS = (
    ("left_hip", "right_hip"),
    ("left_knee", "right_knee"),
    ("left_ankle", "right_ankle"),
    ("left_foot", "right_foot"),
    ("spine1", "spine2", "spine3", "neck"),
    ("head",),
    ("left_collar", "right_collar", "left_shoulder", "right_shoulder"),
    ("left_elbow", "right_elbow"),
    ("left_wrist", "right_wrist"),
)


def reproportioned(clip: MotionClip, rng: np.random.Generator, spread: float = 0.06) -> MotionClip:
    """The same motion of a person of other proportions: bone groups vary by `spread` (one standard deviation)."""
    factors = np.ones((len(JOINTS), 1))
    for group in _GROUPS:
        factors[[JOINT_INDEX[name] for name in group]] = np.clip(
            rng.normal(1.0, spread), 1 - 2.5 * spread, 1 + 2.5 * spread
        )
    skeleton = Skeleton(clip.skeleton.offsets_m * factors)
    # steps and the height of the pelvis follow the legs
    legs = skeleton.pelvis_height_m / clip.skeleton.pelvis_height_m
    return dataclasses.replace(clip, skeleton=skeleton, root_positions_m=clip.root_positions_m * np.float32(legs))


def build_examples(
    clips: Iterable[MotionClip],
    features: FeatureConfig,
    *,
    variants: int = 4,
    stride: int = 3,
    seed: int = 0,
    on_clip: Callable[[MotionClip], None] | None = None,
) -> Examples:
    """Cut clips into examples.

    Args:
        variants: copies of every clip: as it is, mirrored, then re-proportioned and mirrored in turn, each cut at
            another phase.
        stride: frames of 60 Hz from one example to the next. Who stands upright on both feet, as users do most of the
            time and recorded actors do not, is cut twice as often.

    Raises:
        InputError: no clip is long enough.
    """
    ages = [round(age * RATE_HZ) for age in features.ages_s]
    parts: list[dict[str, Array]] = []
    people: list[Skeleton] = []
    base = 0
    for clip in clips:
        clip = clip.resampled(RATE_HZ)
        if len(clip) < RATE_HZ / 2:
            continue
        # depends on the clip alone, so that leaving one out does not change the others
        rng = np.random.default_rng([seed, zlib.crc32(clip.name.encode())])
        for variant in range(variants):
            copy = clip if variant < 2 else reproportioned(clip, rng)
            copy = copy.mirrored() if variant % 2 else copy
            frames = np.arange((variant * stride) // variants, len(copy), stride)
            if variant == 0:
                base += len(frames)
            if variants > 1:  # not where it is judged by these
                frames = np.concatenate([frames, _upright(copy, frames, stride)])
            parts.append(_examples_of(copy, frames, ages, len(people)))
            people.append(copy.skeleton)
        if on_clip is not None:
            on_clip(clip)
    if not parts:
        raise InputError("no clip is longer than half a second: give more motion files")

    def joined(key: str) -> Tensor:
        return torch.from_numpy(np.concatenate([part[key] for part in parts]))

    return Examples(
        observation=joined("observation"),
        pose=joined("pose"),
        states=joined("states"),
        contacts=joined("contacts"),
        person=joined("person"),
        beta=torch.from_numpy(np.stack([beta_of_skeleton(p) for p in people]).astype(np.float32)),
        offsets=torch.from_numpy(np.stack([p.offsets_m / p.stature_m for p in people]).astype(np.float32)),
        stature_m=torch.tensor([p.stature_m for p in people], dtype=torch.float32),
        base=base,
    )


def _upright(clip: MotionClip, frames: Array, stride: int) -> Array:
    """The frames between those, where both feet are on the floor and the head is at nine tenths of its height."""
    between = frames[:-1] + stride // 2
    skeleton = clip.skeleton
    positions, _ = forward_kinematics(
        skeleton.offsets_m, clip.rotation_matrices(), clip.root_positions_m.astype(np.float64)
    )
    height = positions[between, DEVICES[0], 1]
    return between[
        foot_contacts(positions, clip.rate_hz, skeleton)[between].all(-1) & (height > 0.9 * skeleton.stature_m)
    ]


def _examples_of(clip: MotionClip, frames: Array, ages: Sequence[int], person: int) -> dict[str, Array]:
    rotations = clip.rotation_matrices()
    positions, world = forward_kinematics(clip.skeleton.offsets_m, rotations, clip.root_positions_m.astype(np.float64))
    past = np.maximum(frames[:, None] - np.asarray(ages), 0)  # (N, A)
    devices = list(DEVICES)
    stature = clip.skeleton.stature_m
    tracked = np.ones((*past.shape, 3), bool)
    observation, heading = device_features(
        positions[past][:, :, devices], world[past][:, :, devices], tracked, np.full(len(frames), stature)
    )
    origin = positions[frames, DEVICES[0]][:, None] * (1.0, 0.0, 1.0)
    local = np.einsum("nji,nkj->nki", heading, positions[frames] - origin) / stature
    turned = np.einsum("nji,nkjl->nkil", heading, world[frames])
    states = np.concatenate([local, turned[..., 0], turned[..., 1]], axis=-1)
    return {
        "observation": observation.astype(np.float16),
        "pose": encode_poses(rotations[frames], heading).astype(np.float16),
        "states": states.astype(np.float16),
        "contacts": foot_contacts(positions, clip.rate_hz, clip.skeleton)[frames],
        "person": np.full(len(frames), person, np.int32),
    }


def foot_contacts(positions_m: Array, rate_hz: float, skeleton: Skeleton) -> Array:
    """(T, 2) bool: the ankle or the ball of the left and right foot is near the floor and at rest.

    Args:
        positions_m: (T, 22, 3) world positions, the floor at y = 0.
    """
    rest = skeleton.rest_positions_m[:, 1] + skeleton.pelvis_height_m
    speed = np.linalg.norm(np.gradient(positions_m, 1.0 / rate_hz, axis=0), axis=-1)
    out = []
    for side in ("left", "right"):
        standing = np.zeros(len(positions_m), bool)
        for part, slack in (("ankle", 0.06), ("foot", 0.05)):
            joint = JOINT_INDEX[f"{side}_{part}"]
            standing |= (positions_m[:, joint, 1] < rest[joint] + slack) & (speed[:, joint] < 0.3)
        out.append(standing)
    return np.stack(out, axis=1)
