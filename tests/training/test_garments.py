"""Clothes: patterns cut and sewn, cloth simulated, takes generated."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial import KDTree

from bodystream.avatar.take.canonical import canonical_rotations, matrices_of_pose
from bodystream.avatar.take.checks import open_edges
from bodystream.avatar.take.files import load_take, load_truth
from bodystream.errors import ConfigurationError, MissingDependencyError
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.rotations import quaternion_from_matrix, turn_about
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS
from bodystream_training.avatar.data.garments import generate
from bodystream_training.avatar.data.garments.cloth import ClothConfig, ClothPiece, ClothSimulation, import_newton
from bodystream_training.avatar.data.garments.dressing import Dressed, loop_subdivision, pushed_out
from bodystream_training.avatar.data.garments.generate import DEEPEST_M, Generator, GeneratorConfig, read_log
from bodystream_training.avatar.data.garments.motions import PieceOfMotion, read_pieces, worn_motion
from bodystream_training.avatar.data.garments.panels import Panel, sew
from bodystream_training.avatar.data.garments.patterns import OUTFITS
from bodystream_training.avatar.data.garments.wearer import Wearer
from bodystream_training.avatar.data.surface import QuerySurface
from bodystream_training.cli import main
from helpers.headset_takes import write_bvh
from helpers.needs import needs

OPENINGS = {"shirt": 4, "shorts": 3, "dress": 4, "jacket": 3}
QUICK = ClothConfig(substeps=2, iterations=3, advance_m=1.0, cloth_gap_m=0.0)


@pytest.fixture(scope="module")
def wearer() -> Wearer:
    return Wearer(1, 0, OUTFITS["shirt-and-shorts"].paint)


@pytest.fixture(scope="module")
def newton() -> None:
    needs("newton", "pip install 'bodystream[garments]'")


def arms_down(frames: int, skeleton: object, name: str = "stand") -> MotionClip:
    """Arms hang against the trunk, the body turns a little."""
    rotations = np.tile(np.eye(3), (frames, len(JOINTS), 1, 1))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        rotations[:, JOINT_INDEX[f"{side}_shoulder"]] = turn_about(np.array([0, 0, 1.0]), sign * np.radians(88))
    for frame in range(frames):
        rotations[frame, 0] = turn_about(np.array([0, 1.0, 0]), 0.3 + 0.01 * frame)
    roots = np.tile(np.array([1.0, 0.95, 2.0], np.float32), (frames, 1))
    return MotionClip(name, "s", 30.0, skeleton, quaternion_from_matrix(rotations).astype(np.float32), roots)


def loops(faces: np.ndarray) -> int:
    """Rims of a surface."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    _, first, counts = np.unique(np.sort(edges, axis=1), axis=0, return_index=True, return_counts=True)
    groups = trimesh.graph.connected_components(edges[first[counts == 1]], min_len=3)
    return len(groups)


@pytest.mark.parametrize("outfit", list(OUTFITS))
def test_patterns_are_sewn_to_even_surfaces_with_their_openings(outfit: str) -> None:
    subject = 1 + list(OUTFITS).index(outfit)
    measures = Wearer(subject, 0, OUTFITS[outfit].paint).measures
    total = 0
    for garment in OUTFITS[outfit].garments:
        cloth = sew(garment.panels(measures), garment.spacing_m * measures.scale)
        total += len(cloth.flat)
        mesh = trimesh.Trimesh(np.column_stack([cloth.flat, cloth.side * cloth.bulge]), cloth.faces, process=False)
        assert mesh.is_winding_consistent and mesh.body_count == 1
        assert loops(cloth.faces) == OPENINGS[garment.name]
        # a sphere with n holes has Euler's number 2 - n; the jacket's neck, front and hem are one hole
        assert mesh.euler_number == 2 - OPENINGS[garment.name]
        corners = cloth.flat[cloth.faces]
        lengths = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2) / (garment.spacing_m * measures.scale)
        assert lengths.min() > 0.45 and lengths.max() < 1.75
        front = mesh.triangles_center[:, 2] < -0.05
        assert (mesh.face_normals[front, 2] < 0.1).mean() > 0.99  # outwards
    assert 1000 <= total <= 2500


