"""What passes before a body is not fused into it, where the owners of the pixels are known."""

from __future__ import annotations

import numpy as np
import pytest
import warp as wp
from scipy.spatial import KDTree

from bodystream.deformation import WarpField
from bodystream.deformation.ownership import CELL_PX, Ownership, unowned
from bodystream.device import select_device
from bodystream.fusion import FusionConfig, TsdfVolume
from bodystream.types import Array
from helpers.fusion_scenes import CAMERA, on_device, rays
from helpers.solver_problems import device_points, make_field

BODY, ARM = (-0.3, 0.1), (0.22, 0.38)  # from x to x, canonically, both at z = 1 m
BODY_HIGH, ARM_HIGH = 0.16, 0.06  # half their heights
SHIFT = np.array([-0.38, 0.0, -0.04])  # takes the arm before the body's middle, 4 cm away from it


def sheet(left: float, right: float, high: float, spacing_m: float) -> Array:
    x, y = np.meshgrid(np.arange(left, right + 1e-6, spacing_m), np.arange(-high, high + 1e-6, spacing_m))
    return np.stack([x.ravel(), y.ravel(), np.ones(x.size)], axis=1)


def inside(points: Array, left: float, right: float, high: float) -> Array:
    return (points[..., 0] >= left) & (points[..., 0] <= right) & (np.abs(points[..., 1]) <= high)


def image(shift: Array) -> tuple[Array, Array]:
    """Depth and mask of the body, and of the arm wherever it is, by rays."""
    body = inside(rays(), *BODY, BODY_HIGH)
    z = 1.0 + shift[2]
    arm = inside(rays() * z - shift, *ARM, ARM_HIGH)
    return np.where(arm, z, np.where(body, 1.0, 0.0)).astype(np.float32), arm | body


