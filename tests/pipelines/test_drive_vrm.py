"""`drive --avatar me.vrm` and `DriveConfig(avatar=...)`: the avatar is driven, shown, written, and recovered."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.avatar import VrmAvatar
from bodystream.cli.main import main
from bodystream.pipelines.drive.files import DriveFiles
from bodystream.pipelines.drive.pipeline import DriveConfig, Driver, DriveResult
from bodystream.pipelines.drive.session import DriveSession
from bodystream.pipelines.drive.view import DriveView
from bodystream.pipelines.drive.viewer import BodyViewerSink
from bodystream.pipelines.recovery import recover_folder
from bodystream.sinks.base import Occasion
from bodystream.sinks.viewer import BodyViewer
from bodystream.sinks.viewer.body_page import BodyPage
from helpers.drive_parts import ESTIMATOR, new_driver, samples_of
from helpers.gltf_player import Player
from helpers.headset_motions import walking
from helpers.headset_takes import write_bvh
from helpers.vrm_files import BUILDS, write_vrm
from sinks.test_bvh_recorder import read as read_bvh_of_others

CLIP = walking(0.6)
RATE_HZ = 45.0


@pytest.fixture(scope="module")
def vrm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vrm(tmp_path_factory.mktemp("vrm") / "me.vrm", BUILDS["short"](), version="0", textured=True)


@pytest.fixture(scope="module")
def driver(vrm: Path):
    made = new_driver(avatar=vrm, skeleton=CLIP.skeleton, estimator=replace(ESTIMATOR, smooth=False))
    yield made
    made.close()


def driven(driver: Driver) -> list[DriveResult]:
    driver.estimator.reset(CLIP.skeleton)
    driver.checker._last_t_ns = None
    results = [driver.step(sample) for sample in samples_of(CLIP, rate_hz=RATE_HZ)]
    return [result for result in results if result is not None]


def test_the_page_shows_the_avatar_where_it_stands(driver: Driver) -> None:
    (*_, result) = driven(driver)
    avatar = driver.avatar
    assert isinstance(avatar, VrmAvatar) and driver.avatar_label.endswith("me.vrm")
    viewer = BodyViewer(driver.skin, port=0)
    page, sink = viewer._page, BodyViewerSink(viewer, driver.skin)
    assert isinstance(page, BodyPage)
    page._panel._switches["follow"].value = False
    page._panel._changed = True
    view = DriveView(Occasion.RESULT, result, driver)
    state = sink.prepare(view)
    assert state is not None and state.sample is not None and state.sample.head is not None
    page.show(state)
    assert page._skinned is not None
    assert [part.color for part in page._skinned.parts] == [part.colour for part in avatar.model.skin.parts]
    assert 2 <= len(page._skinned.parts) <= 8
    assert page.bytes_sent < avatar.model.skin.mesh.vertices.nbytes / 10
    # What a browser's graphics card makes of each part is what the avatar's kernels make of the pose.
    mesh = avatar.pose(result.pose.rotations_xyzw, result.pose.root_position_m)
    for part, node in zip(avatar.model.skin.parts, page._skinned.parts, strict=True):
        used = np.unique(mesh.faces[part.start : part.end])
        np.testing.assert_allclose(_on_the_page(node), mesh.vertices[used], atol=2e-5)
    # Headset and skeleton are beside it, in its size.
    head = result.sample.head
    assert head is not None and view.scale < 0.75
    np.testing.assert_allclose(state.sample.head.position_m, head.position_m * view.scale)
    np.testing.assert_allclose(state.joints_m[0], state.pose.root_position_m, atol=1e-6)
    assert np.linalg.norm(state.joints_m[15] - state.sample.head.position_m) < 0.12
    sink.close()


def _on_the_page(node) -> np.ndarray:
    turns = Rotation.from_quat(np.roll([b.wxyz for b in node.bones], -1, axis=-1)).as_matrix()
    places = np.array([b.position for b in node.bones])
    bind = Rotation.from_quat(np.roll(node.bone_wxyzs, -1, axis=-1)).as_matrix()
    out = np.zeros_like(node.vertices, np.float64)
    for influence in range(4):
        bone = node.skin_indices[:, influence]
        local = np.einsum("vji,vj->vi", bind[bone], node.vertices - node.bone_positions[bone])
        weight = node.skin_weights[:, influence, None]
        out += weight * (np.einsum("vij,vj->vi", turns[bone], local) + places[bone])
    return out


def test_a_session_takes_the_avatar_and_a_calibration_keeps_it(vrm: Path) -> None:
    session = DriveSession(None, DriveConfig(estimator=ESTIMATOR), avatar=str(vrm), device="cpu")
    with session:
        for sample in samples_of(CLIP, rate_hz=RATE_HZ):
            session.push(sample)
        mesh = session.posed_mesh()
        assert session.report.bundles["body"] == str(vrm)
    height = np.ptp(mesh.vertices[:, 1])
    assert 0.8 < height < 1.3, "it is as short as it was made"
    assert abs(mesh.vertices[:, 1].min()) < 0.01


def test_the_command_writes_all_three(vrm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    write_bvh(tmp_path / "walk.bvh", CLIP)
    words = ["drive", "--headset", "motion:walk.bvh?rate_hz=45", "--headless", "--pace", "all"]
    code = main([*words, "--avatar", str(vrm), "--out", "out", "--report", "r.json"])
    said = capsys.readouterr().err
    assert code == 0, said
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["driven.bvh", "driven.glb", "driven.vrma", "headset.csv"]
    for path in out.iterdir():
        assert f"wrote out/{path.name}" in said
    assert json.loads((tmp_path / "r.json").read_text())["bundles"]["body"] == str(vrm)
    # The same motion in all of them: joints of the avatar, frame by frame.
    joints, period_s, numbers = read_bvh_of_others(out / "driven.bvh")
    assert period_s == pytest.approx(1.0 / RATE_HZ, abs=1e-6)
    glb, vrma = Player(out / "driven.glb"), Player(out / "driven.vrma")
    names = {node.name: number for number, node in enumerate(glb.gltf.nodes)}
    bones = vrma.gltf.extensions["VRMC_vrm_animation"]["humanoid"]["humanBones"]
    for k in (0, 10, len(numbers) - 1):
        t_s = k / RATE_HZ
        for joint, bone in (
            ("pelvis", "hips"),
            ("head", "head"),
            ("left_ankle", "leftFoot"),
            ("right_wrist", "rightHand"),
        ):
            place = joints[joint][k] / 100.0
            for player, node in ((glb, names[f"J_{joint}"]), (vrma, bones[bone]["node"])):
                np.testing.assert_allclose(player.matrix(node, t_s)[:3, 3], place, atol=2e-4)


def test_an_avatar_that_cannot_be_driven_is_told_in_a_line(
    vrm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_bvh(tmp_path / "walk.bvh", CLIP)
    (tmp_path / "cut.vrm").write_bytes(vrm.read_bytes()[:5000])
    assert main(["drive", "--headset", "motion:walk.bvh", "--headless", "--avatar", "cut.vrm", "--out", "out"]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "cut.vrm: is cut off" in errors[0]
    assert list((tmp_path / "out").iterdir()) == []


def test_a_rig_is_for_its_motion_file_and_the_avatar_keeps_its_own_bones(driver: Driver, tmp_path: Path) -> None:
    files = DriveFiles(tmp_path, rig="mixamo")
    for result in driven(driver):
        shown = files.prepare(DriveView(Occasion.RESULT, result, driver))
        assert shown is not None
        files.publish(shown)
    files.close()
    named, _, _ = read_bvh_of_others(tmp_path / "driven.bvh")
    assert "mixamorig:LeftForeArm" in named
    nodes = {node.name for node in Player(tmp_path / "driven.glb").gltf.nodes}
    assert "J_left_elbow" in nodes and not any(name.startswith("mixamorig") for name in nodes)


def test_a_session_that_was_killed_is_recovered_with_the_avatar_where_it_is_still_there(
    driver: Driver, vrm: Path, tmp_path: Path
) -> None:
    results = driven(driver)
    files = DriveFiles(tmp_path / "live")
    for result in results:
        shown = files.prepare(DriveView(Occasion.RESULT, result, driver))
        assert shown is not None
        files.publish(shown)
    files.flush()
    files._journal.flush()
    for gone in (False, True):
        folder = tmp_path / f"gone {gone}"
        shutil.copytree(tmp_path / "live", folder)
        if gone:
            vrm.rename(vrm.with_suffix(".away"))
        lines: list[str] = []
        try:
            recover_folder(folder, lines.append)
        finally:
            if gone:
                vrm.with_suffix(".away").rename(vrm)
        made = sorted(path.name.split("-")[0] + path.suffix for path in folder.iterdir())
        told = " ".join(lines)
        if gone:
            assert "driven.vrma" not in made and "driven.glb shows the shipped body: the avatar" in told
        else:
            assert "driven.vrma" in made and "shows the shipped body" not in told
        assert "driven.glb" in made
    files.close()
