"""Draws the two images of a scene with their exact motion."""

from __future__ import annotations

from typing import Any, TypeAlias

import cv2
import numpy as np
import warp as wp

from bodystream.device import LaunchCache, download, upload
from bodystream.device.camera import device_camera
from bodystream.sources.synthetic import kernels as body_kernels
from bodystream.sources.synthetic.noise import DepthNoise, DepthNoiseModel
from bodystream.sources.synthetic.renderer import vertex_rings
from bodystream.types import Array, SkinnedMesh
from bodystream_training.flow.sample import FlowSample
from bodystream_training.synthetic import kernels
from bodystream_training.synthetic.scenes import PosedBody, Scene
from bodystream_training.synthetic.shapes import Surface
from bodystream_training.synthetic.textures import Material, noise_volume

__all__ = ["PairRenderer"]

Struct: TypeAlias = Any
"""An object of a `wp.struct`, which type checkers take for no class."""


class PairRenderer:
    """Owns the buffers of one image size and draws one scene at a time.

    The body and its rasteriser are those of the synthetic camera; the body's vertices and faces come first in all
    buffers, then those of the other surfaces.

    Args:
        size: (width, height) [px].
        rig: the body that scenes pose.
        face_regions: (F,) int32 material of each of its faces.
        seed: of the depth camera's noise.
    """

    def __init__(
        self, size: tuple[int, int], rig: SkinnedMesh, face_regions: Array, seed: int, device: wp.Device
    ) -> None:
        self.size = size
        self._device = device
        self._launch = LaunchCache(device)
        width, height = size
        self._pixels = pixels = width * height
        self._body_vertices, self._body_faces = len(rig.mesh.vertices), len(rig.mesh.faces)
        self._body_face_list, self._face_regions = rig.mesh.faces, face_regions
        assert rig.mesh.colours is not None  # the shipped rig has them
        self._albedo = rig.mesh.colours.astype(np.float32)

        def uploaded(values: Array, dtype: type) -> wp.array:
            return wp.array(values, dtype=dtype, device=device)

        def buffer(count: int, dtype: type) -> wp.array:
            return wp.zeros(count, dtype=dtype, device=device)

        starts, ring = vertex_rings(rig.mesh.faces, self._body_vertices)
        self._starts, self._ring = uploaded(starts, wp.int32), uploaded(ring, wp.int32)
        self._skin_joints, self._skin_weights = uploaded(rig.bones, wp.vec4i), uploaded(rig.weights, wp.vec4)
        self._worn_faces = uploaded(rig.mesh.faces, wp.vec3i)
        self._body_rest, self._body_normals, self._worn = (buffer(self._body_vertices, wp.vec3) for _ in range(3))
        self._loose = buffer(self._body_vertices, wp.float32)
        self._bones = buffer(len(rig.bone_from_bind), wp.mat44)
        self._volume = uploaded(noise_volume().reshape(-1), wp.float32)
        self._inverse_depth = wp.zeros((height, width), dtype=wp.float32, device=device)
        self._face = [wp.zeros((height, width), dtype=wp.int32, device=device) for _ in range(2)]
        self._depth = wp.zeros((height, width), dtype=wp.float32, device=device)
        self._colour, self._mask = buffer(pixels, wp.vec3ub), buffer(pixels, wp.uint8)
        self._flow, self._scene_flow = buffer(pixels, wp.vec2), buffer(pixels, wp.vec3)
        self._visible = buffer(pixels, wp.uint8)
        self._noise: DepthNoise | None = None
        self._noise_seed = seed
        self._tile = (8, 8) if device.is_cuda else (width, -(-height // 4))
        self._vertex_capacity = self._face_capacity = 0
        self._reserve(self._body_vertices + 12_000, self._body_faces + 24_000)

    def __call__(self, scene: Scene) -> FlowSample:
        """The pair of images of a scene; the same scene gives the same bits on one machine and device."""
        surfaces, moments = self._placed(scene)
        camera = device_camera(scene.intrinsics)
        for k in range(2):
            self._rasterise(scene, surfaces, k, camera)
        depths, colours, masks, found = [], [], [], []
        for k in range(2):
            outputs = [self._depth.reshape((self._pixels,)), self._colour, self._mask]
            self._launch(kernels.shade_pixels, self._pixels, [surfaces, moments[k], camera, *outputs], min_chunk=4096)
            colours.append(self._image(self._colour))
            masks.append(self._image(self._mask).view(np.bool_))
            clean_m = self._image(self._depth.reshape((self._pixels,)))
            depths.append(self._measured(scene, clean_m, k))
            found.append(_found(masks[k], clean_m, depths[k]) if scene.found_by_depth else masks[k])
        outputs = [self._flow, self._scene_flow, self._visible]
        self._launch(kernels.trace_motion, self._pixels, [surfaces, *moments, camera, *outputs], min_chunk=4096)
        flow, scene_flow = self._image(self._flow), self._image(self._scene_flow)
        visible = self._image(self._visible).view(np.bool_)
        smear = _smear(scene.exposure, flow, masks[0])
        colours = [_photographed(scene, colour, mask, smear) for colour, mask in zip(colours, masks, strict=True)]
        # what took the subject's depth, but not its colour, moves neither with it nor with what is behind
        neither = found[0] & ~masks[0]
        flow[neither], scene_flow[neither], visible[neither] = np.nan, np.nan, False
        return FlowSample(
            source_rgb=colours[0],
            target_rgb=colours[1],
            source_depth_m=depths[0],
            target_depth_m=depths[1],
            intrinsics=scene.intrinsics,
            mask=found[0],
            target_mask=found[1],
            flow_px=flow,
            scene_flow_m=scene_flow,
            visible=visible,
        )

    def _image(self, values: wp.array) -> Array:
        """A copy on the host of (P,) values as (H, W) or (H, W, C)."""
        host = np.array(download(values))
        return host.reshape(self.size[1], self.size[0], *host.shape[1:])

    def _reserve(self, vertices: int, faces: int) -> None:
        """Make place for so many vertices and faces; the body's own are written once."""
        if vertices > self._vertex_capacity:
            self._vertex_capacity = vertices

            def buffer() -> wp.array:
                return wp.zeros(vertices, dtype=wp.vec3, device=self._device)

            self._rest, self._vertex_albedo, self._screen = buffer(), buffer(), buffer()
            self._posed, self._normals = [buffer(), buffer()], [buffer(), buffer()]
            upload(self._vertex_albedo, self._albedo)
        if faces > self._face_capacity:
            self._face_capacity = faces
            self._faces = wp.zeros(faces, dtype=wp.vec3i, device=self._device)
            self._materials = wp.zeros(faces, dtype=wp.int32, device=self._device)
            self._rows = wp.zeros(faces, dtype=wp.vec2i, device=self._device)
            upload(self._faces, self._body_face_list)
            upload(self._materials, self._face_regions)

    def _placed(self, scene: Scene) -> tuple[Struct, list[Struct]]:
        """Everything of the scene on the device, the body posed."""
        others = scene.surfaces
        vertex_ends = self._body_vertices + np.cumsum([0, *(len(s.rest_m) for s in others)])
        face_ends = self._body_faces + np.cumsum([0, *(len(s.faces) for s in others)])
        self._reserve(int(vertex_ends[-1]), int(face_ends[-1]))
        if others:
            self._write_surfaces(others, vertex_ends, int(face_ends[-1]))
        if scene.body is not None:
            self._pose(scene.body, device_camera(scene.intrinsics))
        first = self._body_faces if scene.body is None else 0
        last = int(face_ends[-1])
        self._vertex_count = int(vertex_ends[-1])
        surfaces = kernels.Surfaces()
        surfaces.faces, surfaces.face_material = (_part(a, first, last) for a in (self._faces, self._materials))
        surfaces.rest, surfaces.albedo, surfaces.volume = self._rest, self._vertex_albedo, self._volume
        self._paint(surfaces, scene.materials)
        moments = []
        for k, light in enumerate(scene.lights):
            moment = kernels.Moment()
            moment.posed, moment.normals = self._posed[k], self._normals[k]
            moment.face = self._face[k].reshape((self._pixels,))
            moment.to_light, moment.light = wp.vec3(*light.to_light.tolist()), wp.vec3(*light.light.tolist())
            moment.ambient = wp.vec3(*light.ambient.tolist())
            moments.append(moment)
        return surfaces, moments

    def _write_surfaces(self, others: list[Surface], vertex_ends: Array, last_face: int) -> None:
        begin, end = self._body_vertices, int(vertex_ends[-1])
        columns = {
            "rest_m": self._rest, "source_m": self._posed[0], "target_m": self._posed[1],
            "source_normals": self._normals[0], "target_normals": self._normals[1],
        }  # fmt: skip
        for name, buffer in columns.items():
            upload(_part(buffer, begin, end), np.concatenate([getattr(surface, name) for surface in others]))
        faces = np.concatenate([s.faces + start for s, start in zip(others, vertex_ends[:-1], strict=True)])
        upload(_part(self._faces, self._body_faces, last_face), faces.astype(np.int32))
        numbers = np.repeat([s.material for s in others], [len(s.faces) for s in others])
        upload(_part(self._materials, self._body_faces, last_face), numbers.astype(np.int32))

    def _pose(self, body: PosedBody, camera: Struct) -> None:
        """Dress the body and put it into both moments; the texture is looked up on the undressed rest."""
        count = self._body_vertices
        upload(self._rest, body.rest_m)
        upload(self._body_rest, body.rest_m)
        upload(self._body_normals, body.rest_normals)
        upload(self._loose, body.looseness_m)
        for k in range(2):
            place, swing = wp.vec3(*body.place.tolist()), wp.vec3(*(k * body.swing).tolist())
            inputs = [self._body_rest, self._body_normals, self._loose, self._volume, body.fold_cell_m, place, swing]
            self._launch(kernels.loosen_garments, count, [*inputs, self._worn])
            upload(self._bones, body.bones[k].astype(np.float32))
            inputs = [self._worn, self._skin_joints, self._skin_weights, self._bones, camera]
            self._launch(body_kernels.skin_vertices, count, [*inputs, self._posed[k], self._screen])
            inputs = [self._posed[k], self._worn_faces, self._starts, self._ring]
            self._launch(body_kernels.vertex_normals, count, [*inputs, self._normals[k]])

    def _paint(self, surfaces: Struct, materials: list[Material]) -> None:
        def column(values: list, dtype: type) -> wp.array:
            return wp.array(np.array(values), dtype=dtype, device=self._device)

        surfaces.first_colour = column([m.first for m in materials], wp.vec3)
        surfaces.second_colour = column([m.second for m in materials], wp.vec3)
        surfaces.pattern = column([m.pattern for m in materials], wp.int32)
        surfaces.pattern_from_rest = column([m.pattern_from_rest for m in materials], wp.mat33)
        surfaces.sharpness = column([m.sharpness for m in materials], wp.float32)
        surfaces.grain = column([[*m.grain, m.cell_m] for m in materials], wp.vec4)
        surfaces.painted = column([m.painted for m in materials], wp.float32)
        surfaces.patch = column([m.patch for m in materials], wp.vec4)
        surfaces.place = column([m.place for m in materials], wp.vec3)
        surfaces.is_subject = column([m.is_subject for m in materials], wp.uint8)

    def _rasterise(self, scene: Scene, surfaces: Struct, moment: int, camera: Struct) -> None:
        width, height = self.size
        count = surfaces.faces.shape[0]
        rows = _part(self._rows, 0, count)
        posed = self._posed[moment]
        self._launch(kernels.project_vertices, self._vertex_count, [posed, camera, self._screen])
        self._launch(body_kernels.triangle_rows, count, [surfaces.faces, self._screen, height, rows])
        tiles = (-(-width // self._tile[0]), -(-height // self._tile[1]))
        inputs = [surfaces.faces, self._screen, rows, *self._tile, *tiles, self._inverse_depth, self._face[moment]]
        self._launch(body_kernels.rasterise, tiles[0] * tiles[1], inputs, min_chunk=1)

    def _measured(self, scene: Scene, clean_m: Array, moment: int) -> Array:
        """(H, W) float32: what the depth camera makes of the clean depth that was just drawn."""
        if scene.noise is None:
            return np.round(clean_m * 1000.0).astype(np.float32) / np.float32(1000.0)
        if self._noise is None:
            self._noise = DepthNoise(DepthNoiseModel(), self._depth, scene.intrinsics, self._noise_seed, self._device)
        self._noise.aim(scene.noise, scene.intrinsics)
        return np.array(download(self._noise(2 * scene.noise_frame + moment)))


def _part(values: Any, begin: int, end: int) -> wp.array:
    """A range of a 1D array; it keeps the memory."""
    return values[begin:end]


def _found(mask: Array, clean_m: Array, measured_m: Array) -> Array:
    """(H, W) bool: the subject as far as its depth is measured, and the pixels behind it that took its depth."""
    around = cv2.dilate(mask.view(np.uint8), np.ones((5, 5), np.uint8)).view(np.bool_)
    took = around & ~mask & (measured_m > 0) & (clean_m - measured_m > 0.1)
    return (mask & (measured_m > 0)) | took


def _photographed(scene: Scene, colour: Array, mask: Array, along_px: Array | None) -> Array:
    """(H, W, 3) uint8 through a lens, the subject smeared along `along_px`, and as a file keeps it."""
    out = cv2.GaussianBlur(colour, (3, 3), scene.blur_px)
    if along_px is not None:
        out = _smeared(out, mask, along_px)
    if scene.jpeg_quality is not None:
        file = cv2.imencode(".jpg", out[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, scene.jpeg_quality])[1]
        out = np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR_RGB))
    return out


def _smeared(image: Array, mask: Array, along_px: Array) -> Array:
    """The image with what is in the mask averaged along a line."""
    length = float(np.linalg.norm(along_px))
    size = 2 * int(np.ceil(0.5 * length)) + 3
    line = np.zeros((size, size), np.float32)
    for step in np.linspace(-0.5, 0.5, 4 * size):
        x, y = size // 2 + step * along_px
        line[round(float(y)), round(float(x))] += 1.0
    smeared = cv2.filter2D(image, -1, line / line.sum(), borderType=cv2.BORDER_REPLICATE)
    out = image.copy()
    cv2.copyTo(smeared, mask.view(np.uint8), out)
    return out


def _smear(exposure: float, flow_px: Array, mask: Array) -> Array | None:
    """(2,) how far the subject moves while the shutter is open, at most 15 px; None where it is less than one [px]."""
    if exposure == 0.0:
        return None
    moving = flow_px[mask]
    moving = moving[np.isfinite(moving[:, 0])]
    if len(moving) == 0:
        return None
    along = exposure * np.median(moving, axis=0)
    length = float(np.linalg.norm(along))
    return None if length < 1.0 else along * min(1.0, 15.0 / length)
