"""Kinetic Langevin diffusion on the torus: velocities carry the noise, positions follow them.

Cornet et al. 2025 (KLDM), forward process dx = v ds, dv = -v ds + sqrt(2) dW with v_0 = 0. Everything here is
in the *internal chart*: positions x = 2 pi f with period 2 pi, velocities v = 2 pi u, time s = 2 t in (0, 2].
Positions have two variances: the one *given the velocity at s* (with mean kappa v_s), which all functions
here use, and the marginal one (mean 0), which is larger; mixing them trains a wrong target.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from crystal_core.geometry import TWO_PI, wrap

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

# added inside both square roots, as in the published code: no standard deviation falls below 1e-3
FLOOR = 1e-6
HORIZON = 2.0
N_TABLE = 4001
NARROW = 0.3  # below it no neighbouring image counts: n = 1/sigma to all digits


def kappa(s: Tensor) -> Tensor:
    """tanh(s/2): the mean displacement is kappa (v_s + v_0)."""
    return torch.tanh(0.5 * s)


def sigma_velocity(s: Tensor) -> Tensor:
    """Standard deviation of v_s given v_0: sqrt(1 - exp(-2 s)), floored."""
    return torch.sqrt(-torch.expm1(-2.0 * s) + FLOOR)


def variance_displacement(s: Tensor) -> Tensor:
    """Variance of the displacement given v_s: 2 s - 4 tanh(s/2) = s³/6 - s⁵/60 + …, free of cancellation."""
    series = s**3 / 6.0 - s**5 / 60.0 + 17.0 * s**7 / 10080.0
    direct = (2.0 * s.double() - 4.0 * torch.tanh(0.5 * s.double())).to(s.dtype)
    return torch.where(s < 0.3, series, direct)


def sigma_displacement(s: Tensor) -> Tensor:
    """Standard deviation of the displacement given v_s, floored."""
    return torch.sqrt(variance_displacement(s) + FLOOR)


def variance_displacement_marginal(s: Tensor) -> Tensor:
    """Variance of the displacement with the velocity integrated out: 2 s - 3 + 4 exp(-s) - exp(-2 s)."""
    return 2.0 * s - 3.0 + 4.0 * torch.exp(-s) - torch.exp(-2.0 * s)


def wrapped_normal_score(r: Tensor, mu: Tensor, sigma: Tensor, n_images: int = 3) -> Tensor:
    """Derivative of ln WN(r; mu, sigma²) with respect to the *mean*; period 2 pi.

    Both arguments are wrapped first, so ±3 images are exact for sigma <= 1. The weights are a softmax: plain
    sums would underflow to 0/0 for |r - mu| beyond about 14 sigma.
    """
    images = TWO_PI * torch.arange(-n_images, n_images + 1, dtype=r.dtype, device=r.device)
    delta = (wrap(r, TWO_PI) - wrap(mu, TWO_PI)).unsqueeze(-1) + images
    variance = (sigma**2).unsqueeze(-1)
    weights = torch.softmax(-0.5 * delta**2 / variance, dim=-1)
    return (weights * delta).sum(-1) / sigma**2


def score_norm_squared(sigma: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """E[m(r; 0, sigma)²] over r ~ WN(0, sigma²), shaped as ``sigma``; 1/sigma² for narrow ones.

    A sum over 128 points of the circle: for a periodic smooth function that is exact to rounding from
    sigma = 0.3 on.
    """
    spread = np.asarray(sigma, dtype=np.float64)
    r = np.linspace(-math.pi, math.pi, 128, endpoint=False)
    delta = r[:, None] + TWO_PI * np.arange(-3, 4)
    wide = spread[spread >= NARROW][:, None, None]
    density = np.exp(-0.5 * (delta / wide) ** 2)
    weight = density.sum(-1)
    slope = (density * delta).sum(-1) / weight / wide[..., 0] ** 2
    norm = np.array(1.0 / spread**2)
    norm[spread >= NARROW] = (slope**2 * weight).sum(-1) / weight.sum(-1)
    return norm


@lru_cache(maxsize=1)
def _norm_table() -> Tensor:
    """n(s) on N_TABLE points of s in [0, HORIZON]."""
    s = torch.linspace(0.0, HORIZON, N_TABLE, dtype=torch.float64)
    return torch.from_numpy(np.sqrt(score_norm_squared(sigma_displacement(s).numpy())))


def score_norm(s: Tensor) -> Tensor:
    """n(s) = sqrt(E m²), root-mean-square wrapped-normal score, interpolated; 1/sigma where narrow."""
    table = _norm_table().to(device=s.device)
    position = (s.double() / HORIZON * (N_TABLE - 1)).clamp(0, N_TABLE - 1)
    low = position.floor().long().clamp(max=N_TABLE - 2)
    fraction = position - low
    interpolated = table[low] * (1 - fraction) + table[low + 1] * fraction
    sigma = sigma_displacement(s.double())
    return torch.where(sigma < NARROW, 1.0 / sigma, interpolated).to(s.dtype)


def step_em(x: Tensor, v: Tensor, score: Tensor, h: float, noise: Tensor | None) -> tuple[Tensor, Tensor]:
    """One reverse step h > 0 of the exponential integrator; without noise the probability-flow ODE.

    v' = e^h v + 2 (e^h - 1) score + sqrt(e^2h - 1) noise       (ODE: half of the score term)
    x' = wrap(x - h v')
    """
    if noise is None:
        v = math.exp(h) * v + math.expm1(h) * score
    else:
        v = math.exp(h) * v + 2.0 * math.expm1(h) * score + math.sqrt(math.expm1(2.0 * h)) * noise
    return wrap(x - h * v, TWO_PI), v


def step_predictor(x: Tensor, v: Tensor, score: Tensor, s: float, h: float) -> tuple[Tensor, Tensor]:
    """The deterministic predictor from s to s - h.

    v' = rho v + (rho sigma_v(s) - sigma_v(s - h)) sigma_v(s) score, rho = e^h;   x' = wrap(x - h v')
    """
    sigma, sigma_next = sigma_velocity(torch.tensor([s, max(s - h, 0.0)], dtype=torch.float64)).tolist()
    rho = math.exp(h)
    v = rho * v + (rho * sigma - sigma_next) * sigma * score
    return wrap(x - h * v, TWO_PI), v
