"""Non-rigid registration: a body's mesh is laid onto a scan, vertex by vertex, so that it gets the body's topology.

After eq. 14 of Jiang et al., "Disentangled Human Body Embedding Based on Deep Hierarchical Neural Network", 2020
(DHNN): an ACAP prior, point-to-plane ICP, and sparse landmarks. The paper's prior draws the affine transforms of the
rings towards what a sparse base of ACAP features makes of a body; here the start is that already, a body out of the
embedding or a posed one, and what is drawn towards are transforms relative to it that are smooth over the mesh:

    sum_i l^2 |(T_i(p) - S_i) H_i^(1/2)|^2 + sum_i a_i w_i (n_i . (p_i - v_i))^2 + landmarks

T_i(p) are the transforms of `AcapSpace` with the start, or that body at rest, as reference, S_i the last round's,
averaged over neighbours and drawn a little towards rotations, a_i the area of a vertex, and w_i falls with the distance
to its match v_i on the target, whose normal is n_i. Points of the target pull at the vertices nearest to them likewise.
The stiffness l is a length: what the target shows in less than l is not followed. It is lowered in stages.

Every round solves one sparse system by conjugate gradients, with the factors of what is left of it when normals are
left out as preconditioner.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix, diags
from scipy.sparse.linalg import LinearOperator, SuperLU, cg

from bodystream.body.acap import AcapSpace, factors
from bodystream.body.flips import flipped_faces
from bodystream.body.matching import Landmarks, Matches, check_placed, match
from bodystream.body.polar import polar
from bodystream.body.target import Target
from bodystream.errors import ConfigurationError
from bodystream.geometry.normals import vertex_areas, vertex_normals
from bodystream.types import Array, Mesh

__all__ = ["STAGES", "Registration", "RegistrationStage", "register"]

_SMOOTHED, _SMOOTHED_WIDE = 3, 25
"""How often the transforms are averaged over neighbours, and about faces that turned over."""
_TO_ROTATIONS = 0.2
"""Share of the rotation in what a ring is drawn towards: whatever has no match does not stretch for ever."""
_SOLVED = 3e-3
"""Of the change of a round, what may be wrong: the next one begins there."""
_MOST_STEPS = 60
_STILL_M = 1e-4
"""A stage ends when vertices move less than this on average."""
_MENDED = 12


@dataclass(frozen=True)
class RegistrationStage:
    """How freely vertices move for a while.

    Attributes:
        stiffness_m: of the surface, a length; see the module.
        reach_m: distance to the target at which a match counts for a quarter of a near one.
        rounds: of matching and solving, at most.
        landmark_area_m2: how much a landmark weighs, as so much surface that lies on its target.

    Raises:
        ConfigurationError: a number that is not positive.
    """

    stiffness_m: float
    reach_m: float
    rounds: int
    landmark_area_m2: float = 0.01

    def __post_init__(self) -> None:
        if min(self.stiffness_m, self.reach_m, self.rounds, self.landmark_area_m2) <= 0:
            raise ConfigurationError(f"all numbers of a stage of registration must be above 0, got {self}")


STAGES = (
    RegistrationStage(0.15, 0.12, 10, 0.05),
    RegistrationStage(0.08, 0.08, 8, 0.02),
    RegistrationStage(0.04, 0.05, 6, 0.005),
    RegistrationStage(0.02, 0.03, 6, 0.001),
    RegistrationStage(0.008, 0.02, 6, 0.0002),
)
"""From a start that is some centimetres off, limbs turned by up to some 20 degrees."""


@dataclass(frozen=True)
class Registration:
    """A registered body.

    Attributes:
        vertices: (V, 3) float64 [m].
        distances_m: (V,) of each from the target.
        matched: (V,) bool: those with a match on the target; the others follow their neighbours.
        flipped: faces that are turned against their surroundings and are not at rest; 0 unless mending failed.
        rounds: of matching and solving.
    """

    vertices: Array
    distances_m: Array
    matched: Array
    flipped: int
    rounds: int

    @property
    def mean_m(self) -> float:
        """Mean distance of the vertices that have a match [m]; nan where none has."""
        return float(self.distances_m[self.matched].mean()) if self.matched.any() else float("nan")


def register(
    start: Mesh,
    target: Target,
    landmarks: Landmarks | None = None,
    *,
    rest: Array | None = None,
    stages: tuple[RegistrationStage, ...] = STAGES,
    where: str = "the start",
    progress: Callable[[int, float], None] = lambda *_: None,
) -> Registration:
    """Lay a body onto a target that it lies roughly on.

    Args:
        start: of the body's topology, as a fit left it [m], in one piece, faces outwards.
        target: see `target_of_mesh` and `target_of_points`.
        landmarks: vertices whose places are known.
        rest: (V, 3) the same body unbent, as its neutral mesh [m]: transforms are smooth relative to it, so that
            folds of a start that was made by skinning do not stay; default: the start.
        stages: in which the stiffness is lowered.
        where: what messages call the start.
        progress: told of each round and how far vertices moved in it on average [m].

    Raises:
        InputError: as `AcapSpace` of the start, and as `check_placed`: the target is elsewhere, of another size, of
            another axis up, or landmarks are none of the mesh or not near the target.
    """
    space = AcapSpace(start if rest is None else Mesh(rest, start.faces), where)
    if rest is not None:
        space.check(start, where)
    points = np.array(start.vertices, np.float64)
    target = target.facing(points, vertex_normals(points, space.faces).astype(np.float64))
    check_placed(points, space.faces, target, landmarks)
    work = _Work(space, target, landmarks)
    number = 0
    for stage in stages:
        work.forget_factors()
        for _ in range(stage.rounds):
            before = points
            points = work.solved(points, stage, work.quiet)
            number += 1
            moved = float(np.linalg.norm(points - before, axis=1).mean())
            progress(number, moved)
            work.note_flips(points)
            if moved < _STILL_M:
                break
    points = work.mended(points, stages[-1])
    matches = work.matches(points, stages[-1])
    return Registration(
        points, target.distances(points), matches.weight > 0.0, int(work.flips(points).sum()), number
    )  # fmt: skip


class _Coordinates(LinearOperator):
    """A linear map of (V, 3) points, as one of their 3 V coordinates."""

    def __init__(self, count: int, apply: Callable[[Array], Array]) -> None:
        super().__init__(np.float64, (3 * count, 3 * count))
        self._apply = apply

    def _matvec(self, x: Array) -> Array:
        return self._apply(x.reshape(-1, 3)).ravel()


class _Work:
    """What rounds have in common."""

    def __init__(self, space: AcapSpace, target: Target, landmarks: Landmarks | None) -> None:
        self.space, self.target, self.landmarks = space, target, landmarks
        rings, count = space.rings, space.count
        self.areas = vertex_areas(space.reference, space.faces)
        near = csr_matrix((rings.weights, (rings.start, rings.end)), shape=(count, count))
        near = near + diags(np.bincount(rings.start, rings.weights, count))  # as much of its own as of its neighbours'
        self.mean = csr_matrix(diags(1.0 / np.asarray(near.sum(axis=1)).ravel()) @ near)
        self.ring = csr_matrix((np.ones(len(rings.start)), (rings.start, rings.end)), shape=(count, count))
        self.quiet = np.zeros(count, bool)
        self._factors: SuperLU | None = None

    def forget_factors(self) -> None:
        """The next round has another stiffness."""
        self._factors = None

    def matches(self, points: Array, stage: RegistrationStage) -> Matches:
        normals = vertex_normals(points, self.space.faces).astype(np.float64)
        return match(points, normals, self.areas, self.target, stage.reach_m)

    def solved(self, points: Array, stage: RegistrationStage, quiet: Array, unfold: bool = False) -> Array:
        """(V, 3) after one round; what is `quiet` (V,) has no match and no landmark, and may be unfolded."""
        space, count = self.space, self.space.count
        found = self.matches(points, stage)
        blocks, pulls = found.blocks, found.pulls
        if self.landmarks is not None:
            chosen = self.landmarks.vertices
            np.add.at(blocks, chosen, stage.landmark_area_m2 * np.eye(3))
            np.add.at(pulls, chosen, stage.landmark_area_m2 * self.landmarks.points)
        blocks, pulls = np.where(quiet[:, None, None], 0.0, blocks), np.where(quiet[:, None], 0.0, pulls)
        # Points stay where they are as far as nothing else says so: the system is definite for a target of one plane.
        held = 1e-6 * self.areas
        blocks = blocks + held[:, None, None] * np.eye(3)
        pulls = pulls + held[:, None] * points
        stiffness = stage.stiffness_m**2
        matrix = stiffness * space.matrix
        right = stiffness * space.right_side(self._smoothed(points, quiet if unfold else None)) + pulls
        plain = self._factors
        if plain is None:  # good enough for all rounds of a stage
            # Without directions the three coordinates are one system each.
            plain = factors(csc_matrix(matrix + diags(np.trace(blocks, axis1=1, axis2=2) / 3.0)))
            self._factors = plain

        def product(p: Array) -> Array:
            return matrix @ p + np.einsum("vij,vj->vi", blocks, p)

        change, _ = cg(
            _Coordinates(count, product), (right - product(points)).ravel(), rtol=_SOLVED, maxiter=_MOST_STEPS,
            M=_Coordinates(count, plain.solve),
        )  # fmt: skip
        return points + change.reshape(count, 3)

    def _smoothed(self, points: Array, folded: Array | None) -> Array:
        """(V, 3, 3) transforms S that rings are drawn towards.

        Those of faces that turned over say how these are folded: what is `folded` (V,) is drawn towards the rotations
        of its surroundings.
        """
        flat = self.space.transforms(points).reshape(-1, 9)
        for _ in range(_SMOOTHED):
            flat = self.mean @ flat
        smooth = flat.reshape(-1, 3, 3)
        rotations, _ = polar(smooth)
        out = (1.0 - _TO_ROTATIONS) * smooth + _TO_ROTATIONS * rotations
        if folded is not None:
            wide, known = np.where(folded[:, None], 0.0, flat), np.where(folded, 0.0, 1.0)
            for _ in range(_SMOOTHED_WIDE):
                wide, known = self.mean @ wide, self.mean @ known
            reached = folded & (known > 1e-6)
            out[reached] = polar((wide[reached] / known[reached, None]).reshape(-1, 3, 3))[0]
        return out

    def flips(self, points: Array) -> Array:
        """(F,) bool of faces that are turned against their surroundings, and are not at rest."""
        faces = self.space.faces
        return flipped_faces(points, faces) & ~flipped_faces(self.space.reference, faces)

    def note_flips(self, points: Array) -> None:
        """Vertices about flipped faces lose their matches in the next round."""
        self.quiet = self._about(self.flips(points), 2)

    def mended(self, points: Array, stage: RegistrationStage) -> Array:
        """The same without flips: ever more of what is about them follows its neighbours alone."""
        for width in range(1, _MENDED + 1):
            flips = self.flips(points)
            if not flips.any():
                break
            self.quiet |= self._about(flips, 1 + width)
            points = self.solved(points, stage, self.quiet, unfold=True)
        return points

    def _about(self, faces: Array, width: int) -> Array:
        """(V,) bool of vertices at most so many edges from chosen (F,) faces."""
        near = np.zeros(self.space.count)
        near[self.space.faces[faces].ravel()] = 1.0
        for _ in range(width):
            near = np.sign(near + self.ring @ near)
        return near > 0.0
