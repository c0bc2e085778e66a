"""The takes of the benchmark: who does what, how fast, before which camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import warp as wp

from bodystream.avatar.rig import load_rig
from bodystream.errors import ConfigurationError
from bodystream.evaluation.capture.pieces import load_pieces
from bodystream.sources.synthetic import (
    Clothes,
    Person,
    RecordedMotion,
    Scene,
    SyntheticConfig,
    SyntheticSource,
    build_person,
    strung_together,
)

__all__ = ["LONG", "TAKES", "Take", "choose_takes"]


@dataclass(frozen=True, slots=True)
class Take:
    """One take.

    Attributes:
        name: as in `pieces.load_pieces`, except of `LONG`.
        person: whose build it has. speed: how much faster than recorded. yaw_deg: how the person stands at the start.
        seed: of the noise. distance_m: from the camera.
        held_out: never looked at while anything is tuned.
        pieces: what is done; several are blended into one another.
    """

    name: str
    person: Person
    speed: float
    seed: int
    yaw_deg: float = 0.0
    distance_m: float = 2.3
    held_out: bool = False
    pieces: tuple[str, ...] = ()

    def source(
        self, frames: int, device: wp.Device, *, speed: float = 1.0, size: tuple[int, int] = (640, 480)
    ) -> SyntheticSource:
        """The synthetic camera before which it happens.

        Args:
            speed: a factor on the take's own.
            size: of the images, width and height [px].
        """
        pieces = load_pieces()
        clips = [pieces[name] for name in self.pieces or (self.name,)]
        clip = clips[0] if len(clips) == 1 else strung_together(clips, self.name)
        body = build_person(load_rig(), clips[0].skeleton, self.person)
        motion = RecordedMotion(body, clip, self.speed * speed, np.deg2rad(self.yaw_deg))
        config = SyntheticConfig(seed=self.seed, width=size[0], height=size[1], frames=frames)
        scene = Scene(distance_m=self.distance_m, wall_m=self.distance_m + 1.2)
        return SyntheticSource(config, device, scene=scene, body=body.skin, motion=motion)


_SKINS = {"light": (205, 165, 140), "tan": (170, 125, 95), "dark": (105, 72, 55)}
_NAVY, _BLACK, _GREY, _BEIGE = (40, 50, 85), (38, 38, 42), (120, 122, 125), (176, 158, 130)
_WHITE, _RED, _GREEN, _MUSTARD = (205, 205, 200), (150, 45, 45), (60, 100, 65), (180, 140, 55)
_JEANS, _BROWN, _PINK, _TEAL = (70, 95, 140), (90, 65, 50), (200, 130, 140), (45, 110, 115)


def _clothes(top: tuple[int, int, int], trousers: tuple[int, int, int], skin: str) -> Clothes:
    return Clothes(top, trousers, _BLACK if trousers != _BLACK else _WHITE, _SKINS[skin])


# Four builds for tuning and three others held out.
_MEDIUM = Person(1.70, 1.0, _clothes(_RED, _JEANS, "light"))
_TALL = Person(1.88, 0.95, _clothes(_GREY, _BLACK, "tan"))
_SMALL = Person(1.56, 1.0, _clothes(_MUSTARD, _NAVY, "dark"))
_STOUT = Person(1.74, 1.25, _clothes(_WHITE, _GREY, "light"))
_SLIM = Person(1.80, 0.85, _clothes(_GREEN, _BEIGE, "tan"))
_BROAD = Person(1.83, 1.18, _clothes(_NAVY, _BROWN, "dark"))
_SHORT = Person(1.60, 1.08, _clothes(_PINK, _TEAL, "light"))

TAKES = (
    Take("cross", _STOUT, 1.0, 10),
    Take("strike", _MEDIUM, 0.4, 11),
    Take("hips", _SMALL, 2.0, 12),
    Take("clap", _MEDIUM, 1.0, 13, yaw_deg=15.0),
    Take("signal", _TALL, 0.7, 14, distance_m=2.5),
    Take("walk", _MEDIUM, 1.0, 15, yaw_deg=-25.0),
    Take("sit", _STOUT, 1.0, 16, yaw_deg=20.0),
    Take("turn", _SMALL, 1.0, 17),
    Take("dance", _SMALL, 0.6, 18, distance_m=2.4),
    Take("box", _TALL, 0.5, 19, yaw_deg=20.0, distance_m=2.4),
    Take("bend", _MEDIUM, 1.0, 20, yaw_deg=-15.0),
    Take("pick-up", _TALL, 1.5, 21, distance_m=2.5),
    Take("salsa", _STOUT, 0.8, 22, yaw_deg=-10.0),
    Take("fold", _SLIM, 1.0, 31, held_out=True),
    Take("traffic", _BROAD, 0.5, 32, yaw_deg=10.0, distance_m=2.5, held_out=True),
    Take("gesture", _SHORT, 0.8, 33, yaw_deg=-15.0, held_out=True),
    Take("stool", _BROAD, 1.5, 34, yaw_deg=25.0, distance_m=2.4, held_out=True),
    Take("spar", _SLIM, 0.5, 35, distance_m=2.4, held_out=True),
    Take("stroll", _SHORT, 1.0, 36, held_out=True),
)
"""The set. Six of the nineteen are held out: motions, builds and clothes that no other take has."""

LONG = Take("long", _MEDIUM, 1.0, 41, pieces=tuple(take.name for take in TAKES if not take.held_out), distance_m=2.4)
"""All motions for tuning one after another, again and again; it is no part of the set."""


def choose_takes(words: Sequence[str]) -> tuple[Take, ...]:
    """The takes of these names; `all`, `tuning` and `held-out` stand for several.

    Raises:
        ConfigurationError: no such take, or none was named.
    """
    groups = {
        "all": TAKES,
        "tuning": tuple(take for take in TAKES if not take.held_out),
        "held-out": tuple(take for take in TAKES if take.held_out),
        **{take.name: (take,) for take in (*TAKES, LONG)},
    }
    chosen: dict[str, Take] = {}
    for word in words:
        if word not in groups:
            raise ConfigurationError(f"there is no take {word!r}: choose of {', '.join(groups)}")
        chosen.update((take.name, take) for take in groups[word])
    if not chosen:
        raise ConfigurationError("no take was named: give all, tuning, held-out, or names")
    return tuple(chosen.values())
