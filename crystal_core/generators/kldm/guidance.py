"""Guidance: the gradient of a predictor at the denoised estimate, added to the scores that the network gives.

Chung et al. 2023 (diffusion posterior sampling), with the network's own Jacobian replaced by that of
unit normal data: no backward pass through the network is needed. Hidden types have no score; their
logits are re-weighted instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from crystal_core.crystal import SoftCrystals
from crystal_core.geometry import lattice_from_parameters

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from crystal_core.generators.kldm.codec import LatticeCodec
    from crystal_core.guides.protocol import DifferentiablePredictor

N_ELEMENTS = 118
MAX_GRADIENT = 10.0  # per crystal, of each part: a cell that is still noise must not throw the sampler


@dataclass(frozen=True)
class Gradients:
    """Gradients of the guidance target times its strength.

    With respect to frac_coords (atoms, 3), lattice (crystals, 6) and types (atoms, width).
    """

    frac_coords: Tensor
    lattice: Tensor
    types: Tensor


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """The target of the crystals, and its weight.

    Attributes:
        predictor: its value is to be large.
        strength: factor on its gradients; 1 takes it as a log probability.
        n_atoms: (crystals,).
        codec: lattice statistics.
        atomic_numbers: (atoms,) where they are given; None de novo.
    """

    predictor: DifferentiablePredictor
    strength: float
    n_atoms: Int[Tensor, "crystals"]
    codec: LatticeCodec
    atomic_numbers: Int[Tensor, "atoms"] | None = None

    def gradients(
        self,
        frac_coords: Float[Tensor, "atoms 3"],
        lattice: Float[Tensor, "crystals 6"],
        types: Tensor | None,
    ) -> Gradients:
        """At estimated clean crystals; ``types`` (atoms, width) are probabilities by atomic number - 1."""
        if types is None:
            assert self.atomic_numbers is not None
            types = functional.one_hot(self.atomic_numbers - 1, N_ELEMENTS).to(lattice.dtype)
        with torch.enable_grad():
            leaves = [part.detach().clone().requires_grad_() for part in (frac_coords, lattice, types)]
            rows = lattice_from_parameters(self.codec.decode(leaves[1], self.n_atoms))
            soft = functional.pad(leaves[2], (0, N_ELEMENTS - leaves[2].shape[-1]))
            value = self.predictor.value(
                SoftCrystals(types=soft, frac_coords=leaves[0], lattice=rows, n_atoms=self.n_atoms)
            )
            gradients = torch.autograd.grad(value.sum(), leaves, allow_unused=True)
        index = torch.repeat_interleave(torch.arange(len(self.n_atoms), device=lattice.device), self.n_atoms)
        parts = [
            torch.zeros_like(leaf) if part is None else part.nan_to_num(0.0, 0.0, 0.0)
            for leaf, part in zip(leaves, gradients, strict=True)
        ]
        owners = (index, torch.arange(len(self.n_atoms), device=lattice.device), index)
        limited = [
            _limited(part, owner, len(self.n_atoms)) for part, owner in zip(parts, owners, strict=True)
        ]
        return Gradients(*(self.strength * part for part in limited))


def _limited(gradient: Tensor, owner: Tensor, n_crystals: int) -> Tensor:
    """The gradient of each crystal, no longer than MAX_GRADIENT."""
    square = gradient.new_zeros(n_crystals).index_add(0, owner, (gradient**2).sum(-1))
    return gradient * (MAX_GRADIENT / square.sqrt().clamp(min=MAX_GRADIENT))[owner].unsqueeze(-1)
