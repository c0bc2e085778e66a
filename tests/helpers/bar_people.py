"""A folder of small bodies: round bars, thick or thin by person, twisted and bent by motion."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bodystream.body import BodySkin
from bodystream.geometry.skeleton import JOINTS
from bodystream.types import Array, Mesh
from helpers.body_meshes import bar

__all__ = ["bar_people", "bar_skin", "bar_person", "bent", "write_obj"]


def bar_person(number: int) -> Mesh:
    """A bar with a thickness of its own at each height."""
    mesh, rng = bar(around=8, along=13), np.random.default_rng(number)
    heights = mesh.vertices[:, 1] / 1.6
    waves = 1.0 + 0.25 * rng.normal() * np.sin(np.pi * heights) + 0.15 * rng.normal() * np.sin(2 * np.pi * heights)
    return Mesh(mesh.vertices * np.stack([waves, np.full_like(waves, 1.0 + 0.05 * rng.normal()), waves], 1), mesh.faces)


def bent(mesh: Mesh, turn_rad: float, bend_rad: float) -> Array:
    """Twisted about its axis and bent forward, both more the higher."""
    x, y, z = mesh.vertices.T
    share = y / 1.6
    turn, bend = turn_rad * share, bend_rad * share
    x, z = np.cos(turn) * x + np.sin(turn) * z, np.cos(turn) * z - np.sin(turn) * x
    radius = 1.6 / bend_rad if bend_rad else np.inf
    if not bend_rad:
        return np.stack([x, y, z], axis=1)
    return np.stack([x, (radius - z) * np.sin(bend), radius - (radius - z) * np.cos(bend)], axis=1)


def write_obj(path: Path, vertices: Array, faces: Array) -> None:
    lines = [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in vertices]
    lines += [f"f {a} {b} {c}" for a, b, c in faces + 1]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def bar_skin(mesh: Mesh) -> BodySkin:
    """Joints one above the other, each carrying what is at its height."""
    height = np.interp(mesh.vertices[:, 1], (0.0, 1.6), (0.0, len(JOINTS) - 1.0))
    near = np.maximum(0.0, 1.0 - np.abs(height[:, None] - np.arange(len(JOINTS))))
    skin_weights = near / near.sum(axis=1, keepdims=True)
    return BodySkin(np.full((len(JOINTS), len(near)), 1.0 / len(near), np.float32), skin_weights.astype(np.float32))


def bar_people(folder: Path, people: int = 6, poses: int = 4) -> Path:
    """Writes them; `folder`."""
    for number in range(people):
        mesh = bar_person(number)
        home = folder / f"p{number}"
        home.mkdir(parents=True)
        write_obj(home / "neutral.obj", mesh.vertices, mesh.faces)
        for pose in range(poses):
            moved = bent(mesh, 2.5 * (pose / poses) - 0.5, 1.2 * ((pose * 7 % poses) / poses) + 0.1)
            np.savez(home / f"pose{pose}.npz", vertices=moved.astype(np.float32), faces=mesh.faces)
    np.savez(folder / "skin.npz", **vars(bar_skin(bar_person(0))))
    return folder
