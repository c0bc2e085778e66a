"""Colour that is not registered to depth: the colour of each 3D point must come out, and depth in metres."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from bodystream.errors import InputError
from bodystream.sources.folder import FolderSource
from bodystream.sources.folder_config import FolderConfig
from bodystream.sources.layouts.azure import AzureRig, parse
from bodystream.sources.layouts.intrinsics import PinholeParameters
from bodystream.sources.layouts.keyed import entries, tokens
from bodystream.sources.layouts.lenses import Rig, distort, lens
from bodystream.sources.layouts.registration import Registration
from bodystream.sources.layouts.rig_files import names_two_cameras, rig_of
from bodystream.types import Array, CameraIntrinsics, RgbdFrame
from helpers.folder_takes import write_png
from helpers.fuzzing import fuzz
from helpers.two_cameras import Camera, TwoCameras, turned

COLOUR_TOLERANCE = 4  # of 255: interpolation, and depth in millimetres
APART = TwoCameras()
BENT = TwoCameras(
    depth=Camera((60.0, 61.0, 39.0, 30.5), 80, 60, (0.1, -0.08, 0.001, -0.002, 0.01)),
    colour=Camera((105.0, 104.0, 62.0, 45.0), 120, 90, (0.3, -2.2, 0.0004, -0.0002, 1.2, 0.2, -2.0, 1.1)),
)


def write_frames(folder: Path, scene: TwoCameras, names: tuple[str, str] = ("depth/{}.png", "color/{}.png")) -> Path:
    for index in range(2):
        write_png(folder / names[0].format(index), scene.depth_mm())
        write_png(folder / names[1].format(index), scene.colour_rgb())
    return folder


def play(folder: Path, **options: object) -> RgbdFrame:
    with FolderSource.open(folder, FolderConfig(**options)) as source:  # type: ignore[arg-type]
        frames = list(source)
        assert len(frames) == 2 and source.counts.lost == 0
        return frames[0]


def check(frame: RgbdFrame, scene: TwoCameras) -> None:
    """Colour and depth of each point are right, at (nearly) every pixel that both cameras see."""
    wanted, seen = scene.registered()
    measured = frame.depth_m > 0
    np.testing.assert_allclose(frame.depth_m[measured], scene.depth_m(bent=False)[measured], atol=6e-4)
    both = measured & seen
    assert both.mean() > 0.6
    assert frame.colour is not None and frame.colour.shape == (*frame.depth_m.shape, 3)
    error = np.abs(frame.colour[both].astype(int) - wanted[both])
    assert error.max() <= COLOUR_TOLERANCE, error.max()
    unregistered = np.abs(cv2.resize(scene.colour_rgb(), frame.depth_m.shape[::-1])[both].astype(int) - wanted[both])
    assert unregistered.mean() > 3 and unregistered.max() > 20  # so that the test tells one from the other
    fx, fy, cx, cy = scene.depth.pinhole
    camera = CameraIntrinsics(fx, fy, cx, cy, scene.depth.width, scene.depth.height)
    assert frame.intrinsics == camera


def matrix_yaml(name: str, matrix: Array, indent: str = "") -> str:
    rows, columns = np.atleast_2d(matrix).shape
    data = ", ".join(f"{value:.17e}" for value in np.ravel(matrix))
    return (
        f"{indent}{name}: !!opencv-matrix\n{indent}   rows: {rows}\n{indent}   cols: {columns}\n"
        f"{indent}   dt: d\n{indent}   data: [ {data} ]\n"
    )


def opencv_yaml(scene: TwoCameras) -> str:
    """One flat file with words for the direction."""
    return "%YAML:1.0\n---\n" + "".join(
        (
            matrix_yaml("rgb_camera_matrix", scene.colour.matrix),
            matrix_yaml("rgb_distortion_coefficients", np.array([scene.colour.distortion or (0.0,) * 5])),
            matrix_yaml("ir_camera_matrix", scene.depth.matrix),
            matrix_yaml("ir_distortion_coefficients", np.array([scene.depth.distortion or (0.0,) * 5])),
            matrix_yaml("depth_to_color_rotation", scene.colour_from_depth[:3, :3]),
            matrix_yaml("depth_to_color_translation", scene.colour_from_depth[:3, 3:]),
        )
    )


def rgbdemo_yaml(scene: TwoCameras) -> str:
    """RGBDemo's own names; R and T take points of colour to depth."""
    back = np.linalg.inv(scene.colour_from_depth)
    return "%YAML:1.0\n---\n" + "".join(
        (
            matrix_yaml("rgb_intrinsics", scene.colour.matrix),
            matrix_yaml("rgb_distortion", np.array([scene.colour.distortion or (0.0,) * 5])),
            matrix_yaml("depth_intrinsics", scene.depth.matrix),
            matrix_yaml("depth_distortion", np.array([scene.depth.distortion or (0.0,) * 5])),
            matrix_yaml("R", back[:3, :3]),
            matrix_yaml("T", back[:3, 3:]),
            matrix_yaml("rgb_size", np.array([[scene.colour.width, scene.colour.height]])),
            matrix_yaml("depth_size", np.array([[scene.depth.width, scene.depth.height]])),
        )
    )


