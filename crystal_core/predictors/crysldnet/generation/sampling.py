"""New latents for given atom counts: Euler steps of the flow, classifier-free guidance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from crystal_core.sampling.flow_matching import euler, masked_noise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float, Int
    from torch import Tensor

    from crystal_core.predictors.crysldnet.generation.network import LatentGenerator


@torch.no_grad()
def sampled_latents(
    network: LatentGenerator,
    n_atoms: Int[Tensor, "crystals"],
    properties: Float[Tensor, "crystals conditions"],
    *,
    steps: int,
    guidance: float,
    rng: torch.Generator,
) -> Iterator[tuple[float, Float[Tensor, "atoms width"]]]:
    """(t, latents in units of their spread) after each step from noise (t = 0) to data (t = 1).

    Args:
        properties: the targets, NaN where open.
        guidance: 1 follows them as in training, more exaggerates them, 0 ignores them.
    """
    place = torch.arange(int(n_atoms.max()), device=n_atoms.device)
    present = place < n_atoms[:, None]
    conditions = network.conditions(n_atoms, properties)
    open_conditions = network.conditions(n_atoms, torch.full_like(properties, torch.nan))
    guided = guidance != 1.0 and bool(properties.isfinite().any())

    def predict(z: Tensor, t: Tensor) -> Tensor:
        answer = network.denoiser(z, t, present, conditions)
        if not guided:
            return answer
        free = network.denoiser(z, t, present, open_conditions)
        return free + guidance * (answer - free)

    for t, z in euler(predict, masked_noise(present, network.width, rng), steps):
        yield t, z[present]
