"""The command line as a user meets it: help, versions, errors in one line, exit codes."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bodystream import __version__
from bodystream.cli import main as cli
from bodystream.errors import InputError
from helpers.headset_motions import walking
from helpers.headset_takes import write_bvh
from helpers.needs import needs

RUNTIME = Path(__file__).resolve().parents[2] / "runtime"


def bodystream(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "bodystream.cli.main", *words],
        env={**os.environ, "PYTHONPATH": str(RUNTIME), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], int]], None]:
    """Put a command `try out` into the table, whose `run` does what it is given."""

    def install(action: Callable[[], int]) -> None:
        @dataclass(frozen=True)
        class TryOut:
            """Try something out."""

            speed_m_s: float = 1.0
            """How fast [m/s]."""
            headless: bool = False

            def run(self) -> int:
                return action()

        module = types.ModuleType("bodystream_try_out")
        module.TryOut = TryOut  # pyright: ignore[reportAttributeAccessIssue]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        entry = cli.CommandEntry(("try", "out"), module.__name__, "TryOut", "try something out")
        monkeypatch.setattr(cli, "COMMANDS", (entry, *cli.COMMANDS))

    return install


def fail() -> int:
    raise InputError("take/000007.png is truncated:\n   copy it again")


def test_help_lists_every_command() -> None:
    result = bodystream("--help")
    assert result.returncode == 0
    for entry in cli.COMMANDS:
        lines = [line.split() for line in result.stdout.splitlines()]
        assert [*entry.words, *entry.summary.split()] in lines


def test_help_imports_none_of_the_commands() -> None:
    code = (
        "import sys; from bodystream.cli.main import main; main(['--help']); main(['--version'])\n"
        "heavy = {'numpy', 'warp', 'viser', 'cv2', 'scipy', 'tyro', 'rich', 'msgspec'} & set(sys.modules)\n"
        "print('heavy', sorted(heavy))"
    )
    environment = {**os.environ, "PYTHONPATH": str(RUNTIME)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "heavy []"


def test_version() -> None:
    assert bodystream("--version").stdout == f"bodystream {__version__}\n"


def test_no_command_shows_the_commands_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "commands:" in capsys.readouterr().out


def test_a_group_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "eval tracking" in shown
    assert "doctor" not in shown
    assert cli.main(["eval"]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["docter"], "there is no command 'docter'"),
        (["docter"], "did you mean `bodystream doctor`?"),
        (["eval", "trackng"], "did you mean `bodystream eval tracking`?"),
        (["xyzzy"], "see `bodystream --help`"),
        (["--frobnicate"], "there is no command '--frobnicate'"),
    ],
)
def test_unknown_commands_are_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


def test_exit_code_and_options_are_the_commands(command, capsys: pytest.CaptureFixture[str]) -> None:
    command(lambda: 7)
    assert cli.main(["try", "out", "--speed-m-s", "2.5", "--headless"]) == 7
    parsed = cli.parse(cli.COMMANDS[0], ["--speed-m-s", "2.5", "--headless"])
    assert (parsed.speed_m_s, parsed.headless) == (2.5, True)  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(SystemExit) as left:
        cli.main(["try", "out", "--help"])
    assert left.value.code == 0
    assert "How fast [m/s]." in capsys.readouterr().out


def test_a_wrong_option_is_refused(command, capsys: pytest.CaptureFixture[str]) -> None:
    command(lambda: 0)
    with pytest.raises(SystemExit) as left:
        cli.main(["try", "out", "--speed-m-s", "fast"])
    assert left.value.code == 2
    assert "speed-m-s" in capsys.readouterr().err


def test_errors_are_one_line_without_traceback(command, capsys: pytest.CaptureFixture[str]) -> None:
    command(fail)
    assert cli.main(["try", "out"]) == 2
    assert capsys.readouterr().err == "error: take/000007.png is truncated: copy it again\n"


def test_errors_are_red_on_a_terminal_only(command, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    command(fail)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    cli.main(["try", "out"])
    assert capsys.readouterr().err.startswith("\x1b[31merror: take")
    monkeypatch.setenv("NO_COLOR", "1")
    cli.main(["try", "out"])
    assert capsys.readouterr().err.startswith("error: take")


@pytest.mark.parametrize("words", [["--debug", "try", "out"], ["try", "out", "--debug"]])
def test_debug_shows_the_traceback(command, words: list[str]) -> None:
    command(fail)
    with pytest.raises(InputError, match="truncated"):
        cli.main(words)


@pytest.mark.parametrize(("value", "shown"), [("1", True), ("0", False), ("", False)])
def test_debug_by_the_environment(command, monkeypatch: pytest.MonkeyPatch, value: str, shown: bool) -> None:
    command(fail)
    monkeypatch.setenv("BODYSTREAM_DEBUG", value)
    if shown:
        with pytest.raises(InputError):
            cli.main(["try", "out"])
    else:
        assert cli.main(["try", "out"]) == 2


def test_ctrl_c_is_130(command) -> None:
    def interrupt() -> int:
        raise KeyboardInterrupt

    command(interrupt)
    assert cli.main(["try", "out"]) == 130


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_is_no_error(unbuffered: str) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    result = subprocess.run(
        [sys.executable, "-m", "bodystream.cli.main", "--help"],
        env={**os.environ, "PYTHONPATH": str(RUNTIME), "PYTHONUNBUFFERED": unbuffered},
        stdout=write_end,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(write_end)
    assert (result.returncode, result.stderr) == (141, b"")


def test_another_pipe_that_breaks_is_an_error(command) -> None:
    def break_pipe() -> int:
        raise BrokenPipeError("of a socket")

    command(break_pipe)
    with pytest.raises(BrokenPipeError, match="of a socket"):
        cli.main(["try", "out"])


@pytest.mark.parametrize("reason", [errno.ENAMETOOLONG, errno.EACCES, errno.EIO])
def test_a_path_that_may_not_be_looked_at_is_one_line(command, reason: int, capsys: pytest.CaptureFixture[str]) -> None:
    def look() -> int:
        raise OSError(reason, os.strerror(reason), "me.vrm")

    command(look)
    assert cli.main(["try", "out"]) == 2
    told = "check the name, and who may read it and write there"
    assert capsys.readouterr().err == f"error: me.vrm: cannot be looked at ({os.strerror(reason)}): {told}\n"
    with pytest.raises(OSError, match=re.escape(os.strerror(reason))):
        cli.main(["try", "out", "--debug"])


LONG = 300 * "a"


@pytest.mark.parametrize(
    "words",
    [
        ("fit", f"depth:{LONG}", "--out", "fit"),
        ("repose", LONG, "--motion", "walk.bvh"),
        ("repose", "default", "--motion", "walk.bvh", "--report", LONG),
        ("drive", "--headset", "motion:walk.bvh", "--calibration", LONG),
        ("live", "--bundle", f"person={LONG}"),
        ("eval", "tracking", LONG),
        ("recover", LONG),
    ],
    ids=lambda words: words[0],
)
def test_names_that_are_too_long_are_told(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_bvh(tmp_path / "walk.bvh", walking(1.0))
    assert cli.main(words) == 2
    assert f"{LONG}: cannot be looked at (File name too long)" in " ".join(capsys.readouterr().err.split())


def test_other_errors_are_not_hidden(command) -> None:
    def break_down() -> int:
        raise ZeroDivisionError

    command(break_down)
    with pytest.raises(ZeroDivisionError):
        cli.main(["try", "out"])


def _commands(program: str) -> tuple[cli.CommandEntry, ...]:
    commands = {"bodystream": cli.COMMANDS}
    if program != "bodystream":
        needs("torch", "pip install 'bodystream[train]'")
        from bodystream_export.cli import PROGRAM as EXPORT
        from bodystream_training.cli import PROGRAM as TRAIN

        commands |= {TRAIN.name: TRAIN.commands, EXPORT.name: EXPORT.commands}
    return commands[program]


@pytest.mark.parametrize("entry", cli.COMMANDS, ids=lambda entry: " ".join(entry.words))
def test_every_command_loads_and_explains_itself(entry, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(entry.load().run)
    with pytest.raises(SystemExit) as left:
        cli.parse(entry, ["--help"])
    assert left.value.code == 0
    assert f"usage: bodystream {' '.join(entry.words)}" in capsys.readouterr().out


@pytest.mark.parametrize("program", ["bodystream", "bodystream-train", "bodystream-export"])
def test_help_fits_the_terminal(
    program: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for entry in _commands(program):
        with pytest.raises(SystemExit):
            cli.parse(entry, ["--help"], program)
        shown = capsys.readouterr().out
        # An example that is copied has to stay one line.
        free = [line for line in shown.splitlines() if not line.startswith("  ")]
        assert not [line for line in free if len(line) > 80]
        assert "╭─ options" in shown
        assert "{None}" not in shown and "(default: )" not in shown and "default: None" not in shown


@pytest.mark.parametrize("program", ["bodystream", "bodystream-train", "bodystream-export"])
def test_nothing_of_a_description_runs_on_behind_an_example(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An unindented line below an example is joined to it, and is copied with it."""
    for entry in _commands(program):
        with pytest.raises(SystemExit):
            cli.parse(entry, ["--help"], program)
        examples = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"  {program} ")]
        assert not [line for line in examples if re.search(r"\w [A-Z]\w+ \w+ \w+ ", line)]


