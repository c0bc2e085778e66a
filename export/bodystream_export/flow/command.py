"""`bodystream-export flow`: from a checkpoint to the bundle of a flow network."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bodystream.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from torch import nn

    from bodystream.bundles import Bundle

__all__ = ["ExportFlow", "load_network"]

_RUNS = 50
_PAIRS = 4


@dataclass(frozen=True)
class ExportFlow:
    """Write a flow network as a bundle: ONNX graphs of encoder and decoder, of fixed sizes, in 32 and 16 bits.

    Each file is compared with PyTorch on random inputs and on generated pairs that were not trained on; one that
    differs too much is refused. Examples:
      bodystream-export flow --checkpoint runs/flow/light.safetensors
      bodystream-export flow --checkpoint runs/flow/full-4.safetensors --sizes 640x448 640x480 --out bundles/flow-full
    """

    checkpoint: Path
    """File that `bodystream-train flow` wrote."""

    out: Path = Path("bundles/flow")
    """Folder of the bundle, in the current folder unless it begins with /; its last part is the bundle's name."""

    sizes: tuple[str, ...] = ("96x128", "128x96", "128x160", "160x128", "256x320", "320x256", "384x384")
    """Widths and heights of the crops [px]: multiples of 32 (light) or 64 (full). Live capture takes the small ones,
    pairs of images the large ones."""

    bits: tuple[Literal[32, 16], ...] = (32, 16)
    """Precisions."""

    iterations: int = 1
    """Passes of the light network at each level."""

    zip: bool = False
    """Write one zip file instead of a folder; `.zip` is added to the name where it is missing."""

    measured_pairs: int = 96
    """Generated pairs that a light network is compared with DIS on, for the manifest; 0 = it says nothing of that."""

    live_frames: int = 60
    """Frames of each of three generated takes that live capture is compared on; 0 = the same."""

    bundle_version: int = 1
    """Grows with every change of the bundle."""

    json: bool = False
    """Print one JSON object at the end: folder, bytes, and the differences from PyTorch."""

    def run(self) -> int:
        from bodystream.device.quiet import quiet_warp

        with quiet_warp():
            return self._run()

    def _run(self) -> int:
        from rich.console import Console

        from bodystream_export.bundle import write_manifest
        from bodystream_export.flow.convert import compare_graph, file_name, real_feeds, write_graph
        from bodystream_export.flow.graphs import flow_graphs
        from bodystream_export.flow.quality import live_figures, pair_figures
        from bodystream_export.measure import measure_and_put
        from bodystream_export.parity import parity_table, refuse_too_far
        from bodystream_export.place import Place
        from bodystream_training.flow.light import LightFlow
        from bodystream_training.flow.networks import MULTIPLES
        from bodystream_training.flow.samples import crop_size

        if self.iterations < 1 or self.measured_pairs < 0 or self.live_frames < 0:
            raise ConfigurationError(
                "--iterations must be at least 1, --measured-pairs and --live-frames at least 0, got "
                f"{self.iterations}, {self.measured_pairs} and {self.live_frames}"
            )
        place = Place.of(self.out, self.zip)
        console = Console(stderr=True, highlight=False)
        console.print("[1/4] reading the trained network", markup=False, soft_wrap=True)
        net, model, facts = load_network(self.checkpoint)
        sizes = [crop_size(size) for size in self.sizes]
        if any(side % MULTIPLES[net] for size in sizes for side in size):
            raise ConfigurationError(f"--sizes must be multiples of {MULTIPLES[net]}, got {', '.join(self.sizes)}")
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made) / place.name
            folder.mkdir()
            console.print("[2/4] making graphs, and comparing them with PyTorch", markup=False, soft_wrap=True)
            sections, differences = {}, []
            for size in sizes:
                graphs = flow_graphs(model, size, self.iterations)
                feeds = real_feeds(graphs, _pairs(size))
                for graph, given in zip(graphs, feeds, strict=True):
                    for bits in self.bits:
                        path = folder / file_name(graph.part, size, bits)
                        sections[path.name] = write_graph(graph, path, bits)
                        differences += compare_graph(graph, path, bits, given)
            console.print(parity_table(differences, _PAIRS))
            refuse_too_far(differences, "export with --bits 32")
            figures = {f"export_{found.name}": float(f"{found.value:.3g}") for found in differences}

            def written(metrics: dict[str, float]) -> Bundle:
                return write_manifest(
                    folder,
                    name=place.name,
                    kind="flow",
                    version=self.bundle_version,
                    licence="Apache-2.0",
                    provenance=_provenance(net, facts),
                    metrics=metrics,
                    graphs=sections,
                    flow={"net": net, "iterations": self.iterations, "sizes": [list(size) for size in sizes]},
                )

            if isinstance(model, LightFlow):
                console.print("[3/4] comparing it with DIS on pairs and in live capture", markup=False, soft_wrap=True)
                if self.measured_pairs:
                    figures |= pair_figures(written(figures), self.measured_pairs)
                if self.live_frames:
                    figures |= live_figures(written(figures), self.live_frames)
            bundle = written(figures)
            console.print("[4/4] measuring the providers of this machine", markup=False, soft_wrap=True)
            size = measure_and_put(bundle, folder, place, _RUNS, console)
        if self.json:
            print(json.dumps({"out": str(place.path), "bytes": size, **figures}))
        return 0


