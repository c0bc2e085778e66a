"""How options are shown."""

from __future__ import annotations

from typing import Annotated, Any

from tyro.conf import UseAppendAction, arg

__all__ = ["BundleWords", "SendWords", "optional", "shown", "switched_off"]

BundleWords = Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME=PATH", help_behavior_hint="")]
"""`--bundle NAME=PATH`, as often as there are bundles to choose; see `BundleChoice.parse`."""

SendWords = Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="RECEIVER", help_behavior_hint="")]
"""`--send kind:target?key=value`, as often as there are receivers."""


def optional(metavar: str, name: str | None = None) -> Any:
    """An option that is off unless it is given: help then says what to give, not that the default is None."""
    return arg(name=name, metavar=metavar, help_behavior_hint="")


def shown(metavar: str) -> Any:
    """An option with a default that help shows, and with what may be given in its place."""
    return arg(metavar=metavar)


def switched_off(otherwise: str) -> Any:
    """A switch that is on unless `--no-...` is given: help shows that word, and has to say what comes of it."""
    return arg(help=otherwise, help_behavior_hint="")
