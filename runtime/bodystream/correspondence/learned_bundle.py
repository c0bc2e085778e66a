"""The graphs of a learned flow network: which of a bundle's files they are, and whether they belong together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from bodystream.bundles import Bundle, GraphSection, TensorSpec
from bodystream.engines import Engine, ProviderName, available_providers, open_engine
from bodystream.errors import BundleError

if TYPE_CHECKING:
    import warp as wp

__all__ = ["KIND", "FlowNetworkSection", "LightGraphs", "network_of", "open_light_graphs"]

KIND = "flow"
MULTIPLE = 32
"""What width and height of an image of the light network are multiples of."""
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
class LightGraphs:
    """The light network at one size.

    Attributes:
        size: (width, height) of its images [px].
        encoder: an image to the features of a frame. decoder: features of two frames and a guess to flow and weight.
        files: names of the two in the bundle.
    """

    size: tuple[int, int]
    encoder: Engine
    decoder: Engine
    files: tuple[str, str]


def network_of(bundle: Bundle, net: str, remedy: str) -> FlowNetworkSection:
    """What the bundle says of its network.

    Args:
        net: which one is wanted. remedy: what to do where it is another, for the message.

    Raises:
        BundleError: it is no flow bundle, one of another network, or says nothing usable.
    """
    bundle.require_kind(KIND)
    section = bundle.section(_Section).flow
    who = f"bundle {bundle.manifest.name!r} ({bundle.place})"
    if section.net != net:
        raise BundleError(f"{who} holds the {section.net} flow network, the {net} one is wanted: {remedy}")
    wrong = [size for size in section.sizes if any(side < MULTIPLE or side % MULTIPLE for side in size)]
    if not section.sizes or wrong:
        raise BundleError(
            f"{who} must have sizes that are multiples of {MULTIPLE}, got {[list(size) for size in section.sizes]}: "
            "export it again"
        )
    return section


def open_light_graphs(
    bundle: Bundle,
    size: tuple[int, int],
    *,
    provider: ProviderName = "auto",
    threads: int | None = None,
    device: wp.Device | None = None,
) -> LightGraphs:
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
    opened = LightGraphs(size, engines[0], engines[1], found[bits])
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


def _check_together(bundle: Bundle, graphs: LightGraphs) -> None:
    """Compare names and shapes with what the runtime puts in and takes out.

    Raises:
        BundleError: says which tensor, what was got and what was wanted.
    """
    (width, height), encoder, decoder = graphs.size, graphs.encoder, graphs.decoder
    features = encoder.outputs
    wanted_in = {f"source_{name}": spec.shape for name, spec in features.items()}
    wanted_in |= {f"target_{name}": spec.shape for name, spec in features.items() if name.startswith("matching")}
    wanted_in["initial_flow_px"] = (1, 2, height // 8, width // 8)
    wanted_out: dict[str, tuple[int | str, ...]] = {
        "flow_px": (1, 2, height // 4, width // 4),
        "weight": (1, 1, height // 4, width // 4),
    }
    wanted_image: dict[str, tuple[int | str, ...]] = {"image": (1, 5, height, width)}
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
