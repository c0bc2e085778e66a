"""The tracker as a stage: its motion against the synthetic camera's truth, its rules of fit, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import warp as wp

from bodystream.device import DeviceFrame
from bodystream.errors import InputError
from bodystream.geometry.camera import project
from bodystream.tracking import Expected, SolverConfig, Tracked, Tracker, TrackerConfig, Verdict
from bodystream.tracking.judging import Judgement
from bodystream.types import Array, FlowField, RgbdFrame, Status
from helpers.pipeline_frames import DEVICE, frames
from helpers.true_surface import TrueSurface, mask_of

# Both arms are on their way up and the depth is clean, so that what is left is the tracker's error.
FRAMES = frames("limbs", 30, "none")[10:21]
MEAN_LIMIT_M = 0.0055  # mean distance of a material point to where it truly is: 4.4 mm at the end, of 22.6 mm moved


def uploaded(frame: RgbdFrame, mask: Array | None = None) -> DeviceFrame:
    image = DeviceFrame(frame.intrinsics, DEVICE)
    image.upload(frame, mask_of(frame) if mask is None else mask)
    return image


def true_flow(source: RgbdFrame, target: RgbdFrame) -> FlowField:
    """Where the surface point of each pixel of the body is seen in another frame; sure of all of them."""
    assert source.truth is not None and target.truth is not None
    seen = mask_of(source)
    v, u = np.nonzero(seen)
    corners = target.truth.mesh.vertices[source.truth.mesh.faces[source.truth.pixel_face[v, u]]]
    second_third = source.truth.pixel_barycentric[v, u]
    shares = np.concatenate([1 - second_third.sum(axis=1, keepdims=True), second_third], axis=1)
    ends = project(np.einsum("pk,pki->pi", shares, corners), target.intrinsics)
    flow_px = np.zeros((*seen.shape, 2), np.float32)
    flow_px[v, u] = ends - np.stack([u, v], axis=1)
    return FlowField(source.t_ns, target.t_ns, flow_px, seen.astype(np.float32))


class Run:
    """A tracker that was started with the first frame, and the surface that it follows."""

    def __init__(self, mask: Array | None = None, **options: object) -> None:
        self.tracker = Tracker(FRAMES[0].intrinsics, DEVICE, TrackerConfig(**options))  # type: ignore[arg-type]
        self.started = self.tracker.start(uploaded(FRAMES[0], mask))
        self.surface = TrueSurface.of(self.tracker, FRAMES[0])

    def expect(self, frame: RgbdFrame) -> list[Expected]:
        self.surface.anchor(self.tracker)
        return self.tracker.expect(uploaded(frame), self.surface)

    def track(self, frame: RgbdFrame, flows: list[FlowField]) -> Tracked:
        return self.tracker.track(uploaded(frame), flows)

    def step(self, frame: RgbdFrame) -> Tracked:
        """Follow with true flow from every frame that is asked for."""
        return self.track(frame, [true_flow(past.frame, frame) for past in self.expect(frame)])

    def motion(self) -> bytes:
        """Exact bits of the graph's motion."""
        return b"".join(part.tobytes() for part in self.tracker.field.motion())


@pytest.fixture
def runs() -> Iterator[type[Run]]:
    """Makes runs and closes their trackers."""
    made: list[Run] = []

    class Kept(Run):
        def __init__(self, mask: Array | None = None, **options: object) -> None:
            super().__init__(mask, **options)
            made.append(self)

    yield Kept
    for run in made:
        run.tracker.close()


def test_material_points_stay_where_they_belong(runs: type[Run]) -> None:
    run = runs()
    assert (run.started.verdict, run.started.number, run.started.solve) == (Verdict.FUSE, 0, None)
    for number, frame in enumerate(FRAMES[1:], 1):
        tracked = run.step(frame)
        assert (tracked.verdict, tracked.give_up, tracked.number) == (Verdict.FUSE, False, number), tracked.reason
        assert run.surface.error_m(run.tracker, frame).mean() < MEAN_LIMIT_M
    still_m = np.linalg.norm(run.surface.vertices.numpy() - frame.truth.mesh.vertices[run.surface.ids], axis=1)  # type: ignore[union-attr]
    assert run.surface.error_m(run.tracker, frame).mean() < 0.25 * still_m.mean()
    assert run.tracker.frame_count == len(FRAMES)
    snapshot = run.tracker.snapshot(frame.t_ns)
    assert snapshot is not None and snapshot.t_ns == frame.t_ns and snapshot.active.all()
    parts = {"start", "graph", "predict", "match", "solve", "own", "remember"}
    assert set(run.tracker.spans.summary()) == parts


