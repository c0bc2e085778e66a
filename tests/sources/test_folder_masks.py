"""Masks as tools write them: each comes out as the person alone, or it is told what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from bodystream.errors import InputError
from bodystream.sources.folder import FolderSource
from bodystream.sources.layouts.mask_rules import MaskSample, decide_rule
from bodystream.sources.layouts.masks import MaskReader, read_mask
from bodystream.types import Array
from helpers.folder_takes import write_intrinsics
from helpers.fuzzing import fuzz_file

HEIGHT, WIDTH = 96, 128
COUNT = 3


def _person(index: int = 0) -> Array:
    """A body on the lower edge: head, trunk, arms apart."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    x = 60 + 3 * index
    cv2.circle(mask, (x, 18), 9, 255, -1)
    cv2.rectangle(mask, (x - 12, 26), (x + 12, HEIGHT), 255, -1)
    cv2.rectangle(mask, (x - 34, 34), (x + 34, 42), 255, -1)
    return mask > 0


def _depth(person: Array) -> Array:
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    return np.where(person, 1500 + u // 8, 3000 + v).astype(np.uint16)


def _colour(index: int) -> Array:
    return np.random.default_rng(index).integers(1, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def _soft(person: Array, sigma: float = 1.5) -> Array:
    return cv2.GaussianBlur(person.astype(np.float32), (0, 0), sigma)


def _with_alpha(colour: Array, alpha: Array) -> Array:
    return np.dstack([colour, alpha])


def _write(
    folder: Path, encode: Callable[[Array, int], Array], where: str = "mask", suffix: str = ".png"
) -> FolderSource:
    for kind in ("depth", where, *(["colour"] if where == "mask" else [])):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for index in range(COUNT):
        person = _person(index)
        cv2.imwrite(str(folder / "depth" / f"{index:04d}.png"), _depth(person))
        if where == "mask":
            cv2.imwrite(str(folder / "colour" / f"{index:04d}.jpg"), _colour(index))
        options = [cv2.IMWRITE_JPEG_QUALITY, 95] if suffix == ".jpg" else []
        assert cv2.imwrite(str(folder / where / f"{index:04d}{suffix}"), encode(person, index), options)
    write_intrinsics(folder)
    (folder / "intrinsics.txt").write_text("100 100 63.5 47.5")
    return FolderSource.open(folder)


def _check(source: FolderSource, edge: int = 0) -> list[str]:
    """The masks are the person, but for `edge` pixels along the outline; returns the warnings."""
    for index, frame in enumerate(source):
        wrong = frame.mask ^ _person(index)
        kernel = np.ones((2 * edge + 1, 2 * edge + 1), np.uint8)
        person = _person(index).astype(np.uint8)
        outline = cv2.dilate(person, kernel) != cv2.erode(person, kernel)
        assert frame.mask is not None and not (wrong & ~outline).any()
    return source.counts.warnings


SILENT: dict[str, tuple[Callable[[Array, int], Array], int]] = {
    "0 and 255": (lambda p, i: p * np.uint8(255), 0),
    "0 and 1": (lambda p, i: p * np.uint8(1), 0),
    "0 and 65535": (lambda p, i: p * np.uint16(65535), 0),
    "RGB of grey": (lambda p, i: np.dstack([p * np.uint8(255)] * 3), 0),
    "RGB with opaque alpha": (lambda p, i: np.dstack([p * np.uint8(255)] * 3 + [np.full(p.shape, 255, np.uint8)]), 0),
    "alpha of a cut-out": (lambda p, i: _with_alpha(_colour(i), p * np.uint8(255)), 0),
    "soft alpha": (lambda p, i: _with_alpha(_colour(i), np.round(255 * _soft(p)).astype(np.uint8)), 2),
    "alpha of 0 and 1": (lambda p, i: _with_alpha(_colour(i), p * np.uint8(1)), 0),
    "alpha of 16 bits": (lambda p, i: _with_alpha(_colour(i).astype(np.uint16) * 257, p * np.uint16(65535)), 0),
    "soft matte": (lambda p, i: np.round(255 * _soft(p)).astype(np.uint8), 2),
    "soft matte of 16 bits": (lambda p, i: np.round(65535 * _soft(p)).astype(np.uint16), 2),
    "smooth edges of few levels": (lambda p, i: (np.round(4 * _soft(p, 0.8)) * 63.75).astype(np.uint8), 1),
    "faint veil around": (lambda p, i: np.maximum(12 + (i % 2), np.round(255 * _soft(p))).astype(np.uint8), 2),
    "parts numbered": (lambda p, i: (p * (1 + np.mgrid[:HEIGHT, :WIDTH][0] // 16)).astype(np.uint8), 0),
    "three people as 85, 170, 255": (
        lambda p, i: (p * (85 * (1 + np.mgrid[:HEIGHT, :WIDTH][0] // 33))).astype(np.uint8),
        0,
    ),
    "label and void along the edge": (
        lambda p, i: np.where(
            cv2.dilate(p.astype(np.uint8), np.ones((3, 3))) != p, 255, 15 * p.astype(np.uint8)
        ).astype(np.uint8),
        1,
    ),
    "colours on black": (lambda p, i: np.where(p[..., None], np.uint8([30, 0, 200]), np.uint8(0)), 0),
    "colours on white": (lambda p, i: np.where(p[..., None], np.uint8([30, 0, 200]), np.uint8(255)), 0),
    "cut-out on green": (lambda p, i: np.where(p[..., None], _colour(i) | 1, np.uint8([0, 254, 0])), 0),
}


@pytest.mark.parametrize("kind", SILENT)
def test_mask_files(tmp_path: Path, kind: str) -> None:
    encode, edge = SILENT[kind]
    assert _check(_write(tmp_path, encode), edge) == []


TOLD: dict[str, tuple[Callable[[Array, int], Array], str]] = {
    "inverted": (lambda p, i: ~p * np.uint8(255), "read as inverted"),
    "background 1, person 2": (lambda p, i: np.where(p, 2, 1).astype(np.uint8), "hold no 0; 1, the value"),
    "background 7, parts below": (
        lambda p, i: np.where(p, np.mgrid[:HEIGHT, :WIDTH][0] // 20, 7).astype(np.uint8),
        "value 7 of the masks fills the border",
    ),
    "soft and inverted": (lambda p, i: 255 - np.round(255 * _soft(p)).astype(np.uint8), "read as inverted"),
    "half as bright": (lambda p, i: np.round(100 * _soft(p)).astype(np.uint8), "reach only to 100 of 255"),
    "of twice the size": (
        lambda p, i: cv2.resize(p.astype(np.uint8) * 255, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST),
        "are 256x192 and are brought to the 128x96 of depth",
    ),
}


@pytest.mark.parametrize("kind", TOLD)
def test_mask_files_that_are_told(tmp_path: Path, kind: str) -> None:
    encode, said = TOLD[kind]
    (warning,) = _check(_write(tmp_path, encode), 2 if "soft" in kind or "bright" in kind else 0)
    assert said in warning and "mask" in warning


@pytest.mark.parametrize(
    ("kind", "edge"), [("0 and 255", 2), ("soft matte", 3), ("colours on white", 2), ("cut-out on green", 2)]
)
def test_masks_in_jpg(tmp_path: Path, kind: str, edge: int) -> None:
    assert _check(_write(tmp_path, SILENT[kind][0], suffix=".jpg"), edge) == []


def test_alpha_of_the_colour_images_is_the_mask(tmp_path: Path) -> None:
    source = _write(tmp_path, SILENT["soft alpha"][0], where="rgb")
    assert _check(source, 2) == []
    np.testing.assert_array_equal(next(iter(source)).colour, _colour(0)[..., ::-1])


def test_opaque_alpha_of_the_colour_images_is_no_mask(tmp_path: Path) -> None:
    source = _write(tmp_path, lambda p, i: _with_alpha(_colour(i), np.full(p.shape, 255, np.uint8)), where="rgb")
    assert [frame.mask for frame in source] == [None] * COUNT and source.counts.warnings == []


@pytest.mark.parametrize("where", ["mask", "color"])
def test_alpha_whose_opaque_part_is_the_background(tmp_path: Path, where: str) -> None:
    (warning,) = _check(_write(tmp_path, lambda p, i: _with_alpha(_colour(i), (~p) * np.uint8(255)), where))
    assert "alpha is read as inverted" in warning and "--mask find" in warning


def test_alpha_of_colour_that_was_brought_to_depth_is_no_mask(tmp_path: Path) -> None:
    """Transparent where depth is missing: a shadow beside the body, and specks."""

    def encode(person: Array, index: int) -> Array:
        hole = np.roll(person, 6, axis=1) & ~person
        hole |= np.random.default_rng(index).uniform(size=hole.shape) < 0.02
        path = tmp_path / "depth" / f"{index:04d}.png"
        cv2.imwrite(str(path), np.where(hole, 0, cv2.imread(str(path), cv2.IMREAD_UNCHANGED)).astype(np.uint16))
        return _with_alpha(_colour(index), (~hole) * np.uint8(255))

    source = _write(tmp_path, encode, "color")
    assert all(frame.mask is None for frame in source)
    (warning,) = source.counts.warnings
    assert "opaque along their border" in warning


def test_cut_out_that_fills_the_border_is_kept(tmp_path: Path) -> None:
    """A close-up of somebody before a wall, of which only a corner is left."""

    def encode(person: Array, index: int) -> Array:
        wall = np.zeros_like(person)
        wall[:24, :60] = True
        depth = np.where(wall, 3000, 800).astype(np.uint16)
        cv2.imwrite(str(tmp_path / "depth" / f"{index:04d}.png"), depth)
        return _with_alpha(_colour(index), (~wall) * np.uint8(255))

    source = _write(tmp_path, encode, "color")
    assert all(frame.mask is not None and not frame.mask[:24, :60].any() and frame.mask[24:].all() for frame in source)
    assert source.counts.warnings == []


def test_mask_folder_comes_before_alpha_of_colour(tmp_path: Path) -> None:
    _write(tmp_path, lambda p, i: _with_alpha(_colour(i), ~p * np.uint8(255)), where="rgb")
    assert _check(_write(tmp_path, SILENT["0 and 255"][0])) == []


@pytest.mark.parametrize("value", [1, 255])
def test_masks_that_cover_everything_or_nothing(tmp_path: Path, value: int) -> None:
    source = _write(tmp_path, lambda p, i: np.full(p.shape, value, np.uint8))
    (warning,) = source.counts.warnings
    assert "cover everything" in warning and "--mask find" in warning
    source = _write(tmp_path, lambda p, i: np.zeros(p.shape, np.uint8))
    (warning,) = source.counts.warnings
    assert "the masks hold nobody" in warning


def test_whole_room_labelled_is_told(tmp_path: Path) -> None:
    """Every class has a number but none is 0: what fills the border is behind."""
    source = _write(tmp_path, lambda p, i: np.where(p, 24, 7).astype(np.uint8))
    (warning,) = _check(source)
    assert "hold no 0; 7" in warning


def test_close_up_that_fills_the_border_is_not_inverted(tmp_path: Path) -> None:
    """The person fills nearly all of the image; what is left over lies behind."""
    person = np.ones((HEIGHT, WIDTH), bool)
    person[:20, 90:] = False
    samples = [MaskSample(person * np.uint8(255), False, _depth(person))]
    rule = decide_rule(samples)
    np.testing.assert_array_equal(rule.apply(samples[0].image), person)
    assert rule.notes == ()
    inverted = decide_rule([MaskSample(~person * np.uint8(255), False, _depth(~person))])
    assert not inverted.inverted  # the small piece in the corner is nearer, and is meant


def test_masks_of_another_shape_are_not_used(tmp_path: Path) -> None:
    source = _write(tmp_path, lambda p, i: np.ones((96, 96), np.uint8))
    assert [frame.mask for frame in source] == [None] * COUNT
    assert any("96x96 while depth is 128x96" in w for w in source.counts.warnings)


def test_mask_without_the_alpha_of_the_others(tmp_path: Path) -> None:
    _write(tmp_path, SILENT["alpha of a cut-out"][0])
    cv2.imwrite(str(tmp_path / "mask" / "0002.png"), _colour(2))
    source = FolderSource.open(tmp_path)
    frames = list(source)
    assert frames[2].mask is None and frames[1].mask is not None
    assert any("0002.png: has no alpha" in w for w in source.counts.warnings)


def test_damaged_masks_decide_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    path.write_bytes(b"x")
    reader = MaskReader([((path,), None)])
    assert reader.notes == ()
    with pytest.raises(InputError, match="neither a png nor a jpg"):
        reader.read((path,), np.zeros((4, 4), np.uint16))
    assert MaskReader([]).notes == ()


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_fuzz_masks(tmp_path: Path, suffix: str) -> None:
    small = [cv2.resize(SILENT[kind][0](_person(), 0), (32, 24)) for kind in ("soft matte", "alpha of a cut-out")]
    seeds = [cv2.imencode(suffix, image if suffix == ".png" else image[..., :3])[1].tobytes() for image in small]

    def read(path: Path) -> None:
        assert read_mask(path).dtype == bool

    fuzz_file(read, seeds, tmp_path / f"m{suffix}")
