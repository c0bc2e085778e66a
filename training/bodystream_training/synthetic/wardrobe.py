"""People to draw: builds of the shipped body, which of its faces are what garment, and skirts."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from bodystream.avatar.proportions import FittedRig, fit_rig
from bodystream.avatar.rig import load_rig
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, MIRROR, Skeleton
from bodystream.sources.synthetic.people import Person, build_person
from bodystream.types import Array, SkinnedMesh

__all__ = ["REGIONS", "SHOES", "SKIN", "TOP", "TROUSERS", "Wardrobe", "skirt_grid"]

REGIONS = SKIN, TOP, TROUSERS, SHOES = range(4)
"""What a face of the body shows."""

_LEGS = ("pelvis", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle")
_BARE = [j for j, name in enumerate(JOINTS) if name.rpartition("_")[2] in ("neck", "shoulder", "elbow", "wrist")]
_FEET = ("left_ankle", "right_ankle", "left_foot", "right_foot")


class Wardrobe:
    """The shipped body in several builds, drawn from a seed, and its regions.

    Attributes:
        people: in different proportions, heights and girths.
    """

    def __init__(self, seed: int, people: int = 16) -> None:
        self.rig = load_rig()
        own = fit_rig(self.rig).skeleton
        self.people: list[FittedRig] = []
        for number in range(people):
            rng = np.random.default_rng((seed, number))
            factor = rng.uniform(0.93, 1.07, (len(JOINTS), 1))
            offsets = own.offsets_m * 0.5 * (factor + factor[list(MIRROR)])
            build = Person(rng.uniform(1.2, 2.0), rng.uniform(0.88, 1.25))
            self.people.append(build_person(self.rig, Skeleton(offsets), build))

    @cached_property
    def vertex_regions(self) -> Array:
        """(V,) of `REGIONS`, told by the bones; on neck and arms, skin is what is painted redder than blue."""
        assert self.rig.mesh.colours is not None
        painted = self.rig.mesh.colours.astype(np.float64)
        most = self.rig.bones[np.arange(len(self.rig.bones)), self.rig.weights.argmax(axis=1)]
        height = self.rig.mesh.vertices[:, 1]
        regions = np.full(len(painted), TOP)
        regions[np.isin(most, [JOINT_INDEX[name] for name in _LEGS])] = TROUSERS
        regions[(painted[:, 0] > painted[:, 2] + 20.0) & np.isin(most, _BARE)] = SKIN
        regions[most == JOINT_INDEX["head"]] = SKIN
        regions[np.isin(most, [JOINT_INDEX[name] for name in _FEET]) & (height < 0.12)] = SHOES
        return regions

    @cached_property
    def face_regions(self) -> Array:
        """(F,) int32: what most corners of a face are."""
        corners = np.sort(self.vertex_regions[self.rig.mesh.faces], axis=1)
        return np.ascontiguousarray(corners[:, 1], np.int32)

    def looseness_m(self, widths_m: dict[int, float]) -> Array:
        """(V,) float32 distance of cloth from the body, growing from the seams of each garment inwards [m]."""
        out = np.zeros(len(self.vertex_regions), np.float32)
        for region, width_m in widths_m.items():
            out += width_m * self._inner[region]
        return out

    @cached_property
    def _inner(self) -> dict[int, Array]:
        """For each region, (V,) from 0 at its border to 1 some vertices within."""
        faces = self.rig.mesh.faces
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        degree = np.maximum(np.bincount(edges[:, 0], minlength=len(self.vertex_regions)), 1)
        out = {}
        for region in REGIONS:
            value = (self.vertex_regions == region).astype(np.float64)
            inside = value.copy()
            for _ in range(6):
                value = np.bincount(edges[:, 0], value[edges[:, 1]], len(value)) / degree
                value *= inside
            out[region] = (value**0.5).astype(np.float32)
        return out


def skirt_grid(body: SkinnedMesh, length: float, flare_m: float, rows: int, columns: int) -> tuple[Array, Array]:
    """A skirt at rest, from the waist down: (rows, columns, 3) [m], and (rows, columns, 22) weights of the joints.

    Args:
        length: down to the knees is 1. flare_m: how much wider its hem is than its waist.
    """
    joints = body.bind_positions_m.astype(np.float64)
    pelvis, knee = joints[JOINT_INDEX["pelvis"]], joints[JOINT_INDEX["left_knee"]]
    waist_y = pelvis[1] + 0.08
    vertices = body.mesh.vertices
    hips = vertices[np.abs(vertices[:, 1] - pelvis[1]) < 0.05]
    hips = hips[np.abs(hips[:, 0]) < 0.3]
    half = 0.5 * (hips.max(axis=0) - hips.min(axis=0)) + 0.025
    middle = 0.5 * (hips.max(axis=0) + hips.min(axis=0))
    part = np.linspace(0.0, 1.0, rows)[:, None]
    angle = np.linspace(0.0, 2 * np.pi, columns, False)[None]
    wide = flare_m * part
    grid = np.stack(
        [
            middle[0] + (half[0] + wide) * np.cos(angle),
            np.broadcast_to(waist_y - part * length * (waist_y - knee[1]), (rows, columns)),
            middle[2] + (half[2] + wide) * np.sin(angle),
        ],
        -1,
    )
    # below the waist cloth follows the thighs: in front and behind, both of them
    left = 0.5 - 0.5 * np.clip(np.cos(angle) * 1.6, -1.0, 1.0) * np.sign(joints[JOINT_INDEX["right_hip"]][0])
    weights = np.zeros((rows, columns, len(JOINTS)))
    follows = 0.75 * np.clip(part * 2.0, 0.0, 1.0)
    weights[..., JOINT_INDEX["pelvis"]] = 1.0 - follows
    weights[..., JOINT_INDEX["left_hip"]] = follows * left
    weights[..., JOINT_INDEX["right_hip"]] = follows * (1.0 - left)
    return grid, weights
