"""Trained networks as samplers of the pose stage, so that every one of them is judged by the same code."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bodystream.geometry.skeleton import Skeleton
from bodystream.pose.features import BETA_SIZE, FeatureConfig, beta_of_skeleton
from bodystream.pose.sampler import Samples
from bodystream.types import Array
from bodystream_training.pose.model import LatentPredictor, Normalisation, PoseFlow
from bodystream_training.pose.regressor import Regressor

__all__ = ["TorchSampler", "centre_of_flow", "centre_of_region", "regressed"]

Answer = Callable[[Tensor, Tensor], Tensor]
"""Normalised conditions (B, C) and tracked (B, 3) to normalised poses (B, D)."""


class TorchSampler:
    """One pose per observation; a `bodystream.pose.sampler.Sampler`."""

    def __init__(self, answer: Answer, normalise: Normalisation, features: FeatureConfig) -> None:
        self.features = features
        self._answer, self._normalise = answer, normalise
        self._beta = torch.zeros(1, BETA_SIZE)

    def set_person(self, skeleton: Skeleton) -> None:
        """The proportions that following observations belong to."""
        self._beta[0] = torch.from_numpy(beta_of_skeleton(skeleton))

    @torch.no_grad()
    def step(self, observation: Array) -> Samples:
        """The pose of the `x_H` (3, token_size)."""
        seen = torch.from_numpy(np.asarray(observation, np.float32))[None]
        vectors = self.poses(torch.cat([seen.flatten(1), self._beta], dim=-1), seen[:, :, 9]).numpy()
        nothing = np.zeros(vectors.shape[-1], np.float32)
        return Samples(vectors, np.zeros(1, np.float32), nothing, None)

    @torch.no_grad()
    def poses(self, condition: Tensor, tracked: Tensor) -> Tensor:
        """(B, D) rotation vectors [rad] of many observations: conditions (B, C) and what of them is tracked (B, 3)."""
        return self._normalise.vectors(self._answer(self._normalise.condition(condition), tracked))


def centre_of_flow(flow: PoseFlow) -> Answer:
    """The pose of z = 0."""
    return lambda condition, _: flow.to_pose(torch.zeros(len(condition), flow.config.pose_size), condition)[0]


def centre_of_region(flow: PoseFlow, predictor: LatentPredictor) -> Answer:
    """The pose of z = mu_H."""
    return lambda condition, tracked: flow.to_pose(predictor(condition, tracked).mu, condition)[0]


def regressed(regressor: Regressor) -> Answer:
    """The baseline's answer."""
    return lambda condition, _: regressor(condition)
