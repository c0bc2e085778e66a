#!/usr/bin/env bash
# OpenVINO 2026.4.1 and ONNX LpNormalization, seen on 2026-12-01 on an x86 CPU with onnxruntime 1.31.1, onnx 1.23.2 and
# numpy 2.4.6.
#
# LpNormalization-22 divides a vector by its norm, has no epsilon, and says that a vector of zeros stays zeros. One
# expects what comes out to have the length 1 or 0, as it has in ONNX Runtime. OpenVINO divides by the root of the sum
# of squares plus 1.2e-7, the epsilon of float32, which is the square of 0.35 mm in metres: the direction of a step of
# 1 mm has the length 0.945, and that of 0.1 mm 0.278. With p=1 it adds the same number to the sum of magnitudes.
# Nothing is said, and vectors of usual lengths do not tell. Written out as ReduceL2 and Div the same is right in both.
# onnxruntime-ep-openvino 1.8.1 answers as OpenVINO does.
# Output seen:
#   lengths of vectors: 0 0.0001 0.001 0.01 1
#   LpNormalization, p=2: ONNX Runtime 0.0000 1.0000 1.0000 1.0000 1.0000, OpenVINO 0.0000 0.2782 0.9452 0.9994 1.0000
#   LpNormalization, p=1: ONNX Runtime 0.0000 1.0000 1.0000 1.0000 1.0000, OpenVINO 0.0000 0.9988 0.9999 1.0000 1.0000
#   ReduceL2 and Div: ONNX Runtime 1.0000 1.0000 1.0000 1.0000, OpenVINO 1.0000 1.0000 1.0000 1.0000 (without the first)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/python -m pip install -q --disable-pip-version-check openvino==2026.4.1 onnxruntime==1.31.1 onnx==1.23.2 \
    numpy==2.4.6
env/bin/python - <<'PY'
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper

LENGTHS = np.array([0.0, 1e-4, 1e-3, 1e-2, 1.0])
EPSILON = float(np.finfo(np.float32).eps)
DIRECTION = np.array([2.0, -1.0, 2.0])
core = openvino.Core()


def norms(nodes: list[onnx.NodeProto], lengths: np.ndarray, p: int) -> list[np.ndarray]:
    """Of what ONNX Runtime and OpenVINO make of vectors of these lengths."""
    vectors = (lengths[:, None] * DIRECTION / np.linalg.norm(DIRECTION, ord=p)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "directions",
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, vectors.shape)],
        [helper.make_tensor_value_info("directions", TensorProto.FLOAT, vectors.shape)],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])] if len(nodes) > 1 else [],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "directions.onnx")
    session = onnxruntime.InferenceSession("directions.onnx", providers=["CPUExecutionProvider"])
    compiled = core.compile_model("directions.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    answers = session.run(None, {"vectors": vectors})[0], compiled({"vectors": vectors})[0]
    return [np.linalg.norm(answer.astype(np.float64), ord=p, axis=1) for answer in answers]


def show(title: str, runtime: np.ndarray, vino: np.ndarray, more: str = "") -> None:
    one, other = (" ".join(f"{norm:.4f}" for norm in found) for found in (runtime, vino))
    print(f"{title}: ONNX Runtime {one}, OpenVINO {other}{more}")


print("lengths of vectors:", *(f"{length:g}" for length in LENGTHS))
right = (LENGTHS > 0.0).astype(float)
for p in (2, 1):
    runtime, vino = norms([helper.make_node("LpNormalization", ["vectors"], ["directions"], axis=1, p=p)], LENGTHS, p)
    show(f"LpNormalization, p={p}", runtime, vino)
    assert np.allclose(runtime, right, atol=1e-6), "changed: ONNX Runtime does not normalise"
    assert not np.allclose(vino, right, atol=1e-6), "OpenVINO normalises short vectors: this finding is history"
    assert np.allclose(vino, LENGTHS / (LENGTHS**p + EPSILON) ** (1.0 / p), atol=1e-6), "changed: another epsilon"

runtime, vino = norms(
    [
        helper.make_node("ReduceL2", ["vectors", "axes"], ["lengths"], keepdims=1),
        helper.make_node("Div", ["vectors", "lengths"], ["directions"]),
    ],
    LENGTHS[1:],
    2,
)
show("ReduceL2 and Div", runtime, vino, " (without the first)")
assert np.allclose([runtime, vino], 1.0, atol=1e-6), "changed: ReduceL2 and Div do not normalise"
PY
echo "as described"
