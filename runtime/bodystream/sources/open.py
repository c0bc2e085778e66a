"""From what a user types after `--source` to a source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import warp as wp

from bodystream.errors import ConfigurationError
from bodystream.sources.base import RgbdSource
from bodystream.types import CameraIntrinsics

__all__ = ["SourceOptions", "open_source"]

_KINDS = "realsense, realsense:SERIAL, realsense:TAKE.db3, folder:PATH, synthetic, synthetic:SEED"


@dataclass(frozen=True)
class SourceOptions:
    """Options of all kinds of source; each takes what concerns it.

    Attributes:
        frames: the synthetic camera ends after so many frames unless it is live; None = endless.
        live: newest wins at the device's pace (synthetic camera only; cameras are live, recordings are not).
        paced: every frame, at most `rate_hz` of them a second (synthetic camera only).
        depth_scale_m: metres per unit of a recording's depth files; None = from the layout.
        intrinsics: of a recording that has none.
        rate_hz: frame rate of a camera, or of a recording without timestamps.
        loop: start a recording anew when it ends.
        motion: of the synthetic body. noise: of the synthetic camera.
        emitter, exposure_us, preset: of a RealSense camera.
    """

    frames: int | None = None
    live: bool = True
    paced: bool = False
    depth_scale_m: float | None = None
    intrinsics: CameraIntrinsics | None = None
    rate_hz: float | None = None
    loop: bool = False
    motion: str = "limbs"
    noise: str = "d400"
    emitter: bool | None = None
    exposure_us: int | None = None
    preset: str | None = None


def open_source(spec: str, options: SourceOptions, device: wp.Device) -> RgbdSource:
    """Open `kind` or `kind:target`.

    Raises:
        ConfigurationError: no such kind, or a target that the kind cannot take.
        InputError, SourceError, MissingDependencyError: the source cannot be opened.
    """
    kind, _, target = spec.partition(":")
    if kind == "synthetic":
        return _open_synthetic(target, options, device)
    if kind == "folder":
        if not target:
            raise ConfigurationError("which folder? write --source folder:PATH")
        from bodystream.sources.folder import FolderSource

        return FolderSource.open(
            Path(target).expanduser(),
            depth_scale_m=options.depth_scale_m,
            intrinsics=options.intrinsics,
            rate_hz=options.rate_hz,
            loop=options.loop,
        )
    if kind == "realsense":
        from bodystream.sources.realsense.config import RealSenseConfig
        from bodystream.sources.realsense.source import RealSenseSource

        config = RealSenseConfig(
            rate_hz=30 if options.rate_hz is None else round(options.rate_hz),
            emitter=options.emitter,
            exposure_us=options.exposure_us,
            preset=options.preset,
        )
        return RealSenseSource.open(target, config=config)
    hint = f"; for a recording write folder:{spec}" if Path(spec).exists() else ""
    raise ConfigurationError(f"there is no source {spec!r}{hint} (sources: {_KINDS})")


def _open_synthetic(target: str, options: SourceOptions, device: wp.Device) -> RgbdSource:
    if target and not target.isdigit():
        raise ConfigurationError(f"the synthetic camera takes a seed, a whole number, got {target!r}")
    from bodystream.sources.synthetic import SyntheticConfig, SyntheticSource

    config = SyntheticConfig(
        seed=int(target or 0),
        rate_hz=30.0 if options.rate_hz is None else options.rate_hz,
        # A live camera goes on until the session has processed as many as it wants: some are dropped on the way.
        frames=None if options.live else options.frames,
        motion=options.motion,  # type: ignore[arg-type]  # checked by Motion against its names
        noise=options.noise,  # type: ignore[arg-type]  # checked by SyntheticConfig
        live=options.live,
        paced=options.paced,
    )
    return SyntheticSource(config, device)
