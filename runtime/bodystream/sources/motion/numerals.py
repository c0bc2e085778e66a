"""Text and numbers as programs of many countries and ages write them: decimal commas, numbers that touch at a sign."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator

import numpy as np

from bodystream.types import Array

__all__ = ["MAX_NUMBER", "decoded", "number_words", "parsed_numbers", "spellings"]

MAX_NUMBER = 1e7
"""More than any coordinate or angle of a person in any unit; float32 holds it."""

# Fixed columns leave no space before a sign: `-3.667-0.000`. The sign of an exponent follows a letter.
_TOUCHING = re.compile(r"(?<=[0-9.])(?=[-+][0-9.])")
_DECIMAL_COMMA = re.compile(r"(?<![0-9.,])([-+]?[0-9]*),([0-9]+(?:[eE][-+]?[0-9]+)?)(?![0-9.,])")


def decoded(content: bytes) -> str:
    """A text file's content: UTF-8 or UTF-16 by its mark, else UTF-8, else Latin-1, which takes any bytes."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def number_words(word: str) -> list[str]:
    """The numbers in a word without spaces, each in a spelling that `float` takes, if any is."""
    parts = _TOUCHING.sub(" ", word).split()
    out: list[str] = []
    for part in parts:
        part = part.strip(",")
        if _DECIMAL_COMMA.fullmatch(part):
            out.append(part.replace(",", "."))
        else:
            out += [piece for piece in part.split(",") if piece]
    return out or [word]


def spellings(body: str) -> Iterator[str]:
    """The text as it is, and what it may mean where that does not read: one after another, until one does."""
    yield body
    apart = _TOUCHING.sub(" ", body)
    if apart != body:
        yield apart
    if "," in body:
        yield _TOUCHING.sub(" ", _DECIMAL_COMMA.sub(r"\1.\2", apart))
        yield _TOUCHING.sub(" ", body.replace(",", " "))


def parsed_numbers(body: str) -> Array | None:
    """All numbers of a text (N,) float64, or None where something in it is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # numpy's way to say that it stopped before the end
        try:
            return np.fromstring(body, np.float64, sep=" ")
        except (ValueError, DeprecationWarning):
            return None
