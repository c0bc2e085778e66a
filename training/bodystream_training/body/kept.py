"""What a run keeps of its bodies beside its networks, so that a bundle can be made of it without the data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bodystream.body import AcapSpace, BodySkin
from bodystream.body.skin import skin_of_arrays
from bodystream.errors import InputError
from bodystream.types import Array, Mesh
from bodystream_training.body.data.bodies import BodySet
from bodystream_training.body.data.features import BodyFeatures
from bodystream_training.checkpoints import load_checkpoint, save_checkpoint

__all__ = ["KeptBodies", "keep_bodies", "kept_bodies"]

_FILE = "bodies.safetensors"
_EXAMPLES = 16


@dataclass(frozen=True)
class KeptBodies:
    """Reference and examples of a run.

    Attributes:
        space: of the reference mesh.
        parts: (V,) part of each vertex, and count: of parts.
        laid_by: (V,) bool, as of `BodySet`.
        examples: (N, V, 9) float32 features of bodies for tests, unscaled; half of them neutral where there are both.
        skin: joints and skinning weights, or None where the bodies have none.
        facts: what the bodies were made of, and what the terms of the data ask to be said.
    """

    space: AcapSpace
    parts: Array
    count: int
    laid_by: Array
    examples: Array
    skin: BodySkin | None
    facts: dict[str, Any]


def keep_bodies(folder: Path, bodies: BodySet, features: BodyFeatures) -> None:
    """Write them into a run's folder."""
    chosen = []
    for numbers in (features.test_neutral, features.test_posed):
        some = np.linspace(0, len(numbers) - 1, min(_EXAMPLES // 2, len(numbers))).round().astype(int)
        chosen += numbers[some].tolist()
    arrays = {
        "reference": features.space.reference,
        "faces": features.space.faces,
        "parts": features.parts.labels.astype(np.int64),
        "laid_by": bodies.laid_by,
        "examples": np.stack([features.unscaled(number) for number in chosen]),
    }
    skin = bodies.skin()
    if skin is not None:
        arrays |= {"joint_weights": skin.joint_weights, "skin_weights": skin.skin_weights}
    recipe = {name: bodies.recipe[name] for name in sorted(bodies.recipe) if name not in ("files", "takes")}
    facts = {"parts": bodies.parts, "recipe": recipe, "thanks": list(bodies.thanks)}
    save_checkpoint(folder / _FILE, {name: torch.from_numpy(array) for name, array in arrays.items()}, facts)


def kept_bodies(folder: Path) -> KeptBodies:
    """Read them.

    Raises:
        InputError: there are none, or they are damaged.
    """
    path = folder / _FILE
    if not path.is_file():
        raise InputError(
            f"{path} is not there, which a training writes when it begins: repeat the command that trained {folder}, "
            "it goes on where it was"
        )
    tensors, facts = load_checkpoint(path)
    try:
        a = {name: tensor.numpy() for name, tensor in tensors.items()}
        space = AcapSpace(Mesh(a["reference"], a["faces"]), str(path))
        skin = skin_of_arrays(a, space.count)
        return KeptBodies(space, a["parts"], int(facts["parts"]), a["laid_by"], a["examples"], skin, facts)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} holds no bodies of a training ({error}): train again") from error
