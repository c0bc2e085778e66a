from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pygltflib
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from bodystream.errors import InputError
from bodystream.geometry.rotations import quaternion_from_matrix
from bodystream.geometry.skinning import unturned_bones
from bodystream.sinks.animated_gltf import GltfSegment, Placing, write_animated_gltf
from bodystream.sinks.animation import Animation
from bodystream.sinks.gltf import continuous_quaternions, linear_colours_u16, vertex_normals
from bodystream.types import Array, Mesh, SkinnedMesh
from helpers.needs import khronos_issues
from helpers.sink_shapes import graph_of, motion, tube, warp

TOLERANCE_M = 1e-4  # float32 storage of metre-sized coordinates gives a few 1e-7


def write_capture(path: Path, mesh: Mesh, anchors, weights, v, times, rotations, translations):
    """One graph, from the camera's axes."""
    quaternions = quaternion_from_matrix(rotations) if rotations.shape[-1] == 3 else rotations
    t_ns = np.round(np.asarray(times) * 1e9).astype(np.int64)
    skin = SkinnedMesh(mesh, anchors, weights, unturned_bones(v))
    animation = Animation(t_ns, quaternions, v.astype(np.float64) + translations)
    placing = Placing("camera_axes", np.diag([1.0, -1.0, -1.0, 1.0]))
    return write_animated_gltf(path, "capture", [GltfSegment(skin, animation)], placing)


AXES = np.diag([1.0, -1.0, -1.0])  # camera (x right, y down, z forward) to glTF (y up, -z forward)

_COMPONENTS = {5123: np.uint16, 5125: np.uint32, 5126: np.float32}
_WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Reader:
    """Evaluates the file as a player would, in float64, with nothing of the writer's code."""

    def __init__(self, path: Path) -> None:
        self.gltf = pygltflib.GLTF2().load_binary(str(path))
        self.blob = self.gltf.binary_blob()
        self.primitive = self.gltf.meshes[0].primitives[0]
        self.skin = self.gltf.skins[0]

    def array(self, index: int) -> Array:
        accessor = self.gltf.accessors[index]
        view = self.gltf.bufferViews[accessor.bufferView]
        width = _WIDTHS[accessor.type]
        start = (view.byteOffset or 0) + (accessor.byteOffset or 0)
        flat = np.frombuffer(self.blob, _COMPONENTS[accessor.componentType], accessor.count * width, start)
        return flat.reshape(accessor.count, width)

    def attribute(self, name: str) -> Array:
        return self.array(getattr(self.primitive.attributes, name))

    @property
    def times(self) -> Array:
        return self.array(self.gltf.animations[0].samplers[0].input)[:, 0]

    def local(self, node: int, frame: int | None) -> Array:
        """The node's matrix at a key frame; None = the pose at rest in the file."""
        n = self.gltf.nodes[node]
        rotation = np.array(n.rotation or [0, 0, 0, 1.0])
        translation = np.array(n.translation or [0, 0, 0.0])
        if frame is not None:
            animation = self.gltf.animations[0]
            for channel in animation.channels:
                if channel.target.node == node:
                    sampler = animation.samplers[channel.sampler]
                    assert sampler.interpolation == "LINEAR"
                    value = self.array(sampler.output)[frame].astype(np.float64)
                    if channel.target.path == "rotation":
                        rotation = value
                    else:
                        assert channel.target.path == "translation"
                        translation = value
        out = np.eye(4)
        out[:3, :3] = Rotation.from_quat(rotation).as_matrix()
        out[:3, 3] = translation
        return out

    def skinned(self, frame: int | None) -> Array:
        assert self.gltf.scenes[0].nodes is not None
        root = self.gltf.scenes[0].nodes[0]
        assert self.gltf.nodes[root].children == self.skin.joints
        assert self.skin.joints is not None and self.skin.inverseBindMatrices is not None
        base = self.local(root, frame)
        inverse_bind = self.array(self.skin.inverseBindMatrices).reshape(-1, 4, 4).swapaxes(1, 2).astype(np.float64)
        joints = np.stack([base @ self.local(j, frame) for j in self.skin.joints]) @ inverse_bind
        which, w = self.attribute("JOINTS_0"), self.attribute("WEIGHTS_0").astype(np.float64)
        p = np.concatenate([self.attribute("POSITION"), np.ones((len(w), 1))], 1).astype(np.float64)
        return np.einsum("vk,vkij,vj->vi", w, joints[which], p)[:, :3]


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory):
    mesh = tube()
    v, anchors, weights = graph_of(mesh, 20)
    rotations, translations = motion(v, 12)
    times = np.linspace(3.0, 3.4, 12)
    path = tmp_path_factory.mktemp("gltf") / "capture.glb"
    summary = write_capture(path, mesh, anchors, weights, v, times, rotations, translations)
    return path, summary, mesh, anchors, weights, v, times, rotations, translations


