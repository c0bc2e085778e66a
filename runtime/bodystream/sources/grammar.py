"""What a user types to choose a source, `kind:target?key=value&key=value`, read into the source's own config.

Cameras (`sources.open`) and headsets (`sources.headset.open`) have a table of kinds each; a new source is one row. The
fields of its config are the keys, so that what can be typed, what help shows and what a program may give are one.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import math
import os
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin
from urllib.parse import unquote

from bodystream.errors import ConfigurationError, InputError, excerpt
from bodystream.types import CameraIntrinsics

__all__ = ["Choice", "SourceKind", "choose", "describe_kinds", "form_of", "split_keys"]

How = TypeVar("How")
S = TypeVar("S")

_MAX_SPEC = 8192
_KIND = re.compile(r"[A-Za-z0-9_-]+")
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")
_SWITCH = {"1": True, "0": False, "on": True, "off": False, "true": True, "false": False}
_INTRINSICS = "FX,FY,CX,CY,WIDTH,HEIGHT"


@dataclass(frozen=True, slots=True)
class SourceKind(Generic[How, S]):
    """One kind of source.

    Attributes:
        name: what is typed first.
        summary: a few words for help.
        config: `module:Class` of its frozen config, imported when the kind is asked for or explained.
        open: makes the source of the text after the colon, the config, and what the session wants of it.
        target: what stands after the colon, for help: `PATH`; empty where nothing does.
        optional: whether the target may be left away.
        target_key: the config's field that the target is read into; empty where `open` takes it as it is.
        hidden: fields of the config that are not for users to give, since the session decides on them.
    """

    name: str
    summary: str
    config: str
    open: Callable[[str, Any, How], S]
    target: str = ""
    optional: bool = False
    target_key: str = ""
    hidden: tuple[str, ...] = ()

    def keys(self) -> dict[str, Any]:
        """The keys that may follow the question mark, each with its type."""
        return {name: hint for name, hint in _fields(self.config_type()).items() if name not in self.hidden}

    def config_type(self) -> type[Any]:
        """Import the config."""
        module, _, name = self.config.partition(":")
        return getattr(importlib.import_module(module), name)


@dataclass(frozen=True, slots=True)
class Choice(Generic[How, S]):
    """What a specification says.

    Attributes:
        kind: of source.
        target: the text after the colon, or empty.
        config: made of the keys.
    """

    kind: SourceKind[How, S]
    target: str
    config: Any

    def open(self, how: How) -> S:
        """Make the source."""
        return self.kind.open(self.target, self.config, how)


def choose(spec: str, kinds: Sequence[SourceKind[How, S]], noun: str) -> Choice[How, S]:
    """Read a specification.

    A question mark that is part of the name of a file or folder that is there begins no keys. In a value, `%26` is an
    `&` and `%25` a `%`.

    Args:
        spec: `kind`, `kind:target`, and behind either `?key=value&key=value`.
        kinds: that there are.
        noun: what is chosen, for messages: `source`.

    Raises:
        ConfigurationError: no such kind or key, or a value that the key cannot take; the message names key, value,
            what is allowed, and what was probably meant.
    """
    if not isinstance(spec, str) or "\x00" in spec or len(spec) > _MAX_SPEC:
        raise ConfigurationError(
            f"a {noun} is text of up to {_MAX_SPEC} characters without null characters, got {excerpt(spec)}"
        )
    found = _KIND.match(spec)
    name, rest = ("", spec) if found is None else (found.group(), spec[found.end() :])
    kind = next((kind for kind in kinds if kind.name == name), None)
    if kind is None or rest[:1] not in ("", ":", "?"):
        raise ConfigurationError(_unknown_kind(spec, name, kinds, noun))
    target, query = split_keys(rest[1:] if rest.startswith(":") else rest)
    if not target and kind.target and not kind.optional:
        raise ConfigurationError(f"{kind.name} has to be told which: write {form_of(kind)}, got {excerpt(spec, 200)}")
    if target and not kind.target:
        raise ConfigurationError(f"{kind.name} takes nothing after the colon, got {excerpt(spec)}: write {kind.name}")
    values = _values(kind, query, spec)
    if target and kind.target_key:
        if kind.target_key in values:
            raise ConfigurationError(
                f"{kind.name}: {kind.target_key} is given twice in {excerpt(spec, 200)}, behind the colon and as a key"
            )
        values[kind.target_key] = _value(kind, kind.target_key, target)
    return Choice(kind, target, kind.config_type()(**values))


def form_of(kind: SourceKind[Any, Any]) -> str:
    """How a kind is written, without keys: `synthetic[:SEED]`."""
    if not kind.target:
        return kind.name
    return f"{kind.name}[:{kind.target}]" if kind.optional else f"{kind.name}:{kind.target}"


def describe_kinds(kinds: Iterable[SourceKind[Any, Any]], width: int = 80) -> str:
    """All kinds with their keys, for help; indented lines of `width` columns at most."""
    lines: list[str] = []
    for kind in kinds:
        keys = " ".join(f"{name}={_shown(hint)}" for name, hint in kind.keys().items())
        for text, indent in ((f"{form_of(kind)}: {kind.summary}", 2), (keys, 4)):
            spaces = " " * indent
            for line in textwrap.wrap(
                text,
                max(width, 40),
                initial_indent=spaces,
                subsequent_indent=spaces,
                break_long_words=False,
                break_on_hyphens=False,
            ):
                lines += _broken(line, max(width, 40), f"{spaces}    ")
    return "\n".join(lines)


def _broken(line: str, width: int, indent: str) -> list[str]:
    """A line in which a key alone has more values than fit, broken behind one of them."""
    out = []
    while len(line) > width and (at := line.rfind("|", 0, width) + 1) > len(indent):
        out.append(line[:at])
        line = indent + line[at:]
    return [*out, line]


def split_keys(rest: str) -> tuple[str, str]:
    """Target and keys of what stands behind the colon. Of several question marks the last one counts before which a
    path ends that is there."""
    if "?" not in rest or _is_there(rest):
        return rest, ""
    cuts = [cut for cut, letter in enumerate(rest) if letter == "?"][:64]
    cut = next((cut for cut in reversed(cuts) if _is_there(rest[:cut])), cuts[0])
    return rest[:cut], rest[cut + 1 :]


def _is_there(path: str) -> bool:
    return bool(path) and os.path.exists(os.path.expanduser(path))


def _values(kind: SourceKind[Any, Any], query: str, spec: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    known = kind.keys()
    for pair in query.split("&") if query else ():
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise ConfigurationError(
                f"cannot read {excerpt(pair)} in {excerpt(spec, 200)}: behind the question mark stands key=value, "
                f"several joined by & (keys of {kind.name}: {', '.join(known) or 'none'})"
            )
        if name not in known:
            raise ConfigurationError(
                f"{kind.name} has no key {excerpt(name)}, got {excerpt(spec, 200)}{_meant(name, known)} (keys: "
                f"{', '.join(known) or 'none'})"
            )
        if name in values:
            raise ConfigurationError(f"{kind.name}: {name} is given twice in {excerpt(spec, 200)}: leave one away")
        values[name] = _value(kind, name, unquote(text))
    return values


def _value(kind: SourceKind[Any, Any], name: str, text: str) -> Any:
    hint = kind.keys()[name]
    try:
        return _read(_without_none(hint), text)
    except InputError as error:
        raise ConfigurationError(f"{kind.name}: {name}={text} cannot be used: {error}") from error
    except ValueError as error:
        literals = [str(value) for value in get_args(_without_none(hint))]
        raise ConfigurationError(
            f"{kind.name}: {name} must be {error}, got {excerpt(text)}{_meant(text, literals)}"
        ) from error


def _read(hint: Any, text: str) -> Any:
    """A value of the type from text. ValueError: what is wanted instead."""
    if get_origin(hint) is Literal:
        for value in get_args(hint):
            if str(value) == text:
                return value
        raise ValueError(f"one of {', '.join(str(value) for value in get_args(hint))}")
    if hint is bool:
        if text not in _SWITCH:
            raise ValueError("1 or 0 (or on or off, true or false)")
        return _SWITCH[text]
    if hint is int:
        if not _WHOLE.fullmatch(text):
            raise ValueError("a whole number")
        return int(text)
    if hint is float:
        return _number(text, "a number")
    if hint is CameraIntrinsics:
        parts = text.split(",")
        if len(parts) != 6:
            raise ValueError(f"six numbers {_INTRINSICS}")
        fx, fy, cx, cy = (_number(part, f"six numbers {_INTRINSICS}") for part in parts[:4])
        return CameraIntrinsics(fx, fy, cx, cy, _size(parts[4]), _size(parts[5]))
    if hint is Path:
        if not text:
            raise ValueError("the path of a file or folder")
        return Path(text).expanduser()
    if get_origin(hint) is tuple:
        return tuple(_read(get_args(hint)[0], part) for part in text.split(",")) if text else ()
    return text


def _number(text: str, wanted: str) -> float:
    try:
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(wanted)
    return value


def _size(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"six numbers {_INTRINSICS}, of which width and height are whole")
    return int(text)


def _shown(hint: Any) -> str:
    """A type as help shows it."""
    hint = _without_none(hint)
    if get_origin(hint) is Literal:
        return "|".join(str(value) for value in get_args(hint))
    if get_origin(hint) is tuple:
        return f"{_shown(get_args(hint)[0])},..."
    names = {bool: "0|1", int: "INT", float: "NUMBER", Path: "PATH", CameraIntrinsics: _INTRINSICS}
    return names.get(hint, "TEXT")


def _without_none(hint: Any) -> Any:
    """`X` of `X | None`."""
    if get_origin(hint) in (Union, types.UnionType):
        return next(part for part in get_args(hint) if part is not type(None))
    return hint


@cache
def _fields(config: type[Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(config)
    return {field.name: hints[field.name] for field in dataclasses.fields(config)}


def _meant(word: str, known: Iterable[str]) -> str:
    """What was probably meant, as the end of a sentence, or nothing."""
    known = list(known)
    close = (
        difflib.get_close_matches(word[:100], known, n=1)
        or [name for name in known if word and name.startswith(word)][:1]
    )
    return f": did you mean {close[0]}?" if close else ""


def _unknown_kind(spec: str, name: str, kinds: Sequence[SourceKind[Any, Any]], noun: str) -> str:
    forms = ", ".join(form_of(kind) for kind in kinds)
    if _is_there(spec):
        taking = [kind for kind in kinds if kind.target in ("PATH", "FILE")]
        hint = f": for a recording write {' or '.join(f'{kind.name}:{spec}' for kind in taking)}"
    else:
        hint = _meant(name.lower(), (kind.name for kind in kinds))
    return f"there is no {noun} {excerpt(spec, 200)}{hint} (there are {forms}; keys follow as ?key=value&key=value)"
