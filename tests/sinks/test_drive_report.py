from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodystream.errors import ConfigurationError, InputError
from bodystream.sinks import (
    DriveReportBuilder,
    MachineSection,
    SourceSection,
    read_drive_report,
    read_report,
    write_drive_report,
)
from bodystream.sinks.reports.figures import Series, Tally
from bodystream.timing import Spans
from bodystream.types import BodyPose, Status

MS = 1_000_000
PERIOD_MS = 1000 / 90
MACHINE = MachineSection("a processor", 2, 4, 8000, "an os", "3.11", {"numpy": "2"})


def pose(t_ns: int, status: Status = Status.TRACKED, flags: tuple[str, ...] = (), reason: str = "") -> BodyPose:
    upright = np.tile(np.array([0, 0, 0, 1], np.float32), (22, 1))
    return BodyPose(t_ns, upright, np.zeros(3, np.float32), status, flags, reason=reason)


def drive(poses: int = 900, nominal_rate_hz: float | None = 90.0) -> tuple[DriveReportBuilder, np.ndarray, np.ndarray]:
    """A run of which every tenth pose lacks the left hand, and every hundredth both."""
    builder = DriveReportBuilder(
        "trace:take.json",
        nominal_rate_hz,
        bundles={"pose": "pose-cmu 1.0"},
        providers={"kernels": "cpu", "pose": "openvino"},
        machine=MACHINE,
        sample_memory_every=10,
    )
    rng = np.random.default_rng(1)
    latency_ms, age_ms = rng.gamma(4.0, 2.0, poses), rng.uniform(1, 30, poses)
    for i in range(poses):
        t_ns = round(i * PERIOD_MS * MS)
        flags: tuple[str, ...] = ("left_lost",) if i % 10 == 9 else ()
        flags += ("right_lost", "right_lost") if i % 100 == 99 else ()  # counted once
        status = Status.TRACKED if not flags else Status.DEGRADED if len(flags) == 1 else Status.LOST
        builder.add_pose(
            pose(t_ns, status, flags, "no hand is tracked" if len(flags) > 1 else ""),
            vertices=13_000 + i,
            residuals={"head_mm": float(i), "never": float("nan")},
            done_t_ns=t_ns + round(latency_ms[i] * MS),
        )
        builder.add_data_age(round(age_ms[i] * MS))
    return builder, latency_ms, age_ms


def test_names_and_figures_that_scripts_rely_on(tmp_path: Path) -> None:
    builder, latency_ms, age_ms = drive()
    builder.add_quality(0.001, (0.002, 0.004), joint_error_m=0.03)
    builder.add_quality(0.003, (0.006,), joint_error_m=0.05)
    builder.add_quality(float("nan"))
    builder.providers["pose"] = "cpu"
    spans, durations = Spans(), np.linspace(0.2, 2.2, 300)
    for d in durations:
        spans.add("sample", int(d * MS))
    report = builder.build(
        spans=spans,
        samples_in=910,
        samples_dropped=10,
        source=SourceSection("trace:take.json", 910, 4, 0, ["the clock jumped"]),
        calibration=["Standing height 1.82 m"],
        restarts=1,
        warnings=["viewer: no browser", "viewer: no browser"],
    )
    write_drive_report(tmp_path / "report.json", report)
    got = json.loads((tmp_path / "report.json").read_text())

    assert got["frames"] == {"in": 910, "processed": 900, "dropped": 10}
    for name, q in (("p50_ms", 50), ("p95_ms", 95), ("p99_ms", 99)):
        assert got["latency"][name] == pytest.approx(np.percentile(latency_ms, q), abs=1e-5)
        assert got["data_age"][name] == pytest.approx(np.percentile(age_ms, q), abs=1e-5)
        assert got["stages"]["sample"][name] == pytest.approx(np.percentile(durations, q), abs=1e-5)
    seconds = (899 * PERIOD_MS + latency_ms[-1] - latency_ms[0]) * 1e-3
    assert got["rate_hz"] == got["fps"] == pytest.approx(899 / seconds, rel=1e-6)
    late = int((latency_ms > PERIOD_MS).sum())
    assert 0 < late < 900
    assert got["budget"] == {
        "nominal_rate_hz": 90.0,
        "period_ms": pytest.approx(11.1111, abs=1e-3),
        "misses": late,
        "share": pytest.approx(late / 900),
        "worst_ms": pytest.approx(latency_ms.max(), abs=1e-5),
    }
    assert list(got["flags"].items()) == [("left_lost", 90), ("right_lost", 9)]
    assert got["tracking"]["status"] == {"tracked": 810, "degraded": 81, "lost": 9}
    assert got["tracking"]["reasons"] == {"no hand is tracked": 9}
    assert got["tracking"]["residuals"] == {"head_mm": 449.5, "never": None} and got["tracking"]["restarts"] == 1
    assert got["quality"]["head_error_mean_cm"] == pytest.approx(0.2)
    assert got["quality"]["hand_error_mean_cm"] == pytest.approx(0.4)
    assert got["quality"]["joint_error_mean_cm"] == pytest.approx(4.0) and got["quality"]["poses"] == 3
    assert got["surface"]["vertices"] == {"last": 13_899, "peak": 13_899}
    assert got["calibration"] == ["Standing height 1.82 m"]
    assert got["bundles"] == {"pose": "pose-cmu 1.0"} and got["providers"] == {"kernels": "cpu", "pose": "cpu"}
    assert got["source"]["warnings"] == ["the clock jumped"] and got["warnings"] == ["viewer: no browser"]
    assert got["machine"]["cpu"] == "a processor"
    assert 0 < got["memory"]["rss_start_mb"] <= got["memory"]["rss_peak_mb"]
    assert read_drive_report(tmp_path / "report.json") == report


