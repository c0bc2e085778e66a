"""Bundles in zip files: read within bounds, never unpacked to a disk, and refused where they are not what they say."""

from __future__ import annotations

import json
import os
import stat
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bodystream.avatar.rig import load_rig
from bodystream.bundles import bundle as reading
from bodystream.bundles import find_bundle, open_bundle
from bodystream.errors import BundleError
from bodystream.pose.sampler import PoseSampler
from helpers.bundles import write_bundle, zip_bundle

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "walker", "test", {"net/weights.bin": CONTENT, "empty": b""}, rates=[1, 2])


class Rates(msgspec.Struct):
    rates: list[int]


@pytest.mark.parametrize("top", ["", "walker/", "another name/"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_file_is_the_same_bundle(folder: Path, tmp_path: Path, top: str, method: int) -> None:
    plain, zipped = open_bundle(folder), open_bundle(zip_bundle(folder, tmp_path / "any name.zip", top, method))
    assert zipped.manifest == plain.manifest
    for name in ("net/weights.bin", "empty"):
        assert zipped.read(name) == plain.read(name) == (folder / name).read_bytes()
    assert zipped.section(Rates) == plain.section(Rates) == Rates([1, 2])
    assert plain.path("empty") == folder / "empty"
    with pytest.raises(BundleError, match="is a zip file: unpack it"):
        zipped.path("empty")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["walker"]  # nothing was unpacked


def test_the_shipped_bundles_work_from_zip_files(tmp_path: Path) -> None:
    """The same answers, bit for bit."""
    for name in ("person", "pose"):
        zip_bundle(find_bundle(name).place, tmp_path / f"{name}.zip", method=zipfile.ZIP_STORED)
    rig, shipped = load_rig(open_bundle(tmp_path / "person.zip")), load_rig()
    np.testing.assert_array_equal(rig.mesh.vertices, shipped.mesh.vertices)
    sampler, known = PoseSampler(open_bundle(tmp_path / "pose.zip"), provider="cpu"), PoseSampler(provider="cpu")
    observation = np.random.default_rng(0).normal(size=(3, sampler.features.token_size)).astype(np.float32)
    np.testing.assert_array_equal(sampler.step(observation).vectors, known.step(observation).vectors)


def test_it_is_found_by_name(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "there"
    there.mkdir()
    zip_bundle(folder, there / "walker.zip")
    zip_bundle(folder, there / "runner.zip")
    monkeypatch.setenv("BODYSTREAM_BUNDLES", str(there))
    assert find_bundle("walker").place == there / "walker.zip"
    with pytest.raises(BundleError, match=r"runner\.zip holds the bundle 'walker'"):
        find_bundle("runner")


def rewritten(folder: Path, target: Path, change) -> Path:
    """The zip with its list of (member, content) changed."""
    with zipfile.ZipFile(zip_bundle(folder, target)) as archive:
        members = [(zipfile.ZipInfo(name), archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in change(members):
            archive.writestr(member, content)
    return target


def with_member(name: str, content: bytes = b"x", mode: int = 0):
    def change(members):
        member = zipfile.ZipInfo(name)
        member.external_attr = mode << 16
        return [*(pair for pair in members if pair[0].filename != name), (member, content)]

    return change


def without(name: str):
    return lambda members: [pair for pair in members if pair[0].filename != name]


def test_links_are_no_files(folder: Path, tmp_path: Path) -> None:
    target = b"/etc/passwd"
    write_bundle(folder, "test", {"net/weights.bin": target})
    path = rewritten(folder, tmp_path / "a.zip", with_member("net/weights.bin", target, stat.S_IFLNK | 0o777))
    with pytest.raises(BundleError, match="'net/weights.bin' is a link or encrypted"):
        open_bundle(path)


@pytest.mark.parametrize("name", ["../outside.bin", "/etc/cron.d/x", "net/../../x", "c:x"])
def test_members_that_lead_out_are_refused(folder: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError, match=r"a\.zip is refused: its member .* leads out of it"):
        open_bundle(rewritten(folder, tmp_path / "a.zip", with_member(name)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda members: [p for p in members if p[0].filename != "net/weights.bin"],
            r"lacks net/weights\.bin: install",
        ),
        (lambda members: [p for p in members if p[0].filename != "manifest.json"], r"holds no bundle: manifest\.json"),
        (with_member("net/weights.bin", CONTENT + b"more"), "has 10244 bytes, its manifest says 10240"),
        (with_member("net/weights.bin", CONTENT[:-1] + b"?"), "has the sha256 .* damaged or edited"),
        (with_member("manifest.json", b"{" * 100), "not a bundle's manifest"),
        (with_member("manifest.json", b" " * (2 << 20)), "more than a manifest has"),
    ],
)
def test_what_is_not_whole_is_refused(folder: Path, tmp_path: Path, change, said: str) -> None:
    with pytest.raises(BundleError, match=said) as caught:
        open_bundle(rewritten(folder, tmp_path / "a.zip", change))
    assert "a.zip" in str(caught.value)


def test_two_bundles_in_one_file_are_refused(folder: Path, tmp_path: Path) -> None:
    manifest = (folder / "manifest.json").read_bytes()

    def change(members):
        return [(zipfile.ZipInfo(name), manifest) for name in ("a/manifest.json", "b/manifest.json")]

    with pytest.raises(BundleError, match=r"holds 2 bundles \(a/manifest\.json, b/manifest\.json\)"):
        open_bundle(rewritten(folder, tmp_path / "a.zip", change))


def test_a_member_is_not_unpacked_beyond_its_size(folder: Path, tmp_path: Path) -> None:
    """64 MiB that deflate to almost nothing, said to be as long as the manifest says."""
    path = rewritten(folder, tmp_path / "a.zip", with_member("net/weights.bin", bytes(64 << 20)))
    with pytest.raises(BundleError, match="has 67108864 bytes, its manifest says 10240"):
        open_bundle(path)
    content = bytearray(path.read_bytes())
    sizes = [at + offset for sign, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)) for at in places(content, sign)]
    told = [at for at in sizes if content[at : at + 4] == (64 << 20).to_bytes(4, "little")]
    assert len(told) == 2  # before the content, and in the list at the end
    for at in told:
        content[at : at + 4] = len(CONTENT).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"a\.zip"):
        open_bundle(path)


def places(content: bytearray, sign: bytes) -> list[int]:
    found, at = [], content.find(sign)
    while at >= 0:
        found.append(at)
        at = content.find(sign, at + 4)
    return found


def test_bounds_hold_for_the_file_and_what_it_lists(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zip_bundle(folder, tmp_path / "a.zip")
    monkeypatch.setattr(reading, "_MAX_ZIP_BYTES", 5000)
    with pytest.raises(BundleError, match=r"10240 bytes unpacked: unpack it to a folder"):
        open_bundle(path)
    monkeypatch.setattr(reading, "_MAX_ZIP_BYTES", 100)
    with pytest.raises(BundleError, match="is larger than 100 bytes"):
        open_bundle(path)
    path.write_bytes(b"PK\x01\x02" * 20_001)
    monkeypatch.undo()
    with pytest.raises(BundleError, match="far more than 10000 files"):
        open_bundle(path)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04" + bytes(100)])
def test_other_files_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.zip"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"mine\.zip.*(is empty|neither a bundle's folder nor a readable zip)"):
        open_bundle(path)


def test_strange_compression_and_passwords_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="neither stored nor deflated"):
        open_bundle(zip_bundle(folder, tmp_path / "a.zip", method=zipfile.ZIP_LZMA))
    path = zip_bundle(folder, tmp_path / "b.zip")
    content = bytearray(path.read_bytes())
    for sign, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        for at in places(content, sign):
            content[at + offset] |= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match="link or encrypted"):
        open_bundle(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_a_fifo_never_blocks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BundleError, match="no ordinary file"):
        open_bundle(tmp_path / "pipe")


def test_a_folder_that_changes_after_it_was_opened_is_told(folder: Path) -> None:
    bundle = open_bundle(folder)
    (folder / "net" / "weights.bin").write_bytes(CONTENT[::-1])
    with pytest.raises(BundleError, match=r"weights\.bin was changed since it was checked"):
        bundle.read("net/weights.bin")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": 2}, r"has the schema 2, this version of bodystream reads up to 1: .*pip install --upgrade"),
        ({"schema": 2, "files": "elsewhere"}, "has the schema 2"),  # whatever else is new in it
        ({"schema": 0}, "schema must be at least 1, got 0"),
        ({"schema": "new"}, "Expected `int`"),
        ({"version": 0}, "version must be at least 1, got 0"),
        ({"graphs": {"net.onnx": {"inputs": {}, "outputs": {}}}}, "'net.onnx', which is none of its files"),
        ({"graphs": {"empty": {"inputs": {}, "outputs": {}}}}, "1 to 64 inputs, got 0"),
        ({"graphs": {"empty": {"inputs": {"x": {"shape": [0]}}, "outputs": {"x": {"shape": [1]}}}}}, "of at least 1"),
        ({"graphs": {"empty": {"inputs": {"x": {"shape": [1 << 40]}}, "outputs": {"x": {"shape": [1]}}}}}, "at most"),
        ({"graphs": {"empty": {"inputs": {"x": {"shape": [1], "dtype": "int8"}}, "outputs": {}}}}, "int8"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_manifests_of_another_version_or_with_strange_graphs(
    folder: Path, tmp_path: Path, changes: dict, said: str, zipped: bool
) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(BundleError, match=said) as caught:
        open_bundle(zip_bundle(folder, tmp_path / "a.zip") if zipped else folder)
    assert "manifest.json" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"threads": 0}, "threads of graph 'empty' must be 1 to 256, got 0"),
        ({"tolerance": -1.0}, "tolerance of graph 'empty' must be"),
        ({"providers": {"cpu": 0.0}}, "provider 'cpu' must have a time in ms above 0"),
        ({"providers": {"CPU!": 1.0}}, "provider 'CPU!'"),
    ],
)
def test_what_a_graphs_section_may_say(folder: Path, changes: dict, said: str) -> None:
    good = {"inputs": {"x": {"shape": ["n", 3]}}, "outputs": {"y": {"shape": [1]}}}
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"graphs": {"empty": good}}))
    assert open_bundle(folder).manifest.graphs["empty"].open_names() == ["n"]
    path.write_text(json.dumps(manifest | {"graphs": {"empty": good | changes}}))
    with pytest.raises(BundleError, match=said):
        open_bundle(folder)
