"""`bodystream-train flow`: from pairs of images with known motion to trained networks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bodystream.cli.main import EXIT_INTERRUPTED
from bodystream.cli.options import optional
from bodystream.errors import ConfigurationError
from bodystream.files import prepare_folder
from bodystream_training.options import DeviceOptions

__all__ = ["TrainFlow"]


@dataclass(frozen=True, kw_only=True)
class TrainFlow(DeviceOptions):
    """Train learned correspondence: flow and the weights of its matches.

    The light network learns both at once. Ctrl-C writes a checkpoint; the same command goes on from it. The log says
    how large the error is on pairs that are not trained on, beside that of the guess that the network began from and
    of DIS on the same pairs; sheets of pictures show it. Examples:
      bodystream-train flow --data synthetic --net light
      bodystream-train flow --data deepdeform:PATH --net light --learning-rate 3e-4
      bodystream-train flow --data synthetic --net light --pairs 4000 --epochs 10 --out runs/flow-small
    """

    data: str
    """Pairs to learn from: synthetic, which are made by a generator, or deepdeform:PATH (the public data set's layout,
    its training split; its validation split is what the log's error is of)."""

    net: Literal["light"] = "light"
    """The network: light, ours for processors and small graphics cards."""

    out: Path = Path("runs/flow")
    """Folder of the run: checkpoints, logs and sheets."""

    size: Annotated[str, tyro.conf.arg(metavar="WxH")] = "192x256"
    """Width and height of the crops [px], multiples of 32."""

    pairs: int = 20_000
    """Pairs that the generator makes, before they repeat."""

    motions: Annotated[str | None, optional("FORMAT:PATH")] = None
    """Motion files (bvh:PATH, asf:PATH) that half of the generated people move by; default: all motion is made up."""

    cache: Annotated[Path | None, optional("PATH")] = None
    """Folder that keeps generated pairs for the next pass (0.4 MB each); default: they are made anew each time."""

    validation_pairs: int = 64
    """Pairs that the log's error is of."""

    epochs: int = 5
    """Passes over the pairs."""

    batch: int = 8
    """Pairs per step."""

    learning_rate: float = 1e-3
    """At its highest."""

    optimiser: Literal["adamw", "sgd"] = "adamw"
    """How weights are changed: adamw, or sgd with momentum 0.9, as the paper."""

    seed: int = 0
    """Of everything random."""

    loaders: int = 1
    """Threads that make the next batches meanwhile."""

    threads: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """Processor threads of PyTorch; default: all."""

    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Of matrix products: auto is bf16 on graphics cards and on processors that have units for it (AMX), else fp32."""

    json: bool = False
    """Print one JSON object at the end: steps, seconds, file, and the last figures of the log."""

    def run(self) -> int:
        import cv2

        from bodystream.device.quiet import quiet_warp

        cv2.setNumThreads(1)  # its pool beside PyTorch's only makes the cores spin
        with quiet_warp():
            return self._run()

    def _run(self) -> int:
        import torch
        from rich.console import Console

        from bodystream.evaluation.progress import counted_progress, duration_text
        from bodystream_training.devices import leads_here, open_fabric
        from bodystream_training.flow.data import open_pairs
        from bodystream_training.flow.light import MULTIPLE, LightFlow
        from bodystream_training.flow.samples import crop_size
        from bodystream_training.flow.tasks import FlowExamples, FlowTrainConfig, LightTask
        from bodystream_training.loop import Trainer

        size = crop_size(self.size)
        if any(side < 64 or side % MULTIPLE for side in size):
            raise ConfigurationError(
                f"--size must be multiples of {MULTIPLE}, from 64 on, got {self.size}: give 192x256"
            )
        prepare_folder(self.out, "--out")
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        config = FlowTrainConfig(
            epochs=self.epochs, batch=self.batch, learning_rate=self.learning_rate, seed=self.seed,
            optimiser=self.optimiser, loaders=self.loaders,
        )  # fmt: skip
        console = Console(stderr=True, highlight=False, quiet=not leads_here())
        fabric = open_fabric(self)
        fabric.launch()
        recorded = self.data.startswith("deepdeform:")
        train, held_out = (
            open_pairs(
                self.data, size, count=count, seed=2 * self.seed + part, motions=self.motions, cache=self.cache,
                split=split if recorded else None,
            )
            for part, (count, split) in enumerate(((self.pairs, "train"), (self.validation_pairs, "val")))
        )  # fmt: skip
        with console.status("making the pairs that the error is of"):
            examples = FlowExamples.of(train, held_out, self.validation_pairs, self.batch, self.seed)
        console.print(
            f"{len(train)} pairs to train on, {min(len(held_out), self.validation_pairs)} others to judge by",
            soft_wrap=True,
        )
        trainer = Trainer(
            lambda _: LightTask(LightFlow(), config, examples, self.out / "sheets"),
            self.out / f"{self.net}.safetensors",
            config,
            fabric=fabric,
            tensorboard=self.tensorboard,
        )
        with counted_progress(self.net, trainer.steps, console, done=trainer.step) as advance:
            finished = trainer.run(
                lambda step, _of, terms: advance(step, f"loss {terms['total']:.2f}, {terms['error_px']:.2f} px off")
            )
        if not fabric.is_global_zero:
            return 0
        figures = {name: trainer.last_logged(name) for name in ("epe_visible_px", "dis_visible_px", "guess_visible_px")}
        if finished:
            words = [
                f"{value:.2f} px {name}"
                for name, value in zip(("off", "by DIS", "to begin with"), figures.values(), strict=True)
            ]
            console.print(
                f"{trainer.path}: {trainer.steps} steps in {duration_text(trainer.seconds)}; {', '.join(words)}",
                markup=False,
                soft_wrap=True,
            )
        else:
            console.print(
                f"stopped at step {trainer.step} of {trainer.steps}; the same command goes on from there",
                soft_wrap=True,
            )
        if self.json:
            facts = {"finished": finished, "step": trainer.step, "steps": trainer.steps, "file": str(trainer.path)}
            print(json.dumps(facts | {"seconds": round(trainer.seconds, 1)} | figures))
        return 0 if finished else EXIT_INTERRUPTED
