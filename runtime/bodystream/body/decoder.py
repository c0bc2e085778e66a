"""Codes to bodies and back, by the networks of a bundle: the disentangled embedding (DHNN, Jiang et al., 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodystream.body.alignment import aligned, check_standing
from bodystream.body.bundle import (
    DECODER,
    ENCODER,
    GRADIENT,
    KIND,
    BodySection,
    decoder_signature,
    encoder_signature,
    gradient_signature,
    read_topology,
)
from bodystream.body.mesher import FeatureMesher
from bodystream.bundles import Bundle, find_bundle
from bodystream.engines import Engine, ProviderName, open_engine
from bodystream.errors import BundleError, InputError
from bodystream.types import Array, Mesh

__all__ = ["BodyCodes", "BodyDecoder", "BodyEncoder"]


@dataclass(frozen=True, slots=True)
class BodyCodes:
    """A body in an embedding; what bodies have that were learned from is about normally distributed.

    Attributes:
        shape: (S,) float32, who it is. pose: (P,) float32, how it stands; 0 is neutral.
    """

    shape: Array
    pose: Array


class BodyDecoder:
    """Makes meshes of codes; for one thread.

    Features come from the network, vertices from the sparse system of `AcapSpace`, which is factorised once.

    Args:
        bundle: of the kind `body-decoder`; default: the one that is found by the name `body`.
        provider, threads: of the network, see `open_engine`.

    Attributes:
        facts: sizes. space: of the reference mesh. parts, laid_by, scale, skin: see `BodyTopology`.
        made: how many bodies it has made: derivatives are of the last one.

    Raises:
        BundleError: there is no bundle, it is damaged or of another kind, or its network answers with what is no mesh.
    """

    def __init__(
        self, bundle: Bundle | None = None, *, provider: ProviderName = "auto", threads: int | None = None
    ) -> None:
        self.bundle = find_bundle("body") if bundle is None else bundle
        self.bundle.require_kind(KIND)
        self.facts = self.bundle.section(BodySection).body
        topology = read_topology(self.bundle, self.facts)
        self.space, self.parts = topology.space, topology.parts
        self.laid_by, self.scale, self.skin = topology.laid_by, topology.scale, topology.skin
        self.engine = open_engine(
            self.bundle, DECODER, provider=provider, wanted=decoder_signature(self.facts), sizes={"bodies": 1},
            threads=threads,
        )  # fmt: skip
        self._provider: ProviderName = provider
        self._threads = threads
        self.made = 0
        self._gradient: Engine | None = None
        self._mesher = FeatureMesher(self.space)
        self._feed = {name: np.zeros(spec.extents, np.float32) for name, spec in self.engine.inputs.items()}
        self._out = {"features": self._mesher.features[None]}  # written where kernels read it
        if not np.isfinite(self.vertices(np.zeros(self.facts.shape))).all():
            raise BundleError(
                f"{DECODER} of bundle {self.bundle.manifest.name!r} answers with numbers that are not finite: train or "
                "export it again"
            )

    def features(self, shape: Array, pose: Array | None = None) -> Array:
        """(V, 9) float32 features of a body; the array is the decoder's own and changes with the next call.

        Args:
            shape: (S,). pose: (P,); None is 0, the neutral body of the same person.

        Raises:
            InputError: a code of another size, or that is not finite.
        """
        for name, code in (("shape", shape), ("pose", pose)):
            row = self._feed[name][0]
            if code is None:
                row[:] = 0.0
                continue
            if np.shape(code) != row.shape or not np.isfinite(code).all():
                raise InputError(f"the {name} code must be {len(row)} finite numbers, got shape {np.shape(code)}")
            row[:] = code
        self.engine.run(self._feed, self._out)
        self.made += 1
        return self._mesher.features

    def vertices(self, shape: Array, pose: Array | None = None) -> Array:
        """(V, 3) float64 vertices [m], a new array; their mean is where the reference's is. Arguments as of
        `features`."""
        self.features(shape, pose)
        return self._mesher.vertices()

    def mesh(self, shape: Array, pose: Array | None = None) -> Mesh:
        """The same with the faces."""
        return Mesh(self.vertices(shape, pose), self.space.faces)

    def open_gradient(self) -> None:
        """Read the graph of derivatives, which the first `pull_back` does otherwise.

        Raises:
            BundleError: the bundle has none, or it is damaged.
        """
        if self._gradient is not None:
            return
        if not self.facts.gradient:
            raise BundleError(
                f"bundle {self.bundle.manifest.name!r} ({self.bundle.place}) has no derivatives, so that nothing can "
                "be fitted by it: export it again, without --no-gradient"
            )
        self._gradient = open_engine(
            self.bundle, GRADIENT, provider=self._provider, wanted=gradient_signature(self.facts), sizes={"bodies": 1},
            threads=self._threads,
        )  # fmt: skip

    def pull_back(self, vertices_bar: Array) -> tuple[Array, Array]:
        """Derivatives of a quantity by the codes whose vertices were made last.

        Args:
            vertices_bar: (V, 3) derivatives of that quantity by these vertices.

        Returns:
            (S,) by the shape code and (P,) by the pose code, float64.

        Raises:
            InputError: derivatives of another shape.
            BundleError: as `open_gradient`.
        """
        self.open_gradient()
        assert self._gradient is not None
        features_bar = self._mesher.pull_back(vertices_bar)[None]
        found = self._gradient.run({**self._feed, "features_bar": features_bar})
        return found["shape_bar"][0].astype(np.float64), found["pose_bar"][0].astype(np.float64)


class BodyEncoder:
    """Finds the codes of meshes of the bundle's topology, by the network that was learned with the decoder.

    Args:
        decoder: whose bundle has an encoder.
        provider, threads: as `BodyDecoder`.

    Raises:
        BundleError: it has none, or it is damaged.
    """

    def __init__(self, decoder: BodyDecoder, *, provider: ProviderName = "auto", threads: int | None = None) -> None:
        self._decoder = decoder
        bundle, facts = decoder.bundle, decoder.facts
        if not facts.encoder:
            raise BundleError(
                f"bundle {bundle.manifest.name!r} ({bundle.place}) has no encoder, so that codes of meshes are not "
                "found: export it without --no-encoder"
            )
        self.engine = open_engine(
            bundle, ENCODER, provider=provider, wanted=encoder_signature(facts), sizes={"bodies": 1}, threads=threads
        )

    def codes(self, mesh: Mesh, where: str = "the mesh") -> BodyCodes:
        """The codes of a mesh, which may stand anywhere and look anywhere.

        Args:
            where: what to call it in messages.

        Raises:
            InputError: as `AcapSpace.check`, or y is not up.
        """
        decoder = self._decoder
        decoder.space.check(mesh, where)
        vertices, reference = np.asarray(mesh.vertices, np.float64), decoder.space.reference
        check_standing(vertices, reference, decoder.laid_by, where)
        laid = aligned(vertices, reference, decoder.laid_by)
        found = self.engine.run({"features": decoder.space.features(laid)[None].astype(np.float32)})
        return BodyCodes(found["shape"][0].copy(), found["pose"][0].copy())
