"""Which operators of ONNX TensorRT's parser takes, and of which types: its published table as data.

Source: docs/operators.md of https://github.com/onnx/onnx-tensorrt as published with TensorRT 10.15 (2 February 2026),
the newest that was public when this was written: the table of TensorRT 11 may take more.
"""

from __future__ import annotations

from typing import Final

__all__ = ["OPERATORS", "OPSETS", "RESTRICTIONS", "TABLE_DATE", "TABLE_SOURCE", "TABLE_VERSION"]

TABLE_SOURCE: Final = "https://github.com/onnx/onnx-tensorrt/blob/main/docs/operators.md"
TABLE_VERSION: Final = "10.15"
TABLE_DATE: Final = "2026-02-02"
OPSETS: Final = (9, 24)
"""Of the domain ai.onnx, the first and the last that the parser reads."""

_FLOATS = "float32 float16 bfloat16"
_NUMBERS = f"{_FLOATS} int32 int64"
_ALL = f"{_NUMBERS} bool"
_STORED = "float8 float4 int4"

_BY_TYPES = {
    _FLOATS: """
        Acos Acosh Asin Asinh Atan Atanh AveragePool BatchNormalization Ceil Celu Clip Conv ConvTranspose Cos Cosh
        CumSum Dropout Einsum Elu Erf Exp Floor GRU Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool
        GroupNormalization HardSigmoid HardSwish Hardmax ImageScaler InstanceNormalization IsInf LRN LSTM
        LayerNormalization LeakyRelu Log LogSoftmax LpNormalization LpPool MatMul MaxPool MeanVarianceNormalization
        PRelu ParametricSoftplus QuantizeLinear RMSNormalization RNN RandomNormal RandomNormalLike RandomUniform
        RandomUniformLike Reciprocal Resize RotaryEmbedding Round ScaledTanh Scan Selu Sigmoid Sin Sinh Softmax
        Softplus Softsign Sqrt Tan Tanh ThresholdedRelu Upsample""",
    "float32 float16": """
        BlackmanWindow DeformConv GridSample HammingWindow HannWindow Mish NonMaxSuppression NonZero RoiAlign""",
    "float32": "STFT",
    _NUMBERS: """
        Abs Add ArgMax ArgMin DepthToSpace Div Equal Greater GreaterOrEqual IsNaN Less LessOrEqual Max Min Mod Mul Neg
        Pad Pow Range ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
        ReduceSum ReduceSumSquare Relu Scatter ScatterElements ScatterND Shrink Sign SpaceToDepth Sub Sum TopK""",
    f"{_FLOATS} int32": "TensorScatter",
    _ALL: """
        Concat Expand EyeLike Flatten Gather GatherElements GatherND Identity If Loop OneHot Reshape ReverseSequence
        Shape Size Slice Split Squeeze Tile Transpose Trilu Unsqueeze Where""",
    f"{_ALL} uint8": "Cast CastLike",
    f"{_ALL} {_STORED}": "Constant ConstantOfShape",
    "bool": "And Not Or Xor",
    f"{_NUMBERS} float8": "Mean",
    f"{_NUMBERS} int8": "Gelu",
    f"{_FLOATS} int8 float8": "Attention",
    f"int8 {_STORED}": "DequantizeLinear",
}

OPERATORS: Final[dict[str, frozenset[str]]] = {
    operator: frozenset(types.split()) for types, operators in _BY_TYPES.items() for operator in operators.split()
}
"""Types that each operator is taken with; those that are not here are not taken."""

RESTRICTIONS: Final[dict[str, str]] = {
    "Attention": "tensors of four dimensions, no past keys and values, no softcap",
    "DeformConv": "one or two dimensions, the same padding before and after",
    "GRU": "the same activations in both directions",
    "If": "both branches of the same rank, with outputs of different names",
    "LSTM": "the same activations in both directions, input_forget 0, layout 0",
    "Loop": "lengths and carried shapes that stay the same",
    "RNN": "the same activations in both directions",
    "RotaryEmbedding": "positions of 64 bits",
    "STFT": "real values, frame step and window known when the plan is built",
    "TensorScatter": "tensors of four dimensions, axis -2",
}
"""What the table asks of an operator beside its types and is not looked into here, for people to read."""