def test_choices_of_an_option_that_may_be_left_out_are_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    entry = next(entry for entry in cli.COMMANDS if entry.words == ("drive",))
    known = {"--rig": "('cmu', 'mixamo', 'smpl', 'vrm')", "--calibrate": "('floor', 'auto', 'T', 'I')"}
    for option, choices in known.items():
        with pytest.raises(SystemExit):
            cli.parse(entry, ["--headset", "openxr", option, "foo"])
        assert f"Expected one of {choices}." in capsys.readouterr().err


def test_wrapping_a_description_keeps_its_words_and_examples() -> None:
    prose, example, box = "one two three " * 20, "  bodystream live " + "--out out " * 20, "│ " + "option " * 20
    wrapped = cli._wrapped(f"usage: {prose}\n{prose}\n{example}\n{box}")
    assert wrapped.split() == f"usage: {prose}\n{prose}\n{example}\n{box}".split()
    assert example in wrapped.splitlines() and box in wrapped.splitlines()
    assert wrapped.splitlines()[1].startswith("       ")  # usage goes on below its own words


def test_the_installed_script_is_this_main() -> None:
    import tomllib

    project = tomllib.loads((RUNTIME.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"]["bodystream"] == "bodystream.cli.main:main"


@pytest.mark.parametrize("program", ["bodystream", "bodystream-train", "bodystream-export"])
def test_help_of_a_switch_says_what_the_switch_does(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A field that is on by default shows as `--no-...`, beside which its own help reads the wrong way round."""
    for entry in _commands(program):
        fields = {field.name: field for field in dataclasses.fields(entry.load())}
        switches = [name for name, field in fields.items() if field.default is True]
        with pytest.raises(SystemExit):
            cli.parse(entry, ["--help"], program)
        shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
        for name in switches:
            flag = f"--no-{name.replace('_', '-')} "
            assert flag in shown
            text = shown.partition(flag)[2].partition(" --")[0]
            assert "default: True" not in text and text, f"{' '.join(entry.words)} {flag}: use `switched_off`"


def test_a_package_that_is_missing_is_one_line(command, capsys: pytest.CaptureFixture[str]) -> None:
    def absent() -> int:
        raise ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")

    command(absent)
    program = cli.Program("tried", "Tries.", cli.COMMANDS, install="pip install 'bodystream[train]'")
    assert cli.main(["try", "out"], program) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: torch is needed for `tried`") and "pip install 'bodystream[train]'" in said
    with pytest.raises(ModuleNotFoundError):
        cli.main(["--debug", "try", "out"], program)


def test_a_module_of_our_own_that_is_missing_is_a_fault(command) -> None:
    def broken() -> int:
        raise ModuleNotFoundError("No module named 'bodystream.pots'", name="bodystream.pots")

    command(broken)
    with pytest.raises(ModuleNotFoundError):
        cli.main(["try", "out"])
