"""Draws the posed body in front of a floor and a wall: colour, clean depth and the face behind each pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import warp as wp
from scipy.ndimage import gaussian_filter

from bodystream.device import Kernel, RecordedLaunch
from bodystream.device.camera import device_camera
from bodystream.sources.synthetic import kernels
from bodystream.types import Array, CameraIntrinsics, SkinnedMesh

__all__ = ["BodyRenderer", "Scene", "background_images", "vertex_rings"]

_GRAIN_SIZE = 64
_GRAIN_CELL_M = 0.0025
_TO_LIGHT = (-0.45, -0.60, -0.66)  # camera frame: from the upper left, behind the camera


@dataclass(frozen=True, slots=True)
class Scene:
    """Where the level camera, the body and the wall stand.

    Attributes:
        camera_height_m: above the floor [m].
        distance_m: from the camera to the body's origin [m].
        wall_m: from the camera to the back wall [m].
    """

    camera_height_m: float = 0.95
    distance_m: float = 2.2
    wall_m: float = 3.4

    @property
    def camera_from_body(self) -> Array:
        """(4, 4) float64: the body looks at the camera."""
        transform = np.diag([-1.0, -1.0, 1.0, 1.0])
        transform[:3, 3] = (0.0, self.camera_height_m, self.distance_m)
        return transform


def background_images(scene: Scene, intrinsics: CameraIntrinsics, shown: bool) -> tuple[Array, Array]:
    """Depth (H, W) float32 [m] and colour (H, W, 3) uint8 of the wall and the floor, or nothing on grey."""
    shape = (intrinsics.height, intrinsics.width)
    if not shown:
        return np.zeros(shape, np.float32), np.full((*shape, 3), 96, np.uint8)
    v, u = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    rx, ry = (u - intrinsics.cx) / intrinsics.fx, (v - intrinsics.cy) / intrinsics.fy
    floor_z = np.where(ry > 1e-6, scene.camera_height_m / np.maximum(ry, 1e-6), np.inf)
    on_floor = floor_z < scene.wall_m
    z = np.where(on_floor, floor_z, scene.wall_m)
    x, y = rx * z, ry * z
    rng = np.random.default_rng(7)
    mottle = gaussian_filter(rng.standard_normal((512, 512)), 3.0, mode="wrap")
    mottle /= mottle.std()

    def noise(a: Array, b: Array) -> Array:
        return mottle[np.floor(a / 0.008).astype(int) % 512, np.floor(b / 0.008).astype(int) % 512]

    boards = 1.0 - 0.10 * (np.mod(x, 0.16) < 0.008) + 0.05 * np.sin(12.0 * np.floor(x / 0.16))
    floor = np.array([134, 112, 92]) * (boards * (1.0 + 0.06 * noise(x, 0.3 * z)))[..., None]
    skirting = np.where(y > scene.camera_height_m - 0.08, 0.82, 1.0)
    wall = np.array([172, 176, 170]) * (skirting * (1.0 + 0.04 * noise(x + 7.0, y + 3.0)))[..., None]
    falloff = 1.0 - 0.05 * (rx * rx + ry * ry) / 0.5
    colour = np.where(on_floor[..., None], floor, wall) * falloff[..., None]
    return z.astype(np.float32), np.clip(np.round(colour), 0, 255).astype(np.uint8)


def _grain() -> Array:
    """(G, G, G) float32 periodic factors around 1 with details of about 1 and 4 cm."""
    rng = np.random.default_rng(11)
    field = np.zeros((_GRAIN_SIZE,) * 3)
    for sigma, share in ((1.6, 0.075), (5.0, 0.06)):
        layer = gaussian_filter(rng.standard_normal(field.shape), sigma, mode="wrap")
        field += share * layer / layer.std()
    return np.clip(1.0 + field, 0.5, 1.5).astype(np.float32)


def vertex_rings(faces: Array, count: int) -> tuple[Array, Array]:
    """The faces around each vertex: (V + 1,) starts and (3 F,) faces, int32."""
    order = np.argsort(faces.reshape(-1), kind="stable")
    starts = np.zeros(count + 1, np.int32)
    np.cumsum(np.bincount(faces.reshape(-1), minlength=count), out=starts[1:])
    return starts, (order // 3).astype(np.int32)


class BodyRenderer:
    """Owns the device buffers of one camera and draws one pose at a time into them.

    Attributes (device arrays, rewritten by every call):
        posed: (V,) vec3, camera frame [m]; normals: (V,) vec3.
        face: (H, W) int32; depth_m: (H, W) float32; colour: (H, W) vec3ub; barycentric: (H, W) vec2;
        mask: (H, W) uint8.

    On the CPU a thread of the rasteriser owns a band of whole rows; on CUDA, a tile of 8 x 8 pixels. Both walk all
    triangles and reject by row first.
    """

    def __init__(
        self, body: SkinnedMesh, intrinsics: CameraIntrinsics, background: tuple[Array, Array], device: wp.Device
    ) -> None:
        height, width = intrinsics.height, intrinsics.width
        pixels = height * width
        vertices, triangles = len(body.mesh.vertices), len(body.mesh.faces)

        def upload(values: Array, dtype: type) -> wp.array:
            return wp.array(values, dtype=dtype, device=device)

        def buffer(count: int, dtype: type) -> wp.array:
            return wp.zeros(count, dtype=dtype, device=device)

        self.posed = buffer(vertices, wp.vec3)
        self.normals = buffer(vertices, wp.vec3)
        screen, rows = buffer(vertices, wp.vec3), buffer(triangles, wp.vec2i)
        inverse_depth = wp.zeros((height, width), dtype=wp.float32, device=device)
        self.face = wp.zeros((height, width), dtype=wp.int32, device=device)
        depth, colour = buffer(pixels, wp.float32), buffer(pixels, wp.vec3ub)
        barycentric, mask = buffer(pixels, wp.vec2), buffer(pixels, wp.uint8)
        self.depth_m, self.colour = depth.reshape((height, width)), colour.reshape((height, width))
        self.barycentric, self.mask = barycentric.reshape((height, width)), mask.reshape((height, width))
        self._bones_host = wp.zeros(len(body.bone_from_bind), dtype=wp.mat44, device="cpu", pinned=device.is_cuda)
        self._bones_view = self._bones_host.numpy()
        self._bones = buffer(len(body.bone_from_bind), wp.mat44) if device.is_cuda else self._bones_host

        rest, faces = upload(body.mesh.vertices, wp.vec3), upload(body.mesh.faces, wp.vec3i)
        starts, ring = (upload(a, wp.int32) for a in vertex_rings(body.mesh.faces, vertices))
        camera = device_camera(intrinsics)
        skin_joints, skin_weights = upload(body.bones, wp.vec4i), upload(body.weights, wp.vec4)
        tile = (8, 8) if device.is_cuda else (width, 16)
        tiles = (-(-width // tile[0]), -(-height // tile[1]))

        shaded = kernels.ShadedBody()
        shaded.faces, shaded.posed, shaded.normals, shaded.rest = faces, self.posed, self.normals, rest
        assert body.mesh.colours is not None  # the shipped rig has them
        shaded.albedo = upload(body.mesh.colours.astype(np.float32), wp.vec3)
        shaded.grain = wp.array(_grain(), dtype=wp.float32, device=device)
        shaded.grain_cell_m = _GRAIN_CELL_M
        shaded.to_light = wp.vec3(*(np.array(_TO_LIGHT) / np.linalg.norm(_TO_LIGHT)).tolist())
        back_depth = upload(background[0].reshape(-1), wp.float32)
        back_colour = upload(background[1].reshape(-1, 3), wp.vec3ub)

        def stage(kernel: Kernel, count: int, inputs: list, min_chunk: int = 1024) -> RecordedLaunch:
            return RecordedLaunch(kernel, count, inputs, device, min_chunk=min_chunk)

        # the launches hold bare addresses: these must live as long as they do
        self._keep = (rest, faces, starts, ring, skin_joints, skin_weights, screen, rows, inverse_depth, shaded)
        self._keep_background = (back_depth, back_colour)
        self._stages = [
            stage(
                kernels.skin_vertices,
                vertices,
                [rest, skin_joints, skin_weights, self._bones, camera, self.posed, screen],
            ),
            stage(kernels.vertex_normals, vertices, [self.posed, faces, starts, ring, self.normals]),
            stage(kernels.triangle_rows, triangles, [faces, screen, height, rows]),
            stage(
                kernels.rasterise,
                tiles[0] * tiles[1],
                [faces, screen, rows, *tile, *tiles, inverse_depth, self.face],
                min_chunk=1,
            ),
            stage(
                kernels.resolve_pixels,
                pixels,
                [
                    shaded,
                    self.face.reshape((pixels,)),
                    back_depth,
                    back_colour,
                    camera,
                    depth,
                    colour,
                    barycentric,
                    mask,
                ],
                min_chunk=4096,
            ),
        ]

    def __call__(self, camera_from_rest: Array) -> None:
        """Draw the pose given by the (22, 4, 4) bone transforms from rest to the camera's frame."""
        self._bones_view[:] = camera_from_rest
        if self._bones is not self._bones_host:
            wp.copy(self._bones, self._bones_host)
        for launch in self._stages:
            launch()
