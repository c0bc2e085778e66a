"""The embedding's network as in the paper, its losses, a short training by the command, and its evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers.bar_people import bar_people
from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")

from bodystream.errors import ConfigurationError, InputError  # noqa: E402
from bodystream_training.body.data.features import BodyFeatures, cached_features  # noqa: E402
from bodystream_training.body.data.folder import MeshFolder  # noqa: E402
from bodystream_training.body.fit import fit_codes  # noqa: E402
from bodystream_training.body.losses import FINE_TUNE_FROM, body_terms, kl, vae_terms, weights_at  # noqa: E402
from bodystream_training.body.model import BodyNetwork, BodyNetworkConfig, MeshVae  # noqa: E402
from bodystream_training.body.pca import fit_pca  # noqa: E402
from bodystream_training.body.surface import AcapSurface, rotations_of  # noqa: E402
from bodystream_training.body.tasks import BodyTask, load_network, trained  # noqa: E402
from bodystream_training.cli import main  # noqa: E402

SMALL = {"shape": 4, "pose": 5, "hidden": 16, "wide": 32}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bar_people(tmp_path_factory.mktemp("people") / "bars")


@pytest.fixture(scope="module")
def features(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> BodyFeatures:
    return cached_features(MeshFolder(folder), tmp_path_factory.mktemp("features"))


@pytest.fixture
def task(features: BodyFeatures) -> BodyTask:
    torch.manual_seed(0)
    return BodyTask("dhnn", features, SMALL)


def network(task: BodyTask) -> BodyNetwork:
    assert isinstance(task.model, BodyNetwork)
    return task.model


def test_sizes_are_those_of_the_paper() -> None:
    with torch.device("meta"):
        model = BodyNetwork(BodyNetworkConfig(12500, 16))
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert shapes["trunk.2.weight"] == (400, 800)
    assert shapes["shape_head.mean.weight"] == (50, 400) and shapes["pose_head.deviation.weight"] == (72, 400)
    for path, out in (("base", 144), ("difference", 112500)):
        assert shapes[f"{path}.of_shape.0.weight"] == (400, 50) and shapes[f"{path}.of_pose.0.weight"] == (400, 72)
        assert shapes[f"{path}.of_pose.2.weight"] == (800, 400) and shapes[f"{path}.out.weight"] == (out, 800)
    assert shapes["skinning.logits"] == (12500, 16)


def test_skinning_rows_are_convex_and_near_parts_only(task: BodyTask, features: BodyFeatures) -> None:
    skinning = network(task).skinning
    assert skinning is not None
    torch.nn.init.normal_(skinning.logits)
    weights = skinning.weights()
    assert torch.allclose(weights.sum(dim=1), torch.ones(len(weights))) and bool((weights >= 0).all())
    away = ~torch.from_numpy(features.nearby)
    assert away.any() and bool((weights[away] == 0).all())
    g = torch.randn(2, features.parts.count, 9)
    assert torch.allclose(skinning(g)[1, 3], (weights[3][:, None] * g[1]).sum(dim=0), atol=1e-6)


def test_a_body_is_skinned_parts_and_a_difference(task: BodyTask) -> None:
    """Eq. 7 and 8 written out, with the parts' features blended as what they are and not as they are scaled."""
    model = network(task)
    e_s, e_p = torch.randn(3, 4), torch.randn(3, 5)
    assert model.base is not None and model.skinning is not None
    g = model.base.out(model.base.of_shape(e_s) + model.base.of_pose(e_p)).reshape(3, -1, 9)
    d = model.difference.out(model.difference.of_shape(e_s) + model.difference.of_pose(e_p)).reshape(3, -1, 9)
    b = torch.einsum("vp,bpc->bvc", model.skinning.weights(), model.coarse_scale.unscaled(g))
    decoded = model.decode(e_s, e_p)
    assert decoded.g is not None
    torch.testing.assert_close(decoded.g, g)
    torch.testing.assert_close(decoded.f, model.scale.scaled(b) + d)
    torch.testing.assert_close(model.neutral(e_s).f, model.decode(e_s, torch.zeros(3, 5)).f)
    torch.testing.assert_close(model.decode_code(torch.cat([e_s, e_p], dim=1)), decoded.f)


