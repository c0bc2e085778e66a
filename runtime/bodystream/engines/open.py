"""Which provider runs a graph, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, get_args

from bodystream.bundles import Bundle, GraphSection, Signature
from bodystream.engines.base import Engine, ProviderName, check_signature
from bodystream.engines.onnx import available_providers, open_onnx
from bodystream.errors import BundleError, ConfigurationError, DeviceError, MissingDependencyError

if TYPE_CHECKING:
    import warp as wp

__all__ = ["open_engine"]


def open_engine(
    bundle: Bundle,
    file: str,
    *,
    provider: ProviderName = "auto",
    wanted: Signature | None = None,
    sizes: Mapping[str, int] | None = None,
    threads: int | None = None,
    spinning: bool | None = None,
    device: wp.Device | None = None,
) -> Engine:
    """Open a graph of a bundle, after comparing it with what the manifest says of it.

    Args:
        provider: `auto` takes CUDA where it works, unless `device` is a processor; else the fastest of those that the
            manifest has times of and that work here; else the CPU. TensorRT is taken where it is asked for by name.
            `Engine.reason` says which it was.
        wanted: what the caller will put in and take out; default: what the manifest says.
        sizes: of the extents that the manifest names.
        threads, spinning: of the CPU provider; default: as the manifest says.
        device: where the caller's kernels run and its arrays are.

    Raises:
        ConfigurationError: there is no such provider.
        MissingDependencyError: the provider's package is not installed.
        DeviceError: the provider is installed and does not work.
        BundleError: the manifest does not describe the graph, or it, the graph and `wanted` are not one.
    """
    if provider not in get_args(ProviderName):
        known = ", ".join(get_args(ProviderName))
        raise ConfigurationError(f"a provider is one of {known}, got {provider!r}")
    label = bundle.label(file)
    content = bundle.read(file)
    section = bundle.manifest.graphs.get(file)
    if section is None:
        raise BundleError(
            f"the manifest of {bundle.place} says nothing of the graph {file} (`graphs`): export the bundle again, or "
            f"let it be written by: bodystream-export measure {bundle.place}"
        )
    sizes = {} if sizes is None else sizes
    if wanted is not None:
        check_signature(f"the manifest of {label}", section.at(sizes), wanted.at(sizes), "bodystream wants")

    def opened(name: str, reason: str) -> Engine:
        if name == "tensorrt":
            from bodystream.engines.tensorrt import open_tensorrt  # it needs Warp, the others do not

            return open_tensorrt(content, label, reason, section, sizes, device)
        return open_onnx(
            content,
            label,
            name,
            reason,
            section,
            sizes,
            section.threads if threads is None else threads,
            section.spinning if spinning is None else spinning,
            device,
        )

    problems = available_providers()
    if provider != "auto":
        if problems[provider]:
            remedy = problems[provider].partition(": ")[2]
            raise MissingDependencyError(f"the provider {provider}", "as asked for", f"Install it: {remedy}")
        return opened(provider, "as asked for")
    refused: list[str] = []
    for name, reason in candidates(section, problems, device is None or device.is_cuda):
        try:
            return opened(name, "; ".join([*refused, reason]))
        except DeviceError as error:
            refused.append(f"{_TITLES[name]} does not work ({error})")
    raise AssertionError("the CPU provider raises no DeviceError")


_TITLES = {"cuda": "CUDA", "openvino": "OpenVINO", "cpu": "the CPU"}


def candidates(section: GraphSection, problems: Mapping[str, str], may_use_gpu: bool) -> list[tuple[str, str]]:
    """Providers in the order in which `auto` tries them, the CPU among them, each with its reason.

    Args:
        problems: of `available_providers`.
        may_use_gpu: False where the caller's kernels were sent to the processor.
    """
    out: list[tuple[str, str]] = []
    no_gpu = ""
    if not may_use_gpu:
        no_gpu = "no CUDA: kernels run on the processor"
    elif problems["cuda"]:
        no_gpu = f"no CUDA: {problems['cuda']}"
    else:
        out.append(("cuda", "CUDA works"))
    on_host = {name: p50 for name, p50 in section.providers.items() if name in ("cpu", "openvino")}
    here = sorted((name for name in on_host if not problems[name]), key=lambda name: on_host[name])
    times = ", ".join(f"{name} {on_host[name]:.3g} ms" for name in sorted(on_host, key=lambda name: on_host[name]))
    absent = "".join(f"; {name}: {problems[name]}" for name in on_host if problems[name])
    for name in here:
        reason = f"the fastest of those measured that is here ({times}{absent})"
        out.append((name, "; ".join(filter(None, [no_gpu, reason]))))
    if "cpu" not in here:
        out.append(("cpu", "; ".join(filter(None, [no_gpu, "no other was measured for this graph"]))))
    return out
