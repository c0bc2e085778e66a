"""How the masks of a recording are meant, from a few of them and the depth beside them.

What is not background is the person. Most writers put 0 behind; others put the person into alpha, give soft edges,
write 255 behind and 0 before, or number what they see. Two witnesses tell the background: it fills most of the image's
border, and it lies farther away than the person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from bodystream.types import Array

__all__ = ["MaskRule", "MaskSample", "decide_rule"]

_LOSSY_THRESHOLD = 127  # lossy masks ring around their edges
_LOSSY_DIFFERENCE = 24
_EVERYTHING = 0.98
_FLAT = 0.3
_MANY_LEVELS = 48  # more than anybody numbers
_MOST = 0.5
_NEARLY_ALL = 0.8
_LEAST = 0.005
_BEHIND = 1.05
_MIN_MEASURED = 30
_REMEDY = "--mask find looks for the person instead"


@dataclass(frozen=True, slots=True)
class MaskSample:
    """One mask file: its image as stored, whether it is a jpg, and the frame's raw depth or None."""

    image: Array
    lossy: bool
    depth: Array | None


@dataclass(frozen=True, slots=True)
class MaskRule:
    """How to tell the person in a mask image.

    Attributes:
        by_alpha: alpha is the mask.
        above: grey values greater than this are the person; None where one value or colour is the background.
        background: that value (grey), or that colour (three numbers in the file's order).
        void: a grey value that means nothing (edges of label images), or None.
        inverted: what the rest says is the background.
        notes: what the user should know.
    """

    by_alpha: bool = False
    above: int | None = 0
    background: int | tuple[int, int, int] | None = None
    void: int | None = None
    inverted: bool = False
    notes: tuple[str, ...] = ()

    def apply(self, image: Array, lossy: bool = False) -> Array:
        """(H, W) bool of a mask image.

        Raises:
            ValueError: it is unlike the images that the rule was made from.
        """
        if self.by_alpha:
            if image.ndim != 3 or image.shape[2] != 4:
                raise ValueError("has no alpha, which is the mask in the other files")
            opaque = image[..., 3] > (self.above or 0)
            return ~opaque if self.inverted else opaque
        if isinstance(self.background, tuple):
            if image.ndim != 3:
                raise ValueError("has no colours, which are the mask in the other files")
            difference = np.abs(image[..., :3].astype(np.int32) - np.array(self.background, np.int32)).max(axis=2)
            return difference > (_LOSSY_DIFFERENCE if lossy else 0)
        grey = _grey(image)
        mask = grey > self.above if self.above is not None else grey != self.background
        if self.void is not None:
            mask &= grey != self.void
        return ~mask if self.inverted else mask


