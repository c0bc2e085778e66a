"""Sheets of answers that a person can look at: what was seen, the true flow, what was said, how wrong it is."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from bodystream.files import atomic_path
from bodystream.types import Array
from bodystream_training.flow.batches import FlowBatch
from bodystream_training.flow.samples import flow_colours

__all__ = ["write_sheet"]

_ERROR_PX = 4.0  # the brightest error of a sheet


def write_sheet(path: Path, batch: FlowBatch, flow_px: Tensor, weight: Tensor, pairs: int = 6) -> None:
    """Write a row for each of the first pairs.

    From left to right: source, target, first guess, true flow, flow, its error (up to 4 px), weight.

    Args:
        path: of the png.
        flow_px: (B, 2, H, W). weight: (B, 1, H, W).

    Raises:
        InputError: it cannot be written.
    """
    rows = []
    for number in range(min(pairs, len(batch))):
        subject = batch.mask[number, 0].numpy() > 0
        known = subject & (batch.flow_known[number, 0].numpy() > 0)
        truth, guess, found = (
            flow[number].permute(1, 2, 0).float().numpy() for flow in (batch.flow_px, batch.initial_flow_px, flow_px)
        )
        largest_px = float(np.percentile(np.linalg.norm(truth[known], axis=1), 98)) if known.any() else 1.0
        colours = [
            flow_colours(np.where(where[..., None], flow, np.nan), largest_px)
            for flow, where in ((guess, subject), (truth, known), (found, subject))
        ]
        error = np.where(known, np.linalg.norm(found - truth, axis=2) / _ERROR_PX, 0)
        images = [
            *((255 * rgb[number]).byte().permute(1, 2, 0).numpy() for rgb in (batch.source_rgb, batch.target_rgb)),
            *colours,
            _heat(error),
            _heat(np.where(subject, weight[number, 0].float().numpy(), 0)),
        ]
        rows.append(np.concatenate(images, axis=1))
    sheet = cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as waiting:
        waiting.write_bytes(cv2.imencode(".png", sheet)[1].tobytes())


def _heat(values: Array) -> Array:
    """(H, W, 3) uint8 RGB of values from 0 to 1."""
    levels = (255 * np.clip(values, 0, 1)).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)
