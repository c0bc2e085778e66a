"""The motion of a capture's nodes at any time: between known ones interpolated, a little beyond extrapolated."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from bodystream.errors import NotReadyError
from bodystream.geometry.rotations import rotation_vectors_between, turned_quaternions
from bodystream.geometry.skinning import graph_motion
from bodystream.pose.prediction import PredictionConfig
from bodystream.types import Array, BoneMotion, GraphSnapshot

__all__ = ["MotionMemory"]


class _Known:
    """One remembered motion, made to quaternions when somebody asks."""

    def __init__(self, graph: GraphSnapshot) -> None:
        self.t_ns, self._graph = graph.t_ns, graph

    @cached_property
    def bones(self) -> BoneMotion:
        return graph_motion(self._graph)


class MotionMemory:
    """Remembers the newest motions of one model and answers for any time. One thread may add while others ask.

    Args:
        config: how far and how boldly motions are continued, as for a driven body.
    """

    def __init__(self, config: PredictionConfig | None = None) -> None:
        self._config = PredictionConfig() if config is None else config
        self._known: tuple[_Known, ...] = ()  # oldest first; replaced as a whole, so that who asks needs no lock
        self._anew = False

    def forget(self) -> None:
        """Another model comes: what is known answers until its first motion."""
        self._anew = True

    def add(self, graph: GraphSnapshot) -> None:
        """Remember a motion; one that is not later than the newest begins anew."""
        known, self._anew = () if self._anew else self._known, False
        if known and graph.t_ns <= known[-1].t_ns:
            known = ()
        self._known = (*known[-(self._config.capacity - 1) :], _Known(graph))

    def at(self, t_ns: int) -> BoneMotion:
        """The nodes as bones in the camera's frame. Its `t_ns` is the one asked for where that could be answered.

        Times before the oldest motion that is remembered get that one, with its `t_ns`. Beyond the newest, velocities
        fade, and after `longest_s` the nodes stay where they are: `t_ns` is the time until which they were continued.

        Raises:
            NotReadyError: nothing is known yet.
        """
        known = self._known
        if not known:
            raise NotReadyError("no frame was tracked yet, so nothing has moved: push one, or wait for the source")
        newest, oldest = known[-1], known[0]
        if t_ns >= newest.t_ns:
            return self._beyond(known, t_ns)
        if t_ns <= oldest.t_ns:
            return oldest.bones
        later = next(i for i, each in enumerate(known) if each.t_ns > t_ns)
        before, after = known[later - 1], known[later]
        if t_ns == before.t_ns:
            return before.bones
        share = (t_ns - before.t_ns) / (after.t_ns - before.t_ns)
        return _moved(before.bones, after.bones, share, t_ns)

    def _beyond(self, known: tuple[_Known, ...], t_ns: int) -> BoneMotion:
        config, newest = self._config, known[-1]
        ahead_ns = min(t_ns - newest.t_ns, round(config.longest_s * 1e9))
        base = self._velocity_base(known)
        reached_ns = newest.t_ns + ahead_ns
        if base is None or ahead_ns <= 0:
            return BoneMotion(reached_ns, newest.bones.rotations_xyzw, newest.bones.positions_m)
        faded_s = config.damping_s * -np.expm1(-ahead_ns * 1e-9 / config.damping_s)
        if np.isinf(config.damping_s):
            faded_s = ahead_ns * 1e-9
        share = 1.0 + faded_s / ((newest.t_ns - base.t_ns) * 1e-9)
        return _moved(base.bones, newest.bones, share, reached_ns)

    def _velocity_base(self, known: tuple[_Known, ...]) -> _Known | None:
        """The motion that the newest one's velocity is measured from, or None where it has none."""
        found, later = None, known[-1]
        for each in reversed(known[:-1]):
            if (later.t_ns - each.t_ns) * 1e-9 > self._config.gap_s:
                break
            found = later = each
            if (known[-1].t_ns - each.t_ns) * 1e-9 >= self._config.baseline_s:
                break
        return found


def _moved(start: BoneMotion, end: BoneMotion, share: float, t_ns: int) -> BoneMotion:
    """Between two motions, or beyond the second for a share above 1. Nodes that are new in it stand where they do."""
    common = len(start.positions_m)
    rotations, positions = end.rotations_xyzw.copy(), end.positions_m.copy()
    turn = rotation_vectors_between(start.rotations_xyzw, end.rotations_xyzw[:common])
    rotations[:common] = turned_quaternions(start.rotations_xyzw, share * turn)
    positions[:common] = _mixed(start.positions_m, end.positions_m[:common], share)
    return BoneMotion(t_ns, rotations, positions)


def _mixed(start: Array, end: Array, share: float) -> Array:
    return (start.astype(np.float64) + share * (end.astype(np.float64) - start)).astype(np.float32)
