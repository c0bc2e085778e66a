"""Matches between model points and the new frame, gathered from flow fields of several reference frames."""
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import warp as wp

from bodystream.deformation import WarpField
from bodystream.deformation.kernels import Graph
from bodystream.device import DeviceFrame, LaunchCache, Staged, view_as
from bodystream.device.camera import device_camera
from bodystream.tracking import match_kernels
from bodystream.tracking.config_checks import require_number, require_whole
from bodystream.tracking.model import ModelPoints
from bodystream.tracking.term_kernels import Targets
from bodystream.types import Array, CameraIntrinsics, FlowField, RgbdFrame

__all__ = ["MatchConfig", "MatchGatherer", "Reference"]


@dataclass(frozen=True)
class MatchConfig:
    """Options of matching.

    Attributes:
        least_weight: delta of NNRT app. D.3, flow with less confidence is not used.
        visible_m: a model point is seen in a reference where the depth agrees this well.
        step_m: depth that jumps more than this within a pixel is an edge, not a surface.
        spread_m: predictions of several references for one point must lie this near their mean (app. D.3).
        references: most reference frames used at once.
        silhouette_weight: w of a point that the camera sees through, pulled to the silhouette; 0 = off.
        see_through_m: depth measured this far behind a point shows that it is not there.
    """

    least_weight: float = 0.35
    visible_m: float = 0.03
    step_m: float = 0.03
    spread_m: float = 0.15
    references: int = 2
    silhouette_weight: float = 1.0
    see_through_m: float = 0.1

    def __post_init__(self) -> None:
        require_number("matching", self, "least_weight", least=0, most=1)
        require_number("matching", self, "visible_m", "step_m", "spread_m", "see_through_m", above=0)
        require_number("matching", self, "silhouette_weight", least=0)
        require_whole("matching", self, 1, "references")


class Reference:
    """A past frame with its foreground and the motion that was solved for it; holds its own device copies.

    Attributes:
        frame, mask: the frame and its (H, W) bool foreground; None before the first `store` and after `forget`.
        depth: (H, W) float32 device array, its foreground depth [m].
        rotations, translations: device arrays, the motion of the first `node_count` nodes.
    """

    def __init__(self, field: WarpField, intrinsics: CameraIntrinsics) -> None:
        self._device = field.device
        self.depth = wp.zeros((intrinsics.height, intrinsics.width), dtype=float, device=self._device)
        self.node_count = 0
        self.forget()
        self._allocate(field.capacity)

    def _allocate(self, capacity: int) -> None:
        self.rotations = wp.zeros(capacity, dtype=wp.mat33, device=self._device)
        self.translations = wp.zeros(capacity, dtype=wp.vec3, device=self._device)

    def forget(self) -> None:
        """Hold no frame."""
        self.frame: RgbdFrame | None = None
        self.mask: Array | None = None

    def store(self, image: DeviceFrame, field: WarpField) -> None:
        """Keep a frame and its mask, and copy its foreground depth and the field's motion at it."""
        self.frame, self.mask = image.frame, image.foreground
        wp.copy(self.depth, image.depth)
        self.store_motion(field)

    def store_motion(self, field: WarpField) -> None:
        """Copy the field's motion only."""
        if len(self.rotations) != field.capacity:
            self._allocate(field.capacity)
        self.node_count = field.count
        wp.copy(self.rotations, field.rotations)
        wp.copy(self.translations, field.translations)

    def packed(self, field: WarpField) -> match_kernels.Past:
        """The kernels' view of it, with the nodes of `field` as they lay then."""
        past, graph = match_kernels.Past(), Graph()
        graph.positions, graph.edges = field.positions, field.edges
        graph.rotations, graph.translations = self.rotations, self.translations
        past.graph, past.node_count, past.depth = graph, self.node_count, self.depth
        return past

    def restore(self, field: WarpField) -> None:
        """Give the field the motion that was stored; later nodes keep theirs."""
        count = min(self.node_count, field.count)
        wp.copy(field.rotations, self.rotations, count=count)
        wp.copy(field.translations, self.translations, count=count)
        field.motion_changed()


