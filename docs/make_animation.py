"""Makes the moving picture on top of the README: both ways in, of the one synthetic person.

    python docs/make_animation.py                  # into docs/pictures/both_ways.webp

Left: the synthetic depth camera and the surface that is captured of it. Right: the head and hands that a headset would
track of the same motion, with a tracker's noise, and the body that is driven by them alone.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from make_pictures import (
    BACKGROUND,
    FAINT,
    MARGIN,
    TEXT,
    Moment,
    Painter,
    capture_moments,
    window_of,
)
from PIL import Image, ImageDraw, ImageFont

from bodystream.avatar import LbsAvatar
from bodystream.avatar.rig import load_rig
from bodystream.device import select_device
from bodystream.geometry.camera import project
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.tracker_noise import TrackerNoise
from bodystream.pipelines.samples import sample_clip
from bodystream.pose.estimator import PoseEstimator
from bodystream.sources.headset.synthetic import MotionHeadset
from bodystream.sources.synthetic.renderer import Scene
from bodystream.types import Array, HeadsetSample, Mesh, TrackedDevice

PATH = Path(__file__).resolve().parent / "pictures" / "both_ways.webp"
RATE_HZ = 10
FRAMES = range(45, 165, 3)  # of the camera's 30 Hz
PANEL_HEIGHT = 300
QUALITY = 72
MAX_BYTES = 900_000
AXES = np.eye(3) * 0.11
COLOURS = ((235, 90, 80), (110, 200, 110), (90, 140, 240))


def driven(seconds: float) -> list[tuple[HeadsetSample, Mesh]]:
    """Samples of a headset at 30 Hz, and the body that the estimator makes of them."""
    clip = sample_clip(load_rig(), "limbs", 0, seconds, 30.0)
    source = MotionHeadset(clip, 30.0, TrackerNoise(), hands="joint")
    estimator, avatar = PoseEstimator(clip.skeleton), LbsAvatar(clip.skeleton)
    shown = []
    for sample in source:
        pose = estimator.step(sample)
        mesh = avatar.pose(pose.rotations_xyzw, pose.root_position_m)
        assert mesh.normals is not None
        shown.append((sample, Mesh(mesh.vertices.copy(), mesh.faces, mesh.normals.copy(), avatar.colours)))
    return shown


def in_camera(mesh: Mesh, camera_from_body: Array) -> Mesh:
    turn, shift = camera_from_body[:3, :3], camera_from_body[:3, 3]
    assert mesh.normals is not None
    return Mesh(
        (mesh.vertices @ turn.T + shift).astype(np.float32),
        mesh.faces,
        (mesh.normals @ turn.T).astype(np.float32),
        mesh.colours,
    )


def devices(painter: Painter, sample: HeadsetSample, camera_from_body: Array) -> Array:
    """Head and hands as their axes, and nothing else: that is all that is measured."""
    k = painter.camera
    image = np.empty((k.height, k.width, 3), np.uint8)
    image[:] = BACKGROUND

    def at(points: Array) -> list[list[int]]:
        moved = points @ camera_from_body[:3, :3].T + camera_from_body[:3, 3]
        return np.round(project(moved, k) * 16).astype(np.int32).tolist()

    for device in (sample.head, sample.left, sample.right):
        if isinstance(device, TrackedDevice):
            turn = matrix_from_quaternion(device.rotation_xyzw.astype(np.float64))
            centre = device.position_m.astype(np.float64)
            start, *ends = at(np.concatenate([centre[None], centre + AXES @ turn.T]))
            for end, colour in zip(ends, COLOURS, strict=True):
                cv2.line(image, start, end, colour, 10, cv2.LINE_AA, shift=4)
            cv2.circle(image, start, 12 * 16, (240, 240, 245), -1, cv2.LINE_AA, shift=4)
    return image


def page(pictures: list[Image.Image]) -> Image.Image:
    """Two pairs of panels with their titles."""
    titles = ("depth camera", "captured surface", "head and hands", "driven body")
    font, small = ImageFont.load_default(17), ImageFont.load_default(14)
    width, height = pictures[0].size
    top, gap = 52, 3 * MARGIN
    total = 4 * width + 4 * MARGIN + gap
    canvas = Image.new("RGB", (total, top + height + MARGIN), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    lefts = [MARGIN, 2 * MARGIN + width, 2 * MARGIN + gap + 2 * width, 3 * MARGIN + gap + 3 * width]
    for left, title, picture in zip(lefts, titles, pictures, strict=True):
        draw.text((left + width / 2, 38), title, FAINT, small, anchor="mm")
        canvas.paste(picture, (left, top))
    for start, name in ((0, "bodystream live"), (2, "bodystream drive")):
        draw.text(((lefts[start] + lefts[start + 1] + width) / 2, 17), name, TEXT, font, anchor="mm")
    return canvas


def panels(moment: Moment, sample: HeadsetSample, body: Mesh, painter: Painter, window: tuple[int, int, int, int]):
    k = painter.camera
    colour = cv2.resize(moment.frame.colour, (k.width, k.height), interpolation=cv2.INTER_CUBIC)
    camera_from_body = Scene().camera_from_body
    images = (
        colour,
        painter.mesh(moment.live, moment.live.colours),
        devices(painter, sample, camera_from_body),
        painter.mesh(in_camera(body, camera_from_body), body.colours),
    )
    return [painter.crop(image, window) for image in images]


def main() -> None:
    device = select_device("auto")
    moments = capture_moments(tuple(FRAMES), device)
    bodies = driven((FRAMES[-1] + 1) / 30.0)
    window = window_of(moments)
    painter = Painter(moments[0].frame.intrinsics, PANEL_HEIGHT / window[3], device)
    frames = [page(panels(moment, *bodies[moment.frame.index], painter, window)) for moment in moments]
    frames[0].save(
        PATH, save_all=True, append_images=frames[1:], duration=round(1000 / RATE_HZ), loop=0, quality=QUALITY, method=6
    )
    size = PATH.stat().st_size
    print(f"{PATH.name}: {frames[0].width}x{frames[0].height}, {len(frames)} frames, {size // 1024} KiB")
    if size > MAX_BYTES:
        raise SystemExit(f"that is more than {MAX_BYTES} bytes: draw it smaller")


if __name__ == "__main__":
    main()
