"""The backend ONNX Runtime: sessions on the processor, on CUDA and by OpenVINO, with their buffers bound."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bodystream.bundles import Signature, TensorSpec
from bodystream.engines.base import PROVIDERS, check_signature, host_value, memory_of
from bodystream.engines.onnx_runtime import cuda_remedy, load_onnxruntime, preload_cuda
from bodystream.errors import BundleError, DeviceError, InputError
from bodystream.types import Array

if TYPE_CHECKING:
    import warp as wp

__all__ = ["OnnxEngine", "available_providers", "open_onnx", "signature_of"]

_OPENVINO_PLUGIN = "bodystream-openvino"
_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}
_EXECUTION_PROVIDERS = {"cuda": "CUDAExecutionProvider", "openvino": "OpenVINOExecutionProvider"}
# In this spelling only: others are overlooked without a word, and bfloat16 may be computed.
_OPENVINO_OPTIONS = {"load_config": '{"CPU": {"INFERENCE_PRECISION_HINT": "f32"}}'}


@dataclass(slots=True)
class _Port:
    """One input or output: the engine's own memory for it, and what the session is bound to."""

    spec: TensorSpec
    own: Array
    own_pointer: int = field(init=False)
    pointer: int | None = None
    array: Any = None  # the caller's, while the session is bound to it

    def __post_init__(self) -> None:
        self.own_pointer = self.own.ctypes.data


