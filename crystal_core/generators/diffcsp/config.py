"""Choices of DiffCSP's forward process; the card of a checkpoint keeps them."""

from __future__ import annotations

from dataclasses import dataclass

from crystal_core.checks import check_number, check_whole
from crystal_core.errors import RequestError


@dataclass(frozen=True, kw_only=True)
class ProcessConfig:
    """Choices of the forward process; the defaults are the published ones.

    Attributes:
        n_times: noise levels; the time index runs from 1 (nearly clean) to ``n_times`` (noise), and 0 is
            clean.
        sigma_min, sigma_max: standard deviation of the coordinates at index 1 and at ``n_times``, in cell
            edges.
        centred: the score has zero mean per crystal. The network does not notice a common shift of all atoms,
            so the mean of the published target is noise to it; without it the best prediction is the same and
            training is steadier.
        lattice_std: Å. The network gets the lattice over sqrt(alpha lattice_std² + 1 - alpha), alpha the
            share of the clean lattice's variance that is left, so that it has one size at all times. 0 hands
            it over as it is, as published: L Lᵀ then has entries near 3 in noise, where the cell is decided,
            and up to 400 in data.

    Raises:
        RequestError: a value is out of range.
    """

    n_times: int = 1000
    sigma_min: float = 0.005
    sigma_max: float = 0.5
    centred: bool = False
    lattice_std: float = 0.0

    def __post_init__(self) -> None:
        check_whole("n_times", self.n_times, 2, 100_000)
        check_number("sigma_min", self.sigma_min, 1e-4, 1)
        check_number("sigma_max", self.sigma_max, 1e-4, 1)
        check_number("lattice_std", self.lattice_std, 0, 100)
        if self.sigma_min >= self.sigma_max:
            raise RequestError(
                f"sigma_min ({self.sigma_min:g}) must be smaller than sigma_max ({self.sigma_max:g})."
            )
