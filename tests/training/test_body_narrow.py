"""A network trained in the numbers of its bodies: what the numbers mean, and that the training of all features goes on
from it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers.bar_people import bar_people
from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")
from torch import Tensor, nn  # noqa: E402

from bodystream.errors import InputError  # noqa: E402
from bodystream_training.body.components import BodyNumbers, begin_at_components, cached_numbers  # noqa: E402
from bodystream_training.body.data.features import BodyFeatures, cached_features  # noqa: E402
from bodystream_training.body.data.folder import MeshFolder  # noqa: E402
from bodystream_training.body.model import BodyNetwork  # noqa: E402
from bodystream_training.body.narrow import NarrowNetwork, put_into  # noqa: E402
from bodystream_training.body.tasks import first_network, load_network  # noqa: E402
from bodystream_training.checkpoints import load_checkpoint  # noqa: E402
from bodystream_training.cli import main  # noqa: E402

RANK = 12
SIZES = {"shape": 4, "pose": 5, "hidden": 16, "wide": 32, "rank": RANK, "seen": RANK}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bar_people(tmp_path_factory.mktemp("people") / "bars")


@pytest.fixture(scope="module")
def features(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> BodyFeatures:
    return cached_features(MeshFolder(folder), tmp_path_factory.mktemp("features"))


def begun(features: BodyFeatures, net: str = "dhnn") -> tuple[BodyNetwork, BodyNumbers]:
    torch.manual_seed(0)
    model = first_network(net, features, SIZES)
    numbers = begin_at_components(model, features, 0)
    assert isinstance(model, BodyNetwork)
    return model, numbers


def last_layer(model: BodyNetwork) -> nn.Linear:
    *_, last = model.difference.out.children()
    assert isinstance(last, nn.Linear)
    return last


@torch.no_grad()
def from_numbers(model: BodyNetwork, coarse: Tensor, left: Tensor) -> Tensor:
    """(V, 9) scaled features of [g, left], by the model's own layers."""
    f = last_layer(model)(left[None]).reshape(-1, 9)
    if model.skinning is None:
        return f
    return f + model.scale.scaled(model.skinning(model.coarse_scale.unscaled(coarse[None])))[0]


@pytest.mark.parametrize("net", ["dhnn", "baseline"])
def test_numbers_make_the_features_that_they_are_of(features: BodyFeatures, net: str) -> None:
    model, numbers = begun(features, net)
    apart, spread = [], []
    for item in features.train_posed:
        f = features[int(item)][0]
        apart.append((from_numbers(model, numbers.coarse[item], numbers.left[item]) - f).square().mean())
        spread.append((f - features[int(features.train_posed[0])][0]).square().mean())
    assert float(torch.stack(apart).mean()) < 0.05 * float(torch.stack(spread).mean())
    assert numbers.neutral.tolist() == [item.neutral for item in features.items]


def test_the_encoder_sees_its_components(features: BodyFeatures) -> None:
    model, numbers = begun(features)
    f = features[3][0].flatten()[None]
    assert torch.allclose(model.trunk[0](f)[0], numbers.seen[3], atol=1e-3)
    train = np.concatenate([features.train_neutral, features.train_posed])
    seen = numbers.seen[torch.from_numpy(train)]
    assert torch.allclose(seen.mean(dim=0), torch.zeros(RANK), atol=1e-3)
    assert torch.allclose(seen.var(dim=0), torch.ones(RANK), atol=1e-2)


def test_errors_of_numbers_are_those_of_features_and_of_vertices(features: BodyFeatures) -> None:
    model, numbers = begun(features)
    drawn = torch.Generator().manual_seed(1)
    coarse, left = numbers.coarse[0], numbers.left[0]
    off_coarse = 1e-4 * torch.randn(coarse.shape, generator=drawn)
    off_left = 1e-4 * torch.randn(left.shape, generator=drawn)
    before, after = (from_numbers(model, coarse + s * off_coarse, left + s * off_left) for s in (0.0, 1.0))
    e = torch.cat([off_coarse.flatten(), off_left])
    assert float((numbers.of_features @ e).norm()) == pytest.approx(
        float((after - before).square().mean().sqrt()), rel=1e-2
    )
    space, scale = features.space, features.scale
    gain = (scale.high - scale.low) / 1.9
    still = space.features(space.reference)
    moved = space.vertices(still + gain * (after - before).double().numpy()) - space.vertices(still)
    rms_m = float(np.sqrt(np.square(moved).sum(axis=1).mean()))
    assert float((numbers.of_vertices @ e).norm()) == pytest.approx(rms_m, rel=2e-2)


