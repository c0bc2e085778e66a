"""What the viewer of a driven body is given: the body at first, and one state per pose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINTS
from bodystream.sinks.viewer.encode import CLAY
from bodystream.timing import SpanSummary
from bodystream.types import Array, BodyPose, HeadsetSample, Mesh

__all__ = ["BodyMesh", "BodyViewerState"]


@dataclass(frozen=True, slots=True)
class BodyMesh:
    """A surface at bind: the pose in which it was attached to the skeleton; sent once.

    Attributes:
        vertices: (V, 3) float32 at bind [m].
        faces: (F, 3) int32, counter-clockwise seen from outside.
        joints_rest: (22, 3) joints at bind, in the same frame as `vertices` [m].
        skin_joints: (V, 4) int32 joints that move each vertex.
        skin_weights: (V, 4) float32, not negative; each row sums to one.
        rotations_rest: (22, 3, 3) orientations of the bones at bind, in the same frame; None = that of the T-pose,
            where every bone's frame is the world's.
        colour: RGB, 0 to 255. One, since the page's skinned mesh has no colours per vertex; several meshes of one
            colour each would cost as many times the motions, which are most of what is sent.

    Raises:
        InputError: a shape, an index, a weight or a coordinate that cannot be; the message says which.
    """

    vertices: Array
    faces: Array
    joints_rest: Array
    skin_joints: Array
    skin_weights: Array
    rotations_rest: Array | None = None
    colour: tuple[int, int, int] = CLAY

    def __post_init__(self) -> None:
        count = len(self.vertices)
        wanted = {
            "vertices": (count, 3),
            "faces": (len(self.faces), 3),
            "joints_rest": (len(JOINTS), 3),
            "skin_joints": (count, 4),
            "skin_weights": (count, 4),
            "rotations_rest": (len(JOINTS), 3, 3),
        }
        for name, shape in wanted.items():
            array = getattr(self, name)
            if array is not None and np.shape(array) != shape:
                raise InputError(f"the body's {name} must have shape {shape}, got {np.shape(array)}")
        if not count or not len(self.faces):
            raise InputError(f"a body needs vertices and faces, got {count} and {len(self.faces)}")
        for name in ("vertices", "joints_rest", "skin_weights", "rotations_rest"):
            array = getattr(self, name)
            if array is not None and not np.isfinite(array).all():
                raise InputError(f"the body's {name} must be finite, got nan or infinity")
        for name, limit in (("faces", count), ("skin_joints", len(JOINTS))):
            low, high = int(getattr(self, name).min()), int(getattr(self, name).max())
            if low < 0 or high >= limit:
                raise InputError(f"the body's {name} must lie in 0 to {limit - 1}, got {low} to {high}")
        sums, least = self.skin_weights.sum(axis=1), self.skin_weights.min()
        if least < 0 or np.abs(sums - 1.0).max() > 1e-2:
            raise InputError(
                f"the body's skin_weights must not be negative and sum to 1 per vertex, got {least:.3g} "
                f"at least and sums of {sums.min():.3g} to {sums.max():.3g}: normalise them"
            )


@dataclass(frozen=True, slots=True)
class BodyViewerState:
    """One moment of a driven body; what is None is not shown, but for `sample`: the last one stays, as lost.

    The viewer keeps references until the next state is shown: the arrays must not be written to afterwards.

    Attributes:
        t_ns: of the moment that the pose is for.
        pose: its rotations move the `BodyMesh`; its status, reason, flags and contacts are shown.
        joints_m: (22, 3) joints in the pose, world frame [m].
        sample: what the headset measured.
        body: the skinned surface where it is another one than the viewer was made with, as after a calibration; in all
            states from then on. It is sent when it is not the very object that the state shown before had.
        mesh: a surface posed elsewhere; shown instead of the skinned `BodyMesh`. Takes far more to send.
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
    body: BodyMesh | None = None
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
