"""Generated pairs of frames with a known, smooth deformation, and problems for the solver as batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.interpolate import LinearNDInterpolator

from bodystream.geometry.camera import back_project, project
from bodystream.types import Array, CameraIntrinsics
from bodystream_training.flow.graphs import GraphBatch
from bodystream_training.flow.matches import MatchTargets
from bodystream_training.flow.sample import FlowSample
from helpers.solver_problems import CAMERA, Problem, bumpy_depth

__all__ = ["bent_pair", "problem_batch"]


def bend(points: Array, amount: float) -> Array:
    """Where (..., 3) points go: a turn, a shift, and a wave across the surface."""
    x, y, z = np.moveaxis(np.asarray(points, np.float64), -1, 0)
    angle = 0.12 * amount
    turned_x, turned_z = np.cos(angle) * x + np.sin(angle) * (z - 1.2), np.cos(angle) * (z - 1.2) - np.sin(angle) * x
    wave = 0.03 * amount * np.sin(4.0 * y)
    return np.stack([turned_x + 0.02 * amount + wave, y - 0.01 * amount, turned_z + 1.2 + wave], axis=-1)


def bent_pair(amount: float = 1.0, camera: CameraIntrinsics = CAMERA, mask: Array | None = None) -> FlowSample:
    """A surface with bumps before nothing, and the same after `bend`; the truth is exact.

    Args:
        mask: (H, W) bool of the source; the whole surface where None.
    """
    depth_m, whole = bumpy_depth(camera)
    mask = whole if mask is None else mask & whole
    depth_m = np.where(mask, depth_m, 0).astype(np.float32)
    points = back_project(depth_m, camera)
    moved = bend(points, amount)
    pixels = np.stack(np.meshgrid(np.arange(camera.width), np.arange(camera.height)), axis=-1)
    ends = project(moved[mask], camera)
    flow = np.full((*mask.shape, 2), np.nan, np.float32)
    flow[mask] = ends - pixels[mask]
    scene_flow = np.full((*mask.shape, 3), np.nan, np.float32)
    scene_flow[mask] = (moved - points)[mask]
    target = LinearNDInterpolator(ends, moved[mask][:, 2])(pixels.reshape(-1, 2)).reshape(mask.shape)
    seen = np.isfinite(target)
    inside = (ends >= 0).all(axis=1) & (ends <= np.array([camera.width - 1, camera.height - 1])).all(axis=1)
    visible = np.zeros_like(mask)
    visible[mask] = inside
    rng = np.random.default_rng(0)
    colours = [rng.integers(0, 255, (*mask.shape, 3), dtype=np.uint8) for _ in range(2)]
    return FlowSample(
        source_rgb=colours[0], target_rgb=colours[1],
        source_depth_m=depth_m, target_depth_m=np.where(seen, target, 0).astype(np.float32),
        intrinsics=camera, mask=mask, target_mask=seen,
        flow_px=flow, scene_flow_m=scene_flow, visible=visible,
    )  # fmt: skip


def problem_batch(problems: list[Problem], dtype: torch.dtype = torch.float64) -> tuple[GraphBatch, MatchTargets]:
    """Problems of the solver's tests as one padded batch, all nodes active."""
    batch, n = len(problems), max(len(p.nodes) for p in problems)
    m, k = max(len(p.points) for p in problems), problems[0].edges.shape[1]

    def padded(arrays: list[Array], shape: tuple[int, ...], kind: torch.dtype, empty: float = 0) -> torch.Tensor:
        out = torch.full((batch, *shape), empty, dtype=kind)
        for b, array in enumerate(arrays):
            out[b, : len(array)] = torch.as_tensor(array, dtype=kind)
        return out

    camera = problems[0].camera
    graph = GraphBatch(
        nodes=padded([p.nodes for p in problems], (n, 3), dtype),
        edges=padded([p.edges for p in problems], (n, k), torch.int64, -1),
        active=padded([np.ones(len(p.nodes)) for p in problems], (n,), torch.bool),
        node_motion_m=torch.zeros(batch, n, 3, dtype=dtype),
        node_known=torch.zeros(batch, n, dtype=torch.bool),
        pixels=torch.zeros(batch, m, 2, dtype=torch.int64),
        points=padded([p.points for p in problems], (m, 3), dtype),
        point_mask=padded([np.ones(len(p.points)) for p in problems], (m,), torch.bool),
        anchors=padded([p.anchors for p in problems], (m, 4), torch.int64),
        skinning=padded([p.weights for p in problems], (m, 4), dtype),
        motion_m=torch.zeros(batch, m, 3, dtype=dtype),
        known=torch.zeros(batch, m, dtype=torch.bool),
        intrinsics=torch.tensor([[camera.fx, camera.fy, camera.cx, camera.cy]] * batch, dtype=dtype),
    )
    targets = MatchTargets(
        padded([p.targets.pixels for p in problems], (m, 2), dtype),
        padded([p.targets.depth_m for p in problems], (m,), dtype),
        padded([p.targets.weight for p in problems], (m,), dtype),
    )
    return graph, targets


def with_targets(problem: Problem, **changes: Array) -> Problem:
    """The problem with some of its targets replaced: `pixels`, `depth_m`, `weight`."""
    return replace(problem, targets=replace(problem.targets, **changes))
