"""A small embedding of bars, trained and exported; needs PyTorch and onnx."""

from __future__ import annotations

from pathlib import Path

from helpers.bar_people import bar_people

__all__ = ["exported_bars", "trained_bars"]


def trained_bars(folder: Path, *nets: str, skin: bool = True) -> Path:
    """Train a network of each name on a few bars for a few steps; the run's folder.

    Args:
        skin: whether the bars have joints, all in one place.
    """
    from bodystream_training.cli import main

    bars, out = bar_people(folder / "bars", people=4, poses=3), folder / "run"
    if not skin:
        (bars / "skin.npz").unlink()
    words = ["--steps", "60", "--batch", "6", "--hidden", "24", "--learning-rate", "3e-3", "--threads", "1"]
    for net in nets or ("dhnn",):
        assert main(["body", "--data", f"meshes:{bars}", "--out", str(out), "--net", net, *words]) == 0
    return out


def exported_bars(run: Path, out: Path, *options: str) -> Path:
    """The bundle of a run."""
    from bodystream_export.cli import main

    assert main(["body", "--run", str(run), "--out", str(out), *options]) == 0
    return out
