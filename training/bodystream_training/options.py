"""Options of every command that trains, apart from PyTorch, so that help does not wait for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bodystream.errors import ConfigurationError

__all__ = ["DeviceOptions"]


@dataclass(frozen=True, kw_only=True)
class DeviceOptions:
    """Where and how exactly networks are trained.

    Raises:
        ConfigurationError: a number below 1.
    """

    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    """What computes: cpu, cuda, or auto, which is cuda where PyTorch sees a graphics card."""

    devices: int = 1
    """Processes on this machine, each with a graphics card of its own; they share every batch."""

    num_nodes: int = 1
    """Machines that train together, each with as many devices."""

    strategy: Literal["auto", "ddp"] = "auto"
    """How processes go together; ddp: each has the whole network, and gradients are averaged. auto: ddp for several."""

    precision: Literal["auto", "bf16", "fp16", "fp32"] = "bf16"
    """Of matrix products: 16 bits where that does no harm (fp16 on graphics cards only), or 32 throughout; auto: bf16
    on graphics cards and on processors that have units for it (AMX), else fp32."""

    tensorboard: bool = False
    """Also write the log for TensorBoard."""

    def __post_init__(self) -> None:
        for name, number in (("devices", self.devices), ("num-nodes", self.num_nodes)):
            if number < 1:
                raise ConfigurationError(f"--{name} must be at least 1, got {number}")
