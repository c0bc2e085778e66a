"""Numbers out of OpenCV's storage files (xml, yaml), and of the yaml maps that ROS writes.

Only what a calibration needs: a matrix or a scalar by its key. The text is searched, never nested into, in time
linear in its length. (OpenCV's own `FileStorage` crashes the interpreter on deeply nested or odd text, so it does not
stand where files from outside come in.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["find_numbers", "find_scalar", "keys_of"]

_MAX_NUMBERS = 64
_MAX_KEY = 60
_NUMBER_SEPARATORS = re.compile(r"[\s,\[\]]+")


def find_numbers(text: str, is_xml: bool, keys: Iterable[str]) -> list[float] | None:
    """The numbers of the first of `keys` that is there; None when none is.

    Raises:
        ValueError: it holds something else, more than 64 numbers, or does not end.
    """
    body = _body(text, is_xml, keys)
    if body is None:
        return None
    data = _xml_body(body, "data") if is_xml else _yaml_data(body)
    words = [w for w in _NUMBER_SEPARATORS.split(body if data is None else data) if w not in ("", "-")]
    if words and words[0].startswith("!!"):
        words = words[1:]
    if len(words) > _MAX_NUMBERS:
        raise ValueError(f"{len(words)} values")
    return [float(word) for word in words]


def find_scalar(text: str, is_xml: bool, keys: Iterable[str]) -> float | None:
    """The number under the first of `keys` that is there; None when none is, or when it is no number."""
    try:
        numbers = find_numbers(text, is_xml, keys)
    except ValueError:
        return None
    return numbers[0] if numbers and len(numbers) == 1 else None


def keys_of(text: str, is_xml: bool, limit: int = 10) -> list[str]:
    """The first keys of a file, for messages."""
    pattern = r"<([A-Za-z_]\w*)[\s>]" if is_xml else r"(?m)^([A-Za-z_]\w*)[ \t]*:"
    found: dict[str, None] = {}
    for match in re.finditer(pattern, text):
        if match[1] != "opencv_storage":
            found[match[1][:_MAX_KEY]] = None
        if len(found) == limit:
            break
    return list(found)


def _body(text: str, is_xml: bool, keys: Iterable[str]) -> str | None:
    if is_xml:
        text = _without_comments(text)
    for key in keys:
        body = _xml_body(text, key) if is_xml else _yaml_body(text, key)
        if body is not None:
            return body
    return None


def _xml_body(text: str, key: str) -> str | None:
    start = re.search(rf"<{re.escape(key)}(?:\s[^<>]*)?>", text)
    if start is None:
        return None
    end = text.find(f"</{key}>", start.end())
    if end < 0:
        raise ValueError(f"<{key}> does not end")
    return text[start.end() : end]


def _without_comments(text: str) -> str:
    parts: list[str] = []
    position = 0
    while (start := text.find("<!--", position)) >= 0:
        parts.append(text[position:start])
        end = text.find("-->", start)
        if end < 0:
            raise ValueError("a comment does not end")
        position = end + 3
    return "".join([*parts, text[position:]])


def _yaml_body(text: str, key: str) -> str | None:
    """What follows `key:` at the start of a line, with the indented (or listed) lines below it."""
    lines = text.splitlines()
    wanted = re.compile(rf"[\"']?{re.escape(key)}[\"']?[ \t]*:(?=\s|$)")
    for index, line in enumerate(lines):
        match = wanted.match(line)
        if match is None:
            continue
        body = [line[match.end() :]]
        for below in lines[index + 1 :]:
            if below.strip() and not below.startswith((" ", "\t", "- ", "]")):
                break
            body.append(below)
        return "\n".join(part.split("#", 1)[0] for part in body)
    return None


def _yaml_data(body: str) -> str | None:
    """The value of `data:` within a map; None when the body is no such map."""
    start = re.search(r"(?:^|[\s{,])data[ \t]*:", body)
    if start is None:
        return None
    rest = body[start.end() :]
    if rest.lstrip().startswith("["):
        depth = 0
        for match in re.finditer(r"[\[\]]", rest):
            depth += 1 if match[0] == "[" else -1
            if depth == 0:
                return rest[: match.end()]
        raise ValueError("a list does not end")
    following = re.search(r"(?m)^[ \t]*[A-Za-z_]\w*[ \t]*:", rest)
    return rest if following is None else rest[: following.start()]
