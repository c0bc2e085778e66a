"""`bodystream-train pose`: from motion files to trained networks."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from bodystream.cli.main import EXIT_INTERRUPTED
from bodystream.cli.options import optional, switched_off
from bodystream.errors import ConfigurationError
from bodystream.files import prepare_folder
from bodystream_training.options import DeviceOptions

if TYPE_CHECKING:
    from bodystream_training.pose.splits import Splits

__all__ = ["TrainPose"]


@dataclass(frozen=True, kw_only=True)
class TrainPose(DeviceOptions):
    """Train the pose sampler (FLAG): the flow, then the latent predictor on it, and the regressor it is compared with.

    Ctrl-C writes a checkpoint; the same command goes on from it. Whole subjects are kept for validation and test: of
    CMU's data the published ones, of your own those that you name or draw. Examples:
      bodystream-train pose --data bvh:mocap/cmu
      bodystream-train pose --data bvh:takes --validation anna --test ben carla
      bodystream-train pose --data bvh:takes --validation-share 0.1 --test-share 0.1
      bodystream-train pose --data bvh:mocap/cmu,asf:mocap/more --stages flow predictor --out runs/pose
      bodystream-train pose --data amass:PATH --epochs 20
      bodystream-train pose --data bvh:mocap/cmu --accelerator cuda --devices 4
    """

    data: str
    """Motion files: bvh:PATH, asf:PATH, amass:PATH, several separated by commas; folders are searched."""

    out: Path = Path("runs/pose")
    """Folder of the run: checkpoints and logs."""

    stages: tuple[Literal["flow", "flow-plain", "predictor", "joint", "regressor"], ...] = (
        "flow",
        "predictor",
        "joint",
        "regressor",
    )
    """What to train, in this order; joint goes on with flow and predictor together, and flow-plain is the flow without
    intermediate supervision, for comparison."""

    leave_out: Annotated[tuple[str, ...], optional("NAME ...")] = ()
    """Subjects or data sets (the beginning of their names: accad_) that are not trained on."""

    validation: Annotated[tuple[str, ...] | None, optional("NAME ...")] = None
    """Subjects that are not trained on, and that the log's error is of; default: cmu_06 and cmu_09."""

    test: Annotated[tuple[str, ...] | None, optional("NAME ...")] = None
    """Subjects that no part of a training sees; default: cmu_02, cmu_08, cmu_16 and cmu_17."""

    validation_share: Annotated[float | None, optional("SHARE")] = None
    """Draw this share of all subjects for validation instead, 0 to 1, and at least one."""

    test_share: Annotated[float | None, optional("SHARE")] = None
    """The same for the test."""

    split_seed: int = 0
    """Of these draws."""

    epochs: int = 100
    """Passes over as many examples as there are frames at 20 Hz."""

    batch: int = 1024
    """Examples per step."""

    learning_rate: float = 1e-4
    """Of Adam, at its highest."""

    history: Annotated[bool, switched_off("See single frames, as the paper, and not half a second of the past.")] = True
    """See half a second of the past."""

    sizes: Annotated[tuple[str, ...], optional("KEY=N ...")] = ()
    """Networks of other sizes than the paper's, as hidden=256 width=128; keys: couplings and hidden of the flow, width,
    layers, heads, feed_forward, groups and categories of the predictor."""

    variants: int = 4
    """Copies of every clip: mirrored, and with other proportions."""

    seed: int = 0
    """Of everything random."""

    threads: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """Processor threads; default: all."""

    json: bool = False
    """Print one JSON object at the end: per stage its steps, seconds, file, and last error on validation subjects."""

    def run(self) -> int:
        import torch
        from rich.console import Console

        from bodystream.evaluation.progress import counted_progress, duration_text
        from bodystream.pose.features import FeatureConfig
        from bodystream_training.devices import leads_here, open_fabric
        from bodystream_training.pose.examples_cache import cached_examples
        from bodystream_training.pose.networks import chosen_sizes
        from bodystream_training.pose.splits import SplitChoice
        from bodystream_training.pose.train import TrainConfig, pose_trainer

        prepare_folder(self.out, "--out")
        features = FeatureConfig() if self.history else FeatureConfig(())
        sizes = chosen_sizes(self.sizes, features)
        configs = {
            name: TrainConfig(
                epochs=self.epochs,
                batch=self.batch,
                learning_rate=self.learning_rate,
                seed=self.seed,
                intermediate_supervision=name != "flow-plain",
            )
            for name in self.stages
        }
        fabric = open_fabric(self)
        console = Console(stderr=True, highlight=False, quiet=not leads_here())
        choice = SplitChoice(self.validation, self.test, self.validation_share, self.test_share, self.split_seed)
        read = partial(
            cached_examples, self.data, features, self.variants, self.seed, self.leave_out,
            self.out.parent / "examples", console, choice,
        )  # fmt: skip
        # The first process reads before it starts the others, which find what it has kept.
        found = read() if leads_here() else None
        facts = {} if found is None else self._run_facts(found[3])
        fabric.launch()
        fabric.barrier()
        train, validation, subjects, _, data = found or read()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        console.print(
            f"{train.base} frames at 20 Hz to train on ({len(train)} examples of {len(subjects)} people), "
            f"{validation.base} of other people",
            soft_wrap=True,
        )
        began_s = time.monotonic()
        done: dict[str, Any] = {}
        for name in self.stages:
            stage = "flow" if name == "flow-plain" else name
            trainer = pose_trainer(
                self.out, stage, configs[name], features, train, validation, name=name, data=data, sizes=sizes,
                fabric=fabric, tensorboard=self.tensorboard,
            )  # fmt: skip
            label = f"[{len(done) + 1}/{len(self.stages)}] {name}"
            with counted_progress(label, trainer.steps, console, done=trainer.step) as advance:
                finished = trainer.run(
                    lambda step, _of, terms, advance=advance: advance(step, f"loss {terms['total']:.2f}")
                )
            done[name] = {
                "finished": finished,
                "step": trainer.step,
                "steps": trainer.steps,
                "seconds": round(trainer.seconds, 1),
                "file": str(trainer.path),
                "mpjpe_cm": trainer.last_logged("mpjpe_cm"),
            }
            if not finished:
                console.print(
                    f"stopped at step {trainer.step} of {trainer.steps}; the same command goes on from there",
                    soft_wrap=True,
                )
                break
            if fabric.is_global_zero:
                self._note(facts, name, subjects)
            error_cm = done[name]["mpjpe_cm"]
            error = "" if error_cm is None else f", {error_cm:.2f} cm off on validation subjects"
            console.print(
                f"{name}: {trainer.path} ({trainer.steps} steps in {duration_text(trainer.seconds)}{error})",
                markup=False,
                soft_wrap=True,
            )
        finished = all(stage["finished"] for stage in done.values())
        if not fabric.is_global_zero:
            return 0  # a process that ends otherwise has the first one killed before it has said what came of it
        if finished:
            console.print(f"{len(done)} stages trained in {duration_text(time.monotonic() - began_s)}: {self.out}")
        if self.json:
            print(json.dumps({"out": str(self.out), "finished": finished, "stages": done}))
        return 0 if finished else EXIT_INTERRUPTED

    def _run_facts(self, splits: Splits) -> dict[str, Any]:
        """What the run's folder says so far; stages that were trained on other people do not go together.

        Raises:
            ConfigurationError: the run was begun with other splits.
        """
        from bodystream_training.pose.splits import RUN_FACTS, read_run, write_run

        if (self.out / RUN_FACTS).exists():
            facts = read_run(self.out)
            if facts["recipes"] and facts["splits"] != splits:
                raise ConfigurationError(
                    f"{self.out} was begun with other splits (validation {', '.join(facts['splits']['validation'])}; "
                    f"test {', '.join(facts['splits']['test'])}): give the same ones, or another --out"
                )
        else:
            facts = {"subjects": [], "recipes": {}}
        facts["splits"] = dict(splits)
        write_run(self.out, facts)
        return facts

    def _note(self, facts: dict[str, Any], stage: str, subjects: list[str]) -> None:
        """Write what a bundle says of its making, now that a stage is trained; the others keep their line."""
        from bodystream_training.pose.splits import write_run

        words = [f"--epochs {self.epochs}", f"--batch {self.batch}", f"--learning-rate {self.learning_rate:g}"]
        words += [f"--variants {self.variants}", f"--seed {self.seed}", *([] if self.history else ["--no-history"])]
        words += [] if self.precision == "bf16" else [f"--precision {self.precision}"]
        words += ["--sizes", *self.sizes] if self.sizes else []
        words += [f"--leave-out {name}" for name in self.leave_out]
        for option, names in (("--validation", self.validation), ("--test", self.test)):
            words += [option, *names] if names else []
        for option, share in (("--validation-share", self.validation_share), ("--test-share", self.test_share)):
            words += [f"{option} {share:g} --split-seed {self.split_seed}"] if share is not None else []
        facts["subjects"] = sorted({*facts["subjects"], *subjects})
        facts["recipes"][stage] = f"bodystream-train pose --data DATA --stages {stage} {' '.join(words)}"
        write_run(self.out, facts)