def nested_yaml(scene: TwoCameras) -> str:
    """ROS' camera_info below two names, and a transform in millimetres from colour to depth."""
    text = ""
    for name, camera in (("depth", scene.depth), ("color", scene.colour)):
        k = ", ".join(repr(float(v)) for v in camera.matrix.ravel())
        d = ", ".join(repr(float(v)) for v in camera.distortion or (0.0,) * 5)
        model = "rational_polynomial" if len(camera.distortion) > 5 else "plumb_bob"
        text += f"{name}:\n  image_width: {camera.width}\n  image_height: {camera.height}\n"
        text += f"  camera_matrix:\n    rows: 3\n    cols: 3\n    data: [{k}]\n  distortion_model: {model}\n"
        text += f"  distortion_coefficients:\n    rows: 1\n    cols: 5\n    data: [{d}]\n"
        text += f"  projection_matrix:\n    rows: 3\n    cols: 4\n    data: [{', '.join(['1'] * 12)}]\n"
    back = np.linalg.inv(scene.colour_from_depth)
    back[:3, 3] *= 1000
    rows = "".join(f"  - [{', '.join(repr(float(v)) for v in row)}]\n" for row in back)
    return f"{text}color_to_depth:\n{rows}"


def json_file(scene: TwoCameras) -> str:
    def camera(it: Camera) -> dict:
        names = dict(zip(("fx", "fy", "ppx", "ppy"), it.pinhole, strict=True))
        return {"width": it.width, "height": it.height, **names, "coeffs": list(it.distortion)}

    transform = {
        "rotation": scene.colour_from_depth[:3, :3].ravel().tolist(),
        "translation": scene.colour_from_depth[:3, 3].tolist(),
    }
    return json.dumps(
        {"depth": camera(scene.depth), "colour": camera(scene.colour), "extrinsics": {"colourFromDepth": transform}}
    )


def xml_file(scene: TwoCameras) -> str:
    def matrix(name: str, values: Array) -> str:
        data = " ".join(f"{v:.17e}" for v in np.ravel(values))
        return f'<{name} type_id="opencv-matrix"><rows>3</rows><cols>3</cols><dt>d</dt>\n<data>{data}</data></{name}>\n'

    return (
        '<?xml version="1.0"?>\n<opencv_storage>\n<!-- by hand -->\n'
        + matrix("K_color", scene.colour.matrix)
        + matrix("dist_color", np.array(scene.colour.distortion or (0.0,) * 5))
        + matrix("K_depth", scene.depth.matrix)
        + matrix("dist_depth", np.array(scene.depth.distortion or (0.0,) * 5))
        + matrix("depth2color", scene.colour_from_depth)
        + "</opencv_storage>\n"
    )


