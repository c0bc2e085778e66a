"""Numbers that bring vertices nearest, beside a search that knows all derivatives at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from bodystream.errors import InputError
from helpers.bar_people import bar_people
from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")
from bodystream_training.body import nearest as module  # noqa: E402
from bodystream_training.body.components import features_of  # noqa: E402
from bodystream_training.body.data.features import BodyFeatures, cached_features  # noqa: E402
from bodystream_training.body.data.folder import MeshFolder  # noqa: E402
from bodystream_training.body.fit import turned  # noqa: E402
from bodystream_training.body.narrow import network_and_task  # noqa: E402
from bodystream_training.body.nearest import (  # noqa: E402
    NearestNumbers,
    count_examples,
    drawn_examples,
    nearest_examples,
)
from bodystream_training.body.surface import AcapSurface  # noqa: E402

SIZES = {"shape": 4, "pose": 5, "hidden": 16, "wide": 32, "rank": 6, "seen": 10}


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> BodyFeatures:
    folder = bar_people(tmp_path_factory.mktemp("people") / "bars")
    return cached_features(MeshFolder(folder), tmp_path_factory.mktemp("features"))


def bodies(features: BodyFeatures) -> torch.Tensor:
    return torch.from_numpy(features.train_posed[:5])


@pytest.mark.parametrize("net", ["dhnn", "meshvae"])
def test_vertices_come_as_near_as_by_a_whole_matrix(
    features: BodyFeatures, tmp_path: Path, net: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GRADIENTS", 12)
    torch.manual_seed(0)
    model, task = network_and_task(net, features, SIZES, tmp_path, 0)
    start = task.wanted[bodies(features)]
    f = torch.stack([features.fine(int(n)) for n in bodies(features)])
    found, before_m = NearestNumbers(model, task)(start, f)
    assert torch.equal(found[:, :-6], start[:, :-6]), "numbers of parts stay"
    # The same by automatic differentiation, one body at a time, in float64.
    model.double()
    surface = AcapSurface(features.space)
    low, high = torch.from_numpy(features.scale.low), torch.from_numpy(features.scale.high)

    def made(rows: torch.Tensor) -> torch.Tensor:
        return features_of(model, rows)

    def vertices(scaled: torch.Tensor) -> torch.Tensor:
        return surface((scaled + 0.95) * ((high - low) / 1.9) + low)

    per_metre = module._VERTICES * module.PER_METRE
    for row, body in enumerate(f.double()):
        first = start[row].double()
        target, at = vertices(body[None])[0], vertices(made(first[None]))[0].detach()
        off = turned(target, at) - at
        assert float(before_m[row]) == pytest.approx(float(off.norm(dim=1).mean()), rel=1e-3)

        def both(left: torch.Tensor, first: torch.Tensor = first) -> torch.Tensor:
            scaled = made(torch.cat([first[:-6], left])[None])
            near = per_metre / len(features.space.reference) ** 0.5 * vertices(scaled).flatten()
            return torch.cat([near, scaled.flatten() / scaled.numel() ** 0.5])

        rows = torch.autograd.functional.jacobian(both, first[-6:])
        right = torch.zeros(len(rows), dtype=torch.float64)
        right[: off.numel()] = per_metre / len(off) ** 0.5 * off.flatten()
        step = torch.linalg.lstsq(rows, right[:, None]).solution[:, 0]
        assert torch.allclose(found[row, -6:].double() - first[-6:], step, atol=2e-3 * float(step.abs().max())), row


def test_vertices_come_nearer(features: BodyFeatures, tmp_path: Path) -> None:
    model, task = network_and_task("meshvae", features, {**SIZES, "rank": 3}, tmp_path, 0)
    start = task.wanted[bodies(features)]
    f = torch.stack([features.fine(int(n)) for n in bodies(features)])
    nearest = NearestNumbers(model, task)
    found, before_m = nearest(start, f)
    _, after_m = nearest(found, f)
    assert (after_m < before_m).all() and float(after_m.mean()) < 0.9 * float(before_m.mean()), (before_m, after_m)


def test_what_is_done_is_kept_and_gone_on_from(features: BodyFeatures, tmp_path: Path) -> None:
    told: list[int] = []

    def stopped(done: int) -> None:
        told.append(done)
        if done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nearest_examples("dhnn", features, SIZES, tmp_path, 0, stopped)
    again: list[int] = []
    kept = nearest_examples("dhnn", features, SIZES, tmp_path, 0, again.append)
    assert again[0] == told[-1] == 16 and again[-1] == count_examples(features)
    fresh = nearest_examples("dhnn", features, SIZES, tmp_path / "fresh", 0)
    assert torch.equal(kept.people, fresh.people) and torch.equal(kept.wanted, fresh.wanted)
    model, task = network_and_task("dhnn", features, SIZES, tmp_path, 0)
    drawn = drawn_examples(task, 0)
    assert not torch.allclose(kept.wanted, drawn.wanted) and torch.equal(kept.person, drawn.person)
    one, _ = NearestNumbers(model, task)(drawn.wanted[:1], features.fine(int(features.train_posed[0]))[None])
    assert torch.allclose(kept.wanted[:1], one, atol=1e-4)


def test_numbers_of_other_bodies_are_refused(features: BodyFeatures, tmp_path: Path) -> None:
    nearest_examples("dhnn", features, SIZES, tmp_path, 0)
    nearest_examples("meshvae", features, SIZES, tmp_path, 0)
    (tmp_path / "meshvae-nearest.safetensors").rename(tmp_path / "dhnn-nearest.safetensors")
    with pytest.raises(InputError, match=r"dhnn-nearest\.safetensors is not of this training: remove it"):
        nearest_examples("dhnn", features, SIZES, tmp_path, 0)


def test_a_derivative_is_that_of_the_surface_and_its_way_back_the_transpose(features: BodyFeatures) -> None:
    surface = AcapSurface(features.space)
    drawn = torch.Generator().manual_seed(4)
    some = torch.from_numpy(features.train_posed[:2])
    body = torch.stack([torch.from_numpy(features.space.features(features.vertices(int(n)))) for n in some])
    changes = torch.randn(body.shape, generator=drawn).double()
    step = 1e-6
    with torch.no_grad():
        ahead, behind = (surface(body + sign * step * changes) for sign in (1.0, -1.0))
        derivative = surface.derivative(body)
        found = derivative.along(changes)
        wanted = (ahead - behind) / (2.0 * step)
        assert float((found - wanted).abs().max()) < 1e-6 * float(wanted.abs().max())
        # Several changes of one body.
        assert torch.allclose(surface.derivative(body[:1]).along(changes)[0], found[0])
        pulls = torch.randn(found.shape, generator=drawn).double()
        pulls -= pulls.mean(dim=1, keepdim=True)
        there, back = (found * pulls).sum(), (changes * derivative.back(pulls)).sum()
        assert float(there) == pytest.approx(float(back), rel=1e-9)
