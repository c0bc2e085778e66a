"""What a manifest says of a graph: names, shapes and types of its tensors, and how fast which provider ran it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from bodystream.errors import excerpt

__all__ = ["GraphSection", "Signature", "TensorSpec", "graph_problem"]

_MAX_TENSORS = 64
_MAX_AXES = 8
_MAX_ELEMENTS = 1 << 28
_MAX_THREADS = 256
_PROVIDER = re.compile(r"[a-z][a-z0-9-]{0,31}")


class TensorSpec(msgspec.Struct, frozen=True):
    """One input or output of a graph.

    Attributes:
        shape: extents; a name stands for one that is chosen when the graph is opened.
        dtype: of its elements.
    """

    shape: tuple[int | str, ...]
    dtype: Literal["float32", "float16", "uint8"] = "float32"

    @property
    def extents(self) -> tuple[int, ...]:
        """The shape, once no extent of it is open."""
        return tuple(extent for extent in self.shape if isinstance(extent, int))

    def __str__(self) -> str:
        return f"{self.dtype} ({', '.join(str(extent) for extent in self.shape)})"


class Signature(msgspec.Struct, frozen=True):
    """Inputs and outputs of a graph by name."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]

    def at(self, sizes: Mapping[str, int]) -> Signature:
        """The same with the named extents that `sizes` has."""

        def fixed(specs: dict[str, TensorSpec]) -> dict[str, TensorSpec]:
            return {
                name: TensorSpec(tuple(e if isinstance(e, int) else sizes.get(e, e) for e in spec.shape), spec.dtype)
                for name, spec in specs.items()
            }

        return Signature(fixed(self.inputs), fixed(self.outputs))

    def open_names(self) -> list[str]:
        """Names of extents that are to be chosen."""
        specs = (*self.inputs.values(), *self.outputs.values())
        return sorted({extent for spec in specs for extent in spec.shape if isinstance(extent, str)})


class GraphSection(Signature, frozen=True):
    """What `manifest.json` says of one file under `graphs`.

    Attributes:
        tolerance: how far an output of another provider may be from that of the CPU provider, relative to the output's
            largest value, or to one where that is smaller.
        providers: p50 of one run on each provider that was measured, all in turns on one machine [ms].
        measured_on: which machine and library that was, for people.
        threads: of the CPU provider, unless the caller says otherwise.
        spinning: whether its threads wait busily between runs, which is faster and takes their cores from everything
            else; unless the caller says otherwise.
    """

    tolerance: float = 1e-3
    providers: dict[str, float] = {}
    measured_on: str = ""
    threads: int = 1
    spinning: bool = False


def graph_problem(file: str, graph: GraphSection) -> str:
    """What is wrong with the values of one section, or nothing."""
    for kind, specs in (("inputs", graph.inputs), ("outputs", graph.outputs)):
        if not 1 <= len(specs) <= _MAX_TENSORS:
            return f"graph {excerpt(file)} must have 1 to {_MAX_TENSORS} {kind}, got {len(specs)}"
        for name, spec in specs.items():
            extents = [extent for extent in spec.shape if isinstance(extent, int)]
            named = [extent for extent in spec.shape if isinstance(extent, str)]
            fits = len(spec.shape) <= _MAX_AXES and math.prod(extents) <= _MAX_ELEMENTS
            if not fits or not all(1 <= extent <= _MAX_ELEMENTS for extent in extents) or "" in named:
                return (
                    f"graph {excerpt(file)}: {excerpt(name)} must have up to {_MAX_AXES} extents of at least 1 and "
                    f"{_MAX_ELEMENTS} elements at most, got {excerpt(spec.shape)}"
                )
    if not (math.isfinite(graph.tolerance) and graph.tolerance >= 0.0):
        return f"tolerance of graph {excerpt(file)} must be a number from 0, got {graph.tolerance}"
    if not 1 <= graph.threads <= _MAX_THREADS:
        return f"threads of graph {excerpt(file)} must be 1 to {_MAX_THREADS}, got {graph.threads}"
    for name, p50_ms in graph.providers.items():
        if not _PROVIDER.fullmatch(name) or not (math.isfinite(p50_ms) and p50_ms > 0.0):
            return f"graph {excerpt(file)}: provider {excerpt(name)} must have a time in ms above 0, got {p50_ms}"
    return ""