@pytest.mark.parametrize("scene", [APART, BENT], ids=["pinholes", "bent"])
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("calibration.yml", opencv_yaml),
        ("calibration.yml", rgbdemo_yaml),
        ("calibration.yaml", nested_yaml),
        ("calibration.json", json_file),
        ("calib.xml", xml_file),
        ("kinect_calibration.yml", rgbdemo_yaml),
    ],
)
def test_calibration_file_with_two_cameras(
    tmp_path: Path, name: str, write: Callable[[TwoCameras], str], scene: TwoCameras
) -> None:
    write_frames(tmp_path, scene)
    (tmp_path / name).write_text(write(scene))
    check(play(tmp_path), scene)


def test_kinect2_calibration_in_three_files(tmp_path: Path) -> None:
    """iai_kinect2: the depth image is infrared's; calib_depth.yaml holds a shift only."""
    write_frames(tmp_path, BENT)
    for name, camera in (("ir", BENT.depth), ("color", BENT.colour)):
        text = matrix_yaml("cameraMatrix", camera.matrix)
        text += matrix_yaml("distortionCoefficients", np.array([camera.distortion]))
        text += matrix_yaml("rotation", np.eye(3)) + matrix_yaml("projection", np.eye(4))
        (tmp_path / f"calib_{name}.yaml").write_text("%YAML:1.0\n---\n" + text)
    (tmp_path / "calib_depth.yaml").write_text("%YAML:1.0\n---\ndepthShift: -2.5\n")
    pose = matrix_yaml("rotation", BENT.colour_from_depth[:3, :3])
    pose += matrix_yaml("translation", BENT.colour_from_depth[:3, 3:]) + matrix_yaml("essential", np.eye(3))
    (tmp_path / "calib_pose.yaml").write_text("%YAML:1.0\n---\n" + pose)
    check(play(tmp_path), BENT)


def write_volume_deform(folder: Path, scene: TwoCameras) -> Path:
    write_frames(folder, scene, ("frame-{:06d}.depth.png", "frame-{:06d}.color.png"))
    for name, camera in (("depth", scene.depth), ("color", scene.colour)):
        whole = np.eye(4)
        whole[:3, :3] = camera.matrix
        np.savetxt(folder / f"{name}Intrinsics.txt", whole)
    return folder


@pytest.mark.parametrize(
    ("name", "inverse"),
    [("colour_from_depth.txt", False), ("depth_to_color.txt", False), ("colorToDepth.txt", True)],
)
def test_volume_deform_with_a_transform(tmp_path: Path, name: str, inverse: bool) -> None:
    write_volume_deform(tmp_path, APART)
    matrix = APART.colour_from_depth
    np.savetxt(tmp_path / name, np.linalg.inv(matrix) if inverse else matrix)
    frame = play(tmp_path)
    check(frame, APART)
    assert frame.name == "frame-000000"


def test_two_cameras_without_a_transform_are_refused_with_what_to_give(tmp_path: Path) -> None:
    write_volume_deform(tmp_path, APART)
    with pytest.raises(InputError, match=r"two cameras.*colour_from_depth.txt.*intrinsics=.*depth alone"):
        FolderSource.open(tmp_path)
    for file in tmp_path.glob("*.color.png"):
        file.unlink()
    frame = play(tmp_path)  # depth alone needs no transform, and has depth's intrinsics
    assert frame.colour is None and frame.intrinsics.fx == APART.depth.pinhole[0]


def test_the_same_camera_twice_is_registered_and_told(tmp_path: Path) -> None:
    scene = TwoCameras(depth=APART.depth, colour=APART.depth, colour_from_depth=np.eye(4))
    write_volume_deform(tmp_path, scene)
    with FolderSource.open(tmp_path) as source:
        assert any("are the same, so colour is taken as registered" in text for text in source.counts.warnings)
        np.testing.assert_array_equal(next(iter(source)).colour, scene.colour_rgb())
    for file in tmp_path.glob("*Intrinsics.txt"):
        file.unlink()
    text = json.loads(json_file(scene))
    del text["extrinsics"]
    (tmp_path / "calibration.json").write_text(json.dumps(text))
    with FolderSource.open(tmp_path) as source:
        assert any("are the same, so colour is taken as registered" in text for text in source.counts.warnings)
        assert source.intrinsics.fx == 60


