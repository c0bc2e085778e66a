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

from bodystream.avatar.clothed.body import REPOSE_GRAPH, TABLES_GRAPH, ClothedSection, PosedBy, graph_signatures
from bodystream.avatar.clothed.bones import BonePoser
from bodystream.avatar.take.canonical import canonical_rotations
from bodystream.avatar.take.frames import AvatarTake, PosedFrame
from bodystream.bundles import Bundle, GraphSection
from bodystream.geometry.skeleton import ARMS, JOINTS, PARENTS, Skeleton, forward_kinematics
from bodystream.types import Array, Mesh
from bodystream_export.avatar.controls import chosen_controls, mixed_poses
from bodystream_export.avatar.graphs import ReposeGraph, TableGraph
from bodystream_export.avatar.prepare import (
    Ways,
    along_a_curve,
    asked_nodes,
    carried_colours,
    grid_of,
    heading_bones,
    listed_nodes,
    table_places,
    ways_through,
)
from bodystream_export.avatar.weights import plain_weights, quadratic_logits
from bodystream_export.bundle import write_manifest
from bodystream_export.onnx_graph import to_onnx
from bodystream_training.avatar.extract import canonical_mesh
from bodystream_training.avatar.layers import bone_parameters
from bodystream_training.avatar.model import Ins, skin

__all__ = ["FINENESSES", "Fineness", "Prepared", "prepare", "prepare_surface", "write_avatar"]

_POSES, _MIXED, _HELD, _STANCES = 24, 96, 12, 200
_SPARE = 1.25
"""Nodes that tables list of H_d's planes, over the most that any stance asks for."""
_GRID_M = 1.45
_REACH, _LEAST_REACH_M = 1.3, 0.005
"""How much further vertices may go in H_d than they did in any pose that was looked at."""
_TOLERANCE = 1e-3
_THREADS = {TABLES_GRAPH: 2, REPOSE_GRAPH: 1}
"""Tables are waited for; the whole network is for poses that no display waits for."""


@dataclass(frozen=True)
class Fineness:
    """How finely the networks are looked at.

    Attributes:
        line_m, canonical_m, deformed_m: between nodes along lines, and over planes of H_c and of H_d.
        controls: vertices that look there.
        bones: that such a vertex has weights of.
        near: controls that the other vertices follow.
    """

    line_m: float
    canonical_m: float
    deformed_m: float
    controls: int
    bones: int = 12
    near: int = 12


FINENESSES = (
    Fineness(0.05, 0.12, 0.11, 1200, 8),
    Fineness(0.04, 0.1, 0.1, 2000, 8),
    Fineness(0.03, 0.08, 0.08, 1500, 8),
    Fineness(0.024, 0.06, 0.06, 2000, 8),
    Fineness(0.016, 0.04, 0.04, 3000),
    Fineness(0.016, 0.03, 0.03, 4500),
    Fineness(0.012, 0.02, 0.025, 4500),
    Fineness(0.01, 0.02, 0.02, 6000),
    Fineness(0.01, 0.02, 0.02, 8000),
    Fineness(0.008, 0.015, 0.015, 10_000, 14),
    Fineness(0.006, 0.01, 0.01, 16_000, 16),
)
"""From coarse to fine."""


@dataclass(frozen=True)
class Prepared:
    """What does not depend on how fine the tables are.

    Attributes:
        model: trained.
        bones: of poses of the training, as they are and mixed. held: of others, for measuring.
        truth: of the latter, where the network poses the vertices.
        vertices, faces, colours: of the canonical surface.
        base: (V, 3) where H_c carries vertices on average. weights: (V, B) there, for skinning alone.
        ways: through H_c.
        beyond_m: of each of `bones`, (V, 3) what the networks do beyond skinning.
        reach_m: (V,) how far vertices are, in H_d, from where skinning puts them.
        stances_m: (V, 3) where skinning puts them in many poses.
        skeleton, hands_m: see `ClothedBody`.
    """

    model: Ins
    bones: list[Tensor]
    held: list[Tensor]
    truth: list[Array]
    vertices: Array
    faces: Array
    colours: Array | None
    base: Array
    weights: Array
    ways: Ways
    beyond_m: list[Array]
    reach_m: Array
    stances_m: list[Array]
    skeleton: Skeleton
    hands_m: Array


def prepare(model: Ins, take: AvatarTake, spacing_m: float) -> Prepared:
    """Extract the surface, colour it, and follow its vertices through many poses."""
    mesh = canonical_mesh(model, take.rest_joints_m, spacing_m)
    vertices, faces = along_a_curve(mesh.vertices, mesh.faces)
    return prepare_surface(model, take, Mesh(vertices, faces, colours=carried_colours(model, take, vertices)))


@torch.no_grad()
def prepare_surface(model: Ins, take: AvatarTake, surface: Mesh) -> Prepared:
    """`prepare` of a canonical surface that is there."""
    assert model.canonical is not None and model.deformed is not None and model.weights is not None
    skeleton, hands = skeleton_of(take.rest_joints_m.astype(np.float64))
    poser = BonePoser(skeleton, hands, canonical_rotations())
    trained = take.split("train")
    held = _bones_of(_evenly(take.split("test") if take.motions.get("test") else trained, _HELD))
    turns = np.stack([frame.rotations_xyzw[: len(JOINTS)] for frame in trained])
    stances = [heading_bones(poser.posed(pose, np.zeros(3))) for pose in mixed_poses(turns, _STANCES)]
    bones = _bones_of(_evenly(trained, _POSES)) + stances[:_MIXED]
    points = torch.from_numpy(surface.vertices)
    ways = ways_through(model, model.canonical, [points] * len(bones), bones)
    base = ways.ends.mean(0).astype(np.float32)
    weights = plain_weights(model, base)
    ends = torch.from_numpy(ways.ends)
    skinned = [skin(model.weights(end), end, pose) for end, pose in zip(ends, bones, strict=True)]
    plain = [_plainly(weights, base, pose) for pose in bones]
    onwards = ways_through(model, model.deformed, skinned, bones, plain)
    stood = [*plain, *(_plainly(weights, base, pose) for pose in [*stances[_MIXED:], *held])]
    return Prepared(
        model=model,
        bones=bones,
        held=held,
        truth=[model.repose(points, pose).numpy() for pose in held],
        vertices=surface.vertices,
        faces=surface.faces,
        colours=surface.colours,
        base=base,
        weights=weights,
        ways=ways,
        beyond_m=[end - there.numpy() for end, there in zip(onwards.ends, plain, strict=True)],
        reach_m=onwards.longest_m,
        stances_m=[there.numpy() for there in stood],
        skeleton=skeleton,
        hands_m=hands,
    )


