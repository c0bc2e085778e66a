"""Messages stay short and printable, whatever they quote."""

from __future__ import annotations

import pytest

from bodystream.errors import BodystreamError, InputError, MissingDependencyError, excerpt


@pytest.mark.parametrize("text", ["\x1b[2Jcleared", "a\x00b", "bell\x07", "right\u202eleft"])
def test_control_characters_do_not_reach_a_terminal(text: str) -> None:
    message = str(InputError(f"take.bvh: unknown word {text}"))
    assert message.startswith("take.bvh: unknown word ") and message.isprintable()


def test_a_long_message_keeps_its_ends() -> None:
    message = str(BodystreamError("take.bvh: " + "x" * 100_000 + ": give another file"))
    assert len(message) < 1500
    assert message.startswith("take.bvh: ") and message.endswith(": give another file")


def test_an_ordinary_message_is_as_it_was() -> None:
    assert str(InputError("größer: 3 m\nnext")) == "größer: 3 m\nnext"
    assert MissingDependencyError("x", "to y", "Install it").package == "x"


@pytest.mark.parametrize(("value", "expected"), [("abc", "'abc'"), (12, "12"), (b"\x00", "b'\\x00'")])
def test_excerpts_are_quoted(value: object, expected: str) -> None:
    assert excerpt(value) == expected


def test_excerpts_are_short() -> None:
    assert len(excerpt("y" * 10**6)) == 60 and excerpt("y" * 10**6).endswith("...")
    assert len(excerpt(10**400, 20)) == 20
