"""The motion of a growing deformation graph, recorded in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from bodystream.errors import InputError
from bodystream.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix
from bodystream.types import Array, GraphSnapshot

__all__ = ["Animation", "AnimationRecorder", "motion_of"]


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
    """Keeps the node motions of one model: 28 bytes per node and key frame, never more than `max_frames` of them.

    When it is full, every second key frame is dropped and from then on every second frame is recorded, and so on;
    an hour at 30 Hz with 300 nodes stays below 25 MB. The last frame is always kept. Nodes may be appended between
    frames; fewer nodes or other canonical positions are another model's, which needs a recorder of its own.

    Args:
        max_frames: most key frames that are kept; None = until `thin` is called.
        stride: every so many frames become a key frame from the start.
    """

    def __init__(self, max_frames: int | None = 3000, stride: int = 1) -> None:
        if max_frames is not None and max_frames < 2:
            raise InputError(f"an animation needs at least 2 key frames, got max_frames={max_frames}")
        self._max_frames = max_frames
        self._numbers: list[int] = []
        self._t_ns: list[int] = []
        self._motions: list[Array] = []  # each (N_f, 7): quaternion xyzw, translation
        self._tail: tuple[int, int, Array] | None = None  # the newest frame, where it is no key frame
        self._positions = np.zeros((0, 3), np.float32)
        self._stride = stride
        self._recorded = 0
        self._skipped_time = 0

    def __len__(self) -> int:
        return len(self._t_ns)

    @property
    def stride(self) -> int:
        return self._stride

    @property
    def recorded(self) -> int:
        """Frames that were offered and whose time increased."""
        return self._recorded

    @property
    def node_positions(self) -> Array:
        """(N, 3) float32 canonical positions of the nodes so far [m]."""
        return self._positions

    @property
    def first_t_ns(self) -> int:
        """Of the first key frame."""
        return self._t_ns[0]

    @property
    def nbytes(self) -> int:
        """Bytes held by the recorded motions."""
        tail = 0 if self._tail is None else self._tail[2].nbytes
        return sum(m.nbytes for m in self._motions) + self._positions.nbytes + tail

    def add(self, graph: GraphSnapshot) -> None:
        """Record the motion of one frame. Frames must come in order of time; one that does not is left out.

        Raises:
            InputError: a motion that is not finite, arrays of different lengths, or another model's graph.
        """
        if len(graph.positions) == 0:
            return
        self.add_nodes(graph.positions)
        self.add_motion(self._recorded, graph.t_ns, motion_of(graph))

    def add_nodes(self, positions: Array) -> None:
        """Take up the (N, 3) canonical positions of all nodes [m], of which the first ones are known.

        Raises:
            InputError: they are another model's.
        """
        common = min(len(positions), len(self._positions))
        if common < len(self._positions) or not np.allclose(
            positions[:common], self._positions[:common], rtol=0, atol=1e-6
        ):
            raise InputError(f"{len(positions)} nodes are not those that were recorded: the model was started anew")
        if len(positions) > common:
            self._positions = np.array(positions, np.float32)

    def add_motion(self, number: int, t_ns: int, motion: Array) -> None:
        """Record the motion of nodes that are known.

        Args:
            number: of the frame, by which key frames are chosen.
            motion: (N, 7), each node's quaternion xyzw and translation [m].

        Raises:
            InputError: another shape, or more nodes than are known.
        """
        before = self._tail[2] if self._tail is not None else self._motions[-1] if self._motions else motion[:1]
        if motion.ndim != 2 or motion.shape[1] != 7 or not len(before) <= len(motion) <= len(self._positions):
            raise InputError(f"motion of shape {motion.shape} for {len(self._positions)} nodes")
        if self._t_ns and t_ns <= (self._t_ns[-1] if self._tail is None else self._tail[1]):
            self._skipped_time += 1
            return
        self._recorded += 1
        self._tail = (number, t_ns, motion)
        if number % self._stride and self._t_ns:
            return
        self._keep_tail()
        if self._max_frames is not None and len(self._t_ns) >= self._max_frames:
            self.thin(2 * self._stride)

    def thin(self, stride: int) -> None:
        """Keep only every so many frames, and the first."""
        self._stride = stride
        kept = [i for i, number in enumerate(self._numbers) if number % stride == 0 or i == 0]
        if self._tail is None and kept[-1] != len(self._numbers) - 1:
            self._tail = (self._numbers[-1], self._t_ns[-1], self._motions[-1])
        self._numbers = [self._numbers[i] for i in kept]
        self._t_ns, self._motions = [self._t_ns[i] for i in kept], [self._motions[i] for i in kept]

    def _keep_tail(self) -> None:
        assert self._tail is not None
        number, t_ns, motion = self._tail
        self._numbers.append(number)
        self._t_ns.append(t_ns)
        self._motions.append(motion)
        self._tail = None

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
        tail = [] if self._tail is None else [self._tail]
        motions, times = [*self._motions, *(t[2] for t in tail)], [*self._t_ns, *(t[1] for t in tail)]
        counts = np.array([len(m) for m in motions])
        nodes, frames = int(counts[-1]), len(motions)
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
        for f, motion in enumerate(motions):
            quaternions[f, : counts[f]] = motion[:, :4]
            translations[f, : counts[f]] = motion[:, 4:]
        positions = self._positions[:nodes]
        v = positions.astype(np.float64)
        for i in range(first, nodes):  # parents come before their children, so one pass is enough
            without = counts <= i
            p = int(parents[i])
            q = quaternions[without, p]
            arm = v[i] - v[p]
            quaternions[without, i] = q
            translations[without, i] = matrix_from_quaternion(q) @ arm - arm + translations[without, p]
        t_ns = np.array(times, np.int64)
        return Animation(
            (t_ns - t_ns[0]) * 1e-9, positions, quaternions, translations, self._stride, self._recorded,
            self._notes(),
        )  # fmt: skip

    def _nearest_older(self, counts: Array) -> Array:
        """For each node the nearest of the nodes that were there before its batch was added."""
        parents = np.arange(counts[-1], dtype=np.int32)
        sizes = np.unique(counts)
        for before, after in zip(sizes[:-1], sizes[1:], strict=True):
            tree = KDTree(self._positions[:before])
            parents[before:after] = tree.query(self._positions[before:after])[1]
        return parents

    def _notes(self) -> tuple[str, ...]:
        notes = []
        if self._stride > 1:
            notes.append(f"long recording: one of every {self._stride} of {self._recorded} frames became a key frame")
        if self._skipped_time:
            notes.append(f"{self._skipped_time} frame(s) were left out because their time did not increase")
        return tuple(notes)


def motion_of(graph: GraphSnapshot) -> Array:
    """(N, 7) float32: each node's quaternion xyzw and translation [m].

    Raises:
        InputError: values that are not finite, or arrays of different lengths.
    """
    count = len(graph.positions)
    if graph.rotations.shape != (count, 3, 3) or graph.translations.shape != (count, 3):
        raise InputError(
            f"graph at {graph.t_ns} ns: {count} nodes need rotations {(count, 3, 3)} and "
            f"translations {(count, 3)}, got {graph.rotations.shape} and {graph.translations.shape}"
        )
    if not (np.isfinite(graph.rotations).all() and np.isfinite(graph.translations).all()):
        raise InputError(f"graph at {graph.t_ns} ns: a node's motion is not finite; the frame is left out")
    motion = np.empty((count, 7), np.float32)
    motion[:, :4] = quaternion_from_matrix(graph.rotations)
    motion[:, 4:] = graph.translations
    return motion
