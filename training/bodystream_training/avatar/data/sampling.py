"""Points about posed surfaces and whether they are inside, as INS's appendix A.1 samples them; kept in files.

Half of the points are near the surface: places on it at even distances (Poisson disks), moved by a normal deviate in
each axis. The other half is uniform in the surface's box, enlarged. A point is inside where the winding number of the
surface exceeds a half.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import KDTree

from bodystream.avatar.take.frames import AvatarTake, PosedFrame
from bodystream.bundles.arrays import load_npz
from bodystream.errors import ConfigurationError, InputError
from bodystream.files import atomic_path
from bodystream.types import Array
from bodystream_training.avatar.data.surface import QuerySurface

__all__ = ["FrameSamples", "SampleCache", "SamplingConfig", "even_surface_points", "sample_frame"]

_MAX_BYTES = 256 << 20
_HIDDEN_M = 0.002
"""A face is hidden where this far out of its middle is inside still: skin under clothes."""
_SPARE = 3  # times as many places are drawn as even distances leave
_DISK_SHARE = 0.7  # of the distance at which as many disks as points would cover the surface
_VERSION = 1


@dataclass(frozen=True, slots=True)
class SamplingConfig:
    """How many points, and where.

    Attributes:
        near, box: how many near the surface and in the box; the paper takes 100,000 of each.
        noise_m: standard deviation of the former, in each axis.
        box_scale: of the box's sides.
        seed: of all draws; those of a frame do not depend on other frames.

    Raises:
        ConfigurationError: a number that cannot be.
    """

    near: int = 100_000
    box: int = 100_000
    noise_m: float = 0.01
    box_scale: float = 1.1
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.near, self.box) < 0 or self.near + self.box < 1:
            raise ConfigurationError(f"points to sample must not be negative, got {self.near} and {self.box}")
        if not (self.noise_m >= 0.0 and self.box_scale >= 1.0):
            raise ConfigurationError(
                f"noise must not be negative and the box not smaller than the surface's, got {self.noise_m} m and "
                f"{self.box_scale}"
            )


@dataclass(frozen=True, slots=True)
class FrameSamples:
    """Points about one frame, those near the surface first.

    Attributes:
        points: (N, 3) float32, in the frame's own space [m].
        inside: (N,) bool.
        colours: (N, 3) uint8 of the nearest place on the surface, or None where the take has none.
        near: how many are near the surface.
    """

    points: Array
    inside: Array
    colours: Array | None
    near: int


def sample_frame(take: AvatarTake, frame: PosedFrame, config: SamplingConfig) -> FrameSamples:
    """Points about one frame, the same for the same frame and seed."""
    faces, colours = take.faces_of(frame), take.colours_of(frame)
    rng = np.random.default_rng((config.seed, frame.number))
    surface = QuerySurface(frame.vertices, faces)
    on_surface = even_surface_points(frame.vertices, faces, config.near, rng, surface)
    near = on_surface + config.noise_m * rng.standard_normal(on_surface.shape)
    low, high = (frame.vertices.astype(np.float64).min(axis=0), frame.vertices.astype(np.float64).max(axis=0))
    middle, half = 0.5 * (low + high), 0.5 * config.box_scale * (high - low)
    box = middle + half * rng.uniform(-1.0, 1.0, (config.box, 3))
    points = np.concatenate([near, box]).astype(np.float32)
    found = surface.nearest(points)
    painted = None
    if colours is not None:
        painted = np.clip(np.round(found.interpolated(faces, colours)), 0, 255).astype(np.uint8)
    return FrameSamples(points, found.inside, painted, config.near)


def even_surface_points(
    vertices: Array, faces: Array, count: int, rng: np.random.Generator, surface: QuerySurface | None = None
) -> Array:
    """(count, 3) float64 places on a surface, evenly spread: no two are nearer than a distance that the count gives.

    Places are drawn uniformly by area, and one that is near an earlier one is dropped (dart throwing, Cook 1986); the
    rest is filled up with dropped ones where too few are left.

    Args:
        surface: where given, faces whose outer side is inside of another part are left out.

    Raises:
        InputError: a surface without area, or all of it hidden.
    """
    if count == 0:
        return np.zeros((0, 3))
    corners = vertices.astype(np.float64)[faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    twice = np.linalg.norm(cross, axis=1)
    if not twice.sum() > 0.0:
        raise InputError("the surface has no area: its faces are all of no extent")
    if surface is not None:
        normals = cross / np.maximum(twice, 1e-20)[:, None]
        twice = np.where(surface.nearest(corners.mean(axis=1) + _HIDDEN_M * normals).inside, 0.0, twice)
        if not twice.any():
            raise InputError("the surface is hidden inside itself everywhere: its faces may be turned inside out")
    total = twice.sum()
    drawn_count = _SPARE * count
    face = np.searchsorted(np.cumsum(twice), rng.uniform(0.0, total, drawn_count)).clip(max=len(faces) - 1)
    u, v = rng.uniform(size=(2, drawn_count))
    flip = u + v > 1.0
    u, v = np.where(flip, 1.0 - u, u), np.where(flip, 1.0 - v, v)
    a, b, c = (corners[face, k] for k in range(3))
    drawn = a + u[:, None] * (b - a) + v[:, None] * (c - a)
    # Disks of this radius about `count` points would cover the part that is seen.
    radius = _DISK_SHARE * np.sqrt(0.5 * total / (np.pi * count))
    kept = _apart(drawn, radius)
    rest = np.flatnonzero(~kept)
    chosen = np.flatnonzero(kept)
    if len(chosen) >= count:
        return drawn[np.sort(rng.permutation(chosen)[:count])]
    return drawn[np.concatenate([chosen, rest[: count - len(chosen)]])]


def _apart(points: Array, radius: float) -> Array:
    """(N,) which points are kept when each that is nearer than `radius` to an earlier kept one is dropped."""
    pairs = KDTree(points).query_pairs(radius, output_type="ndarray")
    kept = np.ones(len(points), bool)
    if not len(pairs):
        return kept
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]  # by the earlier point of each pair, which is the first
    starts = np.searchsorted(pairs[:, 0], np.arange(len(points) + 1))
    later = pairs[:, 1]
    for point in np.unique(pairs[:, 0]).tolist():
        if kept[point]:
            kept[later[starts[point] : starts[point + 1]]] = False
    return kept


class SampleCache:
    """Samples of a take's frames, made when they are first asked for and kept in a folder.

    Files are named by what they are of: the frame's surface, the settings and this file's version.
    """

    def __init__(self, take: AvatarTake, config: SamplingConfig, folder: Path | None = None) -> None:
        self._take, self._config, self._folder = take, config, folder

    def __len__(self) -> int:
        return len(self._take.frames)

    def __getitem__(self, index: int) -> FrameSamples:
        """The samples of the frame at a place in the take.

        Raises:
            InputError: the folder cannot be written, or a file in it is damaged.
        """
        frame = self._take.frames[index]
        if self._folder is None:
            return sample_frame(self._take, frame, self._config)
        path = self._folder / f"{frame.number:06}-{self._key(frame)}.npz"
        if path.is_file():
            return self._read(path)
        samples = sample_frame(self._take, frame, self._config)
        arrays: dict[str, Any] = {"points": samples.points, "inside": np.packbits(samples.inside)}
        if samples.colours is not None:
            arrays["colours"] = samples.colours
        with atomic_path(path) as waiting:
            np.savez(waiting, **arrays)
        return samples

    def _key(self, frame: PosedFrame) -> str:
        digest = hashlib.sha256(json.dumps([_VERSION, asdict(self._config)]).encode())
        for array in (frame.vertices, self._take.faces_of(frame), self._take.colours_of(frame)):
            digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def _read(self, path: Path) -> FrameSamples:
        arrays = load_npz(path, _MAX_BYTES)
        count = self._config.near + self._config.box
        points, bits = arrays.get("points"), arrays.get("inside")
        if points is None or bits is None or points.shape != (count, 3):
            raise InputError(f"{path} does not hold the {count} points that it should: delete it, and it is made anew")
        inside = np.unpackbits(bits, count=count).astype(bool)
        return FrameSamples(points, inside, arrays.get("colours"), self._config.near)
