"""Skinning: vertices with four influences each moved by the deformation graph, beside plain torch and numpy."""

from __future__ import annotations

import numpy as np
import warp as wp

from bodystream.deformation import WarpField
from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream_bench.measuring import Context, expect, measure
from bodystream_bench.peers import skinning as peers

__all__ = ["run"]

_SIZES = {"14k": 14_000, "50k": 50_000}
_NODES = 200


def run(context: Context) -> None:
    """`skinning.14k|50k.p50_ms|p99_ms`, `.speedup_vs_numpy`, `.speedup_vs_torch`."""
    for name, count in _SIZES.items():
        if context.wants(f"skinning.{name}"):
            _measure(context, f"skinning.{name}", count)


def _measure(context: Context, key: str, count: int) -> None:
    device = context.device
    rng = np.random.default_rng(0)
    nodes = rng.uniform(-0.5, 0.5, (_NODES, 3)).astype(np.float32)
    rotations = matrix_from_rotation_vector(rng.normal(0, 0.3, (_NODES, 3))).astype(np.float32)
    translations = rng.normal(0, 0.1, (_NODES, 3)).astype(np.float32)
    vertices = rng.uniform(-0.5, 0.5, (count, 3)).astype(np.float32)
    anchors = rng.integers(0, _NODES, (count, 4)).astype(np.int32)
    weights = rng.uniform(0.1, 1.0, (count, 4)).astype(np.float32)
    weights /= weights.sum(axis=1, keepdims=True)

    field = WarpField(device, capacity=_NODES)
    field.set_graph(nodes, np.full((_NODES, 8), -1, np.int32), rotations, translations)
    points = wp.array(vertices, dtype=wp.vec3, device=device)
    ids, shares = wp.array(anchors, dtype=wp.vec4i, device=device), wp.array(weights, dtype=wp.vec4, device=device)
    out = wp.zeros(count, dtype=wp.vec3, device=device)
    ours = measure(lambda: field.warp(points, ids, shares, count, out), context.steps(), device=device)
    context.add_timing(key, ours)

    problem = peers.SkinningProblem(vertices, anchors, weights, nodes, rotations, translations)
    for name, make in (("numpy", peers.numpy_skinning), ("torch", peers.torch_skinning)):
        if not context.wants(f"{key}.speedup_vs_{name}"):
            continue
        step = make(problem)
        if step is None:
            context.note(f"{name} is not installed: {key}.speedup_vs_{name} is left out")
            continue
        worst = float(np.abs(step() - out.numpy()).max())
        expect(worst < 1e-5, f"{key}: our vertices are up to {worst:.2e} m from those of {name}")
        theirs = measure(step, context.steps(), device=None)
        context.add(f"{key}.speedup_vs_{name}", theirs.p50_ms / ours.p50_ms, "x", "higher", 0.4)
