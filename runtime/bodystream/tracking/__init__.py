"""Non-rigid tracking: the deformation graph, matches, and the Gauss-Newton solver (NNRT sec. 3-4)."""

from bodystream.tracking.graph import NodeGraph, build_graph, mesh_from_depth
from bodystream.tracking.solver import FlowTargets, GaussNewton, SolverConfig, SolveSummary

__all__ = [
    "FlowTargets",
    "GaussNewton",
    "NodeGraph",
    "SolveSummary",
    "SolverConfig",
    "build_graph",
    "mesh_from_depth",
]
