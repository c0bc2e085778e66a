"""What every command that runs a session takes, and where options went that are now keys of a source."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from bodystream.cli.options import BundleWords, optional
from bodystream.errors import ConfigurationError
from bodystream.files import check_output, prepare_folder

if TYPE_CHECKING:
    from bodystream.sources.grammar import SourceKind

__all__ = ["MovedOption", "RunOptions"]


@dataclass(frozen=True, slots=True)
class MovedOption:
    """An option that is a key of some sources now.

    Attributes:
        key: its name there.
        sources: the sources that have it, as they are typed, the likeliest first.
        example: a value, for who gave none.
    """

    key: str
    sources: tuple[str, ...]
    example: str


@dataclass(frozen=True, kw_only=True)
class RunOptions(ABC):
    """Options that the commands with a session share."""

    headless: bool = False
    """No viewer."""

    frames: Annotated[int | None, optional("N")] = None
    """Stop after so many frames or samples; default: when the source ends, or on Ctrl-C."""

    out: Annotated[Path | None, optional("FOLDER")] = None
    """Folder for the files that are made of what was seen, see above."""

    record: Annotated[Path | None, optional("TAKE")] = None
    """Record all that comes in, processed or not, and driven poses to a new take (.mcap), which take:TAKE plays."""

    report: Annotated[Path | None, optional("FILE")] = None
    """Write a JSON report: speed and latency per stage, quality, machine."""

    bundle: BundleWords = ()
    """A bundle of your own, a folder or a zip file, in the place of a shipped one: pose=PATH (the network, of drive
    only), flow=PATH, flow-full=PATH (networks of --flow, of live only), person=PATH (the body that is driven, or that
    the synthetic camera shows). May be repeated."""

    device: str = "auto"
    """Where kernels run: auto, cpu, cuda or cuda:N."""

    port: int = 8080
    """Port of the viewer; the next free one is taken where it is busy, and any free one for 0."""

    no_browser: bool = False
    """Do not open the viewer's page."""

    json: bool = False
    """Print the report as JSON at the end."""

    chooser: ClassVar[str] = "--source"
    """The option that chooses what the session reads."""
    moved: ClassVar[Mapping[str, MovedOption]] = {}
    """Options of former versions that are keys of a source now, by their names without dashes."""

    @staticmethod
    @abstractmethod
    def kinds() -> Sequence[SourceKind[Any, Any]]:
        """What the chooser can choose."""

    @classmethod
    def more_help(cls, width: int) -> str:
        """What help says below the description: the kinds of source with their keys."""
        from bodystream.sources.grammar import describe_kinds

        return (
            f"What {cls.chooser} takes, and the keys of each kind. Write 'kind:target?key=value&key=value', in quotes, "
            f"since shells take ? and & for themselves:\n{describe_kinds(cls.kinds(), width)}"
        )

    @classmethod
    def refuse_moved(cls, words: Sequence[str]) -> None:
        """Say how an option is written now, if one of `words` is among those that moved.

        Raises:
            ConfigurationError: the old option was given.
        """
        for place, word in enumerate(words):
            option, equals, value = word.partition("=")
            there = cls.moved.get(option.removeprefix("--").replace("_", "-")) if option.startswith("--") else None
            if there is None:
                continue
            given = [value] if equals else list(takewhile(lambda word: not word.startswith("--"), words[place + 1 :]))
            typed = _typed(words, cls.chooser)
            fits = _kind(typed) in map(_kind, there.sources)
            source = typed if fits else there.sources[0]
            text = f"{source}{'&' if '?' in source else '?'}{there.key}={','.join(given) or there.example}"
            raise ConfigurationError(f"{option} is a key of the source now: write {cls.chooser} '{text}'")

    def check(self) -> None:
        """Look at what was given, before anything is built; the folder of `out` is made.

        Raises:
            ConfigurationError: a value cannot be used, or a path cannot be written.
        """
        if self.frames is not None and self.frames < 1:
            raise ConfigurationError(f"--frames must be at least 1, got {self.frames}")
        if not 0 <= self.port <= 65535:
            raise ConfigurationError(f"--port must be 0 (any free one) to 65535, got {self.port}")
        if self.report is not None:
            check_output(self.report, "--report")
        if self.record is not None:
            from bodystream.pipelines.recording.recorder import check_take_path

            check_take_path(self.record, "--record")
        if self.out is not None:
            prepare_folder(self.out, "--out")


def _typed(words: Sequence[str], chooser: str) -> str:
    """What was typed behind the option, or nothing."""
    for place, word in enumerate(words):
        if word == chooser and place + 1 < len(words):
            return words[place + 1]
        if word.startswith(f"{chooser}="):
            return word.partition("=")[2]
    return ""


def _kind(source: str) -> str:
    return source.partition(":")[0].partition("?")[0]
