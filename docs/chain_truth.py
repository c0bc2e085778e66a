"""What the chain's bodies are against the synthetic camera's truth: figures and pictures, used by `make_chain.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import trimesh
from make_pictures import sheet
from PIL import Image

from bodystream.avatar import open_avatar
from bodystream.avatar.take.files import load_take
from bodystream.avatar.take.frames import AvatarTake
from bodystream.body import largest_piece
from bodystream.body.nearest import BodySurface
from bodystream.bundles import load_npz
from bodystream.geometry.normals import vertex_areas
from bodystream.sinks.facing import FACING_VECTOR
from bodystream.sinks.sheet import View, draw_mesh
from bodystream.sources.captures import read_capture
from bodystream.sources.motion import read_motion
from bodystream.sources.open import open_source
from bodystream.sources.synthetic import SyntheticSource
from bodystream.types import Array, BodyPose, Mesh, RgbdFrame

_MAX_BYTES = 1 << 30
_FULL_MM = 20.0
"""The distance that is painted in the last colour of the scale."""
_PICTURE_PX, _HALF_M = 300, 0.95
_AHEAD, _BEHIND = np.pi + 0.4, 0.4
_SHOWN = 3


@dataclass(frozen=True)
class Compared:
    """A surface against another [mm]: `there` is the mean distance of its area from the other, `back` that of the
    other's area from it, which tells what is missing."""

    there: float
    back: float

    @property
    def both(self) -> float:
        """The mean of the two ways."""
        return 0.5 * (self.there + self.back)


def compared(mesh: Mesh, truth: Mesh) -> Compared:
    """How far two surfaces are from each other."""

    def way(one: Mesh, other: Mesh) -> float:
        areas = vertex_areas(one.vertices, one.faces)
        return 1e3 * float(np.average(BodySurface(other.vertices, other.faces).distances(one.vertices), weights=areas))

    return Compared(way(mesh, truth), way(truth, mesh))


class ChainFiles:
    """What the steps of a chain wrote, and the truth of it.

    Args:
        source: of the synthetic camera, as `live --source` took it.
        capture, fit, reposed: folders of these steps.
        soles_m: how much higher than the motion's skeleton the avatar stands, see `soles_lift_m`.

    Attributes:
        take: the registered frames. t_s: (T,) their times. plain: (T, V, 3) the fitted body alone in each pose [m].
        held_out: places of the frames that nothing was learned from.
    """

    def __init__(self, source: str, capture: Path, fit: Path, reposed: Path, soles_m: float = 0.0) -> None:
        camera = open_source(source, "cpu")
        if not isinstance(camera, SyntheticSource):
            raise ValueError(f"only the synthetic camera knows its truth, got {source}")
        self._camera = camera
        self._outer, self._faces = largest_piece(camera.body.mesh.faces, len(camera.body.mesh.vertices))
        take = load_take(fit)
        assert isinstance(take, AvatarTake)
        arrays = load_npz(fit / "plain.npz", _MAX_BYTES)
        self.take, self.plain, self.t_s = take, arrays["vertices"], arrays["t_s"]
        self._world = arrays["file_from_camera"]
        self._reposed, self._models = reposed, read_capture(capture)
        # Who reads a motion puts its feet on the floor, and an avatar stands on its own soles: that is taken back.
        pelvis = np.stack([frame.posed_from_canonical[0, :3, 3] for frame in take.frames])
        clip = read_motion(fit / "motion.bvh")
        self._lifted_m = np.median(FACING_VECTOR * clip.root_positions_m - pelvis, axis=0) + (0.0, soles_m, 0.0)
        tests = set(take.motions["test"])
        self.held_out = [number for number, frame in enumerate(take.frames) if frame.motion in tests]

    def truth(self, frame: int) -> Mesh:
        """The surface that the camera showed, without its eyes, y up [m]."""
        truth = self._shown(frame).truth
        assert truth is not None
        vertices = truth.mesh.vertices[self._outer].astype(np.float64)
        return Mesh(vertices @ self._world[:3, :3].T + self._world[:3, 3], self._faces)

    def colour(self, frame: int) -> Array:
        """(H, W, 3) uint8, what the camera saw."""
        colour = self._shown(frame).colour
        assert colour is not None
        return colour

    def _shown(self, frame: int) -> RgbdFrame:
        return self._camera.render(round(float(self.t_s[frame]) * self._camera.config.rate_hz), 0)

    def captured(self, frame: int) -> Mesh:
        """The fused surface."""
        model, key = min(
            ((model, key) for model in self._models for key in range(len(model))),
            key=lambda at: abs(at[0].t_s[at[1]] - self.t_s[frame]),
        )
        return model.mesh(key)

    def body(self, frame: int) -> Mesh:
        """The fitted body alone."""
        assert self.take.faces is not None
        return Mesh(self.plain[frame], self.take.faces)

    def registered(self, frame: int) -> Mesh:
        assert self.take.faces is not None
        return Mesh(self.take.frames[frame].vertices, self.take.faces, colours=self.take.colours)

    def avatar(self, frame: int) -> Mesh:
        """The reposed avatar, whose files look along -z."""
        read = trimesh.load_mesh(self._reposed / f"{frame:04d}.ply", process=False)
        vertices = np.asarray(read.vertices) * FACING_VECTOR - self._lifted_m
        return Mesh(vertices, np.asarray(read.faces, np.int32), colours=np.asarray(read.visual.vertex_colors)[:, :3])


