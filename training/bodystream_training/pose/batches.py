"""Batches from examples: shuffled, with the noise of trackers and with lost hands."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from bodystream_training.pose.data import Examples

__all__ = ["Augmentation", "Batch", "collate"]


@dataclass(frozen=True)
class Augmentation:
    """What real devices do to observations; lengths are in units of stature.

    Attributes:
        pose_rad: noise of the pose itself, which makes its density finite where a joint never moves.
        position, axis: noise of the devices' positions and of the axes of their orientation.
        mount: error of where a device sits on the body, constant over the history.
        beta: relative error of the proportions.
        lost: probability that a hand is not tracked.
        fresh: probability that a hand's history is not known, as after it was lost.
    """

    pose_rad: float = 0.02
    position: float = 0.0008
    axis: float = 0.004
    mount: float = 0.003
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
    pose = examples.pose[index].float()
    beta = examples.beta[person]
    tracked = observation[:, :, 9].clone()
    if augmentation is not None:

        def noise(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        count, devices, token = observation.shape
        a = augmentation
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
        states=examples.states[index].float(),
        contacts=examples.contacts[index].float(),
        offsets=examples.offsets[person],
    )
