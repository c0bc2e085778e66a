"""The last part of a training in numbers: codes of their own, and a decoder that says bodies better by them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.bar_people import bar_people
from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")
from bodystream_training.body.data.features import BodyFeatures, cached_features  # noqa: E402
from bodystream_training.body.data.folder import MeshFolder  # noqa: E402
from bodystream_training.body.evaluate import med_mm  # noqa: E402
from bodystream_training.body.fitted import FittedTask, narrow_of  # noqa: E402
from bodystream_training.body.narrow import NarrowNetwork, network_and_task  # noqa: E402
from bodystream_training.body.nearest import drawn_examples  # noqa: E402
from bodystream_training.body.tasks import first_network, load_network  # noqa: E402
from bodystream_training.checkpoints import load_checkpoint  # noqa: E402
from bodystream_training.cli import main  # noqa: E402

SIZES = {"shape": 4, "pose": 5, "hidden": 16, "wide": 32, "rank": 12, "seen": 10}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bar_people(tmp_path_factory.mktemp("people") / "bars")


@pytest.fixture(scope="module")
def features(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> BodyFeatures:
    return cached_features(MeshFolder(folder), tmp_path_factory.mktemp("features"))


def command(folder: Path, run: Path, net: str, *more: str) -> list[str]:
    return [
        "body", "--data", f"meshes:{folder}", "--net", net, "--out", str(run), "--rank", "12", "--seen", "10",
        "--narrow-steps", "200", "--hidden", "32", "--threads", "1", *more,
    ]  # fmt: skip


def fitted_task(net: str, features: BodyFeatures, run: Path) -> FittedTask:
    _, task = network_and_task(net, features, SIZES, run, 0)
    return FittedTask(task, drawn_examples(task, 0))


@pytest.mark.parametrize("net", ["dhnn", "baseline", "meshvae"])
def test_bodies_that_are_fitted_come_nearer(
    folder: Path,
    features: BodyFeatures,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    net: str,
) -> None:
    monkeypatch.setattr("bodystream_training.body.fit._PER_SQUARE_METRE", 1e9)  # how far codes are is no matter here
    off = {}
    for steps in ("0", "400"):
        run = tmp_path / net
        assert main([*command(folder, run, net), "--fit-steps", steps, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        model, facts = load_network(run / f"{net}.safetensors")
        assert told["finished"] and facts["step"] == 200 + int(steps)
        off[steps] = med_mm(model, features, features.train_posed[:4], 10)
    lines = [json.loads(line) for line in (run / f"{net}-fitted.jsonl").read_text().splitlines()]
    assert lines[-1]["fitted"] < 0.7 * lines[0]["fitted"]
    assert off["400"] is not None and off["0"] is not None
    # A dozen bodies need few of 122 numbers, which are all that is left of a code when it is counted anew.
    assert off["400"] < (0.8 if net != "baseline" else 1.5) * off["0"]
    whole, _ = load_checkpoint(run / f"{net}.safetensors")
    fitted, _ = load_checkpoint(run / f"{net}-fitted.safetensors")
    assert torch.equal(whole["average/trunk.1.weight"], fitted["average/narrow.trunk.0.weight"])


def test_it_goes_on_where_it_was(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main([*command(folder, run, "dhnn"), "--fit-steps", "20", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert main([*command(folder, run, "dhnn"), "--fit-steps", "20", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seconds"] == first["seconds"]
    assert main([*command(folder, run, "dhnn"), "--fit-steps", "30"]) == 2
    assert "begun with other settings" in capsys.readouterr().err


def test_without_a_rank_it_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["body", "--data", "meshes:bodies", "--out", str(tmp_path / "run"), "--fit-steps", "5"]) == 2
    assert "--fit-steps trains between the halves of wide layers: give --rank" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("net", ["dhnn", "meshvae"])
def test_each_body_has_the_code_of_its_person_and_of_its_pose(features: BodyFeatures, tmp_path: Path, net: str) -> None:
    torch.manual_seed(0)
    task = fitted_task(net, features, tmp_path)
    count = len(features.train_neutral)
    index = torch.arange(count).repeat(2)
    wanted, person, example, *others = task.batch(index, torch.Generator())
    assert (example[:count] == -1).all() and (example[count:] == torch.arange(count)).all()
    for row in range(2 * count):
        item = int(features.train_neutral[row]) if row < count else int(features.train_posed[row - count])
        assert torch.equal(wanted[row], task._task.wanted[item])
        assert int(features.train_neutral[person[row]]) == features.items[item].neutral
    # A neutral body's error goes to the code of its person alone.
    terms = task.terms((wanted[:1], person[:1], example[:1], *others), 0.0)
    terms["fitted"].backward()
    model = task.model
    assert model.of_people.grad[person[0]].abs().sum() > 0.0
    others = torch.arange(len(model.of_people)) != person[0]
    assert model.of_people.grad[others].abs().sum() == 0.0
    assert model.of_examples.grad is None or model.of_examples.grad.abs().sum() == 0.0


def test_it_begins_at_what_the_encoder_says(features: BodyFeatures, tmp_path: Path) -> None:
    torch.manual_seed(0)
    _, task = network_and_task("dhnn", features, SIZES, tmp_path, 0)
    narrow = task.model
    assert isinstance(narrow, NarrowNetwork)
    fitted = FittedTask(task, drawn_examples(task, 0)).model
    with torch.no_grad():
        told = narrow.encode(task.numbers.seen[torch.from_numpy(features.train_neutral)])
    assert torch.equal(fitted.of_people, told.shape)


@pytest.mark.parametrize("net", ["dhnn", "baseline", "meshvae"])
def test_codes_are_counted_anew_and_bodies_stay(features: BodyFeatures, tmp_path: Path, net: str) -> None:
    torch.manual_seed(0)
    _, task = network_and_task(net, features, SIZES, tmp_path, 0)
    fitted = FittedTask(task, drawn_examples(task, 0)).model
    with torch.no_grad():
        fitted.of_people.mul_(0.1).add_(0.3 * torch.randn(SIZES["shape"] + (SIZES["pose"] if net == "meshvae" else 0)))
        after = NarrowNetwork(first_network(net, features, SIZES))
        after.load_state_dict(narrow_of(fitted))
        seen, before = task.numbers.seen, fitted.narrow
        if net == "meshvae":
            codes = after.encode_one(seen)[0]
            assert torch.allclose(after.decode_one(codes), before.decode_one(before.encode_one(seen)[0]), atol=1e-3)
            return
        told, codes = before.encode(seen), after.encode(seen)
        nobody = torch.zeros_like(codes.pose)
        wanted = before.decode(told.shape, told.pose), before.decode(told.shape, nobody)
        for pose, body in zip((codes.pose, nobody), wanted, strict=True):
            assert torch.allclose(after.decode(codes.shape, pose), body, atol=1e-3)
        # What the bodies' own codes are now, by the map from the old ones to the new.
        for old, new, own, mean in (
            (told.shape, codes.shape, fitted.of_people, True),
            (told.pose, codes.pose, fitted.of_examples, False),
        ):
            ones = torch.ones(len(old), 1)
            by = torch.linalg.lstsq(torch.cat([old, ones], dim=1).double(), new.double()).solution
            counted = torch.cat([own, torch.ones(len(own), 1)], dim=1).double() @ by
            squares = (counted.T @ counted / len(counted)).diagonal()
            # One along what varies most, less where there is next to nothing.
            assert float(squares.max()) < 1.05 and float(squares.max()) > 0.5, mean


def test_the_encoder_learns_from_a_decoder_that_it_does_not_move(features: BodyFeatures, tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = fitted_task("dhnn", features, tmp_path)
    model = task.model
    terms = task.terms(task.batch(torch.arange(8), torch.Generator().manual_seed(0)), 0.0)
    (terms["encoded"] + terms["alike"]).backward()
    moved = {name for name, each in model.named_parameters() if each.grad is not None and each.grad.abs().sum() > 0.0}
    assert moved and all(name.startswith(("narrow.trunk.", "narrow.heads.")) for name in moved), moved
    assert {"narrow.heads.shape.mean.weight", "narrow.heads.pose.mean.weight"} < moved
    terms = task.terms(task.batch(torch.arange(8), torch.Generator().manual_seed(0)), 0.0)
    terms["fitted"].backward()
    assert all(each.grad is not None for name, each in model.named_parameters() if name.startswith("narrow.out."))


def test_the_encoder_is_asked_for_the_same_person_in_every_pose(features: BodyFeatures, tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = fitted_task("dhnn", features, tmp_path)
    count = len(features.train_neutral)
    *_, seen, _, _, who = task.batch(torch.arange(count).repeat(2), torch.Generator())
    narrow, people = task.model.narrow, task.model.of_people
    with torch.no_grad():
        off = narrow.encode(seen).shape - people[who]
        wanted = float(off.square().sum(dim=1).mean() / people.var(dim=0).sum())
        found = task.terms(task.batch(torch.arange(count).repeat(2), torch.Generator()), 0.0)["alike"]
    assert float(found) == pytest.approx(wanted) and wanted > 0.0
