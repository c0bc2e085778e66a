"""A clothed avatar's bundle: its surface, skeleton, skinning weights and the grids of its tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from bodystream.bundles import Bundle, Signature, TensorSpec, read_npz
from bodystream.errors import BundleError
from bodystream.geometry.skeleton import JOINTS, Skeleton
from bodystream.types import Array, Mesh

__all__ = [
    "BONES",
    "KIND",
    "REPOSE_GRAPH",
    "TABLES_GRAPH",
    "ClothedBody",
    "ClothedSection",
    "Grid",
    "PosedBy",
    "graph_signatures",
    "load_clothed",
]

PosedBy = Literal["tables", "network"]
KIND = "avatar"
TABLES_GRAPH, REPOSE_GRAPH = "tables.onnx", "repose.onnx"
BONES = 24
"""The 22 joints, and a bone per hand that stands on the wrist and does not turn by itself."""
PLANES = ((0, 1), (1, 2), (0, 2))
LAYERS = 9
"""Of a PIN that look at one coordinate, and as many that look at two."""
_FILE = "avatar.npz"
_MAX_BYTES = 256 << 20
_MOST_M = 10.0


class Grid(msgspec.Struct, frozen=True):
    """Where tables have their nodes: along each axis for layers that look at one coordinate, over planes for others.

    Attributes:
        low_m: of the first node, by axis.
        line_step_m, plane_step_m: between nodes.
        line_nodes: of a line. plane_nodes: by axis, of the planes xy, yz and xz.
        listed: nodes of each plane that are computed per pose.
    """

    low_m: tuple[float, float, float]
    line_step_m: float
    plane_step_m: float
    line_nodes: int
    plane_nodes: tuple[int, int, int]
    listed: tuple[int, int, int]

    @property
    def planes(self) -> tuple[int, int, int]:
        """Nodes of each."""
        x, y, z = self.plane_nodes
        return x * y, y * z, x * z


class ClothedSection(msgspec.Struct, frozen=True):
    """What the manifest of an avatar says beside the common fields.

    Attributes:
        canonical_grid, deformed_grid: of the tables of H_c and H_d.
        controls: vertices that are posed by tables; the others follow them.
        surface_bones, control_bones: bones that a vertex, a control, has weights of.
        near: controls that a vertex follows.
        posed_by: what poses it where nobody says: the tables, or the network, which takes many times as long, where
            its maker found the tables too far from it.
    """

    canonical_grid: Grid
    deformed_grid: Grid
    controls: int
    surface_bones: int
    control_bones: int
    near: int
    posed_by: PosedBy = "tables"


@dataclass(frozen=True, slots=True)
class ClothedBody:
    """One person in one outfit, in the canonical pose: pelvis at the origin, y up, -z ahead, arms level, legs apart.

    Attributes:
        vertices: (V, 3) float32 [m]. faces: (F, 3) int32. colours: (V, 3) uint8 or None.
        skeleton: of the person.
        canonical_rotations: (22, 3, 3) of the canonical pose, each joint in its parent's frame, from the T-pose.
        hands_m: (2, 3) of the hands' bones from the wrists, in the wrists' frames [m].
        base: (V, 3) float32 where the weights were taken, before H_c is undone [m].
        skin_bones, skin_weights: (V, K) int32 and float32, largest weight first, zero behind the last.
        controls: (P,) int32 vertices that are posed by tables.
        control_reach_m: (P,) float32: how far they may be, on their way through H_d, from where skinning puts them [m].
        control_bones: (P, K) int32.
        control_logits: (P, K, 10) float32 of their weights, whose softmax these are: what each is at the base, and how
            much of x, y, z [1/m] and of xx, yy, zz, xy, yz, xz [1/m^2] of the way from there is added.
        near, shares: (V, N) int32 and float32: numbers of controls that a vertex follows, and how much, in what
            these are beyond skinning.
        canonical_nodes: (C,) float32 numbers of the nodes that the tables of H_c list, plane by plane.
        section: of the manifest.
    """

    vertices: Array
    faces: Array
    colours: Array | None
    skeleton: Skeleton
    canonical_rotations: Array
    hands_m: Array
    base: Array
    skin_bones: Array
    skin_weights: Array
    controls: Array
    control_reach_m: Array
    control_bones: Array
    control_logits: Array
    near: Array
    shares: Array
    canonical_nodes: Array
    section: ClothedSection

    @property
    def surface(self) -> Mesh:
        """In the canonical pose."""
        return Mesh(self.vertices, self.faces, colours=self.colours)


def graph_signatures(section: ClothedSection, vertices: int) -> dict[str, Signature]:
    """What goes into each graph of an avatar's bundle and comes out."""

    parameters = TensorSpec((BONES, 6))
    first, second = section.canonical_grid, section.deformed_grid
    return {
        TABLES_GRAPH: Signature(
            {"parameters": parameters, "nodes": TensorSpec((sum(second.listed),))},
            {
                "canonical_lines": TensorSpec((LAYERS, first.line_nodes, 4)),
                "canonical_planes": TensorSpec((3 * sum(first.listed),)),
                "deformed_lines": TensorSpec((LAYERS, second.line_nodes, 4)),
                "deformed_planes": TensorSpec((3 * sum(second.listed),)),
            },
        ),
        REPOSE_GRAPH: Signature(
            {
                "parameters": parameters,
                "bones": TensorSpec((BONES, 3, 4)),
                "points": TensorSpec((vertices, 3)),
            },
            {"posed": TensorSpec((vertices, 3))},
        ),
    }


