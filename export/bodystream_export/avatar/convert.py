"""Makes the files of an avatar's bundle, with tables as fine as a bound of their error asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from bodystream.avatar.clothed.body import (
    CANONICAL_GRAPH,
    DEFORMED_GRAPH,
    REPOSE_GRAPH,
    ClothedSection,
    graph_signatures,
)
from bodystream.bundles import Bundle, GraphSection
from bodystream.geometry.skeleton import ARMS, JOINTS, PARENTS, forward_kinematics
from bodystream.types import Array
from bodystream_export.avatar.graphs import ReposeGraph, TableGraph, line_layers
from bodystream_export.avatar.prepare import (
    Ways,
    carried_colours,
    grid_of,
    heading_bones,
    line_places,
    listed_nodes,
    node_places,
    skin_data,
    ways_through,
)
from bodystream_export.bundle import write_manifest
from bodystream_export.onnx_graph import to_onnx
from bodystream_training.avatar.data.canonical import canonical_rotations
from bodystream_training.avatar.data.take import AvatarTake, PosedFrame
from bodystream_training.avatar.extract import canonical_mesh
from bodystream_training.avatar.layers import bone_parameters
from bodystream_training.avatar.model import Ins, skin

__all__ = ["FINENESSES", "Fineness", "Prepared", "prepare", "skeleton_of", "write_avatar"]

_POSES, _HELD = 24, 12
_DEFORMED_LISTED_M2 = 1.7
"""Of the posed surface, the most that it may cover of a plane: somebody in a wide dress, arms out, is below 1.5."""
_REACH_M = 1.45
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Fineness:
    """Distances between nodes [m], and bones per vertex."""

    line_m: float = 0.004
    canonical_m: float = 0.015
    deformed_m: float = 0.02
    bones: int = 12


FINENESSES = (
    Fineness(0.004, 0.02, 0.025),
    Fineness(0.004, 0.015, 0.02),
    Fineness(0.003, 0.012, 0.016),
    Fineness(0.0025, 0.01, 0.013, 14),
    Fineness(0.002, 0.008, 0.01, 16),
)
"""From coarse to fine."""


@dataclass(frozen=True)
class Prepared:
    """What does not depend on how fine the tables are.

    Attributes:
        model: trained. bones: of poses that were trained on. held: of others, for measuring.
        vertices, faces, colours: of the canonical surface.
        ways: through H_c. longest_m: through H_d.
        offsets, hands_m: of the skeleton.
    """

    model: Ins
    bones: list[Tensor]
    held: list[Tensor]
    vertices: Array
    faces: Array
    colours: Array | None
    ways: Ways
    longest_m: float
    offsets: Array
    hands_m: Array


def prepare(model: Ins, take: AvatarTake, spacing_m: float) -> Prepared:
    """Extract the surface, colour it, and follow its vertices through poses that were trained on."""
    mesh = canonical_mesh(model, take.rest_joints_m, spacing_m)
    bones = heading_bones(_evenly(take.split("train"), _POSES))
    held = heading_bones(_evenly(take.split("test") if take.motions.get("test") else take.split("train"), _HELD))
    points = torch.from_numpy(mesh.vertices)
    assert model.canonical is not None and model.deformed is not None
    ways = ways_through(model, model.canonical, [points] * len(bones), bones)
    skinned = [_skinned(model, torch.from_numpy(end), pose) for end, pose in zip(ways.ends, bones, strict=True)]
    longest = ways_through(model, model.deformed, skinned, bones).longest_m
    offsets, hands = skeleton_of(take.rest_joints_m.astype(np.float64))
    colours = carried_colours(model, take, mesh.vertices)
    return Prepared(model, bones, held, mesh.vertices, mesh.faces, colours, ways, longest, offsets, hands)


def write_avatar(
    prepared: Prepared, fineness: Fineness, folder: Path, *, name: str, version: int, provenance: dict[str, Any]
) -> Bundle:
    """Write graphs, arrays and manifest of one fineness."""
    model, ways = prepared.model, prepared.ways
    assert model.canonical is not None and model.deformed is not None
    first = grid_of(ways.low_m, ways.high_m, fineness.line_m, fineness.canonical_m, 1)
    nodes = listed_nodes(ways, first)
    first = grid_of(ways.low_m, ways.high_m, fineness.line_m, fineness.canonical_m, nodes.shape[1])
    listed = int(_DEFORMED_LISTED_M2 / fineness.deformed_m**2)
    around = np.full(3, _REACH_M)
    second = grid_of(-around, around, fineness.line_m, fineness.deformed_m, listed)
    reach = int(np.ceil(1.5 * prepared.longest_m / fineness.deformed_m))
    section = ClothedSection(first, second, reach, fineness.bones)
    wanted = graph_signatures(section, len(prepared.vertices))
    parameters = bone_parameters(prepared.bones[0][None])[0]
    for file, pin, grid, places in (
        (CANONICAL_GRAPH, model.canonical, first, node_places(first, nodes)),
        (DEFORMED_GRAPH, model.deformed, second, node_places(second)),
    ):
        along = line_places(grid)
        graph = TableGraph(
            model, pin, [along[layer.seen[0]] for layer in line_layers(pin)], places, chosen=file == DEFORMED_GRAPH
        )
        inputs = {"parameters": parameters}
        if file == DEFORMED_GRAPH:
            inputs["nodes"] = torch.zeros(3, listed)
        to_onnx(graph.eval(), inputs, ["lines", "planes"], folder / file, folded=False)
    points = torch.from_numpy(prepared.vertices)
    inputs = {"parameters": parameters, "bones": prepared.bones[0][:, :3], "points": points}
    to_onnx(ReposeGraph(model).eval(), inputs, ["posed"], folder / REPOSE_GRAPH)
    base = ways.ends.mean(0).astype(np.float32)
    skin_bones, skin_weights = skin_data(model, base, fineness.bones)
    arrays: dict[str, Any] = {
        "vertices": prepared.vertices,
        "faces": prepared.faces,
        "offsets": prepared.offsets,
        "hands_m": prepared.hands_m,
        "canonical_rotations": canonical_rotations(),
        "base": base,
        "skin_bones": skin_bones,
        "skin_weights": skin_weights,
        "canonical_nodes": nodes,
    }
    if prepared.colours is not None:
        arrays["colours"] = prepared.colours
    np.savez_compressed(folder / "avatar.npz", **arrays)
    graphs = {file: GraphSection(s.inputs, s.outputs, _TOLERANCE) for file, s in wanted.items()}
    return write_manifest(
        folder, name=name, kind="avatar", version=version, licence="Apache-2.0", provenance=provenance, metrics={},
        graphs=graphs, **msgspec.to_builtins(section),
    )  # fmt: skip


def _evenly(frames: Sequence[PosedFrame], most: int) -> list[PosedFrame]:
    return [frames[i] for i in np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int)]


@torch.no_grad()
def _skinned(model: Ins, points: Tensor, bones: Tensor) -> Tensor:
    assert model.weights is not None
    return skin(model.weights(points), points, bones)


def skeleton_of(joints: Array) -> tuple[Array, Array]:
    """(22, 3) offsets in the T-pose and (2, 3) of the hands' bones from the wrists, of canonical places (24, 3)."""
    _, turns = forward_kinematics(np.zeros((len(JOINTS), 3)), canonical_rotations(), np.zeros(3))
    offsets = np.zeros((len(JOINTS), 3))
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            offsets[joint] = turns[parent].T @ (joints[joint] - joints[parent])
    hands = [turns[w].T @ (joints[len(JOINTS) + i] - joints[w]) for i, (_, w) in enumerate(ARMS.values())]
    return offsets, np.stack(hands)