class OnnxEngine:
    """An `Engine` by ONNX Runtime; `run` allocates nothing large.

    Args:
        session: of onnxruntime.
        signature: with fixed shapes, which the session was found to have.
        label: of the graph, for messages.
        gpu: number of the CUDA device, or None where the provider computes on the host.
    """

    def __init__(
        self, session: Any, provider: str, reason: str, label: str, signature: Signature, gpu: int | None = None
    ) -> None:
        self.provider, self.reason, self._label, self._gpu = provider, reason, label, gpu
        self._session = session
        self.inputs, self.outputs = signature.inputs, signature.outputs
        self._binding = session.io_binding()
        self._in = {name: _Port(spec, np.zeros(spec.extents, spec.dtype)) for name, spec in self.inputs.items()}
        self._out = {name: _Port(spec, np.empty(spec.extents, spec.dtype)) for name, spec in self.outputs.items()}
        self._answers: dict[str, Any] = {name: port.own for name, port in self._out.items()}
        self._lent = False
        for name, port in self._out.items():
            self._bind(self._binding.bind_output, name, port, port.own_pointer)

    def run(self, feed: Mapping[str, Any], out: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """See `Engine`."""
        if feed.keys() != self._in.keys():
            raise InputError(f"{self._label} takes {', '.join(self._in)}, got {', '.join(feed)}")
        for name, value in feed.items():
            if type(value) is np.ndarray or memory_of(value) is None:
                self._copy(name, self._in[name], value)
            else:
                self._lend(self._binding.bind_input, name, self._in[name], value)
        if out is not None or self._lent:
            self._direct({} if out is None else out)
        self._session.run_with_iobinding(self._binding)
        return self._answers

    def _copy(self, name: str, port: _Port, value: Any) -> None:
        own = port.own
        if type(value) is not np.ndarray or value.shape != own.shape or value.dtype != own.dtype:
            value = host_value(self._label, name, value, port.spec)
        np.copyto(own, value)
        if self._gpu is None:
            self._bind(self._binding.bind_input, name, port, port.own_pointer)
        else:  # goes up when it is bound
            self._binding.bind_cpu_input(name, port.own)
            port.pointer = None
        port.array = None

    def _direct(self, out: Mapping[str, Any]) -> None:
        """Let each output be written to the caller's array, or to the engine's own."""
        if not out.keys() <= self._out.keys():
            raise InputError(f"{self._label} gives {', '.join(self._out)}, got arrays for {', '.join(out)}")
        for name, port in self._out.items():
            if name in out:
                array = out[name]
                if isinstance(array, np.ndarray) and not array.flags.writeable:
                    raise InputError(f"{self._label}: the array for {name} is read-only: give another")
                self._lend(self._binding.bind_output, name, port, array)
                self._answers[name] = array
            else:
                self._bind(self._binding.bind_output, name, port, port.own_pointer)
                self._answers[name], port.array = port.own, None
        self._lent = bool(out)

    def _lend(self, bind: Callable[..., None], name: str, port: _Port, array: Any) -> None:
        """Bind an array of the caller as it is.

        Raises:
            InputError: it is none, does not fit, or lies where the provider cannot reach.
        """
        memory = memory_of(array)
        if memory is None:
            raise InputError(f"{self._label}: {name} must be an array, got {type(array).__name__}")
        if (memory.shape, memory.dtype, memory.contiguous) != (port.spec.shape, np.dtype(port.spec.dtype), True):
            order = "" if memory.contiguous else ", not contiguous"
            raise InputError(
                f"{self._label}: {name} must be {port.spec}, contiguous, got {memory.dtype} {memory.shape}{order}"
            )
        if memory.on_gpu and self._gpu is None:
            raise InputError(
                f"{self._label}: {name} lies on a GPU, and {self.provider} computes on the host: copy it down, or open "
                "the engine with the provider cuda"
            )
        self._bind(bind, name, port, memory.pointer, memory.on_gpu)
        port.array = array

    def _bind(self, bind: Callable[..., None], name: str, port: _Port, pointer: int, on_gpu: bool = False) -> None:
        if port.pointer != pointer:
            device = ("cuda", self._gpu) if on_gpu else ("cpu", 0)
            bind(name, *device, np.dtype(port.spec.dtype).type, list(port.spec.shape), pointer)
            port.pointer = pointer


def available_providers() -> dict[str, str]:
    """Of each provider that cannot be used here, why; of each that can, an empty string."""
    onnxruntime = load_onnxruntime()
    have = onnxruntime.get_available_providers()
    out = {"cpu": ""}
    out["cuda"] = "" if _EXECUTION_PROVIDERS["cuda"] in have else f"this onnxruntime has no CUDA: {cuda_remedy()}"
    found = importlib.util.find_spec("onnxruntime_ep_openvino") is not None
    out["openvino"] = "" if found else "it is not installed: pip install 'bodystream[openvino]'"
    found = importlib.util.find_spec("tensorrt") is not None
    out["tensorrt"] = "" if found else "it is not installed: pip install 'bodystream[tensorrt]'"
    return {name: out[name] for name in PROVIDERS}


def open_onnx(
    content: bytes,
    label: str,
    provider: str,
    reason: str,
    section: Signature,
    sizes: Mapping[str, int],
    threads: int,
    spinning: bool,
    device: wp.Device | None = None,
) -> OnnxEngine:
    """Load a graph on one provider.

    Args:
        content: of an ONNX file that holds its weights.
        label: of the file, for messages.
        section: what its manifest says goes in and comes out.
        sizes: of the named extents.
        threads, spinning: of the CPU provider.
        device: of the kernels that arrays are shared with; CUDA runs on it and on its stream, else on the first GPU.

    Raises:
        DeviceError: the provider does not work here, or took no part of the graph.
        BundleError: onnxruntime cannot read the graph, or it is not what its manifest says.
    """
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    for name, size in sizes.items():
        options.add_free_dimension_override_by_name(name, size)
    given: dict[str, Any] = {"providers": ["CPUExecutionProvider"]}
    gpu = None
    if provider == "cuda":
        preload_cuda(onnxruntime)
        gpu = device.ordinal if device is not None and device.is_cuda else 0
        choices = {"device_id": str(gpu), "enable_cuda_graph": "0"}
        if device is not None and device.is_cuda:
            choices["user_compute_stream"] = str(device.stream.cuda_stream)
        given = {"providers": [(_EXECUTION_PROVIDERS["cuda"], choices), "CPUExecutionProvider"]}
    elif provider == "openvino":
        _add_openvino(onnxruntime, options)
        given = {}
    try:
        session = onnxruntime.InferenceSession(content, options, **given)
    # onnxruntime's own exceptions have no common base but Exception
    except Exception as error:
        if provider == "cpu":
            raise BundleError(
                f"{label} is not a graph that onnxruntime {onnxruntime.__version__} reads: {error}"
            ) from error
        raise DeviceError(f"{provider} does not run {label}: {_first_line(error)}") from error
    if provider == "cuda" and _EXECUTION_PROVIDERS["cuda"] not in session.get_providers():
        raise DeviceError("onnxruntime fell back from CUDA: no GPU or no driver was found")
    if provider != "cpu" and not _takes_part(session, _EXECUTION_PROVIDERS[provider]):
        raise DeviceError(f"{provider} took no part of {label}, which the processor would run: choose cpu")
    signature = section.at(sizes)
    check_signature(label, _signature(session, label).at(sizes), signature, "its manifest says")
    still_open = signature.open_names()
    if still_open:
        raise BundleError(f"{label}: say how large {', '.join(still_open)} is: its shapes are open")
    return OnnxEngine(session, provider, reason, label, signature, gpu)


def signature_of(content: bytes, label: str) -> Signature:
    """What goes into an ONNX file and comes out, as the file says.

    Raises:
        BundleError: it is no such file, or has tensors of other types.
    """
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as above
        raise BundleError(
            f"{label} is not a graph that onnxruntime {onnxruntime.__version__} reads: {error}"
        ) from error
    return _signature(session, label)


def _signature(session: Any, label: str) -> Signature:
    def specs(values: list[Any]) -> dict[str, TensorSpec]:
        out = {}
        for value in values:
            if value.type not in _DTYPES:
                raise BundleError(
                    f"{label}: {value.name} is a {value.type}, wanted one of {', '.join(_DTYPES)}: export it again"
                )
            # an extent without a name is None
            out[value.name] = TensorSpec(tuple("?" if e is None else e for e in value.shape), _DTYPES[value.type])  # type: ignore[arg-type]
        return out

    return Signature(specs(session.get_inputs()), specs(session.get_outputs()))


def _takes_part(session: Any, name: str) -> bool:
    """Whether a provider was given any node; that a session lists it says nothing of that."""
    return any(part.ep_name == name for part in session.get_provider_graph_assignment_info())


def _add_openvino(onnxruntime: Any, options: Any) -> None:
    import onnxruntime_ep_openvino as plugin

    name = plugin.get_ep_name()
    if not any(device.ep_name == name for device in onnxruntime.get_ep_devices()):
        onnxruntime.register_execution_provider_library(_OPENVINO_PLUGIN, plugin.get_library_path())
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == name]
    if not devices:
        raise DeviceError("the OpenVINO provider is installed and finds no device: it supports Intel's processors")
    options.add_provider_for_devices(devices[:1], _OPENVINO_OPTIONS)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
