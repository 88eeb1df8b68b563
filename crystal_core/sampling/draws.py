"""Noise and times in the form of a tensor: its shape, device and number format."""

from __future__ import annotations

import torch
from torch import Tensor


def normal(like: Tensor, rng: torch.Generator) -> Tensor:
    """Standard normal numbers in the shape of ``like``."""
    return torch.randn(like.shape, generator=rng, device=like.device, dtype=like.dtype)


def time_like(t: float, like: Tensor) -> Tensor:
    """A time as a tensor without dimensions."""
    return torch.tensor(t, device=like.device, dtype=like.dtype)
