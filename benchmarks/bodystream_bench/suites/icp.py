"""Dense point-to-plane ICP of a rigidly moved person: our projective kernels beside Open3D's nearest neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import warp as wp

from bodystream.deformation import WarpField
from bodystream.geometry.camera import back_project
from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream.tracking import GaussNewton, ModelPoints, SolverConfig, build_graph, mesh_from_depth
from bodystream.types import Array
from bodystream_bench.measuring import Context, expect, measure
from bodystream_bench.recordings import person_frames
from bodystream_bench.suites.flow import person_mask

__all__ = ["run"]

_ITERATIONS = 10
_REACH_M = 0.05
_STRIDE = 3
_TURN_RAD = np.array([0.0, 0.03, 0.01])
_SHIFT_M = np.array([0.008, -0.005, 0.010])
_LIMIT_MM = 4.0


def run(context: Context) -> None:
    """`icp.p50_ms|p99_ms` of ten iterations, `icp.error_mm` against the known motion, `icp.ratio_vs_open3d`."""
    name, frames = person_frames(1, context.device)
    context.measured_on("icp", name)
    frame = frames[0]
    mask = person_mask(frame)
    depth_m = np.where(mask, frame.depth_m, np.float32(0))
    mesh = mesh_from_depth(depth_m, mask, frame.intrinsics, stride=_STRIDE)
    normal_image = _normals(back_project(depth_m, frame.intrinsics))
    u, v = mesh.pixels.T
    truth, normals = mesh.points, normal_image[v, u]
    keep = np.all(np.isfinite(normals), axis=1)
    truth, normals = truth[keep], normals[keep]
    turn = matrix_from_rotation_vector(_TURN_RAD)
    centre = truth.mean(axis=0)
    start = ((truth - centre) @ turn.T + centre + _SHIFT_M).astype(np.float32)
    start_normals = (normals @ turn.T).astype(np.float32)
    context.note(f"icp: {name}, {len(truth)} points, {_ITERATIONS} iterations")

    device, count = context.device, len(start)
    graph = build_graph(start, _edges(mesh.edges, keep), minimum_points=50)
    nodes = len(graph.positions)
    field = WarpField(device, capacity=nodes, reach_m=0.5)
    field.set_graph(graph.positions, graph.edges)
    points = wp.array(start, dtype=wp.vec3, device=device)
    anchors, weights = wp.zeros(count, dtype=wp.vec4i, device=device), wp.zeros(count, dtype=wp.vec4, device=device)
    field.anchor(points, count, anchors, weights)
    config = SolverConfig(rigid_iterations=_ITERATIONS, iterations=0, icp_reach_m=_REACH_M, linear="pcg")
    solver = GaussNewton(field, frame.intrinsics, config)
    device_normals = wp.array(start_normals, dtype=wp.vec3, device=device)
    solver.set_points(ModelPoints(points, anchors, weights, count, device_normals))
    solver.set_depth(depth_m)
    timing = measure(solver.solve, context.steps(), before=field.set_motion)
    moved = wp.zeros(count, dtype=wp.vec3, device=device)
    field.warp(points, anchors, weights, count, moved)
    error_mm = float(np.linalg.norm(moved.numpy() - truth, axis=1).mean() * 1e3)
    expect(error_mm < _LIMIT_MM, f"icp: {error_mm:.1f} mm off the known motion, wanted below {_LIMIT_MM:.0f} mm")
    context.add_timing("icp", timing)
    context.add("icp.error_mm", error_mm, "mm", "lower", 0.2)
    if context.wants("icp.ratio_vs_open3d"):
        _compare(context, start, truth, normals, timing.p50_ms)


def _compare(context: Context, start: Array, truth: Array, normals: Array, ours_ms: float) -> None:
    try:
        import open3d
    except ImportError:
        context.note("open3d is not installed: icp.ratio_vs_open3d is left out")
        return
    o3d: Any = open3d
    registration = o3d.t.pipelines.registration
    source, target = o3d.t.geometry.PointCloud(start), o3d.t.geometry.PointCloud(truth)
    target.point.normals = o3d.core.Tensor(normals.astype(np.float32))
    criteria = registration.ICPConvergenceCriteria(0.0, 0.0, _ITERATIONS)
    method = registration.TransformationEstimationPointToPlane()
    initial = o3d.core.Tensor(np.eye(4))
    results: list[Any] = []

    def step() -> None:
        results[:] = [registration.icp(source, target, _REACH_M, initial, method, criteria)]

    timing = measure(step, min(context.steps(), 50))
    found = results[0].transformation.numpy()
    off_mm = np.linalg.norm(start @ found[:3, :3].T + found[:3, 3] - truth, axis=1).mean() * 1e3
    context.note(f"icp: Open3D {o3d.__version__} takes {timing.p50_ms:.2f} ms and is {off_mm:.2f} mm off")
    context.add("icp.ratio_vs_open3d", ours_ms / timing.p50_ms, "x", "lower", 0.4)


def _edges(edges: Array, keep: Array) -> Array:
    """Pairs of kept points, renumbered."""
    number = np.cumsum(keep) - 1
    both = keep[edges].all(axis=1)
    return number[edges[both]].astype(np.int32)


def _normals(points: Array) -> Array:
    """(H, W, 3) unit normals towards the camera from central differences; nan at holes and jumps."""
    reach = 2
    du = np.roll(points, -reach, 1) - np.roll(points, reach, 1)
    dv = np.roll(points, -reach, 0) - np.roll(points, reach, 0)
    normal = np.cross(dv, du)
    with np.errstate(invalid="ignore", divide="ignore"):
        normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    normal[(normal * points).sum(axis=2) > 0] *= -1
    jump = (np.abs(du[..., 2]) > 0.05) | (np.abs(dv[..., 2]) > 0.05)
    normal[jump | (points[..., 2] <= 0)] = np.nan
    return normal.astype(np.float32)
