"""Is colour registered to depth, and if not, how are they brought together? From the files beside the images.

A user's own intrinsics say that one camera serves both images, and win over any file beside them; of a format that
stores its images as the sensors gave them (Azure Kinect, Record3D, ScanNet), they replace the depth camera.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bodystream.errors import InputError
from bodystream.files import read_text_bounded
from bodystream.sources.layouts import azure
from bodystream.sources.layouts.intrinsics import INTRINSICS_SUFFIXES, PinholeParameters, read_intrinsics
from bodystream.sources.layouts.keyed import entries, tokens
from bodystream.sources.layouts.lenses import GIVE_INSTEAD, LensParameters, Rig, SizedRig, lens, rigid
from bodystream.sources.layouts.record import Recording
from bodystream.sources.layouts.rig_files import (
    COLOUR,
    DEPTH,
    direction_of,
    lens_of,
    names_two_cameras,
    rig_of,
    role_of,
    transform_of,
)
from bodystream.types import Array, CameraIntrinsics

__all__ = ["RigChoice", "choose_rig", "find_rig"]

_MAX_TEXT_BYTES = 256 << 10
_MAX_LISTED = 200_000
_CAMERA_WORDS = {"intrinsic", "intrinsics", "camera", "calib", "calibration", "k", "stereo"}
_TRANSFORM_WORDS = {"pose", "extrinsic", "extrinsics", "transform"}


@dataclass(frozen=True, slots=True)
class RigChoice:
    """What was found about the cameras of a folder.

    Attributes:
        rig: both cameras, or None where the images are registered or nothing says otherwise.
        intrinsics: of the one camera that two files agree on, or None.
        files: what it was read from.
        notes: what the user should know.
    """

    rig: SizedRig | None = None
    intrinsics: PinholeParameters | None = None
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def choose_rig(root: Path, recording: Recording, chosen: CameraIntrinsics | None, has_colour: bool) -> RigChoice:
    """The rig to use for a recording.

    Args:
        chosen: the user's intrinsics.
        has_colour: there are colour images.

    Raises:
        InputError: the images are not registered, and cannot be; says what to give.
    """
    if recording.rig is not None:
        rig = recording.rig
        return RigChoice(rig if chosen is None else _WithDepth(rig, chosen))
    folders = tuple(dict.fromkeys(f for f in (recording.folder, root) if f is not None and f.is_dir()))
    if chosen is not None:
        notes = [recording.unregistered] if recording.unregistered and has_colour else []
        notes += [note for folder in folders for note in _ignored(folder)] if has_colour else []
        return RigChoice(
            notes=tuple(f"{note}. Intrinsics were given: colour is taken as registered to depth" for note in notes)
        )
    found = next((f for f in (find_rig(folder, has_colour) for folder in folders) if f.files), RigChoice())
    own = recording.intrinsics
    if found.files and isinstance(own, PinholeParameters) and own.origin not in found.files:
        note = f"{', '.join(found.files)}: not used, since {own.origin} gives one camera for depth and colour"
        return RigChoice(notes=(f"{note}; remove the latter to register colour to depth",) if has_colour else ())
    if not found.files and recording.unregistered and has_colour:
        raise InputError(recording.unregistered)
    return found


def find_rig(folder: Path, has_colour: bool = True) -> RigChoice:
    """What the files of a folder say of two cameras.

    Raises:
        InputError: they name two cameras, and what is between them is not understood; says what to give.
    """
    files = _files(folder)
    for path in files:
        if path.suffix.lower() != ".txt" and set(tokens(path.stem)) & _CAMERA_WORDS:
            found = _of_one_file(path, has_colour)
            if found is not None:
                return found
    return _of_two_files(folder, files, has_colour)


def _of_one_file(path: Path, has_colour: bool) -> RigChoice | None:
    text, suffix, files = _text(path), path.suffix.lower(), (str(path),)
    if suffix == ".json" and "CalibrationInformation" in text:
        return RigChoice(azure.parse(text, str(path)), files=files)
    try:
        found = entries(text, suffix, str(path))
    except InputError:
        return None  # whoever needs the file as intrinsics says what is wrong with it
    if not names_two_cameras(found):
        return None
    if has_colour and transform_of(found, str(path)) is None:
        depth, colour = (lens_of([e for e in found if role_of(e.path) == r], str(path), r) for r in (DEPTH, COLOUR))
        beside = _transform_beside(path.parent)
        if depth is not None and colour is not None:
            if beside is not None:
                return RigChoice(Rig(depth, colour, beside, str(path)), files=files)
            if _same(depth, colour):
                return _one_camera(depth, files)
    return RigChoice(rig_of(found, str(path), has_colour), files=files)


def _one_camera(camera: LensParameters, files: tuple[str, ...]) -> RigChoice:
    note = f"{' and '.join(files)}: both cameras are the same, so colour is taken as registered to depth"
    return RigChoice(intrinsics=replace(camera.pinhole, distorted=camera.bends), files=files, notes=(note,))


def _of_two_files(folder: Path, files: list[Path], has_colour: bool) -> RigChoice:
    cameras: dict[str, Path] = {}
    for path in files:
        words = set(tokens(path.stem))
        role = role_of((path.stem,))
        if role and words & _CAMERA_WORDS and not words & _TRANSFORM_WORDS and not direction_of((path.stem,)):
            # `calib_depth.yaml` of iai_kinect2 holds the depth shift alone; its camera is `calib_ir.yaml`.
            if role not in cameras or "ir" in words:
                cameras[role] = path
    if len(cameras) < 2:
        return RigChoice()
    names = (str(cameras[DEPTH]), str(cameras[COLOUR]))
    depth, colour = _lens(cameras[DEPTH]), _lens(cameras[COLOUR])
    if not has_colour:
        return RigChoice(Rig(depth, None, np.eye(4), names[0]), files=names)
    transform = _transform_beside(folder)
    if transform is None:
        if _same(depth, colour):
            return _one_camera(depth, names)
        raise InputError(
            f"{names[0]} and {names[1]} are two cameras, and nothing there says where one stands in the other's frame, "
            f"so that colour cannot be registered to depth: {GIVE_INSTEAD}"
        )
    return RigChoice(Rig(depth, colour, transform, names[0]), files=names)


def _lens(path: Path) -> LensParameters:
    if path.suffix.lower() != ".txt":
        camera = lens_of(entries(_text(path), path.suffix.lower(), str(path)), str(path))
        if camera is not None:
            return camera
    return lens(read_intrinsics(path), ())


def _same(a: LensParameters, b: LensParameters) -> bool:
    return a.distortion == b.distortion and all(
        getattr(a.pinhole, name) == getattr(b.pinhole, name) for name in ("fx", "fy", "cx", "cy", "width", "height")
    )


def _transform_beside(folder: Path) -> Array | None:
    """colour_from_depth (4, 4) [m] out of a file of its own, or None.

    Raises:
        InputError: there is one, and it is no rigid transform.
    """
    files = _files(folder)
    for path in files:
        direction = direction_of((path.stem,))
        if direction:
            matrix = _matrix(path)
            return matrix if direction == "colour_from_depth" else np.linalg.inv(matrix)
    by_stem = {path.stem.lower(): path for path in files}
    if {"extrinsic_color", "extrinsic_depth"} <= by_stem.keys():  # ScanNet: both to one base frame
        return np.linalg.inv(_matrix(by_stem["extrinsic_color"])) @ _matrix(by_stem["extrinsic_depth"])
    if "calib_pose" in by_stem and by_stem["calib_pose"].suffix.lower() in (".yaml", ".yml"):
        # iai_kinect2 calibrates with infrared as the first camera and colour as the second.
        path = by_stem["calib_pose"]
        parts = {entry.path[-1]: entry.numbers for entry in entries(_text(path), path.suffix.lower(), str(path))}
        if len(parts.get("rotation", ())) == 9 and len(parts.get("translation", ())) == 3:
            return rigid(parts["rotation"], parts["translation"], str(path))
    return None


def _matrix(path: Path) -> Array:
    """A rigid transform from a file of 16 or 12 numbers, row by row."""
    if path.suffix.lower() == ".txt":
        words = _text(path).replace(",", " ").replace("[", " ").replace("]", " ").split()
        try:
            numbers = tuple(float(word) for word in words[:17])
        except ValueError:
            numbers = ()
    else:
        found = entries(_text(path), path.suffix.lower(), str(path))
        transform = transform_of(
            [replace(entry, path=("colour_from_depth", *entry.path)) for entry in found], str(path)
        )
        if transform is not None:
            return transform
        numbers = next((entry.numbers for entry in found if len(entry.numbers) in (12, 16)), ())
    if len(numbers) not in (12, 16) or (len(numbers) == 16 and numbers[12:] != (0.0, 0.0, 0.0, 1.0)):
        raise InputError(
            f"{path}: expected a 4x4 transform in metres, row by row with 0 0 0 1 at the end, or its first three rows"
        )
    whole = np.array(numbers).reshape(-1, 4)
    return rigid(whole[:3, :3].ravel(), whole[:3, 3], str(path))


def _ignored(folder: Path) -> list[str]:
    """Which files of two cameras are not used, whether they are understood or not."""
    try:
        found = find_rig(folder)
    except InputError as error:
        return [str(error).split(": ", 1)[0] + ": is not used"]
    return [f"{', '.join(found.files)}: not used"] if found.rig is not None else []


def _files(folder: Path) -> list[Path]:
    """Small files that may hold a camera, by name; those of an `intrinsic` folder as well, as ScanNet has it."""
    found: list[Path] = []
    for place in (folder, folder / "intrinsic", folder / "intrinsics"):
        try:
            listed = [
                p for p in itertools.islice(place.iterdir(), _MAX_LISTED) if p.suffix.lower() in INTRINSICS_SUFFIXES
            ]
        except OSError:
            continue
        found += sorted(path for path in listed if _may_hold(path))
    return found


def _may_hold(path: Path) -> bool:
    words = set(tokens(path.stem))
    return bool(words & (_CAMERA_WORDS | _TRANSFORM_WORDS) or direction_of((path.stem,))) and path.is_file()


def _text(path: Path) -> str:
    return read_text_bounded(path, _MAX_TEXT_BYTES)


@dataclass(frozen=True, slots=True)
class _WithDepth:
    """A rig whose depth camera the user gave."""

    rig: SizedRig
    camera: CameraIntrinsics

    def for_sizes(self, depth: tuple[int, int], colour: tuple[int, int] | None) -> Rig:
        return self.rig.for_sizes(depth, colour).with_depth(self.camera, "?intrinsics=")
