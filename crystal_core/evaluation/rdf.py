"""Radial distribution functions of one crystal: the total and one per pair of elements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pymatgen.core import Structure


@dataclass(frozen=True, kw_only=True)
class RadialDistribution:
    """g(r) on a grid.

    Attributes:
        r: (points,) in Å. curves: name ("all", "Ti–O", …) → (points,) g(r), which tends to 1 at long range.
    """

    r: np.ndarray
    curves: dict[str, np.ndarray]


def radial_distribution(
    structure: Structure, *, r_max: float = 8.0, width: float = 0.05, step: float = 0.02
) -> RadialDistribution:
    """Histogram of distances up to ``r_max``, spread by Gaussians of standard deviation ``width`` (Å).

    g_ab(r) = (pairs a–b at r) / (N_a · 4 pi r² · density of b); the total takes all atoms as one kind.
    """
    symbols = np.array([site.specie.symbol for site in structure])
    centres, neighbours, _, distances = structure.get_neighbor_list(r_max + 4 * width)
    r = np.arange(step, r_max + step / 2, step)
    curves = {"all": _curve(r, distances, len(structure), len(structure), structure.volume, width)}
    kinds = list(dict.fromkeys(symbols))
    for k, a in enumerate(kinds):
        for b in kinds[k:]:
            chosen = (symbols[centres] == a) & (symbols[neighbours] == b)
            counts = int((symbols == a).sum()), int((symbols == b).sum())
            curves[f"{a}–{b}"] = _curve(r, distances[chosen], *counts, structure.volume, width)
    return RadialDistribution(r=r, curves=curves)


def _curve(
    r: np.ndarray, distances: np.ndarray, n_from: int, n_to: int, volume: float, width: float
) -> np.ndarray:
    shells, times = np.unique(np.round(distances, 4), return_counts=True)
    spread = np.exp(-0.5 * ((r[:, None] - shells) / width) ** 2) / (width * np.sqrt(2 * np.pi))
    return (spread * times).sum(axis=1) / (n_from * 4 * np.pi * r**2 * n_to / volume)
