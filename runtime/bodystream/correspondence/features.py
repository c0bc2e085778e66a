"""What the encoder of a flow network sees of a frame, and the features of frames that are looked at again."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from bodystream.correspondence.crops import CropWindow
from bodystream.correspondence.images import matching_image
from bodystream.correspondence.precise import flattened
from bodystream.engines import Engine
from bodystream.types import Array, CameraIntrinsics, RgbdFrame

__all__ = ["Encoded", "FeatureCache", "light_image", "rgbd_image", "window_image"]

_DEPTH_RANGE_M = 0.5


def window_image(frame: RgbdFrame, window: CropWindow, shaded: bool) -> Array:
    """What a window shows: (h, w, 3) uint8 of colours, or (h, w) uint8 of the shaded depth."""
    if shaded or frame.colour is None:
        return window.cut(matching_image(frame, "depth"), averaged=True)
    return window.cut(frame.colour, averaged=True)


def light_image(image: Array, mask: Array, depth_m: Array, out: Array) -> None:
    """What the light network's encoder sees: colour, depth relative to the subject's mean, and its mask.

    The runtime's counterpart of `bodystream_training.flow.light.light_input`, which is the reference.

    Args:
        image: of `window_image`.
        mask: (h, w) bool of the window's image, the subject. depth_m: (h, w) of the same.
        out: (5, h, w) float32, written to.
    """
    _fill_colours(image, out[:3])
    out[:3] *= np.float32(2 / 255)
    out[:3] -= 1
    seen = mask & (depth_m > 0)
    # nan is seen nowhere, and nan times 0 is nan
    relative = np.where(seen, depth_m, np.float32(0))
    relative -= relative.sum() / max(1, np.count_nonzero(seen))
    relative *= np.float32(1 / _DEPTH_RANGE_M)
    np.clip(relative, -1, 1, out=out[3])
    out[3] *= seen
    out[4] = mask


def rgbd_image(image: Array, depth_m: Array, window: CropWindow, camera: CameraIntrinsics, out: Array) -> None:
    """What the full network's weights see: colour from 0 to 1, which is also what its encoder sees, and points [m].

    The runtime's counterpart of `bodystream_training.flow.model.rgbd_input`, which is the reference.

    Args:
        image: of `window_image`. depth_m: (h, w) of the window's image.
        camera: of the whole frame.
        out: (6, h, w) float32, written to.
    """
    _fill_colours(image, out[:3])
    out[:3] *= np.float32(1 / 255)
    k, (width, height) = window.downscale, window.size
    out[5] = np.where(depth_m > 0, depth_m, np.float32(0))
    for row, begin, count, centre, focal in (
        (3, window.u, width, camera.cx, camera.fx),
        (4, window.v, height, camera.cy, camera.fy),
    ):
        # of the middles of the squares
        slope = ((np.arange(count) + 0.5) * k - 0.5 + begin - centre) / focal
        out[row] = out[5] * (slope if row == 3 else slope[:, None]).astype(np.float32)


def _fill_colours(image: Array, out: Array) -> None:
    """Grey levels from 0 to 255, (3, h, w)."""
    out[:] = image if image.ndim == 2 else image.transpose(2, 0, 1)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A frame as it was encoded: frame, window, mask and what was shown must be the same for its features to be.

    Attributes:
        window: whose image the encoder saw. matched: the same part of the frame, in the pixels that matches are for.
        mask, depth_m: (h, w) of `matched`.
        image: (h, w) uint8 of `matched`, what `precise_flow` compares; None where it is not used.
        features: outputs of the encoder by name; of the full network also `rgbd`, see `rgbd_image`.
    """

    frame: RgbdFrame
    window: CropWindow
    matched: CropWindow
    shaded: bool
    mask: Array
    depth_m: Array
    image: Array | None
    features: dict[str, Array]

    def is_of(self, frame: RgbdFrame, window: CropWindow, shaded: bool, mask: Array) -> bool:
        return (
            self.frame is frame
            and self.window == window
            and self.shaded == shaded
            and np.array_equal(self.mask, mask)
        )  # fmt: skip


class FeatureCache:
    """Features of the last two frames, and of the last one that had to be encoded as a source: a keyframe.

    A target is the next pair's source, and so it has them already. A keyframe is older than that; it is encoded again
    the first time it is asked for, and kept from then on.

    Args:
        finer: matches are for pixels so many times as small as those that the encoder sees.
        precise: keep what `precise_flow` compares.

    Attributes:
        encode_count: runs of the encoder. again_count: of those, for a source.
    """

    def __init__(self, finer: int = 1, precise: bool = False) -> None:
        self._finer, self._precise = finer, precise
        self.encode_count = self.again_count = 0
        self._recent: list[Encoded] = []
        self._older: Encoded | None = None

    def of(
        self, frame: RgbdFrame, window: CropWindow, mask: Array, shaded: bool, encoder: Engine, *, is_source: bool
    ) -> Encoded:
        """The frame with its features, which stay as they are.

        Args:
            mask: (H, W) bool of the frame, the subject.
            shaded: show the shaded depth instead of the colours.
        """
        matched = window.finer(self._finer)
        seen = matched.cut(mask)
        for known in (*self._recent, *filter(None, [self._older])):
            if known.is_of(frame, window, shaded, seen):
                return known
        depth_m = matched.cut(frame.depth_m)
        image = window_image(frame, matched, shaded)
        own = image if matched == window else cv2.resize(image, window.size, interpolation=cv2.INTER_AREA)
        features: dict[str, Array] = {}
        if "image" in encoder.inputs:
            given = np.empty((1, 5, *window.size[::-1]), np.float32)
            own_mask, own_depth_m = (
                (seen, depth_m) if matched == window else (window.cut(mask), window.cut(frame.depth_m))
            )  # fmt: skip
            light_image(own, own_mask, own_depth_m, given[0])
            answer = encoder.run({"image": given})
        else:
            features["rgbd"] = rgbd = np.empty((1, 6, *window.size[::-1]), np.float32)
            rgbd_image(own, window.cut(frame.depth_m), window, frame.intrinsics, rgbd[0])
            answer = encoder.run({"rgb": rgbd[:, :3]})
        features |= {name: np.copy(value) for name, value in answer.items()}
        grey = None
        if self._precise:
            grey = flattened(image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), seen)
        made = Encoded(frame, window, matched, shaded, seen, depth_m, grey, features)
        self.encode_count += 1
        if is_source:
            self.again_count += 1
            self._older = made
        else:
            self._recent = [*self._recent[-1:], made]
        return made

    def clear(self) -> None:
        """Forget all frames."""
        self._recent, self._older = [], None
