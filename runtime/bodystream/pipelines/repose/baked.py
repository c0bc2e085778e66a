"""A surface that has posed vertices only, as an animated glTF: a skin that comes near to it, and shapes that are added.

Files of meshes per frame would be a hundred times as large, and bones alone cannot carry cloth. So vertices hang on the
body's joints by the weights that come nearest to the posed surfaces, and what is left over is added before the bones
move them: a few shapes (morph targets), as much of each as a frame wants. How far the file is from what was posed is
measured at every frame, in the arithmetic of the file.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from bodystream.geometry.shape_basis import shape_basis
from bodystream.geometry.skeleton import JOINTS, PARENTS
from bodystream.geometry.skin_fit import blended, fit_weights, unskinned
from bodystream.pipelines.repose.output import Output
from bodystream.pipelines.repose.pipeline import Reposer
from bodystream.sinks.animated_gltf import GltfSegment, write_animated_gltf
from bodystream.sinks.animation import Animation
from bodystream.sinks.facing import FACING_VECTOR, turned_motion, turned_skin
from bodystream.sinks.gltf import Morphs
from bodystream.sinks.reports.repose import WrittenSection
from bodystream.types import Array, Mesh, SkinnedMesh

__all__ = ["BakedGltf"]

_LOOKED_AT, _LOOKED_AT_BYTES = 160, 64 << 20
"""Poses that weights and shapes are made from, and the most memory that their vertices may take."""
_FITTED = 48
"""Of these, poses that weights are fitted to."""
_RMS_M = 0.0002
"""What shapes may leave over, as a root mean square of vertices over these poses."""
_MOST_SHAPES, _MOST_BYTES = 64, 64 << 20


class BakedGltf(Output):
    """Looks at poses that are spread over the motion first, and then takes all of them."""

    def __init__(self, reposer: Reposer, path: Path) -> None:
        self._reposer, self._path = reposer, path
        frames, self._count = reposer.frames, len(reposer.vertices)
        looked = min(len(frames), _LOOKED_AT, max(4, _LOOKED_AT_BYTES // (12 * self._count)))
        rows = np.unique(np.linspace(0, len(frames) - 1, looked).round().astype(int))
        self.wanted = [frames[row] for row in rows.tolist()]
        self._row = {frame: row for row, frame in enumerate(frames)}
        self._posed, self._normals = np.empty((2, len(rows), self._count, 3), np.float32)
        self._seen = 0
        self._ready = False
        self._shares: list[Array] = []
        self._sum_m = self._max_m = 0.0

    def look(self, frame: int) -> None:
        self._posed[self._seen], self._normals[self._seen] = self._reposer.vertices, self._reposer.normals
        self._seen += 1

    def _bake(self) -> None:
        """Fit weights and shapes to the poses that were looked at."""
        mesh, rest_bones = self._reposer.rest()
        self._bone_from_bind = np.linalg.inv(rest_bones)
        bones = self._posed_from_rest([self._row[frame] for frame in self.wanted])
        fitted = np.unique(np.linspace(0, len(bones) - 1, min(_FITTED, len(bones))).round().astype(int))
        self._bones, self._weights = fit_weights(mesh.vertices, bones[fitted], self._posed[fitted])
        for frame in range(len(bones)):  # to where they have to be before the bones move them
            by = blended(self._bones, self._weights, bones[frame])
            self._posed[frame] = unskinned(by, self._posed[frame], mesh.vertices)
            turned = np.einsum("vji,vj->vi", by[:, :, :3], self._normals[frame])
            self._normals[frame] = turned / (np.linalg.norm(turned, axis=1, keepdims=True) + 1e-12)
        most = max(1, min(_MOST_SHAPES, _MOST_BYTES // (24 * self._count)))
        self._basis = shape_basis(self._posed, _RMS_M, most)
        self._mean_normals, self._normal_shapes = self._basis.companions(self._normals)
        del self._posed, self._normals
        self._mesh = mesh
        self._ready = True

    def _posed_from_rest(self, rows: list[int]) -> Array:
        places, turns = self._reposer.body.joints(rows)
        world = np.zeros((len(rows), len(JOINTS), 4, 4))
        world[..., :3, :3], world[..., :3, 3], world[..., 3, 3] = turns, places, 1.0
        return world @ self._bone_from_bind

    def take(self, frame: int) -> None:
        if not self._ready:
            self._bake()
        posed = self._reposer.vertices
        (bones,) = self._posed_from_rest([self._row[frame]])
        by = blended(self._bones, self._weights, bones)
        shares = self._basis.shares_of(unskinned(by, posed, self._mesh.vertices))
        self._shares.append(shares)
        at_rest = self._basis.mean + np.tensordot(shares, self._basis.shapes, 1)
        off = np.linalg.norm(np.einsum("vij,vj->vi", by[:, :, :3], at_rest) + by[:, :, 3] - posed, axis=1)
        self._sum_m += float(off.mean())
        self._max_m = max(self._max_m, float(off.max()))

    def finish(self) -> WrittenSection:
        reposer, basis = self._reposer, self._basis
        normals, rest_normals = self._mean_normals.copy(), self._mesh.normals
        lengths = np.linalg.norm(normals, axis=1)
        if rest_normals is not None:  # where those of the motion cancel
            normals[lengths < 1e-3] = rest_normals[lengths < 1e-3]
        mesh = Mesh(basis.mean, self._mesh.faces, normals, self._mesh.colours)
        skin = SkinnedMesh(
            mesh, self._bones, self._weights, self._bone_from_bind, np.array(PARENTS, np.int32), names=tuple(JOINTS)
        )
        times = np.array([reposer.t_ns(frame) for frame in reposer.frames], np.int64)
        motion = Animation(times, reposer.body.rotations_xyzw, reposer.body.root_positions_m[:, None])
        facing = FACING_VECTOR.astype(np.float32)
        morphs = Morphs(basis.shapes * facing, self._normal_shapes * facing, np.stack(self._shares))
        skeleton = reposer.body.skeleton
        rest_m = skeleton.offsets_m.copy()
        rest_m[0] = (0.0, skeleton.pelvis_height_m, 0.0)
        segment = GltfSegment(turned_skin(skin), turned_motion(motion), rest_m * FACING_VECTOR)
        summary = write_animated_gltf(self._path, "reposed", [replace(segment, morphs=morphs)])
        return WrittenSection(
            path=str(self._path),
            holds="morphs",
            files=1,
            bytes=summary.bytes,
            frames=summary.key_frames,
            morphs=len(basis.shapes),
            error_mean_mm=1e3 * self._sum_m / len(self._shares),
            error_max_mm=1e3 * self._max_m,
            error_frames=len(self._shares),
        )
