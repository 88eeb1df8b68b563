"""Masking (absorbing) diffusion: a token is itself or hidden, and is revealed once on the way back.

Shi et al. 2024 (MD4) and Sahoo et al. 2024 (MDLM), as KLDM uses it for atom types. a(t) is the
probability that a token is *not* hidden at time t; t runs from 0 (data) to 1 (all hidden). Tokens are
0..V-1 and V is the mask.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from crystal_core.checks import check_choice

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

EPSILON = 1e-4  # a(0) = 1 - EPSILON and a(1) = EPSILON: the loss weight stays finite at t = 0


@dataclass(frozen=True, kw_only=True)
class MaskSchedule:
    """a(t) = (1 - 2 e) A(t) + e.

    Attributes:
        name: "linear" A = 1 - t, "cosine" A = 1 - cos(pi/2 (1 - t)), "poly" A = 1 - t^power.
    """

    name: str = "linear"
    power: float = 2.0

    def __post_init__(self) -> None:
        check_choice("mask schedule", self.name, ("linear", "cosine", "poly"))

    def survival(self, t: Tensor) -> Tensor:
        """a(t), the probability that a token is not hidden."""
        match self.name:
            case "linear":
                part = 1.0 - t
            case "cosine":
                part = 1.0 - torch.cos(0.5 * math.pi * (1.0 - t))
            case _:
                part = 1.0 - t**self.power
        return (1.0 - 2.0 * EPSILON) * part + EPSILON

    def survival_rate(self, t: Tensor) -> Tensor:
        """a'(t), never positive."""
        match self.name:
            case "linear":
                rate = -torch.ones_like(t)
            case "cosine":
                rate = -0.5 * math.pi * torch.sin(0.5 * math.pi * (1.0 - t))
            case _:
                rate = -self.power * t ** (self.power - 1.0)
        return (1.0 - 2.0 * EPSILON) * rate

    def loss_weight(self, t: Tensor) -> Tensor:
        """-a'/(1 - a): the weight of a hidden token's cross entropy in the likelihood bound."""
        return -self.survival_rate(t) / (1.0 - self.survival(t))


def hide(
    tokens: Int[Tensor, "tokens"],
    t: Float[Tensor, "tokens"],
    mask: int,
    schedule: MaskSchedule,
    uniform: Tensor,
) -> Tensor:
    """The forward process at t: each token on its own becomes ``mask`` with probability 1 - a(t).

    Args:
        uniform: (tokens,) numbers in [0, 1). The same numbers at all times give one consistent path.
    """
    return torch.where(uniform < schedule.survival(t), tokens, torch.full_like(tokens, mask))


def reveal(
    tokens: Int[Tensor, "tokens"],
    logits: Float[Tensor, "tokens types"],
    t: float,
    t_next: float,
    schedule: MaskSchedule,
    rng: torch.Generator,
    *,
    remasking: float = 0.0,
) -> Tensor:
    """One reverse step: hidden tokens appear with probability (a(t') - a(t)) / (1 - a(t)).

    They are drawn from softmax(logits).

    Revealed tokens stay, or, with ``remasking``, are hidden again with probability s = min(remasking
    (t - t'), (1 - a(t')) / a(t), 1); hidden ones are then revealed with (a(t') - (1 - s) a(t)) / (1 - a(t)),
    which keeps the share of hidden tokens at each time (Wang et al. 2025, Remasking discrete diffusion
    models, eq. 6). Types with logit -inf are never drawn.

    Args:
        remasking: how often a token would be hidden again in unit time; 0 is the published process.
    """
    now, then = schedule.survival(torch.tensor([t, t_next], dtype=torch.float64)).tolist()
    again = min(remasking * (t - t_next), (1.0 - then) / now, 1.0)
    chance = (then - (1.0 - again) * now) / (1.0 - now)
    uniform = torch.rand(tokens.shape, generator=rng, device=tokens.device)
    mask = logits.shape[-1]
    drawn = torch.multinomial(torch.softmax(logits.float(), dim=-1), 1, generator=rng).squeeze(-1)
    remasked = torch.where(uniform < again, mask, tokens)
    return torch.where(is_hidden(tokens, mask), torch.where(uniform < chance, drawn, tokens), remasked)


def fill(tokens: Int[Tensor, "tokens"], logits: Float[Tensor, "tokens types"]) -> Tensor:
    """Hidden tokens take their most likely type: after the last step no mask is left."""
    return torch.where(is_hidden(tokens, logits.shape[-1]), logits.argmax(-1), tokens)


def is_hidden(tokens: Int[Tensor, "tokens"], mask: int) -> Bool[Tensor, "tokens"]:
    """Which tokens are the mask."""
    return tokens == mask
