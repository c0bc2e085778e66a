"""Makes a take: one subject in one outfit through recorded motions, frame by frame into a folder, and resumable."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from bodystream.avatar.take.canonical import (
    pose_of_bones,
    posed_from_canonical,
    rest_joints,
)
from bodystream.avatar.take.files import save_frame, save_head, save_truth
from bodystream.avatar.take.frames import AvatarTake, PosedFrame, TakeTruth
from bodystream.errors import ConfigurationError
from bodystream.files import atomic_path, read_bounded
from bodystream.types import Array
from bodystream_training.avatar.data.garments.cloth import ClothConfig, ClothSimulation
from bodystream_training.avatar.data.garments.dressing import ClothedSurface, Dressed
from bodystream_training.avatar.data.garments.motions import HOLD_S, START_S, PieceOfMotion, WornMotion, worn_motion
from bodystream_training.avatar.data.garments.patterns import OUTFITS
from bodystream_training.avatar.data.garments.wearer import Wearer
from bodystream_training.avatar.data.surface import QuerySurface

__all__ = ["DEEPEST_M", "Generator", "GeneratorConfig", "Plan", "read_log"]

_CALM_SHARE, _CALM_DRAG_PER_S = 1 / 3, 8.0
_RECORD, _LOG = "generator.json", "log.jsonl"
DEEPEST_M = 0.01
"""No frame is kept where cloth is deeper below the skin, at a vertex or the middle of a face."""
_OUTWARDS_M = 0.004
_FASTEST_M = 8.0


@dataclass(frozen=True, slots=True)
class GeneratorConfig:
    """What is made.

    Attributes:
        subject: of `wearer.SUBJECTS`. outfit: of `patterns.OUTFITS`.
        train, test: names of motions, as `motions.read_pieces` takes them.
        rate_hz: of the frames that are kept; a whole part of the simulation's.
        speed: of the motions, 1 = as recorded.
        seed: of the subject's proportions.
        start_s: from the canonical pose to a motion's first one. hold_s: in that.
        settle_s: in which each garment comes to rest on the canonical pose.
    """

    subject: int
    outfit: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    rate_hz: float = 12.0
    speed: float = 0.9
    seed: int = 0
    start_s: float = START_S
    hold_s: float = HOLD_S
    settle_s: float = 1.5


@dataclass(frozen=True, slots=True)
class Plan:
    """One motion and the frames that are kept of it.

    Attributes:
        motion: with the way to it from the canonical pose.
        kept: numbers of simulated frames. first: number of the first one's file.
    """

    motion: WornMotion
    kept: tuple[int, ...]
    first: int


class Generator:
    """Makes a take into a folder. What is there already of the same settings stays.

    Args:
        say: told of each kept frame: how many there are of how many, and the motion's name.

    Raises:
        ConfigurationError: an outfit or subject that is not known, a rate that does not divide the simulation's, or a
            folder with a take of other settings.
        MissingDependencyError: newton is not installed.
    """

    def __init__(
        self,
        out: Path,
        config: GeneratorConfig,
        train: list[PieceOfMotion],
        test: list[PieceOfMotion],
        cloth: ClothConfig | None = None,
    ) -> None:
        if config.outfit not in OUTFITS:
            raise ConfigurationError(f"there is no outfit {config.outfit}: give one of {', '.join(OUTFITS)}")
        self.out, self.config, self.cloth = out, config, cloth or ClothConfig()
        simulated_hz = 1.0 / self.cloth.frame_s
        self._stride = round(simulated_hz / config.rate_hz)
        if self._stride < 1 or abs(self._stride * config.rate_hz - simulated_hz) > 1e-6 * simulated_hz:
            raise ConfigurationError(
                f"--rate-hz must be {simulated_hz:g} or a whole part of it (30, 20, 15, 12, 10), got {config.rate_hz:g}"
            )
        self._check_record()
        self._left_out = {line["frame"] for line in read_log(out) if not line["kept"]}
        outfit = OUTFITS[config.outfit]
        self.wearer = Wearer(config.subject, config.seed, outfit.paint)
        self.dressed = Dressed(self.wearer, outfit)
        self._whole: ClothSimulation | None = None
        self.plans = self._planned([*train, *test], simulated_hz)

    @property
    def left_out(self) -> int:
        """How many frames were made and not kept, since cloth was too deep below the skin."""
        return len(self._left_out)

    @property
    def done(self) -> int:
        """Frames of the motions that are whole."""
        return sum(len(plan.kept) for plan in self.plans if self._is_whole(plan))

    @property
    def frames(self) -> int:
        """How many the take will have."""
        return sum(len(plan.kept) for plan in self.plans)

    def _planned(self, pieces: list[PieceOfMotion], simulated_hz: float) -> list[Plan]:
        """The first motion is kept with its way from the canonical pose, the others from their begin on.

        Motions for training and for tests take turns, so that a take that is not finished has both.
        """
        config = self.config
        plans: list[Plan] = []
        first = 0
        count = len(config.train)
        turns = [piece for pair in zip_longest(pieces[:count], pieces[count:]) for piece in pair if piece is not None]
        for number, piece in enumerate(turns):
            motion = worn_motion(piece, self.wearer, simulated_hz, config.speed, config.start_s, config.hold_s)
            kept = tuple(range(0 if number == 0 else motion.begins, len(motion), self._stride))
            plans.append(Plan(motion, kept, first))
            first += len(kept)
        return plans

    def _check_record(self) -> None:
        """Write down the settings, or refuse a folder that was made with others."""
        mine = json.loads(json.dumps({"config": asdict(self.config), "cloth": asdict(self.cloth)}))
        path = self.out / _RECORD
        if path.exists():
            theirs = json.loads(read_bounded(path, 1 << 20))
            if theirs != mine:
                flat = {**theirs.get("config", {}), **theirs.get("cloth", {})}
                other = {**mine["config"], **mine["cloth"]}
                names = sorted(name for name in other if flat.get(name) != other[name])
                raise ConfigurationError(
                    f"{self.out} holds a take of other settings ({', '.join(names)}): choose another folder, or give "
                    "the settings that it was begun with"
                )
            return
        with atomic_path(path) as waiting:
            waiting.write_text(json.dumps(mine, indent=1) + "\n", encoding="utf-8")

    def run(self, say: Callable[[int, int, str], None], stopped: Callable[[], bool] = lambda: False) -> bool:
        """Make what is missing; False where it was stopped. A motion that was not finished is begun anew.

        Raises:
            ConfigurationError: cloth flew apart.
        """
        missing = [plan for plan in self.plans if not self._is_whole(plan)]
        done = self.done
        if not missing and (self.out / "truth.npz").is_file():
            return True
        at_rest = self._settled(stopped)
        if at_rest is None:
            return False
        self._save_head(at_rest)
        for plan in missing:
            for frame, surface, seconds in self._moved(plan, at_rest, stopped):
                kept = surface.deepest_m[1] <= DEEPEST_M
                self._note(frame.number, surface, seconds, kept)
                if kept:
                    save_frame(self.out, frame)
                else:
                    self._left_out.add(frame.number)
                done += 1
                say(done, self.frames, plan.motion.name)
            if stopped():
                return False
        return True

    def _is_whole(self, plan: Plan) -> bool:
        numbers = range(plan.first, plan.first + len(plan.kept))
        return all(n in self._left_out or (self.out / "frames" / f"{n:06}.npz").is_file() for n in numbers)

    def _simulation(self, pieces: int | None = None) -> ClothSimulation:
        return ClothSimulation(
            self.dressed.pieces[:pieces], self.wearer.canonical_surface, self.wearer.faces, self.cloth
        )

    def _settled(self, stopped: Callable[[], bool]) -> list[Array] | None:
        """Clothes at rest on the canonical pose; inner ones are put on before outer ones, which go around them."""
        body = self.wearer.canonical_surface
        done: list[Array] = []
        for number in range(1, len(self.dressed.pieces) + 1):
            simulation = self._simulation(number)
            simulation.place_body(body)
            simulation.place(np.concatenate([*done, self.dressed.pieces[number - 1].positions]))
            steps = round(self.config.settle_s / self.cloth.frame_s)
            for step in range(steps):
                if stopped():
                    return None
                simulation.step(body, _CALM_DRAG_PER_S if step < _CALM_SHARE * steps else None)
            done = simulation.positions
        return done

    def _save_head(self, at_rest: list[Array]) -> None:
        config, dressed = self.config, self.dressed
        canonical = dressed.surface(self.wearer.canonical_surface, at_rest).vertices
        take = AvatarTake(
            str(config.subject), config.outfit, config.seed, config.rate_hz,
            rest_joints(self.wearer.skeleton).astype(np.float32), (),
            {"train": config.train, "test": config.test},
            faces=dressed.faces, colours=dressed.colours, skin_weights=dressed.skin_weights(canonical),
            origin="generated: recorded motion, simulated clothes",
        )  # fmt: skip
        save_head(self.out, take)
        save_truth(self.out, TakeTruth(canonical, _outer(canonical, dressed.faces), dressed.garment))

    def _moved(
        self, plan: Plan, at_rest: list[Array], stopped: Callable[[], bool]
    ) -> Iterator[tuple[PosedFrame, ClothedSurface, float]]:
        """The frames that are kept of a motion, each with its surface and the seconds that it took.

        It is simulated as seen from somebody who goes along the motion's path, whose acceleration acts on the cloth:
        cloth of somebody who walks is not fast then, and the air goes along.
        """
        motion, wearer = plan.motion, self.wearer
        simulation = self._simulation(len(self.dressed.pieces))
        start = motion.root_positions_m[0] - motion.path_m[0]
        simulation.place(np.concatenate(at_rest) + start)
        simulation.place_body(wearer.canonical_surface + start)
        kept = {index: plan.first + number for number, index in enumerate(plan.kept)}
        began = time.perf_counter()
        for index in range(len(motion)):
            if stopped():
                return
            body = wearer.surface(motion.rotations[index], motion.root_positions_m[index])
            simulation.step(body - motion.path_m[index], acceleration_m_s2=motion.accelerations_m_s2[index])
            if index not in kept:
                continue
            pieces = [piece + motion.path_m[index] for piece in simulation.positions]
            middle = body.mean(axis=0)
            if not all(np.isfinite(p).all() and np.abs(p - middle).max() < _FASTEST_M for p in pieces):
                raise ConfigurationError(
                    f"cloth flew apart in {motion.name} at frame {index}: give a slower --speed or another motion"
                )
            surface = self.dressed.surface(body, pieces)
            transforms = posed_from_canonical(wearer.skeleton, motion.rotations[index], motion.root_positions_m[index])
            frame = PosedFrame(
                kept[index], motion.name, surface.vertices, transforms.astype(np.float32),
                pose_of_bones(transforms).astype(np.float32),
            )  # fmt: skip
            seconds, began = time.perf_counter() - began, time.perf_counter()
            yield frame, surface, seconds

    def _note(self, number: int, surface: ClothedSurface, seconds: float, kept: bool) -> None:
        """A line of the log: frame, seconds, how deep cloth was below the skin before and after it was pushed out."""
        deepest_mm = [round(1e3 * depth, 2) for depth in surface.deepest_m]
        line = {"frame": number, "seconds": round(seconds, 3), "deepest_mm": deepest_mm, "kept": kept}
        with open(self.out / _LOG, "a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")


def read_log(out: Path) -> list[dict[str, Any]]:
    """What was noted of each frame that was made: `frame`, `seconds`, `deepest_mm` before and after, `kept`. Of a frame
    that was made twice, the last."""
    path = out / _LOG
    if not path.is_file():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return list({line["frame"]: line for line in lines}.values())


def _outer(vertices: Array, faces: Array) -> Array:
    """(V,) whether a little outwards of each vertex is outside of everything."""
    points = vertices.astype(np.float64)
    a, b, c = (points[faces[:, k]] for k in range(3))
    normals = np.zeros_like(points)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], np.cross(b - a, c - a))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    return ~QuerySurface(vertices, faces).nearest(points + _OUTWARDS_M * normals).inside
