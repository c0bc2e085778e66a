"""What crosses between host and device arrives, and is counted."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import warp as wp

from bodystream.device import Staged, download, download_together, initialise_warp, select_device, upload, uploaded
from bodystream.device.transfers import counted

initialise_warp()


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> wp.Device:
    if request.param == "cuda" and not wp.is_cuda_available():
        pytest.skip("this machine has no CUDA device")
    return select_device(request.param)


def test_the_front_of_an_array_is_written_and_read(device: wp.Device) -> None:
    array = wp.full(5, wp.vec3(7.0, 7.0, 7.0), dtype=wp.vec3, device=device)
    values = np.arange(6, dtype=np.float64).reshape(2, 3)
    with counted() as transfers:
        upload(array, values)
        upload(array, values[:0])
        got = download(array)
        front = download(array, 1)
    np.testing.assert_array_equal(got[:2], values)
    np.testing.assert_array_equal(got[2:], 7)
    np.testing.assert_array_equal(front, values[:1])
    assert (transfers.uploads, transfers.upload_bytes) == (1, 24)
    assert (transfers.downloads, transfers.download_bytes) == (2, 60 + 12)


def test_a_new_array_is_counted_as_an_upload(device: wp.Device) -> None:
    values = np.arange(4, dtype=np.float64)
    with counted() as transfers:
        array = uploaded(values, float, device)
        values[:] = 7
    assert array.device == device and array.numpy().tolist() == [0, 1, 2, 3]
    assert (transfers.uploads, transfers.upload_bytes, transfers.downloads) == (1, 16, 0)


def test_a_staged_array_goes_up_in_part_or_whole_and_comes_back(device: wp.Device) -> None:
    staged = Staged(5, wp.vec2, device)
    values = np.arange(10, dtype=np.float32).reshape(5, 2)
    with counted() as transfers:
        staged.upload(values[:2])
        np.testing.assert_array_equal(staged.array.numpy(), np.r_[values[:2], np.zeros((3, 2))])
        staged.upload(values)
        staged.upload(values[:0])
        np.testing.assert_array_equal(staged.array.numpy(), values)
        staged.array.fill_(wp.vec2(3.0, 4.0))
        np.testing.assert_array_equal(staged.download(3), [[3, 4]] * 3)
    assert (transfers.uploads, transfers.upload_bytes) == (2, 16 + 40)
    assert (transfers.downloads, transfers.download_bytes) == (1, 24)


def test_an_image_is_staged_whole(device: wp.Device) -> None:
    image = np.random.default_rng(1).integers(0, 255, (4, 6, 3)).astype(np.uint8)
    staged = Staged((4, 6), wp.vec3ub, device)
    for _ in range(3):  # on CUDA each waits for the one before, which is still being copied
        image += 1
        staged.upload(image)
    np.testing.assert_array_equal(staged.array.numpy(), image)
    np.testing.assert_array_equal(staged.download(), image)


def test_what_is_written_into_the_twin_is_sent(device: wp.Device) -> None:
    staged = Staged(4, float, device)
    staged.wait()
    staged.host[:] = [1, 2, 3, 4]
    staged.send()
    np.testing.assert_array_equal(staged.array.numpy(), [1, 2, 3, 4])


def test_several_arrays_come_back_together(device: wp.Device) -> None:
    first, second = Staged(4, float, device), Staged((3, 2), wp.int32, device)
    first.array.fill_(2.0)
    second.array.fill_(5)
    with counted() as transfers:
        whole = download_together([first, second])
        front = download_together([first, second], 2)
    assert [values.tolist() for values in whole] == [[2.0] * 4, [[5, 5]] * 3]
    assert [values.tolist() for values in front] == [[2.0] * 2, [[5, 5]] * 2]
    assert (transfers.downloads, transfers.download_bytes) == (4, 16 + 24 + 8 + 16)


def test_counting_is_of_one_thread_and_can_be_nested() -> None:
    array = wp.zeros(4, dtype=float, device="cpu")
    values = np.ones(4, np.float32)
    with counted() as outer:
        upload(array, values)
        other = threading.Thread(target=upload, args=(array, values))
        other.start()
        other.join()
        with counted() as inner:
            download(array)
    upload(array, values)
    assert (outer.uploads, outer.downloads, inner.uploads, inner.downloads) == (1, 0, 0, 1)
