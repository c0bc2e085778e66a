"""Where markers are on a body in any pose: off the skin at vertices, or at joints; and what to call them by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bodystream.body.decoder import BodyDecoder
from bodystream.body.fitting.joint_rings import joint_rings
from bodystream.body.fitting.marker_sets import MARKER_SPOTS, vertex_of_spot
from bodystream.errors import InputError, excerpt
from bodystream.geometry.skeleton import JOINTS
from bodystream.types import Array

__all__ = ["STAND_OFF_M", "MarkedLabels", "MarkerPlaces", "usual_labels", "labels_of_map", "plain_label"]

STAND_OFF_M = 0.0095
"""From the skin to the middle of a marker of 14 mm on its base."""


@dataclass(frozen=True)
class MarkedLabels:
    """What markers are on the body, by their labels.

    Attributes:
        vertices: label to the vertex that it sits on. joints: label to the joint that it is at.
    """

    vertices: Mapping[str, int]
    joints: Mapping[str, str]


def plain_label(label: str) -> str:
    """A label without the subject before its colon, and in capitals: "subject:lfhd" is LFHD."""
    return label.rpartition(":")[2].strip().upper()


def usual_labels(decoder: BodyDecoder, labels: Sequence[str]) -> MarkedLabels:
    """Places of those labels that the usual full-body sets have (Plug-in Gait, CMU), on this bundle's body.

    Args:
        labels: plain ones.

    Raises:
        InputError: the bundle has no skin.
    """
    if decoder.skin is None:
        raise InputError(
            f"bundle {decoder.bundle.manifest.name!r} knows no joints, by which the usual labels have places: give "
            "--markers with a vertex for each label"
        )
    neutral = decoder.vertices(np.zeros(decoder.facts.shape))
    found = {
        label: vertex_of_spot(MARKER_SPOTS[label], decoder.skin, neutral) for label in labels if label in MARKER_SPOTS
    }
    return MarkedLabels(found, {})


def labels_of_map(given: Any, decoder: BodyDecoder, where: str) -> MarkedLabels:
    """Labels as a file has them: `{"LFHD": 1234, "LWRIST": "left_wrist"}`, vertices by number and joints by name.

    Args:
        given: what the file holds. where: what to call it in messages.

    Raises:
        InputError: names the label whose place is no vertex and no joint.
    """
    if not isinstance(given, dict) or not given:
        raise InputError(f'{where} must be an object of labels, as {{"LFHD": 1234, "LWRIST": "left_wrist"}}')
    count, vertices, joints = decoder.facts.vertices, {}, {}
    for label, place in given.items():
        plain = plain_label(label)
        if isinstance(place, str) and place in JOINTS:
            if decoder.skin is None:
                raise InputError(f"{where}: the bundle knows no joints, so that {label!r} has no place: give a vertex")
            joints[plain] = place
        elif isinstance(place, int) and not isinstance(place, bool) and 0 <= place < count:
            vertices[plain] = place
        else:
            raise InputError(
                f"{where}: {excerpt(label)} must be a vertex of the body, 0 to {count - 1}, or a joint, of "
                f"{', '.join(JOINTS)}; got {excerpt(place)}"
            )
    return MarkedLabels(vertices, joints)


class MarkerPlaces:
    """The places of M markers on a body, and derivatives by its vertices.

    A marker at a vertex is off the skin along the normal there, the mean one of the faces around it by their areas; its
    derivatives are exact. A marker at a joint is in the middle of the vertices around that joint.

    Args:
        decoder: whose body it is. marked: what is on it. labels: of the markers, each of `marked`.
        stand_off_m: of markers at vertices.

    Attributes:
        labels: (M,). at: (M,) vertices, -1 for joints.
    """

    def __init__(
        self, decoder: BodyDecoder, marked: MarkedLabels, labels: Sequence[str], stand_off_m: float = STAND_OFF_M
    ) -> None:
        self.labels, self.stand_off_m = tuple(labels), stand_off_m
        self._faces, self._count = np.asarray(decoder.space.faces, np.int64), decoder.facts.vertices
        rings = joint_rings(decoder) if any(label in marked.joints for label in labels) else None
        self._joint_rows = np.flatnonzero([label in marked.joints for label in labels])
        self._joint_weights = np.zeros((0, self._count))
        if rings is not None:
            self._joint_weights = rings[
                [JOINTS.index(marked.joints[label]) for label in labels if label in marked.joints]
            ]
        self.at = np.array([marked.vertices.get(label, -1) for label in labels])
        self._on_skin = np.flatnonzero(self.at >= 0)
        corner = (self._faces[:, :, None] == self.at[self._on_skin]).any(axis=1)  # (F, M')
        self._face, self._owner = np.nonzero(corner)

    def __call__(self, vertices: Array) -> Array:
        """(M, 3) places on a body with (V, 3) vertices [m]."""
        out = np.empty((len(self.at), 3))
        summed, _ = self._normals(vertices)
        length = np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12)
        out[self._on_skin] = vertices[self.at[self._on_skin]] + self.stand_off_m * summed / length
        out[self._joint_rows] = self._joint_weights @ vertices
        return out

    def pull_back(self, vertices: Array, places_bar: Array) -> Array:
        """(V, 3) derivatives by the vertices of a quantity whose (M, 3) derivatives by the places are given."""
        out = self._joint_weights.T @ places_bar[self._joint_rows]
        bar = places_bar[self._on_skin]
        np.add.at(out, self.at[self._on_skin], bar)
        summed, edges = self._normals(vertices)
        length = np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12)
        normal = summed / length
        summed_bar = self.stand_off_m / length * (bar - np.vecdot(bar, normal)[:, None] * normal)
        of_face = summed_bar[self._owner]  # of the cross product of each face's edges
        one, other = edges
        one_bar, other_bar = np.cross(other, of_face), np.cross(of_face, one)
        corners = self._faces[self._face]
        np.add.at(out, corners[:, 1], one_bar)
        np.add.at(out, corners[:, 2], other_bar)
        np.add.at(out, corners[:, 0], -one_bar - other_bar)
        return out

    def _normals(self, vertices: Array) -> tuple[Array, tuple[Array, Array]]:
        """(M', 3) summed normals of the markers on the skin, and the two edges of each face about them."""
        a, b, c = (vertices[self._faces[self._face, k]] for k in range(3))
        edges = b - a, c - a
        summed = np.zeros((len(self._on_skin), 3))
        np.add.at(summed, self._owner, np.cross(*edges))
        return summed, edges
