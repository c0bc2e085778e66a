"""Fits of the body embedding to what users have: what a target is, and the files that come of it."""

from bodystream.pipelines.fit.following import CaptureRegistration, RegisteredFrame, write_motion, write_registered
from bodystream.pipelines.fit.kinds import KINDS, fit_target
from bodystream.pipelines.fit.options import FitOptions, FitReport

__all__ = [
    "KINDS",
    "CaptureRegistration",
    "FitOptions",
    "FitReport",
    "RegisteredFrame",
    "fit_target",
    "write_motion",
    "write_registered",
]