def test_two_strips_blow_up_to_a_tube() -> None:
    outline = np.array([(-0.2, -0.6), (0.2, -0.6), (0.2, 0.6), (-0.2, 0.6)])
    strips = [Panel(outline, (False, True, False, True), front) for front in (True, False)]
    cloth = sew(strips, 0.03)
    middle = (np.abs(cloth.flat[:, 1]) < 0.2) & (cloth.side != 0)
    round_m = np.sqrt(0.2**2 - cloth.flat[middle, 0] ** 2)
    assert np.abs(cloth.bulge[middle] - round_m).max() < 0.015
    assert (cloth.bulge[cloth.side == 0] == 0).all()


def test_loop_subdivision_is_that_of_trimesh() -> None:
    for mesh in (trimesh.creation.icosphere(1), trimesh.creation.icosphere(2)):
        mesh.update_faces(mesh.triangles_center[:, 2] < 0.5)  # a bowl
        mesh.remove_unreferenced_vertices()
        finer, fine_faces = loop_subdivision(mesh.faces, len(mesh.vertices))
        wanted, wanted_faces = trimesh.remesh.subdivide_loop(mesh.vertices, mesh.faces)
        np.testing.assert_allclose(np.asarray(finer.sum(axis=1)).ravel(), 1.0)
        got = finer @ mesh.vertices
        assert got.shape == wanted.shape and fine_faces.shape == wanted_faces.shape
        distance, _ = KDTree(wanted).query(got)
        assert distance.max() < 1e-9
        area = [trimesh.Trimesh(v, f, process=False).area for v, f in ((got, fine_faces), (wanted, wanted_faces))]
        assert area[0] == pytest.approx(area[1])


def test_cloth_is_pushed_out_of_what_it_is_in() -> None:
    ball = trimesh.creation.icosphere(4, 0.3)
    sheet = trimesh.creation.icosphere(3, 0.31)
    vertices = sheet.vertices.copy()
    vertices[:40] *= 0.28 / 0.31
    out = pushed_out(QuerySurface(ball.vertices, ball.faces), vertices, sheet.faces, 0.004)
    assert np.linalg.norm(out, axis=1).min() > 0.3035 and np.linalg.norm(out, axis=1).max() < 0.335
    far = np.linalg.norm(sheet.vertices - sheet.vertices[:40].mean(axis=0), axis=1) > 0.4
    np.testing.assert_array_equal(out[far], vertices[far])
    kept = pushed_out(QuerySurface(ball.vertices, ball.faces), vertices, sheet.faces, 0.004, reach_m=0.005)
    assert np.linalg.norm(kept[:40], axis=1).min() < 0.29


def test_motions_begin_in_the_canonical_pose_with_arms_clear(wearer: Wearer) -> None:
    clip = arms_down(20, wearer.skeleton)
    worn = worn_motion(PieceOfMotion("stand", clip), wearer, 60.0, 1.0, start_s=0.2, hold_s=0.1)
    assert worn.begins == 18 and len(worn) == 18 + 39
    np.testing.assert_allclose(worn.rotations[0], canonical_rotations(), atol=1e-6)
    np.testing.assert_allclose(worn.root_positions_m[worn.begins, (0, 2)], 0.0, atol=1e-6)
    assert worn.root_positions_m[0, 1] == pytest.approx(
        0.95 * wearer.skeleton.pelvis_height_m / clip.skeleton.pelvis_height_m
    )
    body = wearer.surface(worn.rotations[-1], np.zeros(3))
    arms = np.isin(wearer.main_bones, [JOINT_INDEX[f"{s}_{p}"] for s in ("left", "right") for p in ("elbow", "wrist")])
    trunk = np.isin(wearer.main_bones, [JOINT_INDEX[p] for p in ("pelvis", "spine1", "left_hip", "right_hip")])
    assert KDTree(body[trunk]).query(body[arms])[0].min() > 0.035
    hanging = wearer.surface(matrices_of_pose(clip.rotations_xyzw[-1]), np.zeros(3))
    assert KDTree(hanging[trunk]).query(hanging[arms])[0].min() < 0.035


