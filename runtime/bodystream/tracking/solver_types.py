"""What goes into the tracking solver and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bodystream.errors import ConfigurationError
from bodystream.tracking import term_kernels
from bodystream.tracking.config_checks import require_number, require_whole
from bodystream.types import Array, Status

__all__ = ["FlowTargets", "SolveSummary", "SolverConfig", "solve_status", "term_weights"]


@dataclass(frozen=True)
class SolverConfig:
    """Options of the tracking solver.

    Attributes:
        lambda_flow, lambda_depth, lambda_reg: of NNRT eq. 8; lambda_flow goes with pixels at 640 px width.
        lambda_even: weight of the rule that linked nodes depart alike from the motion that was expected, with metres:
            the noise of the depth differs from node to node, and a change of motion hardly does.
        lambda_icp: weight of dense point-to-plane ICP, with metres.
        reference_matches: the weights of eq. 8 were chosen for 10k sampled matches; the data terms of M > 10k are
            scaled by 10k / M, so that using all of them does not drown the regulariser. 0 = never scale. A point that
            stands for several vertices counts as so many, here and for `min_matches`.
        rigid_iterations: steps of one rigid motion of all nodes before the non-rigid ones (as DynamicFusion does);
            they take out the part that conjugate gradients are slowest at.
        iterations: Gauss-Newton iterations; fewer when the step gets small (CPU only).
        damping: initial Levenberg damping relative to the diagonal; adapted to the cost.
        flow_huber_px, icp_huber_m: residuals above these grow linearly; 0 = plain squares.
        icp_reach_m: depth farther than this from the warped point is another surface.
        icp_min_cosine: least cosine between model normal and view ray.
        min_matches: clusters of nodes with fewer matches are dropped (NNRT appendix C.2).
        linear: `direct` (banded Cholesky), `pcg`, or `auto`: direct on a CPU up to `direct_max_nodes` nodes.
        pcg_iterations, pcg_tolerance: bounds of conjugate gradients.
        max_rotation_rad, max_translation_m: longest step of a node in one iteration.
        stop_step_m: stop when nodes move less than this in an iteration (root mean square; CPU only); 0 = never.
    """

    lambda_flow: float = 0.001
    lambda_depth: float = 1.0
    lambda_reg: float = 1.0
    lambda_even: float = 0.0
    lambda_icp: float = 1.0
    reference_matches: int = 10_000
    rigid_iterations: int = 0
    iterations: int = 3
    damping: float = 0.0
    flow_huber_px: float = 0.0
    icp_huber_m: float = 0.01
    icp_reach_m: float = 0.05
    icp_min_cosine: float = 0.2
    min_matches: int = 100
    linear: Literal["auto", "direct", "pcg"] = "auto"
    direct_max_nodes: int = 160
    pcg_iterations: int = 40
    pcg_tolerance: float = 1e-3
    max_rotation_rad: float = 1.0
    max_translation_m: float = 0.5
    stop_step_m: float = 0.0

    def __post_init__(self) -> None:
        require_number(
            "solver", self, "lambda_flow", "lambda_depth", "lambda_reg", "lambda_even", "lambda_icp", least=0
        )
        require_number("solver", self, "damping", "flow_huber_px", "icp_huber_m", "stop_step_m", least=0)
        require_number("solver", self, "icp_reach_m", "max_rotation_rad", "max_translation_m", above=0)
        require_number("solver", self, "icp_min_cosine", least=0, below=1)
        require_number("solver", self, "pcg_tolerance", above=0, below=1)
        require_whole("solver", self, 0, "reference_matches", "rigid_iterations", "iterations", "min_matches")
        require_whole("solver", self, 0, "direct_max_nodes")
        require_whole("solver", self, 1, "pcg_iterations")
        if self.linear not in ("auto", "direct", "pcg"):
            raise ConfigurationError(f"solver: linear must be auto, direct or pcg, got {self.linear!r}")

    @classmethod
    def live(cls) -> SolverConfig:
        """From one frame of a camera to the next, a few millimetres apart, in a few milliseconds."""
        return cls(
            lambda_reg=40.0,
            lambda_even=400.0,
            lambda_icp=60.0,
            rigid_iterations=2,
            iterations=8,
            damping=1e-3,
            flow_huber_px=2.0,
            icp_reach_m=0.08,
            stop_step_m=1e-3,
            linear="pcg",
            pcg_iterations=25,
            pcg_tolerance=0.1,
        )


@dataclass(frozen=True, slots=True)
class FlowTargets:
    """Where the matches should be seen, on the host.

    Attributes:
        pixels: (M, 2) float32 c_u. depth_m: (M,) float32 P_t(c_u)_z, 0 = none. weight: (M,) float32 w_u, 0 = no match.
    """

    pixels: Array
    depth_m: Array
    weight: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class SolveSummary:
    """What one solve did; nothing is printed.

    Attributes:
        status: LOST when nothing could be solved, DEGRADED when a step failed.
        iterations: Gauss-Newton steps tried. rejected: of these, steps that raised the cost and were taken back.
        costs: (iterations + 1, 4) weighted energies flow, depth, icp, reg: of each trial, and of the end result.
        damping: Levenberg damping at the end.
        linear_iterations: of conjugate gradients in all; condition_hint: see `LinearReport`.
        matches: with weight or an ICP partner at the start. dropped_nodes: in clusters with too few matches.
        unexplained: share of the points facing the camera that lie off the foreground or far from its depth at the end;
            nan without ICP.
        last_step_m: root mean square of the nodes' translations in the last step.
    """

    status: Status
    reason: str
    iterations: int
    rejected: int
    costs: Array
    damping: float
    linear_iterations: int
    condition_hint: float
    matches: int
    dropped_nodes: int
    unexplained: float
    last_step_m: float

    @classmethod
    def of_nothing(cls, reason: str, damping: float, nodes: int) -> SolveSummary:
        """What there is to say where nothing could be solved."""
        return cls(
            status=Status.LOST,
            reason=reason,
            iterations=0,
            rejected=0,
            costs=np.zeros((1, 4)),
            damping=damping,
            linear_iterations=0,
            condition_hint=0.0,
            matches=0,
            dropped_nodes=nodes,
            unexplained=float("nan"),
            last_step_m=0.0,
        )


def term_weights(config: SolverConfig, matches: int, stride: int) -> Any:
    """The `term_kernels.TermWeights` of a configuration, for points of which each stands for `stride` vertices."""
    share = float(stride)
    if config.reference_matches:
        share = min(share, config.reference_matches / max(matches, 1))
    term = term_kernels.TermWeights()
    term.flow, term.depth = config.lambda_flow * share, config.lambda_depth * share
    term.icp = config.lambda_icp * share
    term.flow_huber_px, term.icp_huber_m = config.flow_huber_px, config.icp_huber_m
    term.icp_reach_m, term.icp_min_cosine = config.icp_reach_m, config.icp_min_cosine
    return term


def solve_status(nodes: int, dropped: int, failed: bool, min_matches: int) -> tuple[Status, str]:
    """Status and reason of a solve.

    Args:
        dropped: of so many nodes, those in clusters with fewer than `min_matches`. failed: a system was not solved.
    """
    if dropped == nodes:
        return Status.LOST, f"no cluster of nodes has {min_matches} matches"
    if failed:
        return Status.DEGRADED, "a linear system was not positive definite"
    return Status.TRACKED, ""