def test_transform_in_a_file_of_its_own_beside_one_file_of_both(tmp_path: Path) -> None:
    write_frames(tmp_path, BENT)
    text = json.loads(json_file(BENT))
    del text["extrinsics"]
    (tmp_path / "calibration.json").write_text(json.dumps(text))
    with pytest.raises(InputError, match="calibration.json.*no transform between them.*colour_from_depth.txt"):
        FolderSource.open(tmp_path)
    np.savetxt(tmp_path / "colour_from_depth.txt", BENT.colour_from_depth)
    check(play(tmp_path), BENT)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("depth_to_color_rotation", "rotation"), "no transform between them whose direction"),
        (lambda text: text.replace("depth_to_color", "stereo"), "no transform between them whose direction"),
        (lambda text: text.replace("rgb_camera", "left_camera").replace("ir_camera", "right_camera"), "do not tell"),
        (lambda text: text.replace("ir_distortion", "ir_lens_model: equidistant\nir_distortion"), "is not known"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, change: Callable[[str], str], message: str) -> None:
    write_frames(tmp_path, BENT)
    (tmp_path / "calibration.yml").write_text(change(opencv_yaml(BENT)))
    with pytest.raises(InputError, match=f"calibration.yml.*{message}"):
        FolderSource.open(tmp_path)


@pytest.mark.parametrize(("length", "unit"), [(0.05, "m"), (50.0, "mm"), (2.0, "")])
def test_unit_of_the_transform(length: float, unit: str) -> None:
    matrix = turned(0, 0, 0, (length, 0, 0))
    text = opencv_yaml(TwoCameras(colour_from_depth=matrix))
    found = entries(text, ".yml", "c.yml")
    if not unit:
        with pytest.raises(InputError, match="neither metres.*nor millimetres"):
            rig_of(found, "c.yml")
        return
    assert rig_of(found, "c.yml").colour_from_depth[0, 3] == pytest.approx(0.05)


def test_given_intrinsics_win_over_files_of_two_cameras(tmp_path: Path) -> None:
    scene = TwoCameras(depth=APART.depth, colour=Camera((66.0, 65.0, 40.0, 29.0), 80, 60))
    write_frames(tmp_path, scene)
    given = CameraIntrinsics(70, 70, 40, 30, 80, 60)
    for text in (opencv_yaml(scene), opencv_yaml(scene).replace("depth_to_color", "stereo")):
        (tmp_path / "calibration.yml").write_text(text)
        with FolderSource.open(tmp_path, FolderConfig(intrinsics=given)) as source:
            frame = next(iter(source))
            assert frame.intrinsics == given
            np.testing.assert_array_equal(frame.colour, scene.colour_rgb())
            assert any("calibration.yml" in text and "not used" in text for text in source.counts.warnings)


def test_intrinsics_for_both_beside_two_cameras_are_told(tmp_path: Path) -> None:
    scene = TwoCameras(depth=APART.depth, colour=APART.depth)
    write_frames(tmp_path, scene)
    (tmp_path / "calibration.yml").write_text(opencv_yaml(scene))
    (tmp_path / "intrinsics.txt").write_text("60 61 39 30.5")
    with FolderSource.open(tmp_path) as source:
        assert any("calibration.yml: not used, since" in text for text in source.counts.warnings)


