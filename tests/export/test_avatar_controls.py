"""What an avatar's export works out beside its graphs: controls and how others follow them, poses, weights, order."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")
needs("onnx", "pip install 'bodystream[export]'")

from bodystream_export.avatar.controls import chosen_controls, mixed_poses  # noqa: E402
from bodystream_export.avatar.prepare import along_a_curve  # noqa: E402
from bodystream_export.avatar.weights import plain_weights, quadratic_logits  # noqa: E402
from helpers.clothed_bundles import drawn_network  # noqa: E402

BALL = trimesh.creation.icosphere(4, 0.3)


def waves(seed: int) -> np.ndarray:
    """(V, 3) a smooth field on the ball of about a centimetre, another for each seed."""
    rng = np.random.default_rng(seed)
    ways, phases = rng.normal(0, 8.0, (3, 3)), rng.uniform(0, 6, 3)
    return 0.01 * np.sin(BALL.vertices @ ways.T + phases)


@pytest.mark.parametrize(("near", "share"), [(4, 0.25), (8, 0.15)])
def test_vertices_follow_controls_in_fields_that_they_were_not_fitted_to(near: int, share: float) -> None:
    places, weights = np.asarray(BALL.vertices), np.ones((len(BALL.vertices), 1))
    following = chosen_controls(places, weights, [waves(seed) for seed in range(40)], 400, near)
    count = len(following.controls)
    assert 380 <= count <= 420 and following.near.shape == (len(places), near)
    assert following.near.min() >= 0 and following.near.max() < count
    for seed in (100, 101):
        field = waves(seed)
        followed = np.einsum("vn,vnc->vc", following.shares, field[following.controls][following.near])
        np.testing.assert_allclose(followed[following.controls], field[following.controls], atol=1e-9)
        off = np.linalg.norm(followed - field, axis=1)
        by_nearest = np.linalg.norm(field[following.controls][following.near[:, 0]] - field, axis=1)
        assert off.mean() < share * by_nearest.mean() and off.max() < by_nearest.max()


def test_controls_are_where_vertices_would_follow_worst() -> None:
    places, weights = np.asarray(BALL.vertices), np.ones((len(BALL.vertices), 1))
    rough = places[:, 1] > 0.2
    fields = [np.where(rough[:, None], np.sin(5.0 * waves(s) * 100), 0.0) * 0.01 for s in range(20)]
    controls = chosen_controls(places, weights, fields, 300, 8).controls
    assert rough[controls].mean() > 1.5 * rough.mean()


def test_few_vertices_are_all_controls() -> None:
    corners = np.eye(3)
    following = chosen_controls(corners, np.ones((3, 1)), [corners], 10, 8)
    assert following.controls.tolist() == [0, 1, 2] and following.off_m.max() == 0.0


def test_mixed_poses_take_limbs_of_several_frames() -> None:
    frames = np.zeros((2, 22, 4))
    frames[0, :, 3], frames[1, :, 0] = 1.0, 1.0
    poses = mixed_poses(frames, 50)
    np.testing.assert_allclose(np.linalg.norm(poses, axis=-1), 1.0, atol=1e-6)
    of_second = np.abs(poses[..., 0]) > 0.7
    for limb in ((1, 4, 7, 10), (16, 18, 20), (12, 15)):
        assert (of_second[:, limb] == of_second[:, limb[:1]]).all()
    assert len({row.tobytes() for row in of_second}) > 10
    np.testing.assert_array_equal(poses, mixed_poses(frames, 50))


def test_weights_are_those_of_the_field_where_vertices_came_by() -> None:
    model = drawn_network()
    assert model.weights is not None
    rng = np.random.default_rng(0)
    base = rng.uniform(-0.5, 0.5, (50, 3)).astype(np.float32)
    ends = base + rng.normal(0, 0.03, (60, 50, 3)).astype(np.float32)
    bones, logits = quadratic_logits(model, base, ends, 24)
    for end in ends[:5]:
        x, y, z = (end - base).T
        terms = np.stack([np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, y * z, x * z], -1)
        found = np.zeros((50, 24))
        values = np.exp(np.einsum("vkt,vt->vk", logits, terms))
        np.put_along_axis(found, bones.astype(np.int64), values / values.sum(1, keepdims=True), 1)
        with torch.no_grad():
            truth = model.weights(torch.from_numpy(end)).numpy()
            still = model.weights(torch.from_numpy(base)).numpy()
        assert np.abs(found - truth).max() < 0.1 * np.abs(still - truth).max()
    np.testing.assert_allclose(plain_weights(model, base).sum(1), 1.0, atol=1e-5)


def test_a_surface_in_another_order_is_the_same() -> None:
    places = np.random.default_rng(0).permutation(len(BALL.vertices))
    mixed = trimesh.Trimesh(BALL.vertices[np.argsort(places)], places[BALL.faces], process=False)
    vertices, faces = along_a_curve(np.asarray(mixed.vertices, np.float32), np.asarray(mixed.faces, np.int32))
    again = trimesh.Trimesh(vertices, faces, process=False)
    assert again.is_watertight and again.volume == pytest.approx(BALL.volume, rel=1e-5)
    before, after = (np.linalg.norm(np.diff(mesh.vertices, axis=0), axis=1).mean() for mesh in (mixed, again))
    assert after < 0.15 * before
