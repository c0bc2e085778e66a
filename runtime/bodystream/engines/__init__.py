"""Engines: one interface to the libraries that run a bundle's graph, on NVIDIA GPUs and on processors."""

from bodystream.engines.base import PROVIDERS, Engine, ProviderName
from bodystream.engines.onnx import available_providers, signature_of
from bodystream.engines.onnx_runtime import cuda_remedy, installed_builds, load_onnxruntime
from bodystream.engines.open import open_engine

__all__ = [
    "PROVIDERS",
    "Engine",
    "ProviderName",
    "available_providers",
    "cuda_remedy",
    "installed_builds",
    "load_onnxruntime",
    "open_engine",
    "signature_of",
]
