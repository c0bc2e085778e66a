"""`bodystream-export pose`: from a training run to the bundle that the runtime loads."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from bodystream.bundles import GraphSection
from bodystream.bundles.manifest import NAME
from bodystream.errors import ConfigurationError, InputError
from bodystream.files import check_output, prepare_folder, read_text_bounded

__all__ = ["ExportPose"]

WORST_MEAN_DEG = 0.5
"""Mean difference of rotations between PyTorch and the bundle beyond which an export is refused."""
WORST_CONTACTS = 0.05
"""The same of the probabilities that a foot stands."""
_MAX_METRICS_BYTES = 64 << 20
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
        from bodystream_export.bundle import put_in_place, write_graphs, write_manifest, zip_in_place
        from bodystream_export.measure import measure_graphs
        from bodystream_export.pose.convert import compare, load_sampler, to_8_bit, to_onnx

        out, name = self.out, self.out.name
        if self.zip:
            name = name.removesuffix(".zip")
            out = out.with_name(f"{name}.zip")
        if not NAME.fullmatch(name):
            raise ConfigurationError(f"--out must end in a bundle's name, which matches {NAME.pattern}, got {name!r}")
        if self.zip:
            check_output(out, "--out")
        else:
            prepare_folder(out, "--out")
        console = Console(stderr=True, highlight=False)
        console.print("[1/4] reading the trained networks", markup=False, soft_wrap=True)
        graph, history, facts = load_sampler(self.checkpoint)
        facts |= self._run_facts()
        observations, betas = self._observations(history, facts)
        with tempfile.TemporaryDirectory() as made:
            path = Path(made) / GRAPH
            full = path if self.full else path.with_suffix(".full.onnx")
            console.print("[2/4] making the graph: a minute or two", markup=False, soft_wrap=True)
            to_onnx(graph, observations.shape[-1], full)
            if not self.full:
                to_8_bit(full, path)
            console.print(
                f"[3/4] comparing it with PyTorch on {len(observations)} observations", markup=False, soft_wrap=True
            )
            found = compare(graph, path, observations, betas)
            console.print(
                f"PyTorch against the bundle: {found.mean_deg:.3f} degrees mean, {found.worst_deg:.2f} at most of any "
                f"joint; drawn poses {found.drawn_deg:.3f} degrees, log likelihood {found.log_likelihood_nats:.2f} "
                f"nats, deviation {100 * found.spread:.1f} %, contacts {100 * found.contacts:.1f} % on average"
            )
            if not max(found.mean_deg, found.drawn_deg) <= WORST_MEAN_DEG or not found.contacts <= WORST_CONTACTS:
                raise InputError(
                    f"the exported graph differs from PyTorch by {max(found.mean_deg, found.drawn_deg):.2f} degrees "
                    f"and {100 * found.contacts:.1f} % of contact on average, more than {WORST_MEAN_DEG} and "
                    f"{100 * WORST_CONTACTS:.0f} %: export with --full"
                )
            # The figures of the evaluation are of the network, those of the export of this file.
            figures = {f"export_{name}": round(value, 4) for name, value in asdict(found).items()} | self._metrics()
            folder = Path(made) / name
            folder.mkdir()
            shutil.move(path, folder / GRAPH)
            wanted = sampler_signature(observations.shape[-1])
            tolerance = _TOLERANCE if self.full else _TOLERANCE_8_BIT
            bundle = write_manifest(
                folder,
                name=name,
                kind=KIND,
                version=self.bundle_version,
                licence="Apache-2.0",
                provenance=self._provenance(facts),
                metrics=figures,
                graphs={GRAPH: GraphSection(wanted.inputs, wanted.outputs, tolerance)},
                history_s=list(history),
                trained_on=facts["subjects"],
            )
            console.print("[4/4] measuring the providers of this machine", markup=False, soft_wrap=True)
            graphs, notes = measure_graphs(bundle, _RUNS)
            write_graphs(folder, graphs)
            for note in notes:
                console.print(note, markup=False, soft_wrap=True)
            bundle = (zip_in_place if self.zip else put_in_place)(folder, out)
        size = sum(file.bytes for file in bundle.manifest.files)
        console.print(f"wrote {out} ({size / 1e6:.1f} MB)", markup=False, soft_wrap=True)
        console.print(f"run it: bodystream drive --headset ... --bundle pose={out}", markup=False, soft_wrap=True)
        if self.json:
            print(json.dumps({"out": str(out), "bytes": size, **figures}))
        return 0

    def _observations(self, history: tuple[float, ...], facts: dict[str, Any]) -> tuple[Any, Any]:
        import torch

        from bodystream.pose.features import FeatureConfig
        from bodystream.sources.motion import find_takes
        from bodystream_training.checkpoints import load_checkpoint
        from bodystream_training.pose.data import build_examples
        from bodystream_training.pose.splits import split_of

        if self.data is not None:
            splits = facts["splits"]
            takes = [take for take in find_takes(self.data) if split_of(take.subject, splits) != "train"]
            takes = [take for take in takes if split_of(take.subject, splits) != "none"]
            if not takes:
                kept = ", ".join(name for split in splits.values() for name in split)
                raise InputError(f"{self.data} has no take of a validation or test subject (of this run: {kept})")
            made = build_examples((take.load() for take in takes), FeatureConfig(history), variants=1)
            observation, person, beta = made.observation, made.person, made.beta
        else:
            path = self.checkpoint.parent / "examples" / f"{facts.get('data')}-validation.safetensors"
            if not path.is_file():
                raise InputError(f"the examples of {self.checkpoint} were not kept ({path} is not there): give --data")
            tensors, _ = load_checkpoint(path)
            observation, person, beta = tensors["observation"], tensors["person"], tensors["beta"]
        chosen = torch.linspace(0, len(observation) - 1, min(300, len(observation))).long()
        return observation[chosen].float().numpy(), beta[person[chosen].long()].numpy()

    def _run_facts(self) -> dict[str, Any]:
        from bodystream_training.pose.splits import read_run

        return read_run(self.checkpoint)

    def _provenance(self, facts: dict[str, Any]) -> dict[str, Any]:
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

    def _metrics(self) -> dict[str, float]:
        if self.metrics is None:
            return {}
        try:
            model = json.loads(read_text_bounded(self.metrics, _MAX_METRICS_BYTES))["model"]
            return {name: value for name, value in model.items() if isinstance(value, int | float)}
        except (InputError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{self.metrics} is not the output of bodystream eval pose --json: {error}") from error
