"""The suite of the server: its figures, with clients in a process of their own."""

from __future__ import annotations

from bodystream.device import select_device
from bodystream_bench.runner import run_suites


def test_a_round_trip_is_measured_beside_a_bare_echo() -> None:
    metrics = {metric.key: metric.value for metric in run_suites(select_device("cpu"), ("serve.roundtrip",), 90)}
    assert set(metrics) == {f"serve.roundtrip.{of}p{share}_ms" for of in ("", "echo.") for share in (50, 99)}
    assert all(value > 0.0 for value in metrics.values())
