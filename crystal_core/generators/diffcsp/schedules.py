"""The noise levels of DiffCSP, cosine for the lattice and geometric for the coordinates, and score norms.

Jiao et al. 2023, section 4.1; the cosine schedule is that of Nichol and Dhariwal 2021, Eq. 17. All tables are
float64 with n_times + 1 rows; row 0 is clean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from crystal_core.geometry import TWO_PI
from crystal_core.sampling.torus_langevin import score_norm_squared, wrapped_normal_score

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from crystal_core.generators.diffcsp.config import ProcessConfig

COSINE_OFFSET = 0.008
BETA_RANGE = (1e-4, 0.9999)
N_IMAGES = 6  # exact to float32 up to a standard deviation of half a cell edge


@dataclass(frozen=True)
class Schedules:
    """Tables over the time index.

    Attributes:
        alphas_cumprod: share of the clean lattice's variance that is left.
        sigmas: standard deviation of the coordinates.
        norms: lambda_t, mean square of the coordinate score over its own distribution; 1 at index 0.
        lattice_scales: Å, by which the lattice is divided before the network sees it; 1 where published.
    """

    alphas_cumprod: Float[Tensor, "times"]
    sigmas: Float[Tensor, "times"]
    norms: Float[Tensor, "times"]
    lattice_scales: Float[Tensor, "times"]

    @property
    def n_times(self) -> int:
        """The last index."""
        return len(self.sigmas) - 1


def schedules_of(config: ProcessConfig, norms: Tensor | None = None) -> Schedules:
    """The tables of a process.

    Args:
        norms: lambda_t of an imported checkpoint, which its training drew at random; None for those by
            quadrature.
    """
    sigmas = torch.tensor(_sigmas(config.n_times, config.sigma_min, config.sigma_max), dtype=torch.float64)
    known = _norms(config.n_times, config.sigma_min, config.sigma_max) if norms is None else norms.double()
    signal = torch.cumprod(1.0 - cosine_betas(config.n_times), 0)
    scales = (
        torch.sqrt(signal * config.lattice_std**2 + 1.0 - signal)
        if config.lattice_std
        else torch.ones_like(signal)
    )
    return Schedules(alphas_cumprod=signal, sigmas=sigmas, norms=known, lattice_scales=scales)


def cosine_betas(n_times: int) -> Float[Tensor, "times"]:
    """beta_t = clip(1 - f(t) / f(t - 1), 1e-4, 0.9999) and beta_0 = 0.

    f(t) = cos²((t/T + s) / (1 + s) · pi/2) with s = 0.008.
    """
    t = torch.arange(n_times + 1, dtype=torch.float64) / n_times
    f = torch.cos((t + COSINE_OFFSET) / (1 + COSINE_OFFSET) * 0.5 * math.pi) ** 2
    betas = (1.0 - f[1:] / f[:-1]).clamp(*BETA_RANGE)
    return torch.cat([torch.zeros(1, dtype=torch.float64), betas])


def coordinate_score(displacement: Tensor, sigma: Tensor) -> Tensor:
    """-d/dx ln of the wrapped normal of period 1 at a displacement in cell edges, of the published sign.

    Sum over k of (d + k)/sigma² exp(-(d + k)²/(2 sigma²)), over the same sum without its first factor.
    """
    zero = torch.zeros_like(displacement)
    return TWO_PI * wrapped_normal_score(TWO_PI * displacement, zero, TWO_PI * sigma, N_IMAGES)


def _sigmas(n_times: int, low: float, high: float) -> list[float]:
    ratio = math.log(high / low) / (n_times - 1)
    return [0.0, *(low * math.exp(ratio * i) for i in range(n_times))]


@lru_cache(maxsize=8)
def _norms(n_times: int, low: float, high: float) -> Tensor:
    rows = [TWO_PI * sigma for sigma in _sigmas(n_times, low, high)[1:]]
    squared = torch.tensor([TWO_PI**2 * float(score_norm_squared(row)) for row in rows], dtype=torch.float64)
    return torch.cat([torch.ones(1, dtype=torch.float64), squared])