def test_deviations_lie_between_zero_and_two(task: BodyTask, features: BodyFeatures) -> None:
    codes = network(task).encode(100.0 * torch.randn(4, features.space.count, 9))
    for deviation in (codes.shape_deviation, codes.pose_deviation):
        assert float(deviation.detach().min()) >= 0.0 and float(deviation.detach().max()) <= 2.0


def test_divergence_is_that_of_normal_distributions() -> None:
    mean, deviation = torch.randn(3, 6), torch.rand(3, 6) + 0.1
    one = torch.distributions.Normal(mean, deviation)
    standard = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    wanted = torch.distributions.kl_divergence(one, standard).sum(dim=1).mean()
    torch.testing.assert_close(kl(mean, deviation), wanted)


def test_the_loss_is_the_weighted_sum_and_has_two_stages(task: BodyTask, features: BodyFeatures) -> None:
    batch = task.batch(torch.arange(6), torch.Generator().manual_seed(0))
    for progress, (neutral, posed) in ((0.0, (2.5e3, 2.5e4)), (FINE_TUNE_FROM, (1e3, 1e4))):
        assert weights_at(progress) == (neutral, posed)
        terms = body_terms(network(task), *batch, progress)
        total = terms["shape_kl"] + terms["pose_kl"] + neutral * (terms["neutral"] + 0.6 * terms["neutral_parts"])
        total = total + posed * (terms["posed"] + 0.6 * terms["posed_parts"])
        torch.testing.assert_close(terms["total"], total)
    vae = BodyTask("meshvae", features, SMALL).model
    assert isinstance(vae, MeshVae)
    found = vae_terms(vae, batch[0], 0.0)
    torch.testing.assert_close(found["total"], found["kl"] + 2.5e4 * found["posed"])
    baseline = BodyTask("baseline", features, SMALL).model
    assert isinstance(baseline, BodyNetwork) and baseline.decode(torch.zeros(1, 4), torch.zeros(1, 5)).g is None
    assert set(body_terms(baseline, *batch, 0.0)) == {"total", "shape_kl", "pose_kl", "neutral", "posed"}


def test_a_batch_is_half_neutral_and_half_posed(task: BodyTask) -> None:
    f, g, f_s, g_s = task.batch(torch.arange(8), torch.Generator())
    same = [bool(torch.equal(a, b)) for a, b in zip(f, f_s, strict=True)]
    assert same == [True] * 4 + [False] * 4
    assert g.shape == g_s.shape == (8, task.features.parts.count, 9)


def test_no_network_of_another_name(features: BodyFeatures) -> None:
    with pytest.raises(ConfigurationError, match="there is no network 'x'"):
        BodyTask("x", features)


