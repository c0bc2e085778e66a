"""Non-rigid tracking: the deformation graph, matches, and the Gauss-Newton solver (NNRT sec. 3-4)."""

from bodystream.tracking.graph import NodeGraph, build_graph, mesh_from_depth
from bodystream.tracking.model import ModelPoints
from bodystream.tracking.solver import FlowTargets, GaussNewton, SolverConfig, SolveSummary
from bodystream.tracking.tracker import Expected, Tracked, Tracker, Verdict
from bodystream.tracking.tracker_config import TrackerConfig

__all__ = [
    "Expected",
    "FlowTargets",
    "GaussNewton",
    "ModelPoints",
    "NodeGraph",
    "SolveSummary",
    "SolverConfig",
    "Tracked",
    "Tracker",
    "TrackerConfig",
    "Verdict",
    "build_graph",
    "mesh_from_depth",
]