def test_motions_are_chosen_by_name_and_seconds(tmp_path: Path, wearer: Wearer) -> None:
    write_bvh(tmp_path / "walk.bvh", arms_down(91, wearer.skeleton), 30.0)
    whole, part = read_pieces(f"bvh:{tmp_path}", ("walk", "walk@1-2"))
    assert whole.clip.duration_s == pytest.approx(3.0, abs=0.05) and part.clip.duration_s == pytest.approx(
        1.0, abs=0.05
    )
    for words, message in (
        (("run",), "has no motion run"),
        (("walk@2",), "give NAME or NAME@START-END"),
        (("walk@2-9",), "lasts 3"),
        (("walk@1-1.2",), "too short"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            read_pieces(f"bvh:{tmp_path}", words)


def sheet_of_cloth(size_m: float, spacing_m: float, y: float) -> ClothPiece:
    half = size_m / 2
    outline = np.array([(-half, -half), (half, -half), (half, half), (-half, half)])
    cloth = sew([Panel(outline, (False,) * 4, front=False)], spacing_m)
    positions = np.column_stack([cloth.flat[:, 0], np.full(len(cloth.flat), y), -cloth.flat[:, 1]])
    return ClothPiece(cloth.flat, cloth.faces, positions, 0.01, 3e-4, np.zeros(len(cloth.flat), bool))


@pytest.mark.usefixtures("newton")
def test_cloth_falls_as_bodies_do() -> None:
    far = trimesh.creation.icosphere(1, 0.1).apply_translation((0, -50, 0))
    piece = sheet_of_cloth(0.3, 0.05, 0.0)
    config = ClothConfig(drag_per_s=0.0)
    assert config.fastest_m_s > 9.81 * 0.2
    for sideways in (0.0, 3.0):
        simulation = ClothSimulation([piece], far.vertices, far.faces, config)
        for _ in range(12):
            simulation.step(far.vertices, acceleration_m_s2=np.array([-sideways, 0.0, 0.0]))
        fallen = simulation.positions[0] - piece.positions
        np.testing.assert_allclose(fallen[:, 1], -0.5 * 9.81 * 0.2**2, rtol=0.03)  # by steps of 1/480 s
        np.testing.assert_allclose(fallen[:, 0], 0.5 * sideways * 0.2**2, rtol=0.03, atol=1e-3)
        assert np.abs(fallen[:, 2]).max() < 1e-3


@pytest.mark.usefixtures("newton")
def test_cloth_drapes_over_a_ball_and_is_carried_by_it() -> None:
    ball = trimesh.creation.icosphere(4, 0.2)

    def run(steps: int) -> list[np.ndarray]:
        simulation = ClothSimulation([sheet_of_cloth(0.7, 0.05, 0.215)], ball.vertices, ball.faces)
        out = []
        for step in range(steps):
            up = 0.01 * max(0, step - 23)
            simulation.step(ball.vertices + (0.0, up, 0.0), 6.0)
            out.append(simulation.positions[0] - np.float32((0.0, up, 0.0)))
        return out

    frames = run(36)
    for drape in (frames[23], frames[-1]):
        radius = np.linalg.norm(drape, axis=1)
        assert radius.min() > 0.2 and radius.max() < 0.6  # outside of the ball, near it
        assert drape[:, 1].min() < 0.12  # the rim hangs
        on_top = np.linalg.norm(drape[:, [0, 2]], axis=1) < 0.06
        assert on_top.any() and np.abs(radius[on_top] - 0.21).max() < 0.008
    np.testing.assert_array_equal(frames[8], run(9)[-1])  # the same bits


@pytest.mark.usefixtures("newton")
def test_pinned_cloth_stays_with_the_skin() -> None:
    ball = trimesh.creation.icosphere(3, 0.2)
    piece = sheet_of_cloth(0.3, 0.05, 0.205)
    pinned = np.linalg.norm(piece.flat, axis=1) < 0.05
    held = ClothPiece(piece.flat, piece.faces, piece.positions, 0.01, 3e-4, pinned)
    simulation = ClothSimulation([held], ball.vertices, ball.faces)
    turn = turn_about(np.array([1.0, 0.0, 0.0]), np.radians(40))
    before = simulation.positions[0][pinned]
    for part in np.linspace(0, 1, 8):
        now = turn_about(np.array([1.0, 0.0, 0.0]), np.radians(40 * part))
        simulation.step(ball.vertices @ now.T)
        if part == 0:
            before = simulation.positions[0][pinned]
    np.testing.assert_allclose(simulation.positions[0][pinned], before @ turn.T, atol=1e-4)


SHORT = {"start_s": 0.05, "hold_s": 0.02, "settle_s": 0.05}


@pytest.fixture(scope="module")
def motions(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Files of two motions, a and b."""
    folder = tmp_path_factory.mktemp("motions")
    skeleton = Wearer(2, 0, OUTFITS["dress"].paint).skeleton
    for name in ("a", "b"):
        write_bvh(folder / f"{name}.bvh", arms_down(17, skeleton, name), 30.0)
    return f"bvh:{folder}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, newton: None, motions: str) -> Iterator[tuple[Path, Generator]]:
    """A take that the command made, of few frames and hardly settled clothes, and its generator."""
    folder = tmp_path_factory.mktemp("take")
    words = ["garments", "--out", str(folder), "--motion", motions, "--subject", "2", "--outfit", "dress", "--json"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "ClothConfig", lambda: QUICK)
        patch.setattr(generate, "GeneratorConfig", partial(GeneratorConfig, **SHORT))
        with redirect_stdout(StringIO()) as said:
            assert main([*words, "--train", "a", "--test", "b", "--speed", "3"]) == 0
    (folder / "report.json").write_text(said.getvalue().splitlines()[-1])
    yield folder, quick_generator(folder, motions)


def quick_generator(folder: Path, motions: str, **changes: object) -> Generator:
    settings: dict = {"rate_hz": 12.0, "speed": 3.0} | SHORT | changes
    config = GeneratorConfig(2, "dress", ("a",), ("b",), **settings)
    return Generator(folder, config, read_pieces(motions, ("a",)), read_pieces(motions, ("b",)), QUICK)


def test_a_generated_take_is_one_that_is_read(made: tuple[Path, Generator]) -> None:
    folder, generator = made
    take, truth = load_take(folder), load_truth(folder)
    assert len(take) == generator.frames - generator.left_out > 4
    report = json.loads((folder / "report.json").read_text())
    assert (report["frames"], report["left_out"]) == (len(take), generator.left_out)
    assert report["vertices"] == len(take.frames[0].vertices) and 0 <= report["deepest_mm"] <= 1e3 * DEEPEST_M
    assert (folder / "sheet.png").stat().st_size > 1000 and (folder / "strip.png").stat().st_size > 1000
    assert take.motions == {"train": ("a",), "test": ("b",)} and len(take.split("test")) > 1
    assert (take.subject, take.outfit, take.rate_hz) == ("2", "dress", 12.0)
    assert len(take.notes) == 1 and "not watertight" in take.notes[0]
    count = len(take.frames[0].vertices)
    assert take.skin_weights is not None and take.colours is not None and take.faces is not None
    assert len(truth.canonical_vertices) == len(take.colours) == len(take.skin_weights) == count
    np.testing.assert_allclose(take.skin_weights.sum(axis=1), 1.0, atol=1e-5)
    # the first frame is one step from the canonical pose, at the height of the motion
    first = take.frames[0].about_pelvis()
    body = ~truth.garment
    assert np.abs(first.vertices - truth.canonical_vertices)[body].max() < 0.005
    np.testing.assert_allclose(first.posed_from_canonical, np.tile(np.eye(4), (24, 1, 1)), atol=0.01)
    assert 0.2 < truth.garment.mean() < 0.5 and truth.outer[truth.garment].mean() > 0.9
    belly = np.abs(truth.canonical_vertices[:, 1] - take.rest_joints_m[6, 1]) < 0.06
    assert (body & belly).sum() > 100 and not truth.outer[body & belly].any()  # under the dress


def test_no_cloth_is_below_the_skin_by_more_than_the_bound(made: tuple[Path, Generator]) -> None:
    folder, generator = made
    take, truth = load_take(folder), load_truth(folder)
    frame = take.split("test")[-1]
    skin = trimesh.Trimesh(frame.vertices[~truth.garment], generator.wearer.faces, process=False)
    cloth = frame.vertices[truth.garment].astype(np.float64)
    # independent of the mesh queries: beside the nearest vertex of the skin, along its normal
    _, near = KDTree(skin.vertices).query(cloth)
    depth = -((cloth - skin.vertices[near]) * skin.vertex_normals[near]).sum(axis=1)
    assert np.percentile(depth, 99.9) < 0.002 and depth.max() < DEEPEST_M + 0.01
    assert all(line["deepest_mm"][1] <= 1e3 * DEEPEST_M for line in read_log(folder) if line["kept"])


def test_a_take_that_was_stopped_is_gone_on_with_to_the_same_bits(
    made: tuple[Path, Generator], motions: str, tmp_path: Path
) -> None:
    folder, _ = made
    said: list[int] = []
    stopped = quick_generator(tmp_path, motions)
    whole_motion = len(stopped.plans[0].kept)
    assert not stopped.run(lambda done, *_: said.append(done), lambda: len(said) > whole_motion)
    (tmp_path / "frames" / f"{whole_motion:06}.npz").unlink(missing_ok=True)
    again = quick_generator(tmp_path, motions)
    assert again.done == whole_motion
    assert again.run(lambda *_: None)
    for one, other in zip(load_take(folder).frames, load_take(tmp_path).frames, strict=True):
        np.testing.assert_array_equal(one.vertices, other.vertices)
    with pytest.raises(ConfigurationError, match=r"a take of other settings \(speed\)"):
        quick_generator(tmp_path, motions, speed=2.0)


def test_what_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no subject 9"):
        Wearer(9, 0, OUTFITS["dress"].paint)
    with pytest.raises(ConfigurationError, match="no outfit tutu"):
        Generator(tmp_path, GeneratorConfig(1, "tutu", (), ()), [], [])
    with pytest.raises(ConfigurationError, match="a whole part"):
        Generator(tmp_path, GeneratorConfig(1, "dress", (), (), rate_hz=25.0), [], [])


def test_without_newton_the_command_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "newton", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'bodystream\[garments\]'"):
        import_newton()


def test_pictures_show_the_person(made: tuple[Path, Generator], tmp_path: Path) -> None:
    import cv2

    from bodystream_training.avatar.data.garments.sheets import draw_frame, write_sheet, write_strip

    take = load_take(made[0])
    image = draw_frame(take, take.frames[-1], 200, 0.0)
    seen = (image != image[0, 0]).any(axis=2)
    assert 0.05 < seen.mean() < 0.4
    rows = np.flatnonzero(seen.any(axis=1))
    assert rows[0] < 60 and rows[-1] > 140  # head to feet
    write_sheet(tmp_path / "sheet.png", take, take.frames[:3], columns=2, height_px=120)
    write_strip(tmp_path / "strip.png", take, take.frames[-2:], height_px=120)
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[0] == 240
    assert cv2.imread(str(tmp_path / "strip.png")).shape[0] == 240
    assert json.loads((made[0] / "generator.json").read_text())["config"]["outfit"] == "dress"


def test_open_edges_of_a_dressed_body_are_its_clothes(wearer: Wearer) -> None:
    dressed = Dressed(wearer, OUTFITS["shirt-and-shorts"])
    lips = open_edges(wearer.faces)
    assert loops(wearer.faces) == 1 and lips < 100, "closed but for the mouth"
    assert lips < open_edges(dressed.faces) < 1000


def command(tmp_path: Path, *words: str) -> int:
    return main(["garments", "--out", str(tmp_path / "take"), "--motion", f"bvh:{tmp_path}", *words])


def test_the_command_names_what_is_wrong(
    tmp_path: Path, wearer: Wearer, newton: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bvh(tmp_path / "walk.bvh", arms_down(40, wearer.skeleton), 30.0)
    for words, message in (
        (("--train", "walk", "--test", "walk"), "--test others"),
        (("--train", "run"), "has no motion run"),
        (("--train", "walk", "--test", "walk@0-1", "--speed", "9"), "--speed must be 0.1 to 3"),
        (("--train", "walk", "--test", "walk@0-1", "--rate-hz", "7"), "a whole part"),
    ):
        assert command(tmp_path, *words) == 2
        assert message in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "newton", None)
    assert command(tmp_path, "--train", "walk", "--test", "walk@0-1") == 2
    assert "pip install 'bodystream[garments]'" in capsys.readouterr().err


def test_ctrl_c_ends_the_command_between_two_frames(
    tmp_path: Path, wearer: Wearer, newton: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bvh(tmp_path / "walk.bvh", arms_down(40, wearer.skeleton), 30.0)
    monkeypatch.setattr(generate, "ClothConfig", lambda: QUICK)
    settle = generate.ClothSimulation.step
    steps: list[int] = []

    def step(self: ClothSimulation, *words: object, **named: object) -> None:
        steps.append(1)
        if len(steps) == 3:
            signal.raise_signal(signal.SIGINT)
        settle(self, *words, **named)

    monkeypatch.setattr(generate.ClothSimulation, "step", step)
    assert command(tmp_path, "--outfit", "dress", "--train", "walk", "--test", "walk@0-1") == 130
    assert len(steps) == 3 and "the same command goes on" in capsys.readouterr().err
