"""Takes by specification: `bvh:FOLDER,amass:FOLDER`, a file, a folder, with archives in it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bodystream.errors import ConfigurationError, InputError, excerpt
from bodystream.geometry.motion import MotionClip
from bodystream.sources.motion.amass import read_amass
from bodystream.sources.motion.archives import unpacked
from bodystream.sources.motion.asf_amc import read_asf_amc
from bodystream.sources.motion.bvh import read_bvh
from bodystream.sources.motion.canonical import TakeFacts, canonical_clip
from bodystream.sources.motion.catalogue import IndexRow, index_rows, known_subject

__all__ = ["Take", "choose_take", "find_takes", "load_takes", "read_motion"]

_KINDS = {"bvh": (".bvh",), "asf": (".amc",), "amass": (".npz",)}
_KIND_OF = {ending: kind for kind, endings in _KINDS.items() for ending in endings}
_ARCHIVE = ".tar.xz"
_OTHER_CONVERSION = "_other_conversion"
_MAX_TAKES = 100_000
_NO_MOTION = re.compile(r"(?:.*_)?(?:shape|stagei)\.npz", re.IGNORECASE)
"""Files of AMASS that hold a subject's shape only."""
_AMASS_ENDING = re.compile(r"_(?:poses|stageii)$")


@dataclass(frozen=True, slots=True)
class Take:
    """One recording of one subject, not read yet.

    Attributes:
        name: of the file without its ending.
        subject: whose motion it is: `cmu_02`, `accad_Female1`, `unknown_walking`; empty where it is not known.
        path: the file.
        kind: `bvh`, `asf` or `amass`.
        rate_hz: true frames per second where an index lists it, else None: the file says it.
        description: of the motion, or empty.
        origin: which conversion or data set it is from, or empty.
        tags: where it was found: the specification's folder, the archive.
        facts: what an index says beyond the above.
        model: for AMASS, the body model that the joints are to be taken from, or None.
    """

    name: str
    subject: str
    path: Path
    kind: str
    rate_hz: float | None = None
    description: str = ""
    origin: str = ""
    tags: tuple[str, ...] = ()
    facts: TakeFacts = field(default=TakeFacts(""), repr=False)
    model: Path | None = None

    def load(self, warnings: list[str] | None = None) -> MotionClip:
        """The motion on the canonical skeleton at its own rate.

        Args:
            warnings: what had to be guessed is appended, each naming the take.

        Raises:
            InputError: the file cannot be read or is not what its ending says.
        """
        if self.kind == "bvh":
            return canonical_clip(read_bvh(self.path).motion(), self.facts, warnings)
        if self.kind == "asf":
            return canonical_clip(read_asf_amc(self.path), self.facts, warnings)
        return read_amass(self.path, self.facts, self.model, warnings)


def find_takes(spec: str) -> list[Take]:
    """All takes of one or more specifications.

    Args:
        spec: `bvh:PATH`, `asf:PATH`, `amass:PATH` or a bare PATH that is read by the files' endings; several separated
            by commas. A folder is searched through, `.tar.xz` archives in it are unpacked into the user's cache. For
            AMASS, `?model=FILE` names a SMPL model (.npz) whose joints give the proportions.

    Returns:
        Takes in order of their names. Where one name occurs twice (a sample beside the archive that it is from), the
        one out of an archive stands for both; of two equal ones, the first specification's. A take whose name ends in
        `_other_conversion` is left out where the take itself is there.

    Raises:
        InputError: a path is not there, holds no takes, or the specification is not understood.
    """
    if not spec.replace(",", "").strip():
        raise InputError("no motion data was named: give bvh:PATH, asf:PATH, amass:PATH or a path")
    indices: dict[Path, dict[str, IndexRow]] = {}
    found: dict[tuple[str, str], tuple[int, Take]] = {}
    whole = _is_there(spec)  # a comma may be part of a name
    for part in [spec] if whole else (part.strip() for part in spec.split(",") if part.strip()):
        for rank, take in _takes_of(part, indices):
            key = (take.subject, take.name)
            if key not in found or rank > found[key][0]:
                found[key] = rank, take
    for subject, name in list(found):
        if name.endswith(_OTHER_CONVERSION) and (subject, name.removesuffix(_OTHER_CONVERSION)) in found:
            del found[subject, name]
    return [found[key][1] for key in sorted(found, key=lambda key: key[::-1])]


