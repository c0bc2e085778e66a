from __future__ import annotations

import io

import numpy as np
import pytest
import trimesh

from bodystream.geometry.camera import back_project
from bodystream.sinks.viewer.capture_state import ViewerState
from bodystream.sinks.viewer.encode import cloud_of_frame, glb_of_mesh, graph_lines, image_of_frame, node_colours
from bodystream.sinks.viewer.hud import stages_html, status_html, waiting_html
from bodystream.timing import SpanSummary
from bodystream.types import CameraIntrinsics, GraphSnapshot, Mesh, RgbdFrame, Status
from helpers.sink_shapes import graph_of, snapshot, tube


def load(data: bytes) -> trimesh.Trimesh:
    (geometry,) = trimesh.load_scene(io.BytesIO(data), file_type="glb").geometry.values()
    return geometry


@pytest.mark.parametrize(("rows", "columns", "index_bytes"), [(24, 16, 2), (700, 100, 4)])
def test_mesh_survives_the_way_to_the_page(rows: int, columns: int, index_bytes: int) -> None:
    mesh = tube(rows, columns)
    data = glb_of_mesh(mesh)
    got = load(data)
    assert np.array_equal(np.asarray(got.vertices, np.float32), mesh.vertices)
    assert np.array_equal(got.faces, mesh.faces)
    assert len(data) < len(mesh.vertices) * 20 + mesh.faces.size * index_bytes + 1500
    assert len(glb_of_mesh(Mesh(mesh.vertices, mesh.faces))) < len(data) - 8 * len(mesh.vertices)


def frame(colour: bool = True, width: int = 64, height: int = 48) -> RgbdFrame:
    rng = np.random.default_rng(3)
    depth_m = rng.uniform(0.5, 8.0, (height, width)).astype(np.float32)
    depth_m[rng.random(depth_m.shape) < 0.2] = 0
    k = CameraIntrinsics(60.0, 61.0, 31.2, 23.7, width, height)
    rgb = rng.integers(0, 256, (height, width, 3), dtype=np.uint8) if colour else None
    return RgbdFrame(0, 0, depth_m, k, rgb)


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_cloud_is_the_back_projection_of_some_pixels(stride: int) -> None:
    f = frame()
    assert f.colour is not None
    points, colours = cloud_of_frame(f, stride, far_m=6.0)
    half = stride // 2
    wanted = back_project(f.depth_m, f.intrinsics)[half::stride, half::stride]
    depth_m = f.depth_m[half::stride, half::stride]
    seen = (depth_m > 0) & (depth_m < 6.0)
    assert 0 < seen.sum() < seen.size
    assert np.allclose(points, wanted[seen], atol=1e-6)
    assert np.array_equal(colours, f.colour[half::stride, half::stride][seen])


def test_depth_stands_in_for_colour() -> None:
    f = frame(colour=False)
    points, colours = cloud_of_frame(f, 1)
    assert colours.shape == points.shape and len(np.unique(colours, axis=0)) > 50
    near, far = colours[points[:, 2] < 1], colours[points[:, 2] > 5]
    assert near[:, 0].mean() > near[:, 2].mean() and far[:, 2].mean() > far[:, 0].mean()  # warm is near
    assert image_of_frame(f, 32).shape == (24, 32, 3)
    empty = RgbdFrame(0, 0, np.zeros((48, 64), np.float32), f.intrinsics)
    assert len(cloud_of_frame(empty)[0]) == 0 and image_of_frame(empty).max() == 30


def test_each_edge_once_between_moved_nodes() -> None:
    v, _, _ = graph_of(tube(), 12)
    shift = np.arange(36, dtype=np.float32).reshape(12, 3) * 0.01
    base = snapshot(0, v, np.tile(np.eye(3, dtype=np.float32), (12, 1, 1)), shift)
    edges = base.edges.copy()
    edges[3, 1:] = -1
    edges[5, 2] = 5
    active = np.arange(12) != 4
    graph = GraphSnapshot(0, v, base.rotations, shift, edges, np.repeat([0, 1], 6).astype(np.int32), active)
    nodes, segments, colours = graph_lines(graph)
    assert np.allclose(nodes, v + shift)
    pairs = {tuple(sorted((i, int(j)))) for i in range(12) for j in edges[i] if j >= 0 and j != i}
    wanted = {(tuple(nodes[i]), tuple(nodes[j])) for i, j in pairs}
    assert {(tuple(a), tuple(b)) for a, b in segments} == wanted and len(segments) == len(pairs)
    assert colours.shape == segments.shape
    by_node = node_colours(graph)
    assert by_node[4, 0] > 200 and by_node[4, 1] < 100  # dropped: red
    assert (by_node[0] == by_node[1]).all() and (by_node[0] != by_node[11]).any()


def test_panel_shows_figures_and_escapes_text() -> None:
    state = ViewerState(0, fps=17.34, status=Status.LOST, reason="<b>12 pixels & nothing</b>")
    text = status_html(state, True)
    assert "17.3" in text and "Lost" in text and "&lt;b&gt;12 pixels &amp; nothing&lt;/b&gt;" in text
    assert "Paused" in status_html(state, False) and "Waiting" in waiting_html(True)
    table = stages_html({"solve<": SpanSummary(9, 12.34, 20.0, 56.78)}, {"nodes": "213"})
    assert all(part in table for part in ("solve&lt;", "12.3", "56.8", "nodes", "213"))
    assert "No figures" in stages_html({}, {})
