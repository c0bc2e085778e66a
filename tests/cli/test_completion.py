"""Scripts for completion, run in the shells that are here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bodystream.cli import main as cli


@pytest.fixture
def script(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["completion", request.param]) == 0
    return capsys.readouterr().out


def complete(script: str, folder: Path, *words: str) -> set[str]:
    """What bash offers for the last of the words."""
    bash = shutil.which("bash")
    assert bash, "this suite runs where make runs, and that wants a shell"
    (folder / "completion.bash").write_text(script)
    typed = " ".join(f"'{word}'" for word in ("bodystream", *words))
    run = (
        f"source completion.bash; COMP_WORDS=({typed}); COMP_CWORD={len(words)}\n"
        "_tyro_bodystream; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run([bash, "-c", run], cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash_completes_commands_options_and_choices(script: str, tmp_path: Path) -> None:
    commands = {entry.words[0] for entry in cli.COMMANDS}
    assert commands <= complete(script, tmp_path, "")
    assert complete(script, tmp_path, "li") == {"live"}
    assert complete(script, tmp_path, "eval", "") >= {"pose", "tracking"}
    assert complete(script, tmp_path, "live", "--hea") == {"--headless"}
    assert complete(script, tmp_path, "eval", "pose", "--no-b") == {"--no-baselines"}
    assert complete(script, tmp_path, "live", "--mask", "g") == {"given"}


@pytest.mark.parametrize("script", ["bash", "zsh", "fish"], indirect=True)
def test_each_shell_gets_every_command(script: str) -> None:
    for entry in cli.COMMANDS:
        assert all(word in script for word in entry.words)
    assert "--headless" in script and "Traceback" not in script


def test_other_shells_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["completion", "powershell"])
    assert left.value.code == 2
    assert "powershell" in capsys.readouterr().err