def test_skin_gives_the_deformation_of_the_graph_at_every_key_frame(capture) -> None:
    path, summary, mesh, anchors, weights, v, times, rotations, translations = capture
    reader = Reader(path)
    assert np.allclose(reader.times, times - times[0], atol=1e-6)
    for frame in range(len(times)):
        wanted = warp(mesh.vertices, anchors, weights, v, rotations[frame], translations[frame]) @ AXES.T
        assert np.abs(reader.skinned(frame) - wanted).max() < TOLERANCE_M
    moved = np.abs(reader.skinned(0) - reader.skinned(11)).max()
    assert moved > 0.1  # the test moves something
    assert np.abs(reader.skinned(None) - reader.skinned(0)).max() < TOLERANCE_M  # at rest: the first key frame
    assert (summary.key_frames, summary.joints, summary.vertices, summary.faces) == (12, 20, 384, len(mesh.faces))
    assert summary.bytes == path.stat().st_size and summary.duration_s == pytest.approx(0.4)


def test_neighbouring_quaternions_do_not_flip(capture) -> None:
    path, *_ = capture
    reader = Reader(path)
    animation = reader.gltf.animations[0]
    rotations = [c for c in animation.channels if c.target.path == "rotation"]
    assert len(rotations) == 20
    negative = 0
    for channel in rotations:
        q = reader.array(animation.samplers[channel.sampler].output).astype(np.float64)
        assert np.allclose(np.linalg.norm(q, axis=1), 1, atol=1e-6)
        assert (np.sum(q[1:] * q[:-1], axis=1) > 0).all()
        negative += int((q[:, 3] < 0).any())
    assert negative == 20  # more than a whole turn cannot be continuous with w >= 0


def test_half_way_between_key_frames_is_between(tmp_path: Path) -> None:
    """A player's slerp between two key frames follows the true turn, not the long way round."""
    angles = np.linspace(0, 4 * np.pi, 9)
    truth = Rotation.from_rotvec(np.outer(angles, [0, 0, 1]))
    q = continuous_quaternions(quaternion_from_matrix(truth.as_matrix()))
    middle = q[1:] + q[:-1]
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    wanted = Rotation.from_rotvec(np.outer((angles[1:] + angles[:-1]) / 2, [0, 0, 1]))
    assert (Rotation.from_quat(middle).inv() * wanted).magnitude().max() < 1e-9


def test_attributes(capture) -> None:
    path, _, mesh, *_ = capture
    reader = Reader(path)
    assert np.array_equal(reader.attribute("POSITION"), mesh.vertices)
    assert np.abs(reader.attribute("NORMAL") - mesh.normals).max() < 1e-6
    linear = reader.attribute("COLOR_0")[:, :3] / 65535.0
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.array_equal(np.round(srgb * 255).astype(np.uint8), mesh.colours)
    assert (reader.attribute("COLOR_0")[:, 3] == 65535).all()
    assert np.array_equal(reader.array(reader.primitive.indices).reshape(-1, 3), mesh.faces)
    w = reader.attribute("WEIGHTS_0")
    assert np.abs(w.astype(np.float64).sum(1) - 1).max() < 1.5e-7
    for accessor in (reader.gltf.accessors[i] for i in range(len(reader.gltf.accessors))):
        assert len(accessor.min) == len(accessor.max) == _WIDTHS[accessor.type]
        assert (accessor.byteOffset or 0) % 4 == 0 and reader.gltf.bufferViews[accessor.bufferView].byteOffset % 4 == 0
    position = reader.gltf.accessors[reader.primitive.attributes.POSITION]
    assert np.array_equal(np.float32(position.min), mesh.vertices.min(0))


