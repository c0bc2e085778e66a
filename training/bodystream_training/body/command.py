"""`bodystream-train body`: from bodies of one topology to an embedding that keeps shape and pose apart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from bodystream.cli.main import EXIT_INTERRUPTED
from bodystream.cli.options import optional
from bodystream.errors import ConfigurationError
from bodystream.files import prepare_folder
from bodystream_training.options import DeviceOptions

if TYPE_CHECKING:
    from rich.console import Console

    from bodystream_training.loop import Trainer

__all__ = ["TrainBody"]


_FIT_STEPS = 48000


@dataclass(frozen=True, kw_only=True)
class TrainBody(DeviceOptions):
    """Train the embedding of bodies (DHNN) on meshes of one topology, a neutral one of each identity among them.

    Features of all meshes are computed once and kept in --out. Ctrl-C saves what is done, of them and of the training;
    the same command goes on from there. The log says how far test meshes are off that go through encoder and decoder.
    Generated people need: pip install 'bodystream[body]'
    Examples:
      bodystream-train body --data generated --motion bvh:mocap/cmu --out runs/body
      bodystream-train body --data meshes:bodies --out runs/mine
      bodystream-train body --data generated --motion bvh:mocap/cmu --net baseline    what it is compared with
    """

    data: str
    """Which bodies: generated, or meshes:FOLDER with FOLDER/IDENTITY/neutral.obj and others beside it."""

    motion: Annotated[str | None, optional("SPEC")] = None
    """Motion files that generated people are posed by, such as bvh:FOLDER."""

    net: Literal["dhnn", "baseline", "meshvae"] = "dhnn"
    """The network: dhnn, without its base path (baseline), or with one code for shape and pose (meshvae)."""

    out: Path = Path("runs/body")
    """Folder of the run: features, checkpoints and logs."""

    neutral: int = 3183
    """Generated identities, each with its neutral body."""

    posed: int = 2411
    """Generated bodies in poses."""

    epochs: int = 2200
    """Passes over all bodies; weights of the losses change after 1600 of 2200."""

    steps: int = 0
    """So many steps in place of --epochs; 0 = as these say, and with --rank none: the training between the wide layers
    is all."""

    end_at: Annotated[int | None, optional("STEP")] = None
    """End at this step instead, the learning rate falling from where the training is until there."""

    batch: int = 24
    """Bodies per step, half of them neutral."""

    learning_rate: float = 1e-4
    """Of Adam, at its highest."""

    hidden: int = 400
    """Width of the narrow layers; of the wide ones it is twice that."""

    rank: int = 0
    """Numbers between two halves of the layers with an end for each feature, which begin at principal components: what
    lies between is trained first, at a hundredth of the cost of a step. 0 = whole layers, as in the paper."""

    seen: int = 128
    """The same of the encoder, where there is a rank."""

    narrow_steps: int = 30000
    """Steps of that training, where there is a rank."""

    fit_steps: Annotated[int | None, optional("N")] = None
    """Steps after it in which each body has the code that fits it best, as it is sought when the decoder is used;
    before them, the numbers are sought that bring its vertices nearest. Default: 48000 where there is a rank; 0 leaves
    both out."""

    seed: int = 0
    """Of everything random."""

    threads: Annotated[int | None, optional("N")] = None
    """Processor threads; default: all."""

    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Of matrix products: 16 bits where there are units for it, or 32 throughout."""

    json: bool = False
    """Print one JSON object at the end: steps, seconds, file, and the last figures of the log."""

    def run(self) -> int:
        import torch
        from rich.console import Console

        from bodystream.evaluation.progress import counted_progress
        from bodystream_training.body.data.features import cached_features
        from bodystream_training.body.data.open import open_bodies
        from bodystream_training.body.fitted import fitted_network, fitted_trainer, narrow_of
        from bodystream_training.body.kept import keep_bodies
        from bodystream_training.body.narrow import begin_narrow, narrow_trainer, save_narrow
        from bodystream_training.body.nearest import count_examples, nearest_examples
        from bodystream_training.body.tasks import BodyTask
        from bodystream_training.devices import leads_here, open_fabric
        from bodystream_training.endings import tell_end
        from bodystream_training.loop import LoopConfig, Trainer

        if self.fit_steps and not self.rank:
            raise ConfigurationError("--fit-steps trains between the halves of wide layers: give --rank, such as 160")
        fit_steps = self.fit_steps if self.fit_steps is not None else _FIT_STEPS if self.rank else 0
        prepare_folder(self.out, "--out")
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        config = LoopConfig(
            epochs=self.epochs, steps=self.steps, batch=self.batch, learning_rate=self.learning_rate, seed=self.seed
        )
        console = Console(stderr=True, highlight=False, quiet=not leads_here())
        fabric = open_fabric(self)
        fabric.launch()
        bodies = open_bodies(self.data, self.motion, self.neutral, self.posed, self.seed)
        for line in bodies.thanks:
            console.print(f"note: {line}", markup=False, soft_wrap=True)
        try:
            with counted_progress("features", len(bodies.items), console) as advance:
                features = cached_features(bodies, self.out / "features", advance)
        except KeyboardInterrupt:
            console.print("stopped among the features; the same command goes on from there", soft_wrap=True)
            return EXIT_INTERRUPTED
        if leads_here():
            keep_bodies(self.out, bodies, features)
        console.print(
            f"to train on: {len(features.train_neutral)} neutral, {len(features.train_posed)} posed bodies of "
            f"{features.space.count} vertices; to judge by: {len(features.test_neutral)} and "
            f"{len(features.test_posed)} of other people",
            soft_wrap=True,
        )
        sizes = {"hidden": self.hidden, "wide": 2 * self.hidden, "rank": self.rank, "seen": self.seen}
        begin = None
        if self.rank:
            narrow = narrow_trainer(
                self.net, features, sizes, self.out, steps=self.narrow_steps, seed=self.seed, fabric=fabric,
                tensorboard=self.tensorboard, on_step=lambda text: console.print(f"components: {text}", markup=False),
            )  # fmt: skip
            with counted_progress(f"{self.net}, narrow", narrow.steps, console, done=narrow.step) as advance:
                if not narrow.run(lambda step, _of, terms: advance(step, f"loss {terms['total']:.0f}")):
                    return tell_end(console, narrow, False, [], {} if self.json else None)
            tensors, trainers = narrow.average, [narrow]
            if fit_steps:
                place = (self.net, features, sizes, self.out, self.seed)
                try:
                    with counted_progress(f"{self.net}, nearest", count_examples(features), console) as advance:
                        if not fabric.is_global_zero:
                            fabric.barrier()  # the first process seeks, the others read
                        examples = nearest_examples(*place, lambda done: advance(done, ""))
                        if fabric.is_global_zero:
                            fabric.barrier()
                except KeyboardInterrupt:
                    console.print("stopped; the same command goes on from there", soft_wrap=True)
                    return EXIT_INTERRUPTED
                fitted = fitted_trainer(
                    self.net, features, sizes, self.out, tensors, examples, steps=fit_steps,
                    seed=self.seed, fabric=fabric, tensorboard=self.tensorboard,
                )  # fmt: skip
                with counted_progress(f"{self.net}, fitted", fitted.steps, console, done=fitted.step) as advance:
                    if not fitted.run(lambda step, _of, terms: advance(step, f"loss {terms['total']:.3f}")):
                        return tell_end(console, fitted, False, [], {} if self.json else None)
                tensors = narrow_of(fitted_network(fitted))
                trainers.append(fitted)
            if not self.steps:
                if not fabric.is_global_zero:
                    return 0
                save_narrow(tensors, trainers, self.net, features, sizes, self.out, self.seed)
                names = ("encoded_neutral_linear_mm", "encoded_pose_linear_mm")
                return _told(console, trainers[-1], True, names, self.json)
            begin = partial(begin_narrow, self.net, features, self.out, self.seed, tensors)
        trainer = Trainer(
            lambda _: BodyTask(self.net, features, sizes, begin or (lambda _: None)),
            self.out / f"{self.net}.safetensors",
            config,
            fabric=fabric,
            tensorboard=self.tensorboard,
            end_at=self.end_at,
        )
        with counted_progress(self.net, trainer.steps, console, done=trainer.step) as advance:
            finished = trainer.run(lambda step, _of, terms: advance(step, f"loss {terms['total']:.0f}"))
        if not fabric.is_global_zero:
            return 0
        return _told(console, trainer, finished, ("encoded_neutral_mm", "encoded_pose_mm", "posed"), self.json)


def _told(console: Console, trainer: Trainer, finished: bool, names: tuple[str, ...], as_json: bool) -> int:
    from bodystream_training.endings import tell_end

    figures = {name: trainer.last_logged(name) for name in names}
    shown = [f"{name} {value:.3g}" for name, value in figures.items() if value is not None]
    return tell_end(console, trainer, finished, shown, figures if as_json else None)
