"""Which device Warp kernels run on. `auto` takes CUDA where it works, else the CPU, and says so."""

from __future__ import annotations

import platform

import warp as wp

from bodystream.device.kernel_cache import heal_kernel_cache, use_own_folder
from bodystream.device.quiet import quiet_warp
from bodystream.errors import ConfigurationError, DeviceError

__all__ = ["describe_device", "initialise_warp", "select_device"]

_initialised = False


def initialise_warp() -> None:
    """Start Warp quietly and look through its kernel cache; safe to call again. No setting of Warp is changed.

    Raises:
        DeviceError: there is no place for kernels.
    """
    global _initialised
    if _initialised:
        return
    with quiet_warp():
        try:
            wp.init()
        except OSError as error:  # Warp makes its cache folder
            use_own_folder(error)
            wp.init()
    _initialised = True
    heal_kernel_cache()


def select_device(name: str = "auto") -> wp.Device:
    """The Warp device for `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        ConfigurationError: the name is none of these.
        DeviceError: CUDA was asked for and no such device works.
    """
    initialise_warp()
    if name == "auto":
        return wp.get_device("cuda:0" if wp.is_cuda_available() else "cpu")
    if name == "cpu":
        return wp.get_device("cpu")
    if name == "cuda" or (name.startswith("cuda:") and name[5:].isdigit()):
        index = int(name[5:]) if ":" in name else 0
        count = wp.get_cuda_device_count()
        if index >= count:
            raise DeviceError(
                f"device {name!r} was asked for, and this machine has {count} usable CUDA device(s). "
                "Install an NVIDIA driver (see `bodystream doctor`), or use --device cpu"
            )
        return wp.get_device(f"cuda:{index}")
    raise ConfigurationError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}")


def describe_device(device: wp.Device) -> str:
    """A device as a person would name it: `cuda:0 (NVIDIA ...)`, `cpu (x86_64)`."""
    return f"{device.alias} ({device.name if device.is_cuda else platform.machine()})"
