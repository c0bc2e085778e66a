"""Which correspondences an evaluation runs with: the one place where they are chosen by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, assert_never

from bodystream.errors import InputError

if TYPE_CHECKING:  # the command line takes the names from here, and imports OpenCV only when a command runs
    import warp as wp

    from bodystream.bundles import BundleChoice
    from bodystream.correspondence import CorrespondenceEstimator
    from bodystream.types import Array

__all__ = ["LiveFlow", "PairEstimators", "PairFlow", "live_estimators"]

PairFlow = Literal["ground-truth", "dis", "learned-light", "learned"]
"""Of a pair of frames; the truth is that of the data set."""
LiveFlow = Literal["dis", "learned-light", "learned"]
"""Of live capture. No data set has the true flow between all frames."""


class PairEstimators:
    """Correspondences for pairs, however far their frames are apart. Close it at the end.

    Args:
        bundles: `flow` is the light network, `flow-full` the full one.
        device: of the kernels, see `engines.open_engine`.

    Raises:
        BundleError: the network was asked for and cannot be used.
    """

    def __init__(self, flow: PairFlow, bundles: BundleChoice | None = None, device: wp.Device | None = None) -> None:
        from bodystream.bundles import BundleChoice
        from bodystream.correspondence import DisConfig, DisCorrespondence, LearnedConfig, LearnedCorrespondence
        from bodystream.pipelines.capture.flow_choice import BUNDLE, FULL_BUNDLE

        self._shared: CorrespondenceEstimator | None = None
        if flow == "dis":
            self._shared = DisCorrespondence(DisConfig.pairwise())
        elif flow == "learned-light":
            bundle = (BundleChoice() if bundles is None else bundles).open(BUNDLE)
            self._shared = LearnedCorrespondence(bundle, LearnedConfig.pairwise(), device=device)
        elif flow == "learned":
            bundle = (BundleChoice() if bundles is None else bundles).open(FULL_BUNDLE)
            self._shared = LearnedCorrespondence(bundle, LearnedConfig.full(), net="full", device=device)
        elif flow != "ground-truth":
            assert_never(flow)

    def of(self, true_flow_px: Array | None) -> CorrespondenceEstimator:
        """That of a pair.

        Args:
            true_flow_px: (H, W, 2) of the pair, where it is known.

        Raises:
            InputError: the truth is asked for and not known.
        """
        from bodystream.correspondence import ConstantCorrespondence

        if self._shared is not None:
            return self._shared
        if true_flow_px is None:
            raise InputError("--flow ground-truth needs the true flow of the pair: optical_flow/*.oflow")
        return ConstantCorrespondence(true_flow_px)

    def close(self) -> None:
        """Stop worker threads."""
        if self._shared is not None:
            self._shared.close()


def live_estimators(
    flow: LiveFlow, bundles: BundleChoice | None = None, device: wp.Device | None = None
) -> Callable[[], CorrespondenceEstimator]:
    """What makes an estimator for each sequence; arguments and errors are those of `PairEstimators`."""
    from bodystream.bundles import BundleChoice
    from bodystream.correspondence import DisConfig, DisCorrespondence, LearnedConfig, LearnedCorrespondence
    from bodystream.pipelines.capture.flow_choice import BUNDLE, FULL_BUNDLE

    if flow == "dis":
        return lambda: DisCorrespondence(DisConfig.live())
    if flow == "learned-light":
        bundle = (BundleChoice() if bundles is None else bundles).open(BUNDLE)
        return lambda: LearnedCorrespondence(bundle, LearnedConfig.live(), device=device)
    if flow == "learned":
        full = (BundleChoice() if bundles is None else bundles).open(FULL_BUNDLE)
        return lambda: LearnedCorrespondence(full, LearnedConfig.full(), net="full", device=device)
    assert_never(flow)
