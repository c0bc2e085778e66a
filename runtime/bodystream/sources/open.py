"""From what a user types after `--source` to a source of depth frames."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from bodystream.bundles import BundleChoice
from bodystream.errors import ConfigurationError
from bodystream.sources.base import RgbdSource
from bodystream.sources.grammar import SourceKind, choose

if TYPE_CHECKING:
    import warp as wp

    from bodystream.sources.folder_config import FolderConfig
    from bodystream.sources.realsense.config import RealSenseConfig
    from bodystream.sources.synthetic import SyntheticConfig
    from bodystream.sources.take_config import TakeConfig

__all__ = ["SOURCE_KINDS", "Pace", "open_source"]

Pace = Literal["all", "paced", "live"]


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a session wants of a source, beside what its specification says."""

    device: wp.Device | str
    frames: int | None
    pace: Pace
    bundles: BundleChoice


def open_source(
    spec: str,
    device: wp.Device | str = "auto",
    *,
    frames: int | None = None,
    pace: Pace = "all",
    bundles: BundleChoice | None = None,
) -> RgbdSource:
    """Open what `spec` names, `kind:target?key=value&key=value`.

    Args:
        spec: `synthetic`, `synthetic:7?motion=walk`, `folder:take?depth_scale_m=0.001&loop=1`,
            `realsense:SERIAL?exposure_us=8000`, `take:FILE`. The keys are the fields of `SyntheticConfig`,
            `FolderConfig`, `RealSenseConfig` and `TakeConfig`.
        device: where a source computes that does, a Warp device or a name for `select_device`.
        frames: how many will be taken, or None: the synthetic camera need not draw more.
        pace: of the synthetic camera: every frame, as fast as it is taken (`all`); the same, but no faster than its
            rate (`paced`); or by the wall clock, so that those not taken in time are lost (`live`). Cameras are always
            live, recordings never.
        bundles: `person` is the body that the synthetic camera shows; default: the shipped one.

    Raises:
        ConfigurationError: no such kind, key or value; the message says what there is.
        InputError, SourceError, DeviceError, MissingDependencyError: the source cannot be opened.
    """
    if pace not in get_args(Pace):
        raise ConfigurationError(f"pace must be one of {', '.join(get_args(Pace))}, got {pace!r}")
    bundles = BundleChoice() if bundles is None else bundles
    if bundles.places and _kind_of(spec) != "synthetic":
        raise ConfigurationError(
            f"the source {spec} uses no bundle: only the synthetic camera shows a body, leave out --bundle"
        )
    return choose(spec, SOURCE_KINDS, "source").open(_Wish(device, frames, pace, bundles))


def _kind_of(spec: str) -> str:
    return spec.partition(":")[0].partition("?")[0]


def _open_synthetic(_: str, config: SyntheticConfig, wish: _Wish) -> RgbdSource:
    from bodystream.avatar.rig import load_rig
    from bodystream.sources.synthetic import SyntheticSource

    live = wish.pace == "live"
    # A live camera goes on until the session has processed as many as it wants: some are dropped on the way.
    frames = wish.frames if config.frames is None and not live else config.frames
    body = load_rig(wish.bundles.open("person"))
    return SyntheticSource(
        replace(config, frames=frames, live=live, paced=wish.pace == "paced"), wish.device, body=body
    )


def _open_folder(target: str, config: FolderConfig, _: _Wish) -> RgbdSource:
    from bodystream.sources.folder import FolderSource

    return FolderSource.open(Path(target), config)


def _open_realsense(target: str, config: RealSenseConfig, _: _Wish) -> RgbdSource:
    from bodystream.sources.realsense.source import RealSenseSource

    return RealSenseSource.open(os.path.expanduser(target), config=config)


def _open_take(target: str, config: TakeConfig, _: _Wish) -> RgbdSource:
    from bodystream.sources.take import TakeSource

    return TakeSource(Path(target).expanduser(), config)


SOURCE_KINDS: tuple[SourceKind[_Wish, RgbdSource], ...] = (
    SourceKind(
        "synthetic",
        "a drawn body that moves",
        "bodystream.sources.synthetic.source:SyntheticConfig",
        _open_synthetic,
        target="SEED",
        optional=True,
        target_key="seed",
        hidden=("live", "paced"),
    ),
    SourceKind(
        "folder",
        "a recording: a folder of images, or a .mkv, .r3d, .sens or .mat file",
        "bodystream.sources.folder_config:FolderConfig",
        _open_folder,
        target="PATH",
    ),
    SourceKind(
        "realsense",
        "a camera by its serial number (else the first one), or a librealsense recording",
        "bodystream.sources.realsense.config:RealSenseConfig",
        _open_realsense,
        target="SERIAL|TAKE.db3",
        optional=True,
    ),
    SourceKind(
        "take",
        "a recording of `bodystream record` (.mcap)",
        "bodystream.sources.take_config:TakeConfig",
        _open_take,
        target="FILE",
    ),
)
"""All kinds of source of depth frames: a new one is a row here."""
