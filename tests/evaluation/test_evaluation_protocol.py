from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy.spatial.transform import Rotation

from bodystream.errors import ConfigurationError, InputError
from bodystream.evaluation.pose.metrics import METRICS
from bodystream.evaluation.pose.protocol import (
    auc,
    evaluate,
    invariance_cm,
    run_estimator,
    samples_of_clip,
)
from bodystream.evaluation.pose.table import as_json, comparison, comparison_table
from bodystream.geometry.skeleton import HEAD, LEFT_HAND, RIGHT_HAND, Skeleton
from bodystream.geometry.tracker_noise import TrackerNoise
from bodystream.sources.motion.selection import excerpts
from bodystream.types import BodyPose, DeviceKind, HeadsetSample
from helpers.evaluation_motions import crouching, motion, standing, walking


class Replay:
    """Knows the clips, and gives their truth with the pelvis shifted."""

    def __init__(self, clips, name="replay", shift_m=(0.0, 0.0, 0.0), rate_hz=60.0):
        self.name = name
        self.resets = 0
        self._clips = iter([clip.resampled(rate_hz) for clip in clips])
        self._shift = np.array(shift_m)

    def reset(self, skeleton: Skeleton) -> None:
        self.resets += 1
        self._clip = next(self._clips)
        self._frame = 0
        assert skeleton is self._clip.skeleton or np.array_equal(skeleton.offsets_m, self._clip.skeleton.offsets_m)

    def step(self, sample: HeadsetSample) -> BodyPose:
        k = self._frame
        self._frame += 1
        return BodyPose(
            sample.t_ns,
            self._clip.rotations_xyzw[k],
            self._clip.root_positions_m[k] + self._shift,
        )


class Batch(Replay):
    """The same through `run`."""

    def run(self, samples):
        return [Replay.step(self, sample) for sample in samples]

    def step(self, sample):
        raise AssertionError("a batch estimator's step must not be called")


class HeadOnly:
    """A T-pose hung on the head's position; turned with the head or, as a flaw, never turned."""

    name = "head_only"

    def __init__(self, turned: bool) -> None:
        self._turned = turned

    def reset(self, skeleton: Skeleton) -> None:
        self._drop = skeleton.rest_positions_m[HEAD]

    def step(self, sample: HeadsetSample) -> BodyPose:
        assert sample.head is not None
        rotations = np.tile([0.0, 0.0, 0.0, 1.0], (22, 1))
        if self._turned:
            rotations[0] = sample.head.rotation_xyzw
        return BodyPose(
            sample.t_ns, rotations, sample.head.position_m - Rotation.from_quat(rotations[0]).apply(self._drop)
        )


def test_samples_are_the_true_joints_at_the_right_times():
    clip = walking(2.0)
    positions, world = clip.joints()
    samples = samples_of_clip(clip)
    assert len(samples) == len(clip) and [sample.index for sample in samples] == list(range(len(clip)))
    assert samples[60].t_ns == 1_000_000_000
    for joint, side in ((HEAD, "head"), (LEFT_HAND, "left"), (RIGHT_HAND, "right")):
        devices = [getattr(sample, side) for sample in samples]
        assert {device.kind for device in devices} == {DeviceKind.JOINT}
        np.testing.assert_array_equal([device.position_m for device in devices], positions[:, joint])
        turned = Rotation.from_quat([device.rotation_xyzw for device in devices]).as_matrix()
        np.testing.assert_allclose(turned, world[:, joint], atol=1e-12)
    assert all(sample.truth is None for sample in samples)


def test_noise_has_the_stated_size_is_seeded_and_wanders():
    clip = standing(120.0)
    noise = TrackerNoise(jitter_m=0.001, jitter_rad=0.0, drift_m=0.004, drift_rad=0.02, drift_time_s=0.5)
    offsets, vectors = noise.draw(200_000, 60.0, np.random.default_rng(0))
    assert offsets.std() == pytest.approx(np.hypot(0.001, 0.004), rel=0.05)
    assert vectors.std() == pytest.approx(0.02, rel=0.05)
    later = (vectors[30:] * vectors[:-30]).mean() / vectors.var()  # after half a second
    assert later == pytest.approx(np.exp(-1.0), abs=0.05)

    def heads(seed):
        return np.array([sample.head.position_m for sample in samples_of_clip(clip, noise, seed)])

    np.testing.assert_array_equal(heads(3), heads(3))
    assert np.abs(heads(3) - heads(4)).max() > 0.001
    with pytest.raises(ConfigurationError, match="positive drift time"):
        TrackerNoise(drift_time_s=0.0)


