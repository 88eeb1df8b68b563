"""Crystals at the precision of text, and the lines of text that CrysLLMGen publishes.

Khastagir et al. 2025, after Gruver et al. 2024.

A crystal is written as three lengths in Å with one decimal, three angles in whole degrees, and per
atom its element and three fractional coordinates with two decimals. Where the published code loses
something (angles cut off, a coordinate of 1.00, the mask inside longer symbols) this module does not;
PITFALLS.md names the cases.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import torch

from crystal_core.crystal import CrystalBatch
from crystal_core.errors import RequestError, StructureParseError
from crystal_core.generators.crysllmgen.vocabulary import ATOMIC_NUMBERS, MAX_Z, SYMBOLS
from crystal_core.geometry import lattice_from_parameters, lattice_parameters, wrap_unit

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

MASK = "[MASK]"  # stands for the element in an infilling task
FLAT = 1e-9  # (volume / abc)² below which three angles span no cell; whole degrees give 0 or more than 1e-8
COORDS = tuple(f"{i / 100:.2f}" for i in range(100))


@dataclass(frozen=True, kw_only=True)
class GridCrystals:
    """Several crystals as whole numbers, atoms concatenated; every form of text holds exactly these.

    Attributes:
        lengths: (crystals, 3) a, b, c in tenths of an Å.
        angles: (crystals, 3) alpha, beta, gamma in degrees, 1..179.
        coords: (atoms, 3) fractional coordinates in hundredths, 0..99.
        atomic_numbers: (atoms,) 1..94. n_atoms: (crystals,).
    """

    lengths: Int[Tensor, "crystals 3"]
    angles: Int[Tensor, "crystals 3"]
    coords: Int[Tensor, "atoms 3"]
    atomic_numbers: Int[Tensor, "atoms"]
    n_atoms: Int[Tensor, "crystals"]

    def __len__(self) -> int:
        return int(self.n_atoms.shape[0])

    @classmethod
    def from_parameters(
        cls,
        cell_parameters: Float[Tensor, "crystals 6"],
        frac_coords: Float[Tensor, "atoms 3"],
        atomic_numbers: Int[Tensor, "atoms"],
        n_atoms: Int[Tensor, "crystals"],
    ) -> GridCrystals:
        """Crystals rounded to the nearest point of the grid; a coordinate that rounds to 1.00 becomes 0.00.

        Args:
            cell_parameters: lengths in Å and angles in degrees. frac_coords: of any period.

        Raises:
            RequestError: an element beyond plutonium, a value that is not finite, or a cell
                without volume once rounded.
        """
        grid = cls(
            lengths=_rounded(cell_parameters[:, :3], 10),
            angles=_rounded(cell_parameters[:, 3:], 1),
            coords=_rounded(frac_coords, 100) % 100,
            atomic_numbers=atomic_numbers.long(),
            n_atoms=n_atoms.long(),
        )
        unknown = grid.atomic_numbers[(grid.atomic_numbers < 1) | (grid.atomic_numbers > MAX_Z)]
        if len(unknown):
            raise RequestError(
                f"Atomic number {int(unknown[0])} has no word: the vocabulary ends at plutonium ({MAX_Z})."
            )
        bad = torch.nonzero((grid.lengths < 1).any(1) | ~spans_cell(grid.angles))
        if len(bad):
            i = int(bad[0])
            written = ", ".join(f"{x:g}" for x in cell_parameters[i].tolist())
            raise RequestError(
                f"The cell {written} has no volume once it is rounded to 0.1 Å and 1°; leave the crystal out."
            )
        return grid

    @classmethod
    def from_crystals(cls, crystals: CrystalBatch) -> GridCrystals:
        """The same from crystals in space; raises as :meth:`from_parameters`."""
        return cls.from_parameters(
            lattice_parameters(crystals.lattice.double()),
            crystals.frac_coords,
            crystals.atomic_numbers,
            crystals.n_atoms,
        )

    def select(self, chosen: Sequence[int]) -> GridCrystals:
        """The crystals at these places, in this order."""
        first = (torch.cumsum(self.n_atoms, 0) - self.n_atoms).tolist()
        atoms = [torch.arange(first[i], first[i] + int(self.n_atoms[i])) for i in chosen]
        index, atom_index = torch.tensor(list(chosen)), torch.cat(atoms)
        return GridCrystals(
            lengths=self.lengths[index],
            angles=self.angles[index],
            coords=self.coords[atom_index],
            atomic_numbers=self.atomic_numbers[atom_index],
            n_atoms=self.n_atoms[index],
        )

    @classmethod
    def concat(cls, parts: Sequence[GridCrystals]) -> GridCrystals:
        """All crystals of several batches, in order."""
        return cls(**{f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(cls)})

    def moved(self, hundredths: Int[Tensor, "3"]) -> GridCrystals:
        """Every crystal with its atoms moved by one vector, in hundredths of the cell's axes."""
        return replace(self, coords=(self.coords + hundredths) % 100)

    def with_element(self, sites: Sequence[int], z: int) -> GridCrystals:
        """The same with another element at some sites."""
        numbers = self.atomic_numbers.clone()
        numbers[list(sites)] = z
        return replace(self, atomic_numbers=numbers)

    def grouped(self) -> GridCrystals:
        """One crystal with atoms grouped by element, in order of first occurrence, as in trained texts."""
        first: dict[int, int] = {}
        for z in self.atomic_numbers.tolist():
            first.setdefault(z, len(first))
        order = torch.argsort(torch.tensor([first[z] for z in self.atomic_numbers.tolist()]), stable=True)
        return replace(self, coords=self.coords[order], atomic_numbers=self.atomic_numbers[order])

    def to_crystals(self) -> CrystalBatch:
        """The crystals in the orientation of :func:`crystal_core.geometry.lattice_from_parameters`."""
        parameters = torch.cat([self.lengths / 10, self.angles], dim=1)
        return CrystalBatch(
            atomic_numbers=self.atomic_numbers,
            frac_coords=self.coords / 100,
            lattice=lattice_from_parameters(parameters),
            n_atoms=self.n_atoms,
        )


