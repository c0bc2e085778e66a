"""Fits of an embedding: derivatives by all unknowns, vertices one by one, and scans whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bodystream.body import BodySkin
from bodystream.body.fitting import PlacedBody, Placement, fit_surface, fit_vertices, landmarks_of, scan_points
from bodystream.body.fitting.surface_loss import SurfaceLoss
from bodystream.body.nearest import BodySurface
from bodystream.bundles import open_bundle
from bodystream.errors import BundleError, InputError
from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream.geometry.skeleton import JOINTS
from bodystream.types import Array, Mesh
from helpers.bar_people import bar_person, bent
from helpers.body_bundles import exported_bars, trained_bars
from helpers.body_meshes import sphere
from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[export]'")
needs("onnx", "pip install 'bodystream[export]'")
needs("lightning_fabric", "pip install 'bodystream[train]'")

from bodystream.body import BodyDecoder  # noqa: E402
from bodystream_training.body.fit import fit_codes  # noqa: E402
from bodystream_training.body.model import BodyNetwork  # noqa: E402
from bodystream_training.body.surface import AcapSurface  # noqa: E402
from bodystream_training.body.tasks import load_network  # noqa: E402

STEP = 4e-3


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_bars(tmp_path_factory.mktemp("fitting"), skin=False)


@pytest.fixture(scope="module")
def decoder(run: Path) -> BodyDecoder:
    """In 32 bits, so that differences are derivatives."""
    return BodyDecoder(open_bundle(exported_bars(run, run.parent / "full", "--full", "--no-encoder")))


def someone(decoder: BodyDecoder, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    return decoder.vertices(rng.normal(0.0, 0.7, decoder.facts.shape), rng.normal(0.0, 0.7, decoder.facts.pose))


def turned(seed: int) -> Placement:
    rng = np.random.default_rng(seed)
    return Placement(matrix_from_rotation_vector(rng.normal(0.0, 1.0, 3)), rng.normal(0.0, 2.0, 3))


def test_derivatives_by_codes_turn_and_move_are_differences(decoder: BodyDecoder) -> None:
    rng = np.random.default_rng(0)
    body = PlacedBody(decoder, turned(0))
    at, wanted = 0.5 * rng.normal(size=body.size), turned(0).applied(someone(decoder, 1))
    at[-6:] = 20.0 * rng.normal(size=6)  # a turn of half a radian

    def loss(unknowns: Array) -> float:
        return float(np.square(body.vertices(unknowns) - wanted).sum())

    # Shape codes, pose codes and all together: the loss is a sum in 32 bits, whose last digits are 1e-4 of a difference
    # beside STEP, as much as some single code does.
    ways = [*np.eye(body.size)[-6:], rng.normal(size=body.size)]
    for codes in (slice(0, decoder.facts.shape), slice(decoder.facts.shape, -6)):
        ways.append(np.zeros(body.size))
        ways[-1][codes] = rng.normal(size=len(ways[-1][codes]))
    sizes = [loss(at + STEP * way) - loss(at - STEP * way) for way in ways]
    bar = body.pull_back(at, 2.0 * (body.vertices(at) - wanted))
    for way, size in zip(ways, sizes, strict=True):
        assert abs(size / (2.0 * STEP)) > 0.02
        assert bar @ way == pytest.approx(size / (2.0 * STEP), rel=1e-2, abs=2e-4)


def test_only_codes_that_changed_are_decoded_again(decoder: BodyDecoder) -> None:
    body = PlacedBody(decoder, turned(1))
    at = np.zeros(body.size)
    first = body.vertices(at)
    at[-1] = 1.0
    assert body.evaluations == 1 and not np.allclose(body.vertices(at), first) and body.evaluations == 1
    at[0] = 0.5
    body.vertices(at)
    assert body.evaluations == 2


def test_the_loss_of_a_scan_has_the_derivatives_of_itself(decoder: BodyDecoder) -> None:
    scan = scan_points(Mesh(someone(decoder, 2), decoder.space.faces), count=400)
    vertices = someone(decoder, 3)
    terms = SurfaceLoss(scan, vertices, decoder.space.faces)
    rng = np.random.default_rng(0)
    way = rng.normal(size=vertices.shape)
    found = float((terms(vertices, 0.1, 0.0)[1] * way).sum())
    ends = [terms(vertices + h * way, 0.1, 0.0)[0] for h in (1e-4, -1e-4)]
    assert found == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=0.02)


def test_nearest_places_are_those_of_a_sphere() -> None:
    ball = sphere(4, 0.5)
    surface = BodySurface(np.zeros_like(ball.vertices) + ball.vertices * 0.5, ball.faces)
    surface.move(ball.vertices)
    rng = np.random.default_rng(0)
    points = rng.normal(size=(200, 3))
    found = surface.nearest(points)
    np.testing.assert_allclose(found.points, 0.5 * points / np.linalg.norm(points, axis=1)[:, None], atol=0.02)
    np.testing.assert_allclose(found.shares.sum(axis=1), 1.0, atol=1e-6)
    assert np.vecdot(found.normals, points).min() > 0.0
    np.testing.assert_allclose(surface.distances(points), np.abs(np.linalg.norm(points, axis=1) - 0.5), atol=2e-3)


def test_codes_of_vertices_are_as_near_as_by_pytorch(run: Path, decoder: BodyDecoder) -> None:
    model, _ = load_network(run / "dhnn.safetensors")
    assert isinstance(model, BodyNetwork)
    surface, size = AcapSurface(decoder.space), decoder.facts.shape
    for seed in range(3):
        placement = turned(seed)
        wanted = placement.applied(bent(bar_person(seed + 1), 0.4, 0.6))

        def decode(code: torch.Tensor) -> torch.Tensor:
            return model.scale.unscaled(model.decode(code[:, :size].float(), code[:, size:].float()).f)

        _, theirs = fit_codes(decode, surface, torch.from_numpy(wanted), torch.zeros(122), 60)
        ours = fit_vertices(decoder, wanted)
        by_torch = float((theirs - torch.from_numpy(wanted)).norm(dim=1).mean())
        assert ours.point_to_mesh_mean_m < 1.1 * by_torch + 2e-4 and ours.evaluations <= 60
        again = ours.placement.applied(decoder.vertices(ours.codes.shape, ours.codes.pose))
        np.testing.assert_allclose(again, ours.vertices, atol=1e-5)


def test_bodies_of_the_embedding_are_found_again(decoder: BodyDecoder) -> None:
    for seed in (4, 5):
        wanted = someone(decoder, seed) + (1.0, 0.2, -3.0)
        found = fit_surface(decoder, scan_points(Mesh(wanted, decoder.space.faces)))
        assert found.point_to_mesh_mean_m < 0.012
        again = found.placement.applied(decoder.vertices(found.codes.shape, found.codes.pose))
        np.testing.assert_allclose(again, found.vertices, atol=1e-5)


def test_faulty_vertices_are_told(decoder: BodyDecoder, run: Path) -> None:
    with pytest.raises(InputError, match=r"a.obj must have vertices of shape \(106, 3\), got \(4, 3\)"):
        fit_vertices(decoder, np.zeros((4, 3)), where="a.obj")
    wanted = someone(decoder, 1)
    wanted[7, 1] = np.inf
    with pytest.raises(InputError, match="the mesh: vertex 7 is not finite"):
        fit_vertices(decoder, wanted)
    plain = BodyDecoder(open_bundle(exported_bars(run, run.parent / "plain", "--no-encoder", "--no-gradient")))
    with pytest.raises(BundleError, match="has no derivatives"):
        fit_vertices(plain, someone(decoder, 1))


def test_joints_are_landmarks_where_the_bundle_knows_them(decoder: BodyDecoder, run: Path) -> None:
    vertices = someone(decoder, 1)
    marked = BodyDecoder(decoder.bundle)
    count = len(JOINTS)
    weights = np.zeros((count, 106), np.float32)
    weights[np.arange(count), 3 * np.arange(count)] = 1.0
    marked.skin = BodySkin(weights, np.full((106, count), 1.0 / count, np.float32))
    found = landmarks_of({"head": vertices[0].tolist(), "7": vertices[7].tolist()}, marked, vertices, "a.json")
    own = 3 * JOINTS.index("head")
    np.testing.assert_allclose(found.weights @ vertices, vertices[[own, 7]])
    np.testing.assert_allclose(found.points, vertices[[0, 7]])
    marked.skin = None
    with pytest.raises(InputError, match="a.json: the bundle knows no joints, so that 'head' has no place"):
        landmarks_of({"head": vertices[0].tolist()}, marked, vertices, "a.json")
