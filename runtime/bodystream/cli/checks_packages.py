"""What `bodystream doctor` says of the packages that run networks and that one kind of hardware needs."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterator
from typing import Any

from bodystream.cli.finding import Check, distribution_version, first_line
from bodystream.errors import DeviceError, MissingDependencyError

__all__ = ["check_extras", "check_onnxruntime", "check_opencv"]


def check_opencv() -> Iterator[Check]:
    """OpenCV with DIS optical flow, the default correspondence."""
    import cv2

    has_dis = hasattr(cv2, "DISOpticalFlow_create")
    remedy = "" if has_dis else "pip install --force-reinstall opencv-python-headless"
    found = cv2.__version__ + ("" if has_dis else ", without DISOpticalFlow")
    yield Check("opencv", "ok" if has_dis else "missing", found, remedy)


def check_onnxruntime() -> Iterator[Check]:
    """ONNX Runtime, its providers, and the devices of its plugins."""
    from bodystream.engines import installed_builds, load_onnxruntime

    onnxruntime = load_onnxruntime()
    told = os.environ.get("ORT_DISABLE_TELEMETRY") or "1"  # as it was for the import
    off = told.lower() in ("1", "true", "yes", "on")
    telemetry = "telemetry off" if off else f"ORT_DISABLE_TELEMETRY={told}"
    yield Check("onnxruntime", "ok", f"{onnxruntime.__version__}, {telemetry}")
    providers = onnxruntime.get_available_providers()
    cpu = "CPUExecutionProvider" in providers
    remedy = "" if cpu else "pip install --force-reinstall --no-deps onnxruntime"
    yield Check("providers", "ok" if cpu else "missing", ", ".join(providers), remedy)
    yield check_cuda_build(installed_builds(), "CUDAExecutionProvider" in providers)
    yield _check_openvino(onnxruntime)
    devices = [f"{d.ep_name} on {d.device.type.name} ({d.device.vendor})" for d in onnxruntime.get_ep_devices()]
    yield Check("provider devices", "ok", ", ".join(devices))


def check_cuda_build(builds: dict[str, str], has_cuda: bool) -> Check:
    """Which of the two distributions that own the module `onnxruntime` was written last, and whether they agree.

    Args:
        builds: versions of onnxruntime and onnxruntime-gpu, those that are installed.
        has_cuda: whether the module offers CUDA.
    """
    from bodystream.engines import cuda_remedy

    both = " and ".join(f"{name} {version}" for name, version in builds.items())
    if not has_cuda:
        if "onnxruntime-gpu" in builds:
            found = f"{both} are installed, and the one without CUDA was written last"
            return Check("provider cuda", "optional", found, cuda_remedy())
        return Check("provider cuda", "optional", "not in this build", f"For an NVIDIA GPU: {cuda_remedy()}")
    if len(set(builds.values())) > 1:
        remedy = f"Give both one version: pip install --no-deps onnxruntime=={builds['onnxruntime-gpu']}, then "
        remedy += f"pip install --force-reinstall --no-deps onnxruntime-gpu=={builds['onnxruntime-gpu']}"
        return Check("provider cuda", "optional", f"{both} share one folder", remedy)
    return Check("provider cuda", "ok", both)


def _check_openvino(onnxruntime: Any) -> Check:
    """The OpenVINO plugin is registered for real: being installed does not mean that it loads or has a device."""
    try:
        import onnxruntime_ep_openvino as plugin
    except ImportError as error:
        reason = "not installed" if distribution_version("onnxruntime-ep-openvino") is None else first_line(error)
        return Check(
            "provider openvino", "optional", reason, "For faster networks on Intel: pip install 'bodystream[openvino]'"
        )
    version = distribution_version("onnxruntime-ep-openvino")
    try:
        onnxruntime.register_execution_provider_library("bodystream-doctor-openvino", plugin.get_library_path())
    except Exception as error:  # the binding raises its own types, and each means that the plugin does not load
        remedy = "pip install --upgrade onnxruntime onnxruntime-ep-openvino"
        return Check("provider openvino", "optional", f"{version}, does not load: {first_line(error)}", remedy)
    devices = [d.device.type.name for d in onnxruntime.get_ep_devices() if d.ep_name == plugin.get_ep_name()]
    if not devices:
        remedy = "Networks run on the default CPU provider; OpenVINO supports Intel's processors"
        return Check("provider openvino", "optional", f"{version}, loads, and offers no device here", remedy)
    return Check("provider openvino", "ok", f"{version}, on {', '.join(devices)}")


def check_extras() -> Iterator[Check]:
    """Packages that one kind of hardware needs."""
    yield _check_tensorrt()
    yield _check_package(
        "cryptography",
        "cryptography.x509",
        "For the certificate of --headset webxr: pip install 'bodystream[webxr]'",
    )
    yield _check_openxr()
    yield _check_mcap()
    yield _check_package("eclipse-zenoh", "zenoh", "For --send zenoh: pip install 'bodystream[zenoh]'")
    yield _check_package("ezc3d", "ezc3d", "For markers of .c3d files: pip install 'bodystream[c3d]'")
    yield _check_package("lzfse", "lzfse", "For Record3D's .r3d files: pip install 'bodystream[recordings]'")
    yield _check_package("pyzmq", "zmq", "For drive --send zmq: pip install 'bodystream[zmq]'")


def _check_mcap() -> Check:
    """The packages of the extra `mcap` together: a take needs all of them."""
    from bodystream.takes.packages import require_mcap

    try:
        require_mcap()
    except MissingDependencyError as error:
        version = distribution_version("mcap")
        found = "not installed" if version is None else f"{version}, and {error.package} is missing"
        return Check("mcap", "optional", found, "For record and takes: pip install 'bodystream[mcap]'")
    return Check("mcap", "ok", distribution_version("mcap") or "installed")


def _check_tensorrt() -> Check:
    """TensorRT: whether it loads, is new enough, and has a GPU; it is used where it is asked for by name only."""
    found = _check_package(
        "tensorrt", "tensorrt", "For networks on an NVIDIA GPU by TensorRT: pip install 'bodystream[tensorrt]'"
    )
    if found.state != "ok":
        return found
    from bodystream.engines.tensorrt import load_tensorrt
    from bodystream.engines.tensorrt_gpu import gpu_of

    try:
        version = load_tensorrt().__version__
        gpu = gpu_of(None)
    except DeviceError as error:
        return Check("tensorrt", "optional", first_line(error), "Networks run by another provider")
    return Check("tensorrt", "ok", f"{version} on {gpu.name}, with --provider tensorrt")


def _check_openxr() -> Check:
    """pyopenxr with what it loads: it brings PyOpenGL, which wants the system's OpenGL library."""
    from bodystream.sources.headset.openxr_runtime import require_xr

    try:
        require_xr()
    except MissingDependencyError as error:
        version = distribution_version("pyopenxr")
        if version is None:
            return Check(
                "pyopenxr", "optional", "not installed", "For headsets by OpenXR: pip install 'bodystream[openxr]'"
            )
        return Check("pyopenxr", "optional", f"{version}, and {error.package} is missing", error.remedy)
    except Exception as error:  # bindings fail in their own ways where a driver or runtime is absent
        return Check("pyopenxr", "optional", f"cannot be imported: {first_line(error)}", "Report this with the output")
    return Check("pyopenxr", "ok", distribution_version("pyopenxr") or "installed")


def _check_package(distribution: str, module: str, remedy: str) -> Check:
    try:
        importlib.import_module(module)
    except ImportError as error:
        version = distribution_version(distribution)
        found = "not installed" if version is None else f"{version}, cannot be imported: {first_line(error)}"
        if version is not None:
            remedy = f"pip install --force-reinstall {distribution}"
        return Check(distribution, "optional", found, remedy)
    except Exception as error:  # bindings fail in their own ways where a driver or runtime is absent
        return Check(distribution, "optional", f"cannot be imported: {first_line(error)}", remedy)
    return Check(distribution, "ok", distribution_version(distribution) or "installed")
