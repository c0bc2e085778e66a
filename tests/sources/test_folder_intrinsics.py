"""Intrinsics as recorders write them: the depth unit beside them, those of other images, and files not understood."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bodystream.errors import InputError
from bodystream.sources.folder import FolderSource
from bodystream.sources.folder_config import FolderConfig
from bodystream.sources.layouts.intrinsics import PinholeParameters, find_intrinsics, parse_intrinsics
from bodystream.types import CameraIntrinsics
from helpers.folder_takes import CX, CY, FX, FY, HEIGHT, WIDTH, depth_mm, write_plain, write_png
from helpers.fuzzing import fuzz, fuzz_file
from sources.test_folder_parsers import LIST, ROS, XML, YAML

NAMED = {"fx": FX, "fy": FY, "ppx": CX, "ppy": CY}
GIVEN = CameraIntrinsics(60.0, 60.0, 20.0, 15.0, WIDTH, HEIGHT)


def _take(folder: Path, scale_m: float = 0.001, count: int = 2) -> Path:
    """A plain take about 1.5 m away whose depth is written in `scale_m`."""
    write_plain(folder, count, intrinsics=False)
    for index in range(count):
        raw = np.round(depth_mm(index) * (1e-3 / scale_m)).astype(np.uint16)
        write_png(folder / "depth" / f"{index:04d}.png", raw)
    return folder


@pytest.mark.parametrize(
    ("key", "value", "scale_m"),
    [
        ("depth_scale", 0.00025, 0.00025),
        ("depth_scale", 0.000125, 0.000125),
        ("depthScale", 1 / 256, 1 / 256),
        ("depth_units", 0.0001, 0.0001),
        ("depth_factor", 5000, 1 / 5000),
        ("DepthMapFactor", 5000.0, 1 / 5000),
        ("depth_scale", 1000.0, 0.001),
        ("depth_shift", 1000, 0.001),
        ("png_depth_scale", 6553.5, 1 / 6553.5),
        ("depth_unit", "mm", 0.001),
        ("depth_scale_mm", 0.25, 0.00025),
        ("depth_scale", "1/256", 1 / 256),
        ("depth_unit", "0.25 mm", 0.00025),
        ("param-depthunits", "100", 0.0001),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_depth_unit_beside_the_intrinsics_is_obeyed(
    tmp_path: Path, key: str, value: object, scale_m: float, nested: bool
) -> None:
    content = {"intrinsics": NAMED, key: value} if nested else {**NAMED, key: value}
    (_take(tmp_path, scale_m) / "intrinsics.json").write_text(json.dumps(content))
    source = FolderSource.open(tmp_path)
    assert source.depth_scale_m == pytest.approx(scale_m, rel=1e-9) and source.counts.warnings == []
    (frame, _) = source
    np.testing.assert_allclose(frame.depth_m, depth_mm() * 1e-3, atol=0.6 * scale_m)
    assert FolderSource.open(tmp_path, FolderConfig(depth_scale_m=0.5 * scale_m)).depth_scale_m == 0.5 * scale_m


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".xml", XML.replace("<image_width>", "<depth_scale>0.00025</depth_scale><image_width>")),
        (".yaml", YAML + "DepthMapFactor: 4000.0\n"),
        (".yml", "depth_factor: 4000\n" + LIST),
    ],
)
def test_depth_unit_in_xml_and_yaml(suffix: str, text: str) -> None:
    got = parse_intrinsics(text.format(fx=500.0, fy=500.0, cx=320.0, cy=240.0), suffix, "file")
    assert got.depth_scale_m == pytest.approx(0.00025) and got.fx == 500.0


def test_depth_unit_beside_other_intrinsics(tmp_path: Path) -> None:
    """It counts whoever says where the principal point is: another file, or the user."""
    (_take(tmp_path, 0.00025) / "camera.json").write_text('{"depth_scale": 0.00025}')
    source = FolderSource.open(tmp_path, FolderConfig(intrinsics=GIVEN))
    assert source.depth_scale_m == 0.00025 and source.intrinsics == GIVEN
    (tmp_path / "intrinsics.txt").write_text(f"{FX} {FY} {CX} {CY}")
    source = FolderSource.open(tmp_path)
    assert source.depth_scale_m == 0.00025 and source.intrinsics.fx == FX


def test_stated_depth_unit_is_doubted_or_refused_never_replaced(tmp_path: Path) -> None:
    (_take(tmp_path) / "intrinsics.json").write_text(json.dumps({**NAMED, "depth_scale": 0.01}))
    source = FolderSource.open(tmp_path)
    assert source.depth_scale_m == 0.01
    assert "intrinsics.json states 0.01 m per unit of depth" in source.counts.warnings[0]
    (tmp_path / "intrinsics.json").write_text(json.dumps({**NAMED, "depth_scale": 1.0}))
    with pytest.raises(InputError, match=r"states 1 m per unit.*no scene.*depth_scale_m="):
        FolderSource.open(tmp_path)
    assert FolderSource.open(tmp_path, FolderConfig(depth_scale_m=0.001)).depth_scale_m == 0.001


@pytest.mark.parametrize("value", [0, -1, None, True, "furlong", [1], "nan", 1e400, 10**400])
def test_depth_unit_that_is_none_is_told(tmp_path: Path, value: object) -> None:
    (_take(tmp_path) / "intrinsics.json").write_text(json.dumps({**NAMED, "depth_scale": value}))
    source = FolderSource.open(tmp_path)
    assert source.depth_scale_m == 0.001
    assert any("depth_scale is" in w and "depth_scale_m=" in w for w in source.counts.warnings)


def test_float_depth_stays_in_metres_beside_a_unit_of_integers(tmp_path: Path) -> None:
    (_take(tmp_path) / "intrinsics.json").write_text(json.dumps({**NAMED, "depth_scale": 0.001}))
    for path in (tmp_path / "depth").iterdir():
        path.unlink()
    for index in range(2):
        np.save(tmp_path / "depth" / f"{index:04d}.npy", depth_mm(index).astype(np.float32) * 1e-3)
    source = FolderSource.open(tmp_path)
    assert source.depth_scale_m == 1.0
    np.testing.assert_allclose(next(iter(source)).depth_m, depth_mm() * 1e-3, rtol=1e-6)


@pytest.mark.parametrize(
    "name",
    ["camera_intrinsic.json", "camera-intrinsics.json", "Intrinsic.json", "depth_intrinsics.json", "camera_info.json"],
)
def test_open3d_writes_the_matrix_column_by_column(tmp_path: Path, name: str) -> None:
    matrix = [FX, 0, 0, 0, FY, 0, CX, CY, 1]
    content = {"width": WIDTH, "height": HEIGHT, "intrinsic_matrix": matrix}
    if name == "Intrinsic.json":  # of a reader of RealSense or Azure Kinect files: units per metre
        content |= {"depth_scale": 1000.0, "color_format": "RGB8", "fps": 30.0, "serial_number": "000123"}
    (_take(tmp_path) / name).write_text(json.dumps(content))
    source = FolderSource.open(tmp_path)
    assert source.intrinsics == CameraIntrinsics(FX, FY, CX, CY, WIDTH, HEIGHT)
    assert source.depth_scale_m == 0.001 and source.counts.warnings == []


@pytest.mark.parametrize(("value", "rate_hz"), [(15, 15.0), (6.0, 6.0), (0, 30.0), ("15", 30.0), (1e9, 30.0)])
@pytest.mark.parametrize("key", ["fps", "frame_rate"])
def test_rate_beside_the_intrinsics(tmp_path: Path, key: str, value: object, rate_hz: float) -> None:
    (_take(tmp_path) / "intrinsics.json").write_text(json.dumps({**NAMED, key: value}))
    source = FolderSource.open(tmp_path)
    first, second = source
    assert source.rate_hz == rate_hz and second.t_ns - first.t_ns == round(1e9 / rate_hz)
    assert FolderSource.open(tmp_path, FolderConfig(rate_hz=10.0)).rate_hz == 10.0


@pytest.mark.parametrize("factor", [2, 1.5, 3, 0.5, 0.25])
def test_intrinsics_of_resized_images_are_refused(tmp_path: Path, factor: float) -> None:
    values = [FX * factor, FY * factor, (CX + 0.5) * factor - 0.5, (CY + 0.5) * factor - 0.5]
    (_take(tmp_path) / "intrinsics.txt").write_text(" ".join(map(str, values)))
    with pytest.raises(InputError, match=r"intrinsics.txt: the principal point .* size.*intrinsics="):
        FolderSource.open(tmp_path)


@pytest.mark.parametrize(
    ("cx", "cy", "size"),
    [(31.5, 15.5, "64x32"), (23.5, 23.5, "48x48"), (15.5, 23.5, "32x48"), (17.5, 15.5, "36x32")],
)
def test_intrinsics_of_wider_or_turned_images_are_told(tmp_path: Path, cx: float, cy: float, size: str) -> None:
    (_take(tmp_path) / "intrinsics.txt").write_text(f"{FX} {FY} {cx} {cy}")
    source = FolderSource.open(tmp_path)
    (warning,) = source.counts.warnings
    assert f"of {size} ones" in warning and "another size" in warning and "intrinsics=" in warning


def test_intrinsics_of_full_hd_are_refused(tmp_path: Path) -> None:
    (_take(tmp_path) / "intrinsics.txt").write_text("1080 1080 959.5 539.5")
    with pytest.raises(InputError, match="outside the 48x32.*another size.*intrinsics="):
        FolderSource.open(tmp_path)
    # A stated size tells as well, and what to pass is worked out.
    stated = {"fx": 1080, "fy": 1080, "cx": 959.5, "cy": 639.5, "width": 1920, "height": 1280}
    (tmp_path / "intrinsics.json").write_text(json.dumps(stated))
    (tmp_path / "intrinsics.txt").unlink()
    with pytest.raises(InputError, match=r"images of 1920x1280.*pass .intrinsics=27,27,23.5,15.5,48,32"):
        FolderSource.open(tmp_path)


@pytest.mark.parametrize("order", ["fx cx fy cy", "cx cy fx fy", "cx fx cy fy"])
def test_four_numbers_in_another_order(tmp_path: Path, order: str) -> None:
    values = {"fx": FX, "fy": FY, "cx": CX, "cy": CY}
    (_take(tmp_path) / "intrinsics.txt").write_text(" ".join(str(values[name]) for name in order.split()))
    source = FolderSource.open(tmp_path)
    assert source.intrinsics == CameraIntrinsics(FX, FY, CX, CY, WIDTH, HEIGHT)
    (warning,) = source.counts.warnings
    assert f"as {order}" in warning and "intrinsics=" in warning


def test_real_principal_points_are_not_doubted() -> None:
    for values, size in (
        ((525.0, 525.0, 319.5, 239.5), (640, 480)),
        ((285.63, 285.63, 160.0, 120.0), (320, 240)),
        ((504.9, 504.8, 331.6, 331.9), (640, 576)),  # Azure Kinect
        ((367.2, 367.2, 254.9, 205.4), (512, 424)),  # Kinect v2
        ((577.87, 577.87, 319.5, 239.5), (640, 480)),
        ((385.6, 385.6, 322.7, 236.1), (640, 480)),  # D435
        ((212.7, 212.7, 127.9, 97.3), (256, 192)),  # LiDAR of a telephone
    ):
        assert PinholeParameters(*values, "file").fitted(*size)[1] == ()


def test_given_intrinsics_win_over_a_file_that_is_not_understood(tmp_path: Path) -> None:
    for name, text in (
        ("calibration.yml", "%YAML:1.0\n---\nR: 1\n"),
        ("intrinsics.json", "{"),
        ("camera.xml", "<K>"),
        ("K.txt", "five hundred"),
    ):
        folder = _take(tmp_path / name)
        (folder / name).write_text(text)
        with pytest.raises(InputError, match=f"{name}: .*intrinsics=fx,fy,cx,cy,width,height.*48x32"):
            FolderSource.open(folder)
        source = FolderSource.open(folder, FolderConfig(intrinsics=GIVEN))
        assert source.intrinsics == GIVEN
        (warning,) = source.counts.warnings
        assert name in warning and "the intrinsics given are used instead" in warning


def test_file_that_is_understood_wins_over_one_that_is_not(tmp_path: Path) -> None:
    _take(tmp_path)
    (tmp_path / "camera.json").write_text('{"exposure": 3}')
    (tmp_path / "K.txt").write_text(f"{FX} 0 {CX} 0 {FY} {CY} 0 0 1")
    source = FolderSource.open(tmp_path)
    assert source.intrinsics.fx == FX
    (warning,) = source.counts.warnings
    assert "camera.json" in warning and "K.txt is read instead" in warning


def test_messages_quote_little_of_a_file(tmp_path: Path) -> None:
    for suffix, text in (
        (".txt", "word" * 9000),
        (".json", '{"K": ["' + "a" * 30_000 + '"]}'),
        (".json", json.dumps({"x" * 9000: 1})),
        (".json", json.dumps({**NAMED, "fx": "y" * 30_000})),
        (".xml", "<" + "z" * 30_000 + ">"),
        (".yaml", "\n".join("k" * 3000 + str(i) + ": 1" for i in range(9))),
        (".yaml", "K: [" + "9" * 5000 + "x]"),
    ):
        with pytest.raises(InputError) as caught:
            parse_intrinsics(text, suffix, "file")
        assert len(str(caught.value)) < 900, suffix


def _seeds() -> dict[str, list[bytes]]:
    values = {"fx": 525.0, "fy": 520.0, "cx": 320.0, "cy": 240.0}
    rows = [[525.0, 0.0, 320.0], [0.0, 520.0, 240.0], [0.0, 0.0, 1.0]]
    content = {**values, "width": 640, "height": 480, "depth_scale": 0.00025, "coeffs": [0, 0.1, 0, 0, 0]}
    texts = {
        ".txt": ["525 520 320 240", "525 0 320 0\n0 520 240 0\n0 0 1 0\n0 0 0 1\n", "# K\n525,0,320;0,520,240;0,0,1"],
        ".json": [
            json.dumps(content),
            json.dumps({"camera": values, "depth_factor": "1/5000"}),
            json.dumps({"width": 640, "height": 480, "intrinsic_matrix": np.array(rows).T.ravel().tolist()}),
            json.dumps(rows),
        ],
        ".xml": [XML.format(**values), XML.format(**values).replace("<data>", "<!-- a --><data>")],
        ".yaml": [text.format(**values) for text in (YAML, ROS, LIST)]
        + ["depth_scale: 0.001\n" + LIST.format(**values)],
    }
    return {suffix: [text.encode() for text in written] for suffix, written in texts.items()}


@pytest.mark.parametrize("suffix", [".txt", ".json", ".xml", ".yaml"])
def test_fuzz_intrinsics(suffix: str) -> None:
    def parse(data: bytes) -> None:
        got = parse_intrinsics(data.decode("utf-8-sig", errors="replace"), suffix, "file")
        assert np.isfinite((got.fx, got.fy, got.cx, got.cy)).all() and got.fx > 0 and got.fy > 0
        assert got.depth_scale_m is None or 1e-7 < got.depth_scale_m <= 1.0
        try:
            camera, _ = got.fitted(640, 480)
        except InputError:
            return
        assert camera.width == 640

    fuzz(parse, _seeds()[suffix])


def test_fuzz_intrinsics_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "K.txt").write_text("525 520 320 240")

    def read(path: Path) -> None:
        assert find_intrinsics(path.parent) is not None

    fuzz_file(read, _seeds()[".json"], tmp_path / "intrinsics.json", share=0.4)
