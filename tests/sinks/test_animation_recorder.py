"""The recorder of motions: what comes back, in bounded memory, of graphs that grow and of skeletons."""

from __future__ import annotations

import numpy as np
import pytest

from bodystream.errors import InputError
from bodystream.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix
from bodystream.sinks import Animation, AnimationRecorder
from bodystream.types import Array
from helpers.sink_shapes import graph_of, motion, tube, warp


def add(recorder: AnimationRecorder, t_ns: int, v: Array, rotations: Array, translations: Array) -> None:
    """A graph's motion, as it is read from a journal."""
    recorder.take_up(v)
    recorder.add(t_ns, quaternion_from_matrix(rotations), translations)


def rotations_of(result: Animation) -> Array:
    return matrix_from_quaternion(result.rotations_xyzw)


def seconds(result: Animation) -> Array:
    return (result.t_ns - result.t_ns[0]) * 1e-9


def test_motion_comes_back() -> None:
    v, _, _ = graph_of(tube(), 20)
    rotations, translations = motion(v, 30)
    recorder = AnimationRecorder()
    for i in range(30):
        add(recorder, 10**9 + i * 33_000_000, v, rotations[i], translations[i])
    result = recorder.result()
    assert np.array_equal(result.t_ns, 10**9 + np.arange(30) * 33_000_000)
    assert np.abs(rotations_of(result) - rotations).max() < 1e-6
    assert np.abs(result.positions_m - (v + translations.astype(np.float64))).max() < 1e-9
    assert result.stride == 1 and recorder.recorded == 30 and recorder.skipped == 0


def test_a_late_node_follows_the_nearest_older_one_rigidly_before() -> None:
    v, _, _ = graph_of(tube(), 12)
    rotations, translations = motion(v, 9)
    sizes = [5, 5, 5, 8, 8, 8, 12, 12, 12]
    recorder = AnimationRecorder()
    for i, n in enumerate(sizes):
        add(recorder, i * 10, v[:n], rotations[i, :n], translations[i, :n])
    result = recorder.result()
    parents = np.arange(12)
    for begin, end in ((5, 8), (8, 12)):
        for i in range(begin, end):
            parents[i] = np.argmin(np.linalg.norm(v[:begin] - v[i], axis=1))
    for f, n in enumerate(sizes):
        assert np.abs(rotations_of(result)[f, :n] - rotations[f, :n]).max() < 1e-6
        for i in range(n, 12):
            root = i
            while root >= n:  # the oldest ancestor that was there moves them all as one body
                root = int(parents[root])
            one, w = np.array([[root]]), np.ones((1, 1))
            moved = warp(v[i][None], one, w, v, rotations[f], translations[f])[0]
            assert np.abs(result.positions_m[f, i] - moved).max() < 1e-5
            assert np.abs(rotations_of(result)[f, i] - rotations[f, root]).max() < 1e-6


def test_memory_is_bounded_and_time_stays_even() -> None:
    v, _, _ = graph_of(tube(), 10)
    rotations, translations = motion(v, 2)
    recorder = AnimationRecorder(max_frames=64)
    sizes = []
    for i in range(1000):
        add(recorder, i * 1000, v, rotations[i % 2], translations[1] * i)
        sizes.append(recorder.nbytes)
    assert max(sizes) <= 65 * 10 * 28 + v.nbytes  # and the last frame
    result = recorder.result()
    assert 32 <= len(result.t_ns) <= 65 and recorder.recorded == 1000
    assert result.stride == recorder.stride == 16
    steps = np.diff(result.t_ns)
    assert (steps[:-1] == 16_000).all() and result.t_ns[-1] == 999_000
    index = result.t_ns // 1000
    assert np.allclose(result.positions_m - v, translations[1][None] * index[:, None, None], rtol=1e-6)


def test_another_model_needs_a_recorder_of_its_own() -> None:
    v, _, _ = graph_of(tube(), 20)
    rotations, translations = motion(v, 10)
    recorder = AnimationRecorder()
    for i in range(5):
        add(recorder, i, v, rotations[i], translations[i])
    for positions in (v[:10], v + 0.01):
        n = len(positions)
        with pytest.raises(InputError, match="started anew"):
            add(recorder, 9, positions, rotations[9, :n], translations[9, :n])
    assert len(recorder.result().t_ns) == 5


def test_the_last_frame_is_kept_whatever_its_number() -> None:
    v, _, _ = graph_of(tube(), 10)
    rotations, translations = motion(v, 30)
    recorder = AnimationRecorder(max_frames=8)
    for i in range(30):
        add(recorder, i * 10, v, rotations[i], translations[i])
        result = recorder.result()
        assert result.t_ns[-1] == i * 10 and result.t_ns[0] == 0
        assert np.abs(rotations_of(result)[-1] - rotations[i]).max() < 1e-6
        assert len(result.t_ns) <= 9


def test_frames_that_cannot_be_used() -> None:
    v, _, _ = graph_of(tube(), 10)
    rotations, translations = motion(v, 3)
    quaternions = quaternion_from_matrix(rotations)
    recorder = AnimationRecorder(v)
    with pytest.raises(InputError, match="no motion was recorded"):
        recorder.result()
    with pytest.raises(InputError, match="at least 2 key frames"):
        AnimationRecorder(v, max_frames=1)
    recorder.add(5, quaternions[0], translations[0])
    recorder.add(5, quaternions[1], translations[1])  # its time stands still
    recorder.add(6, quaternions[2] * np.nan, translations[2])
    recorder.add(6, quaternions[2], translations[2] * np.inf)
    recorder.add(6, quaternions[2] * 0, translations[2])
    assert (recorder.recorded, recorder.skipped) == (1, 4)
    for turned, moved in ((quaternions[2, :4], translations[2]), (quaternions[2, :4], translations[2, :4])):
        with pytest.raises(InputError, match="for 10 free bones"):
            recorder.add(7, turned, moved)
    more = np.concatenate([v, v])
    with pytest.raises(InputError, match="for 10 free bones"):
        recorder.add(7, np.tile(quaternions[2], (2, 1)), more)
    assert recorder.result().t_ns.tolist() == [5]


def test_a_skeleton_has_one_bone_without_a_parent() -> None:
    rng = np.random.default_rng(4)
    turned, roots = rng.normal(size=(6, 22, 4)).astype(np.float32), rng.normal(size=(6, 1, 3)).astype(np.float32)
    recorder = AnimationRecorder(np.zeros((1, 3)))
    for i in range(6):
        recorder.add(i, turned[i], roots[i])
    result = recorder.result()
    np.testing.assert_array_equal(result.rotations_xyzw, turned)
    np.testing.assert_array_equal(result.positions_m, roots)
