"""What all pages have in common: the panel with status, buttons, figures and switches, and the camera's place."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bodystream.sinks.viewer import hud
from bodystream.types import Array

if TYPE_CHECKING:
    import viser

__all__ = ["FOV", "PANEL_SHARE", "Buttons", "Framing", "Panel", "View"]

FOV = math.radians(45.0)
"""Vertical field of view of the page's camera [rad]."""
PANEL_SHARE = 0.25
"""Of the window's width, how much the panel covers."""

View = Callable[[float], tuple[Array, Array]]
"""From the window's aspect (width / height) to the camera's position and the point that it looks at."""


@dataclass(frozen=True)
class Buttons:
    """What a page calls, on another thread.

    Attributes:
        start, stop, reset: the user pressed the button.
        change: the user changed what is to be seen; the last state should be shown again.
    """

    start: Callable[[], None]
    stop: Callable[[], None]
    reset: Callable[[], None]
    change: Callable[[], None]


class Panel:
    """The column at the right edge. A page may add controls of its own before and after `add_controls`."""

    def __init__(self, server: viser.ViserServer, buttons: Buttons) -> None:
        self.gui = server.gui
        self._buttons = buttons
        self._changed = True
        self._fit_asked = False
        self.running = True
        self.gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False)
        self.gui.set_panel_label("bodystream")
        self.status = self.gui.add_html(hud.waiting_html(True))

    def add_controls(self, switches: Mapping[str, tuple[str, bool, str | None]], reset_hint: str) -> None:
        """Buttons, the tabs Timing and Show, and the place of warnings.

        Args:
            switches: by name, a label, whether it is on at first, and a hint.
        """
        gui, buttons = self.gui, self._buttons
        self._stop = gui.add_button("Stop", color="red", icon="player-stop")
        self._start = gui.add_button("Start", color="green", icon="player-play", visible=False)
        reset = gui.add_button("Reset", icon="refresh", hint=reset_hint)
        tabs = gui.add_tab_group()
        with tabs.add_tab("Timing"):
            self.stages = gui.add_html(hud.stages_html({}, {}))
        with tabs.add_tab("Show"):
            self._switches = {
                name: gui.add_checkbox(label, on, hint=hint) for name, (label, on, hint) in switches.items()
            }
            fit = gui.add_button("Fit view", icon="focus-2")
        self.problems = gui.add_html("")
        self._stop.on_click(lambda _: buttons.stop())
        self._start.on_click(lambda _: buttons.start())
        reset.on_click(lambda _: buttons.reset())
        for switch in self._switches.values():
            switch.on_update(lambda _: self._ask(fit=False))
        fit.on_click(lambda _: self._ask(fit=True))

    def is_on(self, name: str) -> bool:
        return bool(self._switches[name].value)

    def set_running(self, running: bool) -> None:
        """Offer Stop while there is something running and Start while there is not."""
        self.running = running
        self._stop.visible, self._start.visible = running, not running

    def take_changed(self) -> bool:
        """Whether a switch changed since this was asked last; true at first."""
        changed, self._changed = self._changed, False
        return changed

    def take_fit_asked(self) -> bool:
        """Whether the user asked for the view to be fitted since this was asked last."""
        asked, self._fit_asked = self._fit_asked, False
        return asked

    def _ask(self, fit: bool) -> None:
        """Leave a note for the thread that shows states; the page's callbacks run on several others."""
        if fit:
            self._fit_asked = True
        self._changed = True
        self._buttons.change()


class Framing:
    """Gives every browser the camera's place once, and anew after `renew`; in between the user's view is left alone.

    Args:
        up: the scene's upward axis.
    """

    def __init__(self, server: viser.ViserServer, up: tuple[float, float, float]) -> None:
        self._server = server
        self._up = up
        self._fitted: set[int] = set()

    def renew(self) -> None:
        self._fitted.clear()

    def forget(self, client_id: int) -> None:
        self._fitted.discard(client_id)

    def set_first(self, view: View) -> None:
        """What a browser that connects sees before anything else."""
        camera: Any = self._server.initial_camera
        camera.fov = FOV
        camera.position, camera.look_at = view(1.5)

    def fit(self, view: View) -> None:
        """Place the camera in the browsers that have not had it yet."""
        for client in self._server.get_clients().values():
            if client.client_id in self._fitted:
                continue
            self._fitted.add(client.client_id)
            position, look_at = view(client.camera.aspect)
            with client.atomic():
                client.camera.fov = FOV
                client.camera.up_direction = self._up
                client.camera.position = position
                client.camera.look_at = look_at
