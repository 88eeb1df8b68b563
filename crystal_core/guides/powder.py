"""A measured powder pattern as a guidance target, kinematic and differentiable.

It compares blurred structure factors of a crystal with the pattern.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from crystal_core.errors import RequestError
from crystal_core.evaluation.xrd import LAST_TABULATED
from crystal_core.geometry import TWO_PI, volume

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from crystal_core.crystal import SoftCrystals
    from crystal_core.evaluation.powder_pattern import MeasuredPattern

FWHM = 1.0  # degrees: wide enough for neighbouring peaks to attract each other
GRID_STEP = 0.2  # degrees
MAX_RECIPROCAL = 0.65  # 1/Å; reflections beyond hold details too fine for a guide
SPREAD = 0.05  # of the similarity around 1, at strength 1
VOLUME_RANGE = (1.0, 200.0)  # Å3 per atom; cells outside are still noise, and are not guided
MAX_LENGTH = 40.0  # Å


class PowderTarget:
    """Similarity of blurred patterns (cosine, 1 is the same) over its spread.

    Raises:
        RequestError: the pattern starts beyond the reflections that a guide uses.
    """

    def __init__(self, measured: MeasuredPattern) -> None:
        from pymatgen.analysis.diffraction.xrd import WAVELENGTHS

        named = measured.wavelength
        self.wavelength = float(WAVELENGTHS[named]) if isinstance(named, str) else float(named)
        first, last = measured.range
        sine = min(1.0, self.wavelength * MAX_RECIPROCAL / 2)
        end = math.degrees(2 * math.asin(sine))
        if first >= end:
            raise RequestError(
                f"The pattern starts at {first:g} degrees, but guiding uses angles below {end:.1f} at this "
                "wavelength; leave out guiding."
            )
        self.grid = torch.arange(first, min(last, end), GRID_STEP)
        weights = _gaussian(self.grid.unsqueeze(-1) - torch.tensor(measured.grid, dtype=torch.float32))
        target = weights @ torch.tensor(measured.signal, dtype=torch.float32)
        self.target = target / target.norm().clamp(min=1e-9)

    def value(self, batch: SoftCrystals) -> Tensor:
        first = 0
        values = []
        for n, rows in zip(batch.n_atoms.tolist(), batch.lattice, strict=True):
            atoms = slice(first, first + n)
            first += n
            values.append(self._similarity(batch.types[atoms], batch.frac_coords[atoms], rows) / SPREAD)
        return torch.stack(values)

    def _similarity(self, types: Tensor, frac_coords: Tensor, rows: Float[Tensor, "3 3"]) -> Tensor:
        low, high = VOLUME_RANGE
        size = float(volume(rows.detach().unsqueeze(0))) / len(types)
        lengths = rows.detach().norm(dim=-1)
        if not low <= size <= high or float(lengths.max()) > MAX_LENGTH or len(self.grid) == 0:
            return 0.0 * (types.sum() + frac_coords.sum() + rows.sum())
        grid, target = self.grid.to(rows), self.target.to(rows)
        edge = min(2.0, 2.0 / self.wavelength * math.sin(math.radians(float(grid[-1]) / 2)))
        hkl = _half_sphere(rows.detach(), edge)
        reciprocal = (hkl @ torch.linalg.inv(rows).T).norm(dim=-1)
        sine = (self.wavelength * reciprocal / 2).clamp(max=0.999)
        theta = torch.arcsin(sine)
        polarisation = (1 + torch.cos(2 * theta) ** 2) / (sine**2 * torch.cos(theta))
        present = types.detach().sum(0) > 0
        scattering = types[:, present] @ form_factors((reciprocal / 2) ** 2, present)
        phase = TWO_PI * frac_coords @ hkl.T
        intensity = (
            (scattering * torch.cos(phase)).sum(0) ** 2 + (scattering * torch.sin(phase)).sum(0) ** 2
        ) * polarisation
        profile = _gaussian(grid.unsqueeze(-1) - torch.rad2deg(2 * theta)) @ intensity
        return (profile @ target) / profile.norm().clamp(min=1e-9)


def _half_sphere(rows: Tensor, radius: float) -> Float[Tensor, "reflections 3"]:
    """One of each pair (h k l), (-h -k -l) whose reciprocal vector is shorter than ``radius`` (1/Å)."""
    # h = g · a, so its absolute value is at most |g| |a|
    reach = (radius * rows.norm(dim=-1)).floor().int().tolist()
    axes = [torch.arange(-n, n + 1, dtype=rows.dtype, device=rows.device) for n in reach]
    hkl = torch.cartesian_prod(*axes)
    hkl = hkl[len(hkl) // 2 + 1 :]  # the list is symmetric about (0 0 0)
    return hkl[(hkl @ torch.linalg.inv(rows).T).norm(dim=-1) < radius]


def form_factors(square: Tensor, present: Tensor) -> Float[Tensor, "elements reflections"]:
    """Scattering of each element in electrons: c + sum a exp(-b s²), see :mod:`crystal_core.evaluation.xrd`.

    Args:
        square: (reflections,) s² = (sin θ / wavelength)² in 1/Å². present: (118,) which elements are wanted.
    """
    constant, height, width = (part.to(square)[present] for part in _scattering_parameters())
    terms = height.unsqueeze(-1) * torch.exp(-width.unsqueeze(-1) * square)
    return constant.unsqueeze(-1) + terms.sum(1)


@cache
def _scattering_parameters() -> tuple[Tensor, Tensor, Tensor]:
    """(118,) constants c, (118, 4) heights a, (118, 4) widths b; untabulated elements are points."""
    import gemmi

    constant = np.arange(1.0, 119.0)
    height, width = np.zeros((118, 4)), np.zeros((118, 4))
    for z in range(1, LAST_TABULATED + 1):
        table = gemmi.Element(z).it92
        constant[z - 1], height[z - 1], width[z - 1] = table.c, table.a, table.b
    return torch.tensor(constant), torch.tensor(height), torch.tensor(width)


def _gaussian(shift: Tensor) -> Tensor:
    return torch.exp(-4 * math.log(2) * (shift / FWHM) ** 2)
