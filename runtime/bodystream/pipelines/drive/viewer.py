"""The viewer's page as a sink of a driven body."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bodystream.pipelines.drive.view import DriveView
from bodystream.sinks.base import Occasion, SinkBase
from bodystream.sinks.viewer import BodyViewer, BodyViewerState
from bodystream.types import SkinnedMesh

__all__ = ["BodyViewerSink"]


class BodyViewerSink(SinkBase[BodyViewerState]):
    """Shows poses on a viewer's page, which is closed with it; nothing is prepared that no browser would be sent.

    Args:
        viewer: the page.
        skin: the surface that it was made with.
    """

    name = "viewer"

    def __init__(self, viewer: BodyViewer, skin: SkinnedMesh | None) -> None:
        self._viewer, self._skin = viewer, skin

    @property
    def warnings(self) -> Sequence[str]:
        return self._viewer.warnings

    def prepare(self, view: DriveView) -> BodyViewerState | None:
        result = view.result
        if view.occasion is not Occasion.RESULT or result is None or not self._viewer.wants_state:
            return None
        skin = view.skin  # another one after a calibration, or a better guess of the stature
        scale, std_m, hypotheses_m = view.scale, result.pose.joint_std_m, view.hypotheses_m
        return BodyViewerState(
            t_ns=result.pose.t_ns,
            pose=view.body_pose,
            joints_m=view.body_joints_m,
            sample=view.body_sample,
            body=None if skin is self._skin else skin,
            mesh=view.posed_mesh if skin is None else None,
            hypotheses_m=None if hypotheses_m is None else hypotheses_m * np.float32(scale),
            joint_std_m=None if std_m is None else std_m * np.float32(scale),
            hud=view.stages,
            rate_hz=view.rate_hz,
            latency_ms=view.latency_ms,
            data_age_ms=view.age_ms,
            warnings=view.warnings,
        )

    def publish(self, state: BodyViewerState, /) -> None:
        self._viewer.publish(state)

    def close(self) -> Sequence[str]:
        self._viewer.close()
        return ()
