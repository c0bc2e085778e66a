"""Which correspondence live capture runs with: the one that was asked for, or the faster one that is good enough."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, assert_never

import numpy as np

from bodystream.errors import BodystreamError
from bodystream.types import Array, CameraIntrinsics, RgbdFrame

if TYPE_CHECKING:  # the command line takes the names from here, and imports OpenCV only when a command runs
    import warp as wp

    from bodystream.bundles import Bundle, BundleChoice
    from bodystream.correspondence import CorrespondenceEstimator, DisConfig

__all__ = ["BUNDLE", "FULL_BUNDLE", "ChosenFlow", "FlowName", "choose_flow", "quality_problem"]

FlowName = Literal["auto", "dis", "learned-light", "learned"]
BUNDLE, FULL_BUNDLE = "flow", "flow-full"
"""Names of the bundles with the light network and the full one."""

_COMPARED = (
    ("epe_epe3d_mm", "dis_epe3d_mm", "on generated pairs"),
    ("live_surface_error_mm", "dis_live_surface_error_mm", "in live capture of generated takes"),
)
"""Figures of a manifest: the network's, DIS's, and where."""
_TURNS, _WARM_UP = 9, 2


@dataclass(frozen=True, slots=True)
class ChosenFlow:
    """An estimator for live capture; `reason` says for a person which it is and why."""

    estimator: CorrespondenceEstimator
    reason: str


def choose_flow(
    flow: FlowName, bundles: BundleChoice, device: wp.Device | None, dis: DisConfig | None = None
) -> ChosenFlow:
    """Open the estimator of live capture.

    `auto` takes the light network where its manifest says that it is not worse than DIS, on pairs of images and in live
    capture, and where it is not slower here: both are run in turns on generated images first, which takes a third of a
    second. Otherwise, and where there is no flow bundle, it takes DIS.

    Args:
        bundles: `flow` is the light network, `flow-full` the full one.
        device: of the kernels, see `engines.open_engine`.
        dis: options of DIS; those of live capture by default.

    Raises:
        BundleError: the network was asked for, or its bundle chosen, and it cannot be used.
    """
    from bodystream.bundles import has_bundle
    from bodystream.correspondence import DisCorrespondence, LearnedConfig, LearnedCorrespondence

    if flow == "dis":
        return ChosenFlow(DisCorrespondence(dis), "OpenCV DIS, as asked for")
    if flow in ("learned-light", "learned"):
        if flow == "learned":
            config = LearnedConfig.full()
            learned = LearnedCorrespondence(bundles.open(FULL_BUNDLE), config, net="full", device=device)
        else:
            learned = LearnedCorrespondence(bundles.open(BUNDLE), device=device)
        return ChosenFlow(learned, f"{learned.label}, as asked for; {learned.reason}")
    if flow != "auto":
        assert_never(flow)
    chosen = BUNDLE in bundles.places
    if not chosen and not has_bundle(BUNDLE):
        return ChosenFlow(
            DisCorrespondence(dis), "OpenCV DIS: there is no flow bundle; --bundle flow=PATH chooses one"
        )  # fmt: skip
    try:
        bundle = bundles.open(BUNDLE)
        problem = quality_problem(bundle)
        learned = None if problem else LearnedCorrespondence(bundle, device=device)
    except BodystreamError as error:
        if chosen:
            raise
        return ChosenFlow(DisCorrespondence(dis), f"OpenCV DIS: the flow bundle cannot be used: {error}")
    if learned is None:
        return ChosenFlow(DisCorrespondence(dis), f"OpenCV DIS: {problem}; --flow learned-light takes it all the same")
    other = DisCorrespondence(dis)
    learned_ms, dis_ms = _times_ms(learned, other)
    said = f"{learned_ms:.1f} ms per frame here, OpenCV DIS {dis_ms:.1f} ms"
    if learned_ms > dis_ms:
        learned.close()
        return ChosenFlow(other, f"OpenCV DIS: {learned.label} takes {said}")
    other.close()
    figures = bundle.manifest.metrics
    errors = "; ".join(
        f"{figures[ours]:.1f} mm off {where}, OpenCV DIS {figures[theirs]:.1f} mm" for ours, theirs, where in _COMPARED
    )
    return ChosenFlow(learned, f"{learned.label}: {said}; {errors}; {learned.reason}")


def quality_problem(bundle: Bundle) -> str:
    """Why a network is not as good as DIS by its manifest, or nothing where it is."""
    figures = bundle.manifest.metrics
    who = f"{bundle.manifest.name} {bundle.manifest.version}"
    for ours, theirs, where in _COMPARED:
        if ours not in figures or theirs not in figures:
            return f"the manifest of {who} does not compare it with DIS {where} ({ours} and {theirs})"
        if not figures[ours] <= figures[theirs]:
            return (
                f"the network of the bundle {who} is {figures[ours]:.3g} mm off {where}, DIS {figures[theirs]:.3g} mm, "
                "by its manifest"
            )
    return ""


def _times_ms(*estimators: CorrespondenceEstimator) -> list[float]:
    """Median of a step on the same frames, in turns, each frame first a target and then a source."""
    frames, mask = _generated_frames(_WARM_UP + _TURNS + 1)
    guess = np.zeros((60, 80, 2), np.float32)
    spent: list[list[float]] = [[] for _ in estimators]
    for number, (source, target) in enumerate(zip(frames, frames[1:], strict=False)):
        for estimator, times in zip(estimators, spent, strict=True):
            began = time.perf_counter()
            estimator.step(source, target, source_mask=mask, target_mask=mask, initial_flow_px=guess)
            if number >= _WARM_UP:
                times.append(time.perf_counter() - began)
    return [1e3 * float(np.median(times)) for times in spent]


def _generated_frames(count: int) -> tuple[list[RgbdFrame], Array]:
    """A textured wall of 640x480 pixels that shifts by two pixels a frame, and a mask of a person's size."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (60, 80, 3), np.uint8)
    colour = coarse.repeat(8, axis=0).repeat(8, axis=1)
    depth_m = np.full((480, 640), 2.0, np.float32)
    mask = np.zeros((480, 640), bool)
    mask[40:460, 210:430] = True
    camera = CameraIntrinsics(570.0, 570.0, 320.0, 240.0, 640, 480)
    first = RgbdFrame(0, 0, depth_m, camera, colour)
    return [
        replace(first, index=n, t_ns=n + 1, colour=np.roll(colour, 2 * n, axis=1)) for n in range(count)
    ], mask  # fmt: skip
