#!/usr/bin/env bash
# ONNX Runtime 1.31.1 on x86 and convolutions whose input channels are no multiple of 16, seen on 2026-11-29 with onnx
# 1.23.2 and numpy 2.4.6.
#
# The CPU provider keeps feature maps in blocks of channels (com.microsoft.nchwc) and convolves them without unfolding the
# image. It does so for a layer only where its input channels fill whole blocks (16 floats with AVX-512, 8 with AVX2);
# more work is then less time. Dense flow decoders are never that lucky: PWC-Net's finest one has 117, 245, 373, 469, 533
# and 565 channels. Seen: the layer 565 -> 128 is left as an unfolded product; with eleven more channels of zeros, which
# change no answer, it becomes a blocked convolution, and took 0.88 of the time on one thread with AVX-512.
# Nothing is logged either way. Nets for this provider want their concatenations padded to multiples of 16.
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
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

HEIGHT, WIDTH, OUT = 56, 80, 128
rng = np.random.default_rng(0)
weight = (0.02 * rng.standard_normal((OUT, 565, 3, 3))).astype(np.float32)
image = rng.standard_normal((1, 565, HEIGHT, WIDTH)).astype(np.float32)


def session(channels: int) -> tuple[ort.InferenceSession, list[str]]:
    """A convolution of so many input channels, those beyond 565 with weights of 0, and one after it."""
    wide = np.zeros((OUT, channels, 3, 3), np.float32)
    wide[:, :565] = weight
    shape = (1, channels, HEIGHT, WIDTH)
    conv = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], **conv)],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, OUT, HEIGHT, WIDTH))],
        [numpy_helper.from_array(wide, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.optimized_model_filepath = f"{channels}.onnx"
    options.log_severity_level = 3  # it warns that what it writes is for this machine
    made = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(f"{channels}.onnx", load_external_data=False).graph.node
    return made, [f"{node.domain or 'ai.onnx'}.{node.op_type}" for node in nodes]


plain, plain_nodes = session(565)
padded, padded_nodes = session(576)
wider = np.concatenate([image, np.zeros((1, 11, HEIGHT, WIDTH), np.float32)], axis=1)
print("565 channels:", plain_nodes)
print("576 channels:", padded_nodes)
assert not any("nchwc" in node for node in plain_nodes), "changed: 565 channels are blocked now"
assert any("nchwc.Conv" in node for node in padded_nodes), "changed: 576 channels are not blocked"
one, other = plain.run(None, {"x": image})[0], padded.run(None, {"x": wider})[0]
print("largest difference:", float(np.abs(one - other).max()))
assert np.allclose(one, other, atol=1e-3)

spent: dict[str, list[float]] = {"plain": [], "padded": []}
for _ in range(15):
    for name, run, feed in (("plain", plain, image), ("padded", padded, wider)):
        began = time.process_time()
        run.run(None, {"x": feed})
        spent[name].append(time.process_time() - began)
print(f"padded / plain, processor time: {np.median(spent['padded']) / np.median(spent['plain']):.2f} (informs only)")
PY
echo "as described"
