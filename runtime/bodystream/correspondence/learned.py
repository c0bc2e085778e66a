"""Correspondence by a flow network: an encoder of each frame, and a decoder of each pair, on crops."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from bodystream.bundles import Bundle
from bodystream.correspondence.alignment import aligning_flows, better_of, extend_flow, returning_guess
from bodystream.correspondence.base import check_pair
from bodystream.correspondence.confidence import check_landing, cycle_error_m, sampled
from bodystream.correspondence.crops import CELL, Box, WindowKeeper, guess_in, landing_near, mask_box, subject_by_depth
from bodystream.correspondence.features import Encoded, FeatureCache
from bodystream.correspondence.images import ImageKind, matching_image, pixel_grid
from bodystream.correspondence.learned_bundle import FlowGraphs, FlowNet, network_of, open_flow_graphs
from bodystream.correspondence.precise import precise_flow
from bodystream.engines import ProviderName
from bodystream.errors import ConfigurationError
from bodystream.types import Array, FlowField, RgbdFrame

if TYPE_CHECKING:
    import warp as wp

__all__ = ["LearnedConfig", "LearnedCorrespondence"]


@dataclass(frozen=True, slots=True)
class LearnedConfig:
    """How to search, and what to believe.

    Attributes:
        across: the image is reduced as if the whole frame were to be so many pixels wide, by a whole number of times,
            and farther where the person fits into no image of the network.
        max_pixels: images of the network with more are not used, unless all have more.
        margin_px: around the person when a window is chosen, in pixels of the network's image.
        align: also begin from the large motion that sparse features agree on, as one affine map and as a smooth flow;
            each pixel keeps what its neighbourhood believes most.
        follow: look at the target where the subject is expected, so that what moves far still fills the image.
        precise: align what the network says to a fraction of a pixel, see `precise.precise_flow`.
        finer: matches are for pixels so many times as small as those of the network's image.
        passes: decoder runs from each beginning; from the second on it begins where the one before ended.
        min_weight: smaller weights become 0; NNRT's delta (sec. 4.5).
        max_depth_change_m: a match that changes its point's depth by more is rejected; None = no limit.
        need_target_depth: reject matches that land where the target has no depth or a depth edge.
        both_ways: search frames other than the last one's successor, as keyframes and pairs are, in the other direction
            as well, and reject what does not return to within max_cycle_m of where it began (NNRT, app. D.3).
    """

    across: int = 320
    max_pixels: int = 320 * 256
    margin_px: int = 12
    align: bool = False
    follow: bool = False
    precise: bool = False
    finer: int = 1
    passes: int = 1
    min_weight: float = 0.35
    max_depth_change_m: float | None = None
    need_target_depth: bool = False
    both_ways: bool = True
    max_cycle_m: float = 0.2

    def __post_init__(self) -> None:
        for name, least in (("across", 32), ("max_pixels", 1), ("margin_px", 0), ("finer", 1), ("passes", 1)):
            if getattr(self, name) < least:
                raise ConfigurationError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0 <= self.min_weight < 1:
            raise ConfigurationError(f"min_weight must be in [0, 1), got {self.min_weight}")
        if not self.max_cycle_m > 0:
            raise ConfigurationError(f"max_cycle_m must be positive, got {self.max_cycle_m}")
        if self.max_depth_change_m is not None and not self.max_depth_change_m > 0:
            raise ConfigurationError(f"max_depth_change_m must be positive or None, got {self.max_depth_change_m}")

    @classmethod
    def live(cls) -> LearnedConfig:
        """From one frame of a camera to the next, in a few milliseconds.

        The network sees the person in few pixels, which is enough to come near; the images do the rest.
        """
        return cls(across=160, max_pixels=192 * 192, margin_px=6, precise=True, finer=2)

    @classmethod
    def full(cls) -> LearnedConfig:
        """For the full network, which looks at whole images and begins from rest: between any two frames."""
        return cls(across=640, max_pixels=1 << 30, max_depth_change_m=1.5, need_target_depth=True)

    @classmethod
    def pairwise(cls) -> LearnedConfig:
        """Two frames far apart in time, without a guess: evaluation pairs."""
        return cls(
            across=640,
            max_pixels=1 << 30,
            margin_px=12,
            align=True,
            follow=True,
            precise=True,
            passes=2,
            max_depth_change_m=1.5,
            need_target_depth=True,
        )


class LearnedCorrespondence:
    """Flow and weights by the network of a flow bundle. For one thread.

    A frame is encoded once and its features are kept while the window of the crop stays; see `crops.WindowKeeper` and
    `features.FeatureCache`. Weights are the network's own, and 0 where a match lands where it should not.

    Frames of any size are cropped and reduced to the network's images. A pair of which one frame has no colour is
    searched in the shaded depth of both, which the network was not trained on: what it then believes is for its
    weights to say. Depth that is not a number counts as not measured. Where nothing is in the source's mask, or in a
    given target's, every weight is 0.

    Args:
        bundle: of the kind `flow`, with the network `net`.
        provider, device: see `engines.open_engine`.
        threads: of the CPU provider; default: as the manifest says.

    Raises:
        BundleError: the bundle is of another kind or network, or its graphs do not belong together.

    Attributes:
        label: name and version of the bundle, and what runs it. reason: why that provider was taken.
        encode_count, again_count: frames that were encoded; of those, as the source, which costs a second run.
    """

    def __init__(
        self,
        bundle: Bundle,
        config: LearnedConfig | None = None,
        *,
        net: FlowNet = "light",
        provider: ProviderName = "auto",
        threads: int | None = None,
        device: wp.Device | None = None,
    ) -> None:
        self.config = LearnedConfig.live() if config is None else config
        section = network_of(bundle, net)
        least = min(width * height for width, height in section.sizes)
        sizes = [s for s in section.sizes if s[0] * s[1] <= max(least, self.config.max_pixels)]
        # All at once: opened later, a graph would hold up a frame.
        self._graphs: dict[tuple[int, int], FlowGraphs] = {
            size: open_flow_graphs(bundle, net, size, provider=provider, threads=threads, device=device)
            for size in sizes
        }
        first = self._graphs[sizes[0]].decoder
        self.reason = first.reason
        self.label = f"{bundle.manifest.name} {bundle.manifest.version}, {net} network ({first.provider})"
        self._windows = WindowKeeper(sizes, self.config.margin_px, self.config.finer)
        self._features = FeatureCache(self.config.finer, self.config.precise)
        self._last_target: RgbdFrame | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="bodystream-flow")

    @property
    def encode_count(self) -> int:
        return self._features.encode_count

    @property
    def again_count(self) -> int:
        return self._features.again_count

    @property
    def window_moves(self) -> int:
        """How often the window of the crop was chosen anew."""
        return self._windows.moves

    @property
    def image_size(self) -> tuple[int, int]:
        """(width, height) of the network's image of the last pair [px]; (0, 0) before there was one."""
        window = self._windows.window
        return (0, 0) if window is None else window.size

    def close(self) -> None:
        """Forget frames and graphs; the estimator cannot be used afterwards. May be called twice."""
        self._features.clear()
        self._graphs.clear()
        self._last_target = None
        self._pool.shutdown()

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
        shape = source.depth_m.shape
        mask = source.depth_m > 0 if source_mask is None else source_mask
        box = mask_box(mask)
        searched = _subject_in(source, target, mask) if target_mask is None and box is not None else target_mask
        landing_box = None if searched is None else mask_box(searched)
        config = self.config
        finer = config.finer
        least = finer * max(1, round(shape[1] / (config.across * finer)))
        if box is None or landing_box is None:
            return _nothing(source, target, least // finer)
        assert searched is not None
        guesses = self._guesses(source, target, mask, initial_flow_px, cell_px)
        if target_mask is None:
            # The subject was looked for by depth alone, which finds other things as well.
            if guesses and target.mask is None:
                near = np.logical_or.reduce([landing_near(mask, guess, per_px) for guess, per_px in guesses])
                searched = searched & near if (searched & near).any() else searched
            landing_box = box
            for guess, per_px in guesses:
                landing_box = landing_box.union(_moved(box, guess, per_px))
        shift = _middle_of(guesses[0], mask) if config.follow and guesses else (0, 0)
        if shift != (0, 0) and target_mask is None:
            landing_box = _moved(box, *guesses[0])
        window = self._windows.step(box.union(landing_box.shifted(-shift[0], -shift[1])), shape, least)
        other = window.shifted(*shift)
        graphs = self._graphs[window.size]
        shaded = source.colour is None or target.colour is None
        first = self._features.of(source, window, mask, shaded, graphs.encoder, is_source=True)
        second = self._features.of(target, other, searched, shaded, graphs.encoder, is_source=False)
        # between the two windows, as all that the network says
        between = np.array([other.u - window.u, other.v - window.v], np.float32) / np.float32(window.downscale)
        begun = [guess_in(guess, per_px, window) - between for guess, per_px in guesses]
        if not begun or config.align:
            begun.append(np.broadcast_to(-between, (window.size[1] // CELL, window.size[0] // CELL, 2)))
        flow, weight = self._decode(first, second, begun[0], graphs)
        for cells in begun[1:]:
            flow, weight = better_of((flow, weight), self._decode(first, second, cells, graphs))
        if first.image is not None and second.image is not None:
            flow, agreement = precise_flow(first.image, second.image, first.mask, flow, self._pool)
            weight *= agreement
        self._check(flow, weight, first, second, target_mask is not None)
        if config.both_ways and source is not self._last_target:
            self._check_return(flow, weight, first, second, graphs)
        self._last_target = target
        k = first.matched.downscale
        out = _nothing(source, target, k)
        first.matched.put(weight, out.weight)
        if between.any():
            flow = flow + between * np.float32(finer)
        first.matched.put(flow if k == 1 else flow * np.float32(k), out.flow_px)
        return out

    def _guesses(
        self, source: RgbdFrame, target: RgbdFrame, mask: Array, given: Array | None, cell_px: int
    ) -> list[tuple[Array, int]]:
        """Flows of the frame to begin from, each with the edge of the squares of pixels that it is for."""
        whole = None if given is None else _whole_guess(given)
        guesses = [] if whole is None else [(whole, cell_px)]
        if self.config.align:
            kind: ImageKind = "depth" if source.colour is None or target.colour is None else "colour"
            images = (matching_image(source, kind), matching_image(target, kind))
            guesses += [(flow, 1) for flow in aligning_flows(*images, mask)]
        return guesses

    def _decode(self, source: Encoded, target: Encoded, cells: Array, graphs: FlowGraphs) -> tuple[Array, Array]:
        """Flow (h, w, 2) and weight (h, w) of the pixels that matches are for, in these pixels.

        Args:
            cells: for each 8 x 8 pixels of the network's image the flow to begin from, in pixels of that image.
        """
        size = graphs.size
        feed = {f"source_{name}": value for name, value in source.features.items()}
        feed |= {f"target_{name}": value for name, value in target.features.items()}
        feed = {name: value for name, value in feed.items() if name in graphs.decoder.inputs}
        initial = np.ascontiguousarray(cells.transpose(2, 0, 1)[None])
        for number in range(self.config.passes):
            answer = graphs.decoder.run({**feed, "initial_flow_px": initial} if graphs.net == "light" else feed)
            flow = np.ascontiguousarray(answer["flow_px"][0].transpose(1, 2, 0), np.float32)
            weight = np.array(answer["weight"][0, 0], np.float32)
            if number + 1 < self.config.passes:
                there = cv2.resize(source.mask.view(np.uint8), weight.shape[::-1], interpolation=cv2.INTER_AREA)
                smooth = extend_flow(flow, weight * (there > 0))
                half = (size[0] // CELL, size[1] // CELL)
                initial[0] = cv2.resize(smooth, half, interpolation=cv2.INTER_AREA).transpose(2, 0, 1)
        # a network that overflows says nothing; every cell is looked at before it is mixed with its neighbours
        unusable = ~(np.isfinite(flow).all(axis=2) & np.isfinite(weight))
        flow[unusable], weight[unusable] = 0, 0
        weight = np.clip(weight, 0, 1)
        to = source.matched.size
        flow = cv2.resize(flow, to, interpolation=cv2.INTER_LINEAR)
        if self.config.finer > 1:
            flow *= np.float32(self.config.finer)
        return flow, cv2.resize(weight, to, interpolation=cv2.INTER_LINEAR)

    def _check(self, flow: Array, weight: Array, source: Encoded, target: Encoded, masked: bool) -> None:
        """Set weights to 0 outside the mask, without depth, and where the match lands wrong.

        Args:
            masked: whether the target's mask was given, so that a match must land in it.
        """
        config = self.config
        weight *= source.mask & (source.depth_m > 0)
        inside = target.mask
        if not masked:  # what leaves the window may still be in the frame, but nobody looked for it there
            inside = target.matched.cut(np.ones(target.frame.depth_m.shape, bool))
        check_landing(
            cv2.add(pixel_grid(*weight.shape), flow),
            source.depth_m,
            target.depth_m,
            inside,
            weight,
            need_target_depth=config.need_target_depth,
            max_depth_change_m=config.max_depth_change_m,
        )
        weight[weight < config.min_weight] = 0

    def _check_return(self, flow: Array, weight: Array, source: Encoded, target: Encoded, graphs: FlowGraphs) -> None:
        """Set weights to 0 of what the target's own flow does not bring back (NNRT, app. D.3)."""
        finer = self.config.finer
        cells = returning_guess(flow, weight, CELL * finer) * np.float32(1 / finer)
        back, _ = self._decode(target, source, cells, graphs)
        own = pixel_grid(*weight.shape)
        landing = cv2.add(own, flow)
        returned = cv2.add(landing, sampled(back, landing))
        camera = source.matched.camera(source.frame.intrinsics)
        weight *= cycle_error_m(own, source.depth_m, returned, source.depth_m, camera) < self.config.max_cycle_m


def _nothing(source: RgbdFrame, target: RgbdFrame, cell_px: int) -> FlowField:
    shape = tuple(-(-n // cell_px) for n in source.depth_m.shape)
    flow, weight = np.zeros((*shape, 2), np.float32), np.zeros(shape, np.float32)
    return FlowField(source.t_ns, target.t_ns, flow, weight, cell_px)


def _whole_guess(guess_px: Array) -> Array | None:
    """A guess that is continued where it is not known; None if it is known nowhere."""
    known = np.isfinite(guess_px).all(axis=2)
    if known.all():
        return guess_px
    weight = np.asarray(known, np.float32)
    return extend_flow(guess_px, weight) if known.any() else None


def _moved(box: Box, guess_px: Array, cell_px: int) -> Box:
    """Around where the guess takes the pixels of a box."""
    rows, columns = (
        slice(low // cell_px, -(-high // cell_px)) for low, high in ((box.v0, box.v1), (box.u0, box.u1))
    )  # fmt: skip
    part = guess_px[rows, columns]
    low, high = np.floor(part.min(axis=(0, 1))), np.ceil(part.max(axis=(0, 1)))
    return Box(box.u0 + int(low[0]), box.v0 + int(low[1]), box.u1 + int(high[0]), box.v1 + int(high[1]))


def _middle_of(guess: tuple[Array, int], mask: Array) -> tuple[int, int]:
    """The median of a flow over a mask, in whole pixels along x and y."""
    flow_px, cell_px = guess
    v, u = np.nonzero(mask[::4, ::4])
    u_px, v_px = np.rint(np.median(flow_px[4 * v // cell_px, 4 * u // cell_px], axis=0)).astype(int).tolist()
    return u_px, v_px


def _subject_in(source: RgbdFrame, target: RgbdFrame, mask: Array) -> Array:
    """(H, W) bool of the target: its own mask, else what is as far away as the subject is in the source."""
    if target.mask is not None:
        return target.mask
    return subject_by_depth(target.depth_m, source.depth_m[mask & (source.depth_m > 0)])
