"""A take of what a session reads: all of it, whatever the session processes, and the poses that it drives."""

from __future__ import annotations

import errno
import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from bodystream.errors import InputError, SessionError
from bodystream.geometry.skeleton_maps import XR_BD_JOINTS
from bodystream.pipelines.capture.session import CaptureSession
from bodystream.pipelines.drive.pipeline import DriveConfig
from bodystream.pipelines.drive.session import DriveSession
from bodystream.pipelines.recording import recorder as module
from bodystream.pipelines.recording.beside import record_beside
from bodystream.sources.headset.synthetic import MotionHeadset
from bodystream.sources.headset.take import TakeHeadset
from bodystream.sources.synthetic import SyntheticConfig, SyntheticSource
from bodystream.sources.take import TakeSource
from bodystream.takes import TakeReader
from bodystream.takes.messages import BODY, BODY_POSES, PoseMessage, decode
from helpers.drive_parts import ESTIMATOR
from helpers.headset_motions import walking
from helpers.needs import needs
from helpers.session_sinks import Gate
from helpers.takes import GivenSource

needs("mcap", "pip install 'bodystream[mcap]'")


def small_frames(count: int) -> list:
    return list(SyntheticSource(SyntheticConfig(frames=count, width=160, height=120), "cpu"))


class Fast(GivenSource):
    """A camera that is faster than a session: it processes some of the frames, and the newest."""

    def __init__(self, items) -> None:
        super().__init__(items)
        self.live = True

    def __iter__(self):
        for item in self.items:
            time.sleep(0.01)
            yield item


def test_all_frames_are_recorded_whatever_of_them_is_captured(tmp_path: Path) -> None:
    given = small_frames(40)
    source = Fast(given)
    with CaptureSession(source, device="cpu") as session:  # type: ignore[arg-type]
        record_beside(session, tmp_path / "take.mcap", colour="png")
        session.run()
        assert 0 < session.processed < 40
    assert any(note.startswith(f"recorded {tmp_path / 'take.mcap'}: 40 frames") for note in session.notes)
    got = list(TakeSource(tmp_path / "take.mcap"))
    assert [frame.index for frame in got] == list(range(40))
    for frame, want in zip(got, given, strict=True):
        np.testing.assert_array_equal(frame.depth_m, want.depth_m)
        np.testing.assert_array_equal(frame.colour, want.colour)


def test_samples_and_driven_poses_are_recorded(tmp_path: Path) -> None:
    clip = walking(0.5)
    source, gate = MotionHeadset(clip), Gate()
    config = DriveConfig(estimator=ESTIMATOR, skeleton=clip.skeleton)
    with DriveSession(source, config, device="cpu", sinks=[gate]) as session:
        record_beside(session, tmp_path / "take.mcap")
        session.run()
    heard = list(TakeHeadset(tmp_path / "take.mcap"))
    assert len(heard) == len(source) == len(gate.results)
    for sample, want in zip(heard, source.samples, strict=True):
        assert sample.head is not None and want.head is not None
        np.testing.assert_array_equal(sample.head.position_m, want.head.position_m)
        np.testing.assert_array_equal(sample.head.rotation_xyzw, want.head.rotation_xyzw)
    with TakeReader(tmp_path / "take.mcap") as reader:
        poses = [decode(message.data, PoseMessage, message.where) for message in reader.messages(BODY)]
        shown = list(reader.messages(BODY_POSES))
        offset_ns = reader.host_utc_offset_ns
    assert len(poses) == len(shown) == len(gate.results)
    for number, (pose, result) in enumerate(zip(poses, gate.results, strict=True)):
        # Byte by byte as docs/send.md has it, without our own reader of it.
        assert len(pose.data) == 808
        magic, version, joints, counted, t_ns = struct.unpack_from("<4sHHQq", pose.data)
        assert (magic, version, joints, counted, t_ns) == (b"BD24", 1, 24, number, result.pose.t_ns)
        assert pose.t_ns == result.pose.t_ns
        row = np.frombuffer(pose.data, "<f4", offset=40).reshape(24, 8)
        np.testing.assert_allclose(row[:22, :3], result.joints_m, atol=1e-5)
    assert len(XR_BD_JOINTS) == 24
    assert shown[0].utc_ns == gate.results[0].pose.t_ns + offset_ns


def test_poses_for_viewers_are_those_of_the_message(tmp_path: Path) -> None:
    from mcap.reader import make_reader
    from mcap_protobuf.decoder import DecoderFactory

    clip = walking(0.1)
    source = MotionHeadset(clip)
    config = DriveConfig(estimator=ESTIMATOR, skeleton=clip.skeleton)
    with DriveSession(source, config, device="cpu") as session:
        record_beside(session, tmp_path / "take.mcap")
        session.run()
    with TakeReader(tmp_path / "take.mcap") as reader:
        data = decode(next(reader.messages(BODY)).data, PoseMessage, "").data
    row = np.frombuffer(data, "<f4", offset=40).reshape(24, 8)
    with (tmp_path / "take.mcap").open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        schema, _, _, shown = next(reader.iter_decoded_messages(topics=[BODY_POSES]))
    assert schema is not None and schema.name == "foxglove.PosesInFrame"
    import foxglove.messages

    files = [FileDescriptorSet(), FileDescriptorSet()]
    for found, text in zip(files, (schema.data, foxglove.messages.PosesInFrame.get_schema().data), strict=True):
        found.ParseFromString(text)
    names = [{file.name: [m.name for m in file.message_type] for file in found.file} for found in files]
    assert names[0] == names[1]
    assert shown.frame_id == "world" and len(shown.poses) == 24
    for pose, want in zip(shown.poses, row, strict=True):
        got = (pose.position.x, pose.position.y, pose.position.z)
        turn = (pose.orientation.x, pose.orientation.y, pose.orientation.z, pose.orientation.w)
        np.testing.assert_array_equal(np.float32((*got, *turn)), want[:7])


def test_a_full_disk_ends_the_recording_and_not_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(self) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.TakeWriter, "flush", refuses)
    clip, gate, notes = walking(0.5), Gate(), []
    source = MotionHeadset(clip)
    config = DriveConfig(estimator=ESTIMATOR, skeleton=clip.skeleton)
    session = DriveSession(source, config, device="cpu", sinks=[gate])
    record_beside(session, tmp_path / "take.mcap", notes.append)
    session.run()
    with pytest.raises(InputError, match="nothing more can be written"):
        session.close()
    assert len(gate.results) == len(source)
    assert len([note for note in notes if note.startswith("error: ")]) == 1


def test_what_is_being_read_or_pushed_cannot_be_tapped(tmp_path: Path) -> None:
    given = small_frames(2)
    with CaptureSession(GivenSource(given), device="cpu") as session:  # type: ignore[arg-type]
        session.open()
        with pytest.raises(SessionError, match="being read already"):
            record_beside(session, tmp_path / "take.mcap")
    with CaptureSession(device="cpu") as session, pytest.raises(SessionError, match="no source to record"):
        record_beside(session, tmp_path / "take.mcap")  # type: ignore[arg-type]
    assert not (tmp_path / "take.mcap").exists()
