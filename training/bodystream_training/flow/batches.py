"""Batches of flow samples as tensors, with changes of light and with the guess that a tracker would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
import torch
import torch.nn.functional as nn
from torch import Tensor

from bodystream.correspondence.crops import subject_by_depth
from bodystream.errors import InputError
from bodystream.types import Array
from bodystream_training.flow.colours import ColourChange, changed_colours
from bodystream_training.flow.losses import in_cells
from bodystream_training.flow.sample import FlowSample

__all__ = ["Augmentation", "FlowBatch", "Guess", "collate", "halved"]

_CELL_PX = 8  # of the tracker's guess: one for each square of so many pixels


@dataclass(frozen=True)
class Augmentation(ColourChange):
    """What is done to pairs for training, beside what happens to their colours.

    Attributes:
        mirrored: probability that a pair is mirrored left to right, with its flow.
        loose_mask: probability that nobody knows what deforms in the target: its mask is then all that is about as far
            away as the subject is in the source, as correspondence takes it where it is given no mask.
    """

    mirrored: float = 0.5
    loose_mask: float = 0.15


@dataclass(frozen=True)
class Guess:
    """How wrong the flow is that a tracker expects.

    Attributes:
        none: probability that there is no guess, which is a flow of zero.
        exact: probability that the motion's extent is expected well (within a tenth); else any part of it, from none
            to all, is missing.
        error_px: the largest smooth error of a pair, as a standard deviation over its image [px]. Errors of pairs are
            spread evenly over magnitudes, from a hundredth of it on: live capture expects the next image to a quarter
            of a pixel, and one half a second later to one or two.
    """

    none: float = 0.15
    exact: float = 0.6
    error_px: float = 10.0


@dataclass
class FlowBatch:
    """B pairs as float32 tensors; names as in `FlowSample`.

    Attributes:
        source_rgb, target_rgb: (B, 3, H, W) in 0 to 1.
        source_depth_m, target_depth_m: (B, 1, H, W) [m], 0 = no measurement.
        intrinsics: (B, 4) fx, fy, cx, cy [px].
        mask, target_mask: (B, 1, H, W) 0 or 1.
        flow_px: (B, 2, H, W), 0 where unknown; flow_known: (B, 1, H, W) 0 or 1.
        scene_flow_m: (B, 3, H, W), 0 where unknown; scene_known: (B, 1, H, W) 0 or 1.
        visible: (B, 1, H, W) 0 or 1.
        initial_flow_px: (B, 2, H, W), the flow that a tracker would expect; 0 everywhere where it has none.
        mirrored: (B,) bool, pairs that were mirrored, so that what else is known of them can be (`PairGraph.mirrored`).
    """

    source_rgb: Tensor
    target_rgb: Tensor
    source_depth_m: Tensor
    target_depth_m: Tensor
    intrinsics: Tensor
    mask: Tensor
    target_mask: Tensor
    flow_px: Tensor
    flow_known: Tensor
    scene_flow_m: Tensor
    scene_known: Tensor
    visible: Tensor
    initial_flow_px: Tensor
    mirrored: Tensor

    def __len__(self) -> int:
        return len(self.source_rgb)

    def to(self, device: torch.device | str, **how: bool) -> FlowBatch:
        """The same on another device."""
        return FlowBatch(**{field.name: getattr(self, field.name).to(device, **how) for field in fields(self)})


def collate(
    samples: Sequence[FlowSample],
    generator: torch.Generator,
    augmentation: Augmentation | None = None,
    guess: Guess | None = None,
) -> FlowBatch:
    """Samples of one size as a batch.

    Args:
        generator: on the processor; the same state gives the same bits.
        augmentation: how colours change and pairs are mirrored; None leaves them as they are.
        guess: how wrong `initial_flow_px` is; None for no guess at all, which is zero.

    Raises:
        InputError: no sample, or samples of several sizes.
    """
    sizes = {sample.size for sample in samples}
    if len(sizes) != 1:
        raise InputError(f"a batch needs samples of one size, got {sorted(sizes) or 'no sample'}")
    if augmentation is None:
        colours = [(sample.source_rgb / np.float32(255), sample.target_rgb / np.float32(255)) for sample in samples]
    else:
        seed = int(torch.randint(1 << 62, (1,), generator=generator))
        rngs = np.random.default_rng(seed).spawn(len(samples))
        colours = [
            changed_colours(sample.source_rgb, sample.target_rgb, augmentation, rng)
            for sample, rng in zip(samples, rngs, strict=True)
        ]
    flow, flow_known = _known([sample.flow_px for sample in samples])
    scene_flow, scene_known = _known([sample.scene_flow_m for sample in samples])
    batch = FlowBatch(
        source_rgb=_planes([source for source, _ in colours]),
        target_rgb=_planes([target for _, target in colours]),
        source_depth_m=_planes([sample.source_depth_m for sample in samples]),
        target_depth_m=_planes([sample.target_depth_m for sample in samples]),
        intrinsics=torch.tensor([[c.fx, c.fy, c.cx, c.cy] for c in (s.intrinsics for s in samples)]).float(),
        mask=_planes([sample.mask for sample in samples]).float(),
        target_mask=_planes([sample.target_mask for sample in samples]).float(),
        flow_px=flow,
        flow_known=flow_known,
        scene_flow_m=scene_flow,
        scene_known=scene_known,
        visible=_planes([sample.visible for sample in samples]).float(),
        initial_flow_px=torch.zeros_like(flow),
        mirrored=torch.zeros(len(samples), dtype=torch.bool),
    )
    if augmentation is not None:
        batch.mirrored = torch.rand(len(samples), generator=generator) < augmentation.mirrored
        _mirror(batch, batch.mirrored)
        _loosen(batch, torch.rand(len(samples), generator=generator) < augmentation.loose_mask)
    if guess is not None:
        batch.initial_flow_px = _expected_flow(batch, guess, generator)
    return batch


def halved(batch: FlowBatch) -> FlowBatch:
    """The batch at half its size, as the runtime reduces frames: colours averaged, of depth one pixel of four.

    Width and height must be even. The truth of a pixel is the mean of what is known of its four, which then counts by
    their share.
    """
    flow_px, flow_known = in_cells(batch.flow_px, batch.flow_known, 2)
    scene_flow_m, scene_known = in_cells(batch.scene_flow_m, batch.scene_known, 2)
    return replace(
        batch,
        source_rgb=nn.avg_pool2d(batch.source_rgb, 2),
        target_rgb=nn.avg_pool2d(batch.target_rgb, 2),
        source_depth_m=batch.source_depth_m[..., ::2, ::2].contiguous(),
        target_depth_m=batch.target_depth_m[..., ::2, ::2].contiguous(),
        # pixel centres lie at whole numbers
        intrinsics=torch.cat([batch.intrinsics[:, :2] / 2, (batch.intrinsics[:, 2:] - 0.5) / 2], dim=1),
        mask=batch.mask[..., ::2, ::2].contiguous(),
        target_mask=batch.target_mask[..., ::2, ::2].contiguous(),
        flow_px=flow_px / 2,
        flow_known=flow_known,
        scene_flow_m=scene_flow_m,
        scene_known=scene_known,
        visible=nn.avg_pool2d(batch.visible, 2),
        initial_flow_px=nn.avg_pool2d(batch.initial_flow_px, 2) / 2,
    )


def _planes(images: Sequence[Array]) -> Tensor:
    """(B, C, H, W) of B images (H, W) or (H, W, C)."""
    stacked = torch.from_numpy(np.stack(images))
    return stacked[:, None] if stacked.ndim == 3 else stacked.permute(0, 3, 1, 2).contiguous()


def _known(images: Sequence[Array]) -> tuple[Tensor, Tensor]:
    """Values, 0 where unknown, and (B, 1, H, W) where they are known."""
    values = _planes(images)
    known = torch.isfinite(values).all(dim=1, keepdim=True)
    return torch.where(known, values, 0.0), known.float()


def _mirror(batch: FlowBatch, chosen: Tensor) -> None:
    """Mirror the chosen pairs (B,) left to right: images, principal point, and the signs of what points right."""
    width = batch.mask.shape[-1]
    for field in fields(batch):
        values = getattr(batch, field.name)
        if values.ndim == 4:
            values[chosen] = values[chosen].flip(-1)
    batch.intrinsics[chosen, 2] = (width - 1) - batch.intrinsics[chosen, 2]
    batch.flow_px[chosen, 0] *= -1.0
    batch.scene_flow_m[chosen, 0] *= -1.0


def _loosen(batch: FlowBatch, chosen: Tensor) -> None:
    """Give the chosen pairs (B,) the target masks that `correspondence.learned` gives to frames without one."""
    for number in chosen.nonzero()[:, 0].tolist():
        depth_m = batch.source_depth_m[number, 0]
        found = subject_by_depth(
            batch.target_depth_m[number, 0].numpy(), depth_m[(batch.mask[number, 0] > 0) & (depth_m > 0)].numpy()
        )
        batch.target_mask[number, 0] = torch.from_numpy(found)


def _smooth(lattice: Tensor, size: tuple[int, int]) -> Tensor:
    """A lattice (B, C, h, w) of independent values as a smooth field of that size."""
    coarse = (-(-size[0] // _CELL_PX), -(-size[1] // _CELL_PX))
    cells = nn.interpolate(lattice, coarse, mode="bicubic", align_corners=True)
    return nn.interpolate(cells, size, mode="bilinear", align_corners=False)


def _expected_flow(batch: FlowBatch, guess: Guess, generator: torch.Generator) -> Tensor:
    """(B, 2, H, W): what `tracking.prediction.ExpectedFlow` would give, made of the true flow.

    The flow of the subject that the source shows, smooth, continued beyond the subject; too short by a part, and with
    a smooth error.
    """
    count, _, height, width = batch.flow_px.shape
    known = batch.flow_known * batch.mask
    near = _continued(batch.flow_px * known, known)
    sure = torch.rand(count, 1, 1, 1, generator=generator) < guess.exact
    missing = torch.rand(count, 1, 1, 1, generator=generator)
    missing = torch.where(sure, 0.2 * (missing - 0.5), missing)
    size_px = guess.error_px * 0.01 ** torch.rand(count, 1, 1, 1, generator=generator)
    error = _smooth(torch.randn(count, 2, 5, 4, generator=generator), (height, width))
    some = torch.rand(count, 1, 1, 1, generator=generator) >= guess.none
    return torch.where(some, (1.0 - missing) * near + size_px * error, 0.0)


def _continued(flow: Tensor, known: Tensor) -> Tensor:
    """Flow in cells, from fine to coarse: normalised convolution fills what is not known, as the tracker does it."""
    height, width = flow.shape[-2:]
    size = (-(-width // _CELL_PX), -(-height // _CELL_PX))
    out = np.empty((len(flow), height, width, 2), np.float32)
    for number, values in enumerate(torch.cat([flow, known], dim=1).permute(0, 2, 3, 1).numpy()):
        sums = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
        total = sums + 1e-1 * cv2.GaussianBlur(sums, (0, 0), 1.0)
        coarse = sums
        for share in (1e-3, 1e-5, 1e-7):
            smaller = (-(-coarse.shape[1] // 4), -(-coarse.shape[0] // 4))
            coarse = cv2.GaussianBlur(cv2.resize(coarse, smaller, interpolation=cv2.INTER_AREA), (0, 0), 1.0)
            total += share * cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)
        filled = total[..., :2] / np.maximum(total[..., 2:], 1e-12)
        out[number] = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(out).permute(0, 3, 1, 2).contiguous()
