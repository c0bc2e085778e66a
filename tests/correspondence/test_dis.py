"""Dense inverse search and its weights on images whose motion is known exactly, and on recordings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from bodystream.correspondence import (
    ConstantCorrespondence,
    CorrespondenceEstimator,
    DisConfig,
    DisCorrespondence,
    shade_normals,
)
from bodystream.correspondence.alignment import affine_flow, estimate_affine, extend_flow, local_flow, returning_guess
from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.camera import back_project, project
from bodystream.types import Array, CameraIntrinsics, FlowField, RgbdFrame

CAMERA = CameraIntrinsics(260.0, 260.0, 160.0, 120.0, 320, 240)
U, V = np.meshgrid(np.arange(320, dtype=np.float32), np.arange(240, dtype=np.float32))


def texture(seed: int = 0) -> Array:
    """(600, 600, 3) uint8 of smooth random blobs of several sizes."""
    random = np.random.default_rng(seed)
    image = np.zeros((600, 600), np.float32)
    for sigma, gain in ((1.5, 1.0), (4.0, 2.5), (12.0, 7.0)):
        image += gain * cv2.GaussianBlur(random.normal(0, 40 * sigma, (600, 600)).astype(np.float32), (0, 0), sigma)
    grey = np.clip(128 + image * 45 / image.std(), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def frame_of(colour: Array | None, depth_m: Array, index: int = 0) -> RgbdFrame:
    return RgbdFrame(index, 1000 * (index + 1), depth_m, CAMERA, colour)


def view(u: Array, v: Array, image: Array) -> Array:
    """The texture seen at those coordinates, with the frame's origin 140 px inside it."""
    at = np.stack([u + 140, v + 140], axis=2).astype(np.float32)
    return cv2.remap(image, at, None, cv2.INTER_CUBIC)


def flat() -> Array:
    return np.full((240, 320), 1.5, np.float32)


def moved_pair(affine: Array, seed: int = 0) -> tuple[RgbdFrame, RgbdFrame, Array]:
    """Two frames of a fronto-parallel texture, the second moved by the affine map; and the flow."""
    inverse = cv2.invertAffineTransform(affine)
    image = texture(seed)
    target = view(inverse[0, 0] * U + inverse[0, 1] * V + inverse[0, 2],
                  inverse[1, 0] * U + inverse[1, 1] * V + inverse[1, 2], image)  # fmt: skip
    return frame_of(view(U, V, image), flat()), frame_of(target, flat(), 1), affine_flow(affine, (240, 320))


def middle(border: int = 50) -> Array:
    mask = np.zeros((240, 320), bool)
    mask[border:-border, border:-border] = True
    return mask


def whole(found: FlowField) -> FlowField:
    """A flow of squares of pixels as one of pixels."""
    n = found.cell_px
    flow_px, weight = (a.repeat(n, axis=0).repeat(n, axis=1) for a in (found.flow_px, found.weight))
    return FlowField(found.source_t_ns, found.target_t_ns, flow_px, weight)


def error_px(found: Array, truth: Array) -> Array:
    return np.linalg.norm(found - truth, axis=2)


@pytest.mark.parametrize("config", [DisConfig.live(), DisConfig.pairwise()], ids=["live", "pairwise"])
def test_small_affine_motion_is_found_and_believed(config: DisConfig) -> None:
    source, target, truth = moved_pair(np.array([[1.01, 0.02, 2.5], [-0.02, 0.99, -1.5]]))
    mask = middle()
    found = whole(DisCorrespondence(config).step(source, target, source_mask=mask))
    assert isinstance(DisCorrespondence(config), CorrespondenceEstimator)
    assert (found.source_t_ns, found.target_t_ns) == (1000, 2000)
    assert found.flow_px.dtype == found.weight.dtype == np.float32
    believed = found.weight > 0.5
    assert believed[mask].mean() > 0.9
    assert error_px(found.flow_px, truth)[believed].mean() < 0.25
    assert not found.weight[~mask].any()
    assert found.weight.max() <= 1


