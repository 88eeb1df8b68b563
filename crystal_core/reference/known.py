"""Search for a crystal among the known ones, offline and atom by atom.

The file of known crystals (:mod:`crystal_core.reference.known_file`) holds their cells, so every machine has
the verdict, the distance of the atoms and the overlay. *Known* refers only to the reference set named beside
it: StructureMatcher finds the same arrangement, no atom is further from its place than ``stol`` or than
:data:`MAX_OF_BOND` of its shortest bond, the volumes agree within :data:`MAX_VOLUME_RATIO`, and lengths along
linked atoms within :data:`MAX_STRAIN`. The spacing of layers, chains and molecules may differ more, as it
does between functionals. *Training* marks the rows that models were trained on, and names these models.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from crystal_core.errors import StructureParseError
from crystal_core.evaluation.alike import SAME, site_shifts, strain_of, superposed
from crystal_core.evaluation.connectivity import linked_directions
from crystal_core.reference.known_file import KnownIndex, load_known
from crystal_core.reference.pair_histogram import distances, pair_histogram
from crystal_core.structures import atomic_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core import Structure

    from crystal_core.records import Novelty

MAX_ATOMS = 500
MAX_COMPARED = 12  # candidates, those with the most similar distances first, that are compared atom by atom
MAX_VOLUME_RATIO = 1.3  # of the volumes per atom; of 16,549 crystals computed twice, 0.04 % differ by more
MAX_STRAIN = 0.06  # relative, of lengths; measure_known gives how many crystals computed twice differ by more
MAX_OF_BOND = 0.4  # shift of an atom over the distance to its nearest neighbour; half way along a bond: 0.5
AS_NEAR = 0.005  # in units of (V/N)^(1/3): magnetic orderings of one crystal differ by no more
SYMPREC = 0.1  # Å: as the Materials Project finds the space groups that it tabulates
SAME_TRANSLATION = 0.25  # Å: pymatgen's tolerance for a translation that maps a crystal onto itself
SECONDS = 5.0  # for each comparison; usual ones take milliseconds

Method = Literal["structure matcher", "formula"]


@dataclass(frozen=True, kw_only=True)
class KnownMatch:
    """A known crystal that a cell is.

    Attributes:
        id: as :meth:`KnownIndex.name` gives it, of the Materials Project where it begins with mp.
        formula: its reduced formula. space_group: number, as tabulated.
        rmsd: between the two, in units of (V/N)^(1/3).
        volume_ratio: volume per atom of the cell over that of the known crystal.
        e_above_hull: published energy above the hull, eV/atom; None if unknown.
        training_of: how the names of the models begin that were trained on it.
    """

    id: str
    formula: str
    space_group: int
    rmsd: float
    volume_ratio: float
    e_above_hull: float | None
    training_of: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownNeighbour:
    """The known crystal nearest to a cell.

    Attributes:
        known: both are the same crystal.
        nearest_id: as :meth:`KnownIndex.name` gives it.
        formula: its reduced formula. space_group: its number.
        rmsd: between the two, in units of (V/N)^(1/3), where both have the same arrangement; given without
            ``known`` where the volumes or the lengths differ too much.
        strain: the largest relative difference of lengths along linked atoms; given with ``rmsd``.
        volume_ratio: volume per atom of the cell over that of the nearest; None where the formulas differ.
        e_above_hull: published, of the nearest, eV/atom; None if unknown.
        training: the nearest crystal is a training row of its data set.
        training_of: how the names of the models begin that, or whose first layers, were trained on it.
        structure: the nearest crystal, laid onto the cell where both are the same.
        method: how ``known`` was decided; "formula": nothing with this formula is known.
        reference: the set that was searched.
    """

    known: bool
    nearest_id: str
    formula: str
    space_group: int
    rmsd: float | None
    strain: float | None
    volume_ratio: float | None
    e_above_hull: float | None
    training: bool
    training_of: tuple[str, ...]
    structure: Structure
    method: Method
    reference: str

    def to_json(self) -> Novelty:
        """All but the structure, as ``novelty`` of a record."""
        return {
            "known": self.known,
            "nearest_id": self.nearest_id,
            "rmsd": self.rmsd,
            "strain": self.strain,
            "nearest_formula": self.formula,
            "nearest_space_group": self.space_group,
            "nearest_e_above_hull_ev": self.e_above_hull,
            "volume_ratio": self.volume_ratio,
            "training": self.training,
            "training_of": list(self.training_of),
            "method": self.method,
            "reference": self.reference,
        }


class _Query(NamedTuple):
    """A cell in question, and the formula it is compared with."""

    cell: Structure
    formula: int
    same_formula: bool
    histogram: NDArray[np.uint8]
    volume_per_atom: float


class _Compared(NamedTuple):
    """A row with the same arrangement."""

    rmsd: float
    row: int
    volume_ratio: float
    strain: float

    @property
    def is_same(self) -> bool:
        """Whether it is the same crystal: volumes and lengths agree too."""
        return _is_near(self.volume_ratio) and self.strain <= MAX_STRAIN


def known_matches(structure: Structure) -> list[KnownMatch]:
    """The known crystals that equal a cell, nearest first; empty if none does or it cannot be compared."""
    index = load_known()
    query = _query(structure, index)
    if query is None or not query.same_formula:
        return []
    return [
        KnownMatch(
            id=index.name(match.row),
            formula=index.reduced_formula(query.formula),
            space_group=int(index.space_groups[match.row]),
            rmsd=round(match.rmsd, 4),
            volume_ratio=round(match.volume_ratio, 4),
            e_above_hull=index.e_above_hull(match.row),
            training_of=index.training_of(match.row),
        )
        for match in _alike(index, query, _by_distances(index, query))
        if match.is_same
    ]


def find_known(structure: Structure, *, overlay: bool = True) -> KnownNeighbour | None:
    """The nearest known crystal: of the same formula, else of chemically near elements in the same ratio.

    None where nothing is comparable: unknown counts, a shared site, no cell, or more than 500 atoms.

    Args:
        overlay: lay the known crystal onto the given cell; False saves the time where it is not drawn.
    """
    index = load_known()
    query = _query(structure, index)
    if query is None:
        return None
    rows = _by_distances(index, query)
    if not query.same_formula:
        return _neighbour(index, query, rows[0], method="formula")
    matches = _alike(index, query, rows)
    same = next((match for match in matches if match.is_same), None)
    if same is not None:
        laid = superposed(query.cell, index.cell(same.row), seconds=SECONDS) if overlay else None
        return _neighbour(index, query, same.row, known=True, match=same, structure=laid)
    nearest = matches[0] if matches else None
    return _neighbour(index, query, nearest.row if nearest else rows[0], match=nearest)


def known_row(row: int) -> KnownNeighbour:
    """The answer of :func:`find_known` for the cell of a row itself."""
    index = load_known()
    training_of = index.training_of(row)
    return KnownNeighbour(
        known=True,
        nearest_id=index.name(row),
        formula=index.reduced_formula(index.formula_of_row(row)),
        space_group=int(index.space_groups[row]),
        rmsd=0.0,
        strain=0.0,
        volume_ratio=1.0,
        e_above_hull=index.e_above_hull(row),
        training=bool(training_of),
        training_of=training_of,
        structure=index.cell(row),
        method="structure matcher",
        reference=index.reference,
    )


def novelty(structure: Structure) -> Novelty:
    """:func:`find_known` as a record holds it; without a nearest crystal where nothing is comparable."""
    neighbour = find_known(structure, overlay=False)
    if neighbour is None:
        return {"known": False, "nearest_id": None, "rmsd": None, "reference": load_known().reference}
    return neighbour.to_json()


def ordered_roles(
    numbers: NDArray[Any], axis: NDArray[Any]
) -> tuple[NDArray[np.int64], tuple[int, ...], tuple[int, ...]]:
    """Role of each atom; element and reduced count of each role, by falling count, then along ``axis``."""
    elements, counts = np.unique(numbers, return_counts=True)
    order = np.lexsort((axis[elements], -counts))
    rank = np.argsort(order)
    divisor = int(np.gcd.reduce(counts))
    return (
        rank[np.searchsorted(elements, numbers)],
        tuple(elements[order].tolist()),
        tuple((counts[order] // divisor).tolist()),
    )


def _query(structure: Structure, index: KnownIndex) -> _Query | None:
    """The compared features of a cell, and its formula; None if it compares with nothing."""
    arrays = _arrays(structure)
    if arrays is None:
        return None
    lattice, frac_coords, numbers = arrays
    roles, elements, counts = ordered_roles(numbers, index.axis)
    formula = index.formula_of(elements, counts)
    same_formula = formula is not None
    if formula is None:
        formula = index.nearest_formula(elements, counts)
    if formula is None:
        return None
    from pymatgen.core import Lattice, Structure

    return _Query(
        # elements only: charges and isotopes make no other crystal
        cell=Structure(Lattice(lattice), numbers.tolist(), frac_coords),
        formula=formula,
        same_formula=same_formula,
        histogram=pair_histogram(lattice, frac_coords, roles, len(elements)),
        volume_per_atom=abs(float(np.linalg.det(lattice))) / len(numbers),
    )


def _by_distances(index: KnownIndex, query: _Query) -> list[int]:
    """Rows of the formula, those with the most similar distances between atoms first."""
    rows = index.rows(query.formula)
    if len(rows) == 1:
        return [rows[0]]
    apart = distances(query.histogram, np.stack([_features(index, row).histogram for row in rows]))
    return [rows[i] for i in np.argsort(apart, kind="stable")]


def _alike(index: KnownIndex, query: _Query, rows: list[int]) -> list[_Compared]:
    """Rows with the same arrangement: those with a like volume first, then by distance of the atoms.

    Rows whose volumes differ too much are compared only where no other matches.
    """
    ratios = {row: query.volume_per_atom / _features(index, row).volume_per_atom for row in rows}
    near = [row for row in rows if _is_near(ratios[row])]
    far = [row for row in rows if row not in set(near)]
    reduced = _reduced(query.cell)
    for part in (near, far):
        matches = []
        for row in part[:MAX_COMPARED]:
            cell = _reduced_row(index, row)
            if len(cell) != len(reduced):
                continue
            shifts = site_shifts(reduced, cell, seconds=SECONDS)
            if shifts and shifts.furthest <= SAME["stol"] and shifts.of_bond <= MAX_OF_BOND:
                strain = _strain(shifts.deformation, cell)
                matches.append(_Compared(shifts.rmsd, row, ratios[row], strain))
        if matches:
            return _in_order(matches, index, reduced)
    return []


def _is_near(volume_ratio: float) -> bool:
    return 1 / MAX_VOLUME_RATIO < volume_ratio < MAX_VOLUME_RATIO


def _strain(deformation: NDArray[Any], cell: Structure) -> float:
    """Of all lengths if these agree, else of those along linked atoms, which take longer to find."""
    strain = np.expm1(strain_of(deformation))
    if strain > MAX_STRAIN:
        strain = np.expm1(strain_of(deformation, linked_directions(cell)))
    return float(strain)


def _in_order(ordered: list[_Compared], index: KnownIndex, query: Structure) -> list[_Compared]:
    """By distance of the atoms; among equals, the same space group and low published energy come first."""
    import spglib

    ordered = sorted(ordered)
    ties = [match for match in ordered if match.rmsd <= ordered[0].rmsd + AS_NEAR]
    if len(ties) == 1:
        return ordered
    cell: Any = (query.lattice.matrix, query.frac_coords, query.atomic_numbers)
    symmetry = spglib.get_symmetry_dataset(cell, symprec=SYMPREC)
    number = symmetry.number if symmetry is not None else 1

    def key(match: _Compared) -> tuple[bool, float, float]:
        above = index.e_above_hull(match.row)
        return index.space_groups[match.row] != number, np.inf if above is None else above, match.rmsd

    return sorted(ties, key=key) + ordered[len(ties) :]


def _neighbour(
    index: KnownIndex,
    query: _Query,
    row: int,
    *,
    method: Method = "structure matcher",
    known: bool = False,
    match: _Compared | None = None,
    structure: Structure | None = None,
) -> KnownNeighbour:
    ratio = query.volume_per_atom / _features(index, row).volume_per_atom
    training_of = index.training_of(row)
    return KnownNeighbour(
        known=known,
        nearest_id=index.name(row),
        formula=index.reduced_formula(query.formula),
        space_group=int(index.space_groups[row]),
        rmsd=None if match is None else round(match.rmsd, 4),
        strain=None if match is None else round(match.strain, 4),
        volume_ratio=round(ratio, 4) if query.same_formula else None,
        e_above_hull=index.e_above_hull(row),
        training=bool(training_of),
        training_of=training_of,
        structure=index.cell(row) if structure is None else structure,
        method=method,
        reference=index.reference,
    )


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
def _reduced_row(index: KnownIndex, row: int) -> Structure:
    return _reduced(index.cell(row))


def _reduced(structure: Structure) -> Structure:
    """The primitive Niggli cell; the input where it cannot be reduced.

    By spglib first: pymatgen's reduction, which StructureMatcher uses, leaves cells of two or four as they
    are once atoms are moved by a few hundredths of an Å, and then nothing matches.
    """
    import spglib
    from pymatgen.core import Lattice, Structure

    cell: Any = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    primitive = spglib.find_primitive(cell, symprec=SAME_TRANSLATION)
    if primitive is not None and len(primitive[2]) < len(structure):
        structure = Structure(Lattice(primitive[0]), np.asarray(primitive[2]).tolist(), primitive[1])
    try:
        return structure.get_reduced_structure("niggli").get_primitive_structure()
    except (ValueError, ArithmeticError, RuntimeError):  # a sliver, which matches nothing
        return structure


def _arrays(structure: Structure) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]] | None:
    """Lattice, coordinates and atomic numbers; None for what cannot be compared."""
    try:
        numbers = np.array(atomic_numbers(structure))
    except StructureParseError:
        return None
    lattice, frac_coords = np.array(structure.lattice.matrix), np.array(structure.frac_coords)
    if (
        not 0 < len(numbers) <= MAX_ATOMS
        or not np.isfinite(lattice).all()
        or abs(np.linalg.det(lattice)) < 1e-3 * len(numbers)
    ):
        return None
    return lattice, frac_coords, numbers
