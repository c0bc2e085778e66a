"""People of an embedding who move and wear markers: what a sequence of markers is made of, and its truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodystream.body import BodyDecoder
from bodystream.body.fitting import Placement
from bodystream.body.fitting.marker_places import STAND_OFF_M, usual_labels
from bodystream.geometry.normals import vertex_normals
from bodystream.geometry.rotations import turn_about
from bodystream.types import Array

__all__ = ["CMU_LABELS", "MarkedPerson", "moving_person"]

CMU_LABELS = (
    "RFHD LFHD RBHD LBHD C7 T10 CLAV STRN RBAC LSHO LUPA LELB LFRM LWRA LWRB LFIN RSHO RUPA RELB RFRM RWRA RWRB RFIN "
    "LFWT RFWT LBWT RBWT LTHI LKNE LSHN LANK LHEE LTOE LMT5 RTHI RKNE RSHN RANK RHEE RTOE RMT5"
).split()
_UP_Z = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


@dataclass(frozen=True)
class MarkedPerson:
    """The truth: (T, 41, 3) markers with nan where one is not seen, (T, V, 3) bodies, z up [m]; times; the shape."""

    markers_m: Array
    bodies_m: Array
    t_s: Array
    shape: Array


def moving_person(
    decoder: BodyDecoder, frames: int, noise_m: float, missing: float, seed: int, rate_hz: float = 30.0
) -> MarkedPerson:
    """Somebody who walks along a bow, z up, and changes the pose smoothly.

    Args:
        noise_m: deviation along each axis. missing: the share of markers that are not seen.
    """
    rng = np.random.default_rng(seed)
    facts = decoder.facts
    shape, ends = rng.normal(size=facts.shape), 0.7 * rng.normal(size=(2, facts.pose))
    at = list(usual_labels(decoder, CMU_LABELS).vertices.values())
    markers, bodies = [], []
    for frame in range(frames):
        share = 0.5 - 0.5 * np.cos(np.pi * frame / max(frames - 1, 1))
        turn = _UP_Z @ turn_about(np.array([0.0, 1.0, 0.0]), 0.5 + 0.05 * frame)
        placed = Placement(turn, np.array([0.5 + 0.03 * frame, -1.0, 0.9]))
        body = placed.applied(decoder.vertices(shape, (1.0 - share) * ends[0] + share * ends[1]))
        normals = vertex_normals(body, decoder.space.faces)
        worn = body[at] + STAND_OFF_M * normals[at] + noise_m * rng.normal(size=(len(at), 3))
        worn[rng.random(len(at)) < missing] = np.nan
        markers.append(worn)
        bodies.append(body)
    return MarkedPerson(np.stack(markers), np.stack(bodies), np.arange(frames) / rate_hz, shape)
