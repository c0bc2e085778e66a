"""One column of several in browsers whose window has no room for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bodystream.sinks.viewer.panel import is_narrow

if TYPE_CHECKING:
    import viser

__all__ = ["ColumnsAlone"]


class ColumnsAlone:
    """Hides columns in narrow windows alone: a node of one client's own stands in for that of all.

    Args:
        names: of the columns' frames in the scene.
    """

    def __init__(self, server: viser.ViserServer, names: Sequence[str]) -> None:
        self._server, self._names = server, names
        self._hidden: dict[int, dict[str, viser.FrameHandle]] = {}

    def apply(self, alone: str | None) -> None:
        """Leave the column `alone` in narrow windows; None = all that are shown to others, too."""
        for client in self._server.get_clients().values():
            wanted = set() if alone is None or not is_narrow(client.camera.aspect) else set(self._names) - {alone}
            hidden = self._hidden.setdefault(client.client_id, {})
            for name in wanted - hidden.keys():
                hidden[name] = client.scene.add_frame(f"/{name}", show_axes=False, visible=False)
            for name in hidden.keys() - wanted:
                hidden.pop(name).remove()

    def forget(self, client_id: int) -> None:
        """A browser has gone."""
        self._hidden.pop(client_id, None)
