"""What every estimator of correspondence offers, and one that hands out a flow that is already known."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from bodystream.errors import InputError
from bodystream.types import Array, FlowField, RgbdFrame

__all__ = ["ConstantCorrespondence", "CorrespondenceEstimator", "check_pair"]


@runtime_checkable
class CorrespondenceEstimator(Protocol):
    """Finds, for every pixel of one frame, where its surface point is seen in another.

    Attributes:
        label: what it is and where it runs, for reports.
    """

    label: str

    def step(
        self,
        source: RgbdFrame,
        target: RgbdFrame,
        *,
        source_mask: Array | None = None,
        target_mask: Array | None = None,
        initial_flow_px: Array | None = None,
    ) -> FlowField:
        """Estimate the flow from `source` to `target`.

        Args:
            source, target: frames of one size.
            source_mask: (H, W) bool, pixels that matter; all with depth where None.
            target_mask: (H, W) bool, pixels where a match may land; anywhere where None.
            initial_flow_px: a guess, such as the motion predicted by the tracker, for each pixel, (H, W, 2), or for
                each square of n x n pixels, (ceil(H / n), ceil(W / n), 2); nan = no guess.

        Returns:
            The flow, as fine as the estimator finds it (`FlowField.cell_px`), weight 0 outside `source_mask`. A pair
            that cannot be matched has weight 0 everywhere.

        Raises:
            InputError: the frames, masks or the guess differ in size.
        """
        ...

    def close(self) -> None:
        """Stop threads and give back what the estimator holds; it cannot be used afterwards. May be called twice."""
        ...


class ConstantCorrespondence:
    """Returns a given flow for every pair: ground truth of a data set, or a flow estimated elsewhere.

    Args:
        flow_px: (H, W, 2); nan or infinite = no correspondence.
        weight: (H, W) in [0, 1]; 1 wherever the flow is finite if None.

    Raises:
        InputError: shapes do not fit, or weights leave [0, 1].
    """

    label = "given flow"

    def __init__(self, flow_px: Array, weight: Array | None = None) -> None:
        if flow_px.ndim != 3 or flow_px.shape[2] != 2:
            raise InputError(f"flow_px must have shape (H, W, 2), got {flow_px.shape}")
        known = np.all(np.isfinite(flow_px), axis=2)
        if weight is None:
            self._weight = known.astype(np.float32)
        else:
            if weight.shape != flow_px.shape[:2]:
                raise InputError(f"weight must have shape {flow_px.shape[:2]} (that of the flow), got {weight.shape}")
            if not (np.isfinite(weight).all() and weight.min() >= 0 and weight.max() <= 1):
                raise InputError("weight must be finite and within [0, 1]: divide it by its largest value")
            self._weight = np.where(known, weight, 0).astype(np.float32)
        self._flow_px = np.where(known[..., None], flow_px, 0).astype(np.float32)

    def step(
        self,
        source: RgbdFrame,
        target: RgbdFrame,
        *,
        source_mask: Array | None = None,
        target_mask: Array | None = None,
        initial_flow_px: Array | None = None,
    ) -> FlowField:
        """The given flow, with weight 0 outside `source_mask` and where it lands outside `target_mask`."""
        check_pair(source, target, source_mask, target_mask, initial_flow_px)
        if self._weight.shape != source.depth_m.shape:
            raise InputError(
                f"the given flow has {self._weight.shape[1]}x{self._weight.shape[0]} pixels, frame {source.label} has "
                f"{source.intrinsics.width}x{source.intrinsics.height}: give the flow of these frames"
            )
        weight = self._weight
        if source_mask is not None:
            weight = np.where(source_mask, weight, np.float32(0))
        if target_mask is not None:
            height, width = source.depth_m.shape
            v, u = np.indices((height, width))
            landed_u = np.rint(u + self._flow_px[..., 0]).astype(np.int64)
            landed_v = np.rint(v + self._flow_px[..., 1]).astype(np.int64)
            inside = (landed_u >= 0) & (landed_u < width) & (landed_v >= 0) & (landed_v < height)
            inside &= target_mask[np.where(inside, landed_v, 0), np.where(inside, landed_u, 0)]
            weight = np.where(inside, weight, np.float32(0))
        return FlowField(source.t_ns, target.t_ns, self._flow_px, weight)

    def close(self) -> None:
        """Nothing to give back."""


def check_pair(
    source: RgbdFrame,
    target: RgbdFrame,
    source_mask: Array | None,
    target_mask: Array | None,
    initial_flow_px: Array | None,
) -> int:
    """Edge of the squares of pixels that the guess is for, 1 without one.

    Raises:
        InputError: something has not the source frame's size.
    """
    size = source.depth_m.shape
    if target.depth_m.shape != size:
        raise InputError(
            f"frames {source.label} and {target.label} must have one size, got {size[1]}x{size[0]} and "
            f"{target.depth_m.shape[1]}x{target.depth_m.shape[0]} pixels"
        )
    for name, mask in (("source_mask", source_mask), ("target_mask", target_mask)):
        if mask is not None and (mask.shape != size or mask.dtype != np.bool_):
            raise InputError(f"{name} must be bool of shape {size}, got {mask.dtype} of shape {mask.shape}")
    if initial_flow_px is None:
        return 1
    shape = initial_flow_px.shape
    cell_px = -(-size[0] // max(1, shape[0])) if len(shape) == 3 else 1
    if shape != (-(-size[0] // cell_px), -(-size[1] // cell_px), 2):
        raise InputError(
            f"initial_flow_px must have shape {(*size, 2)}, or one entry for each square of n x n pixels, got {shape}"
        )
    return cell_px