def test_the_surface_in_torch_is_the_runtimes_and_has_its_gradient(features: BodyFeatures) -> None:
    surface = AcapSurface(features.space)
    unscaled = np.stack([features.scale.unscaled(features[n][0].numpy()) for n in (1, 2)])
    found = surface(torch.from_numpy(unscaled)).numpy()
    for vertices, one in zip(found, unscaled, strict=True):
        wanted = features.space.vertices(one)
        assert np.abs(vertices - (wanted - wanted.mean(axis=0))).max() < 1e-9
    point = torch.from_numpy(unscaled[:1]).requires_grad_(True)
    direction = torch.randn(point.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = torch.randn(1, features.space.count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (surface(point) * weights).sum().backward()
    assert point.grad is not None
    with torch.no_grad():
        step = 1e-6 * direction
        change = ((surface(point + step) - surface(point - step)) * weights).sum() / 2e-6
    assert float(change) == pytest.approx(float((point.grad * direction).sum()), rel=1e-5)


def test_a_still_vertex_has_a_gradient() -> None:
    vectors = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    turns = rotations_of(vectors)
    turns[:, 2, 1].sum().backward()
    assert vectors.grad is not None and torch.allclose(vectors.grad, torch.tensor([[1.0, 0.0, 0.0]]).double())


def test_principal_components_span_what_they_were_made_of(features: BodyFeatures) -> None:
    count = len(features.train_neutral) + len(features.train_posed)
    pca = fit_pca(features, 1000, 1000)
    assert len(pca.components) == count - 1
    f = torch.stack([features[int(n)][0] for n in features.train_posed])
    code = pca.mean_code(f)
    assert float((pca.decode_code(code) - f).abs().max()) < 1e-2
    everyone = [int(n) for n in (*features.train_neutral, *features.train_posed)]
    codes = pca.mean_code(torch.stack([features[n][0] for n in everyone]))
    assert torch.allclose(codes.std(dim=0)[:5], torch.ones(5), atol=1e-2)
    few = fit_pca(features, 3, 1000)
    assert few.components.shape[0] == 3
    worse = (few.decode_code(few.mean_code(f)) - f).square().mean()
    assert float(worse) > float((pca.decode_code(code) - f).square().mean())


def test_a_code_is_found_again_by_its_mesh(features: BodyFeatures) -> None:
    pca, surface = fit_pca(features, 6, 1000), AcapSurface(features.space)
    low, high = torch.from_numpy(features.scale.low), torch.from_numpy(features.scale.high)

    def decode(code: torch.Tensor) -> torch.Tensor:
        return (pca.decode_code(code.float()).double() + 0.95) * ((high - low) / 1.9) + low

    wanted = torch.tensor([0.8, -0.5, 0.3, 0.2, -0.4, 0.1])
    mesh = surface(decode(wanted[None]))[0]
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(3)).double())[0]
    turn = turn * torch.linalg.det(turn).sign()
    moved = mesh @ turn.T + torch.tensor([1.0, 2.0, 3.0]).double()
    code, vertices = fit_codes(decode, surface, moved, torch.zeros(6))
    assert float((vertices - moved).norm(dim=1).max()) < 1e-3
    assert float((code - wanted).abs().max()) < 0.05


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "body"
    for net in ("dhnn", "meshvae"):
        arguments = ["body", "--data", f"meshes:{folder}", "--out", str(out), "--net", net, "--steps", "120"]
        assert main([*arguments, "--batch", "8", "--hidden", "32", "--learning-rate", "2e-3", "--threads", "1"]) == 0
    return out


def test_a_training_makes_the_loss_fall(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "dhnn.jsonl").read_text().splitlines()]
    model, facts = load_network(run / "dhnn.safetensors")
    assert facts["step"] == 120 and model.config.shape == 50 and model.config.hidden == 32
    assert lines[-1]["posed"] < 0.25, "features that are far from learned have an error of about 0.4"
    assert lines[-1]["encoded_pose_mm"] < 120.0
    assert trained(run) == ["dhnn", "meshvae"]


def test_a_finished_training_is_not_begun_again_and_another_is_refused(
    run: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["body", "--data", f"meshes:{folder}", "--out", str(run), "--steps", "120", "--batch", "8"]
    same = [*arguments, "--learning-rate", "2e-3", "--hidden", "32"]
    assert main([*same, "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["finished"] and told["step"] == 120 and told["encoded_neutral_mm"] is not None
    assert main([*arguments, "--learning-rate", "1e-3", "--hidden", "32"]) == 2
    assert "begun with other settings" in capsys.readouterr().err


def test_the_evaluation_has_a_row_for_each(run: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["eval", "body", "--data", f"meshes:{folder}", "--run", str(run), "--bodies", "2", "--iterations", "15"]
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(told["rows"]) == {"dhnn", "meshvae", "pca"}
    for name, row in told["rows"].items():
        # 15 steps go far with components of a dozen bars, or nowhere, as rounding has it.
        most = np.inf if name == "pca" else 100.0
        assert 0.0 < row["med_neutral_mm"] < most and 0.0 < row["med_pose_mm"] < most
    assert told["med_pose_mm"] == told["rows"]["dhnn"]["med_pose_mm"]
    assert told["rows"]["dhnn"]["transfer_mm"] is None and "transfer_mm" not in told["rows"]["meshvae"]
    assert 0.0 < told["roundtrip_max_mm"] <= 0.05
    assert main(arguments) == 0
    assert "there and back" in capsys.readouterr().out


def test_folders_without_a_body_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no trained body"):
        trained(tmp_path)
