"""`driven.bvh` and `driven.glb` against the live poses while the person changes: every joint, every sample."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from bodystream.geometry.skeleton import JOINTS, Skeleton, forward_kinematics
from bodystream.pipelines.drive.files import DriveFiles
from bodystream.pipelines.drive.pipeline import DriveConfig
from bodystream.pipelines.drive.session import DriveSession
from bodystream.pipelines.drive.view import DriveView
from bodystream.pipelines.recovery import recover_folder
from bodystream.pose import person as person_module
from bodystream.sinks.base import Occasion, SinkBase
from bodystream.sources.headset.open import open_headset
from bodystream.sources.motion.bvh import read_bvh
from bodystream.sources.motion.rig import rig_kinematics
from bodystream.types import Array, BodyPose, Status
from helpers.drive_parts import ESTIMATOR, Scripted, samples_of, t_pose
from helpers.gltf_player import Player
from helpers.vrm_files import BUILDS, write_vrm
from sinks.test_bvh_recorder import read as read_bvh_of_others

LARGEST_M = 0.005
EXACT_M = 2e-4
"""What numbers of a file and of live poses (float32, metres of way) may differ by."""
TURN = np.array([-1.0, 1.0, -1.0])
TRACES = ("quest3_session", "vive_dance", "vive_dev", "vive_grab_right", "vive_tracked")


class Live(SinkBase[tuple[BodyPose, Skeleton, Array]]):
    """Keeps the live body: its poses, lengths and joints, as viewers and senders have them."""

    name, lossless, bound = "live", True, 100_000

    def __init__(self) -> None:
        self.poses: list[BodyPose] = []
        self.people: list[Skeleton] = []
        self.joints: list[Array] = []

    def prepare(self, view: DriveView) -> tuple[BodyPose, Skeleton, Array] | None:
        if view.occasion is not Occasion.RESULT or view.result is None or view.result.pose.status is Status.LOST:
            return None
        return view.body_pose, view.body_skeleton, view.body_joints_m.copy()

    def publish(self, seen: tuple[BodyPose, Skeleton, Array], /) -> None:
        for kept, value in zip((self.poses, self.people, self.joints), seen, strict=True):
            kept.append(value)

    def close(self) -> Sequence[str]:
        return ()

    @property
    def times_s(self) -> Array:
        return np.array([pose.t_ns - self.poses[0].t_ns for pose in self.poses]) * 1e-9

    def joints_at(self, grid_s: Array) -> Array:
        """(T, 22, 3) between poses: rotations along the arc, the root and the lengths evenly; in the files' axes."""
        times = self.times_s
        grid_s = np.clip(grid_s, times[0], times[-1])
        turns = np.stack([pose.rotations_xyzw for pose in self.poses]).astype(float)
        local = np.stack(
            [Slerp(times, Rotation.from_quat(turns[:, joint]))(grid_s).as_matrix() for joint in range(len(JOINTS))],
            axis=1,
        )

        def between(values: Array) -> Array:
            flat = values.reshape(len(values), -1)
            return np.stack([np.interp(grid_s, times, column) for column in flat.T], axis=1)

        offsets = between(np.stack([person.offsets_m for person in self.people])).reshape(-1, len(JOINTS), 3)
        roots = between(np.stack([pose.root_position_m for pose in self.poses]).astype(float))
        return forward_kinematics(offsets, local, roots)[0] * TURN


def drive(source, folder: Path, **config) -> Live:
    live = Live()
    wanted = DriveConfig(**({"estimator": ESTIMATOR, "lossless": True} | config))
    with DriveSession(source, wanted, device="cpu", sinks=[live, DriveFiles(folder)]) as session:
        session.run()
    return live


def check_files(folder: Path, live: Live, stem: str = "driven") -> None:
    named, period_s, _ = read_bvh_of_others(folder / f"{stem}.bvh")
    bvh = np.stack([named[name] for name in JOINTS], axis=1) / 100.0
    wanted = live.joints_at(np.arange(len(bvh)) * period_s)
    assert np.linalg.norm(bvh - wanted, axis=-1).max() < LARGEST_M
    assert np.median(np.linalg.norm(bvh - wanted, axis=-1).max(axis=1)) < EXACT_M
    motion = read_bvh(folder / f"{stem}.bvh").motion()
    ours, _ = rig_kinematics(motion)
    ours = np.stack([ours[motion.joints.index(name)] for name in JOINTS], axis=1) / 100.0
    np.testing.assert_allclose(ours, bvh, atol=1e-6)
    player = Player(folder / f"{stem}.glb")
    np.testing.assert_allclose(player.key_times, live.times_s, atol=1e-4)
    off = np.linalg.norm(player.paths(JOINTS) - np.stack(live.joints) * TURN, axis=-1)
    assert off.max() < EXACT_M


