"""Windows of frames: where they lie, what they show, and that nothing is lost between the grids."""

from __future__ import annotations

import numpy as np
import pytest

from bodystream.correspondence.crops import CELL, Box, CropWindow, WindowKeeper, fit_window, guess_in, mask_box

SIZES = ((192, 256), (256, 192), (256, 320), (320, 256))


@pytest.mark.parametrize(
    ("box", "size", "downscale"),
    [
        (Box(220, 40, 400, 460), (192, 256), 2),  # somebody who stands
        (Box(60, 100, 540, 440), (256, 192), 2),  # who lies
        (Box(0, 0, 640, 480), (320, 256), 2),  # the whole frame
        (Box(300, 200, 340, 240), (192, 256), 2),
    ],
)
def test_the_window_around_a_box_is_upright_or_wide_and_holds_it(
    box: Box, size: tuple[int, int], downscale: int
) -> None:
    window = fit_window(box, (480, 640), SIZES, 2)
    assert (window.size, window.downscale) == (size, downscale)
    assert window.box.holds(box) and window.u % (CELL * downscale) == window.v % (CELL * downscale) == 0


def test_random_boxes_are_always_held_by_the_cheapest_window() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        height, width = rng.integers(30, 1100, 2)
        u, v = np.sort(rng.integers(0, width + 1, 2)), np.sort(rng.integers(0, height + 1, 2))
        box = Box(int(u[0]), int(v[0]), int(u[1]) + 1, int(v[1]) + 1).grown(0, (height, width))
        window = fit_window(box, (height, width), SIZES)
        assert window.box.holds(box)
        for size in SIZES:  # nothing finer could have held it
            for downscale in range(1, window.downscale):
                step = CELL * downscale
                first_u = -(-(box.u1 - downscale * size[0]) // step) * step
                first_v = -(-(box.v1 - downscale * size[1]) // step) * step
                assert first_u > box.u0 or first_v > box.v0


@pytest.mark.parametrize("downscale", [1, 2, 3])
@pytest.mark.parametrize(("u", "v"), [(0, 0), (-1, 2), (3, -2), (9, 9)])
def test_what_is_cut_comes_back_where_it_was(downscale: int, u: int, v: int) -> None:
    shape = (121, 143)
    window = CropWindow(u * CELL * downscale, v * CELL * downscale, (64, 32), downscale)
    cells = np.arange(1, 1 + (121 // downscale) * (143 // downscale), dtype=np.float32)
    squares = cells.reshape(121 // downscale, 143 // downscale)
    frame = np.zeros(shape, np.float32)
    whole = squares.repeat(downscale, axis=0).repeat(downscale, axis=1)
    frame[: whole.shape[0], : whole.shape[1]] = whole
    out = np.zeros(tuple(-(-n // downscale) for n in shape), np.float32)
    for averaged in (False, True):
        cut = window.cut(frame, averaged=averaged)
        assert cut.shape == (32, 64)
        window.put(cut, out)
        box, k = window.box, downscale
        inside = np.zeros_like(out, bool)
        inside[max(0, box.v0 // k) : max(0, box.v1 // k), max(0, box.u0 // k) : max(0, box.u1 // k)] = True
        inside[squares.shape[0] :], inside[:, squares.shape[1] :] = False, False
        wanted = np.zeros_like(out)
        wanted[: squares.shape[0], : squares.shape[1]] = squares
        np.testing.assert_allclose(out, np.where(inside, wanted, 0), rtol=1e-6)


def test_a_colour_is_the_mean_of_its_square() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    cut = CropWindow(0, 0, (32, 32), 2).cut(frame, averaged=True)
    wanted = frame.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(cut - wanted).max() <= 0.5


@pytest.mark.parametrize("cell_px", [1, 5, 8, 16])
@pytest.mark.parametrize("downscale", [1, 2, 3])
def test_a_guess_is_taken_at_the_middle_of_each_cell(cell_px: int, downscale: int) -> None:
    rows, columns = -(-480 // cell_px), -(-640 // cell_px)
    u = (np.arange(columns) + 0.5) * cell_px - 0.5
    v = ((np.arange(rows) + 0.5) * cell_px - 0.5)[:, None]
    guess = np.stack([0.05 * u - 0.02 * v + 3, 0.01 * u + 0.03 * v - 5], axis=2)
    window = CropWindow(4 * CELL * downscale, 2 * CELL * downscale, (64, 96), downscale)
    found = guess_in(guess, cell_px, window)
    at_u = window.u + (np.arange(8) + 0.5) * CELL * downscale - 0.5
    at_v = (window.v + (np.arange(12) + 0.5) * CELL * downscale - 0.5)[:, None]
    wanted = np.stack([0.05 * at_u - 0.02 * at_v + 3, 0.01 * at_u + 0.03 * at_v - 5], axis=2) / downscale
    np.testing.assert_allclose(found, wanted, atol=0.02)  # OpenCV samples at 1/32 of a square


def test_the_window_moves_only_when_its_border_is_near_or_a_smaller_one_has_fitted_for_long() -> None:
    keeper, shape = WindowKeeper(SIZES, 12), (480, 640)
    first = keeper.step(Box(220, 40, 400, 460), shape, 2)
    for shift in range(0, 60, 4):
        assert keeper.step(Box(220 + shift, 40, 400 + shift, 460), shape, 2) is first
    moved = keeper.step(Box(440, 40, 620, 460), shape, 2)
    assert moved != first and keeper.moves == 2
    wide = keeper.step(Box(100, 40, 620, 460), shape, 2)
    assert wide.size == (320, 256)
    small = Box(300, 60, 420, 440)
    kept = [keeper.step(small, shape, 2) for _ in range(keeper.patience)]
    assert all(window is wide for window in kept[:-1]) and kept[-1].size == (192, 256)
    assert keeper.moves == 4
    assert keeper.step(Box(100, 20, 200, 220), (240, 320), 1).downscale == 1  # frames of another camera


def test_an_empty_mask_has_no_box() -> None:
    mask = np.zeros((20, 30), bool)
    assert mask_box(mask) is None
    mask[3:5, 7:9] = True
    assert mask_box(mask) == Box(7, 3, 9, 5)
