"""Poses and surfaces to other machines over Zenoh, as sinks of the sessions that make them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.skinning import body_motion, graph_motion, unturned_bones
from bodystream.pipelines.send.pace import Pace
from bodystream.sinks.base import Occasion, SinkBase
from bodystream.sinks.network import NetworkConfig, NetworkPublisher
from bodystream.sinks.send.configs import ZenohSendConfig
from bodystream.sinks.skin_pieces import body_skin_messages, skeleton_message, surface_skin_messages
from bodystream.timing import now_ns
from bodystream.types import Array, BodyPose, GraphSnapshot, HeadsetSample, SkinnedMesh, Status
from bodystream.wire.motions import Device, Motion

if TYPE_CHECKING:
    from bodystream.pipelines.capture.view import CaptureView
    from bodystream.pipelines.drive.view import DriveView
    from bodystream.pipelines.send.open import SentOf

__all__ = ["ZenohBodySink", "ZenohSurfaceSink", "open_zenoh"]


def open_zenoh(name: str, config: ZenohSendConfig, of: SentOf) -> tuple[ZenohBodySink | None, ZenohSurfaceSink | None]:
    """The sinks for a driven body and for a capture, which publish under one name.

    Raises:
        MissingDependencyError: eclipse-zenoh is not installed.
        ConfigurationError: a key that cannot be used, or a name that cannot be had.
    """
    if not 0.1 <= config.renew_s <= 3600.0:
        raise ConfigurationError(f"zenoh: renew_s must be 0.1 to 3600 seconds, got {config.renew_s:g}")
    Pace(config.rate_hz, "zenoh: rate_hz")
    network = NetworkConfig(config.connect, config.listen, config.interface, config.scout, config.config)
    publisher = NetworkPublisher(name, network, bodies=of != "surface", surfaces=of != "body")
    channel = _Channel(publisher, config)
    return (
        None if of == "surface" else ZenohBodySink(channel),
        None if of == "body" else ZenohSurfaceSink(channel),
    )


class _Channel:
    """A publisher that several sinks share; it is closed with the last of them."""

    def __init__(self, publisher: NetworkPublisher, config: ZenohSendConfig) -> None:
        self.publisher, self.config = publisher, config
        self.name = f"zenoh:{publisher.name}"
        self._users, self._lock = 0, threading.Lock()

    def use(self) -> None:
        with self._lock:
            self._users += 1

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self.publisher.close()


class _ZenohSink(SinkBase[Any]):
    """What the two sinks share. All but the copies is done on the sink's thread; the newest wins."""

    def __init__(self, channel: _Channel) -> None:
        self._channel, self.name = channel, channel.name
        self._pace = Pace(channel.config.rate_hz, f"{channel.name}: rate_hz")
        self._skin = 0
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

    def _told(self) -> str:
        raise NotImplementedError

    def _warn(self, error: InputError) -> None:
        text = f"{self.name}: {error}"
        if text not in self._warnings and len(self._warnings) < 20:
            self._warnings.append(text)


@dataclass(frozen=True, slots=True)
class _Driven:
    """A pose to be sent, and the skin that it moves where that is another one than before."""

    pose: BodyPose
    joints_m: Array
    sample: HeadsetSample
    scale: float
    began_ns: int
    skin: SkinnedMesh | None
    rest_m: Array
    is_new_skin: bool


