"""Bundles are found by name, checked before use, and never take a reader out of their folder or beyond its bounds."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodystream.bundles import find_bundle, load_npz, locate, manifest, open_bundle, shipped_bundles
from bodystream.errors import BodystreamError, BundleError, InputError

CONTENT = b"some weights"


def described(name: str = "walker", **changes) -> dict:
    """A manifest as JSON has it."""
    file = {"path": "net/weights.bin", "sha256": hashlib.sha256(CONTENT).hexdigest(), "bytes": len(CONTENT)}
    good = {"name": name, "version": 2, "kind": "pose", "licence": "CC0-1.0", "provenance": {}, "files": [file]}
    return {**good, **changes}


def with_file(**changes) -> dict:
    good = described()
    return {**good, "files": [{**good["files"][0], **changes}]}


def write(folder: Path, description: dict | bytes) -> Path:
    (folder / "net").mkdir(parents=True)
    (folder / "net" / "weights.bin").write_bytes(CONTENT)
    content = description if isinstance(description, bytes) else json.dumps(description).encode()
    (folder / "manifest.json").write_bytes(content)
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that `BODYSTREAM_BUNDLES` names, after one that does not exist."""
    monkeypatch.setenv("BODYSTREAM_BUNDLES", os.pathsep.join([str(tmp_path / "absent"), str(tmp_path)]))
    return tmp_path


def test_what_is_shipped_is_whole_and_free() -> None:
    assert "person" in shipped_bundles()
    for name in shipped_bundles():
        bundle = find_bundle(name)
        assert bundle.manifest.name == name
        assert bundle.manifest.provenance
        listed = {"manifest.json", *(file.path for file in bundle.manifest.files)}
        there = {path.relative_to(bundle.place).as_posix() for path in bundle.place.rglob("*") if path.is_file()}
        assert there == listed


def test_found_by_the_environment(elsewhere: Path) -> None:
    write(elsewhere / "walker", described(metrics={"error_mm": 3.5}))
    bundle = find_bundle("walker")
    assert bundle.path("net/weights.bin").read_bytes() == CONTENT
    assert (bundle.manifest.version, bundle.manifest.metrics) == (2, {"error_mm": 3.5})
    with pytest.raises(BundleError, match=r"no file 'other\.bin', only net/weights\.bin"):
        bundle.path("other.bin")


def test_a_shipped_bundle_wins(elsewhere: Path, tmp_path_factory, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = tmp_path_factory.mktemp("shipped")
    monkeypatch.setattr(locate, "_SHIPPED", shipped)
    write(shipped / "walker", described(version=1))
    write(elsewhere / "walker", described(version=9))
    assert find_bundle("walker").manifest.version == 1


def test_one_that_is_nowhere_says_where_it_was_looked_for(elsewhere: Path) -> None:
    with pytest.raises(BundleError, match=r"no bundle 'runner'.*BODYSTREAM_BUNDLES") as caught:
        find_bundle("runner")
    assert str(elsewhere) in str(caught.value)


@pytest.mark.parametrize("name", ["../walker", "a/b", "", ".", "..", "Walker", "walker\n", "x" * 65, "a\0b"])
def test_names_are_names(name: str, elsewhere: Path) -> None:
    with pytest.raises(BundleError, match="must match"):
        find_bundle(name)


@pytest.mark.parametrize(
    ("description", "said"),
    [
        (b"", "is empty"),
        (b"[" * 100_000, "not a bundle's manifest"),
        (b"\xff\xfe", "not a bundle's manifest"),
        (b"{}", "missing required field"),
        (b" " * (2 << 20), "larger than 1 MiB"),
        (described(name="../walker"), "name must match"),
        (described(version="2"), "Expected `int`"),
        (described(files=[]), "1 to 1000 files"),
        (described(files=described()["files"] * 2), "listed twice"),
        (with_file(path="../../secret"), "must stay inside"),
        (with_file(path="/etc/passwd"), "must stay inside"),
        (with_file(path="net\\weights.bin"), "must stay inside"),
        (with_file(path="c:weights.bin"), "must stay inside"),
        (with_file(path=""), "must stay inside"),
        (with_file(path="."), "must stay inside"),
        (with_file(sha256="0" * 63), "64 lower-case"),
        (with_file(sha256="A" * 64), "64 lower-case"),
        (with_file(bytes=-1), "size of"),
        (with_file(bytes=1 << 60), "size of"),
    ],
)
def test_malformed_manifests_are_refused(tmp_path: Path, description: dict | bytes, said: str) -> None:
    folder = write(tmp_path / "walker", description)
    with pytest.raises(BundleError, match=said) as caught:
        open_bundle(folder)
    assert str(folder) in str(caught.value)


@given(content=st.binary(max_size=300))
def test_any_bytes_as_manifest_give_a_typed_error(tmp_path_factory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError):
        open_bundle(folder)


def test_damage_is_found(tmp_path: Path) -> None:
    folder = write(tmp_path / "walker", described())
    weights = folder / "net" / "weights.bin"
    open_bundle(folder)
    weights.write_bytes(b"same weights")
    with pytest.raises(BundleError, match=r"weights\.bin has the sha256 .* damaged or edited"):
        open_bundle(folder)
    weights.write_bytes(CONTENT[:-1])
    with pytest.raises(BundleError, match="has 11 bytes, its manifest says 12"):
        open_bundle(folder)
    weights.unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        open_bundle(folder)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "walker", described())
    (tmp_path / "outside.bin").write_bytes(CONTENT)
    weights = folder / "net" / "weights.bin"
    weights.unlink()
    weights.symlink_to(tmp_path / "outside.bin")
    with pytest.raises(BundleError, match="link to a place outside"):
        open_bundle(folder)


