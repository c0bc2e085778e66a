"""What a bundle of the kind `body-decoder` holds: graphs between codes and features, and the mesh they belong to."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

from bodystream.body.acap import AcapSpace
from bodystream.body.scaling import FeatureScale
from bodystream.body.skin import BodySkin, skin_of_arrays
from bodystream.bundles import Bundle, Signature, TensorSpec, read_npz
from bodystream.errors import BundleError, InputError
from bodystream.types import Array, Mesh

__all__ = [
    "ARRAYS",
    "DECODER",
    "ENCODER",
    "GRADIENT",
    "KIND",
    "BodyFacts",
    "BodySection",
    "BodyTopology",
    "decoder_signature",
    "encoder_signature",
    "gradient_signature",
    "read_topology",
]

KIND = "body-decoder"
DECODER, ENCODER, GRADIENT, ARRAYS = "decoder.onnx", "encoder.onnx", "gradient.onnx", "body.npz"
_MAX_BYTES = 1 << 30
_MAX_CODE = 4096


class BodyFacts(msgspec.Struct, frozen=True):
    """Sizes of the network.

    Attributes:
        net: which one it is, as `bodystream-train body --net` calls it.
        vertices, parts: V and P.
        shape, pose: numbers of the codes.
        encoder: whether the graph from features to codes is there, too.
        gradient: whether that of the decoder's derivatives is.
    """

    net: str
    vertices: int
    parts: int
    shape: int
    pose: int
    encoder: bool
    gradient: bool = False


class BodySection(msgspec.Struct, frozen=True):
    """What a body bundle's manifest says beside the common fields."""

    body: BodyFacts


@dataclass(frozen=True)
class BodyTopology:
    """The arrays of a bundle.

    Attributes:
        space: of the reference mesh.
        parts: (V,) the part that each vertex is in.
        laid_by: (V,) bool, vertices by which meshes are laid on the reference, as the trunk.
        scale: of the features that were learned from.
        skin: joints and skinning weights, or None where the bodies that were learned from had none.
    """

    space: AcapSpace
    parts: Array
    laid_by: Array
    scale: FeatureScale
    skin: BodySkin | None = None


def decoder_signature(facts: BodyFacts) -> Signature:
    """Codes to features; the number of bodies is chosen when the graph is opened. Pose code 0 is the neutral body."""
    return Signature(
        {"shape": TensorSpec(("bodies", facts.shape)), "pose": TensorSpec(("bodies", facts.pose))},
        {"features": TensorSpec(("bodies", facts.vertices, 9))},
    )


def encoder_signature(facts: BodyFacts) -> Signature:
    """Features to codes."""
    decoder = decoder_signature(facts)
    return Signature(decoder.outputs, decoder.inputs)


def gradient_signature(facts: BodyFacts) -> Signature:
    """Codes, and the derivatives of some quantity by the features, to its derivatives by the codes."""
    decoder = decoder_signature(facts)
    return Signature(
        {**decoder.inputs, "features_bar": decoder.outputs["features"]},
        {f"{name}_bar": spec for name, spec in decoder.inputs.items()},
    )


def read_topology(bundle: Bundle, facts: BodyFacts) -> BodyTopology:
    """The arrays of a bundle, checked.

    Raises:
        BundleError: an array is missing or of another shape, or the reference can be none.
    """
    count = facts.vertices
    wanted = {
        "reference": ((count, 3), "f"), "faces": ((-1, 3), "iu"), "parts": ((count,), "iu"), "laid_by": ((count,), "b"),
        "low": ((count, 9), "f"), "high": ((count, 9), "f"),
    }  # fmt: skip
    label = bundle.label(ARRAYS)
    try:
        if not 1 <= min(facts.shape, facts.pose) <= max(facts.shape, facts.pose) <= _MAX_CODE:
            raise InputError(f"codes must have 1 to {_MAX_CODE} numbers, got {facts.shape} and {facts.pose}")
        arrays = read_npz(bundle.read(ARRAYS), label, _MAX_BYTES)
        for name, (shape, kinds) in wanted.items():
            if name not in arrays:
                raise InputError(f"there is no array {name!r}")
            found = arrays[name]
            fits = found.ndim == len(shape) and all(w in (-1, f) for w, f in zip(shape, found.shape, strict=True))
            if not fits or found.dtype.kind not in kinds:
                raise InputError(f"{name} is {found.dtype} of shape {found.shape}, wanted {shape}")
        parts, laid_by = arrays["parts"].astype(np.int64), arrays["laid_by"]
        if int(laid_by.sum()) < 3:
            raise InputError("laid_by chooses fewer than three vertices")
        if int(parts.min()) < 0 or int(parts.max()) >= facts.parts:
            raise InputError(f"parts must be numbered 0 to {facts.parts - 1}")
        space = AcapSpace(Mesh(arrays["reference"].astype(np.float64), arrays["faces"].astype(np.int32)), label)
        skin = skin_of_arrays(arrays, count)
        scale = FeatureScale(arrays["low"].astype(np.float64), arrays["high"].astype(np.float64))
    except InputError as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{label} is none of a body's bundle: {error}: export it again") from error
    return BodyTopology(space, parts, laid_by, scale, skin)
