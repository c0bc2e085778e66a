"""Finding takes: specifications, indices, archives, duplicates, subjects, and files that cannot be read."""

from __future__ import annotations

import errno
import io
import lzma
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from test_motion_amass import write_take

from bodystream.errors import InputError
from bodystream.sinks.bvh import BvhRecorder
from bodystream.sources.motion import archives
from bodystream.sources.motion.archives import cache_folder, unpacked
from bodystream.sources.motion.catalogue import index_rows, known_subject
from bodystream.sources.motion.takes import Take, find_takes, load_takes
from bodystream.types import BodyPose
from helpers.motion_files import rig_file

INDEX = "subject,clip,fps,unit_m,tpose_first,origin,description\n"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Never the user's own cache."""
    monkeypatch.setenv("BODYSTREAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_bvh(path: Path, seed: int = 0, frames: int = 4, rig: str = "mixamo") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(rig_file(rig, frames=frames, seed=seed).text())
    return path


def write_archive(path: Path, members: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:xz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return path


def names(takes: list[Take]) -> list[str]:
    return [take.name for take in takes]


def test_a_file_a_folder_and_several(tmp_path: Path) -> None:
    one = write_bvh(tmp_path / "a" / "one.bvh")
    write_bvh(tmp_path / "b" / "two.bvh")
    assert names(find_takes(f"bvh:{one}")) == ["one"]
    assert names(find_takes(str(one))) == ["one"]
    assert names(find_takes(f"bvh:{tmp_path / 'a'},bvh:{tmp_path / 'b'}")) == ["one", "two"]
    takes = find_takes(str(tmp_path))
    assert [(take.name, take.subject) for take in takes] == [("a/one", "a"), ("b/two", "b")]
    assert takes[0].kind == "bvh"
    assert len(takes[0].load()) == 4


def test_equal_names_in_two_folders_stay_two_takes(tmp_path: Path) -> None:
    for who in ("anna", "ben"):
        write_bvh(tmp_path / who / "walk.bvh")
    assert names(find_takes(str(tmp_path))) == ["anna/walk", "ben/walk"]


def test_the_index_overrules_the_header(tmp_path: Path) -> None:
    write_bvh(tmp_path / "bvh" / "60_01.bvh", frames=5)
    (tmp_path / "index.csv").write_text(INDEX + '60,60_01,30,0.011,1,daz,"salsa, slow"\n')
    (take,) = find_takes(f"bvh:{tmp_path}")
    assert (take.rate_hz, take.subject, take.description, take.origin) == (30.0, "cmu_60", "salsa, slow", "daz")
    clip = take.load()
    assert clip.rate_hz == 30.0
    assert len(clip) == 4
    (tmp_path / "index.csv").unlink()
    bare = find_takes(f"bvh:{tmp_path}")[0].load()
    assert bare.rate_hz == pytest.approx(60.0)
    assert clip.skeleton.stature_m / bare.skeleton.stature_m == pytest.approx(1.1)


def test_one_take_in_a_folder_and_an_archive_is_one(tmp_path: Path) -> None:
    write_bvh(tmp_path / "bvh" / "02_01.bvh", frames=4)
    write_bvh(tmp_path / "bvh" / "02_01_other_conversion.bvh")
    write_bvh(tmp_path / "bvh" / "02_09_other_conversion.bvh")
    whole = rig_file("mixamo", frames=9).text().encode()
    write_archive(tmp_path / "archives" / "02.tar.xz", {"02/02_01.bvh": whole, "02/02_02.bvh": whole})
    for spec in (str(tmp_path), f"{tmp_path / 'archives'},{tmp_path / 'bvh'}", f"{tmp_path / 'bvh'},{tmp_path}"):
        takes = find_takes(spec)
        assert names(takes) == ["02_01", "02_02", "02_09_other_conversion"]
        assert len(takes[0].load()) == 9  # the archive's
        assert {take.subject for take in takes} == {"cmu_02"}
    assert names(find_takes(str(tmp_path / "bvh" / "02_01_other_conversion.bvh"))) == ["02_01_other_conversion"]


def test_archives_are_unpacked_once_and_again_when_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = rig_file("mixamo").text().encode()
    archive = write_archive(tmp_path / "x.tar.xz", {"x/a.bvh": content, "x/readme.txt": b"no take"})
    place = unpacked(archive)
    assert place.is_relative_to(cache_folder())
    assert sorted(p.name for p in place.rglob("*") if p.is_file()) == [".unpacked.json", "a.bvh"]
    calls = []
    extract = archives._extract
    monkeypatch.setattr(archives, "_extract", lambda *args: (calls.append(args), extract(*args)))
    assert unpacked(archive) == place
    assert not calls
    (place / "x" / "a.bvh").write_bytes(content[:100])
    assert unpacked(archive) == place
    assert (place / "x" / "a.bvh").read_bytes() == content
    assert len(calls) == 1
    assert unpacked(write_archive(tmp_path / "x.tar.xz", {"x/a.bvh": content + b"\n"})) != place
    assert not [p for p in place.parent.iterdir() if p.name.startswith(".part-")]


@pytest.mark.parametrize("name", ["../evil.bvh", "/tmp/bodystream-evil.bvh", "a/../../evil.bvh"])
def test_archives_write_nothing_outside(tmp_path: Path, name: str) -> None:
    archive = write_archive(tmp_path / "x.tar.xz", {name: b"HIERARCHY"})
    try:
        place = unpacked(archive)
    except InputError as error:
        assert "leads outside" in str(error)
    else:  # an absolute name is taken as a relative one
        assert all(p.resolve().is_relative_to(place.resolve()) for p in place.rglob("*"))
    assert not Path("/tmp/bodystream-evil.bvh").exists()
    assert not (tmp_path / "cache" / "takes" / "evil.bvh").exists()


def test_links_in_archives_are_left_out(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "x.tar.xz", {"a.bvh": b"HIERARCHY"}, {"b.bvh": "/etc/passwd"})
    assert not (unpacked(archive) / "b.bvh").exists()


def test_damaged_and_oversized_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_archive(tmp_path / "x.tar.xz", {"a.bvh": rig_file("mixamo", frames=200).text().encode()})
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is damaged or no .tar.xz archive"):
        unpacked(archive)
    archive.write_bytes(b"not an archive")
    with pytest.raises(InputError, match="is damaged or no .tar.xz archive"):
        find_takes(str(tmp_path))
    archive.write_bytes(whole)
    monkeypatch.setattr(archives, "_MAX_BYTES", 1000)
    with pytest.raises(InputError, match="holds more than"):
        unpacked(archive)
    assert not [p for p in (cache_folder() / "takes").iterdir()]


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BODYSTREAM_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="set BODYSTREAM_CACHE to another"):
        unpacked(write_archive(tmp_path / "x.tar.xz", {"a.bvh": b""}))


def test_unreadable_takes_are_left_out_and_named(tmp_path: Path) -> None:
    write_bvh(tmp_path / "good.bvh")
    (tmp_path / "bad.bvh").write_text("nothing")
    warnings: list[str] = []
    seen: list[tuple[int, int, str]] = []
    clips = list(load_takes(str(tmp_path), 30.0, lambda n, of, take: seen.append((n, of, take.name)), warnings))
    assert [clip.name for clip in clips] == ["good"]
    assert clips[0].rate_hz == 30.0
    assert any(warning.startswith("bad was left out: ") and "not a BVH file" in warning for warning in warnings)
    assert seen == [(0, 2, "bad"), (1, 2, "good")]
    with pytest.raises(InputError, match="not a BVH file"):
        list(load_takes(str(tmp_path)))
    (tmp_path / "good.bvh").unlink()
    with pytest.raises(InputError, match="none of the 1 takes"):
        list(load_takes(str(tmp_path), warnings=warnings))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "no motion data was named"),
        (" , ", "no motion data was named"),
        ("bvh:{0}/absent", "is not there"),
        ("amass:{0}", r"holds no .npz files, nor archives"),
        ("asf:{0}/a.bvh", "is no .amc file"),
        ("bvh:{0}?model=x.npz", "belongs to amass:PATH"),
    ],
)
def test_wrong_specifications(tmp_path: Path, spec: str, message: str) -> None:
    write_bvh(tmp_path / "a.bvh")
    with pytest.raises(InputError, match=message):
        find_takes(spec.format(tmp_path))


