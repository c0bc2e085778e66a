"""`bodystream-export pose`: from a training run to the bundle that the runtime loads."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from bodystream import bundles
from bodystream.bundles import Bundle, open_bundle
from bodystream.errors import ConfigurationError, InputError
from bodystream.files import atomic_path, prepare_folder, read_text_bounded

__all__ = ["ExportPose"]

_SHIPPED = Path(bundles.__file__).resolve().parent / "shipped"
WORST_MEAN_DEG = 0.5
"""Mean difference of rotations between PyTorch and the bundle beyond which an export is refused."""
WORST_CONTACTS = 0.05
"""The same of the probabilities that a foot stands."""
_MAX_METRICS_BYTES = 64 << 20


@dataclass(frozen=True)
class ExportPose:
    """Write the pose sampler as a bundle: one ONNX graph of latent predictor and flow, with 8-bit weights.

    The graph is compared with PyTorch on observations of people that were not trained on; a larger difference than
    half a degree, or 5 % of contact, is refused. Examples:
      bodystream-export pose --checkpoint runs/pose
      bodystream-export pose --checkpoint runs/pose --out runtime/bodystream/bundles/shipped/pose      (in a checkout)
    """

    checkpoint: Path
    """Folder of the training run; its joint training counts where there was one."""

    out: Path = Path("bundles/pose")
    """Folder of the bundle; its name must be `pose`."""

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

        from bodystream.pose.sampler import GRAPH
        from bodystream_export.bundle import write_manifest
        from bodystream_export.pose.convert import compare, load_sampler, to_8_bit, to_onnx

        if self.out.name != "pose":
            raise ConfigurationError(f"--out must be a folder named pose, got {self.out}")
        prepare_folder(self.out, "--out")
        console = Console(stderr=True, highlight=False)
        console.print("[1/3] reading the trained networks", markup=False, soft_wrap=True)
        graph, history, facts = load_sampler(self.checkpoint)
        facts |= self._run_facts()
        observations, betas = self._observations(history, facts)
        with tempfile.TemporaryDirectory() as made:
            path = Path(made) / GRAPH
            full = path if self.full else path.with_suffix(".full.onnx")
            console.print("[2/3] making the graph: a minute or two", markup=False, soft_wrap=True)
            to_onnx(graph, observations.shape[-1], full)
            if not self.full:
                to_8_bit(full, path)
            console.print(
                f"[3/3] comparing it with PyTorch on {len(observations)} observations", markup=False, soft_wrap=True
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
            folder = Path(made) / self.out.name
            folder.mkdir()
            shutil.move(path, folder / GRAPH)
            write_manifest(
                folder,
                kind="pose-sampler",
                version=self.bundle_version,
                licence="Apache-2.0",
                provenance=self._provenance(facts),
                metrics=figures,
                history_s=list(history),
                trained_on=facts["subjects"],
            )
            bundle = _put_in_place(folder, self.out)
        size = sum(file.bytes for file in bundle.manifest.files)
        console.print(f"wrote {self.out} ({size / 1e6:.1f} MB)", markup=False, soft_wrap=True)
        if not self.out.resolve().is_relative_to(_SHIPPED):
            console.print(
                f"`bodystream drive` runs the shipped one; in Python: PoseSampler(open_bundle({str(self.out)!r}))",
                markup=False,
                soft_wrap=True,
            )
        if self.json:
            print(json.dumps({"out": str(self.out), "bytes": size, **figures}))
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


def _put_in_place(made: Path, out: Path) -> Bundle:
    """Replace a bundle by a new one; one that cannot be written whole leaves the old one as it was."""
    with ExitStack() as every:
        # All are written before the first takes its place.
        for path in sorted(made.iterdir()):
            shutil.copyfile(path, every.enter_context(atomic_path(out / path.name)))
    return open_bundle(out)
