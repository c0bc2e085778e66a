"""The graphs of a learned flow network: which of a bundle's files they are, and whether they belong together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from bodystream.bundles import Bundle, GraphSection, TensorSpec
from bodystream.engines import Engine, ProviderName, available_providers, open_engine
from bodystream.errors import BundleError

if TYPE_CHECKING:
    import warp as wp

__all__ = ["KIND", "FlowGraphs", "FlowNet", "FlowNetworkSection", "network_of", "open_flow_graphs"]

KIND = "flow"
FlowNet = Literal["light", "full"]
_MULTIPLES: dict[FlowNet, int] = {"light": 32, "full": 64}  # of width and height of an image
_PARTS = ("encoder", "decoder")
_SUFFIXES = {32: "", 16: "_fp16"}


class FlowNetworkSection(msgspec.Struct, frozen=True):
    """What a flow bundle's manifest says beside the common fields, under `flow`.

    Attributes:
        net: which network: `light` or `full`.
        sizes: (width, height) of the images that there are graphs for [px].
        iterations: passes of the light network at each level.
    """

    net: str
    sizes: tuple[tuple[int, int], ...]
    iterations: int = 1


class _Section(msgspec.Struct, frozen=True):
    flow: FlowNetworkSection


@dataclass(frozen=True)
class FlowGraphs:
    """A network at one size.

    Attributes:
        net: which one.
        size: (width, height) of its images [px].
        encoder: an image to the features of a frame. decoder: features of two frames to flow and weight; the light
            network also takes a guess, the full one colours and points of both.
        files: names of the two in the bundle.
    """

    net: FlowNet
    size: tuple[int, int]
    encoder: Engine
    decoder: Engine
    files: tuple[str, str]


def network_of(bundle: Bundle, net: FlowNet) -> FlowNetworkSection:
    """What the bundle says of its network.

    Args:
        net: which one is wanted.

    Raises:
        BundleError: it is no flow bundle, one of another network, or says nothing usable.
    """
    bundle.require_kind(KIND)
    section = bundle.section(_Section).flow
    who = f"bundle {bundle.manifest.name!r} ({bundle.place})"
    if section.net != net:
        raise BundleError(
            f"{who} holds the {section.net} flow network, the {net} one is wanted: give a bundle that "
            f"bodystream-export flow made of a checkpoint of --net {net}"
        )
    multiple = _MULTIPLES[net]
    wrong = [size for size in section.sizes if any(side < multiple or side % multiple for side in size)]
    if not section.sizes or wrong:
        raise BundleError(
            f"{who} must have sizes that are multiples of {multiple}, got {[list(size) for size in section.sizes]}: "
            "export it again"
        )
    return section


def open_flow_graphs(
    bundle: Bundle,
    net: FlowNet,
    size: tuple[int, int],
    *,
    provider: ProviderName = "auto",
    threads: int | None = None,
    device: wp.Device | None = None,
) -> FlowGraphs:
    """Open encoder and decoder for one size, in the precision that was measured to be the faster.

    Without times, 16 bits are taken on a GPU and 32 elsewhere.

    Args:
        provider, threads, device: see `open_engine`.

    Raises:
        BundleError: the bundle has no graphs of this size, or they do not belong together.
    """
    graphs = bundle.manifest.graphs
    found = {bits: _names(size, bits) for bits in (32, 16) if all(name in graphs for name in _names(size, bits))}
    if not found:
        raise BundleError(
            f"bundle {bundle.manifest.name!r} ({bundle.place}) says that it has the size {size[0]}x{size[1]}, and not "
            f"the graphs {' and '.join(_names(size, 32))}, only {', '.join(sorted(graphs)) or 'none'}: export it again"
        )
    on_gpu = device is not None and device.is_cuda
    first = 16 if on_gpu else 32
    bits = min(found, key=lambda bits: (0.0 if on_gpu else _time_ms(graphs, found[bits]), bits != first))
    engines = [
        open_engine(bundle, name, provider=provider, threads=threads, device=device) for name in found[bits]
    ]  # fmt: skip
    opened = FlowGraphs(net, size, engines[0], engines[1], found[bits])
    _check_together(bundle, opened)
    return opened


def _names(size: tuple[int, int], bits: int) -> tuple[str, str]:
    encoder, decoder = (f"{part}_{size[0]}x{size[1]}{_SUFFIXES[bits]}.onnx" for part in _PARTS)
    return encoder, decoder


def _time_ms(graphs: dict[str, GraphSection], names: tuple[str, str]) -> float:
    """Of both together on the processor, by what was measured and is here; infinite without times."""
    problems = available_providers()
    usable = [name for name in ("cpu", "openvino") if not problems[name]]
    return sum(
        min((graphs[file].providers.get(name, float("inf")) for name in usable), default=float("inf")) for file in names
    )


def _check_together(bundle: Bundle, graphs: FlowGraphs) -> None:
    """Compare names and shapes with what the runtime puts in and takes out.

    Raises:
        BundleError: says which tensor, what was got and what was wanted.
    """
    (width, height), encoder, decoder = graphs.size, graphs.encoder, graphs.decoder
    features = encoder.outputs
    light = graphs.net == "light"
    wanted_in = {f"source_{name}": spec.shape for name, spec in features.items()}
    needed = [name for name in features if not light or name.startswith("matching")]
    wanted_in |= {f"target_{name}": features[name].shape for name in needed}
    if light:
        wanted_in["initial_flow_px"] = (1, 2, height // 8, width // 8)
    else:
        wanted_in |= {f"{frame}_rgbd": (1, 6, height, width) for frame in ("source", "target")}
    wanted_out: dict[str, tuple[int | str, ...]] = {
        "flow_px": (1, 2, height // 4, width // 4),
        "weight": (1, 1, height // 4, width // 4),
    }
    wanted_image: dict[str, tuple[int | str, ...]] = {"rgb": (1, 3, height, width)}
    if light:
        wanted_image = {"image": (1, 5, height, width)}
    for file, kind, have, want in (
        (graphs.files[0], "input", encoder.inputs, wanted_image),
        (graphs.files[1], "input", decoder.inputs, wanted_in),
        (graphs.files[1], "output", decoder.outputs, wanted_out),
    ):
        _compare(bundle.label(file), kind, have, want)


def _compare(label: str, kind: str, have: dict[str, TensorSpec], want: dict[str, tuple[int | str, ...]]) -> None:
    for name in sorted(want.keys() | have.keys()):
        if name not in have or name not in want or have[name].shape != want[name]:
            got = have[name].shape if name in have else "none"
            raise BundleError(
                f"{label}: the {kind} {name!r} must be {want.get(name, 'absent')}, got {got}: export the bundle again"
            )
