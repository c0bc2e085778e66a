"""The values that cross stages refuse what the stages could not use, and say what is wrong."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bodystream.errors import InputError, MissingDependencyError
from bodystream.geometry.camera import project
from bodystream.types import BoneMotion, CameraIntrinsics, GraphSnapshot, Mesh, RgbdFrame, SkinnedMesh, Status

CAMERA = CameraIntrinsics(fx=500.0, fy=510.0, cx=3.5, cy=2.5, width=8, height=6)
DEPTH = np.ones((6, 8), np.float32)


@pytest.mark.parametrize("name", ["fx", "fy", "cx", "cy"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_intrinsics_must_be_finite(name: str, value: float) -> None:
    with pytest.raises(InputError, match="finite with positive focal lengths"):
        dataclasses.replace(CAMERA, **{name: value})


@pytest.mark.parametrize(("name", "value"), [("fx", 0.0), ("fy", -1.0), ("width", 0), ("height", -4)])
def test_intrinsics_must_be_positive(name: str, value: float) -> None:
    with pytest.raises(InputError, match="positive"):
        dataclasses.replace(CAMERA, **{name: value})


def test_intrinsics_matrix_maps_rays_to_pixels() -> None:
    u, v, w = CAMERA.matrix @ np.array([0.2, -0.1, 2.0])
    assert (u / w, v / w) == pytest.approx((500 * 0.1 + 3.5, 510 * -0.05 + 2.5))


@given(factor=st.sampled_from([0.25, 0.5, 2.0, 4.0]), u=st.floats(-1, 9), z=st.floats(0.3, 9))
def test_scaled_camera_sees_the_same_place_of_the_image(factor: float, u: float, z: float) -> None:
    """An image's left border is at -0.5 and its right one at width - 0.5; resizing keeps a point's share of that."""
    x = (u - CAMERA.cx) / CAMERA.fx * z
    small = CAMERA.scaled(factor)
    pixel = x / z * small.fx + small.cx
    assert (pixel + 0.5) / small.width == pytest.approx((u + 0.5) / CAMERA.width, abs=1e-9)
    assert (small.width, small.height) == (round(8 * factor), round(6 * factor))


@given(
    rows=st.tuples(st.integers(0, 5), st.integers(1, 6)).filter(lambda r: r[0] < r[1]),
    columns=st.tuples(st.integers(0, 7), st.integers(1, 8)).filter(lambda c: c[0] < c[1]),
    point=st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(0.3, 9)),
)
def test_a_point_falls_on_the_same_pixel_of_a_cropped_image(
    rows: tuple[int, int], columns: tuple[int, int], point: tuple[float, float, float]
) -> None:
    """An image whose pixels hold their own coordinates is cut as numpy cuts it."""
    v, u = np.indices((CAMERA.height, CAMERA.width))
    window = slice(*rows), slice(*columns)
    cropped = CAMERA.cropped(*window)
    assert (cropped.height, cropped.width) == u[window].shape
    whole, part = project(np.array([point]), CAMERA)[0], project(np.array([point]), cropped)[0]
    np.testing.assert_allclose(whole - part, (u[window][0, 0], v[window][0, 0]), atol=1e-9)
    assert (cropped.fx, cropped.fy) == (CAMERA.fx, CAMERA.fy)


@given(stride=st.integers(1, 9), width=st.integers(1, 40), height=st.integers(1, 40), z=st.floats(0.3, 9))
def test_each_pixel_of_a_strided_image_is_seen_where_it_was(stride: int, width: int, height: int, z: float) -> None:
    camera = dataclasses.replace(CAMERA, width=width, height=height)
    strided = camera.strided(stride)
    v, u = (axis[::stride, ::stride].ravel() for axis in np.indices((height, width)))
    assert (strided.height, strided.width) == np.zeros((height, width))[::stride, ::stride].shape
    points = np.stack([(u - camera.cx) / camera.fx * z, (v - camera.cy) / camera.fy * z, np.full(len(u), z)], axis=1)
    rows, columns = np.indices((strided.height, strided.width)).reshape(2, -1)
    np.testing.assert_allclose(project(points, strided), np.stack([columns, rows], axis=1), atol=1e-9)


def test_open_windows_reach_to_the_borders() -> None:
    assert CAMERA.cropped(slice(None), slice(None)) == CAMERA
    assert CAMERA.cropped(slice(2, None), slice(None, 3)) == dataclasses.replace(CAMERA, cy=0.5, width=3, height=4)
    assert CAMERA.strided(1) == CAMERA


def test_a_strided_camera_is_not_that_of_averages() -> None:
    """The mean of 2x2 pixels lies half a pixel further in than the first of them."""
    assert CAMERA.scaled(0.5).cx - CAMERA.strided(2).cx == pytest.approx(-0.25)


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        (slice(3, 3), slice(None), "rows must be a range within 0 to 6 of the image, got 3 to 3"),
        (slice(-2, 4), slice(None), "rows .* got -2 to 4"),
        (slice(0, 7), slice(None), "rows .* got 0 to 7"),
        (slice(None), slice(5, 2), "columns must be a range within 0 to 8 of the image, got 5 to 2"),
        (slice(None), slice(0, 8, 2), "columns .* got 0 to 8 in steps of 2"),
    ],
)
def test_windows_beyond_the_image_are_refused(rows: slice, columns: slice, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CAMERA.cropped(rows, columns)


@pytest.mark.parametrize("stride", [0, -1])
def test_strides_below_one_are_refused(stride: int) -> None:
    with pytest.raises(InputError, match=f"at least 1, got {stride}"):
        CAMERA.strided(stride)


def test_a_camera_is_told_in_one_line() -> None:
    assert str(CAMERA) == "8x6 pixels with fx=500.0, fy=510.0, cx=3.5, cy=2.5"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth_m": DEPTH.astype(np.float64)}, "depth must be float32 of 8x6 pixels"),
        ({"depth_m": DEPTH.T}, r"got float32 of shape \(8, 6\)"),
        ({"depth_m": DEPTH[..., None]}, "depth must be float32"),
        ({"colour": np.zeros((6, 8, 3), np.float32)}, "colour must be uint8 RGB"),
        ({"colour": np.zeros((6, 8), np.uint8)}, "colour must be uint8 RGB"),
        ({"colour": np.zeros((6, 8, 4), np.uint8)}, r"shape \(6, 8, 4\)"),
        ({"colour": np.zeros((12, 16, 3), np.uint8)}, "colour must be uint8 RGB of 8x6"),
        ({"mask": np.zeros((6, 8), np.uint8)}, "mask must be bool"),
        ({"mask": np.zeros((8, 6), bool)}, "mask must be bool of 8x6"),
    ],
)
def test_frame_refuses_images_that_do_not_fit(change: dict, message: str) -> None:
    good = {"index": 7, "t_ns": 5, "depth_m": DEPTH, "intrinsics": CAMERA, "name": "left/000007.png"}
    with pytest.raises(InputError, match=message) as caught:
        RgbdFrame(**{**good, **change})
    assert "left/000007.png" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"intrinsics": (500.0, 500.0, 3.5, 2.5, 8, 6)}, "intrinsics must be CameraIntrinsics, got tuple"),
        ({"depth_m": DEPTH.tolist()}, "depth_m must be a numpy array, got list"),
        ({"depth_m": None}, "depth_m must be a numpy array, got NoneType"),
        ({"colour": "red"}, "colour must be a numpy array, got str"),
        ({"mask": [True]}, "mask must be a numpy array, got list"),
    ],
)
def test_frames_of_other_types_are_refused(change: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        dataclasses.replace(RgbdFrame(0, 0, DEPTH, CAMERA), **change)


@pytest.mark.parametrize(("name", "value"), [("fx", "500"), ("cy", None), ("width", "8"), ("height", True)])
def test_intrinsics_are_numbers(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{name} must be a number of pixels, got {value!r}"):
        dataclasses.replace(CAMERA, **{name: value})


def test_frame_accepts_what_fits_and_does_not_change() -> None:
    frame = RgbdFrame(3, 99, DEPTH, CAMERA, np.zeros((6, 8, 3), np.uint8), mask=np.ones((6, 8), bool))
    assert frame.label == "3"
    assert dataclasses.replace(frame, name="a.png").label == "a.png"
    with pytest.raises(dataclasses.FrozenInstanceError):
        frame.t_ns = 1  # pyright: ignore[reportAttributeAccessIssue]


def test_snapshots_do_not_share_their_default() -> None:
    arrays = [np.zeros((0, 3), np.float32)] * 3
    edges, clusters = np.zeros((0, 8), np.int32), np.zeros(0, np.int32)
    first = GraphSnapshot(0, arrays[0], arrays[1], arrays[2], edges, clusters)
    second = GraphSnapshot(0, arrays[0], arrays[1], arrays[2], edges, clusters)
    assert first.active is not second.active


def test_status_is_its_name() -> None:
    assert [str(status) for status in Status] == ["tracked", "degraded", "lost"]


def test_missing_dependency_names_package_purpose_and_remedy() -> None:
    error = MissingDependencyError("libusb-1.0", "to open a camera", "sudo apt-get install libusb-1.0-0")
    assert str(error) == (
        "libusb-1.0 is needed to open a camera, and it is not installed. sudo apt-get install libusb-1.0-0"
    )
    assert (error.package, error.remedy) == ("libusb-1.0", "sudo apt-get install libusb-1.0-0")


def a_skin() -> SkinnedMesh:
    """A triangle on two bones, the second one a metre above the first."""
    mesh = Mesh(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32), np.array([[0, 1, 2]], np.int32))
    bones = np.array([[0, -1, -1, -1], [0, 1, -1, -1], [-1, -1, -1, -1]], np.int32)
    weights = np.array([[1, 0, 0, 0], [0.25, 0.75, 0, 0], [0, 0, 0, 0]], np.float32)
    bone_from_bind = np.tile(np.eye(4), (2, 1, 1))
    bone_from_bind[1, 1, 3] = -1.0
    return SkinnedMesh(mesh, bones, weights, bone_from_bind, np.array([-1, 0], np.int32), ("hip", "head"), 3)


def with_value(array: np.ndarray, place: object, value: float) -> np.ndarray:
    out = array.copy()
    out[place] = value
    return out


def test_bones_at_bind_are_the_inverse_of_what_a_skin_holds() -> None:
    np.testing.assert_array_equal(a_skin().bind_from_bone[:, :3, 3], [[0, 0, 0], [0, 1, 0]])


SKIN = a_skin()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bones": SKIN.bones[:, :3]}, r"bones must be int32 of shape \(3, 4\), got int32 of shape \(3, 3\)"),
        ({"bones": SKIN.bones.astype(np.int64)}, "bones must be int32 .* got int64"),
        ({"bones": SKIN.bones + 1}, "bones must lie in -1 to 1, got 0 to 2"),
        ({"bones": SKIN.bones - 1}, "bones must lie in -1 to 1, got -2 to 0"),
        ({"weights": SKIN.weights[:2]}, r"weights must be float32 of shape \(3, 4\)"),
        ({"weights": SKIN.weights.astype(np.float64)}, "weights must be float32"),
        ({"weights": SKIN.weights * 2}, "a sum of 2: normalise them"),
        ({"weights": -SKIN.weights}, "must not be negative"),
        ({"weights": with_value(SKIN.weights, (0, 0), np.nan)}, "must not be negative"),
        ({"weights": with_value(SKIN.weights, (0, 0), np.inf)}, "a sum of inf"),
        ({"bone_from_bind": SKIN.bone_from_bind[:, :3]}, "bone_from_bind must be float32 or float64 of shape"),
        ({"bone_from_bind": with_value(SKIN.bone_from_bind, (1, 0, 3), np.inf)}, "bone_from_bind must be finite"),
        ({"bone_from_bind": np.swapaxes(SKIN.bone_from_bind, 1, 2)}, "as each last row"),
        ({"parents": np.array([-1], np.int32)}, r"parents must be int32 of shape \(2,\)"),
        ({"parents": np.array([1, -1], np.int32)}, "each parent comes before its children"),
        ({"parents": np.array([-1, -2], np.int32)}, "parents must be -1 or an earlier bone"),
        ({"names": ("hip",)}, "2 bones needs as many names, got 1"),
    ],
)
def test_a_skin_that_cannot_be_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        dataclasses.replace(SKIN, **changes)


MOTION = BoneMotion(5, np.tile(np.array([0, 0, 0, 1], np.float32), (2, 1)), np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rotations_xyzw": np.eye(3, dtype=np.float32)[None]}, r"rotations_xyzw must be .* \(1, 4\)"),
        ({"rotations_xyzw": MOTION.rotations_xyzw.astype(np.int32)}, "floating-point numbers"),
        ({"rotations_xyzw": with_value(MOTION.rotations_xyzw, (1, 3), np.nan)}, "must be finite, got .* of bone 1"),
        ({"rotations_xyzw": with_value(MOTION.rotations_xyzw, (1, 3), 0.0)}, "unit length, got 0 of bone 1"),
        ({"positions_m": MOTION.positions_m[:1]}, r"positions_m must be .* \(2, 3\)"),
        ({"positions_m": with_value(MOTION.positions_m, (0, 1), np.inf)}, "positions_m must be finite"),
    ],
)
def test_a_motion_that_cannot_be_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        dataclasses.replace(MOTION, **changes)
