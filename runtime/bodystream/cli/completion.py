"""`bodystream completion`: a script by which a shell completes commands, options and files."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union

from tyro.conf import FlagCreatePairsOff, Positional, subcommand

from bodystream.cli.main import COMMANDS, CommandEntry

__all__ = ["Completion"]


@dataclass(frozen=True)
class Completion:
    """Print a script by which a shell completes the commands, options and files of bodystream.

    Examples:
      bodystream completion bash > ~/.local/share/bash-completion/completions/bodystream
      bodystream completion zsh > ~/.zfunc/_bodystream             (~/.zfunc must be in fpath, before compinit)
      bodystream completion fish > ~/.config/fish/completions/bodystream.fish
    """

    shell: Positional[Literal["bash", "zsh", "fish"]]
    """The shell."""

    def run(self) -> int:
        import tyro

        script = io.StringIO()
        with contextlib.redirect_stdout(script), contextlib.suppress(SystemExit):
            tyro.cli(
                _union(COMMANDS),
                prog="bodystream",
                args=["--tyro-print-completion", self.shell],
                config=(FlagCreatePairsOff,),
            )
        print(script.getvalue().rstrip())
        return 0


def _union(entries: tuple[CommandEntry, ...], depth: int = 0) -> Any:
    """One type of all commands, as tyro takes it; `eval tracking` is a command of a group."""
    members: list[Any] = []
    for word in dict.fromkeys(entry.words[depth] for entry in entries):
        group = tuple(entry for entry in entries if entry.words[depth] == word)
        if len(group[0].words) > depth + 1:
            members.append(Annotated[_union(group, depth + 1), subcommand(word)])
        else:
            members.append(Annotated[group[0].load(), subcommand(word, description=group[0].summary)])
    return Union[tuple(members)]  # noqa: UP007  # of a tuple that is only now known
