"""A network graph on one provider, by ONNX Runtime: choice of the provider, fixed shapes, reused buffers."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from bodystream.engines.onnx_runtime import cuda_remedy, load_onnxruntime, preload_cuda
from bodystream.errors import BundleError, ConfigurationError, DeviceError, InputError, MissingDependencyError
from bodystream.types import Array

__all__ = ["PROVIDERS", "Engine", "ProviderName", "available_providers", "open_engine"]

ProviderName = Literal["auto", "cuda", "openvino", "cpu"]
PROVIDERS = tuple(name for name in get_args(ProviderName) if name != "auto")

_OPENVINO_PLUGIN = "bodystream-openvino"


class Engine:
    """Runs one graph whose shapes are all fixed; `run` allocates nothing large.

    Attributes:
        provider: what it runs on: `cuda`, `openvino` or `cpu`.
        reason: why that one was taken, for a person.
        inputs, outputs: shapes by name.
    """

    def __init__(self, session: Any, provider: str, reason: str, graph: str, dimensions: Mapping[str, int]) -> None:
        self.provider, self.reason, self._graph = provider, reason, graph
        self._session = session

        def fixed(value: Any) -> tuple[int, ...]:
            return tuple(dimensions.get(extent, extent) for extent in value.shape)

        self.inputs = {value.name: fixed(value) for value in session.get_inputs()}
        self.outputs = {value.name: fixed(value) for value in session.get_outputs()}
        for name, shape in (self.inputs | self.outputs).items():
            if not all(isinstance(extent, int) for extent in shape):
                raise BundleError(f"{graph}: {name} has the open shape {shape}: say how large it is")
        for value in (*session.get_inputs(), *session.get_outputs()):
            # the buffers below are bound without a further look
            if value.type != "tensor(float)":
                raise BundleError(f"{graph}: {value.name} is a {value.type}, tensor(float) is wanted: export it again")
        self._buffers = {name: np.empty(shape, np.float32) for name, shape in self.outputs.items()}
        self._feed = {name: np.zeros(shape, np.float32) for name, shape in self.inputs.items()}
        self._binding = session.io_binding()
        on_host = provider != "cuda"
        for name, array in self._feed.items():
            if on_host:
                self._binding.bind_cpu_input(name, array)
        for name, array in self._buffers.items():
            self._binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name; the arrays are the engine's own and change with the next run.

        Raises:
            InputError: an input is missing, unknown or of another shape.
        """
        if feed.keys() != self._feed.keys():
            raise InputError(f"{self._graph} takes {', '.join(self._feed)}, got {', '.join(feed)}")
        for name, value in feed.items():
            if np.shape(value) != self.inputs[name]:
                raise InputError(f"{self._graph}: {name} must be of shape {self.inputs[name]}, got {np.shape(value)}")
            np.copyto(self._feed[name], value)
            if self.provider == "cuda":
                self._binding.bind_cpu_input(name, self._feed[name])
        self._session.run_with_iobinding(self._binding)
        return self._buffers


def available_providers() -> dict[str, str]:
    """Of each provider that cannot be used here, why; of each that can, an empty string."""
    onnxruntime = load_onnxruntime()
    have = onnxruntime.get_available_providers()
    out = {"cpu": ""}
    out["cuda"] = "" if "CUDAExecutionProvider" in have else f"this onnxruntime has no CUDA: {cuda_remedy()}"
    found = importlib.util.find_spec("onnxruntime_ep_openvino") is not None
    out["openvino"] = "" if found else "it is not installed: pip install 'bodystream[openvino]'"
    return {name: out[name] for name in PROVIDERS}


def open_engine(
    path: Path, provider: ProviderName = "auto", threads: int = 1, dimensions: Mapping[str, int] | None = None
) -> Engine:
    """Load a graph.

    Args:
        path: an ONNX file of a checked bundle.
        provider: `auto` takes CUDA where it works, else the CPU: graphs of this project are small, and OpenVINO's
            overhead per run is more than it gains on them.
        threads: for the CPU provider.
        dimensions: sizes of the graph's named open dimensions.

    Raises:
        ConfigurationError: there is no such provider.
        MissingDependencyError: the provider's package is not installed.
        DeviceError: the provider is installed and does not work.
        BundleError: the file is not a graph that ONNX Runtime reads.
    """
    if provider not in get_args(ProviderName):
        raise ConfigurationError(f"a provider is one of {', '.join(get_args(ProviderName))}, got {provider!r}")
    sizes = dict(dimensions) if dimensions is not None else {}
    problems = available_providers()
    if provider != "auto":
        if problems[provider]:
            remedy = problems[provider].partition(": ")[2]
            raise MissingDependencyError(f"the provider {provider}", "as asked for", f"Install it: {remedy}")
        return _open(path, provider, "as asked for", threads, sizes)
    if not problems["cuda"]:
        try:
            return _open(path, "cuda", "CUDA works", threads, sizes)
        except DeviceError as error:
            return _open(path, "cpu", f"CUDA does not work ({error})", threads, sizes)
    return _open(path, "cpu", f"no CUDA: {problems['cuda']}", threads, sizes)


def _open(path: Path, provider: str, reason: str, threads: int, dimensions: Mapping[str, int]) -> Engine:
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A spinning worker takes a core from the stages that run between two poses.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for name, size in dimensions.items():
        options.add_free_dimension_override_by_name(name, size)
    names = ["CPUExecutionProvider"]
    if provider == "cuda":
        preload_cuda(onnxruntime)
        names = [("CUDAExecutionProvider", {"enable_cuda_graph": "0"}), "CPUExecutionProvider"]  # type: ignore[list-item]
    elif provider == "openvino":
        _add_openvino(onnxruntime, options)
        names = []
    try:
        session = (
            onnxruntime.InferenceSession(str(path), options, providers=names)
            if names
            else (onnxruntime.InferenceSession(str(path), options))
        )
    # onnxruntime's own exceptions have no common base but Exception
    except Exception as error:
        if provider == "cpu":
            raise BundleError(
                f"{path} is not a graph that onnxruntime {onnxruntime.__version__} reads: {error}"
            ) from error
        raise DeviceError(f"{provider} does not run {path.name}: {_first_line(error)}") from error
    if provider == "cuda" and "CUDAExecutionProvider" not in session.get_providers():
        raise DeviceError("onnxruntime fell back from CUDA: no GPU or no driver was found")
    return Engine(session, provider, reason, path.name, dimensions)


def _add_openvino(onnxruntime: Any, options: Any) -> None:
    import onnxruntime_ep_openvino as plugin

    name = plugin.get_ep_name()
    if not any(device.ep_name == name for device in onnxruntime.get_ep_devices()):
        onnxruntime.register_execution_provider_library(_OPENVINO_PLUGIN, plugin.get_library_path())
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == name]
    if not devices:
        raise DeviceError("the OpenVINO provider is installed and finds no device: update onnxruntime-ep-openvino")
    options.add_provider_for_devices(devices[:1], {})


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