def load_clothed(bundle: Bundle) -> ClothedBody:
    """Read an avatar's bundle.

    Raises:
        BundleError: it is of another kind or version, a file is missing or damaged, or an array is absent, has the
            wrong shape, or values that no body has.
    """
    bundle.require_kind(KIND)
    section = bundle.section(ClothedSection)
    path = bundle.label(_FILE)
    arrays = read_npz(bundle.read(_FILE), path, _MAX_BYTES)
    count, faces = (len(arrays.get(name, ())) for name in ("vertices", "faces"))
    controls, kept, near = section.controls, section.control_bones, section.near
    shapes: dict[str, tuple[tuple[int, ...], type]] = {
        "vertices": ((count, 3), np.float32),
        "faces": ((faces, 3), np.int32),
        "offsets": ((len(JOINTS), 3), np.float64),
        "canonical_rotations": ((len(JOINTS), 3, 3), np.float64),
        "hands_m": ((2, 3), np.float64),
        "base": ((count, 3), np.float32),
        "skin_bones": ((count, section.surface_bones), np.int32),
        "skin_weights": ((count, section.surface_bones), np.float32),
        "controls": ((controls,), np.int32),
        "control_reach_m": ((controls,), np.float32),
        "control_bones": ((controls, kept), np.int32),
        "control_logits": ((controls, kept, 10), np.float32),
        "near": ((count, near), np.int32),
        "shares": ((count, near), np.float32),
        "canonical_nodes": ((sum(section.canonical_grid.listed),), np.float32),
    }
    typed: dict[str, Array] = {}
    for name, (shape, dtype) in shapes.items():
        if name not in arrays or arrays[name].shape != shape:
            got = arrays[name].shape if name in arrays else "nothing"
            raise BundleError(f"{path}: {name} must have shape {shape}, got {got}: export the avatar again")
        typed[name] = arrays[name].astype(dtype)
    colours = arrays.get("colours")
    if colours is not None and (colours.shape != (count, 3) or colours.dtype != np.uint8):
        raise BundleError(f"{path}: colours must be ({count}, 3) bytes, got {colours.shape}: export the avatar again")
    problem = _problem(typed, section)
    if problem:
        raise BundleError(f"{path}: {problem}: export the avatar again")
    skeleton = Skeleton(typed.pop("offsets"))
    return ClothedBody(colours=colours, skeleton=skeleton, section=section, **typed)


def _problem(arrays: dict[str, Array], section: ClothedSection) -> str:
    """What no body has, or nothing. Kernels read by these indices without a look."""
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return f"{name} has values that are not finite"
    if not len(arrays["vertices"]) or not len(arrays["faces"]):
        return "it has no surface"
    for name, below in (
        ("faces", len(arrays["vertices"])),
        ("skin_bones", BONES),
        ("controls", len(arrays["vertices"])),
        ("control_bones", BONES),
        ("near", section.controls),
    ):
        if arrays[name].min() < 0 or arrays[name].max() >= below:
            return f"{name} points to what is not there"
    if max(np.abs(arrays[name]).max(initial=0.0) for name in ("vertices", "base", "control_reach_m")) > _MOST_M:
        return f"vertices are more than {_MOST_M:g} m away"
    if np.abs(arrays["skin_weights"].sum(1) - 1.0).max() > 0.05:
        return "weights do not sum to one"
    grid, first = section.canonical_grid, 0
    for listed, size in zip(grid.listed, grid.planes, strict=True):
        nodes = arrays["canonical_nodes"][first : first + listed]
        if nodes.min(initial=0) < 0 or nodes.max(initial=0) >= size:
            return "canonical_nodes points to what is not there"
        first += listed
    return ""
