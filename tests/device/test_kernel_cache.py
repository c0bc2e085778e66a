"""A kernel cache that is damaged heals at the next start; one that cannot be used is named with its cure."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import warp as wp

from bodystream.device import kernel_cache, select_device
from bodystream.device.kernel_cache import RECORD, heal_kernel_cache
from bodystream.errors import DeviceError, InputError
from bodystream.pipelines.warmup import KERNEL_MODULES
from helpers.workers import build_kernels

RUNTIME = Path(__file__).resolve().parents[2] / "runtime"
MODULE = "bodystream.avatar.kernels"

# Starts, says what it has to build, poses the shipped body by these kernels, and says where they lie.
USE = """
import numpy as np, warp as wp
from bodystream.cli.process import start_warp
from bodystream.device import select_device
start_warp()
device = select_device("cpu")
from bodystream.pipelines.warmup import warm_up
told = []
built = warm_up(device, lambda *args: told.append(list(args)), ["bodystream.avatar.kernels"])
from bodystream.avatar.lbs import LbsAvatar
avatar = LbsAvatar()
import json
print(json.dumps({"built": built, "told": told, "folder": str(wp.config.kernel_cache_dir)}))
"""


def use(cache: Path | str, code: str = USE, **environment: str) -> tuple[dict, str]:
    """Run in a process of its own with that cache; what it printed, and its stderr."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(RUNTIME), "WARP_CACHE_PATH": str(cache), **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the kernels of one module, built and recorded by a first start."""
    cache = tmp_path_factory.mktemp("cache")
    said, stderr = use(cache)
    assert said["built"] == [MODULE] and said["told"] == [[MODULE, 1, 1]] and stderr == ""
    return cache


