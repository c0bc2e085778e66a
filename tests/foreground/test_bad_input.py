"""Foreground where the input is bad: masks that end, people who touch, a camera that shakes, a floor everywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bodystream.errors import InputError
from bodystream.foreground import ForegroundConfig, ForegroundSegmenter
from bodystream.types import Array, CameraIntrinsics, Foreground, RgbdFrame, Status
from helpers.capsule_scene import CapsuleScene, person

CAMERA = CameraIntrinsics(305.0, 305.0, 160.0, 120.0, 320, 240)
FOUND = ForegroundConfig(use_given_mask=False)


def iou(mask: Array, truth: Array) -> float:
    return float((mask & truth).sum() / max(1, (mask | truth).sum()))


def masked_frames(count: int, given: range, whole: bool = True) -> list[tuple[RgbdFrame, Array]]:
    """A person who walks aside, with the true masks of some frames; only the trunk's where not `whole`."""
    made = []
    for index in range(count):
        depth_m, label = CapsuleScene(CAMERA).render([person((-0.2 + 0.03 * index, 0, 2.7))], seed=index)
        truth = (label == 1) & (depth_m > 0)
        if not whole:
            truth[:90] = False
        frame = RgbdFrame(index, index, depth_m, CAMERA, mask=truth if index in given else None, name=f"f{index}")
        made.append((frame, truth))
    return made


def test_masks_that_end_are_told_and_the_person_is_followed_from_the_last_one() -> None:
    segmenter = ForegroundSegmenter(ForegroundConfig(), CAMERA)
    for frame, truth in masked_frames(12, given=range(5)):
        found = segmenter.step(frame)
        assert iou(found.mask, truth) > 0.95, frame.label
        if frame.index < 5:
            assert found.status is Status.TRACKED and segmenter.masks_ended == ""
        else:
            assert found.status is Status.DEGRADED and "no mask, unlike those before" in found.reason
            assert segmenter.masks_ended == "f4"


def test_masks_that_come_back_count_again() -> None:
    segmenter = ForegroundSegmenter(ForegroundConfig(), CAMERA)
    frames = masked_frames(6, given=range(2))[:4] + masked_frames(6, given=range(4, 6))[4:]
    status = [segmenter.step(frame).status for frame, _ in frames]
    assert status == [Status.TRACKED] * 2 + [Status.DEGRADED] * 2 + [Status.TRACKED] * 2
    assert segmenter.masks_ended == ""


def test_who_was_masked_is_followed_and_not_the_nearer_one() -> None:
    segmenter = ForegroundSegmenter(ForegroundConfig(), CAMERA)
    for index in range(8):
        people = [person((-0.5, 0, 2.2)), person((0.4 + 0.02 * index, 0, 2.9))]
        depth_m, label = CapsuleScene(CAMERA).render(people, seed=index)
        truth = (label == 2) & (depth_m > 0)
        found = segmenter.step(RgbdFrame(index, index, depth_m, CAMERA, mask=truth if index < 3 else None))
        assert iou(found.mask, truth) > 0.95


def test_a_mask_of_a_part_is_carried_on_as_that_part() -> None:
    """Head and shoulders are not in the masks: they do not come in with the first frame that has none."""
    segmenter = ForegroundSegmenter(ForegroundConfig(), CAMERA)
    for frame, truth in masked_frames(12, given=range(4), whole=False):
        found = segmenter.step(frame)
        assert iou(found.mask, truth) > 0.85, frame.label


def test_given_masks_that_end_leave_the_frame_lost() -> None:
    segmenter = ForegroundSegmenter(ForegroundConfig(mode="given"), CAMERA)
    for frame, _ in masked_frames(6, given=range(3)):
        found = segmenter.step(frame)
        if frame.index < 3:
            assert found.status is Status.TRACKED
        else:
            assert found.status is Status.LOST and "no mask" in found.reason and not found.mask.any()
    assert segmenter.masks_ended == "f2"
    segmenter.reset()
    with pytest.raises(InputError, match="no mask"):
        segmenter.step(masked_frames(1, given=range(0))[0][0])


def test_a_person_who_is_gone_when_the_masks_end_is_lost_with_both_reasons() -> None:
    segmenter = ForegroundSegmenter(ForegroundConfig(), CAMERA)
    for frame, _ in masked_frames(2, given=range(2)):
        segmenter.step(frame)
    depth_m, _ = CapsuleScene(CAMERA).render([])
    found = segmenter.step(RgbdFrame(2, 2, depth_m, CAMERA))
    assert found.status is Status.LOST
    assert "no mask, unlike those before, and nothing of the body's size" in found.reason