@pytest.mark.parametrize("kind", [Replay, Batch])
def test_a_known_error_comes_out_and_clips_are_reset(kind):
    clips = [walking(2.0), crouching(1.5)]
    seen = []
    estimator = kind(clips, shift_m=(0.0, 0.05, 0.0))
    result = evaluate(estimator, iter(clips), progress=lambda name, frames: seen.append((name, frames)))
    assert estimator.resets == 2
    assert result.metrics["mpjpe_cm"] == pytest.approx(5.0, abs=1e-4)
    assert result.metrics["mpjre_deg"] == pytest.approx(0.0, abs=1e-4)
    assert [clip.name for clip in result.clips] == ["walking", "crouching"]
    assert seen == [("walking", 121), ("crouching", 212)] and result.frames == 212
    assert result.seconds > 0


def test_clips_come_at_the_rate_that_was_asked_for():
    clip = walking(3.0)
    result = evaluate(Replay([clip], rate_hz=30.0), [clip], rate_hz=30.0)
    assert result.rate_hz == 30.0 and result.clips[0].frames == 91
    assert result.metrics["mpjpe_cm"] == pytest.approx(0.0, abs=1e-4)


def test_short_clips_are_skipped_and_named():
    clips = [standing(0.5), walking(2.0), motion("blink", 0.9, {})]
    result = evaluate(Replay([clips[1]]), clips)
    assert [(clip.name, clip.reason) for clip in result.skipped] == [
        ("standing", "0.50 s long, shorter than 1 s"),
        ("blink", "0.90 s long, shorter than 1 s"),
    ]
    with pytest.raises(InputError, match=r"nothing to evaluate: 1 clips, none of at least 1 s \(standing\)"):
        evaluate(Replay([]), clips[:1])
    with pytest.raises(InputError, match="give other data"):
        evaluate(Replay([]), [])
    with pytest.raises(ConfigurationError, match="rate must be positive"):
        evaluate(Replay([]), clips, rate_hz=0.0)


def test_a_broken_estimate_names_estimator_clip_and_frame():
    class Broken(HeadOnly):
        name = "broken"

        def step(self, sample):
            pose = super().step(sample)
            return replace(pose, root_position_m=pose.root_position_m * np.nan) if sample.index == 7 else pose

    with pytest.raises(InputError, match="estimator broken, clip walking: .*frame 7"):
        evaluate(Broken(turned=True), [walking(1.5)])

    class Short(HeadOnly):
        name = "short"

        def run(self, samples):
            return [self.step(sample) for sample in samples[1:]]

    with pytest.raises(InputError, match="short gave 90 poses for 91 samples"):
        run_estimator(Short(turned=True), walking(1.5).skeleton, samples_of_clip(walking(1.5)))


def test_noise_disturbs_the_samples_and_not_the_truth():
    clips = [walking(2.0)]
    clean = evaluate(HeadOnly(turned=True), clips).metrics
    noisy = evaluate(HeadOnly(turned=True), clips, noise=TrackerNoise()).metrics
    assert clean["head_error_cm"] == pytest.approx(0.0, abs=1e-4)
    assert 0.2 < noisy["head_error_cm"] < 1.5
    perfect = evaluate(Replay(clips), clips, noise=TrackerNoise()).metrics
    assert perfect["mpjpe_cm"] == pytest.approx(0.0, abs=1e-4)


def test_excerpts_keep_the_rate_and_cover_the_clip():
    clip = walking(10.0)
    parts = list(excerpts(clip, 2.0, 4.0))
    assert [len(part) for part in parts] == [120, 120, 120] and {part.rate_hz for part in parts} == {60.0}
    np.testing.assert_array_equal(parts[1].root_positions_m, clip.root_positions_m[240:360])
    assert list(excerpts(standing(1.0), 2.0, 4.0))[0].duration_s == 1.0
    with pytest.raises(ConfigurationError, match="no shorter than it"):
        list(excerpts(clip, 2.0, 1.0))


