"""What all pages have in common: the panel with status, buttons, figures and switches, and the camera's place."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bodystream.sinks.viewer import hud
from bodystream.sinks.viewer.notices import Notices
from bodystream.types import Array
from bodystream.web.invitation import Invitation

if TYPE_CHECKING:
    import viser

__all__ = ["FOV", "Buttons", "Framing", "Panel", "View", "is_narrow"]

FOV = math.radians(45.0)
"""Vertical field of view of the page's camera [rad]."""
_PANEL_PX = 300
_NARROW = 0.9
_SAME_SHAPE = 0.02  # relative change of the window's aspect that is let pass
_MOVED_M = 0.01

View = Callable[[float], tuple[Array, Array]]
"""From the window's aspect (width / height) to the camera's position and the point that it looks at."""


@dataclass(frozen=True)
class Buttons:
    """What a page calls, on another thread.

    Attributes:
        start, stop, reset: the user pressed the button; start resumes and stop pauses.
        save: the user pressed it; None = there is no such button.
        change: the user changed what is to be seen; the last state should be shown again.
    """

    start: Callable[[], None]
    stop: Callable[[], None]
    reset: Callable[[], None]
    change: Callable[[], None]
    save: Callable[[], None] | None = None


class Panel:
    """The column beside the picture, or below it on a phone. A page may add controls before and after `add_controls`.

    Args:
        waits_for: what the page says that it waits for until there is something to show.
    """

    def __init__(self, server: viser.ViserServer, buttons: Buttons, waits_for: str = "the first frame") -> None:
        self.gui = server.gui
        self._buttons = buttons
        self._changed = True
        self._fit_asked = False
        self._waits_for = waits_for
        self._texts: dict[str, str] = {}
        self.running = True
        self.gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False)
        self.gui.set_panel_label("bodystream")
        # Beside the picture and not over it: what is drawn is framed for the room that it has.
        self.gui.main_panel.dock_right()
        self.gui.main_panel.set_width(_PANEL_PX)
        self.gui.add_html(hud.PHONE_STYLE)
        self._html: dict[str, Any] = {}
        self._add_html("status", hud.waiting_html(True, waits_for))
        self._add_html("invitation")
        self._add_html("notices")

    def add_controls(
        self,
        switches: Mapping[str, tuple[str, bool, str | None]],
        reset_hint: str,
        legend: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Buttons, a legend, and what is folded away: what to show, times, and warnings that have passed.

        Args:
            switches: by name, a label, whether it is on at first, and a hint.
            legend: what colours mean, see `hud.legend_html`.
        """
        from viser import Icon  # which is loaded by now

        gui, buttons = self.gui, self._buttons
        self._pause = gui.add_button("Pause", icon=Icon.PLAYER_PAUSE, hint="Nothing is processed until you resume")
        self._resume = gui.add_button("Resume", icon=Icon.PLAYER_PLAY, visible=False)
        if buttons.save is not None:
            hint = "Write the files as they stand now; what runs goes on"
            gui.add_button("Save", icon=Icon.DEVICE_FLOPPY, hint=hint).on_click(lambda _: self._save())
        reset = gui.add_button("Reset", color="gray", icon=Icon.REFRESH, hint=reset_hint)
        if legend:
            self._add_html("legend", hud.legend_html(legend))
        with gui.add_folder("Show", expand_by_default=False):
            self._switches = {
                name: gui.add_checkbox(label, on, hint=hint) for name, (label, on, hint) in switches.items()
            }
            fit = gui.add_button("Fit view", icon=Icon.FOCUS_2)
        with gui.add_folder("Timing", expand_by_default=False):
            self._add_html("stages", hud.stages_html({}, {}))
        self._earlier = gui.add_folder("Earlier messages", expand_by_default=False, visible=False)
        with self._earlier:
            self._add_html("earlier")
        self._pause.on_click(lambda _: buttons.stop())
        self._resume.on_click(lambda _: buttons.start())
        reset.on_click(lambda _: buttons.reset())
        for switch in self._switches.values():
            switch.on_update(lambda _: self._ask(fit=False))
        fit.on_click(lambda _: self._ask(fit=True))

    def text(self, name: str) -> str:
        """The HTML of `status`, `invitation`, `notices`, `legend`, `stages` or `earlier`."""
        return self._texts[name]

    def set_text(self, name: str, text: str) -> None:
        """Renew one of them; what is the same is not sent again."""
        if self._texts[name] != text:
            self._texts[name] = self._html[name].content = text

    def show_waiting(self) -> None:
        """There is nothing to show yet."""
        self.set_text("status", hud.waiting_html(self.running, self._waits_for))

    def show_invitation(self, invitation: Invitation | None) -> None:
        self.set_text("invitation", "" if invitation is None else hud.invitation_html(invitation))

    def show_notices(self, notices: Notices) -> None:
        """What happened in the last seconds, and folded away what happened before."""
        earlier = notices.earlier()
        self.set_text("notices", hud.notices_html(notices.now()[-3:]))
        self.set_text("earlier", hud.notices_html(earlier[::-1]))
        if self._earlier.visible != bool(earlier):
            self._earlier.visible = bool(earlier)

    def is_on(self, name: str) -> bool:
        return bool(self._switches[name].value)

    def set_running(self, running: bool) -> None:
        """Offer Pause while there is something running and Resume while there is not."""
        self.running = running
        self._pause.visible, self._resume.visible = running, not running

    def take_changed(self) -> bool:
        """Whether a switch changed since this was asked last; true at first."""
        changed, self._changed = self._changed, False
        return changed

    def take_fit_asked(self) -> bool:
        """Whether the user asked for the view to be fitted since this was asked last."""
        asked, self._fit_asked = self._fit_asked, False
        return asked

    def _add_html(self, name: str, text: str = "") -> None:
        self._texts[name] = text
        self._html[name] = self.gui.add_html(text)

    def _save(self) -> None:
        assert self._buttons.save is not None
        self._buttons.save()

    def _ask(self, fit: bool) -> None:
        """Leave a note for the thread that shows states; the page's callbacks run on several others."""
        if fit:
            self._fit_asked = True
        self._changed = True
        self._buttons.change()


@dataclass(frozen=True, slots=True)
class _Fit:
    """What a browser was given, and for which window."""

    aspect: float
    position: Array
    look_at: Array


class Framing:
    """Gives every browser the camera's place once, and anew after `renew` or where its window changed its shape.

    A view that the user has changed is left alone, but where the window became narrow or wide.

    Args:
        up: the scene's upward axis.
    """

    def __init__(self, server: viser.ViserServer, up: tuple[float, float, float]) -> None:
        self._server = server
        self._up = up
        self._fitted: dict[int, _Fit] = {}

    def renew(self) -> None:
        self._fitted.clear()

    def forget(self, client_id: int) -> None:
        self._fitted.pop(client_id, None)

    def set_first(self, view: View) -> None:
        """What a browser that connects sees before anything else."""
        camera: Any = self._server.initial_camera
        camera.fov = FOV
        camera.position, camera.look_at = view(1.5)

    def fit(self, view: View) -> None:
        """Place the camera in the browsers that need it."""
        for client in self._server.get_clients().values():
            camera, before = client.camera, self._fitted.get(client.client_id)
            aspect = camera.aspect
            if before is not None and is_narrow(aspect) == is_narrow(before.aspect):
                same_shape = abs(aspect / before.aspect - 1.0) < _SAME_SHAPE
                moved = max(
                    np.abs(camera.position - before.position).max(), np.abs(camera.look_at - before.look_at).max()
                )
                if same_shape or moved > _MOVED_M:
                    continue
            position, look_at = view(aspect)
            self._fitted[client.client_id] = _Fit(aspect, position, look_at)
            with client.atomic():
                camera.fov = FOV
                camera.up_direction = self._up
                camera.position = position
                camera.look_at = look_at


def is_narrow(aspect: float) -> bool:
    """Whether a picture has no room for columns side by side, as on a phone."""
    return aspect < _NARROW
