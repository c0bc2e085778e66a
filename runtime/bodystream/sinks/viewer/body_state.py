"""What the viewer of a driven body is given: the body at first, and one state per pose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINTS
from bodystream.sinks.ply import check_mesh
from bodystream.timing import SpanSummary
from bodystream.types import Array, BodyPose, HeadsetSample, Mesh, SkinnedMesh

__all__ = ["BodyViewerState", "check_body"]


def check_body(skin: SkinnedMesh) -> None:
    """Refuse a skin that the page cannot show.

    Raises:
        InputError: bones that are no joints and stand on none, nothing to draw, or weights that do not sum to one.
    """
    mesh, joints = skin.mesh, len(JOINTS)
    bones = len(skin.bone_from_bind)
    if bones < joints or (bones > joints and (skin.parents is None or skin.parents[joints:].max() >= joints)):
        raise InputError(f"a driven body has the {joints} joints as bones, and others stand on these, got {bones}")
    if not len(mesh.faces):
        raise InputError(f"a body needs vertices and faces, got {len(mesh.vertices)} and 0")
    check_mesh(mesh, "the body")
    sums = np.where(skin.bones >= 0, skin.weights, 0).sum(axis=1)
    if np.abs(sums - 1.0).max() > 1e-2:
        raise InputError(
            f"the body's weights must sum to 1 per vertex, got {sums.min():.3g} to {sums.max():.3g}: normalise them"
        )


@dataclass(frozen=True, slots=True)
class BodyViewerState:
    """One moment of a driven body; what is None is not shown, but for `sample`: the last one stays, as lost.

    The viewer keeps references until the next state is shown: the arrays must not be written to afterwards.

    Attributes:
        t_ns: of the moment that the pose is for.
        pose: its rotations move the body; its status, reason, flags and contacts are shown.
        joints_m: (22, 3) joints in the pose, world frame [m].
        sample: what the headset measured, in the same frame.
        body: the skinned surface where it is another one than the viewer was made with, as after a calibration; in all
            states from then on. It is sent when it is not the very object that the state shown before had.
        mesh: a surface posed elsewhere; shown instead of the skinned one. Takes far more to send.
        hypotheses_m: (K, 22, 3) other poses that explain the sample, world frame [m].
        joint_std_m: (22,) standard deviation of each joint [m]; default: that of the pose.
        hud: percentiles per stage.
        rate_hz: poses per second.
        latency_ms: from the sample's timestamp to the pose.
        data_age_ms: from the sample's timestamp to `t_ns`.
        flags: default: those of the pose.
        warnings: of source and driver so far, or how often each happened. One that is new, or happened once more, is
            shown for some seconds.
        details: further lines of the table, e.g. `{"hypotheses": "8"}`.

    Raises:
        InputError: an array has the wrong shape.
    """

    t_ns: int
    pose: BodyPose
    joints_m: Array
    sample: HeadsetSample | None = None
    body: SkinnedMesh | None = None
    mesh: Mesh | None = None
    hypotheses_m: Array | None = None
    joint_std_m: Array | None = None
    hud: Mapping[str, SpanSummary] = field(default_factory=dict)
    rate_hz: float = 0.0
    latency_ms: float | None = None
    data_age_ms: float | None = None
    flags: tuple[str, ...] | None = None
    warnings: Sequence[str] | Mapping[str, int] = ()
    details: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.joint_std_m is None:
            object.__setattr__(self, "joint_std_m", self.pose.joint_std_m)
        if self.flags is None:
            object.__setattr__(self, "flags", self.pose.flags)
        joints = len(JOINTS)
        hypotheses = 0 if self.hypotheses_m is None else len(self.hypotheses_m)
        wanted = {"joints_m": (joints, 3), "hypotheses_m": (hypotheses, joints, 3), "joint_std_m": (joints,)}
        for name, shape in wanted.items():
            array = getattr(self, name)
            if array is not None and np.shape(array) != shape:
                raise InputError(f"the viewer's {name} must have shape {shape}, got {np.shape(array)}")
