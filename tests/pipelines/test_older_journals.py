"""Journals that other versions wrote are made into files: their bytes are written here by hand, from what the format is
told to be, with the records that versions before skinned meshes wrote."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from scipy.spatial.transform import Rotation

from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skeleton import JOINTS, forward_kinematics
from bodystream.pipelines.recovery import recover_journal
from helpers.driven_body import shipped_body, skinned
from helpers.gltf_player import Player
from helpers.sink_shapes import graph_of, motion, tube, warp

TURN = np.array([-1.0, 1.0, -1.0])
_NAMES = {"float32": "<f4", "float64": "<f8", "int32": "<i4", "int64": "<i8", "uint8": "|u1"}


def record(kind: str, fields: dict[str, Any], **arrays: np.ndarray) -> bytes:
    """24 bytes of head, JSON, arrays."""
    layouts = [{"name": n, "dtype": _NAMES[str(a.dtype)], "shape": list(a.shape)} for n, a in arrays.items()]
    text = json.dumps({"kind": kind, "fields": fields, "arrays": layouts}).encode()
    data = b"".join(a.tobytes() for a in arrays.values())
    head = struct.pack("<4sIIII", b"BSJ1", len(text), len(data), zlib.crc32(text + data), 0)
    return head + struct.pack("<I", zlib.crc32(head)) + text + data


def journal(path: Path, *records: bytes) -> Path:
    path.write_bytes(b"bodystream journal 1\n" + b"".join(records))
    return path


def test_a_capture_whose_graph_grew(tmp_path: Path) -> None:
    mesh = tube(rows=6, columns=8)
    v, anchors, weights = graph_of(mesh, 9)
    rotations, translations = motion(v, 5)
    sizes = [6, 6, 9, 9, 9]
    written = [record("session", {"what": "capture"})]
    for number, count in enumerate(sizes):
        if number in (0, 2):
            written.append(record("nodes", {"segment": 0}, positions=v[:count]))
        turned = Rotation.from_matrix(rotations[number, :count].astype(float)).as_quat()
        rows = np.concatenate([turned, translations[number, :count]], axis=1).astype(np.float32)
        fields = {"segment": 0, "number": number, "t_ns": 5_000_000_000 + number * 33_000_000}
        written.append(record("motion", fields, motion=rows))
    surface = {"vertices": mesh.vertices, "faces": mesh.faces, "anchors": anchors, "weights": weights}
    written.append(record("mesh", {"segment": 0, "floor": None}, **surface, normals=mesh.normals, colours=mesh.colours))
    files = recover_journal(journal(tmp_path / "capture-20250101-000000.journal", *written))
    assert [path.name.split("-")[0] for path in files.paths] == ["canonical", "live", "capture"]
    canonical, live = (trimesh.load(path, process=False) for path in files.paths[:2])
    np.testing.assert_allclose(canonical.vertices, mesh.vertices, atol=1e-6)
    wanted = warp(mesh.vertices, anchors, weights, v, rotations[4], translations[4])
    np.testing.assert_allclose(live.vertices, wanted, atol=1e-5)
    player = Player(files.paths[2])
    np.testing.assert_allclose(player.key_times, np.arange(5) * 0.033, atol=1e-6)
    lowest = mesh.vertices[:, 1].max()  # the camera's y points down; the file stands on its lowest point
    place = np.array([-np.median(mesh.vertices[:, 0]), lowest, np.median(mesh.vertices[:, 2])])
    for frame in (2, 4):  # all nodes are there
        posed = warp(mesh.vertices, anchors, weights, v, rotations[frame], translations[frame])
        got = player.visible(frame * 0.033).vertices
        np.testing.assert_allclose(got, posed * (1, -1, -1) + place, atol=1e-4)


def test_a_drive_without_the_name_of_its_avatar(tmp_path: Path) -> None:
    body, skeleton = shipped_body()
    turned = Rotation.random(4 * len(JOINTS), random_state=5).as_quat().reshape(4, len(JOINTS), 4).astype(np.float32)
    roots = np.random.default_rng(5).normal(size=(4, 3)).astype(np.float32)
    t_ns = np.arange(4, dtype=np.int64) * 11_111_111
    path = journal(
        tmp_path / "drive-20250101-000000.journal",
        record("session", {"what": "drive"}),
        record("person", {}, offsets_m=skeleton.offsets_m),
        record("poses", {}, t_ns=t_ns[:3], rotations_xyzw=turned[:3], root_positions_m=roots[:3]),
        record("poses", {}, t_ns=t_ns[3:], rotations_xyzw=turned[3:], root_positions_m=roots[3:]),
    )
    files = recover_journal(path)
    assert [file.name for file in files.paths] == ["driven-20250101-000000.glb"] and files.notes == ()
    player = Player(files.paths[0])
    for frame in range(4):
        local = matrix_from_quaternion(turned[frame].astype(np.float64))
        joints, world = forward_kinematics(skeleton.offsets_m, local, roots[frame].astype(np.float64))
        got = player.visible(float(player.key_times[frame])).vertices
        np.testing.assert_allclose(got, skinned(body, joints, world) * TURN, atol=2e-5)
