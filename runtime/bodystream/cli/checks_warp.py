"""What `bodystream doctor` says of Warp: its devices, the kernel cache, and every kernel of this project."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bodystream.cli.finding import Check, first_line
from bodystream.cli.process import start_warp, use_one_opencv_thread
from bodystream.errors import DeviceError

__all__ = ["check_kernels", "check_warp"]

_KERNEL_REMEDY = "Empty the kernel cache folder and run this again; if it stays, report it with this output"


def check_warp() -> Iterator[Check]:
    """Warp, its devices, and whether a kernel builds and runs on each of them."""
    import warp as wp

    from bodystream.device import describe_device

    start_warp()
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
        return f"a kernel failed: {first_line(error)}"
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


def check_kernels() -> Iterator[Check]:
    """Whether each of this project's kernel modules loads or builds where kernels will run, and the kernel cache."""
    import warp as wp

    from bodystream.device import describe_device, kernel_cache_is_own, select_device
    from bodystream.pipelines.warmup import KERNEL_MODULES, warm_up

    start_warp()
    use_one_opencv_thread()
    device = select_device("auto")
    before = str(wp.config.kernel_cache_dir)
    try:
        built = warm_up(device, _tell)
    except DeviceError as error:
        yield Check("kernels", "missing", first_line(error), _KERNEL_REMEDY)
    else:
        news = f"{len(built)} built now, the others" if built else "all"
        found = f"{len(KERNEL_MODULES)} modules load on {describe_device(device)}, {news} from the cache"
        yield Check("kernels", "ok", found)
    folder = Path(str(wp.config.kernel_cache_dir))
    if kernel_cache_is_own():
        place = f"Make {before} writable, or set" if before != str(folder) else "Set"
        remedy = f"{place} WARP_CACHE_PATH to a folder that is writable; else every start builds all kernels"
        yield Check("kernel cache", "missing", f"not writable: this run has {folder} of its own", remedy)
        return
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if os.access(folder, os.W_OK):
        yield Check("kernel cache", "ok", f"{folder} ({size / 2**20:.1f} MiB)")
    else:
        remedy = f"Only where kernels change: make {folder} writable, or set WARP_CACHE_PATH to a folder that is"
        yield Check("kernel cache", "optional", f"{folder} can be read and not written", remedy)


def _tell(module: str, number: int, total: int) -> None:
    print(f"building kernels {number}/{total} (first start only): {module}", file=sys.stderr, flush=True)
