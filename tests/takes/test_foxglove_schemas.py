"""What Foxglove needs to open a take: its published schemas, by name and field by field, and JSON that fits its schema.

The published text is that of Foxglove's own SDK, which has it apart from the classes that we write messages with.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.pipelines.recording.recorder import TakeRecorder
from bodystream.takes import Event
from bodystream.types import CameraIntrinsics, LensCamera, RawImages, RgbdCalibration, RgbdFrame
from helpers.needs import needs
from helpers.takes import CAMERA, START_NS, GivenSource, frames, samples, write_take

needs("mcap", "pip install 'bodystream[mcap]'")
needs("foxglove", "pip install foxglove-sdk")

from google.protobuf.descriptor_pb2 import FileDescriptorSet  # noqa: E402
from mcap.reader import make_reader  # noqa: E402
from mcap_protobuf.decoder import DecoderFactory  # noqa: E402

OFFSET_NS = 1_700_000_000_000_000_000
COLOUR_CAMERA = LensCamera(
    CameraIntrinsics(40.0, 41.0, 20.0, 14.0, 40, 30), "brown_conrady", (0.1, -0.2, 0.001, 0.002, 0.05)
)


def two_cameras() -> RgbdCalibration:
    transform = np.eye(4)
    transform[:3, :3] = Rotation.from_rotvec([0.02, -0.01, 0.3]).as_matrix()
    transform[:3, 3] = 0.015, 0.001, -0.002
    return RgbdCalibration(LensCamera(CAMERA), 0.00025, COLOUR_CAMERA, transform)


@pytest.fixture(scope="module")
def take(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A take of two cameras, with everything that one may hold."""
    path, calibration = tmp_path_factory.mktemp("foxglove") / "take.mcap", two_cameras()
    with TakeRecorder(path, colour="jpeg 95", host_utc_offset_ns=OFFSET_NS) as recorder:
        for frame in frames(3, mask=True):
            colour = np.full((30, 40, 3), 40 * frame.index, np.uint8)
            units = np.rint(frame.depth_m / 0.00025).astype(np.uint16)
            raw = RawImages(units, colour, calibration, "depth", "bilinear", 10.0)
            told = RgbdFrame(
                frame.index, frame.t_ns, frame.depth_m, CAMERA, None, frame.device_t_ns, frame.mask, raw=raw
            )
            recorder.add_frame(told, GivenSource([]), wait=True)
        for sample in samples(5):
            recorder.add_sample(sample)
        recorder.add_event(Event(t_ns=START_NS, source="given:0", kind="warning", text="it is dark"))
    return path


def published(name: str) -> dict[str, dict[str, tuple]]:
    """Message to field to (number, type, label, type name), of the SDK's own text."""
    import foxglove.messages

    schema = getattr(foxglove.messages, name).get_schema()
    assert schema.encoding == "protobuf"
    return described(schema.data)


def described(data: bytes) -> dict[str, dict[str, tuple]]:
    files = FileDescriptorSet()
    files.ParseFromString(data)
    return {
        f"{file.package}.{message.name}": {
            field.name: (field.number, field.type, field.label, field.type_name) for field in message.field
        }
        for file in files.file
        for message in file.message_type
    }


@pytest.mark.parametrize("name", ["RawImage", "CompressedImage", "CameraCalibration", "FrameTransform"])
def test_schemas_are_those_that_are_published(take: Path, name: str) -> None:
    with take.open("rb") as file:
        summary = make_reader(file).get_summary()
    assert summary is not None
    (schema,) = [schema for schema in summary.schemas.values() if schema.name == f"foxglove.{name}"]
    assert schema.encoding == "protobuf"
    want = published(name)
    assert described(schema.data) == want and len(want[f"foxglove.{name}"]) >= 4
    channels = [channel for channel in summary.channels.values() if channel.schema_id == schema.id]
    assert channels and all(channel.message_encoding == "protobuf" for channel in channels)


def test_images_decode_by_the_schemas_in_the_file_alone(take: Path) -> None:
    """As Foxglove does it: no class of ours, only what the file says of itself."""
    got: dict[str, list] = {}
    with take.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        topics = ["/camera/depth/image", "/camera/colour/image", "/camera/mask/image"]
        for _, channel, message, decoded in reader.iter_decoded_messages(topics=topics):
            got.setdefault(channel.topic, []).append((message, decoded))
    for index, want in enumerate(frames(3, mask=True)):
        message, depth = got["/camera/depth/image"][index]
        assert message.log_time == want.t_ns + OFFSET_NS == depth.timestamp.ToNanoseconds()
        assert (depth.encoding, depth.width, depth.height, depth.step) == ("16UC1", 32, 24, 64)
        units = np.frombuffer(depth.data, "<u2").reshape(24, 32)
        np.testing.assert_array_equal(units, np.rint(want.depth_m / 0.00025))
        _, colour = got["/camera/colour/image"][index]
        assert (colour.format, colour.frame_id) == ("jpeg", "camera_colour")
        image = cv2.imdecode(np.frombuffer(colour.data, np.uint8), cv2.IMREAD_COLOR)
        assert image.shape == (30, 40, 3) and np.abs(image.astype(int) - 40 * index).max() <= 2
        _, mask = got["/camera/mask/image"][index]
        np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(mask.data, np.uint8), 0) > 127, want.mask)


