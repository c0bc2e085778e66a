from __future__ import annotations

import numpy as np
import pytest

from bodystream.errors import InputError
from bodystream.sinks import AnimationRecorder
from helpers.sink_shapes import graph_of, motion, snapshot, tube, warp


def test_motion_comes_back() -> None:
    v, _, _ = graph_of(tube(), 20)
    rotations, translations = motion(v, 30)
    recorder = AnimationRecorder()
    for i in range(30):
        recorder.add(snapshot(10**9 + i * 33_000_000, v, rotations[i], translations[i]))
    result = recorder.result()
    assert np.allclose(result.frames_t_s, np.arange(30) * 0.033, atol=1e-9)
    assert np.abs(result.rotations - rotations).max() < 1e-6
    assert np.abs(result.translations - translations).max() < 1e-7
    assert result.stride == 1 and result.recorded == 30 and result.notes == ()


@pytest.mark.parametrize("given", [True, False])
def test_a_late_node_follows_its_parent_rigidly_before(given: bool) -> None:
    v, _, _ = graph_of(tube(), 12)
    rotations, translations = motion(v, 9)
    sizes = [5, 5, 5, 8, 8, 8, 12, 12, 12]
    recorder = AnimationRecorder()
    for i, n in enumerate(sizes):
        recorder.add(snapshot(i * 10, v[:n], rotations[i, :n], translations[i, :n]))
    if given:
        parents = np.array([0, 1, 2, 3, 4, 1, 5, 6, 7, 2, 9, 10], np.int32)  # chains: 7 -> 6 -> 5 -> 1
        result = recorder.result(parents)
    else:
        result = recorder.result()
        parents = np.arange(12)
        for begin, end in ((5, 8), (8, 12)):
            for i in range(begin, end):
                parents[i] = np.argmin(np.linalg.norm(v[:begin] - v[i], axis=1))
    for f, n in enumerate(sizes):
        assert np.abs(result.rotations[f, :n] - rotations[f, :n]).max() < 1e-6
        for i in range(n, 12):
            root = i
            while root >= n:  # the oldest ancestor that was there moves them all as one body
                root = int(parents[root])
            one, w = np.array([[root]]), np.ones((1, 1))
            moved = warp(v[i][None], one, w, v, rotations[f], translations[f])[0]
            assert np.abs(v[i] + result.translations[f, i] - moved).max() < 1e-5
            assert np.abs(result.rotations[f, i] - rotations[f, root]).max() < 1e-6


def test_memory_is_bounded_and_time_stays_even() -> None:
    v, _, _ = graph_of(tube(), 10)
    rotations, translations = motion(v, 2)
    recorder = AnimationRecorder(max_frames=64)
    sizes = []
    for i in range(1000):
        recorder.add(snapshot(i * 1000, v, rotations[i % 2], translations[1] * i))
        sizes.append(recorder.nbytes)
    assert max(sizes) <= 65 * 10 * 28 + v.nbytes  # and the last frame
    result = recorder.result()
    assert 32 <= len(result.frames_t_s) <= 65
    assert result.stride == 16 and "one of every 16 of 1000 frames" in result.notes[0]
    steps = np.diff(result.frames_t_s)
    assert np.allclose(steps[:-1], 16e-6) and result.frames_t_s[-1] == pytest.approx(999e-6)
    index = np.round(result.frames_t_s * 1e6).astype(int)
    assert np.allclose(result.translations, translations[1][None] * index[:, None, None], rtol=1e-6)


def test_another_model_needs_a_recorder_of_its_own() -> None:
    v, _, _ = graph_of(tube(), 20)
    rotations, translations = motion(v, 10)
    recorder = AnimationRecorder()
    for i in range(5):
        recorder.add(snapshot(i, v, rotations[i], translations[i]))
    for positions in (v[:10], v + 0.01):
        n = len(positions)
        with pytest.raises(InputError, match="started anew"):
            recorder.add(snapshot(9, positions, rotations[9, :n], translations[9, :n]))
    assert len(recorder.result().frames_t_s) == 5


def test_the_last_frame_is_kept_whatever_its_number() -> None:
    v, _, _ = graph_of(tube(), 10)
    rotations, translations = motion(v, 30)
    recorder = AnimationRecorder(max_frames=8)
    for i in range(30):
        recorder.add(snapshot(i * 10, v, rotations[i], translations[i]))
        result = recorder.result()
        assert result.frames_t_s[-1] == pytest.approx(i * 1e-8) and result.frames_t_s[0] == 0
        assert np.abs(result.rotations[-1] - rotations[i]).max() < 1e-6
        assert len(result.frames_t_s) <= 9


def test_frames_that_cannot_be_used() -> None:
    v, _, _ = graph_of(tube(), 10)
    rotations, translations = motion(v, 3)
    recorder = AnimationRecorder()
    with pytest.raises(InputError, match="no motion was recorded"):
        recorder.result()
    recorder.add(snapshot(5, v, rotations[0], translations[0]))
    recorder.add(snapshot(5, v, rotations[1], translations[1]))
    with pytest.raises(InputError, match="not finite"):
        recorder.add(snapshot(6, v, rotations[2] * np.nan, translations[2]))
    with pytest.raises(InputError, match="need rotations"):
        recorder.add(snapshot(7, v, rotations[2, :4], translations[2]))
    result = recorder.result()
    assert len(result.frames_t_s) == 1 and "1 frame(s) were left out" in result.notes[0]


def test_parents_must_be_older() -> None:
    v, _, _ = graph_of(tube(), 10)
    rotations, translations = motion(v, 2)
    recorder = AnimationRecorder()
    recorder.add(snapshot(0, v[:8], rotations[0, :8], translations[0, :8]))
    recorder.add(snapshot(1, v, rotations[1], translations[1]))
    for bad in ([0] * 8 + [9, 0], [0] * 8 + [-1, 0], [0] * 9):
        with pytest.raises(InputError, match="one older node"):
            recorder.result(np.array(bad, np.int32))
