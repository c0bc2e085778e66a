"""From a recording's files to one whole, checked frame."""

from __future__ import annotations

from dataclasses import dataclass

from bodystream.errors import InputError
from bodystream.sources.layouts.images import DamagedFileError
from bodystream.sources.layouts.record import FrameRecord
from bodystream.sources.layouts.registration import Registration
from bodystream.sources.layouts.units import to_metres
from bodystream.types import Array, CameraIntrinsics

__all__ = ["DecodedFrame", "FrameDecoder", "check_sizes"]


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """What one frame's files hold.

    Attributes:
        depth_m: (H, W) float32 [m], 0 = no measurement.
        colour: (H, W, 3) uint8 RGB, or None.
        mask: (H, W) bool, or None.
        intrinsics: of these pixels.
        empty: there is no measurement at all.
        notes: what was wrong with the frame's lesser files (mask, camera), which it does without.
    """

    depth_m: Array
    colour: Array | None
    mask: Array | None
    intrinsics: CameraIntrinsics
    empty: bool
    notes: tuple[str, ...]


def check_sizes(
    record: FrameRecord, raw_depth: Array, colour: Array | None, registration: Registration | None = None
) -> None:
    """Refuse a frame whose colour and depth are not on the same pixels, and cannot be brought there.

    Raises:
        InputError: names both files and both sizes.
    """
    if colour is not None and registration is not None:
        width, height = registration.colour_size
        if colour.shape[:2] != (height, width):
            raise InputError(
                f"{record.colour_file} is {colour.shape[1]}x{colour.shape[0]}, but the recording began with "
                f"{width}x{height}"
            )
    elif colour is not None and colour.shape[:2] != raw_depth.shape:
        raise InputError(
            f"{record.colour_file} is {colour.shape[1]}x{colour.shape[0]}, but {record.depth_file} is "
            f"{raw_depth.shape[1]}x{raw_depth.shape[0]}: colour and depth must be registered to the same pixels; "
            "align them when recording, or rename the colour folder to use depth alone"
        )


@dataclass(frozen=True, slots=True)
class FrameDecoder:
    """Decodes frames of one camera; has no state, so any thread may call it.

    Attributes:
        intrinsics: of the recording; they say the size that every frame must have.
        depth_scale_m: metres per raw unit.
        max_depth_m: depth beyond it is no measurement; None keeps all.
        own_intrinsics: use the camera that a frame brings along rather than the recording's.
        registration: brings colour to the pixels of depth, and depth to a pinhole; None = they are there.
    """

    intrinsics: CameraIntrinsics
    depth_scale_m: float
    max_depth_m: float | None = None
    own_intrinsics: bool = True
    registration: Registration | None = None

    def decode(self, record: FrameRecord) -> DecodedFrame:
        """Read and check one frame.

        Raises:
            InputError: it is incomplete, damaged, or of another size.
        """
        if record.problem or record.read_depth is None:
            raise DamagedFileError(record.problem or f"{record.name} has no depth")
        raw = record.read_depth()
        size = (self.intrinsics.height, self.intrinsics.width)
        if raw.shape != size:
            raise InputError(
                f"{record.depth_file} is {raw.shape[1]}x{raw.shape[0]}, but the recording began with "
                f"{size[1]}x{size[0]}"
            )
        colour = None if record.read_colour is None else record.read_colour()
        check_sizes(record, raw, colour, self.registration)
        notes: list[str] = []
        depth_m = to_metres(raw, self.depth_scale_m, self.max_depth_m)
        mask = self._mask(record, raw, notes)
        if self.registration is not None:
            depth_m = self.registration.depth(depth_m)
            mask = None if mask is None else self.registration.mask(mask)
            colour = None if colour is None else self.registration.colour(colour, depth_m)
        return DecodedFrame(
            depth_m=depth_m,
            colour=colour,
            mask=mask,
            intrinsics=self._camera(record, notes),
            empty=not depth_m.any(),
            notes=tuple(notes),
        )

    def _mask(self, record: FrameRecord, raw: Array, notes: list[str]) -> Array | None:
        if record.read_mask is None:
            return None
        try:
            mask = record.read_mask(raw)
        except InputError as error:
            notes.append(f"frame {record.name} is used without its mask: {error}")
            return None
        if mask is not None and mask.shape != raw.shape:
            notes.append(
                f"frame {record.name} is used without its mask, which is {mask.shape[1]}x{mask.shape[0]} while depth "
                f"is {raw.shape[1]}x{raw.shape[0]}"
            )
            return None
        return mask

    def _camera(self, record: FrameRecord, notes: list[str]) -> CameraIntrinsics:
        if record.read_intrinsics is None or not self.own_intrinsics:
            return self.intrinsics
        try:
            return record.read_intrinsics().for_size(self.intrinsics.width, self.intrinsics.height)
        except InputError as error:
            notes.append(f"frame {record.name} uses the recording's camera instead of its own: {error}")
            return self.intrinsics
