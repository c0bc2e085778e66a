"""The clothed avatar that comes with bodystream: whole, posed by tables, and as its networks pose it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from bodystream.avatar import open_avatar
from bodystream.avatar.clothed.avatar import ClothedAvatar, ClothedModel
from bodystream.avatar.open import CLOTHED_AVATAR
from bodystream.bundles import find_bundle
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, forward_kinematics
from bodystream.types import Array

MOST_BYTES = 20_000_000


@pytest.fixture(scope="module")
def model() -> ClothedModel:
    return ClothedModel(find_bundle(CLOTHED_AVATAR))


def walking(step: float) -> Array:
    """(22, 4) somebody who walks, arms a little aside."""
    turns = np.tile([0.0, 0.0, 0.0, 1.0], (len(JOINTS), 1))

    def turn(joint: str, order: str, *degrees: float) -> None:
        turns[JOINT_INDEX[joint]] = Rotation.from_euler(order, degrees, degrees=True).as_quat()

    for side, sign in (("left", 1.0), ("right", -1.0)):
        swing = sign * step
        turn(f"{side}_shoulder", "zx", sign * 62.0, 18.0 * swing)
        turn(f"{side}_hip", "x", 22.0 * swing)
        turn(f"{side}_knee", "x", -12.0 - 10.0 * max(-swing, 0.0))
    turn("spine2", "y", 6.0 * step)
    return turns


def test_it_says_how_near_its_tables_come(model: ClothedModel) -> None:
    metrics = model.bundle.manifest.metrics
    assert model.body.section.posed_by == "tables"
    assert metrics["table_error_mean_mm"] <= 0.1 and metrics["table_error_max_mm"] <= 0.5
    assert sum(file.bytes for file in model.bundle.manifest.files) < MOST_BYTES
    assert metrics["iou_surface"] > 0.5 and metrics["iou_bbox"] > 0.8, "how well it came out goes with it"


def test_tables_pose_it_as_its_networks_do(model: ClothedModel) -> None:
    tables, network = (ClothedAvatar(model, posed_by=by) for by in ("tables", "network"))
    for step in (-1.0, 0.0, 0.6):
        pose, root = walking(step), np.array([0.3, 0.9, -0.2])
        off_mm = 1e3 * np.linalg.norm(tables.pose(pose, root).vertices - network.pose(pose, root).vertices, axis=1)
        assert tables.posing.method == "tables"
        assert off_mm.mean() <= 0.1 and off_mm.max() <= 0.5


def test_it_is_one_whole_person_in_colours(model: ClothedModel) -> None:
    body = model.body
    surface = trimesh.Trimesh(body.vertices, body.faces, process=False)
    assert surface.is_watertight and surface.body_count == 1 and len(body.vertices) >= 14_000
    assert body.surface.colours is not None
    hues = {tuple(colour) for colour in (body.surface.colours // 64).tolist()}
    assert len(hues) >= 5, "skin, hair, a striped shirt, shorts"


def test_it_is_where_the_bones_are() -> None:
    """Ends of limbs, crown and soles, in poses that nobody looked at: no part is missing or left behind."""
    avatar = open_avatar(CLOTHED_AVATAR)
    skeleton = avatar.skeleton
    for step in (-0.7, 0.3):
        pose, root = walking(step), np.array([0.0, skeleton.pelvis_height_m, 0.0])
        mesh = avatar.pose(pose, root)
        joints, _ = forward_kinematics(skeleton.offsets_m, Rotation.from_quat(pose).as_matrix(), root)
        tree = cKDTree(mesh.vertices)
        for side, part in itertools.product(("left", "right"), ("wrist", "ankle", "foot", "elbow", "knee")):
            assert tree.query(joints[JOINT_INDEX[f"{side}_{part}"]])[0] < 0.09, (side, part)
        height = np.ptp(mesh.vertices[:, 1])
        assert 1.0 < height / skeleton.stature_m < 1.2, "which is to the head's joint"
