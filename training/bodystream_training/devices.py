"""Where a training runs: on the processor or on graphics cards, one or several, of one machine or several.

Lightning Fabric does the work: it moves networks and batches, starts further processes and averages their gradients.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision, Precision
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.rank_zero import rank_zero_only

from bodystream.errors import ConfigurationError
from bodystream_training.options import DeviceOptions

__all__ = ["leads_here", "open_fabric"]


class _Autocast(MixedPrecision):
    """Autocast alone: Fabric's plugin also rounds what a network is given, and the truth that it is compared with."""

    def convert_input(self, data: Any) -> Any:
        return data


def open_fabric(options: DeviceOptions | None = None) -> Fabric:
    """Choose devices; with several, `launch()` has to be called on the result before anything is trained.

    Raises:
        ConfigurationError: there is no such device, not as many, or it cannot compute in this precision.
    """
    options = options or DeviceOptions()
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it tells of every choice that was asked for
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    accelerator = ("cuda" if cards else "cpu") if options.accelerator == "auto" else options.accelerator
    if accelerator == "cuda" and cards < options.devices:
        raise ConfigurationError(
            f"training on {options.devices} graphics cards was asked for, PyTorch {torch.__version__} sees {cards}: "
            "install NVIDIA's driver and a PyTorch that is built with CUDA, give --devices N, or --accelerator cpu"
        )
    if accelerator == "cpu" and options.precision == "fp16":
        raise ConfigurationError("a processor does not train in fp16: give --precision bf16 or fp32")
    chosen = options.precision
    if chosen == "auto":
        chosen = "bf16" if accelerator == "cuda" or torch.cpu._is_amx_tile_supported() else "fp32"
    single = options.devices * options.num_nodes == 1
    precision: Precision = Precision()
    if chosen != "fp32":
        precision = _Autocast("bf16-mixed" if chosen == "bf16" else "16-mixed", accelerator)
    try:
        return Fabric(
            accelerator=accelerator,
            devices=options.devices,
            num_nodes=options.num_nodes,
            strategy="auto" if single and options.strategy == "auto" else DDPStrategy(),
            plugins=[precision],
        )
    except (ValueError, RuntimeError) as error:  # what a cluster's scheduler says does not go with the options
        raise ConfigurationError(f"--devices {options.devices} --num-nodes {options.num_nodes}: {error}") from error


def leads_here() -> bool:
    """Whether this is the first process of its machine, or the only one; known before `launch()`."""
    return rank_zero_only.rank == 0
