"""A driver takes any avatar: one that has posed vertices only is driven, shown and recorded, too."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import warp as wp

from bodystream.avatar.base import FAR_FLAG, FarPose, Posing
from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINTS, Skeleton
from bodystream.pipelines.drive.files import DriveFiles
from bodystream.pipelines.drive.pipeline import DriveConfig, Driver, DriveResult
from bodystream.pipelines.drive.session import DriveSession
from bodystream.pipelines.drive.view import DriveView
from bodystream.pipelines.drive.viewer import BodyViewerSink
from bodystream.pipelines.recovery import recover_folder
from bodystream.sinks.base import Occasion, SinkBase
from bodystream.sinks.rigs import RigName
from bodystream.sinks.viewer import BodyViewer
from bodystream.sinks.viewer.body_page import BodyPage
from bodystream.sources.headset.synthetic import MotionHeadset
from bodystream.sources.motion import find_takes
from helpers.drive_parts import ESTIMATOR, new_driver, samples_of, t_pose
from helpers.headset_motions import walking
from helpers.plain_avatar import PlainAvatar

RATE_HZ = 45.0
CLIP = walking(0.5)


def driven(driver: Driver) -> list[DriveResult]:
    driver.estimator.reset(CLIP.skeleton)
    driver.checker._last_t_ns = None
    results = [driver.step(sample) for sample in samples_of(CLIP, rate_hz=RATE_HZ)]
    return [result for result in results if result is not None]


@pytest.fixture(scope="module")
def driver():
    made = new_driver(avatar=PlainAvatar, skeleton=CLIP.skeleton, estimator=replace(ESTIMATOR, smooth=False))
    yield made
    made.close()


def test_posed_vertices_follow_the_pose(driver: Driver) -> None:
    driver.warm_up()
    results = driven(driver)
    assert isinstance(driver.avatar, PlainAvatar) and driver.skin is None and driver.avatar_label == "PlainAvatar"
    mesh = driver.posed_mesh()
    np.testing.assert_allclose(mesh.vertices[::4], results[-1].joints_m, atol=1e-5)
    assert driver.avatar.posed >= len(results), "a surface that is simulated goes through every pose"
    kept = mesh.vertices.copy()
    driven(driver)
    np.testing.assert_array_equal(mesh.vertices, kept)  # the next pose overwrites the avatar's, not this one


def show(sink: SinkBase[Any], view: DriveView) -> None:
    """What a session does on the pipeline's thread and on the sink's, one after the other."""
    shown = sink.prepare(view)
    if shown is not None:
        sink.publish(shown)


def test_posed_vertices_are_what_the_page_shows(driver: Driver) -> None:
    (*_, result) = driven(driver)
    viewer = BodyViewer(driver.skin, port=0)
    sink = BodyViewerSink(viewer, driver.skin)
    page = viewer._page
    assert isinstance(page, BodyPage)
    state = sink.prepare(DriveView(Occasion.RESULT, result, driver))
    assert state is not None and state.body is None and state.mesh is not None
    np.testing.assert_allclose(state.mesh.vertices[::4], result.joints_m, atol=1e-5)
    page.show(state)
    assert page._skinned is None and page._surface_frame.visible
    assert page.bytes_sent > state.mesh.vertices.nbytes
    assert list(sink.warnings) == []
    sink.close()


@pytest.mark.parametrize(("rig", "missing"), [(None, "driven.glb is"), ("vrm", "driven.glb and driven.vrma are")])
def test_its_motion_is_written_and_what_is_not_is_said(
    rig: RigName | None, missing: str, driver: Driver, tmp_path: Path
) -> None:
    told: list[str] = []
    results = driven(driver)
    files = DriveFiles(tmp_path, RATE_HZ, told.append, rig)
    for result in results:
        show(files, DriveView(Occasion.RESULT, result, driver))
    show(files, DriveView(Occasion.SAVE, results[-1], driver))
    assert files._saving is not None
    files._saving.join()
    why = f"{missing} not written: the avatar PlainAvatar has no skin"
    assert len(told) == 1 and told[0].startswith(why) and "motion and samples so far" in told[0]
    files.close()
    assert sorted(path.name for path in files.written.paths) == ["driven.bvh", "headset.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["driven.bvh", "headset.csv"]
    (note,) = files.written.notes
    assert note.startswith(why) and "driven.bvh" in note
    (take,) = find_takes(f"bvh:{tmp_path / 'driven.bvh'}")
    assert len(take.load()) >= len(results) - 1


def test_what_a_killed_session_leaves_is_shown_by_the_shipped_body_and_said(driver: Driver, tmp_path: Path) -> None:
    files = DriveFiles(tmp_path / "live", RATE_HZ)
    for result in driven(driver):
        show(files, DriveView(Occasion.RESULT, result, driver))
    files.flush()
    files._journal.flush()
    killed = tmp_path / "killed"
    shutil.copytree(tmp_path / "live", killed)
    files.close()
    told: list[str] = []
    assert recover_folder(killed, told.append) == 1
    (line,) = told
    assert "driven.glb shows the shipped body: the avatar PlainAvatar cannot be had (there is no avatar" in line
    assert len(list(killed.glob("driven-*.glb"))) == len(list(killed.glob("driven-*.bvh"))) == 1


def test_a_session_of_it_runs_as_any_other(tmp_path: Path) -> None:
    config = DriveConfig(estimator=ESTIMATOR, skeleton=CLIP.skeleton, avatar=PlainAvatar)
    with DriveSession(config=config, device="cpu", sinks=[DriveFiles(tmp_path, RATE_HZ)]) as session:
        for sample in samples_of(CLIP, rate_hz=RATE_HZ)[:10]:
            session.push(sample)
        mesh = session.posed_mesh()
        assert session.skin is None and mesh.vertices.shape == (4 * len(JOINTS), 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["driven.bvh", "headset.csv"]


def test_another_person_is_made_by_the_same_maker() -> None:
    made: list[Skeleton | None] = []

    def maker(skeleton: Skeleton | None, device: wp.Device) -> PlainAvatar:
        made.append(skeleton)
        return PlainAvatar(skeleton, device)

    driver = new_driver(avatar=maker, calibrate_s=1.1, lossless=True)
    try:
        driver.person.measure("T")
        for sample in samples_of(t_pose(2.4, head_m=1.75)):
            driver.step(sample)
        assert len(made) == 2 and made[1] is driver.avatar.skeleton is driver.estimator.skeleton
        assert driver.person.calibration is not None and driver.avatar_label == "maker"
    finally:
        driver.close()


def test_the_version_of_a_skin_grows_with_each_avatar() -> None:
    driver = new_driver(calibrate_s=1.1, lossless=True)
    try:
        first = driver.skin
        assert first is not None and first.version == 0 and first.names == JOINTS
        driver.person.measure("T")
        for sample in samples_of(t_pose(1.8, head_m=1.75)):
            driver.step(sample)
        assert driver.skin is not None and driver.skin.version == 1
        assert not np.allclose(driver.skin.mesh.vertices, first.mesh.vertices, atol=0.01)
    finally:
        driver.close()


def test_an_unknown_avatar_is_refused_at_the_start() -> None:
    with pytest.raises(InputError, match="there is no avatar 'nobody'"):
        new_driver(avatar="nobody")


class Unsure(PlainAvatar):
    """It knows no pose in which the left arm is ahead."""

    def pose_on_device(self, rotations: np.ndarray, root_position_m: np.ndarray) -> None:
        super().pose_on_device(rotations, root_position_m)
        ahead = rotations[JOINTS.index("left_shoulder"), 1] < -0.1
        far = FarPose("left_shoulder", 50.0, 30.0, ("left_shoulder",)) if ahead else None
        self.posing = Posing("guessing", "it knows no better", far)


def test_poses_far_from_training_are_flagged_counted_and_told_once() -> None:
    notes: list[str] = []
    source = MotionHeadset(walking(1.0), RATE_HZ)
    session = DriveSession(source, DriveConfig(avatar=Unsure, estimator=ESTIMATOR), device="cpu", on_note=notes.append)
    session.run()
    report = session.report
    assert 0 < report.flags[FAR_FLAG] <= report.frames.processed
    (warning,) = [text for text in report.warnings if "left shoulder" in text]
    assert warning.endswith(f"such poses have the flag {FAR_FLAG}") and warning in session.warnings
    session.close()
    assert notes.count(f"warning: {warning}") == 1
