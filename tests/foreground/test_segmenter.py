"""Foreground against the exact masks of generated scenes, and against the masks of recordings."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from bodystream.errors import ConfigurationError, InputError
from bodystream.foreground import ForegroundConfig, ForegroundSegmenter
from bodystream.types import Array, CameraIntrinsics, Foreground, RgbdFrame, Status
from helpers.capsule_scene import BOX, CapsuleScene, box, person

CAMERA = CameraIntrinsics(305.0, 305.0, 160.0, 120.0, 320, 240)
KINECT = CameraIntrinsics(525.0, 525.0, 320.0, 240.0, 640, 480)
NEAREST = 1  # label of the first person of a scene


def frame_of(depth_m: Array, index: int = 0, camera: CameraIntrinsics = CAMERA, mask: Array | None = None) -> RgbdFrame:
    return RgbdFrame(index, index, depth_m, camera, mask=mask)


def iou(found: Foreground, truth: Array, depth_m: Array) -> float:
    truth = truth & (depth_m > 0)
    return float((found.mask & truth).sum() / max(1, (found.mask | truth).sum()))


@pytest.mark.parametrize(
    "scene",
    [
        CapsuleScene(CAMERA),
        CapsuleScene(CAMERA, pitch=0.4, camera_height_m=1.9),
        CapsuleScene(CAMERA, roll=0.4),
        CapsuleScene(CAMERA, roll=np.pi / 2),
        CapsuleScene(CAMERA, floor=False),
        CapsuleScene(CAMERA, wall_m=None),
        CapsuleScene(CAMERA, wall_m=2.95),
        CapsuleScene(CAMERA, noise=0.004),
    ],
    ids=["level", "from above", "rolled", "portrait", "no floor", "no wall", "near wall", "noisy"],
)
def test_moving_person_is_cut_out_of_the_room(scene: CapsuleScene) -> None:
    segmenter = ForegroundSegmenter(ForegroundConfig(), CAMERA)
    for i in range(6):
        depth_m, label = scene.render([person((-0.3 + 0.1 * i, 0, 2.7), swing=0.15 * i)], seed=i)
        found = segmenter.step(frame_of(depth_m, i))
        assert found.status is Status.TRACKED, found.reason
        assert iou(found, label == NEAREST, depth_m) > 0.97


def test_feet_are_kept_to_a_few_centimetres_above_the_floor() -> None:
    scene = CapsuleScene(KINECT)
    depth_m, label = scene.render([person((0, 0, 2.6))])
    found = ForegroundSegmenter(ForegroundConfig(), KINECT).step(frame_of(depth_m, camera=KINECT))
    rows, columns = np.nonzero((label == NEAREST) & ~found.mask & (depth_m > 0))
    # height over the floor of every body pixel that was lost
    clean, _ = CapsuleScene(KINECT, noise=0.0).render([person((0, 0, 2.6))])
    z = clean[rows, columns]
    y_down = (rows - KINECT.cy) / KINECT.fy * z
    height = scene.camera_height_m - (y_down * np.cos(scene.pitch) + z * np.sin(scene.pitch))
    lowest = height[rows > 400]
    assert len(lowest) < 200
    assert lowest.size == 0 or lowest.max() < 0.04


def test_planes_are_those_of_the_room() -> None:
    segmenter = ForegroundSegmenter(ForegroundConfig(), CAMERA)
    depth_m, _ = CapsuleScene(CAMERA, noise=0.0015).render([person((0, 0, 2.7))])
    segmenter.step(frame_of(depth_m))
    offsets = sorted(p.offset_m for p in segmenter.planes)
    assert offsets == pytest.approx([1.2, 3.6], abs=0.01)  # camera height, distance of the wall
    floor = min(segmenter.planes, key=lambda p: p.offset_m)
    assert floor.normal == pytest.approx([0, -np.cos(0.15), -np.sin(0.15)], abs=0.01)


def test_followed_person_is_kept_when_another_passes_in_front() -> None:
    scene = CapsuleScene(CAMERA)
    segmenter = ForegroundSegmenter(ForegroundConfig(seed_px=(200, 120)), CAMERA)
    scores = []
    for i in range(24):
        depth_m, label = scene.render([person((-0.9 + 0.08 * i, 0, 2.2)), person((0.35, 0, 3.0))], seed=i)
        found = segmenter.step(frame_of(depth_m, i))
        if found.status is not Status.LOST:
            # however little of the second person is seen, the first is never taken
            assert (found.mask & (label == 1)).sum() < 0.05 * (label == 1).sum()
        scores.append(iou(found, label == 2, depth_m))
    assert min(scores[:8]) > 0.95
    assert scores[-1] > 0.95


def test_nearest_of_two_is_taken_and_stays_taken() -> None:
    scene = CapsuleScene(CAMERA)
    segmenter = ForegroundSegmenter(ForegroundConfig(), CAMERA)
    for i in range(8):
        # the second steps nearer than the first
        depth_m, label = scene.render([person((-0.5, 0, 2.5)), person((0.5, 0, 2.9 - 0.1 * i))], seed=i)
        found = segmenter.step(frame_of(depth_m, i))
        assert iou(found, label == NEAREST, depth_m) > 0.97


def test_person_who_leaves_is_lost_and_found_again() -> None:
    scene = CapsuleScene(CAMERA)
    segmenter = ForegroundSegmenter(ForegroundConfig(hold_frames=3), CAMERA)
    status = []
    for i in range(16):
        people = [] if 4 <= i < 10 else [person((0.0 if i < 4 else 0.8, 0, 2.7))]
        depth_m, label = scene.render(people, seed=i)
        found = segmenter.step(frame_of(depth_m, i))
        status.append(found.status)
        assert found.mask.any() == (found.status is not Status.LOST)
        if found.status is Status.LOST:
            assert found.reason
        else:
            assert iou(found, label == NEAREST, depth_m) > 0.97
    assert status[:4] == [Status.TRACKED] * 4
    assert status[4:10] == [Status.LOST] * 6
    assert status[10:] == [Status.TRACKED] * 6


@pytest.mark.parametrize("away_m", [0.6, -0.7])
def test_person_who_jumps_in_depth_is_found_within_some_frames(away_m: float) -> None:
    scene = CapsuleScene(CAMERA, wall_m=4.5)
    segmenter = ForegroundSegmenter(ForegroundConfig(), CAMERA)
    for i in range(10):
        depth_m, label = scene.render([person((0.0, 0, 2.7 if i < 3 else 2.7 + away_m))], seed=i)
        found = segmenter.step(frame_of(depth_m, i))
    assert found.status is Status.TRACKED and iou(found, label == NEAREST, depth_m) > 0.95


@pytest.mark.parametrize(("gone", "taken"), [(10, False), (40, True)])
def test_what_hides_the_person_is_taken_for_it_only_after_long(gone: int, taken: bool) -> None:
    """A post as large as the person before it: the person is waited for, though for longer than for one who left."""
    scene = CapsuleScene(CAMERA)
    segmenter = ForegroundSegmenter(ForegroundConfig(hold_frames=5), CAMERA)
    post = [box((0.0, 1.2, 1.4), (0.45, 1.1, 0.05))]
    ever = False
    for i in range(3 + gone + 3):
        behind = 3 <= i < 3 + gone
        depth_m, label = scene.render([person((0.0, 0, 2.9))], boxes=post if behind else [], seed=i)
        found = segmenter.step(frame_of(depth_m, i))
        ever |= behind and bool((found.mask & (label == BOX)).any())
    assert ever == taken
    if not taken:
        assert found.status is Status.TRACKED and iou(found, label == NEAREST, depth_m) > 0.95


def test_body_that_runs_together_with_furniture_is_carried_on() -> None:
    scene = CapsuleScene(CAMERA, wall_m=4.5)
    # a cupboard of 1.4 m^2 beside the person: first apart, then touched
    segmenter = ForegroundSegmenter(ForegroundConfig(), CAMERA)
    scores = []
    for i in range(6):
        depth_m, label = scene.render([person((-0.45, 0, 2.6))], seed=i)
        if i >= 3:
            depth_m[30:215, 125:300] = np.where(label[30:215, 125:300] == 0, 2.6, depth_m[30:215, 125:300])
        found = segmenter.step(frame_of(depth_m, i))
        scores.append(iou(found, label == NEAREST, depth_m))
        if i >= 3:
            assert found.status is Status.DEGRADED
            assert "large" in found.reason
    assert min(scores[:3]) > 0.97
    assert min(scores[3:]) > 0.70


@pytest.mark.parametrize("depth", [0.0, 0.1, 9.0])
def test_nothing_in_range_is_lost_with_a_reason(depth: float) -> None:
    found = ForegroundSegmenter(ForegroundConfig(), CAMERA).step(frame_of(np.full((240, 320), depth, np.float32)))
    assert found.status is Status.LOST
    assert "no depth" in found.reason
    assert not found.mask.any()


def test_empty_room_is_lost() -> None:
    depth_m, _ = CapsuleScene(CAMERA).render([])
    found = ForegroundSegmenter(ForegroundConfig(), CAMERA).step(frame_of(depth_m))
    assert found.status is Status.LOST
    assert "body" in found.reason


def test_given_mask_wins_unless_told_otherwise() -> None:
    depth_m, label = CapsuleScene(CAMERA).render([person((0, 0, 2.7))])
    given = np.zeros((240, 320), bool)
    given[10:20, 10:30] = True
    depth_m[12, 12] = 0
    frame = frame_of(depth_m, mask=given)
    assert np.array_equal(ForegroundSegmenter(ForegroundConfig(), CAMERA).step(frame).mask, given & (depth_m > 0))
    assert ForegroundSegmenter(ForegroundConfig(mode="given"), CAMERA).step(frame).mask.sum() == 199
    found = ForegroundSegmenter(ForegroundConfig(use_given_mask=False), CAMERA).step(frame)
    assert iou(found, label == NEAREST, depth_m) > 0.97


def test_mode_given_without_a_mask_is_an_error_and_an_empty_mask_is_lost() -> None:
    depth_m, _ = CapsuleScene(CAMERA).render([person((0, 0, 2.7))])
    segmenter = ForegroundSegmenter(ForegroundConfig(mode="given"), CAMERA)
    with pytest.raises(InputError, match="no mask"):
        segmenter.step(frame_of(depth_m))
    assert segmenter.step(frame_of(depth_m, mask=np.zeros((240, 320), bool))).status is Status.LOST


def test_mode_all_takes_everything_in_range() -> None:
    depth_m, _ = CapsuleScene(CAMERA).render([person((0, 0, 2.7))])
    found = ForegroundSegmenter(ForegroundConfig(mode="all", far_m=3.0), CAMERA).step(frame_of(depth_m))
    assert np.array_equal(found.mask, (depth_m > np.float32(0.25)) & (depth_m < 3.0))


def test_same_frames_give_same_masks_after_reset() -> None:
    scene = CapsuleScene(CAMERA)
    frames = [frame_of(scene.render([person((0.1 * i, 0, 2.7))], seed=i)[0], i) for i in range(3)]
    segmenter = ForegroundSegmenter(ForegroundConfig(), CAMERA)
    first = [segmenter.step(f).mask for f in frames]
    segmenter.reset()
    assert all(np.array_equal(a, segmenter.step(f).mask) for a, f in zip(first, frames, strict=True))


@pytest.mark.parametrize(
    "options",
    [{"mode": "magic"}, {"near_m": 3.0, "far_m": 2.0}, {"min_area_m2": 0.0}, {"hold_frames": -1}, {"jump_m": -1.0}],
)
def test_unusable_options_are_refused(options: dict) -> None:
    with pytest.raises(ConfigurationError):
        ForegroundConfig(**options)


def test_seed_outside_the_image_and_other_sizes_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="seed_px"):
        ForegroundSegmenter(ForegroundConfig(seed_px=(320, 10)), CAMERA)
    with pytest.raises(InputError, match="320x240"):
        ForegroundSegmenter(ForegroundConfig(), CAMERA).step(frame_of(np.ones((480, 640), np.float32), camera=KINECT))


def test_turning_person_without_the_given_masks(shared_data: Path) -> None:
    folder = shared_data / "depth" / "turning_person"
    segmenter = ForegroundSegmenter(ForegroundConfig(use_given_mask=False), KINECT)
    scores = []
    for i in range(0, 100, 4):
        depth_m = cv2.imread(str(folder / f"{i:010d}_depth.png"), cv2.IMREAD_UNCHANGED).astype(np.float32) / 1000
        grey = cv2.imread(str(folder / f"{i:010d}_mask.jpg"), cv2.IMREAD_GRAYSCALE)
        given = np.asarray(grey) > 127
        found = segmenter.step(frame_of(depth_m, i, KINECT))
        assert found.status is Status.TRACKED
        scores.append(iou(found, given, depth_m))
    assert np.mean(scores) > 0.98


@pytest.mark.parametrize("clip", ["a5_s1_t1", "a27_s1_t1", "a25_s1_t1"])
def test_person_who_is_already_cut_out_is_kept_whole(shared_data: Path, clip: str) -> None:
    stored = scipy.io.loadmat(str(shared_data / "depth" / "kinect_actions" / "depth" / f"{clip}_depth.mat"))["d_depth"]
    camera = CameraIntrinsics(285.63, 285.63, 160.0, 120.0, 320, 240)
    segmenter = ForegroundSegmenter(ForegroundConfig(), camera)
    scores = []
    for i in range(stored.shape[2]):
        depth_m = np.ascontiguousarray(stored[:, :, i]).astype(np.float32) / 1000
        found = segmenter.step(frame_of(depth_m, i, camera))
        assert found.status is Status.TRACKED, found.reason
        scores.append(iou(found, depth_m > 0, depth_m))
    assert np.mean(scores) > 0.96
