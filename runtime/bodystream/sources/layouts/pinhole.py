"""Intrinsics as a file gives them, and whether they are those of the images at hand."""

from __future__ import annotations

from dataclasses import dataclass

from bodystream.errors import InputError
from bodystream.sources.layouts.camera_fit import doubts_of, reordered
from bodystream.types import CameraIntrinsics

__all__ = ["PinholeParameters", "UnreadIntrinsics"]


@dataclass(frozen=True, slots=True)
class PinholeParameters:
    """Intrinsics as a file gives them, often without the image size.

    Attributes:
        fx, fy, cx, cy: [px].
        origin: the file, for messages.
        width, height: of the images they belong to, or None where the file does not say.
        distorted: the file also holds lens distortion, which is not applied.
        depth_scale_m: metres per unit of depth that the file states, or None.
        rate_hz: frames per second that the file states, or None.
        named: the file says which number is which; four bare numbers are only assumed to be fx fy cx cy.
        notes: what the user should know about the file.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    origin: str
    width: int | None = None
    height: int | None = None
    distorted: bool = False
    depth_scale_m: float | None = None
    rate_hz: float | None = None
    named: bool = True
    notes: tuple[str, ...] = ()

    def for_size(self, width: int, height: int) -> CameraIntrinsics:
        """The camera of images of this size.

        Raises:
            InputError: the file belongs to images of another size.
        """
        return self.fitted(width, height)[0]

    def fitted(self, width: int, height: int) -> tuple[CameraIntrinsics, tuple[str, ...]]:
        """The same, with what is doubtful about it.

        Raises:
            InputError: the file belongs to images of another size.
        """
        stated = (self.width or width, self.height or height)
        if stated != (width, height):
            raise InputError(
                f"{self.origin} is for images of {stated[0]}x{stated[1]}, but the depth images are {width}x{height}: "
                f"give the intrinsics of the images as they are stored{self._resized(stated, width, height)}"
            )
        values = (self.fx, self.fy, self.cx, self.cy)
        insist = "or, if they are right, pass ?intrinsics=fx,fy,cx,cy,width,height"
        other = None if self.named else reordered(values, width, height)
        if other is not None:
            values, order = other
            camera = CameraIntrinsics(*values, width, height)
            return camera, (
                f"{self.origin}: its numbers make no camera as fx fy cx cy, but they do as {order}: read so "
                f"(fx {values[0]:g} fy {values[1]:g} cx {values[2]:g} cy {values[3]:g}); write them as fx fy cx cy, "
                f"{insist}",
            )
        doubt, certain = doubts_of(*values, width, height)
        if certain:
            raise InputError(
                f"{self.origin}: {doubt}: give the intrinsics of the images as stored, {insist} ({width} {height} here)"
            )
        camera = CameraIntrinsics(*values, width, height)
        return camera, (f"{self.origin}: {doubt}; correct the file, {insist}",) if doubt else ()

    def _resized(self, stated: tuple[int, int], width: int, height: int) -> str:
        """What to pass where the images seem to have been resized without their intrinsics."""
        if abs(stated[0] * height - stated[1] * width) > 0.01 * stated[1] * width:
            return ""
        across, down = width / stated[0], height / stated[1]
        return (
            f"; if they were resized from there, pass ?intrinsics={self.fx * across:.6g},{self.fy * down:.6g},"
            f"{(self.cx + 0.5) * across - 0.5:.6g},{(self.cy + 0.5) * down - 0.5:.6g},{width},{height}"
        )


@dataclass(frozen=True, slots=True)
class UnreadIntrinsics:
    """A file with the name of one for intrinsics that is not understood; it only matters where nothing else is given.

    Attributes:
        origin: the file. problem: what is wrong with it, the message of the error.
        depth_scale_m, rate_hz: what it states all the same, or None.
        notes, distorted: as of `PinholeParameters`.
    """

    origin: str
    problem: str
    depth_scale_m: float | None = None
    rate_hz: float | None = None
    notes: tuple[str, ...] = ()
    distorted: bool = False

    def for_size(self, width: int, height: int) -> CameraIntrinsics:
        """Refuse.

        Raises:
            InputError: always, with what is wrong with the file.
        """
        return self.fitted(width, height)[0]

    def fitted(self, width: int, height: int) -> tuple[CameraIntrinsics, tuple[str, ...]]:
        """Refuse.

        Raises:
            InputError: always, with what is wrong with the file.
        """
        raise InputError(
            f"{self.problem}; correct it, or pass ?intrinsics=fx,fy,cx,cy,width,height (the images are "
            f"{width}x{height})"
        )
