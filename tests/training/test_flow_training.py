"""Training of the light network end to end on a few small pairs: it learns, it resumes, and what it writes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")
needs("lightning_fabric", "pip install 'bodystream[train]'")

from bodystream.types import CameraIntrinsics  # noqa: E402
from bodystream_training.checkpoints import load_checkpoint  # noqa: E402
from bodystream_training.cli import main  # noqa: E402
from bodystream_training.devices import open_fabric  # noqa: E402
from bodystream_training.flow.batches import FlowBatch, Guess  # noqa: E402
from bodystream_training.flow.judge import dis_answer, errors_of  # noqa: E402
from bodystream_training.flow.light import LightConfig, LightFlow  # noqa: E402
from bodystream_training.flow.networks import FullNet, LightTask, load_flow_model  # noqa: E402
from bodystream_training.flow.sample import FlowSample  # noqa: E402
from bodystream_training.flow.stages import StageName  # noqa: E402
from bodystream_training.flow.tasks import FlowExamples, FlowTrainConfig  # noqa: E402
from bodystream_training.flow.tracked import TrackedBatch, collate_tracked  # noqa: E402
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
        mask = (u - width / 2) ** 2 + (v - height / 2) ** 2 < 26**2
        moved, there = (np.roll(x, (dy, dx), axis=(0, 1)) for x in (mask, texture))
        flow = np.where(mask[..., None], np.array([dx, dy], np.float32), np.float32(np.nan))
        return FlowSample(
            source_rgb=np.where(mask[..., None], texture, behind),
            target_rgb=np.where(moved[..., None], there, behind),
            source_depth_m=np.where(mask, 1.0, 2.0).astype(np.float32),
            target_depth_m=np.where(moved, 1.0, 2.0).astype(np.float32),
            intrinsics=CameraIntrinsics(150.0, 150.0, width / 2, height / 2, width, height),
            mask=mask,
            target_mask=moved,
            flow_px=flow,
            scene_flow_m=np.where(mask[..., None], np.array([dx, dy, 0], np.float32) / 150, np.float32(np.nan)),
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
def tracked() -> TrackedBatch:
    generator = torch.Generator().manual_seed(1)
    pairs = Shifted()
    return collate_tracked([pairs.sample(k, generator) for k in range(4)], generator, None, Guess(none=1.0))


def trainer(folder: Path, examples: FlowExamples, **changes: object) -> Trainer:
    config = FlowTrainConfig(**({"epochs": 60, "batch": 4, "learning_rate": 3e-3, "average": 0.9} | changes))  # type: ignore[arg-type]
    fabric = open_fabric(DeviceOptions(accelerator="cpu", precision="fp32"))
    return Trainer(
        lambda _: LightTask(LightFlow(SMALL), config, examples, folder / "sheets"),
        folder / "light.safetensors",
        config,
        fabric=fabric,
    )


def test_it_learns_to_match_and_says_so(tmp_path: Path, examples: FlowExamples) -> None:
    found = trainer(tmp_path, examples)
    assert found.run() and found.steps == 120
    log = json.loads((tmp_path / "light.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert log["epe_visible_px"] < 0.95 * log["guess_visible_px"]
    assert 0 < log["dis_visible_px"] < log["guess_visible_px"] and 0 < log["epe_believed"] < 1
    sheet = cv2.imread(str(tmp_path / "sheets" / "light-0992.png"))
    assert sheet.shape == (4 * SIZE[1], 7 * SIZE[0], 3)


def test_going_on_gives_the_same_bits_as_never_stopping(tmp_path: Path, examples: FlowExamples) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    quick = FlowExamples(examples.train, [])
    trainer(whole, quick, epochs=4).run()

    def interrupt(step: int, *_: object) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    assert not trainer(parts, quick, epochs=4).run(interrupt)
    assert trainer(parts, quick, epochs=4).run()
    (found, _), (wanted, _) = (load_checkpoint(folder / "light.safetensors") for folder in (parts, whole))
    assert [name for name, value in wanted.items() if not torch.equal(found[name], value)] == []


def test_errors_are_means_over_the_known_subject(tracked: TrackedBatch) -> None:
    batch = tracked.pairs
    flow = batch.flow_px + torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    weight = torch.zeros_like(batch.mask)
    weight[0] = 0.5
    half = FlowBatch(**{**vars(batch), "visible": batch.visible * (torch.arange(4) < 2).float().view(4, 1, 1, 1)})
    flow[2:] += 1000
    errors = errors_of([(TrackedBatch(half, tracked.graph), flow, weight)])
    assert errors.visible_px == pytest.approx(5.0, rel=1e-5) and errors.weighted_px == pytest.approx(5.0, rel=1e-5)
    share = float(half.mask[0].sum() / half.mask[:2].sum())
    assert errors.believed == pytest.approx(0.5 * share, rel=1e-5)
    assert errors.all_px > 300


def test_the_motion_of_the_true_flow_is_right(tracked: TrackedBatch) -> None:
    right = errors_of([(tracked, tracked.pairs.flow_px, None)])
    wrong = errors_of([(tracked, tracked.pairs.flow_px + 6, None)])
    assert right.epe3d_mm < 2 and right.graph_error_mm < 5
    assert wrong.epe3d_mm > 30  # 6 px both ways at 1 m with a focal length of 150 px are 57 mm


def test_dis_is_asked_as_the_runtime_would(tracked: TrackedBatch) -> None:
    flow, weight = dis_answer(tracked.pairs)
    assert flow.shape == tracked.pairs.flow_px.shape and weight.shape == tracked.pairs.mask.shape
    assert bool((weight[tracked.pairs.mask == 0] == 0).all())
    errors = errors_of([(tracked, flow, weight)])
    assert errors.weighted_px < 0.5 and errors.believed > 0.3


@pytest.mark.parametrize("stage", ["c", "c+g", 2, "psi", 3, 4])
def test_stages_train_what_they_are_for(stage: StageName, tmp_path: Path, examples: FlowExamples) -> None:
    torch.manual_seed(0)
    config = FlowTrainConfig(stage=stage, matches=300, weight_truth=float(stage == "psi"))
    task = LightTask(LightFlow(SMALL), config, examples)
    task.train()
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    batch = task.batch(torch.arange(4), torch.Generator().manual_seed(0))
    optimiser = task.optimiser(1e-2, fused=False)
    terms = task.terms(batch, 0.0)
    terms["total"].backward()
    optimiser.step()
    changed = {name for name, value in task.model.state_dict().items() if not torch.equal(value, before[name])}
    if stage in ("psi", 3):
        assert changed == {f"decoder.levels.1.head.{name}" for name in ("weight", "bias")}
        head = task.model.decoder.levels[1].head
        assert torch.equal(head.weight[:2], before["decoder.levels.1.head.weight"][:2])
    else:
        assert "encoder.to_half.0.0.weight" in changed
        row = task.model.decoder.levels[1].head.bias[2]
        assert torch.equal(row, before["decoder.levels.1.head.bias"][2]) == (stage != 4)
    _, weight = task.answer(task.model, examples.validation[0].pairs)
    assert (weight is None) == (stage in ("c", "c+g", 2)), "what was not trained is not asked"


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
    assert main([*words, "--stage", "4", "--matches", "200"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["file"] == str(tmp_path / "light-4.safetensors") and said["epe_epe3d_mm"] > 0
    _, facts = load_checkpoint(tmp_path / "light-4.safetensors")
    assert (facts["start"]["stage"], facts["start"]["step"]) == ("light", 2)


def test_the_full_networks_train_in_all_stages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "flow",
        "--data",
        "synthetic",
        "--net",
        "full",
        "--size",
        "64x64",
        "--pairs",
        "2",
        "--validation-pairs",
        "1",
    ]
    words += [
        "--batch",
        "2",
        "--epochs",
        "1",
        "--matches",
        "200",
        "--out",
        str(tmp_path),
        "--cache",
        str(tmp_path / "p"),
    ]
    assert main([*words, "--stage", "3"]) == 2
    assert "goes on from an earlier one" in capsys.readouterr().err
    kept = []
    for stage in "1234":
        assert main([*words, "--stage", stage]) == 0
        name = "full.safetensors" if stage == "1" else f"full-{stage}.safetensors"
        model = FullNet()
        load_flow_model(model, tmp_path / name)
        kept.append([module.state_dict() for module in (model.flow, model.weights)])

    def same(first: int, second: int, part: int) -> bool:
        return all(torch.equal(value, kept[second][part][key]) for key, value in kept[first][part].items())

    assert not same(0, 1, 0) and same(0, 1, 1)  # 2: flow
    assert same(1, 2, 0) and not same(1, 2, 1)  # 3: weights
    assert not same(2, 3, 0) and not same(2, 3, 1)  # 4: both
    assert main([*words, "--net", "light", "--start", str(tmp_path / "full.safetensors")]) == 2
    assert "holds no weights of LightFlow" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["100x128", "32x64"])
def test_sizes_that_cannot_be_are_told(size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flow", "--data", "synthetic", "--size", size, "--out", str(tmp_path)]) == 2
    assert "multiples of 32" in capsys.readouterr().err
