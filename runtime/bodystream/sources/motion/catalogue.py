"""What is known about takes beside their files: `index.csv` tables, and who moves in CMU's takes without a number."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import dataclass
from pathlib import Path

from bodystream.errors import InputError, excerpt
from bodystream.files import read_bounded
from bodystream.sources.motion.numerals import decoded, number_words
from bodystream.sources.motion.upright import axis_named

__all__ = ["UNIDENTIFIED", "IndexRow", "index_rows", "known_subject"]

UNIDENTIFIED = "unknown_"
"""How the subject of a take begins that is of some member of a group of people, nobody knows which."""

_MAX_INDEX_BYTES = 16 << 20

_SUBJECT_OF_CLIP: dict[str, str] = {
    **{f"basketball_train_{n:02}": "06" for n in range(1, 6)},
    "basketball_signal_train_01": "29",
    "basketball_signal_train_02": "29",
    "directing_traffic_train_04": "14",
    "jumping_train_02": "49",
    "running_train_02": "16",
    "walking_train_02": "05",
    "walking_train_03": "06",
    "walking_train_04": "07",
    "walking_train_05": "07",
    **{f"walking_extra_train_{n}": "08" for n in range(13, 18)},
    "walking_extra_train_24": "29",
    **{f"walking_extra_train_{n}": "16" for n in range(27, 35)},
    "walking_extra_train_51": "49",
}
"""CMU subjects of clips that a published text form of the database names by action; matched by their knee angles."""


@dataclass(frozen=True, slots=True)
class IndexRow:
    """One line of an `index.csv`.

    Attributes:
        clip: the file's name without its ending.
        subject: as listed, or empty.
        rate_hz: true frames per second, or None.
        metres_per_unit: or None.
        skip_first: whether the first frame is a T-pose.
        description: of the motion.
        origin: which conversion it is from.
        up: the axis that is up in the motion, or None.
    """

    clip: str
    subject: str
    rate_hz: float | None
    metres_per_unit: float | None
    skip_first: bool
    description: str
    origin: str
    up: str | None = None


def index_rows(folder: Path) -> dict[str, IndexRow]:
    """The rows of the `index.csv` in the folder or the nearest one above it, at most two levels; by clip.

    Raises:
        InputError: the table cannot be read, or a number in it is none.
    """
    for place in (folder, *folder.parents[:2]):
        path = place / "index.csv"
        try:
            is_there = path.is_file()
        except OSError:  # a folder above that may not be entered has nothing to say
            is_there = False
        if is_there:
            return _read(path)
    return {}


def _read(path: Path) -> dict[str, IndexRow]:
    text = decoded(read_bounded(path, _MAX_INDEX_BYTES)).replace("\r\n", "\n").replace("\r", "\n")
    header = text.partition("\n")[0]
    # Spreadsheets of countries with a decimal comma part their columns by semicolons.
    reader = csv.DictReader(io.StringIO(text), delimiter=";" if header.count(";") > header.count(",") else ",")
    try:
        return _rows(reader, path)
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: the table cannot be read: {error}") from error


def _rows(reader: csv.DictReader[str], path: Path) -> dict[str, IndexRow]:
    if "clip" not in (reader.fieldnames or ()):
        return {}  # some other table
    rows: dict[str, IndexRow] = {}
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        clip = row["clip"] or ""
        rows[clip] = IndexRow(
            clip=clip,
            subject=row.get("subject") or "",
            rate_hz=_positive(row.get("fps"), where, "fps", 1.0, 2000.0),
            metres_per_unit=_positive(row.get("unit_m"), where, "unit_m", 1e-6, 1e6),
            skip_first=(row.get("tpose_first") or "0").strip() == "1",
            description=row.get("description") or "",
            origin=row.get("origin") or "",
            up=_axis(row.get("up"), where),
        )
    return rows


def _positive(word: str | None, where: str, column: str, low: float, high: float) -> float | None:
    if not word:
        return None
    try:
        value = float(number_words(word.strip())[0])
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise InputError(f"{where}: {column} is {excerpt(word)}, wanted a positive number from {low:g} to {high:g}")
    return value


def _axis(word: str | None, where: str) -> str | None:
    if not word or not word.strip():
        return None
    if axis_named(word) is None:
        raise InputError(f"{where}: up is {excerpt(word)}, wanted an axis of the file: x, y, z, -x, -y or -z")
    return word.strip().lower()


def known_subject(clip: str, listed: str, numbered: bool = True) -> str:
    """The person of a take, in one form: `cmu_02`, `accad_Female1`, `unknown_<group>` or as listed.

    Args:
        clip: name of the take.
        listed: its subject in an index, or empty.
        numbered: whether a name like `02_01` is taken for CMU's subject 2.
    """
    if clip in _SUBJECT_OF_CLIP:
        return f"cmu_{_SUBJECT_OF_CLIP[clip]}"
    if listed.startswith("mixed_"):
        return UNIDENTIFIED + listed.removeprefix("mixed_")
    if re.fullmatch(r"\d{1,3}", listed):
        return f"cmu_{int(listed):02}"
    if listed:
        return listed
    cmu = re.match(r"(\d{2,3})_\d{2}(?:_|$)", clip) if numbered else None
    return f"cmu_{int(cmu.group(1)):02}" if cmu else ""
