"""How far layers are from coarse tables of what they do, which training makes small."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.interpolate import lagrange

from helpers.avatar_poses import own_skeleton
from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")

from bodystream.avatar.take.canonical import BONE_PARENTS, rest_joints  # noqa: E402
from bodystream_training.avatar.batches import AvatarBatch, AvatarExamples  # noqa: E402
from bodystream_training.avatar.coarseness import LINE_M, PLANE_M, table_residual_cm2, through_four  # noqa: E402
from bodystream_training.avatar.losses import skinning_terms  # noqa: E402
from bodystream_training.avatar.model import Ins, InsConfig, Pin  # noqa: E402
from bodystream_training.avatar.tasks import AvatarTask, AvatarTrainConfig  # noqa: E402
from bodystream_training.cli import main  # noqa: E402

_CONFIG = InsConfig(couplings=6)
_SMALL = dataclasses.replace(_CONFIG, occupancy_hidden=32, occupancy_layers=4, weight_hidden=16)


def _residual_cm2(pin: Pin, seed: int = 0, count: int = 4000) -> float:
    points = torch.randn(count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    e_pose = torch.ones(1, _CONFIG.embedding, dtype=torch.float64)
    return float(table_residual_cm2(pin, points, e_pose, torch.Generator().manual_seed(seed)).detach())


def _doing(shift_m, turn_rad=None) -> Pin:
    """Layers that do what these functions say of the coordinates that they look at, (M, 1 or 2)."""
    pin = Pin(_CONFIG).double()
    for layer in pin.layers:
        moves = len(layer.moved)

        def operation(seen, _, moves=moves):
            angle = torch.zeros_like(seen[:, 0]) if turn_rad is None else turn_rad(seen)
            return shift_m(seen)[:, None].expand(-1, moves), angle if moves == 2 else None

        layer.operation = operation
    return pin


def test_the_weights_are_those_of_the_cubic_through_four_nodes() -> None:
    nodes, places = np.arange(-1.0, 3.0), np.linspace(0.0, 1.0, 7)
    weights = through_four(torch.from_numpy(places)).numpy()
    for node in range(4):
        np.testing.assert_allclose(weights[:, node], lagrange(nodes, np.eye(4)[node])(places), atol=1e-12)


def test_cubics_lose_nothing_in_tables() -> None:
    def cubic(seen):
        return (1.0 + seen).pow(3).prod(-1) - seen[:, 0]

    assert _residual_cm2(_doing(cubic, cubic)) == pytest.approx(0.0, abs=1e-12)


def test_what_lies_beyond_cubics_counts_as_the_formula_of_the_remainder_has_it() -> None:
    """Of x^4 along a line h^4 (u + 1) u (u - 1) (u - 2) is lost, u from 0 to 1; of x^4 + y^4 over a plane the sum."""
    u = np.linspace(0.0, 1.0, 10_001)
    lost = (u + 1) * u * (u - 1) * (u - 2)
    mean, square = lost.mean(), (lost**2).mean()
    line = LINE_M**8 * square  # three layers of two coordinates each, and their turn
    plane = PLANE_M**8 * (2 * square + 2 * mean**2)  # three layers of one coordinate
    got = _residual_cm2(_doing(lambda seen: seen.pow(4).sum(-1), lambda seen: seen.pow(4).sum(-1)), count=40_000)
    assert got == pytest.approx(1e4 * (3 * 3 * line + 3 * plane), rel=0.03)


def test_longer_waves_need_fewer_nodes() -> None:
    residuals = []
    for omega in (30.0, 10.0):
        torch.manual_seed(0)
        pin = Pin(dataclasses.replace(_CONFIG, omega=omega)).double()
        for layer in pin.layers:
            torch.nn.init.normal_(layer.translation[-1].weight, std=0.03)
        residuals.append(_residual_cm2(pin))
    assert residuals[1] < 0.1 * residuals[0]


def _wavy(model: Ins) -> list[Pin]:
    """Its PINs, whose layers no longer begin at zero."""
    pins = [pin for pin in (model.deformed, model.canonical) if pin is not None]
    for pin in pins:
        for layer in pin.layers:
            torch.nn.init.normal_(layer.translation[-1].weight, std=0.03)
    return pins


def _batch() -> AvatarBatch:
    points = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(0)) * 0.3
    bones = torch.eye(4).expand(2, 24, 4, 4).clone()
    bones[:, :, :3, 3] = torch.randn(2, 24, 3, generator=torch.Generator().manual_seed(1)) * 0.2
    return AvatarBatch(points, torch.zeros(2, 40), bones)


def test_a_step_down_its_gradient_makes_both_networks_smoother_and_leaves_skinning_alone() -> None:
    """One step down the gradient of this term alone."""
    torch.manual_seed(0)
    model, batch = Ins(_SMALL), _batch()
    pins = _wavy(model)

    def coarse_cm2() -> torch.Tensor:
        return skinning_terms(model, batch, pins=True, generator=torch.Generator().manual_seed(2))["coarse_cm2"]

    loss = coarse_cm2()
    loss.backward()
    before = float(loss.detach())
    slope = torch.stack([p.grad.square().sum() for p in model.parameters() if p.grad is not None]).sum()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.01 * before / slope * parameter.grad
    assert 0.98 * before < float(coarse_cm2().detach()) < before
    assert all(any(p.grad is not None and p.grad.any() for p in pin.parameters()) for pin in pins)
    assert model.weights is not None and all(p.grad is None for p in model.weights.parameters())
    assert "coarse_cm2" not in skinning_terms(model, batch, pins=True)


def test_it_counts_from_the_share_of_the_training_that_was_asked_for() -> None:
    examples = AvatarExamples([], [], rest_joints(own_skeleton()).astype(np.float32), BONE_PARENTS)
    config = AvatarTrainConfig(steps=10, start="scans", smooth_from=0.6)
    task = AvatarTask(config, _SMALL, examples, begun=True)
    assert isinstance(task.model, Ins)
    _wavy(task.model)
    free, smooth = ({k: float(v.detach()) for k, v in task.terms(_batch(), at).items()} for at in (0.5, 0.6))
    assert free["coarse_cm2"] == 0.0 and smooth["coarse_cm2"] > 0.0
    assert smooth["total"] == pytest.approx(free["total"] + config.smoothness * smooth["coarse_cm2"], rel=1e-4)


@pytest.mark.parametrize("share", ["-0.1", "1.5", "nan"])
def test_a_share_out_of_range_is_refused(share: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["avatar", "--data", "take", f"--smooth-from={share}"]) == 2
    assert "--smooth-from must be 0 to 1" in capsys.readouterr().err
