"""The embedded deformation that tracking solves and fusion follows (NNRT appendix A)."""

from bodystream.deformation.field import WarpField

__all__ = ["WarpField"]