def test_it_has_what_a_capture_s_report_has() -> None:
    """All but the deformation graph, which a driven body has none of."""
    from bodystream.sinks import CaptureReport, DriveReport

    assert set(CaptureReport.__struct_fields__) - set(DriveReport.__struct_fields__) == {"graph"}
    capture = CaptureReport.__annotations__
    same = [name for name in capture if name in DriveReport.__annotations__ and name != "quality"]
    assert all(DriveReport.__annotations__[name] == capture[name] for name in same)


def test_nothing_driven_is_null_or_absent_never_nan(tmp_path: Path) -> None:
    builder = DriveReportBuilder("synthetic:0", machine=MACHINE)
    builder.add_quality(float("nan"), (float("inf"),))
    write_drive_report(tmp_path / "r.json", builder.build(spans=Spans(), samples_in=0))

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in JSON")

    got = json.loads((tmp_path / "r.json").read_text(), parse_constant=refuse)
    empty = {"p50_ms": None, "p95_ms": None, "p99_ms": None}
    assert got["rate_hz"] is None and got["latency"] == got["data_age"] == empty
    assert got["budget"] == {
        "nominal_rate_hz": None,
        "period_ms": None,
        "misses": 0,
        "share": None,
        "worst_ms": None,
    }
    assert got["quality"] == {"head_error_mean_cm": None, "hand_error_mean_cm": None, "poses": 1}
    assert got["flags"] == {} and got["stages"] == {} and got["source"]["name"] == "synthetic:0"


def test_without_a_nominal_rate_nothing_is_missed() -> None:
    builder, latency_ms, _ = drive(nominal_rate_hz=None)
    budget = builder.build(spans=Spans(), samples_in=900).budget
    assert budget.misses == 0 and budget.share is None
    assert budget.worst_ms == pytest.approx(latency_ms.max(), abs=1e-5)


@pytest.mark.parametrize("rate", [0.0, -90.0, float("nan"), float("inf")])
def test_a_rate_that_is_none(rate: float) -> None:
    with pytest.raises(ConfigurationError, match="nominal rate of trace:x must be a positive number"):
        DriveReportBuilder("trace:x", rate, machine=MACHINE)


def test_a_day_stays_small() -> None:
    """Twenty minutes at 90 Hz with flags and reasons that are never the same: the buffers are full after nine."""
    builder = DriveReportBuilder("s", 90.0, machine=MACHINE, sample_memory_every=500)
    count = 108_000
    for i in range(count):
        # The first half is late, the second is not: percentiles are of the last minutes, misses of all.
        late = i < count // 2
        builder._figures.add(i, Status.TRACKED, f"reason {i}", None, i + (50 if late else 5) * MS)
    for i in range(3000):
        builder.add_pose(pose(i, flags=(f"flag {i}",)), done_t_ns=i + 5 * MS)
    report = builder.build(spans=Spans(), samples_in=count)
    assert report.frames.processed == count + 3000
    assert report.latency.p99_ms == pytest.approx(5.0) and report.budget.worst_ms == pytest.approx(50.0)
    assert len(report.flags) == 1000 and len(report.tracking.reasons) == 10
    assert len(builder._figures._memory) <= 513
    assert builder._figures.latency._ring.nbytes == builder._age._ring.nbytes == 49152 * 8


def test_not_a_report(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"frames": 3}')
    with pytest.raises(InputError, match="x.json is not a report of a driven body"):
        read_drive_report(tmp_path / "x.json")
    with pytest.raises(InputError, match="absent.json is not a report of a driven body"):
        read_drive_report(tmp_path / "absent.json")
    builder, _, _ = drive(3)
    write_drive_report(tmp_path / "drive.json", builder.build(spans=Spans(), samples_in=3))
    with pytest.raises(InputError, match="drive.json is not a capture report"):
        read_report(tmp_path / "drive.json")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), max_size=40), st.integers(1, 12))
def test_series_against_numpy(values: list[float], window: int) -> None:
    series = Series(window)
    for value in values:
        series.add(value)
    finite = [v for v in values if v == v]
    if not finite:
        assert series.percentiles(50, 99) == [None, None] and series.mean is None and series.largest is None
        return
    assert series.percentiles(10, 50, 99) == pytest.approx(np.percentile(finite[-window:], (10, 50, 99)))
    assert series.mean == pytest.approx(np.mean(finite), abs=1e-6) and series.largest == max(finite)


def test_commonest_first() -> None:
    tally = Tally()
    for name in ["a", "b", "", "b", "c", "b", "c"]:
        tally.add(name)
    assert list(tally.commonest().items()) == [("b", 3), ("c", 2), ("a", 1)]
    assert list(tally.commonest(1)) == ["b"]
