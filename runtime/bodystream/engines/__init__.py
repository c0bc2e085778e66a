"""Engines: one interface to the libraries that run a bundle's graph, on NVIDIA GPUs and on processors."""

from bodystream.engines.onnx_runtime import cuda_remedy, installed_builds, load_onnxruntime
from bodystream.engines.session import PROVIDERS, Engine, ProviderName, available_providers, open_engine

__all__ = [
    "PROVIDERS",
    "Engine",
    "ProviderName",
    "available_providers",
    "cuda_remedy",
    "installed_builds",
    "load_onnxruntime",
    "open_engine",
]
