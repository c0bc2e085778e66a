"""Losses of flow and weights against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")

from bodystream_training.flow.losses import (  # noqa: E402
    correspondence_loss,
    in_cells,
    robust,
    weight_loss,
    weight_target,
)


def test_a_cell_is_the_mean_of_its_known_pixels() -> None:
    rng = np.random.default_rng(0)
    values, known = rng.normal(size=(1, 2, 8, 12)), (rng.random((1, 1, 8, 12)) < 0.4).astype(float)
    known[0, 0, :4, :4] = 0
    known[0, 0, 0, 0] = 1  # a sixteenth: too little
    mean, counts = in_cells(torch.from_numpy(values), torch.from_numpy(known), 4)
    assert counts.shape == (1, 1, 2, 3) and counts[0, 0, 0, 0] == 0
    for y, x in np.ndindex(2, 3):
        where = known[0, 0, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4] > 0
        if where.mean() >= 0.25:
            wanted = values[0, :, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4][:, where].mean(axis=1)
            np.testing.assert_allclose(mean[0, :, y, x].numpy(), wanted, atol=1e-6)
            assert float(counts[0, 0, y, x]) == pytest.approx(where.mean())


def test_the_norm_is_that_of_the_paper() -> None:
    error = torch.tensor([3.0, -4.0]).view(1, 2, 1, 1)
    assert float(robust(error, 0.4, 0.01)) == pytest.approx(7.01**0.4)


def test_the_loss_adds_levels_up_and_passes_by_what_is_unknown() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(2, 2, 16, 16, generator=generator)
    known = torch.ones(2, 1, 16, 16)
    known[:, :, :, 8:] = 0
    flows = [torch.randn(2, 2, 16 // s, 16 // s, generator=generator, requires_grad=True) for s in (8, 4)]
    loss = correspondence_loss(flows, truth, known, (0.5, 2.0), q=0.4, epsilon=0.01)
    wanted = 0.0
    for flow, stride, weight in zip(flows, (8, 4), (0.5, 2.0), strict=True):
        cells = truth.reshape(2, 2, 16 // stride, stride, 16 // stride, stride).mean((3, 5))
        half = 8 // stride
        difference = (flow.detach() - cells)[..., :half].abs().sum(1) + 0.01
        wanted += weight * float((difference**0.4).mean())
    assert float(loss.detach()) == pytest.approx(wanted, rel=1e-5)
    loss.backward()
    for flow in flows:
        half = flow.shape[-1] // 2
        assert bool((flow.grad[..., half:] == 0).all()) and bool((flow.grad[..., :half] != 0).all())
    assert float(correspondence_loss(flows, truth, known * 0, (1.0, 1.0)).detach()) == 0


def test_a_weight_is_to_say_how_near_the_flow_came() -> None:
    truth = torch.zeros(1, 2, 1, 3)
    flow = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]).view(1, 2, 1, 3)
    visible = torch.tensor([1.0, 1.0, 0.0]).view(1, 1, 1, 3)
    target = weight_target(flow, truth, visible, 1.0)
    torch.testing.assert_close(target.flatten(), torch.tensor([1.0, float(np.exp(-0.5)), 0.0]))
    counts = torch.tensor([1.0, 1.0, 0.0]).view(1, 1, 1, 3)
    logit = torch.logit(target.clamp(1e-6, 1 - 1e-6)).requires_grad_()
    best = weight_loss(logit, target, counts)
    assert float(best.detach()) < float(weight_loss(torch.zeros(1, 1, 1, 3), target, counts))
    best.backward()
    assert float(logit.grad.abs().max()) < 1e-5
