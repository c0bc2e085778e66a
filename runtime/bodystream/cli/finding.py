"""One finding of `bodystream doctor`, and what its checks share."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from typing import Literal

__all__ = ["Check", "State", "distribution_version", "first_line"]

State = Literal["ok", "missing", "optional"]


@dataclass(frozen=True, slots=True)
class Check:
    """One finding.

    Attributes:
        name: what was looked at.
        state: `ok`; `missing` where something that everyone needs does not work; `optional` where something is
            absent that only some uses need.
        found: what is there, or why it is not.
        remedy: what to do, empty where nothing is to be done.
    """

    name: str
    state: State
    found: str
    remedy: str = ""


def distribution_version(distribution: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def first_line(error: BaseException) -> str:
    """What an error says, without the rest of a long one."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
