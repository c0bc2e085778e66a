"""The light flow network and what it is built of, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")

from bodystream_training.flow.layers import cost_volume, cost_volume_by_products, warp  # noqa: E402
from bodystream_training.flow.light import MULTIPLE, STRIDES, LightConfig, LightFlow, light_input  # noqa: E402


def _bilinear(image: np.ndarray, x: float, y: float) -> np.ndarray:
    """(C,) of (C, H, W), with zeros outside."""
    out = np.zeros(len(image))
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    for u, v in ((x0, y0), (x0 + 1, y0), (x0, y0 + 1), (x0 + 1, y0 + 1)):
        share = (1 - abs(x - u)) * (1 - abs(y - v))
        if 0 <= u < image.shape[2] and 0 <= v < image.shape[1]:
            out += share * image[:, v, u]
    return out


def test_warp_is_bilinear_sampling_with_zeros_outside() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 5, 7, generator=generator, dtype=torch.float64)
    flow = torch.rand(2, 2, 5, 7, generator=generator, dtype=torch.float64) * 8 - 4
    found = warp(image, flow).numpy()
    for b, y, x in np.ndindex(2, 5, 7):
        dx, dy = flow[b, :, y, x].tolist()
        np.testing.assert_allclose(found[b, :, y, x], _bilinear(image[b].numpy(), x + dx, y + dy), atol=1e-12)


@pytest.mark.parametrize("radius", [1, 3])
def test_both_cost_volumes_are_mean_products_with_the_shifted_target(radius: int) -> None:
    generator = torch.Generator().manual_seed(1)
    source, target = torch.randn(2, 2, 4, 6, 5, generator=generator, dtype=torch.float64)
    wanted = np.zeros((2, (2 * radius + 1) ** 2, 6, 5))
    for b, y, x in np.ndindex(2, 6, 5):
        shift = 0
        for dy in range(-radius, radius + 1):
            for dx in range(-radius, radius + 1):
                if 0 <= y + dy < 6 and 0 <= x + dx < 5:
                    wanted[b, shift, y, x] = (source[b, :, y, x] * target[b, :, y + dy, x + dx]).mean()
                shift += 1
    np.testing.assert_allclose(cost_volume(source, target, radius).numpy(), wanted, atol=1e-12)
    np.testing.assert_allclose(cost_volume_by_products(source, target, radius).numpy(), wanted, atol=1e-12)


def test_an_untrained_network_without_costs_answers_with_the_expected_flow() -> None:
    net = LightFlow().eval()
    for head in net.encoder.matching:
        torch.nn.init.zeros_(head[1].weight)
    image = torch.rand(1, 5, 64, 96)
    expected = torch.tensor([3.0, -2.0]).view(1, 2, 1, 1).expand(1, 2, 64, 96)
    estimates = net(image, image, expected, iterations=2)
    assert [e.flow_px.shape[2:] for e in estimates] == [(64 // s, 96 // s) for s in STRIDES for _ in range(2)]
    for estimate in estimates:
        torch.testing.assert_close(estimate.flow_px.mean((0, 2, 3)), torch.tensor([3.0, -2.0]))
        assert torch.sigmoid(estimate.weight_logit).unique().tolist() == [0.5]


def test_a_level_that_makes_no_change_keeps_the_expected_flow_to_the_last_bit() -> None:
    """Whatever the costs say: a good guess is nearer than what cells of several pixels can tell."""
    torch.manual_seed(3)
    network = LightFlow().eval()
    for level in network.decoder.levels:
        with torch.no_grad():
            level.head.bias[3] = -200.0
    guess = torch.full((1, 2, 64, 96), 1.25)
    with torch.no_grad():
        estimates = network(torch.randn(1, 5, 64, 96), torch.randn(1, 5, 64, 96), guess)
    assert all(torch.equal(one.flow_px, torch.full_like(one.flow_px, 1.25)) for one in estimates)


def test_a_match_is_the_mean_shift_under_the_costs() -> None:
    match = LightFlow().decoder.levels[0].match
    radius = LightConfig().radius[0]
    cost = torch.zeros(1, (2 * radius + 1) ** 2, 1, 2)
    cost[0, (2 * radius + 1) * (radius + 2) + radius - 1, 0, 1] = 8.0 + 5.0  # one to the left, two down
    found = match(cost)[0, :, 0]
    torch.testing.assert_close(found[:, 0], torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(found[:, 1], torch.tensor([-1.0, 2.0]), atol=2e-2, rtol=0)


def test_a_frame_is_encoded_the_same_as_source_and_as_target() -> None:
    net = LightFlow().eval()
    for level in net.decoder.levels:
        torch.nn.init.normal_(level.head.weight, std=0.1)
    source, target = torch.rand(2, 1, 5, MULTIPLE, 2 * MULTIPLE)
    initial = torch.randn(1, 2, MULTIPLE, 2 * MULTIPLE)
    together = net(source, target, initial)[-1]
    first, second = net.encoder(source), net.encoder(target)
    coarse = torch.nn.functional.avg_pool2d(initial, STRIDES[0])
    apart = net.decoder(first, [level.matching for level in second], coarse)[-1]
    torch.testing.assert_close(apart.flow_px, together.flow_px)
    torch.testing.assert_close(apart.weight_logit, together.weight_logit)
    assert not torch.allclose(together.flow_px, net(target, source, initial)[-1].flow_px)


def test_gradients_reach_every_parameter_after_the_first_step() -> None:
    net = LightFlow()
    for level in net.decoder.levels:
        torch.nn.init.normal_(level.head.weight, std=0.1)
    source, target = torch.rand(2, 2, 5, 64, 64)
    last = net(source, target, torch.zeros(2, 2, 64, 64))[-1]
    (last.flow_px.abs().mean() + last.weight_logit.mean()).backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not bool(torch.any(p.grad != 0))]
    assert without == []


def test_the_network_is_light() -> None:
    assert sum(p.numel() for p in LightFlow(LightConfig()).parameters()) < 250_000


def test_input_is_relative_to_the_subject_and_blind_to_its_distance() -> None:
    generator = torch.Generator().manual_seed(2)
    rgb = torch.rand(1, 3, 32, 32, generator=generator)
    mask = torch.zeros(1, 1, 32, 32)
    mask[:, :, 8:24, 8:24] = 1
    depth_m = 2 + 0.1 * torch.rand(1, 1, 32, 32, generator=generator)
    depth_m[0, 0, 10, 10], depth_m[0, 0, 11, 11] = 0, float("nan")
    seen = light_input(rgb, depth_m, mask)
    assert seen.shape == (1, 5, 32, 32)
    assert seen[0, 3, 10, 10] == 0 and seen[0, 3, 11, 11] == 0 and bool((seen[0, 3][mask[0, 0] == 0] == 0).all())
    farther = torch.where(depth_m > 0, depth_m + 1, depth_m)
    torch.testing.assert_close(light_input(rgb, farther, mask), seen, atol=1e-5, rtol=0)
    assert torch.isfinite(light_input(rgb, depth_m * 0, mask * 0)).all()
