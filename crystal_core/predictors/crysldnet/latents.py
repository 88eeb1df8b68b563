"""Two numbers that tell a healthy latent space from a collapsed one, whatever the loss says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class LatentStatistics:
    """Spread of latents over the atoms of a batch.

    Attributes:
        std: root mean square deviation of a dimension from its mean.
        effective_rank: between 1 and the width; how many directions carry the variance (Roy
            and Vetterli, EUSIPCO 2007).
    """

    std: float
    effective_rank: float


def latent_statistics(latents: Float[Tensor, "atoms width"]) -> LatentStatistics:
    """Standard deviation, exponential entropy of the covariance eigenvalues; both 0 for equal latents."""
    with torch.no_grad():
        centred = (latents - latents.mean(dim=0)).double()
        # squared singular values are the covariance's eigenvalues, without the loss of precision of a square
        variances = torch.linalg.svdvals(centred).square()
        total = variances.sum()
        if not total > 0:
            return LatentStatistics(std=0.0, effective_rank=0.0)
        entropy = torch.special.entr(variances / total).sum()
        return LatentStatistics(
            std=float((total / centred.numel()).sqrt()), effective_rank=float(entropy.exp())
        )
