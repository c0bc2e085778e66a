"""`bodystream-train avatar`: from posed meshes of one person to an avatar that is posed by its bones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bodystream.errors import ConfigurationError
from bodystream.files import prepare_folder
from bodystream_training.options import DeviceOptions

__all__ = ["TrainAvatar"]

_START_STEPS = {"scans": 1500, "sticks": 300}
_PLACES = 400_000  # of the canonical space, that a start from scans is shown


@dataclass(frozen=True, kw_only=True)
class TrainAvatar(DeviceOptions):
    """Train a clothed avatar (INS) on posed meshes and bone transforms of one person in one outfit.

    Ctrl-C writes a checkpoint; the same command goes on from it. The log says how well motions are met that are not
    trained on. Points about the meshes are drawn once and kept in --out.
    Examples:
      bodystream-train avatar --data take/ --out runs/me
      bodystream-train avatar --data take/ --out runs/me --net snarf-nc    what it is compared with
      bodystream-train avatar --data 'cape:PATH?subject=03375&clothing=blazerlong&model=SMPL.npz' --out runs/blazer
    """

    data: str
    """A take: its folder, or cape:PATH?... or dfaust:PATH?... for these data sets' own layouts."""

    net: Literal[
        "ins", "without-product", "without-sines", "without-rotation", "without-deformed-pin", "without-canonical-pin",
        "without-skinning", "snarf", "snarf-nc",
    ] = "ins"  # fmt: skip
    """The network: ins, without one of its parts, or forward skinning alone, whose shape knows the pose (snarf) or not
    (snarf-nc)."""

    out: Path = Path("runs/avatar")
    """Folder of the run: checkpoints and logs."""

    omega: float = 30.0
    """Of the sines that embed space, 30 as in the paper. Lower ones, as 15, make smoother avatars, whose tables are
    smaller and pose them faster."""

    smooth_from: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.5
    """Of the training: from then on, what the PINs do is kept smooth in space, so that an avatar is posed fast by small
    tables; 1 = never."""

    steps: int = 4000
    """Steps of the training; the paper's has about 7,750 of 60,000 points."""

    end_at: Annotated[int | None, tyro.conf.arg(metavar="STEP", help_behavior_hint="")] = None
    """End at this step instead, the learning rate falling from where the training is until there; default: --steps."""

    batch: int = 4
    """Frames per step."""

    points: int = 2000
    """Points of each frame per step."""

    samples: int = 40_000
    """Points that are drawn about each frame, half of them near the surface; the paper draws 200,000."""

    start: Annotated[Literal["scans", "sticks"] | None, tyro.conf.arg(help_behavior_hint="")] = None
    """Begin with the average of a few scans, which the take's skinning weights bring back, or with a figure of sticks;
    default: scans where the take has such weights, or else sticks."""

    start_steps: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """Quick steps towards that before the first one; 0 = none, as the paper; default: 1,500 for scans, 300 for
    sticks."""

    learning_rate: float = 1e-3
    """Of Adam, at its highest; the PINs have a tenth of it."""

    seed: int = 0
    """Of everything random."""

    threads: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """Processor threads; default: all."""

    precision: Literal["fp32"] = "fp32"
    """Points in metres need all of it."""

    json: bool = False
    """Print one JSON object at the end: steps, seconds, file, and the last figures of the log."""

    def run(self) -> int:
        import torch
        from rich.console import Console

        from bodystream.device.quiet import quiet_warp
        from bodystream.evaluation.progress import counted_progress
        from bodystream_training.avatar.beginning import first_shape
        from bodystream_training.avatar.data.open_take import absolute, open_take
        from bodystream_training.avatar.data.sampling import SamplingConfig
        from bodystream_training.avatar.examples import examples_of
        from bodystream_training.avatar.networks import network_config
        from bodystream_training.avatar.tasks import AvatarTask, AvatarTrainConfig
        from bodystream_training.devices import leads_here, open_fabric
        from bodystream_training.endings import tell_end
        from bodystream_training.loop import Trainer

        if not 1.0 <= self.omega <= 100.0:
            raise ConfigurationError(f"--omega must be 1 to 100, got {self.omega}")
        if not 0.0 <= self.smooth_from <= 1.0:
            raise ConfigurationError(f"--smooth-from must be 0 to 1, got {self.smooth_from}")
        prepare_folder(self.out, "--out")
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        sampling = SamplingConfig(self.samples // 2, self.samples - self.samples // 2, seed=self.seed)
        console = Console(stderr=True, highlight=False, quiet=not leads_here())
        fabric = open_fabric(self)
        fabric.launch()
        path = self.out / f"{self.net}.safetensors"
        begun = path.is_file()
        with quiet_warp():
            take = open_take(self.data)
            for note in take.notes:
                console.print(f"note: {note}", markup=False, soft_wrap=True)
            start = self.start or ("sticks" if take.skin_weights is None or take.faces is None else "scans")
            config = AvatarTrainConfig(
                steps=self.steps,
                batch=self.batch,
                learning_rate=self.learning_rate,
                seed=self.seed,
                points=self.points,
                smooth_from=self.smooth_from,
                start=start,
                start_steps=_START_STEPS[start] if self.start_steps is None else self.start_steps,
            )
            first = first_shape(take, _PLACES, self.seed) if start == "scans" and not begun else None
            with counted_progress("points about each frame", len(take.frames), console) as advance:
                done = iter(range(1, len(take.frames) + 1))
                examples = examples_of(take, sampling, self.out / "points", on_frame=lambda: advance(next(done), ""))
        console.print(
            f"{len(examples.frames)} frames to train on, {len(examples.validation)} of other motions to judge by",
            soft_wrap=True,
        )
        with counted_progress(f"start from {start}", config.start_steps, console) as advance:
            trainer = Trainer(
                lambda _: AvatarTask(
                    config, network_config(self.net, self.omega), examples, first,
                    data=absolute(self.data), begun=begun,
                    on_start=lambda step: advance(step, ""),
                ),
                path,
                config,
                fabric=fabric,
                tensorboard=self.tensorboard,
                end_at=self.end_at,
            )  # fmt: skip
        with counted_progress(self.net, trainer.steps, console, done=trainer.step) as advance:
            finished = trainer.run(lambda step, _of, terms: advance(step, f"loss {terms['total']:.4f}"))
        if not fabric.is_global_zero:
            return 0
        figures = {name: trainer.last_logged(name) for name in ("iou_surface", "iou_bbox")}
        shown = [f"{name} {value:.3f}" for name, value in figures.items() if value is not None]
        return tell_end(console, trainer, finished, shown, figures if self.json else None)
