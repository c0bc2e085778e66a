"""Each layout of the folder source on recordings written here: what is found, paired, timed and decoded."""

from __future__ import annotations

import struct
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from bodystream.errors import ConfigurationError, InputError
from bodystream.sources.base import RgbdSource
from bodystream.sources.folder import FolderSource
from bodystream.sources.folder_config import FolderConfig
from bodystream.sources.layouts.deepdeform import read_graph, read_oflow, read_sflow
from bodystream.sources.layouts.pair import load_pair
from bodystream.types import CameraIntrinsics
from helpers.folder_takes import (
    CX,
    CY,
    FX,
    FY,
    HEIGHT,
    WIDTH,
    colour_rgb,
    depth_mm,
    write_intrinsics,
    write_plain,
    write_png,
)


def test_plain_gives_the_stored_values(tmp_path: Path) -> None:
    source = FolderSource.open(write_plain(tmp_path / "take"))
    assert isinstance(source, RgbdSource)
    assert (source.layout, source.name, source.live, source.rate_hz) == ("plain", "folder:take", False, 30.0)
    frames = list(source)
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert [frame.name for frame in frames] == ["0000", "0001", "0002", "0003"]
    for index, frame in enumerate(frames):
        np.testing.assert_allclose(frame.depth_m, depth_mm(index) * 1e-3, rtol=1e-6)
        np.testing.assert_array_equal(frame.colour, colour_rgb(index))
        assert frame.intrinsics == CameraIntrinsics(FX, FY, CX, CY, WIDTH, HEIGHT)
        assert frame.t_ns - frames[0].t_ns == round(index * 1e9 / 30)
        assert frame.device_t_ns is None and frame.mask is None
    assert source.counts.delivered == 4 and source.counts.lost == 0 and source.counts.warnings == []
    assert "plain layout" in source.description and "4 frames" in source.description


@pytest.mark.parametrize("colour", ["color", "rgb"])
def test_plain_takes_other_names_of_the_colour_folder(tmp_path: Path, colour: str) -> None:
    frames = list(FolderSource.open(write_plain(tmp_path, colour=colour)))
    np.testing.assert_array_equal(frames[1].colour, colour_rgb(1))


def test_plain_passes_over_an_empty_colour_folder(tmp_path: Path) -> None:
    write_plain(tmp_path, colour="rgb")
    (tmp_path / "color").mkdir()
    np.testing.assert_array_equal(list(FolderSource.open(tmp_path))[1].colour, colour_rgb(1))


def test_plain_pairs_by_the_last_number_and_orders_naturally(tmp_path: Path) -> None:
    for index in (2, 10, 1):
        write_png(tmp_path / "rgb" / f"frame-{index}.png", colour_rgb(index))
        write_png(tmp_path / "depth" / f"d{index}.png", depth_mm(index))
    write_intrinsics(tmp_path)
    frames = list(FolderSource.open(tmp_path))
    assert [frame.name for frame in frames] == ["d1", "d2", "d10"]
    for frame, index in zip(frames, (1, 2, 10), strict=True):
        np.testing.assert_array_equal(frame.colour, colour_rgb(index))


def test_plain_pairs_in_order_with_a_warning_when_names_say_nothing(tmp_path: Path) -> None:
    for name, index in (("a", 0), ("b", 1)):
        write_png(tmp_path / "rgb" / f"{name}.png", colour_rgb(index))
        write_png(tmp_path / "depth" / f"x{name}.png", depth_mm(index))
    write_intrinsics(tmp_path)
    source = FolderSource.open(tmp_path)
    frames = list(source)
    np.testing.assert_array_equal(frames[1].colour, colour_rgb(1))
    assert any("paired in their order" in warning for warning in source.counts.warnings)


def test_plain_float_depth_is_metres_and_sanitised(tmp_path: Path) -> None:
    depth = depth_mm().astype(np.float64) * 1e-3
    depth[10, 10:15] = (np.nan, np.inf, -np.inf, -1.0, 1e300)
    (tmp_path / "depth").mkdir()
    np.save(tmp_path / "depth" / "0.npy", depth)
    write_intrinsics(tmp_path)
    source = FolderSource.open(tmp_path, FolderConfig(max_depth_m=1.5))
    (frame,) = source
    assert frame.colour is None
    assert any("only depth" in warning for warning in source.counts.warnings)
    expected = np.where(np.isfinite(depth) & (depth > 0) & (depth <= 1.5), depth, 0).astype(np.float32)
    np.testing.assert_array_equal(frame.depth_m, expected)
    assert np.isfinite(frame.depth_m).all() and (frame.depth_m[10, 10:15] == 0).all()


