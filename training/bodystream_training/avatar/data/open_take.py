"""Takes by a specification: a folder of this project's format, or a public data set with what it needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from bodystream.avatar.take.files import load_take
from bodystream.avatar.take.frames import AvatarTake
from bodystream.errors import ConfigurationError
from bodystream_training.avatar.data.performance import read_performance
from bodystream_training.avatar.data.public_layouts import read_cape, read_dfaust

__all__ = ["absolute", "open_take", "take_of_run"]

_NEEDS = {"cape": ("subject", "clothing", "model"), "dfaust": ("subject", "amass", "model")}
_PLACES = ("amass", "model")


def open_take(spec: str) -> AvatarTake:
    """Read a take.

    Args:
        spec: a folder, `cape:ROOT?subject=00032&clothing=shortlong&model=SMPL.npz` or
            `dfaust:registrations_f.hdf5?subject=50004&amass=FOLDER&model=SMPLH.npz`; both take `&every=N` (each Nth
            frame) and `&test=NAME,NAME` (sequences for tests; default: each tenth). `captured:FILE.npz` is one
            whose poses are fitted; see `performance`.

    Raises:
        ConfigurationError: the specification lacks something or says what is not known.
        InputError: as `load_take`, `read_cape` and `read_dfaust`.
        MissingDependencyError: for DFAUST, h5py is not installed.
    """
    kind, place, query = _parts(spec)
    if kind == "captured":
        return read_performance(Path(place).expanduser())
    if not kind:
        return load_take(Path(place).expanduser())
    words = dict(parse_qsl(query, keep_blank_values=True))
    unknown = set(words) - {*_NEEDS[kind], "every", "test"}
    missing = [name for name in _NEEDS[kind] if not words.get(name)]
    if unknown or missing:
        wanted = "&".join(f"{name}=..." for name in _NEEDS[kind])
        what = f"does not know {', '.join(sorted(unknown))}" if unknown else f"lacks {', '.join(missing)}"
        raise ConfigurationError(f"{spec} {what}: give {kind}:PATH?{wanted}")
    try:
        every = int(words.get("every", "1"))
    except ValueError:
        every = 0
    if every < 1:
        raise ConfigurationError(f"{spec}: every must be a whole number from 1 on")
    test = tuple(words["test"].split(",")) if words.get("test") else None
    path, model = Path(place).expanduser(), Path(words["model"]).expanduser()
    if kind == "cape":
        return read_cape(path, words["subject"], words["clothing"], model, every, test)
    return read_dfaust(path, words["subject"], Path(words["amass"]).expanduser(), model, every, test)


def absolute(spec: str) -> str:
    """A specification as `open_take` takes it, understood from every working folder."""
    kind, place, query = _parts(spec)
    words = parse_qsl(query, keep_blank_values=True)
    told = urlencode([(name, _absolute(value) if name in _PLACES else value) for name, value in words], safe="/,")
    return f"{kind and f'{kind}:'}{_absolute(place)}{told and f'?{told}'}"


def _parts(spec: str) -> tuple[str, str, str]:
    """Its kind, nothing for a folder, the place, and what stands behind the question mark."""
    kind, colon, rest = spec.partition(":")
    if colon and kind == "captured":
        return kind, rest, ""
    if not colon or kind not in _NEEDS:
        return "", spec, ""
    place, _, query = rest.partition("?")
    return kind, place, query


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().resolve())


def take_of_run(given: str | None, facts: Mapping[str, object], run: Path) -> str:
    """The specification of the take that a run was trained on, unless another one is given.

    Args:
        facts: of its checkpoint.

    Raises:
        ConfigurationError: the checkpoint does not say, or what it says of is no longer there.
    """
    if given is not None:
        return given
    spec = facts.get("data")
    if not isinstance(spec, str):
        raise ConfigurationError(f"{run} does not say what it was trained on: give that take with --data")
    place = Path(_parts(spec)[1])
    if not place.exists():
        raise ConfigurationError(f"{run} was trained on {place}, which is not there any more: give it with --data")
    return spec
