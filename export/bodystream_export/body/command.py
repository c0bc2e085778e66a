"""`bodystream-export body`: from a training run to bodies that are made of codes without PyTorch."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from bodystream.cli.options import optional, switched_off
from bodystream.errors import ConfigurationError, InputError
from bodystream.files import read_text_bounded

if TYPE_CHECKING:
    from bodystream_export.body.convert import Storing

__all__ = ["ExportBody"]

_RUNS = 30


@dataclass(frozen=True, kw_only=True)
class ExportBody:
    """Write a trained embedding of bodies as a bundle: decoder, its derivatives and encoder as ONNX graphs, and the
    mesh they belong to.

    Nearly all weights are those of the decoder's last layer, which its derivatives have again, and of the encoder's
    first one, and reading them takes most of the time: they have 8 bits. The meshes are compared
    with PyTorch's, and a bundle whose vertices are half a millimetre off on average is refused. Examples:
      bodystream-export body --run runs/body
      bodystream-export body --run runs/body --rank 300 --no-encoder --out bundles/small --zip
      bodystream body sample --n 8 --out sheet.png --bundle body=bundles/body
    """

    run_folder: Annotated[Path, tyro.conf.arg(name="run")]
    """Folder of the training run."""

    net: Literal["dhnn", "baseline"] = "dhnn"
    """Which network of it."""

    out: Path = Path("bundles/body")
    """Folder of the bundle, in the current folder unless it begins with /; its last part is the bundle's name."""

    zip: bool = False
    """Write one zip file instead of a folder; `.zip` is added to the name where it is missing."""

    full: bool = False
    """Keep the weights in 32 bits: four times the size, and the same numbers as PyTorch."""

    half: bool = False
    """Store the weights in 16 bits: half of that size; in memory they have 32."""

    rank: Annotated[int | None, optional("N")] = None
    """Put the last layer as two with N numbers between: size and time fall with N, and the comparison says what it
    costs."""

    encoder: Annotated[
        bool, switched_off("Leave the encoder out, half of the bundle: it cannot find the codes of meshes then.")
    ] = True

    gradient: Annotated[
        bool, switched_off("Leave the decoder's derivatives out, as large as itself: nothing can be fitted by it then.")
    ] = True

    metrics: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """JSON of `bodystream-train eval body --json`, whose figures of the network go into the manifest."""

    bundle_version: int = 1
    """Grows with every change of the bundle."""

    json: bool = False
    """Print one JSON object at the end: folder, bytes, and the differences from PyTorch."""

    def run(self) -> int:
        from rich.console import Console

        from bodystream_export.body.convert import Storing, compare_body, load_body, write_body
        from bodystream_export.bundle import write_metrics
        from bodystream_export.measure import measure_and_put
        from bodystream_export.parity import parity_table, refuse_too_far
        from bodystream_export.place import Place
        from bodystream_training.body.kept import kept_bodies

        if self.full and self.half:
            raise ConfigurationError("--full keeps 32 bits and --half 16: give one of them")
        evaluated = _evaluated(self.metrics, self.net)
        bits = 32 if self.full else 16 if self.half else 8
        place = Place.of(self.out, self.zip)
        console = Console(stderr=True, highlight=False)
        console.print("[1/4] reading the trained networks", markup=False, soft_wrap=True)
        kept = kept_bodies(self.run_folder)
        model, trained = load_body(self.run_folder, self.net, kept)
        wide = model.config.wide
        if self.rank is not None and not 1 <= self.rank < wide:
            raise ConfigurationError(f"--rank must be 1 to {wide - 1}, less than the layer has, got {self.rank}")
        storing = Storing(bits, self.rank, self.encoder, self.gradient)
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made) / place.name
            folder.mkdir()
            console.print("[2/4] making the graphs", markup=False, soft_wrap=True)
            bundle = write_body(
                model, kept, folder, storing, net=self.net, name=place.name, version=self.bundle_version,
                provenance=_provenance(trained, kept.facts, storing),
            )  # fmt: skip
            said = f"[3/4] comparing them with PyTorch on {len(kept.examples)} bodies, and on some that are drawn"
            console.print(said, markup=False, soft_wrap=True)
            differences = compare_body(model, bundle, kept)
            console.print(parity_table(differences, len(kept.examples)))
            refuse_too_far(differences, "give a higher --rank or none" if self.rank else "export with --full")
            figures = {f"export_{found.name}": round(found.value, 4) for found in differences} | evaluated
            write_metrics(folder, figures)
            console.print("[4/4] measuring the providers of this machine", markup=False, soft_wrap=True)
            size = measure_and_put(bundle, folder, place, _RUNS, console)
        console.print(
            f"try it: bodystream body sample --out sheet.png --bundle body={place.path}", markup=False, soft_wrap=True
        )
        if self.json:
            print(json.dumps({"out": str(place.path), "bytes": size, **figures}))
        return 0


def _evaluated(path: Path | None, net: str) -> dict[str, float]:
    """The network's figures in what `bodystream-train eval body --json` printed.

    Raises:
        InputError: the file is none.
    """
    if path is None:
        return {}
    try:
        row = json.loads(read_text_bounded(path, 1 << 20))["rows"][net]
        return {name: float(row[name]) for name in ("med_neutral_mm", "med_pose_mm") if row[name] is not None}
    except (InputError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is not what bodystream-train eval body --json prints of {net}: {error}") from error


def _provenance(trained: dict[str, Any], kept: dict[str, Any], storing: Storing) -> dict[str, Any]:
    names = ("config", "network", "step", "seconds")
    return {
        "method": "DHNN (Jiang et al., 2020)",
        "recipe": {name: trained[name] for name in names if name in trained},
        "bodies": kept["recipe"],
        "data": kept["thanks"],
        "weights": {"bits": storing.bits} | ({} if storing.rank is None else {"rank": storing.rank}),
    }
