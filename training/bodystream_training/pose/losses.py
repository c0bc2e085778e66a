"""What the pose networks are trained for: the terms of FLAG, and the positions of the joints."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bodystream.geometry.skeleton import HEAD, PARENTS
from bodystream_training.pose.model import Normalisation, PoseFlow, Prediction, gaussian_nll
from bodystream_training.rotations import rotation_matrices

__all__ = ["LossWeights", "joint_positions", "position_loss", "predictor_losses"]


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms; all but `position` and `contact` are the supplement's.

    Attributes:
        mjp: masked joint prediction.
        rec: auxiliary pose reconstruction.
        lra: latent region approximation, inside of it:
        nll, region_rec, reg: alpha_nll, alpha_rec and alpha_reg.
        position: distance of the joints, which is what a person sees of an error of a rotation.
        contact: cross entropy of the feet on the floor.
    """

    mjp: float = 1.0
    rec: float = 1.0
    lra: float = 1.0
    nll: float = 1.0
    region_rec: float = 0.5
    reg: float = 0.25
    position: float = 1.0
    contact: float = 0.5


def joint_positions(vectors: Tensor, offsets: Tensor) -> Tensor:
    """(B, 22, 3) joints relative to the head, in the units of `offsets` (B, 22, 3), of poses (B, 66)."""
    local = rotation_matrices(vectors.reshape(len(vectors), -1, 3))
    world, position = [local[:, 0]], [vectors.new_zeros(len(vectors), 3)]
    for joint in range(1, len(PARENTS)):
        parent = PARENTS[joint]
        position.append(position[parent] + (world[parent] @ offsets[:, joint, :, None])[..., 0])
        world.append(world[parent] @ local[:, joint])
    joints = torch.stack(position, dim=1)
    return joints - joints[:, HEAD : HEAD + 1]


def position_loss(vectors: Tensor, states: Tensor, offsets: Tensor) -> Tensor:
    """(B,) sum over the joints of their distance from the truth, in tenths of stature."""
    truth = states[:, :, :3] - states[:, HEAD : HEAD + 1, :3]
    return 10.0 * torch.sqrt(((joint_positions(vectors, offsets) - truth) ** 2).sum(-1) + 1e-8).sum(-1)


def predictor_losses(
    prediction: Prediction,
    flow: PoseFlow,
    normalise: Normalisation,
    pose: Tensor,
    condition: Tensor,
    states: Tensor,
    offsets: Tensor,
    contacts: Tensor,
    hidden: tuple[int, ...],
    weights: LossWeights,
    target: Tensor | None = None,
) -> dict[str, Tensor]:
    """The terms of the latent predictor, each a scalar, and their weighted sum as `total`.

    Args:
        pose: (B, 66) normalised x; condition: (B, C) normalised; states, offsets as of `Examples`.
        hidden: joints that were masked.
        target: (B, 66) z*, the flow's code of the true pose, where it is known already.
    """
    if target is None:
        with torch.no_grad():
            target, _ = flow.to_latent(pose, condition)
    mu, log_sigma = prediction.mu, prediction.log_sigma
    generated, _ = flow.to_pose(mu, condition)
    shown = list(hidden)
    terms = {
        "mjp": ((prediction.joints[:, shown] - states[:, shown]) ** 2).sum((-1, -2)).mean(),
        "nll": gaussian_nll(target, mu, log_sigma).mean(),
        "region_rec": ((generated - pose) ** 2).sum(-1).mean(),
        # -(1 + ln|Sigma| - |Sigma|): keeps the region from collapsing to a point
        "reg": -(1.0 + 2.0 * log_sigma - torch.exp(2.0 * log_sigma)).sum(-1).mean(),
        "position": position_loss(normalise.vectors(generated), states, offsets).mean(),
        "contact": nn.functional.binary_cross_entropy_with_logits(prediction.contacts, contacts, reduction="none")
        .sum(-1)
        .mean(),
    }
    if prediction.pose is not None:
        terms["rec"] = ((prediction.pose - pose[: len(prediction.pose)]) ** 2).sum(-1).mean()
    region = weights.nll * terms["nll"] + weights.region_rec * terms["region_rec"] + weights.reg * terms["reg"]
    total = weights.mjp * terms["mjp"] + weights.lra * region
    total = total + weights.position * terms["position"] + weights.contact * terms["contact"]
    terms["total"] = total + weights.rec * terms.get("rec", total.new_zeros(()))
    return terms
