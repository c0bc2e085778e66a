"""Who trains, who validates and who tests: whole subjects, chosen by name or by chance."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bodystream.errors import ConfigurationError, InputError, excerpt
from bodystream.files import atomic_path, read_text_bounded
from bodystream.sources.motion import UNIDENTIFIED

__all__ = ["RUN_FACTS", "SPLITS", "SplitChoice", "Splits", "read_run", "split_of", "write_run"]

Splits = Mapping[str, tuple[str, ...]]
"""`test` and `validation`, each with the names of its subjects."""

SPLITS: Splits = {
    "test": ("cmu_02", "cmu_08", "cmu_16", "cmu_17"),
    "validation": ("cmu_09", "cmu_06"),
}
"""Whole subjects of CMU's data that the shipped network never saw."""

RUN_FACTS = "run.json"
_MAX_FACTS_BYTES = 16 << 20
_SHOWN = 12


def split_of(subject: str, splits: Splits = SPLITS) -> str:
    """Which split a subject belongs to; takes of nobody knows whom may be of a tested person: `none`."""
    if subject.startswith(UNIDENTIFIED):
        return "none"
    return next((name for name, subjects in splits.items() if subject in subjects), "train")


@dataclass(frozen=True, slots=True)
class SplitChoice:
    """What a user asked for.

    Attributes:
        validation, test: names of subjects; None = not said.
        validation_share, test_share: share of all subjects to draw, in (0, 1); None = not said.
        seed: of the draw. The same subjects and seed give the same split, whatever is trained.
    """

    validation: tuple[str, ...] | None = None
    test: tuple[str, ...] | None = None
    validation_share: float | None = None
    test_share: float | None = None
    seed: int = 0

    def resolve(self, subjects: Iterable[str], data: str) -> Splits:
        """Names of the subjects of `test` and `validation`; the published ones of CMU's data where nothing is said.

        Raises:
            ConfigurationError: a name that is not there, one in both, a share out of range, nobody left to train.
            InputError: nothing was said and no validation subject is among the data.
        """
        known = sorted({subject for subject in subjects if not subject.startswith(UNIDENTIFIED)})
        test = self._named("test", self.test, self.test_share, known, data)
        validation = self._named("validation", self.validation, self.validation_share, known, data)
        free = [subject for subject in known if subject not in (*(test or ()), *(validation or ()))]
        drawn = [free[i] for i in np.random.default_rng(self.seed).permutation(len(free))]
        if validation is None and self.validation_share is not None:
            validation = tuple(sorted(drawn[: _count(self.validation_share, known)]))
            drawn = drawn[len(validation) :]
        if test is None and self.test_share is not None:
            test = tuple(sorted(drawn[: _count(self.test_share, known)]))
        test = SPLITS["test"] if test is None else test
        if validation is None:
            validation = SPLITS["validation"]
            if not set(validation) & set(known):
                raise InputError(
                    f"{data} has no clip of a validation subject ({', '.join(validation)}, unless you name others): "
                    f"say who validates, --validation NAME ... or --validation-share 0.1; subjects here: "
                    f"{_listed(known)}"
                )
        both = sorted(set(test) & set(validation))
        if both:
            raise ConfigurationError(f"{', '.join(both)} cannot be of the test and of the validation: leave one out")
        if not set(known) - {*test, *validation}:
            raise ConfigurationError(
                f"nobody is left to train: {data} has {len(known)} subjects ({_listed(known)}). Subjects are told by "
                "the folders of their takes, or by index.csv: give takes of more people, or keep fewer of them out"
            )
        return {"test": test, "validation": validation}

    @staticmethod
    def _named(
        split: str, names: tuple[str, ...] | None, share: float | None, known: list[str], data: str
    ) -> tuple[str, ...] | None:
        if share is not None:
            if not 0 < share < 1:
                raise ConfigurationError(f"--{split}-share must lie between 0 and 1, got {share}")
            if names is not None:
                raise ConfigurationError(f"give --{split} NAME ... or --{split}-share, not both")
        missing = [name for name in names or () if name not in known]
        if missing:
            raise ConfigurationError(
                f"--{split}: {data} has no subject {', '.join(excerpt(name) for name in missing)}; subjects: "
                f"{_listed(known)}"
            )
        return names


def _count(share: float, known: list[str]) -> int:
    return max(1, round(share * len(known)))


def _listed(subjects: list[str]) -> str:
    shown = [subject or "(unnamed)" for subject in subjects[:_SHOWN]]
    return ", ".join(shown) + (f" and {len(subjects) - _SHOWN} more" if len(subjects) > _SHOWN else "")


def read_run(folder: Path) -> dict:
    """What `run.json` of a training run says: `subjects`, `recipes`, `splits`; the published splits where it has none.

    Raises:
        InputError: it is absent, damaged or no such file.
    """
    path = folder / RUN_FACTS
    try:
        facts = json.loads(read_text_bounded(path, _MAX_FACTS_BYTES))
        splits = facts.get("splits", SPLITS)
        facts["splits"] = {name: tuple(str(s) for s in splits[name]) for name in ("test", "validation")}
        facts["subjects"] = [str(subject) for subject in facts["subjects"]]
        facts["recipes"] = {str(stage): str(words) for stage, words in facts["recipes"].items()}
    except (InputError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}, which bodystream-train pose writes, cannot be read: {error}") from error
    return facts


def write_run(folder: Path, facts: dict) -> None:
    """Write `run.json`, whole or not at all."""
    with atomic_path(folder / RUN_FACTS) as temporary:
        temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