def test_large_motion_needs_alignment_or_a_guess() -> None:
    source, target, truth = moved_pair(np.array([[0.95, -0.17, 70.0], [0.17, 0.95, -45.0]]))
    mask = middle(70)
    pairwise = whole(DisCorrespondence(DisConfig.pairwise()).step(source, target, source_mask=mask))
    assert (pairwise.weight > 0.3)[mask].mean() > 0.8
    assert error_px(pairwise.flow_px, truth)[pairwise.weight > 0.3].mean() < 0.5

    live = DisCorrespondence(DisConfig.live())
    blind = whole(live.step(source, target, source_mask=mask))
    assert (blind.weight > 0.3)[mask].mean() < 0.4  # and where it failed it knows so
    assert ((blind.weight > 0.3) & (error_px(blind.flow_px, truth) > 3))[mask].mean() < 0.04
    guess = truth + np.float32(2.0)
    guess[100:110, 100:200] = np.nan  # where the caller knows nothing
    guided = whole(live.step(source, target, source_mask=mask, initial_flow_px=guess))
    assert (guided.weight > 0.3)[mask].mean() > 0.8
    assert error_px(guided.flow_px, truth)[guided.weight > 0.3].mean() < 0.5


def test_weights_fall_where_the_target_is_covered() -> None:
    source, target, truth = moved_pair(np.array([[1.0, 0, 4.0], [0, 1.0, 2.0]]))
    assert target.colour is not None
    colour = target.colour.copy()
    colour[90:140, 130:190] = view(U + 37, V - 71, texture(5))[90:140, 130:190]
    found = whole(DisCorrespondence().step(source, frame_of(colour, flat(), 1), source_mask=middle()))
    hidden, seen = found.weight[95:130, 133:180], found.weight[150:180, 60:250]
    assert np.mean(hidden > 0.3) < 0.15
    assert np.mean(seen > 0.5) > 0.95


def test_a_change_of_light_costs_little() -> None:
    source, target, truth = moved_pair(np.array([[1.0, 0, 3.0], [0, 1.0, 1.0]]))
    assert target.colour is not None
    darker = (target.colour * 0.9).astype(np.uint8)
    found = whole(DisCorrespondence().step(source, frame_of(darker, flat(), 1), source_mask=middle()))
    believed = found.weight > 0.3
    assert believed[middle()].mean() > 0.8
    assert error_px(found.flow_px, truth)[believed].mean() < 0.5


def test_landing_without_depth_on_an_edge_or_off_the_target_mask_has_no_weight() -> None:
    source, target, _ = moved_pair(np.array([[1.0, 0, 4.0], [0, 1.0, 0.0]]))
    depth_m = flat()
    depth_m[80:100] = 0
    depth_m[120:, 160:] = 2.5  # an edge at column 160, and too far a jump behind it
    target = frame_of(target.colour, depth_m, 1)
    target_mask = np.ones((240, 320), bool)
    target_mask[:, :100] = False
    found = whole(DisCorrespondence(DisConfig()).step(source, target, source_mask=middle(), target_mask=target_mask))
    assert not found.weight[80:100].any()
    assert not found.weight[125:, 158:].any()
    assert not found.weight[:, :94].any()
    assert (found.weight[130:180, 100:150] > 0.5).mean() > 0.9
    lenient = replace(DisConfig.live(), need_target_depth=False, max_depth_change_m=None)
    assert DisCorrespondence(lenient).step(source, target, source_mask=middle()).weight[85:95, 60:250].mean() > 0.5


def test_source_without_depth_has_no_weight() -> None:
    source, target, _ = moved_pair(np.array([[1.0, 0, 1.0], [0, 1.0, 0.0]]))
    holes = flat()
    holes[100:120, 100:120] = 0
    found = whole(DisCorrespondence().step(frame_of(source.colour, holes), target, source_mask=middle()))
    assert not found.weight[100:120, 100:120].any()
    assert found.weight[130:150, 130:150].mean() > 0.5


