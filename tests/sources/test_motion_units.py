"""Units that a file states and that make no person, with those that do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bodystream.errors import InputError
from bodystream.sources.motion.canonical import TakeFacts, canonical_clip
from bodystream.sources.motion.units import metres_per_unit
from helpers.motion_files import rig_file

IN_METRES = canonical_clip(rig_file("mixamo").motion(), TakeFacts("take", metres_per_unit=0.01))


@pytest.mark.parametrize(
    ("unit", "metres"), [("centimetres", 0.01), ("millimetres", 0.001), ("metres", 1.0), ("inches", 0.0254)]
)
@pytest.mark.parametrize("stated_m", [0.0254, 0.0254 / 0.45, 1.0, 0.01])
def test_a_stated_unit_is_doubted_where_it_makes_no_person(unit: str, metres: float, stated_m: float) -> None:
    motion = rig_file("mixamo").motion()
    motion = replace(
        motion,
        offsets=motion.offsets * 0.01 / metres,
        root_positions=motion.root_positions * 0.01 / metres,
        metres_per_unit=stated_m,
    )
    warnings: list[str] = []
    clip = canonical_clip(motion, TakeFacts("take"), warnings)
    np.testing.assert_allclose(clip.skeleton.offsets_m, IN_METRES.skeleton.offsets_m, atol=1e-9)
    np.testing.assert_allclose(clip.root_positions_m, IN_METRES.root_positions_m, atol=1e-6)
    if stated_m == metres:
        assert not warnings
    else:
        assert "its own unit of length makes the head joint stand" in warnings[0]
        assert f"{unit} were taken" in warnings[0]
        assert "unit_m in an index.csv" in warnings[0]


@pytest.mark.parametrize("height", [0.7, 1.0, 1.5, 2.0])
def test_children_and_giants_are_believed(height: float) -> None:
    notes: list[str] = []
    assert metres_per_unit(height / 0.0254, 0.0254, None, "x", notes) == 0.0254
    assert not notes


def test_an_index_goes_before_the_file_and_is_told_of_what_it_makes() -> None:
    notes: list[str] = []
    assert metres_per_unit(150.0, 0.0254, 0.01, "x", notes) == 0.01
    assert not notes
    assert metres_per_unit(150.0, 0.01, 0.0254, "x", notes) == 0.0254
    assert "its unit_m of 0.0254 in the index.csv puts the head joint 3.81 m above the toes" in notes[0]
    # A table's rounded digits change nothing.
    assert metres_per_unit(26.0, 0.0254 / 0.45, 0.056444, "x", notes) == 0.0254 / 0.45


def test_a_stated_unit_and_no_other_that_fits() -> None:
    with pytest.raises(InputError, match=r"x: its skeleton is 500 units .* no person's size"):
        metres_per_unit(500.0, 1.0, None, "x", [])