def write_avatar(
    prepared: Prepared,
    fineness: Fineness,
    folder: Path,
    *,
    name: str,
    version: int,
    provenance: dict[str, Any],
    posed_by: PosedBy = "tables",
) -> Bundle:
    """Write graphs, arrays and manifest of one fineness; `posed_by`: see `ClothedSection`."""
    model, ways = prepared.model, prepared.ways
    first = grid_of(ways.low_m, ways.high_m, fineness.line_m, fineness.canonical_m)
    around = np.full(3, _GRID_M)
    second = grid_of(-around, around, fineness.line_m, fineness.deformed_m)
    following = chosen_controls(
        prepared.vertices, prepared.weights, prepared.beyond_m, fineness.controls, fineness.near
    )
    controls = following.controls
    nodes = listed_nodes(ways, controls, first)
    first = msgspec.structs.replace(first, listed=tuple(map(len, nodes)))
    reach_m = _REACH * prepared.reach_m[controls] + _LEAST_REACH_M
    asked = np.max([asked_nodes(stance[controls], reach_m, second) for stance in prepared.stances_m], 0)
    listed = np.minimum(np.ceil(_SPARE * asked).astype(int), second.planes)
    second = msgspec.structs.replace(second, listed=tuple(listed.tolist()))
    surface_bones = np.argsort(-prepared.weights, 1)[:, : int((prepared.weights > 0).sum(1).max())].astype(np.int32)
    control_bones, control_logits = quadratic_logits(
        model, prepared.base[controls], ways.ends[:, controls], fineness.bones
    )
    section = ClothedSection(
        first, second, len(controls), surface_bones.shape[1], fineness.bones, following.near.shape[1], posed_by
    )
    graph = TableGraph(model, table_places(first, nodes), table_places(second), second.listed)
    parameters = bone_parameters(prepared.bones[0][None])[0]
    inputs = {"parameters": parameters, "nodes": torch.zeros(sum(second.listed))}
    wanted = graph_signatures(section, len(prepared.vertices))
    to_onnx(graph.eval(), inputs, list(wanted[TABLES_GRAPH].outputs), folder / TABLES_GRAPH, folded=False)
    inputs = {
        "parameters": parameters,
        "bones": prepared.bones[0][:, :3],
        "points": torch.from_numpy(prepared.vertices),
    }
    to_onnx(ReposeGraph(model).eval(), inputs, ["posed"], folder / REPOSE_GRAPH)
    arrays: dict[str, Any] = {
        "vertices": prepared.vertices,
        "faces": prepared.faces,
        "offsets": prepared.skeleton.offsets_m,
        "hands_m": prepared.hands_m,
        "canonical_rotations": canonical_rotations(),
        "base": prepared.base,
        "skin_bones": surface_bones,
        "skin_weights": np.take_along_axis(prepared.weights, surface_bones, 1),
        "controls": controls,
        "control_reach_m": reach_m.astype(np.float32),
        "control_bones": control_bones,
        "control_logits": control_logits,
        "near": following.near,
        "shares": following.shares,
        "canonical_nodes": np.concatenate(nodes).astype(np.float32),
    }
    if prepared.colours is not None:
        arrays["colours"] = prepared.colours
    np.savez_compressed(folder / "avatar.npz", **arrays)
    graphs = {file: GraphSection(s.inputs, s.outputs, _TOLERANCE, threads=_THREADS[file]) for file, s in wanted.items()}
    return write_manifest(
        folder, name=name, kind="avatar", version=version, licence="Apache-2.0", provenance=provenance, metrics={},
        graphs=graphs, **msgspec.to_builtins(section),
    )  # fmt: skip


def _evenly(frames: Sequence[PosedFrame], most: int) -> list[PosedFrame]:
    return [frames[i] for i in np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int)]


def _bones_of(frames: list[PosedFrame]) -> list[Tensor]:
    return [heading_bones(frame.posed_from_canonical) for frame in frames]


def _plainly(weights: Array, base: Array, bones: Tensor) -> Tensor:
    return skin(torch.from_numpy(weights), torch.from_numpy(base), bones)


def skeleton_of(joints: Array) -> tuple[Skeleton, Array]:
    """The skeleton, and (2, 3) of the hands' bones from the wrists, of canonical places (24, 3)."""
    _, turns = forward_kinematics(np.zeros((len(JOINTS), 3)), canonical_rotations(), np.zeros(3))
    offsets = np.zeros((len(JOINTS), 3))
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            offsets[joint] = turns[parent].T @ (joints[joint] - joints[parent])
    hands = [turns[w].T @ (joints[len(JOINTS) + i] - joints[w]) for i, (_, w) in enumerate(ARMS.values())]
    return Skeleton(offsets), np.stack(hands)
