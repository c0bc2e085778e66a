"""The drift of correspondence against nodes that were made to slip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import warp as wp
from scipy.spatial.transform import Rotation

from bodystream.evaluation.capture.slip import SlipMeter
from bodystream.evaluation.capture.takes import TAKES
from bodystream.types import Array, FrameTruth, RgbdFrame

DEVICE = wp.get_device("cpu")


@pytest.fixture(scope="module")
def frame() -> RgbdFrame:
    return TAKES[0].source(1, DEVICE, size=(320, 240)).render(0, 0)


def nodes_on(truth: FrameTruth, count: int) -> tuple[Array, Array]:
    """Points inside of triangles that face the camera, and their normals."""
    assert truth.mesh.normals is not None
    faces = truth.mesh.faces
    facing = np.flatnonzero(truth.mesh.normals[faces].mean(axis=1)[:, 2] < -0.8)
    corners = faces[facing[:: len(facing) // count][:count]]
    return truth.mesh.vertices[corners].mean(axis=1), truth.mesh.normals[corners].mean(axis=1)


def slip_of(meter: SlipMeter, nodes: Array, truth: FrameTruth) -> float:
    """Of nodes that are all seen."""
    return meter.slip_m(nodes, np.ones(len(nodes), bool), truth)


def test_nodes_that_go_with_the_surface_have_not_slipped(frame: RgbdFrame) -> None:
    truth = frame.truth
    assert truth is not None
    nodes, normals = nodes_on(truth, 60)
    meter = SlipMeter()
    assert slip_of(meter, nodes + 0.004 * normals, truth) == pytest.approx(0.004, rel=0.05)
    turn = Rotation.from_euler("y", 70, degrees=True).as_matrix()
    turned = replace(truth, mesh=replace(truth.mesh, vertices=(truth.mesh.vertices @ turn.T).astype(np.float32)))
    assert slip_of(meter, (nodes + 0.004 * normals) @ turn.T, turned) == pytest.approx(0.004, rel=0.05)


@pytest.mark.parametrize("slip_m", [0.01, 0.05])
def test_nodes_that_slide_have_slipped_by_as_much(frame: RgbdFrame, slip_m: float) -> None:
    truth = frame.truth
    assert truth is not None
    nodes, normals = nodes_on(truth, 60)
    along = np.cross(normals, [0.0, 1.0, 0.0])
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    meter = SlipMeter()
    slip_of(meter, nodes, truth)
    assert slip_of(meter, nodes + slip_m * along, truth) == pytest.approx(slip_m, rel=1e-3)


def test_hidden_nodes_do_not_count_and_new_ones_are_bound_when_they_come(frame: RgbdFrame) -> None:
    truth = frame.truth
    assert truth is not None
    nodes, _ = nodes_on(truth, 40)
    meter = SlipMeter()
    assert np.isnan(meter.slip_m(nodes[:20], np.zeros(20, bool), truth))
    off = nodes.copy()
    off[:20] += np.float32([0.0, 0.2, 0.0])
    assert meter.slip_m(off, np.arange(40) >= 20, truth) < 1e-6, "those that have just come, and lie where they are"
    assert meter.slip_m(off, np.arange(40) < 20, truth) == pytest.approx(0.2, rel=1e-3)
    meter.forget()
    assert slip_of(meter, off[:4], truth) < 0.2