class ZenohBodySink(_ZenohSink):
    """Sends each pose of a driven body; bones and surface once, and again for another person."""

    def __init__(self, channel: _Channel) -> None:
        super().__init__(channel)
        self._shown: object = self
        self._owed: _Driven | None = None  # a new skin, of a pose that was replaced by a newer one

    def prepare(self, view: DriveView) -> _Driven | None:
        result = view.result
        if view.occasion is not Occasion.RESULT or result is None or not self._pace.is_due(now_ns()):
            return None
        skeleton = view.body_skeleton
        shown: object = skeleton if view.skin is None else view.skin
        is_new = shown is not self._shown
        self._shown = shown
        began_ns = now_ns() - round(view.latency_ms * 1e6)
        driven = _Driven(
            view.body_pose,
            view.body_joints_m,
            result.sample,
            view.scale,
            began_ns,
            view.skin,
            skeleton.rest_positions_m,
            is_new,
        )
        if is_new:
            self._owed = driven
        return driven

    def publish(self, driven: _Driven, /) -> None:
        publisher, pose = self._channel.publisher, driven.pose
        owed, self._owed = self._owed, None
        try:
            motion = body_motion(pose, driven.joints_m)
            if owed is not None:
                self._skin = publisher.next_skin()
                publisher.put_setup("body", _setup_of(owed, self._skin))
            contacts = None if pose.contacts is None else (bool(pose.contacts[0]), bool(pose.contacts[1]))
            sent = Motion(
                motion.rotations_xyzw,
                motion.positions_m,
                pose.status,
                contacts,
                pose.flags,
                _devices(driven.sample, driven.scale),
                max(0, now_ns() - driven.began_ns) // 1000,
            )
            publisher.put_motion("body", sent, self._skin, pose.t_ns)
        except InputError as error:
            self._owed = owed
            self._warn(error)

    def _told(self) -> str:
        return f"sent {self._channel.publisher.sent['body']} poses to {self.name}"


@dataclass(frozen=True, slots=True)
class _Captured:
    """A motion of the graph's nodes, and the surface where it is to be renewed."""

    graph: GraphSnapshot
    status: Status
    began_ns: int
    skin: SkinnedMesh | None


class ZenohSurfaceSink(_ZenohSink):
    """Sends each motion of a captured surface, and the surface at bind now and then, since it grows."""

    def __init__(self, channel: _Channel) -> None:
        super().__init__(channel)
        self._renewed_ns, self._version = 0, -1
        self._owed: SkinnedMesh | None = None

    def prepare(self, view: CaptureView) -> _Captured | None:
        result, surface = view.result, view.capture.surface
        if view.occasion is Occasion.FORGET:
            self._version = -1  # another model comes
        if view.occasion is not Occasion.RESULT or result is None or view.motion is None or surface is None:
            return None
        now = now_ns()
        if not self._pace.is_due(now):
            return None
        skin = None
        is_due = now - self._renewed_ns >= round(self._channel.config.renew_s * 1e9)
        if surface.version != self._version and (is_due or self._version < 0):
            skin = view.skinned
        if skin is not None and len(skin.mesh.faces):
            self._renewed_ns, self._version, self._owed = now, surface.version, skin
        return _Captured(view.motion, result.status, now, skin)

    def publish(self, captured: _Captured, /) -> None:
        publisher, graph = self._channel.publisher, captured.graph
        owed, self._owed = self._owed, None
        try:
            motion = graph_motion(graph)
            if owed is not None:
                self._skin = publisher.next_skin()
                publisher.put_setup("surface", surface_skin_messages(owed, self._skin, graph.t_ns))
            latency_us = max(0, now_ns() - captured.began_ns) // 1000
            sent = Motion(motion.rotations_xyzw, motion.positions_m, captured.status, latency_us=latency_us, fine=False)
            publisher.put_motion("surface", sent, self._skin, graph.t_ns)
        except InputError as error:
            self._owed = owed
            self._warn(error)

    def _told(self) -> str:
        return f"sent {self._channel.publisher.sent['surface']} surfaces to {self.name}"


def _setup_of(driven: _Driven, number: int) -> list[bytes]:
    if driven.skin is not None:
        return body_skin_messages(driven.skin, number, driven.pose.t_ns)
    return [skeleton_message(unturned_bones(driven.rest_m), number, driven.pose.t_ns)]


def _devices(sample: HeadsetSample, scale: float) -> tuple[Device, ...]:
    found = []
    for side in ("head", "left", "right"):
        device = getattr(sample, side)
        if device is not None:
            place = np.asarray(device.position_m) * scale
            found.append(Device(side, device.kind, place, np.asarray(device.rotation_xyzw)))
    return tuple(found)
