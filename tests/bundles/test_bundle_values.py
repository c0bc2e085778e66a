"""What bundles hold is checked when it is loaded: whole, bounded, in range, finite; and anything else is told."""

from __future__ import annotations

import functools
import io
import json
import os
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from msgspec import to_builtins

from bodystream.avatar.rig import load_rig
from bodystream.bundles import find_bundle, load_npz, open_bundle
from bodystream.errors import BundleError, InputError
from bodystream.pose.features import FeatureConfig
from bodystream.pose.sampler import PoseSampler, sampler_signature
from bodystream.types import Array
from helpers.bundles import write_bundle
from helpers.fuzzing import fuzz, fuzz_file
from helpers.needs import needs

shipped = functools.cache(load_rig)


def small_body() -> dict[str, Array]:
    """Three vertices on the shipped skeleton."""
    body = shipped()
    return {
        "vertices": body.mesh.vertices[:3].copy(),
        "faces": np.array([[0, 1, 2]], np.int32),
        "joints": body.bind_positions_m.copy(),
        "parents": body.parents.copy(),
        "skin_joints": body.bones[:3].copy(),
        "skin_weights": body.weights[:3].copy(),
        "colours": body.mesh.colours[:3].copy(),
    }


def packed(arrays: dict[str, Array]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def with_value(name: str, index: tuple[int, ...], value: float, dtype: object = None) -> dict[str, Array]:
    arrays = small_body()
    if dtype is not None:
        arrays[name] = arrays[name].astype(dtype)  # type: ignore[call-overload]
    arrays[name][index] = value
    return arrays


def test_a_sound_body_is_read(tmp_path: Path) -> None:
    body = load_rig(open_bundle(write_bundle(tmp_path / "person", "skinned-body", {"rig.npz": packed(small_body())})))
    assert body.mesh.vertices.shape == (3, 3) and body.bones.dtype == np.int32


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (with_value("vertices", (0, 1), np.nan), "vertices must be finite"),
        (with_value("joints", (3, 2), np.inf), "joints must be finite"),
        (with_value("joints", (3, 2), 1e30, np.float64), "joints must be finite and at most 10"),
        (with_value("faces", (0, 2), 3), "faces must lie in 0 to 2, got 0 to 3"),
        (with_value("faces", (0, 2), -1), "faces must lie in"),
        (with_value("faces", (0, 2), 2**40, np.int64), "faces must lie in"),
        (with_value("skin_joints", (1, 0), 22), "skin_joints must lie in 0 to 21"),
        (with_value("skin_joints", (1, 0), 2**32, np.uint64), "skin_joints must lie in"),
        (with_value("parents", (0,), 0), "parents must begin with -1"),
        (with_value("parents", (4,), -1), "parents must begin with -1"),
        (with_value("parents", (4,), 9), "each parent must come before its children"),
        (with_value("skin_weights", (0, 0), 0.4), "each row must sum to one"),
        (with_value("skin_weights", (0, 0), -0.2), "skin_weights must not be negative"),
        (with_value("skin_weights", (0, 0), np.nan), "skin_weights must be finite"),
        (with_value("colours", (0, 0), 300, np.int64), "colours must lie in 0 to 255"),
        ({**small_body(), "colours": np.zeros((3, 3), "U3")}, "colours must hold whole numbers"),
        ({**small_body(), "vertices": np.zeros((3, 3), np.int32)}, "vertices must hold floating-point numbers"),
        ({**small_body(), "vertices": np.float32(1.0)}, "vertices must have shape"),
        ({**small_body(), "faces": np.zeros((0, 3), np.int32)}, "got 3 and 0"),
        ({k: v for k, v in small_body().items() if k != "faces"}, "lacks the arrays faces"),
    ],
)
def test_values_that_no_body_has_are_refused(tmp_path: Path, arrays: dict[str, Array], said: str) -> None:
    folder = write_bundle(tmp_path / "person", "skinned-body", {"rig.npz": packed(arrays)})
    with pytest.raises(BundleError, match=said) as caught:
        load_rig(open_bundle(folder))
    assert "rig.npz" in str(caught.value) and "install" in str(caught.value)


def test_a_network_that_answers_nan_is_refused_before_anybody_moves(tmp_path: Path) -> None:
    """The shipped graph with one weight that is not finite, and a manifest that agrees."""
    onnx = needs("onnx", "pip install 'bodystream[export]'")
    pose = find_bundle("pose")
    model = onnx.load(str(pose.path("sampler.onnx")))
    spoilt = next(t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.raw_data) > 64)
    spoilt.raw_data = struct.pack("<f", float("nan")) * (len(spoilt.raw_data) // 4)
    section = json.loads((pose.place / "manifest.json").read_text())
    said = {name: section[name] for name in ("history_s", "graphs")}
    folder = write_bundle(tmp_path / "pose", "pose-sampler", {"sampler.onnx": model.SerializeToString()}, **said)
    with pytest.raises(BundleError, match="not finite or out of range: train or export it again"):
        PoseSampler(open_bundle(folder))


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ([0.1] * 100, "at most 64 ages"), ([1e9], "at most 10 s"), ([-1.0], "ascending positive"), ("all", "history"),
        ([0.2, 0.1], "ascending positive"),
    ],
)  # fmt: skip
def test_a_history_that_no_network_has_is_refused(tmp_path: Path, history: object, said: str) -> None:
    folder = write_bundle(tmp_path / "pose", "pose-sampler", {"sampler.onnx": b"graph"}, history_s=history)
    with pytest.raises(BundleError, match=said):
        PoseSampler(open_bundle(folder))
    assert FeatureConfig().token_size == 55