def test_the_guess_is_near_the_flow_to_come(runs: type[Run]) -> None:
    run = runs(keyframe_flow_every=6)
    for frame in FRAMES[1:6]:
        run.step(frame)
    expected = run.expect(FRAMES[6])
    assert [past.frame.index for past in expected] == [FRAMES[5].index, FRAMES[0].index]
    for past in expected:
        assert past.flow_px.shape == (30, 40, 2) and past.flow_px.dtype == np.float32
        assert past.mask is past.reference.mask and past.frame is past.reference.frame
        truth = true_flow(past.frame, FRAMES[6])
        length = np.linalg.norm(truth.flow_px, axis=2)
        moving = length > np.quantile(length[truth.weight > 0], 0.9)
        off = np.linalg.norm(past.flow_px.repeat(8, axis=0).repeat(8, axis=1) - truth.flow_px, axis=2)
        assert off[moving].mean() < 0.35 * length[moving].mean()


def test_keyframes_are_asked_for_in_turn_and_ignored_where_too_little_is_seen(runs: type[Run]) -> None:
    plain, kept = runs(keyframes=0), runs(keyframe_flow_every=2)
    asked = []
    for frame in FRAMES[1:9]:
        plain.step(frame)
        expected = kept.expect(frame)
        asked.append([past.frame.index - FRAMES[0].index for past in expected])
        flows = [true_flow(past.frame, frame) for past in expected]
        kept.track(frame, flows[:1] + [replace(flow, weight=0.3 * flow.weight) for flow in flows[1:]])
        assert kept.motion() == plain.motion(), "flow that is not believed changes nothing"
    assert asked == [[0], [1, 0], [2], [3, 0], [4], [5, 0], [6], [7, 0]]


def test_flow_from_a_keyframe_that_is_seen_counts(runs: type[Run]) -> None:
    plain, kept = runs(keyframes=0), runs(keyframe_flow_every=2)
    for frame in FRAMES[1:3]:
        plain.step(frame)
        kept.step(frame)
    assert kept.motion() != plain.motion()


def scattered(frame: RgbdFrame) -> RgbdFrame:
    """The same outline without a surface in it: the depth of each pixel is another one, and the model fits nowhere."""
    depth_m = np.random.default_rng(0).uniform(3.0, 9.0, frame.depth_m.shape).astype(np.float32)
    return replace(frame, depth_m=np.where(frame.depth_m > 0, depth_m, np.float32(0)))


def lose(run: Run, frame: RgbdFrame) -> Tracked:
    """Show the frame scattered, without any flow to it."""
    flows = [true_flow(past.frame, frame) for past in run.expect(frame)]
    return run.track(scattered(frame), [replace(flow, weight=np.zeros_like(flow.weight)) for flow in flows])


def test_a_frame_half_a_metre_behind_is_solved_from_a_placement(runs: type[Run]) -> None:
    run = runs()
    flows = [true_flow(past.frame, FRAMES[1]) for past in run.expect(FRAMES[1])]
    away = replace(FRAMES[1], depth_m=np.where(FRAMES[1].depth_m > 0, FRAMES[1].depth_m + np.float32(0.5), 0))
    tracked = run.track(away, [replace(flow, weight=np.zeros_like(flow.weight)) for flow in flows])
    assert tracked.verdict is Verdict.FUSE
    assert np.median(run.tracker.field.motion()[1][:, 2]) == pytest.approx(0.5, abs=0.05)


def test_a_frame_of_which_nothing_fits_is_lost(runs: type[Run]) -> None:
    run = runs()
    flows = [true_flow(past.frame, FRAMES[1]) for past in run.expect(FRAMES[1])]
    tracked = run.track(scattered(FRAMES[1]), [replace(flow, weight=np.zeros_like(flow.weight)) for flow in flows])
    assert (tracked.verdict, tracked.reason) == (Verdict.LOST, "100% of the model does not fit the depth")


def test_a_frame_that_the_solver_gives_up_is_lost_for_its_reason(runs: type[Run]) -> None:
    run = runs(solver=replace(SolverConfig.live(), min_matches=100_000))
    tracked = run.step(FRAMES[1])
    assert (tracked.verdict, tracked.status) == (Verdict.LOST, Status.LOST)
    assert tracked.reason == "no cluster of nodes has 100000 matches"
    assert not run.tracker.field.motion()[1].any() and run.tracker.frame_count == 1


