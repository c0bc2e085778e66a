"""Captures are read back as they were written: surfaces in every key frame, upright."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from bodystream.errors import InputError
from bodystream.geometry.skinning import unturned_bones
from bodystream.sinks.animated_gltf import GltfSegment, Placing, write_animated_gltf
from bodystream.sinks.animation import Animation
from bodystream.sources.captures import read_capture
from bodystream.types import Mesh, SkinnedMesh
from helpers.captured_body import CAMERA, write_captured_body


def test_the_surface_is_where_it_was_in_every_frame(tmp_path: Path) -> None:
    truth = write_captured_body(tmp_path)
    (model,) = read_capture(tmp_path)
    assert len(model) == 4
    np.testing.assert_allclose(model.t_s, 0.1 * np.arange(4), atol=1e-6)
    for frame, vertices in enumerate(truth):
        shown = model.mesh(frame)
        assert np.abs(shown.vertices - vertices).max() < 1e-4
        assert shown.colours is not None and np.abs(shown.colours.astype(int) - 120).max() <= 1
    assert np.ptp(truth[0], axis=0).argmax() == 1, "y is up"


def test_models_that_follow_each_other_are_told_apart(tmp_path: Path) -> None:
    segments = []
    for number in range(2):
        mesh = Mesh(np.eye(3, dtype=np.float32) + number, np.array([[0, 1, 2]], np.int32))
        skin = SkinnedMesh(
            mesh, np.zeros((3, 4), np.int32), np.tile(np.array([1, 0, 0, 0], np.float32), (3, 1)),
            unturned_bones(np.zeros((1, 3), np.float32)),
        )  # fmt: skip
        turns = np.tile(np.array([0, 0, 0, 1], np.float32), (2, 1, 1))
        t_ns = (10 * number + np.arange(2)) * 1_000_000_000
        segments.append(GltfSegment(skin, Animation(t_ns, turns, np.full((2, 1, 3), number, np.float32))))
    write_animated_gltf(
        tmp_path / "capture.glb", "capture", segments, Placing("camera_axes", np.diag([1.0, -1, -1, 1]))
    )
    models = read_capture(tmp_path)
    assert [model.t_s.tolist() for model in models] == [[0.0, 1.0], [10.0, 11.0]]
    for number, model in enumerate(models):
        wanted = (np.eye(3) + 2 * number) * (1.0, -1.0, -1.0)
        np.testing.assert_allclose(model.mesh(0).vertices, wanted, atol=1e-5)


def test_a_capture_in_parts_has_one_clock_and_no_parts_of_another(tmp_path: Path) -> None:
    """Each file's clock begins at 0; a part that a longer capture left in the folder stands on another floor."""
    write_captured_body(tmp_path / "later")
    write_captured_body(tmp_path)
    second = tmp_path / "capture-2.glb"
    (tmp_path / "later" / "capture.glb").rename(second)
    models = read_capture(tmp_path)
    np.testing.assert_allclose(np.concatenate([model.t_s for model in models]), 0.1 * np.arange(8), atol=1e-6)
    elsewhere = CAMERA.copy()
    elsewhere[1, 3] += 0.01
    write_captured_body(tmp_path / "other", camera=elsewhere)
    (tmp_path / "other" / "capture.glb").rename(second)
    with pytest.raises(InputError, match=r"capture-2.glb is of another capture than .*capture.glb: move it"):
        read_capture(tmp_path)


def test_what_is_no_capture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no capture.glb: give the folder"):
        read_capture(tmp_path)
    (tmp_path / "capture-20260101-000000.journal").write_bytes(b"")
    with pytest.raises(InputError, match="make it of capture-20260101-000000.journal with bodystream recover"):
        read_capture(tmp_path)
    write_captured_body(tmp_path)
    whole = (tmp_path / "capture.glb").read_bytes()
    size = struct.unpack_from("<I", whole, 12)[0]
    root = json.loads(whole[20 : 20 + size])

    def changed(**parts: object) -> None:
        text = json.dumps({**root, **parts}).encode()
        text += b" " * (-len(text) % 4)
        rest = whole[20 + size :]
        head = struct.pack("<4sIIII", b"glTF", 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A)
        (tmp_path / "capture.glb").write_bytes(head + text + rest)

    changed(skins=[{**root["skins"][0], "name": "body"}])
    with pytest.raises(InputError, match="is no capture, its surface hangs on no deformation graph"):
        read_capture(tmp_path)
    changed(animations=[])
    with pytest.raises(InputError, match="node 1 of its graph does not move"):
        read_capture(tmp_path)
    changed(nodes=[{k: v for k, v in node.items() if k != "skin"} for node in root["nodes"]])
    with pytest.raises(InputError, match="holds no skinned surface"):
        read_capture(tmp_path)
    animation = root["animations"][0]
    broken = {**animation, "channels": [{**animation["channels"][0], "sampler": 9999}]}
    changed(animations=[broken])
    with pytest.raises(InputError, match="names no sampler"):
        read_capture(tmp_path)
