"""Keypoints of pose detectors' files: both formats, who is taken of several people, and what is no such file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bodystream.errors import InputError
from bodystream.sources.keypoints import LAYOUTS, Keypoints, parse_keypoints, read_keypoints
from helpers.fuzzing import fuzz


def numbers(count: int, confidence: float = 0.9, seed: int = 0) -> list[float]:
    rows = np.random.default_rng(seed).uniform(1.0, 500.0, (count, 3))
    rows[:, 2] = confidence
    return rows.ravel().tolist()


def openpose(*people: list[float]) -> str:
    return json.dumps({"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": one} for one in people]})


def coco(*people: list[float], image: int = 7) -> str:
    return json.dumps([{"image_id": image, "category_id": 1, "keypoints": one, "score": 0.8} for one in people])


def parsed(text: str, person: int = 0) -> Keypoints:
    return parse_keypoints(text, "a.json", person)


def test_layouts_are_told_by_their_counts_and_have_their_makers_order() -> None:
    for count, layout in ((25, "BODY_25"), (18, "COCO-18"), (17, "COCO-17")):
        found = parsed(openpose(numbers(count)))
        assert found.layout == layout and found.names == LAYOUTS[layout] and len(found.names) == count
        np.testing.assert_allclose(found.points_px, np.reshape(numbers(count), (-1, 3))[:, :2])
        np.testing.assert_allclose(found.confidence, 0.9)
    assert LAYOUTS["BODY_25"][8] == "middle_hip" and LAYOUTS["BODY_25"][4] == "right_wrist"
    assert LAYOUTS["BODY_25"][19] == "left_big_toe" and LAYOUTS["BODY_25"][24] == "right_heel"
    assert LAYOUTS["COCO-18"][7] == "left_wrist" and LAYOUTS["COCO-18"][13] == "left_ankle"
    assert LAYOUTS["COCO-17"][9] == "left_wrist" and LAYOUTS["COCO-17"][16] == "right_ankle"


def test_results_and_annotations_of_coco_are_read() -> None:
    found = parsed(coco(numbers(17)))
    assert found.layout == "COCO-17" and not found.notes
    visible = np.reshape(numbers(17), (-1, 3))
    visible[:, 2] = 2.0
    visible[3], visible[4, 2] = 0.0, 1.0
    found = parsed(json.dumps({"images": [], "annotations": [{"keypoints": visible.ravel().tolist()}]}))
    assert len(found.names) == 16 and "left_ear" not in found.names
    assert found.confidence[found.names.index("right_ear")] == 0.5 and found.confidence.max() == 1.0


def test_keypoints_that_were_not_found_are_left_out() -> None:
    rows = np.reshape(numbers(25), (-1, 3))
    rows[[0, 7]] = 0.0
    rows[9, 2] = 0.0
    found = parsed(openpose(rows.ravel().tolist()))
    assert set(LAYOUTS["BODY_25"]) - set(found.names) == {"nose", "left_wrist", "right_hip"}


def test_of_several_people_the_most_confident_is_taken_and_told() -> None:
    text = openpose(numbers(25, 0.3), numbers(25, 0.8, 1), numbers(25, 0.5, 2))
    found = parsed(text)
    assert found.points_px[0] == pytest.approx(numbers(25, 0.8, 1)[:2])
    assert len(found.notes) == 1 and "shows 3 people; person 2, whose keypoints are the most" in found.notes[0]
    other = parsed(text, 3)
    assert other.points_px[0] == pytest.approx(numbers(25, 0.5, 2)[:2]) and not other.notes
    for person in (4, -1):
        with pytest.raises(InputError, match=f"a.json shows 3 people: --person must be 1 to 3, got {person}"):
            parsed(text, person)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a.json is no file of keypoints"),
        ("{", "a.json is no file of keypoints"),
        ("3", "a.json is no file of keypoints: give OpenPose's JSON"),
        ('{"people": 3}', "a.json is no file of keypoints"),
        ('{"people": []}', "a.json shows nobody"),
        ("[]", "a.json shows nobody"),
        ('{"people": [3]}', "person 1 has no pose_keypoints_2d"),
        ('[{"score": 1}]', "result 1 has no keypoints"),
        (openpose(numbers(25)[:-1]), "person 1 has 74 numbers; known are .* 17, 18, 25 keypoints"),
        (openpose(numbers(21)), "person 1 has 63 numbers"),
        (openpose([]), "person 1 has 0 numbers"),
        (json.dumps({"people": [{"pose_keypoints_2d": ["a"] * 75}]}), "must be a list of numbers"),
        (json.dumps({"people": [{"pose_keypoints_2d": [True] * 75}]}), "must be a list of numbers"),
        (json.dumps({"people": [{"pose_keypoints_2d": {}}]}), "must be a list of numbers"),
        (openpose([float("nan"), *numbers(25)[1:]]), "person 1: keypoint 0 is not finite"),
        (openpose([10**400, *numbers(25)[1:]]), "person 1: a keypoint is not finite"),
        (openpose([*numbers(25)[:6], 1e9, *numbers(25)[7:]]), "keypoint 2 is out of any picture"),
    ],
)
def test_what_is_no_file_of_keypoints_is_told(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parsed(text)


def test_results_of_several_pictures_are_told() -> None:
    both: list[Any] = json.loads(coco(numbers(17))) + json.loads(coco(numbers(17), image=8))
    with pytest.raises(InputError, match="a.json has results of 2 pictures .'7' and others.: give those of one"):
        parsed(json.dumps(both))


def test_files_are_read_within_bounds(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(openpose(numbers(25)))
    assert read_keypoints(tmp_path / "a.json").layout == "BODY_25"
    with pytest.raises(InputError, match="gone.json"):
        read_keypoints(tmp_path / "gone.json")


def test_fuzz_keypoints() -> None:
    def read(data: bytes) -> None:
        found = parsed(data.decode("utf-8", "replace"))
        assert found.points_px.shape == (len(found.names), 2) and np.isfinite(found.points_px).all()
        assert ((found.confidence > 0.0) & (found.confidence <= 1.0)).all()

    fuzz(read, [openpose(numbers(25), numbers(18)).encode(), coco(numbers(17)).encode()])
