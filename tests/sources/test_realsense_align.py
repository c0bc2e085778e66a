"""Registration of depth and colour against float64 projections, the SDK's lens models and the SDK's own alignment."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.errors import SourceError
from bodystream.sources.realsense.align import Aligner, distort_normalised
from bodystream.types import CameraIntrinsics, LensCamera, RgbdCalibration
from helpers.needs import needs

DEPTH = CameraIntrinsics(300.0, 302.0, 158.3, 121.7, 320, 240)
COLOUR = CameraIntrinsics(410.0, 408.0, 201.0, 148.5, 400, 300)
SCALE_M = 0.00025
# Float32 pixels of a 400 pixel image are good to about this.
PIXEL_TOLERANCE = 2e-3
LENSES = [
    ("none", (0.0, 0.0, 0.0, 0.0, 0.0)),
    ("inverse_brown_conrady", (-0.056, 0.065, -0.0009, 0.0006, -0.021)),
    ("modified_brown_conrady", (0.11, -0.2, 0.002, -0.0015, 0.05)),
    ("brown_conrady", (0.11, -0.2, 0.002, -0.0015, 0.05)),
]


def colour_from_depth(angle_deg: float = 0.0) -> np.ndarray:
    transform = np.eye(4)
    transform[:3, :3] = Rotation.from_euler(
        "xyz", [0.3 * angle_deg, angle_deg, -0.5 * angle_deg], degrees=True
    ).as_matrix()
    transform[:3, 3] = (0.015, -0.0007, 0.0004)
    return transform


def calibration(lens: tuple[str, tuple[float, ...]] = LENSES[0], angle_deg: float = 0.0) -> RgbdCalibration:
    return RgbdCalibration(LensCamera(DEPTH), SCALE_M, LensCamera(COLOUR, *lens), colour_from_depth(angle_deg))


def wavy_depth() -> np.ndarray:
    v, u = np.mgrid[: DEPTH.height, : DEPTH.width]
    depth = (4800 + 1500 * np.sin(u / 37) * np.cos(v / 29)).astype(np.uint16)
    depth[::7, ::5] = 0
    depth[100:120, 40:60] = 65535  # 16.4 m, beyond every limit here
    return depth


def expected_pixels(depth_raw: np.ndarray, calibrated: RgbdCalibration) -> np.ndarray:
    """Where each depth pixel's point is seen in the colour image, float64, written out apart from the kernel."""
    v, u = np.mgrid[: DEPTH.height, : DEPTH.width].astype(np.float64)
    z = depth_raw * SCALE_M
    points = np.stack([(u - DEPTH.cx) / DEPTH.fx * z, (v - DEPTH.cy) / DEPTH.fy * z, z], -1)
    transform = calibrated.colour_from_depth
    points = points @ transform[:3, :3].T + transform[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        q = points[..., :2] / points[..., 2:]
    q = distort_normalised(q, calibrated.colour)
    return q * (COLOUR.fx, COLOUR.fy) + (COLOUR.cx, COLOUR.cy)


def smooth_colour() -> np.ndarray:
    """An image that is linear in its pixels, so that a bilinear sample tells where it was taken."""
    v, u = np.mgrid[: COLOUR.height, : COLOUR.width].astype(np.float64)
    return np.stack([u * 0.6 + 5, v * 0.8 + 5, (u + v) * 0.3 + 20], -1).round().astype(np.uint8)


@pytest.mark.parametrize("lens", LENSES, ids=[name for name, _ in LENSES])
def test_lens_models_are_those_of_the_sdk(lens):
    rs = needs("pyrealsense2", "pip install 'bodystream[realsense]', and libusb-1.0")
    intrinsics = rs.intrinsics()
    intrinsics.width, intrinsics.height, intrinsics.fx, intrinsics.fy = 400, 300, COLOUR.fx, COLOUR.fy
    intrinsics.ppx, intrinsics.ppy, intrinsics.model = COLOUR.cx, COLOUR.cy, getattr(rs.distortion, lens[0])
    intrinsics.coeffs = list(lens[1])
    for x, y in [(0.0, 0.0), (0.3, 0.2), (-0.45, 0.31), (0.1, -0.36)]:
        sdk = rs.rs2_project_point_to_pixel(intrinsics, [2 * x, 2 * y, 2.0])
        bent = distort_normalised(np.array([x, y]), LensCamera(COLOUR, *lens))
        ours = bent * (COLOUR.fx, COLOUR.fy) + (COLOUR.cx, COLOUR.cy)
        np.testing.assert_allclose(ours, sdk, atol=PIXEL_TOLERANCE)


@pytest.mark.parametrize("lens", LENSES, ids=[name for name, _ in LENSES])
@pytest.mark.parametrize("angle_deg", [0.0, 4.0])
def test_nearest_colour_is_that_of_the_projected_pixel(lens, angle_deg):
    calibrated = calibration(lens, angle_deg)
    depth_raw = wavy_depth()
    v, u = np.mgrid[: COLOUR.height, : COLOUR.width]
    # Each pixel's own position as its colour.
    coded = np.stack([u % 256, v % 256, 1 + (u // 256) * 2 + v // 256], -1).astype(np.uint8)
    depth_m, colour = Aligner(calibrated, sampling="nearest", max_depth_m=8.0)(depth_raw, coded)

    want = expected_pixels(depth_raw, calibrated)
    measured = (depth_raw > 0) & (depth_raw * SCALE_M < 8.0)
    np.testing.assert_allclose(depth_m, np.where(measured, depth_raw * np.float64(SCALE_M), 0), rtol=1e-6)
    seen_u = colour[..., 0].astype(int) + (colour[..., 2].astype(int) - 1) // 2 * 256
    seen_v = colour[..., 1].astype(int) + (colour[..., 2].astype(int) - 1) % 2 * 256
    hit = colour[..., 2] > 0
    assert hit.mean() > 0.5
    assert np.abs(seen_u - want[..., 0])[hit].max() <= 0.5 + PIXEL_TOLERANCE
    assert np.abs(seen_v - want[..., 1])[hit].max() <= 0.5 + PIXEL_TOLERANCE
    # Every measured point that lies on the colour image got a colour, and no other.
    with np.errstate(invalid="ignore"):
        margin = np.minimum.reduce(
            [
                want[..., 0] + 0.5,
                COLOUR.width - 0.5 - want[..., 0],
                want[..., 1] + 0.5,
                COLOUR.height - 0.5 - want[..., 1],
            ]
        )
    assert hit[measured & (margin > PIXEL_TOLERANCE)].all()
    assert not hit[measured & (margin < -PIXEL_TOLERANCE)].any()
    assert not colour[~measured].any()


@pytest.mark.parametrize("lens", LENSES, ids=[name for name, _ in LENSES])
def test_bilinear_colour_matches_opencv(lens):
    calibrated = calibration(lens, 2.0)
    depth_raw = wavy_depth()
    image = np.random.default_rng(5).integers(0, 256, (COLOUR.height, COLOUR.width, 3)).astype(np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 1.5)
    _, colour = Aligner(calibrated, max_depth_m=8.0)(depth_raw, image)
    want = expected_pixels(depth_raw, calibrated)
    with np.errstate(invalid="ignore"):
        inside = (want > 0).all(-1) & (want[..., 0] < COLOUR.width - 1) & (want[..., 1] < COLOUR.height - 1)
    inside &= (depth_raw > 0) & (depth_raw * SCALE_M < 8.0)
    maps = np.where(inside[..., None], want, 0).astype(np.float32)
    sampled = cv2.remap(image.astype(np.float32), maps[..., 0], maps[..., 1], cv2.INTER_LINEAR)
    # OpenCV places samples on a grid of 1/32 pixel; neighbours of the blurred noise differ by up to 25 levels.
    difference = np.abs(colour.astype(np.float64) - sampled)[inside]
    assert inside.mean() > 0.5
    assert difference.max() < 2.0 and difference.mean() < 0.5


def test_position_is_closer_than_the_sdk_alignment():
    """On a plane with a known baseline: our samples lie at the closed form, the SDK's within 1.5 pixels."""
    rs = needs("pyrealsense2", "pip install 'bodystream[realsense]', and libusb-1.0")
    from helpers.realsense_fixture import SoftwareCamera

    transform = np.eye(4)
    transform[0, 3] = 0.05
    camera = SoftwareCamera(DEPTH, COLOUR, colour_from_depth=transform, depth_scale_m=SCALE_M)
    depth_raw = np.full((DEPTH.height, DEPTH.width), 4000, np.uint16)
    v, u = np.mgrid[: COLOUR.height, : COLOUR.width]
    coded = np.stack([u % 256, v % 256, 1 + (u // 256) * 2 + v // 256], -1).astype(np.uint8)
    pipeline, wanted = rs.pipeline(rs.context()), rs.config()
    pipeline.set_device(camera.device)
    wanted.enable_stream(rs.stream.depth)
    wanted.enable_stream(rs.stream.color)
    pipeline.start(wanted)
    camera.push(0, 1000.0, depth_raw, coded)
    frames = rs.align(rs.stream.depth).process(pipeline.wait_for_frames(2000))
    theirs = np.asanyarray(frames.get_color_frame().get_data()).copy()
    pipeline.stop()
    calibrated = RgbdCalibration(LensCamera(DEPTH), SCALE_M, LensCamera(COLOUR), transform)
    _, ours = Aligner(calibrated, sampling="nearest")(depth_raw, coded)

    # The closed form of a plane at 1 m: a shift of focal length times baseline over depth.
    column = (np.arange(DEPTH.width) - DEPTH.cx) / DEPTH.fx * COLOUR.fx + COLOUR.cx + COLOUR.fx * 0.05 / 1.0
    columns = np.broadcast_to(column, depth_raw.shape)
    errors = {}
    for name, image in (("ours", ours), ("theirs", theirs)):
        hit = (image[..., 2] > 0) & (columns > 3) & (columns < COLOUR.width - 4)
        seen = image[..., 0].astype(int) + (image[..., 2].astype(int) - 1) // 2 * 256
        errors[name] = (seen - columns)[hit]
    assert np.abs(errors["ours"]).max() <= 0.5 + PIXEL_TOLERANCE
    assert np.abs(errors["theirs"]).max() <= 1.5
    assert np.abs(errors["ours"]).mean() <= np.abs(errors["theirs"]).mean() + 0.01


@pytest.mark.parametrize("lens", LENSES, ids=[name for name, _ in LENSES])
def test_colour_grid_holds_the_plane_and_the_undistorted_colour(lens):
    calibrated = calibration(lens)
    depth_raw = np.full((DEPTH.height, DEPTH.width), 4000, np.uint16)
    depth_raw[:, 150:] = 8000
    image = smooth_colour()
    aligner = Aligner(calibrated, align="colour")
    depth_m, colour = aligner(depth_raw, image)
    again, _ = aligner(depth_raw, image)
    np.testing.assert_array_equal(depth_m, again)  # the z-buffer was made empty between frames
    assert aligner.intrinsics == COLOUR

    # Depth is measured along the colour camera's axis, which stands 0.4 mm behind.
    near, far = depth_m[:, 10:160], depth_m[20:-20, 260:]
    assert np.allclose(near[20:-20], 1.0004, atol=1e-6) and np.allclose(far[far > 0], 2.0004, atol=1e-6)
    assert (far > 0).mean() > 0.9
    # The nearer half ends where its last column's right edge projects to.
    edge = (149.5 - DEPTH.cx) / DEPTH.fx * COLOUR.fx + COLOUR.cx + COLOUR.fx * 0.015
    row = depth_m[150]
    assert abs(np.flatnonzero(np.isclose(row, 1.0004, atol=1e-4)).max() + 0.5 - edge) <= 1.0

    v, u = np.mgrid[: COLOUR.height, : COLOUR.width].astype(np.float64)
    q = np.stack([(u - COLOUR.cx) / COLOUR.fx, (v - COLOUR.cy) / COLOUR.fy], -1)
    source = distort_normalised(q, calibrated.colour) * (COLOUR.fx, COLOUR.fy) + (COLOUR.cx, COLOUR.cy)
    inside = (source > 1).all(-1) & (source[..., 0] < COLOUR.width - 2) & (source[..., 1] < COLOUR.height - 2)
    want = np.stack([source[..., 0] * 0.6 + 5, source[..., 1] * 0.8 + 5, source.sum(-1) * 0.3 + 20], -1)
    assert np.abs(colour - want)[inside].max() < 1.2  # rounded twice, sampled at 1/32 pixel


def test_the_nearer_surface_wins_on_the_colour_grid():
    transform = np.eye(4)
    transform[0, 3] = 0.1
    calibrated = RgbdCalibration(LensCamera(DEPTH), SCALE_M, LensCamera(COLOUR), transform)
    depth_raw = np.full((DEPTH.height, DEPTH.width), 12000, np.uint16)  # wall at 3 m
    depth_raw[80:160, 140:180] = 3000  # box at 0.75 m
    depth_m, _ = Aligner(calibrated, align="colour")(depth_raw, smooth_colour())
    left = (140 - 0.5 - DEPTH.cx) / DEPTH.fx * COLOUR.fx + COLOUR.cx + COLOUR.fx * 0.1 / 0.75
    right = (180 - 0.5 - DEPTH.cx) / DEPTH.fx * COLOUR.fx + COLOUR.cx + COLOUR.fx * 0.1 / 0.75
    row = depth_m[150, int(np.ceil(left)) + 1 : int(right) - 1]
    assert len(row) > 40 and np.allclose(row, 0.75)


def test_frames_that_are_held_keep_their_content():
    aligner = Aligner(calibration())
    held, ids = [], set()
    for i in range(5):
        depth_m, colour = aligner(np.full((240, 320), 1000 + i, np.uint16), np.full((300, 400, 3), i + 1, np.uint8))
        held.append((depth_m[100:110], colour[100:110]))  # views keep the images as well
        del depth_m, colour
    for i, (depth_m, colour) in enumerate(held):
        assert np.allclose(depth_m, (1000 + i) * SCALE_M) and (colour[:, 150] == i + 1).all()
    del held, depth_m, colour
    for i in range(50):
        depth_m, colour = aligner(np.full((240, 320), i + 1, np.uint16), np.zeros((300, 400, 3), np.uint8))
        ids.add((depth_m.ctypes.data, colour.ctypes.data))
        del depth_m, colour
    assert len(ids) <= 5  # let go of, they are used again


def test_depth_only():
    aligner = Aligner(RgbdCalibration(LensCamera(DEPTH), SCALE_M), max_depth_m=2.0)
    depth_raw = np.arange(240 * 320, dtype=np.uint32).reshape(240, 320).astype(np.uint16)
    depth_m, colour = aligner(depth_raw, None)
    want = depth_raw * np.float64(SCALE_M)
    np.testing.assert_allclose(depth_m, np.where(want > 2.0, 0, want), rtol=1e-6)
    assert colour is None and depth_m.dtype == np.float32


def test_refusals_say_what_and_why():
    bent = LensCamera(DEPTH, "brown_conrady", (0.1, 0.0, 0.0, 0.0, 0.0))
    with pytest.raises(SourceError, match="depth stream has the lens model brown_conrady.*rectified"):
        Aligner(RgbdCalibration(bent, SCALE_M))
    fisheye = LensCamera(COLOUR, "kannala_brandt4", (0.1, 0.0, 0.0, 0.0, 0.0))
    with pytest.raises(SourceError, match="kannala_brandt4.*colour=False"):
        Aligner(RgbdCalibration(LensCamera(DEPTH), SCALE_M, fisheye, np.eye(4)))
    with pytest.raises(SourceError, match="needs a colour stream"):
        Aligner(RgbdCalibration(LensCamera(DEPTH), SCALE_M), align="colour")
    # A model that is named with coefficients of 0 is a pinhole, as D400 cameras have it.
    Aligner(RgbdCalibration(LensCamera(DEPTH, "brown_conrady"), SCALE_M, LensCamera(COLOUR, "ftheta"), np.eye(4)))


def test_a_changed_format_is_reported():
    aligner = Aligner(calibration())
    good_depth, good_colour = np.zeros((240, 320), np.uint16), np.zeros((300, 400, 3), np.uint8)
    aligner(good_depth, good_colour)
    with pytest.raises(SourceError, match="depth stream changed its format.*320x240"):
        aligner(np.zeros((480, 640), np.uint16), good_colour)
    with pytest.raises(SourceError, match="colour stream changed its format"):
        aligner(good_depth, np.zeros((240, 320, 3), np.uint8))
    with pytest.raises(SourceError, match="appeared or vanished"):
        aligner(good_depth, None)
    with pytest.raises(SourceError, match="padded"):
        aligner(np.zeros((240, 640), np.uint16)[:, ::2], good_colour)


def test_frames_that_are_held_keep_their_pixels_and_others_give_their_memory_back() -> None:
    aligner = Aligner(RgbdCalibration(LensCamera(DEPTH), 0.001))

    def aligned(value: int) -> np.ndarray:
        return aligner(np.full((240, 320), value, np.uint16), None)[0]

    kept = aligned(1000)[3:5, 6:8]  # a view is enough
    places = set()
    for value in range(2000, 2050):
        frame = aligned(value)
        assert frame[0, 0] == pytest.approx(0.001 * value)
        places.add(frame.ctypes.data)
    np.testing.assert_allclose(kept, 1.0)
    assert len(places) <= 2  # the last one, and the one that is being made
