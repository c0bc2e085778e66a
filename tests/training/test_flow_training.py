"""Training of the light network end to end on a few small pairs: it learns, it resumes, and what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")
needs("lightning_fabric", "pip install 'bodystream[train]'")

from bodystream.types import CameraIntrinsics  # noqa: E402
from bodystream_training.cli import main  # noqa: E402
from bodystream_training.devices import open_fabric  # noqa: E402
from bodystream_training.flow.batches import FlowBatch, Guess, collate  # noqa: E402
from bodystream_training.flow.judge import dis_answer, flow_errors  # noqa: E402
from bodystream_training.flow.light import LightConfig, LightFlow  # noqa: E402
from bodystream_training.flow.sample import FlowSample  # noqa: E402
from bodystream_training.flow.tasks import FlowExamples, FlowTrainConfig, LightTask  # noqa: E402
from bodystream_training.loop import Trainer  # noqa: E402
from bodystream_training.options import DeviceOptions  # noqa: E402

SIZE = (96, 128)  # width, height
SMALL = LightConfig(channels=(16, 16, 24, 32), matching=(16, 8), hidden=(24, 16), blocks=(1, 1))


class Shifted:
    """Textured discs that moved by a few whole pixels, the same for every point."""

    digest, size = "shifted", SIZE

    def __len__(self) -> int:
        return 8

    def sample(self, index: int, generator: torch.Generator) -> FlowSample:
        width, height = SIZE
        rng = np.random.default_rng(index)
        behind, texture = (
            cv2.resize(
                rng.integers(0, 255, (height // 4, width // 4, 3), np.uint8), SIZE, interpolation=cv2.INTER_CUBIC
            )
            for _ in range(2)
        )
        dx, dy = rng.integers(-5, 6, 2)
        v, u = np.indices((height, width))
        mask = (u - width / 2) ** 2 + (v - height / 2) ** 2 < 30**2
        moved, there = (np.roll(x, (dy, dx), axis=(0, 1)) for x in (mask, texture))
        flow = np.where(mask[..., None], np.array([dx, dy], np.float32), np.float32(np.nan))
        return FlowSample(
            source_rgb=np.where(mask[..., None], texture, behind),
            target_rgb=np.where(moved[..., None], there, behind),
            source_depth_m=np.where(mask, 2.0, 3.0).astype(np.float32),
            target_depth_m=np.where(moved, 2.0, 3.0).astype(np.float32),
            intrinsics=CameraIntrinsics(150.0, 150.0, width / 2, height / 2, width, height),
            mask=mask,
            target_mask=moved,
            flow_px=flow,
            scene_flow_m=np.full((height, width, 3), np.nan, np.float32),
            visible=mask,
        )


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def examples() -> FlowExamples:
    return FlowExamples.of(Shifted(), Shifted(), 4, 4, 0)


@pytest.fixture(scope="module")
def batch() -> FlowBatch:
    generator = torch.Generator().manual_seed(1)
    pairs = Shifted()
    return collate([pairs.sample(k, generator) for k in range(4)], generator, None, Guess(none=1.0))


def trainer(folder: Path, examples: FlowExamples, **changes: object) -> Trainer:
    config = FlowTrainConfig(**({"epochs": 100, "batch": 4, "learning_rate": 3e-3, "average": 0.9} | changes))  # type: ignore[arg-type]
    fabric = open_fabric(DeviceOptions(accelerator="cpu", precision="fp32"))
    return Trainer(
        lambda _: LightTask(LightFlow(SMALL), config, examples, folder / "sheets"),
        folder / "light.safetensors",
        config,
        fabric=fabric,
    )


def test_it_learns_to_match_and_says_so(tmp_path: Path, examples: FlowExamples) -> None:
    found = trainer(tmp_path, examples)
    assert found.run() and found.steps == 200
    log = json.loads((tmp_path / "light.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert log["epe_visible_px"] < 0.8 * log["guess_visible_px"]
    assert 0 < log["dis_visible_px"] < log["guess_visible_px"] and 0 < log["epe_believed"] < 1
    sheet = cv2.imread(str(tmp_path / "sheets" / "light-0995.png"))
    assert sheet.shape == (4 * SIZE[1], 7 * SIZE[0], 3)


def test_errors_are_means_over_the_known_subject(batch: FlowBatch) -> None:
    flow = batch.flow_px + torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    weight = torch.zeros_like(batch.mask)
    weight[0] = 0.5
    half = FlowBatch(**{**vars(batch), "visible": batch.visible * (torch.arange(4) < 2).float().view(4, 1, 1, 1)})
    flow[2:] += 1000
    errors = flow_errors([(half, flow, weight)])
    assert errors.visible_px == pytest.approx(5.0, rel=1e-5) and errors.weighted_px == pytest.approx(5.0, rel=1e-5)
    share = float(half.mask[0].sum() / half.mask[:2].sum())
    assert errors.believed == pytest.approx(0.5 * share, rel=1e-5)
    assert errors.all_px > 300


def test_dis_is_asked_as_the_runtime_would(batch: FlowBatch) -> None:
    flow, weight = dis_answer(batch)
    assert flow.shape == batch.flow_px.shape and weight.shape == batch.mask.shape
    assert bool((weight[batch.mask == 0] == 0).all())
    errors = flow_errors([(batch, flow, weight)])
    assert errors.weighted_px < 0.5 and errors.believed > 0.3


def test_the_command_trains_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "flow",
        "--data",
        "synthetic",
        "--size",
        "64x64",
        "--pairs",
        "4",
        "--validation-pairs",
        "2",
        "--epochs",
        "1",
    ]
    words += ["--batch", "2", "--out", str(tmp_path), "--cache", str(tmp_path / "pairs"), "--json"]
    for _ in range(2):
        assert main(words) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["finished"] and said["step"] == said["steps"] == 2 and said["epe_visible_px"] > 0
    assert main([*words, "--optimiser", "sgd"]) == 2
    assert "other settings" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["100x128", "32x64"])
def test_sizes_that_cannot_be_are_told(size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flow", "--data", "synthetic", "--size", size, "--out", str(tmp_path)]) == 2
    assert "multiples of 32" in capsys.readouterr().err
