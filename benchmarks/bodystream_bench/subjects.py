"""A moving person with a known deformation, so that fusion is measured without tracking."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import warp as wp
from scipy.spatial import KDTree

from bodystream.errors import InputError
from bodystream.geometry.camera import back_project
from bodystream.tracking.graph import NodeGraph, build_graph
from bodystream.types import Array, FrameTruth, RgbdFrame
from bodystream_bench.recordings import find_recording, person_frames, synthetic_frames
from bodystream_bench.suites.flow import person_mask

__all__ = ["Subject", "moving_person"]


@dataclass(frozen=True)
class Subject:
    """Frames, and the motion of a graph that covers the whole person.

    Attributes:
        name: of the recording, or `synthetic camera`.
        frames, masks: (H, W) bool pixels of the person with depth.
        graph: canonical nodes and edges.
        motions: per frame (N, 3, 3) rotations and (N, 3) translations [m].
        camera_from_canonical: (4, 4) per frame, for what can only move rigidly.
    """

    name: str
    frames: list[RgbdFrame]
    masks: list[Array]
    graph: NodeGraph
    motions: list[tuple[Array, Array]]
    camera_from_canonical: list[Array]


def moving_person(frames: int, device: wp.Device, sigma_m: float = 0.05) -> Subject:
    """A turning man with the rigid poses of a reference tracker, else the synthetic body with its true motion."""
    folder = find_recording("depth/turning_person")
    if folder is None:
        return _synthetic(synthetic_frames(frames, device), sigma_m)
    return _turning(folder, person_frames(frames, device)[1], sigma_m)


def _turning(folder: Path, frames: list[RgbdFrame], sigma_m: float) -> Subject:
    world_from_camera = [_read_pose(folder / f"{index:010d}_camera.xml") for index in range(len(frames))]
    # Canonical space is the camera's at the first frame, as in live capture.
    poses = [np.linalg.inv(pose) @ world_from_camera[0] for pose in world_from_camera]
    masks = [person_mask(frame) for frame in frames]
    seen = []
    for index in range(0, len(frames), 8):
        points = back_project(frames[index].depth_m, frames[index].intrinsics)[masks[index]].astype(np.float64)
        back = np.linalg.inv(poses[index])
        seen.append(points @ back[:3, :3].T + back[:3, 3])
    cloud = _thinned(np.concatenate(seen), 0.01)
    graph = build_graph(cloud, KDTree(cloud).query_pairs(0.02, output_type="ndarray"), sigma_m, minimum_points=200)
    motions = []
    for pose in poses:
        moved = graph.positions @ pose[:3, :3].T + pose[:3, 3]
        turns = np.tile(pose[:3, :3], (len(moved), 1, 1))
        motions.append((turns.astype(np.float32), (moved - graph.positions).astype(np.float32)))
    return Subject(folder.name, frames, masks, graph, motions, poses)


def _thinned(points: Array, cell_m: float) -> Array:
    """(P, 3) float32: one point per cubic cell."""
    cells = np.floor(points / cell_m).astype(np.int64)
    return points[np.unique(cells, axis=0, return_index=True)[1]].astype(np.float32)


def _read_pose(path: Path) -> Array:
    """World from camera, (4, 4), of an OpenCV file with R and t."""
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
    if not storage.isOpened():
        raise InputError(f"{path}: not an OpenCV storage file")
    rotation, translation = storage.getNode("R").mat(), storage.getNode("t").mat()
    storage.release()
    if rotation is None or translation is None or rotation.shape != (3, 3) or translation.size != 3:
        raise InputError(f"{path}: R (3x3) and t (3x1) are not there")
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, translation.ravel()
    return pose


def _synthetic(frames: list[RgbdFrame], sigma_m: float) -> Subject:
    truths = [frame.truth for frame in frames]
    assert all(truth is not None for truth in truths)
    first: FrameTruth = truths[0]  # type: ignore[assignment]  # checked above
    rest, faces = first.mesh.vertices, first.mesh.faces
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    graph = build_graph(rest, pairs, sigma_m)
    around = np.asarray(KDTree(rest).query(graph.positions, k=24)[1])
    motions = [
        _local_motion(rest, truth.mesh.vertices, around, graph.positions) for truth in truths if truth is not None
    ]
    masks = [person_mask(frame) for frame in frames]
    return Subject("synthetic camera", frames, masks, graph, motions, [np.eye(4) for _ in frames])


def _local_motion(rest: Array, moved: Array, around: Array, nodes: Array) -> tuple[Array, Array]:
    """Rigid motion of each node's neighbourhood (Kabsch 1976).

    Args:
        rest, moved: (V, 3) vertices. around: (N, k) vertices near each node. nodes: (N, 3).
    """
    a, b = rest[around].astype(np.float64), moved[around].astype(np.float64)
    centre_a, centre_b = a.mean(axis=1), b.mean(axis=1)
    u, _, vt = np.linalg.svd(np.einsum("nki,nkj->nij", b - centre_b[:, None], a - centre_a[:, None]))
    flip = np.ones((len(nodes), 3))
    flip[:, 2] = np.linalg.det(u @ vt)
    turns = u @ (flip[:, :, None] * vt)
    live = np.einsum("nij,nj->ni", turns, nodes - centre_a) + centre_b
    return turns.astype(np.float32), (live - nodes).astype(np.float32)
