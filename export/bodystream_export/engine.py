"""`bodystream-export engine`: build ahead what a provider would build when a bundle is first used on this machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bodystream.bundles import Bundle, open_bundle
from bodystream.engines import open_engine
from bodystream.errors import BundleError, ConfigurationError

__all__ = ["ExportEngine"]


@dataclass(frozen=True)
class ExportEngine:
    """Build TensorRT's plans of a bundle's graphs for this GPU, and keep them in the user's cache folder.

    A plan belongs to the GPU, its driver and the version of TensorRT; where one of them changed, it is built anew at
    its next use, which is said. A graph that TensorRT cannot take is an error that names the node: `bodystream-export
    check` says so beforehand. Examples:
      bodystream-export engine bundles/flow --provider tensorrt
    """

    bundle: Annotated[Path, tyro.conf.Positional]
    """Folder or zip file of the bundle."""

    provider: Literal["tensorrt"] = "tensorrt"
    """What builds it."""

    extents: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=N ...", help_behavior_hint="")] = ()
    """Of each extent that the manifest leaves open, how large it is: hypotheses=8."""

    json: bool = False
    """Print one JSON object: of each graph the file of its plan and where it came from."""

    def run(self) -> int:
        from rich.console import Console

        bundle = open_bundle(self.bundle)
        sizes = _chosen(bundle, self.extents)
        console = Console(stderr=self.json, highlight=False)
        built: dict[str, dict[str, str | None]] = {}
        for file, graph in bundle.manifest.graphs.items():
            own = {name: sizes[name] for name in graph.open_names()}
            engine = open_engine(bundle, file, provider=self.provider, sizes=own)
            plan = getattr(engine, "plan", None)
            built[file] = {"plan": None if plan is None else str(plan), "reason": engine.reason}
            console.print(f"{file}: {engine.reason} ({plan})", markup=False, soft_wrap=True)
        if self.json:
            print(json.dumps({"bundle": str(self.bundle), "provider": self.provider, "graphs": built}))
        return 0


def _chosen(bundle: Bundle, words: tuple[str, ...]) -> dict[str, int]:
    """The extents that were said, each of those that the graphs leave open.

    Raises:
        BundleError: the bundle describes no graph.
        ConfigurationError: an extent is missing, unknown or no number.
    """
    graphs = bundle.manifest.graphs
    if not graphs:
        raise BundleError(
            f"bundle {bundle.manifest.name!r} ({bundle.place}) describes no graph: there is none to build"
        )
    names = {name for graph in graphs.values() for name in graph.open_names()}
    sizes = {}
    for word in words:
        name, _, number = word.partition("=")
        if name not in names or not number.isdecimal() or int(number) < 1:
            known = ", ".join(sorted(names)) or "none"
            raise ConfigurationError(f"--extents takes NAME=NUMBER of {known}, got {word!r}")
        sizes[name] = int(number)
    if missing := sorted(names - sizes.keys()):
        raise ConfigurationError(f"say how large {missing[0]} is: --extents {missing[0]}=NUMBER")
    return sizes
