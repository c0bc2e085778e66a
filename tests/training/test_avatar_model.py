"""The avatar's networks: sizes, exact inverses, what depends on what, and the search with its gradients."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from helpers.avatar_poses import own_skeleton
from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")

from bodystream.avatar.heading import bones_in_heading, world_from_heading  # noqa: E402
from bodystream.avatar.take.canonical import rest_joints  # noqa: E402
from bodystream_training.avatar.batches import AvatarBatch  # noqa: E402
from bodystream_training.avatar.layers import SpaceEmbedding, bone_parameters  # noqa: E402
from bodystream_training.avatar.losses import _promising, iou, logits_of, prior_terms, skinning_terms  # noqa: E402
from bodystream_training.avatar.model import Ins, InsConfig, Pin, WeightField, skin  # noqa: E402
from bodystream_training.avatar.search import START_BONES, find_roots, near_starts, root_gradients  # noqa: E402

_SMALL = InsConfig(couplings=6, occupancy_hidden=32, occupancy_layers=4, weight_hidden=16, weight_layers=2)


def _poses(count: int, seed: int, angle: float = 0.3) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    bones = np.tile(np.eye(4, dtype=np.float32), (count, 24, 1, 1))
    turns = Rotation.from_rotvec(rng.normal(0, angle, (count * 24, 3))).as_matrix()
    bones[:, :, :3, :3] = turns.reshape(count, 24, 3, 3)
    bones[:, :, :3, 3] = rng.normal(0, 0.05, (count, 24, 3))
    return torch.from_numpy(bones)


def _trained(config: InsConfig, seed: int = 0) -> Ins:
    """A network whose operation maps are no longer zero."""
    torch.manual_seed(seed)
    model = Ins(config)
    for pin in (model.deformed, model.canonical):
        for layer in pin.layers if pin is not None else ():
            for chain in (layer.translation, layer.rotation):
                if chain is not None:
                    torch.nn.init.normal_(chain[-1].weight, std=0.03)
    return model


def _star_joints() -> np.ndarray:
    return rest_joints(own_skeleton()).astype(np.float32)


def _size(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_networks_are_as_large_as_the_paper_says() -> None:
    model = Ins()
    assert model.deformed is not None and model.canonical is not None and model.weights is not None
    assert round(_size(model) / 1e6, 2) == 1.80
    assert round(_size(model.deformed) / 1e6, 2) == round(_size(model.canonical) / 1e6, 2) == 0.41
    assert round(_size(model.occupancy) / 1e6, 2) == round(_size(model.encoder) / 1e6, 2) == 0.46
    assert round(_size(model.weights) / 1e3) == 53
    assert len(model.deformed.layers) == 18


@torch.no_grad()
def test_a_new_pin_is_the_identity() -> None:
    torch.manual_seed(0)
    points = torch.randn(100, 3)
    embeddings = torch.randn(100, 120)
    assert torch.equal(Pin(InsConfig())(points, embeddings), points)


@torch.no_grad()
@pytest.mark.parametrize("seed", range(3))
def test_the_inverse_is_exact(seed: int) -> None:
    model = _trained(InsConfig(), seed)
    assert model.deformed is not None
    points = torch.rand(4000, 3) * 2 - 1
    embedding = model.embed(_poses(4, seed)).repeat_interleave(1000, 0)
    there = model.deformed(points, embedding)
    assert float((there - points).norm(dim=-1).mean()) > 0.005  # it does something
    assert float((model.deformed.inverse(there, embedding) - points).abs().max()) <= 1e-5
    assert float((model.deformed(model.deformed.inverse(points, embedding), embedding) - points).abs().max()) <= 1e-5


def test_volumes_are_kept() -> None:
    model = _trained(InsConfig())
    embedding = model.embed(_poses(1, 0))

    def moved(point: torch.Tensor) -> torch.Tensor:
        assert model.canonical is not None
        return model.canonical(point[None], embedding)[0]

    points = torch.rand(64, 3) * 2 - 1
    jacobians = torch.func.vmap(torch.func.jacrev(moved))(points)
    assert float((torch.linalg.det(jacobians) - 1).abs().max().detach()) <= 1e-4
    assert float((jacobians - torch.eye(3)).abs().max().detach()) > 1e-2


@torch.no_grad()
def test_at_rest_what_a_pin_does_varies_in_no_direction_of_its_own() -> None:
    at_rest = torch.eye(4).expand(1, 24, 4, 4)
    for config, same in ((InsConfig(), True), (InsConfig(multiply=False), False)):
        model = _trained(config)
        assert model.deformed is not None
        layer = model.deformed.layers[0]
        shift, angle = layer.operation(torch.linspace(-1, 1, 50)[:, None], model.embed(at_rest).expand(50, -1))
        assert (float(shift.std(0).max()) < 1e-6) is same
        assert (float(angle.std()) < 1e-6) is same


@torch.no_grad()
def test_the_six_numbers_of_a_bone_are_its_place_and_euler_angles() -> None:
    bones = _poses(50, 3, angle=0.6).double()
    found = bone_parameters(bones)
    angles = Rotation.from_matrix(bones[..., :3, :3].reshape(-1, 3, 3).numpy()).as_euler("xyz").reshape(50, 24, 3)
    np.testing.assert_allclose(found[..., 3:].numpy(), angles, atol=1e-6)
    np.testing.assert_array_equal(found[..., :3].numpy(), bones[..., :3, 3].numpy())
    assert not bone_parameters(torch.eye(4).expand(1, 24, 4, 4)).any()


def test_the_heading_is_the_twist_about_the_vertical() -> None:
    pelvis = np.tile(np.eye(4), (200, 1, 1))
    turns = Rotation.random(200, random_state=0)
    pelvis[:, :3, :3] = turns.as_matrix()
    pelvis[:, :3, 3] = np.random.default_rng(0).normal(size=(200, 3))
    twist = turns.as_quat() * (0, 1, 0, 1)
    frame = world_from_heading(pelvis)
    np.testing.assert_allclose(frame[:, :3, :3], Rotation.from_quat(twist).as_matrix(), atol=1e-9)
    np.testing.assert_array_equal(frame[:, :3, 3], pelvis[:, :3, 3])
    seen, again = bones_in_heading(pelvis[:, None])
    np.testing.assert_allclose(again @ seen[:, 0], pelvis, atol=1e-9)


def test_a_body_upside_down_has_a_heading_too() -> None:
    pelvis = np.eye(4)
    pelvis[:3, :3] = np.diag([1.0, -1.0, -1.0])
    np.testing.assert_array_equal(world_from_heading(pelvis), np.eye(4))


def test_a_lower_omega_embeds_space_in_longer_waves() -> None:
    """Half of it draws every wave out to twice its length: SIREN's initialisation keeps the second layer's share."""
    torch.manual_seed(3)
    fine = SpaceEmbedding(2, 24, omega=30.0).double()
    torch.manual_seed(3)
    coarse = SpaceEmbedding(2, 24, omega=15.0).double()
    for layer in (fine.first, fine.second, coarse.first, coarse.second):
        torch.nn.init.zeros_(layer.bias)
    points = torch.randn(50, 2, dtype=torch.float64)
    assert torch.allclose(coarse(2.0 * points), fine(points), atol=1e-6)
    assert Pin(dataclasses.replace(_SMALL, omega=15.0)).layers[0].space.omega == 15.0


def test_the_derivative_of_the_weights_is_that_of_automatic_differentiation() -> None:
    torch.manual_seed(0)
    field = WeightField(InsConfig()).double()
    points = torch.randn(20, 3, dtype=torch.float64) * 0.5
    weights, change = field.with_derivative(points)
    torch.testing.assert_close(weights, field(points))
    torch.testing.assert_close(weights.sum(-1), torch.ones(20, dtype=torch.float64))
    wanted = torch.func.vmap(torch.func.jacrev(lambda p: field(p[None])[0]))(points)
    torch.testing.assert_close(change, wanted, rtol=1e-8, atol=1e-8)


@torch.no_grad()
def test_roots_are_skinned_to_where_they_were_searched_for() -> None:
    torch.manual_seed(1)
    field = WeightField(InsConfig())
    bones = _poses(1, 1)[0]
    canonical = torch.randn(500, 3) * 0.4
    targets = skin(field(canonical), canonical, bones)
    roots = find_roots(field, targets, bones, START_BONES)
    assert float((skin(field(roots.points), roots.points, bones) - targets[roots.of]).norm(dim=-1).max()) < 1e-5
    found = torch.full((500,), torch.inf).scatter_reduce(
        0, roots.of, (roots.points - canonical[roots.of]).norm(dim=-1), "amin"
    )
    assert float((found < 1e-3).float().mean()) > 0.99
    pairs = roots.of[1:] == roots.of[:-1]
    assert not (pairs & ((roots.points[1:] - roots.points[:-1]).norm(dim=-1) < 1e-3)).any()


@torch.no_grad()
def test_bones_far_from_a_point_are_no_start_and_nothing_is_lost() -> None:
    joints = torch.from_numpy(_star_joints())
    bones = torch.eye(4).expand(24, 4, 4).clone()
    # A body stands in its canonical pose: a hand is near the arm of its side alone, the chest near neither leg's end.
    wrist, chest = joints[20] + torch.tensor([0.0, 0.03, 0.0]), joints[9]
    tried = near_starts(torch.stack([wrist, chest]), bones, joints, START_BONES)
    chosen = [[START_BONES[k] for k in row.nonzero()[:, 0]] for row in tried]
    assert 18 in chosen[0] and not {0, 1, 2, 4, 5, 17, 19} & set(chosen[0])
    assert 0 in chosen[1] and not {4, 5, 18, 19} & set(chosen[1])

    torch.manual_seed(1)
    field, posed = WeightField(InsConfig()), _poses(1, 1)[0]
    along = torch.rand(300, 1)
    targets = skin(
        field(joints[1] + along * (joints[4] - joints[1])), joints[1] + along * (joints[4] - joints[1]), posed
    )
    near = near_starts(targets, posed, joints, START_BONES)
    assert near.any(1).all() and float(near.float().sum(1).mean()) < 6
    every, fewer = (find_roots(field, targets, posed, START_BONES, tried) for tried in (None, near))
    assert len(fewer.of.unique()) == len(every.of.unique())
    missing = [root for root, of in zip(fewer.points, fewer.of, strict=True)
               if (every.points[every.of == of] - root).norm(dim=-1).min() > 1e-3]  # fmt: skip
    assert not missing


def test_gradients_through_the_search_are_those_of_an_unrolled_solve() -> None:
    torch.manual_seed(2)
    field = WeightField(_SMALL).double()
    bones = _poses(1, 2, angle=0.2)[0].double()
    canonical = torch.randn(30, 3, dtype=torch.float64) * 0.3
    targets = skin(field(canonical), canonical, bones).detach().requires_grad_()

    unrolled = canonical + 0.01
    for _ in range(8):  # Newton's method, every step of it differentiated
        jacobian = torch.func.vmap(torch.func.jacrev(lambda p: skin(field(p[None]), p[None], bones)[0]))(unrolled)
        residual = skin(field(unrolled), unrolled, bones) - targets
        unrolled = unrolled - torch.linalg.solve(jacobian, residual)
    assert float((skin(field(unrolled), unrolled, bones) - targets).detach().abs().max()) < 1e-12

    direction = torch.randn(30, 3, dtype=torch.float64)
    wanted = torch.autograd.grad((unrolled * direction).sum(), [targets, *field.parameters()])
    implicit = root_gradients(field, unrolled.detach(), targets, bones)
    torch.testing.assert_close(implicit, unrolled, rtol=0, atol=1e-12)
    found = torch.autograd.grad((implicit * direction).sum(), [targets, *field.parameters()])
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)
    # For small motions a canonical point moves with the posed one: the sign that the paper prints would say no.
    assert float((found[0] * direction).sum()) > 0


@torch.no_grad()
def test_reposing_undoes_the_way_to_the_canonical_space() -> None:
    model = _trained(InsConfig(), 5)
    assert model.weights is not None
    bones = _poses(1, 5)
    posed = torch.randn(200, 3) * 0.3
    embedding = model.embed(bones)
    q_d = model.to_skinned(posed, embedding.expand(200, -1))
    roots = find_roots(model.weights, q_d, bones[0], START_BONES)
    canonical = model.to_canonical(roots.points, embedding.expand(len(roots.of), -1))
    assert float((model.repose(canonical, bones[0]) - posed[roots.of]).norm(dim=-1).max()) < 5e-5


@torch.no_grad()
@pytest.mark.parametrize("switches", [{}, {"multiply": False}, {"rotate": False}], ids=str)
def test_points_of_one_pose_go_the_same_way_as_among_others(switches: dict[str, bool]) -> None:
    model = _trained(InsConfig(**switches), 6)
    assert model.deformed is not None
    points = torch.rand(500, 3) * 2 - 1
    embedding = model.embed(_poses(1, 6))
    for way in (model.deformed.forward, model.deformed.inverse):
        torch.testing.assert_close(way(points, embedding), way(points, embedding.expand(500, -1)), rtol=0, atol=2e-6)


_ROWS = {
    "vanilla": {},
    "without the product": {"multiply": False},
    "without sines": {"siren": False},
    "without rotation": {"rotate": False},
    "without H_d": {"deformed_pin": False},
    "without H_c": {"canonical_pin": False},
    "without skinning": {"skinning": False},
    "as SNARF": {"deformed_pin": False, "canonical_pin": False, "posed_occupancy": True},
    "as SNARF without pose": {"deformed_pin": False, "canonical_pin": False},
}


@pytest.mark.parametrize("switches", _ROWS.values(), ids=_ROWS)
def test_every_row_of_the_ablation_learns_through_all_that_it_has(switches: dict[str, bool]) -> None:
    model = _trained(dataclasses.replace(_SMALL, **switches))
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(2, 100, 3, generator=generator) * 0.2
    batch = AvatarBatch(points, (points.norm(dim=-1) < 0.3).float(), _poses(2, 0))
    terms = skinning_terms(model, batch, pins=True)
    joints = torch.randn(24, 3, generator=generator) * 0.1
    terms |= prior_terms(model, joints, [-1, *range(23)], generator)
    torch.stack(list(terms.values())).sum().backward()
    used = model.config.deformed_pin or model.config.canonical_pin or model.config.posed_occupancy
    for name, parameter in model.named_parameters():
        if name.startswith("encoder") and not used:
            assert parameter.grad is None or not parameter.grad.any()
        else:
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    assert ("at_joints" in terms) == model.config.skinning


@torch.no_grad()
def test_how_far_h_c_moves_places_is_told_where_it_shares_the_motion_with_others() -> None:
    points = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(0)) * 0.2
    batch = AvatarBatch(points, torch.zeros(2, 50), _poses(2, 0))
    torch.manual_seed(0)
    model = Ins(_SMALL)
    assert float(skinning_terms(model, batch, pins=True)["moved_cm2"]) == pytest.approx(0.0, abs=1e-6)
    assert model.canonical is not None
    model.canonical.layers[1].translation[-1].bias.fill_(0.03)  # one of those that move one coordinate
    assert float(skinning_terms(model, batch, pins=True)["moved_cm2"]) == pytest.approx(9.0, rel=1e-3)
    for without in ("deformed_pin", "canonical_pin", "skinning"):
        alone = _trained(dataclasses.replace(_SMALL, **{without: False}))
        assert "moved_cm2" not in skinning_terms(alone, batch, pins=True)


@torch.no_grad()
def test_points_that_nothing_is_carried_to_are_outside() -> None:
    model = _trained(_SMALL)
    far = AvatarBatch(torch.full((1, 4, 3), 1e4), torch.zeros(1, 4), _poses(1, 0))
    for hard in (False, True):
        assert (logits_of(model, far, hard=hard) < 0).all()


def test_of_many_candidates_the_best_three_of_each_point_are_gone_on_with() -> None:
    class Said(Ins):
        def occupied(self, points: torch.Tensor, e_pose: torch.Tensor) -> torch.Tensor:
            return points[:, 0]

    count, tries = 4000, 5
    logits = torch.rand(count, tries, generator=torch.Generator().manual_seed(0))
    points = torch.stack([logits.flatten(), torch.zeros(count * tries), torch.zeros(count * tries)], -1)
    of = torch.arange(count).repeat_interleave(tries)
    keep = _promising(Said(_SMALL), points, of, count, torch.zeros(120)).view(count, tries)
    wanted = torch.zeros_like(keep).scatter(1, logits.topk(3, dim=1).indices, True)
    assert torch.equal(keep, wanted)


def test_intersection_over_union_counts_both_kinds_of_error() -> None:
    inside = torch.tensor([1.0, 1.0, 0.0, 0.0])
    assert iou(torch.tensor([1.0, -1.0, 1.0, -1.0]), inside) == pytest.approx(1 / 3)
    assert iou(torch.tensor([2.0, 2.0, -2.0, -2.0]), inside) == 1.0
