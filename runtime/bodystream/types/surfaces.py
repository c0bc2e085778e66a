"""Surfaces, the bones that move them, and how the bones move."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from bodystream.errors import InputError
from bodystream.types.base import Array

__all__ = ["BoneMotion", "FingerBone", "GraphSnapshot", "Mesh", "MeshPart", "SkinnedMesh"]


@dataclass(frozen=True, slots=True)
class Mesh:
    """A triangle mesh [m]; `vertices, faces = mesh` are the two that most libraries take.

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

    def __iter__(self) -> Iterator[Array]:
        yield from (self.vertices, self.faces)


@dataclass(frozen=True, slots=True)
class MeshPart:
    """Faces of a mesh, from `start` to before `end`, that are shown in one colour.

    Attributes:
        start, end: of the faces.
        colour: sRGB.
    """

    start: int
    end: int
    colour: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class FingerBone:
    """A segment of a body's finger, which a tracked hand moves and which else stands to the wrist as at rest.

    The bones that follow it have the frame of the wrist's joint at rest, and its place, too.

    Attributes:
        bones: of the skin, those that follow it.
        side: `left` or `right`.
        joint: of the 25 joints of a hand (`geometry.hands.HAND_JOINTS`) the one that turns it.
        above: the entry of `SkinnedMesh.fingers` that it hangs on, -1 = the wrist.
        pivot_m: (3,) what it turns about, in the wrist's frame at rest [m].
        wrist_from_rest: (3, 3) the axes of that joint where the finger is as at rest.
    """

    bones: tuple[int, ...]
    side: str
    joint: int
    above: int
    pivot_m: Array
    wrist_from_rest: Array


@dataclass(frozen=True, slots=True)
class SkinnedMesh:
    """A surface at bind and the bones that move it by linear blend skinning: a body on its skeleton, or a fused surface
    on its deformation graph. With the bones at `world_from_bone`, a point p at bind stands at
    sum_i w_i (world_from_bone_i @ bone_from_bind_i) p (glTF 2.0, sec. 3.7.3 "Skins").

    Attributes:
        mesh: at bind.
        bones: (V, 4) int32, the bones of each vertex, -1 = unused.
        weights: (V, 4) float32, not negative; a row sums to one, to less where some of its bones are not known, and to
            zero where none is near: who poses divides by the sum.
        bone_from_bind: (B, 4, 4) float32 or float64, affine: a point at bind, seen from each bone (glTF's inverse bind
            matrix).
        parents: (B,) int32, of a skeleton each bone's parent, which comes before it, -1 = none; None of a graph, whose
            bones are free.
        names: of a skeleton's bones, or None.
        version: grows whenever faces, bones, weights or the pose at bind change, so that who keeps them knows when to
            look again.
        parts: of a surface in few colours, its faces by colour, for who can show one colour per mesh only; they cover
            all faces in order. Empty = not known.
        fingers: of a body, segments that the joints of a tracked hand can move; each comes after the one it hangs on.

    Raises:
        InputError: a shape, a type, an index, a weight or a matrix that cannot be; the message says which.
    """

    mesh: Mesh
    bones: Array
    weights: Array
    bone_from_bind: Array
    parents: Array | None = None
    names: tuple[str, ...] | None = None
    version: int = 0
    parts: tuple[MeshPart, ...] = ()
    fingers: tuple[FingerBone, ...] = ()

    def __post_init__(self) -> None:
        vertices, count = len(self.mesh.vertices), len(self.bone_from_bind)
        shapes = {"bones": (vertices, 4), "weights": (vertices, 4), "bone_from_bind": (count, 4, 4)}
        shapes |= {} if self.parents is None else {"parents": (count,)}
        types = {"bones": "i4", "weights": "f4", "bone_from_bind": "f4 f8", "parents": "i4"}
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype.str[1:] not in types[name]:
                wanted = types[name].replace("i", "int").replace("f", "float").replace("4", "32").replace("8", "64")
                raise InputError(
                    f"a skin's {name} must be {wanted.replace(' ', ' or ')} of shape {shape}, got {array.dtype} of "
                    f"shape {array.shape}"
                )
        if self.names is not None and len(self.names) != count:
            raise InputError(f"a skin of {count} bones needs as many names, got {len(self.names)}")
        ends = [0, *(part.end for part in self.parts)]
        starts = [*(part.start for part in self.parts), len(self.mesh.faces)]
        if self.parts and (ends != starts or sorted(ends) != ends):
            raise InputError(
                f"a skin's parts must cover its {len(self.mesh.faces)} faces in order, got "
                f"{[(part.start, part.end) for part in self.parts]}"
            )
        if not np.isfinite(self.bone_from_bind).all() or (self.bone_from_bind[:, 3] != (0.0, 0.0, 0.0, 1.0)).any():
            raise InputError("a skin's bone_from_bind must be finite, with (0, 0, 0, 1) as each last row")
        if vertices:
            least, most = int(self.bones.min()), int(self.bones.max())
            if least < -1 or most >= count:
                raise InputError(f"a skin's bones must lie in -1 to {count - 1}, got {least} to {most}")
            low, high = float(self.weights.min()), float((self.weights @ np.ones(4, np.float32)).max())
            if not (low >= 0.0 and high <= 1.01):  # nan fails, too
                raise InputError(
                    f"a skin's weights must not be negative and sum to at most 1 per vertex, got {low:.3g} at least "
                    f"and a sum of {high:.3g}: normalise them"
                )
        if self.parents is not None and ((self.parents < -1) | (self.parents >= np.arange(count))).any():
            raise InputError("a skin's parents must be -1 or an earlier bone: each parent comes before its children")

    @property
    def bind_from_bone(self) -> Array:
        """(B, 4, 4): where the bones are at bind, the inverse of `bone_from_bind`."""
        return np.linalg.inv(self.bone_from_bind)

    @property
    def bind_positions_m(self) -> Array:
        """(B, 3) of the bones at bind [m]."""
        return self.bind_from_bone[:, :3, 3]


