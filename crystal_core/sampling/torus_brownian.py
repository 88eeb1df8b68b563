"""Brownian motion on the torus: the Riemannian diffusion of fractional coordinates without velocities.

Jiao et al. 2023 (DiffCSP) and De Bortoli et al. 2022: x_t = wrap(x_0 + sigma(t) noise), a wrapped normal,
with sigma growing geometrically from 0.005 to 0.5 of a cell edge, where the distribution is flat to one per
cent. Positions here have period 2 pi.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from crystal_core.geometry import TWO_PI, wrap
from crystal_core.sampling.torus_langevin import score_norm_squared, wrapped_normal_score

SIGMA_MIN, SIGMA_MAX = TWO_PI * 0.005, TWO_PI * 0.5
N_IMAGES = 6  # exact to float32 up to SIGMA_MAX
N_TABLE = 1001


def sigma(t: Tensor) -> Tensor:
    """Standard deviation at time t in [0, 1]."""
    return SIGMA_MIN * (SIGMA_MAX / SIGMA_MIN) ** t


def score(r: Tensor, t: Tensor) -> Tensor:
    """Derivative of ln WN(r; 0, sigma(t)²) with respect to the displacement ``r``."""
    return -wrapped_normal_score(r, torch.zeros_like(r), sigma(t), N_IMAGES)


def score_norm(t: Tensor) -> Tensor:
    """Root-mean-square of :func:`score` over its own distribution, interpolated in its logarithm."""
    table = _log_norms().to(t.device)
    position = t.double().clamp(0.0, 1.0) * (N_TABLE - 1)
    low = position.floor().long().clamp(max=N_TABLE - 2)
    fraction = position - low
    return torch.exp(table[low] * (1 - fraction) + table[low + 1] * fraction).to(t.dtype)


@lru_cache(maxsize=1)
def _log_norms() -> Tensor:
    sigmas = sigma(torch.linspace(0.0, 1.0, N_TABLE, dtype=torch.float64))
    return torch.tensor([0.5 * math.log(score_norm_squared(float(x))) for x in sigmas], dtype=torch.float64)


def step_em(x: Tensor, score: Tensor, t: float, t_next: float, noise: Tensor | None) -> Tensor:
    """One ancestral step from t to t_next < t; without noise, the probability-flow ODE.

    x' = x + (s² - s'²) score + s'/s sqrt(s² - s'²) noise, s = sigma(t)       (ODE: half of the score term)
    """
    now, then = _sigmas(t, t_next)
    drop = now**2 - then**2
    if noise is None:
        return wrap(x + 0.5 * drop * score, TWO_PI)
    return wrap(x + drop * score + then / now * math.sqrt(drop) * noise, TWO_PI)


def step_predictor(x: Tensor, score: Tensor, t: float, t_next: float) -> Tensor:
    """The deterministic predictor, exact for a constant noise prediction: x' = x + (s - s') s score."""
    now, then = _sigmas(t, t_next)
    return wrap(x + (now - then) * now * score, TWO_PI)


def _sigmas(t: float, t_next: float) -> tuple[float, float]:
    now, then = sigma(torch.tensor([t, t_next], dtype=torch.float64)).tolist()
    return now, then