def test_amass_names_its_subjects_by_folders(tmp_path: Path) -> None:
    for place in (
        "KIT/3/walk_poses",
        "CMU/07/07_01_poses",
        "KIT/3/shape",
        "CMU/07/neutral_stagei",
        "KIT/4/01_02_poses",
    ):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        write_take(tmp_path / f"{place}.npz")
    takes = find_takes(f"amass:{tmp_path}")
    assert [(take.name, take.subject) for take in takes] == [
        ("07_01", "cmu_07"),
        ("KIT/3/walk", "KIT_3"),
        ("KIT/4/01_02", "KIT_4"),
    ]
    warnings: list[str] = []
    assert len(takes[0].load(warnings)) == 7
    one = find_takes(f"amass:{tmp_path / 'KIT' / '3'}")
    assert [(take.name, take.subject) for take in one] == [("KIT/3/walk", "KIT_3")]
    model = find_takes(f"amass:{tmp_path}?model={tmp_path / 'model.npz'}")[0]
    assert model.model == tmp_path / "model.npz"
    with pytest.raises(InputError, match=r"model.npz: cannot be read"):
        model.load()


@pytest.mark.parametrize(
    ("clip", "listed", "wanted"),
    [
        ("02_01", "02", "cmu_02"),
        ("02_01", "", "cmu_02"),
        ("02_01_other_conversion", "", "cmu_02"),
        ("basketball_train_01", "mixed_basketball", "cmu_06"),
        ("basketball_train_05", "mixed_basketball", "cmu_06"),
        ("basketball_signal_train_03", "mixed_basketball_signal", "unknown_basketball_signal"),
        ("directing_traffic_train_04", "", "cmu_14"),
        ("walking_extra_train_34", "mixed_walking_extra", "cmu_16"),
        ("walking_extra_train_35", "mixed_walking_extra", "unknown_walking_extra"),
        ("Female1_B03_Walk", "accad_Female1", "accad_Female1"),
        ("my walk", "", ""),
    ],
)
def test_subjects(clip: str, listed: str, wanted: str) -> None:
    assert known_subject(clip, listed) == wanted