def choose_take(spec: str, name: str | None = None, *, by: str = "take=NAME") -> Take:
    """The one take of a specification, or the one of this name.

    Args:
        by: how a person names one, for the error.

    Raises:
        ConfigurationError: there are several, or none of the name.
        InputError: as `find_takes`.
    """
    takes = find_takes(spec)
    chosen = takes if name is None else [take for take in takes if take.name == name]
    if len(chosen) != 1:
        names = ", ".join(take.name for take in takes[:8]) + (", ..." if len(takes) > 8 else "")
        got = f"{spec} holds {len(takes)} takes" + ("" if name is None else f", {len(chosen)} of them named {name}")
        raise ConfigurationError(f"{got}: choose one by its file, or by {by} of {names}")
    return chosen[0]


def read_motion(path: str | Path, take: str | None = None, *, warnings: list[str] | None = None) -> MotionClip:
    """The motion of a file on the canonical skeleton, at its own rate.

    Args:
        path: a BVH, ASF/AMC or AMASS file, a folder or an archive of them, or a specification as for `find_takes`.
        take: its name, where there are several.
        warnings: what had to be guessed is appended.

    Raises:
        ConfigurationError: there are several takes, or none of that name.
        InputError: it is not there, cannot be read, or is no motion of a person.
    """
    return choose_take(str(path), take).load(warnings)


def load_takes(
    spec: str,
    rate_hz: float | None = None,
    on_progress: Callable[[int, int, Take], None] | None = None,
    warnings: list[str] | None = None,
) -> Iterator[MotionClip]:
    """The motions of all takes of a specification, one after another.

    Args:
        spec: as for `find_takes`.
        rate_hz: to resample to; None keeps each take's own rate.
        on_progress: called before each take with its number from 0, the number of takes and the take.
        warnings: takes that cannot be read are named here with the reason and left out, as are guesses. Without a list
            an unreadable take is an error.

    Raises:
        InputError: nothing is there, or no take can be read, or one cannot and `warnings` is None.
    """
    takes = find_takes(spec)
    loaded = 0
    for number, take in enumerate(takes):
        if on_progress is not None:
            on_progress(number, len(takes), take)
        try:
            clip = take.load(warnings)
        except InputError as error:
            if warnings is None:
                raise
            warnings.append(f"{take.name} was left out: {error}")
            continue
        loaded += 1
        yield clip if rate_hz is None else clip.resampled(rate_hz)
    if not loaded:
        raise InputError(
            f"none of the {len(takes)} takes of {spec} can be read"
            + (f"; the first: {warnings[0]}" if warnings else "")
        )


def _takes_of(part: str, indices: dict[Path, dict[str, IndexRow]]) -> Iterator[tuple[int, Take]]:
    """Takes of one specification, each with its rank: 1 out of an archive, else 0."""
    kind, path, model = _parsed(part)
    if not _exists(path):
        raise InputError(f"{path} is not there: motion data is given as bvh:PATH, asf:PATH, amass:PATH or a path")
    if not path.is_file() and not path.is_dir():
        raise InputError(f"{path} is no ordinary file and no folder: give a file, or a copy of what it leads to")
    endings = _KINDS[kind] if kind else tuple(_KIND_OF)
    count = 0
    for rank, file, home, tags in _files(path, endings):
        count += 1
        if count > _MAX_TAKES:
            raise InputError(f"{path} holds more than {_MAX_TAKES} takes: name a part of it")
        if home not in indices:
            indices[home] = index_rows(home)
        yield rank, _take(file, path, indices[home].get(file.stem), (str(path), *tags), model)
    if not count:
        raise InputError(f"{path} holds no {' or '.join(endings)} files, nor archives ({_ARCHIVE}) of them")


