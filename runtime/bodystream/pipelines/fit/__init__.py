"""Fits of the body embedding to what users have: what a target is, and the files that come of it."""

from bodystream.pipelines.fit.following import CaptureRegistration, RegisteredFrame, write_motion, write_registered
from bodystream.pipelines.fit.kinds import KINDS, fit_target, fit_targets
from bodystream.pipelines.fit.options import FitOptions, FitReport

__all__ = [
    "KINDS",
    "CaptureRegistration",
    "FitOptions",
    "FitReport",
    "RegisteredFrame",
    "fit_target",
    "fit_targets",
    "write_motion",
    "write_registered",
]