class MatchGatherer:
    """Turns flow fields into targets of model points, with multi-keyframe consistency."""

    def __init__(self, field: WarpField, intrinsics: CameraIntrinsics, config: MatchConfig | None = None) -> None:
        self.config = MatchConfig() if config is None else config
        self._field = field
        self._device = field.device
        self._camera = device_camera(intrinsics)
        self._rules = rules = match_kernels.MatchRules()
        for name in ("least_weight", "visible_m", "step_m", "spread_m", "see_through_m", "silhouette_weight"):
            setattr(rules, name, getattr(self.config, name))
        self._launch = LaunchCache(field.device)
        shape = (intrinsics.height, intrinsics.width)
        self._flows = [Staged(3 * shape[0] * shape[1], float, self._device) for _ in range(self.config.references)]
        self._capacity = 0

    def _allocate(self, capacity: int) -> None:
        self._capacity = capacity
        shape = (self.config.references, capacity)
        self._found = found = match_kernels.Candidates()
        found.pixels = wp.zeros(shape, dtype=wp.vec2, device=self._device)
        found.depth = wp.zeros(shape, dtype=float, device=self._device)
        found.weight = wp.zeros(shape, dtype=float, device=self._device)

    def gather(
        self,
        model: ModelPoints,
        references: list[tuple[Reference, FlowField]],
        target: DeviceFrame,
        targets: Targets,
    ) -> None:
        """Fill the solver's flow buffers (pixels, depth, weight) for the model's points.

        Args:
            model: with normals. references: past frames and the flow from each to the new frame.
            target: the new frame.
        """
        if model.normals is None:
            raise ValueError("matching needs the model's normals, got points without")
        count = model.count
        if count > self._capacity:
            self._allocate(max(2 * self._capacity, count))
        config, field = self.config, self._field
        used = references[: config.references]
        for row, (reference, flow) in enumerate(used):
            inputs = [model.packed, self._camera, self._rules, reference.packed(field), self._on_device(row, flow)]
            self._launch(match_kernels.follow_flow, count, [*inputs, target.depth, row, self._found], min_chunk=1024)
        inputs = [len(used), self._found, self._camera, self._rules, targets]
        self._launch(match_kernels.agree, count, inputs, min_chunk=8192)

    def _on_device(self, row: int, flow: FlowField) -> match_kernels.Flow:
        """Flow and weights of the window of the image outside of which there are none."""
        found = match_kernels.Flow()
        flow_px, weight, found.cell_px = flow.flow_px, flow.weight, flow.cell_px
        if isinstance(flow_px, wp.array):
            found.flow_px, found.weight, found.window = flow_px, weight, wp.vec2i(0, 0)
            return found
        # Pixels without weight are never read, and a person fills a part of the image only.
        u, v, width, height = cv2.boundingRect((weight > 0).view(np.uint8))
        pixels = width * height
        staged = self._flows[row]
        staged.wait()
        window = (slice(v, v + height), slice(u, u + width))
        staged.host[: 2 * pixels].reshape(height, width, 2)[:] = flow_px[window]
        staged.host[2 * pixels : 3 * pixels].reshape(height, width)[:] = weight[window]
        if pixels:
            staged.send(3 * pixels)
        shape, array = (height, width), staged.array
        found.flow_px, found.weight = view_as(array, wp.vec2, shape), view_as(array, float, shape, begin=8 * pixels)
        found.window = wp.vec2i(u, v)
        return found

    def pull_inside(
        self,
        model: ModelPoints,
        target: DeviceFrame,
        targets: Targets,
    ) -> None:
        """Targets on the silhouette of the new frame for points without a flow match that the camera sees through.

        A given mask says where the body is not; a found one only where depth was measured.
        """
        config, field = self.config, self._field
        if config.silhouette_weight <= 0:
            return
        inputs = [model.packed, field.graph, self._camera, self._rules, target.scene_depth, target.mask, targets]
        self._launch(match_kernels.pull_inside, model.count, inputs, min_chunk=1024)
