"""The files that every fit of bodies has: codes, and figures as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bodystream.body import BodyDecoder
from bodystream.files import atomic_path
from bodystream.types import Array

__all__ = ["write_fit"]


def write_fit(out: Path, decoder: BodyDecoder, codes: Mapping[str, Array], told: Mapping[str, Any]) -> list[Path]:
    """Write `codes.npz` and `fit.json`, which names the bundle, too; their paths.

    Args:
        out: a folder that exists.
        codes: arrays: `shape` (S,), `pose` (P,) or (T, P) of frames, `data_from_body` (4, 4) or (T, 4, 4), and more.
        told: what the text says.

    Raises:
        InputError: the file system refused.
    """
    paths = [out / "codes.npz", out / "fit.json"]
    kept: dict[str, Any] = dict(codes)
    with atomic_path(paths[0]) as waiting, waiting.open("wb") as file:
        np.savez(file, **kept)
    bundle = decoder.bundle.manifest
    whole = {**told, "bundle": {"name": bundle.name, "version": bundle.version}}
    with atomic_path(paths[1]) as waiting:
        waiting.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    return paths