def test_a_graph_that_is_none_is_told(tmp_path: Path) -> None:
    graphs = {"sampler.onnx": to_builtins(sampler_signature(FeatureConfig((0.1,)).token_size))}
    folder = write_bundle(
        tmp_path / "pose", "pose-sampler", {"sampler.onnx": b"no graph"}, history_s=[0.1], graphs=graphs
    )
    with pytest.raises(BundleError, match="is not a graph that onnxruntime"):
        PoseSampler(open_bundle(folder))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_what_is_no_file_is_never_opened(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "person", "skinned-body", {"rig.npz": b""})
    (folder / "rig.npz").unlink()
    os.mkfifo(folder / "rig.npz")
    with pytest.raises(BundleError, match="no ordinary file"):
        open_bundle(folder)
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")
    with pytest.raises(BundleError, match="no ordinary file"):
        open_bundle(folder)


def test_links_in_a_circle_and_impossible_names_are_told(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "person", "skinned-body", {"rig.npz": b"x"})
    (folder / "rig.npz").unlink()
    (folder / "rig.npz").symlink_to(folder / "rig.npz")
    with pytest.raises(BundleError, match="rig.npz"):
        open_bundle(folder)
    listed = [{"path": "a" * 5000, "sha256": "0" * 64, "bytes": 1}]
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "files": listed}))
    with pytest.raises(BundleError) as caught:
        open_bundle(folder)
    assert len(str(caught.value)) < 1500


def header(text: bytes, version: int = 1) -> bytes:
    length = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + text


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (b"\x93NUMPY\x02\x00" + (1 << 31).to_bytes(4, "little") + bytes(64), "header should have 2147483648 bytes"),
        (header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)"), "not a readable"),
        (header(b"{'descr': '<f4L', 'fortran_order': False, 'shape': (2L,)\\"), "not a readable"),
        (header(b"[" * 3000), "not a readable"),
        (header(b"{'descr': ('<f4', (100000,)), 'fortran_order': False, 'shape': (4,)}\n"), "should have"),
        (header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (True, 1.5)}\n"), "not a readable"),
        (header(b"{'descr': '|V0', 'fortran_order': False, 'shape': (1000000000000,)}\n"), "without a size"),
        (b"", "not a readable"),
    ],
)
def test_damaged_headers_of_arrays_are_told(tmp_path: Path, member: bytes, said: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", member)
    with pytest.raises(InputError, match=said):
        load_npz(tmp_path / "a.npz")


def test_archives_that_are_not_numpys_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    content = io.BytesIO()
    np.save(content, np.zeros(3))
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("a.npy", content.getvalue())
        with pytest.raises(InputError, match="compressed as numpy never does"):
            load_npz(path)
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a.npy", content.getvalue())
        archive.writestr("a.npy", content.getvalue())
    with pytest.raises(InputError, match="two arrays of one name"):
        load_npz(path)
    path.write_bytes(b"PK\x01\x02" * 20_001)
    with pytest.raises(InputError, match="far more than 10000 arrays"):
        load_npz(path)


def test_fuzz_manifests(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "person", "skinned-body", {"rig.npz": b"x"}, metrics={"error_mm": 3.5})
    fuzz_file(
        lambda path: open_bundle(path.parent), [(folder / "manifest.json").read_bytes()], folder / "manifest.json"
    )


def test_fuzz_arrays(tmp_path: Path) -> None:
    seeds = [packed({"a": np.arange(6.0), "b": np.ones((2, 2), np.int16)})]
    stream = io.BytesIO()
    np.savez_compressed(stream, a=np.arange(6.0), names=np.array(["pelvis"]))
    seeds.append(stream.getvalue())
    fuzz_file(lambda path: load_npz(path, 1 << 20), seeds, tmp_path / "a.npz")


def test_fuzz_values_of_a_body(tmp_path: Path) -> None:
    """Hashes agree, so that the mutated arrays themselves are read."""
    folder = tmp_path / "person"

    def read(content: bytes) -> None:
        body = load_rig(open_bundle(write_bundle(folder, "skinned-body", {"rig.npz": content})))
        assert np.isfinite(body.mesh.vertices).all()
        assert 0 <= body.mesh.faces.min() <= body.mesh.faces.max() < len(body.mesh.vertices)

    fuzz(read, [packed(small_body())])


def test_fuzz_folders_of_bundles(tmp_path: Path) -> None:
    """Any file of a bundle that was mutated is refused, by its hash or by the manifest, before it is used."""
    pose = find_bundle("pose")
    graph = pose.path("sampler.onnx").read_bytes()[:4096]
    section = json.loads((pose.place / "manifest.json").read_text())
    folder = write_bundle(tmp_path / "pose", "pose-sampler", {"sampler.onnx": graph}, history_s=section["history_s"])
    good = (folder / "manifest.json").read_bytes()

    def read(content: bytes) -> None:
        (folder / "sampler.onnx").write_bytes(content)
        if content != graph:
            with pytest.raises(BundleError, match="bytes, its manifest says|sha256"):
                open_bundle(folder)

    fuzz(read, [graph])
    (folder / "sampler.onnx").write_bytes(graph)
    fuzz_file(lambda path: open_bundle(path.parent), [good], folder / "manifest.json", share=0.5)
    shutil.rmtree(folder)
