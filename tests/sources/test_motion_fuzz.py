"""Every parser of motion data: mutated inputs are read or refused, soon and small."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from test_motion_asf_amc import AMC, ASF

from bodystream.sources.motion.amass import read_amass
from bodystream.sources.motion.archives import unpacked
from bodystream.sources.motion.asf_amc import parse_amc, parse_asf
from bodystream.sources.motion.bvh import parse_bvh
from bodystream.sources.motion.canonical import TakeFacts, canonical_clip
from bodystream.sources.motion.catalogue import index_rows
from bodystream.sources.motion.numerals import decoded
from helpers.fuzzing import fuzz, fuzz_file
from helpers.motion_files import rig_file

FACTS = TakeFacts("take")


def bvh_seeds() -> list[bytes]:
    texts = [rig_file(rig, frames=2).text() for rig in ("mixamo", "daz")]
    return [text.encode() for text in (*texts, texts[0].replace("Frames: 2", "Frames:"), texts[1].replace(".", ","))]


def test_fuzz_bvh() -> None:
    fuzz(lambda data: parse_bvh(decoded(data), "fuzzed").motion(), bvh_seeds())


def test_fuzz_canonical() -> None:
    def read(data: bytes) -> None:
        clip = canonical_clip(parse_bvh(decoded(data), "fuzzed").motion(), FACTS, [])
        assert np.isfinite(clip.root_positions_m).all()
        assert np.isfinite(clip.rotations_xyzw).all()

    fuzz(read, bvh_seeds(), share=0.4)


def test_fuzz_asf() -> None:
    fuzz(lambda data: parse_amc(AMC, parse_asf(decoded(data), "fuzzed.asf"), "a.amc"), [ASF.encode()])


def test_fuzz_amc() -> None:
    skeleton = parse_asf(ASF, "a.asf")
    fuzz(lambda data: parse_amc(decoded(data), skeleton, "fuzzed.amc"), [AMC.encode()])


def npz(compressed: bool, **changes: np.ndarray) -> bytes:
    arrays = {
        "poses": np.random.default_rng(0).normal(0.0, 0.2, (2, 66)).astype(np.float32),
        "trans": np.zeros((2, 3)),
        "betas": np.zeros(4),
        "mocap_framerate": np.array(60.0),
        "labels": np.array({"a": 1}, dtype=object),
    }
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **(arrays | changes))
    return buffer.getvalue()


def test_fuzz_amass(tmp_path: Path) -> None:
    seeds = [npz(False), npz(True), npz(False, poses=np.zeros((2, 22, 3), ">f2"))]
    fuzz_file(lambda path: read_amass(path, FACTS, warnings=[]), seeds, tmp_path / "take.npz")


def test_fuzz_index(tmp_path: Path) -> None:
    header = "subject,clip,fps,unit_m,tpose_first,origin,description\n"
    table = header + '60,60_01,30,0.011,1,daz,"salsa, slow"\n02,02_01,,,,,\n'
    seeds = [table.encode(), table.replace(",", ";").encode()]
    fuzz_file(lambda path: index_rows(path.parent), seeds, tmp_path / "index.csv")


def test_fuzz_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BODYSTREAM_CACHE", str(tmp_path / "cache"))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as tar:
        for name in ("a/one.bvh", "two.amc"):
            info = tarfile.TarInfo(name)
            info.size = 9
            tar.addfile(info, io.BytesIO(b"HIERARCHY"))
    fuzz_file(unpacked, [buffer.getvalue()], tmp_path / "x.tar.xz", share=0.5)
