"""An embedding of the shipped body without training: features are linear in the codes, a joint's turn for each of pose.

It has joints and a skin, knows thick, thin, tall and short people, and takes seconds to make. Needs onnx.
"""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import numpy as np

from bodystream.avatar.rig import bone_transforms, load_rig, skin
from bodystream.body import AcapSpace
from bodystream.body.bundle import (
    ARRAYS,
    DECODER,
    GRADIENT,
    KIND,
    BodyFacts,
    decoder_signature,
    gradient_signature,
)
from bodystream.body.parts import parts_of_joints
from bodystream.bundles import GraphSection
from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS
from bodystream.types import Array
from helpers.body_meshes import shipped_body, shipped_skin
from helpers.bundles import write_bundle
from helpers.needs import needs

__all__ = ["TURNS", "linear_people"]

_UNIT_RAD = 0.4
TURNS = (
    *((f"{side}_{joint}", axis) for side in ("left", "right") for joint, axis in (
        ("shoulder", 0), ("shoulder", 1), ("shoulder", 2), ("elbow", 1), ("hip", 0), ("hip", 2), ("knee", 0))),
    ("spine2", 0), ("spine2", 1), ("neck", 1),
)  # fmt: skip
"""Of each pose code the joint that it turns and the axis, in the rig's axes, by 0.4 rad for 1."""


def _shapes(vertices: Array) -> list[Array]:
    """Of each shape code the reference changed by 1: tall, wide, deep, and with a belly."""
    x, y, z = vertices.T
    share = (y - y.min()) / np.ptp(y)
    belly = np.exp(-(((share - 0.6) / 0.08) ** 2)) * (np.abs(x) < 0.2)
    return [
        np.stack([1.03 * x, 1.04 * y, 1.03 * z], axis=1),
        np.stack([1.06 * x, y, z], axis=1),
        np.stack([x, y, 1.08 * z], axis=1),
        np.stack([x * (1.0 + 0.1 * belly), y, z * (1.0 + 0.2 * belly)], axis=1),
    ]


def linear_people(folder: Path) -> Path:
    """Write the bundle; its folder."""
    onnx = needs("onnx", "pip install 'bodystream[export]'")
    from onnx import helper, numpy_helper

    mesh, kept = shipped_body()
    space, rig = AcapSpace(mesh), load_rig()
    zero = space.features(mesh.vertices)
    rows = [space.features(vertices) - zero for vertices in _shapes(mesh.vertices)]
    shapes = len(rows)
    for joint, axis in TURNS:
        vectors = np.zeros((1, len(JOINTS), 3))
        vectors[0, JOINT_INDEX[joint], axis] = 2.0 * _UNIT_RAD
        posed = skin(rig, bone_transforms(rig, matrix_from_rotation_vector(vectors), np.zeros((1, 3)))[0], kept)
        rows.append(0.5 * (space.features(posed) - zero))
    weights, bias = (np.reshape(a, (n, -1)).astype(np.float32) for a, n in ((rows, len(rows)), (zero, 1)))
    facts = BodyFacts("linear", len(kept), 16, shapes, len(TURNS), False, True)
    body_skin = shipped_skin()
    parts = parts_of_joints()[body_skin.skin_weights.argmax(axis=1)]
    buffer = io.BytesIO()
    np.savez(
        buffer, reference=mesh.vertices, faces=mesh.faces, parts=parts, laid_by=parts < 3,
        low=np.full((len(kept), 9), -1.0), high=np.full((len(kept), 9), 1.0), joint_weights=body_skin.joint_weights,
        skin_weights=body_skin.skin_weights,
    )  # fmt: skip

    def model(nodes: list, stored: dict[str, Array], signature) -> bytes:
        def value(name: str, spec) -> object:
            return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(spec.shape))

        graph = helper.make_graph(
            nodes, "linear", [value(*item) for item in signature.inputs.items()],
            [value(*item) for item in signature.outputs.items()],
            [numpy_helper.from_array(array, name) for name, array in stored.items()],
        )  # fmt: skip
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        onnx.checker.check_model(made)
        return made.SerializeToString()

    flat, whole = np.array([-1, weights.shape[1]]), np.array([-1, len(kept), 9])
    decoder = model(
        [
            helper.make_node("Concat", ["shape", "pose"], ["codes"], axis=1),
            helper.make_node("MatMul", ["codes", "w"], ["product"]),
            helper.make_node("Add", ["product", "b"], ["sum"]),
            helper.make_node("Reshape", ["sum", "whole"], ["features"]),
        ],
        {"w": weights, "b": bias, "whole": whole}, decoder_signature(facts),
    )  # fmt: skip
    gradient = model(
        [
            helper.make_node("Reshape", ["features_bar", "flat"], ["bar"]),
            helper.make_node("MatMul", ["bar", "t"], ["codes_bar"]),
            helper.make_node("Split", ["codes_bar", "sizes"], ["shape_bar", "pose_bar"], axis=1),
        ],
        {"t": np.ascontiguousarray(weights.T), "flat": flat, "sizes": np.array([shapes, len(TURNS)])},
        gradient_signature(facts),
    )  # fmt: skip
    graphs = {
        name: GraphSection(inputs=signature.inputs, outputs=signature.outputs)
        for name, signature in ((DECODER, decoder_signature(facts)), (GRADIENT, gradient_signature(facts)))
    }
    return write_bundle(
        folder, KIND, {DECODER: decoder, GRADIENT: gradient, ARRAYS: buffer.getvalue()},
        body=msgspec.to_builtins(facts), graphs=msgspec.to_builtins(graphs), metrics={}, schema=1,
    )  # fmt: skip
