"""A clothed avatar's bundle: its surface, skeleton, skinning weights and the grids of its tables."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

from bodystream.bundles import Bundle, Signature, TensorSpec, read_npz
from bodystream.errors import BundleError
from bodystream.geometry.skeleton import JOINTS, Skeleton
from bodystream.types import Array, Mesh

__all__ = [
    "BONES",
    "CANONICAL_GRAPH",
    "DEFORMED_GRAPH",
    "KIND",
    "REPOSE_GRAPH",
    "ClothedBody",
    "ClothedSection",
    "Grid",
    "graph_signatures",
    "load_clothed",
]

KIND = "avatar"
CANONICAL_GRAPH, DEFORMED_GRAPH, REPOSE_GRAPH = "canonical.onnx", "deformed.onnx", "repose.onnx"
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
    listed: int

    @property
    def largest_plane(self) -> int:
        x, y, z = self.plane_nodes
        return max(x * y, y * z, x * z)


class ClothedSection(msgspec.Struct, frozen=True):
    """What the manifest of an avatar says beside the common fields.

    Attributes:
        canonical_grid, deformed_grid: of the tables of H_c and H_d.
        reach_nodes: how many nodes of a plane H_d may carry a vertex on its way.
        shown_bones: per vertex, the bones whose weights are kept.
    """

    canonical_grid: Grid
    deformed_grid: Grid
    reach_nodes: int
    shown_bones: int


@dataclass(frozen=True, slots=True)
class ClothedBody:
    """One person in one outfit, in the canonical pose: pelvis at the origin, y up, -z ahead, arms level, legs apart.

    Attributes:
        vertices: (V, 3) float32 [m]. faces: (F, 3) int32. colours: (V, 3) uint8 or None.
        skeleton: of the person.
        canonical_rotations: (22, 3, 3) of the canonical pose, each joint in its parent's frame, from the T-pose.
        hands_m: (2, 3) of the hands' bones from the wrists, in the wrists' frames [m].
        base: (V, 3) float32 where the weights were taken, before H_c is undone [m].
        skin_bones: (V, K) int32.
        skin_weights: (V, K, 4) float32: how each weight changes along x, y and z [1/m], and the weight itself.
        canonical_nodes: (3, C) float32 numbers of the nodes of each plane that the tables of H_c list.
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
    canonical_nodes: Array
    section: ClothedSection

    @property
    def surface(self) -> Mesh:
        """In the canonical pose."""
        return Mesh(self.vertices, self.faces, colours=self.colours)


def graph_signatures(section: ClothedSection, vertices: int) -> dict[str, Signature]:
    """What goes into each graph of an avatar's bundle and comes out."""

    def tables(grid: Grid) -> dict[str, TensorSpec]:
        return {
            "lines": TensorSpec((LAYERS, grid.line_nodes, 4)),
            "planes": TensorSpec((LAYERS, grid.listed)),
        }

    parameters = TensorSpec((BONES, 6))
    return {
        CANONICAL_GRAPH: Signature({"parameters": parameters}, tables(section.canonical_grid)),
        DEFORMED_GRAPH: Signature(
            {"parameters": parameters, "nodes": TensorSpec((3, section.deformed_grid.listed))},
            tables(section.deformed_grid),
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
    kept = section.shown_bones
    shapes: dict[str, tuple[tuple[int, ...], type]] = {
        "vertices": ((count, 3), np.float32),
        "faces": ((faces, 3), np.int32),
        "offsets": ((len(JOINTS), 3), np.float64),
        "canonical_rotations": ((len(JOINTS), 3, 3), np.float64),
        "hands_m": ((2, 3), np.float64),
        "base": ((count, 3), np.float32),
        "skin_bones": ((count, kept), np.int32),
        "skin_weights": ((count, kept, 4), np.float32),
        "canonical_nodes": ((3, section.canonical_grid.listed), np.float32),
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
    return ClothedBody(
        typed["vertices"],
        typed["faces"],
        colours,
        Skeleton(typed["offsets"]),
        typed["canonical_rotations"],
        typed["hands_m"],
        typed["base"],
        typed["skin_bones"],
        typed["skin_weights"],
        typed["canonical_nodes"],
        section,
    )


def _problem(arrays: dict[str, Array], section: ClothedSection) -> str:
    """What no body has, or nothing. Kernels read by these indices without a look."""
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return f"{name} has values that are not finite"
    if not len(arrays["vertices"]) or not len(arrays["faces"]):
        return "it has no surface"
    for name, below in (("faces", len(arrays["vertices"])), ("skin_bones", BONES)):
        if arrays[name].min() < 0 or arrays[name].max() >= below:
            return f"{name} points to what is not there"
    if np.abs(arrays["vertices"]).max() > _MOST_M or np.abs(arrays["base"]).max() > _MOST_M:
        return f"vertices are more than {_MOST_M:g} m away"
    total = arrays["skin_weights"][..., 3].sum(1)
    if np.abs(total - 1.0).max() > 0.05:
        return "weights do not sum to one"
    nodes, (x, y, z) = arrays["canonical_nodes"], section.canonical_grid.plane_nodes
    for plane, size in enumerate((x * y, y * z, x * z)):
        if nodes[plane].min() < 0 or nodes[plane].max() >= size:
            return "canonical_nodes points to what is not there"
    return ""
