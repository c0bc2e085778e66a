from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bodystream.errors import InputError
from bodystream.sinks import (
    MachineSection,
    ReportBuilder,
    SourceSection,
    describe_machine,
    read_report,
    write_report,
)
from bodystream.timing import Spans
from bodystream.types import Status

MS = 1_000_000


def build(frames: int = 100, quality: bool = True, truth: bool = False):
    builder = ReportBuilder("folder:take", {"kernels": "cpu"}, sample_memory_every=10)
    rng = np.random.default_rng(0)
    latency = rng.uniform(20, 60, frames)
    for i in range(frames):
        t = i * 40 * MS
        status = Status.LOST if i % 10 == 9 else Status.TRACKED
        builder.add_frame(
            t,
            status,
            "nothing to match" if status is Status.LOST else "",
            nodes=100 + i % 7,
            vertices=20_000 + i,
            residuals={"icp_mm": float(i), "flow_px": float("nan")},
            done_t_ns=t + int(latency[i] * MS),
        )
        if quality:
            builder.add_quality(0.9 + 0.001 * i, 0.005 if i % 2 else 0.007, 0.010 if truth else float("nan"))
    return builder, latency


def test_names_that_scripts_rely_on(tmp_path: Path) -> None:
    builder, latency = build(truth=True)
    spans = Spans()
    durations = np.linspace(1, 101, 200)
    for d in durations:
        spans.add("solve", int(d * MS))
    report = builder.build(
        spans=spans,
        frames_in=110,
        frames_dropped=10,
        source=SourceSection("folder:take", 110, 3, 1, ["depth was in millimetres"]),
        buffer_growths=2,
        warnings=["viewer: no browser", "viewer: no browser"],
    )
    write_report(tmp_path / "report.json", report)
    got = json.loads((tmp_path / "report.json").read_text())
    assert got["frames"] == {"in": 110, "processed": 100, "dropped": 10}
    stage = got["stages"]["solve"]
    for name, q in (("p50_ms", 50), ("p95_ms", 95), ("p99_ms", 99)):
        assert stage[name] == pytest.approx(np.percentile(durations, q), abs=1e-5)
    for name, q in (("p50_ms", 50), ("p99_ms", 99)):
        assert got["latency"][name] == pytest.approx(np.percentile(latency, q), abs=1e-5)
    assert got["fps"] == pytest.approx(99 / (99 * 0.040 + (latency[-1] - latency[0]) * 1e-3), rel=1e-6)
    assert got["quality"]["silhouette_iou_mean"] == pytest.approx(0.9 + 0.001 * 49.5)
    assert got["quality"]["depth_residual_median_mm"] == pytest.approx(6.0)
    assert got["quality"]["surface_error_mean_mm"] == pytest.approx(10.0)
    assert got["tracking"]["status"] == {"tracked": 90, "degraded": 0, "lost": 10}
    assert got["tracking"]["reasons"] == {"nothing to match": 10}
    assert got["tracking"]["residuals"] == {"icp_mm": 49.5, "flow_px": None}
    assert got["graph"]["nodes"] == {"last": 100 + 99 % 7, "peak": 106}
    assert got["surface"]["vertices"]["last"] == 20_099
    assert got["source"]["warnings"] == ["depth was in millimetres"] and got["source"]["lost"] == 3
    assert got["warnings"] == ["viewer: no browser"]
    assert got["providers"] == {"kernels": "cpu"}
    assert 0 < got["memory"]["rss_start_mb"] <= got["memory"]["rss_peak_mb"]
    assert got["memory"]["buffer_growths"] == 2
    assert got["machine"]["libraries"]["numpy"] == np.__version__
    assert read_report(tmp_path / "report.json") == report


def test_nothing_measured_is_null_or_absent_never_nan(tmp_path: Path) -> None:
    builder = ReportBuilder("synthetic:0")
    builder.add_quality(float("nan"), float("inf"))
    write_report(tmp_path / "r.json", builder.build(spans=Spans(), frames_in=0))

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in JSON")

    got = json.loads((tmp_path / "r.json").read_text(), parse_constant=refuse)
    assert got["fps"] is None and got["latency"]["p99_ms"] is None
    assert got["quality"] == {"silhouette_iou_mean": None, "depth_residual_median_mm": None, "frames": 0}
    assert got["stages"] == {} and got["source"]["name"] == "synthetic:0"


def test_surface_error_only_where_the_truth_is_known() -> None:
    builder, _ = build(truth=False)
    assert builder.build(spans=Spans(), frames_in=1).quality.surface_error_mean_mm is None


def test_memory_slope_is_found() -> None:
    builder, _ = build(frames=400, quality=False)
    builder._figures._memory = [(f, 300.0 + (50.0 if f < 100 else 0.02 * f)) for f in range(0, 401, 10)]
    slope = builder._figures._growth()
    assert slope is not None and slope == pytest.approx(20.0)
    few, _ = build(frames=50, quality=False)
    assert few.build(spans=Spans(), frames_in=50).memory.growth_mb_per_1000_frames is None


def test_a_long_run_stays_small() -> None:
    builder = ReportBuilder("s", machine=describe_machine(), sample_memory_every=1)
    for i in range(20_000):
        builder.add_frame(i, Status.LOST, f"reason {i}", residuals={"a": 1.0}, done_t_ns=i + 1)
        builder._figures._memory[-1] = (i, 100.0)
    report = builder.build(spans=Spans(), frames_in=20_000)
    assert report.latency.p50_ms == pytest.approx(1e-6)
    figures = builder._figures
    assert len(figures._memory) <= 513 and len(figures._reasons.counts) <= 1000 and len(report.tracking.reasons) == 10


def test_machine_names_neither_user_nor_host() -> None:
    import getpass
    import socket

    machine = describe_machine()
    assert isinstance(machine, MachineSection)
    assert machine.cpu and 1 <= machine.cores <= machine.cores_total and machine.memory_mb > 100
    text = repr(machine)
    assert socket.gethostname() not in text or len(socket.gethostname()) < 4
    assert f"/{getpass.getuser()}" not in text


def test_not_a_report(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"frames": 3}')
    with pytest.raises(InputError, match="x.json is not a capture report"):
        read_report(tmp_path / "x.json")
