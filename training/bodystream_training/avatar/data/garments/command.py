"""`bodystream-train garments`: takes of people in simulated clothes, for clothed avatars to learn from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bodystream.cli.main import EXIT_INTERRUPTED
from bodystream.cli.options import switched_off
from bodystream.errors import ConfigurationError
from bodystream.files import prepare_folder

__all__ = ["MakeGarments"]

_Pieces = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME[@START-END]")]


@dataclass(frozen=True, kw_only=True)
class MakeGarments:
    """Make a take of a person in loose clothes: the shipped kind of body in recorded motion, the clothes simulated.

    Each frame is a surface of body and clothes with the transforms of 24 bones, in a folder that `load_take` reads; a
    file apart says where each vertex is in the canonical pose, for evaluation only. Ctrl-C stops between two frames;
    the same command goes on with the motion that it was in. Needs: pip install 'bodystream[garments]'
    Examples:
      bodystream-train garments --out takes/1 --subject 1 --outfit shirt-and-shorts --motion bvh:mocap/cmu
      bodystream-train garments --out takes/3 --subject 3 --outfit dress --motion bvh:walks --train walk@0-4 --test turn
    """

    out: Path
    """Folder of the take."""

    motion: Annotated[str, tyro.conf.arg(metavar="SPEC")]
    """Motion files to choose from: bvh:PATH, asf:PATH, amass:PATH, several separated by commas."""

    subject: Literal[1, 2, 3] = 1
    """Whose body."""

    outfit: Literal["shirt-and-shorts", "dress", "jacket"] = "shirt-and-shorts"
    """What they wear."""

    train: _Pieces = (
        "02_01",
        "49_20@0.5-3.5",
        "directing_traffic_train_01@19-22",
        "basketball_signal_train_01@15-18",
        "walking_extra_train_23@4.5-7.5",
        "02_06@6.5-9.5",
    )
    """Motions to learn from, by name, whole or some seconds of them. Clothes want slow to moderate ones. The default is
    of CMU's motions."""

    test: _Pieces = ("walking_extra_train_25@0.5-3.5", "49_18@1-4")
    """Motions to judge by."""

    rate_hz: float = 12.0
    """Frames per second that are kept of the 60 that are simulated: 60, 30, 20, 15, 12, 10, ..."""

    speed: float = 0.9
    """Of the motions, 1 = as recorded."""

    seed: int = 0
    """Of the body's proportions."""

    sheet: Annotated[bool, switched_off("Leave out sheet.png and strip.png, which are there to look at.")] = True
    """Draw sheet.png and strip.png, to look at, into the folder at the end."""

    json: bool = False
    """Print one JSON object at the end."""

    def run(self) -> int:
        from rich.console import Console

        from bodystream.device.quiet import quiet_warp
        from bodystream.evaluation.progress import counted_progress
        from bodystream_training.avatar.data.garments.cloth import import_newton
        from bodystream_training.avatar.data.garments.generate import Generator, GeneratorConfig
        from bodystream_training.avatar.data.garments.motions import read_pieces
        from bodystream_training.interrupts import noted_interrupts

        if not 0.1 <= self.speed <= 3.0:
            raise ConfigurationError(f"--speed must be 0.1 to 3, got {self.speed}")
        if not self.train or set(self.train) & set(self.test):
            raise ConfigurationError("--train must name motions, and --test others")
        import_newton()
        prepare_folder(self.out, "--out")
        console = Console(stderr=True, highlight=False)
        with quiet_warp(), noted_interrupts() as interrupts:
            with console.status("reading motions and cutting clothes"):
                config = GeneratorConfig(
                    self.subject, self.outfit, self.train, self.test, self.rate_hz, self.speed, self.seed
                )
                train, test = (read_pieces(self.motion, names) for names in (self.train, self.test))
                generator = Generator(self.out, config, train, test)
            with counted_progress("garments", generator.frames, console, done=generator.done) as advance:
                finished = generator.run(lambda done, _of, name: advance(done, name), lambda: bool(interrupts))
            if not finished:
                console.print("stopped; the same command goes on with the motion that it was in", soft_wrap=True)
                return EXIT_INTERRUPTED
            report = self._report(generator.frames, generator.left_out)
        if self.json:
            print(json.dumps(report))
        else:
            console.print(
                f"{self.out}: {report['frames']} frames of {report['vertices']} vertices in "
                f"{report['seconds_per_frame']:.2f} s each; cloth at most {report['deepest_mm']:.1f} mm below the "
                f"skin, {report['left_out']} frames left out for more",
                markup=False,
                soft_wrap=True,
            )
        return 0

    def _report(self, planned: int, left_out: int) -> dict[str, float]:
        import numpy as np

        from bodystream.avatar.take.files import load_take
        from bodystream_training.avatar.data.garments.generate import read_log
        from bodystream_training.avatar.data.garments.sheets import write_sheet, write_strip

        take = load_take(self.out)
        if self.sheet:
            shown = np.unique(np.linspace(0, len(take) - 1, 32).astype(int))
            write_sheet(self.out / "sheet.png", take, [take.frames[number] for number in shown])
            last = take.split("test")[:: max(1, round(self.rate_hz / 4))][:10] or take.frames[-10:]
            write_strip(self.out / "strip.png", take, last)
        log = read_log(self.out)
        return {
            "frames": len(take),
            "left_out": left_out,
            "planned": planned,
            "vertices": len(take.frames[0].vertices),
            "seconds_per_frame": float(np.median([line["seconds"] for line in log])),
            "deepest_mm": max(line["deepest_mm"][1] for line in log if line["kept"]),
        }
