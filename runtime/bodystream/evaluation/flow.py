"""Which correspondences an evaluation runs with: the one place where they are chosen by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, assert_never

from bodystream.errors import InputError

if TYPE_CHECKING:  # the command line takes the names from here, and imports OpenCV only when a command runs
    from bodystream.correspondence import CorrespondenceEstimator
    from bodystream.types import Array

__all__ = ["LiveFlow", "PairEstimators", "PairFlow", "live_estimator"]

PairFlow = Literal["ground-truth", "dis"]
"""Of a pair of frames; the truth is that of the data set."""
LiveFlow = Literal["dis"]
"""Of live capture. No data set has the true flow between all frames."""


class PairEstimators:
    """Correspondences for pairs, however far their frames are apart. Close it at the end."""

    def __init__(self, flow: PairFlow) -> None:
        from bodystream.correspondence import DisConfig, DisCorrespondence

        self._shared: CorrespondenceEstimator | None = None
        if flow == "dis":
            self._shared = DisCorrespondence(DisConfig.pairwise())
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


def live_estimator(flow: LiveFlow) -> CorrespondenceEstimator:
    """Correspondences between the frames of a sequence."""
    from bodystream.correspondence import DisConfig, DisCorrespondence

    if flow == "dis":
        return DisCorrespondence(DisConfig.live())
    assert_never(flow)
