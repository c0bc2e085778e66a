"""Error and time of the light network at one size, for several numbers of iterations, beside DIS."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bodystream.bundles import Signature
from bodystream.correspondence import DisCorrespondence
from bodystream.engines.base import Engine
from bodystream.engines.onnx import open_onnx
from bodystream.types import Array
from bodystream_export.flow.convert import real_feeds, write_graph
from bodystream_export.flow.graphs import FlowGraph, flow_graphs
from bodystream_training.flow.batches import Augmentation, FlowBatch, Guess
from bodystream_training.flow.data import open_pairs
from bodystream_training.flow.graphs import GraphConfig
from bodystream_training.flow.judge import DIS_CONFIG, Answer, batch_frames, dis_answer, errors_of, used_weight
from bodystream_training.flow.light import LightFlow
from bodystream_training.flow.tracked import TrackedBatch, collate_tracked

__all__ = ["CurvePoint", "generated_batches", "measure_size"]

_SEED = 999_983  # which no training has by default
_BATCH = 8
_HEIGHT = 256  # of the image that errors are told in pixels of


@dataclass(frozen=True)
class CurvePoint:
    """One configuration.

    Attributes:
        size: (width, height) [px].
        iterations: of the light network; 0: DIS.
        ms: processor time of a pair, median.
        visible_px: mean error of the flow of points that are seen, in pixels of an image of 192x256.
        epe3d_mm, graph_error_mm: of the tracked motion.
    """

    size: tuple[int, int]
    iterations: int
    ms: float
    visible_px: float
    epe3d_mm: float
    graph_error_mm: float


@torch.no_grad()
def measure_size(model: LightFlow, size: tuple[int, int], iterations: Sequence[int], count: int) -> list[CurvePoint]:
    """The light network with each number of iterations, and DIS, on `count` generated pairs of one size."""
    batches = generated_batches(size, count)
    answers: dict[int, list[Answer]] = {0: [(batch, *dis_answer(batch.pairs)) for batch in batches]}
    runs: dict[int, list[Callable[[], object]]] = {0: [run for batch in batches for run in _dis_runs(batch.pairs)]}
    for passes in iterations:
        graphs = flow_graphs(model, size, passes)
        encoder, decoder = (_engine(graph) for graph in graphs)
        answers[passes], runs[passes] = [], []
        for batch in batches:
            frames, pairs = real_feeds(graphs, batch.pairs)
            found = [{name: value.copy() for name, value in decoder.run(pair).items()} for pair in pairs]
            flow_px, weight = (_whole([f[name] for f in found], size) for name in ("flow_px", "weight"))
            answers[passes].append((batch, flow_px, used_weight(weight)))
            # the source of a pair was the target of the one before, and has its features
            runs[passes] += [
                partial(_encode_and_decode, encoder, decoder, target, pair)
                for target, pair in zip(frames[1::2], pairs, strict=True)
            ]
    times: dict[int, list[float]] = {key: [] for key in runs}
    for number in range(count):
        for key, of_key in runs.items():
            begin = time.process_time()
            of_key[number]()
            times[key].append(1e3 * (time.process_time() - begin))
    return [_point(size, key, median(times[key]), answers[key]) for key in (*iterations, 0)]


def generated_batches(size: tuple[int, int], count: int) -> list[TrackedBatch]:
    """The first `count` pairs of one size of a seed that no training has by default."""
    generator = torch.Generator().manual_seed(0)
    pairs = open_pairs("synthetic", size, count=count, seed=_SEED)
    change = Augmentation(mirrored=0.0, loose_mask=0.0)
    matches = GraphConfig(matches=2000, least_matches=400)
    return [
        collate_tracked(
            [pairs.sample(number, generator) for number in range(begin, min(begin + _BATCH, count))],
            generator, change, Guess(), matches,
        )
        for begin in range(0, count, _BATCH)
    ]  # fmt: skip


def _dis_runs(batch: FlowBatch) -> list[Callable[[], object]]:
    estimator = DisCorrespondence(DIS_CONFIG)
    masks = [np.ascontiguousarray(mask[:, 0].numpy() > 0) for mask in (batch.mask, batch.target_mask)]
    guesses = np.ascontiguousarray(batch.initial_flow_px.permute(0, 2, 3, 1).numpy())
    return [
        partial(
            estimator.step, source, target,
            source_mask=masks[0][number], target_mask=masks[1][number], initial_flow_px=guesses[number],
        )
        for number, (source, target) in enumerate(batch_frames(batch))
    ]  # fmt: skip


def _encode_and_decode(encoder: Engine, decoder: Engine, frame: dict[str, Array], pair: dict[str, Array]) -> None:
    encoder.run(frame)
    decoder.run(pair)


def _engine(graph: FlowGraph) -> Engine:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{graph.part}.onnx"
        section = write_graph(graph, path, 32)
        signature = Signature(section.inputs, section.outputs)
        return open_onnx(path.read_bytes(), path.name, "cpu", "to measure", signature, {}, threads=1, spinning=False)


def _whole(parts: Sequence[Array], size: tuple[int, int]) -> Tensor:
    values = torch.from_numpy(np.concatenate(parts)).float()
    return F.interpolate(values, size[::-1], mode="bilinear", align_corners=False)


def _point(size: tuple[int, int], iterations: int, ms: float, answers: Sequence[Answer]) -> CurvePoint:
    errors = errors_of(answers)
    return CurvePoint(
        size, iterations, ms, errors.visible_px * _HEIGHT / size[1], errors.epe3d_mm, errors.graph_error_mm
    )  # fmt: skip
