"""Features to mesh for who makes many of them: the twin of `AcapSpace.vertices` in kernels, with buffers of its own;
and what a change of each feature does to what depends on the mesh."""

from __future__ import annotations

from typing import Any

import numpy as np
import warp as wp

from bodystream.body import mesher_kernels as kernels
from bodystream.body.acap import AFFINE_WEIGHT, AcapSpace
from bodystream.body.solver import AcapSolver
from bodystream.device import RecordedLaunch, select_device, uploaded
from bodystream.device.quiet import quiet_warp
from bodystream.errors import InputError
from bodystream.types import Array

__all__ = ["FeatureMesher"]


class FeatureMesher:
    """Makes meshes of features on the processor; for one thread.

    Kernels work in float32, the system is solved in float64. Vertices are within 0.02 mm of `AcapSpace.vertices`.

    Args:
        space: of the reference mesh; it is factorised here.
    """

    def __init__(self, space: AcapSpace) -> None:
        rings, device = space.rings, select_device("cpu")
        self._solver = AcapSolver(space)
        count = space.count

        def array(values: Array, dtype: Any) -> wp.array:
            return uploaded(np.ascontiguousarray(values), dtype, device)

        self._features = wp.zeros((count, 9), dtype=wp.float32, device=device)
        self.features: Array = self._features.numpy()  # the same memory
        transforms = wp.zeros(count, dtype=wp.mat33, device=device)
        normals = wp.zeros(count, dtype=wp.vec3, device=device)
        neighbours: Any = kernels.Neighbours()
        neighbours.first = array(np.searchsorted(rings.start, np.arange(count + 1)), wp.int32)
        neighbours.end = array(rings.end, wp.int32)
        # What both transforms of an edge are multiplied by: that of `AcapSpace.pull`, whose rows are these edges.
        neighbours.pull = array((1.0 + AFFINE_WEIGHT) * rings.weights[:, None] * rings.edges_m, wp.vec3)
        neighbours.lift = array(np.asarray(space.lift[rings.start, rings.end]).ravel(), wp.float32)
        neighbours.lift_back = array(np.asarray(space.lift[rings.end, rings.start]).ravel(), wp.float32)
        neighbours.own_lift = array(space.lift.diagonal(), wp.float32)
        a, b = (array(rings.plane[:, axis], wp.vec3) for axis in range(2))
        place = array(self._solver.place, wp.int32)
        with quiet_warp():  # kernels are built or loaded here
            self._deform = RecordedLaunch(kernels.deform, count, [self._features, a, b, transforms, normals], device)
            inputs = [neighbours, transforms, normals, place, self._solver.device_rows]
            self._gather = RecordedLaunch(kernels.gather, count, inputs, device)
        features_bar = wp.zeros((count, 9), dtype=wp.float32, device=device)
        self._features_bar: Array = features_bar.numpy()
        t_bar, n_bar = wp.zeros_like(transforms), wp.zeros_like(normals)
        back = [self._features, a, b, t_bar, n_bar, features_bar]
        with quiet_warp():
            self._gather_back = RecordedLaunch(
                kernels.gather_back, count, [neighbours, self._solver.device_found, t_bar, n_bar], device
            )
            self._deform_back = RecordedLaunch(kernels.deform_back, count, back, device)
        self._middle = space.reference.mean(axis=0)
        self.vertices()

    def vertices(self, features: Array | None = None) -> Array:
        """(V, 3) float64 vertices [m], a new array; their mean is where the reference's is.

        Args:
            features: (V, 9); None takes those that were written to `features`.

        Raises:
            InputError: features of another shape.
        """
        if features is not None:
            if features.shape != self.features.shape:
                raise InputError(f"features must have shape {self.features.shape}, got {features.shape}")
            np.copyto(self.features, features, casting="same_kind")
        self._deform()
        self._gather()
        return self._solver.solved(self._middle).copy()

    def pull_back(self, vertices_bar: Array) -> Array:
        """(V, 9) float32 derivatives of a quantity by the features that were made a mesh last; the array is the
        mesher's own and changes with the next call.

        The system is symmetric, so that it is solved once more, and its right side's two products are transposed.

        Args:
            vertices_bar: (V, 3) derivatives of that quantity by the vertices.

        Raises:
            InputError: derivatives of another shape.
        """
        if vertices_bar.shape != self._solver.found.shape:
            raise InputError(f"vertices_bar must have shape {self._solver.found.shape}, got {vertices_bar.shape}")
        self._solver.solve(vertices_bar)
        self._gather_back()
        self._deform_back()
        return self._features_bar
