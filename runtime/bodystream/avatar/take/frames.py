"""A take: posed surfaces of one person in one outfit, with the bone transforms of each. In memory; files are apart."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bodystream.errors import InputError
from bodystream.types import Array

__all__ = ["SPLITS", "AvatarTake", "PosedFrame", "TakeTruth"]

SPLITS = ("train", "test")
"""What motions are for."""


@dataclass(frozen=True, slots=True)
class PosedFrame:
    """One posed surface, in the world: y up, metres.

    Attributes:
        number: of the frame's file.
        motion: what is moved by; whole motions are for training or for tests.
        vertices: (V, 3) float32 [m].
        posed_from_canonical: (24, 4, 4) float32, rigid: what carries each bone from the canonical pose here.
        rotations_xyzw: (24, 4) float32 unit quaternions, each bone in its parent's frame, the pelvis in the world; the
            T-pose is that of identities.
        faces: (F, 3) int32 of this frame alone, or None: the take's.
        colours: (V, 3) uint8 RGB of this frame alone, or None: the take's.
    """

    number: int
    motion: str
    vertices: Array
    posed_from_canonical: Array
    rotations_xyzw: Array
    faces: Array | None = None
    colours: Array | None = None

    def about_pelvis(self) -> PosedFrame:
        """The same with the pelvis's transform the identity: seen from the pelvis, wherever it was in the world.

        Vertices, transforms and the pelvis's rotation are changed alike, so that only the pose is left.
        """
        pelvis_from_world = np.linalg.inv(self.posed_from_canonical[0].astype(np.float64))
        vertices = self.vertices.astype(np.float64) @ pelvis_from_world[:3, :3].T + pelvis_from_world[:3, 3]
        transforms = pelvis_from_world @ self.posed_from_canonical.astype(np.float64)
        rotations = self.rotations_xyzw.copy()
        rotations[0] = (0.0, 0.0, 0.0, 1.0)
        return replace(
            self,
            vertices=vertices.astype(np.float32),
            posed_from_canonical=transforms.astype(np.float32),
            rotations_xyzw=rotations,
        )


@dataclass(frozen=True, slots=True)
class AvatarTake:
    """All frames of one person in one outfit.

    Attributes:
        subject, outfit: whose and what.
        seed: of the generator; 0 where nothing was drawn.
        rate_hz: frames per second within a motion.
        rest_joints_m: (24, 3) float32 of the bones in the canonical pose [m]; see `canonical`.
        frames: in order of their numbers; those of one motion follow each other in time.
        motions: for each split of `SPLITS`, the names of its motions.
        faces: (F, 3) int32 that the frames share, or None where each has its own.
        colours: (V, 3) uint8 RGB that the frames share, or None.
        uv: (V, 2) float32, or None.
        skin_weights: (V, 24) float32 of a body model that was fitted, carried to the clothes, or None: for baselines
            that know them. Rows sum to one.
        origin: where it is from, in a few words.
        notes: what was found out or corrected while it was read.
    """

    subject: str
    outfit: str
    seed: int
    rate_hz: float
    rest_joints_m: Array
    frames: tuple[PosedFrame, ...]
    motions: dict[str, tuple[str, ...]]
    faces: Array | None = None
    colours: Array | None = None
    uv: Array | None = None
    skin_weights: Array | None = None
    origin: str = ""
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.frames)

    def split(self, name: str) -> tuple[PosedFrame, ...]:
        """The frames of a split.

        Raises:
            InputError: there is no split of that name.
        """
        if name not in self.motions:
            raise InputError(f"the take has no split {name!r}: it has {', '.join(self.motions)}")
        wanted = set(self.motions[name])
        return tuple(frame for frame in self.frames if frame.motion in wanted)

    def faces_of(self, frame: PosedFrame) -> Array:
        """(F, 3) int32 of a frame: its own, or those that all share."""
        faces = self.faces if frame.faces is None else frame.faces
        if faces is None:
            raise InputError(f"frame {frame.number} has no faces, and the take has none that frames share")
        return faces

    def colours_of(self, frame: PosedFrame) -> Array | None:
        """(V, 3) uint8 RGB of a frame: its own, or those that all share, or None."""
        return self.colours if frame.colours is None else frame.colours


@dataclass(frozen=True, slots=True)
class TakeTruth:
    """What only a generator knows of a take whose frames share their vertices: for evaluation, never for training.

    Attributes:
        canonical_vertices: (V, 3) float32: where each vertex is in the canonical pose, clothes draped there [m].
        outer: (V,) bool: seen from outside in the canonical pose; not skin under clothes.
        garment: (V,) bool: of clothes that were simulated.
    """

    canonical_vertices: Array
    outer: Array
    garment: Array