def test_saturated_and_far_depth_is_no_measurement(tmp_path: Path) -> None:
    write_plain(tmp_path, count=1)
    depth = depth_mm()
    depth[8, 8], depth[9, 9] = 65535, 30000
    write_png(tmp_path / "depth" / "0000.png", depth)
    (frame,) = FolderSource.open(tmp_path)
    assert frame.depth_m[8, 8] == 0 and frame.depth_m[9, 9] == pytest.approx(30.0)
    (frame,) = FolderSource.open(tmp_path, FolderConfig(max_depth_m=10.0))
    assert frame.depth_m[9, 9] == 0 and frame.depth_m[20, 20] > 1


def test_options_override_the_recording(tmp_path: Path) -> None:
    write_plain(tmp_path, intrinsics=False)
    camera = CameraIntrinsics(60.0, 60.0, 20.0, 10.0, WIDTH, HEIGHT)
    source = FolderSource.open(tmp_path, FolderConfig(intrinsics=camera, rate_hz=10.0, depth_scale_m=0.002))
    frames = list(source)
    assert frames[0].intrinsics == camera and source.rate_hz == 10.0
    assert frames[1].t_ns - frames[0].t_ns == 100_000_000
    np.testing.assert_allclose(frames[0].depth_m, depth_mm(0) * 2e-3, rtol=1e-6)


