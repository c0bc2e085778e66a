"""What bodies are learned from, whoever made them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from bodystream.body import BodySkin
from bodystream.types import Array, Mesh
from bodystream_training.body.mixing import Limbs

__all__ = ["BodyItem", "BodySet"]


@dataclass(frozen=True, slots=True)
class BodyItem:
    """One mesh.

    Attributes:
        name: how messages call it.
        split: `train` or `test`.
        neutral: its number among the items, of the neutral mesh of the same identity; its own where it is that.
        identity: whose body it is. motion: what the pose is from; empty = neutral.
    """

    name: str
    split: str
    neutral: int
    identity: str
    motion: str = ""


class BodySet(ABC):
    """Meshes of one topology, a neutral one of each identity among them.

    Attributes:
        reference: the mesh that all are deformations of; its vertices float64, y up [m].
        labels: (V,) the part that each vertex is in, and parts: how many there are.
        laid_by: (V,) bool, vertices by which meshes are laid on the reference.
        items: of all meshes.
        recipe: what they are made of, as JSON; a cache of the same recipe is used again.
        thanks: what the terms of the data ask to be said.
    """

    reference: Mesh
    labels: Array
    parts: int
    laid_by: Array
    items: list[BodyItem]
    recipe: dict[str, object]
    thanks: tuple[str, ...] = ()

    def limbs(self) -> Limbs | None:
        """What of these bodies changes places to make more of them, or None where nobody knows."""
        return None

    def skin(self) -> BodySkin | None:
        """Joints and skinning weights of the topology, or None where nobody knows them."""
        return None

    @abstractmethod
    def vertices(self, number: int) -> Array:
        """(V, 3) float64 of an item, aligned to the reference [m].

        Raises:
            InputError: it cannot be read, or is no body of this topology.
        """

    def posed_as(self, identity: int, pose: int) -> Array | None:
        """(V, 3) float64 of the identity of one item in the pose of another [m], where that is known; else None."""
        return None
