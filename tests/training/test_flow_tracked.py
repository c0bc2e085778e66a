"""Batches with graphs, mirrored with their pairs, and the terms of the later stages on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")

from bodystream_training.flow.batches import Augmentation, Guess  # noqa: E402
from bodystream_training.flow.graph_losses import tracking_errors  # noqa: E402
from bodystream_training.flow.graphs import GraphConfig  # noqa: E402
from bodystream_training.flow.tracked import collate_tracked, tracking_terms  # noqa: E402
from helpers.flow_pairs import bent_pair  # noqa: E402

CONFIG = GraphConfig(sigma_m=0.15, matches=2000, least_matches=400)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Systems as small as these are slower on two threads, far slower where the second is shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def batch():
    pairs = [bent_pair(amount) for amount in (0.5, 1.0, -1.0, 0.8)]
    pairs.append(replace(pairs[0], mask=np.zeros_like(pairs[0].mask)))
    return collate_tracked(pairs, torch.Generator().manual_seed(1), Augmentation(mirrored=0.5), Guess(), CONFIG)


def test_the_true_flow_tracks_also_where_pairs_are_mirrored(batch) -> None:
    assert 0 < int(batch.pairs.mirrored[:4].sum()) < 4 and len(batch) == 5
    terms, motion = tracking_terms(batch, batch.pairs.flow_px)
    assert motion.valid.tolist() == [True] * 4 + [False]
    errors = tracking_errors(batch.graph, motion)
    assert (errors.epe3d_mm[:4] < 0.2 * errors.no_motion_mm[:4]).all()
    assert terms["skipped"].item() == pytest.approx(0.2) and terms["unsolved"].item() == 0
    assert 0 < terms["warp"] < 1e-4 and 0 < terms["graph"] < 1e-4 and "supervised" not in terms


def test_terms_lead_flow_and_weight(batch) -> None:
    flow = torch.nn.functional.avg_pool2d(batch.pairs.flow_px, 4).requires_grad_()
    weight = torch.full_like(flow[:, :1], 0.5, requires_grad=True)
    terms, _ = tracking_terms(batch, flow, weight)
    (terms["graph"] + terms["warp"]).backward(retain_graph=True)
    assert flow.grad is not None and torch.isfinite(flow.grad).all() and flow.grad[:4].abs().sum() > 0
    assert torch.isfinite(weight.grad).all() and weight.grad[:4].abs().sum() > 0 and weight.grad[4].abs().sum() == 0
    before = flow.grad.clone()
    terms["supervised"].backward()
    assert torch.equal(flow.grad, before)


def test_it_goes_to_a_device(batch) -> None:
    there = batch.to(torch.device("meta"))
    assert there.pairs.flow_px.is_meta and there.graph.points.is_meta
