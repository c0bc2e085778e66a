"""Non-rigid fusion of a moving person at 8 mm, beside Open3D's rigid fusion of the same frames."""

from __future__ import annotations

import time

import numpy as np
import warp as wp

from bodystream.deformation import WarpField
from bodystream.errors import MissingDependencyError
from bodystream.fusion import FusionConfig, TsdfVolume
from bodystream.types import Array, RgbdFrame
from bodystream_bench.measuring import Context, Timing, expect
from bodystream_bench.peers.open3d_fusion import Open3dFusion
from bodystream_bench.subjects import Subject, moving_person

__all__ = ["run"]

_FRAMES = 100
_WARM_UP = 10
_RESIDUAL_LIMIT_MM = 15.0


def run(context: Context) -> None:
    """`fusion.integrate.*` and `fusion.surface.*` (extraction of changed blocks and warp), with ratios to Open3D."""
    subject = moving_person(_FRAMES, context.device)
    context.measured_on("fusion", subject.name)
    order = _order(len(subject.frames), context.steps())
    integrate, surface, residual_mm, vertices = _ours(context, subject, order)
    context.note(
        f"fusion: {subject.name}, {len(subject.frames)} frames, {len(subject.graph.positions)} nodes, "
        f"{vertices} vertices"
    )
    expect(
        residual_mm < _RESIDUAL_LIMIT_MM,
        f"fusion: the model is {residual_mm:.1f} mm off the depth images, wanted below {_RESIDUAL_LIMIT_MM:.0f} mm",
    )
    context.add_timing("fusion.integrate", integrate)
    context.add_timing("fusion.surface", surface)
    context.add("fusion.depth_residual_median_mm", residual_mm, "mm", "lower", 0.15)
    if not any(context.wants(f"fusion.{stage}.ratio_vs_open3d") for stage in ("integrate", "surface")):
        return
    try:
        peer = Open3dFusion(FusionConfig().voxel_m, FusionConfig().truncation_m)
    except MissingDependencyError:
        context.note("open3d is not installed: fusion.*.ratio_vs_open3d is left out")
        return
    their_integrate, their_surface = _theirs(peer, subject, order)
    context.note(
        f"fusion: Open3D {peer.version} integrates in {their_integrate.p50_ms:.2f} ms and meshes in "
        f"{their_surface.p50_ms:.2f} ms, rigidly"
    )
    context.add("fusion.integrate.ratio_vs_open3d", integrate.p50_ms / their_integrate.p50_ms, "x", "lower", 0.4)
    context.add("fusion.surface.ratio_vs_open3d", surface.p50_ms / their_surface.p50_ms, "x", "lower", 0.4)


def _order(count: int, steps: int) -> list[int]:
    """Indices of frames: to and fro, so that motion has no jump; the warm-up comes first."""
    period = max(1, 2 * count - 2)
    phases = [step % period for step in range(_WARM_UP + steps)]
    return [phase if phase < count else period - phase for phase in phases]


def _ours(context: Context, subject: Subject, order: list[int]) -> tuple[Timing, Timing, float, int]:
    """Timings of both stages, median distance of the live model to the depth images [mm], vertices at the end."""
    device, graph = context.device, subject.graph
    n = len(graph.positions)
    field = WarpField(device, capacity=n)
    field.set_graph(graph.positions, graph.edges, *subject.motions[0])
    volume = TsdfVolume(FusionConfig(), device)
    height, width = subject.frames[0].depth_m.shape
    depth = wp.zeros((height, width), dtype=float, device=device)
    mask = wp.zeros((height, width), dtype=wp.uint8, device=device)
    colour = wp.zeros((height, width), dtype=wp.vec3ub, device=device)
    durations: tuple[list[int], list[int]] = ([], [])
    residuals: list[float] = []
    vertex_count = 0
    for step, index in enumerate(order):
        frame = subject.frames[index]
        depth.assign(np.where(subject.masks[index], frame.depth_m, np.float32(0)))
        mask.assign(subject.masks[index].view(np.uint8))
        if frame.colour is not None:
            colour.assign(frame.colour)
        field.set_motion(*subject.motions[index])
        wp.synchronize_device(device)
        start = time.perf_counter_ns()
        volume.integrate(depth, None if frame.colour is None else colour, mask, frame.intrinsics, field, frame.t_ns)
        wp.synchronize_device(device)
        middle = time.perf_counter_ns()
        surface = volume.extract(field)
        vertices, _ = volume.warp_surface(surface, field)
        wp.synchronize_device(device)
        end = time.perf_counter_ns()
        if step >= _WARM_UP:
            durations[0].append(middle - start)
            durations[1].append(end - middle)
        vertex_count = surface.vertex_count
        if step % 10 == 9 and vertex_count:
            residuals.append(_residual_mm(vertices.numpy()[:vertex_count], frame, subject.masks[index]))
    residual_mm = float(np.median(residuals)) if residuals else float("inf")
    return Timing.of(durations[0]), Timing.of(durations[1]), residual_mm, vertex_count


def _residual_mm(vertices: Array, frame: RgbdFrame, mask: Array) -> float:
    """Median distance along the ray of the front surface to the depth image; what is farther than 5 cm is hidden."""
    camera = frame.intrinsics
    front = vertices[vertices[:, 2] > 0.1]
    u = np.rint(camera.fx * front[:, 0] / front[:, 2] + camera.cx).astype(np.int64)
    v = np.rint(camera.fy * front[:, 1] / front[:, 2] + camera.cy).astype(np.int64)
    inside = (u >= 0) & (v >= 0) & (u < camera.width) & (v < camera.height)
    u, v, z = u[inside], v[inside], front[inside, 2]
    off = np.abs(z - frame.depth_m[v, u])[mask[v, u]]
    seen = off[off < 0.05]
    return float(np.median(seen) * 1e3) if len(seen) > 100 else float("inf")


def _theirs(peer: Open3dFusion, subject: Subject, order: list[int]) -> tuple[Timing, Timing]:
    durations: tuple[list[int], list[int]] = ([], [])
    blank = np.zeros((*subject.frames[0].depth_m.shape, 3), np.uint8)
    for step, index in enumerate(order):
        frame = subject.frames[index]
        colour = blank if frame.colour is None else frame.colour
        images = peer.prepare(frame.depth_m, colour, subject.masks[index])
        start = time.perf_counter_ns()
        peer.integrate(images, frame.intrinsics, subject.camera_from_canonical[index])
        middle = time.perf_counter_ns()
        peer.extract()
        end = time.perf_counter_ns()
        if step >= _WARM_UP:
            durations[0].append(middle - start)
            durations[1].append(end - middle)
    return Timing.of(durations[0]), Timing.of(durations[1])