def test_a_lost_motion_is_taken_back_and_given_up_after_a_while(runs: type[Run]) -> None:
    run = runs(restart_after=3, poor_fit=0.3, lost_fit=0.3)
    for frame in FRAMES[1:4]:
        run.step(frame)
    before = run.motion()
    results = []
    for number, frame in enumerate(FRAMES[4:10]):
        results.append(run.step(frame) if number == 2 else lose(run, frame))
        if len(results) < 3:
            assert run.motion() == before
    verdicts = [Verdict.LOST] * 2 + [Verdict.FUSE] + [Verdict.LOST] * 3
    assert [tracked.verdict for tracked in results] == verdicts
    assert [tracked.give_up for tracked in results] == [False] * 5 + [True], "a frame that fits counts from new"
    lost = results[0]
    assert lost.status is Status.LOST and "does not fit the depth" in lost.reason and lost.solve is not None
    assert [tracked.number for tracked in results] == [4, 4, 4, 5, 5, 5], "only frames that were kept count"


def test_frames_that_fit_poorly_are_told_and_fused(runs: type[Run]) -> None:
    half = mask_of(FRAMES[0])
    half[half.shape[0] // 2 :] = False
    run = runs(half, poor_fit=1e-6, restart_after=1, stale_fit=1.0)
    count = run.tracker.field.count
    for frame in FRAMES[1:5]:
        before = run.motion()
        tracked = run.step(frame)
        assert (tracked.verdict, tracked.status, tracked.give_up) == (Verdict.FUSE, Status.DEGRADED, False)
        assert "does not fit the depth" in tracked.reason and run.motion() != before
    assert run.tracker.frame_count == 5 and run.tracker.field.count > count


def without_an_arm(frame: RgbdFrame) -> tuple[RgbdFrame, Array]:
    """The wall where the model's arm on the right of the picture was, and the (H, W) mask of the rest."""
    mask, wall = mask_of(frame), 3.4
    columns = np.flatnonzero(mask.any(axis=0))
    gone = np.zeros_like(mask)
    gone[:, columns[0] + int(0.6 * (columns[-1] - columns[0])) :] = True
    return replace(frame, depth_m=np.where(gone, np.float32(wall), frame.depth_m)), mask & ~gone


def test_a_part_that_is_where_the_camera_sees_the_wall_is_told(runs: type[Run]) -> None:
    run = runs()
    for frame in FRAMES[1:5]:
        tracked = run.step(frame)
        assert (tracked.status, run.tracker.judgement.wrong) == (Status.TRACKED, False), tracked.reason
    told = []
    for frame in FRAMES[5:7]:
        changed, mask = without_an_arm(frame)
        expected = run.expect(frame)
        tracked = run.tracker.track(uploaded(changed, mask), [true_flow(past.frame, frame) for past in expected])
        assert tracked.verdict is Verdict.FUSE
        told.append(tracked)
    assert told[-1].status is Status.DEGRADED
    assert told[-1].reason.startswith("a part of the model is probably wrong: ") and "right" in told[-1].reason
    assert run.tracker.judgement.wrong and run.tracker.judgement.through_share > 0.0
    assert run.tracker.through_share > 0.01, "known in each frame, looked at or not"
    run.tracker.reset()
    assert (run.tracker.judgement, run.tracker.through_share) == (Judgement(), 0.0)


def test_a_stale_model_is_to_be_started_anew_from_the_frame(runs: type[Run]) -> None:
    run = runs(stale_fit=1e-6)
    tracked = run.step(FRAMES[1])
    assert (tracked.verdict, tracked.give_up) == (Verdict.RESTART, False)
    run.tracker.reset()
    assert run.tracker.field.count == run.tracker.frame_count == 0 and run.tracker.snapshot(0) is None
    again = run.tracker.start(uploaded(FRAMES[1]))
    assert (again.verdict, again.number, run.tracker.frame_count) == (Verdict.FUSE, 0, 1)
    assert not run.tracker.field.motion()[1].any(), "the frame's pose is the canonical one"


def test_a_model_that_is_to_be_kept_is_never_given_up(runs: type[Run]) -> None:
    run = runs(restart=False, restart_after=1, stale_fit=1e-6, poor_fit=0.3, lost_fit=0.3)
    assert run.step(FRAMES[1]).verdict is Verdict.FUSE
    for frame in FRAMES[2:4]:
        tracked = lose(run, frame)
        assert (tracked.verdict, tracked.give_up) == (Verdict.LOST, False)


def test_no_surface_to_start_from() -> None:
    tracker = Tracker(FRAMES[0].intrinsics, DEVICE)
    try:
        tracked = tracker.start(uploaded(FRAMES[0], np.zeros_like(mask_of(FRAMES[0]))))
        assert (tracked.verdict, tracked.status) == (Verdict.LOST, Status.LOST)
        assert "no connected surface" in tracked.reason and tracker.frame_count == tracker.field.count == 0
    finally:
        tracker.close()
        tracker.close()


def test_a_frame_that_never_came_leaves_no_trace(runs: type[Run]) -> None:
    disturbed, plain = runs(keyframes=0), runs(keyframes=0)
    for run in (disturbed, plain):
        run.step(FRAMES[1])
        run.step(FRAMES[2])
    disturbed.expect(FRAMES[3])
    for run in (disturbed, plain):
        run.step(FRAMES[4])
    assert disturbed.motion() == plain.motion()


def other_size(flow: FlowField) -> FlowField:
    return replace(flow, flow_px=flow.flow_px[::2, ::2], weight=flow.weight[::2, ::2])


def other_size_on_device(flow: FlowField) -> FlowField:
    return replace(flow, flow_px=wp.zeros((120, 160), dtype=wp.vec2, device=DEVICE))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda flows: [other_size(flows[0])], r"must have shape \(240, 320, 2\).*got \(120, 160, 2\)"),
        (lambda flows: [other_size_on_device(flows[0])], r"must have shape \(240, 320\).*got \(120, 160\)"),
        (lambda flows: [replace(flows[0], weight=flows[0].weight[:-1])], r"its weight \(240, 320\).*\(239, 320\)"),
        (lambda flows: [replace(flows[0], cell_px=2)], r"squares of 2 px must have shape \(120, 160, 2\)"),
        (lambda flows: [replace(flows[0], cell_px=0)], "squares of at least 1 px, got 0"),
        (lambda flows: [replace(flows[0], source_t_ns=17)], "got one from 17 to"),
        (lambda flows: [replace(flows[0], target_t_ns=17)], "to 17 ns"),
        (lambda flows: [], "got 0 flows for 1 references"),
        (lambda flows: flows * 2, "got 2 flows for 1 references"),
    ],
    ids=["size", "size on device", "weight", "squares", "no squares", "source", "target", "none", "two"],
)
def test_flow_of_other_frames_or_size_is_refused(
    runs: type[Run], change: Callable[[list[FlowField]], list[FlowField]], message: str
) -> None:
    refused, plain = runs(), runs()
    flows = [true_flow(past.frame, FRAMES[1]) for past in refused.expect(FRAMES[1])]
    with pytest.raises(InputError, match=message):
        refused.track(FRAMES[1], change(flows))
    assert refused.track(FRAMES[1], flows).verdict is Verdict.FUSE, "what was expected may still come"
    plain.step(FRAMES[1])
    assert refused.motion() == plain.motion()


