"""Makes docs/pictures/record.png: what one take holds, a camera's frames and the headset of the person that it sees.

    python docs/make_record_picture.py

The synthetic person before the synthetic camera wears a headset made of the same motion. Both are recorded, the take is
played, and poses are driven from its samples: everything in the picture was read back from takes.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from make_pictures import BACKGROUND, EDGE, NODE, save, sheet
from PIL import Image

from bodystream.device import select_device
from bodystream.geometry.skeleton_maps import XR_BD_JOINTS
from bodystream.pipelines.drive.pipeline import DriveConfig
from bodystream.pipelines.drive.session import DriveSession
from bodystream.pipelines.recording.beside import record_beside
from bodystream.pipelines.recording.recorder import TakeRecorder
from bodystream.pipelines.samples import sample_clip
from bodystream.sources.headset.synthetic import MotionHeadset
from bodystream.sources.headset.take import TakeHeadset
from bodystream.sources.synthetic import SyntheticConfig, SyntheticSource
from bodystream.sources.take import TakeSource
from bodystream.takes import TakeReader
from bodystream.takes.messages import BODY, PoseMessage, decode
from bodystream.types import Array

SECONDS, START_NS = 5.0, 10**12
SHOWN_S = (0.5, 1.5, 2.5, 3.5, 4.5)
SIZE = (240, 300)
_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
"""Of the 24 joints of BD-24, which is SMPL's order."""


def record(path: Path, driven: Path) -> None:
    """A take of both, and one of the poses that its samples drive."""
    device = select_device("auto")
    source = SyntheticSource(SyntheticConfig(seed=0, frames=round(30 * SECONDS)), device)
    clip = sample_clip(source.body, "limbs", 0, SECONDS, 90.0)
    headset = MotionHeadset(clip)
    with TakeRecorder(path) as recorder:
        for sample in headset.samples:
            recorder.add_sample(replace(sample, t_ns=START_NS + sample.t_ns))
        for frame in source:
            t_ns = START_NS + round(frame.index * 1e9 / 30)
            recorder.add_frame(replace(frame, t_ns=t_ns, truth=None), source, wait=True)
    samples = TakeHeadset(path)
    with DriveSession(samples, DriveConfig(skeleton=clip.skeleton), device=device) as session:
        record_beside(session, driven)
        session.run()


def stick_figure(joints_m: Array, measured: Array) -> Image.Image:
    """Who looks at us, from ahead; joints that a device measures are marked."""
    image = np.full((2 * SIZE[1], 2 * SIZE[0], 3), BACKGROUND, np.uint8)
    at = np.stack([SIZE[0] - 280.0 * joints_m[:, 0], 1.9 * SIZE[1] - 290.0 * joints_m[:, 1]], axis=1)
    points = np.round(16 * at).astype(int).tolist()
    for joint, parent in enumerate(_PARENTS):
        if parent >= 0:
            cv2.line(image, points[joint], points[parent], EDGE, 6, cv2.LINE_AA, shift=4)
    for joint in range(len(XR_BD_JOINTS)):
        radius = 13 if measured[joint] else 6
        cv2.circle(image, points[joint], radius * 16, NODE if measured[joint] else EDGE, -1, cv2.LINE_AA, shift=4)
    return Image.fromarray(image).resize(SIZE, Image.Resampling.LANCZOS)


def cropped(image: Array) -> Image.Image:
    """The middle of a camera's image, where the person is."""
    height, width = image.shape[:2]
    part = round(height * SIZE[0] / SIZE[1] / 2)
    middle = np.ascontiguousarray(image[:, width // 2 - part : width // 2 + part])
    return Image.fromarray(middle).resize(SIZE, Image.Resampling.LANCZOS)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, driven = Path(folder) / "take.mcap", Path(folder) / "driven.mcap"
        record(path, driven)
        frames = {round((f.t_ns - START_NS) * 30e-9): f for f in TakeSource(path)}
        with TakeReader(driven) as reader:
            poses = [decode(message.data, PoseMessage, message.where) for message in reader.messages(BODY)]
        rows: list[list[Image.Image]] = [[], [], []]
        for at_s in SHOWN_S:
            frame = frames[round(at_s * 30)]
            pose = min(poses, key=lambda pose: abs(pose.t_ns - frame.t_ns))
            assert frame.colour is not None and abs(pose.t_ns - frame.t_ns) < 6_000_000
            scaled = np.clip((frame.depth_m - 1.6) / 2.0 * 255, 0, 255).astype(np.uint8)
            shades = cv2.applyColorMap(255 - scaled, cv2.COLORMAP_VIRIDIS)[..., ::-1].copy()
            shades[frame.depth_m == 0] = BACKGROUND
            joints = np.frombuffer(pose.data, "<f4", offset=40).reshape(len(XR_BD_JOINTS), 8)
            flags = joints[:, 7].copy().view("<u4")
            for row, picture in zip(
                rows,
                (cropped(frame.colour), cropped(shades), stick_figure(joints[:, :3], (flags & 8) != 0)),
                strict=True,
            ):
                row.append(picture)
        names = ("/camera/colour/image", "/camera/depth/image", "/body/bd24")
        titles = [f"{at_s:.1f} s" for at_s in SHOWN_S]
        size = path.stat().st_size * 1e-6
        footer = (
            f"{len(frames)} frames and {len(TakeHeadset(path))} samples of a headset in {size:.1f} MB; marked: measured"
        )
        save(sheet(titles, list(zip(names, rows, strict=True)), footer), "record")


if __name__ == "__main__":
    main()