def test_seven_scenes(tmp_path: Path) -> None:
    """No calibration: refused with what to give; with intrinsics it plays, and tells that colour is beside depth."""
    folder = write_frames(tmp_path / "seq-01", APART, ("frame-{:06d}.depth.png", "frame-{:06d}.color.png"))
    depth = APART.depth_mm()
    depth[:5] = 65535
    for index in range(2):
        write_png(folder / f"frame-{index:06d}.depth.png", depth)
        write_png(folder / f"frame-{index:06d}.color.png", cv2.resize(APART.colour_rgb(), (80, 60)))
        (folder / f"frame-{index:06d}.pose.txt").write_text("1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n")
    for path in (tmp_path, folder):
        with pytest.raises(InputError, match=r"no calibration beside the images.*pass .intrinsics="):
            FolderSource.open(path)
    with FolderSource.open(tmp_path, FolderConfig(intrinsics=CameraIntrinsics(60, 61, 39, 30.5, 80, 60))) as source:
        assert any("as its own camera saw it" in text for text in source.counts.warnings)
        frame = next(iter(source))
    assert not frame.depth_m[:5].any()
    np.testing.assert_allclose(frame.depth_m[5:], APART.depth_m()[5:], atol=6e-4)
    write_frames(tmp_path / "seq-02", APART, ("frame-{:06d}.depth.png", "frame-{:06d}.color.png"))
    with pytest.raises(InputError, match="2 recordings .seq-01, seq-02.*give the folder of one"):
        FolderSource.open(tmp_path)


@pytest.mark.parametrize("extrinsics", [True, False])
def test_scannet_as_exported(tmp_path: Path, extrinsics: bool) -> None:
    scene = APART if extrinsics else TwoCameras(colour_from_depth=np.eye(4))
    write_frames(tmp_path, scene, ("depth/{}.png", "color/{}.png"))
    (tmp_path / "pose").mkdir()
    (tmp_path / "intrinsic").mkdir()
    base = turned(3, 2, 1, (0.02, 0, 0))
    for name, camera, extrinsic in (
        ("depth", scene.depth, np.linalg.inv(base) @ scene.colour_from_depth),
        ("color", scene.colour, np.linalg.inv(base)),
    ):
        whole = np.eye(4)
        whole[:3, :3] = camera.matrix
        np.savetxt(tmp_path / "intrinsic" / f"intrinsic_{name}.txt", whole)
        if extrinsics:
            np.savetxt(tmp_path / "intrinsic" / f"extrinsic_{name}.txt", extrinsic)
    with FolderSource.open(tmp_path) as source:
        assert source.layout == "scannet"
    check(play(tmp_path), scene)
    frame = play(tmp_path, intrinsics=CameraIntrinsics(60, 61, 39, 30.5, 80, 60))
    check(frame, scene)


# One device's numbers in their places, not of any real device.
AZURE_DEPTH = [0.51, 0.517, 0.4928, 0.4929, 3.1, 2.3, 0.13, 3.45, 3.35, 0.66, 0, 0, -5e-5, 8e-5]
AZURE_COLOUR = [0.4998, 0.5066, 0.478, 0.6374, 0.33, -2.489, 1.4537, 0.2089, -2.3029, 1.3751, 0, 0, -1.3e-4, -1.6e-4]


def azure_json(scene_transform: Array) -> dict:
    def camera(purpose: str, values: list[float], size: tuple[int, int], radius: float, matrix: Array) -> dict:
        return {
            "Purpose": f"CALIBRATION_CameraPurpose{purpose}",
            "Intrinsics": {
                "ModelParameterCount": 14,
                "ModelParameters": values,
                "ModelType": "CALIBRATION_LensDistortionModelBrownConrady",
            },
            "MetricRadius": radius,
            "Rt": {"Rotation": matrix[:3, :3].ravel().tolist(), "Translation": matrix[:3, 3].tolist()},
            "SensorWidth": size[0],
            "SensorHeight": size[1],
        }

    cameras = [
        camera("Depth", AZURE_DEPTH, (1024, 1024), 1.74, np.eye(4)),
        camera("PhotoVideo", AZURE_COLOUR, (4096, 3072), 0, scene_transform),
    ]
    return {"CalibrationInformation": {"Cameras": cameras, "Metadata": {"SerialId": "0"}}}


def opencv_order(values: list[float]) -> tuple[float, ...]:
    return (values[4], values[5], values[13], values[12], *values[6:10])


