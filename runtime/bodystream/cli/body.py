"""`bodystream body`: bodies drawn from a learned embedding, given another's pose, and between two."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from bodystream.cli.options import BundleWords
from bodystream.cli.process import start_warp
from bodystream.errors import ConfigurationError

if TYPE_CHECKING:
    from bodystream.body import BodyDecoder

__all__ = ["InterpolateBodies", "SampleBodies", "TransferPose"]

_MOST = 1000


def _decoder(words: BundleWords) -> BodyDecoder:
    from bodystream.body import BodyDecoder
    from bodystream.bundles import BundleChoice

    bundle = BundleChoice.parse(words, ("body",)).open("body")
    start_warp()
    return BodyDecoder(bundle)


def _check_count(count: int, least: int) -> None:
    if not least <= count <= _MOST:
        raise ConfigurationError(f"--n must be {least} to {_MOST}, got {count}")


def _tell(written: list[Path], facts: dict[str, Any], as_json: bool) -> None:
    """One JSON object on stdout, or what was written on stderr."""
    from rich.console import Console

    if as_json:
        print(json.dumps({"written": [str(path) for path in written], **facts}))
        return
    console = Console(stderr=True, highlight=False)
    for name, value in facts.items():
        if name.endswith("_fit_mm"):
            said = f"the {name.removesuffix('_fit_mm')} mesh is {value:.1f} mm from the body of its codes, on average"
            console.print(said, markup=False, soft_wrap=True)
    shown = str(written[0]) if len(written) == 1 else f"{written[0]} and {len(written) - 1} more"
    console.print(f"wrote {shown}", markup=False, soft_wrap=True)


@dataclass(frozen=True, kw_only=True)
class SampleBodies:
    """Draw bodies from an embedding, as those are distributed that it was learned from.

    The embedding is the shipped one, or --bundle body=PATH. Examples:
      bodystream body sample --n 8 --out sheet.png
      bodystream body sample --n 20 --neutral --out bodies
    """

    out: Path
    """A picture of all of them (sheet.png), or a folder for a mesh of each (0000.ply, ...)."""

    n: int = 8
    """How many."""

    neutral: bool = False
    """All in the neutral pose."""

    seed: int = 0
    """Of what is drawn; the first bodies of a seed are the same for any --n."""

    bundle: BundleWords = ()
    """Another embedding than the shipped one, a folder or a zip file: body=PATH."""

    json: bool = False
    """Print one JSON object: the written paths, how many bodies, and the seed."""

    def run(self) -> int:
        from bodystream.pipelines.bodies import check_bodies_out, draw_codes, write_bodies

        _check_count(self.n, 1)
        if self.seed < 0:
            raise ConfigurationError(f"--seed must be at least 0, got {self.seed}")
        decoder = _decoder(self.bundle)
        check_bodies_out(self.out, self.n, "--out")
        codes = draw_codes(decoder, self.n, self.seed, self.neutral)
        bodies = [decoder.mesh(body.shape, body.pose) for body in codes]
        written = write_bodies(self.out, bodies, [str(number) for number in range(self.n)])
        _tell(written, {"bodies": self.n, "seed": self.seed}, self.json)
        return 0


@dataclass(frozen=True, kw_only=True)
class TransferPose:
    """Give a person the pose of another: the shape code of one mesh with the pose code of another one.

    Both meshes are of the embedding's topology, in metres, y up, standing anywhere. The body that is written stands as
    the embedding's reference does. Examples:
      bodystream body transfer --shape a.obj --pose b.obj --out c.glb
    """

    shape: Path
    """Mesh of the person (.obj, .ply, .npz)."""

    pose: Path
    """Mesh of somebody in the pose."""

    out: Path
    """Mesh to write (.glb, .ply, .obj)."""

    bundle: BundleWords = ()
    """Another embedding than the shipped one, a folder or a zip file: body=PATH."""

    json: bool = False
    """Print one JSON object: the written path, and how far each mesh is from the body of its codes."""

    def run(self) -> int:
        from bodystream.body import BodyEncoder
        from bodystream.files import check_output
        from bodystream.pipelines.bodies import encode_file
        from bodystream.sinks.mesh_files import check_mesh_path, write_mesh

        check_mesh_path(self.out, "--out")
        check_output(self.out, "--out")
        decoder = _decoder(self.bundle)
        encoder = BodyEncoder(decoder)
        of_shape, of_pose = (encode_file(encoder, decoder, path) for path in (self.shape, self.pose))
        write_mesh(self.out, decoder.mesh(of_shape.codes.shape, of_pose.codes.pose))
        _tell([self.out], {"shape_fit_mm": of_shape.fit_mm, "pose_fit_mm": of_pose.fit_mm}, self.json)
        return 0


@dataclass(frozen=True, kw_only=True)
class InterpolateBodies:
    """Make the bodies between two, in equal steps of both codes, the first and the last among them.

    Both meshes are of the embedding's topology, in metres, y up, standing anywhere. Examples:
      bodystream body interpolate a.obj b.obj --n 5 --out sheet.png
      bodystream body interpolate a.obj b.obj --n 30 --out between
    """

    first: Annotated[Path, tyro.conf.Positional]
    """Mesh to begin with (.obj, .ply, .npz)."""

    last: Annotated[Path, tyro.conf.Positional]
    """Mesh to end with."""

    out: Path
    """A picture of all of them (sheet.png), or a folder for a mesh of each (0000.ply, ...)."""

    n: int = 5
    """How many, both ends among them."""

    bundle: BundleWords = ()
    """Another embedding than the shipped one, a folder or a zip file: body=PATH."""

    json: bool = False
    """Print one JSON object: the written paths, how many bodies, and how far both meshes are from the bodies of their
    codes."""

    def run(self) -> int:
        from bodystream.body import BodyEncoder
        from bodystream.pipelines.bodies import between, check_bodies_out, encode_file, write_bodies

        _check_count(self.n, 2)
        decoder = _decoder(self.bundle)
        check_bodies_out(self.out, self.n, "--out")
        encoder = BodyEncoder(decoder)
        first, last = (encode_file(encoder, decoder, path) for path in (self.first, self.last))
        codes = between(first.codes, last.codes, self.n)
        bodies = [decoder.mesh(body.shape, body.pose) for body in codes]
        labels = [f"{number / (self.n - 1):.0%}" for number in range(self.n)]
        written = write_bodies(self.out, bodies, labels)
        facts = {"bodies": self.n, "first_fit_mm": first.fit_mm, "last_fit_mm": last.fit_mm}
        _tell(written, facts, self.json)
        return 0
