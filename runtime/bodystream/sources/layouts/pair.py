"""One DeepDeform pair with its ground truth, for evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bodystream.errors import InputError
from bodystream.sources.layouts import deepdeform
from bodystream.sources.layouts.decode import FrameDecoder
from bodystream.sources.layouts.masks import read_mask
from bodystream.sources.layouts.pairing import files_of
from bodystream.sources.layouts.record import FrameRecord, Recording
from bodystream.timing.clock import now_ns
from bodystream.types import Array, CameraIntrinsics, RgbdFrame

__all__ = ["DeepDeformPair", "load_pair"]

_FRAME_NS = 1e9 / 30.0


@dataclass(frozen=True, slots=True)
class DeepDeformPair:
    """Two frames of a take and the motion between them.

    Attributes:
        name: `<object>_<source>_<target>`.
        source: the first frame, with the object's mask where the data set has one.
        target: the second frame.
        flow_px: (H, W, 2) float32 optical flow at the source's pixels, nan = no value; None where there is no file.
        scene_flow_m: (H, W, 3) float32 motion of the source's points in the camera frame, nan = no value; or None.
    """

    name: str
    source: RgbdFrame
    target: RgbdFrame
    flow_px: Array | None
    scene_flow_m: Array | None


def load_pair(folder: str | Path, name: str | None = None) -> DeepDeformPair:
    """Load a pair of a folder in the DeepDeform layout.

    Args:
        name: `<object>_<source>_<target>`, e.g. `shirt_000000_000110`; not needed where the folder has only one pair
            of flows, or no flows and only two frames.

    Raises:
        InputError: no such layout or pair, no intrinsics, or truncated or mismatched files.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise InputError(f"{root}: is not a folder; give the folder of a DeepDeform take")
    recording = deepdeform.read(root)
    flows = _by_name(root / "optical_flow", ".oflow")
    scene_flows = _by_name(root / "scene_flow", ".sflow")
    chosen = name if name is not None else _only_pair(root, recording, flows.keys() | scene_flows.keys())
    parts = chosen.rsplit("_", 2)
    if len(parts) != 3:
        raise InputError(f"{chosen!r} is no pair name; expected <object>_<source>_<target>, e.g. shirt_000000_000110")
    label, source_name, target_name = parts
    source_record, target_record = (_record(root, recording, n) for n in (source_name, target_name))
    if recording.intrinsics is None:
        raise InputError(f"{root}: no camera intrinsics found. Add {recording.intrinsics_wanted}")
    if source_record.read_depth is None:
        raise InputError(f"{root}: {source_record.problem}")
    height, width = source_record.read_depth().shape
    decoder = FrameDecoder(recording.intrinsics.for_size(width, height), recording.depth_scale_m)
    mask_file = root / "mask" / f"{source_name}_{label}.png"
    mask = read_mask(mask_file) if mask_file.is_file() else None
    start_ns = now_ns()
    source = _frame(decoder, source_record, 0, start_ns, mask)
    gap_ns = round((int(target_name) - int(source_name)) * _FRAME_NS)
    target = _frame(decoder, target_record, 1, start_ns + gap_ns, None)
    flow = deepdeform.read_oflow(flows[chosen]) if chosen in flows else None
    scene_flow = deepdeform.read_sflow(scene_flows[chosen]) if chosen in scene_flows else None
    for file, values in ((flows.get(chosen), flow), (scene_flows.get(chosen), scene_flow)):
        if values is not None and values.shape[:2] != (height, width):
            raise InputError(
                f"{file} is {values.shape[1]}x{values.shape[0]}, but {source_record.depth_file} is {width}x{height}"
            )
    return DeepDeformPair(chosen, source, target, flow, scene_flow)


def _only_pair(root: Path, recording: Recording, names: set[str]) -> str:
    if len(names) == 1:
        return next(iter(names))
    if not names and len(recording.records) == 2:
        return f"take_{recording.records[0].name}_{recording.records[1].name}"
    if not names:
        raise InputError(
            f"{root}: holds {len(recording.records)} frames and no file that says which two of them are a pair: give a "
            "folder of two frames, or one with flow (optical_flow/*.oflow), such as the pair of `bodystream samples`"
        )
    there = ", ".join(sorted(names)[:20])
    raise InputError(
        f"{root}: holds {len(names)} pairs ({there}): keep the files of one of them in a folder of its own"
    )


def _record(root: Path, recording: Recording, name: str) -> FrameRecord:
    found = next((record for record in recording.records if record.name == name), None)
    if found is None:
        raise InputError(
            f"{root}: has no frame {name}; there are {recording.records[0].name} to {recording.records[-1].name}"
        )
    return found


def _frame(decoder: FrameDecoder, record: FrameRecord, index: int, t_ns: int, mask: Array | None) -> RgbdFrame:
    decoded = decoder.decode(record)
    camera: CameraIntrinsics = decoded.intrinsics
    return RgbdFrame(
        index=index,
        t_ns=t_ns,
        depth_m=decoded.depth_m,
        intrinsics=camera,
        colour=decoded.colour,
        mask=mask if mask is not None else decoded.mask,
        name=record.name,
    )


def _by_name(folder: Path, suffix: str) -> dict[str, Path]:
    return {file.stem: file for file in files_of(folder, (suffix,))} if folder.is_dir() else {}