def azure_scene() -> TwoCameras:
    """NFOV 2x2 binned and 720p by the SDK's rules for those two modes, with pixel centres at integers."""
    cx, cy, fx, fy = AZURE_DEPTH[:4]
    depth = Camera((fx * 512, fy * 512, cx * 512 - 96.5, cy * 512 - 90.5), 320, 288, opencv_order(AZURE_DEPTH))
    cx, cy, fx, fy = AZURE_COLOUR[:4]
    colour = Camera((fx * 1280, fy * 960, cx * 1280 - 0.5, cy * 960 - 120.5), 1280, 720, opencv_order(AZURE_COLOUR))
    return TwoCameras(depth, colour, turned(5.0, 0.1, 0.1, (-0.032, -0.002, 0.004)))


def test_azure_kinect_calibration_beside_extracted_images(tmp_path: Path) -> None:
    scene = azure_scene()
    write_frames(tmp_path, scene)
    (tmp_path / "calibration.json").write_text(json.dumps(azure_json(scene.colour_from_depth)))
    frame = play(tmp_path)
    wanted, seen = scene.registered()
    both = (frame.depth_m > 0) & seen
    assert both.mean() > 0.5
    np.testing.assert_allclose(frame.depth_m[both], scene.depth_m(bent=False)[both], atol=6e-4)
    error = np.abs(frame.colour[both].astype(int) - wanted[both])  # type: ignore[index]
    assert error.max() <= COLOUR_TOLERANCE
    assert frame.intrinsics.fx == pytest.approx(scene.depth.pinhole[0])


def test_azure_kinect_modes() -> None:
    """Every mode sees the principal point's ray in one direction; sizes of none are refused."""
    rig = parse(json.dumps(azure_json(turned(0, 0, 0, (0.03, 0, 0)))), "calibration.json")
    assert isinstance(rig, AzureRig)
    for size, factor in (((640, 576), 2), ((1024, 1024), 2), ((512, 512), 1)):
        found = rig.for_sizes(size, None).depth.pinhole
        assert found.fx == pytest.approx(AZURE_DEPTH[2] * 512 * factor)
    for size in ((1920, 1080), (2048, 1536), (4096, 3072)):
        found = rig.for_sizes((640, 576), size).colour
        assert found is not None
        assert found.pinhole.fx / size[0] == pytest.approx(AZURE_COLOUR[2])
        assert (found.pinhole.cx + 0.5) / size[0] == pytest.approx(AZURE_COLOUR[0])
    same = rig.for_sizes((1280, 720), (1280, 720))  # depth that the SDK brought to the colour camera
    assert same.depth is same.colour and not same.colour_from_depth[:3, 3].any()
    with pytest.raises(InputError, match="640x480 are none of the device's"):
        rig.for_sizes((640, 480), (1280, 720))
    with pytest.raises(InputError, match="640x480 are none of the device's"):
        rig.for_sizes((640, 576), (640, 480))


def test_early_azure_kinect_calibration_of_16_to_9() -> None:
    data = azure_json(turned(0, 0, 0, (0.03, 0, 0)))
    old = json.loads(json.dumps(data))
    camera = old["CalibrationInformation"]["Cameras"][1]
    camera["SensorHeight"] = 2304
    values = camera["Intrinsics"]["ModelParameters"]
    values[1], values[3] = (values[1] * 3072 - 384) / 2304, values[3] * 3072 / 2304
    sizes = ((640, 576), (1920, 1080))
    new, early = (parse(json.dumps(d), "c.json").for_sizes(*sizes).colour for d in (data, old))
    assert new is not None and early is not None
    assert early.pinhole.cy == pytest.approx(new.pinhole.cy) and early.pinhole.fy == pytest.approx(new.pinhole.fy)


def test_lens_is_opencv_s() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.5, 0.5, (100, 3)) + (0, 0, 1.5)
    x, y = points[:, 0] / points[:, 2], points[:, 1] / points[:, 2]
    for coefficients in (BENT.depth.distortion, BENT.colour.distortion, (0.1, 0.02, 0.003, 0.004)):
        wanted, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), np.eye(3), np.array(coefficients))
        np.testing.assert_allclose(np.stack(distort(x, y, coefficients), axis=-1), wanted[:, 0], atol=1e-12)


