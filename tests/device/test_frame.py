"""A frame on the device is what numpy makes of it, and goes up once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import warp as wp

from bodystream.device import DeviceFrame, initialise_warp, select_device
from bodystream.device.transfers import counted
from bodystream.errors import InputError
from bodystream.types import CameraIntrinsics, RgbdFrame

initialise_warp()
SHAPE = (37, 53)
CAMERA = CameraIntrinsics(50.0, 50.0, 26.0, 18.0, SHAPE[1], SHAPE[0])


def random_frame(seed: int, *, colour: bool = True, mask: bool = False) -> RgbdFrame:
    chance = np.random.default_rng(seed)
    depth_m = np.where(chance.random(SHAPE) < 0.2, 0, chance.uniform(0.5, 4, SHAPE)).astype(np.float32)
    return RgbdFrame(
        seed, seed, depth_m, CAMERA, chance.integers(0, 255, (*SHAPE, 3)).astype(np.uint8) if colour else None,
        mask=chance.random(SHAPE) < 0.5 if mask else None,
    )  # fmt: skip


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> wp.Device:
    if request.param == "cuda" and not wp.is_cuda_available():
        pytest.skip("this machine has no CUDA device")
    return select_device(request.param)


def test_each_frame_takes_the_place_of_the_one_before(device: wp.Device) -> None:
    image = DeviceFrame(CAMERA, device)
    for seed in range(6):
        frame = random_frame(seed, colour=seed % 3 != 1, mask=seed % 2 == 1)
        foreground = (np.random.default_rng(100 + seed).random(SHAPE) < 0.4) & (frame.depth_m > 0)
        before = frame.depth_m.copy()
        image.upload(frame, foreground)
        assert image.frame is frame and image.foreground is foreground
        np.testing.assert_array_equal(image.depth.numpy(), np.where(foreground, frame.depth_m, 0))
        np.testing.assert_array_equal(image.mask.numpy(), foreground)
        scene_m = frame.depth_m if frame.mask is None else np.where(frame.mask, frame.depth_m, 100)
        np.testing.assert_array_equal(image.scene_depth.numpy(), scene_m)
        np.testing.assert_array_equal(frame.depth_m, before)
        if frame.colour is None:
            assert image.colour is None
        else:
            np.testing.assert_array_equal(image.colour.numpy(), frame.colour)


def test_depth_and_labels_go_up_once_and_colour_where_it_is_wanted() -> None:
    image, frame = DeviceFrame(CAMERA, select_device("cpu")), random_frame(1, mask=True)
    pixels = SHAPE[0] * SHAPE[1]
    with counted() as transfers:
        image.upload(frame, frame.depth_m > 0)
        assert (transfers.uploads, transfers.upload_bytes) == (2, 5 * pixels)
        assert image.colour is image.colour
    assert (transfers.uploads, transfers.upload_bytes, transfers.downloads) == (3, 8 * pixels, 0)


def test_a_frame_of_another_camera_and_a_mask_of_another_size_or_type_are_refused() -> None:
    image, frame = DeviceFrame(CAMERA, select_device("cpu")), random_frame(1)
    foreground = np.ones(SHAPE, bool)
    with pytest.raises(InputError, match=r"frame 1: expected one of a camera of .*fx=50.*got one of .*fx=51"):
        image.upload(replace(frame, intrinsics=replace(CAMERA, fx=51.0)), foreground)
    for wrong in (foreground.T, foreground.view(np.uint8)):
        with pytest.raises(InputError, match=r"frame 1: the foreground must be bool of shape \(37, 53\), got"):
            image.upload(frame, wrong)
