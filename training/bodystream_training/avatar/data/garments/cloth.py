"""Cloth on a moving body, simulated by `newton` (vertex block descent on Warp).

The body is one mesh whose points are moved at each small step, with their velocities for friction; cloth is held off
it by contacts of its vertices. Cloth collides with cloth, too, so that layers and folds stay apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import warp as wp

from bodystream.device import launch
from bodystream.errors import MissingDependencyError
from bodystream.types import Array
from bodystream_training.avatar.data.garments.cloth_kernels import blend_points, place_pins, slow_down
from bodystream_training.avatar.data.surface import QuerySurface

__all__ = ["ClothConfig", "ClothPiece", "ClothSimulation", "import_newton"]

_GRAVITY_M_S2 = (0.0, -9.81, 0.0)
_EVERYWHERE_M = 1e3
"""The box in which the solver looks for contacts with the body, which moves away from where it was first."""

_REACH_M = 0.06
"""How deep below the skin cloth is still led out. Deeper, the solver would not see it."""

_SEARCHED, _RELAXATION = 1.2, 0.85
"""How far beyond its gap cloth is searched for other cloth, in gaps; and the share of it that it may use in a step."""


def import_newton() -> Any:
    """The package `newton`.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import newton
    except ImportError as error:
        raise MissingDependencyError(
            "newton", "to simulate clothes", "Install it: pip install 'bodystream[garments]'"
        ) from error
    return newton


@dataclass(frozen=True, slots=True)
class ClothConfig:
    """How cloth behaves and how it is solved.

    Attributes:
        frame_s: time between two poses of the body.
        substeps: steps of the solver in it, at least; iterations: of each.
        advance_m: no point of the body goes farther in one step: fast limbs take more of them.
        density_kg_m2: of the cloth.
        stretch_n_m, shear_n_m: resistance in the plane. damping: of it, relative.
        contact_n_m: stiffness of contacts. friction: on skin.
        cloth_gap_m: how far layers and folds of cloth are held apart; 0 = they pass through each other. The solver
            moves no vertex farther in one step than a share of this and of the reach of its search, so that more
            substeps make cloth that can be faster: see `fastest_m_s`.
        drag_per_s: share of its speed that cloth loses to the air per second.
        most_m_s: no cloth is faster.
    """

    frame_s: float = 1.0 / 60.0
    substeps: int = 8
    iterations: int = 4
    advance_m: float = 0.006
    density_kg_m2: float = 0.2
    stretch_n_m: float = 400.0
    shear_n_m: float = 200.0
    damping: float = 1e-3
    contact_n_m: float = 2e3
    friction: float = 0.35
    cloth_gap_m: float = 0.005
    drag_per_s: float = 1.5
    most_m_s: float = 6.0

    @property
    def fastest_m_s(self) -> float:
        """The speed that no cloth exceeds [m/s]: with gaps, half of `_RELAXATION` of what is searched, in each step."""
        if self.cloth_gap_m == 0.0:
            return self.most_m_s
        reach_m = (1.0 + _SEARCHED) * self.cloth_gap_m
        return min(self.most_m_s, 0.5 * _RELAXATION * reach_m * self.substeps / self.frame_s)


@dataclass(frozen=True, slots=True)
class ClothPiece:
    """One garment as the solver sees it.

    Attributes:
        flat: (V, 2) rest shape [m]. faces: (F, 3).
        positions: (V, 3) where it begins [m].
        thickness_m: how far it is held off the body. bend_n_m: resistance to folding at an edge.
        pinned: (V,) bool, held to the skin where they begin.
    """

    flat: Array
    faces: Array
    positions: Array
    thickness_m: float
    bend_n_m: float
    pinned: Array


