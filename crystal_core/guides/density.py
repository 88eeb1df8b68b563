"""Density as a guidance target, analytic for every element: how near a crystal is to a value."""

from __future__ import annotations

import math
import warnings
from functools import cache
from typing import TYPE_CHECKING

import torch

from crystal_core.checks import check_density
from crystal_core.geometry import volume

if TYPE_CHECKING:
    from torch import Tensor

    from crystal_core.crystal import SoftCrystals

SPREAD = 0.2  # of ln density around the target at strength 1
GRAMS = 1.66053907  # g/cm³ of one atomic mass unit per Å3
MIN_VOLUME = 1e-3  # Å3: a flat cell has no density


class DensityTarget:
    """The log of a normal distribution of ln density around a target in g/cm³."""

    def __init__(self, target: float) -> None:
        check_density(target)
        self.target = target

    def value(self, batch: SoftCrystals) -> Tensor:
        mass = batch.types @ atomic_masses().to(batch.types)
        total = mass.new_zeros(len(batch.n_atoms)).index_add(0, batch.crystal_index, mass)
        density = GRAMS * total / volume(batch.lattice).clamp(min=MIN_VOLUME)
        return -0.5 * ((torch.log(density) - math.log(self.target)) / SPREAD) ** 2


@cache
def atomic_masses() -> Tensor:
    """(118,) atomic mass units by atomic number - 1."""
    from pymatgen.core import Element

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.tensor([float(Element.from_Z(z).atomic_mass) for z in range(1, 119)])
