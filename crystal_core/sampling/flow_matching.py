"""Linear flow matching from Gaussian noise (t = 0) to data (t = 1); the network predicts the data."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jaxtyping import Bool, Float
    from torch import Tensor

EARLIEST, LATEST = 0.01, 0.99  # times that are trained on
WEIGHTED_TO = 0.9  # the weight of a loss grows no more beyond this time


def masked_noise(
    present: Bool[Tensor, "crystals atoms"], width: int, rng: torch.Generator, *, centred: bool = False
) -> Float[Tensor, "crystals atoms width"]:
    """Standard normal numbers, 0 in padded rows.

    Args:
        centred: take away the mean over all rows of a crystal, padded ones included, as
            the CrysLDNet release does.
    """
    noise = torch.randn(*present.shape, width, generator=rng, device=rng.device).to(present.device)
    if centred:
        noise = noise - noise.mean(dim=1, keepdim=True)
    return noise * present.unsqueeze(-1)


def interpolate(
    noise: Float[Tensor, "crystals atoms width"],
    data: Float[Tensor, "crystals atoms width"],
    time: Float[Tensor, "crystals"],
) -> Float[Tensor, "crystals atoms width"]:
    """z_t = (1 - t) z_0 + t z_1."""
    t = time[:, None, None]
    return (1 - t) * noise + t * data


def data_loss(
    predicted: Float[Tensor, "crystals atoms width"],
    data: Float[Tensor, "crystals atoms width"],
    time: Float[Tensor, "crystals"],
    present: Bool[Tensor, "crystals atoms"],
) -> Float[Tensor, "crystals"]:
    """Mean square error of predicted data over (1 - min(t, 0.9))²: the error of the velocity."""
    square = (predicted - data).square().mean(dim=-1) * present
    mean = square.sum(dim=1) / present.sum(dim=1)
    return mean / (1 - time.clamp(max=WEIGHTED_TO)).square()


def euler(
    predict: Callable[[Tensor, Tensor], Tensor], noise: Float[Tensor, "crystals atoms width"], steps: int
) -> Iterator[tuple[float, Tensor]]:
    """(t, z_t) of the steps of z += (ẑ - z) / (1 - t) dt, and at last the network's answer at t = 1.

    Args:
        predict: (z_t, t of every crystal) → the data that it sees in them.
    """
    z = noise
    times = torch.linspace(EARLIEST, 1.0, steps).tolist()
    for t, later in itertools.pairwise(times):
        yield t, z
        answer = predict(z, torch.full((len(z),), t, device=z.device))
        z = z + (answer - z) * ((later - t) / (1 - t))
    yield 1.0, predict(z, torch.ones(len(z), device=z.device))
