"""`bodystream-train pose`: from motion files to trained networks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bodystream.cli.main import EXIT_INTERRUPTED

__all__ = ["RUN_FACTS", "TrainPose"]

RUN_FACTS = "run.json"


@dataclass(frozen=True)
class TrainPose:
    """Train the pose sampler (FLAG): the flow, then the latent predictor on it, and the regressor it is compared with.

    Ctrl-C writes a checkpoint; the same command goes on from it. Examples:
      bodystream-train pose --data bvh:mocap/cmu
      bodystream-train pose --data bvh:mocap/cmu,asf:mocap/more --stages flow predictor --out runs/pose
      bodystream-train pose --data amass:PATH --epochs 20
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

    leave_out: tuple[str, ...] = ()
    """Subjects or data sets (the beginning of their names: accad_) that are not trained on."""

    epochs: int = 100
    """Passes over as many examples as there are frames at 20 Hz."""

    batch: int = 1024
    """Examples per step."""

    learning_rate: float = 1e-4
    """Of Adam, at its highest."""

    history: bool = True
    """See half a second of the past; --no-history sees single frames, as the paper."""

    variants: int = 4
    """Copies of every clip: mirrored, and with other proportions."""

    seed: int = 0
    """Of everything random."""

    threads: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """Processor threads; default: all."""

    def run(self) -> int:
        import torch
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from bodystream.pose.features import FeatureConfig
        from bodystream_training.pose.examples_cache import cached_examples
        from bodystream_training.pose.train import TrainConfig, Trainer

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        console = Console(stderr=True, highlight=False)
        features = FeatureConfig() if self.history else FeatureConfig(())
        train, validation, subjects, data = cached_examples(
            self.data, features, self.variants, self.seed, self.leave_out, self.out.parent / "examples", console
        )
        console.print(
            f"{train.base} frames at 20 Hz to train on ({len(train)} examples), {validation.base} of other people"
        )
        for name in self.stages:
            plain = name == "flow-plain"
            config = TrainConfig(
                epochs=self.epochs,
                batch=self.batch,
                learning_rate=self.learning_rate,
                seed=self.seed,
                intermediate_supervision=not plain,
            )
            stage = "flow" if plain else name
            trainer = Trainer(
                self.out,
                stage,
                config,
                features,
                train,
                validation,
                name=name,
                data=data,  # type: ignore[arg-type]
            )
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
                task = bar.add_task(name, total=trainer.steps, completed=trainer.step)

                def show(
                    step: int, _of: int, terms: dict[str, float], bar: Progress = bar, task=task, name: str = name
                ) -> None:
                    bar.update(task, completed=step, description=f"{name}  loss {terms['total']:.2f}")

                finished = trainer.run(show)
            if not finished:
                console.print(f"stopped at step {trainer.step} of {trainer.steps}; the same command goes on from there")
                return EXIT_INTERRUPTED
            self._note(name, subjects)
            console.print(f"{name}: {trainer.path}")
        return 0

    def _note(self, stage: str, subjects: list[str]) -> None:
        """Write what a bundle says of its making, now that a stage is trained; the others keep their line."""
        words = [f"--epochs {self.epochs}", f"--batch {self.batch}", f"--learning-rate {self.learning_rate:g}"]
        words += [f"--variants {self.variants}", f"--seed {self.seed}", *([] if self.history else ["--no-history"])]
        words += [f"--leave-out {name}" for name in self.leave_out]
        path = self.out / RUN_FACTS
        facts = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"subjects": [], "recipes": {}}
        facts["subjects"] = sorted({*facts["subjects"], *subjects})
        facts["recipes"][stage] = f"bodystream-train pose --data DATA --stages {stage} {' '.join(words)}"
        path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
