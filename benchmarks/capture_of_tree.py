"""Runs the takes of `bodystream eval capture` through the live capture of another source tree: an older commit's.

    python benchmarks/capture_of_tree.py TREE [--takes tuning] [--frames 90] [--json]

TREE is a checkout with `runtime/bodystream`. Frames are drawn and models are measured by this tree; the other one, in a
process of its own, captures what it gets as files, so that it need not know of the benchmark.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["Options", "capture_folder", "score_tree"]


@dataclass(frozen=True)
class Options:
    """Run the benchmark's takes through another tree's capture."""

    tree: Path
    """A checkout with runtime/bodystream."""

    takes: str = "all"
    """As for `bodystream eval capture`."""

    frames: int = 90
    """Of each take."""

    json: bool = False
    """Print one JSON object."""


def capture_folder(folder: Path) -> None:
    """In the other tree's process: capture `depth.npy` and `colour.npy`, leave what came of each frame.

    Only what has had the same name in all versions is used.
    """
    import time

    import warp as wp

    try:
        pipeline = importlib.import_module("bodystream.pipelines.capture.pipeline")
    except ImportError:
        pipeline = importlib.import_module("bodystream.pipelines.capture")
    import cv2

    from bodystream.types import CameraIntrinsics, RgbdFrame

    cv2.setNumThreads(1)  # as the commands do
    camera = json.loads((folder / "camera.json").read_text())
    intrinsics = CameraIntrinsics(**camera["intrinsics"])
    depth, colour = np.load(folder / "depth.npy", mmap_mode="r"), np.load(folder / "colour.npy", mmap_mode="r")
    wp.init()
    capture = pipeline.Capture(intrinsics, wp.get_device("cpu"))
    capture.warm_up()
    said = []
    step_s = 0.0
    for index in range(len(depth)):
        t_ns = round(index * 1e9 / camera["rate_hz"])
        frame = RgbdFrame(index, t_ns, np.array(depth[index]), intrinsics, np.array(colour[index]))
        began_s = time.perf_counter()
        result = capture.step(frame)
        capture.warp_surface()
        step_s += time.perf_counter() - began_s
        mesh = capture.live_mesh()
        if mesh is not None:
            np.savez(folder / f"live_{index:05d}.npz", vertices=mesh.vertices, faces=mesh.faces)
        said.append({"status": str(result.status), "restarts": int(capture.restart_count), "step_s": step_s})
    if capture.surface is not None:
        mesh = capture.surface.download()
        np.savez(folder / "canonical.npz", vertices=mesh.vertices, faces=mesh.faces)
    (folder / "said.json").write_text(json.dumps(said))


def score_tree(options: Options) -> None:
    """Draw, let the other tree capture, measure, print."""
    from rich.console import Console

    from bodystream.cli.process import start_warp
    from bodystream.device import select_device
    from bodystream.evaluation.capture.scoring import FrameScorer, TakeScore, surface_figures
    from bodystream.evaluation.capture.table import TABLE_WIDTH, as_json, score_table
    from bodystream.evaluation.capture.takes import Take, choose_takes
    from bodystream.types import Mesh

    start_warp()  # quietly: stdout is for the result
    device = select_device("cpu")

    def load(path: Path) -> Mesh | None:
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as arrays:
            return Mesh(arrays["vertices"], arrays["faces"])

    def scored(take: Take, folder: Path) -> TakeScore:
        source = take.source(options.frames, device)
        k = source.intrinsics
        shape = (options.frames, k.height, k.width)
        depth = np.lib.format.open_memmap(folder / "depth.npy", "w+", np.float32, shape)
        colour = np.lib.format.open_memmap(folder / "colour.npy", "w+", np.uint8, (*shape, 3))
        for frame in source:
            depth[frame.index], colour[frame.index] = frame.depth_m, frame.colour
        depth.flush()
        colour.flush()
        values = {name: getattr(k, name) for name in ("fx", "fy", "cx", "cy", "width", "height")}
        (folder / "camera.json").write_text(json.dumps({"intrinsics": values, "rate_hz": source.rate_hz}))
        environment = os.environ | {"PYTHONPATH": str(options.tree / "runtime")}
        command = [sys.executable, str(Path(__file__).resolve()), "--capture-folder", str(folder)]
        subprocess.run(command, env=environment, check=True, stdout=sys.stderr)
        score = TakeScore(take.name, take.held_out)
        scorer = FrameScorer(k, device)
        for index, said in enumerate(json.loads((folder / "said.json").read_text())):
            truth = source.render(index, 0).truth
            assert truth is not None
            score.frames.append(scorer.score(index, said["status"], load(folder / f"live_{index:05d}.npz"), truth))
            score.restarts, score.step_s = said["restarts"], said["step_s"]
        score.surface = surface_figures(load(folder / "canonical.npz"))
        return score

    scores = []
    for take in choose_takes(options.takes.split(",")):
        with tempfile.TemporaryDirectory(prefix="bodystream_capture_") as folder:
            scores.append(scored(take, Path(folder)))
        print(f"{take.name}: {scores[-1].figures().surface_error_mean_mm} mm", file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps(as_json(scores)))
    else:
        Console(highlight=False, width=TABLE_WIDTH).print(score_table(scores))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--capture-folder"]:
        capture_folder(Path(sys.argv[2]))
    else:
        import tyro

        score_tree(tyro.cli(Options, config=(tyro.conf.PositionalRequiredArgs,)))
