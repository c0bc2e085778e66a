"""The flow network that is shipped, on generated pairs whose truth is known and that no training has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")

from bodystream.bundles import find_bundle  # noqa: E402
from bodystream.correspondence import LearnedConfig, LearnedCorrespondence  # noqa: E402
from bodystream_training.flow.batches import FlowBatch, Guess, collate  # noqa: E402
from bodystream_training.flow.data import open_pairs  # noqa: E402
from bodystream_training.flow.judge import batch_frames, dis_answer  # noqa: E402

SIZE, COUNT = (192, 256), 12


@pytest.fixture(scope="module")
def batch() -> FlowBatch:
    generator = torch.Generator().manual_seed(5)
    pairs = open_pairs("synthetic", SIZE, count=COUNT, seed=424_242)
    return collate([pairs.sample(number, generator) for number in range(COUNT)], generator, None, Guess(none=0.0))


def test_it_is_nearer_to_the_truth_than_what_it_began_from_and_than_dis(batch: FlowBatch) -> None:
    live = LearnedConfig.live()
    light = LearnedCorrespondence(find_bundle("flow"), replace(live, across=SIZE[0] // live.finer))
    seen = (batch.flow_known * batch.mask * batch.visible)[:, 0].numpy() > 0
    truth = batch.flow_px.permute(0, 2, 3, 1).numpy()
    guess = np.ascontiguousarray(batch.initial_flow_px.permute(0, 2, 3, 1).numpy())
    masks = [np.ascontiguousarray(mask[:, 0].numpy() > 0) for mask in (batch.mask, batch.target_mask)]
    flows, weights = [], []
    for number, (source, target) in enumerate(batch_frames(batch)):
        found = light.step(
            source, target,
            source_mask=masks[0][number], target_mask=masks[1][number], initial_flow_px=guess[number],
        )  # fmt: skip
        assert found.cell_px == 1
        flows.append(found.flow_px)
        weights.append(found.weight)
    assert light.label == "flow 2, light network (cpu)"

    def error_px(flow: np.ndarray) -> float:
        return float(np.linalg.norm(flow - truth, axis=3)[seen].mean())

    dis = dis_answer(batch)[0].permute(0, 2, 3, 1).numpy()
    ours = error_px(np.stack(flows))
    assert ours < 0.75 * error_px(guess) and ours < error_px(dis)
    weight = np.stack(weights)
    apart = np.linalg.norm(np.stack(flows) - truth, axis=3)
    assert np.average(apart[seen], weights=weight[seen]) < 0.6 * ours, "it knows where it is wrong"
