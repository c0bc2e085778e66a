"""What `bodystream doctor` looks at. Each check says what it found, and what to do where something is missing."""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bodystream import __version__
from bodystream.bundles import ENVIRONMENT_VARIABLE, bundle_folders, find_bundle, shipped_bundles
from bodystream.errors import BodystreamError

__all__ = ["CHECKS", "Check", "State", "run_checks"]

State = Literal["ok", "missing", "optional"]


@dataclass(frozen=True, slots=True)
class Check:
    """One finding.

    Attributes:
        name: what was looked at.
        state: `ok`; `missing` where something that everyone needs does not work; `optional` where something is
            absent that only some uses need.
        found: what is there, or why it is not.
        remedy: what to do, empty where nothing is to be done.
    """

    name: str
    state: State
    found: str
    remedy: str = ""


def check_python() -> Iterator[Check]:
    """The interpreter and this package."""
    new_enough = sys.version_info >= (3, 11)
    found = f"{platform.python_version()} ({sys.executable}), {platform.platform()}, {os.cpu_count()} processors"
    yield Check(
        "python", "ok" if new_enough else "missing", found, "" if new_enough else "Install Python 3.11 or newer"
    )
    yield Check("bodystream", "ok", __version__)


def check_warp() -> Iterator[Check]:
    """Warp, its devices, and whether a kernel builds and runs on each of them."""
    import warp as wp

    from bodystream.device import describe_device, initialise_warp

    initialise_warp()
    yield Check("warp", "ok", wp.__version__)
    for device in wp.get_devices():
        found = describe_device(device)
        if device.is_cuda:
            found += f", sm_{device.arch}, {device.total_memory / 2**30:.0f} GiB"
        problem = _kernel_problem(device)
        if problem:
            yield Check(f"device {device.alias}", "missing", f"{found}: {problem}", _KERNEL_REMEDY)
        else:
            yield Check(f"device {device.alias}", "ok", f"{found}, kernels build and run")
    if not wp.is_cuda_available():
        yield Check(
            "device cuda", "optional", _why_no_cuda(), "For an NVIDIA GPU: install its driver, then run this again"
        )
    folder = Path(str(wp.config.kernel_cache_dir))  # set by wp.init()
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if os.access(folder, os.W_OK):
        yield Check("kernel cache", "ok", f"{folder} ({size / 2**20:.1f} MiB)")
    else:
        remedy = (
            f"Make {folder} writable, or set WARP_CACHE_PATH to a folder that is; else every start builds all kernels"
        )
        yield Check("kernel cache", "missing", f"{folder} is not writable", remedy)


_KERNEL_REMEDY = "Empty the kernel cache folder and run this again; if it stays, report it with this output"


def _kernel_problem(device: Any) -> str:
    """Why a kernel does not run on a Warp device, or nothing."""
    import warp as wp

    from bodystream.cli.kernels import double_values

    try:
        values = wp.array([1.5, -2.0], dtype=wp.float32, device=device)
        doubled = wp.zeros_like(values)
        wp.launch(double_values, dim=2, inputs=[values], outputs=[doubled], device=device)
        result = doubled.numpy().tolist()
    except Exception as error:  # whatever the compiler or driver raises is the finding
        return f"a kernel failed: {_first_line(error)}"
    return "" if result == [3.0, -4.0] else f"a kernel gave {result} instead of [3.0, -4.0]"


def _why_no_cuda() -> str:
    import warp as wp

    if wp.get_cuda_toolkit_version() is None:
        return "this build of Warp has no CUDA"
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(library)
    except OSError:
        return f"no NVIDIA driver ({library} is not there)"
    driver = wp.get_cuda_driver_version()
    version = f"driver for CUDA {driver[0]}.{driver[1]}" if driver else "the driver does not start"
    return f"{version}, and no device that Warp {wp.__version__} can use"


def check_opencv() -> Iterator[Check]:
    """OpenCV with DIS optical flow, the default correspondence."""
    import cv2

    has_dis = hasattr(cv2, "DISOpticalFlow_create")
    remedy = "" if has_dis else "pip install --force-reinstall opencv-python-headless"
    found = cv2.__version__ + ("" if has_dis else ", without DISOpticalFlow")
    yield Check("opencv", "ok" if has_dis else "missing", found, remedy)


def check_onnxruntime() -> Iterator[Check]:
    """ONNX Runtime, its providers, and the devices of its plugins."""
    from bodystream.engines import load_onnxruntime

    onnxruntime = load_onnxruntime()
    yield Check("onnxruntime", "ok", onnxruntime.__version__)
    providers = onnxruntime.get_available_providers()
    cpu = "CPUExecutionProvider" in providers
    remedy = "" if cpu else "pip install --force-reinstall onnxruntime"
    yield Check("providers", "ok" if cpu else "missing", ", ".join(providers), remedy)
    if "CUDAExecutionProvider" not in providers:
        remedy = "For an NVIDIA GPU: pip uninstall onnxruntime, then pip install bodystream[cuda]"
        yield Check("provider cuda", "optional", "not in this build of onnxruntime", remedy)
    yield _check_openvino(onnxruntime)
    devices = [f"{d.ep_name} on {d.device.type.name} ({d.device.vendor})" for d in onnxruntime.get_ep_devices()]
    yield Check("provider devices", "ok", ", ".join(devices))