def load_network(path: Path) -> tuple[Any, nn.Module, dict[str, Any]]:
    """Which network it is, the network itself, and what the checkpoint says.

    Raises:
        InputError: it is no checkpoint of a flow network.
    """
    from bodystream_training.checkpoints import load_checkpoint
    from bodystream_training.flow.light import LightConfig, LightFlow
    from bodystream_training.flow.networks import FullNet, load_flow_model

    _, facts = load_checkpoint(path)
    net = str(facts.get("stage", "")).partition("-")[0]
    if net == "light":
        sizes = {name: tuple(v) if isinstance(v, list) else v for name, v in facts.get("sizes", {}).items()}
        try:
            model: nn.Module = LightFlow(LightConfig(**sizes))
        except TypeError as error:
            raise InputError(f"{path} is of another version of the light network ({error}): train it again") from error
    elif net == "full":
        model = FullNet()
    else:
        raise InputError(f"{path} is no checkpoint of bodystream-train flow (it says stage {facts.get('stage')!r})")
    load_flow_model(model, path)
    return net, model.eval().requires_grad_(False), facts


def _pairs(size: tuple[int, int]) -> Any:
    """Generated pairs of a seed that no training has by default."""
    import torch

    from bodystream_training.flow.batches import Augmentation, Guess, collate
    from bodystream_training.flow.data import open_pairs

    generator = torch.Generator().manual_seed(0)
    pairs = open_pairs("synthetic", size, count=_PAIRS, seed=999_983)
    samples = [pairs.sample(number, generator) for number in range(_PAIRS)]
    return collate(samples, generator, Augmentation(), Guess())


def _provenance(net: str, facts: dict[str, Any]) -> dict[str, Any]:
    stages = [facts]
    while "start" in stages[0]:
        stages.insert(0, stages[0]["start"])
    return {
        "recipe": "; ".join(_recipe(net, stage) for stage in stages),
        "method": "the project's own network (LightFlow)" if net == "light" else "NNRT (Bozic et al., NeurIPS 2020)",
        "pairs": facts["examples"],
        "steps": sum(stage["step"] for stage in stages),
        "seconds": round(sum(stage["seconds"] for stage in stages), 1),
    }


def _recipe(net: str, facts: dict[str, Any]) -> str:
    """The command of one stage."""
    config = facts["config"]
    count = facts.get("pairs", facts["steps"] * config["batch"] // config["epochs"])
    words = [f"--net {net} --stage {config.get('stage', 1)} --pairs {count} --epochs {config['epochs']}"]
    words.append(f"--batch {config['batch']} --learning-rate {config['learning_rate']:g} --seed {config['seed']}")
    words.append(f"--optimiser {config['optimiser']}")
    words += ["--size {}x{}".format(*facts["size"])] if "size" in facts else []
    if facts["step"] < facts["steps"]:
        words.append(f"(stopped at step {facts['step']} of {facts['steps']})")
    if config.get("stage", 1) != 1:
        words.append(f"--matches {config['matches']} --most-nodes {config['most_nodes']}")
        words += [f"--weight-truth {config['weight_truth']:g}"] if config["weight_truth"] else []
    return f"bodystream-train flow --data {facts.get('data', 'synthetic')} {' '.join(words)}"
