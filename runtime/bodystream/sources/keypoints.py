"""Joints of people in pictures, as pose detectors write them: OpenPose's JSON, and COCO's results and annotations."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bodystream.errors import InputError, excerpt
from bodystream.files import read_text_bounded
from bodystream.types import Array

__all__ = ["LAYOUTS", "Keypoints", "parse_keypoints", "read_keypoints"]

_MAX_BYTES = 64 << 20
_MOST_PX = 1e6
_COCO_17 = (
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist "
    "right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle"
).split()
_COCO_18 = (
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist right_hip right_knee "
    "right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear"
).split()
_BODY_25 = (
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist middle_hip right_hip "
    "right_knee right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear left_big_toe "
    "left_small_toe left_heel right_big_toe right_small_toe right_heel"
).split()
LAYOUTS = {"COCO-17": tuple(_COCO_17), "COCO-18": tuple(_COCO_18), "BODY_25": tuple(_BODY_25)}
"""Names of the keypoints of each layout, in its order."""
_BY_COUNT = {len(names): layout for layout, names in LAYOUTS.items()}


@dataclass(frozen=True)
class Keypoints:
    """Somebody in a picture.

    Attributes:
        names: (K,) of the keypoints that were seen. points_px: (K, 2) float64 (u, v). confidence: (K,) in (0, 1].
        layout: of `LAYOUTS`.
        notes: what was chosen, for a person.
    """

    names: tuple[str, ...]
    points_px: Array
    confidence: Array
    layout: str
    notes: tuple[str, ...]


def read_keypoints(path: Path, person: int = 0) -> Keypoints:
    """The keypoints of a file; see `parse_keypoints`."""
    return parse_keypoints(read_text_bounded(path, _MAX_BYTES), str(path), person)


def parse_keypoints(text: str, where: str, person: int = 0) -> Keypoints:
    """The keypoints of one person.

    Args:
        text: `{"people": [{"pose_keypoints_2d": [x, y, c, ...]}]}` of OpenPose (BODY_25, COCO-18, or 17 keypoints), or
            COCO's `[{"keypoints": [x, y, v, ...], "score": s}]`, or these as `annotations` of an object.
        where: what to call it in messages.
        person: whom to take, from 1; 0 = whose keypoints are the most confident.

    Raises:
        InputError: it is no such file, shows nobody or several pictures, or there is no such person.
    """
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is no file of keypoints (JSON): {error}") from error
    people = _people(read, where)
    if not people:
        raise InputError(f"{where} shows nobody: the detector found no person in the picture")
    if person < 0 or person > len(people):
        raise InputError(f"{where} shows {len(people)} people: --person must be 1 to {len(people)}, got {person}")
    found = [_keypoints(numbers, f"{where}: person {number + 1}") for number, numbers in enumerate(people)]
    best = person - 1 if person else int(np.argmax([confidence.sum() for _, _, confidence in found]))
    notes = []
    if len(people) > 1 and not person:
        notes.append(
            f"{where} shows {len(people)} people; person {best + 1}, whose keypoints are the most confident, is fitted "
            "(--person chooses)"
        )
    layout, points, confidence = found[best]
    seen = np.flatnonzero(confidence > 0.0)
    names = tuple(LAYOUTS[layout][row] for row in seen)
    return Keypoints(names, points[seen], confidence[seen], layout, tuple(notes))


def _people(read: Any, where: str) -> list[Any]:
    """The numbers of each person.

    Raises:
        InputError: the file holds something else.
    """
    if isinstance(read, dict) and isinstance(read.get("people"), list):
        return [
            _member(one, "pose_keypoints_2d", f"{where}: person {number + 1}")
            for number, one in enumerate(read["people"])
        ]
    if isinstance(read, dict) and isinstance(read.get("annotations"), list):
        read = read["annotations"]
    if not isinstance(read, list):
        raise InputError(
            f'{where} is no file of keypoints: give OpenPose\'s JSON, {{"people": [{{"pose_keypoints_2d": [...]}}]}}, '
            'or COCO\'s results, [{"keypoints": [...], "score": 0.9}]'
        )
    people = [_member(one, "keypoints", f"{where}: result {number + 1}") for number, one in enumerate(read)]
    pictures = {str(one.get("image_id")) for one in read}
    if len(pictures) > 1:
        raise InputError(
            f"{where} has results of {len(pictures)} pictures ({excerpt(sorted(pictures)[0])} and others): give those "
            "of one"
        )
    return people


def _member(one: Any, name: str, where: str) -> Any:
    if not isinstance(one, dict) or name not in one:
        raise InputError(f"{where} has no {name}")
    return one[name]


def _keypoints(numbers: Any, where: str) -> tuple[str, Array, Array]:
    """Layout, (K, 2) points and (K,) confidences, 0 where a keypoint was not found.

    Raises:
        InputError: the numbers are none, or those of no layout.
    """
    if not isinstance(numbers, list) or not all(
        isinstance(one, (int, float)) and not isinstance(one, bool) for one in numbers
    ):
        raise InputError(f"{where}: keypoints must be a list of numbers, x, y and confidence of each")
    if len(numbers) % 3 or len(numbers) // 3 not in _BY_COUNT:
        raise InputError(
            f"{where} has {len(numbers)} numbers; known are x, y and confidence of {', '.join(map(str, _BY_COUNT))} "
            f"keypoints ({', '.join(_BY_COUNT.values())})"
        )
    try:
        rows = np.array(numbers, np.float64).reshape(-1, 3)
    except OverflowError as error:
        raise InputError(f"{where}: a keypoint is not finite") from error
    points, confidence = rows[:, :2], rows[:, 2]
    if not np.isfinite(rows).all():
        raise InputError(f"{where}: keypoint {int((~np.isfinite(rows)).any(axis=1).argmax())} is not finite")
    if np.abs(points).max() > _MOST_PX:
        raise InputError(f"{where}: keypoint {int(np.abs(points).max(axis=1).argmax())} is out of any picture [px]")
    # COCO's annotations say 0 not there, 1 hidden, 2 seen; OpenPose says 0 for what it did not find.
    if confidence.max(initial=0.0) > 1.0:
        confidence = confidence / max(2.0, float(confidence.max()))
    gone = (confidence <= 0.0) | (points == 0.0).all(axis=1)
    return _BY_COUNT[len(rows)], points, np.where(gone, 0.0, confidence)
