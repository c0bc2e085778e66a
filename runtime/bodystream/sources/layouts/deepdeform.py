"""The DeepDeform layout and its ground truth (Bozic et al. 2020): optical flow, scene flow, deformation graphs.

`color/000000.jpg`, `depth/000000.png` in millimetres, `mask/000000_<object>.png`, `intrinsics.txt` (4x4),
`optical_flow/<object>_<source>_<target>.oflow`, `scene_flow/<object>_<source>_<target>.sflow`, and graph files that
Neural Tracking (Bozic et al. 2020, NeurIPS) adds. File names are frame numbers at 30 Hz.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bodystream.errors import InputError
from bodystream.files import read_bounded
from bodystream.sources.layouts import plain
from bodystream.sources.layouts.images import COLOUR_SUFFIXES, DEPTH_SUFFIXES, MAX_IMAGE_BYTES, DamagedFileError
from bodystream.sources.layouts.pairing import files_of
from bodystream.sources.layouts.record import Recording
from bodystream.types import Array

__all__ = ["NAME", "WANTED", "DeepDeformGraph", "fits", "parse_flow", "read", "read_graph", "read_oflow", "read_sflow"]

NAME = "deepdeform"
WANTED = "color/NNNNNN.jpg + depth/NNNNNN.png + intrinsics.txt (+ mask/NNNNNN_<object>.png)"

_HEADER_BYTES = 12
_MAX_SIDE = 16384
_MAX_FLOW_BYTES = 256 << 20
_MAX_NODES = 1_000_000
_MAX_NEIGHBOURS = 64


def fits(path: Path) -> bool:
    """Whether `color` and `depth` hold files whose names are six digits."""
    depth = files_of(path / "depth", DEPTH_SUFFIXES) if (path / "depth").is_dir() else []
    colour = files_of(path / "color", COLOUR_SUFFIXES) if (path / "color").is_dir() else []
    return bool(depth and colour) and all(_six_digits(file.stem) for file in (*depth, *colour))


def read(path: Path) -> Recording:
    """List the frames of a folder.

    Raises:
        InputError: there are none, or their names are no numbers.
    """
    if not fits(path):
        raise InputError(f"{path}: not the DeepDeform layout, which is {WANTED}")
    return plain.read(path, numbered=True, layout=NAME)


def read_oflow(path: Path) -> Array:
    """Optical flow (H, W, 2) float32 [px] (right, down); nan where there is no value.

    Raises:
        InputError: truncated, too long, or not an optical flow.
    """
    return parse_flow(_flow_bytes(path), 2, str(path))


def read_sflow(path: Path) -> Array:
    """Scene flow (H, W, 3) float32 [m] in the source camera's frame; nan where there is no value.

    Raises:
        InputError: truncated, too long, or not a scene flow.
    """
    return parse_flow(_flow_bytes(path), 3, str(path))


def parse_flow(data: bytes, channels: int, origin: str) -> Array:
    """Parse three little-endian uint32 (width, height, channels) and float32 values, channel after channel.

    Returns:
        (H, W, channels) float32; a pixel whose channels are not all finite is nan.

    Raises:
        InputError: the header is impossible or the length is not what it says.
    """
    if len(data) < _HEADER_BYTES:
        raise InputError(f"{origin}: truncated ({len(data)} bytes, the header alone has {_HEADER_BYTES})")
    width, height, found = struct.unpack_from("<III", data)
    if found != channels or not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        raise InputError(
            f"{origin}: the header says {width}x{height} with {found} channels; expected {channels} channels and "
            f"1 to {_MAX_SIDE} pixels a side"
        )
    wanted = _HEADER_BYTES + 4 * width * height * channels
    if len(data) != wanted:
        state = "truncated" if len(data) < wanted else "too long"
        raise InputError(f"{origin}: {state}: {width}x{height}x{channels} needs {wanted} bytes, got {len(data)}")
    planes = np.frombuffer(data, "<f4", offset=_HEADER_BYTES).reshape(channels, height, width)
    flow = planes.transpose(1, 2, 0).astype(np.float32, order="C")
    flow[~np.isfinite(flow).all(axis=2)] = np.nan
    return flow


@dataclass(frozen=True, slots=True)
class DeepDeformGraph:
    """The deformation graph that a data set brings along, in the source frame's camera.

    Attributes:
        nodes: (N, 3) float32 [m].
        edges: (N, K) int32 neighbours, -1 = unused.
        edge_weights: (N, K) float32, or None where there is no such file.
        clusters: (N,) int32 connected component, or None where there is no such file.
    """

    nodes: Array
    edges: Array
    edge_weights: Array | None
    clusters: Array | None


def read_graph(folder: Path, name: str | None = None) -> DeepDeformGraph:
    """Read `graph_nodes`, `graph_edges`, `graph_edges_weights` and `graph_clusters` of a take.

    Args:
        name: the graph's file name without `.bin`; not needed when there is only one.

    Raises:
        InputError: no graph, several without a name, truncated files, or neighbours that do not exist.
    """
    files = files_of(folder / "graph_nodes", (".bin",)) if (folder / "graph_nodes").is_dir() else []
    chosen = [file for file in files if name is None or file.stem == name]
    if len(chosen) != 1:
        there = ", ".join(file.stem for file in files[:20]) or "none"
        raise InputError(f"{folder}: wanted one graph in graph_nodes/, there are: {there}; give the name of one")
    file_name = chosen[0].name
    nodes = _graph_array(chosen[0], "<f4", columns=3)
    count = len(nodes)
    edges = _graph_array(folder / "graph_edges" / file_name, "<i4", rows=count)
    if edges.size and (edges.min() < -1 or edges.max() >= count):
        raise InputError(f"{folder / 'graph_edges' / file_name}: neighbours must be -1 or a node below {count}")
    weights_file = folder / "graph_edges_weights" / file_name
    clusters_file = folder / "graph_clusters" / file_name
    weights = _graph_array(weights_file, "<f4", rows=count) if weights_file.is_file() else None
    if weights is not None and weights.shape != edges.shape:
        raise InputError(f"{weights_file}: expected shape {edges.shape} as the edges, got {weights.shape}")
    clusters = _graph_array(clusters_file, "<i4", rows=count) if clusters_file.is_file() else None
    if not np.isfinite(nodes).all():
        raise InputError(f"{chosen[0]}: node positions must be finite")
    return DeepDeformGraph(nodes, edges, weights, None if clusters is None else clusters[:, 0])


def _graph_array(path: Path, dtype: str, rows: int | None = None, columns: int | None = None) -> Array:
    """(rows, columns) after a header of one uint32 (rows, when `columns` is given) or two (rows, columns)."""
    data = read_bounded(path, MAX_IMAGE_BYTES, DamagedFileError)
    header = 4 if columns is not None else 8
    if len(data) < header:
        raise InputError(f"{path}: truncated ({len(data)} bytes, the header alone has {header})")
    (found_rows,) = struct.unpack_from("<I", data)
    found_columns = columns if columns is not None else struct.unpack_from("<I", data, 4)[0]
    if not 0 < found_rows <= _MAX_NODES or not 0 < found_columns <= _MAX_NEIGHBOURS:
        raise InputError(f"{path}: the header says {found_rows} nodes with {found_columns} values each")
    if rows is not None and found_rows != rows:
        raise InputError(f"{path}: has {found_rows} rows, but the graph has {rows} nodes")
    wanted = header + 4 * found_rows * found_columns
    if len(data) != wanted:
        raise InputError(f"{path}: {found_rows}x{found_columns} values need {wanted} bytes, got {len(data)}")
    return np.frombuffer(data, dtype, offset=header).reshape(found_rows, found_columns).astype(dtype[1:])


def _flow_bytes(path: Path) -> bytes:
    return read_bounded(path, _MAX_FLOW_BYTES, DamagedFileError)


def _six_digits(stem: str) -> bool:
    return len(stem) == 6 and stem.isascii() and stem.isdecimal()
