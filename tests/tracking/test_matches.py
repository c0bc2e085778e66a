"""Targets of model points from flow fields and from the silhouette, against plain numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import warp as wp

from bodystream.deformation import WarpField
from bodystream.device import DeviceFrame, select_device
from bodystream.tracking.matches import MatchConfig, MatchGatherer, Reference
from bodystream.tracking.model import ModelPoints
from bodystream.tracking.term_kernels import Targets
from bodystream.types import Array, CameraIntrinsics, FlowField, RgbdFrame

CAMERA = CameraIntrinsics(100.0, 100.0, 39.5, 29.5, 80, 60)
SHAPE = (60, 80)
DEVICE = select_device("cpu")


@dataclass
class Wall:
    """A plane one metre away, seen in every pixel, with a model point off the centre of each pixel."""

    def __post_init__(self) -> None:
        v, u = np.indices(SHAPE).reshape(2, -1)
        self.pixels = np.stack([u + 0.25, v - 0.125], axis=1)
        x, y = (self.pixels[:, 0] - CAMERA.cx) / CAMERA.fx, (self.pixels[:, 1] - CAMERA.cy) / CAMERA.fy
        points = np.stack([x, y, np.ones_like(x)], axis=1).astype(np.float32)
        self.count = len(points)
        self.field = WarpField(DEVICE, sigma_m=0.2)
        nodes = np.float32([[i * 0.2 - 0.4, j * 0.2 - 0.3, 1] for i in range(5) for j in range(4)])
        edges = np.argsort(np.linalg.norm(nodes[:, None] - nodes, axis=2), axis=1)[:, 1:9].astype(np.int32)
        unit = np.tile(np.eye(3, dtype=np.float32), (len(nodes), 1, 1))
        self.field.set_graph(nodes, edges, unit, np.zeros_like(nodes), np.arange(len(nodes), dtype=np.int32))
        self.points = wp.array(points, dtype=wp.vec3, device=DEVICE)
        self.normals = wp.array(np.float32([[0, 0, -1]] * self.count), dtype=wp.vec3, device=DEVICE)
        self.anchors = wp.zeros(self.count, dtype=wp.vec4i, device=DEVICE)
        self.weights = wp.zeros(self.count, dtype=wp.vec4, device=DEVICE)
        self.field.anchor(self.points, self.count, self.anchors, self.weights)
        self.image = DeviceFrame(CAMERA, DEVICE)
        self.image.upload(RgbdFrame(0, 0, np.ones(SHAPE, np.float32), CAMERA), np.ones(SHAPE, bool))
        self.targets = Targets()
        self.targets.pixels = wp.zeros(self.count, dtype=wp.vec2, device=DEVICE)
        self.targets.depth = wp.zeros(self.count, dtype=float, device=DEVICE)
        self.targets.weight = wp.zeros(self.count, dtype=float, device=DEVICE)

    @property
    def model(self) -> ModelPoints:
        return ModelPoints(self.points, self.anchors, self.weights, self.count, self.normals)

    def reference(self) -> Reference:
        reference = Reference(self.field, CAMERA)
        reference.store(self.image, self.field)
        return reference

    def gather(self, gatherer: MatchGatherer, flows: list[FlowField]) -> tuple[Array, Array, Array]:
        references = [(self.reference(), flow) for flow in flows]
        gatherer.gather(self.model, references, self.image, self.targets)
        found = (self.targets.pixels, self.targets.depth, self.targets.weight)
        pixels, depth, weight = (array.numpy().copy() for array in found)
        return pixels, depth, weight


@pytest.fixture(scope="module")
def wall() -> Wall:
    return Wall()


def flow_field(region: tuple[slice, slice], seed: int, shift: tuple[float, float]) -> FlowField:
    """A nearly constant flow with weights that are 0 outside of a region, and here and there within."""
    chance = np.random.default_rng(seed)
    flow = (np.float32(shift) + chance.normal(0, 0.2, (*SHAPE, 2))).astype(np.float32)
    weight = np.zeros(SHAPE, np.float32)
    weight[region] = chance.uniform(0, 1, weight[region].shape)
    return FlowField(0, 1, flow, weight)


REGIONS = [
    (slice(0, 60), slice(0, 80)),
    (slice(10, 50), slice(20, 45)),
    (slice(0, 1), slice(0, 1)),
    (slice(40, 60), slice(79, 80)),
    (slice(7, 8), slice(3, 77)),
    (slice(0, 0), slice(0, 0)),
]


def expected(wall: Wall, flow: FlowField) -> tuple[Array, Array]:
    """Pixels and weights for every point, from the flow at the pixel that it is seen in."""
    v, u = np.indices(SHAPE).reshape(2, -1)
    weight = flow.weight[v, u].copy()
    weight[weight < MatchConfig().least_weight] = 0
    weight[(u < 1) | (v < 1) | (u >= SHAPE[1] - 1) | (v >= SHAPE[0] - 1)] = 0
    return wall.pixels + flow.flow_px[v, u], weight


@pytest.mark.parametrize("region", REGIONS)
def test_points_follow_the_flow_of_their_pixel(wall: Wall, region: tuple[slice, slice]) -> None:
    """Only the part of a flow that has weight goes to the device, wherever in the image it lies."""
    gatherer = MatchGatherer(wall.field, CAMERA)
    wall.gather(gatherer, [flow_field(REGIONS[0], 7, (0.0, 0.0))])  # of which nothing may be left
    flow = flow_field(region, 1, (3.0, -2.0))
    pixels, depth, weight = wall.gather(gatherer, [flow])
    goals, confidence = expected(wall, flow)
    np.testing.assert_array_equal(weight, confidence)
    known = confidence > 0
    np.testing.assert_allclose(pixels[known], goals[known], atol=2e-4)
    inside = (goals >= 0).all(axis=1) & (goals[:, 0] < SHAPE[1] - 1) & (goals[:, 1] < SHAPE[0] - 1)
    np.testing.assert_allclose(depth, known & inside, atol=1e-6)


def test_two_references_are_averaged_by_their_weights(wall: Wall) -> None:
    flows = [flow_field(REGIONS[1], 1, (3.0, -2.0)), flow_field((slice(5, 30), slice(30, 70)), 2, (2.5, -1.0))]
    pixels, _, weight = wall.gather(MatchGatherer(wall.field, CAMERA), flows)
    (first, a), (second, b) = (expected(wall, flow) for flow in flows)
    np.testing.assert_allclose(weight, (a + b) / 2, rtol=1e-6)
    known = a + b > 0
    assert (a * b > 0).any()
    mean = (a[:, None] * first + b[:, None] * second)[known] / (a + b)[known, None]
    np.testing.assert_allclose(pixels[known], mean, atol=3e-4)


@pytest.mark.parametrize("region", REGIONS[:2])
def test_a_flow_that_is_on_the_device_gives_the_same_bits(wall: Wall, region: tuple[slice, slice]) -> None:
    flow = flow_field(region, 3, (1.0, 4.0))
    on_device = FlowField(
        0, 1, wp.array(flow.flow_px, dtype=wp.vec2, device=DEVICE), wp.array(flow.weight, dtype=float, device=DEVICE)
    )
    gatherer = MatchGatherer(wall.field, CAMERA)
    host = wall.gather(gatherer, [flow])
    for a, b in zip(host, wall.gather(gatherer, [on_device]), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("on_device", [False, True])
def test_a_flow_of_squares_is_that_of_each_pixel_in_them(wall: Wall, on_device: bool) -> None:
    chance, cell = np.random.default_rng(6), 7  # the last row and column of squares reach beyond the image
    flow = np.float32([2.0, 1.0]) + chance.normal(0, 0.5, (9, 12, 2)).astype(np.float32)
    weight = chance.uniform(0, 1, (9, 12)).astype(np.float32)
    weight[:2] = weight[:, 10:] = 0
    fine = [a.repeat(cell, axis=0).repeat(cell, axis=1)[:60, :80] for a in (flow, weight)]
    parts = [wp.array(flow, dtype=wp.vec2, device=DEVICE), wp.array(weight, dtype=float, device=DEVICE)]
    coarse = FlowField(0, 1, *(parts if on_device else (flow, weight)), cell)
    gatherer = MatchGatherer(wall.field, CAMERA)
    expected_targets = wall.gather(gatherer, [FlowField(0, 1, *fine)])
    for a, b in zip(wall.gather(gatherer, [coarse]), expected_targets, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("given", [False, True])
def test_points_that_the_camera_sees_through_are_pulled_inside(wall: Wall, given: bool) -> None:
    """Where depth is farther than the model; where nothing was measured only if the source says that nobody is there.

    The wall's left half is the body. To the right, the upper half is measured 50 cm behind, the lower not at all.
    """
    v, u = np.indices(SHAPE)
    body = u < 40
    depth_m = np.where(body, 1.0, np.where(v < 30, 1.5, 0.0)).astype(np.float32)
    image = DeviceFrame(CAMERA, DEVICE)
    image.upload(RgbdFrame(0, 0, depth_m, CAMERA, mask=body if given else None), body)
    targets = wall.targets
    for output in (targets.pixels, targets.depth, targets.weight):
        output.zero_()
    targets.weight.assign((np.arange(wall.count) % 7 == 0).astype(np.float32))  # matched by flow
    MatchGatherer(wall.field, CAMERA).pull_inside(wall.model, image, targets)
    pixels, weight = targets.pixels.numpy(), targets.weight.numpy()
    # The silhouette is looked at on every third pixel: 39 is the last column of it that is inside.
    through = ((u > 41) & ((v < 30) | given)).reshape(-1)
    pulled = through & (np.arange(wall.count) % 7 != 0)
    np.testing.assert_array_equal(weight, pulled | (np.arange(wall.count) % 7 == 0))
    np.testing.assert_array_equal(pixels[pulled, 0], 39)
    assert np.abs(pixels[pulled, 1] - v.reshape(-1)[pulled]).max() <= 3
    assert not pixels[~pulled].any() and not targets.depth.numpy().any()


def pulled(wall: Wall, mask: Array) -> tuple[Array, Array]:
    """(H, W, 2) pixels and (H, W) weights of points without a match, before a scene half a metre behind them."""
    image = DeviceFrame(CAMERA, DEVICE)
    image.upload(RgbdFrame(0, 0, np.full(SHAPE, 1.5, np.float32), CAMERA), mask)
    targets = wall.targets
    for output in (targets.pixels, targets.depth, targets.weight):
        output.zero_()
    MatchGatherer(wall.field, CAMERA).pull_inside(wall.model, image, targets)
    return targets.pixels.numpy().reshape(*SHAPE, 2), targets.weight.numpy().reshape(SHAPE)


@pytest.mark.parametrize("seed", range(4))
def test_the_pull_is_to_the_nearest_pixel_of_the_silhouette(wall: Wall, seed: int) -> None:
    chance = np.random.default_rng(seed)
    mask = np.zeros(SHAPE, bool)
    for _ in range(3):
        top, left = chance.integers(0, 50), chance.integers(0, 70)
        mask[top : top + chance.integers(1, 14), left : left + chance.integers(1, 18)] = True
    mask[::7] = False
    pixels, weight = pulled(wall, mask)
    v, u = np.nonzero(mask[::3, ::3])
    inside = np.stack([u, v], axis=1) * 3
    assert len(inside) > 3
    for row, column in np.ndindex(SHAPE):
        here = np.array([column, row]) // 3 * 3
        distance = np.linalg.norm(inside - here, axis=1).min()
        if mask[here[1], here[0]] or distance > 60.0:
            assert weight[row, column] == 0
        else:
            assert weight[row, column] == 1
            found = pixels[row, column].astype(int)
            assert mask[found[1], found[0]] and np.linalg.norm(found - here) == distance


def test_far_from_the_silhouette_and_without_one_nothing_is_pulled(wall: Wall) -> None:
    assert not pulled(wall, np.zeros(SHAPE, bool))[1].any()
    corner = np.zeros(SHAPE, bool)
    corner[0, 0] = True
    weight = pulled(wall, corner)[1]
    assert weight[0, 59] == 1 and weight[0, 62] == 1 and weight[0, 63] == 0 and weight[45, 45] == 0
