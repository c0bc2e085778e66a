"""A real person, fused by the rigid poses that come with the recording."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import trimesh
from scipy.spatial import KDTree

from bodystream.device import select_device
from bodystream.fusion import FusionConfig, TsdfVolume
from bodystream.geometry.camera import back_project
from bodystream.types import Array, CameraIntrinsics
from helpers.fusion_scenes import make_field, on_device, set_rigid

CAMERA = CameraIntrinsics(525.0, 525.0, 320.0, 240.0, 640, 480)


def read(folder: Path, index: int) -> tuple[Array, Array, Array, Array, Array]:
    """Depth [m], mask, RGB, and the pose (R, t) with world = R camera + t."""
    stem = folder / f"{index:010d}"
    depth = np.asarray(cv2.imread(f"{stem}_depth.png", cv2.IMREAD_UNCHANGED)).astype(np.float32) * 1e-3
    mask = np.asarray(cv2.imread(f"{stem}_mask.jpg", cv2.IMREAD_GRAYSCALE)) > 127
    colour = np.ascontiguousarray(np.asarray(cv2.imread(f"{stem}.jpg"))[..., ::-1])
    pose = cv2.FileStorage(f"{stem}_camera.xml", cv2.FILE_STORAGE_READ)
    return depth, mask, colour, pose.getNode("R").mat(), pose.getNode("t").mat().ravel()


def test_a_turning_person_becomes_one_clean_surface(shared_data: Path) -> None:
    frames = [read(shared_data / "depth" / "turning_person", i) for i in range(0, 20, 2)]
    clouds = []
    for depth, mask, _, rotation, translation in frames:
        inside = mask & (depth > 0.3) & (depth < 1.4)
        clouds.append((back_project(depth, CAMERA)[inside] @ rotation.T + translation)[::23])
    cloud = np.concatenate(clouds)
    nodes: list[Array] = []
    for point in cloud[::5]:
        if not nodes or np.linalg.norm(np.array(nodes) - point, axis=1).min() > 0.05:
            nodes.append(point)
    field = make_field(np.array(nodes, np.float32))
    volume = TsdfVolume(FusionConfig(), select_device("cpu"))
    for k, (depth, mask, colour, rotation, translation) in enumerate(frames):
        set_rigid(field, rotation.T, -rotation.T @ translation)
        stats = volume.integrate(*on_device(depth, mask, colour), CAMERA, field, k)
        assert (stats.samples > 0) == (k % 2 == 0)
        assert stats.uncovered_samples <= 0.05 * stats.samples
        surface = volume.extract(field)
    mesh = surface.download()
    assert len(mesh.vertices) > 3000
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert solid.is_winding_consistent
    # Every vertex lies on what was measured; the poses of the recording agree to a few millimetres.
    distance, _ = KDTree(cloud).query(mesh.vertices)
    assert np.median(distance) < 0.006 and np.percentile(distance, 99) < 0.02
    # Orientation: the normals face the cameras that saw the surface.
    camera_places = np.array([frame[-1] for frame in frames])
    towards = camera_places.mean(axis=0) - mesh.vertices
    assert ((mesh.normals * towards).sum(axis=1) > 0).mean() > 0.97
    # The live mesh of the last frame lies in its mask, but for the error of the poses (about 6 pixels).
    live, _ = volume.warp_surface(surface, field)
    points = live.numpy()[: surface.vertex_count]
    pixels = np.round(points[:, :2] / points[:, 2:] * 525.0 + (320.0, 240.0)).astype(int)
    in_image = ((pixels >= 0) & (pixels < (640, 460))).all(axis=1)
    mask = cv2.dilate(frames[-1][1].astype(np.uint8), np.ones((13, 13), np.uint8))
    assert mask[pixels[in_image, 1], pixels[in_image, 0]].mean() > 0.95
