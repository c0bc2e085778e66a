"""Contact sheets show what is nearest, from where the viewer stands."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh

from bodystream.errors import InputError
from bodystream.sinks.sheet import View, draw_mesh, write_sheet
from bodystream.types import Mesh

RED, GREEN = (250, 20, 20), (20, 250, 20)
PAPER = (20, 22, 26)


def balls() -> Mesh:
    """A red one at -z, a green one behind it at +z and a little to the right of who looks along +z (at -x)."""
    one = trimesh.creation.icosphere(2, 0.3)
    red, green = np.asarray(one.vertices) + (0, 0, -0.6), np.asarray(one.vertices) + (-0.25, 0, 0.6)
    colours = np.repeat(np.array([RED, GREEN], np.uint8), len(red), axis=0)
    faces = np.concatenate([one.faces, np.asarray(one.faces) + len(red)]).astype(np.int32)
    return Mesh(np.concatenate([red, green]).astype(np.float32), faces, colours=colours)


def test_what_is_near_hides_what_is_behind_it() -> None:
    picture = draw_mesh(balls(), View(np.zeros(3), 0.0, 1.0), 100)
    assert picture.shape == (118, 100, 3) and picture.dtype == np.uint8
    middle, beside = picture[50, 50], picture[50, 70]
    assert middle[0] > 2 * middle[1], "the red ball is before the green one"
    assert beside[1] > 2 * beside[0], "of which a part is seen to the right"
    assert tuple(picture[50, 25]) == PAPER
    behind = draw_mesh(balls(), View(np.zeros(3), np.pi, 1.0), 100)
    assert behind[50, 40][1] > 2 * behind[50, 40][0], "from the other side the green one is nearer, to the left"


def test_up_is_up_and_labels_are_seen() -> None:
    mesh = balls()
    high = Mesh(mesh.vertices + np.float32([0, 0.5, 0]), mesh.faces, colours=mesh.colours)
    plain = draw_mesh(high, View(np.zeros(3), 0.0, 1.0), 100)
    rows = np.flatnonzero((plain[:100] != PAPER).any(axis=(1, 2)))
    assert 5 < rows.min() < 15 and rows.max() < 45
    told, loud = (draw_mesh(high, View(np.zeros(3), 0.0, 1.0), 100, "1.25 s", alarm) for alarm in (False, True))
    assert (plain[100:] == PAPER).all() and (told[100:] != PAPER).any()
    assert loud[100:, :, 0].max() > loud[100:, :, 2].max() + 50, "in a colour that is seen"


def test_a_sheet_is_filled_row_by_row(tmp_path: Path) -> None:
    pictures = [np.full((20, 10, 3), 10 * number, np.uint8) for number in range(1, 6)]
    size = write_sheet(tmp_path / "new" / "sheet.png", pictures, columns=3)
    assert (tmp_path / "new" / "sheet.png").stat().st_size == size
    seen = cv2.imread(str(tmp_path / "new" / "sheet.png"))
    assert seen is not None and seen.shape == (40, 30, 3)
    assert seen[30, 15, 0] == 50 and tuple(seen[30, 25][::-1]) == PAPER
    with pytest.raises(InputError, match=r"sheet.png: there is no picture"):
        write_sheet(tmp_path / "sheet.png", [])
