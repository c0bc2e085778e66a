"""The graphs of a body's bundle and its arrays: traced, stored small, and compared with PyTorch by the meshes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from bodystream.body.bundle import (
    ARRAYS,
    DECODER,
    ENCODER,
    GRADIENT,
    KIND,
    BodyFacts,
    BodySection,
    decoder_signature,
    encoder_signature,
    gradient_signature,
)
from bodystream.bundles import Bundle, GraphSection, Signature
from bodystream.errors import InputError
from bodystream.types import Array
from bodystream_export.body.graphs import DecoderGraph, EncoderGraph, GradientGraph, narrowed
from bodystream_export.bundle import write_manifest
from bodystream_export.onnx_graph import rows_in_8_bit, stored_in_16_bits, to_8_bit, to_onnx
from bodystream_export.parity import Difference, both_answers
from bodystream_training.body.kept import KeptBodies
from bodystream_training.body.model import BodyNetwork
from bodystream_training.body.tasks import load_network

__all__ = ["WORST_GRADIENT", "WORST_MEAN_MM", "Storing", "compare_body", "load_body", "write_body"]

WORST_MEAN_MM = 0.5
"""Mean distance of vertices between PyTorch and the bundle beyond which an export is refused."""
WORST_GRADIENT = 0.2
"""The same of derivatives by codes, whose direction a search goes along."""
_DRAWN = 8
_TOLERANCE = 1e-3
_TOLERANCE_8_BIT = 0.05
"""Of another provider's answers: it may round a number of 8 bits the other way."""
_THREADS = 2


def load_body(folder: Path, net: str, kept: KeptBodies) -> tuple[BodyNetwork, dict[str, object]]:
    """A network of a run that has two codes, and the facts of its training.

    Raises:
        InputError: there is none, or it belongs to other bodies.
    """
    path = folder / f"{net}.safetensors"
    if not path.is_file():
        raise InputError(f"{path} is not there: train it with bodystream-train body --net {net} --out {folder}")
    model, facts = load_network(path)
    if not isinstance(model, BodyNetwork):
        raise InputError(f"{path} has one code for shape and pose: only networks that keep them apart make a bundle")
    if (model.config.vertices, model.config.parts) != (kept.space.count, kept.count):
        raise InputError(
            f"{path} is of {model.config.vertices} vertices and {model.config.parts} parts, the bodies of the run have "
            f"{kept.space.count} and {kept.count}: train again"
        )
    return model.requires_grad_(False), facts


@dataclass(frozen=True)
class Storing:
    """How weights are stored.

    Attributes:
        bits: 8, 16 or 32, of the layers that have as many ends as there are features.
        rank: numbers between the two halves of the decoder's last layer; None leaves it whole.
        encoder: whether there is one.
        gradient: whether the graph of the decoder's derivatives is made, which fitting needs.
    """

    bits: int = 8
    rank: int | None = None
    encoder: bool = True
    gradient: bool = True


