"""The comparison with Open3D: what it says without the package, and that it fuses with it."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

from bodystream.errors import MissingDependencyError
from bodystream_bench.peers.open3d_fusion import Open3dFusion
from helpers.fusion_scenes import CAMERA, sphere_depth


def test_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(MissingDependencyError, match="pip install open3d"):
        Open3dFusion()


def test_meshes_a_sphere() -> None:
    if importlib.util.find_spec("open3d") is None:
        pytest.skip("open3d is not installed: `pip install open3d` to compare with it")
    peer = Open3dFusion(block_capacity=500)
    depth, mask = sphere_depth()
    images = peer.prepare(depth, np.full((*depth.shape, 3), 100, np.uint8), mask)
    for _ in range(3):
        peer.integrate(images, CAMERA, np.eye(4))
    vertices, faces = peer.extract()
    assert vertices > 500 and faces > 1000