@pytest.mark.parametrize("trace", TRACES)
def test_a_headset_s_recording_is_written_as_it_was_shown(shared_data: Path, tmp_path: Path, trace: str) -> None:
    path = shared_data / "headset" / f"{trace}.json"
    if not path.is_file():
        pytest.skip(f"recordings not found: {path}")
    live = drive(open_headset(f"trace:{path}"), tmp_path)
    check_files(tmp_path, live)


@pytest.fixture(scope="module")
def guessed(tmp_path_factory: pytest.TempPathFactory):
    """Somebody taller than is thought at first, and what a program that is killed leaves behind."""
    folder = tmp_path_factory.mktemp("guessed")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(person_module, "_GUESS_EVERY", 40)
        source = Scripted(samples_of(t_pose(2.5, head_m=1.75, arm_factor=1.0)))
        close = DriveFiles.close

        def killed_first(files: DriveFiles):
            files.flush()
            files._journal.flush()
            shutil.copytree(folder / "out", folder / "killed")
            return close(files)

        patched.setattr(DriveFiles, "close", killed_first)
        live = drive(source, folder / "out")
    return folder, live


def test_a_guess_that_changes_in_the_middle_is_in_both_files(guessed) -> None:
    folder, live = guessed
    statures = [person.stature_m for person in live.people]
    assert statures[-1] > statures[0] + 0.15 and len(set(statures)) > 40, "it eased in"
    check_files(folder / "out", live)
    toes = np.stack(live.joints)[:, [10, 11], 1]
    assert toes[40].min() > 0.15, "whoever is taller than thought floats, with the head where it is seen"
    assert 0.0 < toes[-1].min() and toes[-1].max() < 0.05


def test_what_a_killed_session_left_has_the_changes_too(guessed) -> None:
    folder, live = guessed
    (journal,) = (folder / "killed").glob("drive-*.journal")
    stem = f"driven-{journal.stem.removeprefix('drive-')}"
    told: list[str] = []
    assert recover_folder(folder / "killed", told.append) == 1
    check_files(folder / "killed", live, stem)
    assert (folder / "killed" / f"{stem}.bvh").read_bytes() == (folder / "out" / "driven.bvh").read_bytes()


def test_an_avatar_of_its_own_proportions_moves_as_it_was_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lengths stay, and what takes a pose to them is of the person at that time."""
    monkeypatch.setattr(person_module, "_GUESS_EVERY", 40)
    vrm = write_vrm(tmp_path / "me.vrm", BUILDS["short"](), version="1")
    live = drive(Scripted(samples_of(t_pose(2.0, head_m=1.75, arm_factor=1.0))), tmp_path / "out", avatar=str(vrm))
    assert len({id(person) for person in live.people}) == 1
    named, period_s, numbers = read_bvh_of_others(tmp_path / "out" / "driven.bvh")
    assert numbers.shape[1] == 69
    bvh = np.stack([named[name] for name in JOINTS], axis=1) / 100.0
    assert np.linalg.norm(bvh - live.joints_at(np.arange(len(bvh)) * period_s), axis=-1).max() < LARGEST_M
    for file in ("driven.glb", "driven.vrma"):
        player = Player(tmp_path / "out" / file)
        (hips,) = [node for node, path in player._tracks if path == "translation"]
        got = player.paths([player.gltf.nodes[hips].name])[:, 0]
        assert np.linalg.norm(got - np.stack(live.joints)[:, 0] * TURN, axis=-1).max() < LARGEST_M, file
    steps = np.linalg.norm(np.diff(live.joints, axis=0), axis=-1)[30:].max()
    assert steps < 0.04


def test_posed_vertices_stand_on_the_floor_while_the_person_shrinks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(person_module, "_GUESS_EVERY", 40)
    lowest: list[float] = []
    config = DriveConfig(estimator=ESTIMATOR, lossless=True)
    statures = set()
    with DriveSession(config=config, device="cpu") as session:
        for sample in samples_of(t_pose(2.0, head_m=1.4, arm_factor=1.0)):
            session.push(sample)
            statures.add(session.skeleton.stature_m)
            if sample.index > 60:
                lowest.append(float(session.posed_mesh().vertices[:, 1].min()))
    assert len(statures) > 40
    assert min(lowest) > -0.02 and max(lowest) < 0.03
