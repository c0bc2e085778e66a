"""Examples of the training and validation subjects, made once per choice of data and kept beside the runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from rich.console import Console
from torch import Tensor

from bodystream.errors import InputError
from bodystream.evaluation.progress import counted_progress
from bodystream.geometry.motion import MotionClip
from bodystream.pose.features import FeatureConfig
from bodystream.sources.motion import HingedTakes, Take, find_takes
from bodystream_training.checkpoints import load_checkpoint, save_checkpoint
from bodystream_training.pose.data import Examples, build_examples
from bodystream_training.pose.splits import SplitChoice, Splits, split_of

__all__ = ["cached_examples"]

_VERSION = 4


def cached_examples(
    data: str,
    features: FeatureConfig,
    variants: int,
    seed: int,
    leave_out: tuple[str, ...],
    folder: Path,
    console: Console,
    choice: SplitChoice | None = None,
) -> tuple[Examples, Examples, list[str], Splits, str]:
    """Examples to train on, those of the validation subjects, who is trained on, the splits, and a digest of it all.

    The digest begins the names of the files: `<digest>-train.safetensors` and `<digest>-validation.safetensors`.

    Raises:
        InputError: a split has no usable clip.
        ConfigurationError: the splits that are asked for are impossible.
    """
    takes = [take for take in find_takes(data) if not take.subject.startswith(leave_out or ("\0",))]
    splits = (choice or SplitChoice()).resolve([take.subject for take in takes], data)
    key = {
        "version": _VERSION,
        "features": list(features.history_s),
        "variants": variants,
        "seed": seed,
        "splits": {name: list(subjects) for name, subjects in splits.items()},
        "takes": sorted((take.name, take.subject, take.path.stat().st_size) for take in takes),
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    out = []
    for split, copies in (("train", variants), ("validation", 1)):
        path = folder / f"{digest}-{split}.safetensors"
        if path.is_file():
            tensors, facts = load_checkpoint(path)
            out.append(Examples(**tensors, base=facts["base"]))
            continue
        chosen = [take for take in takes if split_of(take.subject, splits) == split]
        problems: list[str] = []
        examples = build_examples(_clips(chosen, problems, console, split), features, variants=copies, seed=seed)
        for problem in problems:
            console.print(f"left out: {problem}", markup=False, soft_wrap=True)
        tensors = {f.name: getattr(examples, f.name) for f in fields(examples) if f.name != "base"}
        assert all(isinstance(tensor, Tensor) for tensor in tensors.values())
        save_checkpoint(path, tensors, {"base": examples.base})
        out.append(examples)
    trained = sorted({take.subject for take in takes if split_of(take.subject, splits) == "train"})
    return out[0], out[1], trained, splits, digest


def _clips(takes: list[Take], problems: list[str], console: Console, split: str) -> Iterator[MotionClip]:
    hinged = HingedTakes(takes)
    with counted_progress(f"reading {split} clips", len(takes), console) as advance:
        for number, take in enumerate(takes):
            advance(number, take.name)
            try:
                yield hinged.load(take)
            except InputError as error:
                problems.append(str(error))
