"""The depth noise against closed forms: steps, growth with depth, shadows, edges and holes."""

from __future__ import annotations

import numpy as np
import pytest
import warp as wp

from bodystream.errors import ConfigurationError
from bodystream.sources.synthetic import DepthNoiseModel
from bodystream.sources.synthetic.noise import DepthNoise
from bodystream.types import CameraIntrinsics

CAMERA = CameraIntrinsics(460.0, 460.0, 319.5, 239.5, 640, 480)
FB = 460.0 * 0.05
QUIET = {"sigma_px": 0.0, "edge_jitter_px": 0.0, "edge_dropout": 0.0, "fattening": 0.0, "speckle_sigma": 99.0}


def noisy(depth_m: np.ndarray, model: DepthNoiseModel, seed: int = 0, frame: int = 0) -> np.ndarray:
    device = wp.get_device("cpu")
    image = wp.array(depth_m.astype(np.float32), dtype=wp.float32, device=device)
    height, width = depth_m.shape
    camera = CameraIntrinsics(460.0, 460.0, (width - 1) / 2, (height - 1) / 2, width, height)
    return np.array(DepthNoise(model, image, camera, seed, device)(frame).numpy())


def wall(z: float) -> np.ndarray:
    return np.full((480, 640), z, np.float32)


def test_depth_is_whole_millimetres_of_whole_disparity_steps() -> None:
    out = noisy(wall(2.2), DepthNoiseModel())
    z = out[out > 0].astype(np.float64)
    np.testing.assert_allclose(z * 1000, np.round(z * 1000), atol=1e-3)
    steps = FB / z * 32
    half_millimetre = FB / z**2 * 32 * 0.0005
    assert (np.abs(steps - np.round(steps)) <= half_millimetre * 1.01 + 1e-4).all()
    assert len(np.unique(np.round(steps))) > 8


def test_without_noise_only_the_quantisation_is_left() -> None:
    for z in (0.7, 2.2, 4.1):
        expected = np.round(FB / (np.round(FB / z * 32) / 32) * 1000) / 1000
        np.testing.assert_allclose(noisy(wall(z), DepthNoiseModel(**QUIET)), expected, atol=1e-6)  # type: ignore[arg-type]


def test_error_grows_with_the_square_of_depth() -> None:
    model = DepthNoiseModel(subpixel_px=1e-4)
    rms = {}
    for z in (1.0, 2.0, 4.0):
        out = np.concatenate([noisy(wall(z), model, frame=f)[None] for f in range(3)])
        rms[z] = np.std(out[out > 0].astype(np.float64))
        # sigma_z = z^2 sigma_d / (f B); Intel's tuning guide, "Depth RMS error"
        assert rms[z] == pytest.approx(z * z * model.sigma_px / FB, rel=0.1)
    assert rms[2.0] / rms[1.0] == pytest.approx(4.0, rel=0.12)
    assert rms[4.0] / rms[2.0] == pytest.approx(4.0, rel=0.12)


def test_noise_has_unit_variance_at_every_place_of_the_lattice_and_is_correlated() -> None:
    model = DepthNoiseModel(subpixel_px=1e-4, edge_jitter_px=0.0, speckle_sigma=99.0)
    error = np.stack([FB / noisy(wall(3.0), model, frame=f) - FB / 3.0 for f in range(6)]) / model.sigma_px
    for y in range(4):
        for x in range(4):
            assert np.std(error[:, y::4, x::4]) == pytest.approx(1.0, abs=0.05)

    def correlation(shift: int) -> float:
        return float(np.corrcoef(error[:, :, shift:].ravel(), error[:, :, : 640 - shift].ravel())[0, 1])

    assert correlation(1) > 0.6 and correlation(2) > 0.3 and abs(correlation(12)) < 0.03
    assert abs(np.corrcoef(error[0].ravel(), error[1].ravel())[0, 1]) < 0.03  # frames are independent


def test_the_shadow_at_the_left_is_as_wide_as_the_step_in_disparity() -> None:
    depth = wall(3.4)
    depth[100:300, 200:400] = 1.5
    out = noisy(depth, DepthNoiseModel(**QUIET))  # type: ignore[arg-type]
    width = FB / 1.5 - FB / 3.4
    hole = out == 0
    rows = hole[120:280]
    assert (rows.sum(axis=1) == np.floor(width)).all()
    assert rows[:, 200 - int(width) : 200].all()
    assert not hole[:100].any() and not hole[300:].any() and not rows[:, 400:].any()


def test_outlines_wobble_fatten_and_drop_out() -> None:
    depth = wall(3.4)
    depth[100:300, 200:400] = 1.5
    model = DepthNoiseModel()
    out = noisy(depth, model)
    right = out[110:290, 400:402]  # background just beside the near box
    assert 0.1 < (np.abs(right - 1.5) < 0.1).mean() < 0.8  # fattened
    assert 0.1 < (right == 0).mean() < 0.6
    assert (np.abs(out[110:290, 396:400] - 1.5) < 0.1).mean() > 0.6
    far = out[110:290, 412:600]
    assert (np.abs(far - 3.4) < 0.15)[far > 0].all()
    sides = np.isin(np.round(out[out > 0], 1), np.round(np.arange(1.4, 1.61, 0.1), 1)) | (out[out > 0] > 3.1)
    assert sides.all()  # no pixel flies between the two surfaces