def _check_openvino(onnxruntime: Any) -> Check:
    """The OpenVINO plugin is registered for real: being installed does not mean that it loads or has a device."""
    try:
        import onnxruntime_ep_openvino as plugin
    except ImportError as error:
        reason = "not installed" if _distribution_version("onnxruntime-ep-openvino") is None else _first_line(error)
        return Check(
            "provider openvino", "optional", reason, "For faster networks on Intel: pip install bodystream[openvino]"
        )
    version = _distribution_version("onnxruntime-ep-openvino")
    try:
        onnxruntime.register_execution_provider_library("bodystream-doctor-openvino", plugin.get_library_path())
    except Exception as error:  # the binding raises its own types, and each means that the plugin does not load
        remedy = "pip install --upgrade onnxruntime onnxruntime-ep-openvino"
        return Check("provider openvino", "optional", f"{version}, does not load: {_first_line(error)}", remedy)
    devices = [d.device.type.name for d in onnxruntime.get_ep_devices() if d.ep_name == plugin.get_ep_name()]
    if not devices:
        remedy = "Networks run on the default CPU provider; OpenVINO supports Intel's processors"
        return Check("provider openvino", "optional", f"{version}, loads, and offers no device here", remedy)
    return Check("provider openvino", "ok", f"{version}, on {', '.join(devices)}")


def check_extras() -> Iterator[Check]:
    """Packages that one kind of hardware needs."""
    yield _check_package("tensorrt", "tensorrt", "For NVIDIA inference engines: pip install bodystream[tensorrt]")
    yield _check_package("pyopenxr", "xr", "For headsets through OpenXR: pip install bodystream[openxr]")


def check_cameras() -> Iterator[Check]:
    """RealSense: its packages, and each connected camera with its link and firmware."""
    from bodystream.sources.realsense import doctor_realsense

    for what, well, remedy in doctor_realsense():
        package = re.match(r"(libusb-1\.0|pyrealsense2)[: ]+", what)
        name, found = (package.group(1), what[package.end() :]) if package else ("realsense", what)
        yield Check(name, "ok" if well else "optional", found, remedy)


def _check_package(distribution: str, module: str, remedy: str) -> Check:
    try:
        importlib.import_module(module)
    except ImportError as error:
        version = _distribution_version(distribution)
        found = "not installed" if version is None else f"{version}, cannot be imported: {_first_line(error)}"
        return Check(distribution, "optional", found, remedy)
    except Exception as error:  # bindings fail in their own ways where a driver or runtime is absent
        return Check(distribution, "optional", f"cannot be imported: {_first_line(error)}", remedy)
    return Check(distribution, "ok", _distribution_version(distribution) or "installed")


def check_bundles() -> Iterator[Check]:
    """Each shipped bundle, with the hash of every file, and the folders for further ones."""
    names = shipped_bundles()
    if not names:
        yield Check(
            "bundles", "missing", "none came with this installation", "pip install --force-reinstall bodystream"
        )
    for name in names:
        try:
            manifest = find_bundle(name).manifest
        except BodystreamError as error:
            yield Check(f"bundle {name}", "missing", _first_line(error), "pip install --force-reinstall bodystream")
            continue
        files = ", ".join(f"{file.path} {file.sha256[:12]} ({file.bytes / 2**20:.1f} MiB)" for file in manifest.files)
        yield Check(f"bundle {name}", "ok", f"version {manifest.version}, {manifest.kind}, {manifest.licence}: {files}")
    for folder in bundle_folders()[1:]:
        if folder.is_dir():
            yield Check("bundle folder", "ok", str(folder))
        else:
            yield Check("bundle folder", "optional", f"{folder} is not a folder", f"Correct {ENVIRONMENT_VARIABLE}")


def check_recordings() -> Iterator[Check]:
    """Recorded data for tests and evaluation."""
    value = os.environ.get("BODYSTREAM_DATA", "")
    remedy = "Only for tests and `bodystream eval`: set BODYSTREAM_DATA to the folder of recordings"
    if not value:
        yield Check("recordings", "optional", "BODYSTREAM_DATA is not set", remedy)
    elif not Path(value).is_dir():
        yield Check("recordings", "optional", f"BODYSTREAM_DATA names {value}, which is not a folder", remedy)
    else:
        folders = sum(1 for child in Path(value).iterdir() if child.is_dir())
        yield Check("recordings", "ok", f"{value} ({folders} folders)")


# Name for messages, what it looks at, and whether everyone needs it.
CHECKS: tuple[tuple[str, Callable[[], Iterator[Check]], bool], ...] = (
    ("python", check_python, True),
    ("warp", check_warp, True),
    ("opencv", check_opencv, True),
    ("onnxruntime", check_onnxruntime, True),
    ("extras", check_extras, False),
    ("realsense", check_cameras, False),
    ("bundles", check_bundles, True),
    ("recordings", check_recordings, False),
)


def run_checks() -> list[Check]:
    """All findings; a check that fails in a way that nobody foresaw becomes a finding too."""
    findings: list[Check] = []
    for name, check, required in CHECKS:
        try:
            findings.extend(check())
        except ImportError as error:
            remedy = "pip install --force-reinstall bodystream" if required else ""
            findings.append(Check(name, "missing" if required else "optional", f"cannot be imported: {error}", remedy))
        except Exception as error:  # a doctor has to survive what it finds; the failure itself is the finding
            found = f"the check failed: {type(error).__name__}: {_first_line(error)}"
            findings.append(Check(name, "missing" if required else "optional", found, "Report this with the output"))
    return findings


def _distribution_version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