def bumps(shift_m: tuple[float, float]) -> Array:
    """Depth of a crumpled surface (waves of random direction and phase) that is moved sideways, on all pixels."""
    random = np.random.default_rng(4)
    angle, phase = random.uniform(0, 2 * np.pi, (2, 16))
    number = random.uniform(20, 70, 16)  # [rad/m]
    depth = np.full((240, 320), 1.2)
    for _ in range(40):  # fixed point: the height at the point that the pixel sees
        x = (U - CAMERA.cx) / CAMERA.fx * depth - shift_m[0]
        y = (V - CAMERA.cy) / CAMERA.fy * depth - shift_m[1]
        waves = [n * (x * np.cos(a) + y * np.sin(a)) + p for n, a, p in zip(number, angle, phase, strict=True)]
        depth = 1.2 + sum(0.15 / n * np.sin(w) for n, w in zip(number, waves, strict=True))
    return depth.astype(np.float32)


def test_depth_alone_gives_correspondence() -> None:
    shift = (0.012, -0.006)
    source, target = frame_of(None, bumps((0.0, 0.0))), frame_of(None, bumps(shift), 1)
    points = back_project(source.depth_m, CAMERA).astype(np.float64)
    truth = project(points + np.array([*shift, 0.0]), CAMERA) - np.stack([U, V], axis=2)
    found = whole(DisCorrespondence().step(source, target, source_mask=middle(30)))
    believed = found.weight > 0.3
    assert believed[middle(30)].mean() > 0.7
    assert error_px(found.flow_px, truth)[believed].mean() < 0.5
    # colour that says nothing leads nowhere unless the depth is asked
    grey = np.full((240, 320, 3), 90, np.uint8)
    asked = DisCorrespondence(replace(DisConfig.live(), image="depth")).step(
        frame_of(grey, source.depth_m), frame_of(grey, target.depth_m, 1), source_mask=middle(30)
    )
    assert np.array_equal(whole(asked).flow_px, found.flow_px)


def test_shading_of_a_plane_is_its_lambertian_shade() -> None:
    normal = np.array([0.3, -0.2, -0.9])
    normal /= np.linalg.norm(normal)
    rays = np.stack([(U - CAMERA.cx) / CAMERA.fx, (V - CAMERA.cy) / CAMERA.fy, np.ones_like(U)], axis=2)
    depth_m = (1.5 * normal[2] / (rays @ normal)).astype(np.float32)
    light = np.array([-0.45, -0.55, -0.70])
    expected = 128 + 127 * float(normal @ light) / np.linalg.norm(light)
    shade = shade_normals(depth_m, CAMERA)
    assert shade.dtype == np.uint8
    assert np.abs(shade[10:-10, 10:-10] - expected).max() < 2.5
    depth_m[100:110, 100:110] = 0
    holed = shade_normals(depth_m, CAMERA)
    assert len(np.unique(holed[100:110, 100:110])) == 1
    assert np.array_equal(holed[130:200], shade[130:200])


def test_no_mask_pixels_and_all_pixels() -> None:
    source, target, truth = moved_pair(np.array([[1.0, 0, 1.0], [0, 1.0, 1.0]]))
    estimator = DisCorrespondence()
    nothing = whole(estimator.step(source, target, source_mask=np.zeros((240, 320), bool)))
    assert not nothing.weight.any()
    everything = whole(estimator.step(source, target))
    assert (everything.weight[10:-10, 10:-10] > 0.5).mean() > 0.9
    single = np.zeros((240, 320), bool)
    single[0, 319] = True
    assert estimator.step(source, target, source_mask=single).flow_px.shape == (120, 160, 2)


def test_equal_input_gives_equal_output_and_earlier_results_stay() -> None:
    source, target, _ = moved_pair(np.array([[1.0, 0, 30.0], [0, 1.0, 20.0]]))
    estimator = DisCorrespondence(DisConfig.pairwise())
    first = estimator.step(source, target, source_mask=middle())
    kept = first.flow_px.copy()
    second = estimator.step(source, target, source_mask=middle())
    assert np.array_equal(second.flow_px, kept) and np.array_equal(second.weight, first.weight)
    estimator.step(target, source, source_mask=middle())
    assert np.array_equal(first.flow_px, kept)


