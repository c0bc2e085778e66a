"""Batches of flow samples: mirrored pairs stay true, chance is seeded, the guess is as wrong as it should be."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as nn

from bodystream.errors import InputError
from bodystream.types import CameraIntrinsics
from bodystream_training.flow.batches import Augmentation, Guess, collate, halved
from bodystream_training.flow.sample import FlowSample

WIDTH, HEIGHT = 48, 64
STILL = Augmentation(*[0.0] * len(dataclasses.fields(Augmentation)))


def sample(seed=0, width=WIDTH, flow=(5.0, -3.0)):
    rng = np.random.default_rng(seed)
    camera = CameraIntrinsics(50.0, 52.0, 20.0, 30.0, width, HEIGHT)
    mask = np.zeros((HEIGHT, width), bool)
    mask[16:48, 12:36] = True
    flow_px = np.full((HEIGHT, width, 2), np.nan, np.float32)
    flow_px[mask] = flow
    scene_flow = np.full((HEIGHT, width, 3), np.nan, np.float32)
    scene_flow[mask] = (0.1, 0.2, 0.3)
    source = rng.integers(0, 256, (HEIGHT, width, 3), dtype=np.uint8)
    target = np.roll(source, (-3, 5), (0, 1))
    depth = np.full((HEIGHT, width), 2.0, np.float32)
    return FlowSample(
        source, target, depth, depth, camera, mask, np.roll(mask, (-3, 5), (0, 1)), flow_px, scene_flow, mask
    )


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_values_and_what_is_unknown():
    one = sample()
    batch = collate([one, sample(1)], seeded())
    assert len(batch) == 2 and batch.source_rgb.shape == (2, 3, HEIGHT, WIDTH)
    assert np.array_equal(batch.flow_known[0, 0].numpy() > 0, one.mask)
    assert torch.isfinite(batch.flow_px).all() and torch.isfinite(batch.scene_flow_m).all()
    assert batch.flow_px[0, :, 20, 20].tolist() == [5.0, -3.0]
    assert torch.equal(batch.source_rgb[0, :, 7, 9], torch.from_numpy(one.source_rgb[7, 9]).float() / 255)
    assert batch.intrinsics[0].tolist() == [50.0, 52.0, 20.0, 30.0]
    assert not batch.initial_flow_px.any()


def test_a_mirrored_pair_still_matches():
    """The target drawn back by the flow is the source, mirrored or not, and the point's ray moves as the point does."""
    batch = collate([sample()], seeded(), dataclasses.replace(STILL, mirrored=1.0))
    plain = collate([sample()], seeded(), STILL)
    assert torch.equal(batch.source_rgb, plain.source_rgb.flip(-1))
    for b in (batch, plain):
        v, u = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
        x = (u + b.flow_px[0, 0]) / (WIDTH - 1) * 2 - 1
        y = (v + b.flow_px[0, 1]) / (HEIGHT - 1) * 2 - 1
        back = nn.grid_sample(b.target_rgb, torch.stack([x, y], -1)[None], align_corners=True)
        inside = b.mask[0, 0] > 0
        assert torch.allclose(back[0, :, inside], b.source_rgb[0, :, inside], atol=1e-4)
    mirrored_point = (10.0 - batch.intrinsics[0, 2]) / batch.intrinsics[0, 0]
    point = (WIDTH - 1 - 10.0 - plain.intrinsics[0, 2]) / plain.intrinsics[0, 0]
    assert mirrored_point == pytest.approx(-float(point))
    assert batch.scene_flow_m[0, 0].min() == pytest.approx(-0.1)


