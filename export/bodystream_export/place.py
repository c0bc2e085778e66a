"""Where a bundle is written: a folder, or one zip file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bodystream.bundles import Bundle
from bodystream.bundles.manifest import NAME
from bodystream.errors import ConfigurationError
from bodystream.files import check_output, prepare_folder
from bodystream_export.bundle import put_in_place, zip_in_place

__all__ = ["Place"]


@dataclass(frozen=True, slots=True)
class Place:
    """Checked before anything is made.

    Attributes:
        name: of the bundle.
        path: of its folder or zip file.
        zipped: which of the two.
    """

    name: str
    path: Path
    zipped: bool

    @classmethod
    def of(cls, out: Path, zipped: bool) -> Place:
        """What `--out` and `--zip` say; `.zip` is added where it is missing.

        Raises:
            ConfigurationError: its last part cannot be a bundle's name, or nothing can be written there.
        """
        name = out.name.removesuffix(".zip") if zipped else out.name
        if not NAME.fullmatch(name):
            raise ConfigurationError(f"--out must end in a bundle's name, which matches {NAME.pattern}, got {name!r}")
        if not zipped:
            prepare_folder(out, "--out")
            return cls(name, out, zipped)
        path = out.with_name(f"{name}.zip")
        check_output(path, "--out")
        return cls(name, path, zipped)

    def put(self, made: Path) -> Bundle:
        """Bring the folder `made` there, whole or not at all, and open it as a user would."""
        return (zip_in_place if self.zipped else put_in_place)(made, self.path)
