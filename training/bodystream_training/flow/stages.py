"""The stages of the paper's training (NNRT sec. 5.1), and what each of them trains by which losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from bodystream_training.flow.gauss_newton import GaussNewtonConfig

__all__ = ["STAGES", "Stage", "StageName", "StageNumber", "solver_config"]

StageNumber = Literal[1, 2, 3, 4]
StageName = StageNumber | Literal["c", "c+g", "psi"]

_FOCAL_PX = 575.0  # of the images of 640x448 that the paper's lambdas were chosen for


@dataclass(frozen=True)
class Stage:
    """What a stage trains.

    Attributes:
        meaning: in words.
        correspondence, graph, warp: lambdas of the losses (eq. 13).
        flow, weights: whether these networks are trained.
        weighted: whether the solver is given weights.
        direct: whether a network that can learns its weights beside its flow, from how far off that is.
    """

    meaning: str
    correspondence: float
    graph: float
    warp: float
    flow: bool
    weights: bool
    weighted: bool
    direct: bool = False

    @property
    def solved(self) -> bool:
        """Whether matches go through the solver, or are judged as it would take them."""
        return self.graph > 0 or self.warp > 0 or self.weights


STAGES: dict[StageName, Stage] = {
    1: Stage("flow by the true flow", 1, 0, 0, flow=True, weights=False, weighted=False, direct=True),
    2: Stage("flow through the solver", 1, 5, 5, flow=True, weights=False, weighted=False),
    3: Stage("weights through the solver", 0, 1000, 1000, flow=False, weights=True, weighted=True),
    4: Stage("flow and weights through the solver", 1, 5, 5, flow=True, weights=True, weighted=True),
    "c": Stage("flow by the true flow, no weights", 1, 0, 0, flow=True, weights=False, weighted=False),
    "c+g": Stage("flow through the solver, nodes only", 1, 5, 0, flow=True, weights=False, weighted=False),
    "psi": Stage("weights by appendix C.3 alone", 0, 0, 0, flow=False, weights=True, weighted=True),
}
"""The four of the paper's training, of which the first stands for FlyingChairs and FlyingThings3D, which the paper
begins from; and those that its table 1 compares them with."""


def solver_config(intrinsics: torch.Tensor) -> GaussNewtonConfig:
    """The paper's solver for cameras (B, 4): a pixel of a coarser image counts for more, in proportion."""
    return GaussNewtonConfig(lambda_flow=0.001 * float((_FOCAL_PX / intrinsics[:, 0]).square().mean()))
