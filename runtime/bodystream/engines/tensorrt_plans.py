"""TensorRT's plans: how one is built of a graph, and the folder of this user in which built ones are kept.

A plan runs on the GPU, with the driver and by the TensorRT that it was built for. The file of one says all of that
before the plan, with its SHA-256, and is read only where all of it is so here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bodystream.bundles import Signature
from bodystream.errors import DeviceError, InputError
from bodystream.files import atomic_path, read_bounded

__all__ = ["Opened", "PlanKey", "build_plan", "error_log", "open_plan", "plan_folder"]

_MAGIC = b"bodystream-plan 1\n"
_MAX_HEAD = 4096
_MAX_PLAN_BYTES = 1 << 32
_MAX_NODES_TOLD = 3


@dataclass(frozen=True, slots=True)
class PlanKey:
    """What a plan belongs to.

    Attributes:
        graph: SHA-256 of the ONNX file and the extents that were chosen.
        gpu, driver, tensorrt: what it was built on and by.
    """

    graph: str
    gpu: str
    driver: str
    tensorrt: str

    @classmethod
    def of(cls, content: bytes, sizes: Mapping[str, int], gpu: str, driver: str, tensorrt: str) -> PlanKey:
        """The key of a graph at some extents, here."""
        chosen = json.dumps(dict(sorted(sizes.items()))).encode()
        return cls(hashlib.sha256(hashlib.sha256(content).digest() + chosen).hexdigest(), gpu, driver, tensorrt)

    def path(self, folder: Path) -> Path:
        """Where the plan lies: one file for a graph and a model of GPU."""
        return folder / f"{self.graph[:32]}-{re.sub(r'[^A-Za-z0-9]+', '-', self.gpu).strip('-')}.plan"


@dataclass(frozen=True, slots=True)
class Opened:
    """A plan that TensorRT loaded.

    Attributes:
        engine: TensorRT's.
        path: of its file; None where it could not be kept.
        said: where it came from, and what was wrong with the one that was there, for a person.
    """

    engine: Any
    path: Path | None
    said: str


def plan_folder() -> Path:
    """Where this user's plans are kept, by the custom of the operating system."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "bodystream" / "plans"


def open_plan(key: PlanKey, load: Callable[[bytes], Any], build: Callable[[], bytes]) -> Opened:
    """The plan of the cache where it is whole and belongs here, else a new one, which takes its place.

    Args:
        load: of TensorRT's runtime; None for a plan that it does not take.
        build: see `build_plan`.

    Raises:
        DeviceError: the graph cannot be built, or a plan that was just built cannot be loaded.
    """
    path = key.path(plan_folder())
    plan, problem = _read(path, key)
    if plan is not None:
        engine = load(plan)
        if engine is not None:
            return Opened(engine, path, "plan from the cache")
        problem = "the plan in the cache was not taken by TensorRT"
    plan = build()
    engine = load(plan)
    if engine is None:
        raise DeviceError(f"tensorrt {key.tensorrt} does not load the plan that it built: see `bodystream doctor`")
    said = f"plan built now: {problem or 'there was none of this graph for this GPU'}"
    try:
        _write(path, key, plan)
    except InputError as error:  # it runs all the same, and is built again at the next start
        return Opened(engine, None, f"{said}; it could not be kept: {error}")
    return Opened(engine, path, said)


def build_plan(trt: Any, content: bytes, label: str, section: Signature, log: Any) -> bytes:
    """Parse a graph and let TensorRT build its plan, which takes from seconds to minutes.

    Every network of TensorRT 11 is strongly typed: the graph itself says what is computed in 16 bits.

    Args:
        trt: the module.
        section: inputs and outputs with fixed shapes.
        log: of `error_log`.

    Raises:
        DeviceError: TensorRT cannot take the graph; names the node.
    """
    builder = trt.Builder(log)
    network = builder.create_network()
    parser = trt.OnnxParser(network, log)
    if not parser.parse(content):
        raise DeviceError(f"tensorrt {trt.__version__} does not take {label}: {_told(parser, log)}")
    for number in range(network.num_inputs):
        tensor = network.get_input(number)
        if tensor.name in section.inputs and any(extent < 0 for extent in tensor.shape):
            tensor.shape = section.inputs[tensor.name].extents
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default; 32 bits mean the same with every provider
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise DeviceError(f"tensorrt {trt.__version__} builds no plan of {label}: {log.last()}")
    return bytes(plan)


def error_log(trt: Any) -> Any:
    """A logger of TensorRT that keeps what it says of errors; it prints nothing."""

    class ErrorLog(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.errors.append(msg)

        def last(self) -> str:
            return self.errors[-1] if self.errors else "it does not say why"

    return ErrorLog()


def _told(parser: Any, log: Any) -> str:
    """The nodes that the parser refused, the first few of them."""
    errors = [parser.get_error(number) for number in range(parser.num_errors)]
    told = [f"node {e.node_name()!r} ({e.node_operator()}): {e.desc()}" for e in errors[:_MAX_NODES_TOLD]]
    more = f"; and {len(errors) - len(told)} more" if len(errors) > len(told) else ""
    return "; ".join(told) + more if told else log.last()


def _read(path: Path, key: PlanKey) -> tuple[bytes | None, str]:
    """The plan of a file, or None and what is wrong with it (nothing where there is no file)."""
    if not path.exists():
        return None, ""
    try:
        data = read_bounded(path, _MAX_PLAN_BYTES)
    except InputError as error:
        return None, f"the one in the cache cannot be read ({error})"
    start = len(_MAGIC)
    end = data.find(b"\n", start, start + _MAX_HEAD)
    try:
        said = json.loads(data[start:end]) if end > 0 and data.startswith(_MAGIC) else {}
        digest = said.pop("sha256")
        made_for = PlanKey(**said)
    except (ValueError, TypeError, AttributeError, KeyError):
        return None, "the one in the cache is damaged"
    plan = data[end + 1 :]
    if hashlib.sha256(plan).hexdigest() != digest:
        return None, "the one in the cache is damaged"
    names = {"graph": "graph", "gpu": "GPU", "driver": "driver", "tensorrt": "TensorRT"}
    other = [
        f"{title} {getattr(made_for, field)}, here is {getattr(key, field)}"
        for field, title in names.items()
        if getattr(made_for, field) != getattr(key, field)
    ]
    return (None, f"the one in the cache was made for {'; '.join(other)}") if other else (plan, "")


def _write(path: Path, key: PlanKey, plan: bytes) -> None:
    head = json.dumps({**asdict(key), "sha256": hashlib.sha256(plan).hexdigest()}).encode()
    with atomic_path(path) as temporary:
        temporary.write_bytes(_MAGIC + head + b"\n" + plan)
