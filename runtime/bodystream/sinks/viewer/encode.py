"""Meshes, frames and graphs as the bytes that the page is sent. Pure functions."""

from __future__ import annotations

import json
import struct

import cv2
import numpy as np

from bodystream.geometry.camera import back_project
from bodystream.sinks.gltf import linear_colours_u16
from bodystream.types import Array, GraphSnapshot, Mesh, RgbdFrame

__all__ = ["CLAY", "cloud_of_frame", "glb_of_mesh", "graph_lines", "image_of_frame", "node_colours"]

CLAY = (200, 196, 190)
_FLOAT, _UINT, _USHORT = 5126, 5125, 5123
_EDGE = (90, 110, 140)
_INACTIVE = (220, 60, 60)
# One colour per cluster, in turn; told apart with most kinds of colour blindness (Okabe and Ito).
_CLUSTERS = np.array(
    [[0, 114, 178], [230, 159, 0], [0, 158, 115], [204, 121, 167], [86, 180, 233], [213, 94, 0]], np.uint8
)


def glb_of_mesh(mesh: Mesh, colours: bool = True) -> bytes:
    """A binary glTF of one frame's mesh, as small as the page's loader allows.

    The page computes normals itself, but shades smoothly only where the file has some: the accessor without a
    buffer view stands for zeros and costs nothing. With colours 20 bytes per vertex and 6 or 12 per face.
    """
    count = len(mesh.vertices)
    vertices = np.ascontiguousarray(mesh.vertices, np.float32)
    faces = np.ascontiguousarray(mesh.faces, np.uint16 if count < 65535 else np.uint32)
    parts = [vertices.tobytes(), faces.tobytes()]
    coloured = colours and mesh.colours is not None
    attributes = {"POSITION": 0, "NORMAL": 1}
    accessors: list[dict[str, object]] = [
        {
            "bufferView": 0, "componentType": _FLOAT, "count": count, "type": "VEC3",
            "min": vertices.min(axis=0).tolist(), "max": vertices.max(axis=0).tolist(),
        },
        {"componentType": _FLOAT, "count": count, "type": "VEC3"},
        {
            "bufferView": 1, "componentType": _USHORT if faces.itemsize == 2 else _UINT,
            "count": faces.size, "type": "SCALAR",
        },
    ]  # fmt: skip
    if coloured and mesh.colours is not None:
        parts.append(linear_colours_u16(mesh.colours).tobytes())
        attributes["COLOR_0"] = 3
        accessors.append(
            {"bufferView": 2, "componentType": _USHORT, "normalized": True, "count": count, "type": "VEC4"}
        )
    views, offset = [], 0
    for i, part in enumerate(parts):
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": len(part), "target": 34963 if i == 1 else 34962})
        parts[i] = part + bytes(-len(part) % 4)
        offset += len(parts[i])
    base = [1.0, 1.0, 1.0, 1.0] if coloured else [*((np.array(CLAY) / 255.0) ** 2.2).tolist(), 1.0]
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": 2, "material": 0}]}],
        "materials": [
            {
                "pbrMetallicRoughness": {"baseColorFactor": base, "metallicFactor": 0.0, "roughnessFactor": 0.9},
                "doubleSided": True,
            }
        ],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": offset}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    header = struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + offset)
    return b"".join(
        [header, struct.pack("<I4s", len(text), b"JSON"), text, struct.pack("<I4s", offset, b"BIN\0"), *parts]
    )


def cloud_of_frame(frame: RgbdFrame, stride: int = 3, far_m: float = 6.0) -> tuple[Array, Array]:
    """Every `stride`-th pixel with depth nearer than `far_m` as points (M, 3) float32 [m] and colours (M, 3) uint8."""
    half = stride // 2
    depth_m = frame.depth_m[half::stride, half::stride]
    points = _points_of(frame, stride)
    seen = (depth_m > 0) & (depth_m < far_m)
    if frame.colour is not None:
        colours = frame.colour[half::stride, half::stride][seen]
    else:
        colours = _depth_colours(depth_m)[seen]
    return points[seen], np.ascontiguousarray(colours)


def _points_of(frame: RgbdFrame, stride: int) -> Array:
    if stride == 1:
        return back_project(frame.depth_m, frame.intrinsics)
    half, k = stride // 2, frame.intrinsics
    depth_m = frame.depth_m[half::stride, half::stride]
    u = np.arange(half, k.width, stride, dtype=np.float32)
    v = np.arange(half, k.height, stride, dtype=np.float32)
    x = (u - np.float32(k.cx)) / np.float32(k.fx) * depth_m
    y = ((v - np.float32(k.cy)) / np.float32(k.fy))[:, None] * depth_m
    return np.stack([x, y, depth_m], axis=-1)


def image_of_frame(frame: RgbdFrame, width: int = 320) -> Array:
    """The camera's picture, or its depth in colours where it has none, (h, `width`, 3) uint8 RGB."""
    height = round(frame.depth_m.shape[0] * width / frame.depth_m.shape[1])
    if frame.colour is not None:
        return cv2.resize(frame.colour, (width, height), interpolation=cv2.INTER_AREA)
    return _depth_colours(cv2.resize(frame.depth_m, (width, height), interpolation=cv2.INTER_NEAREST))


def _depth_colours(depth_m: Array) -> Array:
    """Near is warm, far is cold, 0 = no measurement is dark; scaled to the nearest and farthest 2 %."""
    seen = depth_m > 0
    if not seen.any():
        return np.full((*depth_m.shape, 3), 30, np.uint8)
    near, far = np.percentile(depth_m[seen], (2, 98))
    grey = np.clip((far - depth_m) * (255.0 / max(far - near, 1e-3)), 0, 255).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(grey, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    colours[~seen] = 30
    return colours


def node_colours(graph: GraphSnapshot) -> Array:
    """(N, 3) uint8: one colour per cluster, red where the solver dropped the node."""
    colours = _CLUSTERS[np.maximum(graph.clusters, 0) % len(_CLUSTERS)]
    if len(graph.active) == len(colours):
        colours = np.where(graph.active[:, None], colours, np.array(_INACTIVE, np.uint8))
    return colours


def graph_lines(graph: GraphSnapshot) -> tuple[Array, Array, Array]:
    """Moved node positions (N, 3), and each edge once as segments (E, 2, 3) float32 with colours (E, 2, 3) uint8."""
    count = len(graph.positions)
    moved = (graph.positions + graph.translations).astype(np.float32)
    source = np.repeat(np.arange(count), graph.edges.shape[1])
    target = graph.edges.reshape(-1).astype(np.int64)
    good = (target >= 0) & (target != source)
    low, high = np.minimum(source, target)[good], np.maximum(source, target)[good]
    once = np.unique(low * count + high)
    segments = moved[np.stack([once // max(count, 1), once % max(count, 1)], axis=1)]
    return moved, segments, np.broadcast_to(np.array(_EDGE, np.uint8), segments.shape)
