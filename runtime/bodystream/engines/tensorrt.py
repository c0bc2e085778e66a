"""The backend TensorRT: a plan on an NVIDIA GPU, by device pointers on Warp's stream, replayed as a CUDA graph.

Written to the documented Python interface of TensorRT 11 and tested against a stand-in of it: not run on a GPU yet.
"""

from __future__ import annotations

import importlib
import logging
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import warp as wp

from bodystream.bundles import Signature, TensorSpec
from bodystream.device import Staged
from bodystream.engines.base import check_signature, host_value, memory_of
from bodystream.engines.tensorrt_gpu import Gpu, gpu_of
from bodystream.engines.tensorrt_plans import PlanKey, build_plan, error_log, open_plan
from bodystream.errors import BundleError, DeviceError, InputError

__all__ = ["TensorRtEngine", "load_tensorrt", "open_tensorrt"]

_OLDEST = 11
_WARP_TYPES = {"float32": wp.float32, "float16": wp.float16, "uint8": wp.uint8}
_MAX_GRAPHS = 16
_log = logging.getLogger("bodystream.engines")


class TensorRtEngine:
    """An `Engine` by TensorRT, with memory of its own on the GPU for what comes from the host or goes there.

    Arrays of the GPU are read and written where they lie, in the order of Warp's stream: `run` waits for the GPU only
    where an output goes to the host. Where the same arrays come again, a CUDA graph is replayed.

    Args:
        engine: TensorRT's, of a plan.
        signature: with fixed shapes, which the plan was found to have.
        label: of the graph, for messages.
        plan: its file, or None where it could not be kept.
    """

    provider = "tensorrt"

    def __init__(
        self, engine: Any, gpu: Gpu, reason: str, label: str, signature: Signature, plan: Path | None = None
    ) -> None:
        self.reason, self.plan = reason, plan
        self.inputs, self.outputs = signature.inputs, signature.outputs
        self._gpu, self._label = gpu, label
        self._engine = engine  # a context does not keep it
        with gpu.current():
            self._context = engine.create_execution_context()
        if self._context is None:
            raise DeviceError(f"tensorrt has no memory on {gpu.name} to run {label}: close what else uses the GPU")
        self._staged: dict[str, Staged] = {}
        # of arrays that came once before nothing yet, of others their graph
        self._graphs: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self._capturable = True

    def run(self, feed: Mapping[str, Any], out: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """See `Engine`."""
        given: Mapping[str, Any] = {} if out is None else out
        if feed.keys() != self.inputs.keys():
            raise InputError(f"{self._label} takes {', '.join(self.inputs)}, got {', '.join(feed)}")
        if not given.keys() <= self.outputs.keys():
            raise InputError(f"{self._label} gives {', '.join(self.outputs)}, got arrays for {', '.join(given)}")
        addresses, on_host = {}, []
        for name, spec in self.outputs.items():  # before anything goes up, so that what is refused changes nothing
            if name in given and self._gpu.holds(given[name]):
                addresses[name] = self._checked(name, spec, given[name])
            else:
                if name in given:
                    self._check_host(name, spec, given[name])
                addresses[name] = self._own(name, spec).array.ptr
                on_host.append(name)
        for name, spec in self.inputs.items():
            value = feed[name]
            if self._gpu.holds(value):
                addresses[name] = self._checked(name, spec, value)
            else:
                staged = self._own(name, spec)
                array = host_value(self._label, name, value, spec).astype(spec.dtype, copy=False)
                staged.upload(array.reshape(staged.host.shape))
                addresses[name] = staged.array.ptr
        with self._gpu.current():
            self._execute(addresses)
        answers = dict(given)
        for name in on_host:
            answers[name] = self._fetched(name, given.get(name))
        return answers

    def _execute(self, addresses: Mapping[str, int]) -> None:
        key = tuple(addresses[name] for name in (*self.inputs, *self.outputs))
        if self._gpu.capturing or not self._capturable:
            self._enqueue(addresses)
            return
        graph = self._graphs.get(key)
        if graph is None and key in self._graphs:
            graph = self._captured(addresses)
        if graph is None:
            self._enqueue(addresses)
        else:
            self._gpu.launch(graph)
        self._graphs[key] = graph
        self._graphs.move_to_end(key)
        if len(self._graphs) > _MAX_GRAPHS:
            self._graphs.popitem(last=False)

    def _captured(self, addresses: Mapping[str, int]) -> Any:
        """A CUDA graph, or None where TensorRT's work cannot be one, which is told once."""
        try:
            return self._gpu.captured(lambda: self._enqueue(addresses))
        except (RuntimeError, DeviceError) as error:
            self._capturable = False
            self.reason += f"; without a CUDA graph ({error})"
            _log.warning("%s is not replayed as a CUDA graph, which is slower: %s", self._label, error)
            return None

    def _enqueue(self, addresses: Mapping[str, int]) -> None:
        for name, pointer in addresses.items():
            if not self._context.set_tensor_address(name, pointer):
                raise DeviceError(f"tensorrt does not take the memory for {name} of {self._label}")
        if not self._context.execute_async_v3(self._gpu.stream):
            raise DeviceError(f"tensorrt failed to run {self._label} on {self._gpu.name}")

    def _own(self, name: str, spec: TensorSpec) -> Staged:
        if name not in self._staged:
            self._staged[name] = Staged(spec.extents or (1,), _WARP_TYPES[spec.dtype], self._gpu.device)
        return self._staged[name]

    def _fetched(self, name: str, target: Any) -> Any:
        found = self._staged[name].download().reshape(self.outputs[name].extents)
        if target is None:
            return found
        np.copyto(np.asarray(target), found)
        return target

    def _checked(self, name: str, spec: TensorSpec, array: Any) -> int:
        """The address of an array that fits.

        Raises:
            InputError: it is of another shape or type, or has gaps.
        """
        memory = memory_of(array)
        if memory is None:
            raise InputError(f"{self._label}: {name} must be an array, got {type(array).__name__}")
        if (memory.shape, memory.dtype, memory.contiguous) != (spec.extents, np.dtype(spec.dtype), True):
            order = "" if memory.contiguous else ", not contiguous"
            raise InputError(
                f"{self._label}: {name} must be {spec}, contiguous, got {memory.dtype} {memory.shape}{order}"
            )
        return memory.pointer

    def _check_host(self, name: str, spec: TensorSpec, array: Any) -> None:
        self._checked(name, spec, array)
        if isinstance(array, np.ndarray) and not array.flags.writeable:
            raise InputError(f"{self._label}: the array for {name} is read-only: give another")


def load_tensorrt() -> Any:
    """The module `tensorrt`.

    Raises:
        DeviceError: it does not load, or is older than 11.
    """
    try:
        trt = importlib.import_module("tensorrt")
    except Exception as error:  # the bindings fail in their own ways where the libraries or the driver are absent
        raise DeviceError(f"tensorrt is installed and does not load: {error}") from error
    version = str(getattr(trt, "__version__", "unknown"))
    if not version.partition(".")[0].isdigit() or int(version.partition(".")[0]) < _OLDEST:
        raise DeviceError(
            f"tensorrt {version} is installed, wanted {_OLDEST} or newer: pip install --upgrade 'bodystream[tensorrt]'"
        )
    return trt


def open_tensorrt(
    content: bytes,
    label: str,
    reason: str,
    section: Signature,
    sizes: Mapping[str, int],
    device: wp.Device | None = None,
) -> TensorRtEngine:
    """Load a graph's plan from the user's cache, or build it there.

    Args:
        content: of an ONNX file that holds its weights.
        label: of the file, for messages.
        section: what its manifest says goes in and comes out.
        sizes: of the named extents.
        device: of the kernels that arrays are shared with; a GPU among them is the one that it runs on.

    Raises:
        DeviceError: TensorRT or a GPU is missing or does not work, or TensorRT cannot take the graph; names the node.
        BundleError: the graph is not what its manifest says.
    """
    trt, gpu = load_tensorrt(), gpu_of(device)
    log, fixed = error_log(trt), section.at(sizes)
    if still_open := fixed.open_names():
        raise BundleError(f"{label}: say how large {', '.join(still_open)} is: its shapes are open")

    def build() -> bytes:
        _log.warning("building TensorRT's plan of %s for %s, which may take minutes", label, gpu.name)
        return build_plan(trt, content, label, fixed, log)

    key = PlanKey.of(content, sizes, gpu.name, gpu.driver, trt.__version__)
    with gpu.current():
        opened = open_plan(key, trt.Runtime(log).deserialize_cuda_engine, build)
    check_signature(label, _signature(trt, opened.engine), fixed, "its manifest says")
    return TensorRtEngine(opened.engine, gpu, f"{reason}; {opened.said}", label, fixed, opened.path)


def _signature(trt: Any, engine: Any) -> Signature:
    names = {trt.float32: "float32", trt.float16: "float16", trt.uint8: "uint8"}
    found: tuple[dict[str, TensorSpec], dict[str, TensorSpec]] = ({}, {})
    for number in range(engine.num_io_tensors):
        name = engine.get_tensor_name(number)
        dtype: Any = engine.get_tensor_dtype(name)
        stated: Any = names.get(dtype, str(dtype))  # another type than a manifest knows is told as it is called
        spec = TensorSpec(tuple(engine.get_tensor_shape(name)), stated)
        found[engine.get_tensor_mode(name) != trt.TensorIOMode.INPUT][name] = spec
    return Signature(*found)
