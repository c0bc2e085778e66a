"""Shared memory: from the moment before a pose is written to the moment when a C program has it whole."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

import bodystream
from bodystream.geometry.mounting import device_at_joint
from bodystream.geometry.skeleton import HEAD
from bodystream.sinks.send import DrivenPose, PosedBones
from bodystream.sinks.shm import ShmWriter, pose_record
from bodystream.sinks.shm.layout import Offer, shared_now_ns
from bodystream.types import Array, BodyPose, DeviceKind, HeadsetSample
from bodystream_bench.measuring import Context, Timing, expect
from bodystream_bench.motions import smooth_motion

__all__ = ["run"]

_STEPS = 1500
_RATE_HZ = 250.0
_NAME = "bench-shm"
_READS = 200_000
_PARTS = 10
"""Of the poses; the figures are the median of theirs, since what else the machine does comes in bursts."""


def run(context: Context) -> None:
    """`shm.latency.p50_ms|p99_ms`: poses at 250 Hz to a process that waits for each, looking every 50 us.

    `shm.read.mean_us`: one read.
    """
    compiler, header = shutil.which("cc"), _header()
    if compiler is None or header is None:
        context.note("shm is left out: it needs the C compiler cc and include/bodystream.h")
        return
    steps = context.steps(_STEPS)
    records = _records(min(steps, 450))
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "shm_reader")
        source = Path(__file__).with_name("shm_reader.c")
        subprocess.run([compiler, "-O2", str(source), f"-I{header}", "-o", program], check=True)
        writer = ShmWriter(_NAME, Offer.POSES)
        try:
            _write(writer, records, 1)
            read = _reader(program, "read", _READS)
            out, _ = read.communicate(timeout=30)
            read_us = float(out) * 1e-3
            late = _reader(program, "late", 1 + steps)
            _write(writer, records, steps)
            out, _ = late.communicate(timeout=30)
        finally:
            writer.close()
    latencies = np.array([int(line) for line in out.split()][1:])  # the first one was there before
    expect(len(latencies) >= 0.3 * steps, f"shm: of {steps} poses the reader saw {len(latencies)}")
    parts = [Timing.of(part.tolist()) for part in np.array_split(latencies, _PARTS)]
    p50_ms, p99_ms = (float(np.median([getattr(part, name) for part in parts])) for name in ("p50_ms", "p99_ms"))
    context.add_timing("shm.latency", Timing(p50_ms, p99_ms))
    context.add("shm.read.mean_us", read_us, "us", "lower", 0.5)


def _records(count: int) -> list[Array]:
    clip = smooth_motion(count)
    joints, turns = clip.joints()
    records = []
    for k in range(count):
        head = device_at_joint(joints[k, HEAD], turns[k, HEAD], DeviceKind.VIEW, "head")
        person = PosedBones(BodyPose(0, clip.rotations_xyzw[k], clip.root_positions_m[k]), clip.skeleton)
        records.append(pose_record(DrivenPose(person, HeadsetSample(k, 0, head), person)))
    return records


def _write(writer: ShmWriter, records: list[Array], count: int) -> None:
    due = time.perf_counter()
    for k in range(count):
        record = records[k % len(records)]
        record["sample_ns"] = shared_now_ns()  # the moment before it is written
        writer.write_pose(record)
        due += 1.0 / _RATE_HZ
        time.sleep(max(0.0, due - time.perf_counter()))


def _reader(program: str, what: str, count: int) -> subprocess.Popen[str]:
    reader = subprocess.Popen([program, _NAME, what, str(count)], stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    expect(reader.stdout.readline() == "reading\n", "shm: the reader did not begin")
    return reader


def _header() -> Path | None:
    """The folder of bodystream.h, of an installed package or of the repository."""
    package = Path(bodystream.__path__[0])
    folders = (package / "include", package.parents[1] / "include")
    return next((folder for folder in folders if (folder / "bodystream.h").is_file()), None)
