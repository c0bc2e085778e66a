"""A driven body as its sinks see it, on the pipeline's thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np

from bodystream.avatar.retarget import Retarget
from bodystream.device import download
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skeleton import Skeleton, forward_kinematics
from bodystream.pipelines.drive.pipeline import Driver, DriveResult
from bodystream.sinks.base import Occasion
from bodystream.sinks.send.base import DrivenPose, PosedBones
from bodystream.sinks.stream import CarriedNodes
from bodystream.timing import SpanSummary, now_ns
from bodystream.types import Array, BodyPose, HeadsetSample, Mesh, SkinnedMesh

__all__ = ["DriveView"]


class DriveView:
    """One moment of a driven body. Copies are made when they are first asked for, once for all sinks.

    Attributes:
        occasion: why it is shown.
        result: of the sample; at other occasions the last one, or None before the first.
        driver: the pipeline at rest.
        nominal_hz: the source's rate, or None where it has none. rate_hz: the one that was reached.
        latency_ms: of the sample.
        is_live: whether times are those of the host's clock.
        warnings: of source and samples so far, with how often each came up.
    """

    def __init__(
        self,
        occasion: Occasion,
        result: DriveResult | None,
        driver: Driver,
        *,
        nominal_hz: float | None = None,
        rate_hz: float = 0.0,
        latency_ms: float = 0.0,
        is_live: bool = False,
        warnings: Mapping[str, int] | None = None,
    ) -> None:
        self.occasion, self.result, self.driver = occasion, result, driver
        self.nominal_hz, self.rate_hz, self.latency_ms, self.is_live = nominal_hz, rate_hz, latency_ms, is_live
        self.warnings = {} if warnings is None else warnings

    @property
    def skeleton(self) -> Skeleton:
        """The person's, as of this pose; of one who is known better it goes evenly to what is known."""
        return self.driver.skeleton

    @cached_property
    def retarget(self) -> Retarget | None:
        """What takes the person's poses to an avatar of other proportions; None = the body has the person's."""
        retarget = self.driver.avatar.retarget
        return None if retarget is None else retarget.of(self.skeleton)

    @property
    def body_skeleton(self) -> Skeleton:
        """Of the body that is shown: the person's, or that of an avatar with proportions of its own."""
        retarget = self.retarget
        return self.skeleton if retarget is None else retarget.skeleton

    @cached_property
    def body_pose(self) -> BodyPose:
        """The pose of the body that is shown, on `body_skeleton`; of a moment that has a result."""
        assert self.result is not None
        retarget = self.retarget
        return self.result.pose if retarget is None else retarget.pose(self.result.pose)

    @cached_property
    def body_joints_m(self) -> Array:
        """(22, 3) the joints of `body_pose` in the world [m]."""
        assert self.result is not None
        if self.retarget is None:
            return self.result.joints_m
        turns = matrix_from_quaternion(self.body_pose.rotations_xyzw)
        root = self.body_pose.root_position_m.astype(np.float64)
        return forward_kinematics(self.body_skeleton.offsets_m, turns, root)[0]

    @cached_property
    def driven(self) -> DrivenPose:
        """What is sent to other programs; of a moment that has a result."""
        assert self.result is not None
        person = PosedBones(self.result.pose, self.skeleton)
        retarget = self.retarget
        avatar = person
        if retarget is not None:
            avatar = PosedBones(self.body_pose, retarget.skeleton, retarget.bones, retarget.scale)
        return DrivenPose(person, self.result.sample, avatar)

    @property
    def scale(self) -> float:
        """What places in the person's world are multiplied by to be beside the body that is shown."""
        retarget = self.retarget
        return 1.0 if retarget is None else retarget.scale

    @property
    def body_sample(self) -> HeadsetSample:
        """What was measured, beside the body that is shown; of a moment that has a result."""
        assert self.result is not None
        sample, scale = self.result.sample, self.scale
        if scale == 1.0:
            return sample
        devices = {side: getattr(sample, side) for side in ("head", "left", "right")}
        moved = {
            side: None if device is None else replace(device, position_m=device.position_m * scale)
            for side, device in devices.items()
        }
        return replace(sample, **moved)

    @property
    def skin(self) -> SkinnedMesh | None:
        """The surface at bind and what moves it; another object for another person. None = only posed vertices."""
        return self.driver.skin

    @property
    def is_bare(self) -> bool:
        """Whether bones alone can move nothing of it: there is neither a skin nor a `node_skin`."""
        return self.driver.is_bare

    @cached_property
    def nodes(self) -> CarriedNodes | None:
        """Of an avatar without a skin, for who is sent bones; None of others, and at first: asking has them made."""
        found = self.driver.node_skin()
        return None if found is None else CarriedNodes(found, download(self.driver.avatar.vertices)[found.vertices])

    @cached_property
    def posed_mesh(self) -> Mesh:
        """The surface in the pose [m]."""
        return self.driver.posed_mesh()

    @property
    def hypotheses_m(self) -> Array | None:
        """(K, 22, 3) float32 other poses that explain the sample [m]; None where there are none."""
        found = None if self.result is None or self.result.failure is not None else self.driver.estimator.hypotheses
        return None if found is None or len(found.joints_m) < 2 else found.joints_m.astype(np.float32)

    @property
    def age_ms(self) -> float:
        """How old the sample is."""
        return (now_ns() - self.result.pose.t_ns) * 1e-6 if self.is_live and self.result is not None else 0.0

    @cached_property
    def stages(self) -> Mapping[str, SpanSummary]:
        """Percentiles per stage."""
        return self.driver.spans.summary()
