"""Flow to a fraction of a pixel, on images that are moved by a known part of one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from bodystream.bundles import open_bundle
from bodystream.correspondence import LearnedConfig, LearnedCorrespondence
from bodystream.correspondence.crops import fit_window, mask_box
from bodystream.correspondence.precise import flattened, precise_flow
from bodystream.types import Array, CameraIntrinsics, RgbdFrame
from helpers.flow_networks import flow_bundle

HEIGHT, WIDTH = 128, 96


def texture(seed: int, sigma: float = 2.0) -> Array:
    noise = np.random.default_rng(seed).random((HEIGHT + 64, WIDTH + 64), dtype=np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), sigma)
    return (soft - soft.min()) * (200 / (soft.max() - soft.min())) + 20


def moved(image: Array, shift: tuple[float, float]) -> Array:
    """The middle of an image as it looks when it has moved by (u, v), by a Fourier series: no filter's error."""
    rows, columns = (np.fft.fftfreq(n) for n in image.shape)
    phase = np.exp(-2j * np.pi * (rows[:, None] * shift[1] + columns * shift[0]))
    whole = np.fft.ifft2(np.fft.fft2(image) * phase).real
    return np.clip(whole[32:-32, 32:-32] + 0.5, 0, 255).astype(np.uint8)


def everywhere() -> Array:
    return np.ones((HEIGHT, WIDTH), bool)


@pytest.mark.parametrize("shift", [(0.3, -0.45), (1.6, 0.8), (-0.05, 0.02)])
@pytest.mark.parametrize("lamp", [0.0, 25.0])
def test_a_fraction_of_a_pixel_is_found_from_rest_whatever_the_lamp_does(
    shift: tuple[float, float], lamp: float
) -> None:
    image, mask = texture(1), everywhere()
    slope = np.linspace(-lamp, lamp, WIDTH, dtype=np.float32)
    brighter = np.clip(moved(image, shift) + slope, 0, 255).astype(np.uint8)
    found, agreement = precise_flow(
        flattened(moved(image, (0, 0)), mask), flattened(brighter, mask), mask, np.zeros((HEIGHT, WIDTH, 2), np.float32)
    )
    error = np.linalg.norm(found - np.array(shift, np.float32), axis=2)[8:-8, 8:-8]
    assert np.median(error) < 0.06 and np.quantile(error, 0.95) < 0.25
    assert np.median(agreement[8:-8, 8:-8]) > 0.9


def test_a_second_thread_changes_no_bit() -> None:
    mask, rest = everywhere(), np.zeros((HEIGHT, WIDTH, 2), np.float32)
    images = [flattened(moved(texture(1), shift), mask) for shift in ((0, 0), (0.7, -0.4))]
    alone = precise_flow(*images, mask, rest)
    with ThreadPoolExecutor(1) as pool:
        for own, shared in zip(alone, precise_flow(*images, mask, rest, pool), strict=True):
            np.testing.assert_array_equal(own, shared)


def test_what_is_not_the_same_does_not_agree() -> None:
    mask, rest = everywhere(), np.zeros((HEIGHT, WIDTH, 2), np.float32)
    images = [flattened(moved(texture(seed), (0, 0)), mask) for seed in (1, 2)]
    _, agreement = precise_flow(*images, mask, rest)
    assert agreement.mean() < 0.35


def test_where_nothing_can_be_seen_the_flow_stays() -> None:
    plain = np.full((HEIGHT, WIDTH), 90, np.uint8)
    flow = np.random.default_rng(0).normal(0, 2, (HEIGHT, WIDTH, 2)).astype(np.float32)
    found, agreement = precise_flow(flattened(plain, everywhere()), flattened(plain, everywhere()), everywhere(), flow)
    np.testing.assert_array_equal(found, flow)
    assert np.ptp(agreement) == 0 and 0 < agreement[0, 0] < 1  # nothing speaks against it, and nothing for it


def test_what_would_go_too_far_stays_where_it_was() -> None:
    """A stripe that is found far away is another stripe."""
    image, mask, far = texture(3, sigma=6.0), everywhere(), 9.0
    flow = np.zeros((HEIGHT, WIDTH, 2), np.float32)
    found, _ = precise_flow(flattened(moved(image, (0, 0)), mask), flattened(moved(image, (far, 0)), mask), mask, flow)
    assert np.abs(found).max() <= 3.0