def test_a_folder_may_have_any_name_but_where_it_is_found_by_it(elsewhere: Path) -> None:
    folder = write(elsewhere / "runner", described())
    assert open_bundle(folder).manifest.name == "walker"
    with pytest.raises(BundleError, match="runner holds the bundle 'walker'"):
        find_bundle("runner")


def test_sha256_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(CONTENT)
    assert manifest.sha256_of(tmp_path / "a") == hashlib.sha256(CONTENT).hexdigest()


ARRAYS = {
    "vertices": np.arange(12, dtype=np.float32).reshape(4, 3),
    "faces": np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3)),
    "empty": np.zeros((0, 3), np.uint8),
    "scalar": np.float64(2.5),
    "names": np.array(["pelvis", "head"]),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back(tmp_path: Path, save) -> None:
    save(tmp_path / "a.npz", **ARRAYS)
    loaded = load_npz(tmp_path / "a.npz")
    assert loaded.keys() == ARRAYS.keys()
    for name, expected in ARRAYS.items():
        np.testing.assert_array_equal(loaded[name], expected, strict=True)
    loaded["vertices"][0] = 1.0  # own, writable memory


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_objects_are_never_loaded(tmp_path: Path) -> None:
    trace = tmp_path / "code-ran"
    np.savez(tmp_path / "a.npz", trap=np.array([Trap(trace)], dtype=object))
    with pytest.raises(InputError, match="holds Python objects"):
        load_npz(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Trap(trace)))
    with pytest.raises(InputError, match="not a readable"):
        load_npz(tmp_path / "b.npz")
    assert not trace.exists()


def test_sizes_are_bounded_before_anything_is_unpacked(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", zeros=np.zeros(50_000_000, np.uint8))
    assert (tmp_path / "bomb.npz").stat().st_size < 100_000
    with pytest.raises(InputError, match=r"take 50000128 bytes, at most 1000000"):
        load_npz(tmp_path / "bomb.npz", max_bytes=1_000_000)
    with pytest.raises(InputError, match="larger than 1000 bytes"):
        load_npz(tmp_path / "bomb.npz", max_bytes=1000)


@pytest.mark.parametrize("shape", ["(10000000000000,)", "(1000000, 1000000, 1000000)", "(-1,)", "(3,)", "(1,)"])
def test_a_header_that_lies_is_refused(tmp_path: Path, shape: str) -> None:
    """The array has two float32; whatever else its header claims is refused before memory is taken for it."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(8)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(InputError, match=r"array 'a' (should have|has the impossible shape)"):
        load_npz(tmp_path / "a.npz")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read \(No such file"):
        load_npz(tmp_path / "absent.npz")


@settings(max_examples=300)
@given(data=st.data())
def test_damaged_files_give_a_typed_error_or_the_arrays(tmp_path_factory, data: st.DataObject) -> None:
    stream = io.BytesIO()
    np.savez(stream, a=np.arange(6.0), b=np.ones(3, np.int16))
    content = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    path = tmp_path_factory.mktemp("fuzz") / "a.npz"
    path.write_bytes(content)
    try:
        loaded = load_npz(path, max_bytes=10_000)
    except BodystreamError as error:
        assert str(path) in str(error)
    else:
        assert sum(array.nbytes for array in loaded.values()) <= 10_000
