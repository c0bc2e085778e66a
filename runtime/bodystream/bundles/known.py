"""The bundles that bodystream asks for by name: which kind goes with each, and which distribution brings it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["KNOWN", "KnownBundle", "remedy_for"]


@dataclass(frozen=True, slots=True)
class KnownBundle:
    """One name.

    Attributes:
        kind: of the bundles that may stand for it.
        distribution: what pip installs to have it; None where one has to make it.
    """

    kind: str
    distribution: Literal["bodystream", "bodystream-bundles"] | None


KNOWN: dict[str, KnownBundle] = {
    "person": KnownBundle("skinned-body", "bodystream"),
    "pose": KnownBundle("pose-sampler", "bodystream"),
    "flow": KnownBundle("flow", "bodystream"),
    "flow-full": KnownBundle("flow", None),
    "default-clothed": KnownBundle("avatar", "bodystream"),
    "body": KnownBundle("body-decoder", "bodystream"),
}

_MAKERS = {"flow": "flow"}


def remedy_for(name: str) -> str:
    """What to do to have a bundle of this name, a command where there is one, or nothing where it is not ours."""
    if name not in KNOWN:
        return ""
    distribution = KNOWN[name].distribution
    if distribution is None:
        command = _MAKERS[KNOWN[name].kind]
        return (
            f"none is shipped; train one with bodystream-train {command}, make a bundle of it with bodystream-export "
            f"{command}, and give --bundle {name}=PATH"
        )
    if distribution == "bodystream":
        return "pip install --force-reinstall --no-deps bodystream"
    return f"pip install {distribution}"
