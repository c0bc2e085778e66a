"""Camera settings of ORB-SLAM2 and 3, which people keep beside TUM and plain folders: `TUM1.yaml` and the like.

`Camera.fx` (ORB-SLAM2) or `Camera1.fx` (ORB-SLAM3) and their fellows, `DepthMapFactor` or `RGBD.DepthMapFactor` as
units per metre, `Camera.fps`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass
from pathlib import Path

from bodystream.errors import InputError
from bodystream.files import read_text_bounded
from bodystream.sources.layouts.intrinsics import PinholeParameters
from bodystream.sources.layouts.keyed import entries
from bodystream.sources.layouts.record import Recording

__all__ = ["CameraSettings", "find_settings", "parse_settings", "with_settings"]

_MAX_TEXT_BYTES = 64 << 10
_MAX_LISTED = 200_000
_MAX_FILES = 40


@dataclass(frozen=True, slots=True)
class CameraSettings:
    """What a settings file says.

    Attributes:
        intrinsics: with the depth unit, where it is said.
        rate_hz: of the recording, or None.
    """

    intrinsics: PinholeParameters
    rate_hz: float | None


def with_settings(recording: Recording, folder: Path) -> Recording:
    """The recording with what the settings of its folder say, where nothing nearer to the images says it.

    Raises:
        InputError: several settings that differ.
    """
    own = recording.intrinsics
    if recording.rig is not None or (isinstance(own, PinholeParameters) and own.depth_scale_m is not None):
        return recording
    settings = find_settings(folder)
    if settings is None:
        return recording
    intrinsics = settings.intrinsics
    if isinstance(own, PinholeParameters):
        intrinsics = dataclasses.replace(own, depth_scale_m=intrinsics.depth_scale_m)
    return dataclasses.replace(
        recording, intrinsics=intrinsics, rate_hz=settings.rate_hz if recording.rate_hz is None else recording.rate_hz
    )


def find_settings(folder: Path) -> CameraSettings | None:
    """The settings file of a folder; None where there is none.

    Raises:
        InputError: several that differ.
    """
    found: list[CameraSettings] = []
    try:
        listed = [p for p in itertools.islice(folder.iterdir(), _MAX_LISTED) if p.suffix.lower() in (".yaml", ".yml")]
    except OSError:
        return None
    for path in sorted(listed)[:_MAX_FILES]:
        if path.is_file():
            try:
                settings = parse_settings(read_text_bounded(path, _MAX_TEXT_BYTES), str(path))
            except InputError:
                continue  # one of another sort; who needs it says what is wrong with it
            if settings is not None:
                found.append(settings)
    cameras = {dataclasses.replace(settings.intrinsics, origin="") for settings in found}
    if len(cameras) > 1:
        names = ", ".join(Path(settings.intrinsics.origin).name for settings in found)
        raise InputError(
            f"{folder}: several settings of ORB-SLAM that differ ({names}): keep the one of this recording"
        )
    return found[0] if found else None


def parse_settings(text: str, origin: str) -> CameraSettings | None:
    """Read one file; None where it is none of ORB-SLAM's.

    Raises:
        InputError: it is, and its numbers are impossible.
    """
    if "Camera" not in text:
        return None
    values = {".".join(entry.path): entry.numbers[0] for entry in entries(text, ".yaml", origin) if entry.numbers}
    prefix = next((name for name in ("Camera1", "Camera") if f"{name}.fx" in values), None)
    if prefix is None:
        return None
    named = [values.get(f"{prefix}.{name}", math.nan) for name in ("fx", "fy", "cx", "cy")]
    if not all(math.isfinite(value) and abs(value) < 1e9 for value in named) or min(named[:2]) <= 0:
        raise InputError(
            f"{origin}: expected {prefix}.fx, fy, cx, cy with positive focal lengths, got "
            f"{', '.join(f'{value:g}' for value in named)}"
        )
    factor = values.get("RGBD.DepthMapFactor", values.get("DepthMapFactor"))
    if factor is not None and not 1e-3 <= factor <= 1e6:
        raise InputError(f"{origin}: DepthMapFactor must be the units in a metre, got {factor:g}")
    width, height = (values.get(f"Camera.{name}", math.nan) for name in ("width", "height"))
    sized = 1 <= width <= 1 << 20 and 1 <= height <= 1 << 20
    rate_hz = values.get("Camera.fps", math.nan)
    return CameraSettings(
        PinholeParameters(
            *named,
            origin=origin,
            width=int(width) if sized else None,
            height=int(height) if sized else None,
            distorted=any(values.get(f"{prefix}.{name}", 0.0) != 0 for name in ("k1", "k2", "k3", "p1", "p2")),
            depth_scale_m=None if factor is None else 1.0 / factor,
        ),
        rate_hz if 0.1 <= rate_hz <= 1000 else None,
    )