def test_a_target_without_a_mask_has_what_is_as_far_away():
    """Half of the background stands as near as the subject, half of it 2 m behind."""
    one = sample()
    depth = np.full((HEIGHT, WIDTH), 4.0, np.float32)
    depth[:, : WIDTH // 2] = 2.2
    depth[one.target_mask] = 2.0
    one = dataclasses.replace(one, target_depth_m=depth)
    batch = collate([one] * 200, seeded(), dataclasses.replace(STILL, loose_mask=0.3))
    found = batch.target_mask[:, 0].numpy() > 0
    loose = np.array([not np.array_equal(mask, one.target_mask) for mask in found])
    assert 40 < loose.sum() < 80
    assert all(np.array_equal(mask, depth < 3) for mask in found[loose])
    assert np.array_equal(batch.mask[0, 0].numpy() > 0, one.mask)  # the source's is known


def test_same_seed_same_bits_and_other_seed_other_bits():
    pair = [sample(), sample(1)]
    first, again, other = (collate(pair, seeded(s), Augmentation(), Guess()) for s in (3, 3, 4))
    for field in dataclasses.fields(first):
        assert torch.equal(getattr(first, field.name), getattr(again, field.name)), field.name
    assert not torch.equal(first.source_rgb, other.source_rgb)
    assert not torch.equal(first.initial_flow_px, other.initial_flow_px)


def test_colours_stay_colours_and_both_images_change_alike():
    """On a still scene the two images stay nearer to each other than to what they were."""
    pairs = [dataclasses.replace(sample(k), target_rgb=sample(k).source_rgb) for k in range(12)]
    changed = dataclasses.replace(Augmentation(), mirrored=0.0, noise=0.0, blur_px=0.0)
    batch, plain = collate(pairs, seeded(), changed), collate(pairs, seeded())
    assert batch.source_rgb.min() >= 0.0 and batch.source_rgb.max() <= 1.0
    between = (batch.source_rgb - batch.target_rgb).abs().mean()
    from_plain = (batch.source_rgb - plain.source_rgb).abs().mean()
    assert 0.005 < between < 0.6 * from_plain


def test_grey_pairs_have_no_colour():
    batch = collate([sample()], seeded(), dataclasses.replace(STILL, grey=1.0))
    assert torch.allclose(batch.source_rgb[:, 0], batch.source_rgb[:, 2], atol=1e-6)
    assert batch.source_rgb.std() > 0.05


def test_blur_keeps_the_mean_and_takes_detail():
    batch = collate([sample()] * 6, seeded(), dataclasses.replace(STILL, blur_px=3.0))
    plain = collate([sample()], seeded())
    inside = (..., slice(4, -4), slice(4, -4))
    assert batch.source_rgb[inside].mean() == pytest.approx(float(plain.source_rgb[inside].mean()), abs=0.01)
    assert batch.source_rgb[inside].std() < 0.8 * plain.source_rgb[inside].std()


def test_guess_without_error_is_the_flow_continued_beyond_the_subject():
    batch = collate([sample()] * 4, seeded(), None, Guess(none=0.0, exact=1.0, error_px=0.0))
    for k in range(4):
        flow = batch.initial_flow_px[k].reshape(2, -1)
        assert flow.std(dim=1).max() < 1e-4  # constant on the subject, so constant everywhere
        assert 0.9 * 5.0 <= flow[0, 0] <= 1.1 * 5.0
        assert flow[1, 0] / flow[0, 0] == pytest.approx(-0.6, abs=1e-4)


def test_guess_is_sometimes_none_and_its_errors_are_smooth_and_bounded():
    batch = collate([sample()] * 200, seeded(), None, Guess(none=0.25, exact=1.0, error_px=10.0))
    none = (batch.initial_flow_px == 0).flatten(1).all(dim=1).float().mean()
    assert 0.15 < none < 0.35
    error = batch.initial_flow_px - torch.tensor([5.0, -3.0])[:, None, None]
    rough = (error[..., 1:] - error[..., :-1]).abs().mean()
    assert 0.0 < rough < 0.5  # [px] from pixel to pixel
    assert 1.0 < error.std() < 10.0


def test_no_guess_where_no_flow_is_known():
    unknown = dataclasses.replace(sample(), flow_px=np.full((HEIGHT, WIDTH, 2), np.nan, np.float32))
    batch = collate([unknown], seeded(), None, Guess(none=0.0, exact=1.0, error_px=0.0))
    assert not batch.initial_flow_px.any() and not batch.flow_known.any()


def test_sizes_must_agree():
    with pytest.raises(InputError, match=r"one size, got \[\(48, 64\), \(56, 64\)\]"):
        collate([sample(), sample(width=56)], seeded())
    with pytest.raises(InputError, match="no sample"):
        collate([], seeded())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("flow_px", np.zeros((HEIGHT, WIDTH, 3), np.float32)),
        ("source_rgb", np.zeros((HEIGHT, WIDTH, 3), np.float32)),
        ("target_depth_m", np.zeros((HEIGHT + 1, WIDTH), np.float32)),
        ("mask", np.zeros((HEIGHT, WIDTH), np.uint8)),
    ],
)
def test_a_sample_refuses_other_shapes_and_types(name, value):
    with pytest.raises(InputError, match=f"{name} of a flow sample"):
        dataclasses.replace(sample(), **{name: value})


def test_at_half_the_size_a_pair_is_what_a_camera_of_half_the_pixels_sees():
    """Flow in the new pixels, points at the same place in space, and truth only where at least one of four is known."""
    batch = collate([sample()], seeded(), STILL, Guess(none=0.0, exact=1.0, error_px=0.0))
    half = halved(batch)
    assert half.mask.shape == (1, 1, HEIGHT // 2, WIDTH // 2)
    inside = half.flow_known[0, 0] == 1
    assert torch.equal(inside, batch.mask[0, 0, ::2, ::2] > 0)
    assert torch.allclose(half.flow_px[0, :, inside], torch.tensor([[2.5], [-1.5]]), atol=1e-5)
    assert torch.allclose(half.initial_flow_px, nn.avg_pool2d(batch.initial_flow_px, 2) / 2)
    assert torch.allclose(half.source_rgb[0, :, 3, 5], batch.source_rgb[0, :, 6:8, 10:12].mean((1, 2)))
    # the ray of a pixel is the mean ray of its four
    for axis, (focal, centre) in enumerate(((0, 2), (1, 3))):
        (f, c), (f2, c2) = (b.intrinsics[0, [focal, centre]].tolist() for b in (batch, half))
        assert (7 - c2) / f2 == pytest.approx((14.5 - c) / f), axis
    assert torch.equal(half.source_depth_m, batch.source_depth_m[..., ::2, ::2])
