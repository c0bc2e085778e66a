"""What stands on the page of a driven body: the person in the room, what the headset measured, and a panel."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import trimesh

from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS
from bodystream.geometry.skinning import body_motion
from bodystream.sinks.viewer import body_encode as encode
from bodystream.sinks.viewer import hud
from bodystream.sinks.viewer.body_state import BodyViewerState, check_body
from bodystream.sinks.viewer.mesh_node import MeshNode, is_drawable, swap_nodes
from bodystream.sinks.viewer.notices import Notices
from bodystream.sinks.viewer.panel import FOV, Buttons, Framing, Panel
from bodystream.sinks.viewer.skinned_node import SkinnedNode
from bodystream.types import Array, DeviceKind, SkinnedMesh, TrackedDevice
from bodystream.web.invitation import Invitation

if TYPE_CHECKING:
    import viser

__all__ = ["BodyPage"]

_SWITCHES = {
    "mesh": ("Body", True, None),
    "skeleton": ("Skeleton", True, None),
    "uncertainty": ("Uncertainty", True, "Joints from green (1 cm) to red (10 cm), spheres of one standard deviation"),
    "hypotheses": ("Hypotheses", True, "Other poses that explain what was measured"),
    "input": ("Headset and hands", True, "Grey where tracking is lost"),
    "follow": ("Follow", True, "On: the floor moves and the person stays in the picture"),
}
_GROUPS = ("mesh", "skeleton", "uncertainty", "hypotheses", "input")
_FIGURES_EVERY_S = 0.2  # faster, nobody reads them
_FOLLOW_S = 0.1  # time constant
_JUMP_M = 1.5  # a person who is that far off at once is not followed smoothly
_FLOOR_CELL_M = 1.0
_SEE_THROUGH = 0.45  # opacity of the surface while the skeleton within is shown
_BONE_COLOUR, _HYPOTHESIS_COLOUR = (225, 228, 234), (92, 112, 150)
_STANDS = (82, 196, 112)
_FEET = [JOINT_INDEX["left_foot"], JOINT_INDEX["right_foot"]]
_HEIGHT_M, _REACH_M = 2.05, 1.9  # of a person with raised or spread arms: what is framed


class BodyPage:
    """Owns the nodes of the scene and the panel. `show` is called from one thread only, which does all the work.

    Args:
        server: to put everything on.
        buttons: what is called when the user presses one.
        body: the surface until a state brings another one, or None.
    """

    def __init__(self, server: viser.ViserServer, buttons: Buttons, body: SkinnedMesh | None = None) -> None:
        self._server = server
        self._body = body
        self._handles: dict[str, Any] = {}
        self._devices: dict[str, tuple[TrackedDevice, bool]] = {}
        self._centre: Array | None = None  # of the picture, on the floor
        self._centre_t_ns = 0
        self._placed = False
        self._view_yaw, self._subject = 0.0, np.zeros(3)  # where the person looked and stood when the view was fitted
        self._figures_shown: tuple[object, float] = (None, -math.inf)
        self._latest: BodyViewerState | None = None
        self._bodies = 0
        self._framing = Framing(server, (0.0, 1.0, 0.0))
        self.bytes_sent = 0
        self._build_scene()
        self._panel = Panel(server, buttons, "the first sample")
        self._panel.add_controls(_SWITCHES, "Forget the past with the next sample", _legend())

    def _build_scene(self) -> None:
        scene = self._server.scene
        scene.set_up_direction("+y")
        scene.world_axes.visible = False
        self._groups = {name: scene.add_frame(f"/{name}", show_axes=False) for name in _GROUPS}
        self._floor = scene.add_grid(
            "/floor", width=30.0, height=30.0, plane="xz", cell_size=0.25, section_size=_FLOOR_CELL_M,
            cell_color=(62, 68, 76), section_color=(92, 100, 110), fade_distance=16.0,
        )  # fmt: skip
        ball = trimesh.creation.icosphere(subdivisions=2, radius=1.0)
        disc = trimesh.creation.cylinder(radius=1.0, height=0.08, sections=32)
        disc.apply_transform(trimesh.transformations.rotation_matrix(math.pi / 2, (1, 0, 0)))
        self._joints = self._batch("skeleton/joints", ball, len(JOINTS))
        self._spheres = self._batch("uncertainty/spheres", ball, len(JOINTS), opacity=0.3)
        self._contacts = self._batch("skeleton/contacts", disc, 2, opacity=0.6, colour=_STANDS)
        self._labels = {
            name: scene.add_label(f"/input/{name}", name, anchor="bottom-center", font_screen_scale=0.9, visible=False)
            for name in ("head", "left", "right")
        }
        self._surface = MeshNode(self._server, "/mesh/surface")
        self._skinned = None if self._body is None else self._add_skinned(self._body)
        self._surface_frame = scene.add_frame("/mesh/surface", show_axes=False, visible=False)

    def _batch(
        self,
        name: str,
        shape: trimesh.Trimesh,
        count: int,
        opacity: float | None = None,
        colour: tuple[int, int, int] = _BONE_COLOUR,
    ) -> Any:
        """`count` copies of a shape, of no size until they are placed."""
        return self._server.scene.add_batched_meshes_simple(
            f"/{name}",
            np.asarray(shape.vertices, np.float32),
            np.asarray(shape.faces, np.uint32),
            batched_wxyzs=np.tile((1.0, 0.0, 0.0, 0.0), (count, 1)),
            batched_positions=np.zeros((count, 3), np.float32),
            batched_scales=np.full(count, 1e-6, np.float32),
            batched_colors=np.tile(encode.linear(colour), (count, 1)),
            opacity=opacity,
            lod="off",
            cast_shadow=False,
            receive_shadow=False,
        )

    def _add_skinned(self, body: SkinnedMesh) -> SkinnedNode:
        self._bodies += 1
        return SkinnedNode(self._server, f"/mesh/skinned{self._bodies}", body)

    def _replace_body(self, body: SkinnedMesh) -> None:
        """The person has other proportions now.

        The old body is hidden and not removed: viser goes on sending the bones of a removed one, on which the page of a
        browser that connects later breaks, and which move the new one where it has the same name.
        """
        check_body(body)
        with self._server.atomic():
            if self._skinned is not None:
                self._skinned.visible = False
            self._body, self._skinned = body, self._add_skinned(body)
            self._skinned.opacity = self._opacity()

    def set_running(self, running: bool) -> None:
        """Offer Pause while the body is driven and Resume while it is not."""
        self._panel.set_running(running)
        self._show_status()

    def forget(self, client_id: int) -> None:
        self._framing.forget(client_id)

    def show_notices(self, notices: Notices) -> None:
        self._panel.show_notices(notices)

    def show_invitation(self, invitation: Invitation | None) -> None:
        """Until the headset is there, and again when it is gone."""
        sample = None if self._latest is None else self._latest.sample
        self._panel.show_invitation(invitation if sample is None or sample.head is None else None)

    def show(self, state: BodyViewerState) -> None:
        """Send one state to all clients; what is switched off is not sent.

        Raises:
            InputError: joints or rotations that are not finite.
        """
        if not (np.isfinite(state.joints_m).all() and np.isfinite(state.pose.rotations_xyzw).all()):
            raise InputError("the pose has joints or rotations that are not finite: it is not shown")
        self._latest = state
        panel = self._panel
        if panel.take_changed():
            self._apply_switches(state)
        if state.body is not None and state.body is not self._body:
            self._replace_body(state.body)
        self._follow(state)
        shift = np.zeros(3) if self._centre is None else self._centre
        sent = 0
        with self._server.atomic():
            self._floor.position = tuple(-np.remainder(shift, _FLOOR_CELL_M))
            if panel.is_on("skeleton"):
                sent += self._show_skeleton(state, shift)
            if panel.is_on("uncertainty"):
                sent += self._show_uncertainty(state, shift)
            if panel.is_on("hypotheses"):
                sent += self._show_hypotheses(state, shift)
            if panel.is_on("input"):
                sent += self._show_input(state, shift)
            if panel.is_on("mesh") and self._skinned is not None and not is_drawable(state.mesh):
                sent += self._show_skinned(self._skinned, state, shift)
            self._show_figures(state)
        if panel.is_on("mesh") and is_drawable(state.mesh):
            sent += self._show_surface(state, shift)
        self.bytes_sent = sent
        self._frame(state)

    def _apply_switches(self, state: BodyViewerState) -> None:
        panel = self._panel
        with self._server.atomic():
            for name, group in self._groups.items():
                group.visible = panel.is_on(name)
            if self._skinned is not None:
                self._skinned.opacity = self._opacity()

    def _opacity(self) -> float | None:
        return _SEE_THROUGH if self._panel.is_on("skeleton") else None

    def _follow(self, state: BodyViewerState) -> None:
        """Let the picture's centre glide after the person; it stays on the floor."""
        if not self._panel.is_on("follow"):
            if self._centre is not None:
                self._centre = None
                self._placed = False
            return
        target = np.array([state.joints_m[0, 0], 0.0, state.joints_m[0, 2]], np.float64)
        seconds = (state.t_ns - self._centre_t_ns) * 1e-9
        self._centre_t_ns = state.t_ns
        if self._centre is None:
            self._centre, self._placed = target, False
        elif np.linalg.norm(target - self._centre) > _JUMP_M or seconds < 0:
            self._centre = target
        else:
            self._centre = target + (self._centre - target) * math.exp(-seconds / _FOLLOW_S)

    def _show_skeleton(self, state: BodyViewerState, shift: Array) -> int:
        joints = np.asarray(state.joints_m - shift, np.float32)
        segments = encode.bone_segments(joints)
        self._lines("skeleton/bones", segments, _BONE_COLOUR, 0.012)
        self._joints.batched_positions = joints
        self._joints.batched_scales = np.full(len(JOINTS), 0.016, np.float32)
        if state.joint_std_m is not None and self._panel.is_on("uncertainty"):
            colours = encode.linear(encode.uncertainty_colours(state.joint_std_m))
        else:
            colours = np.tile(encode.linear(_BONE_COLOUR), (len(JOINTS), 1))
        self._joints.batched_colors = colours
        contacts = np.zeros(2, bool) if state.pose.contacts is None else np.asarray(state.pose.contacts, bool)
        feet = joints[_FEET].copy()
        feet[:, 1] = 0.004
        self._contacts.batched_positions = feet
        self._contacts.batched_scales = np.where(contacts, 0.07, 1e-6).astype(np.float32)
        return segments.nbytes + joints.nbytes + colours.nbytes + feet.nbytes

    def _show_uncertainty(self, state: BodyViewerState, shift: Array) -> int:
        std_m = state.joint_std_m
        if std_m is None:
            self._groups["uncertainty"].visible = False
            return 0
        self._groups["uncertainty"].visible = True
        positions = np.asarray(state.joints_m - shift, np.float32)
        scales = np.clip(std_m, 1e-6, 1.0).astype(np.float32)
        colours = encode.linear(encode.uncertainty_colours(std_m))
        self._spheres.batched_positions, self._spheres.batched_scales = positions, scales
        self._spheres.batched_colors = colours
        return positions.nbytes + scales.nbytes + colours.nbytes

    def _show_hypotheses(self, state: BodyViewerState, shift: Array) -> int:
        present = state.hypotheses_m is not None and len(state.hypotheses_m) > 0
        self._groups["hypotheses"].visible = present
        if not present:
            return 0
        segments = encode.bone_segments(state.hypotheses_m - shift)
        self._lines("hypotheses/bones", segments, _HYPOTHESIS_COLOUR, 0.004)
        return segments.nbytes

    def _show_input(self, state: BodyViewerState, shift: Array) -> int:
        sample = state.sample
        for name in self._labels:
            device = None if sample is None else getattr(sample, name)
            if device is not None:
                self._devices[name] = (device, True)
            elif name in self._devices:
                self._devices[name] = (self._devices[name][0], False)
        segments, colours = encode.axes_segments(self._devices, 0.12)
        segments = segments - shift.astype(np.float32)
        if len(segments):
            self._lines("input/axes", segments, colours, 0.009)
        for name, (device, tracked) in self._devices.items():
            label = self._labels[name]
            label.text = _label(name, device.kind, tracked)
            label.position = tuple(device.position_m - shift + (0.0, 0.14, 0.0))
            label.visible = True
        return segments.nbytes + colours.nbytes

    def _show_skinned(self, skinned: SkinnedNode, state: BodyViewerState, shift: Array) -> int:
        self._surface_frame.visible = False
        skinned.visible = True
        return skinned.move(body_motion(state.pose, state.joints_m - shift))

    def _show_surface(self, state: BodyViewerState, shift: Array) -> int:
        assert state.mesh is not None
        self._surface_frame.position = tuple(-shift)
        if self._skinned is not None:
            self._skinned.visible = False
        self._surface_frame.visible = True
        sent = self._surface.send(state.mesh)
        swap_nodes(self._server, [self._surface])
        return sent

    def _lines(self, name: str, segments: Array, colour: Array | tuple[int, int, int], thickness_m: float) -> None:
        """Make the node on first use; later change its arrays in place."""
        colours = np.broadcast_to(encode.linear(colour), segments.shape)
        handle = self._handles.get(name)
        if handle is None:
            add: Callable[..., Any] = self._server.scene.add_line_segments
            self._handles[name] = add(f"/{name}", segments, colours, thickness=thickness_m, thickness_units="world")
        else:
            handle.points, handle.colors = segments, colours

    def _show_figures(self, state: BodyViewerState) -> None:
        urgent = (state.pose.status, state.pose.reason, state.flags, self._panel.running)
        before, when = self._figures_shown
        if urgent == before and time.monotonic() - when < _FIGURES_EVERY_S:
            return
        self._figures_shown = (urgent, time.monotonic())
        self._show_status()
        self._panel.set_text("stages", hud.stages_html(state.hud, state.details))

    def _show_status(self) -> None:
        latest, panel = self._latest, self._panel
        if latest is None:
            panel.show_waiting()
        else:
            panel.set_text("status", hud.body_status_html(latest, panel.running))

    def _frame(self, state: BodyViewerState) -> None:
        if self._panel.take_fit_asked():
            self._placed = False
        if not self._placed:
            self._placed = True
            self._view_yaw = encode.facing_yaw(state.pose)
            self._subject = state.joints_m[0] * (1.0, 0.0, 1.0) if self._centre is None else np.zeros(3)
            self._framing.renew()
            self._framing.set_first(self._view)
        self._framing.fit(self._view)

    def _view(self, aspect: float) -> tuple[Array, Array]:
        """From in front of the person, a little to the side and from above."""
        slope = math.tan(FOV / 2)
        distance = max(_HEIGHT_M, _REACH_M / max(aspect, 0.3)) / 2 / slope + 0.6
        yaw = self._view_yaw + math.radians(25.0)
        ahead = np.array([-math.sin(yaw), 0.0, -math.cos(yaw)])
        look_at = self._subject + (0.0, 0.44 * _HEIGHT_M, 0.0)
        return look_at + distance * ahead + (0.0, 0.22 * distance, 0.0), look_at


