"""Writes a take: every message where it belongs, in chunks that are whole in the file soon after they came."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import msgspec
import numpy as np

from bodystream.errors import InputError
from bodystream.takes import foxglove
from bodystream.takes.images import encode_colour, encode_mask
from bodystream.takes.messages import (
    BODY,
    BODY_POSES,
    CAMERA,
    COLOUR,
    COLOUR_CALIBRATION,
    DEPTH,
    DEPTH_CALIBRATION,
    EVENTS,
    FORMAT,
    FRAME,
    HEADSET,
    MASK,
    METADATA,
    OWN_MESSAGES,
    SMALL_TOPICS,
    TRANSFORMS,
    Event,
    FrameMessage,
    PoseMessage,
    TakeCamera,
    camera_message,
    json_schema,
    sample_message,
)
from bodystream.takes.packages import require_mcap
from bodystream.takes.reader import TakeMessage
from bodystream.types import Array, HeadsetSample

__all__ = ["TakeWriter", "create"]

_CHUNK_BYTES = 2 << 20
"""Three frames of 640x480: a chunk is packed at once, and that should not take long."""
_FOXGLOVE = {
    DEPTH: "RawImage",
    COLOUR: "CompressedImage",
    MASK: "CompressedImage",
    DEPTH_CALIBRATION: "CameraCalibration",
    COLOUR_CALIBRATION: "CameraCalibration",
    TRANSFORMS: "FrameTransform",
    BODY_POSES: "PosesInFrame",
}


class TakeWriter:
    """Appends to a new take; one thread at a time may use it.

    Images of a frame stay in one chunk. Small messages (head and hands, events) have chunks of their own, so that who
    wants them alone need not read the images. Chunks are compressed with zstd, checked by checksums and indexed; what
    was added is in the file after `flush`, and a process that is killed leaves a file that can be read up to there.

    Args:
        file: opened for writing bytes, empty; the writer closes it.
        host_utc_offset_ns: nanoseconds since 1970 minus the host's monotonic clock: messages are logged by the former.
        about: further entries of the record that says what the file is.

    Attributes:
        written_bytes: in the file.

    Raises:
        MissingDependencyError: the packages of the extra `mcap` are not installed.
        OSError: of the file; by all methods. The file then holds what was flushed before, see `give_up`.
    """

    def __init__(self, file: IO[bytes], host_utc_offset_ns: int, about: Mapping[str, str] | None = None) -> None:
        require_mcap()
        from mcap.writer import LIBRARY_IDENTIFIER, CompressionType, Writer

        self._file = file
        self._offset_ns = host_utc_offset_ns
        self._channels: dict[str, int] = {}
        self._schemas: dict[str, int] = {}
        self._small: list[tuple[str, int, bytes]] = []
        self._chunk_bytes = 0
        self._sequence = 0
        self._flushed_bytes = 0
        self._mcap = Writer(file, chunk_size=1 << 62, compression=CompressionType.ZSTD)
        self._mcap.start(library=f"bodystream, {LIBRARY_IDENTIFIER}")
        facts = {"format": str(FORMAT), "host_utc_offset_ns": str(host_utc_offset_ns), **(about or {})}
        self._mcap.add_metadata(METADATA, facts)
        self._file.flush()
        self._flushed_bytes = self._file.tell()

    @property
    def written_bytes(self) -> int:
        return self._flushed_bytes

    def add_camera(self, camera: TakeCamera, t_ns: int) -> None:
        """Say what the frames from here on are of.

        Args:
            t_ns: of the first of them, host monotonic.
        """
        found, utc_ns = camera.calibration, self._utc_ns(t_ns)
        self._put(CAMERA, t_ns, msgspec.json.encode(camera_message(camera)))
        depth_frame = foxglove.calibration(found.depth, foxglove.CAMERA_FRAME, utc_ns)
        self._put(DEPTH_CALIBRATION, t_ns, depth_frame)
        if found.colour is not None and found.colour_from_depth is not None:
            frame = foxglove.COLOUR_FRAME
            self._put(COLOUR_CALIBRATION, t_ns, foxglove.calibration(found.colour, frame, utc_ns))
            depth_from_colour = np.linalg.inv(np.asarray(found.colour_from_depth, np.float64))
            self._put(
                TRANSFORMS,
                t_ns,
                foxglove.frame_transform(depth_from_colour, foxglove.CAMERA_FRAME, frame, utc_ns),
            )
        elif camera.colour_coding != "none":
            self._put(COLOUR_CALIBRATION, t_ns, depth_frame)

    def add_frame(
        self,
        message: FrameMessage,
        depth: Array,
        colour: Array | None,
        mask: Array | None,
        *,
        coding: str,
        registered: bool,
    ) -> None:
        """Add one frame.

        Args:
            depth: (H, W) uint16 in the camera's unit. colour: (H, W, 3) uint8 RGB. mask: (H, W) bool.
            coding: of colour, see `encode_colour`. registered: whether colour is on the pixels of depth.
        """
        t_ns, utc_ns = message.t_ns, self._utc_ns(message.t_ns)
        self._sequence = (self._sequence + 1) % (1 << 32)
        self._put(DEPTH, t_ns, foxglove.raw_depth(depth, utc_ns))
        if colour is not None:
            frame = foxglove.CAMERA_FRAME if registered else foxglove.COLOUR_FRAME
            image = encode_colour(colour, coding)
            self._put(COLOUR, t_ns, foxglove.compressed_image(image, coding.partition(" ")[0], frame, utc_ns))
        if mask is not None:
            image = encode_mask(mask)
            self._put(MASK, t_ns, foxglove.compressed_image(image, "png", foxglove.CAMERA_FRAME, utc_ns))
        self._put(FRAME, t_ns, msgspec.json.encode(message))
        if self._chunk_bytes >= _CHUNK_BYTES:
            self._finish_chunk()

    def add_sample(self, sample: HeadsetSample) -> None:
        """Add what a headset knew."""
        self._small.append((HEADSET, int(sample.t_ns), msgspec.json.encode(sample_message(sample))))

    def add_event(self, event: Event) -> None:
        """Add something that happened."""
        self._small.append((EVENTS, event.t_ns, msgspec.json.encode(event)))

    def add_pose(self, t_ns: int, data: bytes, positions_m: Array, rotations_xyzw: Array) -> None:
        """Add a driven body.

        Args:
            data: the message of BD-24.
            positions_m, rotations_xyzw: (24, 3) and (24, 4) of its joints in the headset's world, for viewers.
        """
        poses = foxglove.poses_in_frame(positions_m, rotations_xyzw, foxglove.WORLD_FRAME, self._utc_ns(t_ns))
        self._small.append((BODY, t_ns, msgspec.json.encode(PoseMessage(t_ns, data))))
        self._small.append((BODY_POSES, t_ns, poses))

    def copy(self, message: TakeMessage) -> None:
        """Add a message of another take as it is; images and what goes with them stay in chunks of their own."""
        if message.topic in SMALL_TOPICS:
            self._small.append((message.topic, message.utc_ns - self._offset_ns, message.data))
            return
        self._put(message.topic, message.utc_ns - self._offset_ns, message.data, message.sequence)
        if message.topic == FRAME and self._chunk_bytes >= _CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Put all that was added into the file."""
        self._finish_chunk()
        small, self._small = self._small, []
        for topic, t_ns, data in small:
            self._put(topic, t_ns, data)
        self._finish_chunk()

    def close(self) -> None:
        """Put all that was added and the table of contents into the file, and close it."""
        self.flush()
        self._mcap.finish()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._flushed_bytes = self._file.tell()
        self._file.close()

    def give_up(self) -> None:
        """Close a file that refused to be written to; it is cut to what was flushed before. Never raises."""
        try:
            os.ftruncate(self._file.fileno(), self._flushed_bytes)
        except OSError:
            pass  # the part of a chunk at its end is passed over by the reader
        try:
            self._file.close()
        except OSError:
            pass  # what its buffer holds is refused once more
        try:
            os.truncate(self._file.name, self._flushed_bytes)
        except OSError:
            pass

    def _put(self, topic: str, t_ns: int, data: bytes, sequence: int | None = None) -> None:
        at_ns = self._utc_ns(t_ns)
        channel = self._channels.get(topic)
        if channel is None:
            channel = self._channels[topic] = self._register(topic)
        if sequence is None:
            sequence = self._sequence if topic in (DEPTH, COLOUR, MASK, FRAME) else 0
        self._mcap.add_message(channel, at_ns, data, at_ns, sequence)
        self._chunk_bytes += len(data)

    def _finish_chunk(self) -> None:
        if self._chunk_bytes:
            self._mcap.flush()
            self._chunk_bytes = 0
            self._flushed_bytes = self._file.tell()

    def _utc_ns(self, t_ns: int) -> int:
        return max(0, t_ns + self._offset_ns)

    def _register(self, topic: str) -> int:
        """A channel, with the schema that its messages are described by; schemas are in the file once."""
        from mcap_protobuf.schema import register_schema

        if topic in _FOXGLOVE:
            name, encoding = f"foxglove.{_FOXGLOVE[topic]}", "protobuf"
            if name not in self._schemas:
                self._schemas[name] = register_schema(self._mcap, foxglove.message_class(_FOXGLOVE[topic]))
        else:
            (name, kind), encoding = OWN_MESSAGES[topic], "json"
            if name not in self._schemas:
                schema = msgspec.json.encode(json_schema(kind, name))
                self._schemas[name] = self._mcap.register_schema(name, "jsonschema", schema)
        return self._mcap.register_channel(topic, encoding, self._schemas[name])


def create(path: Path) -> IO[bytes]:
    """A new file for a take; one that is there is never written over, since nobody can record it again.

    Raises:
        InputError: there is such a file, or none can be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "xb", buffering=1 << 16)
    except FileExistsError as error:
        raise InputError(f"{path} is there already, and a recording is not written over: give another name") from error
    except OSError as error:
        raise InputError(f"cannot record to {path}: {error.strerror or error}: choose another folder") from error
