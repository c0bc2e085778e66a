"""A body over Zenoh: from the moment before a pose is sent to the moment when another process has read it."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np

from bodystream.errors import MissingDependencyError
from bodystream.sinks.network import NetworkConfig, NetworkPublisher, NetworkReceiver, load_zenoh
from bodystream.sinks.stream import BodyEncoder
from bodystream.timing import now_ns
from bodystream.types import BodyPose
from bodystream_bench.measuring import Context, Timing, expect
from bodystream_bench.motions import smooth_motion

__all__ = ["run"]

_STEPS = 600
_RATE_HZ = 90.0
_NAME = "bench"
_ENDPOINT = "tcp/127.0.0.1:17447"
_READER_S = 30.0
_PARTS = 10
"""Of the poses; the figures are the median of theirs."""


def run(context: Context) -> None:
    """`network.latency.p50_ms|p99_ms`: poses at 90 Hz to another process of this machine, encoding included."""
    try:
        load_zenoh()
    except MissingDependencyError as error:
        context.note(f"network is left out: {error}")
        return
    steps = context.steps(_STEPS)
    clip = smooth_motion(min(steps, 450))
    joints, _ = clip.joints()
    config = NetworkConfig(listen=(_ENDPOINT,), scout=False)
    publisher, encoder = NetworkPublisher(_NAME, config, bodies=True, surfaces=False), BodyEncoder()
    command = [sys.executable, "-m", "bodystream_bench.suites.network", str(steps)]
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert reader.stdout is not None
        expect(reader.stdout.readline() == "reading\n", "network: the reader did not begin")
        due = time.perf_counter()
        for k in range(steps):
            at = k % len(clip)
            pose = BodyPose(now_ns(), clip.rotations_xyzw[at], clip.root_positions_m[at])
            publisher.publish("body", encoder.encode(pose, joints[at], None))
            due += 1.0 / _RATE_HZ
            time.sleep(max(0.0, due - time.perf_counter()))
        publisher.close()
        out, _ = reader.communicate(timeout=_READER_S)
    finally:
        publisher.close()
        reader.kill()
    latencies = np.array([int(line) for line in out.split()])
    expect(len(latencies) >= 0.3 * steps, f"network: of {steps} poses the reader saw {len(latencies)}")
    parts = [Timing.of(part.tolist()) for part in np.array_split(latencies, _PARTS)]
    p50_ms, p99_ms = (float(np.median([getattr(part, name) for part in parts])) for name in ("p50_ms", "p99_ms"))
    context.add_timing("network.latency", Timing(p50_ms, p99_ms))


def _read() -> None:
    """The reader: prints how late each pose was."""
    latencies: list[int] = []
    with NetworkReceiver(_NAME, NetworkConfig(connect=(_ENDPOINT,), scout=False)) as receiver:
        until = time.monotonic() + _READER_S
        while not receiver.alive and time.monotonic() < until:
            time.sleep(0.01)
        print("reading", flush=True)
        last = None
        while receiver.alive and time.monotonic() < until:
            newest = receiver.wait("body", last, 0.25)
            if newest is not None and newest is not last:
                last = newest
                latencies.append(now_ns() - newest.t_ns)
    print("\n".join(map(str, latencies)))


if __name__ == "__main__":
    _read()
