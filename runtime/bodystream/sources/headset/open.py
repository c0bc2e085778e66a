"""From what a user types after `--headset` to a source of samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bodystream.errors import ConfigurationError
from bodystream.sources.grammar import SourceKind, choose
from bodystream.sources.headset.base import HeadsetSource

if TYPE_CHECKING:
    from bodystream.sources.headset.configs import MotionConfig, OpenXrConfig, TraceConfig, VmcConfig
    from bodystream.web.server import PageServer

__all__ = ["HEADSET_KINDS", "open_headset"]

_CONFIGS = "bodystream.sources.headset.configs"


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a session wants of a source, beside what its specification says."""

    realtime: bool
    speed: float
    on_status: Callable[[str], None] | None
    server: PageServer | None


def open_headset(
    spec: str,
    *,
    realtime: bool = False,
    speed: float = 1.0,
    on_status: Callable[[str], None] | None = None,
    server: PageServer | None = None,
) -> HeadsetSource:
    """Open what `spec` names, `kind:target?key=value&key=value`.

    Args:
        spec: `openxr`; `webxr?host=0.0.0.0`, `webxr:PORT`; `vmc:PORT`, any sender of VMC; `trace:FILE`, a recording
            (`trace.py`); `take:FILE`, the same of `bodystream record`; `motion:PATH`, a headset made from a motion
            file, PATH as for `sources.motion.find_takes`. The keys are the fields of `OpenXrConfig`, `WebXrConfig`,
            `VmcConfig`, `TraceConfig` and `MotionConfig`.
        realtime: recordings at their own pace, where `spec` does not say it.
        speed: of recordings at their own pace: how many times as fast.
        on_status: told what a person has to do, such as the address that a headset's browser has to open.
        server: in which a page for headsets is to be, in the place of one of its own.

    Raises:
        ConfigurationError: there is no such kind, key or value; the message says what there is.
        BodystreamError: it cannot be opened.
    """
    return choose(spec, HEADSET_KINDS, "headset source").open(_Wish(realtime, speed, on_status, server))


def _open_openxr(_: str, config: OpenXrConfig, wish: _Wish) -> HeadsetSource:
    from bodystream.sources.headset.openxr import OpenXrHeadset

    _live_only("openxr", wish)
    return OpenXrHeadset(**_options(config))


def _open_webxr(_: str, config: Any, wish: _Wish) -> HeadsetSource:
    from bodystream.sources.headset.configs import WebXrConfig
    from bodystream.sources.headset.webxr import WebXrHeadset

    _live_only("webxr", wish)
    options = _options(config)
    if wish.server is not None:
        default = _options(WebXrConfig())
        of_server = ("host", "port", "token", "certificate", "key", "tls", "origins")
        given = [name for name in of_server if options[name] != default[name]]
        if given:
            raise ConfigurationError(
                f"webxr is a part of the server here: give {', '.join(given)} as options of the server, not as keys"
            )
    return WebXrHeadset(**options, on_status=wish.on_status, server=wish.server)


def _open_vmc(_: str, config: VmcConfig, wish: _Wish) -> HeadsetSource:
    from bodystream.sources.headset.vmc import VmcHeadset

    _live_only("vmc", wish)
    return VmcHeadset(**_options(config), on_status=wish.on_status)


def _open_trace(target: str, config: TraceConfig, wish: _Wish) -> HeadsetSource:
    from bodystream.sources.headset.trace import TraceHeadset, read_trace

    realtime = _pace(config, wish)
    return TraceHeadset(read_trace(Path(target).expanduser()), realtime=realtime, speed=wish.speed)


def _open_take(target: str, config: TraceConfig, wish: _Wish) -> HeadsetSource:
    from bodystream.sources.headset.take import TakeHeadset

    realtime = _pace(config, wish)
    return TakeHeadset(Path(target).expanduser(), realtime=realtime, speed=wish.speed)


def _open_motion(target: str, config: MotionConfig, wish: _Wish) -> HeadsetSource:
    from bodystream.geometry.tracker_noise import TrackerNoise
    from bodystream.sources.headset.synthetic import MotionHeadset, TrackingLoss
    from bodystream.sources.motion import choose_take

    take = choose_take(target if config.model is None else f"{target}?model={config.model}", config.take)
    if config.seed < 0:
        raise ConfigurationError(f"the seed of a motion must be at least 0, got {config.seed}")
    warnings: list[str] = []
    source = MotionHeadset(
        take.load(warnings),
        rate_hz=config.rate_hz,
        noise=TrackerNoise() if config.noise else None,
        seed=config.seed,
        hands=config.hands,
        lost=TrackingLoss() if config.lost else None,
        realtime=_pace(config, wish),
        speed=wish.speed,
    )
    for warning in warnings:
        source.counts.warn(warning)
    return source


def _pace(config: TraceConfig | MotionConfig, wish: _Wish) -> bool:
    """Whether a recording is replayed at its own pace.

    Raises:
        ConfigurationError: it is not, and a speed is asked for.
    """
    realtime = wish.realtime if config.realtime is None else config.realtime
    if wish.speed != 1.0 and not realtime:
        raise ConfigurationError(
            f"a speed of {wish.speed:g} is for recordings at their own pace, and this one is read as fast as it is "
            "processed: leave one of the two out"
        )
    return realtime


def _live_only(name: str, wish: _Wish) -> None:
    if wish.speed != 1.0:
        raise ConfigurationError(f"{name} is live and has no speed, got {wish.speed:g}: only recordings have one")


def _options(config: Any) -> dict[str, Any]:
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}


HEADSET_KINDS: tuple[SourceKind[_Wish, HeadsetSource], ...] = (
    SourceKind("openxr", "a runtime: SteamVR, Monado, WiVRn", f"{_CONFIGS}:OpenXrConfig", _open_openxr),
    SourceKind(
        "webxr",
        "a page that a standalone headset's browser opens",
        f"{_CONFIGS}:WebXrConfig",
        _open_webxr,
        target="PORT",
        optional=True,
        target_key="port",
    ),
    SourceKind(
        "vmc",
        "head and hands, or an avatar's bones, from any VMC sender",
        f"{_CONFIGS}:VmcConfig",
        _open_vmc,
        target="PORT",
        optional=True,
        target_key="port",
    ),
    SourceKind("trace", "a recording: iwer, A-Frame or CSV", f"{_CONFIGS}:TraceConfig", _open_trace, target="FILE"),
    SourceKind(
        "take", "a recording of `bodystream record` (.mcap)", f"{_CONFIGS}:TraceConfig", _open_take, target="FILE"
    ),
    SourceKind(
        "motion",
        "a headset made from motion capture: BVH, ASF/AMC or AMASS",
        f"{_CONFIGS}:MotionConfig",
        _open_motion,
        target="PATH",
    ),
)
"""All kinds of source of head and hands: a new one is a row here."""
