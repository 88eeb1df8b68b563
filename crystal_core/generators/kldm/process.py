"""KLDM's forward process: noisy coordinates, velocities and lattice at time t, with training targets.

Cornet, Bergamin, Bhowmik, Garcia Lastra, Frellsen, Schmidt: Kinetic Langevin Diffusion for Crystalline
Materials Generation, ICML 2025. External chart (network, stored state): f in [-½, ½], u, t in (0, 1].
Internal: x = 2 pi f, v = 2 pi u, s = 2 t.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from crystal_core.generators.kldm.coordinates import coordinate_process
from crystal_core.sampling import variance_preserving as vp

if TYPE_CHECKING:
    from torch import Tensor

    from crystal_core.generators.kldm.config import ProcessConfig
    from crystal_core.networks.packing import Packing


@dataclass(frozen=True)
class NoisyState:
    """A point on the way from data to noise (external chart), with its targets.

    Attributes:
        frac_coords: (atoms, 3). velocity: (atoms, 3). lattice: (crystals, 6).
        velocity_target: (atoms, 3). lattice_target: (crystals, 6).
    """

    frac_coords: Tensor
    velocity: Tensor
    lattice: Tensor
    velocity_target: Tensor
    lattice_target: Tensor


def noisy_state(
    frac_coords: Tensor,
    lattice: Tensor,
    t: Tensor,
    packing: Packing,
    config: ProcessConfig,
    generator: torch.Generator,
) -> NoisyState:
    """Draw the forward process at one time per crystal, with the targets of the network."""
    coordinates, target = coordinate_process(config).noisy(frac_coords, t, packing, generator)
    noise = torch.randn(lattice.shape, generator=generator, device=lattice.device, dtype=lattice.dtype)
    return NoisyState(
        frac_coords=coordinates.frac_coords,
        velocity=coordinates.velocity,
        lattice=vp.add_noise(lattice, t, noise),
        velocity_target=target,
        lattice_target=lattice if config.lattice_target == "x0" else noise,
    )
