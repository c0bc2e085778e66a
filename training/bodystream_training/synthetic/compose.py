"""Composes random scenes: people, things that deform, and flying shapes, before random rooms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from bodystream.avatar.rig import skin
from bodystream.types import Array, SkinnedMesh
from bodystream_training.synthetic.poses import BodyMotion, RandomMotion
from bodystream_training.synthetic.scenes import (
    Gap,
    PosedBody,
    Scene,
    camera_noise,
    framed,
    random_gap,
    random_lights,
    random_turn,
)
from bodystream_training.synthetic.shapes import (
    Move,
    Surface,
    box,
    closed_shape,
    flying_shape,
    plane,
    sheet,
    surface_of_grid,
)
from bodystream_training.synthetic.textures import Material, any_turn, random_material
from bodystream_training.synthetic.wardrobe import REGIONS, TOP, TROUSERS, Wardrobe, skirt_grid

__all__ = ["Composer"]

_UPRIGHT = np.diag([-1.0, -1.0, 1.0])  # from the body's axes to those of a level camera that it looks at
_LARGEST_TURN_RAD = np.radians(60.0)
_LARGEST_MOVE_M = 0.40
_NOISE_CELLS = 32.0


class Composer:
    """Makes scenes of one size.

    Args:
        size: (width, height) of the images [px].
        wardrobe: who may appear.
        recorded: motions of people in the wardrobe, as (number of the person, motion); without any, all are made up.
    """

    def __init__(
        self, size: tuple[int, int], wardrobe: Wardrobe, recorded: Sequence[tuple[int, BodyMotion]] = ()
    ) -> None:
        self._size = size
        self._wardrobe = wardrobe
        self._recorded = recorded
        rig = wardrobe.rig
        self._sampled = np.arange(0, len(rig.mesh.vertices), 40)
        self._normals = [_rest_normals(person.skin) for person in wardrobe.people]

    def scene(self, rng: np.random.Generator) -> Scene:
        """A scene: a person in six of ten, a thing that deforms in a quarter, else flying shapes."""
        kind = rng.uniform()
        gap = random_gap(rng)
        if kind < 0.62:
            return self._person(rng, gap)
        if kind < 0.86:
            return self._thing(rng, gap)
        return self._flying(rng, gap)

    def _person(self, rng: np.random.Generator, gap: Gap) -> Scene:
        number, motion = self._motion(rng)
        person = self._wardrobe.people[number].skin
        start_s = rng.uniform(0.0, 120.0)
        posed = motion.transforms(np.array([start_s, start_s + gap.seconds]))
        posed = _stepped(rng, posed, gap)
        camera = _cameras(rng, posed[:, 0, :3, 3] + posed[:, 0, :3, :3] @ person.bind_positions_m[0], gap)
        bones = camera[:, None] @ posed
        materials = self._clothes(rng)
        body = PosedBody(
            rest_m=person.mesh.vertices,
            rest_normals=self._normals[number],
            looseness_m=self._looseness(rng),
            fold_cell_m=rng.uniform(0.05, 0.14),
            place=rng.uniform(0.0, _NOISE_CELLS, 3),
            swing=rng.normal(0.0, 0.8 * gap.change, 3),
            bones=bones,
        )
        points = [skin(person, bones, self._sampled).reshape(-1, 3)]
        surfaces: list[Surface] = []
        if rng.uniform() < 0.2:
            surfaces.append(_skirt(rng, person, bones, gap, len(materials)))
            materials.append(random_material(rng, is_subject=True))
        if rng.uniform() < 0.3:
            role = rng.choice(["part", "occluder", "subject"])
            size_m = rng.uniform(0.3, 0.9) if role == "subject" else rng.uniform(0.15, 0.5)
            held = _held(rng, person, bones, size_m, gap, len(materials))
            surfaces.append(held)
            if role == "subject":  # who holds it is not looked at
                materials = [replace(material, is_subject=False) for material in materials]
                points = []
            materials.append(random_material(rng, is_subject=bool(role != "occluder")))
            if role != "occluder":
                points += [held.source_m[::20], held.target_m[::20]]
        floor_m = None if rng.uniform() < 0.3 else 0.0
        distance = float(bones[0, 0, 2, 3])
        self._room(rng, camera, distance, floor_m, surfaces, materials)
        return self._finished(rng, gap, body, surfaces, materials, np.concatenate(points))

    def _thing(self, rng: np.random.Generator, gap: Gap) -> Scene:
        camera = _cameras(rng, np.zeros((2, 3)), gap)
        surfaces: list[Surface] = []
        materials = [random_material(rng, is_subject=True) for _ in REGIONS]
        distance = float(camera[0, 2, 3])
        for _ in range(1 if rng.uniform() < 0.75 else 2):
            size_m = rng.uniform(0.25, 0.9)
            move = _tumbling(rng, camera, rng.normal(0.0, 0.2, 3) * (1, 1, 0.6), gap)
            surfaces.append(_soft_thing(rng, size_m, gap, move, len(materials)))
            materials.append(random_material(rng, is_subject=True, period_m=(0.015, 0.2)))
        points = np.concatenate([p[::10] for s in surfaces for p in (s.source_m, s.target_m)])
        self._room(rng, camera, distance, None if rng.uniform() < 0.5 else -rng.uniform(0.4, 1.0), surfaces, materials)
        return self._finished(rng, gap, None, surfaces, materials, points)

    def _flying(self, rng: np.random.Generator, gap: Gap) -> Scene:
        """Flat shapes that move affinely, each by itself, before a wall that moves affinely, too."""
        surfaces: list[Surface] = []
        materials = [random_material(rng, is_subject=True) for _ in REGIONS]
        wall_m = rng.uniform(2.0, 4.0)
        move = _affine(rng, np.array([0.0, 0.0, wall_m]), gap, 0.5)
        side = np.array([6.0, 0.0, 0.0])
        surfaces.append(
            plane(-side, 2 * side, np.array([0.0, 8.0, 0.0]), _moved_from(move, (0.0, -4.0, 0.0)), len(materials))
        )
        materials.append(random_material(rng, is_subject=False, period_m=(0.05, 1.0)))
        points = []
        for _ in range(int(rng.integers(2, 8))):
            distance = rng.uniform(0.8, 0.95 * wall_m)
            centre = np.append(rng.normal(0.0, 0.22 * distance, 2), distance)
            surfaces.append(
                flying_shape(rng, rng.uniform(0.15, 0.6) * distance, _affine(rng, centre, gap, 1.0), len(materials))
            )
            materials.append(random_material(rng, is_subject=True, period_m=(0.02, 0.4)))
            points += [surfaces[-1].source_m[::10], surfaces[-1].target_m[::10]]
        return self._finished(rng, gap, None, surfaces, materials, np.concatenate(points))

    def _finished(
        self,
        rng: np.random.Generator,
        gap: Gap,
        body: PosedBody | None,
        surfaces: list[Surface],
        materials: list[Material],
        points: Array,
    ) -> Scene:
        focal_px = rng.uniform(380.0, 640.0)
        points = points[points[:, 2] > 0.3]
        intrinsics, scale = framed(rng, points[:, :2] / points[:, 2:], self._size, focal_px)
        return Scene(
            body=body,
            surfaces=surfaces,
            materials=materials,
            intrinsics=intrinsics,
            lights=random_lights(rng),
            noise=camera_noise(rng, scale),
            noise_frame=int(rng.integers(1 << 30)),
            found_by_depth=bool(rng.uniform() < 0.6),
            blur_px=rng.uniform(0.3, 0.8),
            jpeg_quality=int(rng.integers(50, 96)) if rng.uniform() < 0.25 else None,
            exposure=gap.exposure,
        )

    def _motion(self, rng: np.random.Generator) -> tuple[int, BodyMotion]:
        """Recorded in half of the scenes, where there are any."""
        if self._recorded and rng.uniform() < 0.5:
            return self._recorded[int(rng.integers(len(self._recorded)))]
        number = int(rng.integers(len(self._wardrobe.people)))
        return number, RandomMotion(self._wardrobe.people[number].skin, rng, rng.uniform(0.02, 0.6))

    def _clothes(self, rng: np.random.Generator) -> list[Material]:
        """Of each region of the body: a third wears what is painted on it, tinted, the others patterns."""
        as_painted = rng.uniform() < 0.33
        materials = []
        for region in REGIONS:
            material = random_material(rng, is_subject=True, painted=float(rng.choice([0.0, 0.0, 0.3])))
            if as_painted or region not in (TOP, TROUSERS):
                light = np.exp(rng.normal(-0.15, 0.3))
                material = replace(material, painted=1.0, first=255.0 * light * np.exp(rng.normal(0.0, 0.12, 3)))
            elif region == TOP and rng.uniform() < 0.35:  # a print on the front or the back
                front = rng.choice([-1.0, 1.0]) * 0.14
                patch = (rng.normal(0.0, 0.03), 1.25 + rng.normal(0.0, 0.06), front, rng.uniform(0.06, 0.16))
                material = replace(material, patch=patch)
            materials.append(material)
        return materials

    def _looseness(self, rng: np.random.Generator) -> Array:
        """Distance of top and trousers from the body: none in a third of the scenes, up to 5 cm."""
        if rng.uniform() < 0.33:
            return np.zeros(len(self._wardrobe.vertex_regions), np.float32)
        return self._wardrobe.looseness_m({TOP: 0.05 * rng.beta(1.0, 2.0), TROUSERS: 0.04 * rng.beta(1.0, 2.0)})

    def _room(
        self,
        rng: np.random.Generator,
        camera: Array,
        distance_m: float,
        floor_m: float | None,
        surfaces: list[Surface],
        materials: list[Material],
    ) -> None:
        """Add a wall, a floor at the height `floor_m` of the world, and boxes; in a tenth of all scenes, nothing."""
        if rng.uniform() < 0.1:
            return

        def move(points: Array, moment: int) -> Array:
            return points @ camera[moment, :3, :3].T + camera[moment, :3, 3]

        def painted(low_m: float, high_m: float) -> int:
            materials.append(random_material(rng, is_subject=False, period_m=(low_m, high_m)))
            return len(materials) - 1

        behind_m = rng.uniform(0.4, 2.5)
        turn = Rotation.from_euler("y", rng.uniform(-0.5, 0.5)).as_matrix()
        if rng.uniform() < 0.85:
            # seen from the camera: right is -x of the world, down is -y
            corner = turn @ (8.0, 6.0, 0.0) + (0.0, 0.0, behind_m)
            surfaces.append(plane(corner, turn @ (-16.0, 0, 0), np.array([0, -12.0, 0]), move, painted(0.05, 1.0)))
        if floor_m is not None:
            corner = np.array([8.0, floor_m, 6.0])
            down = np.array([0.0, 0.0, -distance_m - 5.5])
            surfaces.append(plane(corner, np.array([-16.0, 0, 0]), down, move, painted(0.05, 0.6), cells=24))
        for _ in range(int(rng.integers(0, 4))):
            half = rng.uniform(0.08, 0.4, 3)
            side = rng.choice([-1.0, 1.0]) * rng.uniform(0.2, 1.3)
            centre = np.array([side, rng.uniform(0.0, 1.8) + (floor_m or 0.0), rng.uniform(0.1, behind_m + 0.2)])
            turned = Rotation.from_euler("y", rng.uniform(0, np.pi)).as_matrix()
            surfaces.append(box(centre, half, turned, move, painted(0.03, 0.4)))


def _moved_from(move: Move, start: tuple[float, float, float]) -> Move:
    """`move` of points that are given from another origin."""
    return lambda points, moment: move(points + np.array(start), moment)


def _stepped(rng: np.random.Generator, posed: Array, gap: Gap) -> Array:
    """Turn the body anywhere, and between the images by up to 60 degrees and 40 cm more than its motion does."""
    yaw = rng.normal(0.0, 0.9) if rng.uniform() < 0.7 else rng.uniform(-np.pi, np.pi)
    turn = float(np.clip(rng.normal(0.0, 0.5 * gap.change), -1, 1)) * _LARGEST_TURN_RAD
    step = rng.standard_normal(3) * (1.0, 0.3, 1.0)
    step *= _LARGEST_MOVE_M * gap.change * rng.uniform(0.2, 1.0) / max(1.0, float(np.linalg.norm(step)))
    out = posed.copy()
    for moment, angle in enumerate((yaw, yaw + turn)):
        world = np.eye(4)
        world[:3, :3] = Rotation.from_euler("y", angle).as_matrix()
        world[:3, 3] = moment * step
        out[moment] = world @ posed[moment]
    return out


def _cameras(rng: np.random.Generator, aims: Array, gap: Gap) -> Array:
    """(2, 4, 4) camera from world at both moments: it looks about at `aims[0]`, and is held by hand in a quarter."""
    distance = rng.uniform(0.9, 3.5)
    tilt = Rotation.from_euler("xz", [rng.normal(-0.05, 0.18), rng.normal(0.0, 0.04)]).as_matrix()
    cameras = np.tile(np.eye(4), (2, 1, 1))
    for moment in (0, 1):
        turn, shift = np.eye(3), np.zeros(3)
        if moment == 1 and rng.uniform() < 0.25:
            turn = random_turn(rng, 0.1 * gap.change)
            shift = rng.normal(0.0, 0.06 * gap.change, 3)
        cameras[moment, :3, :3] = turn @ tilt @ _UPRIGHT
        cameras[moment, :3, 3] = shift + (0.0, 0.0, distance) - cameras[moment, :3, :3] @ aims[0]
    return cameras


def _tumbling(rng: np.random.Generator, camera: Array, centre: Array, gap: Gap) -> Move:
    """Anyhow turned about `centre` of the world, and on by up to 60 degrees and 40 cm."""
    first = any_turn(rng)
    turns = first, random_turn(rng, _LARGEST_TURN_RAD * gap.change) @ first
    step = rng.normal(0.0, 0.5, 3) * _LARGEST_MOVE_M * gap.change

    def move(points: Array, moment: int) -> Array:
        world = points @ turns[moment].T + centre + moment * step
        return world @ camera[moment, :3, :3].T + camera[moment, :3, 3]

    return move


def _soft_thing(rng: np.random.Generator, size_m: float, gap: Gap, move: Move, material: int) -> Surface:
    change_rad = 1.2 * gap.change
    if rng.uniform() < 0.55:
        return sheet(rng, size_m, change_rad, move, material, cells=40)
    return closed_shape(rng, size_m, change_rad, move, material, cells=24)


def _held(
    rng: np.random.Generator, person: SkinnedMesh, bones: Array, size_m: float, gap: Gap, material: int
) -> Surface:
    """A soft thing in one hand."""
    wrist = int(rng.choice([20, 21]))
    turn = any_turn(rng)
    place = person.bind_positions_m[wrist] + turn @ (0.3 * size_m, 0.0, 0.0)

    def move(points: Array, moment: int) -> Array:
        bone = bones[moment, wrist]
        return (points @ turn.T + place) @ bone[:3, :3].T + bone[:3, 3]

    return _soft_thing(rng, size_m, gap, move, material)


def _skirt(rng: np.random.Generator, person: SkinnedMesh, bones: Array, gap: Gap, material: int) -> Surface:
    """A skirt that follows the pelvis and the thighs, with folds that swing."""
    columns = 72
    grid, weights = skirt_grid(person, rng.uniform(0.5, 1.7), rng.uniform(0.05, 0.3), 18, columns)
    angle = np.linspace(0.0, 2 * np.pi, columns, False)
    part = np.linspace(0.0, 1.0, len(grid))[:, None]
    outwards = np.stack([np.cos(angle), np.zeros(columns), np.sin(angle)], -1)
    count = int(rng.integers(3, 9))
    phase, depth_m = rng.uniform(0.0, 2 * np.pi), rng.uniform(0.0, 0.04)
    lean = rng.normal(0.0, 0.05, (2, 3)) * (1, 0, 1) * part[..., None, None]
    posed = []
    for moment in (0, 1):
        ripple = np.sin(count * angle + phase + moment * gap.change * rng.normal(0.0, 1.5))
        worn = grid + (depth_m * part * ripple)[..., None] * outwards
        worn = worn + lean[:, :, 0] + moment * gap.change * lean[:, :, 1]
        moved = np.einsum("rcj,jab->rcab", weights, bones[moment])
        posed.append(np.einsum("rcab,rcb->rca", moved[..., :3, :3], worn) + moved[..., :3, 3])
    return surface_of_grid(grid, posed[0], posed[1], material, closed=True, both_sides=True)


def _affine(rng: np.random.Generator, centre: Array, gap: Gap, extent: float) -> Move:
    """Turned, tilted, stretched, sheared and shifted, about `centre` of the camera's frame."""
    change = extent * gap.change
    tilts = rng.normal(0.0, 0.3, 2)
    first = Rotation.from_euler("zxy", [rng.uniform(-np.pi, np.pi), *tilts]).as_matrix()
    turn = Rotation.from_euler("zxy", rng.normal(0.0, (0.5, 0.25, 0.25)) * change).as_matrix()
    stretch = np.eye(3) + change * rng.normal(0.0, 0.12, (3, 3))
    step = rng.normal(0.0, 0.12, 3) * change * centre[2]

    def move(points: Array, moment: int) -> Array:
        placed = points @ first.T
        if moment == 1:
            placed = placed @ (turn @ stretch).T + step
        return placed + centre

    return move


def _rest_normals(person: SkinnedMesh) -> Array:
    """(V, 3) float32: area-weighted means of the faces' normals at rest."""
    vertices, faces = person.mesh.vertices.astype(np.float64), person.mesh.faces
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    of_faces = np.cross(b - a, c - a)
    sums = np.stack(
        [np.bincount(faces.reshape(-1), np.repeat(of_faces[:, k], 3), len(vertices)) for k in range(3)], axis=1
    )
    return (sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)).astype(np.float32)
