"""`bodystream samples`: recordings of our own to try everything with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bodystream.cli.options import BundleWords
from bodystream.cli.process import start_warp
from bodystream.errors import ConfigurationError

__all__ = ["Samples"]


@dataclass(frozen=True)
class Samples:
    """Make sample data: a depth recording, a pair with its true motion, a motion file, a headset's session, an avatar.

    Generated from the shipped body and the synthetic camera, CC0; about 25 MB in less than a minute. Examples:
      bodystream samples
      bodystream live --source folder:samples/depth
      bodystream drive --headset trace:samples/headset.csv
      bodystream drive --headset trace:samples/headset.csv --avatar samples/avatar.vrm
    """

    folder: Annotated[Path, tyro.conf.Positional] = Path("samples")
    """Where to; made if absent. Files of the same names are replaced."""

    seed: int = 0
    """Of motions and noise."""

    bundle: BundleWords = ()
    """A body of your own, a folder or a zip file, in the place of the shipped one: person=PATH."""

    device: str = "auto"
    """Where the synthetic camera draws: auto, cpu, cuda or cuda:N."""

    json: bool = False
    """Print the written paths as one JSON object."""

    def run(self) -> int:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from bodystream.bundles import BundleChoice
        from bodystream.device import select_device
        from bodystream.pipelines.samples import write_samples

        if self.seed < 0:
            raise ConfigurationError(f"--seed must be at least 0, got {self.seed}")
        bundles = BundleChoice.parse(self.bundle, ("person",))
        start_warp()
        console = Console(stderr=True, highlight=False)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("starting", total=None)
            written = write_samples(
                self.folder,
                select_device(self.device),
                seed=self.seed,
                bundles=bundles,
                on_step=lambda done, total, what: progress.update(task, completed=done, total=total, description=what),
            )
        if self.json:
            print(json.dumps({"written": [str(path) for path in written]}))
        else:
            for path in written:
                console.print(f"wrote {path}", soft_wrap=True)
            console.print(f"what to do with them: {self.folder / 'README.txt'}", soft_wrap=True)
        return 0
