"""Shared memory from Python: what is written is read, names are taken and given back, and what is wrong is said."""

from __future__ import annotations

import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.skeleton import JOINTS, PARENTS
from bodystream.sinks.shm import (
    PoseFlag,
    ShmReader,
    ShmWriter,
    SurfaceFlag,
    WriterGoneError,
    pose_record,
    published_names,
)
from bodystream.sinks.shm import segment as segments
from bodystream.sinks.shm.layout import Offer, Places
from bodystream.timing import now_ns
from bodystream.types import Mesh, Status
from helpers.native import free_name, marked_surface, writing
from helpers.sent_poses import angle_deg, generated_poses, t_pose_sent

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX shared memory; Windows has named mappings")
BOTH = Offer.POSES | Offer.SURFACES


def test_what_is_written_is_read() -> None:
    from scipy.spatial.transform import Rotation

    name = free_name()
    writer = ShmWriter(name, Offer.POSES)
    with ShmReader(name) as reader:
        assert reader.pose() is None and reader.surface() is None and reader.newest == 0
        assert reader.joints == JOINTS and reader.parents == PARENTS and reader.writer == "bodystream"
        for number, driven in enumerate(generated_poses(4), start=1):
            assert writer.write_pose(pose_record(driven)) == number
            read = reader.pose()
            assert read is not None and read.number == number and read.status is Status.TRACKED
            assert read.sample_ns == driven.pose.t_ns and 0 <= now_ns() - read.published_ns < 10**10
            np.testing.assert_allclose(read.positions_m, driven.person.joints_m, atol=1e-6)
            np.testing.assert_allclose(read.local_xyzw, driven.pose.rotations_xyzw, atol=1e-7)
            for joint in range(22):
                turned = Rotation.from_quat(read.rotations_xyzw[joint]).as_matrix()
                assert angle_deg(turned, driven.person.orientations[joint]) < 0.01
            assert read.stature_m == pytest.approx(driven.person.skeleton.stature_m) and read.std_m is None
    writer.close()
    writer.close()
    assert name not in published_names()


def test_what_is_known_of_a_pose_comes_with_it() -> None:
    name = free_name()
    writer = ShmWriter(name, Offer.POSES)
    std_m = np.linspace(0.0, 0.1, 22, dtype=np.float32)
    driven = t_pose_sent(
        status=Status.DEGRADED, reason="die linke Hand ist für einen Augenblick verdeckt " + "ü" * 60,
        contacts=np.array([True, False]), joint_std_m=std_m,
    )  # fmt: skip
    with ShmReader(name) as reader:
        writer.write_pose(pose_record(driven))
        read = reader.pose()
    assert read is not None and read.status is Status.DEGRADED
    assert read.flags == PoseFlag.CONTACTS_KNOWN | PoseFlag.LEFT_STANDS
    assert read.reason.endswith("üü") and len(read.reason.encode()) in (94, 95), "cut between letters"
    np.testing.assert_array_equal(read.std_m, std_m)
    writer.close()


def test_surfaces_come_whole() -> None:
    name = free_name()
    writer = ShmWriter(name, BOTH, 1000, 2000)
    rng = np.random.default_rng(1)
    with ShmReader(name) as reader:
        assert reader.surface() is None
        for number, (vertices, faces) in enumerate([(1000, 2000), (3, 1), (0, 0), (641, 333)], start=1):
            mesh = Mesh(
                rng.normal(size=(vertices, 3)).astype(np.float32),
                rng.integers(0, max(vertices, 1), (faces, 3), dtype=np.int32),
                rng.normal(size=(vertices, 3)).astype(np.float32),
                rng.integers(0, 256, (vertices, 3), dtype=np.uint8),
            )
            assert writer.write_surface(mesh, 77, Status.TRACKED, number, in_camera=True)
            read = reader.surface()
            assert read is not None and (read.number, read.sample_ns, read.topology) == (number, 77, number)
            assert read.flags == SurfaceFlag.HAS_NORMALS | SurfaceFlag.HAS_COLOURS | SurfaceFlag.IN_CAMERA
            for part in ("vertices", "faces", "normals", "colours"):
                np.testing.assert_array_equal(getattr(read.mesh, part), getattr(mesh, part))
        bare = Mesh(np.zeros((3, 3), np.float32), np.zeros((1, 3), np.int32))
        assert writer.write_surface(bare, 0, Status.LOST, 9, in_camera=False)
        read = reader.surface()
        assert read is not None and read.flags == SurfaceFlag(0) and read.status is Status.LOST
        assert read.mesh.normals is None and read.mesh.colours is None
    writer.close()


def test_a_mesh_larger_than_there_is_room_for_is_left_out_and_counted() -> None:
    name = free_name()
    writer = ShmWriter(name, BOTH, 100, 200)
    with ShmReader(name) as reader:
        small = marked_surface(1, 100, 200)
        assert writer.write_surface(small, 0, Status.TRACKED, 1, in_camera=True)
        for vertices, faces in ((101, 200), (100, 201)):
            assert not writer.write_surface(marked_surface(2, vertices, faces), 0, Status.TRACKED, 2, in_camera=True)
        read = reader.surface()
        assert read is not None and read.number == 1 and reader.surfaces_too_large == writer.too_large == 2
        np.testing.assert_array_equal(read.mesh.vertices, small.vertices)
    writer.close()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("where", ["root", "rotation"])
def test_poses_that_are_not_finite_are_left_out(value: float, where: str) -> None:
    driven = t_pose_sent()
    rotations, root = driven.pose.rotations_xyzw.copy(), driven.pose.root_position_m.copy()
    if where == "root":
        root[1] = value
    else:
        rotations[5, 2] = value
    pose = replace(driven.pose, rotations_xyzw=rotations, root_position_m=root)
    with np.errstate(all="ignore"), pytest.raises(InputError, match="not finite or too large, first of .*left out"):
        pose_record(replace(driven, person=replace(driven.person, pose=pose)))


