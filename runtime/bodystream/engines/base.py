"""What every engine offers: a graph of a bundle, with fixed shapes, on one provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np

from bodystream.bundles import Signature, TensorSpec
from bodystream.errors import BundleError, InputError
from bodystream.types import Array

__all__ = ["PROVIDERS", "Engine", "Memory", "ProviderName", "check_signature", "memory_of"]

ProviderName = Literal["auto", "tensorrt", "cuda", "openvino", "cpu"]
PROVIDERS = tuple(name for name in get_args(ProviderName) if name != "auto")


class Engine(Protocol):
    """Runs one graph whose shapes are all fixed. For one thread.

    Attributes:
        provider: what it runs on: `tensorrt`, `cuda`, `openvino` or `cpu`.
        reason: why that one was taken, for a person.
        inputs, outputs: by name.
    """

    provider: str
    reason: str
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]

    def run(self, feed: Mapping[str, Any], out: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Compute all outputs.

        Args:
            feed: every input. A numpy array is copied, and converted where numpy calls that safe within its kind. What
                has an array interface beside numpy's (Warp's arrays on processor and GPU, PyTorch's on the GPU) is
                read where it lies, without a copy: on a GPU by CUDA and TensorRT only.
            out: of any outputs, the array to write to: of numpy or as above, contiguous and of the right type. Others
                are written to memory of the engine on the host.

        Returns:
            Outputs by name: those of `out`, else numpy arrays that are the engine's own and change with the next run.

        Raises:
            InputError: an array is missing, unknown, of another shape or type, or lies where the provider cannot reach.
        """
        ...


@dataclass(frozen=True, slots=True)
class Memory:
    """Where an array lies.

    Attributes:
        pointer: address of its first element.
        on_gpu: whether that is memory of a CUDA device.
        shape, dtype: of its elements, those of vectors included.
        contiguous: in C order without gaps.
    """

    pointer: int
    on_gpu: bool
    shape: tuple[int, ...]
    dtype: np.dtype
    contiguous: bool


def memory_of(array: Any) -> Memory | None:
    """Where an array of numpy, Warp or PyTorch lies, or None for what is no array (a list, a number)."""
    on_gpu = hasattr(array, "__cuda_array_interface__")  # Warp and PyTorch have it where it is true
    interface = getattr(array, "__cuda_array_interface__" if on_gpu else "__array_interface__", None)
    if interface is None:
        return None
    dtype, shape, strides = np.dtype(interface["typestr"]), tuple(interface["shape"]), interface.get("strides")
    packed, step = [], dtype.itemsize
    for extent in reversed(shape):
        packed.append(step)
        step *= extent
    contiguous = strides is None or all(
        extent == 1 or stride == wanted for extent, stride, wanted in zip(shape, strides, reversed(packed), strict=True)
    )
    return Memory(interface["data"][0], on_gpu, shape, dtype, contiguous)


def check_signature(label: str, found: Signature, wanted: Signature, who: str) -> None:
    """Compare what a graph, or its manifest, says with what is wanted of it.

    Args:
        label: of what says `found`, for the message.
        who: wants it, for the message: "its manifest says".

    Raises:
        BundleError: a tensor is missing, unknown, or of another shape or type; says which, what was got and wanted.
    """
    for kind, have, want in (("input", found.inputs, wanted.inputs), ("output", found.outputs, wanted.outputs)):
        for name in want.keys() - have.keys():
            raise BundleError(
                f"{label} has no {kind} {name!r}, {who} {want[name]}; its {kind}s are {', '.join(have)}: "
                "export it again"
            )
        for name in have.keys() - want.keys():
            raise BundleError(
                f"{label} has the {kind} {name!r}, {have[name]}, {who} only {', '.join(want)}: export it again"
            )
        for name, spec in want.items():
            if have[name] != spec:
                raise BundleError(f"{label}: the {kind} {name!r} is {have[name]}, {who} {spec}: export it again")


def host_value(label: str, name: str, value: Any, spec: TensorSpec) -> Array:
    """A value of the host that fits an input.

    Raises:
        InputError: another shape, or a type that would lose more than digits.
    """
    array = np.asarray(value)
    if array.shape != spec.shape:
        raise InputError(f"{label}: {name} must be of shape {spec.shape}, got {array.shape}")
    if array.dtype != spec.dtype and not np.can_cast(array.dtype, spec.dtype, "same_kind"):
        raise InputError(f"{label}: {name} must be {spec.dtype}, got {array.dtype}: convert it")
    return array
