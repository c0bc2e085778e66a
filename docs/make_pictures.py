"""Makes the pictures of the documentation, all of the synthetic camera: no recorded person is in this repository.

    python docs/make_pictures.py                   # all of them, into docs/pictures
    python docs/make_pictures.py capture           # one: capture, error, viewer or drive

`viewer` needs the extra `dev`, `chromium` and `chromedriver`; `drive` needs the recordings, of which it draws no person
but the shipped body; the others need only what `bodystream` itself needs.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import warp as wp
from PIL import Image, ImageDraw, ImageFont

from bodystream.avatar import LbsAvatar
from bodystream.avatar.rig import load_rig
from bodystream.device import launch, select_device
from bodystream.device.camera import device_camera
from bodystream.evaluation.surface_kernels import project_vertices
from bodystream.geometry.camera import project
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.pipelines.capture.pipeline import Capture
from bodystream.pose.estimator import PoseEstimator
from bodystream.pose.features import heading_rotation
from bodystream.sources.headset.synthetic import MotionHeadset
from bodystream.sources.motion import find_takes
from bodystream.sources.synthetic import SyntheticConfig, SyntheticSource, kernels
from bodystream.sources.synthetic.truth import TruthSurface
from bodystream.timing import SpanSummary, now_ns
from bodystream.types import Array, CameraIntrinsics, GraphSnapshot, Mesh, RgbdFrame, Status

PICTURES = Path(__file__).resolve().parent / "pictures"
MAX_BYTES = 400_000
BACKGROUND = (20, 22, 26)
TEXT, FAINT = (235, 238, 242), (150, 156, 166)
MARGIN = 14
TO_LIGHT = np.array([-0.35, -0.55, -0.76])  # camera frame: from the upper left, behind the camera
EDGE, NODE = (104, 160, 224), (255, 190, 70)
CAMERA_WIDTH = 640
CLAY = np.array([205.0, 205.0, 210.0])
DRIVEN_TAKE, DRIVEN_SAMPLES = "02_01", (60, 90, 120, 150, 180)
# Columns: the camera's right, down and ahead in the frame of a person who looks along -z, from ahead and the right.
SIDE_VIEW = np.array([[-0.5, 0.0, -0.866], [0.0, -1.0, 0.0], [-0.866, 0.0, 0.5]])


@dataclass(frozen=True)
class Moment:
    """What is drawn of one frame."""

    frame: RgbdFrame
    live: Mesh
    canonical: Mesh
    graph: GraphSnapshot
    status: Status
    reason: str
    spans: dict[str, SpanSummary]
    fps: float


def capture_moments(numbers: Sequence[int], device: wp.Device) -> list[Moment]:
    """Capture the synthetic camera's frames in order, and keep some moments."""
    source = SyntheticSource(SyntheticConfig(seed=0, frames=max(numbers) + 1), device)
    capture: Capture | None = None
    moments: list[Moment] = []
    start_ns, busy_ns = now_ns(), 0
    for frame in source:
        if capture is None:
            capture = Capture(frame.intrinsics, device)
        begin_ns = now_ns()
        result = capture.step(frame)
        busy_ns += now_ns() - begin_ns
        if frame.index not in numbers:
            continue
        live, surface = capture.live_mesh(), capture.surface
        if live is None or surface is None:
            raise SystemExit(f"frame {frame.index} has no surface: {result.reason}")
        fps = (frame.index + 1) / (busy_ns * 1e-9)
        graph = capture.field.snapshot(frame.t_ns)
        summary = dict(capture.spans.summary())
        moments.append(Moment(frame, live, surface.download(), graph, result.status, result.reason, summary, fps))
    if capture is not None:
        capture.close()
    source.close()
    print(f"{max(numbers) + 1} frames in {(now_ns() - start_ns) * 1e-9:.1f} s")
    return moments