def test_a_reduced_flow_covers_an_image_of_odd_size() -> None:
    source, target, truth = moved_pair(np.array([[1.0, 0, 2.0], [0, 1.0, 1.0]]))
    camera = CAMERA.cropped(slice(0, 239), slice(0, 317))
    odd = [replace(f, depth_m=f.depth_m[:239, :317], colour=f.colour[:239, :317], intrinsics=camera)
           for f in (source, target) if f.colour is not None]  # fmt: skip
    config = replace(DisConfig.live(), downscale=3)
    found = DisCorrespondence(config).step(*odd, source_mask=middle()[:239, :317])
    assert found.cell_px == 3 and found.flow_px.shape == (80, 106, 2) and found.weight.shape == (80, 106)
    believed = found.weight > 0.5
    assert believed.sum() > 0.9 * middle().sum() / 9
    assert error_px(found.flow_px, truth[1::3, 1::3][:, :106])[believed].mean() < 0.25


def test_wrong_sizes_are_refused() -> None:
    source, target, _ = moved_pair(np.array([[1.0, 0, 1.0], [0, 1.0, 1.0]]))
    small = RgbdFrame(1, 1, np.ones((120, 160), np.float32), CAMERA.scaled(0.5))
    estimator = DisCorrespondence()
    with pytest.raises(InputError, match="one size"):
        estimator.step(source, small)
    with pytest.raises(InputError, match="source_mask"):
        estimator.step(source, target, source_mask=np.ones((120, 160), bool))
    with pytest.raises(InputError, match="initial_flow_px"):
        estimator.step(source, target, initial_flow_px=np.zeros((120, 150, 2), np.float32))
    with pytest.raises(InputError, match="initial_flow_px"):
        estimator.step(source, target, initial_flow_px=np.zeros((120, 160), np.float32))


@pytest.mark.parametrize("config", [DisConfig.live(), DisConfig()], ids=["reduced", "whole"])
def test_a_guess_for_each_square_of_pixels_counts_as_one_for_each_pixel(config: DisConfig) -> None:
    source, target, truth = moved_pair(np.array([[0.98, -0.08, 40.0], [0.08, 0.98, -30.0]]))
    mask, edge = middle(60), 7  # the last row and column of squares reach beyond the image
    at = (np.stack(np.meshgrid(np.arange(46), np.arange(35)), axis=2).astype(np.float32) + 0.5) * edge - 0.5
    inside = np.clip(np.rint(at).astype(int), 0, [319, 239])
    coarse = truth[inside[..., 1], inside[..., 0]] + np.float32(1.5)
    coarse[18, 10:20] = np.nan
    estimator = DisCorrespondence(config)
    fine = whole(estimator.step(source, target, source_mask=mask, initial_flow_px=truth + np.float32(1.5)))
    found = whole(estimator.step(source, target, source_mask=mask, initial_flow_px=coarse))
    both = (fine.weight > 0.3) & (found.weight > 0.3)
    assert both[mask].mean() > 0.9
    assert error_px(found.flow_px, fine.flow_px)[both].mean() < 0.15
    nothing = whole(estimator.step(source, target, source_mask=mask, initial_flow_px=np.full_like(coarse, np.nan)))
    blind = whole(estimator.step(source, target, source_mask=mask))
    assert np.array_equal(nothing.flow_px, blind.flow_px) and np.array_equal(nothing.weight, blind.weight)


@pytest.mark.parametrize(
    "options",
    [
        {"preset": "slow"},
        {"image": "heat"},
        {"align": "magic"},
        {"passes": 0},
        {"noise": 0.0},
        {"min_weight": 1.0},
        {"max_depth_change_m": -1.0},
        {"confidence_stride": 0},
        {"patch_stride": 0},
        {"finest_scale": -1},
        {"backward_finest_scale": -1},
    ],
)
def test_unusable_options_are_refused(options: dict) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        DisConfig(**options)


