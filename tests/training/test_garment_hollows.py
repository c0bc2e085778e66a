"""Who wears clothes has no mouth behind the lips: what learns from a surface takes it for outside."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from bodystream.avatar.take.canonical import BONES
from helpers.needs import needs

needs("torch", "pip install 'bodystream[train]'")

from bodystream_training.avatar.data.garments.hollows import hollow_faces  # noqa: E402
from bodystream_training.avatar.data.garments.patterns import OUTFITS  # noqa: E402
from bodystream_training.avatar.data.garments.wearer import Wearer  # noqa: E402
from bodystream_training.avatar.data.surface import QuerySurface  # noqa: E402


@pytest.fixture(scope="module")
def wearer() -> Wearer:
    return Wearer(1, 0, OUTFITS["shirt-and-shorts"].paint)


def test_a_hollow_is_told_from_what_is_seen() -> None:
    outside, inside = trimesh.creation.icosphere(3, 0.1), trimesh.creation.icosphere(2, 0.06)
    bowl = trimesh.creation.icosphere(3, 0.05)
    bowl.update_faces(bowl.triangles_center[:, 1] < 0.0)  # open above: one looks into it
    bowl.invert()
    inside.invert()
    bowl.apply_translation((0.3, 0.0, 0.0))
    body = trimesh.util.concatenate([outside, inside, bowl])
    found = hollow_faces(body.vertices, body.faces, np.ones(len(body.faces), bool))
    wanted = np.zeros(len(body.faces), bool)
    wanted[len(outside.faces) : len(outside.faces) + len(inside.faces)] = True
    np.testing.assert_array_equal(found, wanted)
    assert not hollow_faces(body.vertices, body.faces, ~wanted).any()


def test_a_body_has_no_mouth_behind_its_lips(wearer: Wearer) -> None:
    surface, every = wearer.canonical_surface, wearer.body.skin.mesh.faces
    face = surface[np.isin(wearer.main_bones, [BONES.index("head")])]
    # Through the middle of the face, from the chin up: how far behind the lips is it solid?
    ahead_m = face[np.abs(face[:, 0]) < 0.01, 2].min()
    heights = np.linspace(face[:, 1].min(), face[:, 1].max(), 60)
    rows = [(0.0, y, ahead_m + depth_m) for y in heights for depth_m in (0.03, 0.05, 0.07)]
    inside = [QuerySurface(surface, faces).nearest(np.array(rows)).inside for faces in (every, wearer.faces)]
    hollow = ~inside[0] & inside[1]
    assert hollow.sum() >= 10 and not (inside[0] & ~inside[1]).any()
    gone = len(every) - len(wearer.faces)
    assert 0.005 * len(every) < gone < 0.06 * len(every)