def test_auc_of_known_scores():
    assert auc(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 1.0
    assert auc(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 0.0
    assert auc(np.ones(5), np.ones(3)) == 0.5
    assert auc(np.array([1.0, 3.0]), np.array([2.0])) == 0.5
    with pytest.raises(InputError, match="2 positive, 0 negative"):
        auc(np.ones(2), np.zeros(0))
    with pytest.raises(InputError, match="nan"):
        auc(np.ones(2), np.array([np.nan]))


scores = st.lists(st.integers(-5, 5), min_size=1, max_size=30)


@settings(max_examples=80, deadline=None)
@given(scores, scores)
def test_auc_is_the_chance_of_the_right_order(positive, negative):
    p, n = np.array(positive, float), np.array(negative, float)
    difference = p[:, None] - n[None]
    want = ((difference > 0) + 0.5 * (difference == 0)).mean()
    assert auc(p, n) == pytest.approx(want, abs=1e-12)
    assert auc(np.exp(p), np.exp(n)) == pytest.approx(want, abs=1e-12)
    assert auc(p, n) + auc(n, p) == pytest.approx(1.0)


def test_invariance_finds_an_estimator_that_knows_where_north_is():
    clip = walking(1.5)
    # Float64 poses: nothing is left but rounding.
    assert invariance_cm(HeadOnly(turned=True), clip) < 1e-9
    # A T-pose that does not turn: each joint misses by twice its distance from the axis through the head.
    arms = clip.skeleton.rest_positions_m - clip.skeleton.rest_positions_m[HEAD]
    want = 2.0 * np.hypot(arms[:, 0], arms[:, 2]).mean() * 100.0
    assert invariance_cm(HeadOnly(turned=False), clip) == pytest.approx(want, rel=1e-6)


@pytest.fixture(scope="module")
def results():
    clips = [walking(2.0), crouching(1.5), standing(0.5)]
    return (
        evaluate(Replay(clips, "flow", (0.01, 0.0, 0.0)), clips),
        [evaluate(Replay(clips, "still_worse", (0.02, 0.0, 0.0)), clips), evaluate(HeadOnly(turned=True), clips)],
    )


def test_json_has_the_figures_by_their_names(results):
    model, baselines = results
    data = json.loads(as_json(model, baselines))
    assert set(data) == {"model", "baselines", "truth", "clips", "skipped", "frames", "rate_hz"}
    assert list(data["baselines"]) == ["still_worse", "head_only"]
    for figures in (data["model"], *data["baselines"].values()):
        assert set(figures) == {*METRICS, "p95", "poses_per_s"} and set(figures["p95"]) == set(METRICS)
    assert data["model"]["mpjpe_cm"] == pytest.approx(1.0, abs=1e-4)
    assert data["baselines"]["still_worse"]["mpjpe_cm"] == pytest.approx(2.0, abs=1e-4)
    assert [clip["name"] for clip in data["clips"]] == ["walking", "crouching"]
    assert data["clips"][0]["model"]["head_error_cm"] == pytest.approx(1.0, abs=1e-4)
    assert data["skipped"][0]["name"] == "standing"
    assert data["truth"]["jitter_km_s3"] > 0 and data["frames"] == 212


def test_json_has_null_where_there_is_nothing_to_average():
    t = np.arange(121) / 60.0
    glide = motion("glide", 2.0, {}, position_m=np.stack([2.0 * t, 0 * t + 1.0, 0 * t], axis=1))
    data = json.loads(as_json(None, [evaluate(Replay([glide]), [glide])]))
    assert data["model"] is None and data["baselines"]["replay"]["foot_skate_cm_s"] is None
    assert data["truth"]["foot_skate_cm_s"] is None


def test_the_table_marks_the_best_and_shows_the_truth(results):
    console = Console(width=200, record=True, force_terminal=True, color_system="truecolor")
    with console.capture() as capture:
        console.print(comparison_table(*results))
    text = capture.get()
    assert "2 clips, 212 frames (0.1 min) at 60 Hz" in text
    assert "flow (model)" in text and "still worse" in text and "truth" in text
    assert "\x1b[1m1.00\x1b[0m" in text and "\x1b[1m2.00\x1b[0m" not in text


@pytest.mark.parametrize("width", [80, 100])
def test_the_table_fits_a_terminal_and_no_figure_is_cut(results, width: int):
    model, baselines = results
    named = [replace(result, estimator="z = 0, no intermediate supervision, network alone") for result in baselines[:1]]
    console = Console(width=width, record=True)
    with console.capture() as capture:
        console.print(comparison_table(model, [*named, *baselines[1:]]))
    lines = capture.get().splitlines()
    assert max(len(line) for line in lines) <= width and "…" not in capture.get()
    for unit in ("[cm]", "[deg]", "[cm/s]", "[km/s3]"):
        assert unit in capture.get(), "a unit is no markup"
    figures = [f"{model.metrics[metric]:.2f}" for metric in METRICS]
    rows = " ".join(line for line in lines if "flow (model)" in line)
    assert [word for word in rows.replace("│", " ").split() if word.lstrip("-")[:1].isdigit()] == figures


def test_results_of_different_clips_are_not_compared(results):
    model, baselines = results
    other = evaluate(Replay([walking(1.2)], "other"), [walking(1.2)])
    with pytest.raises(InputError, match="same clips only: other has 1 clips and 73 frames"):
        comparison(model, [other])
    with pytest.raises(InputError, match="two evaluations are called head_only"):
        comparison(model, [baselines[1], baselines[1]])
    with pytest.raises(InputError, match="at least one evaluation"):
        comparison(None, [])
