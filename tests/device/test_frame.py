"""A frame on the device is what numpy makes of it, and goes up once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import warp as wp

from bodystream.device import DeviceFrame, initialise_warp, select_device
from bodystream.device.transfers import counted
from bodystream.errors import InputError
from bodystream.types import Array, CameraIntrinsics, RgbdFrame

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


def without_shadows(scene_m: Array, foreground: Array, widest: int) -> Array:
    """Holes of at most `widest` pixels in a row between foreground and background take the background's depth."""
    out = scene_m.astype(np.float32)
    for row, inside in zip(out, foreground, strict=True):
        measured = np.flatnonzero(row > 0)
        for a, b in zip(measured[:-1], measured[1:], strict=True):
            if 1 < b - a <= widest + 1 and inside[a] != inside[b]:
                row[a + 1 : b] = row[a if inside[b] else b]
    return out


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
        np.testing.assert_array_equal(
            image.scene_depth.numpy(), without_shadows(scene_m, foreground, round(0.035 * 50))
        )
        np.testing.assert_array_equal(frame.depth_m, before)
        if frame.colour is None:
            assert image.colour is None
        else:
            np.testing.assert_array_equal(image.colour.numpy(), frame.colour)


SHADOWS = CameraIntrinsics(100.0, 100.0, 15.0, 0.0, 32, 8)  # shadows are up to 0.035 rad and so 3.5 pixels wide
WALL_M, NEAR_M = 3.0, 1.0


@pytest.mark.parametrize(
    ("holes", "filled"),
    [
        ([], []),
        ([8, 9], [8, 9]),  # the shadow of the left outline, which is at 10
        ([6, 7, 8, 9], [6, 7, 8, 9]),
        ([5, 6, 7, 8, 9], []),  # wider than a shadow: nothing is known
        ([20, 21, 22], [20, 21, 22]),  # that of the right outline, which is at 19
        ([2, 3, 26], []),  # holes in the middle of the background
        ([14, 15], []),  # and in the middle of the subject
        ([9, 15, 20, 27], [9, 20]),
        ([10, 11], [10, 11]),  # the outline itself was not measured, and is no foreground then
        ([0, 1, 30, 31], []),  # at the rim
        (list(range(10)), []),  # no background to the left
    ],
)
def test_the_shadow_beside_a_nearer_object_gets_the_depth_of_the_background(
    device: wp.Device, holes: list[int], filled: list[int]
) -> None:
    """A wall, and a subject before it from column 10 to 19; the other rows have no holes."""
    depth_m = np.full((8, 32), WALL_M, np.float32)
    depth_m[:, 10:20] = NEAR_M
    depth_m[3, holes] = 0
    foreground = depth_m == NEAR_M
    expected = depth_m.copy()
    expected[3, filled] = WALL_M
    image = DeviceFrame(SHADOWS, device)
    image.upload(RgbdFrame(0, 0, depth_m, SHADOWS), foreground)
    np.testing.assert_array_equal(image.scene_depth.numpy(), expected)
    np.testing.assert_array_equal(image.depth.numpy(), np.where(foreground, depth_m, 0))
    np.testing.assert_array_equal(image.mask.numpy(), foreground)


def test_a_shadow_takes_the_depth_of_its_own_side(device: wp.Device) -> None:
    """The wall is at another depth on either side, and in every row: nothing crosses from one to the other."""
    depth_m = np.tile(np.arange(1, 33, dtype=np.float32), (8, 1)) + 100 * np.arange(8, dtype=np.float32)[:, None]
    foreground = np.zeros((8, 32), bool)
    foreground[:, 10:20] = True
    depth_m[:, [8, 9, 20, 21]] = 0
    image = DeviceFrame(SHADOWS, device)
    image.upload(RgbdFrame(0, 0, depth_m, SHADOWS), foreground)
    found = image.scene_depth.numpy()
    for row in range(8):
        assert found[row, 7:10].tolist() == [100 * row + 8] * 3
        assert found[row, 20:23].tolist() == [100 * row + 23] * 3


def test_two_subjects_side_by_side_cast_no_shadow_on_each_other(device: wp.Device) -> None:
    """Holes between what is both foreground: an arm before a chest, where nobody knows what is behind."""
    depth_m = np.full((8, 32), 2.0, np.float32)
    depth_m[:, 16:], depth_m[:, 14:16] = NEAR_M, 0
    image = DeviceFrame(SHADOWS, device)
    image.upload(RgbdFrame(0, 0, depth_m, SHADOWS), depth_m > 0)
    np.testing.assert_array_equal(image.scene_depth.numpy(), depth_m)


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
