"""Correspondence by OpenCV's dense inverse search (Kroeger et al. 2016), forward and backward at once."""
# pyright: reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np

from bodystream.correspondence.alignment import affine_flow, estimate_affine, extend_flow, local_flow, match_features
from bodystream.correspondence.base import check_pair
from bodystream.correspondence.confidence import cycle_error_m, image_confidence, landing_confidence
from bodystream.correspondence.dis_config import PRESETS, DisConfig
from bodystream.correspondence.images import ImageKind, matching_image
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

    def __init__(self, config: DisConfig | None = None) -> None:
        self.config = DisConfig.live() if config is None else config
        # one per thread: they keep buffers
        self._searches = [self._make_search(self.config), self._make_search(self.config)]
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dis-backward")
        self._grid = np.zeros((0, 0, 2), np.float32)
        self._small_frames: list[tuple[RgbdFrame, RgbdFrame]] = []

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
        check_pair(source, target, source_mask, target_mask, initial_flow_px)
        if self.config.downscale > 1:
            return self._step_reduced(source, target, source_mask, target_mask, initial_flow_px)
        return self._step(source, target, source_mask, target_mask, initial_flow_px)

    def _step_reduced(
        self,
        source: RgbdFrame,
        target: RgbdFrame,
        source_mask: Array | None,
        target_mask: Array | None,
        initial_flow_px: Array | None,
    ) -> FlowField:
        """The search on reduced frames; the result has the size of the frames again."""
        k = self.config.downscale
        height, width = (n // k * k for n in source.depth_m.shape)

        def thin(image: Array | None) -> Array | None:
            return None if image is None else np.ascontiguousarray(image[:height:k, :width:k])

        guess = None if initial_flow_px is None else thin(initial_flow_px) * np.float32(1.0 / k)  # type: ignore[operator]
        small = self._step(self._reduced(source), self._reduced(target), thin(source_mask), thin(target_mask), guess)
        flow = np.zeros((*source.depth_m.shape, 2), np.float32)
        weight = np.zeros(source.depth_m.shape, np.float32)
        flow[:height, :width] = cv2.resize(small.flow_px * np.float32(k), (width, height))
        weight[:height, :width] = cv2.resize(small.weight, (width, height))
        if source_mask is not None:
            weight *= source_mask
        weight[source.depth_m <= 0] = 0
        return FlowField(source.t_ns, target.t_ns, flow, weight)

    def _reduced(self, frame: RgbdFrame) -> RgbdFrame:
        """A frame of 1 / downscale of the size; the last ones are kept, since a target is the next pair's source."""
        for known, reduced in self._small_frames:
            if known is frame:
                return reduced
        k = self.config.downscale
        height, width = (n // k for n in frame.depth_m.shape)
        # Flow is found in averaged colours, so their camera counts. The depth is that of one pixel of the area, half a
        # pixel of the full image aside: both ends of a cycle are off alike, and weights change by less than 1e-6.
        intrinsics = frame.intrinsics.cropped(slice(0, height * k), slice(0, width * k)).scaled(1 / k)
        colour = frame.colour
        if colour is not None:
            colour = cv2.resize(colour[: height * k, : width * k], (width, height), interpolation=cv2.INTER_AREA)
        depth_m = np.ascontiguousarray(frame.depth_m[: height * k : k, : width * k : k])
        reduced = RgbdFrame(frame.index, frame.t_ns, depth_m, intrinsics, colour, name=frame.name)
        self._small_frames = [*self._small_frames[-2:], (frame, reduced)]
        return reduced

    def _step(
        self,
        source: RgbdFrame,
        target: RgbdFrame,
        source_mask: Array | None,
        target_mask: Array | None,
        initial_flow_px: Array | None,
    ) -> FlowField:
        shape = source.depth_m.shape
        flow = np.zeros((*shape, 2), np.float32)
        weight = np.zeros(shape, np.float32)
        result = FlowField(source.t_ns, target.t_ns, flow, weight)
        mask = source.depth_m > 0 if source_mask is None else source_mask
        window = _bounding_window(mask, self.config.margin_px)
        if window is None or min(shape) < _MIN_EDGE_PX:
            return result
        image = matching_image(source, self.config.image, window=window)
        unusable = ~mask[window] | (source.depth_m[window] <= 0)
        best: tuple[Array, Array] | None = None
        for base in self._guesses(source, target, mask, window, initial_flow_px):
            found = self._search(source, target, image, base, window, target_mask)
            found[1][unusable] = 0
            best = found if best is None else _better_of(best, found)
        assert best is not None
        if self.config.align == "features" and best[1].sum() < _FEW * np.count_nonzero(~unusable):
            # Plain search reaches far one way only: seen from the target, a background that stays wins. As a guess it
            # brings both ways within reach; but then they agree too easily, so it is the last resort.
            reached = self._searches[0].calc(image, matching_image(target, self.config.image, window=window), None)
            guess = cv2.GaussianBlur(reached, (0, 0), 8.0)
            found = self._search(source, target, image, guess, window, target_mask)
            found[1][unusable] = 0
            best = _better_of(best, found)
        best_flow, best_weight = best
        best_weight[best_weight < self.config.min_weight] = 0
        flow[window] = best_flow
        weight[window] = best_weight
        return result

    @staticmethod
    def _make_search(config: DisConfig) -> Any:
        search = cv2.DISOpticalFlow.create(PRESETS[config.preset])
        search.setVariationalRefinementAlpha(config.smoothness)
        if config.finest_scale is not None:
            search.setFinestScale(config.finest_scale)
        if config.descents is not None:
            search.setGradientDescentIterations(config.descents)
        if config.refinements is not None:
            search.setVariationalRefinementIterations(config.refinements)
        return search

    def _guesses(
        self, source: RgbdFrame, target: RgbdFrame, mask: Array, window: Window, initial_flow_px: Array | None
    ) -> list[Array | None]:
        """First guesses of the flow within the window; None = no motion."""
        guesses: list[Array | None] = []
        if initial_flow_px is not None:
            guess = initial_flow_px[window]
            known = np.isfinite(guess).all(axis=2)
            if known.any():
                known_weight = known.astype(np.float32)
                guesses.append(guess.astype(np.float32) if known.all() else extend_flow(guess, known_weight))
        if self.config.align == "features":
            # features need texture, so colour wherever there is any
            kind: ImageKind = "depth" if self.config.image == "depth" else "colour"
            a, b = match_features(matching_image(source, kind), matching_image(target, kind), mask)
            affine = estimate_affine(a, b)
            if affine is not None:
                guesses.append(affine_flow(affine, source.depth_m.shape)[window])
            smooth = local_flow(a, b, source.depth_m.shape)
            if smooth is not None:
                guesses.append(smooth[window])
            guesses.append(None)
        return guesses if guesses else [None]

    def _search(
        self,
        source: RgbdFrame,
        target: RgbdFrame,
        image: Array,
        base: Array | None,
        window: Window,
        target_mask: Array | None,
    ) -> tuple[Array, Array]:
        """Flow (h, w, 2) and weight (h, w) of the window, starting at `base`."""
        config = self.config
        whole_grid = self._grid_of(source.depth_m.shape)
        grid = whole_grid[: image.shape[0], : image.shape[1]]  # the window's own pixels
        place = np.ascontiguousarray(whole_grid[window])  # the same pixels in the whole image
        target_image = matching_image(target, config.image, window=window if base is None else None)
        flow, weight, stride = base, None, config.confidence_stride
        returned = grid
        for _ in range(config.passes):
            if flow is None:
                aligned = target_image
            else:
                if target_image.shape != source.depth_m.shape:
                    target_image = matching_image(target, config.image)
                aligned = _sample(target_image, place + flow)
            job = self._pool.submit(self._searches[1].calc, aligned, image, None)
            forward = self._searches[0].calc(image, aligned, None)
            backward = job.result()
            flow = forward if flow is None else cv2.add(forward, _sample(flow, grid + forward))
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
        self._check_landing(cv2.add(place, flow), depth_m, target.depth_m, target_mask, weight)
        return flow, weight

    def _check_landing(
        self, landing: Array, depth_m: Array, target_depth_m: Array, target_mask: Array | None, weight: Array
    ) -> None:
        """Set weights to 0 that land where they should not; per pixel, because outlines are what it is about."""
        config = self.config
        whole = np.array([[0, 0]]), np.array([target_depth_m.shape[::-1]])
        low = np.floor(landing[::4, ::4].min(axis=(0, 1))) - 8
        high = np.ceil(landing[::4, ::4].max(axis=(0, 1))) + 8
        u0, v0 = np.clip(low, *whole)[0].astype(int)
        u1, v1 = np.clip(high, *whole)[0].astype(int)
        if u1 - u0 < 2 or v1 - v0 < 2:
            weight[:] = 0
            return
        part = (slice(v0, v1), slice(u0, u1))
        landing = cv2.subtract(landing, np.array([u0, v0, 0, 0], np.float64))
        reached = cv2.remap(
            target_depth_m[part], landing, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0
        )
        if config.need_target_depth:
            weight *= landing_confidence(landing, target_depth_m[part], jump=0.05)
        if target_mask is not None:
            inside = target_mask[part].view(np.uint8)
            weight *= cv2.remap(inside, landing, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
        if config.max_depth_change_m is not None:
            too_far = cv2.absdiff(reached, depth_m) > np.float32(config.max_depth_change_m)
            weight[too_far & (reached > 0)] = 0

    def _grid_of(self, shape: tuple[int, ...]) -> Array:
        if self._grid.shape[:2] != shape:
            u, v = np.meshgrid(np.arange(shape[1], dtype=np.float32), np.arange(shape[0], dtype=np.float32))
            self._grid = np.ascontiguousarray(np.stack([u, v], axis=2))
        return self._grid


def _better_of(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
    """Flow and weight, each pixel from the search that its neighbourhood believes more."""
    take = cv2.blur(second[1], (31, 31)) > cv2.blur(first[1], (31, 31))
    return np.where(take[..., None], second[0], first[0]), np.where(take, second[1], first[1])


def _thinned(image: Array, stride: int) -> Array:
    """Every `stride`-th pixel, contiguous."""
    return np.ascontiguousarray(image[::stride, ::stride]) if stride > 1 else image


def _sample(image: Array, pixels: Array) -> Array:
    return cv2.remap(image, pixels, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


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