@pytest.fixture
def cache(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which this process takes for Warp's."""
    select_device("cpu")
    shutil.copytree(built, tmp_path / "copy")
    folder = tmp_path / "copy" / wp.config.version
    monkeypatch.setattr(wp.config, "kernel_cache_dir", str(folder))
    return folder


def files(cache: Path) -> dict[str, Path]:
    (folder,) = cache.glob("wp_bodystream.*")
    return {path.suffix if path.name != RECORD else RECORD: path for path in folder.iterdir()}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def blank(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def remove(path: Path) -> None:
    path.unlink()


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def test_a_whole_cache_is_left_alone_and_nothing_is_built(built: Path, cache: Path) -> None:
    before = {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()}
    assert heal_kernel_cache() == []
    assert {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()} == before
    said, stderr = use(built)
    assert (said["built"], said["told"], stderr) == ([], [], "")


@pytest.mark.parametrize("damage", [flip, cut, empty, blank, remove, make_folder])
@pytest.mark.parametrize("suffix", [".o", ".meta", RECORD])
def test_what_is_damaged_is_removed(cache: Path, damage: Callable[[Path], None], suffix: str) -> None:
    damage(files(cache)[suffix])
    if (suffix, damage) == (RECORD, remove):
        assert heal_kernel_cache() == [] and files(cache)[RECORD].is_file()  # whole files are recorded anew
    else:
        assert heal_kernel_cache() == [MODULE] and not list(cache.glob("wp_bodystream.*"))


@pytest.mark.parametrize("damage", [cut, empty, blank, remove, make_folder])
@pytest.mark.parametrize("suffix", [".o", ".meta"])
def test_files_that_nobody_recorded_are_looked_at(cache: Path, damage: Callable[[Path], None], suffix: str) -> None:
    files(cache)[RECORD].unlink()
    damage(files(cache)[suffix])
    healed = heal_kernel_cache()
    assert healed == [MODULE] or (suffix, damage) == (".o", remove)  # then Warp itself builds it


def test_a_file_in_the_place_of_a_folder(cache: Path) -> None:
    (folder,) = cache.glob("wp_bodystream.*")
    shutil.rmtree(folder)
    folder.write_text("not a folder")
    assert heal_kernel_cache() == [MODULE] and not folder.exists()


def test_kernels_of_others_and_builds_under_way_are_not_touched(cache: Path) -> None:
    (folder,) = cache.glob("wp_bodystream.*")
    names = ["wp_other.project_1234567", "wp_bodystream.new_1234567_p12_t345"]
    for name in names:
        shutil.copytree(folder, cache / name)
        for path in (cache / name).iterdir():
            path.write_bytes(b"half")
    assert heal_kernel_cache() == []
    assert all(path.read_bytes() == b"half" for name in names for path in (cache / name).iterdir())


def test_a_start_with_a_damaged_cache_builds_and_goes_on(cache: Path) -> None:
    blank(files(cache)[".o"])  # the linker takes it and finds no kernel in it
    said, stderr = use(cache.parent)
    assert (said["built"], stderr) == ([MODULE], "")
    assert use(cache.parent)[0]["built"] == []


def test_a_cache_that_cannot_be_made_is_named_and_the_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("where a folder should be")
    said, stderr = use(tmp_path / "file" / "cache")
    assert said["built"] == [MODULE]
    assert "not writable" in stderr and "set WARP_CACHE_PATH" in stderr and str(tmp_path / "file") in stderr
    assert stderr.count("\n") == 1
    assert not Path(said["folder"]).exists()  # it was of that process


def test_a_cache_that_can_only_be_read_is_read(built: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    @contextmanager
    def refuse_to_write(path: Path) -> Iterator[Path]:
        raise InputError(f"{path} could not be written: permission denied")
        yield path

    files(cache)[RECORD].unlink()
    monkeypatch.setattr(kernel_cache, "atomic_path", refuse_to_write)
    monkeypatch.setattr(kernel_cache, "_remove", refuse)
    assert heal_kernel_cache() == [] and RECORD not in files(cache)
    monkeypatch.setattr(kernel_cache, "_own_folder", None)
    blank(files(cache)[".o"])
    before = wp.config.kernel_cache_dir
    monkeypatch.setattr(kernel_cache, "_own_folder_allowed", False)
    with pytest.raises(DeviceError, match=r"not writable \(.*Permission denied\): make it writable, or set WARP_CACHE"):
        heal_kernel_cache()
    assert wp.config.kernel_cache_dir == before, "a library leaves it where it is"
    monkeypatch.setattr(kernel_cache, "_own_folder_allowed", True)
    heal_kernel_cache()  # cannot be removed: another folder is taken
    own = Path(wp.config.kernel_cache_dir)
    assert own != cache and own.is_dir() and own.stat().st_mode & 0o077 == 0
    own.rmdir()


def test_no_place_at_all_is_an_error_with_the_cure(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kernel_cache, "_own_folder_allowed", True)
    monkeypatch.setattr(kernel_cache.tempfile, "mkdtemp", refuse)
    with pytest.raises(DeviceError, match=r"not writable.*No space left.*WARP_CACHE_PATH"):
        kernel_cache.use_own_folder("read-only file system")
    monkeypatch.setattr(kernel_cache, "_own_folder", cache)
    with pytest.raises(DeviceError, match=r"cannot be built.*WARP_CACHE_PATH"):
        kernel_cache.use_own_folder("no space left")


def test_kernels_that_do_not_build_are_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the compiler is broken\nand more")

    import bodystream.avatar.kernels  # noqa: F401

    monkeypatch.setattr(wp, "load_module", fail)
    with pytest.raises(DeviceError, match=r"bodystream\.avatar\.kernels.*the compiler is broken\. Empty .*doctor"):
        kernel_cache.load_kernels(MODULE, select_device("cpu"))


def test_processes_of_tests_build_each_kernel_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.setattr("bodystream.device.kernels_are_built", lambda name, _: name == MODULE)
    monkeypatch.setattr("bodystream.device.load_kernels", lambda name, _: loaded.append(name))
    built = [build_kernels(worker, 3) for worker in range(3)]
    assert loaded == [name for share in built for name in share] and len(set(loaded)) == len(loaded)
    assert {*loaded, MODULE} == set(KERNEL_MODULES) and max(map(len, built)) - min(map(len, built)) <= 2