class Scene:
    """A body and an arm beside it, rigid both, fused at rest for eight frames."""

    def __init__(self) -> None:
        body, arm = sheet(*BODY, BODY_HIGH, 0.04), sheet(*ARM, ARM_HIGH, 0.04)
        nodes = np.concatenate([body, arm]).astype(np.float32)
        self.is_arm = np.arange(len(nodes)) >= len(body)
        links = [KDTree(part).query(part, k=9)[1][:, 1:] for part in (body, arm)]
        edges = np.concatenate([links[0], links[1] + len(body)]).astype(np.int32)
        self.field: WarpField = make_field(nodes, edges)
        # Carving off: voxels that are not fused are to stay as they are.
        config = FusionConfig(carve_rate=0.0, carve_share=0.0, min_component_vertices=0)
        self.volume = TsdfVolume(config, select_device("cpu"))
        self.ownership = Ownership(self.field, CAMERA)
        points = np.concatenate([sheet(*BODY, BODY_HIGH, 0.008), sheet(*ARM, ARM_HIGH, 0.008)])
        anchors, weights = np.zeros((len(points), 4), np.int32), np.zeros((len(points), 4), np.float32)
        anchors[:, 0], weights[:, 0] = KDTree(nodes).query(points)[1], 1
        normals = np.tile([0.0, 0, -1], (len(points), 1))
        self.model = device_points(self.field.device, points, anchors, weights, normals)
        for k in range(8):
            self.volume.integrate(*on_device(*image(np.zeros(3))), CAMERA, self.field, k)

    def pass_before_the_body(self, *, owned: bool, frames: int = 12) -> None:
        count = self.field.count
        self.field.set_motion(np.tile(np.eye(3), (count, 1, 1)), np.where(self.is_arm[:, None], SHIFT, 0.0))
        images = on_device(*image(SHIFT))
        self.ownership.update(self.model.packed, self.model.count, images[0])
        for k in range(frames):
            owners = self.ownership.owners if owned else None
            self.volume.integrate(*images, CAMERA, self.field, 8 + k, owners)

    def vertices(self) -> Array:
        return self.volume.extract(self.field).download().vertices.astype(np.float64)

    def voxels(self) -> tuple[Array, Array]:
        """(M, 3) canonical positions [m] and (M, 2) distance and weight."""
        k = np.arange(512)
        local = np.stack([k % 8, (k // 8) % 8, k // 64], axis=1)
        at = (self.volume.directory.host_coords[:, None] * 8 + local).reshape(-1, 3) * self.volume.config.voxel_m
        state = np.stack([self.volume.distances.numpy(), self.volume.weights.numpy()], axis=1)[: len(at)]
        return at, state.copy()


def behind_the_arm(points: Array, margin_m: float) -> Array:
    """Which canonical points the arm hides, as it passes before the body, at least so far within its outline."""
    left, right = (x + SHIFT[0] for x in ARM)
    return inside(points, left + margin_m, right - margin_m, ARM_HIGH - margin_m)


def test_an_arm_before_the_body_spoils_it_where_nobody_knows_whose_it_is() -> None:
    """What the gate is for: without owners the body gets a second surface where the arm was."""
    scene = Scene()
    scene.pass_before_the_body(owned=False)
    p = scene.vertices()
    assert (behind_the_arm(p, 0.01) & (p[:, 2] < 0.98)).sum() > 100


def test_an_arm_before_the_body_is_fused_into_itself_alone() -> None:
    scene = Scene()
    at, before = scene.voxels()
    scene.pass_before_the_body(owned=True)
    p = scene.vertices()
    body = inside(p, BODY[0] + 0.02, BODY[1] - 0.02, BODY_HIGH - 0.02)
    # A cell on the arm's outline is shared by both: the other one is not kept away there.
    shared = behind_the_arm(p, 0.0) & ~behind_the_arm(p, CELL_PX / CAMERA.fx)
    assert (body & ~shared).sum() > 800 and np.abs(p[body & ~shared, 2] - 1.0).max() < 0.002
    assert (np.abs(p[body & shared, 2] - 1.0) > 0.002).sum() < 0.3 * (body & shared).sum()
    assert (behind_the_arm(p, 0.01) & (np.abs(p[:, 2] - 1) < 0.002)).sum() > 100, "the hidden surface stays"
    # The body's voxels that the arm hides have not been touched; those that are seen have, and the arm's own.
    again, after = scene.voxels()
    np.testing.assert_array_equal(again[: len(at)], at)
    hidden = behind_the_arm(at, 0.02) & (before[:, 1] > 0)
    assert hidden.sum() > 500
    np.testing.assert_array_equal(after[: len(at)][hidden], before[hidden])
    near = np.abs(at[:, 2] - 1.0) < 0.01
    arm = inside(at, ARM[0] + 0.02, ARM[1] - 0.02, ARM_HIGH - 0.02) & near
    seen = inside(at, BODY[0] + 0.04, ARM[0] + SHIFT[0] - 0.04, BODY_HIGH - 0.04) & near
    for own in (arm, seen):
        assert own.sum() > 100 and (after[: len(at)][own, 1] > before[own, 1] + 4).mean() > 0.98


@pytest.mark.parametrize("away_m", [0.07, 0.09])
def test_the_gate_opens_within_the_owner_s_reach(away_m: float) -> None:
    """All pixels belong to one point, 8 cm of reach, beside a single spot of the body: only what is near is fused."""
    scene = Scene()
    at, before = scene.voxels()
    spot = np.array([-0.1, 0.0, 1.0])
    owners = unowned((CAMERA.height, CAMERA.width), scene.field.device)
    points = np.tile(np.float32([*(spot + [0, away_m, 0]), 0.08]), (*owners.nodes.shape, 1))
    owners.points = wp.array(points, dtype=wp.vec4, device=scene.field.device)
    for k in range(2):  # settled blocks are updated in every second frame
        scene.volume.integrate(*on_device(*image(np.zeros(3))), CAMERA, scene.field, 8 + k, owners)
    after = scene.voxels()[1][: len(at)]
    gained = after[:, 1] > before[:, 1]
    away = np.linalg.norm(at - points[0, 0, :3], axis=1)
    clear = np.abs(away - 0.08) > 1e-5
    could = (before[:, 1] > 4) & clear
    assert (gained & clear & (away > 0.08)).sum() == 0
    assert could.sum() > 5000 and gained[could & (away < 0.08)].mean() > 0.98
    nearest = np.linalg.norm(at - spot, axis=1).argmin()
    assert gained[nearest] == (away_m < 0.08)


def test_owners_of_nobody_keep_nothing_away() -> None:
    """No owners, and owners that own nothing, are the same; also for an image of another size than the last."""
    one, other = Scene(), Scene()
    images = on_device(*image(np.zeros(3)))
    one.volume.integrate(*images, CAMERA, one.field, 8)
    nobody = unowned((CAMERA.height, CAMERA.width), other.field.device)
    other.volume.integrate(*images, CAMERA, other.field, 8, nobody)
    np.testing.assert_array_equal(one.voxels()[1], other.voxels()[1])