@pytest.mark.parametrize("part", ["vertices", "normals"])
def test_surfaces_that_are_not_finite_are_left_out(part: str) -> None:
    name = free_name()
    writer = ShmWriter(name, BOTH, 1000, 2000)
    mesh = marked_surface(1)
    getattr(mesh, part)[3, 1] = np.nan
    with pytest.raises(InputError, match=f"has {part} that are not finite: it is left out"):
        writer.write_surface(mesh, 0, Status.TRACKED, 1, in_camera=True)
    assert writer.surfaces == 0
    writer.close()


def test_a_name_in_use_is_refused() -> None:
    name = free_name()
    writer = ShmWriter(name, Offer.POSES)
    with pytest.raises(ConfigurationError, match=f"shm:{name} is in use: process [0-9]+ publishes.*choose another"):
        ShmWriter(name, Offer.POSES)
    with ShmReader(name) as reader:
        writer.write_pose(pose_record(t_pose_sent()))
        assert reader.pose() is not None, "the first one goes on"
    writer.close()
    ShmWriter(name, Offer.POSES).close()


@pytest.mark.skipif(sys.platform != "linux", reason="looks at files, as on Linux")
def test_what_a_killed_writer_left_is_taken_over() -> None:
    name = free_name()
    with writing(name, "poses", 500.0) as process:
        old = ShmReader(name)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert name in published_names()
        start = time.monotonic()
        writer = ShmWriter(name, Offer.POSES)
        assert time.monotonic() - start < 10
        writer.write_pose(pose_record(t_pose_sent()))
        with pytest.raises(WriterGoneError, match="ended or died"):
            old.pose()
        with ShmReader(name) as reader:
            read = reader.pose()
            assert read is not None and read.number == 1
        old.close()
        writer.close()
    assert name not in published_names()


@pytest.mark.skipif(sys.platform != "linux", reason="looks at files, as on Linux")
def test_of_many_who_want_a_dead_writers_name_one_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "DEAD_AFTER_NS", 400_000_000)  # a heartbeat comes each 100 ms
    name = free_name()
    with writing(name, "poses", 100.0) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        got: list[ShmWriter] = []
        refused: list[str] = []

        def take() -> None:
            try:
                got.append(ShmWriter(name, Offer.POSES))
            except ConfigurationError as error:
                refused.append(str(error))

        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        alive = [writer for writer in got if segments._inode_of(name) == writer._segment._inode]
        assert len(alive) == len(got) == 1 and len(refused) == 3
        got[0].close()


@pytest.mark.skipif(sys.platform != "linux", reason="looks at files, as on Linux")
def test_a_writer_that_lost_its_name_leaves_the_next_ones_alone() -> None:
    name = free_name()
    first = ShmWriter(name, Offer.POSES)
    Path(f"/dev/shm/bodystream.{name}").unlink()
    second = ShmWriter(name, Offer.POSES)
    first.close()
    assert name in published_names()
    second.close()
    assert name not in published_names()


def test_a_reader_tells_an_ended_writer_from_one_that_is_not_there() -> None:
    name = free_name()
    with pytest.raises(InputError, match=f"nobody publishes under the name {name}: start `bodystream publish"):
        ShmReader(name)
    writer = ShmWriter(name, Offer.POSES)
    reader = ShmReader(name)
    assert reader.alive
    writer.close()
    assert not reader.alive
    with pytest.raises(WriterGoneError, match="ended or died"):
        reader.pose()
    reader.close()


def test_a_reader_of_another_version_says_so() -> None:
    name = free_name()
    writer = ShmWriter(name, Offer.POSES)
    writer._segment.header["abi"] = 2
    with pytest.raises(InputError, match="published with ABI 2 and this program reads ABI 1"):
        ShmReader(name)
    writer.close()


@pytest.mark.skipif(sys.platform != "linux", reason="looks at files, as on Linux")
@pytest.mark.parametrize("content", [b"", b"BODYSHM\0", b"x" * 5000, b"BODYSHM\0" + b"\0" * 5000])
def test_what_is_no_memory_of_ours_is_said_and_may_be_replaced(content: bytes) -> None:
    name = free_name()
    path = Path(f"/dev/shm/bodystream.{name}")
    path.write_bytes(content)
    with pytest.raises(InputError, match="try again|reads ABI 1"):
        ShmReader(name)
    writer = ShmWriter(name, Offer.POSES)
    with ShmReader(name):
        pass
    writer.close()
    assert not path.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="looks at files, as on Linux")
def test_memory_that_is_not_there_is_said_at_the_start() -> None:
    import os
    import shutil

    name, room = free_name(), shutil.disk_usage("/dev/shm").total
    vertices = room // 100
    assert Places(vertices, 2 * vertices).total > room
    with pytest.raises(ConfigurationError, match=f"shm:{name} needs [0-9]+ MB of shared memory, which are not there"):
        ShmWriter(name, BOTH, vertices, 2 * vertices)
    assert not os.path.exists(f"/dev/shm/bodystream.{name}")


def test_only_the_user_may_look() -> None:
    name = free_name()
    writer = ShmWriter(name, Offer.POSES)
    if sys.platform == "linux":
        assert Path(f"/dev/shm/bodystream.{name}").stat().st_mode & 0o777 == 0o600
    with ShmReader(name) as reader, pytest.raises(ValueError, match="read-only"):
        reader._segment.bytes[0] = 1
    writer.close()