def test_calibrations_and_extrinsics_are_those_of_the_cameras(take: Path) -> None:
    topics = ["/camera/depth/calibration", "/camera/colour/calibration", "/tf"]
    with take.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        got = {channel.topic: decoded for _, channel, _, decoded in reader.iter_decoded_messages(topics=topics)}
    depth, colour, transform = (got[topic] for topic in topics)
    np.testing.assert_array_equal(np.reshape(depth.K, (3, 3)), CAMERA.matrix)
    np.testing.assert_array_equal(np.reshape(depth.P, (3, 4))[:, :3], CAMERA.matrix)
    assert (depth.width, depth.height, depth.distortion_model) == (32, 24, "plumb_bob")
    assert list(depth.R) == np.eye(3).ravel().tolist()
    assert list(colour.D) == list(COLOUR_CAMERA.coefficients) and colour.distortion_model == "plumb_bob"
    # Where the colour camera stands in the depth camera's frame: points go from child to parent.
    assert (transform.parent_frame_id, transform.child_frame_id) == (depth.frame_id, colour.frame_id)
    q, t = transform.rotation, transform.translation
    depth_from_colour = np.eye(4)
    depth_from_colour[:3, :3] = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    depth_from_colour[:3, 3] = t.x, t.y, t.z
    assert two_cameras().colour_from_depth is not None
    np.testing.assert_allclose(depth_from_colour @ two_cameras().colour_from_depth, np.eye(4), atol=1e-12)


def test_our_own_messages_fit_their_json_schemas(take: Path) -> None:
    seen = set()
    with take.open("rb") as file:
        for schema, channel, message in make_reader(file).iter_messages():
            if schema is None or schema.encoding != "jsonschema":
                continue
            assert channel.message_encoding == "json"
            described_by = json.loads(schema.data)
            assert described_by["type"] == "object"  # Foxglove refuses another one
            jsonschema.Draft202012Validator.check_schema(described_by)
            jsonschema.validate(json.loads(message.data), described_by, jsonschema.Draft202012Validator)
            seen.add(schema.name)
    assert seen == {"bodystream.Camera", "bodystream.CameraFrame", "bodystream.HeadsetSample", "bodystream.Event"}


def unread(schema: dict, place: str = "") -> list[str]:
    """What Foxglove's reader of JSON Schema does not take: it knows objects, lists of one type, and values."""
    if schema.get("type") != "object":
        return [place]
    found = []
    for name, part in schema["properties"].items():
        item = part.get("items", part) if part.get("type") == "array" else part
        if not isinstance(item, dict) or item.get("type") not in ("boolean", "string", "number", "integer", "object"):
            found.append(f"{place}.{name}")
        elif item["type"] == "object":
            found += unread(item, f"{place}.{name}")
    return found


def test_foxglove_can_read_our_own_schemas(take: Path) -> None:
    """It refuses what a schema may say else: alternatives such as null, references, lists of several types."""
    with take.open("rb") as file:
        summary = make_reader(file).get_summary()
    assert summary is not None
    schemas = [schema for schema in summary.schemas.values() if schema.encoding == "jsonschema"]
    assert len(schemas) == 4
    assert [place for schema in schemas for place in unread(json.loads(schema.data), schema.name)] == []
    odd = {"type": "object", "properties": {"a": {"anyOf": [{"type": "null"}]}, "b": {"$ref": "#/$defs/B"}}}
    assert unread(odd) == [".a", ".b"]


def test_a_message_that_does_not_fit_would_be_noticed(take: Path) -> None:
    with take.open("rb") as file:
        summary = make_reader(file).get_summary()
    assert summary is not None
    (schema,) = [schema for schema in summary.schemas.values() if schema.name == "bodystream.HeadsetSample"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"index": "one"}, json.loads(schema.data))


def test_the_file_is_chunked_indexed_and_its_times_are_in_it(take: Path) -> None:
    with take.open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        summary = reader.get_summary()
        assert summary is not None and summary.statistics is not None
        assert summary.statistics.chunk_count == len(summary.chunk_indexes) >= 2
        assert all(index.message_index_offsets for index in summary.chunk_indexes)
        assert sum(1 for _ in reader.iter_messages()) == summary.statistics.message_count
        (about,) = [record for record in reader.iter_metadata() if record.name == "bodystream.take"]
    assert about.metadata["host_utc_offset_ns"] == str(OFFSET_NS)


def test_who_wants_the_samples_alone_need_not_read_images(tmp_path: Path) -> None:
    write_take(tmp_path / "take.mcap", frames(4), samples(6))
    with (tmp_path / "take.mcap").open("rb") as file:
        summary = make_reader(file).get_summary()
        assert summary is not None
        topics = [
            {summary.channels[channel].topic for channel in index.message_index_offsets}
            for index in summary.chunk_indexes
        ]
    assert all(not ({"/headset/sample"} & held and {"/camera/depth/image"} & held) for held in topics)