def write_body(
    model: BodyNetwork, kept: KeptBodies, folder: Path, storing: Storing, *, net: str, name: str, version: int,
    provenance: dict[str, Any],
) -> Bundle:  # fmt: skip
    """Make the files of a bundle in an empty folder, without figures.

    Args:
        net: which network it is. name, version, provenance: for the manifest.
    """
    config = model.config
    facts = BodyFacts(net, config.vertices, config.parts, config.shape, config.pose, storing.encoder, storing.gradient)
    decoder = DecoderGraph(model).eval().requires_grad_(False)
    if storing.rank is not None:
        narrowed(decoder, config.shape, config.pose, storing.rank)
    graphs = {DECODER: decoder_signature(facts)}
    _write_graph(decoder, graphs[DECODER], folder / DECODER, storing.bits, 9 * facts.vertices)
    if storing.encoder:
        graphs[ENCODER] = encoder_signature(facts)
        encoder = EncoderGraph(model).eval().requires_grad_(False)
        _write_graph(encoder, graphs[ENCODER], folder / ENCODER, storing.bits, 9 * facts.vertices)
    skin = {} if kept.skin is None else vars(kept.skin)
    if storing.gradient:
        graphs[GRADIENT] = gradient_signature(facts)
        gradient = GradientGraph(decoder).eval().requires_grad_(False)
        _write_graph(gradient, graphs[GRADIENT], folder / GRADIENT, storing.bits, 9 * facts.vertices)
    np.savez_compressed(
        folder / ARRAYS,
        reference=kept.space.reference,
        faces=kept.space.faces,
        parts=kept.parts.astype(np.uint8 if kept.count < 256 else np.int32),
        laid_by=kept.laid_by,
        low=model.scale.low.numpy(),
        high=model.scale.high.numpy(),
        **skin,
    )
    tolerance = _TOLERANCE_8_BIT if storing.bits == 8 else _TOLERANCE
    return write_manifest(
        folder,
        name=name,
        kind=KIND,
        version=version,
        licence="Apache-2.0",
        provenance=provenance,
        metrics={},
        graphs={file: GraphSection(s.inputs, s.outputs, tolerance, threads=_THREADS) for file, s in graphs.items()},
        **msgspec.to_builtins(BodySection(facts)),
    )


def _write_graph(graph: torch.nn.Module, signature: Signature, path: Path, bits: int, ends: int) -> None:
    names = (*signature.inputs, *signature.outputs)
    examples = {name: torch.randn(2, *spec.extents) for name, spec in signature.inputs.items()}  # the first is open
    full = path.with_suffix(".full.onnx")
    to_onnx(graph, examples, tuple(signature.outputs), full, open_axes={name: {0: "bodies"} for name in names})
    if bits == 8:
        if path.name == GRADIENT:
            to_8_bit(full, path, ends)
        else:
            rows_in_8_bit(full, path, ends, inputs=path.name == ENCODER)
        stored_in_16_bits(path, path)  # the others
    elif bits == 16:
        stored_in_16_bits(full, path, ends)
    else:
        shutil.copyfile(full, path)
    full.unlink()


def compare_body(model: BodyNetwork, bundle: Bundle, kept: KeptBodies) -> list[Difference]:
    """All that differs between a bundle in a folder and PyTorch."""
    facts = bundle.section(BodySection).body
    differences = _compare_decoder(model, bundle.path(DECODER), facts, kept)
    if facts.encoder:
        differences += _compare_encoder(model, bundle.path(ENCODER), facts, kept)
    if facts.gradient:
        differences += _compare_gradient(model, bundle.path(GRADIENT), facts, kept)
    return differences


def _compare_decoder(model: BodyNetwork, path: Path, facts: BodyFacts, kept: KeptBodies) -> list[Difference]:
    """Meshes by the bundle beside those by PyTorch: of the bodies that the run kept, and of some that are drawn, each
    in its pose and neutral."""
    shapes, poses = _codes(model, kept)
    space = kept.space
    feeds = ({"shape": s[None], "pose": p[None]} for s, p in zip(shapes, poses, strict=True))
    plain = _Plain(model)
    off = []
    for wanted, got in both_answers(plain, path, feeds, decoder_signature(facts), {"bodies": 1}):
        apart = space.vertices(got["features"][0]) - space.vertices(wanted["features"][0])
        off.append(1e3 * np.linalg.norm(apart, axis=1))
    neutral = np.arange(len(off)) % 2 == 1
    distances = np.stack(off)
    return [
        Difference("posed_mean_mm", float(distances[~neutral].mean()), "vertices of bodies in poses", WORST_MEAN_MM),
        Difference("neutral_mean_mm", float(distances[neutral].mean()), "vertices of neutral bodies", WORST_MEAN_MM),
        Difference("worst_mm", float(distances.max()), "the vertex that differs most"),
    ]