class Painter:
    """Draws meshes and graphs as a camera sees them, smoothed by drawing at twice the size."""

    def __init__(self, camera: CameraIntrinsics, scale: float, device: wp.Device) -> None:
        self.camera = camera.scaled(2 * scale)
        self._device = device

    def mesh(self, mesh: Mesh, colours: Array | None) -> Array:
        """(H, W, 3) uint8; smooth shading by the vertices' normals, clay without colours (V, 3)."""
        k, device = self.camera, self._device
        vertices = wp.array(mesh.vertices, dtype=wp.vec3, device=device)
        faces = wp.array(mesh.faces, dtype=wp.vec3i, device=device)
        screen = wp.zeros(len(mesh.vertices), dtype=wp.vec3, device=device)
        rows = wp.zeros(len(mesh.faces), dtype=wp.vec2i, device=device)
        inverse = wp.zeros((k.height, k.width), dtype=wp.float32, device=device)
        face = wp.zeros((k.height, k.width), dtype=wp.int32, device=device)
        tile = (8, 8) if device.is_cuda else (k.width, 16)
        tiles = (-(-k.width // tile[0]), -(-k.height // tile[1]))
        launch(project_vertices, len(mesh.vertices), [vertices, device_camera(k), screen], device)
        launch(kernels.triangle_rows, len(mesh.faces), [faces, screen, k.height, rows], device)
        inputs = [faces, screen, rows, *tile, *tiles, inverse, face]
        launch(kernels.rasterise, tiles[0] * tiles[1], inputs, device, min_chunk=1)

        seen = inverse.numpy() > 0
        corners = mesh.faces[face.numpy()[seen]]  # (P, 3)
        weights = _barycentric(np.argwhere(seen)[:, ::-1], screen.numpy()[corners][..., :2])
        normals = _normals(mesh)
        normal = np.einsum("pc,pci->pi", weights, normals[corners])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
        light = 0.38 + 0.72 * np.clip(normal @ (TO_LIGHT / np.linalg.norm(TO_LIGHT)), 0, None)
        albedo = CLAY if colours is None else np.einsum("pc,pci->pi", weights, colours[corners].astype(np.float64))
        image = np.empty((k.height, k.width, 3))
        image[:] = BACKGROUND
        image[seen] = albedo * light[:, None]
        return np.clip(image, 0, 255).astype(np.uint8)

    def graph(self, graph: GraphSnapshot, onto: Array) -> Array:
        """Edges and nodes of the graph, as it has moved, over a dimmed picture."""
        image = (BACKGROUND + 0.22 * (onto.astype(np.float64) - BACKGROUND)).astype(np.uint8)
        nodes = graph.positions + graph.translations
        at = np.round(project(nodes, self.camera) * 16).astype(np.int32)  # sixteenths of a pixel
        for i, row in enumerate(graph.edges):
            for j in row[row >= 0]:
                cv2.line(image, at[i].tolist(), at[j].tolist(), EDGE, 2, cv2.LINE_AA, shift=4)
        for i in np.argsort(-nodes[:, 2]):
            cv2.circle(image, at[i].tolist(), 4 * 16, NODE, -1, cv2.LINE_AA, shift=4)
        return image

    def crop(self, image: Array, window: tuple[int, int, int, int]) -> Image.Image:
        """The part of a picture that (left, top, width, height) of the camera's pixels show."""
        scale = self.camera.width / CAMERA_WIDTH
        left, top, width, height = (round(edge * scale) for edge in window)
        part = np.ascontiguousarray(image[top : top + height, left : left + width])
        return Image.fromarray(part).resize((width // 2, height // 2), Image.Resampling.LANCZOS)


def _barycentric(pixels: Array, corners: Array) -> Array:
    """(P, 3) weights of (P, 2) pixels in (P, 3, 2) triangles on the screen."""
    ab, ac = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    ap = pixels - corners[:, 0]
    area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    area = np.where(np.abs(area) < 1e-9, 1e-9, area)
    b = np.clip((ap[:, 0] * ac[:, 1] - ap[:, 1] * ac[:, 0]) / area, 0, 1)
    c = np.clip((ab[:, 0] * ap[:, 1] - ab[:, 1] * ap[:, 0]) / area, 0, 1)
    return np.stack([1 - b - c, b, c], axis=1)


def _normals(mesh: Mesh) -> Array:
    if mesh.normals is not None:
        return mesh.normals.astype(np.float64)
    a, b, c = (mesh.vertices[mesh.faces[:, i]].astype(np.float64) for i in range(3))
    normals = np.zeros((len(mesh.vertices), 3))
    for i in range(3):
        np.add.at(normals, mesh.faces[:, i], np.cross(b - a, c - a))
    return normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12)


def window_of(moments: Sequence[Moment], margin_px: int = 16) -> tuple[int, int, int, int]:
    """(left, top, width, height) around the body in all moments [px]."""
    masks = [m.frame.truth.mask for m in moments if m.frame.truth is not None]
    v, u = np.nonzero(np.logical_or.reduce(masks))
    height, width = masks[0].shape
    left, right = max(0, int(u.min()) - margin_px), min(width, int(u.max()) + margin_px)
    top, bottom = max(0, int(v.min()) - margin_px), min(height, int(v.max()) + margin_px)
    return left, top, right - left, bottom - top


def sheet(titles: Sequence[str], rows: Sequence[tuple[str, Sequence[Image.Image]]], footer: str = "") -> Image.Image:
    """Pictures of one size in rows and columns, with titles above and a name at the left of each row."""
    font, small = ImageFont.load_default(21), ImageFont.load_default(15)
    width, height = rows[0][1][0].size
    top, bottom = 44, 34 if footer else MARGIN
    size = (MARGIN + len(titles) * (width + MARGIN), top + len(rows) * (height + MARGIN) - MARGIN + bottom)
    page = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(page)
    for column, title in enumerate(titles):
        draw.text((MARGIN + column * (width + MARGIN) + width / 2, top / 2), title, TEXT, font, anchor="mm")
    for row, (name, pictures) in enumerate(rows):
        y = top + row * (height + MARGIN)
        for column, picture in enumerate(pictures):
            x = MARGIN + column * (width + MARGIN)
            page.paste(picture, (x, y))
            draw.rectangle((x, y, x + width - 1, y + height - 1), outline=(46, 50, 58))
        if name:
            box = draw.textbbox((MARGIN + 9, y + height - 9), name, small, anchor="ls")
            draw.rounded_rectangle((box[0] - 5, box[1] - 4, box[2] + 5, box[3] + 4), 4, BACKGROUND)
            draw.text((MARGIN + 9, y + height - 9), name, TEXT, small, anchor="ls")
    if footer:
        draw.text((size[0] / 2, size[1] - bottom / 2), footer, FAINT, small, anchor="mm")
    return page


def save(picture: Image.Image, name: str, folder: Path = PICTURES, max_bytes: int = MAX_BYTES) -> None:
    """Write a PNG below the size limit, with a palette where full colour would exceed it."""
    data = io.BytesIO()
    picture.save(data, "PNG", optimize=True)
    print(f"{name}: {data.tell() // 1024} KiB in full colour")
    if data.tell() > max_bytes:
        data = io.BytesIO()
        reduced = picture.quantize(256, Image.Quantize.MEDIANCUT, kmeans=2, dither=Image.Dither.NONE)
        reduced.save(data, "PNG", optimize=True)
    if data.tell() > max_bytes:
        raise SystemExit(f"{name}.png would take {data.tell()} bytes, more than {max_bytes}: draw it smaller")
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.png").write_bytes(data.getvalue())
    print(f"{folder / name}.png: {picture.width}x{picture.height}, {data.tell() // 1024} KiB")


def make_capture(device: wp.Device) -> None:
    """What goes in and what comes out, at two moments of one capture."""
    moments = capture_moments((62, 134), device)
    window = window_of(moments)
    painter = Painter(moments[0].frame.intrinsics, 0.86, device)
    rows = []
    for m in moments:
        colour = cv2.resize(
            m.frame.colour, (painter.camera.width, painter.camera.height), interpolation=cv2.INTER_CUBIC
        )
        live = painter.mesh(m.live, m.live.colours)
        canonical = painter.mesh(m.canonical, m.canonical.colours)
        graph = painter.graph(m.graph, painter.mesh(m.live, None))
        pictures = [painter.crop(image, window) for image in (colour, live, canonical, graph)]
        rows.append((f"frame {m.frame.index}", pictures))
        print(
            f"frame {m.frame.index}: {len(m.live.vertices)} vertices, {len(m.graph.positions)} nodes, {m.status.value}"
        )
    titles = ("Camera", "Live surface", "Canonical surface", "Deformation graph")
    save(sheet(titles, rows), "capture")


def make_error(device: wp.Device) -> None:
    """How far each vertex of the live surface is from the true one."""
    (moment,) = capture_moments((119,), device)
    truth = moment.frame.truth
    if truth is None:
        raise SystemExit("the frame has no truth")
    error_mm = 1e3 * TruthSurface(device).distance_m(moment.live.vertices, truth)
    limit_mm = 20.0
    scaled = np.clip(255 * error_mm / limit_mm, 0, 255).astype(np.uint8)
    colours = cv2.applyColorMap(scaled[:, None], cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]
    painter = Painter(moment.frame.intrinsics, 0.95, device)
    window = window_of([moment])
    pictures = [
        painter.crop(image, window)
        for image in (
            painter.mesh(truth.mesh, load_rig().mesh.colours),
            painter.mesh(moment.live, moment.live.colours),
            painter.mesh(moment.live, np.ascontiguousarray(colours)),
        )
    ]
    mean, p95 = float(error_mm.mean()), float(np.percentile(error_mm, 95))
    titles = ("True surface", "Captured surface", "Distance")
    footer = (
        f"frame 119; violet = 0 mm, yellow = {limit_mm:.0f} mm or more; mean {mean:.1f} mm, 95 % below {p95:.1f} mm"
    )
    save(sheet(titles, [("", pictures)], footer), "error")


def make_viewer(device: wp.Device) -> None:
    """The viewer's page in headless Chromium, showing one moment of a capture."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    from bodystream.sinks.viewer import CaptureViewer, ViewerState

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    chromedriver = shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        raise SystemExit("the viewer's picture needs chromium and chromedriver: install them, or make the others only")
    (m,) = capture_moments((134,), device)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader", "--hide-scrollbars", "--window-size=1280,860",
    ):  # fmt: skip
        options.add_argument(argument)
    state = ViewerState(
        m.frame.t_ns, m.frame, m.live, m.canonical, m.graph, m.spans, m.fps, m.status, m.reason,
        {"nodes": str(len(m.graph.positions)), "vertices": str(len(m.live.vertices))},
    )  # fmt: skip
    with CaptureViewer(port=0, on_save=lambda: None) as viewer:
        driver = webdriver.Chrome(options=options, service=Service(chromedriver))
        try:
            driver.get(viewer.url)
            for _ in range(20):  # the first states arrange the columns, and the page builds its meshes
                viewer.publish(state)
                time.sleep(0.5)
            for button in driver.find_elements("css selector", ".mantine-Notification-closeButton"):
                driver.execute_script("arguments[0].click()", button)  # that this browser draws in software
            time.sleep(2.0)
            image = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
        finally:
            driver.quit()
    save(image, "viewer")


def recordings() -> Path:
    """The folder of the recordings, there or not."""
    return Path(os.environ.get("BODYSTREAM_DATA") or PICTURES.parents[2] / "shared" / "data")


def make_drive(device: wp.Device) -> None:
    """A body driven by the head and wrists of a walk, beside the body that walked; needs the recordings."""
    folder = recordings()
    takes = [take for take in find_takes(f"bvh:{folder / 'mocap' / 'cmu'}") if take.name == DRIVEN_TAKE]
    if not takes:
        raise SystemExit(f"{DRIVEN_TAKE} is not in {folder}: set BODYSTREAM_DATA to the folder of the recordings")
    source = MotionHeadset(takes[0].load(), hands="joint")
    skeleton = source.clip.skeleton
    estimator, avatar = PoseEstimator(skeleton), LbsAvatar(skeleton, device)
    camera = CameraIntrinsics(560.0, 560.0, 319.5, 239.5, 640, 480)
    painter, window = Painter(camera, 0.8, device), (195, 20, 250, 445)
    columns: list[list[Image.Image]] = [[], []]
    for sample in source:
        pose = estimator.step(sample)
        if sample.index not in DRIVEN_SAMPLES or sample.truth is None:
            continue
        for column, shown in zip(columns, (sample.truth, pose), strict=True):
            mesh = avatar.pose(shown.rotations_xyzw, shown.root_position_m)
            turn = heading_rotation(matrix_from_quaternion(sample.truth.rotations_xyzw[0].astype(np.float64)))
            from_camera = turn @ SIDE_VIEW  # the camera walks beside the person
            centre = sample.truth.root_position_m * (1, 0, 1) + (0, 0.95, 0)
            local = (mesh.vertices - centre) @ from_camera + (0.0, 0.0, 3.0)
            seen = Mesh(local.astype(np.float32), mesh.faces, (mesh.normals @ from_camera).astype(np.float32))
            column.append(painter.crop(painter.mesh(seen, None if column is columns[0] else avatar.colours), window))
    titles = [f"{number / 90:.1f} s" for number in DRIVEN_SAMPLES]
    rows = [("motion capture", columns[0]), ("from head and wrists", columns[1])]
    save(sheet(titles, rows, "a walk of a person whom the network has not seen"), "drive")


PICTURE_MAKERS = {"capture": make_capture, "error": make_error, "viewer": make_viewer, "drive": make_drive}


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the pictures of the documentation.")
    parser.add_argument("names", nargs="*", help=f"any of {', '.join(PICTURE_MAKERS)}; default: all")
    names = parser.parse_args().names or list(PICTURE_MAKERS)
    for name in names:
        if name not in PICTURE_MAKERS:
            parser.error(f"there is no picture {name!r}: choose from {', '.join(PICTURE_MAKERS)}")
    device = select_device("auto")
    for name in names:
        PICTURE_MAKERS[name](device)


if __name__ == "__main__":
    main()
