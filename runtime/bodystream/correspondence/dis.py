"""Correspondence by OpenCV's dense inverse search (Kroeger et al. 2016), forward and backward at once."""
# pyright: reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np

from bodystream.correspondence.alignment import aligning_flows, better_of, extend_flow
from bodystream.correspondence.base import check_pair
from bodystream.correspondence.confidence import check_landing, cycle_error_m, image_confidence, sampled
from bodystream.correspondence.dis_config import PRESETS, DisConfig
from bodystream.correspondence.images import ImageKind, SearchedFrame, pixel_grid
from bodystream.types import Array, FlowField, RgbdFrame

__all__ = ["DisConfig", "DisCorrespondence"]

_MIN_EDGE_PX = 48  # dense inverse search needs a few patches along each edge at its coarsest scale

_FEW = 0.2  # mean weight below which a pair counts as not matched yet

Window = tuple[slice, slice]


class DisCorrespondence:
    """Dense inverse search with weights; see `confidence` for their formula.

    Every search is made between the source and the target warped by a first guess (none, the caller's, or from sparse
    features), cut to the source's bounding box; backward likewise, on another thread. Where there are
    several guesses each pixel keeps the flow that its neighbourhood believes most.
    """

    label = "OpenCV DIS (cpu)"

    def __init__(self, config: DisConfig | None = None) -> None:
        self.config = DisConfig.live() if config is None else config
        c = self.config
        # one per thread: they keep buffers
        self._forward = self._make_search(c, c.finest_scale, c.refinements)
        self._backward = self._make_search(c, c.backward_finest_scale, c.refinements)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dis-backward")
        self._frames: list[SearchedFrame] = []

    def close(self) -> None:
        """Stop the second thread; the estimator cannot be used afterwards. May be called twice."""
        self._pool.shutdown(wait=True)

    def step(
        self,
        source: RgbdFrame,
        target: RgbdFrame,
        *,
        source_mask: Array | None = None,
        target_mask: Array | None = None,
        initial_flow_px: Array | None = None,
    ) -> FlowField:
        """Flow and weights from `source` to `target`; see `CorrespondenceEstimator.step`."""
        cell_px = check_pair(source, target, source_mask, target_mask, initial_flow_px)
        k = self.config.downscale
        shape = tuple(-(-n // k) for n in source.depth_m.shape)
        flow = np.zeros((*shape, 2), np.float32)
        weight = np.zeros(shape, np.float32)
        result = FlowField(source.t_ns, target.t_ns, flow, weight, k)
        mask = source.depth_m > 0 if source_mask is None else source_mask
        first, second = self._searched(source), self._searched(target)
        small_mask = first.thin(mask)
        window = _bounding_window(small_mask, self.config.margin_px)
        if window is None or min(first.depth_m.shape) < _MIN_EDGE_PX:
            return result
        guess = None if initial_flow_px is None else _guess_in(initial_flow_px, cell_px, k, window)
        landing_mask = None if target_mask is None else second.thin(target_mask)
        found, weight[window] = self._step(first, second, small_mask, landing_mask, guess, window)
        flow[window] = found if k == 1 else cv2.multiply(found, (k, k, 0, 0))
        return result

    def _searched(self, frame: RgbdFrame) -> SearchedFrame:
        """A frame as it is searched; the last ones are kept, since a target is the next pair's source."""
        for known in self._frames:
            if known.frame is frame:
                return known
        found = SearchedFrame(frame, self.config.downscale)
        self._frames = [*self._frames[-2:], found]
        return found

    def _step(
        self,
        source: SearchedFrame,
        target: SearchedFrame,
        mask: Array,
        target_mask: Array | None,
        guess: Array | None,
        window: Window,
    ) -> tuple[Array, Array]:
        """Flow (h, w, 2) and weight (h, w) of the window of the searched frames."""
        image = np.ascontiguousarray(source.image(self.config.image)[window])
        unusable = ~mask[window] | (source.depth_m[window] <= 0)
        best: tuple[Array, Array] | None = None
        for base in self._guesses(source, target, mask, window, guess):
            found = self._search(source, target, image, base, window, target_mask)
            found[1][unusable] = 0
            best = found if best is None else better_of(best, found)
        assert best is not None
        if self.config.align == "features" and best[1].sum() < _FEW * np.count_nonzero(~unusable):
            # Plain search reaches far one way only: seen from the target, a background that stays wins. As a guess it
            # brings both ways within reach; but then they agree too easily, so it is the last resort.
            there = np.ascontiguousarray(target.image(self.config.image)[window])
            reached = cv2.GaussianBlur(self._forward.calc(image, there, None), (0, 0), 8.0)
            found = self._search(source, target, image, reached, window, target_mask)
            found[1][unusable] = 0
            best = better_of(best, found)
        best[1][best[1] < self.config.min_weight] = 0
        return best

    @staticmethod
    def _make_search(config: DisConfig, finest_scale: int | None, refinements: int | None) -> Any:
        search = cv2.DISOpticalFlow.create(PRESETS[config.preset])
        search.setVariationalRefinementAlpha(config.smoothness)
        if finest_scale is not None:
            search.setFinestScale(finest_scale)
        if refinements is not None:
            search.setVariationalRefinementIterations(refinements)
        if config.descents is not None:
            search.setGradientDescentIterations(config.descents)
        if config.patch_stride is not None:
            search.setPatchStride(config.patch_stride)
        return search

    def _guesses(
        self, source: SearchedFrame, target: SearchedFrame, mask: Array, window: Window, guess: Array | None
    ) -> list[Array | None]:
        """First guesses of the flow within the window; None = no motion."""
        guesses: list[Array | None] = [] if guess is None else [guess]
        if self.config.align == "features":
            # features need texture, so colour wherever there is any
            kind: ImageKind = "depth" if self.config.image == "depth" else "colour"
            guesses += [flow[window] for flow in aligning_flows(source.image(kind), target.image(kind), mask)]
            guesses.append(None)
        return guesses if guesses else [None]

    def _search(
        self,
        source: SearchedFrame,
        target: SearchedFrame,
        image: Array,
        base: Array | None,
        window: Window,
        target_mask: Array | None,
    ) -> tuple[Array, Array]:
        """Flow (h, w, 2) and weight (h, w) of the window, starting at `base`."""
        config = self.config
        whole_grid = pixel_grid(*source.depth_m.shape)
        grid = whole_grid[: image.shape[0], : image.shape[1]]  # the window's own pixels
        place = whole_grid[window]  # the same pixels in the whole image
        target_image = target.image(config.image)
        flow, weight, stride = base, None, config.confidence_stride
        returned = grid
        for _ in range(config.passes):
            if flow is None:
                aligned = np.ascontiguousarray(target_image[window])
            else:
                aligned = sampled(target_image, cv2.add(place, flow))
            job = self._pool.submit(self._backward.calc, aligned, image, None)
            forward = self._forward.calc(image, aligned, None)
            backward = job.result()
            flow = forward if flow is None else cv2.add(forward, sampled(flow, cv2.add(grid, forward)))
            passed, returned = image_confidence(
                _thinned(image, stride),
                aligned,
                _thinned(forward, stride),
                backward,
                _thinned(grid, stride),
                consistency_px=config.consistency_px,
                noise=config.noise,
                contrast=config.contrast,
                brightness=config.brightness,
                window_px=max(3, config.window_px // stride | 1),
            )
            # a later pass starts from the flow of the one before, and so agrees with its mistakes
            weight = passed if weight is None else cv2.min(weight, passed)
        assert flow is not None and weight is not None
        depth_m = source.depth_m[window]
        own_depth_m = _thinned(depth_m, stride)
        cycle = cycle_error_m(
            _thinned(grid, stride), own_depth_m, returned, depth_m, source.intrinsics.cropped(*window)
        )
        # a source pixel without depth has no cycle to check, and no use for the solver either
        weight *= np.where(cycle < config.max_cycle_m, np.exp(cycle * cycle * (-0.5 / config.cycle_m**2)), 0)
        if stride > 1:  # half a pixel of shift does not matter to a weight
            weight = cv2.resize(weight, image.shape[::-1], interpolation=cv2.INTER_LINEAR)
        check_landing(
            cv2.add(place, flow),
            depth_m,
            target.depth_m,
            target_mask,
            weight,
            need_target_depth=config.need_target_depth,
            max_depth_change_m=config.max_depth_change_m,
        )
        return flow, weight


def _thinned(image: Array, stride: int) -> Array:
    """Every `stride`-th pixel, contiguous."""
    return np.ascontiguousarray(image[::stride, ::stride]) if stride > 1 else image


def _guess_in(guess_px: Array, cell_px: int, downscale: int, window: Window) -> Array | None:
    """A guess of the flow of the frames as one of the window of the searched frames; None if nothing is known.

    Args:
        guess_px: for each square of `cell_px` pixels; not finite = unknown.
    """
    rows, columns = window
    if cell_px > 1:
        guess = guess_px.astype(np.float32)
    else:
        guess = guess_px[
            rows.start * downscale : rows.stop * downscale : downscale,
            columns.start * downscale : columns.stop * downscale : downscale,
        ].astype(np.float32)
    if not np.isfinite(guess).all():
        known = np.isfinite(guess).all(axis=2)
        if not known.any():
            return None
        guess = extend_flow(guess, known.astype(np.float32))
    if downscale > 1:
        guess = guess * np.float32(1.0 / downscale)
    if cell_px > 1:
        # Squares that are not of whole searched pixels are spread over the pixels of the frame first.
        thinned = 1 if cell_px % downscale == 0 else downscale
        size = [n * cell_px * thinned // downscale for n in guess.shape[1::-1]]
        guess = cv2.resize(guess, size, interpolation=cv2.INTER_LINEAR)[::thinned, ::thinned]
        guess = np.ascontiguousarray(guess[window])
    return guess


def _bounding_window(mask: Array, margin_px: int) -> Window | None:
    """Rows and columns of the mask's bounding box plus a margin, at least `_MIN_EDGE_PX` each; None if empty."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    if width == 0 or height == 0:
        return None
    spans = []
    for begin, length, limit in ((y, height, mask.shape[0]), (x, width, mask.shape[1])):
        missing = max(0, _MIN_EDGE_PX - length - 2 * margin_px)
        low = max(0, begin - margin_px - missing // 2)
        high = min(limit, low + max(_MIN_EDGE_PX, begin + length + margin_px - low))
        low = max(0, min(low, high - _MIN_EDGE_PX))
        spans.append(slice(low, high))
    return spans[0], spans[1]
