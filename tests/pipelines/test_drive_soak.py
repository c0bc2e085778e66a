"""A session of eight hours: nothing that is kept of the past grows."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from bodystream.geometry.skeleton import HEAD
from bodystream.types import DeviceKind, HeadsetSample, Status, TrackedDevice
from helpers.drive_parts import PERIOD_NS, new_driver

EIGHT_HOURS = 8 * 3600 * 90
WARM_UP = 800
MOST_BLOCKS = 400
"""Of memory that Python has given out; one thing kept of each sample would be more than a thousand."""


def standing(count: int) -> Iterator[HeadsetSample]:
    """Somebody who stands, talks and reaches out, and now and then is not seen."""
    upright = np.array([0.0, 0.0, 0.0, 1.0])
    for k in range(count):
        t = k / 90.0
        head = np.array([0.05 * np.sin(0.7 * t), 1.58 + 0.01 * np.sin(1.3 * t), 0.05 * np.cos(0.5 * t)])
        reach = 0.2 * np.sin(0.9 * t)
        places = (head + (-0.25, -0.5, -0.3 - reach), head + (0.25, -0.5, -0.3 + reach))
        left, right = (TrackedDevice(place, upright, DeviceKind.GRIP) for place in places)
        unseen = k % 1000 > 980
        yield HeadsetSample(
            k, k * PERIOD_NS, TrackedDevice(head, upright, DeviceKind.VIEW), None if unseen else left, right
        )


@pytest.mark.parametrize("count", [1800, pytest.param(EIGHT_HOURS, marks=[pytest.mark.slow, pytest.mark.timeout(0)])])
def test_what_is_kept_of_the_past_does_not_grow(count: int) -> None:
    driver = new_driver()
    blocks = 0
    try:
        for sample in standing(count):
            result = driver.step(sample)
            assert result is not None and result.pose.status is not Status.LOST
            if sample.index == WARM_UP:
                gc.collect()
                blocks = sys.getallocatedblocks()
        gc.collect()
        grown = sys.getallocatedblocks() - blocks
    finally:
        driver.close()
    assert grown < MOST_BLOCKS
    np.testing.assert_allclose(result.joints_m[HEAD, 1], 1.58, atol=0.15)
