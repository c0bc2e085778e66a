"""The stream's format: stored bytes stand for stored values, by our reader and by one written after the page alone."""

from __future__ import annotations

import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bodystream.wire import Kind, Message, Piece, WireError, open_message, pack_message
from bodystream.wire.envelope import from_json
from bodystream.wire.meshes import decode_graph, decode_piece, decode_skeleton, decode_whole, encode_piece
from bodystream.wire.motions import FLAGS, Motion, decode_motion, encode_motion
from helpers.fuzzing import fuzz
from helpers.stream_examples import FOLDER, examples

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in FOLDER.glob("*.bin"))


def stored(name: str) -> tuple[bytes, dict[str, Any]]:
    values = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return (FOLDER / f"{name}.bin").read_bytes(), values


class Plain:
    """Reads bytes after docs/stream-format.md, a number at a time."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, layout: str) -> tuple:
        found = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return found

    def rows(self, layout: str, count: int) -> list[list]:
        return [list(self.take(layout)) for _ in range(count)]

    def pad(self) -> None:
        while self.at % 4:
            assert self.data[self.at] == 0
            self.at += 1

    def u8(self, rows: int, columns: int) -> list[list[int]]:
        value, sequence = 0, []
        for _ in range(rows * columns):
            value = (value + self.take("B")[0]) % 256
            sequence.append(value)
        return [[sequence[c * rows + r] for c in range(columns)] for r in range(rows)]

    def u16(self, rows: int, columns: int) -> list[list[int]]:
        size, value, sequence = rows * columns, 0, []
        data = self.data[self.at : self.at + 2 * size]
        self.at += 2 * size
        for i in range(size):
            zigzag = data[i] | data[size + i] << 8
            value = (value + (zigzag >> 1 ^ -(zigzag & 1))) % 65536
            sequence.append(value)
        return [[sequence[c * rows + r] for c in range(columns)] for r in range(rows)]


def degrees_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of quaternions that are nearly the same, where an arc cosine would see nothing but rounding."""
    a, b = (q / np.linalg.norm(q, axis=1, keepdims=True) for q in (a.astype(float), b.astype(float)))
    apart = np.minimum(np.linalg.norm(a - b, axis=1), np.linalg.norm(a + b, axis=1))
    return np.degrees(4 * np.arcsin(apart / 2))


def plain_header(data: bytes) -> tuple[dict[str, Any], Plain]:
    magic, version, kind, flags, sequence, skin, t_ns, size, unpacked = struct.unpack_from("<4sBBHIIqII", data)
    assert (magic, version, size) == (b"BDST", 1, len(data) - 32)
    payload = zlib.decompress(data[32:]) if flags & 1 else data[32:]
    assert len(payload) == unpacked
    return {"kind": kind, "sequence": sequence, "skin": skin, "t_ns": t_ns}, Plain(payload)


