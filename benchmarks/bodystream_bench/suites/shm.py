"""Shared memory: from the moment before a pose is written to the moment when another process has it whole."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np

from bodystream.geometry.mounting import device_at_joint
from bodystream.geometry.skeleton import HEAD
from bodystream.sinks.send import DrivenPose, PosedBones
from bodystream.sinks.shm import ShmReader, ShmWriter, WriterGoneError, pose_record
from bodystream.sinks.shm.layout import Offer, shared_now_ns
from bodystream.types import BodyPose, DeviceKind, HeadsetSample
from bodystream_bench.measuring import Context, Timing, expect
from bodystream_bench.motions import smooth_motion

__all__ = ["run"]

_STEPS = 1500
_RATE_HZ = 250.0
_NAME = "bench-shm"
_READER_S = 20.0
_PARTS = 10
"""Of the poses; the figures are the median of theirs."""


def run(context: Context) -> None:
    """`shm.latency.p50_ms|p99_ms`: poses at 250 Hz to a reader that looks all the time, in a process of its own.

    `shm.read.p50_ms`: one read by Python; C takes a hundredth of it.
    """
    steps = context.steps(_STEPS)
    clip = smooth_motion(min(steps, 450))
    joints, turns = clip.joints()
    records = []
    for k in range(len(clip)):
        head = device_at_joint(joints[k, HEAD], turns[k, HEAD], DeviceKind.VIEW, "head")
        pose = BodyPose(0, clip.rotations_xyzw[k], clip.root_positions_m[k])
        person = PosedBones(pose, clip.skeleton)
        records.append(pose_record(DrivenPose(person, HeadsetSample(k, 0, head), person)))
    writer = ShmWriter(_NAME, Offer.POSES)
    command = [sys.executable, "-m", "bodystream_bench.suites.shm", str(steps)]
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert reader.stdout is not None
        expect(reader.stdout.readline() == "reading\n", "shm: the reader did not begin")
        due = time.perf_counter()
        for k in range(steps):
            record = records[k % len(records)]
            record["sample_ns"] = shared_now_ns()  # the moment before it is written
            writer.write_pose(record)
            due += 1.0 / _RATE_HZ
            time.sleep(max(0.0, due - time.perf_counter()))
        writer.close()
        out, _ = reader.communicate(timeout=_READER_S)
    finally:
        writer.close()
        reader.kill()
    numbers = [line.split() for line in out.splitlines()]
    latencies = [int(ns) for kind, ns in numbers if kind == "latency"]
    reads = [int(ns) for kind, ns in numbers if kind == "read"]
    expect(len(latencies) >= 0.3 * steps, f"shm: of {steps} poses the reader saw {len(latencies)}")
    # What else the machine does comes in bursts, and a process that is woken late says nothing of the memory.
    parts = [Timing.of(part.tolist()) for part in np.array_split(np.array(latencies), _PARTS)]
    p50_ms, p99_ms = (float(np.median([getattr(part, name) for part in parts])) for name in ("p50_ms", "p99_ms"))
    context.add_timing("shm.latency", Timing(p50_ms, p99_ms))
    context.add("shm.read.p50_ms", float(np.median(reads)) * 1e-6, "ms", "lower", 0.5)


def _read(steps: int) -> None:
    """The reader: prints how late each pose was, and how long reading took."""
    rows: list[str] = []
    last = 0
    with ShmReader(_NAME) as reader:
        print("reading", flush=True)
        until = time.monotonic() + _READER_S
        try:
            while last < steps and time.monotonic() < until:
                if reader.newest == last:
                    time.sleep(0.00002)
                    continue
                start = shared_now_ns()
                pose = reader.pose()
                end = shared_now_ns()
                if pose is not None and pose.number != last:
                    last = pose.number
                    rows += [f"latency {end - pose.sample_ns}", f"read {end - start}"]
        except WriterGoneError:
            pass
    print("\n".join(rows))


if __name__ == "__main__":
    _read(int(sys.argv[1]))