@dataclass(frozen=True, slots=True)
class BoneMotion:
    """Where the bones of a `SkinnedMesh` are at one time: `world_from_bone`, in the frame of who moves them (the world
    of a driven body, the camera's frame of a capture).

    Quaternions, since files, streams and the viewer take them, and 28 bytes per bone are little to send.

    Attributes:
        t_ns: of the moment that it is for.
        rotations_xyzw: (B, 4) float32 or float64 unit quaternions.
        positions_m: (B, 3) float32 or float64 [m].

    Raises:
        InputError: arrays that do not fit each other, values that are not finite, or a quaternion not of unit length.
    """

    t_ns: int
    rotations_xyzw: Array
    positions_m: Array

    def __post_init__(self) -> None:
        count = len(self.rotations_xyzw)
        for name, shape in (("rotations_xyzw", (count, 4)), ("positions_m", (count, 3))):
            array = getattr(self, name)
            if array.shape != shape or array.dtype.kind != "f":
                raise InputError(
                    f"a motion's {name} must be floating-point numbers of shape {shape}, got {array.dtype} of shape "
                    f"{array.shape}"
                )
            if not np.isfinite(array).all():
                bone = int(np.argwhere(~np.isfinite(array))[0, 0])
                raise InputError(f"a motion's {name} must be finite, got {array[bone].tolist()} of bone {bone}")
        squares = np.einsum("ij,ij->i", self.rotations_xyzw, self.rotations_xyzw)
        if count and np.abs(squares - 1.0).max() > 1e-2:
            bone = int(np.abs(squares - 1.0).argmax())
            raise InputError(
                f"a motion's rotations_xyzw must have unit length, got {squares[bone] ** 0.5:.3g} of bone {bone}"
            )


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