def decide_rule(samples: Sequence[MaskSample], alpha_only: bool = False) -> MaskRule:
    """How the masks are meant.

    Args:
        samples: of frames spread over the recording; none gives the usual rule, not 0.
        alpha_only: colour images, which are masks by their alpha or not at all.
    """
    alphas = [s.image[..., 3] for s in samples if s.image.ndim == 3 and s.image.shape[2] == 4]
    if alphas and min(map(np.min, alphas)) < max(map(np.max, alphas)):
        rule = MaskRule(by_alpha=True, above=max(int(a.max()) for a in alphas) // 2)
        return _told(_turned(rule, [s for s in samples if _like(rule, s.image)], alpha_only), samples, alpha_only)
    if not samples or alpha_only:
        return MaskRule()
    if any(_coloured(s.image) for s in samples):
        rule = _by_colour(samples)
    else:
        rule = _lossy_rule(samples) if samples[0].lossy else _grey_rule(samples)
    return _told(_turned(rule, samples), samples)


def _grey(image: Array) -> Array:
    return image if image.ndim == 2 else image[..., :3].max(axis=2)


def _coloured(image: Array) -> bool:
    return image.ndim == 3 and bool((np.ptp(image[..., :3], axis=2) > _LOSSY_DIFFERENCE).mean() > 0.001)


def _border(image: Array) -> Array:
    """Pixels along the top and the sides; people often stand on the lower edge."""
    return np.concatenate([image[0], image[1:, 0], image[1:, -1]])


def _by_colour(samples: Sequence[MaskSample]) -> MaskRule:
    """Cut-outs on one colour, or labels in colours: the most frequent colour of the border is the background."""
    border = np.concatenate([_border(s.image[..., :3]) for s in samples if s.image.ndim == 3]).astype(np.int64)
    bins = border >> 4 if samples[0].lossy else border
    codes = (bins[:, 0] << 32) | (bins[:, 1] << 16) | bins[:, 2]
    values, counts = np.unique(codes, return_counts=True)
    best = int(counts.argmax())
    if counts[best] < _FLAT * counts.sum():
        return MaskRule()  # pictures, not masks
    blue, green, red = np.median(border[codes == values[best]], axis=0).astype(int).tolist()
    return MaskRule(above=None, background=(blue, green, red))


def _lossy_rule(samples: Sequence[MaskSample]) -> MaskRule:
    largest = max(int(_grey(s.image).max()) for s in samples)
    if largest > _LOSSY_THRESHOLD or largest < 16:
        return MaskRule(above=_LOSSY_THRESHOLD)
    return MaskRule(above=largest // 2, notes=(f"the masks reach only to {largest} of 255; half of it is the limit",))


def _grey_rule(samples: Sequence[MaskSample]) -> MaskRule:
    images = [_grey(s.image) for s in samples]
    values = np.unique(np.concatenate([np.unique(image) for image in images]))
    largest = int(values[-1])
    if values.size < 3:
        return MaskRule() if values[0] == 0 or values.size == 1 else _labels(images)
    between = [(image > 0) & (image < largest) for image in images]
    full = 255 if largest <= 255 else 65535
    of_all_levels = values.size > _MANY_LEVELS and largest > _NEARLY_ALL * full
    if of_all_levels or _flat_share(images, between) < _FLAT:
        if largest > full // 2:
            return MaskRule(above=full // 2)
        return MaskRule(above=largest // 2, notes=(f"the masks reach only to {largest} of {full}; half is the limit",))
    return _labels(images)


def _labels(images: Sequence[Array]) -> MaskRule:
    """Numbered regions: 0 is the background, else the most frequent number along the border."""
    void = None
    for number in (255, 65535):
        edges = [image == number for image in images]
        others = any(((image != number) & (image != 0)).any() for image in images)
        if others and any(edge.any() for edge in edges) and _flat_share(images, edges) < _FLAT:
            void = number
    if any((image == 0).any() for image in images):
        return MaskRule(void=void)
    background = _commonest(np.concatenate([_border(image) for image in images]))
    return MaskRule(
        above=None,
        background=background,
        void=void,
        notes=(f"the masks hold no 0; {background}, the value along their border, is taken as the background",),
    )


def _flat_share(images: Sequence[Array], chosen: Sequence[Array]) -> float:
    """The share of the chosen pixels whose neighbours all have the same value: high in labels, low at soft edges."""
    flat, count = 0, 0
    kernel = np.ones((3, 3), np.uint8)
    for image, where in zip(images, chosen, strict=True):
        same = cv2.erode(image, kernel) == cv2.dilate(image, kernel)
        flat += int(np.count_nonzero(same & where))
        count += int(np.count_nonzero(where))
    return flat / count if count else 1.0


def _commonest(values: Array) -> int:
    found, counts = np.unique(values, return_counts=True)
    return int(found[counts.argmax()])


def _turned(rule: MaskRule, samples: Sequence[MaskSample], alpha_only: bool = False) -> MaskRule:
    """The rule, or its opposite where what it calls the person fills the border and lies behind the rest.

    Alpha of colour images may also say where colour was brought to depth at all, and is no mask then.
    """
    masks = [rule.apply(s.image, s.lossy) for s in samples]
    on_border = float(np.mean(np.concatenate([_border(mask) for mask in masks])))
    rest = float(np.mean([1 - mask.mean() for mask in masks]))
    if isinstance(rule.background, tuple) or on_border <= _MOST or rest < _LEAST:
        return rule
    before, behind = (_median_depth(samples, chosen) for chosen in ([~mask for mask in masks], masks))
    unknown = before is None or behind is None or 1 / _BEHIND < behind / before < _BEHIND
    if unknown and alpha_only:
        return MaskRule(
            notes=(
                "the alpha of the colour images is opaque along their border, as no cut-out's is, so it is not used "
                "as a mask; put masks in a folder mask if they are meant",
            )
        )
    if before is None or behind is None or unknown:
        turned = on_border > _NEARLY_ALL
        why = "fills the border of the image"
    else:
        turned = behind > before
        why = "fills the border of the image and lies behind the rest"
    if not turned:
        return rule
    if rule.by_alpha:
        note = f"what is opaque in the images {why}, so their alpha is read as inverted; {_REMEDY}"
        return MaskRule(by_alpha=True, above=rule.above, inverted=True, notes=(note,))
    images = [_grey(s.image) for s in samples]
    if rule.above == 0 and len(np.unique(np.concatenate([np.unique(image) for image in images]))) > 2:
        background = _commonest(np.concatenate([_border(image) for image in images]))
        return MaskRule(
            above=None,
            background=background,
            void=rule.void,
            notes=(f"the value {background} of the masks {why}, so it is taken as the background; {_REMEDY}",),
        )
    return MaskRule(
        above=rule.above,
        background=rule.background,
        void=rule.void,
        inverted=True,
        notes=(f"what is white in the masks {why}, so they are read as inverted; {_REMEDY}",),
    )


def _median_depth(samples: Sequence[MaskSample], chosen: Sequence[Array]) -> float | None:
    """Median raw depth of the chosen pixels; None without enough of it."""
    values = [
        sample.depth[where & (sample.depth > 0)]
        for sample, where in zip(samples, chosen, strict=True)
        if sample.depth is not None and sample.depth.shape == where.shape
    ]
    found = np.concatenate(values) if values else np.zeros(0)
    found = found[np.isfinite(found)] if found.dtype.kind == "f" else found
    return float(np.median(found)) if found.size >= _MIN_MEASURED else None


def _told(rule: MaskRule, samples: Sequence[MaskSample], of_colour: bool = False) -> MaskRule:
    """The rule with what it makes of the samples, where that cannot be meant; colour images are never scaled."""
    if of_colour and not rule.by_alpha:
        return rule
    shares = [float(rule.apply(s.image, s.lossy).mean()) for s in samples if _like(rule, s.image)]
    notes = list(rule.notes)
    if shares and min(shares) >= _EVERYTHING:
        notes.append(f"the masks cover everything, so that everything is captured; {_REMEDY}")
    elif shares and max(shares) == 0:
        notes.append(f"the masks hold nobody; {_REMEDY}")
    sizes = [(s.image.shape[:2], s.depth.shape) for s in samples if s.depth is not None and not of_colour]
    for (height, width), (depth_height, depth_width) in sizes[:1]:
        if (height, width) != (depth_height, depth_width) and height * depth_width == width * depth_height:
            notes.append(f"the masks are {width}x{height} and are brought to the {depth_width}x{depth_height} of depth")
    return MaskRule(rule.by_alpha, rule.above, rule.background, rule.void, rule.inverted, tuple(notes))


def _like(rule: MaskRule, image: Array) -> bool:
    return not rule.by_alpha or (image.ndim == 3 and image.shape[2] == 4)
