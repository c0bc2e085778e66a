"""A sink of your own: results of a session to a file, on a thread of its own."""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bodystream import CaptureResult, CaptureSession, SinkBase, open_source


class StatusTable(SinkBase[CaptureResult]):
    """One line per frame. What it raises is a warning of the session, and never stops it."""

    name = "status table"
    lossless = True  # lines wait while the disk is slow; a viewer or stream leaves this off: the newest wins

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("w", newline="", encoding="utf-8")
        self._rows = csv.writer(self._file)
        self._rows.writerow(("t_ns", "status", "reason", "nodes", "vertices"))

    def publish(self, result: CaptureResult, /) -> None:
        row = (result.frame.t_ns, result.status.value, result.reason, result.nodes, result.vertices)
        self._rows.writerow(row)

    def close(self) -> Sequence[str]:
        self._file.close()
        return (f"wrote {self._path}",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "bodystream-status.csv")
    wanted = parser.parse_args()
    source = open_source("synthetic?width=320&height=240", frames=wanted.frames)
    with CaptureSession(source, sinks=[StatusTable(wanted.out)]) as session:
        session.run()
    for line in (*session.notes, *session.warnings):
        print(line)


if __name__ == "__main__":
    main()
