"""Things from 10 cm on that a seed names: hanging, on floor and table, in a hand, gone and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from bodystream.errors import ConfigurationError
from bodystream.foreground import ForegroundConfig, ForegroundSegmenter
from bodystream.types import Array, CameraIntrinsics, Foreground, RgbdFrame, Status
from helpers.capsule_scene import BOX, CapsuleScene, box, person

CAMERA = CameraIntrinsics(400.0, 400.0, 240.0, 180.0, 480, 360)
SIZE_M = 0.10


def pixel_of(scene: CapsuleScene, point: Sequence[float]) -> tuple[int, int]:
    """Where a point of the room is in the picture; for a camera without roll."""
    c, s = np.cos(scene.pitch), np.sin(scene.pitch)
    down, ahead = scene.camera_height_m - point[1], point[2]
    y, z = c * down - s * ahead, s * down + c * ahead
    k = scene.intrinsics
    return round(k.fx * point[0] / z + k.cx), round(k.fy * y / z + k.cy)


def follow(
    scene: CapsuleScene,
    place: Callable[[int], tuple[float, float, float] | None],
    beside: Callable[[int], tuple[list[Array], list[Array]]] = lambda index: ([], []),
    count: int = 6,
    **options: float,
) -> list[tuple[Foreground, float]]:
    """What is found of a cube, with its overlap with the truth; `beside` gives people and other boxes."""
    start = place(0)
    assert start is not None
    config = ForegroundConfig(use_given_mask=False, seed_px=pixel_of(scene, start), **options)  # type: ignore[arg-type]
    segmenter = ForegroundSegmenter(config, scene.intrinsics)
    found = []
    for index in range(count):
        at, (people, others) = place(index), beside(index)
        cube = [box((0, -9, 0), (0.1,) * 3) if at is None else box(at, (SIZE_M,) * 3, yaw=0.05 * index)]
        depth_m, label = scene.render(people, boxes=[*cube, *others], seed=index)
        result = segmenter.step(RgbdFrame(index, index, depth_m, scene.intrinsics))
        truth = (label == BOX) & (depth_m > 0)
        found.append((result, float((result.mask & truth).sum() / max(1, (result.mask | truth).sum()))))
    return found


def table(height_m: float = 0.72, away_m: float = 1.5) -> list[Array]:
    return [box((0, height_m - 0.02, away_m), (1.0, 0.04, 0.6))]


@pytest.mark.parametrize(
    ("scene", "start", "others"),
    [
        (CapsuleScene(CAMERA), (-0.1, 1.2, 1.5), []),
        (CapsuleScene(CAMERA), (-0.1, 1.2, 2.8), []),
        (CapsuleScene(CAMERA, pitch=0.5), (-0.1, 0.05, 1.7), []),
        (CapsuleScene(CAMERA, pitch=0.35), (-0.1, 0.77, 1.5), table()),
        (CapsuleScene(CAMERA, pitch=0.6, camera_height_m=1.5), (-0.1, 0.77, 1.4), table()),
    ],
    ids=["hanging", "hanging far off", "floor", "table", "table from above"],
)
def test_a_cube_of_10_cm_is_followed(scene: CapsuleScene, start: tuple, others: list[Array]) -> None:
    found = follow(scene, lambda i: (start[0] + 0.01 * i, *start[1:]), lambda i: ([], others))
    for result, overlap in found:
        assert result.status is Status.TRACKED, result.reason
        assert overlap > 0.8, "but for the lowest centimetre"


def held(
    reach: Callable[[int], float], away: Callable[[int], float]
) -> Callable[[int], tuple[list[Array], list[Array]]]:
    """A person at 2.2 m whose hand is at x = `reach` and z = `away`."""

    def beside(index: int) -> tuple[list[Array], list[Array]]:
        x, z = reach(index), away(index)
        arm = np.array([[0.2, 1.4, 2.2, 0.3, 1.2, 1.95, 0.045], [0.3, 1.2, 1.95, x, 1.1, z, 0.04]])
        return [np.concatenate([person((0, 0, 2.2))[:-1], arm])], []

    return beside


def test_a_cube_in_a_hand_is_followed_without_the_hand_where_its_size_is_told() -> None:
    def place(index: int) -> tuple[float, float, float]:
        return (0.35 + 0.01 * index, 1.1, 1.6)

    beside = held(lambda i: 0.35 + 0.01 * i, lambda i: 1.68)
    found = follow(CapsuleScene(CAMERA), place, beside, count=9, seed_extent_m=0.12)
    for result, overlap in found:
        assert result.status is Status.TRACKED, result.reason
        assert overlap > 0.85
    # Without a size, what hangs together with the seed is followed.
    whole = follow(CapsuleScene(CAMERA), place, beside, count=2)
    assert all(r.status is Status.TRACKED and r.mask.sum() > 1.3 * found[0][0].mask.sum() for r, _ in whole)


def test_a_cube_that_a_hand_takes_stays_the_cube() -> None:
    beside = held(lambda i: 0.35 + 0.01 * max(0, i - 6), lambda i: 1.68 + 0.02 * max(0, 6 - i))
    found = follow(CapsuleScene(CAMERA), lambda i: (0.35 + 0.01 * max(0, i - 6), 1.1, 1.6), beside, count=15)
    assert all(result.status is Status.TRACKED for result, _ in found)
    assert min(overlap for _, overlap in found) > 0.85


def test_a_cube_that_leaves_is_lost_and_found_where_it_returns() -> None:
    """Gone for long enough to be forgotten; what else is in the room is not taken for it."""
    gone = range(4, 10)
    others = [box((-0.5, 1.0, 2.0), (0.35, 0.3, 0.2))]

    def place(index: int) -> tuple[float, float, float] | None:
        return None if index in gone else ((-0.1 if index < gone.start else 0.35), 1.2, 1.5)

    found = follow(CapsuleScene(CAMERA), place, lambda i: ([], others), count=13, hold_frames=3)
    for index, (result, overlap) in enumerate(found):
        if index in gone:
            assert result.status is Status.LOST and "object" in result.reason and not result.mask.any()
        else:
            assert result.status is Status.TRACKED and overlap > 0.9, (index, result.reason)


def test_without_a_seed_a_cube_is_no_body_and_beside_a_seeded_person_none_is_taken() -> None:
    scene = CapsuleScene(CAMERA)
    depth_m, _ = scene.render([], boxes=[box((0, 1.2, 1.5), (SIZE_M,) * 3)])
    alone = ForegroundSegmenter(ForegroundConfig(use_given_mask=False), CAMERA).step(RgbdFrame(0, 0, depth_m, CAMERA))
    assert alone.status is Status.LOST and "nothing of a body's size" in alone.reason
    depth_m, label = scene.render([person((0.2, 0, 2.7))], boxes=[box((-0.4, 1.2, 1.5), (SIZE_M,) * 3)])
    for point in ((0.2, 1.2, 2.55), (0.2, 1.64, 2.6), (0.35, 1.1, 2.7)):
        seeded = ForegroundConfig(use_given_mask=False, seed_px=pixel_of(scene, point))
        found = ForegroundSegmenter(seeded, CAMERA).step(RgbdFrame(0, 0, depth_m, CAMERA))
        truth = (label == 1) & (depth_m > 0)
        assert (found.mask & truth).sum() / (found.mask | truth).sum() > 0.95, "the chest, too, is a plane of a kind"


def test_a_size_needs_a_seed_and_is_positive() -> None:
    for options in ({"seed_extent_m": 0.1}, {"seed_extent_m": 0.0, "seed_px": (3, 3)}):
        with pytest.raises(ConfigurationError, match="seed_extent_m"):
            ForegroundConfig(**options)  # type: ignore[arg-type]
