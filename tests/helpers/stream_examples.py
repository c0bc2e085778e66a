"""Small messages of every kind, as bytes and as the values that they stand for.

`python tests/helpers/stream_examples.py` writes them anew to tests/data/stream: one `.bin` and one `.json` each.
Readers in Python and TypeScript are held to both. They change only with the version of the format.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from bodystream.types import DeviceKind, Mesh, Status
from bodystream.wire.envelope import Kind, Message, pack_message, to_json
from bodystream.wire.meshes import (
    GraphLinks,
    Piece,
    Skeleton,
    WholeMesh,
    encode_graph,
    encode_piece,
    encode_skeleton,
    encode_whole,
)
from bodystream.wire.motions import Device, Motion, encode_motion

__all__ = ["FOLDER", "examples"]

FOLDER = Path(__file__).resolve().parents[1] / "data" / "stream"
T_NS = 123_456_789_012_345


def turned(axis: tuple[float, float, float], degrees: float) -> list[float]:
    half = math.radians(degrees) / 2
    return [math.sin(half) * a for a in axis] + [math.cos(half)]


def examples() -> dict[str, tuple[bytes, dict[str, Any]]]:
    """By name the bytes and the values; numbers that are rounded in the message come with how far off they may be."""
    out: dict[str, tuple[bytes, dict[str, Any]]] = {}

    def add(name: str, kind: Kind, payload: bytes, values: dict[str, Any], deflate: bool = False, **more: int) -> None:
        message = Message(kind, payload, **more)
        head = {"kind": kind.name.lower(), "sequence": 0, "skin": 0, "t_ns": 0, **more}
        out[name] = (pack_message(message, deflate=deflate), {**head, **values})

    texts: dict[str, tuple[Kind, dict[str, Any]]] = {
        "hello": (
            Kind.HELLO,
            {
                "server": "bodystream",
                "version": 1,
                "bodies": True,
                "surfaces": True,
                "joints": ["pelvis", "left_hip"],
                "flags": ["left_lost", "right_lost"],
                "controls": ["record", "calibrate", "reset"],
                "limits": {"rate_hz": 90.0, "kb_per_s": 150.0},
            },
        ),
        "status": (
            Kind.STATUS,
            {
                "body": {"rate_hz": 89.5, "latency_ms": 6.25, "status": "tracked", "reason": ""},
                "surface": None,
                "recording": {"on": False, "file": "", "seconds": 0.0},
                "clients": 2,
                "warnings": ["the left hand was out of sight: naïve ✓"],
                "clock": {"offset_ms": 123451789.5, "error_ms": 0.75},
            },
        ),
        "ping": (Kind.PING, {"id": 7}),
        "notice": (Kind.NOTICE, {"level": "info", "text": "recording to take.mcap"}),
        "bye": (Kind.BYE, {"reason": "the session has ended"}),
    }
    for name, (kind, value) in texts.items():
        add(name, kind, to_json(value), {"json": value}, sequence=3, t_ns=T_NS)

    binds = np.zeros((3, 3, 4), np.float32)
    binds[:, :, :3] = np.eye(3)
    binds[1, :3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    binds[:, :, 3] = [[0, -1, 0], [0.5, 0.25, 0], [0, -1.5, 0.125]]
    body = Skeleton("body", 0, 3, binds, np.array([-1, 0, 0]), np.array([0, 1, 1]), ("pelvis", "left_hip", "tail"))
    values = {
        "of": "body", "first": 0, "total": 3, "bone_from_bind": binds.tolist(), "parents": [-1, 0, 0],
        "follows": [0, 1, 1], "names": list(body.names),
    }  # fmt: skip
    add("skeleton_body", Kind.SKELETON, encode_skeleton(body), values, skin=5, t_ns=T_NS)
    nodes = np.zeros((2, 3, 4), np.float32)
    nodes[:, :, :3] = np.eye(3)
    nodes[:, :, 3] = [[-0.5, 0.25, -2.0], [-0.75, 0.5, -2.25]]
    grown = Skeleton("surface", 3, 5, nodes, np.array([-1, -1]), np.array([3, 4]))
    values = {
        "of": "surface", "first": 3, "total": 5, "bone_from_bind": nodes.tolist(), "parents": [-1, -1],
        "follows": [3, 4], "names": [],
    }  # fmt: skip
    add("skeleton_surface_grown", Kind.SKELETON, encode_skeleton(grown), values, skin=9, sequence=4, t_ns=T_NS)

    rotations = [[0.0, 0.0, 0.0, 1.0], turned((0.6, 0.0, 0.8), 170.0), turned((0.0, -1.0, 0.0), 35.0)]
    places = [[0.1, 0.95, -0.2], [0.19, 0.9, -0.21], [-1.25, 1.75, 2.5]]
    motion = Motion(
        np.array(rotations, np.float32),
        np.array(places, np.float32),
        Status.DEGRADED,
        (True, False),
        ("left_lost", "held"),
        (
            Device("head", DeviceKind.VIEW, np.array([0.0, 1.75, 0.25]), np.array([0.0, 0.0, 0.0, 1.0])),
            Device("right", DeviceKind.HAND_WRIST, np.array([0.5, 1.0, -0.5]), np.array([0.0, 1.0, 0.0, 0.0])),
        ),
        4321,
    )
    devices = [
        {
            "side": d.side,
            "kind": d.kind.value,
            "position_m": d.position_m.tolist(),
            "rotation_xyzw": d.rotation_xyzw.tolist(),
        }
        for d in motion.devices
    ]
    values = {
        "status": "degraded", "contacts": [True, False], "flags": ["left_lost", "held"], "latency_us": 4321,
        "devices": devices, "rotations_xyzw": rotations, "positions_m": places,
        "rotations_degrees_off": 0.01, "positions_m_off": 0.0001,
    }  # fmt: skip
    add("body", Kind.BODY, encode_motion(motion), values, sequence=900, skin=5, t_ns=T_NS)
    coarse = Motion(motion.rotations_xyzw, motion.positions_m, latency_us=15000, fine=False)
    values = {
        "status": "tracked", "contacts": None, "flags": [], "latency_us": 15000, "devices": [],
        "rotations_xyzw": rotations, "positions_m": places, "rotations_degrees_off": 0.3, "positions_m_off": 0.0001,
    }  # fmt: skip
    add("surface", Kind.SURFACE, encode_motion(coarse), values, sequence=31, skin=9, t_ns=T_NS)

    side = 6
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1).reshape(-1, 2)
    vertices = np.concatenate([grid * 0.0625 - 0.5, (0.015625 * (grid**2).sum(1, keepdims=True))], axis=1)
    slope = np.concatenate([-0.5 * grid, np.ones((len(grid), 1))], axis=1)
    normals = slope / np.linalg.norm(slope, axis=1, keepdims=True)
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).reshape(-1, 1)
    faces = np.concatenate([corner + [0, side, 1], corner + [1, side, side + 1]]).astype(np.int32)
    bones = np.tile([300, 7, 12, 7], (len(grid), 1)).astype(np.int32)
    bones[:, 3] = np.where(grid[:, 0] > 2, 400, 9)
    weights = np.tile([0.5, 0.25, 0.25, 0.0], (len(grid), 1))
    weights[:, 3] = grid[:, 1] / 10
    weights /= weights.sum(axis=1, keepdims=True)
    colours = np.concatenate([grid * 40, 255 - grid[:, :1] * 10], axis=1).astype(np.uint8)
    shared = {
        "number": 2, "vertices": vertices.tolist(), "faces": faces.tolist(), "normals": normals.tolist(),
        "bones": bones.tolist(), "weights": weights.tolist(), "vertices_off": 0.0003, "normals_off": 0.02,
        "weights_off": 0.01,
    }  # fmt: skip
    piece = Piece(2, vertices, faces, normals, colours, bones, weights)
    values = {**shared, "colours": colours.tolist(), "colour": [200, 196, 190, 255], "both_sides": False}
    add("piece_coloured", Kind.PIECE, encode_piece(piece), values, deflate=True, skin=9, sequence=12, t_ns=T_NS)
    plain = Piece(2, vertices, faces, normals, None, bones, weights, (10, 20, 30, 128), both_sides=True)
    values = {**shared, "colours": None, "colour": [10, 20, 30, 128], "both_sides": True}
    add("piece_plain", Kind.PIECE, encode_piece(plain), values, skin=9, sequence=13, t_ns=T_NS)
    none = np.zeros((0, 3))
    gone = Piece(3, none, np.zeros((0, 3), np.int32), none, None, np.zeros((0, 4), np.int32), np.zeros((0, 4)))
    values = {"number": 3, "vertices": [], "faces": [], "normals": [], "colours": None, "bones": [], "weights": []}
    add("piece_gone", Kind.PIECE, encode_piece(gone), values, skin=9, sequence=14, t_ns=T_NS)

    links = GraphLinks(np.array([[0, 1], [1, 2], [2, 0]]), np.array([0, 0, 1]), np.array([True, False, True]))
    values = {"edges": links.edges.tolist(), "clusters": [0, 0, 1], "active": [True, False, True]}
    add("graph", Kind.GRAPH, encode_graph(links), values, skin=9, t_ns=T_NS)

    corners = np.array([[0, 0.5, 1], [1, 0.25, 2], [-0.125, 4, 3]], np.float32)
    ahead = np.array([[0, 0, 1]] * 3, np.float32)
    rgb = np.array([[1, 2, 3], [4, 5, 6], [255, 0, 9]], np.uint8)
    whole = WholeMesh(Mesh(corners, np.array([[0, 1, 2]], np.int32), ahead, rgb))
    values = {
        "vertices": corners.tolist(), "faces": [[0, 1, 2]], "normals": ahead.tolist(), "colours": rgb.tolist(),
    }  # fmt: skip
    add("whole", Kind.WHOLE, encode_whole(whole), values, skin=9, sequence=2, t_ns=T_NS)
    return out


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, (data, values) in examples().items():
        (FOLDER / f"{name}.bin").write_bytes(data)
        (FOLDER / f"{name}.json").write_text(json.dumps(values, ensure_ascii=False) + "\n", encoding="utf-8")
