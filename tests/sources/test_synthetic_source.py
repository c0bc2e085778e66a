"""The synthetic camera as a source: determinism, ends, pacing and bad options."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import bodystream
from bodystream.device import select_device
from bodystream.errors import ConfigurationError, DeviceError
from bodystream.pipelines.capture.pipeline import Capture
from bodystream.pipelines.reader import SourceReader
from bodystream.sources import open_source
from bodystream.sources.base import RgbdSource
from bodystream.sources.synthetic import SyntheticConfig, SyntheticSource
from bodystream.sources.synthetic.truth import TruthSurface
from bodystream.types import RgbdFrame, Status

SMALL = {"width": 160, "height": 120}


def same_bits(a: RgbdFrame, b: RgbdFrame) -> bool:
    assert a.truth is not None and b.truth is not None and a.colour is not None and b.colour is not None
    pairs = (
        (a.depth_m, b.depth_m),
        (a.colour, b.colour),
        (a.truth.mesh.vertices, b.truth.mesh.vertices),
        (a.truth.mesh.normals, b.truth.mesh.normals),
        (a.truth.pixel_face, b.truth.pixel_face),
        (a.truth.pixel_barycentric, b.truth.pixel_barycentric),
        (a.truth.depth_m, b.truth.depth_m),
        (a.truth.mask, b.truth.mask),
    )
    return all(np.array_equal(np.asarray(x), np.asarray(y)) for x, y in pairs)


def test_the_same_seed_gives_the_same_bits() -> None:
    config = SyntheticConfig(seed=3, frames=3)
    one, two = (SyntheticSource(config, device="cpu") for _ in range(2))
    frames = list(one)
    again = [two.render(index, 0) for index in (2, 0, 1)]  # in another order
    for index, frame in zip((2, 0, 1), again, strict=True):
        assert same_bits(frames[index], frame)
    assert not same_bits(frames[0], frames[1])
    other = SyntheticSource(SyntheticConfig(seed=4, frames=3), device="cpu")
    assert not np.array_equal(next(iter(other)).depth_m, frames[0].depth_m)


def test_frames_are_whole_and_independent_values() -> None:
    source = SyntheticSource(SyntheticConfig(frames=4, noise="d400"), device="cpu")
    assert isinstance(source, RgbdSource)
    assert source.name == "synthetic:0" and source.rate_hz == 30.0 and not source.live
    frames = list(source)
    copies = [(f.depth_m.copy(), f.colour.copy()) for f in frames if f.colour is not None]
    source.render(40, 0)  # must not write into frames that were handed out
    for index, (frame, (depth, colour)) in enumerate(zip(frames, copies, strict=True)):
        assert frame.index == index and frame.mask is None and frame.truth is not None
        assert frame.depth_m.dtype == np.float32 and np.isfinite(frame.depth_m).all()
        assert np.array_equal(frame.depth_m, depth) and np.array_equal(frame.colour, colour)
        assert frame.device_t_ns == round(index / 30 * 1e9)
        assert frame.truth.mask.dtype == np.bool_ and frame.truth.pixel_face.dtype == np.int32
        on_body = frame.truth.mask & (frame.depth_m > 0)
        error = (frame.depth_m - frame.truth.depth_m)[on_body]
        assert on_body.sum() > 0.9 * frame.truth.mask.sum()
        assert 0.004 < np.median(np.abs(error)) < 0.015
    assert [a.t_ns <= b.t_ns for a, b in itertools.pairwise(frames)] == [True] * 3
    assert source.counts.delivered == 4 and source.counts.lost == 0


def test_iteration_goes_on_where_it_stopped_and_ends_when_closed() -> None:
    source = SyntheticSource(SyntheticConfig(**SMALL), device="cpu")
    assert [f.index for f in itertools.islice(source, 3)] == [0, 1, 2]
    stream = iter(source)
    assert next(stream).index == 3
    source.close()
    source.close()
    assert next(stream, None) is None
    assert list(source) == []


def test_zero_frames_end_at_once() -> None:
    assert list(SyntheticSource(SyntheticConfig(frames=0, **SMALL), device="cpu")) == []


def test_without_background_there_is_nothing_behind_the_body() -> None:
    frame = SyntheticSource(SyntheticConfig(background=False, noise="none"), device="cpu").render(0, 0)
    assert frame.truth is not None
    assert np.array_equal(frame.depth_m > 0, frame.truth.mask)


@pytest.mark.parametrize("size", ((320, 240), (848, 480), (100, 333)))
def test_other_sizes(size: tuple[int, int]) -> None:
    source = SyntheticSource(SyntheticConfig(width=size[0], height=size[1]), device="cpu")
    frame = source.render(5, 0)
    assert frame.depth_m.shape == (size[1], size[0]) and frame.intrinsics.fx == pytest.approx(0.71875 * size[0])
    assert frame.truth is not None and frame.truth.mask.any()


def test_live_frames_keep_the_pace_and_late_ones_are_counted_lost() -> None:
    source = SyntheticSource(SyntheticConfig(rate_hz=20.0, live=True, **SMALL), device="cpu")
    source.render(0, 0)  # kernels are built before the clock runs
    stream = iter(source)
    frames = [next(stream) for _ in range(4)]
    time.sleep(0.32)  # six periods and a half
    frames += [next(stream) for _ in range(2)]
    assert source.counts.delivered == 6
    assert source.counts.lost == frames[-1].index + 1 - 6
    assert source.counts.lost >= 5  # more on a busy machine
    stamps = np.array([f.t_ns for f in frames])
    indices = np.array([f.index for f in frames])
    np.testing.assert_allclose(np.diff(stamps), np.diff(indices) * 50_000_000, atol=2)
    assert (np.diff(indices) >= 1).all()


def test_live_ends_after_its_frames_even_when_they_were_lost() -> None:
    source = SyntheticSource(SyntheticConfig(rate_hz=50.0, frames=4, live=True, **SMALL), device="cpu")
    stream = iter(source)
    next(stream)
    time.sleep(0.2)
    assert list(stream) == []
    assert source.counts.delivered + source.counts.lost == 4


def test_closing_wakes_a_waiting_consumer() -> None:
    source = SyntheticSource(SyntheticConfig(rate_hz=0.05, live=True, **SMALL), device="cpu")
    stream = iter(source)
    next(stream)  # the second is due in twenty seconds
    threading.Timer(0.1, source.close).start()
    start = time.monotonic()
    assert next(stream, None) is None
    assert time.monotonic() - start < 5.0


def test_a_paced_camera_loses_nothing_however_slowly_it_is_read_and_makes_up_for_no_pause() -> None:
    source = SyntheticSource(SyntheticConfig(rate_hz=20.0, paced=True, frames=7, **SMALL), device="cpu")
    assert not source.live
    given = []
    frames = []
    for frame in source:
        given.append(time.monotonic())
        frames.append(frame)
        if frame.index == 2:
            time.sleep(0.4)  # eight periods
    assert [f.index for f in frames] == list(range(7)) and source.counts.lost == 0
    assert np.diff([f.t_ns for f in frames]).tolist() == [50_000_000] * 6
    assert np.diff([f.device_t_ns for f in frames if f.device_t_ns is not None]).tolist() == [50_000_000] * 6
    assert np.diff(given).min() > 0.045  # at most 20 a second, also after the pause


def test_a_slow_pipeline_keeps_the_model_of_a_paced_camera_whole() -> None:
    """At five frames a second of the wall clock the body still moves by a thirtieth of a second per frame."""
    source = open_source("synthetic?motion=limbs", "cpu", frames=9, pace="paced")
    reader = SourceReader(source)
    capture = None
    truth = TruthSurface(select_device("cpu"))
    results = []
    try:
        while (arrival := reader.take(30.0)) is not None:
            if capture is None:
                capture = Capture(arrival.frame.intrinsics, select_device("cpu"))
            time.sleep(0.2)  # the slow machine
            results.append(capture.step(arrival.frame))
            live = capture.warp_surface()
            assert live is not None and arrival.frame.truth is not None
            distance_m = truth.distance_m(live.vertices.numpy()[: live.vertex_count], arrival.frame.truth)
        assert capture is not None and capture.restart_count == 0
    finally:
        reader.close()
        if capture is not None:
            capture.close()
    assert len(results) == 9 and reader.dropped == 0 and source.counts.lost == 0
    assert all(result.status is Status.TRACKED for result in results), [result.reason for result in results]
    assert np.median(distance_m) < 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    (
        ({"live": True, "paced": True}, "live or paced"),
        ({"width": 4}, "16 to 8192"),
        ({"height": 100_000}, "16 to 8192"),
        ({"rate_hz": 0.0}, "rate_hz"),
        ({"rate_hz": float("nan")}, "rate_hz"),
        ({"frames": -1}, "frames"),
        ({"noise": "kinect"}, "d400 or none"),
        ({"seed": -1}, "seed"),
    ),
)
def test_bad_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SyntheticConfig(**options)


def test_an_unknown_motion_or_device_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="motion"):
        SyntheticSource(SyntheticConfig(motion="dance"), device="cpu")  # type: ignore[arg-type]
    with pytest.raises(DeviceError):
        SyntheticSource(SyntheticConfig(), device="cuda:97")


def test_drawing_needs_neither_torch_nor_anny() -> None:
    program = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'anny'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from bodystream.sources.synthetic import SyntheticConfig, SyntheticSource\n"
        "f = next(iter(SyntheticSource(SyntheticConfig(width=160, height=120), device='cpu')))\n"
        "assert f.truth.mask.any()\n"
    )
    runtime = str(Path(bodystream.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": runtime}
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120, env=environment)