def test_wrong_indices(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text(INDEX + "1,a,fast,0.01,0,x,y\n")
    with pytest.raises(InputError, match=r"index.csv, line 2: fps is 'fast', wanted a positive number"):
        index_rows(tmp_path)
    (tmp_path / "index.csv").write_text("some,other\ntable,here\n")
    assert index_rows(tmp_path) == {}
    (tmp_path / "index.csv").write_bytes(b"clip,fps\n\xff\xfe,30\na\n")
    assert index_rows(tmp_path)["a"].rate_hz is None
    (tmp_path / "index.csv").write_text(INDEX + ",a,120,-1,0,x,y\n")
    with pytest.raises(InputError, match="unit_m is '-1'"):
        index_rows(tmp_path)


def test_motions_survive_resampling(tmp_path: Path) -> None:
    write_bvh(tmp_path / "a.bvh", frames=61)
    (clip,) = load_takes(str(tmp_path), 30.0, warnings=[])
    (whole,) = load_takes(str(tmp_path), warnings=[])
    np.testing.assert_allclose(clip.root_positions_m, whole.root_positions_m[::2], atol=1e-5)


def test_an_archive_that_unpacks_to_far_more_than_motion_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_RATIO_FROM_BYTES", 1 << 20)
    bomb = write_archive(tmp_path / "x.tar.xz", {"a.bvh": bytes(8 << 20)})
    assert bomb.stat().st_size < 16 << 10
    with pytest.raises(InputError, match="holds more than 20000 files or 1 MiB, which for its size is no motion data"):
        unpacked(bomb)


def test_an_archive_that_asks_for_much_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_archive(tmp_path / "x.tar.xz", {"a.bvh": rig_file("mixamo").text().encode()})
    assert (unpacked(archive) / "a.bvh").is_file()
    monkeypatch.setattr(archives, "_MAX_DECODER_BYTES", 1 << 20)
    monkeypatch.setenv("BODYSTREAM_CACHE", str(tmp_path / "another"))
    with pytest.raises(InputError, match="is damaged or no .tar.xz archive: Memory usage limit exceeded"):
        unpacked(archive)


def test_an_archive_of_two_streams_and_padding(tmp_path: Path) -> None:
    # `cat a.xz b.xz` is one archive to xz, as is what parallel compressors write.
    content = rig_file("mixamo", frames=100).text().encode()
    whole = lzma.decompress(write_archive(tmp_path / "x.tar.xz", {"a.bvh": content}).read_bytes())
    cut = len(whole) // 3
    pieces = lzma.compress(whole[:cut]) + lzma.compress(whole[cut:]) + bytes(8)
    (tmp_path / "x.tar.xz").write_bytes(pieces)
    assert (unpacked(tmp_path / "x.tar.xz") / "a.bvh").read_bytes() == content


def test_what_our_own_recorder_leaves_when_it_is_killed(tmp_path: Path) -> None:
    rotations = np.tile([0.0, 0.0, 0.0, 1.0], (22, 1))
    clip = find_takes(str(write_bvh(tmp_path / "person.bvh")))[0].load()
    with BvhRecorder(tmp_path / "driven.bvh", clip.skeleton, 90.0) as recorder:
        for frame in range(20):
            recorder.add(BodyPose(round(frame * 1e9 / 90.0), rotations, np.array([0.01 * frame, 0.95, 0.0])))
        (part,) = (p for p in tmp_path.iterdir() if "driven" in p.name)
        killed = part.read_bytes()
    for cut in (0, 1, 40):
        (tmp_path / "killed.bvh").write_bytes(killed[: len(killed) - cut])
        warnings: list[str] = []
        found = find_takes(str(tmp_path / "killed.bvh"))[0].load(warnings)
        assert any("gives no number of frames" in note for note in warnings)
        assert 17 <= len(found) <= 20
        np.testing.assert_allclose(found.rotations_xyzw[:, :, 3], 1.0, atol=1e-6)
        steps = np.diff(found.root_positions_m, axis=0)
        np.testing.assert_allclose(steps, np.tile([0.01, 0.0, 0.0], (len(steps), 1)), atol=1e-5)
        np.testing.assert_allclose(found.skeleton.offsets_m, clip.skeleton.offsets_m, atol=1e-5)


def test_a_table_of_a_spreadsheet_with_decimal_commas(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_bytes(("\ufeff" + INDEX + "60,60_01,,,0,x,\n").replace(",", ";").encode())
    assert index_rows(tmp_path)["60_01"].subject == "60"
    (tmp_path / "index.csv").write_text("clip;unit_m;fps\n60_01;0,0254;59,94\n")
    row = index_rows(tmp_path)["60_01"]
    assert (row.metres_per_unit, row.rate_hz) == (0.0254, 59.94)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"clip,fps\na," + b"9" * 5000, "fps is '9"),
        (b"clip,fps\n" + b"a" * 200_000 + b",60", "line 1: the table cannot be read: field larger than"),
        (b"clip,unit_m\na,1e-40", "unit_m is '1e-40', wanted a positive number"),
        (b"", "is empty"),
    ],
)
def test_a_damaged_index_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    write_bvh(tmp_path / "a.bvh")
    (tmp_path / "index.csv").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        find_takes(str(tmp_path))
    assert "index.csv" in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_fifos_among_takes_are_no_takes(tmp_path: Path) -> None:
    write_bvh(tmp_path / "a.bvh")
    os.mkfifo(tmp_path / "b.bvh")
    os.mkfifo(tmp_path / "index.csv")
    assert names(find_takes(str(tmp_path))) == ["a"]
    with pytest.raises(InputError, match="b.bvh is no ordinary file and no folder"):
        find_takes(str(tmp_path / "b.bvh"))


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bvh(tmp_path / "a" / "a.bvh")
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refusing(place: str) -> object:
        if str(place).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(InputError, match=r"the folder .*closed cannot be read \(Permission denied\)"):
        find_takes(str(tmp_path))


def test_a_name_that_cannot_be() -> None:
    with pytest.raises(InputError, match="cannot be looked at|is not there"):
        find_takes("bvh:a\x00b")
