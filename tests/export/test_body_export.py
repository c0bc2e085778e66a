"""Export of the embedding: bodies of the bundle are PyTorch's, and the runtime refuses what cannot be one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from helpers.bar_people import bar_person, bar_skin, bent
from helpers.body_bundles import exported_bars, trained_bars
from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[export]'")
needs("onnx", "pip install 'bodystream[export]'")
needs("lightning_fabric", "pip install 'bodystream[train]'")

from bodystream.body import BodyDecoder, BodyEncoder, aligned  # noqa: E402
from bodystream.bundles import open_bundle, sha256_of  # noqa: E402
from bodystream.errors import BundleError, InputError  # noqa: E402
from bodystream.types import Array, Mesh  # noqa: E402
from bodystream_export.cli import main  # noqa: E402
from bodystream_training.body.kept import kept_bodies  # noqa: E402
from bodystream_training.body.model import BodyNetwork  # noqa: E402
from bodystream_training.body.surface import AcapSurface  # noqa: E402
from bodystream_training.body.tasks import load_network  # noqa: E402

GRAPHS = ("decoder.onnx", "encoder.onnx", "gradient.onnx")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_bars(tmp_path_factory.mktemp("embedding"), "dhnn", "baseline", "meshvae")


@pytest.fixture(scope="module")
def place(run: Path) -> Path:
    return exported_bars(run, run.parent / "body")


def network(run: Path, net: str = "dhnn") -> BodyNetwork:
    model, _ = load_network(run / f"{net}.safetensors")
    assert isinstance(model, BodyNetwork)
    return model.requires_grad_(False)


def drawn(seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal(50).astype(np.float32), rng.standard_normal(72).astype(np.float32)


def by_torch(model: BodyNetwork, decoder: BodyDecoder, shape: Array, pose: Array) -> Array:
    codes = (torch.from_numpy(np.asarray(code, np.float32))[None] for code in (shape, pose))
    return decoder.space.vertices(model.scale.unscaled(model.decode(*codes).f)[0].double().numpy())


def off_mm(one: Array, other: Array) -> float:
    return 1e3 * float(np.linalg.norm(one - other, axis=1).mean())


def test_the_manifest_says_what_it_is(place: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = open_bundle(place).manifest
    assert manifest.kind == "body-decoder" and set(manifest.graphs) == set(GRAPHS)
    assert {file.path for file in manifest.files} == {"body.npz", *GRAPHS}
    assert 0.0 < manifest.metrics["export_posed_mean_mm"] < 0.5
    assert 0.0 < manifest.metrics["export_codes_mean_mm"] < 0.1 and manifest.metrics["export_codes_rms"] < 0.01
    assert 0.0 < manifest.metrics["export_gradient_share"] < 0.05
    facts = json.loads((place / "manifest.json").read_text())["body"]
    assert facts == {"net": "dhnn", "vertices": 106, "shape": 50, "pose": 72, "encoder": True, "gradient": True} | {
        "parts": network(run).config.parts
    }
    assert manifest.provenance["recipe"]["step"] == 60 and manifest.provenance["bodies"]["kind"] == "meshes"
    assert main(["check", str(place)]) in (0, 1)
    assert "decoder.onnx" in capsys.readouterr().out


@pytest.mark.parametrize(("options", "close_mm"), [((), 0.5), (("--half",), 0.05), (("--full",), 0.005)])
def test_bodies_are_those_of_pytorch(
    run: Path, tmp_path: Path, options: tuple[str, ...], close_mm: float, capsys: pytest.CaptureFixture[str]
) -> None:
    for net in ("dhnn", "baseline"):
        exported_bars(run, tmp_path / net, "--net", net, "--json", *options)
        told = json.loads(capsys.readouterr().out)
        assert told["export_posed_mean_mm"] < close_mm and told["export_neutral_mean_mm"] < close_mm
        decoder, model = BodyDecoder(open_bundle(tmp_path / net)), network(run, net)
        for seed in range(3):
            shape, pose = drawn(seed)
            assert off_mm(decoder.vertices(shape, pose), by_torch(model, decoder, shape, pose)) < close_mm
            neutral = decoder.vertices(shape)
            assert off_mm(neutral, by_torch(model, decoder, shape, np.zeros(72))) < close_mm
            assert np.array_equal(neutral, decoder.vertices(shape, np.zeros(72)))
            assert off_mm(neutral, decoder.vertices(shape, pose)) > 1.0


def test_joints_and_skin_of_the_bodies_go_along(place: Path) -> None:
    decoder, wanted = BodyDecoder(open_bundle(place)), bar_skin(bar_person(0))
    assert decoder.skin is not None
    np.testing.assert_array_equal(decoder.skin.skin_weights, wanted.skin_weights)
    np.testing.assert_array_equal(decoder.skin.joint_weights, wanted.joint_weights)


def test_fewer_bits_take_less_room(run: Path, place: Path, tmp_path: Path) -> None:
    sizes = {"8": (place / "decoder.onnx").stat().st_size}
    for name in ("half", "full"):
        sizes[name] = (exported_bars(run, tmp_path / name, f"--{name}") / "decoder.onnx").stat().st_size
    weights = 9 * 106 * 48
    assert sizes["full"] - sizes["half"] == pytest.approx(2 * weights, rel=0.1)
    others = sizes["full"] - 4 * weights  # of which 8 bits store two bytes in four
    blocks = 9 * 106 * 2 * (32 + 4)  # two for 48 weights, each with a scale
    assert sizes["full"] - sizes["8"] == pytest.approx(4 * weights - blocks + others / 2, rel=0.1)


def test_a_narrow_layer_says_nearly_the_same(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = exported_bars(run, tmp_path / "narrow", "--rank", "40", "--full", "--no-encoder", "--json")
    assert 0.001 < json.loads(capsys.readouterr().out)["export_posed_mean_mm"] < 0.5
    assert open_bundle(out).manifest.provenance["weights"] == {"bits": 32, "rank": 40}
    with pytest.raises(BundleError, match="has no encoder.*--no-encoder"):
        BodyEncoder(BodyDecoder(open_bundle(out)))
    assert main(["body", "--run", str(run), "--out", str(tmp_path / "one"), "--rank", "1"]) == 2
    assert "posed_mean_mm is" in (said := capsys.readouterr().err) and "give a higher --rank" in " ".join(said.split())
    assert not list((tmp_path / "one").iterdir())


@pytest.mark.parametrize(
    ("options", "close"), [((), 0.03), (("--half",), 2e-3), (("--full",), 1e-5), (("--full", "--rank", "40"), 0.1)]
)
def test_derivatives_by_codes_are_those_of_pytorch(
    run: Path, tmp_path: Path, options: tuple[str, ...], close: float
) -> None:
    for net in ("dhnn", "baseline"):
        out = exported_bars(run, tmp_path / net, "--net", net, "--no-encoder", *options)
        decoder, model = BodyDecoder(open_bundle(out)), network(run, net)
        surface, wanted = AcapSurface(decoder.space), torch.from_numpy(bent(bar_person(1), 0.4, 0.5)).double()
        codes = [torch.from_numpy(code)[None].requires_grad_() for code in drawn(1)]
        vertices = surface(model.scale.unscaled(model.decode(*codes).f))[0]
        loss = (vertices - wanted).square().sum()
        by_torch = torch.cat(torch.autograd.grad(loss, codes), dim=1)[0].numpy()
        decoder.vertices(*drawn(1))
        found = np.concatenate(decoder.pull_back(2.0 * (vertices - wanted).detach().numpy()))
        assert np.linalg.norm(found - by_torch) < close * np.linalg.norm(by_torch)


def test_a_narrow_decoder_has_the_derivatives_of_itself(run: Path, tmp_path: Path) -> None:
    out = exported_bars(run, tmp_path / "narrow", "--rank", "40", "--full", "--no-encoder")
    decoder, (shape, pose) = BodyDecoder(open_bundle(out)), drawn(2)
    rng = np.random.default_rng(0)
    vertices_bar, way = rng.normal(size=(106, 3)), rng.normal(size=122).astype(np.float32)
    ends = [decoder.vertices(shape + h * way[:50], pose + h * way[50:]) for h in (1e-2, -1e-2)]
    decoder.vertices(shape, pose)
    found = np.concatenate(decoder.pull_back(vertices_bar)) @ way
    assert found == pytest.approx(float((vertices_bar * (ends[0] - ends[1])).sum()) / 2e-2, rel=1e-2)


def test_without_derivatives_nothing_is_fitted(run: Path, tmp_path: Path) -> None:
    out = exported_bars(run, tmp_path / "plain", "--no-encoder", "--no-gradient")
    assert not (out / "gradient.onnx").exists()
    decoder = BodyDecoder(open_bundle(out))
    with pytest.raises(BundleError, match="has no derivatives.*without --no-gradient"):
        decoder.pull_back(np.zeros((106, 3)))


def test_what_cannot_be_exported_is_told(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*words: str, run: Path = run) -> str:
        assert main(["body", "--run", str(run), "--out", str(tmp_path / "x"), *words]) == 2
        return " ".join(capsys.readouterr().err.split())

    assert "give one of them" in refused("--full", "--half")
    assert "--rank must be 1 to 47" in refused("--rank", "48")
    assert "repeat the command that trained" in refused(run=tmp_path)
    assert "is not what bodystream-train eval body --json prints" in refused("--metrics", str(run / "dhnn.jsonl"))
    other = tmp_path / "other"
    other.mkdir()
    shutil.copyfile(run / "bodies.safetensors", other / "bodies.safetensors")
    assert "train it with bodystream-train body --net dhnn" in refused(run=other)
    shutil.copyfile(run / "meshvae.safetensors", other / "dhnn.safetensors")
    assert "one code for shape and pose" in refused(run=other)


def test_figures_of_the_evaluation_go_into_the_manifest(run: Path, tmp_path: Path) -> None:
    row = {"med_neutral_mm": 4.5, "med_pose_mm": 2.5, "steps": 60}
    (tmp_path / "eval.json").write_text(json.dumps({"med_neutral_mm": 4.5, "rows": {"dhnn": row}}))
    out = exported_bars(run, tmp_path / "body", "--metrics", str(tmp_path / "eval.json"), "--zip")
    metrics = open_bundle(out.with_suffix(".zip")).manifest.metrics
    assert (metrics["med_neutral_mm"], metrics["med_pose_mm"]) == (4.5, 2.5)


def test_codes_of_meshes_are_the_encoders_wherever_they_stand(run: Path, place: Path) -> None:
    decoder, model, mesh = BodyDecoder(open_bundle(place)), network(run), bar_person(1)
    encoder, vertices = BodyEncoder(decoder), bent(bar_person(1), 0.5, 0.6)
    found = encoder.codes(Mesh(vertices, mesh.faces))
    laid = aligned(vertices, decoder.space.reference, decoder.laid_by)
    features = torch.from_numpy(decoder.space.features(laid)).float()
    wanted = model.encode(model.scale.scaled(features)[None])
    assert np.abs(found.shape - wanted.shape[0].numpy()).max() < 0.1
    assert np.abs(found.pose - wanted.pose[0].numpy()).max() < 0.1
    turn = np.array([[0.6, 0.0, 0.8], [0.0, 1.0, 0.0], [-0.8, 0.0, 0.6]])
    moved = encoder.codes(Mesh(vertices @ turn.T + (3.0, 0.5, -2.0), mesh.faces))
    assert np.abs(moved.shape - found.shape).max() < 0.02 and np.abs(moved.pose - found.pose).max() < 0.02


def test_meshes_that_have_no_codes_are_refused_by_what_is_wrong(place: Path) -> None:
    encoder, mesh = BodyEncoder(BodyDecoder(open_bundle(place))), bar_person(1)
    flat = mesh.vertices.copy()
    flat[mesh.faces[7]] = flat[mesh.faces[7][0]]
    faulty = {
        "another topology: 106 vertices and 207 faces": Mesh(mesh.vertices, mesh.faces[1:]),
        "millimetres": Mesh(1e3 * mesh.vertices, mesh.faces),
        "z seems to be up": Mesh(mesh.vertices[:, [0, 2, 1]] * (1.0, -1.0, 1.0), mesh.faces),
        "x seems to be up": Mesh(mesh.vertices[:, [1, 0, 2]] * (1.0, -1.0, 1.0), mesh.faces),
        "mirrored": Mesh(mesh.vertices * (-1.0, 1.0, 1.0), mesh.faces),
        "degenerate": Mesh(flat, mesh.faces),
    }
    for said, wrong in faulty.items():
        with pytest.raises(InputError, match=f"a.obj: .*{said}"):
            encoder.codes(wrong, "a.obj")


def test_codes_of_another_size_are_refused(place: Path) -> None:
    decoder = BodyDecoder(open_bundle(place))
    with pytest.raises(InputError, match=r"the shape code must be 50 finite numbers, got shape \(3,\)"):
        decoder.vertices(np.zeros(3))
    with pytest.raises(InputError, match="the pose code must be 72 finite numbers"):
        decoder.vertices(np.zeros(50), np.full(72, np.nan))


def test_damaged_bundles_are_refused(place: Path, tmp_path: Path) -> None:
    def changed(name: str, **arrays: Array) -> Path:
        out = tmp_path / name
        shutil.copytree(place, out)
        with np.load(out / "body.npz") as old:
            np.savez(out / "body.npz", **({key: old[key] for key in old.files} | arrays))
        manifest = json.loads((out / "manifest.json").read_text())
        (file,) = (file for file in manifest["files"] if file["path"] == "body.npz")
        file |= {"sha256": sha256_of(out / "body.npz"), "bytes": (out / "body.npz").stat().st_size}
        (out / "manifest.json").write_text(json.dumps(manifest))
        return out

    faults = {
        r"reference is float64 of shape \(5, 3\)": {"reference": np.zeros((5, 3))},
        "has no area": {"reference": np.zeros((106, 3)) + np.arange(106)[:, None] / 106.0},
        "laid_by chooses fewer": {"laid_by": np.zeros(106, bool)},
        "parts must be numbered": {"parts": np.full(106, 99)},
        "joint_weights: row 0 sums": {"joint_weights": np.zeros((22, 106), np.float32)},
        "each high above its low": {"high": np.full((106, 9), -9.0)},
    }
    for number, (said, arrays) in enumerate(faults.items()):
        with pytest.raises(BundleError, match=f"is none of a body's bundle: .*{said}.*export it again"):
            BodyDecoder(open_bundle(changed(f"b{number}", **arrays)))
    manifest = json.loads((place / "manifest.json").read_text())
    shutil.copytree(place, tmp_path / "kind")
    (tmp_path / "kind" / "manifest.json").write_text(json.dumps(manifest | {"kind": "flow"}))
    with pytest.raises(BundleError, match="of the kind 'flow', not 'body-decoder'"):
        BodyDecoder(open_bundle(tmp_path / "kind"))


def test_a_run_keeps_what_a_bundle_is_made_of(run: Path, tmp_path: Path) -> None:
    kept = kept_bodies(run)
    assert kept.space.count == 106 and kept.laid_by.all() and kept.examples.shape == (4, 106, 9)
    (tmp_path / "bodies.safetensors").write_bytes((run / "dhnn.safetensors").read_bytes())
    with pytest.raises(InputError, match="holds no bodies of a training"):
        kept_bodies(tmp_path)
