"""The pose sampler: one observation of head and hands to full-body poses, by the network of the bundle `pose`.

FLAG (Aliakbarian et al., 2022): the latent predictor says where in the flow's latent space the pose lies, and the flow
turns that place, and draws around it, into poses with their likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec
import numpy as np

from bodystream.bundles import Bundle, Signature, TensorSpec, find_bundle
from bodystream.engines import ProviderName, open_engine
from bodystream.errors import BundleError, ConfigurationError, InputError
from bodystream.geometry.skeleton import Skeleton
from bodystream.pose.features import BETA_SIZE, DEVICES, POSE_SIZE, FeatureConfig, beta_of_skeleton
from bodystream.types import Array

if TYPE_CHECKING:
    import warp as wp

__all__ = ["PoseSampler", "Sampler", "SamplerSection", "Samples", "sampler_signature"]

GRAPH = "sampler.onnx"
KIND = "pose-sampler"
MAX_HYPOTHESES = 64


class SamplerSection(msgspec.Struct, frozen=True):
    """What a pose bundle's manifest says beside the common fields.

    Attributes:
        history_s: ages of the earlier states that the network sees [s].
        trained_on: subjects whose motion the network has seen; measuring it on them says nothing.
    """

    history_s: tuple[float, ...]
    trained_on: tuple[str, ...] = ()


def sampler_signature(token_size: int) -> Signature:
    """What goes into the graph of a pose bundle and comes out; the number of hypotheses is chosen when it is opened.

    Args:
        token_size: numbers per device of an observation, see `FeatureConfig`.
    """
    specs = {
        "observation": (1, len(DEVICES), token_size),
        "beta": (1, BETA_SIZE),
        "noise": ("hypotheses", POSE_SIZE),
        "pose": ("hypotheses", POSE_SIZE),
        "log_likelihood": ("hypotheses",),
        "spread": (POSE_SIZE,),
        "contacts": (2,),
    }
    tensors = {name: TensorSpec(shape) for name, shape in specs.items()}
    inputs = ("observation", "beta", "noise")
    return Signature({n: tensors[n] for n in inputs}, {n: s for n, s in tensors.items() if n not in inputs})


@dataclass(frozen=True, slots=True)
class Samples:
    """Answers to one observation; arrays are the sampler's own and change with the next call.

    Attributes:
        vectors: (K, 66) float32 rotation vectors [rad], the pelvis' relative to the head's heading; the first is the
            centre of the latent region.
        log_likelihood: (K,) float32 of each under the flow [nats].
        spread: (66,) float32 deviation of the latent region.
        contacts: (2,) float32 probabilities that the left and the right foot stand, or None where a sampler that is
            compared with the network does not say.
    """

    vectors: Array
    log_likelihood: Array
    spread: Array
    contacts: Array | None


class Sampler(Protocol):
    """What turns an observation into poses: the network, or one that is compared with it."""

    features: FeatureConfig

    def set_person(self, skeleton: Skeleton) -> None:
        """The proportions that following observations belong to."""
        ...

    def step(self, observation: Array) -> Samples:
        """Poses of the `x_H` (3, token_size) of `features.device_features`."""
        ...


class PoseSampler:
    """Runs the network.

    Args:
        hypotheses: how many poses per observation; the first is always the centre.
        provider, threads, device: see `open_engine`.
        seed: of the draws around the centre. They are drawn once, so that hypotheses move smoothly from sample to
            sample.

    Raises:
        BundleError: there is no bundle `pose`, or it is damaged or of another kind.
        ConfigurationError: a number out of range.
    """

    def __init__(
        self,
        bundle: Bundle | None = None,
        *,
        hypotheses: int = 1,
        provider: ProviderName = "auto",
        threads: int | None = None,
        seed: int = 0,
        device: wp.Device | None = None,
    ) -> None:
        if not 1 <= hypotheses <= MAX_HYPOTHESES:
            raise ConfigurationError(f"hypotheses must be 1 to {MAX_HYPOTHESES}, got {hypotheses}")
        self.bundle = find_bundle("pose") if bundle is None else bundle
        self.bundle.require_kind(KIND)
        section = self.bundle.section(SamplerSection)
        try:
            self.features = FeatureConfig(section.history_s)
        except InputError as error:
            raise BundleError(
                f"bundle {self.bundle.manifest.name!r} ({self.bundle.place}) has a history that no network sees: "
                f"{error}"
            ) from error
        self.trained_on = section.trained_on
        self.engine = open_engine(
            self.bundle,
            GRAPH,
            provider=provider,
            wanted=sampler_signature(self.features.token_size),
            sizes={"hypotheses": hypotheses},
            threads=threads,
            device=device,
        )
        noise = np.random.default_rng(seed).standard_normal((hypotheses, POSE_SIZE))
        noise[0] = 0.0
        self._feed = {name: np.zeros(spec.extents, np.float32) for name, spec in self.engine.inputs.items()}
        self._feed["noise"] = noise.astype(np.float32)
        self._try()

    def _try(self) -> None:
        """One pose of nothing, so that weights that are not finite are found here and not while somebody moves.

        Raises:
            BundleError: an answer is not finite or out of range.
        """
        out = self.engine.run(self._feed)
        finite = all(np.isfinite(values).all() for values in out.values())
        contacts = out["contacts"]
        if not finite or (out["spread"] < 0).any() or (contacts < 0).any() or (contacts > 1).any():
            raise BundleError(
                f"{GRAPH} of bundle {self.bundle.manifest.name!r} answers with numbers that are not finite or out of "
                "range: train or export it again"
            )

    def set_person(self, skeleton: Skeleton) -> None:
        """The proportions that following observations belong to."""
        self._feed["beta"][0] = beta_of_skeleton(skeleton)

    def step(self, observation: Array) -> Samples:
        """Poses of the `x_H` (3, token_size) of `features.device_features`."""
        self._feed["observation"][0] = observation
        out = self.engine.run(self._feed)
        return Samples(out["pose"], out["log_likelihood"], out["spread"], out["contacts"])
