"""The paper's networks: their size, the shapes that they give, and what depends on what."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")

from bodystream.correspondence.confidence import back_project_pixels  # noqa: E402
from bodystream.types import CameraIntrinsics  # noqa: E402
from bodystream_training.flow.model import FLOW_SCALE_PX, LEVELS, PwcNet, WeightNet, rgbd_input  # noqa: E402


@pytest.fixture(scope="module")
def pwc():
    torch.manual_seed(0)
    return PwcNet().eval()


def test_the_networks_are_as_large_as_the_paper_says(pwc: PwcNet) -> None:
    assert round(sum(p.numel() for p in pwc.parameters()) / 1e6, 3) == 9.374
    assert round(sum(p.numel() for p in WeightNet().parameters()) / 1e3) == 316


@torch.no_grad()
def test_the_flow_pyramid_has_five_levels_and_565_features(pwc: PwcNet) -> None:
    source, target = torch.rand(2, 1, 3, 64, 128)
    found = pwc(source, target)
    assert [tuple(f.shape) for f in found.flows_px] == [(1, 2, 64 >> level, 128 >> level) for level in LEVELS]
    assert found.features.shape == (1, 565, 16, 32)
    again = pwc.decode(pwc.encode(source), pwc.encode(target))
    torch.testing.assert_close(again.flows_px[-1], found.flows_px[-1], atol=1e-3, rtol=0)
    assert not torch.allclose(found.flows_px[-1], pwc(target, source).flows_px[-1])


@torch.no_grad()
def test_the_answer_is_decoder_and_context_together_in_pixels(pwc: PwcNet) -> None:
    found = pwc(*torch.rand(2, 1, 3, 64, 64))
    wanted = FLOW_SCALE_PX * (pwc.decoders[-1].flow(found.features) + pwc.context(found.features))
    torch.testing.assert_close(found.flows_px[-1], wanted)


@torch.no_grad()
def test_weights_see_the_target_where_the_flow_leads() -> None:
    torch.manual_seed(1)
    net = WeightNet().eval()
    source, target = torch.rand(2, 1, 6, 32, 48)
    features, still = torch.rand(1, 565, 8, 12), torch.zeros(1, 2, 8, 12)
    weight = net(source, target, still, features)
    assert weight.shape == (1, 1, 32, 48)
    # Both images moved 8 pixels to the right: the same inside, beyond what reaches across the border
    moved = net(source, target.roll(8, dims=3), still + torch.tensor([8.0, 0.0]).view(1, 2, 1, 1), features)
    torch.testing.assert_close(moved[..., :30], weight[..., :30])
    assert not torch.allclose(net(source, target.roll(8, dims=3), still, features)[..., :30], weight[..., :30])


def test_points_are_those_of_the_runtime() -> None:
    camera = CameraIntrinsics(50.0, 60.0, 11.0, 7.5, 24, 16)
    rng = np.random.default_rng(0)
    depth_m = rng.uniform(1, 3, (16, 24)).astype(np.float32)
    depth_m[3, 4] = np.nan
    rgb = torch.rand(1, 3, 16, 24)
    seen = rgbd_input(rgb, torch.from_numpy(depth_m)[None, None], torch.tensor([[50.0, 60.0, 11.0, 7.5]]))
    v, u = np.indices(depth_m.shape)
    points = back_project_pixels(np.stack([u, v], axis=2).astype(np.float32), np.nan_to_num(depth_m), camera)
    np.testing.assert_allclose(seen[0, 3:].permute(1, 2, 0).numpy(), points, atol=1e-6)
    torch.testing.assert_close(seen[:, :3], rgb)
