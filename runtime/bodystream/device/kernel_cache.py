"""The folder in which Warp keeps built kernels: looked through at each start, so that no damaged file is ever loaded.

Warp takes whatever lies there: half an object file is an error without a cure, one of zeros loads and computes nothing.
Each module's folder therefore gets a record of its files' SHA-256. What does not agree with its record, or has none and
is no whole file, is removed, and Warp builds it anew. Where the cache cannot be written, a command gets one of its own;
for a library that is an error, since the folder is a setting of the whole process.
"""
# pyright: reportArgumentType=false

from __future__ import annotations

import atexit
import hashlib
import json
import logging
import os
import shutil
import struct
import tempfile
from pathlib import Path

import warp as wp

from bodystream.device.quiet import quiet_warp
from bodystream.errors import BodystreamError, DeviceError
from bodystream.files import atomic_path

__all__ = [
    "RECORD",
    "allow_own_folder",
    "heal_kernel_cache",
    "kernel_cache_is_own",
    "kernels_are_built",
    "load_kernels",
    "use_own_folder",
]

RECORD = "bodystream.sha256.json"
_PREFIX = "wp_bodystream."
_BINARIES = (".o", ".ptx", ".cubin")
_REMEDY = "make it writable, or set WARP_CACHE_PATH to a folder that is"
_log = logging.getLogger("bodystream.device")
_own_folder: Path | None = None
_own_folder_allowed = False


def heal_kernel_cache() -> list[str]:
    """Remove what is damaged of this project's kernels and record what is whole; the names of modules removed.

    Safe beside other processes that do the same or build: Warp puts a whole folder in its place by one rename.
    """
    removed = []
    try:
        folders = sorted(path for path in Path(wp.config.kernel_cache_dir).iterdir() if path.name.startswith(_PREFIX))
    except OSError:  # there is none yet
        return []
    for folder in folders:
        if _being_built(folder):
            continue
        try:
            if not _is_whole(folder):
                removed.append(folder.name.removeprefix("wp_").rpartition("_")[0])
                _remove(folder)
        except OSError as error:  # it can be neither read nor removed
            use_own_folder(error)
            break
    return removed


def _being_built(folder: Path) -> bool:
    """Warp builds in `<module>_<hash>_p<process>_t<thread>` beside the place."""
    return "_p" in folder.name and folder.name.rpartition("_t")[2].isdigit()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _is_whole(folder: Path) -> bool:
    """Whether all of a module's files are as recorded; those without a record are looked at and then recorded."""
    if not folder.is_dir():
        return False
    record = _read_record(folder)
    found: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in (*_BINARIES, ".meta"):
            if not path.is_file():
                return False
            data = path.read_bytes()
            found[path.name] = hashlib.sha256(data).hexdigest()
            if found[path.name] != record.get(path.name) and (path.name in record or not _looks_whole(path, data)):
                return False
    binaries = [name for name in found if not name.endswith(".meta")]
    if record.keys() - found.keys() or (binaries and len(binaries) == len(found)):
        return False  # a file is gone
    if found and found != record:
        try:
            with atomic_path(folder / RECORD) as temporary:
                temporary.write_text(json.dumps(found), encoding="utf-8")
        except BodystreamError:  # a cache that is not ours to write may still be read
            pass
    return True


def _read_record(folder: Path) -> dict[str, str]:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        record = None
    return record if isinstance(record, dict) else {"": "a damaged record agrees with nothing"}


def _looks_whole(path: Path, data: bytes) -> bool:
    """Whether a file that nobody recorded has its form and its end."""
    if path.suffix == ".meta":
        try:
            return isinstance(json.loads(data), dict)
        except ValueError:
            return False
    if path.suffix == ".ptx":
        return b".version" in data[:4096] and data.rstrip(b"\0\r\n\t ").endswith(b"}")
    if data[:4] == b"\x7fELF":
        # The table of sections comes last: its place, the size of an entry and their number are in the header.
        if len(data) < 64 or data[4] != 2:
            return False
        start, size, count = *struct.unpack_from("<Q", data, 40), *struct.unpack_from("<HH", data, 58)
        return 0 < start and start + size * count <= len(data)
    return data[:4] in (b"\xcf\xfa\xed\xfe",) or data[:2] == b"\x64\x86"  # Mach-O, COFF