def _legend() -> list[tuple[str, str]]:
    """What the colours of joints, spheres and lines mean."""

    def css(colour: Array | tuple[int, int, int]) -> str:
        return "rgb({},{},{})".format(*(int(c) for c in colour))

    shades = [css(c) for c in encode.uncertainty_colours(np.geomspace(encode.CERTAIN_M, encode.UNCERTAIN_M, 5))]
    low, high = round(encode.CERTAIN_M * 100), round(encode.UNCERTAIN_M * 100)
    return [
        (
            f"linear-gradient(90deg,{','.join(shades)})",
            f"joint uncertain by {low} to {high} cm",
        ),
        (
            "radial-gradient(circle,#f0c446 25%,#f0c44655 30% 60%,transparent 65%)",
            "sphere: one standard deviation",
        ),
        (css(_HYPOTHESIS_COLOUR), "another pose that fits the sample"),
        (css(_STANDS), "foot that stands"),
    ]


def _label(name: str, kind: DeviceKind, tracked: bool) -> str:
    thing = {
        "head": "Headset",
        "left": "Left controller" if kind is DeviceKind.GRIP else "Left hand",
        "right": "Right controller" if kind is DeviceKind.GRIP else "Right hand",
    }[name]
    return thing if tracked else f"{thing}: lost"
