"""The training loop of every network: schedule, averaged weights, checkpoints to go on from, interrupts, logs.

A network is a `Task`; where it is trained is said by `devices`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from tensorboardX import SummaryWriter
from torch import Tensor, nn

from bodystream.errors import ConfigurationError, InputError
from bodystream_training.checkpoints import load_checkpoint, load_optimiser, optimiser_tensors, save_checkpoint
from bodystream_training.devices import open_fabric
from bodystream_training.feed import Feed
from bodystream_training.interrupts import noted_interrupts
from bodystream_training.order import ShuffledOrder
from bodystream_training.task import Task

__all__ = ["LoopConfig", "Trainer"]

_LOG_STEPS, _VALIDATE_STEPS = 100, 500


@dataclass(frozen=True)
class LoopConfig:
    """Settings of a training.

    Attributes:
        epochs: passes over as many examples as `Task.epoch` says. steps: in their place, how many steps; 0 = none.
        batch: examples per step, of all processes together.
        learning_rate: at its highest; rises over the first steps and falls along a cosine.
        average: decay of the moving average of the weights, which is what is evaluated and exported.
        seed: of everything random.
        save_minutes: how often a checkpoint is written.

    Raises:
        ConfigurationError: a number that no training can have.
    """

    epochs: int = 100
    batch: int = 1024
    learning_rate: float = 1e-4
    average: float = 0.999
    seed: int = 0
    save_minutes: float = 3.0
    steps: int = 0

    def __post_init__(self) -> None:
        for name, value in (("epochs", self.epochs), ("batch", self.batch)):
            if value < 1:
                raise ConfigurationError(f"{name} of a training must be at least 1, got {value}")
        if self.steps < 0:
            raise ConfigurationError(f"steps of a training must be at least 0, got {self.steps}")
        if not 0.0 < self.learning_rate < math.inf:
            raise ConfigurationError(f"the learning rate must be above 0 and finite, got {self.learning_rate}")
        if not 0.0 <= self.average < 1.0:
            raise ConfigurationError(f"the decay of the average must lie in [0, 1), got {self.average}")
        if not 0 <= self.seed < 2**63:
            raise ConfigurationError(f"the seed of a training must lie in [0, 2^63), got {self.seed}")


class Trainer:
    """Trains one network into the checkpoint `path`, resuming what is there.

    Args:
        make_task: makes network and examples, after everything random was seeded; its generator draws the examples
            later.
        path: of the checkpoint; the log lies beside it, with the ending `.jsonl`.
        fabric: devices, launched; default: `open_fabric()`.
        tensorboard: also write what the log says for TensorBoard, into `tensorboard/<name>` beside the checkpoint.
        end_at: step to end at instead, the learning rate falling over those that are left. The checkpoint says so, and
            goes on with it.

    Raises:
        ConfigurationError: the checkpoint was begun with other settings, the batch cannot be shared, or `end_at` is no
            step that is left.
        InputError: the checkpoint is damaged, or of another network.
    """

    def __init__(
        self,
        make_task: Callable[[torch.Generator], Task],
        path: Path,
        config: LoopConfig,
        *,
        fabric: Fabric | None = None,
        tensorboard: bool = False,
        end_at: int | None = None,
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.config, self._tensorboard = path, config, tensorboard
        self._fabric = fabric or open_fabric()
        generator = torch.Generator().manual_seed(config.seed)
        torch.manual_seed(config.seed)
        self.task = make_task(generator)
        rank, world = self._fabric.global_rank, self._fabric.world_size
        if config.batch % world or self.task.count() < world:
            raise ConfigurationError(
                f"{world} processes share every batch equally: a batch of {config.batch} out of "
                f"{self.task.count()} examples cannot be; give a --batch that is a multiple of {world}"
            )
        self._order = ShuffledOrder(self.task.count(), config.batch, generator, rank, world)
        self._noise = generator
        if world > 1:
            # The order is drawn alike in every process; what is random about examples and network is not.
            self._noise = torch.Generator().manual_seed(config.seed + 1 + rank)
            torch.manual_seed(config.seed + 1 + rank)
        self._feed = Feed(self.task, self._order, self._noise)
        # The fused step does by itself what the scaler of 16-bit gradients has to do before they are limited.
        optimiser = self.task.optimiser(config.learning_rate, fused=self._precision() != "16-mixed")
        self._rates = [group["lr"] for group in optimiser.param_groups]
        self._module, self._optimiser = self._fabric.setup(self.task, optimiser)
        self.average = {name: tensor.clone() for name, tensor in self.task.model.state_dict().items()}
        self.step, self.seconds = 0, 0.0
        self.steps = self._planned = config.steps or max(1, config.epochs * self.task.epoch() // config.batch)
        self._hurry: dict[str, int] | None = None
        if path.is_file():
            self._resume()
        if end_at is not None and (self._hurry is None or self._hurry["to"] != end_at):
            if not self.step < end_at <= self._planned:
                raise ConfigurationError(
                    f"{path} has done {self.step} of {self._planned} steps: a training can be ended at one of those "
                    f"that are left, not at {end_at}"
                )
            self._hurry = {"from": self.step, "to": end_at}
        if self._hurry is not None:
            self.steps = self._hurry["to"]

    def run(self, on_step: Callable[[int, int, dict[str, float]], None] | None = None) -> bool:
        """Train to the end; true when it was reached, false when an interrupt stopped it (what was done is saved).

        Args:
            on_step: told the steps done, of how many, and the terms of the last one, averaged over the processes.

        Raises:
            InputError: the loss is not finite.
        """
        saved = began = time.monotonic()
        before = self.seconds
        with noted_interrupts() as interrupts, self._log() as log:
            stop = False
            while self.step < self.steps and not stop:
                overdue = time.monotonic() - saved > 60 * self.config.save_minutes
                terms, stop, save = self._train(bool(interrupts), overdue)
                self.step += 1
                self.seconds = before + time.monotonic() - began
                if not math.isfinite(terms["total"]):
                    raise InputError(
                        f"the training of {self.path} diverged at step {self.step} (loss {terms['total']}): "
                        "lower --learning-rate; the last checkpoint is kept"
                    )
                if self.step % _LOG_STEPS == 0 or self.step == self.steps:
                    log(terms)
                if on_step is not None:
                    on_step(self.step, self.steps, terms)
                if save:
                    self.save()
                    saved = time.monotonic()
                if self._fabric.world_size == 1:
                    stop = bool(interrupts)
        self.save()
        self._feed.close()
        return self.step >= self.steps

    def save(self) -> None:
        """Write the checkpoint; every process has to call it."""
        task = self.task
        tensors = {f"model/{k}": v for k, v in task.model.state_dict().items()}
        tensors |= {f"average/{k}": v for k, v in self.average.items()}
        for name, module in task.constants().items():
            tensors |= {f"{name}/{k}": v for k, v in module.state_dict().items()}
        tensors |= optimiser_tensors(self._optimiser.optimizer, task.model)
        place = self._feed.place()
        tensors |= self._random_states(place.generator)
        tensors["round_generator"] = place.round_generator
        facts = {
            **self._settings(),
            **task.facts(),
            "step": self.step,
            "steps": self.steps,
            "hurry": self._hurry,
            "seconds": round(self.seconds, 1),
            "position": place.position,
            "scaler": self._fabric.strategy.precision.state_dict(),
        }
        if self._fabric.is_global_zero:
            save_checkpoint(self.path, tensors, facts)
        self._fabric.barrier()

    def last_logged(self, name: str) -> float | None:
        """The figure of that name in the last line of the log that has one; None without any."""
        log = self.path.with_suffix(".jsonl")
        if not log.is_file():
            return None
        for line in reversed(log.read_text(encoding="utf-8").splitlines()):
            entry = json.loads(line)
            if name in entry:
                return entry[name]
        return None

    def _share(self) -> float:
        """Of the learning rate: it falls along a cosine; from where the training was told to end sooner, along another
        that begins where the first one was."""
        if self._hurry is None:
            return _fallen(self.step / self._planned)
        begin, end = self._hurry["from"], self._hurry["to"]
        left = _fallen(begin / self._planned)
        return 0.02 + (left - 0.02) * (_fallen((self.step - begin) / (end - begin)) - 0.02) / 0.98

    def _train(self, stop: bool, save: bool) -> tuple[dict[str, float], bool, bool]:
        """One step; the terms, and whether any process was told to stop and the first one wants to save."""
        progress = self.step / self._planned
        warm = min(1.0, (self.step + 1) / min(200, 1 + self._planned // 10))
        for group, rate in zip(self._optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * warm * self._share()
        batch = self._fabric.to_device(self._feed.take())
        terms: dict[str, Tensor] = self._module(batch, progress)
        self._optimiser.zero_grad()
        self._fabric.backward(terms["total"])
        self._fabric.clip_gradients(
            self._module, self._optimiser, max_norm=self.task.max_gradient_norm, error_if_nonfinite=False
        )
        self._optimiser.step()
        self._update_average()
        told = terms["total"].new_tensor([stop, save and self._fabric.is_global_zero])
        found = torch.cat([torch.stack([term.detach() for term in terms.values()]), told])
        averaged = self._fabric.all_reduce(found)
        assert isinstance(averaged, Tensor)
        *values, stops, saves = averaged.tolist()
        return dict(zip(terms, values, strict=True)), stops > 0, saves > 0

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        for name, tensor in self.task.model.state_dict().items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor, 1.0 - decay)
            else:
                self.average[name].copy_(tensor)

    @contextmanager
    def _log(self) -> Iterator[Callable[[dict[str, float]], None]]:
        """What appends a line to the log, and to TensorBoard's; in the first process only."""
        if not self._fabric.is_global_zero:
            yield lambda _: None
            return
        board = None
        if self._tensorboard:
            folder = self.path.parent / "tensorboard" / self.path.stem
            board = SummaryWriter(str(folder), purge_step=self.step + 1)

        def log(terms: dict[str, float]) -> None:
            figures = {name: _readable(value) for name, value in terms.items()}
            model = self._averaged()
            if self.step % _VALIDATE_STEPS == 0 or self.step == self.steps:
                with torch.no_grad():
                    figures |= {name: round(value, 3) for name, value in self.task.validate(model).items()}
            entry = {"step": self.step, "of": self.steps, "seconds": round(self.seconds, 1), **figures}
            with self.path.with_suffix(".jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
            for name, value in figures.items():
                if board is not None:
                    board.add_scalar(name, value, self.step)

        try:
            yield log
        finally:
            if board is not None:
                board.close()

    def _averaged(self) -> nn.Module:
        # Made for every line of the log: what a network draws for its first weights moves the generator of its dropout.
        model = self.task.fresh()
        model.load_state_dict(self.average)
        return model.to(self._fabric.device).eval()

    def _settings(self) -> dict[str, Any]:
        found = {"config": asdict(self.config), **self.task.settings()}
        found |= {"precision": self._precision(), "processes": self._fabric.world_size}
        return json.loads(json.dumps(found))

    def _precision(self) -> str:
        return str(self._fabric.strategy.precision.precision)

    def _resume(self) -> None:
        tensors, facts = load_checkpoint(self.path)
        # What older checkpoints do not say.
        facts = {"precision": "bf16-mixed", "processes": 1} | facts
        for key, wanted in self._settings().items():
            if facts.get(key, wanted) != wanted:
                raise ConfigurationError(
                    f"{self.path} was begun with other settings ({key}: {facts.get(key)}, now {wanted}): "
                    "give the same ones to resume it, or another --out"
                )
        try:
            self.task.model.load_state_dict(_under("model", tensors))
            average = _under("average", tensors)
            for name, tensor in self.average.items():
                tensor.copy_(average[name])
            for name, module in self.task.constants().items():
                module.load_state_dict(_under(name, tensors))
            load_optimiser(self._optimiser.optimizer, self.task.model, tensors)
            self._set_random_states(tensors, facts.get("position"))
            self._fabric.strategy.precision.load_state_dict(facts.get("scaler", {}))
            self.step, self.seconds, self._hurry = facts["step"], facts["seconds"], facts.get("hurry")
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"{self.path} is of another network than this one: {error}; give another --out") from error

    def _random_states(self, generator: Tensor) -> dict[str, Tensor]:
        """By name; of several processes one row each."""
        states = {"generator": generator, "torch_generator": torch.get_rng_state()}
        if self._fabric.device.type == "cuda":
            states["cuda_generator"] = torch.cuda.get_rng_state(self._fabric.device)
        return {name: self._rows(state) for name, state in states.items()} if self._fabric.world_size > 1 else states

    def _rows(self, own: Tensor) -> Tensor:
        """(processes, N) of every process its bytes."""
        rows = own.new_zeros(self._fabric.world_size, len(own))
        rows[self._fabric.global_rank] = own
        gathered = self._fabric.all_reduce(rows, reduce_op="sum")
        assert isinstance(gathered, Tensor)
        return gathered

    def _set_random_states(self, tensors: dict[str, Tensor], position: int | None) -> None:
        if position is not None:  # an older checkpoint begins a new round
            self._order.go_to(tensors["round_generator"], position)
        states = {name: tensors[name] for name in ("generator", "torch_generator", "cuda_generator") if name in tensors}
        if self._fabric.world_size > 1:
            # Copies: a generator reads from where the memory of a view begins, which is the first process' row.
            states = {name: state[self._fabric.global_rank].clone() for name, state in states.items()}
        self._noise.set_state(states["generator"])
        torch.set_rng_state(states["torch_generator"])
        if self._fabric.device.type == "cuda" and "cuda_generator" in states:
            torch.cuda.set_rng_state(states["cuda_generator"], self._fabric.device)


def _readable(value: float) -> float:
    """Of a term four decimals, and of a small one three digits: it would be 0 in the log."""
    if value == 0.0 or not math.isfinite(value):
        return value
    return round(value, max(4, 2 - math.floor(math.log10(abs(value)))))


def _fallen(progress: float) -> float:
    return 0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2


def _under(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key[len(name) + 1 :]: tensor for key, tensor in tensors.items() if key.startswith(f"{name}/")}
