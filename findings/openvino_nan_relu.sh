#!/usr/bin/env bash
# OpenVINO 2026.4.1 and what is no number, seen on 2026-12-01 on an x86 CPU with onnxruntime 1.31.1, onnx 1.23.2 and
# numpy 2.4.6.
#
# A depth picture has NaN where nothing was measured. One expects NaN wherever a network's answer depends on such a
# pixel, and looks at the answer with isfinite. Two convolutions of 3 x 3 with something between them make 25 of one.
# Seen:
#   nothing or LeakyRelu between:  25 NaN in ONNX Runtime and in OpenVINO;
#   Relu, or Clip to 0..6:         25 in ONNX Runtime, 0 in OpenVINO, whose Relu and Clip make 0 of NaN: plain numbers,
#                                  as if something had been measured there.
# Which of the two a person gets depends on the engine alone, and nothing is said. onnxruntime-ep-openvino 1.8.1 answers
# as OpenVINO does. What goes into a network has to be looked at, not only what comes out.
# Output seen:
#   nothing: NaN in ONNX Runtime 25, in OpenVINO 25
#   LeakyRelu: NaN in ONNX Runtime 25, in OpenVINO 25
#   Relu: NaN in ONNX Runtime 25, in OpenVINO 0
#   Clip: NaN in ONNX Runtime 25, in OpenVINO 0
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
from onnx import TensorProto, helper, numpy_helper

SIZE, CHANNELS = 9, 16
random = np.random.default_rng(0)
weights = [
    numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name)
    for name, shape in (("first", (CHANNELS, 1, 3, 3)), ("second", (1, CHANNELS, 3, 3)))
]
limits = [helper.make_tensor(name, TensorProto.FLOAT, [], [limit]) for name, limit in (("low", 0.0), ("high", 6.0))]
depth = random.uniform(1.0, 3.0, size=(1, 1, SIZE, SIZE)).astype(np.float32)
depth[0, 0, SIZE // 2, SIZE // 2] = np.nan
core = openvino.Core()


def answers(between: str) -> list[np.ndarray]:
    """Of two convolutions with an operator between them, by ONNX Runtime and by OpenVINO."""
    nodes = [helper.make_node("Conv", ["depth", "first"], ["a"], pads=[1] * 4)]
    if between != "nothing":
        nodes.append(helper.make_node(between, ["a", "low", "high"] if between == "Clip" else ["a"], ["b"]))
    nodes.append(helper.make_node("Conv", [nodes[-1].output[0], "second"], ["answer"], pads=[1] * 4))
    shape = [1, 1, SIZE, SIZE]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("depth", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, shape)],
        [*weights, *(limits if between == "Clip" else [])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "net.onnx")
    session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    compiled = core.compile_model("net.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [session.run(None, {"depth": depth})[0], compiled({"depth": depth})[0]]


for between, kept in (("nothing", 25), ("LeakyRelu", 25), ("Relu", 0), ("Clip", 0)):
    runtime, vino = answers(between)
    far = ~np.isnan(runtime)
    nans = [int(np.isnan(answer).sum()) for answer in (runtime, vino)]
    print(f"{between}: NaN in ONNX Runtime {nans[0]}, in OpenVINO {nans[1]}")
    assert np.allclose(runtime[far], vino[far], rtol=1e-4, atol=1e-3), "changed: they differ far from the hole, too"
    assert nans == [25, kept], "changed"
PY
echo "as described"
