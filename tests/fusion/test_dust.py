"""Surface that a frame shows to be wrong is left out, and forgotten; all other surface stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import trimesh
import warp as wp

from bodystream.deformation import WarpField
from bodystream.deformation.ownership import CELL_PX, unowned
from bodystream.device import select_device
from bodystream.fusion import FusionConfig, TsdfVolume, dust_kernels
from bodystream.types import Array
from helpers.fusion_scenes import CAMERA, CENTRE, make_field, on_device, sphere_depth, sphere_nodes

SIZE = (CAMERA.height, CAMERA.width)
THROUGH, BEHIND, TORN, ASTRAY = (
    int(code) for code in (dust_kernels.THROUGH, dust_kernels.BEHIND, dust_kernels.TORN, dust_kernels.ASTRAY)
)
NONE_LOST = np.zeros(0, bool)
ELSEWHERE = CENTRE + [5.0, 5, 5]


class Fused:
    """The front of a sphere after eight frames, with all its vertices, and frames that are looked at and not fused."""

    def __init__(self, **options: Any) -> None:
        # Carving off: it is a rule of its own, and tested beside integration.
        options = {"carve_rate": 0.0, "carve_share": 0.0, "min_component_vertices": 0, **options}
        self.volume = TsdfVolume(FusionConfig(**options), select_device("cpu"))
        self.field: WarpField = make_field(sphere_nodes())
        self.fuse(8)
        mesh = self.volume.extract(self.field, everything=True).download()
        assert mesh.normals is not None
        self.vertices, self.normals, self.faces = mesh.vertices.astype(np.float64), mesh.normals, mesh.faces
        self.anchors = self.volume.extract(self.field).anchors.numpy()[: len(self.vertices)].copy()
        u = self.vertices[:, 0] / self.vertices[:, 2] * CAMERA.fx + CAMERA.cx
        v = self.vertices[:, 1] / self.vertices[:, 2] * CAMERA.fy + CAMERA.cy
        self.u, self.v = np.rint(u).astype(int), np.rint(v).astype(int)
        # Vertices that no rounding takes to the next pixel, and that face the camera.
        self.clear = (np.abs(u - np.floor(u) - 0.5) > 1e-3) & (np.abs(v - np.floor(v) - 0.5) > 1e-3)
        towards = -(self.normals * self.vertices).sum(axis=1) / np.linalg.norm(self.vertices, axis=1)
        self.faces_camera = towards > 0.2
        self.clear &= np.abs(towards - 0.2) > 1e-3

    def fuse(self, frames: int) -> None:
        images = on_device(*sphere_depth())
        for k in range(frames):
            self.volume.integrate(*images, CAMERA, self.field, k)

    def look(self, depth: Array, mask: Array, owner: Array = ELSEWHERE) -> None:
        """Show a frame whose pixels belong to other parts of the model: nothing is fused, and nothing carved.

        Args:
            owner: (3,) or (h, w, 3) canonical [m].
        """
        owners = unowned(SIZE, select_device("cpu"))
        points = np.full((*owners.nodes.shape, 4), 1e-3, np.float32)
        points[..., :3] = owner
        owners.points = wp.array(points, dtype=wp.vec4, device="cpu")
        before = self.volume.weights.numpy().copy()
        self.volume.integrate(*on_device(depth.astype(np.float32), mask), CAMERA, self.field, 9, owners)
        assert np.array_equal(before, self.volume.weights.numpy()[: len(before)])

    def codes(self, lost: Array = NONE_LOST) -> Array:
        """(V,) what is wrong with each of `vertices`, after they were left out and forgotten."""
        self.volume.extract(self.field, everything=True, lost_nodes=lost)
        return self.volume._dust.wrong.numpy()[: len(self.vertices)].copy()


def nothing() -> tuple[Array, Array]:
    """A frame in which nothing was measured."""
    return np.zeros(SIZE), np.zeros(SIZE, bool)


def test_a_frame_that_shows_nothing_and_the_frame_that_was_fused_contradict_nothing() -> None:
    fused = Fused()
    before = fused.volume.extract(fused.field).download()
    assert len(before.vertices) > 1000
    assert not fused.codes().any()
    fused.look(*nothing())
    assert not fused.codes().any()
    after = fused.volume.extract(fused.field).download()
    np.testing.assert_array_equal(before.vertices, after.vertices)
    np.testing.assert_array_equal(before.faces, after.faces)


@pytest.mark.parametrize("silhouette_px", [0, 3, 6])
def test_what_the_background_is_seen_through_is_wrong_and_at_silhouettes_nothing_is(silhouette_px: int) -> None:
    """The left part of the sphere is gone, and the wall is seen there."""
    fused = Fused(silhouette_px=silhouette_px)
    depth, mask = sphere_depth()
    cut = 150
    depth[:, :cut], mask[:, :cut] = 2.0, False
    fused.look(depth, mask)
    gone = fused.clear & (fused.u < cut - silhouette_px)
    kept = fused.clear & (fused.u >= cut - silhouette_px)
    assert gone.sum() > 300 and (kept & (fused.u < cut)).sum() >= 15 * silhouette_px
    codes = fused.codes()
    assert (codes[gone] == THROUGH).all() and (codes[kept] == 0).all()


@pytest.mark.parametrize(("farther_m", "through"), [(0.02, False), (0.03, False), (0.034, True), (0.2, True)])
def test_what_the_subject_itself_is_seen_behind_is_wrong(farther_m: float, through: bool) -> None:
    """3 cm and half a step of a stereo camera's depth, here 1 mm to 2 mm, are allowed."""
    fused = Fused()
    depth, mask = sphere_depth()
    fused.look(depth + np.float32(farther_m), mask)
    graded = fused.volume._grader.graded.pixels.numpy().reshape(SIZE[0] + 2, SIZE[1] + 2, 2)[1:-1, 1:-1]
    usable = fused.clear & (graded[fused.v, fused.u, 1] > 0)
    # The sphere's depth changes within a pixel, most at its rim.
    usable &= fused.faces_camera & (np.hypot(fused.u - 165, fused.v - 117) < 30)
    assert usable.sum() > 300
    assert (fused.codes()[usable] == (THROUGH if through else 0)).all()


