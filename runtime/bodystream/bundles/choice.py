"""Which bundle does a task: the one that the user chose, else the one of that name."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from bodystream.bundles.bundle import Bundle, open_bundle
from bodystream.bundles.known import KNOWN
from bodystream.bundles.locate import find_bundle
from bodystream.errors import ConfigurationError, excerpt

__all__ = ["BundleChoice"]


@dataclass(frozen=True, slots=True)
class BundleChoice:
    """Bundles that a user chose in the place of those that are found by name.

    Attributes:
        places: folder or zip file of each name that was chosen; the bundle in it may have another name, and must be of
            the kind that goes with this one (`bundles.known.KNOWN`).

    Raises:
        ConfigurationError: a name that nothing goes by.
    """

    places: Mapping[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_names(self.places, KNOWN)
        object.__setattr__(self, "places", MappingProxyType({name: Path(place) for name, place in self.places.items()}))

    def __hash__(self) -> int:
        return hash(frozenset(self.places.items()))

    def __reduce__(self) -> tuple[type[BundleChoice], tuple[dict[str, Path]]]:  # a view of a dictionary is not pickled
        return type(self), (dict(self.places),)

    @classmethod
    def parse(cls, words: Iterable[str], usable: Collection[str]) -> BundleChoice:
        """What was given as `--bundle NAME=PATH`.

        Args:
            usable: names of the bundles that the command uses.

        Raises:
            ConfigurationError: a word is none, names a bundle that is not used, or one is chosen twice.
        """
        places: dict[str, Path] = {}
        for word in words:
            name, equals, place = word.partition("=")
            if not (name and equals and place):
                raise ConfigurationError(f"--bundle takes NAME=PATH, such as pose=mine.zip, got {excerpt(word)}")
            if name in places:
                raise ConfigurationError(f"--bundle {name} was given twice: {places[name]} and {place}")
            places[name] = Path(place).expanduser()
        _check_names(places, usable)
        return cls(places)

    def open(self, name: str) -> Bundle:
        """The bundle for `name`, with every file of it checked.

        Raises:
            BundleError: there is none, it is damaged, or of another kind than goes with this name.
        """
        place = self.places.get(name)
        bundle = find_bundle(name) if place is None else open_bundle(place)
        bundle.require_kind(KNOWN[name].kind)
        return bundle


def _check_names(names: Iterable[str], usable: Collection[str]) -> None:
    for name in names:
        if name not in usable:
            raise ConfigurationError(f"there is no bundle {excerpt(name)} to be chosen here, only {', '.join(usable)}")
