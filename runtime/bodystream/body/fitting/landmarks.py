"""Places of a body that somebody knows on a scan: joints by name, vertices by number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial import KDTree

from bodystream.body.decoder import BodyDecoder
from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINTS
from bodystream.types import Array

__all__ = ["KnownPlaces", "landmarks_of"]

_NEAR_M = 0.4
"""From a joint to the skin of a person, with room."""


@dataclass(frozen=True)
class KnownPlaces:
    """Places of a body, each a mean of its vertices, and where they are.

    Attributes:
        weights: (L, V) float64, rows sum to one. points: (L, 3) [m]. names: of each, for messages.
    """

    weights: Array
    points: Array
    names: tuple[str, ...]


def landmarks_of(given: Mapping[str, Any], decoder: BodyDecoder, points: Array, where: str) -> KnownPlaces:
    """Landmarks as a file has them: `{"left_wrist": [x, y, z], "1234": [x, y, z]}` [m].

    Args:
        given: the place of each joint of the skeleton, or of each vertex of the embedding's body, by its number.
        points: (N, 3) of the scan [m]. where: what to call the file in messages.

    Raises:
        InputError: names the landmark that is no joint and no vertex, whose place is none, or is nowhere near the scan.
    """
    if not isinstance(given, Mapping) or not given:
        raise InputError(f'{where} must be an object of landmarks, as {{"head": [0.0, 1.6, 0.1]}}')
    count, rows, places = decoder.facts.vertices, [], []
    for name, place in given.items():
        row = np.zeros(count)
        if name.lstrip("-").isdigit():
            if not 0 <= int(name) < count:
                raise InputError(f"{where}: landmark {name} is out of range: the body has vertices 0 to {count - 1}")
            row[int(name)] = 1.0
        elif name in JOINTS:
            if decoder.skin is None:
                raise InputError(
                    f"{where}: the bundle knows no joints, so that {name!r} has no place on its body: give vertices"
                )
            row[:] = decoder.skin.joint_weights[JOINTS.index(name)]
        else:
            raise InputError(f"{where}: {name!r} is no joint and no vertex: the joints are {', '.join(JOINTS)}")
        if (
            not isinstance(place, (list, tuple))
            or len(place) != 3
            or not all(isinstance(x, (int, float)) and np.isfinite(x) for x in place)
        ):
            raise InputError(f"{where}: landmark {name} must be three finite numbers [m], got {str(place)[:60]}")
        rows.append(row)
        places.append([float(x) for x in place])
    found = np.array(places)
    away = np.asarray(KDTree(points).query(found)[0])
    if away.max() > _NEAR_M:
        name = list(given)[int(away.argmax())]
        raise InputError(
            f"{where}: landmark {name} is out of range: it is {away.max():.3g} m from the scan: give places on it, in "
            "metres and in its own axes"
        )
    return KnownPlaces(np.stack(rows), found, tuple(given))
