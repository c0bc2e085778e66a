"""What is made small: eq. 10 to 13 of DHNN."""

from __future__ import annotations

import torch
from torch import Tensor

from bodystream_training.body.model import BodyNetwork, MeshVae

__all__ = ["COARSE", "FINE_TUNE_FROM", "body_terms", "kl", "vae_terms", "weights_at"]

FINE_TUNE_FROM = 1600 / 2200
"""Share of the training after which the weights of the reconstruction fall."""
_FIRST, _LAST = (2.5e3, 2.5e4), (1e3, 1e4)
COARSE = 0.6
"""Weight of the parts' features beside those of vertices."""


def weights_at(progress: float) -> tuple[float, float]:
    """lambda_r1 (neutral) and lambda_r2 (posed): table 9's second row, and to the end its first."""
    return _FIRST if progress < FINE_TUNE_FROM else _LAST


def kl(mean: Tensor, deviation: Tensor) -> Tensor:
    """Divergence of normal distributions from the standard one, summed over the code, averaged over the batch."""
    variance = deviation.square().clamp_min(1e-12)
    return 0.5 * (mean.square() + variance - 1.0 - variance.log()).sum(dim=1).mean()


def body_terms(
    model: BodyNetwork, f: Tensor, g: Tensor, f_s: Tensor, g_s: Tensor, progress: float
) -> dict[str, Tensor]:
    """All terms of eq. 13; `total` is their weighted sum.

    Args:
        f, f_s: (B, V, 9) of meshes and of their neutral ones. g, g_s: (B, P, 9).
    """
    codes = model.encode(f)
    e_s = codes.shape + codes.shape_deviation * torch.randn_like(codes.shape)
    e_p = codes.pose + codes.pose_deviation * torch.randn_like(codes.pose)
    posed, neutral = model.decode(e_s, e_p), model.neutral(e_s)
    of_neutral, of_posed = weights_at(progress)
    terms = {
        "shape_kl": kl(codes.shape, codes.shape_deviation),
        "pose_kl": kl(codes.pose, codes.pose_deviation),
        "neutral": (neutral.f.float() - f_s).abs().mean(),
        "posed": (posed.f.float() - f).abs().mean(),
    }
    total = terms["shape_kl"] + terms["pose_kl"] + of_neutral * terms["neutral"] + of_posed * terms["posed"]
    if posed.g is not None and neutral.g is not None:
        terms["neutral_parts"] = (neutral.g.float() - g_s).abs().mean()
        terms["posed_parts"] = (posed.g.float() - g).abs().mean()
        total = total + COARSE * (of_neutral * terms["neutral_parts"] + of_posed * terms["posed_parts"])
    return {"total": total, **terms}


def vae_terms(model: MeshVae, f: Tensor, progress: float) -> dict[str, Tensor]:
    """The same without neutral outputs and parts."""
    mean, deviation = model.encode(f)
    posed = model.decode_code(mean + deviation * torch.randn_like(mean))
    terms = {"kl": kl(mean, deviation), "posed": (posed.float() - f).abs().mean()}
    return {"total": terms["kl"] + weights_at(progress)[1] * terms["posed"], **terms}
