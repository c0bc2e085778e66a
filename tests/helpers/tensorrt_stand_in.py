"""A module that answers the calls of TensorRT 11's Python interface which the provider makes, and a GPU for it.

Networks are computed by ONNX Runtime, at the addresses that the provider sets; the "GPU" is the host's memory. What the
documentation promises is kept: nothing is done while a stream is captured, a captured graph keeps its addresses, a plan
of another version or GPU is not taken, and a network with open extents is not built.
"""

from __future__ import annotations

import base64
import ctypes
import enum
import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import warp as wp

from bodystream.engines import load_onnxruntime, tensorrt
from bodystream.engines.tensorrt_plans import plan_folder
from helpers.needs import needs

__all__ = ["HostGpu", "Machine"]


class DataType(enum.Enum):
    FLOAT = 1
    HALF = 10
    UINT8 = 2


class TensorIOMode(enum.Enum):
    INPUT = 0
    OUTPUT = 1


class BuilderFlag(enum.Enum):
    TF32 = 7


class Severity(enum.Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3


NUMPY = {DataType.FLOAT: np.float32, DataType.HALF: np.float16, DataType.UINT8: np.uint8}


class HostGpu:
    """Takes the place of `Gpu`: arrays of Warp are those of the GPU, numpy's are the host's."""

    stream = 4242

    def __init__(self, name: str = "Stand-in (sm_90)", driver: str = "13.0") -> None:
        self.name, self.driver = name, driver
        self.device = wp.get_device("cpu")
        self.recording: list[Callable[[], None]] | None = None
        self.capturing = False
        self.launched = 0
        self.refuses_capture = False

    def current(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def holds(self, array: Any) -> bool:
        return isinstance(array, wp.array)

    def captured(self, work: Callable[[], None]) -> list[Callable[[], None]]:
        if self.refuses_capture:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.recording = []
        try:
            work()
            return self.recording
        finally:
            self.recording = None

    def launch(self, graph: list[Callable[[], None]]) -> None:
        self.launched += 1
        for call in graph:
            call()


def tensorrt_module(gpu: HostGpu, version: str = "11.4.0.106", refused: tuple[str, ...] = ()) -> ModuleType:
    """The module.

    Args:
        refused: operators that its parser does not take.
    """
    onnx = needs("onnx", "pip install 'bodystream[export]'")

    class ILogger:
        pass

    ILogger.Severity = Severity  # type: ignore[attr-defined]

    class Tensor:
        def __init__(self, value: Any) -> None:
            self.name = value.name
            kind = value.type.tensor_type
            self.dtype = DataType(kind.elem_type)
            self.shape = tuple(e.dim_value if e.HasField("dim_value") else -1 for e in kind.shape.dim)

    class Network:
        content = b""

        def __init__(self) -> None:
            self.inputs: list[Tensor] = []
            self.outputs: list[Tensor] = []

        @property
        def num_inputs(self) -> int:
            return len(self.inputs)

        def get_input(self, index: int) -> Tensor:
            return self.inputs[index]

    class ParserError:
        def __init__(self, name: str, operator: str) -> None:
            self._name, self._operator = name, operator

        def node_name(self) -> str:
            return self._name

        def node_operator(self) -> str:
            return self._operator

        def desc(self) -> str:
            return "no importer registered for op: " + self._operator

    class OnnxParser:
        def __init__(self, network: Network, logger: Any) -> None:
            assert isinstance(logger, ILogger)
            self._network, self._logger, self._errors = network, logger, []

        def parse(self, model: bytes) -> bool:
            try:
                graph = onnx.load_from_string(model).graph
            except Exception:
                self._logger.log(Severity.ERROR, "ModelImporter: failed to parse the model")
                return False
            self._errors = [ParserError(n.name, n.op_type) for n in graph.node if n.op_type in refused]
            self._network.content = model
            self._network.inputs = [Tensor(value) for value in graph.input]
            self._network.outputs = [Tensor(value) for value in graph.output]
            return not self._errors

        @property
        def num_errors(self) -> int:
            return len(self._errors)

        def get_error(self, index: int) -> ParserError:
            return self._errors[index]

    class BuilderConfig:
        def __init__(self) -> None:
            self.flags = {BuilderFlag.TF32}

        def clear_flag(self, flag: BuilderFlag) -> None:
            self.flags.discard(flag)

    class Builder:
        built = 0
        flags: set[BuilderFlag] | None = None

        def __init__(self, logger: Any) -> None:
            assert isinstance(logger, ILogger)
            self._logger = logger

        def create_network(self) -> Network:
            return Network()

        def create_builder_config(self) -> BuilderConfig:
            return BuilderConfig()

        def build_serialized_network(self, network: Network, config: BuilderConfig) -> bytes | None:
            Builder.built += 1
            Builder.flags = config.flags
            if any(extent < 0 for tensor in network.inputs for extent in tensor.shape):
                self._logger.log(Severity.ERROR, "Network has dynamic inputs, but no optimization profile")
                return None
            given = {t.name: np.zeros(t.shape, NUMPY[t.dtype]) for t in network.inputs}
            answers = session_of(network.content).run([t.name for t in network.outputs], given)
            io = [(t.name, "INPUT", t.dtype.name, list(t.shape)) for t in network.inputs]
            io += [
                (t.name, "OUTPUT", t.dtype.name, list(np.shape(a)))
                for t, a in zip(network.outputs, answers, strict=True)
            ]
            model = base64.b64encode(network.content).decode()
            return json.dumps({"version": version, "gpu": gpu.name, "io": io, "model": model}).encode()

    class Context:
        def __init__(self, io: list[Any], session: Any) -> None:
            self._io, self._session = io, session
            self._addresses: dict[str, int] = {}

        def set_tensor_address(self, name: str, memory: int) -> bool:
            self._addresses[name] = memory
            return name in {entry[0] for entry in self._io}

        def execute_async_v3(self, stream_handle: int) -> bool:
            if stream_handle != gpu.stream or self._addresses.keys() != {entry[0] for entry in self._io}:
                return False
            addresses = dict(self._addresses)
            if gpu.recording is not None:
                gpu.recording.append(lambda: self._compute(addresses))
            else:
                self._compute(addresses)
            return True

        def _compute(self, addresses: dict[str, int]) -> None:
            views = {name: view(addresses[name], shape, DataType[kind]) for name, _, kind, shape in self._io}
            outputs = [name for name, mode, _, _ in self._io if mode == "OUTPUT"]
            feed = {name: np.copy(views[name]) for name, mode, _, _ in self._io if mode == "INPUT"}
            for name, value in zip(outputs, self._session.run(outputs, feed), strict=True):
                views[name][...] = value

    class Engine:
        def __init__(self, said: dict[str, Any]) -> None:
            self._io = said["io"]
            self._by_name = {entry[0]: entry for entry in self._io}
            self._session = session_of(base64.b64decode(said["model"]))

        @property
        def num_io_tensors(self) -> int:
            return len(self._io)

        def get_tensor_name(self, index: int) -> str:
            return self._io[index][0]

        def get_tensor_mode(self, name: str) -> TensorIOMode:
            return TensorIOMode[self._by_name[name][1]]

        def get_tensor_dtype(self, name: str) -> DataType:
            return DataType[self._by_name[name][2]]

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return tuple(self._by_name[name][3])

        def create_execution_context(self) -> Context:
            return Context(self._io, self._session)

    class Runtime:
        def __init__(self, logger: Any) -> None:
            assert isinstance(logger, ILogger)
            self._logger = logger

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None:
            try:
                said = json.loads(serialized_engine)
            except ValueError:
                said = {}
            if (said.get("version"), said.get("gpu")) != (version, gpu.name):
                self._logger.log(Severity.ERROR, "The engine plan file is not compatible, please rebuild")
                return None
            return Engine(said)

    module = ModuleType("tensorrt")
    module.__spec__ = ModuleSpec("tensorrt", None)
    contents = {
        "__version__": version,
        "ILogger": ILogger,
        "Builder": Builder,
        "BuilderFlag": BuilderFlag,
        "OnnxParser": OnnxParser,
        "Runtime": Runtime,
        "TensorIOMode": TensorIOMode,
        "float32": DataType.FLOAT,
        "float16": DataType.HALF,
        "uint8": DataType.UINT8,
    }
    module.__dict__.update(contents)
    return module


def session_of(content: bytes) -> Any:
    return load_onnxruntime().InferenceSession(content, providers=["CPUExecutionProvider"])


def view(address: int, shape: list[int], dtype: DataType) -> np.ndarray:
    kind = np.dtype(NUMPY[dtype])
    size = int(np.prod(shape)) * kind.itemsize
    return np.frombuffer((ctypes.c_uint8 * size).from_address(address), kind).reshape(shape)


class Machine:
    """A machine with a stand-in of TensorRT, whose GPU and version a test changes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
        self._monkeypatch = monkeypatch
        for name in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
            monkeypatch.setenv(name, str(cache))
        self.gpu = HostGpu()
        self.module = tensorrt_module(self.gpu)
        self.has(self.gpu)

    def has(self, gpu: HostGpu, version: str = "11.4.0.106", refused: tuple[str, ...] = ()) -> None:
        self.gpu, self.module = gpu, tensorrt_module(gpu, version, refused)
        self._monkeypatch.setitem(sys.modules, "tensorrt", self.module)
        self._monkeypatch.setattr(tensorrt, "gpu_of", lambda device: gpu)

    @property
    def built(self) -> int:
        return self.module.Builder.built

    @staticmethod
    def plan() -> Path:
        (path,) = plan_folder().iterdir()
        return path