def soles_lift_m(avatar: Path, motion: Path) -> float:
    """By how much an avatar is lifted to stand on its own soles in its own motion [m]."""
    clip = read_motion(motion)
    retarget = open_avatar(avatar, clip.skeleton).retarget
    assert retarget is not None
    pose = BodyPose(0, clip.rotations_xyzw[0], clip.root_positions_m[0])
    return float(retarget.pose(pose).root_position_m[1] - pose.root_position_m[1])


def figures(files: ChainFiles) -> dict[str, float]:
    """Means over frames, each as `NAME_mm` (to the truth), `NAME_back_mm` (from it), `NAME_both_mm`."""
    every, held = range(len(files.take.frames)), files.held_out
    rows = {
        "registered": [compared(files.registered(k), files.truth(k)) for k in every],
        "plain": [compared(files.body(k), files.truth(k)) for k in every],
        "avatar_held_out": [compared(files.avatar(k), files.truth(k)) for k in held],
    }
    for name in ("registered", "plain"):
        rows[f"{name}_held_out"] = [rows[name][k] for k in held]
    out: dict[str, float] = {}
    for name, row in rows.items():
        out[f"{name}_mm"] = float(np.mean([one.there for one in row]))
        out[f"{name}_back_mm"] = float(np.mean([one.back for one in row]))
        out[f"{name}_both_mm"] = float(np.mean([one.both for one in row]))
    return out


def pictures(files: ChainFiles) -> dict[str, Image.Image]:
    """A picture of each step, by its name."""
    every = [round(part * (len(files.take.frames) - 1)) for part in np.linspace(0.1, 0.9, _SHOWN)]
    held = [files.held_out[round(part * (len(files.held_out) - 1))] for part in np.linspace(0.0, 1.0, _SHOWN)]
    scale = f"violet = on the true surface, yellow = {_FULL_MM:.0f} mm or more from it"
    seen = [
        ("camera", [_photo(files.colour(k)) for k in every]),
        ("fused surface", [_drawn(files.captured(k), _AHEAD) for k in every]),
    ]
    at = every[_SHOWN // 2]
    truth = files.truth(at)
    fitted = [
        (name, [_drawn(mesh, yaw) for mesh in
            (files.captured(at), _by_distance(files.body(at), truth), _by_distance(files.registered(at), truth))])
        for name, yaw in (("", _AHEAD), ("from behind", _BEHIND))
    ]  # fmt: skip
    learned = [("", [_drawn(files.avatar(0), yaw) for yaw in (_AHEAD, _BEHIND)])]
    posed: list[tuple[str, Callable[[int], Mesh]]] = [
        ("truth", files.truth),
        ("fitted body", lambda k: _by_distance(files.body(k), files.truth(k))),
        ("avatar", lambda k: _by_distance(files.avatar(k), files.truth(k))),
        ("avatar", files.avatar),
    ]
    times = [f"{files.t_s[k]:.1f} s" for k in every]
    return {
        "chain-capture": sheet(times, seen),
        "chain-fit": sheet(["captured", "fitted body", "registered"], fitted, scale),
        "chain-avatar": sheet(["first frame", "from behind"], learned),
        "chain-repose": sheet(
            [f"{files.t_s[k]:.1f} s" for k in held],
            [(name, [_drawn(of(k), _AHEAD) for k in held]) for name, of in posed], scale,
        ),
    }  # fmt: skip


def _photo(colour: Array) -> Image.Image:
    """The middle of it, a square."""
    height, width = colour.shape[:2]
    left = (width - height) // 2
    square = np.ascontiguousarray(colour[:, left : left + height])
    return Image.fromarray(cv2.resize(square, (_PICTURE_PX, _PICTURE_PX), interpolation=cv2.INTER_AREA))


def _drawn(mesh: Mesh, yaw_rad: float) -> Image.Image:
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    view = View(0.5 * (low + high), yaw_rad, _HALF_M)
    return Image.fromarray(draw_mesh(mesh, view, _PICTURE_PX)[:_PICTURE_PX])


def _by_distance(mesh: Mesh, truth: Mesh) -> Mesh:
    away_mm = 1e3 * BodySurface(truth.vertices, truth.faces).distances(mesh.vertices)
    levels = np.clip(255 * away_mm / _FULL_MM, 0, 255).astype(np.uint8)[:, None]
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]
    return Mesh(mesh.vertices, mesh.faces, colours=np.ascontiguousarray(colours))
