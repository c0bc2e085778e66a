"""`bodystream-train flow-samples`: pairs that flow networks learn from, as a sheet that a person can look at."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from bodystream.cli.options import optional
from bodystream.errors import ConfigurationError
from bodystream.files import atomic_path, check_output

if TYPE_CHECKING:
    from torch import Tensor

    from bodystream.types import Array
    from bodystream_training.flow.batches import FlowBatch

__all__ = ["ShowFlowSamples", "crop_size", "flow_colours", "pictures_of"]

_MOST = 500


@dataclass(frozen=True, kw_only=True)
class ShowFlowSamples:
    """Draw pairs that flow networks learn from, a row for each, as a PNG.

    From the left: source and target; the target drawn back by the flow, dark where its point is hidden; the flow, whose
    hue says where it leads and whose saturation says how far; the flow that a tracker expects; the depth of both,
    brighter where it is nearer, black where there is none; and what deforms, white as far as the target shows it.
    Examples:
      bodystream-train flow-samples --data synthetic --out sheet.png
      bodystream-train flow-samples --augmented --size 320x256 --seed 7
      bodystream-train flow-samples --data deepdeform:PATH --count 4
    """

    data: str = "synthetic"
    """Pairs: synthetic (made by the generator), or deepdeform:PATH (the public data set's layout)."""

    out: Path = Path("flow-samples.png")
    """The picture."""

    count: int = 16
    """Pairs to draw, at most 500."""

    first: int = 0
    """Number of the first one."""

    size: Annotated[str, tyro.conf.arg(metavar="WxH")] = "192x256"
    """Width and height of the crops [px]."""

    seed: int = 0
    """Of what is made, and of crops and changes of light."""

    motions: Annotated[str | None, optional("SPEC")] = None
    """Motion files that half of the people move by (bvh:PATH, asf:PATH, amass:PATH); else all is made up."""

    split: Annotated[str | None, optional("NAME")] = None
    """Of a recorded data set: train, val, ..."""

    augmented: bool = False
    """As networks see them in training: with changes of light, noise and blur, some mirrored."""

    def run(self) -> int:
        import cv2
        import numpy as np
        import torch

        from bodystream_training.flow.batches import Augmentation, Guess, collate
        from bodystream_training.flow.data import open_pairs

        if not 1 <= self.count <= _MOST or self.first < 0:
            raise ConfigurationError(
                f"--count must be 1 to {_MOST} and --first at least 0, got {self.count} and {self.first}"
            )
        check_output(self.out, "--out")
        last = self.first + self.count
        pairs = open_pairs(
            self.data, crop_size(self.size), count=last, seed=self.seed, motions=self.motions, split=self.split
        )
        generator = torch.Generator().manual_seed(self.seed)
        numbers = range(self.first, min(last, len(pairs)))
        if not numbers:
            raise ConfigurationError(f"{self.data} has {len(pairs)} pairs, --first is {self.first}")
        samples = [pairs.sample(number, generator) for number in numbers]
        batch = collate(samples, generator, Augmentation() if self.augmented else None, Guess())
        sheet = np.concatenate([np.concatenate(pictures_of(batch, row), axis=1) for row in range(len(batch))])
        with atomic_path(self.out) as waiting:
            waiting.write_bytes(cv2.imencode(".png", sheet[..., ::-1])[1].tobytes())
        print(f"{self.out}: pairs {numbers[0]} to {numbers[-1]} of {self.data}")
        return 0


def pictures_of(batch: FlowBatch, row: int) -> list[Array]:
    """The pictures (H, W, 3) uint8 RGB of one pair, as `ShowFlowSamples` describes them."""
    import cv2
    import numpy as np

    def image(values: Tensor) -> Array:
        return np.ascontiguousarray(values[row].permute(1, 2, 0).numpy())

    source, target = (np.round(255.0 * image(v)).astype(np.uint8) for v in (batch.source_rgb, batch.target_rgb))
    flow, guess = image(batch.flow_px), image(batch.initial_flow_px)
    known, mask, target_mask, visible = (
        image(v)[..., 0] > 0 for v in (batch.flow_known, batch.mask, batch.target_mask, batch.visible)
    )
    v, u = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    back = cv2.remap(target, u + flow[..., 0], v + flow[..., 1], cv2.INTER_LINEAR)
    back[~visible] //= 5
    lengths = np.linalg.norm(flow[mask & known], axis=1)
    longest_px = float(np.percentile(lengths, 98)) if len(lengths) else 1.0
    there = np.where(known[..., None], flow, np.nan)
    seen = np.where(mask, np.where(visible, 255, 110), np.where(target_mask, 40, 0)).astype(np.uint8)
    return [
        source,
        target,
        back,
        flow_colours(there, longest_px),
        flow_colours(guess, longest_px),
        *_depth_pictures(image(batch.source_depth_m)[..., 0], image(batch.target_depth_m)[..., 0], mask),
        np.repeat(seen[..., None], 3, axis=2),
    ]


def flow_colours(flow_px: Array, longest_px: float) -> Array:
    """(H, W, 3) uint8 RGB of a flow (H, W, 2): the hue says where it leads, the saturation how far; unknown is black.

    Args:
        longest_px: length that has the full colour.
    """
    import cv2
    import numpy as np

    known = np.asarray(np.isfinite(flow_px).all(axis=2))
    u, v = np.moveaxis(np.where(known[..., None], flow_px, 0.0).astype(np.float32), -1, 0)
    hue_deg = np.degrees(np.arctan2(v, u)) % 360.0
    colours = np.stack([hue_deg, np.minimum(np.hypot(u, v) / max(longest_px, 1e-6), 1.0), known], -1)
    return np.round(255.0 * cv2.cvtColor(colours.astype(np.float32), cv2.COLOR_HSV2RGB)).astype(np.uint8)


def crop_size(text: str) -> tuple[int, int]:
    """(width, height) [px] of `192x256`.

    Raises:
        ConfigurationError: it is no size.
    """
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if found is None:
        raise ConfigurationError(f"--size must be WIDTHxHEIGHT, as 192x256, got {text!r}")
    return int(found[1]), int(found[2])


def _depth_pictures(source_m: Array, target_m: Array, mask: Array) -> list[Array]:
    """Both in the same colours, which are spread over the subject's range and a metre behind."""
    import cv2
    import numpy as np

    of_subject = source_m[mask & (source_m > 0)]
    near, far = np.percentile(of_subject, (1, 99)) if len(of_subject) else (0.3, 4.0)
    pictures = []
    for depth_m in (source_m, target_m):
        level = np.clip((far + 1.0 - depth_m) / (far - near + 1.0), 0.0, 1.0)
        colours = cv2.applyColorMap((255 * level).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1].copy()
        colours[depth_m == 0] = 0
        pictures.append(colours)
    return pictures
