"""`bodystream-export pose`: from a training run to the bundle that the runtime loads."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from bodystream.bundles import GraphSection

__all__ = ["ExportPose"]

_RUNS = 200
_TOLERANCE = 1e-3
_TOLERANCE_8_BIT = 0.02
"""Of another provider's answers: it may round a number of 8 bits the other way."""


@dataclass(frozen=True)
class ExportPose:
    """Write the pose sampler as a bundle: one ONNX graph of latent predictor and flow, with 8-bit weights.

    The graph is compared with PyTorch on observations of people that were not trained on; a larger difference than
    half a degree, or 5 % of contact, is refused. Examples:
      bodystream-export pose --checkpoint runs/pose
      bodystream-export pose --checkpoint runs/pose --out mine --zip
      bodystream drive --headset openxr --bundle pose=mine.zip
    """

    checkpoint: Path
    """Folder of the training run; its joint training counts where there was one."""

    out: Path = Path("bundles/pose")
    """Folder of the bundle, in the current folder unless it begins with /; its last part is the bundle's name."""

    zip: bool = False
    """Write one zip file instead of a folder; `.zip` is added to the name where it is missing."""

    data: Annotated[str | None, tyro.conf.arg(metavar="DATA", help_behavior_hint="")] = None
    """Motion files for the comparison; default: the examples that the training left beside the run."""

    full: bool = False
    """Keep the weights in 32 bits: four times the size, and the same numbers as PyTorch."""

    metrics: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """JSON of `bodystream eval pose --json`, whose figures of the model go into the manifest."""

    bundle_version: int = 1
    """Grows with every change of the bundle."""

    json: bool = False
    """Print one JSON object at the end: folder, bytes, and the differences from PyTorch."""

    def run(self) -> int:
        from rich.console import Console

        from bodystream.pose.sampler import GRAPH, KIND, sampler_signature
        from bodystream_export.bundle import evaluated_figures, write_manifest
        from bodystream_export.measure import measure_and_put
        from bodystream_export.onnx_graph import to_8_bit
        from bodystream_export.parity import parity_table, refuse_too_far
        from bodystream_export.place import Place
        from bodystream_export.pose.convert import compare, load_sampler, trace_sampler
        from bodystream_export.pose.observations import unseen_observations
        from bodystream_training.pose.splits import read_run

        place = Place.of(self.out, self.zip)
        console = Console(stderr=True, highlight=False)
        console.print("[1/4] reading the trained networks", markup=False, soft_wrap=True)
        graph, history, facts = load_sampler(self.checkpoint)
        facts |= read_run(self.checkpoint)
        observations, betas = unseen_observations(self.checkpoint, self.data, history, facts)
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made) / place.name
            folder.mkdir()
            path = folder / GRAPH
            console.print("[2/4] making the graph: a minute or two", markup=False, soft_wrap=True)
            full = path if self.full else Path(made) / "full.onnx"
            trace_sampler(graph, observations.shape[-1], full)
            if not self.full:
                to_8_bit(full, path)
            said = f"[3/4] comparing it with PyTorch on {len(observations)} observations"
            console.print(said, markup=False, soft_wrap=True)
            differences = compare(graph, path, observations, betas)
            console.print(parity_table(differences, len(observations)))
            refuse_too_far(differences, "export with --full")
            # The figures of the evaluation are of the network, those of the export of this file.
            figures = {f"export_{found.name}": round(found.value, 4) for found in differences}
            figures |= evaluated_figures(self.metrics)
            wanted = sampler_signature(observations.shape[-1])
            tolerance = _TOLERANCE if self.full else _TOLERANCE_8_BIT
            bundle = write_manifest(
                folder,
                name=place.name,
                kind=KIND,
                version=self.bundle_version,
                licence="Apache-2.0",
                provenance=_provenance(facts),
                metrics=figures,
                graphs={GRAPH: GraphSection(wanted.inputs, wanted.outputs, tolerance)},
                history_s=list(history),
                trained_on=facts["subjects"],
            )
            console.print("[4/4] measuring the providers of this machine", markup=False, soft_wrap=True)
            size = measure_and_put(bundle, folder, place, _RUNS, console)
        console.print(
            f"run it: bodystream drive --headset ... --bundle pose={place.path}", markup=False, soft_wrap=True
        )
        if self.json:
            print(json.dumps({"out": str(place.path), "bytes": size, **figures}))
        return 0


def _provenance(facts: dict[str, Any]) -> dict[str, Any]:
    words = {
        "cmu_": "The data used in this project was obtained from mocap.cs.cmu.edu. The database was created with "
        "funding from NSF EIA-0196217.",
        "accad_": "Motion data by ACCAD, The Ohio State University (CC BY 3.0).",
    }
    recipes = facts["recipes"]
    return {
        "recipes": [recipes[stage] for stage in ("flow", "predictor", "joint") if stage in recipes],
        "method": "FLAG (Aliakbarian et al., CVPR 2022), with a history of head and hands",
        "frames": facts["frames"],
        "examples": facts["examples"],
        "data": [text for prefix, text in words.items() if any(s.startswith(prefix) for s in facts["subjects"])],
    }
