"""From what a user types after `--headset` to a source."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from bodystream.errors import ConfigurationError
from bodystream.sources.headset.base import HeadsetSource

__all__ = ["open_headset"]

_KINDS = (
    "openxr, webxr, webxr:PORT, trace:FILE, motion:FILE or motion:FOLDER?take=NAME; after a trace ?realtime=1, after a "
    "motion ?rate=90&hands=grip|hand|joint&noise=1&lost=1&seed=0&realtime=1"
)
_MOTION_KEYS = ("take", "rate", "hands", "noise", "lost", "seed", "realtime")


def open_headset(
    spec: str,
    *,
    host: str | None = None,
    realtime: bool = False,
    on_status: Callable[[str], None] | None = None,
) -> HeadsetSource:
    """Open what `spec` names.

    Args:
        spec: `openxr`; `webxr[:PORT]`; `trace:FILE[?realtime=1]`, a recording (`trace.py`); `motion:PATH[?options]`,
            a headset made from a motion file, PATH as for `sources.motion.find_takes`. Options of a motion are joined
            by `&`: `take=NAME` where the path holds several, `rate` [Hz], `hands` (grip, hand, joint), `noise` and
            `lost` (0 or 1), `seed`, `realtime` (0 or 1).
        host: the address that `webxr` listens on; None takes its default.
        realtime: recordings at their own pace, where `spec` does not say it.
        on_status: told what a person has to do, such as the address that a headset's browser has to open.

    Raises:
        ConfigurationError: there is no such source or option; the message lists what is possible.
        BodystreamError: it cannot be opened.
    """
    if "\x00" in spec:
        raise ConfigurationError(f"a headset source has no null characters, got {spec[:60]!r}")
    kind, _, target = spec.partition(":")
    if kind == "openxr" and not target:
        from bodystream.sources.headset.openxr import OpenXrHeadset

        return OpenXrHeadset()
    if kind == "webxr":
        from bodystream.sources.headset.webxr import WebXrHeadset

        options: dict[str, Any] = {"on_status": on_status} if host is None else {"on_status": on_status, "host": host}
        if target:
            options["port"] = _whole_number("the port of webxr", target, 1, 65535)
        return WebXrHeadset(**options)
    if kind == "trace" and target:
        from bodystream.sources.headset.trace import TraceHeadset, read_trace

        path, options = _options(target, ("realtime",))
        return TraceHeadset(read_trace(Path(os.path.expanduser(path))), realtime=_switch(options, "realtime", realtime))
    if kind == "motion" and target:
        return _open_motion(target, realtime)
    hint = f" For a recording write trace:{spec}" if spec and os.path.isfile(spec) else ""
    raise ConfigurationError(f"there is no headset source {spec!r}, wanted one of: {_KINDS}.{hint}")


def _open_motion(target: str, realtime: bool) -> HeadsetSource:
    from bodystream.geometry.tracker_noise import TrackerNoise
    from bodystream.sources.headset.synthetic import MotionHeadset, TrackingLoss
    from bodystream.sources.motion import find_takes

    path, options = _options(target, (*_MOTION_KEYS, "model"))
    model = options.get("model")
    takes = find_takes(path if model is None else f"{path}?model={model}")
    wanted = options.get("take")
    chosen = takes if wanted is None else [take for take in takes if take.name == wanted]
    if len(chosen) != 1:
        names = ", ".join(take.name for take in takes[:8]) + (", ..." if len(takes) > 8 else "")
        got = f"{path} holds {len(takes)} takes"
        if wanted is not None:
            got += f", {len(chosen)} of them named {wanted}"
        raise ConfigurationError(f"{got}: choose one by its file, or by ?take=NAME of {names}")
    try:
        rate_hz = float(options.get("rate", 90.0))
    except ValueError as error:
        raise ConfigurationError(f"the rate of a motion must be a number, got {options['rate']!r}") from error
    warnings: list[str] = []
    source = MotionHeadset(
        chosen[0].load(warnings),
        rate_hz=rate_hz,
        noise=TrackerNoise() if _switch(options, "noise") else None,
        seed=_whole_number("the seed of a motion", options.get("seed", "0"), 0, 2**63),
        hands=options.get("hands", "grip"),
        lost=TrackingLoss() if _switch(options, "lost") else None,
        realtime=_switch(options, "realtime", realtime),
    )
    for warning in warnings:
        source.counts.warn(warning)
    return source


def _options(target: str, known: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """The path and the options after its question mark, unless the path itself has one."""
    path, question, query = target.rpartition("?")
    if not question or os.path.exists(os.path.expanduser(target)):
        return target, {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, max_num_fields=32)
    except ValueError as error:
        raise ConfigurationError(f"cannot read the options {query!r}: wanted name=value joined by &") from error
    unknown = [name for name, _ in pairs if name not in known]
    if unknown:
        raise ConfigurationError(f"there is no option {unknown[0]!r} of {path}, wanted one of: {', '.join(known)}")
    return path, dict(pairs)


def _switch(options: dict[str, str], name: str, otherwise: bool = False) -> bool:
    value = options.get(name, "1" if otherwise else "0")
    if value not in ("0", "1"):
        raise ConfigurationError(f"{name} must be 0 or 1, got {value!r}")
    return value == "1"


def _whole_number(what: str, text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high):
        raise ConfigurationError(f"{what} must be a whole number from {low} to {high}, got {text!r}")
    return int(text)
