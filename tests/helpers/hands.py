"""Hands as devices track them: made, and turned."""

from __future__ import annotations

import numpy as np

from bodystream.geometry.hands import HAND_JOINTS
from bodystream.types import HandJoints

__all__ = ["a_hand"]


def a_hand(seed: int = 0) -> HandJoints:
    """The wrist, and joints within 20 cm of it, turned at random."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(-0.1, 0.1, (len(HAND_JOINTS), 3)).astype(np.float32)
    turns = rng.normal(size=(len(HAND_JOINTS), 4)).astype(np.float32)
    turns /= np.copysign(np.linalg.norm(turns, axis=1), turns[:, 3])[:, None]
    places[0], turns[0] = 0.0, (0.0, 0.0, 0.0, 1.0)
    return HandJoints(places, turns.astype(np.float32), rng.uniform(0.005, 0.02, len(HAND_JOINTS)).astype(np.float32))
