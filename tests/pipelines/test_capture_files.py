"""What a capture writes is what it showed: both meshes, and the animation played as a viewer plays it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from pipeline_frames import empty, frames, new_capture
from pygltflib import GLTF2
from scipy.spatial.transform import Rotation

from bodystream.errors import InputError
from bodystream.pipelines.capture import Capture
from bodystream.pipelines.outputs import CaptureFiles, prepare_folder
from bodystream.types import Array

_NUMBERS = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
_WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}


def record(capture: Capture, files: CaptureFiles, first: int, end: int, gone: tuple[int, ...] = ()) -> None:
    for frame in frames()[first:end]:
        files.add(capture.step(empty(frame) if frame.index in gone else frame), capture)


def played(path: Path) -> tuple[Array, Array]:
    """Key times (T,) [s] and vertices (T, V, 3) of the file's animation, in its own axes, in float64."""
    gltf = GLTF2().load_binary(str(path))
    assert gltf is not None
    blob = gltf.binary_blob()
    assert blob is not None

    def array(index: int) -> Array:
        accessor = gltf.accessors[index]
        view = gltf.bufferViews[accessor.bufferView]
        width = _WIDTHS[accessor.type]
        start = (view.byteOffset or 0) + (accessor.byteOffset or 0)
        flat = np.frombuffer(blob, _NUMBERS[accessor.componentType], accessor.count * width, start)
        return flat.reshape(accessor.count, width)

    def matrices(rotations: Array, translations: Array) -> Array:
        out = np.tile(np.eye(4), (len(rotations), 1, 1))
        out[:, :3, :3] = Rotation.from_quat(rotations).as_matrix()
        out[:, :3, 3] = translations
        return out

    animation, skin = gltf.animations[0], gltf.skins[0]
    times = array(animation.samplers[0].input)[:, 0]
    tracks = {
        (channel.target.node, channel.target.path): array(animation.samplers[channel.sampler].output)
        for channel in animation.channels
    }
    root = gltf.nodes[gltf.scenes[0].nodes[0]]
    base = matrices(np.array([root.rotation or [0, 0, 0, 1]], float), np.array([root.translation or [0, 0, 0]], float))
    joints = np.stack([matrices(tracks[j, "rotation"], tracks[j, "translation"]) for j in skin.joints], axis=1)
    inverse_bind = array(skin.inverseBindMatrices).reshape(-1, 4, 4).swapaxes(1, 2).astype(float)
    moving = base @ joints @ inverse_bind
    attributes = gltf.meshes[0].primitives[0].attributes
    which, weight = array(attributes.JOINTS_0), array(attributes.WEIGHTS_0).astype(float)
    if array(attributes.WEIGHTS_0).dtype != np.float32:
        weight /= np.iinfo(array(attributes.WEIGHTS_0).dtype).max
    rest = array(attributes.POSITION).astype(float)
    rest = np.concatenate([rest, np.ones((len(rest), 1))], axis=1)
    return times, np.stack([np.einsum("vk,vkij,vj->vi", weight, m[which], rest)[:, :3] for m in moving])


def test_files_hold_what_was_captured(tmp_path: Path) -> None:
    capture, files = new_capture(), CaptureFiles(tmp_path / "a" / "out")
    try:
        record(capture, files, 0, 10, gone=(4, 5))
        written = files.write(capture)
        surface, live = capture.surface, capture.live_mesh()
        assert surface is not None and live is not None
        canonical = surface.download()
    finally:
        capture.close()
    assert [path.name for path in written.paths] == ["canonical.ply", "live.ply", "capture.glb"]
    assert sorted((tmp_path / "a" / "out").iterdir()) == sorted(written.paths)
    for path, mesh in zip(written.paths, (canonical, live), strict=False):
        read = trimesh.load(path, process=False)
        assert isinstance(read, trimesh.Trimesh)
        np.testing.assert_allclose(read.vertices, mesh.vertices, atol=1e-6)
        np.testing.assert_array_equal(read.faces, mesh.faces)
        np.testing.assert_array_equal(np.asarray(read.visual.vertex_colors)[:, :3], mesh.colours)  # type: ignore[union-attr]
    times, vertices = played(written.paths[2])
    # The two frames without a person have no key; the time between them stays.
    expected = [frames()[i].t_ns * 1e-9 - frames()[0].t_ns * 1e-9 for i in (0, 1, 2, 3, 6, 7, 8, 9)]
    np.testing.assert_allclose(times, expected, atol=1e-4)
    turned = live.vertices * [1, -1, -1]  # camera axes (y down, z forward) to glTF's (y up, z backward)
    np.testing.assert_allclose(vertices[-1], turned, atol=2e-4)
    assert np.abs(vertices[0] - vertices[-1]).max() > 0.01, "it moves"
    assert written.notes == ()


def test_nothing_captured_is_said_and_writes_nothing(tmp_path: Path) -> None:
    capture, files = new_capture(), CaptureFiles(tmp_path / "out")
    try:
        with pytest.raises(InputError, match="nothing was captured"):
            files.write(capture)
        record(capture, files, 0, 3, gone=(0, 1, 2))
        with pytest.raises(InputError, match="nothing was captured"):
            files.write(capture)
    finally:
        capture.close()
    assert list((tmp_path / "out").iterdir()) == []


def test_a_restart_keeps_the_last_model_and_says_so(tmp_path: Path) -> None:
    capture, files = new_capture(), CaptureFiles(tmp_path / "out")
    try:
        record(capture, files, 0, 7)
        capture.reset()
        record(capture, files, 7, 12)
        assert capture.restart_count == 1
        written = files.write(capture)
    finally:
        capture.close()
    assert any("started anew 1 time" in note for note in written.notes)
    times, vertices = played(written.paths[2])
    assert len(times) == 5 and np.isfinite(vertices).all()


def test_writing_again_replaces_whole_files(tmp_path: Path) -> None:
    capture, files = new_capture(), CaptureFiles(tmp_path / "out")
    try:
        record(capture, files, 0, 3)
        files.write(capture)
        record(capture, files, 3, 6)
        written = files.write(capture)
    finally:
        capture.close()
    assert len(played(written.paths[2])[0]) == 6
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_folders_that_cannot_be_written_are_refused_before_the_capture(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="--out: cannot write to the folder .*choose another"):
            CaptureFiles(path)
    assert (tmp_path / "file").read_text() == "kept"
    prepare_folder(tmp_path / "new" / "deep", "--report")
    assert list((tmp_path / "new" / "deep").iterdir()) == [], "the trial leaves nothing behind"


def test_a_frame_whose_time_stands_still_has_no_key(tmp_path: Path) -> None:
    capture, files = new_capture(), CaptureFiles(tmp_path / "out")
    try:
        record(capture, files, 0, 3)
        again = replace(frames()[3], t_ns=frames()[2].t_ns)
        files.add(capture.step(again), capture)
        written = files.write(capture)
    finally:
        capture.close()
    assert len(played(written.paths[2])[0]) == 3
    assert any("did not increase" in note for note in written.notes)
