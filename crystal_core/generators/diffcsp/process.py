"""DiffCSP's forward process: noisy lattice and coordinates at a time index, and what the network predicts.

Jiao, Huang, Lin, Han, Chen, Lu, Liu: Crystal Structure Prediction by Joint Equivariant Diffusion, NeurIPS
2023, section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from crystal_core.generators.diffcsp.schedules import Schedules, coordinate_score
from crystal_core.geometry import centre, lattice_from_parameters, wrap_unit
from crystal_core.networks.packing import Packing, pack

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from crystal_core.generators.diffcsp.config import ProcessConfig
    from crystal_core.training.data import Batch


@dataclass(frozen=True)
class NoisyState:
    """A point on the way from data to noise, with its targets.

    Attributes:
        frac_coords: (atoms, 3) in [0, 1). lattice: (crystals, 3, 3) rows, Å.
        score: (atoms, 3), of unit mean square. lattice_noise: (crystals, 3, 3), unit normal.
    """

    frac_coords: Tensor
    lattice: Tensor
    score: Tensor
    lattice_noise: Tensor


def noisy_state(
    frac_coords: Float[Tensor, "atoms 3"],
    lattice: Float[Tensor, "crystals 3 3"],
    t: Int[Tensor, "crystals"],
    packing: Packing,
    schedules: Schedules,
    generator: torch.Generator,
) -> NoisyState:
    """Draw the forward process at one time index per crystal, with the targets of the network."""
    device = lattice.device
    noise = torch.randn(lattice.shape, generator=generator, device=device, dtype=lattice.dtype)
    signal = schedules.alphas_cumprod.to(device)[t].view(-1, 1, 1)
    of_atoms = t[packing.crystal_index]
    sigma = schedules.sigmas.to(device)[of_atoms].to(frac_coords.dtype).unsqueeze(-1)
    norm = schedules.norms.to(device)[of_atoms].sqrt().to(frac_coords.dtype).unsqueeze(-1)
    moved = sigma * torch.randn(
        frac_coords.shape, generator=generator, device=device, dtype=frac_coords.dtype
    )
    return NoisyState(
        frac_coords=wrap_unit(frac_coords + moved),
        lattice=signal.sqrt().to(lattice.dtype) * lattice + (1 - signal).sqrt().to(lattice.dtype) * noise,
        # a time index of 0 has no noise, and no score either
        score=torch.where(
            sigma > 0, coordinate_score(moved, sigma.clamp(min=1e-6)) / norm, torch.zeros_like(moved)
        ),
        lattice_noise=noise,
    )


def diffcsp_loss(
    network: torch.nn.Module,
    batch: Batch,
    generator: torch.Generator,
    process: ProcessConfig,
    schedules: Schedules,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean squared errors of lattice noise and standardised score, added; one time index per crystal."""
    packing = pack(batch.n_atoms)
    device = batch.n_atoms.device
    t = torch.randint(1, schedules.n_times + 1, (packing.n_crystals,), generator=generator, device=device)
    # lengths, angles and energy fit a crystal and its mirror image alike: learn both
    hand = torch.randint(0, 2, (packing.n_crystals,), generator=generator, device=device)
    mirrored = (1 - 2 * hand)[packing.crystal_index].unsqueeze(-1) * batch.frac_coords
    lattice = lattice_from_parameters(batch.cell_parameters)
    state = noisy_state(mirrored, lattice, t, packing, schedules, generator)
    scale = schedules.lattice_scales.to(device)[t].float().view(-1, 1, 1)
    noise, score = network(t, state.frac_coords, batch.atomic_numbers, state.lattice / scale, packing)
    target, score = state.score, score.float()
    if process.centred:
        target, score = (centre(x, packing.crystal_index, packing.n_crystals) for x in (state.score, score))
    loss_x = functional.mse_loss(score, target)
    loss_l = functional.mse_loss(noise.float(), state.lattice_noise)
    return loss_l + loss_x, {"loss_x": loss_x.detach(), "loss_l": loss_l.detach()}
