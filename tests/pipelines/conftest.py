"""What several tests of the pipelines start from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bodystream.pipelines.capture.pipeline import Capture
from helpers.pipeline_frames import new_capture


@pytest.fixture
def capture() -> Iterator[Capture]:
    made = new_capture()
    yield made
    made.close()
