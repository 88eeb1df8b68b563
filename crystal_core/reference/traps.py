"""Near copies of known crystals that are not equal: one fault that a lenient comparison misses."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.reference.pair_histogram import distances, pair_histogram

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core import Structure

ATOMS = 160  # of a cell repeated here; larger ones take long to reduce
OTHER = 0.15  # between pair histograms: below it an exchange may give the same crystal, a little distorted
LEAST_STRAIN, MOST_STRAIN = 0.065, 0.15  # the cells of the index are rounded
EXCHANGED = "two unlike atoms exchanged"
STRAINED = ("strained by 6.5 to 15 % along one direction", "strained by 6.5 to 15 % alike")


def spoiled(cell: Structure) -> Iterator[tuple[str, Structure]]:
    """Kind and cell of each trap that can be made of a known crystal; none is that crystal.

    Args:
        cell: its primitive cell.
    """
    larger = cell.copy()
    larger.scale_lattice(2 * cell.volume)
    yield "twice the volume", larger
    if len(cell) > 2:
        yield "an atom half way to another", half_way(cell, 0, 1)
    if len(cell) > 1:
        yield "an atom half way along its bond", half_way(cell, *_shortest_bond(cell))
    exchanged = with_exchanged_pair(cell)
    if exchanged is not None:
        yield EXCHANGED, exchanged
    if 2 * len(cell) <= ATOMS:
        double = cell * (2, 1, 1)
        yield "an atom of a double cell half way along its bond", half_way(double, *_shortest_bond(double))
    if 8 * len(cell) <= ATOMS:
        yield "a formula unit short in a cell of eight", one_unit_less(cell * (2, 2, 2))


def strained(cell: Structure, rng: np.random.Generator) -> Iterator[tuple[str, Structure]]:
    """Kind and cell of copies with another lattice: along one direction, and alike along all."""
    along = rng.normal(size=3)
    along /= np.linalg.norm(along)
    for kind, directions in zip(STRAINED, (np.outer(along, along), np.eye(3)), strict=True):
        yield kind, _stretched(cell, directions, rng)


def _stretched(cell: Structure, along: NDArray[Any], rng: np.random.Generator) -> Structure:
    from pymatgen.core import Lattice, Structure

    strain = rng.choice([-1, 1]) * rng.uniform(LEAST_STRAIN, MOST_STRAIN)
    return Structure(
        Lattice(cell.lattice.matrix @ (np.eye(3) + strain * along)), cell.species, cell.frac_coords
    )


def half_way(cell: Structure, atom: int, other: int) -> Structure:
    """An atom in the middle between its place and the nearest image of another."""
    _, image = cell.lattice.get_distance_and_image(cell[atom].frac_coords, cell[other].frac_coords)
    moved = cell.copy()
    moved[atom] = moved[atom].species, (cell[atom].frac_coords + cell[other].frac_coords + image) / 2
    return moved


def with_exchanged_pair(cell: Structure) -> Structure | None:
    """With the atoms of two elements exchanged; None where no pair changes the distances.

    Of all pairs, the nearest in atomic number that changes them.
    """
    from pymatgen.core import Structure

    numbers = np.array(cell.atomic_numbers)
    pairs = sorted(combinations(np.unique(numbers).tolist(), 2), key=lambda pair: pair[1] - pair[0])
    for pair in pairs:
        places = [int(np.flatnonzero(numbers == z)[0]) for z in pair]
        swapped = numbers.copy()
        swapped[places] = numbers[places[::-1]]
        if distances(_histogram(cell, numbers), _histogram(cell, swapped)[None])[0] > OTHER:
            return Structure(cell.lattice, swapped.tolist(), cell.frac_coords)
    return None


def one_unit_less(cell: Structure) -> Structure:
    """Without one formula unit: for each atom in the reduced formula, the last in the list of atoms."""
    left = cell.copy()
    for symbol, count in cell.composition.as_reduced_dict().items():
        places = [i for i, site in enumerate(left) if site.specie.symbol == symbol]
        left.remove_sites(places[-int(count) :])
    return left


def _shortest_bond(cell: Structure) -> tuple[int, int]:
    apart = cell.distance_matrix + 1e6 * np.eye(len(cell))
    first, second = divmod(int(apart.argmin()), len(cell))
    return first, second


def _histogram(cell: Structure, numbers: NDArray[Any]) -> NDArray[np.uint8]:
    elements = np.unique(numbers)
    roles = np.searchsorted(elements, numbers)
    return pair_histogram(cell.lattice.matrix, cell.frac_coords, roles, len(elements))