def test_a_background_that_stays_does_not_hold_the_outline_back() -> None:
    """Beside the subject the images are flat, so that a sharp outline before a wall is no texture that stands still."""
    shift = (1.2, 0.4)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[32:96, 24:72] = True
    wall = moved(texture(7, sigma=1.0), (0, 0))
    source = np.where(mask, moved(texture(4), (0, 0)), wall)
    there = np.roll(mask, 1, axis=1)
    target = np.where(there, moved(texture(4), shift), wall)
    found, _ = precise_flow(
        flattened(source, mask), flattened(target, there), mask, np.zeros((HEIGHT, WIDTH, 2), np.float32)
    )
    edge = mask & ~cv2.erode(mask.view(np.uint8), np.ones((7, 7), np.uint8)).view(bool)
    assert np.median(np.linalg.norm(found - np.array(shift, np.float32), axis=2)[edge]) < 0.3


def test_an_empty_mask_leaves_the_flow_as_it_is() -> None:
    flow = np.ones((HEIGHT, WIDTH, 2), np.float32)
    empty = np.zeros((HEIGHT, WIDTH), bool)
    image = flattened(moved(texture(1), (0, 0)), empty)
    found, agreement = precise_flow(image, image, empty, flow)
    np.testing.assert_array_equal(found, flow)
    assert not agreement.any()


def frames(shift: tuple[float, float], size: tuple[int, int]) -> tuple[RgbdFrame, RgbdFrame]:
    """A textured plane that moves before a camera, by a whole number of pixels of the frame."""
    width, height = size
    noise = np.random.default_rng(5).random((height + 64, width + 64), dtype=np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 5.0)
    soft = (soft - soft.min()) * (220 / (soft.max() - soft.min())) + 10
    camera = CameraIntrinsics(600.0, 600.0, width / 2, height / 2, width, height)
    made = []
    for number, (u, v) in enumerate(((0, 0), shift)):
        part = soft[32 - int(v) : 32 - int(v) + height, 32 - int(u) : 32 - int(u) + width]
        colour = np.repeat(part.astype(np.uint8)[..., None], 3, axis=2)
        made.append(RgbdFrame(number, number, np.full((height, width), 1.5, np.float32), camera, colour))
    return made[0], made[1]


@pytest.mark.parametrize("size", [(640, 480), (848, 480), (320, 240)])
def test_live_matches_are_for_smaller_pixels_than_the_network_sees(tmp_path, size: tuple[int, int]) -> None:
    """A network that only repeats the guess is a pixel off; what comes out is not."""
    bundle = flow_bundle(tmp_path / "flow", sizes=((96, 128), (160, 128)))
    live = LearnedCorrespondence(open_bundle(bundle), LearnedConfig.live())
    shift = (3.0, -2.0) if size[0] > 320 else (2.0, -1.0)
    source, target = frames(shift, size)
    mask = np.zeros(size[::-1], bool)
    mask[size[1] // 4 : 3 * size[1] // 4, size[0] // 3 : 2 * size[0] // 3] = True
    there = np.roll(mask, (int(shift[1]), int(shift[0])), axis=(0, 1))
    rest = np.zeros((-(-size[1] // 8), -(-size[0] // 8), 2), np.float32)
    found = live.step(source, target, source_mask=mask, target_mask=there, initial_flow_px=rest)
    k = found.cell_px
    assert k == max(1, round(size[0] / 320)) and found.flow_px.shape[:2] == (-(-size[1] // k), -(-size[0] // k))
    believed = found.weight > 0.35
    assert believed.sum() > 0.5 * mask.sum() / k**2
    error_px = np.linalg.norm(found.flow_px - np.array(shift, np.float32), axis=2)[believed]
    assert np.median(error_px) < 0.25 < np.linalg.norm(shift)


def test_a_window_is_of_pixels_that_can_be_halved() -> None:
    mask = np.zeros((720, 1280), bool)
    mask[:, 100:1200] = True
    box = mask_box(mask)
    assert box is not None
    for least in (2, 4, 5, 6):
        window = fit_window(box, mask.shape, ((96, 128), (160, 128)), least, multiple=2)
        assert window.downscale % 2 == 0 and window.downscale >= least
        finer = window.finer(2)
        assert finer.box == window.box and finer.downscale * 2 == window.downscale
