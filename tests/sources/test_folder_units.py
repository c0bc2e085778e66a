"""Wrong depth units are noticed, from how far the scene is and from the steps of the sensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bodystream.errors import InputError
from bodystream.sources.folder import FolderSource
from bodystream.sources.folder_config import FolderConfig
from bodystream.sources.layouts.tum import TUM_SCALE_M
from bodystream.sources.layouts.units import decide_scale, level_step, to_metres
from helpers.folder_takes import depth_mm, triangulated, write_plain, write_png

# focal length [px] x baseline [m], disparity steps per pixel
KINECT = (580.0 * 0.075, 8)
D435 = (385.0 * 0.050, 32)


@pytest.mark.parametrize("camera", [KINECT, D435])
@pytest.mark.parametrize("unit_m", [0.001, TUM_SCALE_M])
def test_level_step_is_the_closed_form(camera: tuple[float, int], unit_m: float) -> None:
    step = level_step(triangulated(*camera, unit_m))
    assert step is not None
    assert step / unit_m == pytest.approx(1.0 / (camera[0] * camera[1]), rel=0.05)


def test_level_step_is_silent_without_levels() -> None:
    assert level_step(depth_mm(0, (480, 640))) is None
    rng = np.random.default_rng(0)
    assert level_step(rng.integers(1000, 3000, (480, 640)).astype(np.uint16)) is None
    assert level_step(np.zeros((480, 640), np.uint16)) is None
    assert level_step(np.ones((480, 640), np.float32)) is None


@pytest.mark.parametrize("camera", [KINECT, D435])
@pytest.mark.parametrize("unit_m", [0.001, TUM_SCALE_M])
def test_right_unit_is_kept_silently(camera: tuple[float, int], unit_m: float) -> None:
    decision = decide_scale([triangulated(*camera, unit_m)], unit_m, None, "take")
    assert decision.scale_m == unit_m and decision.warning == ""


def test_millimetres_in_a_tum_folder_are_seen_from_the_steps_alone() -> None:
    raw = triangulated(*D435, 0.001)  # median 2.5 m; read as TUM it would be a plausible 0.5 m
    decision = decide_scale([raw], TUM_SCALE_M, None, "take")
    assert decision.scale_m == 0.001
    assert "wrong unit" in decision.warning and "?depth_scale_m=0.0002" in decision.warning


def test_implausible_median_alone_switches_when_one_unit_fits() -> None:
    raw = (depth_mm(0, (480, 640)) // 4).astype(np.uint16)  # 0.7 m in mm, 0.14 m as TUM; no sensor levels
    decision = decide_scale([raw], TUM_SCALE_M, None, "take")
    assert decision.scale_m == 0.001 and "wrong unit" in decision.warning


def test_several_fitting_units_are_the_users_choice() -> None:
    raw = np.full((48, 64), 15000, np.uint16)  # 15 m in mm, 3 m as TUM, 1.5 m at 100 micrometres
    with pytest.raises(InputError, match=r"pass .depth_scale_m= with one of 0.0002 \(median 3 m\), 0.0001"):
        decide_scale([raw], 0.001, None, "take")


def test_nothing_plausible_is_an_error() -> None:
    with pytest.raises(InputError, match="no usual unit"):
        decide_scale([np.full((48, 64), 3, np.uint16)], 0.001, None, "take")
    with pytest.raises(InputError, match="no usual unit"):
        decide_scale([np.full((48, 64), 1e6, np.float32)], 0.001, None, "take")


def test_float_depth_in_millimetres_is_noticed() -> None:
    decision = decide_scale([np.full((48, 64), 1500.0, np.float32)], 0.001, None, "take")
    assert decision.scale_m == 0.001 and "wrong unit" in decision.warning
    assert decide_scale([np.full((48, 64), 1.5, np.float32)], 0.001, None, "take").scale_m == 1.0


def test_given_unit_is_obeyed_with_a_warning() -> None:
    decision = decide_scale([depth_mm()], 0.001, 1.0, "take")
    assert decision.scale_m == 1.0 and "?depth_scale_m=1 was given" in decision.warning


def test_far_scene_with_an_alternative_is_mentioned() -> None:
    decision = decide_scale([np.full((48, 64), 7500, np.uint16)], 0.001, None, "take")
    assert decision.scale_m == 0.001 and "?depth_scale_m=0.0002 (1.5 m)" in decision.warning


def test_empty_frames_decide_nothing() -> None:
    assert decide_scale([np.zeros((48, 64), np.uint16)], 0.001, None, "take").scale_m == 0.001
    assert decide_scale([], 0.001, None, "take").warning == ""


def test_source_in_the_wrong_unit(tmp_path: Path) -> None:
    write_plain(tmp_path)
    for index in range(4):
        write_png(tmp_path / "depth" / f"{index:04d}.png", np.full((32, 48), 2, np.uint16))  # whole metres
    with pytest.raises(InputError, match="depth_scale_m="):
        FolderSource.open(tmp_path)
    source = FolderSource.open(tmp_path, FolderConfig(depth_scale_m=1.0))
    assert next(iter(source)).depth_m[20, 20] == 2.0 and source.counts.warnings == []


def test_to_metres_against_plain_loops() -> None:
    rng = np.random.default_rng(3)
    raw = rng.integers(0, 65536, (20, 30)).astype(np.uint16)
    raw[0, :3] = (0, 65535, 65534)
    got = to_metres(raw, 0.0002, 9.0)
    for value, metres in zip(raw.ravel().tolist(), got.ravel().tolist(), strict=True):
        wanted = 0.0 if value == 65535 or value * 0.0002 > 9.0 else value * 0.0002
        assert metres == pytest.approx(wanted, rel=1e-6)
    signed = to_metres(np.array([[-5, 5]], np.int16), 0.001)
    assert signed[0, 0] == 0 and signed[0, 1] == pytest.approx(0.005, rel=1e-6)
