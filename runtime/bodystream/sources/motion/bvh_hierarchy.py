"""The first part of a BVH file: the tree of its joints."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from bodystream.errors import InputError, excerpt
from bodystream.sources.motion.numerals import MAX_NUMBER, number_words
from bodystream.types import Array

__all__ = ["BvhJoint", "parse_hierarchy"]

_MAX_JOINTS = 512
_MAX_DEPTH = 128
_TOKEN = re.compile(r"[{}]|[^\s{}]+")
_CHANNEL = re.compile(r"([xyz])_?(rotation|position)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class BvhJoint:
    """One joint of the hierarchy.

    Attributes:
        name: as in the file.
        parent: index of its parent, -1 for the root.
        offset: (3,) float64 from the parent, in units of the file.
        channels: in the file's order, in one spelling: `Xposition`, `Zrotation`...
        end_site: (3,) where its bone ends, if it has an End Site.
    """

    name: str
    parent: int
    offset: Array
    channels: tuple[str, ...]
    end_site: Array | None = None


def parse_hierarchy(text: str, name: str) -> tuple[BvhJoint, ...]:
    """The joints, a parent before its children; keywords in any case.

    Args:
        text: up to the word MOTION.
        name: of the file, for messages.

    Raises:
        InputError: with the file, the line and the likely cause.
    """
    return _Hierarchy(text, name).parse()


class _Hierarchy:
    """A recursive-descent parser without the recursion."""

    def __init__(self, text: str, name: str) -> None:
        self._tokens = [
            (match.group(), number)
            for number, line in enumerate(text.split("\n"), 1)
            for match in _TOKEN.finditer(line)
        ]
        self._at = 0
        self._name = name

    def parse(self) -> tuple[BvhJoint, ...]:
        self._take("HIERARCHY")
        joints: list[BvhJoint] = []
        stack: list[int] = []
        while True:
            word, line = self._next("ROOT, JOINT, End Site or }")
            kind = word.upper()
            if word == "}":
                if not stack:
                    raise InputError(f"{self._name}, line {line}: a }} too many closes nothing")
                stack.pop()
                if not stack:
                    break
            elif kind == "ROOT" and not joints or kind == "JOINT" and stack:
                joints.append(self._joint(stack[-1] if stack else -1))
                stack.append(len(joints) - 1)
                if len(joints) > _MAX_JOINTS or len(stack) > _MAX_DEPTH:
                    raise InputError(
                        f"{self._name}, line {line}: more than {_MAX_JOINTS} joints or {_MAX_DEPTH} in a row"
                    )
            elif kind in ("END", "ENDSITE") and stack:
                joints[stack[-1]] = replace(joints[stack[-1]], end_site=self._end_site(kind))
            else:
                raise InputError(
                    f"{self._name}, line {line}: {excerpt(word)} where ROOT, JOINT, End Site or }} was expected"
                )
        if self._at < len(self._tokens):
            word, line = self._tokens[self._at]
            cause = "a second ROOT (one person per file)" if word.upper() == "ROOT" else excerpt(word)
            raise InputError(f"{self._name}, line {line}: {cause} after the end of the hierarchy; MOTION was expected")
        return tuple(joints)

    def _joint(self, parent: int) -> BvhJoint:
        words = [self._next("a joint's name")[0]]
        while self._peek() not in ("{", "") and len(words) < 8:
            words.append(self._next("{")[0])  # names with spaces
        self._take("{")
        channels = self._channels()
        offset = self._offset()
        return BvhJoint(" ".join(words), parent, offset, channels or self._channels())

    def _end_site(self, kind: str) -> Array:
        if kind == "END":
            self._take("Site")
        for _ in range(8):  # some give it a name
            if self._peek() in ("{", ""):
                break
            self._at += 1
        self._take("{")
        offset = self._offset()
        self._channels()
        self._take("}")
        return offset

    def _channels(self) -> tuple[str, ...]:
        if self._peek() != "CHANNELS":
            return ()
        self._at += 1
        count, line = self._next("a number of channels")
        if not count.isascii() or not count.isdigit() or len(count) > 3 or int(count) > 6:
            raise InputError(f"{self._name}, line {line}: {excerpt(count)} channels, wanted 0 to 6")
        channels: list[str] = []
        for _ in range(int(count)):
            word, line = self._next("a channel")
            channel = _CHANNEL.fullmatch(word)
            if channel is None:
                raise InputError(
                    f"{self._name}, line {line}: the channel {excerpt(word)} is unknown: wanted Xposition... or "
                    "Zrotation..., as many as the line announces"
                )
            channels.append(channel.group(1).upper() + channel.group(2).lower())
        return tuple(channels)

    def _offset(self) -> Array:
        self._take("OFFSET")
        values: list[float] = []
        while len(values) < 3:
            word, line = self._next("three numbers of an OFFSET")
            for part in number_words(word):
                try:
                    values.append(float(part))
                except ValueError:
                    values.append(np.nan)
                if not abs(values[-1]) < MAX_NUMBER:  # true for nan as well
                    raise InputError(
                        f"{self._name}, line {line}: an OFFSET holds {excerpt(word)}, wanted three finite numbers"
                    )
            if len(values) > 3:
                raise InputError(f"{self._name}, line {line}: an OFFSET of more than three numbers")
        return np.array(values)

    def _take(self, wanted: str) -> None:
        word, line = self._next(wanted)
        if word.upper() != wanted.upper():
            raise InputError(f"{self._name}, line {line}: {excerpt(word)} where {wanted} was expected")

    def _peek(self) -> str:
        """The next word in capitals, empty at the end."""
        return self._tokens[self._at][0].upper() if self._at < len(self._tokens) else ""

    def _next(self, wanted: str) -> tuple[str, int]:
        if self._at >= len(self._tokens):
            line = self._tokens[-1][1] if self._tokens else 1
            raise InputError(
                f"{self._name}, line {line}: the hierarchy ends where {wanted} was expected: a }} is missing or the "
                "file is damaged"
            )
        self._at += 1
        return self._tokens[self._at - 1]