@pytest.mark.parametrize("option", ["rate_hz", "max_depth_m", "depth_scale_m"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_options_are_refused(tmp_path: Path, option: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=option):
        FolderSource.open(write_plain(tmp_path), FolderConfig(**{option: value}))


def test_loop_goes_on_in_time_and_index(tmp_path: Path) -> None:
    source = FolderSource.open(write_plain(tmp_path, count=3), FolderConfig(loop=True))
    frames = [frame for frame, _ in zip(source, range(8), strict=False)]
    assert [frame.index for frame in frames] == list(range(8))
    assert [frame.name for frame in frames[:4]] == ["0000", "0001", "0002", "0000"]
    steps = np.diff([frame.t_ns for frame in frames])
    assert np.abs(steps - 1e9 / 30).max() <= 2


def test_close_from_another_thread_ends_the_iteration(tmp_path: Path) -> None:
    source = FolderSource.open(write_plain(tmp_path), FolderConfig(loop=True))
    started, count = threading.Event(), 0

    def consume() -> None:
        nonlocal count
        for _ in source:
            count += 1
            started.set()

    thread = threading.Thread(target=consume)
    thread.start()
    assert started.wait(10)
    source.close()
    source.close()
    thread.join(10)
    assert not thread.is_alive() and count == source.counts.delivered
    assert list(source) == []


def test_abandoned_iteration_leaves_no_thread(tmp_path: Path) -> None:
    with FolderSource.open(write_plain(tmp_path)) as source:
        for _ in source:
            break
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("folder-decode")]


@pytest.mark.parametrize("depth_first", [False, True])
@pytest.mark.parametrize("folders", [("rgb", "depth"), ("a", "b")])
def test_tum_associations_in_either_order(tmp_path: Path, depth_first: bool, folders: tuple[str, str]) -> None:
    lines = []
    for index in range(3):
        stamp = f"{1628069034 + index}.{123456 + index}"
        write_png(tmp_path / folders[0] / f"{stamp}.png", colour_rgb(index))
        write_png(tmp_path / folders[1] / f"{stamp}.png", depth_mm(index) * 5)
        columns = [f"{stamp} {folder}/{stamp}.png" for folder in folders]
        lines.append(" ".join(columns[::-1] if depth_first else columns))
    (tmp_path / "associations.txt").write_text("# comment\n" + "\n".join(lines) + "\n")
    write_intrinsics(tmp_path)
    source = FolderSource.open(tmp_path)
    frames = list(source)
    assert source.layout == "tum" and len(frames) == 3 and source.counts.warnings == []
    np.testing.assert_allclose(frames[2].depth_m, depth_mm(2) * 1e-3, rtol=1e-6)
    np.testing.assert_array_equal(frames[2].colour, colour_rgb(2))
    assert [f.device_t_ns for f in frames] == [(1628069034 + i) * 10**9 + (123456 + i) * 1000 for i in range(3)]
    assert frames[1].t_ns - frames[0].t_ns == 1_000_001_000
    assert source.rate_hz == pytest.approx(1.0, rel=1e-5)


def test_tum_lists_without_associations_are_paired_by_time(tmp_path: Path) -> None:
    depth_times, colour_times = (0.000, 0.033, 0.066, 0.100), (0.004, 0.036, 0.050, 0.104, 0.140)
    for folder, times in (("depth", depth_times), ("rgb", colour_times)):
        for index, seconds in enumerate(times):
            image = depth_mm(index) * 5 if folder == "depth" else colour_rgb(index)
            write_png(tmp_path / folder / f"{seconds:.3f}.png", image)
        listing = "".join(f"{seconds:.3f} {folder}/{seconds:.3f}.png\n" for seconds in times)
        (tmp_path / f"{folder}.txt").write_text("# timestamp filename\n" + listing)
    write_intrinsics(tmp_path)
    source = FolderSource.open(tmp_path)
    frames = list(source)
    # 0.066 is nearest to 0.050, 16 ms away; 0.140 has no depth any more.
    assert [frame.name for frame in frames] == ["0.000", "0.033", "0.066", "0.100"]
    for frame, index in zip(frames, (0, 1, 2, 3), strict=True):
        np.testing.assert_array_equal(frame.colour, colour_rgb(index))
    assert source.counts.lost == 1 and any("0.140" in warning for warning in source.counts.warnings)


def test_deepdeform_masks_numbers_and_pair(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in (0, 30):
        (tmp_path / "color").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "color" / f"{number:06d}.jpg"), colour_rgb(number // 30)[..., ::-1])
        write_png(tmp_path / "depth" / f"{number:06d}.png", depth_mm(number // 30))
    mask = np.zeros((HEIGHT, WIDTH), np.uint16)
    mask[4:20, 6:30] = 65535
    write_png(tmp_path / "mask" / "000000_shirt.png", mask)
    np.savetxt(tmp_path / "intrinsics.txt", np.diag([FX, FY, 1, 1]) + np.outer([1, 0, 0, 0], [0, 0, CX, 0]))
    flow = rng.normal(size=(HEIGHT, WIDTH, 2)).astype(np.float32)
    scene_flow = rng.normal(size=(HEIGHT, WIDTH, 3)).astype(np.float32)
    flow[3, 4, 1], scene_flow[5, 6, 2] = -np.inf, np.inf
    for folder, suffix, values in (("optical_flow", "oflow", flow), ("scene_flow", "sflow", scene_flow)):
        (tmp_path / folder).mkdir()
        header = struct.pack("<III", WIDTH, HEIGHT, values.shape[2])
        body = np.ascontiguousarray(values.transpose(2, 0, 1)).tobytes()
        (tmp_path / folder / f"shirt_000000_000030.{suffix}").write_bytes(header + body)

    source = FolderSource.open(tmp_path)
    frames = list(source)
    assert source.layout == "deepdeform" and len(frames) == 2
    np.testing.assert_array_equal(frames[0].mask, mask > 0)
    assert frames[1].mask is None
    assert frames[1].t_ns - frames[0].t_ns == 10**9

    pair = load_pair(tmp_path)
    assert pair.name == "shirt_000000_000030" and pair.target.t_ns - pair.source.t_ns == 10**9
    np.testing.assert_array_equal(pair.source.mask, mask > 0)
    np.testing.assert_array_equal(pair.source.depth_m, frames[0].depth_m)
    flow[3, 4] = np.nan
    scene_flow[5, 6] = np.nan
    np.testing.assert_array_equal(pair.flow_px, flow)
    np.testing.assert_array_equal(pair.scene_flow_m, scene_flow)
    np.testing.assert_array_equal(read_oflow(tmp_path / "optical_flow" / "shirt_000000_000030.oflow"), flow)
    np.testing.assert_array_equal(read_sflow(tmp_path / "scene_flow" / "shirt_000000_000030.sflow"), scene_flow)
    with pytest.raises(InputError, match="no frame 000031"):
        load_pair(tmp_path, "shirt_000000_000031")
    with pytest.raises(InputError, match="no pair name"):
        load_pair(tmp_path, "shirt")


def test_deepdeform_graph(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    nodes = rng.normal(size=(5, 3)).astype(np.float32)
    edges = rng.integers(-1, 5, (5, 8)).astype(np.int32)
    weights = rng.random((5, 8)).astype(np.float32)
    clusters = np.array([[0], [0], [1], [1], [1]], np.int32)
    for folder, header, values in (
        ("graph_nodes", struct.pack("<I", 5), nodes),
        ("graph_edges", struct.pack("<II", 5, 8), edges),
        ("graph_edges_weights", struct.pack("<II", 5, 8), weights),
        ("graph_clusters", struct.pack("<II", 5, 1), clusters),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "g.bin").write_bytes(header + values.tobytes())
    graph = read_graph(tmp_path)
    np.testing.assert_array_equal(graph.nodes, nodes)
    np.testing.assert_array_equal(graph.edges, edges)
    np.testing.assert_array_equal(graph.edge_weights, weights)
    np.testing.assert_array_equal(graph.clusters, clusters[:, 0])
    edges[0, 0] = 5
    (tmp_path / "graph_edges" / "g.bin").write_bytes(struct.pack("<II", 5, 8) + edges.tobytes())
    with pytest.raises(InputError, match="below 5"):
        read_graph(tmp_path)
    (tmp_path / "graph_nodes" / "g.bin").write_bytes(struct.pack("<I", 5) + nodes.tobytes()[:-1])
    with pytest.raises(InputError, match="need 64 bytes, got 63"):
        read_graph(tmp_path)
    with pytest.raises(InputError, match="there are: g"):
        read_graph(tmp_path, "other")


def _camera_xml(fx: float) -> str:
    data = f"{fx} 0. {CX} 0. {FY} {CY} 0. 0. 1."
    return (
        '<?xml version="1.0"?>\n<opencv_storage>\n<intrinsic type_id="opencv-matrix">\n<rows>3</rows>\n<cols>3</cols>'
        f"\n<dt>f</dt>\n<data>\n{data}</data></intrinsic>\n</opencv_storage>\n"
    )


def _write_numbered(folder: Path, count: int = 3) -> Path:
    for index in range(count):
        cv2.imwrite(str(folder / f"{index:03d}.jpg"), colour_rgb(index)[..., ::-1])
        write_png(folder / f"{index:03d}_depth.png", depth_mm(index))
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[8:24, 16:32] = 255
        cv2.imwrite(str(folder / f"{index:03d}_mask.jpg"), mask)
        (folder / f"{index:03d}_camera.xml").write_text(_camera_xml(FX + index))
    return folder


def test_numbered_files_with_a_camera_per_frame(tmp_path: Path) -> None:
    source = FolderSource.open(_write_numbered(tmp_path))
    frames = list(source)
    assert source.layout == "numbered" and len(frames) == 3 and source.counts.warnings == []
    assert [frame.intrinsics.fx for frame in frames] == [FX, FX + 1, FX + 2]
    for index, frame in enumerate(frames):
        np.testing.assert_allclose(frame.depth_m, depth_mm(index) * 1e-3, rtol=1e-6)
        assert frame.mask is not None and frame.mask[8:24, 16:32].all() and frame.mask.sum() == 16 * 16


def test_numbered_frame_with_damaged_mask_and_camera_is_still_delivered(tmp_path: Path) -> None:
    _write_numbered(tmp_path)
    (tmp_path / "001_mask.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "002_camera.xml").write_text("<nothing")
    source = FolderSource.open(tmp_path)
    frames = list(source)
    assert len(frames) == 3 and frames[1].mask is None and frames[2].intrinsics.fx == FX
    assert any("without its mask" in w for w in source.counts.warnings)
    assert any("instead of its own" in w for w in source.counts.warnings)


def test_matlab_take(tmp_path: Path) -> None:
    depth = np.stack([depth_mm(i, (240, 320)) for i in range(3)], axis=2)
    savemat(tmp_path / "a1_s1_t1_depth.mat", {"d_depth": depth}, do_compression=True)
    for path in (tmp_path, tmp_path / "a1_s1_t1_depth.mat"):
        source = FolderSource.open(path)
        frames = list(source)
        assert source.layout == "matlab" and len(frames) == 3
        for index, frame in enumerate(frames):
            np.testing.assert_allclose(frame.depth_m, depth[:, :, index] * 1e-3, rtol=1e-6)
            np.testing.assert_array_equal(frame.mask, depth[:, :, index] > 0)
            assert frame.colour is None
        assert frames[0].intrinsics == CameraIntrinsics(285.63, 285.63, 160.0, 120.0, 320, 240)
        assert any("nominal" in warning for warning in source.counts.warnings)
    savemat(tmp_path / "a1_s2_t1_depth.mat", {"d_depth": depth})
    with pytest.raises(InputError, match=r"holds 2 takes.*a1_s1_t1_depth.mat, a1_s2_t1_depth.mat"):
        FolderSource.open(tmp_path)
