"""Poses and surfaces to shared memory, as sinks of the sessions that make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bodystream.errors import ConfigurationError, InputError
from bodystream.pipelines.send.pace import Pace
from bodystream.pipelines.send.shared import Shared
from bodystream.sinks.base import Occasion, SinkBase
from bodystream.sinks.send.configs import ShmSendConfig
from bodystream.sinks.shm import MOST_VERTICES, ShmWriter, pose_record, upright
from bodystream.sinks.shm.layout import Offer
from bodystream.timing import now_ns
from bodystream.types import Mesh, Status

if TYPE_CHECKING:
    from bodystream.pipelines.capture.view import CaptureView
    from bodystream.pipelines.drive.view import DriveView
    from bodystream.pipelines.send.open import SentOf

__all__ = ["ShmBodySink", "ShmSurfaceSink", "open_shm"]


def open_shm(name: str, config: ShmSendConfig, of: SentOf) -> tuple[ShmBodySink | None, ShmSurfaceSink | None]:
    """The sinks for a driven body and for a capture, which write under one name.

    Where there are both, the surface is that of the capture.

    Raises:
        ConfigurationError: a key that cannot be used, or a name that cannot be had.
    """
    if not 0.0 <= config.surface_hz <= 1000.0:
        raise ConfigurationError(f"shm: surface_hz must be 0 (poses only) to 1000, got {config.surface_hz:g}")
    if not 1 <= config.max_vertices <= MOST_VERTICES:
        raise ConfigurationError(f"shm: max_vertices must be 1 to {MOST_VERTICES}, got {config.max_vertices}")
    if of == "surface" and config.surface_hz == 0:
        raise ConfigurationError("shm: a capture has surfaces only, and surface_hz=0 leaves them out: leave it away")
    offers = Offer(0)
    offers |= Offer.POSES if of != "surface" else 0
    offers |= Offer.SURFACES if config.surface_hz > 0 else 0
    channel = _Channel(name, ShmWriter(name, offers, config.max_vertices, 2 * config.max_vertices), config.surface_hz)
    body = ShmBodySink(channel, surfaces=of == "body") if of != "surface" else None
    surface = ShmSurfaceSink(channel) if of != "body" and config.surface_hz > 0 else None
    return body, surface


class _Channel(Shared):
    """A writer that several sinks share."""

    def __init__(self, name: str, writer: ShmWriter, surface_hz: float) -> None:
        super().__init__(writer.close)
        self.name, self.writer, self.surface_hz = f"shm:{name}", writer, surface_hz
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        if text not in self.warnings and len(self.warnings) < 20:
            self.warnings.append(text)


@dataclass(frozen=True, slots=True)
class _Posed:
    """A surface to be written."""

    mesh: Mesh
    t_ns: int
    status: Status
    topology: int


class _ShmSink(SinkBase[_Posed]):
    """What the two sinks share: surfaces are written on the sink's thread, the newest wins."""

    in_camera = False

    def __init__(self, channel: _Channel) -> None:
        self._channel, self.name = channel, channel.name
        self._pace = Pace(channel.surface_hz or None, f"{channel.name}: surface_hz")
        self._closed = False
        channel.use()

    @property
    def warnings(self) -> Sequence[str]:
        return self._channel.warnings

    def publish(self, posed: _Posed, /) -> None:
        channel = self._channel
        try:
            kept = channel.writer.write_surface(
                self._placed(posed.mesh), posed.t_ns, posed.status, posed.topology, in_camera=self.in_camera
            )
        except InputError as error:
            channel.warn(f"{self.name}: {error}")
            return
        if not kept:
            places = channel.writer.places
            channel.warn(
                f"{self.name}: surfaces larger than {places.vertices} vertices and {places.faces} faces are left out: "
                f"give room for them, as {self.name}?max_vertices={2 * places.vertices}"
            )

    def close(self) -> Sequence[str]:
        if self._closed:
            return ()
        self._closed = True
        told = (self._told(), *(f"warning: {warning}" for warning in self.warnings))
        self._channel.leave()
        return told

    def _placed(self, mesh: Mesh) -> Mesh:
        return mesh

    def _told(self) -> str:
        """What was written, for a person."""
        writer = self._channel.writer
        left = f", {writer.too_large} were too large" if writer.too_large else ""
        return f"wrote {writer.surfaces} surfaces to {self.name}{left}"


class ShmBodySink(_ShmSink):
    """Writes each pose of a driven body, and its surface.

    Poses are written on the pipeline's thread, in a tenth of a millisecond: another thread would have to wait for this
    one to let Python go.
    """

    def __init__(self, channel: _Channel, *, surfaces: bool) -> None:
        super().__init__(channel)
        self._surfaces = surfaces and channel.surface_hz > 0
        self._topology, self._skin = 0, object()

    def prepare(self, view: DriveView) -> _Posed | None:
        result = view.result
        if view.occasion is not Occasion.RESULT or result is None:
            return None
        channel = self._channel
        try:
            channel.writer.write_pose(pose_record(view.driven))
        except InputError as error:
            channel.warn(f"{self.name}: {error}")
            return None
        if not self._surfaces or not self._pace.is_due(now_ns()):
            return None
        skin: Any = view.skin
        if skin is not self._skin:
            self._skin, self._topology = skin, self._topology + 1
        return _Posed(view.posed_mesh, result.pose.t_ns, result.pose.status, self._topology)

    def _told(self) -> str:
        poses = f"wrote {self._channel.writer.poses} poses to {self.name}"
        return f"{poses}; {super()._told()}" if self._surfaces else poses


class ShmSurfaceSink(_ShmSink):
    """Writes the surface of a capture, as the camera sees it, with y up."""

    in_camera = True

    def prepare(self, view: CaptureView) -> _Posed | None:
        if view.occasion is not Occasion.RESULT or view.result is None or not self._pace.is_due(now_ns()):
            return None
        mesh, surface = view.live_mesh, view.capture.surface
        if mesh is None or surface is None:
            return None
        return _Posed(mesh, view.t_ns, view.result.status, surface.version)

    def _placed(self, mesh: Mesh) -> Mesh:
        return upright(mesh)