def test_constant_flow_keeps_what_is_finite_and_inside() -> None:
    source, target, _ = moved_pair(np.array([[1.0, 0, 1.0], [0, 1.0, 1.0]]))
    flow = np.full((240, 320, 2), 10.0, np.float32)
    flow[5, 5] = np.nan
    estimator = ConstantCorrespondence(flow)
    found = whole(estimator.step(source, target))
    assert found.weight[5, 5] == 0 and found.weight.sum() == 240 * 320 - 1
    assert np.isfinite(found.flow_px).all()
    target_mask = np.zeros((240, 320), bool)
    target_mask[:, 200:] = True
    masked = whole(estimator.step(source, target, source_mask=middle(), target_mask=target_mask))
    assert not masked.weight[:, :190].any() and masked.weight[100, 190] == 1
    assert isinstance(estimator, CorrespondenceEstimator)
    estimator.close()
    with pytest.raises(InputError, match="pixels"):
        ConstantCorrespondence(flow[:100]).step(source, target)
    with pytest.raises(InputError, match="weight"):
        ConstantCorrespondence(flow, np.full((240, 320), 2.0))


def test_affine_is_found_among_wrong_matches_and_noise_gives_none() -> None:
    random = np.random.default_rng(3)
    affine = np.array([[0.9, 0.2, 30.0], [-0.2, 0.9, 12.0]])
    a = random.uniform(0, 300, (200, 2))
    b = a @ affine[:, :2].T + affine[:, 2]
    b[:120] = random.uniform(0, 300, (120, 2))
    found = estimate_affine(a, b)
    assert found is not None
    assert np.abs(a @ (found - affine)[:, :2].T + (found - affine)[:, 2]).max() < 2.0
    smooth = local_flow(a, b, (300, 300))
    assert smooth is not None
    truth = affine_flow(affine, (300, 300))
    assert np.median(error_px(smooth, truth)[30:-30, 30:-30]) < 8
    assert estimate_affine(a[:5], b[:5]) is None
    assert local_flow(a[:120], b[:120], (300, 300)) is None


def test_extend_flow_keeps_what_is_known_and_fills_smoothly() -> None:
    truth = affine_flow(np.array([[1.1, 0.0, 5.0], [0.05, 1.0, -3.0]]), (120, 160))
    known = np.zeros((120, 160), np.float32)
    known[20:100, 20:140] = 1
    known[50:60, 60:80] = 0
    flow = np.where(known[..., None] > 0, truth, np.nan).astype(np.float32)
    filled = extend_flow(flow, known)
    assert np.allclose(filled[known > 0], truth[known > 0], atol=1e-5)
    assert error_px(filled, truth)[50:60, 60:80].max() < 1.0
    assert np.isfinite(filled).all()
    assert not extend_flow(flow, np.zeros_like(known)).any()


def read_channels(path: Path) -> Array:
    """DeepDeform's flow files: three uint32 (width, height, channels), then float32 channel by channel."""
    data = path.read_bytes()
    width, height, channels = np.frombuffer(data[:12], "<u4")
    return np.frombuffer(data[12:], "<f4").reshape(channels, height, width).transpose(1, 2, 0)


def test_swung_shirt_of_deepdeform(shared_data: Path) -> None:
    folder = shared_data / "depth" / "deepdeform_seq258"
    camera = CameraIntrinsics(575.548, 577.46, 323.172, 236.417, 640, 480)
    frames = []
    for i, name in enumerate(("000000", "000110")):
        colour = np.asarray(cv2.imread(str(folder / "color" / f"{name}.jpg"), cv2.IMREAD_COLOR))
        depth = np.asarray(cv2.imread(str(folder / "depth" / f"{name}.png"), cv2.IMREAD_UNCHANGED))
        frames.append(RgbdFrame(i, i, depth.astype(np.float32) / 1000, camera, np.ascontiguousarray(colour[..., ::-1])))
    mask = np.asarray(cv2.imread(str(folder / "mask" / "000000_shirt.png"), cv2.IMREAD_UNCHANGED)) > 0
    truth = read_channels(next((folder / "optical_flow").iterdir()))
    found = whole(DisCorrespondence(DisConfig.pairwise()).step(frames[0], frames[1], source_mask=mask))
    known = mask & np.isfinite(truth).all(axis=2)
    error = error_px(found.flow_px, np.where(known[..., None], truth, 0))
    believed = known & (found.weight > 0.1)
    assert np.median(np.linalg.norm(truth[known], axis=1)) > 100
    assert believed.sum() > 0.7 * known.sum()
    assert np.median(error[believed]) < 5
    assert error[believed].mean() < 10


