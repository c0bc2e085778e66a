"""A mesh on the page that is replaced in every frame."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeGuard

from bodystream.sinks.viewer import encode
from bodystream.types import Mesh

if TYPE_CHECKING:
    import viser

__all__ = ["MeshNode", "is_drawable", "swap_nodes"]

_SWAP_S = 0.05  # the page parses a mesh in 5-20 ms; until then the one before stays up


class MeshNode:
    """A mesh with vertex colours that changes without flicker.

    The page takes a mesh down as soon as another arrives and needs some milliseconds to build that, so two nodes
    take turns: the new mesh goes into the hidden one, which is shown a moment later in the other's stead.
    """

    def __init__(self, server: viser.ViserServer, name: str) -> None:
        self._server = server
        self._name = name
        self._nodes: list[viser.GlbHandle] = []
        self._shown = 0
        self._pending = False

    def send(self, mesh: Mesh) -> int:
        """Send the mesh into the hidden node; returns the bytes."""
        data = encode.glb_of_mesh(mesh)
        if len(self._nodes) < 2:
            name = f"{self._name}/{len(self._nodes)}"
            self._nodes.append(self._server.scene.add_glb(name, data, visible=False, cast_shadow=False))
            self._shown = len(self._nodes) - 2
        else:
            self._nodes[1 - self._shown].glb_data = data
        self._pending = True
        return len(data)

    def swap(self) -> None:
        """Show what was sent last."""
        if self._pending:
            self._pending = False
            new = 1 - self._shown if len(self._nodes) == 2 else 0
            for i, node in enumerate(self._nodes):
                node.visible = i == new
            self._shown = new


def swap_nodes(server: viser.ViserServer, nodes: Sequence[MeshNode]) -> None:
    """Give the page time to build what was sent, then show it on all of them at once."""
    server.flush()
    time.sleep(_SWAP_S)
    with server.atomic():
        for node in nodes:
            node.swap()


def is_drawable(mesh: Mesh | None) -> TypeGuard[Mesh]:
    return mesh is not None and len(mesh.vertices) > 0 and len(mesh.faces) > 0
