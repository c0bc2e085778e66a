"""`bodystream <command> [options]`: finds the command, reads its options, runs it, and turns errors into one line.

A command is one module with a frozen dataclass whose fields are its options (their docstrings become the help) and
whose `run()` returns the exit code. Only the module of the command that was asked for is imported, so that
`bodystream --help` and `bodystream doctor` start at once.
"""
# pyright: reportOptionalMemberAccess=false

from __future__ import annotations

import ast
import contextlib
import dataclasses
import difflib
import errno
import importlib
import inspect
import io
import os
import re
import select
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TextIO

from bodystream import __version__
from bodystream.cli.interrupts import EndOnThirdInterrupt
from bodystream.errors import BodystreamError, ConfigurationError, MissingDependencyError

__all__ = [
    "COMMANDS",
    "EXIT_ERROR",
    "EXIT_INTERRUPTED",
    "Command",
    "CommandEntry",
    "Program",
    "main",
    "parse",
]

_STYLE = re.compile("\x1b\\[[0-9;]*m")
_CHOICES = re.compile(r"(?<=Expected one of )\('[^()]*\)")
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.EIO})
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
EXIT_OUTPUT_CLOSED = 141  # 128 + SIGPIPE


class Command(Protocol):
    """What a command's dataclass offers."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def run(self) -> int:
        """Do the work and return the exit code: 0 when all is well."""
        ...


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """Where a command lives.

    Attributes:
        words: what the user types after `bodystream`: `("eval", "tracking")`.
        module, class_name: imported when the command is asked for.
        summary: one line for the list of commands.
    """

    words: tuple[str, ...]
    module: str
    class_name: str
    summary: str

    def load(self) -> type[Command]:
        """Import the command's dataclass."""
        return getattr(importlib.import_module(self.module), self.class_name)


COMMANDS: tuple[CommandEntry, ...] = (
    CommandEntry(
        ("live",), "bodystream.cli.live", "Live", "track and fuse what a depth camera sees, live in a browser"
    ),
    CommandEntry(("drive",), "bodystream.cli.drive", "Drive", "drive a full body from a headset and two hands"),
    CommandEntry(("repose",), "bodystream.cli.repose", "Repose", "pose an avatar by a motion, to files or a browser"),
    CommandEntry(("fit",), "bodystream.cli.fit", "Fit", "find the body of a learned embedding that lies on a scan"),
    CommandEntry(
        ("body", "sample"), "bodystream.cli.body", "SampleBodies", "draw bodies from a learned embedding, to a picture"
    ),
    CommandEntry(
        ("body", "transfer"), "bodystream.cli.body", "TransferPose", "give a person's mesh the pose of another's"
    ),
    CommandEntry(
        ("body", "interpolate"), "bodystream.cli.body", "InterpolateBodies", "make the bodies between two meshes"
    ),
    CommandEntry(("publish",), "bodystream.cli.publish", "Publish", "write poses or surfaces to shared memory"),
    CommandEntry(
        ("serve",), "bodystream.cli.serve", "Serve", "show a surface, a body or both to any number of browsers"
    ),
    CommandEntry(("bodies",), "bodystream.cli.bodies", "Bodies", "list what is published here and on the network"),
    CommandEntry(("record",), "bodystream.cli.record", "Record", "record a camera and a headset to one file"),
    CommandEntry(("convert",), "bodystream.cli.convert", "Convert", "turn a recording into one of another format"),
    CommandEntry(("recover",), "bodystream.cli.recover", "Recover", "make the files of a session that was killed"),
    CommandEntry(
        ("eval", "tracking"), "bodystream.cli.evaluate", "EvaluateTracking", "measure tracking against known scene flow"
    ),
    CommandEntry(
        ("eval", "pose"),
        "bodystream.cli.evaluate_pose",
        "EvaluatePose",
        "measure full-body poses against motion capture",
    ),
    CommandEntry(
        ("eval", "capture"),
        "bodystream.cli.evaluate_capture",
        "EvaluateCapture",
        "measure live capture of recorded motions against the true surface",
    ),
    CommandEntry(
        ("eval", "reconstruction"),
        "bodystream.cli.evaluate_reconstruction",
        "EvaluateReconstruction",
        "measure live capture on annotated sequences as the DeepDeform benchmark does",
    ),
    CommandEntry(("samples",), "bodystream.cli.samples", "Samples", "make sample recordings to try everything with"),
    CommandEntry(("bench",), "bodystream.cli.bench", "Bench", "measure speed and accuracy beside other packages"),
    CommandEntry(("doctor",), "bodystream.cli.doctor", "Doctor", "say what is installed, what works, and what to do"),
    CommandEntry(("completion",), "bodystream.cli.completion", "Completion", "print a script for a shell's completion"),
)


