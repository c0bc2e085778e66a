"""`bodystream-export check`: whether TensorRT takes the graphs of a bundle, before a GPU is at hand."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bodystream.bundles import Bundle, open_bundle
from bodystream.errors import BundleError
from bodystream_export.tensorrt_check import GraphReport, check_graph
from bodystream_export.tensorrt_table import TABLE_DATE, TABLE_SOURCE, TABLE_VERSION

__all__ = ["Check", "check_bundle"]


@dataclass(frozen=True)
class Check:
    """Say of each graph of a bundle whether TensorRT takes it; exit status 1 where one is refused.

    Each node is compared with the table of operators that TensorRT's ONNX parser publishes. All shapes must be fixed
    once named extents are (one of each is taken, as `measure` does), and no data may be of 64 bits: constants and what
    is computed from constants and shapes alone is known when a plan is built and does not count. Examples:
      bodystream-export check bundles/flow
    """

    bundle: Annotated[Path, tyro.conf.Positional]
    """Folder or zip file of the bundle."""

    json: bool = False
    """Print one JSON object: of each graph whether it is taken, and each refusal with its node."""

    def run(self) -> int:
        from rich.console import Console

        bundle = open_bundle(self.bundle)
        found = check_bundle(bundle)
        console = Console(stderr=self.json, highlight=False)
        for file, report in found.items():
            said = "taken" if not report.refusals else f"refused, {len(report.refusals)} reasons"
            console.print(f"{file}: {report.nodes} nodes, {said}", markup=False, soft_wrap=True)
            for refusal in report.refusals:
                line = f"  {refusal.operator} {refusal.node}: {refusal.reason}"
                console.print(line, markup=False, soft_wrap=True)
            for operator, asked in report.unchecked.items():
                console.print(f"  {operator} was not looked into: it needs {asked}", markup=False, soft_wrap=True)
        console.print(f"by the operators of TensorRT {TABLE_VERSION} ({TABLE_DATE})", markup=False)
        if self.json:
            graphs = {
                file: {"taken": not report.refusals, **dataclasses.asdict(report)} for file, report in found.items()
            }
            table = {"source": TABLE_SOURCE, "version": TABLE_VERSION, "date": TABLE_DATE}
            print(json.dumps({"bundle": str(self.bundle), "table": table, "graphs": graphs}))
        return int(any(report.refusals for report in found.values()))


def check_bundle(bundle: Bundle) -> dict[str, GraphReport]:
    """What was found of each graph of a bundle, by file.

    Raises:
        BundleError: there is no graph, or one cannot be read.
    """
    found = {}
    for file in (file.path for file in bundle.manifest.files if file.path.endswith(".onnx")):
        section = bundle.manifest.graphs.get(file)
        sizes = {} if section is None else dict.fromkeys(section.open_names(), 1)
        found[file] = check_graph(bundle.read(file), bundle.label(file), sizes)
    if not found:
        raise BundleError(f"bundle {bundle.manifest.name!r} ({bundle.place}) has no .onnx file: there is no graph")
    return found