def test_holes_are_rare_blobs_on_a_wall() -> None:
    out = np.stack([noisy(wall(2.0), DepthNoiseModel(), frame=f) for f in range(4)])
    hole = out == 0
    assert 5e-4 < hole.mean() < 1e-2
    beside = hole[:, :, 1:] & hole[:, :, :-1]
    assert beside.mean() > 20 * hole.mean() ** 2  # they come in blobs


def test_grazing_surfaces_are_lost() -> None:
    model = DepthNoiseModel(**{**QUIET, "subpixel_px": 1e-5})  # type: ignore[arg-type]
    v, u = np.mgrid[:480, :640]
    rx, ry = (u - 319.5) / 460.0, (v - 239.5) / 460.0
    height = 0.3  # of the camera above a floor [m]
    depth = np.where(ry > height / 9.0, height / np.maximum(ry, 1e-6), 0.0)
    cosine = ry / np.sqrt(rx * rx + ry * ry + 1.0)
    lost = noisy(depth, model) == 0
    begin, end = (np.cos(np.radians(a)) for a in model.grazing_deg)
    inside = np.roll(depth, 6, axis=0) > 0
    for low_deg, high_deg in ((0.0, 75.0), (77.0, 79.0), (80.0, 82.0), (83.0, 85.0), (87.1, 90.0)):
        chosen = inside & (cosine > np.cos(np.radians(high_deg))) & (cosine <= np.cos(np.radians(low_deg)))
        assert chosen.sum() > 300
        expected = np.clip((begin - cosine[chosen]) / (begin - end), 0.0, 1.0).mean()
        assert lost[chosen].mean() == pytest.approx(expected, abs=0.04)


def test_places_without_depth_and_out_of_range_give_holes() -> None:
    depth = wall(2.0)
    depth[:100] = 0.0
    depth[-100:] = 12.0
    out = noisy(depth, DepthNoiseModel(**QUIET))  # type: ignore[arg-type]
    assert (out[:100] == 0).all() and (out[-100:] == 0).all() and (out[110:370] > 0).all()


def test_the_same_seed_and_frame_give_the_same_bits_in_any_order() -> None:
    device = wp.get_device("cpu")
    image = wp.array(wall(2.0), dtype=wp.float32, device=device)
    one, two = (DepthNoise(DepthNoiseModel(), image, CAMERA, 9, device) for _ in range(2))
    first = {f: np.array(one(f).numpy()) for f in (0, 1, 2)}
    for f in (2, 0, 1):
        assert np.array_equal(two(f).numpy(), first[f])
    assert not np.array_equal(first[0], first[1])
    other = DepthNoise(DepthNoiseModel(), image, CAMERA, 10, device)
    assert (np.array(other(0).numpy()) != first[0]).mean() > 0.5


def test_noise_that_was_aimed_at_another_camera_is_that_camera_s() -> None:
    """Whatever it was made for before; another size or lattice is refused."""
    other = CameraIntrinsics(300.0, 300.0, 100.0, 90.0, CAMERA.width, CAMERA.height)
    model = DepthNoiseModel(baseline_m=0.08, sigma_px=0.2, edge_jitter_px=0.1)
    depth = wp.array(wall(2.0), dtype=wp.float32, device="cpu")
    device = wp.get_device("cpu")
    aimed = DepthNoise(DepthNoiseModel(), depth, CAMERA, 3, device)
    first = np.array(aimed(5).numpy())
    aimed.aim(model, other)
    wanted = np.array(DepthNoise(model, depth, other, 3, device)(5).numpy())
    assert np.array_equal(np.array(aimed(5).numpy()), wanted) and not np.array_equal(first, wanted)
    smaller = CameraIntrinsics(300.0, 300.0, 100.0, 90.0, 64, 48)
    for refused in ((model, smaller), (DepthNoiseModel(correlation_px=8), other)):
        with pytest.raises(ConfigurationError, match="make another DepthNoise"):
            aimed.aim(*refused)


@pytest.mark.parametrize("size", ((33, 47), (480, 641), (16, 16)))
def test_sizes_that_no_block_divides(size: tuple[int, int]) -> None:
    out = noisy(np.full(size, 1.0, np.float32), DepthNoiseModel(**QUIET))  # type: ignore[arg-type]
    np.testing.assert_allclose(out, 1.0, atol=2e-3)


@pytest.mark.parametrize(
    "options",
    (
        {"baseline_m": 0.0},
        {"subpixel_px": -1.0},
        {"correlated": 1.2},
        {"correlation_px": 0},
        {"sigma_px": -0.1},
        {"grazing_deg": (80.0, 70.0)},
    ),
)
def test_impossible_parameters_are_refused(options: dict) -> None:
    with pytest.raises(ConfigurationError):
        DepthNoiseModel(**options)