@dataclass(frozen=True, slots=True)
class Program:
    """A console script: its name, one line about it, its commands, and what pip installs what they import."""

    name: str
    about: str
    commands: tuple[CommandEntry, ...]
    install: str = "pip install --force-reinstall bodystream"


def main(argv: Sequence[str] | None = None, program: Program | None = None) -> int:
    """Run the command line.

    Args:
        argv: the words after the program's name; default: of this process.
        program: default: `bodystream`.

    Returns:
        The command's exit code; 2 for an error that the user can mend, 130 after Ctrl-C.
    """
    if program is None:
        program = Program("bodystream", "Live body capture and avatars from sparse sensors.", COMMANDS)
    words = list(sys.argv[1:] if argv is None else argv)
    debug = os.environ.get("BODYSTREAM_DEBUG", "") not in ("", "0")
    if "--debug" in words:
        words.remove("--debug")
        debug = True
    try:
        with EndOnThirdInterrupt():
            code = _dispatch(words, program)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        if not _output_closed():
            raise
        # What is still buffered would break again when the interpreter flushes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OUTPUT_CLOSED
    except BodystreamError as error:
        if debug:
            raise
        _print_error(str(error))
        return EXIT_ERROR
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if debug or not package or package.startswith("bodystream"):
            raise
        _print_error(str(MissingDependencyError(package, f"for `{program.name}`", f"Run: {program.install}")))
        return EXIT_ERROR
    except OSError as error:
        if debug:
            raise
        if _is_refused(error):
            reason = "check the name, and who may read it and write there"
            _print_error(f"{error.filename}: cannot be looked at ({error.strerror}): {reason}")
            return EXIT_ERROR
        if not (_is_full(error) or _stdout_refuses()):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _print_error(f"the output could not be written: {error.strerror or error}: make room, or send it elsewhere")
        return EXIT_ERROR
    except KeyboardInterrupt:
        if debug:
            raise
        return EXIT_INTERRUPTED


def _dispatch(words: list[str], program: Program) -> int:
    if words[:1] == ["--version"]:
        print(f"{program.name} {__version__}")
        return 0
    for entry in program.commands:
        if tuple(words[: len(entry.words)]) == entry.words:
            return parse(entry, words[len(entry.words) :], program.name).run()
    group = tuple(words[:1]) if words and not words[0].startswith("-") else ()
    members = [entry for entry in program.commands if entry.words[: len(group)] == group]
    rest = words[len(group) :]
    if members and (not rest or rest[0] in ("-h", "--help")):
        print(_overview(program, group, members))
        return 0 if rest else EXIT_ERROR
    raise ConfigurationError(_unknown(program.name, words, members or program.commands))