def test_rays_beyond_what_a_lens_model_covers_take_no_colour() -> None:
    """A polynomial folds back: a point far off the axis would land inside the image."""
    pinhole = PinholeParameters(50, 50, 49.5, 49.5, "c", 100, 100)
    colour = lens(pinhole, (-0.5, 0.0, 0.0, 0.0))
    assert colour.max_radius == pytest.approx(np.sqrt(1 / 1.5), abs=2e-3)
    wide = lens(PinholeParameters(10, 10, 49.5, 49.5, "d", 100, 100), ())
    out = Registration(Rig(wide, colour, np.eye(4), "r"), (100, 100), (100, 100)).colour(
        np.full((100, 100, 3), 200, np.uint8), np.ones((100, 100), np.float32)
    )
    v, u = np.mgrid[:100, :100]
    radius = np.hypot(u - 49.5, v - 49.5) / 10
    assert not out[radius > 0.9].any() and (out[radius < 0.7] == 200).all()


def test_registration_keeps_depth_edges_and_holes() -> None:
    depth = lens(PinholeParameters(60, 60, 39.5, 29.5, "d", 80, 60), (0.2, 0.1, 0.0, 0.0))
    stored = np.full((60, 80), 1.0, np.float32)
    stored[:, 40:] = 2.0
    stored[20:30, 10:20] = 0.0
    out = Registration(Rig(depth, None, np.eye(4), "r"), (80, 60), None).depth(stored)
    assert set(np.unique(out)) <= {0.0, 1.0, 2.0}  # nothing between the surfaces, nothing into the hole
    mask = Registration(Rig(depth, None, np.eye(4), "r"), (80, 60), None).mask(stored > 1.5)
    assert mask.dtype == bool and mask[30, 60] and not mask[30, 20]


def test_calibrations_of_other_sizes_are_refused(tmp_path: Path) -> None:
    write_frames(tmp_path, APART)
    wrong = TwoCameras(depth=Camera(APART.depth.pinhole, 160, 120), colour=APART.colour)
    (tmp_path / "calibration.json").write_text(json_file(wrong))
    with pytest.raises(InputError, match="calibration.json.*160x120.*80x60"):
        FolderSource.open(tmp_path)


def test_one_camera_is_not_taken_for_two() -> None:
    one = matrix_yaml("camera_matrix", APART.depth.matrix) + matrix_yaml("distortion_coefficients", np.zeros((1, 5)))
    assert not names_two_cameras(entries(one, ".yml", "c"))
    pair = matrix_yaml("M1", APART.depth.matrix) + matrix_yaml("M2", APART.depth.matrix)
    assert names_two_cameras(entries(pair, ".yml", "c"))
    assert tokens("depthToColor") == tokens("depth_to_color") == ("depth", "to", "color")
    assert tokens("depth2color") == ("depth", "2", "color")


@pytest.mark.parametrize("suffix", [".yml", ".json", ".xml"])
def test_fuzz_calibrations_of_two_cameras(suffix: str) -> None:
    seeds = {
        ".yml": [opencv_yaml(BENT), rgbdemo_yaml(BENT), nested_yaml(BENT)],
        ".json": [json_file(BENT)],
        ".xml": [xml_file(BENT)],
    }[suffix]

    def read(data: bytes) -> object:
        return rig_of(entries(data.decode("utf-8", errors="replace"), suffix, "c"), "c")

    fuzz(read, [text.encode() for text in seeds], share=0.8)


def test_fuzz_azure_calibration() -> None:
    seed = json.dumps(azure_json(turned(1, 2, 3, (0.03, 0, 0)))).encode()
    fuzz(lambda data: parse(data.decode("utf-8", errors="replace"), "c").for_sizes((320, 288), (1280, 720)), [seed])
