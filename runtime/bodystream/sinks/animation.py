"""The motion of a growing deformation graph, recorded in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from bodystream.errors import InputError
from bodystream.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix
from bodystream.types import Array, GraphSnapshot

__all__ = ["Animation", "AnimationRecorder"]


@dataclass(frozen=True, slots=True)
class Animation:
    """Motion of all nodes at all key frames.

    Attributes:
        frames_t_s: (T,) float64 seconds since the first key frame, increasing.
        node_positions: (N, 3) float32 canonical positions v_i [m].
        quaternions_xyzw: (T, N, 4) float32.
        translations: (T, N, 3) float32 [m]; a point moves to sum_i w_i (R_i (p - v_i) + v_i + t_i).
        stride: every so many recorded frames became a key frame.
        recorded: frames that were offered.
        notes: what a user should know (frames left out, restarts).
    """

    frames_t_s: Array
    node_positions: Array
    quaternions_xyzw: Array
    translations: Array
    stride: int
    recorded: int
    notes: tuple[str, ...] = ()

    @property
    def rotations(self) -> Array:
        """(T, N, 3, 3) float32."""
        return matrix_from_quaternion(self.quaternions_xyzw).astype(np.float32)


class AnimationRecorder:
    """Keeps the node motions of a capture: 28 bytes per node and key frame, never more than `max_frames` of them.

    When it is full, every second key frame is dropped and from then on every second frame is recorded, and so on;
    an hour at 30 Hz with 300 nodes stays below 25 MB. Nodes may be appended between frames; what the graph no
    longer agrees with (fewer nodes, or other canonical positions) was another model, and its frames are dropped.
    """

    def __init__(self, max_frames: int = 3000) -> None:
        if max_frames < 2:
            raise InputError(f"an animation needs at least 2 key frames, got max_frames={max_frames}")
        self._max_frames = max_frames
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self._t_ns: list[int] = []
        self._motions: list[Array] = []  # each (N_f, 7): quaternion xyzw, translation
        self._positions = np.zeros((0, 3), np.float32)
        self._stride = 1
        self._recorded = 0
        self._restarts = 0
        self._skipped_time = 0

    def __len__(self) -> int:
        return len(self._t_ns)

    @property
    def stride(self) -> int:
        return self._stride

    @property
    def nbytes(self) -> int:
        """Bytes held by the recorded motions."""
        return sum(m.nbytes for m in self._motions) + self._positions.nbytes

    def add(self, graph: GraphSnapshot) -> None:
        """Record the motion of one frame. Frames must come in order of time; one that does not is left out.

        Raises:
            InputError: a motion that is not finite, or arrays of different lengths.
        """
        count = len(graph.positions)
        if count == 0:
            return
        if graph.rotations.shape != (count, 3, 3) or graph.translations.shape != (count, 3):
            raise InputError(
                f"graph at {graph.t_ns} ns: {count} nodes need rotations {(count, 3, 3)} and "
                f"translations {(count, 3)}, got {graph.rotations.shape} and {graph.translations.shape}"
            )
        if self._is_other_graph(graph.positions):
            restarts = self._restarts + 1
            self.reset()
            self._restarts = restarts
        if self._t_ns and graph.t_ns <= self._t_ns[-1]:
            self._skipped_time += 1
            return
        due = self._recorded % self._stride == 0
        self._recorded += 1
        if not due:
            return
        if not (np.isfinite(graph.rotations).all() and np.isfinite(graph.translations).all()):
            raise InputError(f"graph at {graph.t_ns} ns: a node's motion is not finite; the frame is left out")
        motion = np.empty((count, 7), np.float32)
        motion[:, :4] = quaternion_from_matrix(graph.rotations)
        motion[:, 4:] = graph.translations
        self._t_ns.append(graph.t_ns)
        self._motions.append(motion)
        if count > len(self._positions):
            self._positions = np.array(graph.positions, np.float32)
        if len(self._t_ns) >= self._max_frames:
            self._t_ns, self._motions = self._t_ns[::2], self._motions[::2]
            self._stride *= 2

    def result(self, parents: Array | None = None) -> Animation:
        """Motion of all nodes at all key frames.

        Before a node was added it follows its parent rigidly: R_i = R_p and v_i + t_i = R_p (v_i - v_p) + v_p + t_p.

        Args:
            parents: (N,) int32, an older node for each node (itself for one of the first frame);
                default: the nearest of the nodes that are older.

        Raises:
            InputError: nothing was recorded, or a parent is not older than its node.
        """
        if not self._motions:
            raise InputError("no motion was recorded: the capture tracked no frame")
        nodes, frames = len(self._positions), len(self._motions)
        counts = np.array([len(m) for m in self._motions])
        if parents is None:
            parents = self._nearest_older(counts)
        parents = np.asarray(parents)
        first = int(counts[0])
        late = np.arange(nodes) >= first
        if parents.shape != (nodes,) or (parents[late] >= np.arange(nodes)[late]).any() or (parents[late] < 0).any():
            raise InputError(
                f"parents must give one older node for each of the {nodes} nodes, of which the first {first} are free"
            )
        quaternions = np.zeros((frames, nodes, 4), np.float32)
        translations = np.zeros((frames, nodes, 3), np.float32)
        for f, motion in enumerate(self._motions):
            quaternions[f, : counts[f]] = motion[:, :4]
            translations[f, : counts[f]] = motion[:, 4:]
        v = self._positions.astype(np.float64)
        for i in range(first, nodes):  # parents come before their children, so one pass is enough
            without = counts <= i
            p = int(parents[i])
            q = quaternions[without, p]
            arm = v[i] - v[p]
            quaternions[without, i] = q
            translations[without, i] = matrix_from_quaternion(q) @ arm - arm + translations[without, p]
        t_ns = np.array(self._t_ns, np.int64)
        return Animation(
            (t_ns - t_ns[0]) * 1e-9, self._positions, quaternions, translations, self._stride, self._recorded,
            self._notes(),
        )  # fmt: skip

    def _is_other_graph(self, positions: Array) -> bool:
        known = len(self._positions)
        if len(positions) < (len(self._motions[-1]) if self._motions else 0):
            return True
        common = min(known, len(positions))
        return common > 0 and not np.allclose(positions[:common], self._positions[:common], rtol=0, atol=1e-6)

    def _nearest_older(self, counts: Array) -> Array:
        """For each node the nearest of the nodes that were there before its batch was added."""
        parents = np.arange(len(self._positions), dtype=np.int32)
        sizes = np.unique(counts)
        for before, after in zip(sizes[:-1], sizes[1:], strict=True):
            tree = KDTree(self._positions[:before])
            parents[before:after] = tree.query(self._positions[before:after])[1]
        return parents

    def _notes(self) -> tuple[str, ...]:
        notes = []
        if self._stride > 1:
            notes.append(
                f"long recording: one of every {self._stride} of {self._recorded} frames became a key frame "
                f"(at most {self._max_frames})"
            )
        if self._restarts:
            notes.append(
                f"the model was started anew {self._restarts} time(s); the animation holds the frames of the last one"
            )
        if self._skipped_time:
            notes.append(f"{self._skipped_time} frame(s) were left out because their time did not increase")
        return tuple(notes)
