"""Several crystals in one set of tensors, the input and output of every model. Physical space only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class SoftCrystals:
    """Several crystals whose elements are probabilities, so that everything about them can be differentiated.

    Attributes:
        types: (atoms, 118) probability of each element, by atomic number - 1.
        frac_coords: (atoms, 3) of any period. lattice: (crystals, 3, 3) rows in Å. n_atoms: (crystals,).
    """

    types: Float[Tensor, "atoms elements"]
    frac_coords: Float[Tensor, "atoms 3"]
    lattice: Float[Tensor, "crystals 3 3"]
    n_atoms: Int[Tensor, "crystals"]

    @property
    def crystal_index(self) -> Int[Tensor, "atoms"]:
        """For each atom, the crystal it belongs to."""
        return torch.repeat_interleave(
            torch.arange(len(self.n_atoms), device=self.n_atoms.device), self.n_atoms
        )


@dataclass(frozen=True, kw_only=True)
class CrystalBatch:
    """Several crystals, atoms concatenated, no padding.

    Attributes:
        atomic_numbers: (atoms,) proton number Z, 1..118.
        frac_coords: (atoms, 3) fractional coordinates in [0, 1).
        lattice: (crystals, 3, 3) rows are a, b, c in Å; cartesian = frac_coords @ lattice[i].
        n_atoms: (crystals,) atoms per crystal; sums to the length of ``atomic_numbers``.
    """

    atomic_numbers: Int[Tensor, "atoms"]
    frac_coords: Float[Tensor, "atoms 3"]
    lattice: Float[Tensor, "crystals 3 3"]
    n_atoms: Int[Tensor, "crystals"]

    def __post_init__(self) -> None:
        atoms, crystals = self.atomic_numbers.shape[0], self.n_atoms.shape[0]
        if self.frac_coords.shape != (atoms, 3) or self.lattice.shape != (crystals, 3, 3):
            raise ValueError(
                f"shapes disagree: {atoms=}, {crystals=}, frac_coords {tuple(self.frac_coords.shape)}, "
                f"lattice {tuple(self.lattice.shape)}"
            )
        if int(self.n_atoms.sum()) != atoms:
            raise ValueError(f"n_atoms sums to {int(self.n_atoms.sum())}, but there are {atoms} atoms")

    def __len__(self) -> int:
        return int(self.n_atoms.shape[0])

    @property
    def crystal_index(self) -> Int[Tensor, "atoms"]:
        """For each atom, the crystal it belongs to."""
        return torch.repeat_interleave(torch.arange(len(self), device=self.n_atoms.device), self.n_atoms)

    def __getitem__(self, index: int) -> CrystalBatch:
        """The crystal at ``index``, as a batch of one."""
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"crystal {index} of {len(self)}")
        first = int(self.n_atoms[:index].sum())
        last = first + int(self.n_atoms[index])
        return CrystalBatch(
            atomic_numbers=self.atomic_numbers[first:last],
            frac_coords=self.frac_coords[first:last],
            lattice=self.lattice[index : index + 1],
            n_atoms=self.n_atoms[index : index + 1],
        )

    def __iter__(self) -> Iterator[CrystalBatch]:
        return (self[i] for i in range(len(self)))

    def to(self, device: torch.device | str) -> CrystalBatch:
        """The same crystals on another device."""
        return replace(
            self,
            atomic_numbers=self.atomic_numbers.to(device),
            frac_coords=self.frac_coords.to(device),
            lattice=self.lattice.to(device),
            n_atoms=self.n_atoms.to(device),
        )

    @classmethod
    def concat(cls, batches: Sequence[CrystalBatch]) -> CrystalBatch:
        """All crystals of several batches, in order."""
        return cls(
            atomic_numbers=torch.cat([b.atomic_numbers for b in batches]),
            frac_coords=torch.cat([b.frac_coords for b in batches]),
            lattice=torch.cat([b.lattice for b in batches]),
            n_atoms=torch.cat([b.n_atoms for b in batches]),
        )