@pytest.mark.parametrize(
    ("nearer_m", "owner", "behind"),
    [
        (0.1, CENTRE, True),
        (0.03, CENTRE, True),
        (0.01, CENTRE, False),  # it may be noise
        (0.1, ELSEWHERE, False),  # another part passes before it
        (0.1, CENTRE + [0, 0, 0.4], False),
    ],
)
def test_what_lies_behind_its_own_part_and_faces_the_camera_is_wrong(
    nearer_m: float, owner: Array, behind: bool
) -> None:
    fused = Fused()
    depth, mask = sphere_depth()
    fused.look(depth - np.float32(nearer_m), mask, owner)
    graded = fused.volume._grader.graded.pixels.numpy().reshape(SIZE[0] + 2, SIZE[1] + 2, 2)[1:-1, 1:-1]
    inner = fused.clear & (graded[fused.v, fused.u, 1] > 0)
    inner &= np.hypot(fused.u - 165, fused.v - 117) < 30
    assert (inner & fused.faces_camera).sum() > 300
    assert (fused.codes()[inner] == np.where(fused.faces_camera[inner] & behind, BEHIND, 0)).all()


def test_who_is_seen_before_it_is_asked_cell_by_cell() -> None:
    """A plane before the sphere: its own part on the left, and another one on the right; nobody in the top rows."""
    fused = Fused()
    owner = np.empty((-(-SIZE[0] // CELL_PX), -(-SIZE[1] // CELL_PX), 3))
    owner[:], owner[:, 40:] = CENTRE, ELSEWHERE
    fused.look(np.full(SIZE, 0.5), np.ones(SIZE, bool), owner)
    expected = np.where(fused.faces_camera & (fused.u < 40 * CELL_PX), BEHIND, 0)
    assert 300 < (expected > 0).sum() < len(expected) - 300
    assert (fused.codes()[fused.clear] == expected[fused.clear]).all()


def torn_apart(away_m: list[float], **options: Any) -> tuple[Fused, Array, Array]:
    """A sphere whose right half moves away: (Q, 4) vertices of its quads, and (Q,) their longest edges then [m]."""
    fused = Fused(**options)
    right = fused.field.host_positions[:, 0] > CENTRE[0]
    shift = np.where(right[:, None], away_m, 0.0)
    fused.field.set_motion(np.tile(np.eye(3), (len(right), 1, 1)), shift)
    surface = fused.volume.extract(fused.field, everything=True)
    live = fused.volume.warp_surface(surface, fused.field)[0].numpy()[: len(fused.vertices)].astype(np.float64)
    corners = live[fused.faces]
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    # A quad is two faces.
    longest = longest.reshape(-1, 2).max(axis=1)
    assert (np.abs(longest[:, None] - [0.035, 0.05]) > 1e-6).all()
    fused.look(*nothing())
    return fused, fused.faces.reshape(-1, 6), longest


@pytest.mark.parametrize("away_m", [[0.25, 0.1, 0.0], [0.11, 0.11, 0.0]])
def test_vertices_of_faces_that_became_far_too_long_are_wrong(away_m: list[float]) -> None:
    """The ribbon in between is torn, by the faces' own edges."""
    fused, quads, longest = torn_apart(away_m)
    torn = np.zeros(len(fused.vertices), bool)
    torn[quads[longest > 0.05]] = True
    assert 50 < torn.sum() < len(torn) / 2
    assert np.array_equal(fused.codes(), np.where(torn, TORN, 0))
    mesh = fused.volume.extract(fused.field).download()
    pieces = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).split(only_watertight=False)
    assert len(pieces) >= 2, "the halves hang together no longer"


def test_faces_that_became_too_long_are_left_out_and_what_is_around_them_stays() -> None:
    """Nothing is far too long: just the long quads are gone, their vertices are right, and no voxel is forgotten."""
    fused, quads, longest = torn_apart([0.08, 0.08, 0.0], torn_edge_m=1.0)
    long = longest > 0.035
    assert 50 < long.sum() < len(long) / 2
    before = fused.volume.weights.numpy().copy()
    mesh = fused.volume.extract(fused.field, everything=True, lost_nodes=NONE_LOST).download()
    assert not fused.volume._dust.wrong.numpy()[: len(fused.vertices)].any()
    assert np.array_equal(fused.volume.weights.numpy(), before)
    kept = np.sort(fused.vertices[quads[~long]].mean(axis=1), axis=0)
    shown = np.sort(mesh.vertices.astype(np.float64)[mesh.faces.reshape(-1, 6)].mean(axis=1), axis=0)
    assert shown == pytest.approx(kept, abs=1e-6)


def test_vertices_of_lost_nodes_are_wrong() -> None:
    fused = Fused()
    lost = np.zeros(fused.field.count, bool)
    lost[np.unique(fused.anchors[:, 0])[::3]] = True
    fused.look(*nothing())
    expected = lost[fused.anchors[:, 0]]
    assert 100 < expected.sum() < len(expected) - 100
    assert np.array_equal(fused.codes(lost), np.where(expected, ASTRAY, 0))
    # The graph may have grown since they were looked for.
    grown = Fused()
    grown.look(*nothing())
    grown.volume._dust.look(grown.volume._grader, grown.volume._owners, np.ones(grown.field.count, bool))
    assert np.array_equal(grown.codes(lost[:30]), np.where(expected & (grown.anchors[:, 0] < 30), ASTRAY, 0))


def voxel_keys(volume: TsdfVolume) -> Array:
    """(B * 512, 3) int voxels in the order of storage."""
    k = np.arange(512)
    local = np.stack([k % 8, (k // 8) % 8, k // 64], axis=1)
    return (volume.directory.host_coords[:, None] * 8 + local).reshape(-1, 3)


def test_the_corners_of_the_cells_of_wrong_vertices_are_forgotten_and_nothing_else() -> None:
    fused = Fused()
    volume, config = fused.volume, fused.volume.config
    lost = fused.field.host_positions[:, 1] < CENTRE[1] - 0.03
    fused.look(*nothing())
    before = volume.weights.numpy().copy()
    wrong = fused.codes(lost) > 0
    cells = np.floor(fused.vertices[wrong] / config.voxel_m).astype(int)
    corners = {tuple(c) for c in (cells[:, None] + np.indices((2, 2, 2)).reshape(3, 8).T).reshape(-1, 3).tolist()}
    keys = voxel_keys(volume)
    touched = np.array([tuple(key) in corners for key in keys.tolist()])
    after = volume.weights.numpy()
    count = len(keys)
    assert touched.sum() > 500 and (before[:count][touched] > 0).mean() > 0.5
    assert (after[:count][touched] == 0).all()
    assert np.array_equal(after[:count][~touched], before[:count][~touched])


def test_surface_that_was_forgotten_is_gone_until_it_is_seen_anew() -> None:
    fused = Fused()
    volume = fused.volume
    lost = fused.field.host_positions[:, 1] < CENTRE[1] - 0.03
    fused.look(*nothing())
    wrong = fused.codes(lost) > 0
    assert 200 < wrong.sum() < len(wrong) - 200

    def shown() -> tuple[Array, Array]:
        """Which of the first vertices are where vertices of the surface are, and which of them have faces."""
        mesh = volume.extract(fused.field).download()
        at = {tuple(vertex) for vertex in np.floor(mesh.vertices / volume.config.voxel_m).astype(int).tolist()}
        held = {
            tuple(v) for v in np.floor(mesh.vertices[mesh.faces] / volume.config.voxel_m).astype(int).reshape(-1, 3)
        }
        cells = np.floor(fused.vertices / volume.config.voxel_m).astype(int).tolist()
        return np.array([tuple(c) in at for c in cells]), np.array([tuple(c) in held for c in cells])

    there, held = shown()
    assert not there[wrong].any() and not held[wrong].any()
    away = np.linalg.norm(fused.vertices[:, None] - fused.vertices[wrong][None], axis=2).min(axis=1) > 0.03
    assert away.sum() > 200 and there[away].all()
    fused.fuse(8)
    assert shown()[0].mean() > 0.95


def test_pieces_that_are_too_small_once_faces_are_gone_are_left_out() -> None:
    """The wall is seen in a ring around the nearest point of the sphere: 40 vertices are left within."""
    u, v = np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0]))
    around = np.hypot(u - 165, v - 117)
    depth, mask = sphere_depth()
    ring = (around > 12) & (around < 36)
    depth[ring], mask[ring] = 2.0, False
    left = {}
    for least in (0, 100):
        fused = Fused(min_component_vertices=least, silhouette_px=0)
        fused.look(depth, mask)
        mesh = fused.volume.extract(fused.field, everything=True, lost_nodes=NONE_LOST).download()
        p = mesh.vertices
        inside = np.hypot(
            p[:, 0] / p[:, 2] * CAMERA.fx + CAMERA.cx - 165, p[:, 1] / p[:, 2] * CAMERA.fy + CAMERA.cy - 117
        )
        left[least] = (int((inside < 12).sum()), int((inside > 40).sum()))
    assert 10 < left[0][0] < 100 and left[100][0] == 0
    assert left[0][1] > 300 and left[100][1] > 0.9 * left[0][1]


def test_a_frame_counts_though_no_block_has_changed() -> None:
    fused = Fused(silhouette_px=0)
    fused.look(np.full(SIZE, 2.0), np.zeros(SIZE, bool))
    assert fused.volume.extract(fused.field).extracted_blocks == 0
    assert fused.volume.extract(fused.field, lost_nodes=NONE_LOST).face_count == 0


def test_without_a_frame_to_judge_by_everything_is_shown() -> None:
    fused = Fused(silhouette_px=0)
    fused.look(np.full(SIZE, 2.0), np.zeros(SIZE, bool))
    assert fused.volume.extract(fused.field, everything=True).vertex_count == len(fused.vertices)
    assert fused.volume.stats.bytes > fused.volume._dust.bytes > 0
