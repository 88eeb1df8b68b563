"""Choices of KLDM's forward process; the card of a checkpoint keeps them."""

from __future__ import annotations

from dataclasses import dataclass

from crystal_core.checks import check_choice
from crystal_core.errors import RequestError


@dataclass(frozen=True, kw_only=True)
class ProcessConfig:
    """Choices of the forward process; the defaults are the published ones.

    Attributes:
        coordinates: "kinetic", or a baseline: "brownian" or "euclidean" (see
            :mod:`crystal_core.generators.kldm.coordinates`).
        parametrisation: "simplified" predicts the standardised wrapped-normal part of the score,
            "full" all of it.
        mean_free: velocities and their noise have zero mean per crystal.
        initial_velocity_scale: standard deviation of v_0; the simplified target needs 0.
        lattice_target: "x0" or "eps".
        species: "fixed" (structure prediction: the types are given), or the option by which they diffuse too:
            "one-hot", "analog-bits" or "masking" (see :mod:`crystal_core.generators.kldm.species`).
        species_target: "x0" or "eps", for one-hot vectors.
        species_scale: length of a clean one-hot entry or bit.
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
        if self.coordinates != "kinetic" and (
            self.parametrisation != "simplified" or self.initial_velocity_scale
        ):
            raise RequestError(
                "Only kinetic coordinates have velocities: "
                "leave parametrisation and initial_velocity_scale as they are."
            )
        if self.initial_velocity_scale < 0:
            raise RequestError("The initial velocity scale cannot be negative.")
        if self.initial_velocity_scale > 0 and self.parametrisation == "simplified":
            raise RequestError(
                "The simplified parametrisation needs atoms at rest: "
                "set initial_velocity_scale to 0 or use 'full'."
            )
