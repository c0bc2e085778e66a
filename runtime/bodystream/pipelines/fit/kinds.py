"""Fits of the body embedding to what users have, by the word before the colon of a target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bodystream.body import BodyDecoder
from bodystream.errors import ConfigurationError
from bodystream.pipelines.fit.capture import fit_capture
from bodystream.pipelines.fit.depth import fit_depth
from bodystream.pipelines.fit.joints2d import fit_joints2d
from bodystream.pipelines.fit.markers import fit_markers
from bodystream.pipelines.fit.options import FitOptions, FitReport
from bodystream.pipelines.fit.scan import fit_scan

__all__ = ["KINDS", "fit_target"]

KINDS: dict[str, Callable[[BodyDecoder, Path, FitOptions], FitReport]] = {
    "scan": fit_scan,
    "capture": fit_capture,
    "depth": fit_depth,
    "markers": fit_markers,
    "joints2d": fit_joints2d,
}
"""Of targets, by the word before the colon; what each makes of a path."""


def fit_target(decoder: BodyDecoder, target: str, options: FitOptions) -> FitReport:
    """Fit bodies to a target: a file of a scan, or `kind:PATH` of `KINDS`.

    Raises:
        ConfigurationError: there is no such kind, or an option is given that says nothing of it.
        InputError: the target cannot be read, or nobody is found in it.
    """
    kind, colon, rest = target.partition(":")
    if colon and len(kind) > 1 and not Path(target).exists():  # one letter is a drive's
        if kind not in KINDS:
            raise ConfigurationError(
                f"there is no kind of target {kind!r}: give the file of a scan, or one of "
                f"{', '.join(f'{name}:PATH' for name in KINDS)}"
            )
    else:
        kind, rest = "scan", target
    options.refuse_others(kind)
    return KINDS[kind](decoder, Path(rest), options)
