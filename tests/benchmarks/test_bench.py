"""`bodystream bench` from the command line, and the peers that it measures."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh

from bodystream.avatar.proportions import fit_rig
from bodystream.avatar.rig import load_rig
from bodystream.body import AcapSpace
from bodystream.bundles import BundleChoice, has_bundle
from bodystream.cli.bench import Bench
from bodystream.device import select_device
from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream.geometry.skeleton import HEAD, LEFT_HAND, RIGHT_HAND
from bodystream.types import Array, CameraIntrinsics
from bodystream_bench.measuring import AccuracyError, Context, expect, measure
from bodystream_bench.motions import smooth_motion
from bodystream_bench.peers.dense_gauss_newton import DenseGaussNewton, TrackingProblem
from bodystream_bench.peers.skinning import SkinningProblem, numpy_skinning, torch_skinning
from bodystream_bench.peers.torch_sampler import torch_sampler
from bodystream_bench.recordings import matched_surface
from bodystream_bench.runner import SUITES, measure_suites, run_suites
from bodystream_bench.subjects import moving_person
from bodystream_bench.suites.solver import NODES, graph_of
from bodystream_bench.surfaces import grown_faces, grown_skin
from helpers import dense_gauss_newton
from helpers.bar_people import bar_person
from helpers.bundles import ship_all_but
from helpers.flow_networks import flow_bundle
from helpers.needs import needs

SKINNING_KEYS = {
    f"skinning.{size}.{figure}" for size in ("14k", "50k") for figure in ("p50_ms", "p99_ms", "speedup_vs_numpy")
}


def bench(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bodystream.cli.main", "bench", "--device", "cpu", *arguments]
    paths = ":".join(entry for entry in sys.path if entry)
    environment = {"PYTHONPATH": paths, "PATH": "/usr/bin:/bin", "HOME": str(Path.home())}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=240)


def test_json_from_the_command_line(tmp_path: Path) -> None:
    done = bench("--only", "skinning", "--repeats", "5", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)  # nothing else is on stdout
    assert {row["key"] for row in rows} >= SKINNING_KEYS
    for row in rows:
        assert set(row) == {"key", "value", "unit", "direction", "tolerance"}
        assert row["value"] > 0 and row["direction"] in ("lower", "higher")
        assert row["unit"] == ("ms" if row["key"].endswith("_ms") else "x")


def test_unknown_key_is_one_line(tmp_path: Path) -> None:
    done = bench("--only", "sovler", cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert "sovler" in done.stderr and "solver" in done.stderr and "Traceback" not in done.stderr


def test_comparison_sets_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = "skinning.14k.p50_ms"
    saved = tmp_path / "saved.json"
    only, cpu = (key,), "cpu"
    assert Bench(only=only, repeats=3, save_baseline=saved, device=cpu).run() == 0
    content = json.loads(saved.read_text())
    assert [m["key"] for m in content["metrics"]] == [key]
    assert content["machine"]["processors"] >= 1 and content["machine"]["packages"]["numpy"] == np.__version__
    capsys.readouterr()
    for factor, code in ((1000.0, 0), (0.001, 1)):
        content["metrics"][0]["value"] *= factor
        changed = tmp_path / f"{code}.json"
        changed.write_text(json.dumps(content))
        content["metrics"][0]["value"] /= factor
        assert Bench(only=only, repeats=3, compare=(changed,), device=cpu).run() == code
        printed = capsys.readouterr().out
        assert key in printed and ("REGRESSED" in printed) == bool(code)
    assert Bench(json=True, only=only, repeats=3, compare=(changed,), device=cpu).run() == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)[0]["key"] == key and "REGRESSED" in captured.err
    # Of another machine the time is shown and says nothing; then nothing at all was judged, which is no success.
    content["machine"]["processors"] += 1
    other = tmp_path / "other.json"
    other.write_text(json.dumps(content))
    assert Bench(only=only, repeats=3, compare=(other,), device=cpu).run() == 1
    captured = capsys.readouterr()
    assert "another machine's time" in captured.out and "REGRESSED" not in captured.out
    assert "nothing could be judged" in captured.err
    assert Bench(only=("skinning.14k",), repeats=3, compare=(other,), judge="all", device=cpu).run() in (0, 1)
    assert "1 figures judged" in capsys.readouterr().out


def test_wrong_paths_are_found_before_measuring(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gone.json"):
        Bench(only=("solver",), compare=(tmp_path / "gone.json",), device="cpu").run()
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file" / "b.json", tmp_path, Path("")):
        with pytest.raises(InputError, match="--save-baseline: "):
            Bench(only=("solver",), save_baseline=path, device="cpu").run()


def test_wrong_numbers_of_repeats_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="repeats"):
        run_suites(select_device("cpu"), ("skinning",), 0)


@pytest.mark.parametrize(
    ("only", "key", "wanted", "kept"),
    [
        ((), "solver.10k", True, True),
        (("solver",), "solver.10k.p50_ms", True, True),
        (("solver.10k.p50_ms",), "solver.10k", True, False),
        (("solver.10k",), "solver.10k.p50_ms", True, True),
        (("solver.10k",), "solver.all", False, False),
        (("solver.1",), "solver.10k", False, False),
        (("fusion", "flow"), "flow.dis_live.p50_ms", True, True),
    ],
)
def test_only_selects_by_dotted_words(only: tuple[str, ...], key: str, wanted: bool, kept: bool) -> None:
    context = Context(select_device("cpu"), only)
    assert context.wants(key) is wanted
    context.add(key, 1.0, "ms", "lower", 0.1)
    assert [metric.key for metric in context.metrics] == ([key] if kept else [])


def test_the_light_network_is_measured_beside_dis_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    needs("onnx", "pip install 'bodystream[export]'")
    monkeypatch.setenv("BODYSTREAM_DATA", str(tmp_path / "nowhere"))
    device = select_device("cpu")
    with monkeypatch.context() as patch:
        ship_all_but("flow", tmp_path / "shipped", patch)
        assert has_bundle("flow") or not run_suites(device, ("flow.light",), 1)
        assert has_bundle("flow") or "there is no flow bundle" in capsys.readouterr().err
    choice = BundleChoice({"flow": flow_bundle(tmp_path / "mine")})
    found = {metric.key: metric for metric in measure_suites(device, ("flow.light",), 2, choice).metrics}
    assert set(found) in [
        {f"flow.light.{size}.p50_ms", f"flow.light.{size}.p99_ms", "flow.light.ratio_vs_dis"}
        for size in ("192x256", "256x192")  # matches are for pixels half as large as the network's
    ]
    assert found["flow.light.ratio_vs_dis"].direction == "lower"
    assert all(metric.value > 0 for metric in found.values())
    with pytest.raises(ConfigurationError, match="to be chosen here, only flow"):
        Bench(bundle=("pose=x",), device="cpu").run()


def test_the_full_network_is_measured_beside_pytorch_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    needs("onnx", "pip install 'bodystream[export]'")
    needs("torch", "pip install 'bodystream[train]'")
    from bodystream_bench.suites import flow_full

    monkeypatch.setenv("BODYSTREAM_DATA", str(tmp_path / "nowhere"))
    device, only = select_device("cpu"), ("flow.full",)
    if not has_bundle("flow-full"):
        assert not run_suites(device, only, 1)
        assert "there is no full flow bundle" in capsys.readouterr().err
    choice = BundleChoice({"flow-full": flow_bundle(tmp_path / "full", net="full", sizes=((128, 64),))})
    assert not measure_suites(device, only, 1, choice).metrics
    assert "has no graphs of 640x448" in capsys.readouterr().err
    monkeypatch.setattr(flow_full, "_SIZE", (128, 64))
    found = {metric.key: metric for metric in measure_suites(device, only, 1, choice).metrics}
    assert set(found) == {f"flow.full.64x128.{name}" for name in ("p50_ms", "p99_ms", "speedup_vs_torch")}
    assert all(metric.value > 0 for metric in found.values())


def test_the_clothed_avatar_is_measured_beside_pytorch_and_plain_skinning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    needs("onnx", "pip install 'bodystream[export]'")
    needs("torch", "pip install 'bodystream[train]'")
    from bodystream_bench.suites import repose
    from helpers.clothed_bundles import FINE, prepared_balls, write_balls

    device, only = select_device("cpu"), ("repose",)
    monkeypatch.setattr(repose, "_MANY", 30_000)
    monkeypatch.setattr(repose, "_COMPARED", 2)
    choice = BundleChoice({"default-clothed": write_balls(tmp_path / "balls", prepared_balls(), FINE).place})
    found = {metric.key: metric.value for metric in measure_suites(device, only, 1, choice).metrics}
    assert set(found) == {
        *(f"repose.{size}.{figure}" for size in ("14k", "100k") for figure in ("p50_ms", "p99_ms")),
        *(f"repose.14k.{name}" for name in ("table_error_mean_mm", "table_error_max_mm")),
        *(f"repose.14k.{name}" for name in ("ratio_vs_lbs", "speedup_vs_torch")),
        "repose.100k.ratio_vs_14k",
    }
    assert all(value > 0 for value in found.values())
    assert "grown to 14000, 14000, 30000" in capsys.readouterr().err
    monkeypatch.setattr(repose, "_MAX_MM", 1e-3)
    with pytest.raises(AccuracyError, match="repose: tables are off by"):
        measure_suites(device, only, 1, choice)


def test_bodies_of_codes_and_fits_are_measured_beside_pytorch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    needs("torch", "pip install 'bodystream[train]'")
    from bodystream_bench.suites import body

    device, only = select_device("cpu"), ("body",)
    monkeypatch.setattr(body, "_FITS", 1)
    monkeypatch.setattr(body, "_ADAM_TIMED", 1)
    found = {metric.key: metric.value for metric in run_suites(device, only, 1)}
    decode = {f"body.decode.{name}" for name in ("p50_ms", "p99_ms", "speedup_vs_torch")}
    assert set(found) == decode | {"body.fit.p50_ms", "body.fit.speedup_vs_adam"}
    assert all(value > 0 for value in found.values())
    said = capsys.readouterr().err
    assert "13348 vertices" in said and "200 steps of Adam in PyTorch" in said
    monkeypatch.setattr(body, "_FIT_MM", 0.0)
    with pytest.raises(AccuracyError, match="mm from scans of bodies on average"):
        run_suites(device, ("body.fit",), 1)
    monkeypatch.setattr(body, "torch_network", lambda *_: None)
    found = {metric.key for metric in run_suites(device, ("body.decode",), 1)}
    assert found == {"body.decode.p50_ms", "body.decode.p99_ms"}
    assert "torch is not installed" in capsys.readouterr().err


def test_adam_nears_a_body_that_it_is_given() -> None:
    torch = needs("torch", "pip install 'bodystream[train]'")
    from bodystream_bench.peers.torch_body import adam_steps, torch_network

    mesh = bar_person(0)
    space, network = AcapSpace(mesh), torch_network(len(mesh.vertices), 4, 5, 7, rank=6)
    with torch.inference_mode():
        shape, pose = (torch.full((1, size), 0.8) for size in (5, 7))
        wanted = space.vertices(network.scale.unscaled(network.decode(shape, pose).f)[0].double().numpy())
    step = adam_steps(network, space, wanted - wanted.mean(axis=0) + (0.1, 0.0, 0.0), 1)
    losses = [step() for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]


def test_surfaces_grow_with_what_their_vertices_carry() -> None:
    rig = fit_rig(load_rig()).skin
    grown = grown_skin(rig, 20_000)
    mesh, fine = (trimesh.Trimesh(skin.mesh.vertices, skin.mesh.faces, process=False) for skin in (rig, grown))
    assert len(grown.mesh.vertices) == 20_000
    assert fine.area == pytest.approx(mesh.area, rel=1e-4) and fine.euler_number == mesh.euler_number
    near = np.linalg.norm(fine.vertices[fine.faces] - fine.vertices[np.roll(fine.faces, 1, 1)], axis=-1)
    assert near.max() <= mesh.edges_unique_length.max() + 1e-6
    np.testing.assert_allclose(grown.weights.sum(1), 1.0, atol=1e-5)
    coarse, faces = grown_faces(np.array([[0, 1, 2]]), 3, 8)
    assert coarse.shape == (8, 3) and len(faces) == 8 and len(np.unique(faces)) == 8
    with pytest.raises(InputError, match="more than the 10 that are wanted"):
        grown_faces(rig.mesh.faces, len(rig.mesh.vertices), 10)


def test_every_suite_is_importable_and_runs_something() -> None:
    import importlib

    for module in SUITES.values():
        assert callable(importlib.import_module(module).run)


def test_timings_leave_warm_up_and_preparation_out() -> None:
    calls = {"before": 0, "step": 0}

    def count(name: str) -> None:
        calls[name] += 1

    timing = measure(lambda: count("step"), 30, before=lambda: count("before"), warm_up=7)
    assert calls == {"before": 37, "step": 37}
    assert 0 <= timing.p50_ms <= timing.p99_ms


def test_wrong_results_give_no_figures() -> None:
    expect(True, "fine")
    with pytest.raises(AccuracyError, match="off by a metre"):
        expect(False, "off by a metre")


@pytest.fixture
def no_recordings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BODYSTREAM_DATA", str(tmp_path))


DRIVE_KEYS = {f"drive.{figure}" for figure in ("p50_ms", "p99_ms", "paced.p50_ms", "paced.p99_ms", "error_mm")} | {
    f"drive.skinning.{figure}" for figure in ("p50_ms", "p99_ms", "speedup_vs_numpy")
}


@pytest.mark.usefixtures("no_recordings")
def test_driving_is_measured_without_recordings_and_peers() -> None:
    """The keys that scripts rely on are there, and each figure was checked to be of a right result."""
    only = ("pose.sample.p50_ms", "pose.sample.p99_ms", "pose.refine", "drive")
    metrics = {metric.key: metric for metric in run_suites(select_device("cpu"), only, 4)}
    assert set(metrics) == DRIVE_KEYS | {
        "pose.sample.p50_ms", "pose.sample.p99_ms", "pose.refine.p50_ms", "pose.refine.p99_ms", "pose.refine.error_mm",
    }  # fmt: skip
    assert all(metric.value > 0 for metric in metrics.values())
    assert metrics["drive.error_mm"].value < 5 and metrics["pose.refine.error_mm"].value < 5


def test_sending_is_measured() -> None:
    metrics = {metric.key: metric for metric in run_suites(select_device("cpu"), ("vmc",), 5)}
    assert set(metrics) == {"vmc.send.p50_ms", "vmc.send.p99_ms"}
    assert all(metric.value > 0 for metric in metrics.values())


def test_the_ways_to_other_programs_are_measured() -> None:
    metrics = {metric.key: metric for metric in run_suites(select_device("cpu"), ("shm", "network"), 20)}
    wanted = set() if shutil.which("cc") is None else {"shm.latency.p50_ms", "shm.latency.p99_ms", "shm.read.mean_us"}
    if importlib.util.find_spec("zenoh") is not None:
        wanted |= {"network.latency.p50_ms", "network.latency.p99_ms"}
    assert set(metrics) == wanted
    assert all(metric.value > 0 for metric in metrics.values())


def test_torch_gives_a_pose_of_the_size_that_ours_has() -> None:
    step = torch_sampler(np.zeros((3, 55)), np.zeros(10), 1)
    if step is None:
        pytest.skip("torch is not installed")
    pose = step()
    assert pose.shape == (66,) and np.isfinite(pose).all()
    np.testing.assert_array_equal(step(), pose)


def test_the_made_up_motion_is_smooth_stands_on_the_floor_and_is_always_the_same() -> None:
    clip, again = smooth_motion(450), smooth_motion(450)
    assert np.array_equal(clip.rotations_xyzw, again.rotations_xyzw)
    joints, _ = clip.joints()
    np.testing.assert_allclose(joints[..., 1].min(axis=1), 0.02, atol=1e-5)
    speed = np.linalg.norm(np.diff(joints, axis=0), axis=-1) * clip.rate_hz
    assert 0.2 < speed[:, [HEAD, LEFT_HAND, RIGHT_HAND]].mean() and speed.max() < 6.0
    assert np.linalg.norm(np.diff(joints, 2, axis=0), axis=-1).max() * clip.rate_hz**2 < 60.0
    assert joints[:, HEAD, 1].min() > 1.2 and (joints[:, HEAD, 1] > joints[:, 0, 1]).all()


def small_problem() -> TrackingProblem:
    rng = np.random.default_rng(0)
    nodes = rng.uniform([-0.3, -0.3, 1.2], [0.3, 0.3, 1.5], (12, 3)).astype(np.float32)
    anchors = np.stack([rng.permutation(12)[:4] for _ in range(300)])
    weights = rng.uniform(0.1, 1, (300, 4))
    weights /= weights.sum(axis=1, keepdims=True)
    anchors[::5, 2:], weights[::5] = anchors[::5, :1], [0.6, 0.4, 0.0, 0.0]
    points = rng.uniform([-0.3, -0.3, 1.2], [0.3, 0.3, 1.5], (300, 3))
    edges = np.array([(i, j) for i in range(12) for j in rng.permutation(12)[:4] if i != j])
    camera = CameraIntrinsics(500.0, 510.0, 320.0, 240.0, 640, 480)
    moved = points @ matrix_from_rotation_vector(np.array([0.1, 0.05, -0.1])).T + [0.05, 0.02, 0.0]
    pixels = moved[:, :2] / moved[:, 2:] * [camera.fx, camera.fy] + [camera.cx, camera.cy]
    return TrackingProblem(points, anchors, weights, nodes, edges, pixels, moved[:, 2], camera, (0.001, 1.0, 1.0))


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 1e-3)])
def test_dense_peer_solves_what_the_reference_solves(dtype: type, tolerance: float) -> None:
    p = small_problem()
    rotations, translations = DenseGaussNewton(p, dtype).solve(3)
    expected = dense_gauss_newton.solve(
        p.points, p.target_px, p.target_depth_m, np.ones(len(p.points)), p.anchors, p.weights,
        p.nodes, p.edges, p.intrinsics, p.lambdas,
    )  # fmt: skip
    np.testing.assert_allclose(rotations, expected[0], atol=tolerance)
    np.testing.assert_allclose(translations, expected[1], atol=tolerance)
    assert rotations.dtype == dtype and np.abs(translations).max() > 0.01


@pytest.mark.parametrize("make", [numpy_skinning, torch_skinning])
def test_skinning_peers_blend_like_the_formula(make) -> None:
    rng = np.random.default_rng(1)
    rotations = matrix_from_rotation_vector(rng.normal(0, 1, (9, 3))).astype(np.float32)
    weights = rng.uniform(0, 1, (50, 4)).astype(np.float32)
    weights /= weights.sum(axis=1, keepdims=True)
    problem = SkinningProblem(
        rng.normal(0, 1, (50, 3)).astype(np.float32), rng.integers(0, 9, (50, 4)).astype(np.int32), weights,
        rng.normal(0, 1, (9, 3)).astype(np.float32), rotations, rng.normal(0, 1, (9, 3)).astype(np.float32),
    )  # fmt: skip
    step = make(problem)
    if step is None:
        pytest.skip("torch is not installed")
    expected = dense_gauss_newton.warp(
        problem.vertices, problem.anchors, weights, problem.nodes, rotations, problem.translations
    )
    np.testing.assert_allclose(step(), expected, atol=5e-6)


@pytest.mark.usefixtures("no_recordings")
def test_generated_surface_has_the_size_of_the_recorded_one_and_is_always_the_same() -> None:
    surface, again = matched_surface(), matched_surface()
    assert surface.name == "generated" and 45_000 < surface.matched.sum() < 60_000
    for name in ("target_px", "target_depth_m", "truth"):
        assert np.array_equal(getattr(surface, name), getattr(again, name))
    camera = surface.intrinsics
    inside = (surface.target_px >= 0).all(axis=1) & (surface.target_px <= [camera.width - 1, camera.height - 1]).all(
        axis=1
    )
    assert inside.mean() > 0.95
    still_mm = np.linalg.norm(surface.truth - surface.mesh.points, axis=1).mean() * 1e3
    assert still_mm > 100
    _, graph = graph_of(surface, NODES)
    assert abs(len(graph.positions) - NODES) <= 3


@pytest.mark.usefixtures("no_recordings")
def test_generated_person_moves_as_its_nodes_say() -> None:
    """The true vertices of the body follow the nearest nodes' motion."""
    subject = moving_person(40, select_device("cpu"))
    assert subject.name == "synthetic camera" and len(subject.frames) == len(subject.motions) == 40
    first, last = subject.frames[0].truth, subject.frames[-1].truth
    assert first is not None and last is not None
    rotations, translations = subject.motions[-1]
    nodes = subject.graph.positions
    nearest = subject.graph.nearest
    rest: Array = first.mesh.vertices
    moved = np.einsum("vij,vj->vi", rotations[nearest], rest - nodes[nearest]) + nodes[nearest] + translations[nearest]
    off = np.linalg.norm(moved - last.mesh.vertices, axis=1)
    assert np.linalg.norm(rest - last.mesh.vertices, axis=1).max() > 0.1
    assert np.median(off) < 0.005
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0, atol=1e-5)
    still, zero = subject.motions[0]
    np.testing.assert_allclose(still, np.tile(np.eye(3), (len(still), 1, 1)), atol=1e-4)
    np.testing.assert_allclose(zero, 0.0, atol=1e-5)


def test_recording_is_measured_beside_capture() -> None:
    metrics = {metric.key: metric for metric in run_suites(select_device("cpu"), ("record",), 8)}
    assert set(metrics) == {"record.mb_s", "record.rate_ratio"}
    assert 1.0 < metrics["record.mb_s"].value < 30.0
    assert 0.1 < metrics["record.rate_ratio"].value < 10.0
    assert (metrics["record.mb_s"].direction, metrics["record.rate_ratio"].direction) == ("lower", "higher")
