"""The flow and the latent predictor against what their equations promise."""

from __future__ import annotations

from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")

from bodystream.pose.features import DEVICES  # noqa: E402
from bodystream_training.pose.model import FlagConfig, LatentPredictor, PoseFlow, gaussian_nll  # noqa: E402

SMALL = FlagConfig(hidden=24, width=32, layers=2, heads=4, feed_forward=48, groups=4, categories=8, token_size=10)


def random_flow(config: FlagConfig = SMALL, seed: int = 0) -> PoseFlow:
    """A flow that is not the identity it starts as."""
    torch.manual_seed(seed)
    flow = PoseFlow(config).double()
    for block in flow.blocks:
        for net in (block.scale, block.translation):
            torch.nn.init.normal_(net[-1].weight, 0.0, 0.1)
    return flow


def test_the_flow_is_inverted_exactly() -> None:
    flow = random_flow()
    x, c = torch.randn(5, 66).double(), torch.randn(5, SMALL.condition_size).double()
    z, there = flow.to_latent(x, c)
    back, again = flow.to_pose(z, c)
    assert (z - x).abs().max() > 0.1
    torch.testing.assert_close(back, x, atol=1e-10, rtol=0)
    torch.testing.assert_close(there, -again, atol=1e-10, rtol=0)


def test_the_log_determinant_is_that_of_the_jacobian() -> None:
    flow = random_flow()
    x, c = torch.randn(1, 66).double(), torch.randn(1, SMALL.condition_size).double()
    jacobian = torch.autograd.functional.jacobian(lambda v: flow.to_latent(v, c)[0], x).reshape(66, 66)
    _, log_det = flow.to_latent(x, c)
    torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, log_det[0], atol=1e-8, rtol=0)


def test_densities_integrate_the_gaussian() -> None:
    value, mean, log_sigma = torch.randn(4, 6), torch.randn(4, 6), 0.3 * torch.randn(4, 6)
    wanted = -torch.distributions.Normal(mean, log_sigma.exp()).log_prob(value).sum(-1)
    got = gaussian_nll(value, mean, log_sigma) + 0.5 * 6 * torch.log(torch.tensor(2 * torch.pi))
    torch.testing.assert_close(got, wanted)


def test_intermediate_supervision_adds_the_papers_blocks_with_the_papers_weights() -> None:
    flow = random_flow()
    x, c = torch.randn(3, 66).double(), torch.randn(3, SMALL.condition_size).double()
    final, total, code = flow.nll(x, c, supervise=True)
    torch.testing.assert_close(code, flow.to_latent(x, c)[0])
    wanted, h, log_det = final.clone(), x, torch.zeros(3)
    for number, block in enumerate(flow.blocks, start=1):
        h, change = block(h, c)
        log_det = log_det + change
        if number in (2, 4, 6, 8, 10, 12, 14):
            wanted = wanted + number / 16 * (0.5 * (h**2).sum(-1) - log_det)
    torch.testing.assert_close(total, wanted)
    torch.testing.assert_close(flow.nll(x, c, supervise=False)[1], final)


def test_default_sizes_are_the_papers() -> None:
    config = FlagConfig()
    flow = PoseFlow(config)
    assert len(flow.blocks) == 16
    layers = [m for m in flow.blocks[0].scale if isinstance(m, torch.nn.Linear)]
    assert [layer.out_features for layer in layers] == [512, 512, 33]
    assert isinstance(flow.blocks[0].scale[1], torch.nn.Tanh) and isinstance(
        flow.blocks[0].translation[1], torch.nn.ReLU
    )
    predictor = LatentPredictor(config, DEVICES)
    assert len(predictor.encoder.layers) == 3 and predictor.encoder.layers[0].self_attn.num_heads == 8
    assert predictor.to_latent[-1].out_features == 64 * 128


def test_the_predictor_ignores_what_a_lost_hand_would_say_and_uses_shown_joints() -> None:
    torch.manual_seed(0)
    predictor = LatentPredictor(SMALL, DEVICES).eval()
    condition = torch.randn(2, SMALL.condition_size)
    tracked = torch.tensor([[1.0, 1.0, 0.0]]).expand(2, 3)
    base = predictor(condition, tracked)
    joints = torch.randn(2, 22, 9)
    assert (predictor(condition, tracked, joints, (3, 6)).mu - base.mu).abs().max() > 1e-4
    assert (predictor(condition, torch.ones(2, 3)).mu - base.mu).abs().max() > 1e-4
    assert base.pose is None and predictor(condition, tracked, temperature=1.0).pose.shape == (1, 66)
    assert base.log_sigma.min() >= -5 and base.log_sigma.max() <= 2
