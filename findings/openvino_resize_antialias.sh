#!/usr/bin/env bash
# OpenVINO 2026.4.1 and `antialias` of ONNX Resize, seen on 2026-12-01 on a CPU with onnxruntime 1.31.1, onnx 1.23.2 and
# numpy 2.4.6.
#
# Resize-18 has the attribute `antialias`, so that a picture that is made smaller is averaged and not sampled. An engine
# that cannot do it should refuse the graph. OpenVINO takes it and resizes as if the attribute were 0, for the modes
# linear and cubic alike. Seen for a picture that is black but for one white column, made four times smaller: in ONNX
# Runtime the column is spread over its neighbours; in OpenVINO it is gone, or, by cubic, a dark shadow of itself. What
# an optical flow or a depth network sees of thin things and of fine texture differs between the two, and nothing is
# said. onnxruntime-ep-openvino 1.8.1 answers as OpenVINO does.
# Output seen (the sum of a row, times four, is what is left of the column):
#   linear, antialias 0: ONNX Runtime 0.000, OpenVINO 0.000
#   linear, antialias 1: ONNX Runtime 1.000, OpenVINO 0.000
#   cubic, antialias 0: ONNX Runtime -0.375, OpenVINO -0.375
#   cubic, antialias 1: ONNX Runtime 1.000, OpenVINO -0.375
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

picture = np.zeros((1, 1, 64, 64), np.float32)
picture[..., 27] = 1.0
core = openvino.Core()


def rows(mode: str, antialias: int) -> tuple[np.ndarray, np.ndarray]:
    """A row of the picture at a quarter of its size, by ONNX Runtime and by OpenVINO."""
    resize = helper.make_node("Resize", ["picture", "", "scales"], ["small"], mode=mode, antialias=antialias)
    graph = helper.make_graph(
        [resize],
        "resize",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, picture.shape)],
        [helper.make_tensor_value_info("small", TensorProto.FLOAT, [1, 1, 16, 16])],
        [helper.make_tensor("scales", TensorProto.FLOAT, [4], [1.0, 1.0, 0.25, 0.25])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "resize.onnx")
    session = onnxruntime.InferenceSession("resize.onnx", providers=["CPUExecutionProvider"])
    compiled = core.compile_model("resize.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return session.run(None, {"picture": picture})[0][0, 0, 8], compiled({"picture": picture})[0][0, 0, 8]


for mode in ("linear", "cubic"):
    without = rows(mode, 0)
    smooth = rows(mode, 1)
    for antialias, (runtime, vino) in enumerate((without, smooth)):
        print(f"{mode}, antialias {antialias}: ONNX Runtime {4 * runtime.sum():.3f}, OpenVINO {4 * vino.sum():.3f}")
    assert np.allclose(*without, atol=1e-5), "changed: they differ without antialias, too"
    assert abs(4 * smooth[0].sum() - 1.0) < 0.05, "changed: ONNX Runtime does not average"
    assert np.array_equal(smooth[1], without[1]), "OpenVINO takes antialias into account: this finding is history"
PY
echo "as described"