def parse(entry: CommandEntry, arguments: Sequence[str], program: str = "bodystream") -> Command:
    """The command with its options read.

    Raises:
        ConfigurationError: an option of a former version, which is a key of a source now.
        SystemExit: `--help` was asked for (code 0), or an option is wrong (code 2, with a message on stderr).
    """
    import tyro  # these here, because `--help` and `--version` need not wait for them

    from bodystream.cli.run_options import RunOptions

    prog = " ".join((program, *entry.words))
    command, said, helped = entry.load(), io.StringIO(), _Said(sys.stdout)
    description = inspect.getdoc(command) or ""
    if issubclass(command, RunOptions):
        command.refuse_moved(arguments)
        if {"-h", "--help"} & set(arguments):
            description += f"\n\n{command.more_help(shutil.get_terminal_size().columns)}"
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(helped):
            return tyro.cli(
                command,
                args=list(arguments),
                prog=prog,
                description=description,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as left:
        if not left.code:
            print(_wrapped(helped.getvalue()))
        else:
            wrong = _first_sentence(said.getvalue())
            _print_error(f"{wrong}{_option_hint(command, arguments, wrong)} (see `{prog} --help`)")
        raise


def _option_hint(command: type[Command], arguments: Sequence[str], wrong: str) -> str:
    """What was probably meant by options that the command does not have, and what its source may be where none is."""
    from bodystream.cli.run_options import RunOptions

    names = [field.name.replace("_", "-") for field in dataclasses.fields(command)]
    known = [*(f"--{name}" for name in names), *(f"--no-{name}" for name in names), "--help"]
    given = [word.partition("=")[0].replace("_", "-") for word in arguments if word.startswith("--")]
    unknown = [word for word in given if word not in known]
    meant = [close[0] for word in unknown if (close := difflib.get_close_matches(word, known, n=1))]
    if meant:
        return f": did you mean {', '.join(meant)}?"
    if wrong.startswith("Missing") and issubclass(command, RunOptions) and command.chooser not in given:
        kinds = (f"{kind.name}:{kind.target}" if kind.target else kind.name for kind in command.kinds())
        return f": give one of {command.chooser} {', '.join(kinds)}"
    return ""


class _Said(io.StringIO):
    """Takes what is written for a terminal, or for what stands in its place."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__()
        self._stream = stream

    @property
    def encoding(self) -> str:
        """That of the terminal, which says whether boxes can be drawn."""
        return (getattr(self._stream, "encoding", None) or "utf-8").lower()

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()


def _wrapped(text: str) -> str:
    """Help at the width of the terminal: tyro puts each paragraph of a description, and the usage, into one line.

    Indented lines are examples, to be copied as they are.
    """
    width = shutil.get_terminal_size().columns
    lines: list[str] = []
    for line in text.splitlines():
        plain = _STYLE.sub("", line)
        if len(plain) <= width or not plain[0].isalnum():
            lines.append(line)
            continue
        indent = " " * len("usage: ") if plain.startswith("usage: ") else ""
        lines += textwrap.wrap(plain, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


def _first_sentence(box: str) -> str:
    """What is wrong with an option, out of the box that tyro draws around it with its reasons and hints."""
    lines: list[str] = []
    for line in box.splitlines():
        text = line.strip("│ ").replace("{None}|", "")
        if line.startswith("╭"):
            continue
        if not text or line.startswith("╰") or text.startswith("──"):
            break
        lines.append(text)
    return _CHOICES.sub(_in_order, " ".join(lines)) or box


def _in_order(choices: re.Match[str]) -> str:
    """Choices of an option that may be left out: tyro gives them in any order, with the None of the default."""
    words = ast.literal_eval(choices.group())
    return (
        f"({', '.join(sorted(map(repr, set(words) - {'None'}), key=str.lower))})"
        if "None" in words
        else choices.group()
    )


def _overview(program: Program, group: tuple[str, ...], members: Iterable[CommandEntry]) -> str:
    rows = [(" ".join(entry.words), entry.summary) for entry in members]
    width = max(len(name) for name, _ in rows)
    lines = [
        f"usage: {' '.join((program.name, *group))} <command> [options]",
        "",
        program.about,
        "",
        "commands:",
        *(f"  {name.ljust(width)}  {summary}" for name, summary in rows),
        "",
        "options:",
        "  --help     of a command: all that it can do",
        "  --version  print the version",
        "  --debug    show the full traceback of an error (also: BODYSTREAM_DEBUG=1)",
    ]
    return "\n".join(lines)


def _unknown(program: str, words: list[str], members: Iterable[CommandEntry]) -> str:
    names = [" ".join(entry.words) for entry in members]
    typed = " ".join(word for word in words[:2] if not word.startswith("-")) or words[0]
    close = difflib.get_close_matches(typed, names, n=1) or difflib.get_close_matches(words[0], names, n=1)
    hint = f"did you mean `{program} {close[0]}`?" if close else f"see `{program} --help`"
    return f"there is no command {typed!r} (commands: {', '.join(names)}): {hint}"


def _output_closed() -> bool:
    """Whether the reader of our output (`| head`) has gone; asked of the system, since any pipe can break."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), select.POLLOUT)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (AttributeError, OSError, ValueError):  # no `poll` on this system, or no file behind stdout
        return False


def _is_full(error: OSError) -> bool:
    """Whether a write found no room. After one to stdout failed nothing is left to be flushed that would tell."""
    return error.filename is None and error.errno in (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", -1))


def _is_refused(error: OSError) -> bool:
    """Whether the system did not let us ask what is at a path. Whether a file is there is asked for in many places, and
    `Path.exists` raises where a name is too long, a folder above may not be entered, or a disk does not answer."""
    return error.filename is not None and error.errno in _REFUSED


def _stdout_refuses() -> bool:
    """Whether what is buffered for stdout cannot be written, as on a full disk."""
    try:
        sys.stdout.flush()
    except OSError:
        return True
    except (AttributeError, ValueError):
        return False
    return False


def _print_error(message: str) -> None:
    line = " ".join(f"error: {message}".split())
    with contextlib.suppress(OSError, ValueError, AttributeError):  # nobody reads it: the exit code tells
        if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
            line = f"\x1b[31m{line}\x1b[0m"
        print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
