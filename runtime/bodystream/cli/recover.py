"""`bodystream recover`: the files of sessions that were killed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bodystream.errors import InputError

__all__ = ["Recover"]


@dataclass(frozen=True)
class Recover:
    """Make the files of sessions that ended without them: killed, or on a full disk.

    What a session recorded is in the folder of its --out, in a file that ends in .journal. Its files get the session's
    date in their names, nothing that is there is replaced, and the journal is removed when they are whole. `live` and
    `drive` do the same when they are started with the same folder.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """The folder of --out, or one .journal file in it."""

    def run(self) -> int:
        from bodystream.pipelines.recovery import journals_in, recover_journal

        journals = [self.folder] if self.folder.is_file() else journals_in(self.folder)
        if not journals:
            print(f"nothing to recover: no session that was cut off is in {self.folder}")
            return 0
        failures: list[str] = []
        for journal in journals:
            try:
                written = recover_journal(journal)
            except InputError as error:
                failures.append(str(error))
                continue
            for path in written.paths:
                print(f"wrote {path}")
            for note in written.notes:
                print(f"note: {note}")
            if not written.paths:
                print(f"{journal.name}: nothing had been recorded yet")
        if failures:
            raise InputError("; ".join(failures))
        return 0
