"""KLDM's forward process: noisy coordinates, velocities and lattice at a time t, and what the network shall predict.

Cornet, Bergamin, Bhowmik, Garcia Lastra, Frellsen, Schmidt: Kinetic Langevin Diffusion for Crystalline Materials
Generation, ICML 2025. External chart (network, stored state): f in [-½, ½], u, t in (0, 1]. Internal: x = 2 pi f,
v = 2 pi u, s = 2 t.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from crystal_core.errors import RequestError
from crystal_core.generators.kldm.coordinates import coordinate_process
from crystal_core.requests import check_choice
from crystal_core.sampling import variance_preserving as vp

if TYPE_CHECKING:
    from torch import Tensor

    from crystal_core.networks.packing import Packing


@dataclass(frozen=True, kw_only=True)
class ProcessConfig:
    """Choices of the forward process; the defaults are the published ones.

    Attributes:
        coordinates: "kinetic", or a baseline: "brownian" or "euclidean" (see :mod:`crystal_core.generators.kldm.coordinates`).
        parametrisation: "simplified" predicts the standardised wrapped-normal part of the score, "full" all of it.
        mean_free: velocities and their noise have zero mean per crystal.
        initial_velocity_scale: standard deviation of v_0; the simplified target needs 0.
        lattice_target: "x0" or "eps".
        species: "fixed" (structure prediction: the types are given), or the option by which they diffuse too: "one-hot",
            "analog-bits" or "masking" (see :mod:`crystal_core.generators.kldm.species`).
        species_target: "x0" or "eps", for one-hot vectors. species_scale: length of a clean one-hot entry or bit.
        clamp_bits: keep predicted analog bits within their range while sampling.
        mask_schedule, mask_power: how the share of hidden atoms grows. mask_weight: "elbo" or "simple".
    """

    coordinates: str = "kinetic"
    parametrisation: str = "simplified"
    mean_free: bool = True
    initial_velocity_scale: float = 0.0
    lattice_target: str = "x0"
    species: str = "fixed"
    species_target: str = "x0"
    species_scale: float = 1.0
    clamp_bits: bool = False
    mask_schedule: str = "linear"
    mask_power: float = 2.0
    mask_weight: str = "elbo"

    def __post_init__(self) -> None:
        check_choice("coordinates", self.coordinates, ("kinetic", "brownian", "euclidean"))
        check_choice("parametrisation", self.parametrisation, ("simplified", "full"))
        check_choice("lattice target", self.lattice_target, ("x0", "eps"))
        check_choice("species process", self.species, ("fixed", "one-hot", "analog-bits", "masking"))
        check_choice("species target", self.species_target, ("x0", "eps"))
        check_choice("mask weight", self.mask_weight, ("elbo", "simple"))
        if self.coordinates != "kinetic" and (self.parametrisation != "simplified" or self.initial_velocity_scale):
            raise RequestError("Only kinetic coordinates have velocities: leave parametrisation and initial_velocity_scale as they are.")
        if self.initial_velocity_scale < 0:
            raise RequestError("The initial velocity scale cannot be negative.")
        if self.initial_velocity_scale > 0 and self.parametrisation == "simplified":
            raise RequestError("The simplified parametrisation needs atoms at rest: set initial_velocity_scale to 0 or use 'full'.")

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for the card."""
        return asdict(self)


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


def noisy_state(frac_coords: Tensor, lattice: Tensor, t: Tensor, packing: Packing, config: ProcessConfig, generator: torch.Generator) -> NoisyState:
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
