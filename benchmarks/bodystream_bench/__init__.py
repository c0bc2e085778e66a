"""Benchmarks of speed and accuracy, with other packages measured beside ours in the same process."""

from bodystream_bench.metrics import Comparison, Metric, compare
from bodystream_bench.runner import run_suites

__all__ = ["Comparison", "Metric", "compare", "run_suites"]
