"""The folder source on real recordings of all five layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat

from bodystream.errors import InputError
from bodystream.geometry.camera import back_project, project, sample_bilinear
from bodystream.sources.folder import FolderSource
from bodystream.sources.folder_config import FolderConfig
from bodystream.sources.layouts.deepdeform import read_graph
from bodystream.sources.layouts.matlab import read_take
from bodystream.sources.layouts.pair import load_pair
from bodystream.types import CameraIntrinsics


@pytest.fixture(scope="module")
def depth_data(shared_data: Path) -> Path:
    folder = shared_data / "depth"
    if not folder.is_dir():
        pytest.skip(f"recordings not found: {folder} is absent")
    return folder


def test_deepdeform_pair_is_consistent_with_itself(depth_data: Path) -> None:
    pair = load_pair(depth_data / "deepdeform_seq258")
    assert pair.name == "shirt_000000_000110" and pair.flow_px is not None and pair.scene_flow_m is not None
    assert pair.source.mask is not None and pair.source.mask.mean() == pytest.approx(0.171, abs=0.001)
    both = np.isfinite(pair.flow_px[..., 0]) & np.isfinite(pair.scene_flow_m[..., 0])
    assert both.sum() == 54688
    camera = pair.source.intrinsics
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (575.548, 577.46, 323.172, 236.417)
    # The moved source point must lie on the target's depth where the optical flow ends.
    moved = (back_project(pair.source.depth_m, camera) + pair.scene_flow_m)[both]
    v, u = np.nonzero(both)
    ends = np.stack([u, v], axis=1) + pair.flow_px[both]
    target_m, good = sample_bilinear(pair.target.depth_m, ends, pair.target.depth_m > 0)
    assert good.mean() > 0.9
    assert np.median(np.abs(moved[:, 2] - target_m)[good]) < 0.004
    assert np.median(np.linalg.norm(project(moved, camera) - ends, axis=1)) < 1.5
    masked = np.isfinite(pair.scene_flow_m[..., 0]) & pair.source.mask
    assert np.linalg.norm(pair.scene_flow_m[masked], axis=1).mean() == pytest.approx(0.2345, abs=5e-4)


def test_deepdeform_as_a_source_and_its_graph(depth_data: Path) -> None:
    source = FolderSource.open(depth_data / "deepdeform_seq017")
    frames = list(source)
    assert source.layout == "deepdeform" and [frame.name for frame in frames] == ["000300", "000600"]
    assert frames[1].t_ns - frames[0].t_ns == 10 * 10**9
    assert np.median(frames[0].depth_m[frames[0].depth_m > 0]) == pytest.approx(2.393, abs=1e-3)
    graph = read_graph(depth_data / "deepdeform_seq017")
    assert graph.nodes.shape == (109, 3) and graph.edges.shape == (109, 8)
    assert graph.edge_weights is not None and graph.edge_weights.shape == (109, 8)
    assert graph.clusters is not None and graph.clusters.shape == (109,)
    pixels = project(graph.nodes, frames[0].intrinsics)
    surface, good = sample_bilinear(frames[0].depth_m, pixels, frames[0].depth_m > 0)
    assert good.sum() > 100 and np.median(np.abs(surface - graph.nodes[:, 2])[good]) < 0.01
    pair = load_pair(depth_data / "deepdeform_seq017")
    assert (pair.source.name, pair.target.name, pair.flow_px) == ("000300", "000600", None)


def test_turning_person(depth_data: Path) -> None:
    source = FolderSource.open(depth_data / "turning_person")
    frames = list(source)
    assert source.layout == "numbered" and len(frames) == 100 and source.counts.lost == 0
    assert source.counts.warnings == [] and source.depth_scale_m == 0.001
    assert [frame.index for frame in frames] == list(range(100))
    assert frames[0].intrinsics == CameraIntrinsics(525.0, 525.0, 320.0, 240.0, 640, 480)
    person = np.concatenate([f.depth_m[f.mask & (f.depth_m > 0)] for f in frames[::10] if f.mask is not None])
    assert np.median(person) == pytest.approx(0.855, abs=0.02)
    assert all(frame.colour is not None and frame.mask is not None for frame in frames)


def test_tum_desk_in_its_own_unit(depth_data: Path) -> None:
    source = FolderSource.open(depth_data / "tum_sample" / "freiburg2_desk_pair")
    frames = list(source)
    assert source.layout == "tum" and source.depth_scale_m == pytest.approx(1 / 5000)
    (warning,) = source.counts.warnings  # its list counts 1, 2
    assert "frame numbers at 30 Hz" in warning and [frame.device_t_ns for frame in frames] == [None, None]
    assert frames[1].t_ns - frames[0].t_ns == round(1e9 / 30)
    assert np.median(frames[0].depth_m[frames[0].depth_m > 0]) == pytest.approx(1.502, abs=1e-3)


def test_tum_layout_in_millimetres_is_noticed(depth_data: Path) -> None:
    folder = depth_data / "tum_sample" / "realsense_room"
    with pytest.raises(InputError, match="no camera intrinsics found. Add .*intrinsics.txt"):
        FolderSource.open(folder)
    camera = CameraIntrinsics(610.0, 610.0, 320.0, 240.0, 640, 480)
    source = FolderSource.open(folder, FolderConfig(intrinsics=camera, max_depth_m=10.0))
    assert source.depth_scale_m == 0.001
    (warning,) = source.counts.warnings
    assert "wrong unit" in warning and "?depth_scale_m=0.0002" in warning
    frames = list(source)
    assert len(frames) == 8 and frames[0].device_t_ns == 1628069034_091321000
    assert all(frame.depth_m.max() <= 10.0 and frame.colour is not None for frame in frames)
    insisted = FolderSource.open(folder, FolderConfig(intrinsics=camera, depth_scale_m=1 / 5000))
    assert insisted.depth_scale_m == 1 / 5000 and insisted.counts.warnings == []


def test_kinect_actions(depth_data: Path) -> None:
    with pytest.raises(InputError, match="holds 48 takes.*depth/a1_s1_t1_depth.mat"):
        FolderSource.open(depth_data / "kinect_actions")
    source = FolderSource.open(depth_data / "kinect_actions" / "depth" / "a22_s1_t1_depth.mat")
    frames = list(source)
    assert source.layout == "matlab" and len(frames) == source.frame_count > 40
    assert frames[0].intrinsics == CameraIntrinsics(285.63, 285.63, 160.0, 120.0, 320, 240)
    for frame in frames:
        assert frame.mask is not None and 0.02 < frame.mask.mean() < 0.15
        np.testing.assert_array_equal(frame.mask, frame.depth_m > 0)
        assert 1.8 < np.median(frame.depth_m[frame.mask]) < 3.5


def test_kinect_takes_agree_with_scipy(depth_data: Path) -> None:
    for file in sorted((depth_data / "kinect_actions" / "depth").glob("a2*_s1_t1_depth.mat")):
        np.testing.assert_array_equal(read_take(file), loadmat(str(file))["d_depth"])
