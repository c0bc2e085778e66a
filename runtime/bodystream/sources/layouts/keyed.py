"""Numbers by their path of keys, out of json, and of the yaml and xml that calibration tools write.

`storage` searches for one matrix by its key; a calibration of several cameras is read whole instead, since which camera
a matrix belongs to stands in the keys around it. One pass over the lines, bounded in depth and count; what is no number
is kept as text. (Full yaml has references that unfold to gigabytes, and no calibration needs them.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bodystream.errors import InputError, excerpt

__all__ = ["Entry", "entries", "tokens"]

_MAX_DEPTH = 12
_MAX_ENTRIES = 2000
_MAX_NUMBERS = 64
_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_YAML_LINE = re.compile(r"([ \t]*)((?:-[ \t]+)*)(?:([\"']?)([A-Za-z_][\w.\- ]{0,80}?)\3[ \t]*:(?=[ \t]|$))?(.*)")
_INLINE_MAP = re.compile(r"[\"']?([A-Za-z_][\w.]{0,80})[\"']?[ \t]*:[ \t]*(\[[^\[\]]*\]|[^,{}\[\]]*)")
_XML_TAG = re.compile(r"<(/?)([A-Za-z_][\w.\-]{0,80})(?:\s[^<>]*)?(/?)>")
_SEPARATORS = re.compile(r"[\s,\[\]]+")


@dataclass(frozen=True, slots=True)
class Entry:
    """One value of a file.

    Attributes:
        path: its keys from the outermost one; `data` of a matrix is left out.
        numbers: those in it, lists within lists one after the other; () where it is text.
        text: as written, where it is no number.
    """

    path: tuple[str, ...]
    numbers: tuple[float, ...]
    text: str = ""


def tokens(*keys: str) -> tuple[str, ...]:
    """The words of keys in lower case: `depthToColor`, `depth_to_color` and `depth2color` are three words each."""
    return tuple(word.lower() for key in keys for word in _TOKEN.findall(key))


def entries(text: str, suffix: str, origin: str) -> list[Entry]:
    """Every value of a `.json`, `.xml`, `.yaml` or `.yml` file.

    Raises:
        InputError: no such file, or more in it than any calibration holds.
    """
    found: list[Entry] = []
    walk = {".json": _json, ".xml": _xml}.get(suffix, _yaml)
    for path, value in walk(text, origin):
        if path and path[-1] == "data":
            path = path[:-1]
        if path:
            found.append(Entry(path, value) if isinstance(value, tuple) else Entry(path, (), value))
        if len(found) > _MAX_ENTRIES:
            raise InputError(f"{origin}: holds more than {_MAX_ENTRIES} values, which no calibration does")
    return found


def _json(text: str, origin: str) -> Iterator[tuple[tuple[str, ...], tuple[float, ...] | str]]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{origin}: is not valid json ({excerpt(str(error), 100)})") from error
    stack: list[tuple[tuple[str, ...], Any]] = [((), data)]
    while stack:
        path, value = stack.pop()
        if len(path) > _MAX_DEPTH:
            raise InputError(f"{origin}: is nested more than {_MAX_DEPTH} deep, which no calibration is")
        if isinstance(value, dict):
            stack.extend(((*path, str(key)[:80]), inner) for key, inner in reversed(value.items()))
        elif isinstance(value, list):
            numbers = _numbers_of(value)
            if numbers is not None:
                yield path, numbers
            else:
                stack.extend(((*path, str(index)), inner) for index, inner in reversed(list(enumerate(value[:64]))))
        elif isinstance(value, str):
            yield path, value[:200]
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield path, (_float(value),)


def _numbers_of(value: list[Any], depth: int = 0) -> tuple[float, ...] | None:
    flat: list[float] = []
    for item in value:
        if isinstance(item, list) and depth < 3:
            inner = _numbers_of(item, depth + 1)
            if inner is None:
                return None
            flat.extend(inner)
        elif isinstance(item, (int, float)) and not isinstance(item, bool):
            flat.append(_float(item))
        else:
            return None
        if len(flat) > _MAX_NUMBERS:
            return None
    return tuple(flat) if flat else None


def _float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _yaml(text: str, origin: str) -> Iterator[tuple[tuple[str, ...], tuple[float, ...] | str]]:
    """Keys by their indentation. A value goes on over the lines below it until the next key."""
    stack: list[tuple[int, str]] = []
    value: list[str] = []
    for raw in text.splitlines():
        line = raw.split("#", 1)[0].rstrip() if "#" in raw else raw.rstrip()
        if not line.strip() or line.startswith(("%", "---", "...")):
            continue
        match = _YAML_LINE.match(line)
        assert match is not None  # every part of it may be empty
        indent, dashes, _, key, rest = match.groups()
        if key is None:
            value.append(dashes + rest)
            continue
        yield from _yaml_value(tuple(name for _, name in stack), value)
        column = len(indent) + len(dashes)
        while stack and stack[-1][0] >= column:
            stack.pop()
        stack.append((column, key))
        if len(stack) > _MAX_DEPTH:
            raise InputError(f"{origin}: is nested more than {_MAX_DEPTH} deep, which no calibration is")
        value = [rest]
    yield from _yaml_value(tuple(name for _, name in stack), value)


def _yaml_value(path: tuple[str, ...], lines: list[str]) -> Iterator[tuple[tuple[str, ...], tuple[float, ...] | str]]:
    body = " ".join(lines).strip()
    if body.startswith("!!"):
        body = body.partition(" ")[2].strip()
    if body.startswith("{"):
        for match in _INLINE_MAP.finditer(body):
            yield (*path, match[1]), _value(match[2])
    elif body:
        yield path, _value(body)


def _xml(text: str, origin: str) -> Iterator[tuple[tuple[str, ...], tuple[float, ...] | str]]:
    stack: list[str] = []
    start = 0
    text = re.sub(r"<!--.*?-->", " ", text, flags=re.DOTALL) if "-->" in text else text
    for match in _XML_TAG.finditer(text):
        closing, name, empty = match.groups()
        body = text[start : match.start()].strip()
        start = match.end()
        if closing:
            if stack and body:
                yield tuple(part for part in stack if part != "opencv_storage"), _value(body)
            if name in stack:
                del stack[len(stack) - 1 - stack[::-1].index(name) :]
        elif not empty:
            stack.append(name)
            if len(stack) > _MAX_DEPTH:
                raise InputError(f"{origin}: is nested more than {_MAX_DEPTH} deep, which no calibration is")


def _value(body: str) -> tuple[float, ...] | str:
    words = [word for word in _SEPARATORS.split(body[: 64 * _MAX_NUMBERS]) if word not in ("", "-")]
    try:
        if words and len(words) <= _MAX_NUMBERS:
            return tuple(float(word) for word in words)
    except ValueError:
        pass
    return body[:200].strip("\"' ")
