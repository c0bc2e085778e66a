"""Poses and surfaces to other machines over Zenoh, as sinks of the sessions that make them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bodystream.errors import ConfigurationError, InputError
from bodystream.pipelines.send.pace import Pace
from bodystream.pipelines.send.shared import Shared
from bodystream.sinks.base import Occasion, SinkBase
from bodystream.sinks.network import NetworkConfig, NetworkPublisher
from bodystream.sinks.send.configs import ZenohSendConfig
from bodystream.sinks.stream import BodyEncoder, CarriedNodes, SurfaceEncoder
from bodystream.timing import now_ns
from bodystream.types import Array, BodyPose, GraphSnapshot, HeadsetSample, SkinnedMesh, Status

if TYPE_CHECKING:
    from bodystream.pipelines.capture.view import CaptureView
    from bodystream.pipelines.drive.view import DriveView
    from bodystream.pipelines.send.open import SentOf

__all__ = ["ZenohBodySink", "ZenohSurfaceSink", "open_zenoh"]

_LOOK_NS = 250_000_000
"""How often the fused surface is looked at for what has changed."""


def open_zenoh(name: str, config: ZenohSendConfig, of: SentOf) -> tuple[ZenohBodySink | None, ZenohSurfaceSink | None]:
    """The sinks for a driven body and for a capture, which publish under one name.

    Raises:
        MissingDependencyError: eclipse-zenoh is not installed.
        ConfigurationError: a key that cannot be used, or a name that cannot be had.
    """
    if not 10.0 <= config.kb_per_s <= 1e6:
        raise ConfigurationError(f"zenoh: kb_per_s must be 10 to 1000000, got {config.kb_per_s:g}")
    Pace(config.rate_hz, "zenoh: rate_hz")
    network = NetworkConfig(config.connect, config.listen, config.interface, config.scout, config.config)
    publisher = NetworkPublisher(name, network, bodies=of != "surface", surfaces=of != "body")
    channel = _Channel(publisher, config)
    return (
        None if of == "surface" else ZenohBodySink(channel),
        None if of == "body" else ZenohSurfaceSink(channel),
    )


class _Channel(Shared):
    """A publisher that several sinks share."""

    def __init__(self, publisher: NetworkPublisher, config: ZenohSendConfig) -> None:
        super().__init__(publisher.close)
        self.publisher, self.config = publisher, config
        self.name = f"zenoh:{publisher.name}"


class _ZenohSink(SinkBase[Any]):
    """What the two sinks share. All but the copies is done on the sink's thread; the newest wins."""

    def __init__(self, channel: _Channel) -> None:
        self._channel, self.name = channel, channel.name
        self._pace = Pace(channel.config.rate_hz, f"{channel.name}: rate_hz")
        self._warnings: list[str] = []
        self._closed = False
        channel.use()

    @property
    def warnings(self) -> Sequence[str]:
        return self._warnings

    def close(self) -> Sequence[str]:
        if self._closed:
            return ()
        self._closed = True
        told = (self._told(), *(f"warning: {warning}" for warning in self._warnings))
        self._channel.leave()
        return told

    @abstractmethod
    def _told(self) -> str:
        """What was sent, for a person."""

    def _warn(self, error: InputError) -> None:
        text = f"{self.name}: {error}"
        if text not in self._warnings and len(self._warnings) < 20:
            self._warnings.append(text)


@dataclass(frozen=True, slots=True)
class _Driven:
    """A pose to be sent, and the skin that it moves."""

    pose: BodyPose
    joints_m: Array
    skin: SkinnedMesh | None
    nodes: CarriedNodes | None
    sample: HeadsetSample
    latency_us: int


class ZenohBodySink(_ZenohSink):
    """Sends each pose of a driven body; bones and surface once, and again for another person."""

    def __init__(self, channel: _Channel) -> None:
        super().__init__(channel)
        self._encoder = BodyEncoder()

    def prepare(self, view: DriveView) -> _Driven | None:
        if view.occasion is not Occasion.RESULT or view.result is None or not self._pace.is_due(now_ns()):
            return None
        latency_us = round(view.latency_ms * 1e3)
        return _Driven(view.body_pose, view.body_joints_m, view.skin, view.nodes, view.body_sample, latency_us)

    def publish(self, driven: _Driven, /) -> None:
        try:
            update = self._encoder.encode(
                driven.pose,
                driven.joints_m,
                driven.skin,
                driven.sample,
                nodes=driven.nodes,
                latency_us=driven.latency_us,
            )
        except InputError as error:
            self._warn(error)
            return
        self._channel.publisher.publish("body", update)

    def _told(self) -> str:
        return f"sent {self._channel.publisher.sent['body']} poses to {self.name}"


@dataclass(frozen=True, slots=True)
class _Captured:
    """A motion of the nodes (None = the model is forgotten), and the surface where it is to be looked at again."""

    graph: GraphSnapshot | None
    status: Status = Status.TRACKED
    latency_us: int = 0
    skin: SkinnedMesh | None = None


class ZenohSurfaceSink(_ZenohSink):
    """Sends each motion of a captured surface, and the surface piece by piece where it has changed."""

    def __init__(self, channel: _Channel) -> None:
        super().__init__(channel)
        self._encoder = SurfaceEncoder(channel.config.kb_per_s)
        self._looked_ns = 0

    def prepare(self, view: CaptureView) -> _Captured | None:
        if view.occasion is Occasion.FORGET:
            return _Captured(None)
        result, now = view.result, now_ns()
        if view.occasion is not Occasion.RESULT or result is None or view.motion is None or not self._pace.is_due(now):
            return None
        skin = None
        if view.capture.surface is not None and now - self._looked_ns >= _LOOK_NS:
            self._looked_ns, skin = now, view.skinned
        return _Captured(view.motion, result.status, round(view.latency_ms * 1e3), skin)

    def publish(self, captured: _Captured, /) -> None:
        if captured.graph is None:
            self._encoder.forget()
            return
        try:
            update = self._encoder.encode(
                captured.graph,
                captured.skin,
                now_ns=now_ns(),
                status=captured.status,
                latency_us=captured.latency_us,
            )
        except InputError as error:
            self._warn(error)
            return
        self._channel.publisher.publish("surface", update)

    def _told(self) -> str:
        return f"sent {self._channel.publisher.sent['surface']} surfaces to {self.name}"
