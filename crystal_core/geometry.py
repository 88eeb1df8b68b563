"""Periodic geometry in ångströms and degrees: pure functions on tensors, no model in sight."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


def wrap(x: Tensor, period: float = 1.0) -> Tensor:
    """``x`` moved by whole periods into [-period/2, period/2]."""
    return x - period * torch.round(x / period)


def wrap_unit(frac_coords: Tensor) -> Tensor:
    """Fractional coordinates in [0, 1)."""
    wrapped = frac_coords - torch.floor(frac_coords)
    # -1e-9 - floor(-1e-9) rounds to exactly 1.0 in float32, which would be a duplicate site
    return torch.where(wrapped >= 1.0, torch.zeros_like(wrapped), wrapped)


def mean_per_crystal(
    values: Float[Tensor, "atoms k"], crystal_index: Int[Tensor, "atoms"], n_crystals: int
) -> Float[Tensor, "crystals k"]:
    """Mean over the atoms of each crystal."""
    total = values.new_zeros((n_crystals, *values.shape[1:])).index_add_(0, crystal_index, values)
    count = torch.bincount(crystal_index, minlength=n_crystals).clamp(min=1).to(values.dtype)
    return total / count.view(-1, *([1] * (values.dim() - 1)))


def centre(values: Float[Tensor, "atoms k"], crystal_index: Int[Tensor, "atoms"], n_crystals: int) -> Tensor:
    """``values`` less their mean over each crystal: zero net translation."""
    return values - mean_per_crystal(values, crystal_index, n_crystals)[crystal_index]


def lattice_parameters(lattice: Float[Tensor, "crystals 3 3"]) -> Float[Tensor, "crystals 6"]:
    """a, b, c (Å) and alpha, beta, gamma (degrees)."""
    lengths = lattice.norm(dim=-1)
    unit = lattice / lengths.unsqueeze(-1)
    cosines = torch.stack(
        [
            (unit[:, 1] * unit[:, 2]).sum(-1),
            (unit[:, 0] * unit[:, 2]).sum(-1),
            (unit[:, 0] * unit[:, 1]).sum(-1),
        ],
        dim=-1,
    )
    return torch.cat([lengths, torch.rad2deg(torch.arccos(cosines.clamp(-1.0, 1.0)))], dim=-1)


def lattice_from_parameters(parameters: Float[Tensor, "crystals 6"]) -> Float[Tensor, "crystals 3 3"]:
    """Lattice rows from lengths (Å) and angles (°) in pymatgen's orientation (c along z, a in xz).

    Angles that no lattice has (say alpha > beta + gamma) give a flat cell of zero volume, never NaN: the
    validity check then refuses it with a reason.
    """
    a, b, c = parameters[:, 0], parameters[:, 1], parameters[:, 2]
    cos_a, cos_b, cos_g = torch.cos(torch.deg2rad(parameters[:, 3:])).unbind(-1)
    sin_a, sin_b = torch.sin(torch.deg2rad(parameters[:, 3])), torch.sin(torch.deg2rad(parameters[:, 4]))
    cos_gs = ((cos_a * cos_b - cos_g) / (sin_a * sin_b).clamp(min=1e-8)).clamp(-1.0, 1.0)
    sin_gs = torch.sqrt((1.0 - cos_gs**2).clamp(min=0.0))
    zero = torch.zeros_like(a)
    rows_a = torch.stack([a * sin_b, zero, a * cos_b], dim=-1)
    rows_b = torch.stack([-b * sin_a * cos_gs, b * sin_a * sin_gs, b * cos_a], dim=-1)
    rows_c = torch.stack([zero, zero, c], dim=-1)
    return torch.stack([rows_a, rows_b, rows_c], dim=1)


def volume(lattice: Float[Tensor, "crystals 3 3"]) -> Float[Tensor, "crystals"]:
    """Cell volume in Å³ (never negative)."""
    return torch.linalg.det(lattice).abs()


TWO_PI = 2.0 * math.pi