class ClothSimulation:
    """Pieces of cloth about one body.

    Args:
        body_vertices: (B, 3) where the body is at first [m], and body_faces: (F, 3).

    Raises:
        MissingDependencyError: newton is not installed.
    """

    def __init__(
        self,
        pieces: Sequence[ClothPiece],
        body_vertices: Array,
        body_faces: Array,
        config: ClothConfig | None = None,
        device: wp.Device | None = None,
    ) -> None:
        newton = import_newton()
        self.config = config or ClothConfig()
        self._device = device or wp.get_device("cpu")
        c = self.config
        builder = newton.ModelBuilder(up_axis=newton.Axis.Y, gravity=_GRAVITY_M_S2)
        for piece in pieces:
            builder.add_cloth_mesh(
                pos=wp.vec3(0.0), rot=wp.quat_identity(), scale=1.0, vel=wp.vec3(0.0),
                vertices=[wp.vec3(float(x), float(y), 0.0) for x, y in piece.flat],
                indices=piece.faces.reshape(-1).tolist(), density=c.density_kg_m2,
                tri_ke=c.stretch_n_m, tri_ka=c.shear_n_m, tri_kd=c.damping, edge_ke=piece.bend_n_m, edge_kd=0.0,
                particle_radius=piece.thickness_m,
            )  # fmt: skip
        # Without its first face the mesh is open, so that inside is told by the nearest face and not by counting
        # crossings, which fails where limbs overlap.
        mesh = newton.Mesh(
            np.asarray(body_vertices, np.float32), np.asarray(body_faces[1:], np.int32).reshape(-1),
            compute_inertia=False, enable_surface_velocity=True,
        )  # fmt: skip
        material = newton.ModelBuilder.ShapeConfig(ke=c.contact_n_m, kd=1e-2, mu=c.friction)
        builder.add_shape_mesh(body=-1, mesh=mesh, cfg=material)
        builder.color(include_bending=True)
        self._model = model = builder.finalize(device=self._device)
        model.soft_contact_ke, model.soft_contact_kd, model.soft_contact_mu = c.contact_n_m, 1e-2, c.friction
        model.edge_rest_angle.zero_()  # pieces are flat; a seam has no fold of its own
        model.shape_collision_aabb_lower.fill_(wp.vec3(-_EVERYWHERE_M))
        model.shape_collision_aabb_upper.fill_(wp.vec3(_EVERYWHERE_M))
        self._solver = newton.solvers.SolverVBD(
            model, iterations=c.iterations, particle_enable_tile_solve=False,
            particle_enable_self_contact=c.cloth_gap_m > 0.0, particle_self_contact_margin=c.cloth_gap_m,
            particle_self_contact_gap=_SEARCHED * c.cloth_gap_m, dat_conservative_bound_relaxation=_RELAXATION,
        )  # fmt: skip
        self._pipeline = newton.CollisionPipeline(model, soft_contact_gap=_REACH_M, publish_capacity=False)
        self._contacts = self._pipeline.contacts()
        self._control = model.control()
        self._state, self._next = model.state(), model.state()
        self._mesh = mesh.mesh
        self._starts = np.cumsum([0, *(len(piece.flat) for piece in pieces)])
        points = np.asarray(body_vertices, np.float32)
        self._before = wp.array(points, dtype=wp.vec3, device=self._device)
        self._after = wp.array(points, dtype=wp.vec3, device=self._device)
        self._faces = wp.array(np.asarray(body_faces, np.int32), dtype=wp.vec3i, device=self._device)
        self._pin(pieces, points, np.asarray(body_faces))
        self.place(np.concatenate([piece.positions for piece in pieces]))

    def _pin(self, pieces: Sequence[ClothPiece], points: Array, faces: Array) -> None:
        """Hold pinned particles to the nearest place of the body's surface."""
        held = np.concatenate([piece.pinned for piece in pieces])
        self._pins = np.flatnonzero(held)
        if not len(self._pins):
            return
        flags = self._model.particle_flags.numpy()
        flags[self._pins] = 0
        self._model.particle_flags.assign(flags)
        starts = np.concatenate([piece.positions for piece in pieces])[self._pins]
        off = np.concatenate([np.full(len(piece.flat), piece.thickness_m) for piece in pieces])[self._pins]
        nearest = QuerySurface(points, faces, self._device).nearest(starts)
        device = self._device
        self._pin_arrays = [
            wp.array(self._pins, dtype=wp.int32, device=device),
            wp.array(nearest.faces, dtype=wp.int32, device=device),
            wp.array(nearest.weights, dtype=wp.vec3, device=device),
            wp.array(off, dtype=wp.float32, device=device),
        ]

    @property
    def positions(self) -> list[Array]:
        """(V, 3) float32 of each piece [m]; copies."""
        whole = self._state.particle_q.numpy().copy()
        return [whole[a:b] for a, b in zip(self._starts[:-1], self._starts[1:], strict=True)]

    @property
    def velocities(self) -> Array:
        """(N, 3) float32 of all particles [m/s]; a copy."""
        return self._state.particle_qd.numpy().copy()

    def place(self, positions: Array, velocities: Array | None = None) -> None:
        """Put all particles (N, 3) somewhere, at rest or with their velocities."""
        for state in (self._state, self._next):
            state.particle_q.assign(np.asarray(positions, np.float32))
            if velocities is None:
                state.particle_qd.zero_()
            else:
                state.particle_qd.assign(np.asarray(velocities, np.float32))

    def place_body(self, vertices: Array) -> None:
        """Put the body (B, 3) somewhere, at rest."""
        self._before.assign(np.asarray(vertices, np.float32))
        self._after.assign(np.asarray(vertices, np.float32))

    def step(
        self, body_vertices: Array, drag_per_s: float | None = None, acceleration_m_s2: Array | None = None
    ) -> None:
        """Let the body go to (B, 3) vertices within one frame, and the cloth follow.

        Args:
            drag_per_s: another one than that of the settings.
            acceleration_m_s2: (3,) of the frame of reference that all positions are in; default: none.
        """
        c, device = self.config, self._device
        gravity = np.array(_GRAVITY_M_S2) - (0.0 if acceleration_m_s2 is None else acceleration_m_s2)
        self._model.set_gravity(gravity)
        self._before, self._after = self._after, self._before
        self._after.assign(np.asarray(body_vertices, np.float32))
        farthest = np.linalg.norm(self._after.numpy() - self._before.numpy(), axis=1).max()
        substeps = max(c.substeps, int(np.ceil(farthest / c.advance_m)))
        dt = c.frame_s / substeps
        kept = float(np.exp(-(c.drag_per_s if drag_per_s is None else drag_per_s) * dt))
        body = self._mesh
        for number in range(1, substeps + 1):
            state, after = self._state, self._next
            inputs = [self._before, self._after, number / substeps, c.frame_s, body.points, body.velocities]
            launch(blend_points, len(self._before), inputs, device)
            body.refit()
            if len(self._pins):
                for one in (state, after):
                    inputs = [body.points, self._faces, *self._pin_arrays, one.particle_q]
                    launch(place_pins, len(self._pins), inputs, device)
            state.clear_forces()
            self._pipeline.collide(state, self._contacts)
            self._solver.step(state, after, self._control, self._contacts, dt)
            launch(slow_down, len(after.particle_qd), [kept, c.most_m_s, after.particle_qd], device)
            self._state, self._next = after, state