def _compare_encoder(model: BodyNetwork, path: Path, facts: BodyFacts, kept: KeptBodies) -> list[Difference]:
    """Codes by the bundle beside those by PyTorch, of the bodies that the run kept, and what that is to their bodies:
    a number of a code may say next to nothing."""
    feeds: Iterator[dict[str, Array]] = ({"features": example[None]} for example in kept.examples)
    plain, space = _Plain(model), kept.space
    off, off_m = [], []
    for wanted, got in both_answers(EncoderGraph(model), path, feeds, encoder_signature(facts), {"bodies": 1}):
        off.append(np.concatenate([got[name][0] - wanted[name][0] for name in wanted]))
        with torch.no_grad():
            bodies = [
                space.vertices(plain(*(torch.from_numpy(codes[name]) for name in ("shape", "pose")))[0][0].numpy())
                for codes in (wanted, got)
            ]
        off_m.append(np.linalg.norm(bodies[1] - bodies[0], axis=1).mean())
    return [
        Difference("codes_mean_mm", 1e3 * float(np.mean(off_m)), "vertices of the bodies of codes", WORST_MEAN_MM),
        Difference("codes_rms", float(np.sqrt(np.mean(np.square(off)))), "codes of meshes"),
    ]


def _compare_gradient(model: BodyNetwork, path: Path, facts: BodyFacts, kept: KeptBodies) -> list[Difference]:
    """Derivatives by the bundle beside those by automatic differentiation: of half the squared distance, in features as
    the network has them, from each body to the next one."""
    shapes, poses = _codes(model, kept)
    plain = _Plain(model)
    gain = 1.9 / (model.scale.high - model.scale.low)
    with torch.no_grad():
        features = [
            plain(torch.from_numpy(s)[None], torch.from_numpy(p)[None])[0] for s, p in zip(shapes, poses, strict=True)
        ]
        bars = [((one - other) * gain.square()).numpy() for one, other in zip(features, features[1:], strict=False)]
    feeds = (
        {"shape": s[None], "pose": p[None], "features_bar": bar} for s, p, bar in zip(shapes, poses, bars, strict=False)
    )
    off = []
    for wanted, got in both_answers(_Backward(plain), path, feeds, gradient_signature(facts), {"bodies": 1}):
        want, have = (np.concatenate([answer[name][0] for name in wanted]) for answer in (wanted, got))
        off.append(np.linalg.norm(have - want) / np.linalg.norm(want))
    return [
        Difference("gradient_share", float(np.mean(off)), "derivatives, as a share of their length", WORST_GRADIENT)
    ]


class _Backward(torch.nn.Module):
    """A decoder's vector-Jacobian product by automatic differentiation."""

    def __init__(self, decode: torch.nn.Module) -> None:
        super().__init__()
        self.decode = decode

    def forward(self, shape: torch.Tensor, pose: torch.Tensor, features_bar: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.enable_grad():
            codes = [code.detach().requires_grad_() for code in (shape, pose)]
            return torch.autograd.grad(self.decode(*codes)[0], codes, features_bar)


class _Plain(torch.nn.Module):
    """The network as it is trained, features unscaled."""

    def __init__(self, model: BodyNetwork) -> None:
        super().__init__()
        self.model = model

    def forward(self, shape: torch.Tensor, pose: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.model.scale.unscaled(self.model.decode(shape, pose).f),)


@torch.no_grad()
def _codes(model: BodyNetwork, kept: KeptBodies) -> tuple[Array, Array]:
    """(N, S) and (N, P): each shape twice, in a pose and neutral."""
    codes = model.encode(model.scale.scaled(torch.from_numpy(kept.examples)))
    rng = np.random.default_rng(0)
    drawn = [rng.standard_normal((_DRAWN, size)).astype(np.float32) for size in (model.config.shape, model.config.pose)]
    shapes = np.concatenate([codes.shape.numpy(), drawn[0]]).repeat(2, axis=0)
    poses = np.concatenate([codes.pose.numpy(), drawn[1]]).repeat(2, axis=0)
    poses[1::2] = 0.0
    return shapes, poses