def test_trimesh_loads_it(capture) -> None:
    path, _, mesh, *_ = capture
    scene = trimesh.load_scene(path)
    (geometry,) = scene.geometry.values()
    assert np.allclose(geometry.vertices, mesh.vertices, atol=1e-6)
    assert np.array_equal(geometry.faces, mesh.faces)


def test_mesh_without_normals_and_colours(tmp_path: Path, capture) -> None:
    _, _, mesh, anchors, weights, v, times, rotations, translations = capture
    bare = Mesh(mesh.vertices, mesh.faces)
    write_capture(tmp_path / "b.glb", bare, anchors, weights, v, times, rotations, translations)
    reader = Reader(tmp_path / "b.glb")
    computed = reader.attribute("NORMAL")
    assert np.abs(np.linalg.norm(computed, axis=1) - 1).max() < 1e-6
    inside = slice(32, -32)  # the open ends of the tube see faces on one side only
    assert (np.sum(computed * mesh.normals, axis=1)[inside] > 0.98).all()
    assert len(np.unique(reader.attribute("COLOR_0"), axis=0)) == 1


def test_normals_of_a_sphere() -> None:
    sphere = trimesh.creation.icosphere(4)
    vertices = np.concatenate([sphere.vertices, [[9.0, 9, 9]]])  # and one vertex that no face uses
    normals = vertex_normals(vertices, sphere.faces)
    assert (np.sum(normals[:-1] * sphere.vertices, axis=1) > 0.9999).all()
    assert normals[-1].tolist() == [0, 0, 1]


def test_odd_influences(tmp_path: Path, capture) -> None:
    """Unused and repeated anchors, weights that do not sum to one, and vertices without any."""
    _, _, mesh, anchors, weights, v, times, rotations, translations = capture
    anchors, weights = anchors.copy(), weights.copy() * np.float32(0.7)
    anchors[:100, 2:] = -1
    anchors[100:200, 1] = anchors[100:200, 0]
    weights[200:210] = 0
    anchors[210:220] = -1
    summary = write_capture(tmp_path / "o.glb", mesh, anchors, weights, v, times, rotations, translations)
    assert summary.unanchored == 20
    used = np.where(anchors < 0, 0, weights)
    nearest = np.argmin(np.linalg.norm(mesh.vertices[:, None] - v[None], axis=2), axis=1)
    loose = used.sum(1) == 0
    used[loose], anchors[loose, 0] = (1, 0, 0, 0), nearest[loose]
    reader = Reader(tmp_path / "o.glb")
    wanted = warp(mesh.vertices, np.maximum(anchors, 0), used, v, rotations[7], translations[7]) @ AXES.T
    assert np.abs(reader.skinned(7) - wanted).max() < TOLERANCE_M
    joints, w = reader.attribute("JOINTS_0"), reader.attribute("WEIGHTS_0")
    assert (joints[w == 0] == 0).all()
    for row, ww in zip(joints, w, strict=True):
        named = row[ww > 0]
        assert len(set(named.tolist())) == len(named)


def test_quaternions_are_taken_too(tmp_path: Path, capture) -> None:
    _, _, mesh, anchors, weights, v, *_ = capture
    rotations, translations = motion(v, 10)
    q = 3 * quaternion_from_matrix(rotations)
    write_capture(tmp_path / "l.glb", mesh, anchors, weights, v, np.arange(10) / 30, q, translations)
    wanted = warp(mesh.vertices, anchors, weights, v, rotations[9], translations[9]) @ AXES.T
    assert np.abs(Reader(tmp_path / "l.glb").skinned(9) - wanted).max() < TOLERANCE_M


