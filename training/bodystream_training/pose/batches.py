"""Batches from examples: shuffled, as other rigs would have recorded them, with noise of trackers, with lost hands."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from bodystream.geometry.skeleton import JOINT_INDEX
from bodystream.pose.features import DEVICES
from bodystream_training.pose.data import Examples
from bodystream_training.rotations import composed, rotation_matrices

__all__ = ["Augmentation", "Batch", "collate", "remounted"]


@dataclass(frozen=True)
class Augmentation:
    """What real devices do to observations; lengths are in units of stature.

    Attributes:
        pose_rad: noise of the pose itself, which makes its density finite where a joint never moves.
        position, axis: noise of the devices' positions and of the axes of their orientation.
        mount: error of where a device sits on the body, constant over the history.
        head_rad, hand_rad: how a rig's head (its pitch; a third of it in yaw and roll) and hands are turned against
            another's, constant over the history. Laboratories differ by 5 to 20 degrees here, and a network that has
            seen few of them takes their habit for a posture.
        grip: where on the hand a rig has its wrist, in the hand's own axes.
        floor: error of the floor's height.
        beta: relative error of the proportions.
        lost: probability that a hand is not tracked.
        fresh: probability that a hand's history is not known, as after it was lost.
    """

    pose_rad: float = 0.02
    position: float = 0.0008
    axis: float = 0.004
    mount: float = 0.003
    head_rad: float = 0.15
    hand_rad: float = 0.15
    grip: float = 0.006
    floor: float = 0.006
    beta: float = 0.01
    lost: float = 0.06
    fresh: float = 0.06


@dataclass
class Batch:
    """float32; `tracked` is (B, 3), `condition` is not yet normalised, `offsets` (B, 22, 3)."""

    condition: Tensor
    tracked: Tensor
    pose: Tensor
    states: Tensor
    contacts: Tensor
    offsets: Tensor

    def to(self, device: torch.device, **how: bool) -> Batch:
        """The same on another device."""
        return Batch(**{field.name: getattr(self, field.name).to(device, **how) for field in fields(self)})


def collate(
    examples: Examples, index: Tensor, generator: torch.Generator, augmentation: Augmentation | None = None
) -> Batch:
    """The examples `index` (B,)."""
    observation = examples.observation[index].float()
    person = examples.person[index].long()
    pose, states = examples.pose[index].float(), examples.states[index].float()
    beta = examples.beta[person]
    tracked = observation[:, :, 9].clone()
    if augmentation is not None:

        def noise(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        a = augmentation
        turns = noise(len(index), 3, 3) * a.hand_rad
        turns[:, 0] = noise(len(index), 3) * a.head_rad * torch.tensor([1.0, 1 / 3, 1 / 3])
        grips = noise(len(index), 3, 3) * a.grip
        grips[:, 0] = 0.0  # the body hangs from the head: `mount` is for that
        observation, pose, states = remounted(observation, pose, states, turns, grips)
        count, devices = observation.shape[:2]
        observation[..., 1] += a.floor * noise(count, 1)
        observation[..., 0:3] += a.position * noise(count, devices, 3) + a.mount * noise(count, devices, 3)
        observation[..., 3:9] += a.axis * noise(count, devices, 6)
        change = observation[..., 10:].reshape(count, devices, -1, 9)
        # a change is the difference of two noisy states
        change[..., 0:3] += a.position * 2**0.5 * noise(*change.shape[:3], 3)
        change[..., 3:9] += a.axis * 2**0.5 * noise(*change.shape[:3], 6)
        fresh = torch.rand(count, devices, generator=generator) < a.fresh
        known = torch.randint(0, max(change.shape[2], 1), (count, devices), generator=generator)
        unknown = fresh[..., None] & (torch.arange(change.shape[2]) >= known[..., None])
        observation[..., 10:] = (change * ~unknown[..., None]).reshape(count, devices, -1)
        lost = torch.rand(count, devices, generator=generator) < a.lost
        lost[:, 0] = False
        tracked = tracked * ~lost
        observation = observation * tracked[..., None]
        pose = pose + a.pose_rad * noise(*pose.shape)
        beta = beta * (1.0 + a.beta * noise(*beta.shape))
    return Batch(
        condition=torch.cat([observation.flatten(1), beta], dim=-1),
        tracked=tracked,
        pose=pose,
        states=states,
        contacts=examples.contacts[index].float(),
        offsets=examples.offsets[person],
    )


def remounted(
    observation: Tensor, pose: Tensor, states: Tensor, turns: Tensor, grips: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The same motion, recorded by a rig whose head and hands have other axes.

    Head and hands are ends of the skeleton, so no joint moves; but the head's new axes have another heading, to which
    all is relative.

    Args:
        observation: (B, 3, token) of tracked devices; pose (B, 66); states (B, 22, 9): as of `Examples`.
        turns: (B, 3, 3) rotation vectors [rad] of the new axes of head, left and right hand in the old ones.
        grips: (B, 3, 3) where the new joints are, in the old axes; only the observation moves.

    Returns:
        observation, pose, states of that rig.
    """
    count, devices = observation.shape[:2]
    now, tracked, change = observation[..., :9], observation[..., 9:10], observation[..., 10:]
    earlier = now[:, :, None] + change.reshape(count, devices, -1, 9)
    seen = torch.cat([now[:, :, None], earlier], dim=2)  # (B, 3, A, 9)
    turn = rotation_matrices(turns)
    rotation = _rotation(seen)
    position = seen[..., :3] + (rotation @ grips[:, :, None, :, None])[..., 0]
    rotation = rotation @ turn[:, :, None]
    # the twist about the vertical of the head's new axes, seen from the old heading
    head = rotation[:, 0, 0]
    sine, cosine = head[:, 0, 2] - head[:, 2, 0], head[:, 0, 0] + head[:, 2, 2]
    back = torch.stack([torch.zeros_like(sine), -torch.atan2(sine, cosine), torch.zeros_like(sine)], dim=-1)
    undo = rotation_matrices(back)  # (B, 3, 3)
    seen = _state(position @ undo.mT[:, None], undo[:, None, None] @ rotation)
    change = (seen[:, :, 1:] - seen[:, :, :1]).reshape(count, devices, -1)

    states = states.clone()
    joints = list(DEVICES)
    turned = _rotation(states)
    turned[:, joints] = turned[:, joints] @ turn
    states = _state(states[..., :3] @ undo.mT, undo[:, None] @ turned)

    vectors = pose.reshape(count, -1, 3).clone()
    vectors[:, joints] = composed(vectors[:, joints], turns)
    vectors[:, _PELVIS] = composed(back, vectors[:, _PELVIS])
    return torch.cat([seen[:, :, 0], tracked, change], dim=-1), vectors.reshape(count, -1), states


_PELVIS = JOINT_INDEX["pelvis"]


def _rotation(state: Tensor) -> Tensor:
    """(..., 3, 3) of states (..., 9), which hold a position and two columns."""
    x, y = state[..., 3:6], state[..., 6:9]
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)


def _state(position: Tensor, rotation: Tensor) -> Tensor:
    return torch.cat([position, rotation[..., 0], rotation[..., 1]], dim=-1)
