"""The schema of a figure, reading and writing baselines, and what counts as a regression."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bodystream_bench
from bodystream.cli.bench import Bench
from bodystream.errors import InputError
from bodystream_bench.measuring import Context
from bodystream_bench.metrics import Baseline, Metric, compare, load_baseline, metrics_json, save_baseline

COMMITTED = Path(bodystream_bench.__file__).parent
SOLVER = Metric("solver.10k.p50_ms", 10.0, "ms", "lower", 0.25)
SPEEDUP = Metric("solver.10k.speedup_vs_dense", 80.0, "x", "higher", 0.4)


def at(metric: Metric, value: float) -> Metric:
    return Metric(metric.key, value, metric.unit, metric.direction, metric.tolerance)


def test_json_is_a_list_of_exactly_the_five_fields() -> None:
    rows = json.loads(metrics_json([SOLVER, SPEEDUP]))
    assert [set(row) for row in rows] == [{"key", "value", "unit", "direction", "tolerance"}] * 2
    assert rows[0] == {
        "key": "solver.10k.p50_ms", "value": 10.0, "unit": "ms", "direction": "lower", "tolerance": 0.25,
    }  # fmt: skip
    assert json.loads(metrics_json([])) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"value": math.nan}, "value"),
        ({"value": math.inf}, "value"),
        ({"value": "fast"}, "value"),
        ({"value": True}, "value"),
        ({"tolerance": -0.1}, "tolerance"),
        ({"tolerance": math.nan}, "tolerance"),
        ({"direction": "sideways"}, "direction"),
        ({"key": ""}, "key"),
        ({"key": "solver..p50_ms"}, "key"),
        ({"unit": 3}, "unit"),
    ],
)
def test_impossible_metrics_are_refused(change: dict, said: str) -> None:
    good = {"key": "a.b", "value": 1.0, "unit": "ms", "direction": "lower", "tolerance": 0.1}
    Metric(**good)
    with pytest.raises(InputError, match=said):
        Metric(**{**good, **change})


@pytest.mark.parametrize(
    ("metric", "now", "regressed"),
    [
        (SOLVER, 12.49, False),
        (SOLVER, 12.51, True),
        (SOLVER, 1.0, False),
        (SPEEDUP, 48.1, False),
        (SPEEDUP, 47.9, True),
        (SPEEDUP, 800.0, False),
        (at(SOLVER, 0.0), 0.0, False),
        (at(SOLVER, 0.0), 0.1, True),
        (at(SPEEDUP, -10.0), -13.9, False),
        (at(SPEEDUP, -10.0), -14.1, True),
    ],
)
def test_regression_is_worse_by_more_than_the_tolerance(metric: Metric, now: float, regressed: bool) -> None:
    (row,) = compare([at(metric, now)], [metric])
    assert row.regressed is regressed and row.value == now and row.baseline == metric.value
    if metric.value:
        assert row.ratio == pytest.approx(now / metric.value)
    else:
        assert math.isnan(row.ratio)


@given(st.floats(0.01, 1e6), st.floats(0.01, 1e6), st.floats(0, 2), st.sampled_from(["lower", "higher"]))
def test_better_or_equal_is_never_a_regression(now: float, before: float, tolerance: float, direction: str) -> None:
    better = now <= before if direction == "lower" else now >= before
    (row,) = compare([Metric("a", now, "ms", direction, tolerance)], [Metric("a", before, "ms", direction, tolerance)])
    assert not (better and row.regressed)


def test_figures_without_a_counterpart_are_listed_and_no_regression() -> None:
    rows = compare([SOLVER, Metric("new.one", 1.0, "ms", "lower", 0.0)], [at(SOLVER, 9.0), SPEEDUP])
    assert [row.key for row in rows] == ["solver.10k.p50_ms", "new.one", "solver.10k.speedup_vs_dense"]
    assert rows[1].baseline is None and rows[2].value is None
    assert not any(row.regressed for row in rows)


def test_baseline_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    save_baseline(file, [SOLVER, SPEEDUP], {"processor": "abc"})
    assert load_baseline(file) == Baseline(file, [SOLVER, SPEEDUP], {"processor": "abc"})
    save_baseline(file, [SOLVER], {}, {"solver": "generated"})
    assert load_baseline(file) == Baseline(file, [SOLVER], {}, {"solver": "generated"})
    assert [entry.name for entry in tmp_path.iterdir()] == ["baseline.json"]


def test_output_of_json_is_a_baseline_too(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text(metrics_json([SOLVER]))
    assert load_baseline(file) == Baseline(file, [SOLVER])


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "3", 
        "[" * 100_000, '{"metrics": [], "frames": 3}', '{"metrics": [], "machine": []}',
         '"text"', "{}", '{"metrics": 3}', "[3]", '[{"key": "a"}]',
        '[{"key": "a", "value": 1, "unit": "ms", "direction": "lower", "tolerance": 0, "more": 1}]',
        '[{"key": 1, "value": 1, "unit": "ms", "direction": "lower", "tolerance": 0}]',
        '[{"key": "a", "value": NaN, "unit": "ms", "direction": "lower", "tolerance": 0}]',
        json.dumps([json.loads(metrics_json([SOLVER]))[0]] * 2),
    ],
)  # fmt: skip
def test_files_that_hold_something_else_are_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "broken.json"
    file.write_text(content)
    with pytest.raises(InputError, match="broken.json|metric"):
        load_baseline(file)


def test_files_that_cannot_be_read_or_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere.json"):
        load_baseline(tmp_path / "nowhere.json")
    with pytest.raises(InputError, match="deep"):
        (tmp_path / "deep").write_text("a file")
        save_baseline(tmp_path / "deep" / "b.json", [SOLVER], {})


@pytest.mark.parametrize("name", ["baseline.json", "baseline_generated.json"])
def test_committed_baselines_are_readable_and_say_what_they_were_measured_on(name: str) -> None:
    """They are written by `bodystream bench --save-baseline`; the keys that scripts rely on are there."""
    baseline = load_baseline(COMMITTED / name)
    keys = {metric.key for metric in baseline.metrics}
    assert {"solver.10k.p50_ms", "solver.10k.speedup_vs_dense", "solver.all.p50_ms"} <= keys
    assert {"fusion.integrate.p50_ms", "fusion.surface.p50_ms"} <= keys
    assert baseline.machine["processor"]
    assert set(baseline.frames) == {"solver", "icp", "fusion", "flow", "foreground"}
    made = {"generated", "synthetic camera"}
    assert set(baseline.frames.values()) == made if "generated" in name else not made & set(baseline.frames.values())
    # Only ratios to peers that were there can be compared; suites without frames are in the first file alone.
    peers = {"dense", "open3d"}
    if "generated" not in name:
        assert {"pose.sample.p50_ms", "drive.p50_ms", "drive.p99_ms"} <= keys
        peers |= {"numpy", "torch"}
    for peer in peers:
        assert any(key.endswith(f"_vs_{peer}") for key in keys)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_bench_compares_with_them(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    words = ["make", "-n", "bench", f"VENV={tmp_path / 'venv'}"]
    said = subprocess.run(words, cwd=root, capture_output=True, text=True, timeout=60, check=True).stdout
    command = next(line for line in said.splitlines() if "bodystream bench" in line)
    assert "--judge ratios" in command and "make bench" in (root / ".ci" / "nightly").read_text()
    named = [root / word for word in command.split() if word.endswith(".json")]
    assert named == [COMMITTED / "baseline.json", COMMITTED / "baseline_generated.json"]


def test_each_suite_is_compared_with_the_baseline_of_its_own_frames(capsys: pytest.CaptureFixture[str]) -> None:
    recorded = Baseline(Path("recorded.json"), [at(SPEEDUP, 80.0)], {"processor": "a"}, {"solver": "take"})
    generated = Baseline(Path("generated.json"), [at(SPEEDUP, 8.0)], {"processor": "a"}, {"solver": "generated"})
    machine = {"processor": "b", "processors": 2, "device": "cpu"}
    for frames, value, code in (("take", 70.0, 0), ("take", 8.0, 1), ("generated", 8.0, 0), ("generated", 1.0, 1)):
        measured = Context(device=None, metrics=[at(SPEEDUP, value)], frames={"solver": frames})  # type: ignore[arg-type]
        assert Bench(judge="ratios")._judge(measured, [recorded, generated], machine) == code
        said = capsys.readouterr().out
        assert ("REGRESSED" in said) == bool(code) and f"{'recorded' if frames == 'take' else frames}.json" in said
        assert "1 figures judged" in said and all(len(line) <= 80 for line in said.splitlines())
    other = Context(device=None, metrics=[at(SPEEDUP, 1.0)], frames={"solver": "somebody's"})  # type: ignore[arg-type]
    assert Bench(judge="all")._judge(other, [recorded, generated], machine) == 1
    captured = capsys.readouterr()
    assert "measured on take" in captured.out and "nothing could be judged" in captured.err


def test_times_of_another_machine_and_figures_of_other_frames_are_shown_and_not_judged() -> None:
    now = [at(SOLVER, 30.0), at(SPEEDUP, 10.0)]
    time, ratio = compare(now, [SOLVER, SPEEDUP], times=False)
    assert (time.regressed, time.not_judged) == (False, "another machine's time")
    assert ratio.regressed and not ratio.not_judged
    for row in compare(now, [SOLVER, SPEEDUP], other_frames={"solver": "measured on generated"}):
        assert not row.regressed and row.not_judged == "measured on generated"
    (better,) = compare([at(SPEEDUP, 200.0)], [SPEEDUP])
    assert better.improved and not better.regressed


@given(st.binary(max_size=200))
def test_fuzz_bytes_that_are_no_baseline_are_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.mktemp("baseline") / "b.json"
    file.write_bytes(data)
    with pytest.raises(InputError):
        load_baseline(file)
