"""`bodystream-train flow`: from pairs of images with known motion to trained networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bodystream.cli.options import optional
from bodystream.errors import ConfigurationError
from bodystream.files import prepare_folder
from bodystream_training.options import DeviceOptions

__all__ = ["TrainFlow"]


@dataclass(frozen=True, kw_only=True)
class TrainFlow(DeviceOptions):
    """Train learned correspondence: flow and the weights of its matches.

    Stage 1 learns from the true flow: the light network flow and weights at once, the full one the flow. The later ones
    go on from the one before through the solver: 2 flow, 3 weights, 4 both (as NNRT's paper). Ctrl-C writes a
    checkpoint; the same command goes on from it. The log says how large the error is on pairs that are not trained on,
    beside that of the guess that the network began from and of DIS on the same pairs; sheets of pictures show it.
    Examples:
      bodystream-train flow --data synthetic --net light
      bodystream-train flow --data synthetic --net full --stage 1 --size 320x256 --batch 4
      bodystream-train flow --data deepdeform:PATH --net full --stage 2 --optimiser sgd --learning-rate 1e-5
      bodystream-train flow --data synthetic --net light --pairs 4000 --epochs 10 --out runs/flow-small
    """

    data: str
    """Pairs to learn from: synthetic, which are made by a generator, or deepdeform:PATH (the public data set's layout,
    its training split; its validation split is what the log's error is of)."""

    net: Literal["light", "full"] = "light"
    """The network: light, ours for processors and small graphics cards, or full, the paper's PWC-Net and weight net."""

    stage: Literal[1, 2, 3, 4] = 1
    """Of the training; 2, 3 and 4 begin from the stage before in the same --out, or from --start."""

    start: Annotated[Path | None, optional("PATH")] = None
    """Checkpoint to begin from, of an earlier stage or of a training on other pairs."""

    out: Path = Path("runs/flow")
    """Folder of the run: checkpoints, logs and sheets."""

    size: Annotated[str, tyro.conf.arg(metavar="WxH")] = "192x256"
    """Width and height of the crops [px], multiples of 32 (light) or 64 (full)."""

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

    learning_rate: Annotated[float | None, optional("RATE")] = None
    """At its highest; default: 1e-3 in the light network's first stage, else 1e-4 (the paper: 1e-5 with sgd)."""

    optimiser: Literal["adamw", "sgd"] = "adamw"
    """How weights are changed: adamw, or sgd with momentum 0.9, as the paper."""

    matches: int = 10_000
    """Most points of a pair that go through the solver."""

    most_nodes: int = 400
    """Nodes of a pair's graph; a subject that would need more has them farther apart. Time grows with their cube."""

    weight_truth: float = 0.0
    """Share of supervised weights (NNRT, appendix C.3) in stages 3 and 4; the paper's own method has none."""

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

        from bodystream.evaluation.progress import counted_progress
        from bodystream_training.devices import leads_here, open_fabric
        from bodystream_training.endings import tell_end
        from bodystream_training.flow.data import open_pairs
        from bodystream_training.flow.networks import MULTIPLES, flow_task
        from bodystream_training.flow.samples import crop_size
        from bodystream_training.flow.tasks import FlowExamples, FlowTrainConfig
        from bodystream_training.loop import Trainer

        size = crop_size(self.size)
        multiple = MULTIPLES[self.net]
        if any(side < 64 or side % multiple for side in size):
            raise ConfigurationError(
                f"--size must be multiples of {multiple}, from 64 on, got {self.size}: give 192x256"
            )
        name, start = self._name(self.stage), self._start()
        prepare_folder(self.out, "--out")
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        config = FlowTrainConfig(
            epochs=self.epochs, batch=self.batch, learning_rate=self._rate(), seed=self.seed, stage=self.stage,
            optimiser=self.optimiser, loaders=self.loaders, matches=self.matches, most_nodes=self.most_nodes,
            weight_truth=self.weight_truth,
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
            lambda _: flow_task(self.net, config, examples, self.out / "sheets", start),
            self.out / f"{name}.safetensors",
            config,
            fabric=fabric,
            tensorboard=self.tensorboard,
        )
        with counted_progress(name, trainer.steps, console, done=trainer.step) as advance:
            finished = trainer.run(
                lambda step, _of, terms: advance(step, f"loss {terms['total']:.2f}, {terms['error_px']:.2f} px off")
            )
        if not fabric.is_global_zero:
            return 0
        figures = {
            name: trainer.last_logged(name)
            for name in ("epe_visible_px", "dis_visible_px", "guess_visible_px", "epe_epe3d_mm", "dis_epe3d_mm")
        }
        units = ("px off", "px by DIS", "px to begin with", "mm off", "mm by DIS")
        shown = [
            f"{value:.2f} {unit}" for value, unit in zip(figures.values(), units, strict=True) if value is not None
        ]
        return tell_end(console, trainer, finished, shown, figures if self.json else None)

    def _name(self, stage: int) -> str:
        return self.net if stage == 1 else f"{self.net}-{stage}"

    def _rate(self) -> float:
        if self.learning_rate is not None:
            return self.learning_rate
        return 1e-3 if self.net == "light" and self.stage == 1 else 1e-4

    def _start(self) -> Path | None:
        """What the stage begins from.

        Raises:
            ConfigurationError: a later stage has nothing to begin from.
        """
        if self.start is not None or self.stage == 1:
            return self.start
        earlier = [self.out / f"{self._name(stage)}.safetensors" for stage in range(self.stage - 1, 0, -1)]
        for path in earlier:
            if path.is_file():
                return path
        raise ConfigurationError(
            f"stage {self.stage} goes on from an earlier one, and {self.out} holds none "
            f"({', '.join(path.name for path in earlier)}): train it first, or give --start"
        )