def test_the_narrow_part_belongs_to_its_network(features: BodyFeatures) -> None:
    model, numbers = begun(features)
    other, _ = begun(features)
    torch.manual_seed(5)
    narrow = NarrowNetwork(first_network("dhnn", features, SIZES))
    put_into(other, narrow.state_dict())
    f = features[2][0][None]
    with torch.no_grad():
        codes = narrow.encode(numbers.seen[2][None])
        assert torch.allclose(codes.pose, other.encode(f).pose, atol=1e-4)
        found = narrow.decode(codes.shape, codes.pose)[0]
        coarse, left = found[: numbers.coarse[2].numel()].reshape(-1, 9), found[numbers.coarse[2].numel() :]
        wanted = other.decode(codes.shape, codes.pose).f[0]
        assert torch.allclose(from_numbers(other, coarse, left), wanted, atol=1e-4)
        assert not torch.allclose(model.encode(f).pose, codes.pose, atol=1e-2)


def test_components_are_kept_and_belong_to_their_bodies(features: BodyFeatures, tmp_path: Path) -> None:
    path = tmp_path / "components.safetensors"
    model = first_network("dhnn", features, SIZES)
    said: list[str] = []
    numbers = cached_numbers(model, features, path, 0, said.append)
    again = first_network("dhnn", features, SIZES)
    once = len(said)
    read = cached_numbers(again, features, path, 0, said.append)
    assert once and len(said) == once and torch.equal(read.left, numbers.left)
    assert isinstance(model, BodyNetwork) and isinstance(again, BodyNetwork)
    assert torch.equal(last_layer(model).weight, last_layer(again).weight)
    with pytest.raises(InputError, match="remove it"):
        cached_numbers(again, features, path, 1)
    with pytest.raises(InputError, match="remove it"):
        cached_numbers(first_network("dhnn", features, SIZES | {"rank": 5}), features, path, 0)


@pytest.mark.parametrize("net", ["dhnn", "meshvae"])
def test_the_command_trains_both_and_goes_on(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], net: str
) -> None:
    command = [
        "body", "--data", f"meshes:{folder}", "--net", net, "--out", str(tmp_path / "run"), "--rank", str(RANK),
        "--seen", "10", "--narrow-steps", "300", "--fit-steps", "0", "--steps", "20", "--hidden", "32", "--batch", "8",
        "--json",
    ]  # fmt: skip
    assert main(command) == 0
    first = json.loads(capsys.readouterr().out)
    lines = [json.loads(line) for line in (tmp_path / f"run/{net}-narrow.jsonl").read_text().splitlines()]
    assert lines[-1]["posed"] < lines[0]["posed"] and lines[-1]["posed_m"] < lines[0]["posed_m"]
    assert first["finished"] and np.isfinite(first["encoded_pose_mm"])
    assert main(command) == 0  # nothing is left to do
    assert json.loads(capsys.readouterr().out)["encoded_pose_mm"] == first["encoded_pose_mm"]


def test_without_steps_the_narrow_training_is_all(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    command = [
        "body", "--data", f"meshes:{folder}", "--out", str(run), "--rank", str(RANK), "--seen", "10",
        "--narrow-steps", "40", "--fit-steps", "0", "--hidden", "32", "--batch", "8", "--json",
    ]  # fmt: skip
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["finished"] and told["step"] == 40 and told["encoded_pose_linear_mm"] > 0.0
    model, facts = load_network(run / "dhnn.safetensors")
    assert facts["step"] == 40 and model.config.rank == RANK
    narrow, _ = load_checkpoint(run / "dhnn-narrow.safetensors")
    assert torch.equal(model.state_dict()["pose_head.mean.weight"], narrow["average/heads.pose.mean.weight"])
    evaluated = ["eval", "body", "--data", f"meshes:{folder}", "--run", str(run), "--bodies", "1", "--iterations", "4"]
    assert main([*evaluated, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"]["dhnn"]["steps"] == 40
