"""A space group kept while sampling: start, noise, scores and cells are projected onto its invariants.

Atoms of one orbit move together and share their type; free parameters of Wyckoff positions and of the lattice
are all that is sampled. Experimental: no network here was trained on such states.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from crystal_core.geometry import lattice_from_parameters, lattice_parameters, mean_per_crystal, wrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int
    from torch import Tensor

    from crystal_core.generators.kldm.codec import LatticeCodec
    from crystal_core.requests import CellSymmetry


@dataclass(frozen=True)
class Symmetry:
    """The operations of each crystal as linear maps; crystals are padded to the largest.

    Attributes:
        displacements: (crystals, 3 n, 3 n) projector onto the symmetric displacements of n atoms.
        metrics: (crystals, 9, 9) mean over the point group of G ↦ Wᵀ G W.
        frac_coords: (atoms, 3) positions that are symmetric. place: (atoms,) of each atom in the padded list.
        freedom: (atoms, 3, 3) whole numbers; what a displacement of the first atom of its orbit makes of
            each atom, times ``order``.
        order: (atoms,) of the site stabiliser.
        orbit: (atoms,) number of its orbit. first: (atoms,) the first atom of its orbit.
        n_atoms: (crystals,). codec: lattice statistics.
    """

    displacements: Float[Tensor, "crystals size size"]
    metrics: Float[Tensor, "crystals 9 9"]
    frac_coords: Float[Tensor, "atoms 3"]
    place: Int[Tensor, "atoms"]
    freedom: Float[Tensor, "atoms 3 3"]
    order: Float[Tensor, "atoms"]
    orbit: Int[Tensor, "atoms"]
    first: Int[Tensor, "atoms"]
    n_atoms: Int[Tensor, "crystals"]
    codec: LatticeCodec

    @classmethod
    def of(cls, cells: Sequence[CellSymmetry], codec: LatticeCodec, device: torch.device | str) -> Symmetry:
        """The maps of these cells, built in float64."""
        counts = [len(cell.frac_coords) for cell in cells]
        size = max(counts)
        displacements = torch.zeros(len(cells), 3 * size, 3 * size, dtype=torch.float64)
        metrics = torch.zeros(len(cells), 9, 9, dtype=torch.float64)
        orbit, first, place, freedom, order = [], [], [], [], []
        atoms = orbits = 0
        for crystal, (cell, n) in enumerate(zip(cells, counts, strict=True)):
            rotations = torch.as_tensor(cell.rotations, dtype=torch.float64)
            permutations = torch.as_tensor(cell.permutations)
            blocks = torch.zeros(n, n, 3, 3, dtype=torch.float64)
            for inverse, permutation in zip(torch.linalg.inv(rotations).round(), permutations, strict=True):
                blocks[torch.arange(n), permutation] += inverse / len(rotations)
            displacements[crystal, : 3 * n, : 3 * n] = blocks.permute(0, 2, 1, 3).reshape(3 * n, 3 * n)
            # (Wᵀ G W)_ij = W_ki G_kl W_lj
            metrics[crystal] = torch.einsum("mki,mlj->ijkl", rotations, rotations).reshape(9, 9) / len(
                rotations
            )
            leaders, numbers = permutations.min(0).values.unique(return_inverse=True)
            orbit.append(numbers + orbits)
            first.append(leaders[numbers] + atoms)
            place.append(torch.arange(n) + crystal * size)
            # summing over an atom's site stabiliser maps a uniform point of the cell to uniform free
            # parameters
            stays = (permutations == torch.arange(n)).double()
            stabilisers = torch.einsum("ka,kij->aij", stays, rotations)
            here = leaders[numbers]
            order.append(stays.sum(0))
            # an operation that takes the leader to each atom
            from_leader = (permutations[:, here] == torch.arange(n)).int().argmax(0)
            freedom.append(rotations[from_leader] @ stabilisers[here])
            atoms, orbits = atoms + n, orbits + len(leaders)
        return cls(
            displacements=displacements.float().to(device),
            metrics=metrics.to(device),
            frac_coords=wrap(torch.cat([torch.as_tensor(cell.frac_coords) for cell in cells]))
            .float()
            .to(device),
            place=torch.cat(place).to(device),
            freedom=torch.cat(freedom).to(device),
            order=torch.cat(order).to(device),
            orbit=torch.cat(orbit).to(device),
            first=torch.cat(first).to(device),
            n_atoms=torch.tensor(counts, device=device),
            codec=codec,
        )

    def displacement(self, values: Float[Tensor, "atoms 3"]) -> Float[Tensor, "atoms 3"]:
        """The symmetric part of displacements or scores: v_i ↦ mean over operations of W⁻¹ v_(image of i)."""
        size = self.displacements.shape[1] // 3
        padded = values.new_zeros((len(self.n_atoms) * size, 3)).index_copy(0, self.place, values)
        projected = torch.bmm(self.displacements, padded.reshape(len(self.n_atoms), 3 * size, 1))
        return projected.reshape(-1, 3)[self.place]

    def noise(self, normal: Float[Tensor, "atoms 3"]) -> Float[Tensor, "atoms 3"]:
        """Symmetric noise that moves each atom along its free directions as far as noise without symmetry.

        The mean over an orbit of m atoms, as of :meth:`displacement`, would be smaller by the root of m.
        """
        return (
            torch.einsum("aij,aj->ai", self.freedom, normal[self.first].double()) / self.order.unsqueeze(-1)
        ).to(normal.dtype)

    def positions(self, uniform: Float[Tensor, "atoms 3"]) -> Float[Tensor, "atoms 3"]:
        """Symmetric positions whose free parameters are uniform where displacements are, over [-½, ½]."""
        moved = torch.einsum("aij,aj->ai", self.freedom, uniform[self.first].double())
        return wrap(self.frac_coords + wrap(moved).to(uniform.dtype))

    def cell(self, lattice: Float[Tensor, "crystals 6"]) -> Float[Tensor, "crystals 6"]:
        """The lattice numbers of the mean over the point group of the cell's metric."""
        rows = lattice_from_parameters(self.codec.decode(lattice.double(), self.n_atoms))
        metric = rows @ rows.transpose(1, 2)
        mean = torch.bmm(self.metrics, metric.reshape(-1, 9, 1)).reshape(-1, 3, 3)
        # the square root of a metric, so that lengths and angles are read in one place
        factor = torch.linalg.cholesky(mean + 1e-9 * torch.eye(3, dtype=mean.dtype, device=mean.device))
        return self.codec.encode(lattice_parameters(factor), self.n_atoms).to(lattice.dtype)

    def mean_of_orbit(self, output: Float[Tensor, "atoms width"]) -> Float[Tensor, "atoms width"]:
        """Type predictions, the same for all atoms of an orbit."""
        return mean_per_crystal(output, self.orbit, int(self.orbit.max()) + 1)[self.orbit]
