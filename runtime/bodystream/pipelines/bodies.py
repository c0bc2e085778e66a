"""Bodies out of an embedding: drawn, with the pose of another, and between two; to meshes, and to a sheet."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bodystream.body import BodyCodes, BodyDecoder, BodyEncoder, aligned
from bodystream.errors import ConfigurationError
from bodystream.files import check_output, prepare_folder
from bodystream.sinks.ply import write_ply
from bodystream.sinks.sheet import View, draw_mesh, write_sheet
from bodystream.sources.meshes import read_mesh
from bodystream.types import Mesh

__all__ = ["EncodedMesh", "between", "check_bodies_out", "draw_codes", "encode_file", "write_bodies"]

_NUMBERED = re.compile(r"\d{4}\.ply")
_PICTURE_PX, _HALF_M, _YAW_RAD = 240, 0.96, 0.4


@dataclass(frozen=True, slots=True)
class EncodedMesh:
    """A mesh of a file in an embedding.

    Attributes:
        codes: of it.
        fit_mm: mean distance of its vertices from the body of these codes, which lies on it as well as it can [mm].
    """

    codes: BodyCodes
    fit_mm: float


def draw_codes(decoder: BodyDecoder, count: int, seed: int, neutral: bool = False) -> list[BodyCodes]:
    """Codes as those of the bodies that were learned from are distributed; the first ones are the same for any count.

    Args:
        neutral: leave the pose at 0.
    """
    out = []
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        shape = rng.standard_normal(decoder.facts.shape).astype(np.float32)
        pose = rng.standard_normal(decoder.facts.pose).astype(np.float32)
        out.append(BodyCodes(shape, np.zeros_like(pose) if neutral else pose))
    return out


def encode_file(encoder: BodyEncoder, decoder: BodyDecoder, path: Path) -> EncodedMesh:
    """The codes of a mesh of a file.

    Raises:
        InputError: it cannot be read, or has no codes; says what is wrong and where.
    """
    mesh = read_mesh(path)
    codes = encoder.codes(mesh, str(path))
    found = decoder.vertices(codes.shape, codes.pose)
    given = aligned(mesh.vertices, found, np.ones(len(found), bool))
    return EncodedMesh(codes, 1e3 * float(np.linalg.norm(given - found, axis=1).mean()))


def between(first: BodyCodes, last: BodyCodes, count: int) -> list[BodyCodes]:
    """So many bodies from the first to the last, both among them, in equal steps of the codes."""
    shares = np.linspace(0.0, 1.0, count, dtype=np.float32)
    return [BodyCodes((1.0 - t) * first.shape + t * last.shape, (1.0 - t) * first.pose + t * last.pose) for t in shares]


def check_bodies_out(out: Path, count: int, option: str) -> None:
    """Look at where bodies are to be written, before they are made: a picture (.png), or a folder, which is made.

    Raises:
        ConfigurationError: it is a file of another kind, or a folder with numbered meshes that would be left over.
        InputError: it cannot be written to.
    """
    if out.suffix.lower() == ".png" and not out.is_dir():
        check_output(out, option)
        return
    if out.suffix and not out.is_dir():
        raise ConfigurationError(f"{option} {out}: give a picture (sheet.png), or a folder for a mesh of each (bodies)")
    prepare_folder(out, option)
    own = {f"{number:04d}.ply" for number in range(count)}
    others = [path.name for path in out.iterdir() if _NUMBERED.fullmatch(path.name) and path.name not in own]
    if others:
        raise ConfigurationError(
            f"{option}: {out} holds {len(others)} other meshes ({min(others)}, ...), which would be taken for these: "
            "give another folder, or remove them"
        )


def write_bodies(out: Path, bodies: Sequence[Mesh], labels: Sequence[str]) -> list[Path]:
    """A picture of all bodies side by side, all as large as they are to each other, or a mesh of each.

    Args:
        out: as `check_bodies_out` let it pass. labels: of the pictures.

    Returns:
        What was written.

    Raises:
        InputError: it cannot be written.
    """
    if out.suffix.lower() == ".png" and not out.is_dir():
        half_m = max(_HALF_M, 0.52 * max(float(np.ptp(body.vertices, axis=0).max()) for body in bodies))
        pictures = []
        for body, label in zip(bodies, labels, strict=True):
            centre = 0.5 * (body.vertices.min(axis=0) + body.vertices.max(axis=0))
            pictures.append(draw_mesh(body, View(centre, _YAW_RAD, half_m), _PICTURE_PX, label))
        write_sheet(out, pictures)
        return [out]
    paths = [out / f"{number:04d}.ply" for number in range(len(bodies))]
    for path, body in zip(paths, bodies, strict=True):
        write_ply(path, body)
    return paths
