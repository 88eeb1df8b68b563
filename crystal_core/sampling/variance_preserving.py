"""The variance-preserving diffusion with linear schedule, for real quantities (the lattice).

Song et al. 2021 (score-based SDEs), schedule of KLDM: beta(t) = 0.1 + 19.9 t, t in (0, 1].
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

BETA_MIN, BETA_MAX = 0.1, 20.0


def beta(t: Tensor) -> Tensor:
    """Noise rate at time t."""
    return BETA_MIN + (BETA_MAX - BETA_MIN) * t


def alpha_sigma(t: Tensor) -> tuple[Tensor, Tensor]:
    """alpha(t) = exp(-B/2) and sigma(t) = sqrt(1 - alpha²), with B(t) the integral of beta."""
    exponent = BETA_MIN * t + 0.5 * (BETA_MAX - BETA_MIN) * t**2
    return torch.exp(-0.5 * exponent), torch.sqrt(-torch.expm1(-exponent))


def add_noise(x0: Float[Tensor, "crystals k"], t: Float[Tensor, "crystals"], noise: Tensor) -> Tensor:
    """x_t = alpha x_0 + sigma noise."""
    alpha, sigma = alpha_sigma(t.unsqueeze(-1))
    return alpha * x0 + sigma * noise


def score(prediction: Tensor, x: Tensor, t: Tensor, parametrisation: str) -> Tensor:
    """The score at ``x`` from what the network predicts: the clean value ("x0") or the noise ("eps")."""
    alpha, sigma = alpha_sigma(t)
    if parametrisation == "eps":
        return -prediction / sigma
    return (alpha * prediction - x) / sigma**2


def step_euler(x: Tensor, score: Tensor, t: Tensor, t_next: Tensor, noise: Tensor | None) -> Tensor:
    """One reverse Euler–Maruyama step from t to t_next < t; without noise the probability-flow ODE.

    x' = x + (-beta x/2 - beta score) dt + sqrt(beta |dt|) noise       (ODE: half of the score term)
    """
    dt = t_next - t
    rate = beta(t)
    if noise is None:
        return x + (-0.5 * rate * x - 0.5 * rate * score) * dt
    return x + (-0.5 * rate * x - rate * score) * dt + torch.sqrt(rate * dt.abs()) * noise


def step_exponential(x: Tensor, score: Tensor, t: Tensor, t_next: Tensor, noise: Tensor) -> Tensor:
    """One exponential-integrator step of the reverse SDE.

    With g = ln(alpha/sigma) and D = g' - g > 0:
    x' = (alpha'/alpha) x + 2 sigma sigma' expm1(D) score + sigma' sqrt(1 - exp(-2 D)) noise.
    At t_next = 0 sigma' vanishes and D is infinite; the limit sigma' exp(D) = sigma
    alpha'/alpha is used instead.
    """
    alpha, sigma = alpha_sigma(t)
    alpha_next, sigma_next = alpha_sigma(t_next)
    ratio = alpha_next / alpha
    # sigma' expm1(D) = sigma alpha'/alpha - sigma', finite also where sigma' = 0
    gain = 2.0 * sigma * (ratio * sigma - sigma_next)
    shrink = (alpha * sigma_next / (alpha_next * sigma)) ** 2  # exp(-2 D)
    return ratio * x + gain * score + sigma_next * torch.sqrt((1.0 - shrink).clamp(min=0.0)) * noise


def step_ddim(x: Tensor, score: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
    """The deterministic predictor of the predictor–corrector: exact for a constant noise prediction.

    x' = (alpha'/alpha) x + ((alpha'/alpha) sigma - sigma') sigma score
    """
    alpha, sigma = alpha_sigma(t)
    alpha_next, sigma_next = alpha_sigma(t_next)
    ratio = alpha_next / alpha
    return ratio * x + (ratio * sigma - sigma_next) * sigma * score