def spans_cell(angles: Tensor) -> Tensor:
    """Whether three angles in degrees, (..., 3), are those of a cell with a volume, (...,)."""
    cosines = torch.cos(torch.deg2rad(angles.double()))
    squared = 1 + 2 * cosines.prod(-1) - (cosines**2).sum(-1)
    return (squared > FLAT) & (angles > 0).all(-1) & (angles < 180).all(-1)


def to_lines(crystals: GridCrystals) -> list[str]:
    """The published text of each crystal: lengths, angles, then element and coordinate lines by atom."""
    symbols = [SYMBOLS[z - 1] for z in crystals.atomic_numbers.tolist()]
    coords = [f"{COORDS[x]} {COORDS[y]} {COORDS[z]}" for x, y, z in crystals.coords.tolist()]
    texts, first = [], 0
    for lengths, angles, n in zip(
        crystals.lengths.tolist(), crystals.angles.tolist(), crystals.n_atoms.tolist(), strict=True
    ):
        lines = [" ".join(f"{x // 10}.{x % 10}" for x in lengths), " ".join(map(str, angles))]
        for i in range(first, first + n):
            lines += (symbols[i], coords[i])
        texts.append("\n".join(lines))
        first += n
    return texts


def from_lines(text: str) -> CrystalBatch:
    """One crystal from its published text; numbers may have any decimals, empty lines are left out.

    Raises:
        StructureParseError: lines do not pair up, a number or an element is none, or the cell has no volume.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) < 4 or len(lines) % 2:
        raise StructureParseError(
            f"The text has {len(lines)} lines; a crystal has two for its cell and two for each atom."
        )
    parameters = [*_numbers(lines[0]), *_numbers(lines[1])]
    angles = torch.tensor(parameters[3:], dtype=torch.float64)
    if min(parameters[:3]) <= 0 or not bool(spans_cell(angles)):
        raise StructureParseError(
            f"Lengths of '{lines[0]}' and angles of '{lines[1]}' are those of no cell with a volume."
        )
    unknown = [symbol for symbol in lines[2::2] if symbol not in ATOMIC_NUMBERS]
    if unknown:
        raise StructureParseError(f"'{unknown[0][:20]}' is not the symbol of an element up to plutonium.")
    coords = torch.tensor([_numbers(line) for line in lines[3::2]], dtype=torch.float64)
    cell = torch.tensor([parameters], dtype=torch.float64)
    return CrystalBatch(
        atomic_numbers=torch.tensor([ATOMIC_NUMBERS[symbol] for symbol in lines[2::2]]),
        frac_coords=wrap_unit(coords.float()),
        lattice=lattice_from_parameters(cell).float(),
        n_atoms=torch.tensor([len(coords)]),
    )


def hidden(text: str, sites: Collection[int], mask: str = MASK) -> str:
    """The text with the elements of some atoms hidden, counted from 0."""
    lines = text.split("\n")
    for site in sites:
        lines[2 + 2 * site] = mask
    return "\n".join(lines)


def masked(text: str, symbol: str, mask: str = MASK) -> str:
    """The text with every atom of one element hidden, by whole lines: hiding C keeps Ca, Cl and Co.

    Raises:
        RequestError: the crystal has no such atom.
    """
    lines = text.split("\n")
    if symbol not in lines[2::2]:
        raise RequestError(f"The crystal has no {symbol}; mask one of {', '.join(sorted(set(lines[2::2])))}.")
    return hidden(text, [i for i, line in enumerate(lines[2::2]) if line == symbol], mask)


def _rounded(values: Tensor, steps: int) -> Tensor:
    """Whole numbers of 1/steps."""
    if not bool(torch.isfinite(values).all()):
        raise RequestError("A length, angle or coordinate of a crystal is not a finite number.")
    return torch.round(steps * values.double()).long()


def _numbers(line: str) -> Sequence[float]:
    try:
        numbers = [float(word) for word in line.split()]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise StructureParseError(f"'{line[:40]}' does not hold three numbers.")
    return numbers
