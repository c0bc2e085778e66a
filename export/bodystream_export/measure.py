"""`bodystream-export measure`: what a manifest says of its graphs, and how fast each provider of this machine is."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import tyro
from rich.console import Console

from bodystream.bundles import Bundle, GraphSection, Signature, TensorSpec, open_bundle
from bodystream.engines import Engine, available_providers, load_onnxruntime, open_engine, signature_of
from bodystream.errors import BundleError, ConfigurationError, DeviceError
from bodystream.sinks.reports.machine import describe_machine
from bodystream.types import Array
from bodystream_export.bundle import write_graphs
from bodystream_export.place import Place

__all__ = ["Measure", "measure_and_put", "measure_graphs"]

_WARM_UP = 20


@dataclass(frozen=True)
class Measure:
    """Write into a bundle's manifest how long each provider takes for its graphs, by which `auto` chooses.

    All providers that work here are run in turns, with one of each extent that is open, and compared with the CPU
    provider; one that differs by more than the graph's tolerance gets no time, so that `auto` does not take it.
    Times of another machine are replaced, never mixed. Where the manifest does not describe a graph yet, the
    description is made of the graph. Examples:
      bodystream-export measure bundles/pose
    """

    bundle: Annotated[Path, tyro.conf.Positional]
    """Folder of the bundle."""

    runs: int = 300
    """Of each graph on each provider; the median counts."""

    json: bool = False
    """Print one JSON object: milliseconds by graph and provider."""

    def run(self) -> int:
        from rich.console import Console

        if self.runs < 1:
            raise ConfigurationError(f"--runs must be at least 1, got {self.runs}")
        if not self.bundle.is_dir():
            raise ConfigurationError(f"{self.bundle} is no folder: unpack a zip file to have its manifest written")
        console = Console(stderr=True, highlight=False)
        bundle = open_bundle(self.bundle)
        graphs, notes = measure_graphs(bundle, self.runs)
        if not graphs:
            raise BundleError(f"bundle {bundle.manifest.name!r} ({self.bundle}) has no .onnx file: there is no graph")
        write_graphs(self.bundle, graphs)
        for note in notes:
            console.print(note, markup=False, soft_wrap=True)
        times = {file: graph.providers for file, graph in graphs.items()}
        for file, found in times.items():
            console.print(f"{file}: " + ", ".join(f"{n} {v:.3f} ms" for n, v in found.items()), markup=False)
        if self.json:
            print(json.dumps({"bundle": str(self.bundle), "p50_ms": times}))
        return 0


def measure_graphs(bundle: Bundle, runs: int) -> tuple[dict[str, GraphSection], list[str]]:
    """Sections of all graphs of a bundle, with times on this machine, and which providers have none and why.

    Raises:
        BundleError: a graph cannot be read.
    """
    graphs = {
        file.path: bundle.manifest.graphs.get(file.path) or _described(bundle, file.path)
        for file in bundle.manifest.files
        if file.path.endswith(".onnx")
    }
    bundle = dataclasses.replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, graphs=graphs))
    notes: list[str] = []
    for file, section in graphs.items():
        times = _times(bundle, file, section, runs, notes)
        graphs[file] = msgspec.structs.replace(section, providers=times, measured_on=_machine())
    return graphs, notes


def measure_and_put(bundle: Bundle, folder: Path, place: Place, runs: int, console: Console, more: str = "") -> int:
    """The end of every export: the providers of this machine measured, the bundle put where it was wanted, and told.

    Args:
        folder: where the bundle was made.
        more: to say beside its size.

    Returns:
        Bytes of the bundle's files.
    """
    graphs, notes = measure_graphs(bundle, runs)
    write_graphs(folder, graphs)
    for note in dict.fromkeys(notes):  # graphs lack the same providers
        console.print(note, markup=False, soft_wrap=True)
    size = sum(file.bytes for file in place.put(folder).manifest.files)
    console.print(f"wrote {place.path} ({size / 1e6:.1f} MB{more})", markup=False, soft_wrap=True)
    return size


def _described(bundle: Bundle, file: str) -> GraphSection:
    found = signature_of(bundle.read(file), bundle.label(file))
    return GraphSection(found.inputs, found.outputs)


def _times(bundle: Bundle, file: str, section: GraphSection, runs: int, notes: list[str]) -> dict[str, float]:
    """p50 of each provider that works [ms], rounded; in turns, so that what else the machine does hits all of them."""
    sizes = dict.fromkeys(section.open_names(), 1)
    engines: dict[str, Engine] = {}
    for name, problem in available_providers().items():
        try:
            if problem:
                raise DeviceError(problem)
            engines[name] = open_engine(bundle, file, provider=name, sizes=sizes)  # type: ignore[arg-type]
        except DeviceError as error:
            notes.append(f"{name} was not measured: {error}")
    feed = _feed(section.at(sizes))
    wanted = {name: np.copy(value) for name, value in engines["cpu"].run(feed).items()}
    for name in list(engines):
        problem = _difference(engines[name].run(feed), wanted, section.tolerance)
        if problem:
            notes.append(f"{name} gets no time: {problem}")
            del engines[name]
    spent: dict[str, list[float]] = {name: [] for name in engines}
    for number in range(_WARM_UP + runs):
        for name, engine in engines.items():
            began = time.perf_counter()
            engine.run(feed)
            if number >= _WARM_UP:
                spent[name].append(time.perf_counter() - began)
    return {name: round(1e3 * float(np.median(values)), 4) for name, values in spent.items()}


def _feed(signature: Signature) -> dict[str, Array]:
    rng = np.random.default_rng(0)

    def values(spec: TensorSpec) -> Array:
        if spec.dtype == "uint8":
            return rng.integers(0, 256, spec.shape, np.uint8)  # type: ignore[arg-type]
        return rng.standard_normal(spec.shape).astype(spec.dtype)  # type: ignore[arg-type]

    return {name: values(spec) for name, spec in signature.inputs.items()}


def _difference(got: Mapping[str, Array], wanted: Mapping[str, Array], tolerance: float) -> str:
    """How a provider's answers differ from the CPU provider's, or nothing where they agree."""
    for name, value in wanted.items():
        true = value.astype(np.float64)
        apart = np.abs(got[name].astype(np.float64) - true).max() / max(1.0, np.abs(true).max())
        if not apart <= tolerance:
            return (
                f"{name} differs from the CPU provider's by {apart:.2g} of its largest value, more than the tolerance "
                f"{tolerance:g} of the manifest"
            )
    return ""


def _machine() -> str:
    machine = describe_machine()
    return f"{machine.cpu}, onnxruntime {load_onnxruntime().__version__}"