def allow_own_folder() -> None:
    """From now on a cache that cannot be written is replaced by a folder of this process."""
    global _own_folder_allowed
    _own_folder_allowed = True


def use_own_folder(reason: object) -> None:
    """Build into a folder of this process from now on, and say why. A shared temporary one could be anybody's.

    Raises:
        DeviceError: nobody allowed it, or there is no place for one either.
    """
    global _own_folder
    if not _own_folder_allowed:
        raise DeviceError(f"the kernel cache {_configured_folder()} is not writable ({reason}): {_REMEDY}")
    if kernel_cache_is_own():
        raise DeviceError(
            f"kernels cannot be built: {reason}. Free some space for temporary files, or set WARP_CACHE_PATH to a "
            "folder that is writable"
        )
    refused = _configured_folder()
    try:
        _own_folder = Path(tempfile.mkdtemp(prefix="bodystream-kernels-"))
    except OSError as error:
        raise DeviceError(f"the kernel cache {refused} is not writable ({reason}), and {error}: {_REMEDY}") from error
    atexit.register(shutil.rmtree, _own_folder, ignore_errors=True)
    wp.config.kernel_cache_dir = str(_own_folder)
    _log.warning(
        "warning: the kernel cache %s is not writable (%s): kernels are built anew in this run; %s",
        refused,
        reason,
        _REMEDY,
    )


def kernel_cache_is_own() -> bool:
    """Whether kernels go into a folder of this process, since the cache is not writable."""
    return _own_folder is not None and Path(str(wp.config.kernel_cache_dir)).is_relative_to(_own_folder)


def _configured_folder() -> str:
    return str(wp.config.kernel_cache_dir or os.environ.get("WARP_CACHE_PATH") or "of this user")


def kernels_are_built(module: str, device: wp.Device) -> bool:
    """Whether Warp will find the kernels of a module (which must be imported), so that loading takes no time."""
    kernels = wp.get_module(module)
    block_dim = 1 if device.is_cpu else kernels.options["block_dim"]
    if any(context == device.context and dim == block_dim for context, dim in kernels.execs):
        return True
    name = kernels.get_module_identifier(block_dim)
    folder = Path(wp.config.kernel_cache_dir) / name
    suffixes = (".o",) if device.is_cpu else (".ptx", ".cubin")
    try:
        return any(path.suffix in suffixes for path in folder.iterdir())
    except OSError:
        return False


def load_kernels(module: str, device: wp.Device) -> None:
    """Load the kernels of a module, which must be imported, from the cache, or build them.

    What fails is tried once more from nothing, for a cache that was damaged meanwhile or can no longer be written.

    Raises:
        DeviceError: it fails again; says where and what to do.
    """
    with quiet_warp():
        _load(module, device)


def _load(module: str, device: wp.Device) -> None:
    kernels = wp.get_module(module)
    try:
        wp.load_module(kernels, device=device)
        return
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            use_own_folder(error)
    except Exception:  # Warp and its compilers raise bare ones
        pass
    heal_kernel_cache()
    kernels.unload()  # forgets the failure, too
    block_dim = 1 if device.is_cpu else kernels.options["block_dim"]
    try:
        folder = Path(wp.config.kernel_cache_dir) / kernels.get_module_identifier(block_dim)
        if folder.exists():
            _remove(folder)
        wp.load_module(kernels, device=device)
    except Exception as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DeviceError(
            f"the kernels of {module} cannot be built for {device.alias}: {said}. Empty {wp.config.kernel_cache_dir} "
            "or set WARP_CACHE_PATH to another folder, and see `bodystream doctor`"
        ) from error
