"""Fits of the body embedding to what users have, by the word before the colon of a target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from bodystream.body import BodyDecoder
from bodystream.errors import ConfigurationError
from bodystream.pipelines.fit.capture import fit_capture
from bodystream.pipelines.fit.depth import fit_clips, fit_depth
from bodystream.pipelines.fit.joints2d import fit_joints2d
from bodystream.pipelines.fit.markers import fit_markers
from bodystream.pipelines.fit.options import FitOptions, FitReport
from bodystream.pipelines.fit.scan import fit_scan

__all__ = ["KINDS", "fit_target", "fit_targets"]

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
    kind, path = _parted(target)
    options.refuse_others(kind)
    return KINDS[kind](decoder, path, options)


def fit_targets(decoder: BodyDecoder, targets: Sequence[str], options: FitOptions) -> FitReport:
    """`fit_target` of one, or of several depth recordings of one person.

    Raises:
        ConfigurationError: as `fit_target`; or there is no target, or several with another kind among them, or one that
            is given twice.
        InputError: as `fit_target`.
    """
    if not targets:
        raise ConfigurationError(
            "give a target: the file of a scan, or " + " or ".join(f"{kind}:PATH" for kind in KINDS)
        )
    if len(targets) == 1:
        return fit_target(decoder, targets[0], options)
    parted = [_parted(target) for target in targets]
    for target, (kind, _) in zip(targets, parted, strict=True):
        if kind != "depth":
            raise ConfigurationError(
                f"several targets are depth recordings of one person, each as depth:RECORDING, and {target!r} is none: "
                "fit it in a command of its own"
            )
    options.refuse_others("depth")
    return fit_clips(decoder, [path for _, path in parted], options)


def _parted(target: str) -> tuple[str, Path]:
    kind, colon, rest = target.partition(":")
    if not colon or len(kind) == 1 or Path(target).exists():  # one letter is a drive's
        return "scan", Path(target)
    if kind not in KINDS:
        raise ConfigurationError(
            f"there is no kind of target {kind!r}: give the file of a scan, or one of "
            f"{', '.join(f'{name}:PATH' for name in KINDS)}"
        )
    return kind, Path(rest)