def close(found: Any, wanted: Any, off: float) -> None:
    np.testing.assert_allclose(np.array(found, float), np.array(wanted, float), atol=off, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_stored_bytes_are_what_is_written_today(name: str) -> None:
    data, values = stored(name)
    made, made_values = examples()[name]
    assert json.loads(json.dumps(made_values)) == values
    if data != made:  # another zlib packs otherwise; what is packed is the same
        assert open_message(made) == open_message(data)
    assert sorted(examples()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_headers_and_text_are_read(name: str) -> None:
    data, values = stored(name)
    message = open_message(data)
    plain, _ = plain_header(data)
    assert message.kind.name.lower() == values["kind"]
    for key in ("sequence", "skin", "t_ns"):
        assert getattr(message, key) == plain[key] == values[key]
    assert plain["kind"] == message.kind
    if "json" in values:
        assert from_json(message) == values["json"]


def test_every_flag_that_the_docs_explain_has_its_name_in_the_stream() -> None:
    text = (ROOT / "docs/drive.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| flag \|.*\n\|[-| ]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    explained = {
        flag for table in tables for row in table.splitlines() for flag in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert len(explained) >= 20 and explained <= set(FLAGS)
    page = (ROOT / "web/src/stream/motions.ts").read_text(encoding="utf-8")
    (names,) = re.findall(r"export const FLAGS = \[(.*?)\]", page, re.DOTALL)
    assert tuple(re.findall(r'"(\w+)"', names)) == FLAGS


@pytest.mark.parametrize("name", ["body", "surface"])
def test_motions_are_read(name: str) -> None:
    data, values = stored(name)
    motion = decode_motion(open_message(data))
    assert motion.status.value == values["status"]
    assert motion.contacts == (None if values["contacts"] is None else tuple(values["contacts"]))
    assert list(motion.flags) == values["flags"]
    assert motion.latency_us == values["latency_us"]
    _, read = plain_header(data)
    status, feet, coding, devices, bits, bones, ox, oy, oz, step, latency = read.take("BBBBII3ffI")
    assert status == ["tracked", "degraded", "lost"].index(values["status"])
    assert feet == (0 if values["contacts"] is None else 0x80 | values["contacts"][0] | values["contacts"][1] << 1)
    assert [FLAGS[i] for i in range(31) if bits >> i & 1] == values["flags"]
    assert latency == values["latency_us"]
    turns = []
    for _ in range(bones):
        if coding == 1:
            q = [n / 32767 for n in read.take("4h")]
        else:
            (number,) = read.take("I")
            others = [((number >> s & 1023) - 511) / 511 * 0.5**0.5 for s in (0, 10, 20)]
            others.insert(number >> 30, (1 - sum(x * x for x in others)) ** 0.5)
            q = others
        length = sum(x * x for x in q) ** 0.5
        turns.append([x / length for x in q])
    places = [[o + step * n for o, n in zip((ox, oy, oz), row, strict=True)] for row in read.rows("3H", bones)]
    read.pad()
    for found in (turns, motion.rotations_xyzw.tolist()):
        for q, wanted in zip(found, values["rotations_xyzw"], strict=True):
            assert degrees_between(np.array([q]), np.array([wanted])).max() <= values["rotations_degrees_off"]
    close(places, values["positions_m"], values["positions_m_off"])
    close(motion.positions_m, values["positions_m"], values["positions_m_off"])
    assert devices == len(values["devices"]) == len(motion.devices)
    for device, wanted in zip(motion.devices, values["devices"], strict=True):
        side, kind, zero, *numbers = read.take("BBH7f")
        assert zero == 0
        assert device.side == ["head", "left", "right"][side] == wanted["side"]
        assert device.kind.value == ["view", "grip", "hand-wrist", "joint"][kind] == wanted["kind"]
        close(numbers[:3], wanted["position_m"], 1e-6)
        close(numbers[3:], wanted["rotation_xyzw"], 1e-6)
        close(device.position_m, wanted["position_m"], 1e-6)
        close(device.rotation_xyzw, wanted["rotation_xyzw"], 1e-6)
    assert read.at == len(read.data)


@pytest.mark.parametrize("name", ["skeleton_body", "skeleton_surface_grown"])
def test_skeletons_are_read(name: str) -> None:
    data, values = stored(name)
    skeleton = decode_skeleton(open_message(data))
    _, read = plain_header(data)
    of, layout, zero, total, first, count, length = read.take("BBHIIII")
    assert zero == 0
    if layout == 0:
        binds = [[row[:4], row[4:8], row[8:]] for row in read.rows("12f", count)]
    else:
        binds = [[[1, 0, 0, -x], [0, 1, 0, -y], [0, 0, 1, -z]] for x, y, z in read.rows("3f", count)]
    columns = []
    for _ in range(2):
        columns.append([-1 if n == 65535 else n for (n,) in read.rows("H", count)])
        read.pad()
    names = json.loads(read.data[read.at :]) if length else []
    found = {
        "of": ["body", "surface"][of],
        "first": first,
        "total": total,
        "parents": columns[0],
        "follows": columns[1],
        "names": names,
    }
    assert found == {key: values[key] for key in found}
    close(binds, values["bone_from_bind"], 0)
    close(skeleton.bone_from_bind, values["bone_from_bind"], 0)
    assert (skeleton.of, skeleton.first, skeleton.total) == (values["of"], values["first"], values["total"])
    assert skeleton.parents.tolist() == values["parents"]
    assert skeleton.follows.tolist() == values["follows"]
    assert list(skeleton.names) == values["names"]


def spread(bones: Any, weights: Any) -> list[dict[int, float]]:
    """Of each vertex the weight of each bone, in whatever order they come."""
    out: list[dict[int, float]] = []
    for row, shares in zip(bones, weights, strict=True):
        out.append({})
        for bone, share in zip(row, shares, strict=True):
            out[-1][int(bone)] = out[-1].get(int(bone), 0.0) + float(share)
    return out


@pytest.mark.parametrize("name", ["piece_coloured", "piece_plain"])
def test_pieces_are_read(name: str) -> None:
    data, values = stored(name)
    piece = decode_piece(open_message(data))
    _, read = plain_header(data)
    number, count, faces, bones, influences, attributes, *rest = read.take("IIIHBB3ff4B")
    origin, step, colour = rest[:3], rest[3], rest[4:]
    palette = [n for (n,) in read.rows("H", bones)]
    read.pad()
    places = [[o + step * n for o, n in zip(origin, row, strict=True)] for row in read.u16(count, 3)]
    normals = []
    for row in read.u8(count, 2):
        x, y = (((n + 128) % 256 - 128) / 127 for n in row)
        z = 1 - abs(x) - abs(y)
        if z < 0:
            x, y = (1 - abs(y)) * (1 if x >= 0 else -1), (1 - abs(x)) * (1 if y >= 0 else -1)
        length = (x * x + y * y + z * z) ** 0.5
        normals.append([x / length, y / length, z / length])
    colours = read.u8(count, 3) if attributes & 1 else None
    of = [[palette[n] for n in row] for row in read.u8(count, influences)]
    weights = read.u8(count, influences)
    corners = read.u16(3 * faces, 1)
    assert read.at == len(read.data)
    assert number == piece.number == values["number"]
    assert colour == list(piece.colour) == values["colour"]
    assert bool(attributes & 2) == piece.both_sides == values["both_sides"]
    assert colours == values["colours"] == (None if piece.colours is None else piece.colours.tolist())
    assert [n for (n,) in corners] == piece.faces.reshape(-1).tolist() == np.array(values["faces"]).reshape(-1).tolist()
    assert all(sum(row) == 255 for row in weights)
    wanted = spread(values["bones"], values["weights"])
    for found in (spread(of, np.array(weights) / 255), spread(piece.bones, piece.weights)):
        for shares, right in zip(found, wanted, strict=True):
            for bone in {*shares, *right}:
                assert shares.get(bone, 0) == pytest.approx(right.get(bone, 0), abs=values["weights_off"])
    for found_places, found_normals in ((places, normals), (piece.vertices, piece.normals)):
        close(found_places, values["vertices"], values["vertices_off"])
        close(found_normals, values["normals"], values["normals_off"])


def test_a_piece_that_is_gone_graphs_and_whole_meshes_are_read() -> None:
    piece = decode_piece(open_message(stored("piece_gone")[0]))
    assert (piece.number, len(piece.vertices), len(piece.faces)) == (3, 0, 0)
    data, values = stored("graph")
    links = decode_graph(open_message(data))
    assert (links.edges.tolist(), links.clusters.tolist(), links.active.tolist()) == (
        values["edges"], values["clusters"], values["active"],
    )  # fmt: skip
    data, values = stored("whole")
    mesh = decode_whole(open_message(data)).mesh
    assert mesh.normals is not None
    assert mesh.colours is not None
    for name in ("vertices", "faces", "normals", "colours"):
        close(getattr(mesh, name), values[name], 0)


def test_many_motions_come_back_within_what_the_page_says() -> None:
    rng = np.random.default_rng(5)
    turns = rng.normal(size=(4000, 4))
    turns /= np.linalg.norm(turns, axis=1, keepdims=True)
    places = rng.uniform(-1.2, 1.2, (4000, 3)) + [0.3, 1.0, 2.0]
    for fine, degrees in ((True, 0.004), (False, 0.3)):
        message = Message(Kind.SURFACE, encode_motion(Motion(turns, places, fine=fine)))
        back = decode_motion(open_message(pack_message(message)))
        assert degrees_between(back.rotations_xyzw, turns).max() < degrees
        assert np.abs(back.positions_m - places).max() < 2.4 / 65535
    empty = decode_motion(Message(Kind.BODY, encode_motion(Motion(np.zeros((0, 4)), np.zeros((0, 3))))))
    assert len(empty.positions_m) == 0


def test_a_flag_without_a_bit_is_not_lost() -> None:
    motion = Motion(np.zeros((0, 4)), np.zeros((0, 3)), flags=("held", "from_tomorrow"))
    assert decode_motion(Message(Kind.BODY, encode_motion(motion))).flags == ("held", "other")


def test_a_large_piece_is_refused_where_it_is_made() -> None:
    count = 300
    points = np.zeros((count, 3))
    bones = np.tile(np.arange(count)[:, None], (1, 4))
    with pytest.raises(ValueError, match="300 bones: cut it"):
        encode_piece(
            Piece(0, points, np.zeros((0, 3), np.int32), points + [0, 0, 1], None, bones, np.full(bones.shape, 0.25))
        )


@pytest.mark.parametrize(
    ("at", "with_", "said"),
    [
        (0, b"GLTF", "begins with BDST"),
        (4, b"\x02", "version 2"),
        (5, b"\x63", "unknown kind 99"),
        (6, b"\x02", "unknown flags"),
        (24, b"\xff\xff", "bytes of payload"),
        (28, b"\xff\xff\xff\xff", "unpacks to 4294967295"),
        (28, b"\x00\x00", "unpacked bytes"),
    ],
)
def test_a_wrong_header_is_refused(at: int, with_: bytes, said: str) -> None:
    data = bytearray(stored("body")[0])
    data[at : at + len(with_)] = with_
    with pytest.raises(WireError, match=said):
        open_message(bytes(data))


def test_a_payload_never_unfolds_beyond_what_it_says() -> None:
    header = bytearray(pack_message(Message(Kind.WHOLE, bytes(300_000)), deflate=True))
    header[28:32] = struct.pack("<I", 1000)
    with pytest.raises(WireError, match="does not unpack to the 1000 bytes"):
        open_message(bytes(header))


def decode_any(data: bytes) -> None:
    message = open_message(data)
    reader = {
        Kind.SKELETON: decode_skeleton,
        Kind.PIECE: decode_piece,
        Kind.BODY: decode_motion,
        Kind.SURFACE: decode_motion,
        Kind.GRAPH: decode_graph,
        Kind.WHOLE: decode_whole,
    }.get(message.kind, from_json)
    reader(message)


def test_fuzzed_messages_are_read_or_refused() -> None:
    fuzz(decode_any, [stored(name)[0] for name in NAMES])
    # Payloads alone, below a header that fits: nothing of the header guards the readers then.
    for name in NAMES:
        message = open_message(stored(name)[0])
        fuzz(lambda payload, kind=message.kind: decode_any(pack_message(Message(kind, payload))), [message.payload])
