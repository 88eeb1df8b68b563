"""Comparison of a cell with the known crystals of one formula, atom by atom."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from crystal_core.evaluation.alike import SAME, site_shifts, strain_of
from crystal_core.evaluation.connectivity import linked_directions
from crystal_core.reference.known_file import KnownIndex
from crystal_core.reference.pair_histogram import distances, ordered_roles, pair_histogram

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core import Structure

    from crystal_core.records import Lengths

MAX_COMPARED = 12  # known crystals compared atom by atom, those with the most similar distances first
MAX_VOLUME_RATIO = 1.3  # of volumes per atom; only 0.04 % of 16,549 crystals computed twice differ by more
MAX_STRAIN = 0.06  # relative difference of lengths; exceeded by a tenth of StructureMatcher's equal pairs
# shift of an atom over its shortest bond. With n atoms an atom half way along its bond reaches 1 - 1/n: the
# bond is halved, and removing the mean shift takes 1/n of the shift away
MAX_OF_BOND = 0.6
AS_NEAR = 0.005  # RMSD in units of (V/N)^(1/3) that counts as equal: magnetic orderings differ by less
SYMPREC = 0.1  # Å: as the Materials Project finds the space groups that it tabulates
SAME_TRANSLATION = 0.25  # Å: pymatgen's tolerance for a translation that maps a crystal onto itself
SECONDS = 5.0  # time limit of a comparison, which usually takes milliseconds


class Query(NamedTuple):
    """A cell, and the formula whose known crystals it is compared with."""

    cell: Structure
    formula: int
    same_formula: bool
    histogram: NDArray[np.uint8]
    volume_per_atom: float


class Compared(NamedTuple):
    """A known crystal with the same arrangement.

    Attributes:
        lengths_differ: lengths along linked atoms differ by more than :data:`MAX_STRAIN`.
        rmsd: of the atoms, in units of (V/N)^(1/3).
        row: of the known crystal in the index.
        volume_ratio: volume per atom of the cell over that of the known crystal.
        strain: the largest relative difference of lengths.
    """

    lengths_differ: bool
    rmsd: float
    row: int
    volume_ratio: float
    strain: float

    @property
    def is_known(self) -> bool:
        """Whether the volumes agree too: then the cell is this known crystal, possibly strained."""
        return _is_near(self.volume_ratio)

    @property
    def lengths(self) -> Lengths:
        """How the lengths of both compare."""
        if self.strain <= MAX_STRAIN:
            return "agree"
        return "differ" if self.lengths_differ else "spacing differs"


def by_distances(index: KnownIndex, query: Query) -> list[int]:
    """Rows of the formula, those with the most similar distances between atoms first."""
    rows = index.rows(query.formula)
    if len(rows) == 1:
        return [rows[0]]
    apart = distances(query.histogram, np.stack([_features(index, row).histogram for row in rows]))
    return [rows[i] for i in np.argsort(apart, kind="stable")]


def same_arrangement(index: KnownIndex, query: Query, rows: list[int]) -> list[Compared]:
    """Known crystals with the arrangement of the query: those with equal lengths first, then by RMSD.

    Crystals with another volume are compared only if none with a similar volume matches.
    """
    ratios = {row: query.volume_per_atom / volume_per_atom(index, row) for row in rows}
    near = [row for row in rows if _is_near(ratios[row])]
    far = [row for row in rows if row not in set(near)]
    cells = primitive_cells(query.cell)
    for part in (near, far):
        matches = []
        for row in part[:MAX_COMPARED]:
            pair = _of_one_size(cells, _primitive_cells_of_row(index, row))
            if pair is None:
                continue
            cell, known = pair
            shifts = site_shifts(cell, known, seconds=SECONDS)
            limit = min(MAX_OF_BOND, 0.98 * (1 - 1 / max(2, len(cell))))
            if shifts and shifts.furthest <= SAME["stol"] and shifts.of_bond <= limit:
                strain, differ = _strain(shifts.deformation, known)
                matches.append(Compared(differ, shifts.rmsd, row, ratios[row], strain))
        if matches:
            return _in_order(matches, index, cells[0])
    return []


def volume_per_atom(index: KnownIndex, row: int) -> float:
    """Of a known crystal, in Å3."""
    return _features(index, row).volume_per_atom


def primitive_cells(structure: Structure) -> list[Structure]:
    """The primitive Niggli cell of spglib, and that of pymatgen if it has another size.

    Both are needed. pymatgen's reduction, which StructureMatcher uses, misses translations if atoms are off
    by a few hundredths of an Å; spglib's ignores such differences even if they are real. A cell that cannot
    be reduced comes back as it is.
    """
    smaller = _without_translations(structure)
    if smaller is None:
        return [_reduced(structure)]
    smaller, other = _reduced(smaller), _reduced(structure)
    return [smaller] if len(other) == len(smaller) else [smaller, other]


def _without_translations(structure: Structure) -> Structure | None:
    """The smaller cell that translations within :data:`SAME_TRANSLATION` repeat, atoms averaged over them.

    None where there is no smaller one. Cell and positions are not idealised: at this tolerance a
    ferroelectric crystal would become cubic.
    """
    import spglib
    from pymatgen.core import Lattice, Structure

    cell: Any = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    dataset = spglib.get_symmetry_dataset(cell, symprec=SAME_TRANSLATION)
    if dataset is None or (n_atoms := max(dataset.mapping_to_primitive) + 1) == len(structure):
        return None
    lattice = Lattice(dataset.primitive_lattice)
    places = lattice.get_fractional_coords(structure.cart_coords)
    groups = [np.flatnonzero(dataset.mapping_to_primitive == k) for k in range(n_atoms)]
    gaps = [places[group] - places[group[0]] for group in groups]
    means = [
        places[group[0]] + (gap - np.round(gap)).mean(axis=0) for group, gap in zip(groups, gaps, strict=True)
    ]
    return Structure(lattice, [structure.atomic_numbers[group[0]] for group in groups], means)


def _reduced(structure: Structure) -> Structure:
    try:
        return structure.get_reduced_structure("niggli").get_primitive_structure()
    except (ValueError, ArithmeticError, RuntimeError):  # a sliver, which matches nothing
        return structure


def _of_one_size(
    cells: Sequence[Structure], others: Sequence[Structure]
) -> tuple[Structure, Structure] | None:
    """The first pair of cells with equal numbers of atoms."""
    return next(((cell, other) for cell in cells for other in others if len(cell) == len(other)), None)


def _is_near(volume_ratio: float) -> bool:
    return 1 / MAX_VOLUME_RATIO < volume_ratio < MAX_VOLUME_RATIO


def _strain(deformation: NDArray[Any], known: Structure) -> tuple[float, bool]:
    """The largest relative difference of lengths, and whether one along linked atoms exceeds the limit."""
    strain = float(np.expm1(strain_of(deformation)))
    if strain <= MAX_STRAIN:
        return strain, False
    return strain, float(np.expm1(strain_of(deformation, linked_directions(known)))) > MAX_STRAIN


def _in_order(ordered: list[Compared], index: KnownIndex, query: Structure) -> list[Compared]:
    """The matches, best first: equal lengths before other ones, then by RMSD.

    Among matches as near as the nearest, the same space group comes first, then the lowest published energy.
    """
    import spglib

    ordered = sorted(ordered)
    first = ordered[0]
    ties = [
        match
        for match in ordered
        if match.rmsd <= first.rmsd + AS_NEAR and match.lengths_differ == first.lengths_differ
    ]
    if len(ties) == 1:
        return ordered
    cell: Any = (query.lattice.matrix, query.frac_coords, query.atomic_numbers)
    symmetry = spglib.get_symmetry_dataset(cell, symprec=SYMPREC)
    number = symmetry.number if symmetry is not None else 1

    def key(match: Compared) -> tuple[bool, float, float]:
        above = index.e_above_hull(match.row)
        return index.space_groups[match.row] != number, np.inf if above is None else above, match.rmsd

    return sorted(ties, key=key) + ordered[len(ties) :]


class _Features(NamedTuple):
    histogram: NDArray[np.uint8]
    volume_per_atom: float


@lru_cache(maxsize=20_000)
def _features(index: KnownIndex, row: int) -> _Features:
    lattice, frac_coords, numbers = index.arrays(row)
    roles, elements, _ = ordered_roles(numbers, index.axis)
    volume = abs(float(np.linalg.det(lattice))) / len(numbers)
    return _Features(pair_histogram(lattice, frac_coords, roles, len(elements)), volume)


@lru_cache(maxsize=1000)
def _primitive_cells_of_row(index: KnownIndex, row: int) -> list[Structure]:
    return primitive_cells(index.cell(row))