def test_frames_that_were_not_expected_are_refused(runs: type[Run]) -> None:
    run = runs()
    flows = [true_flow(FRAMES[0], FRAMES[1])]
    with pytest.raises(InputError, match="was not expected: call expect"):
        run.track(FRAMES[1], flows)
    run.expect(FRAMES[1])
    with pytest.raises(InputError, match=f"is of {FRAMES[2].t_ns} ns, expected was one of {FRAMES[1].t_ns} ns"):
        run.track(FRAMES[2], flows)
    run.tracker.reset()
    with pytest.raises(InputError, match="no model to follow: call start"):
        run.expect(FRAMES[3])


def test_frames_of_another_camera_are_refused(runs: type[Run]) -> None:
    run, frame = runs(), FRAMES[1]
    flows = [true_flow(FRAMES[0], frame)]
    run.expect(frame)
    zoomed = uploaded(replace(frame, intrinsics=replace(frame.intrinsics, fx=300.0)))
    for call in (lambda image: run.tracker.track(image, flows), run.tracker.start):
        with pytest.raises(InputError, match="made for a camera of 320x240.*got one of.*fx=300"):
            call(zoomed)
    assert run.tracker.frame_count == 1 and run.track(frame, flows).verdict is Verdict.FUSE


def test_flow_that_is_on_the_device_gives_the_same_motion(runs: type[Run]) -> None:
    host, device = runs(keyframe_flow_every=2), runs(keyframe_flow_every=2)
    followed = 0
    for frame in FRAMES[1:5]:
        host.step(frame)
        flows = [true_flow(past.frame, frame) for past in device.expect(frame)]
        followed += len(flows)
        device.track(frame, [
            replace(flow, flow_px=wp.array(flow.flow_px, dtype=wp.vec2, device=DEVICE),
                    weight=wp.array(flow.weight, dtype=float, device=DEVICE)) for flow in flows
        ])  # fmt: skip
    assert followed > 4 and host.motion() == device.motion()


def test_a_step_keeps_its_buffers(runs: type[Run]) -> None:
    """The second half of a run grows nothing that the first half has not."""
    run = runs()
    for frame in FRAMES[1:6]:
        run.step(frame)
    grown = run.tracker.growth_count
    for frame in FRAMES[6:]:
        run.step(frame)
    assert run.tracker.growth_count == grown
