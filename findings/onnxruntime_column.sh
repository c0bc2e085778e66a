#!/usr/bin/env bash
# ONNX Runtime 1.31.1 on x86 and a matrix times one column, seen on 2026-11-30 with onnx 1.23.2 and numpy 2.4.6.
#
# `W @ x` with a vector x, as PyTorch exports what a pose or a code adds to a layer, is slower on the CPU provider than
# the same W times sixteen columns, which is sixteen times the work. The same numbers as a row times the transposed
# matrix (`x[None] @ W.T`, with W.T stored) take a tenth of the time or less.
# Nothing is logged, and no optimisation of the graph turns the product around.
# Output seen, processor time on one thread of an AMD EPYC with AVX-512, two runs:
#   396 x 120: one column / 16 columns 7.3 (8.3), column / row 17.0 (21.2)
#   4096 x 1024: one column / 16 columns 4.9 (25.2), column / row 10.7 (62.6)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/python -m pip install -q --disable-pip-version-check onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6
env/bin/python - <<'PY'
import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import time

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(0)


def session(words: tuple[str, str], constant: np.ndarray, given: tuple[int, ...], made: tuple[int, ...]):
    graph = helper.make_graph(
        [helper.make_node("MatMul", words, ["y"])],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, given)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, made)],
        [numpy_helper.from_array(constant, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


for height, width in ((396, 120), (4096, 1024)):
    weight = rng.standard_normal((height, width)).astype(np.float32)
    x = rng.standard_normal(width).astype(np.float32)
    runs = {
        "column": (session(("w", "x"), weight, (width,), (height,)), x),
        "columns": (session(("w", "x"), weight, (width, 16), (height, 16)), np.tile(x[:, None], 16)),
        "row": (session(("x", "w"), np.ascontiguousarray(weight.T), (1, width), (1, height)), x[None]),
    }
    answers = {name: run.run(None, {"x": feed})[0] for name, (run, feed) in runs.items()}
    assert np.allclose(answers["column"], answers["row"][0], atol=1e-3)
    assert np.allclose(answers["column"], answers["columns"][:, 3], atol=1e-3)
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(60):
        for name, (run, feed) in runs.items():
            began = time.process_time()
            run.run(None, {"x": feed})
            spent[name].append(time.process_time() - began)
    column, columns, row = (float(np.median(spent[name])) for name in ("column", "columns", "row"))
    print(f"{height} x {width}: one column / 16 columns {column / columns:.1f}, column / row {column / row:.1f}")
    assert column > 2.0 * columns, "changed: one column takes less than twice the time of sixteen"
    assert column > 4.0 * row, "changed: a column takes less than four times the time of a row"
PY
echo "as described"