def _is_there(spec: str) -> bool:
    try:
        return _exists(_parsed(spec)[1])
    except InputError:
        return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{excerpt(str(path))} cannot be looked at: {error}") from error


def _ordinary_files(folder: Path) -> list[Path]:
    """All ordinary files in a folder and those in it, in order; FIFOs and devices are none.

    Raises:
        InputError: a folder may not be read; left out without a word, its takes would be missed by nobody.
    """

    def refuse(error: OSError) -> None:
        raise InputError(
            f"the folder {error.filename} cannot be read ({error.strerror}): allow it, or name other folders"
        ) from error

    return sorted(
        path
        for place, _, names in os.walk(folder, onerror=refuse)
        for path in (Path(place, name) for name in names)
        if path.is_file()
    )


def _parsed(part: str) -> tuple[str | None, Path, Path | None]:
    """Kind (None: by the endings), path and model of one specification."""
    kind, colon, rest = part.partition(":")
    if not colon or kind not in _KINDS:
        kind, rest = "", part
    place, question, query = rest.partition("?model=")
    if question and kind not in ("amass", ""):
        raise InputError(f"{part}: ?model= belongs to amass:PATH, a {kind} file holds its own skeleton")
    return kind or None, Path(place).expanduser(), Path(query).expanduser() if question else None


def _files(path: Path, endings: tuple[str, ...]) -> Iterator[tuple[int, Path, Path, tuple[str, ...]]]:
    """Rank, file, the folder whose index lists it, and tags; archives are unpacked."""
    if path.is_file() and not path.name.lower().endswith(_ARCHIVE):
        if path.suffix.lower() not in endings:
            raise InputError(f"{path} is no {' or '.join(endings)} file")
        yield 0, path, path.parent, ()
        return
    inside = [path] if path.is_file() else _ordinary_files(path)
    for file in inside:
        if _NO_MOTION.fullmatch(file.name):
            continue
        if file.suffix.lower() in endings:
            yield 0, file, file.parent, ()
        elif file.name.lower().endswith(_ARCHIVE):
            for member in sorted(p for p in unpacked(file).rglob("*") if p.suffix.lower() in endings):
                yield 1, member, file.parent, (file.name,)


def _take(file: Path, root: Path, row: IndexRow | None, tags: tuple[str, ...], model: Path | None) -> Take:
    """The take of a file. What no index lists is named by its place, so that two folders' `walk.bvh` stay two takes."""
    kind = _KIND_OF[file.suffix.lower()]
    name = _AMASS_ENDING.sub("", file.stem) if kind == "amass" else file.stem
    # AMASS numbers the subjects of all its data sets alike.
    numbered = kind != "amass" or "cmu" in (part.lower() for part in file.parts)
    subject = known_subject(name, row.subject if row is not None else "", numbered)
    if not subject and file != root:
        folders = file.relative_to(root).parent.parts if file.is_relative_to(root) else ()
        if kind == "amass":  # data set / subject / take
            folders = (*root.parts[-2:], *folders)[-2:]
        subject = "_".join(folders)
        name = "/".join((*folders, name))
    facts = TakeFacts(
        name=name,
        subject=subject,
        description=row.description if row is not None else "",
        origin=(row.origin if row is not None else "") or kind,
        rate_hz=row.rate_hz if row is not None else None,
        metres_per_unit=row.metres_per_unit if row is not None else None,
        skip_first=row is not None and row.skip_first and kind == "bvh",
        up=row.up if row is not None else None,
    )
    return Take(
        name, subject, file, kind, facts.rate_hz, facts.description, facts.origin, tags, facts=facts, model=model
    )
