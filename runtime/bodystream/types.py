"""The values that cross stages. Each is immutable and carries the timestamp of what it was computed from."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bodystream.errors import InputError

__all__ = [
    "Array",
    "BodyPose",
    "CameraIntrinsics",
    "DeviceKind",
    "FlowField",
    "Foreground",
    "FrameTruth",
    "GraphSnapshot",
    "HeadsetSample",
    "Mesh",
    "RgbdFrame",
    "Status",
    "TrackedDevice",
]

Array = npt.NDArray[Any]


class Status(enum.StrEnum):
    """How a stage fared on one frame."""

    TRACKED = "tracked"
    DEGRADED = "degraded"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class CameraIntrinsics:
    """A pinhole camera without distortion.

    Attributes:
        fx, fy: focal lengths [px].
        cx, cy: principal point [px]; pixel centres are at integers.
        width, height: image size [px].
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def __post_init__(self) -> None:
        values = (self.fx, self.fy, self.cx, self.cy)
        if not all(np.isfinite(v) for v in values) or self.fx <= 0 or self.fy <= 0:
            raise InputError(
                f"camera intrinsics must be finite with positive focal lengths, got fx={self.fx}, "
                f"fy={self.fy}, cx={self.cx}, cy={self.cy}: check the calibration file"
            )
        if self.width <= 0 or self.height <= 0:
            raise InputError(f"image size must be positive, got {self.width}x{self.height}")

    @property
    def matrix(self) -> Array:
        """The (3, 3) float64 matrix that maps camera rays to pixels."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    def scaled(self, factor: float) -> CameraIntrinsics:
        """The camera of the image resized by `factor` (pixel centres at integers)."""
        return CameraIntrinsics(
            self.fx * factor,
            self.fy * factor,
            (self.cx + 0.5) * factor - 0.5,
            (self.cy + 0.5) * factor - 0.5,
            round(self.width * factor),
            round(self.height * factor),
        )


@dataclass(frozen=True, slots=True)
class Mesh:
    """A triangle mesh [m].

    Attributes:
        vertices: (V, 3) float32.
        faces: (F, 3) int32, counter-clockwise seen from outside.
        normals: (V, 3) float32 unit vectors, or None.
        colours: (V, 3) uint8 RGB, or None.
    """

    vertices: Array
    faces: Array
    normals: Array | None = None
    colours: Array | None = None


@dataclass(frozen=True, slots=True)
class FrameTruth:
    """What a synthetic source knows of its frame, in the camera's frame.

    Attributes:
        mesh: the posed surface; vertex `i` is the same material point in every frame.
        pixel_face: (H, W) int32, the face seen at each pixel, -1 for none.
        pixel_barycentric: (H, W, 2) float32, weights of the face's second and third corner.
        depth_m: (H, W) float32, depth before the noise model.
        mask: (H, W) bool, pixels of the body.
    """

    mesh: Mesh
    pixel_face: Array
    pixel_barycentric: Array
    depth_m: Array
    mask: Array


@dataclass(frozen=True, slots=True)
class RgbdFrame:
    """One atomic measurement of a depth camera: colour and depth registered to the same pixels.

    Attributes:
        index: counts the frames that the source has seen, from 0; gaps are frames it lost.
        t_ns: host monotonic clock at which the frame was taken.
        depth_m: (H, W) float32, 0 = no measurement, never nan.
        intrinsics: of these pixels.
        colour: (H, W, 3) uint8 RGB, or None for a depth-only camera.
        device_t_ns: the device's own clock, or None.
        mask: (H, W) bool, foreground given by the source, or None.
        truth: ground truth of a synthetic source, or None.
        name: what a person would call the frame (a file's name), for messages.
    """

    index: int
    t_ns: int
    depth_m: Array
    intrinsics: CameraIntrinsics
    colour: Array | None = None
    device_t_ns: int | None = None
    mask: Array | None = None
    truth: FrameTruth | None = None
    name: str = ""

    def __post_init__(self) -> None:
        size = (self.intrinsics.height, self.intrinsics.width)
        if self.depth_m.dtype != np.float32 or self.depth_m.shape != size:
            raise InputError(
                f"frame {self.label}: depth must be float32 of {size[1]}x{size[0]} pixels (the size of its "
                f"intrinsics), got {self.depth_m.dtype} of shape {self.depth_m.shape}"
            )
        if self.colour is not None and (self.colour.dtype != np.uint8 or self.colour.shape != (*size, 3)):
            raise InputError(
                f"frame {self.label}: colour must be uint8 RGB of {size[1]}x{size[0]} pixels, "
                f"got {self.colour.dtype} of shape {self.colour.shape}"
            )
        if self.mask is not None and (self.mask.dtype != np.bool_ or self.mask.shape != size):
            raise InputError(
                f"frame {self.label}: mask must be bool of {size[1]}x{size[0]} pixels, "
                f"got {self.mask.dtype} of shape {self.mask.shape}"
            )

    @property
    def label(self) -> str:
        return self.name or str(self.index)


@dataclass(frozen=True, slots=True)
class Foreground:
    """Which pixels of a frame belong to the person or object.

    Attributes:
        mask: (H, W) bool; only pixels with a depth measurement are set.
        status: TRACKED, DEGRADED (kept by temporal consistency only) or LOST (mask all false).
        reason: why it is not TRACKED, else empty.
    """

    t_ns: int
    mask: Array
    status: Status = Status.TRACKED
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FlowField:
    """Dense correspondence from a source frame to a target frame.

    Attributes:
        flow_px: (H, W, 2) float32 (u right, v down): source pixel + flow = target pixel.
        weight: (H, W) float32 in [0, 1], 0 = no correspondence; flow_px is finite where weight > 0.
    """

    source_t_ns: int
    target_t_ns: int
    flow_px: Array
    weight: Array


@dataclass(frozen=True, slots=True)
class GraphSnapshot:
    """A deformation graph and its motion at one time, on the host.

    Attributes:
        t_ns: of the frame that the motion was solved for.
        positions: (N, 3) float32 canonical node positions [m].
        rotations: (N, 3, 3) float32.
        translations: (N, 3) float32 [m]; a point p moves to sum_i w_i (R_i (p - v_i) + v_i + t_i).
        edges: (N, K) int32 neighbours, -1 = unused.
        clusters: (N,) int32 connected component of each node.
        active: (N,) bool, false where the solver dropped the node's cluster.
    """

    t_ns: int
    positions: Array
    rotations: Array
    translations: Array
    edges: Array
    clusters: Array
    active: Array = field(default_factory=lambda: np.zeros(0, bool))


class DeviceKind(enum.StrEnum):
    """Which point of the body or of the device a tracked pose is of."""

    VIEW = "view"
    """Between the eyes, -z where the head looks, y up: what OpenXR and WebXR call the viewer."""
    GRIP = "grip"
    """OpenXR's and WebXR's grip pose of a held controller, in the centre of the palm."""
    HAND_WRIST = "hand-wrist"
    """The wrist of hand tracking: -z along the hand towards the fingers, y out of its back."""
    JOINT = "joint"
    """The skeleton's own joint in its canonical frame: data made from motion capture."""


@dataclass(frozen=True, slots=True)
class TrackedDevice:
    """One tracked rigid thing in the world: right-handed, y up, the floor at y = 0.

    Attributes:
        position_m: (3,) float64.
        rotation_xyzw: (4,) float64 unit quaternion, world from device.
        kind: what point it is of.
    """

    position_m: Array
    rotation_xyzw: Array
    kind: DeviceKind


@dataclass(frozen=True, slots=True)
class HeadsetSample:
    """What a headset knows at one time.

    Attributes:
        index: counts the samples that the source has seen, from 0; gaps are samples it lost.
        t_ns: host monotonic clock that the poses are valid for.
        head: None while the headset itself is not tracked.
        left, right: the hands or what they hold; None while not tracked.
        device_t_ns: the device's own clock, or None.
        truth: the pose it was made from, of a synthetic source, or None.
        origin_moved: the source knows that the world's origin moved since the sample before, as by recentring.
        emulated: of `left` and `right`, the hands that are left out because the device only guesses where they are
            (WebXR's `emulatedPosition`, an OpenXR pose that is valid and not tracked).
        lap: of a recording that is played in a loop, how often it began anew: the past of another lap says nothing.
    """

    index: int
    t_ns: int
    head: TrackedDevice | None
    left: TrackedDevice | None = None
    right: TrackedDevice | None = None
    device_t_ns: int | None = None
    truth: BodyPose | None = None
    origin_moved: bool = False
    emulated: tuple[str, ...] = ()
    lap: int = 0


@dataclass(frozen=True, slots=True)
class BodyPose:
    """A pose of the 22-joint skeleton of `geometry.skeleton`.

    Attributes:
        t_ns: of the sample that it was computed from.
        rotations_xyzw: (22, 4) float32 unit quaternions, each joint in its parent's frame; the pelvis in the world.
        root_position_m: (3,) float32 pelvis in the world [m].
        status: TRACKED, DEGRADED (a hand was guessed or eased) or LOST (held from before).
        flags: names of what was amiss or guessed: `left_lost`, `right_lost`, `head_lost`, `hands_swapped`...
        joint_std_m: (22,) float32 standard deviation of each joint's position [m], or None.
        contacts: (2,) bool, whether the left and right foot stand on the floor, or None.
        reason: why it is not TRACKED, for a person, else empty.
    """

    t_ns: int
    rotations_xyzw: Array
    root_position_m: Array
    status: Status = Status.TRACKED
    flags: tuple[str, ...] = ()
    joint_std_m: Array | None = None
    contacts: Array | None = None
    reason: str = ""