def test_turning_person_depth_consistent_with_the_tracker(shared_data: Path) -> None:
    """Three frames on (about 12 px): the flow of the reference trajectory, where it is seen in both frames."""
    folder = shared_data / "depth" / "turning_person"
    camera = CameraIntrinsics(525.0, 525.0, 320.0, 240.0, 640, 480)
    frames, poses = [], []
    for i in (10, 12):
        colour = np.asarray(cv2.imread(str(folder / f"{i:010d}.jpg"), cv2.IMREAD_COLOR))
        depth = np.asarray(cv2.imread(str(folder / f"{i:010d}_depth.png"), cv2.IMREAD_UNCHANGED))
        mask = np.asarray(cv2.imread(str(folder / f"{i:010d}_mask.jpg"), cv2.IMREAD_GRAYSCALE)) > 127
        depth_m = depth.astype(np.float32) / 1000
        frames.append(
            RgbdFrame(i, i, depth_m, camera, np.ascontiguousarray(colour[..., ::-1]), mask=mask & (depth_m > 0))
        )
        stored = cv2.FileStorage(str(folder / f"{i:010d}_camera.xml"), cv2.FILE_STORAGE_READ)
        poses.append((stored.getNode("R").mat(), stored.getNode("t").mat().reshape(3)))
    (source, target), ((r0, t0), (r1, t1)) = frames, poses
    moved = (back_project(source.depth_m, camera).astype(np.float64) @ r0.T + t0 - t1) @ r1
    u, v = np.meshgrid(np.arange(640.0), np.arange(480.0))
    landing = project(moved, camera)
    truth = landing - np.stack([u, v], axis=2)
    there = cv2.remap(target.depth_m, np.nan_to_num(landing).astype(np.float32), None, cv2.INTER_NEAREST)
    seen = source.mask & (np.abs(there - moved[..., 2]) < 0.02)
    found = whole(DisCorrespondence().step(source, target, source_mask=source.mask, target_mask=target.mask))
    believed = seen & (found.weight > 0.1)
    assert believed.sum() > 0.7 * seen.sum()
    assert np.median(error_px(found.flow_px, truth)[believed]) < 0.4 * np.median(np.linalg.norm(truth[seen], axis=1))


def test_the_way_back_is_guessed_from_the_way_there():
    """Of an affine flow the other way is known exactly; where nothing landed it is continued."""
    size = (160, 128)
    turn = np.array([[1.02, -0.05, 12.0], [0.05, 1.02, -9.0]])
    flow = affine_flow(turn, size[::-1])
    weight = np.zeros(size[::-1], np.float32)
    weight[24:104, 24:136] = 1.0
    flow[weight == 0] = 1e6  # does not count
    back = returning_guess(flow, weight, 8)
    assert back.shape == (16, 20, 2)
    inverse = cv2.invertAffineTransform(turn)
    cells = np.stack(np.meshgrid(np.arange(20), np.arange(16)), axis=2) * 8 + 3.5
    truth = cells @ inverse[:, :2].T + inverse[:, 2] - cells
    landed = cells @ inverse[:, :2].T + inverse[:, 2]
    inside = ((landed > 28) & (landed < (132, 100))).all(axis=2)
    assert inside.sum() > 80
    assert np.abs(back - truth)[inside].max() < 0.6
    assert np.abs(back - truth).max() < 8
    assert not returning_guess(flow, np.zeros_like(weight), 8).any()
