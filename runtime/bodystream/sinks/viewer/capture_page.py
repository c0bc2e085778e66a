"""What stands on the page: columns of geometry in the camera's frame, and a panel of controls and figures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from bodystream.sinks.viewer import encode, hud
from bodystream.sinks.viewer.capture_state import ViewerState
from bodystream.sinks.viewer.columns import ColumnsAlone
from bodystream.sinks.viewer.mesh_node import MeshNode, is_drawable, swap_nodes
from bodystream.sinks.viewer.notices import Notices
from bodystream.sinks.viewer.panel import FOV, Buttons, Framing, Panel, is_narrow
from bodystream.types import Array, Mesh
from bodystream.web.invitation import Invitation

if TYPE_CHECKING:
    import viser

__all__ = ["ViewerPage"]

_CANONICAL_EVERY_S = 1.0
_MARGIN_M = 0.12  # around the surface, for the camera's points beside it
_COLUMNS = ("camera", "live", "graph", "canonical")
_ALONE = ("live", "camera", "canonical", "graph")  # the first that is on stands alone in a narrow window
_LABELS = {"camera": "Camera", "live": "Live surface", "graph": "Graph", "canonical": "Canonical"}


class ViewerPage:
    """Owns the nodes of the scene and the panel. `show` is called from one thread only, which does all the work.

    Args:
        server: to put everything on.
        buttons: what is called when the user presses one.
        stride: of the camera's pixels that are shown as points.
    """

    def __init__(self, server: viser.ViserServer, buttons: Buttons, stride: int = 3) -> None:
        self._server = server
        self._stride = stride
        self._handles: dict[str, Any] = {}
        self._framing = Framing(server, (0.0, -1.0, 0.0))
        self._low, self._high = np.array([-0.5, -0.9, 1.7]), np.array([0.5, 0.9, 2.3])
        self._placed = False
        self._layout = 0  # columns side by side
        self._step_m = 1.0  # between them
        self._canonical_sent: tuple[Mesh | None, float] = (None, -math.inf)
        self._latest: ViewerState | None = None
        self.bytes_sent = 0
        self._build_scene()
        self._panel = Panel(server, buttons)
        switches: dict[str, tuple[str, bool, str | None]] = {name: (text, True, None) for name, text in _LABELS.items()}
        switches["beside"] = ("Side by side", True, "Off: everything where the camera sees it")
        self._panel.add_controls(switches, "Forget the model and start anew from the next frame")
        self._image = server.gui.add_image(np.full((180, 240, 3), 30, np.uint8), format="jpeg", jpeg_quality=80)
        self._columns_alone = ColumnsAlone(server, _COLUMNS)

    def _build_scene(self) -> None:
        scene = self._server.scene
        scene.set_up_direction("-y")  # the camera's y points down
        scene.world_axes.visible = False
        self._columns = {
            name: scene.add_frame(f"/{name}", show_axes=False, visible=name != "graph") for name in _COLUMNS
        }
        self._titles = {
            name: scene.add_label(f"/{name}/title", text, anchor="bottom-center", font_screen_scale=0.9, visible=False)
            for name, text in _LABELS.items()
        }
        self._surfaces = {name: MeshNode(self._server, f"/{name}/surface") for name in ("live", "canonical")}
        self._floor = scene.add_grid(
            "/floor", width=12.0, height=12.0, plane="xz", cell_size=0.25, section_size=1.0,
            cell_color=(70, 76, 84), section_color=(96, 104, 114), fade_distance=14.0, visible=False,
        )  # fmt: skip

    def set_running(self, running: bool) -> None:
        """Offer Pause while the capture runs and Resume while it does not."""
        self._panel.set_running(running)
        self._show_status()

    def _show_status(self) -> None:
        latest, panel = self._latest, self._panel
        if latest is None:
            panel.show_waiting()
        else:
            panel.set_text("status", hud.status_html(latest, panel.running))

    def show_notices(self, notices: Notices) -> None:
        self._panel.show_notices(notices)

    def show_invitation(self, invitation: Invitation | None) -> None:
        self._panel.show_invitation(None if self._latest is not None else invitation)

    def forget(self, client_id: int) -> None:
        self._framing.forget(client_id)
        self._columns_alone.forget(client_id)

    def show(self, state: ViewerState) -> None:
        """Send one state to all clients; what is switched off is not sent."""
        self._latest = state
        sent = 0
        if self._panel.take_fit_asked():
            self._placed = False
        self._place(state)
        if self._placed and self._panel.take_changed():
            self._arrange()
        with self._server.atomic():
            if state.frame is not None:
                self._image.image = encode.image_of_frame(state.frame)
                if self._panel.is_on("camera"):
                    sent += self._show_camera(state)
            if state.graph is not None and len(state.graph.positions) and self._panel.is_on("graph"):
                sent += self._show_graph(state)
            self._show_status()
            self._panel.set_text("stages", hud.stages_html(state.hud, state.details))
        sent += self._show_surfaces(state)
        self.bytes_sent = sent
        if self._placed:
            self._columns_alone.apply(self._alone())
            self._framing.fit(self._view)

    def _show_camera(self, state: ViewerState) -> int:
        assert state.frame is not None
        points, colours = encode.cloud_of_frame(state.frame, self._stride)
        if self._panel.is_on("beside") and self._placed:
            inside = ((points > self._low - _MARGIN_M) & (points < self._high + _MARGIN_M)).all(axis=1)
            points, colours = points[inside], colours[inside]
        points = points.astype(np.float16)
        self._put("camera/points", self._server.scene.add_point_cloud, points=points, colors=colours,
                  point_size=0.004 * self._stride, point_shape="square", point_shading="flat")  # fmt: skip
        return points.nbytes + colours.nbytes

    def _show_graph(self, state: ViewerState) -> int:
        assert state.graph is not None
        scene = self._server.scene
        nodes, segments, edge_colours = encode.graph_lines(state.graph)
        colours = encode.node_colours(state.graph)
        self._put("graph/edges", scene.add_line_segments, points=segments, colors=edge_colours,
                  thickness=1.5, thickness_units="screen")  # fmt: skip
        self._put("graph/nodes", scene.add_point_cloud, points=nodes, colors=colours, point_size=0.014,
                  point_shape="circle", precision="float32")  # fmt: skip
        return nodes.nbytes + colours.nbytes + segments.nbytes + edge_colours.nbytes

    def _show_surfaces(self, state: ViewerState) -> int:
        sent = 0
        if is_drawable(state.live_mesh) and self._panel.is_on("live"):
            sent += self._surfaces["live"].send(state.live_mesh)
        last, when = self._canonical_sent
        mesh, now = state.canonical_mesh, time.monotonic()
        if is_drawable(mesh) and mesh is not last and now - when >= _CANONICAL_EVERY_S and self._panel.is_on("canonical"):  # fmt: skip # noqa: E501
            sent += self._surfaces["canonical"].send(mesh)
            self._canonical_sent = (mesh, now)
        if sent:
            swap_nodes(self._server, list(self._surfaces.values()))
        return sent

    def _put(self, name: str, add: Callable[..., Any], *, points: Array, colors: Array, **options: Any) -> None:
        """Make the node on first use; later change its arrays in place."""
        handle = self._handles.get(name)
        if handle is None:
            self._handles[name] = add(f"/{name}", points=points, colors=colors, **options)
        else:
            handle.points, handle.colors = points, colors

    def _place(self, state: ViewerState) -> None:
        """Find where the subject stands and put columns, labels and floor there; later only follow its extent."""
        bounds = _bounds(state, self._placed)
        if bounds is None:
            return
        low, high = bounds
        if self._placed:
            self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)
            return
        self._low, self._high = low, high
        self._placed = True
        self._floor.position = (float(low[0] + high[0]) / 2, float(high[1]) + 0.02, float(low[2] + high[2]) / 2)
        self._floor.visible = True
        self._framing.renew()
        self._arrange()
        self._framing.set_first(self._view)

    def _arrange(self) -> None:
        """Columns from left to right, of those that are switched on; or all of them in one place."""
        wanted = [name for name in _COLUMNS if self._panel.is_on(name)]
        beside = self._panel.is_on("beside")
        centre, size = (self._low + self._high) / 2, self._high - self._low
        self._step_m = max(1.1 * float(size[0]), 0.65 * float(size[1]), 0.4)  # room for arms that are down now
        with self._server.atomic():
            for name, column in self._columns.items():
                title = self._titles[name]
                column.visible = name in wanted
                title.visible = beside and name in wanted
                title.position = (float(centre[0]), float(self._low[1]) - 0.06, float(centre[2]))
                if name in wanted:
                    place = wanted.index(name) - (len(wanted) - 1) / 2
                    column.position = (place * self._step_m if beside else 0.0, 0.0, 0.0)
        self._canonical_sent = (None, -math.inf)
        layout = len(wanted) if beside else 1
        if layout != self._layout:  # the subject is elsewhere now; else the user's view is left alone
            self._layout = layout
            self._framing.renew()

    def _alone(self) -> str | None:
        """The column that stands alone where there is no room for several, or None where there is but one place."""
        wanted = [name for name in _ALONE if self._panel.is_on(name)]
        return wanted[0] if len(wanted) > 1 and self._panel.is_on("beside") else None

    def _view(self, aspect: float) -> tuple[Array, Array]:
        """Where to look from, on the camera's side and a little above, so that all columns are in the picture."""
        look_at, size = (self._low + self._high) / 2, self._high - self._low
        alone = self._alone() if is_narrow(aspect) else None
        width = max(1 if alone else self._layout, 1) * max(self._step_m, 1.1 * float(size[0]))
        if alone is not None:
            look_at = look_at + np.asarray(self._columns[alone].position)
            width = 1.3 * float(size[0])
        height = float(size[1]) + 0.35
        slope = math.tan(FOV / 2)
        distance = max(height, width / max(aspect, 0.3)) / 2 / slope + float(size[2])
        return look_at + (0.0, -0.12 * distance, -distance), look_at


def _bounds(state: ViewerState, coarse: bool) -> tuple[Array, Array] | None:
    """Corners of the subject: of its surface, else of the nearer half of what the camera sees."""
    for mesh in (state.live_mesh, state.canonical_mesh):
        if mesh is not None and len(mesh.vertices):
            points = mesh.vertices[:: 8 if coarse else 1].astype(np.float64)
            points = points[np.isfinite(points).all(axis=1)]
            if len(points):
                low, high = np.percentile(points, (0.5, 99.5), axis=0)  # not where a stray fragment floats
                return low - 0.03, high + 0.03
    if state.frame is not None and not coarse:
        points, _ = encode.cloud_of_frame(state.frame, 8)
        if len(points):
            near = points[points[:, 2] <= np.median(points[:, 2])].astype(np.float64)
            low, high = np.percentile(near, (2, 98), axis=0)
            return low, high
    return None