def two_people(places: Callable[[int], tuple[Array, Array]], count: int) -> list[tuple[Foreground, Array, Array]]:
    segmenter = ForegroundSegmenter(FOUND, CAMERA)
    found = []
    for index in range(count):
        depth_m, label = CapsuleScene(CAMERA).render(list(places(index)), seed=index)
        result = segmenter.step(RgbdFrame(index, index, depth_m, CAMERA))
        found.append((result, (label == 1) & (depth_m > 0), (label == 2) & (depth_m > 0)))
    return found


@pytest.mark.parametrize(
    ("gap", "swing", "drift"),
    [(lambda i: 0.55 + 0.06 * abs(i - 9), 0.0, 0.0), (lambda i: 0.75 + 0.1 * max(0, abs(i - 9) - 3), 0.6, 0.03)],
    ids=["shoulder to shoulder", "hand in hand, walking"],
)
def test_of_two_people_who_touch_the_followed_one_stays(
    gap: Callable[[int], float], swing: float, drift: float
) -> None:
    def places(index: int) -> tuple[Array, Array]:
        middle = drift * (index - 9)
        left, right = middle - gap(index) / 2, middle + gap(index) / 2
        return person((left, 0, 2.6), swing=swing), person((right, 0, 2.64), swing=swing)

    found = two_people(places, 19)
    assert Status.DEGRADED in [result.status for result, _, _ in found], "they did touch"
    for result, own, other in found:
        assert result.status is not Status.LOST
        assert result.reason == "" or "touches something large" in result.reason
        assert iou(result.mask, own) > 0.9 and (result.mask & other).sum() < 0.07 * other.sum()
    last, own, _ = found[-1]
    assert last.status is Status.TRACKED and iou(last.mask, own) > 0.97


def test_a_camera_that_shakes_keeps_planes_and_person() -> None:
    segmenter = ForegroundSegmenter(FOUND, CAMERA)
    rng = np.random.default_rng(3)
    for index in range(14):
        shake = rng.normal(0, 1, 5)
        scene = CapsuleScene(
            CAMERA,
            camera_height_m=1.2 + 0.02 * shake[0],
            pitch=0.2 + 0.02 * shake[1],
            roll=0.02 * shake[2],
            wall_m=3.6 + 0.02 * shake[3],
        )
        depth_m, label = scene.render([person((0.02 * shake[4], 0, 2.7), swing=0.05 * index)], seed=index)
        found = segmenter.step(RgbdFrame(index, index, depth_m, CAMERA))
        assert found.status is Status.TRACKED, found.reason
        assert iou(found.mask, (label == 1) & (depth_m > 0)) > 0.95
        offsets = sorted(p.offset_m for p in segmenter.planes)
        assert offsets == pytest.approx([scene.camera_height_m, scene.wall_m], abs=0.02)


@pytest.mark.parametrize("pitch_deg", [0, 15, 30, 45])
def test_on_a_floor_that_is_half_the_picture_the_feet_stay_on(pitch_deg: int) -> None:
    pitch = np.radians(pitch_deg)
    away = 2.4 if pitch_deg < 40 else 1.9
    height = 1.0 + away * np.tan(pitch)
    scene = CapsuleScene(CAMERA, camera_height_m=min(2.5, height), pitch=pitch, wall_m=None if pitch_deg else 4.0)
    segmenter = ForegroundSegmenter(FOUND, CAMERA)
    for index in range(4):
        depth_m, label = scene.render([person((0, 0, away), swing=0.1 * index)], seed=index)
        truth = (label == 1) & (depth_m > 0)
        found = segmenter.step(RgbdFrame(index, index, depth_m, CAMERA))
        assert found.status is Status.TRACKED, found.reason
        assert iou(found.mask, truth) > 0.95
        assert (found.mask & (label == 0)).sum() < 0.02 * truth.sum(), "floor"
        clean, _ = replace(scene, noise=0.0).render([person((0, 0, away), swing=0.1 * index)])
        # How high over the floor each pixel of the body is: what is higher than 2 cm stays.
        rows = np.arange(CAMERA.height)[:, None]
        above = scene.camera_height_m - clean * ((rows - CAMERA.cy) / CAMERA.fy * np.cos(pitch) + np.sin(pitch))
        feet = truth & (above > 0.02) & (above < 0.12)
        assert (found.mask & feet).sum() > 0.95 * feet.sum(), (found.mask & feet).sum() / feet.sum()
