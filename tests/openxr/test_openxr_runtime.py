"""The OpenXR source on a real runtime: Monado with its simulated and its remote headset, no hardware."""

from __future__ import annotations

import itertools
import signal
import subprocess
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from bodystream.errors import SourceError
from bodystream.sources.headset.base import HeadsetSource
from bodystream.sources.headset.openxr import OpenXrHeadset
from bodystream.timing import now_ns
from bodystream.types import DeviceKind, HeadsetSample
from helpers.monado import MonadoRuntime, MonadoService, RemoteHeadset, free_port

pytestmark = [pytest.mark.openxr, pytest.mark.timeout(120)]

TOLERANCE_M = 1e-6
"""The runtime's poses are float32 and pass unchanged."""


def settled(source: OpenXrHeadset, wanted: Callable[[HeadsetSample], bool], limit: int = 300) -> HeadsetSample:
    """The first sample that is as wanted."""
    last = None
    for last in itertools.islice(source, limit):
        if wanted(last):
            return last
    pytest.fail(f"not one of {limit} samples was as wanted; the last is {last}")


def test_the_simulated_headset_moves_at_the_rate_asked_for(start_monado: Callable[..., MonadoService]) -> None:
    start_monado()
    with OpenXrHeadset("bodystream tests") as source:
        assert isinstance(source, HeadsetSource)
        assert source.live and source.name.startswith("openxr:Monado")
        assert (source.rate_hz, source.info.space) == (90.0, "STAGE")
        samples = list(itertools.islice(source, 270))
    t_s = np.array([sample.t_ns for sample in samples]) * 1e-9
    assert (np.diff(t_s) > 0).all()
    assert abs(t_s[-1] - now_ns() * 1e-9) < 5.0
    # A machine that is busy with other things loses samples; those are counted, so the pace is known all the same.
    ticks = samples[-1].index - samples[0].index
    assert ticks / (t_s[-1] - t_s[0]) == pytest.approx(90.0, rel=0.02)
    assert source.counts.delivered == 270 and source.counts.lost == ticks + 1 - 270
    heads = np.array([sample.head.position_m for sample in samples if sample.head is not None])
    assert len(heads) == 270
    assert 0.05 < np.ptp(heads, axis=0).max() < 0.5 and (abs(heads[:, 1] - 1.6) < 0.2).all()
    last = samples[-1]
    for hand, x in ((last.left, -0.2), (last.right, 0.2)):
        assert hand is not None and hand.kind is DeviceKind.GRIP
        np.testing.assert_allclose(hand.position_m, (x, 1.3, -0.5), atol=TOLERANCE_M)


def test_poses_and_kinds_are_those_of_the_device(start_monado: Callable[..., MonadoService]) -> None:
    port = free_port()
    start_monado(remote_port=port)
    headset, turned = RemoteHeadset(port), (0.0, 0.6, 0.0, 0.8)
    headset.head((0.5, 1.7, -0.25), turned)
    headset.hand("left", (-0.3, 1.1, -0.4), turned, controller=True)
    headset.hand("right", (0.3, 1.2, -0.5), tracked_hand=True)
    headset.send()
    with OpenXrHeadset("bodystream tests") as source:
        assert source.info.hands
        sample = settled(source, lambda s: s.right is not None and s.right.kind is DeviceKind.HAND_WRIST)
        assert sample.head is not None and sample.left is not None and sample.right is not None
        np.testing.assert_allclose(sample.head.position_m, (0.5, 1.7, -0.25), atol=TOLERANCE_M)
        np.testing.assert_allclose(sample.head.rotation_xyzw, turned, atol=1e-6)
        assert (sample.head.kind, sample.left.kind) == (DeviceKind.VIEW, DeviceKind.GRIP)
        np.testing.assert_allclose(sample.left.position_m, (-0.3, 1.1, -0.4), atol=TOLERANCE_M)
        np.testing.assert_allclose(sample.left.rotation_xyzw, turned, atol=1e-6)
        np.testing.assert_allclose(sample.right.position_m, (0.3, 1.2, -0.5), atol=0.02)

        # Put one controller down, and take the other hand out of sight.
        headset.hand("left", (-0.3, 1.1, -0.4), tracked_hand=True)
        headset.hand("right", (0.3, 1.2, -0.5))
        headset.send()
        sample = settled(source, lambda s: s.right is None)
        sample = settled(source, lambda s: s.left is not None and s.left.kind is DeviceKind.HAND_WRIST)
        assert sample.head is not None and sample.right is None

        # A controller wins over the hand that holds it.
        headset.hand("left", (-0.3, 1.1, -0.4), tracked_hand=True, controller=True)
        headset.send()
        settled(source, lambda s: s.left is not None and s.left.kind is DeviceKind.GRIP)
    headset.close()


def test_device_time_and_host_time_run_at_one_pace(start_monado: Callable[..., MonadoService]) -> None:
    start_monado()
    with OpenXrHeadset("bodystream tests", rate_hz=200.0) as source:
        samples = list(itertools.islice(source, 200))
    offsets_ns = {s.t_ns - s.device_t_ns for s in samples if s.device_t_ns is not None}
    assert len(offsets_ns) == 1


def test_a_runtime_that_is_restarted_is_taken_up_again(start_monado: Callable[..., MonadoService]) -> None:
    service = start_monado()
    with OpenXrHeadset("bodystream tests", reconnect_s=30) as source:
        samples = iter(source)
        assert next(samples).head is not None
        service.stop()
        restart = threading.Timer(1.0, service.start)
        restart.start()
        before = source.counts.delivered
        after = next(s for s in samples if source.counts.reconnects and source.counts.delivered > before + 90)
        restart.join()
        assert after.head is not None and source.counts.reconnects == 1
        assert any("waiting 30 s" in warning for warning in source.counts.warnings)


def test_a_runtime_that_stays_away_is_an_error(start_monado: Callable[..., MonadoService]) -> None:
    service = start_monado()
    source = OpenXrHeadset("bodystream tests", reconnect_s=1)
    samples = iter(source)
    next(samples)
    service.stop()
    with pytest.raises(SourceError, match=r"Monado.*did not come back within 1 s: the OpenXR runtime does not start"):
        for _ in samples:
            pass
    with pytest.raises(SourceError, match="does not start.*monado-service"):
        OpenXrHeadset("bodystream tests")


def test_close_from_another_thread_ends_the_iteration(start_monado: Callable[..., MonadoService]) -> None:
    start_monado()
    source = OpenXrHeadset("bodystream tests")
    delivered: list[HeadsetSample] = []
    thread = threading.Thread(target=lambda: delivered.extend(source))
    thread.start()
    time.sleep(1.0)
    closed_s = time.monotonic()
    source.close()
    thread.join(5)
    assert not thread.is_alive() and time.monotonic() - closed_s < 1.0
    assert len(delivered) > 30
    source.close()


INTERRUPTED = """
from bodystream.sources.headset.openxr import OpenXrHeadset
source = OpenXrHeadset("bodystream tests")
try:
    for sample in source:
        if sample.index == 20:
            print("running", flush=True)
except KeyboardInterrupt:
    print("closed", source._connection is None, flush=True)
"""


def test_ctrl_c_ends_the_session(start_monado: Callable[..., MonadoService], monado_runtime: MonadoRuntime) -> None:
    service = start_monado()
    process = subprocess.Popen([*monado_runtime.python(), "-c", INTERRUPTED], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=10)[0] == "closed True\n"
    assert process.returncode == 0
    deadline_s = time.monotonic() + 5
    while "Client disconnected" not in service.log() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert "Client disconnected" in service.log()
