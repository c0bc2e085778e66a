"""The stream as a sink of a capture and of a driven body; nothing is made that no client asked for."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from bodystream.pipelines.capture.view import CaptureView
from bodystream.pipelines.drive.view import DriveView
from bodystream.sinks.base import Occasion, SinkBase
from bodystream.sinks.stream import BodyEncoder, CarriedNodes, Figures, StreamHub, SurfaceEncoder, SurfaceParts, Update
from bodystream.sinks.stream.pace import Pace
from bodystream.timing import now_ns
from bodystream.types import Array, BodyPose, GraphSnapshot, HeadsetSample, Mesh, SkinnedMesh

__all__ = ["BodyStreamSink", "SurfaceStreamSink"]

_SURFACE_S = 0.5
"""How often the fused surface is looked at for what has changed."""
_LINKS_S = 0.5
_FIGURES_HZ = 10.0  # also of a session that nobody watches, or as slowly as a client may ask for
_BARE_WARNING = "this avatar is posed vertex by vertex, which pages are not sent: they show its skeleton"


@dataclass(frozen=True, slots=True)
class _Posed:
    """What a driven body's message is made of; numbers count up."""

    number: int
    figures: Figures
    latency_us: int
    pose: BodyPose | None = None
    joints_m: Array | None = None
    skin: SkinnedMesh | None = None
    nodes: CarriedNodes | None = None
    sample: HeadsetSample | None = None
    mesh: Mesh | None = None


class BodyStreamSink(SinkBase[_Posed]):
    """Sends poses to a hub's clients.

    A pose of a body that they know is packed at once, on the pipeline's thread, whose core has at hand what that takes:
    another one would take three times as long, and is to be woken first. What takes long, a surface that is new to
    them or a whole mesh, is the sink's own thread's.

    Args:
        hub: that they are connected to; not closed with this.
    """

    name = "stream of the body"

    def __init__(self, hub: StreamHub) -> None:
        self._hub, self._encoder = hub, BodyEncoder()
        self._lock = threading.Lock()
        self._prepared = self._sent = 0

    def prepare(self, view: DriveView) -> _Posed | None:
        result = view.result
        if view.occasion is not Occasion.RESULT or result is None:
            return None
        pose, skin = result.pose, view.skin
        warnings = (*view.warnings, _BARE_WARNING) if view.is_bare else tuple(view.warnings)
        figures = Figures(view.rate_hz, view.latency_ms, pose.status.value, pose.reason, warnings)
        latency_us = round(view.latency_ms * 1e3)
        self._prepared += 1
        if not self._hub.wants("body"):
            return _Posed(self._prepared, figures, latency_us)
        mesh = view.posed_mesh if self._hub.wants("whole") else None
        nodes = view.nodes
        posed = _Posed(
            self._prepared, figures, latency_us, view.body_pose, view.body_joints_m, skin, nodes, view.body_sample, mesh
        )
        if mesh is None and self._lock.acquire(blocking=False):  # else the sink's thread packs a body just now
            try:
                if self._encoder.knows(skin if nodes is None else nodes.of.skin):
                    self._send(posed)
                    return None
            finally:
                self._lock.release()
        return posed

    def publish(self, posed: _Posed, /) -> None:
        with self._lock:
            if posed.number > self._sent:  # else the pipeline's thread was faster
                self._send(posed)

    def _send(self, posed: _Posed) -> None:
        """Pack and hand over; the lock is held, so that all come in order."""
        self._sent = posed.number
        update = Update(figures=posed.figures)
        if posed.pose is not None and posed.joints_m is not None:
            update = self._encoder.encode(
                posed.pose,
                posed.joints_m,
                posed.skin,
                posed.sample,
                nodes=posed.nodes,
                latency_us=posed.latency_us,
                mesh=posed.mesh,
                figures=posed.figures,
            )
        self._hub.publish("body", update)


@dataclass(frozen=True, slots=True)
class _Captured:
    """What takes long to pack of a frame of a surface: it is looked at again, its links, a whole mesh."""

    parts: SurfaceParts
    t_ns: int
    skin: SkinnedMesh | None = None
    graph: GraphSnapshot | None = None
    mesh: Mesh | None = None


class SurfaceStreamSink(SinkBase[_Captured]):
    """Sends a captured surface to a hub's clients.

    Of a capture that is faster than any client wants it, only as many frames as one wants are packed at all, and ten a
    second at least. Their motions are, as a body's, on the pipeline's thread; the rest on the sink's own.

    Args:
        hub: that they are connected to; not closed with this.
        kb_per_s: of a client [kB/s].
    """

    name = "stream of the surface"

    def __init__(self, hub: StreamHub, kb_per_s: float = 150.0) -> None:
        self._hub, self._encoder = hub, SurfaceEncoder(kb_per_s)
        self._looked_ns = self._linked_ns = 0
        self._pace = Pace()
        self._lock = threading.Lock()  # a surface that begins and pieces of the one before come in order

    def prepare(self, view: CaptureView) -> _Captured | None:
        if view.occasion is Occasion.FORGET:
            with self._lock:
                self._encoder.forget()
            return None
        result, t_ns = view.result, now_ns()
        if view.occasion is not Occasion.RESULT or result is None:
            return None
        if not self._pace.is_due(t_ns, max(self._hub.rate_hz("surface"), _FIGURES_HZ)):
            return None
        figures = Figures(view.rate_hz, view.latency_ms, result.status.value, result.reason, tuple(view.warnings))
        graph = view.motion
        if graph is None or not self._hub.wants("surface"):
            self._hub.publish("surface", Update(figures=figures))
            return None
        with self._lock:
            latency_us = round(view.latency_ms * 1e3)
            moved = self._encoder.move(graph, now_ns=t_ns, status=result.status, latency_us=latency_us, figures=figures)
            self._hub.publish("surface", moved)
        assert self._encoder.parts is not None
        if moved.begins:  # pages have dropped what they had, and wait for it
            self._looked_ns = self._linked_ns = 0
        skin, links = None, None
        # What was left out for want of credit is looked at again, too, whether or not the surface has changed since.
        if view.capture.surface is not None and t_ns - self._looked_ns >= _SURFACE_S * 1e9:
            self._looked_ns = t_ns
            skin = view.skinned
        if self._hub.wants("graph") and t_ns - self._linked_ns >= _LINKS_S * 1e9:
            self._linked_ns = t_ns
            whole = view.graph
            links = whole if whole is not None and len(whole.positions) == len(graph.positions) else None
        mesh = view.live_mesh if self._hub.wants("whole") else None
        if skin is None and links is None and mesh is None:
            return None
        return _Captured(self._encoder.parts, int(graph.t_ns), skin, links, mesh)

    def publish(self, captured: _Captured, /) -> None:
        update = captured.parts.pack(
            captured.t_ns, now_ns=now_ns(), skin=captured.skin, graph=captured.graph, mesh=captured.mesh
        )
        with self._lock:
            if self._encoder.parts is captured.parts:  # else another surface has begun meanwhile
                self._hub.publish("surface", update)