def test_more_than_65535_vertices_use_long_indices(tmp_path: Path) -> None:
    mesh = tube(rows=700, columns=100)
    v, anchors, weights = graph_of(mesh, 8)
    rotations, translations = motion(v, 2)
    write_capture(tmp_path / "big.glb", mesh, anchors, weights, v, np.arange(2.0), rotations, translations)
    reader = Reader(tmp_path / "big.glb")
    assert reader.gltf.accessors[reader.primitive.indices].componentType == pygltflib.UNSIGNED_INT
    assert np.array_equal(reader.array(reader.primitive.indices).reshape(-1, 3), mesh.faces)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("anchors", lambda a: a + 10, "bones must lie in -1 to 19, got 10 to 29"),
        ("weights", lambda w: w * np.nan, "weights must not be negative"),
        ("times", lambda t: t[::-1], "increasing times"),
        ("times", lambda t: t * 0 + np.arange(12) * 1e-6 + [0, *[1e7] * 11], "closer together than a file of"),
        ("times", lambda t: t[:0], "increasing times, got 0 of them"),
        ("times", lambda t: t[:5], r"rotations_xyzw must have shape \(5, 20, 4\), got \(12, 20, 4\)"),
        ("rotations", lambda r: r[:, :7], r"rotations_xyzw must have shape"),
        ("rotations", lambda r: quaternion_from_matrix(r) * np.nan, "rotations_xyzw hold values that are not finite"),
        ("rotations", lambda r: quaternion_from_matrix(r) * 0, "the quaternion of node_0 in frame 0 has no length"),
        ("translations", lambda t: t + np.inf, "positions_m hold values that are not finite"),
        ("mesh", lambda m: Mesh(m.vertices, m.faces[:0]), "no faces"),
    ],
)
def test_bad_input_is_refused_before_a_file_is_made(tmp_path: Path, capture, name: str, change, message: str) -> None:
    names = ("mesh", "anchors", "weights", "v", "times", "rotations", "translations")
    values = dict(zip(names, capture[2:], strict=True))
    values[name] = change(values[name])
    with np.errstate(invalid="ignore"), pytest.raises(InputError, match=message):
        write_capture(tmp_path / "no.glb", *values.values())
    assert os.listdir(tmp_path) == []


def test_what_needs_a_node_above_or_a_rest_pose_is_refused(tmp_path: Path, capture) -> None:
    _, _, mesh, anchors, weights, v, times, rotations, translations = capture
    skin = SkinnedMesh(mesh, anchors, weights, unturned_bones(v))
    t_ns = np.round(times * 1e9).astype(np.int64)
    animation = Animation(t_ns, quaternion_from_matrix(rotations), v + translations)
    with pytest.raises(InputError, match="no model was recorded"):
        write_animated_gltf(tmp_path / "no.glb", "capture", [])
    with pytest.raises(InputError, match="several models or free bones need a node above them"):
        write_animated_gltf(tmp_path / "no.glb", "capture", [GltfSegment(skin, animation)])
    placing = Placing("above", np.eye(4))
    with pytest.raises(InputError, match="segments must follow each other in time"):
        write_animated_gltf(tmp_path / "no.glb", "capture", 2 * [GltfSegment(skin, animation)], placing)
    chain = dataclasses.replace(skin, parents=np.arange(-1, 19, dtype=np.int32))
    rooted = dataclasses.replace(animation, positions_m=animation.positions_m[:, :1])
    with pytest.raises(InputError, match=r"a skeleton of 20 bones needs rest_m of shape \(20, 3\)"):
        write_animated_gltf(tmp_path / "no.glb", "capture", [GltfSegment(chain, rooted)])
    assert os.listdir(tmp_path) == []


def test_linear_colours_reference() -> None:
    got = linear_colours_u16(np.array([[0, 10, 128], [188, 255, 255]], np.uint8))
    assert got[:, :3].tolist() == [[0, 199, 14146], [32957, 65535, 65535]]


def test_khronos_validator(capture) -> None:
    issues = json.loads(khronos_issues(capture[0]))
    problems = [m for m in issues["messages"] if m["severity"] < 2]  # errors and warnings
    assert issues["numErrors"] == issues["numWarnings"] == 0, problems[:5]
