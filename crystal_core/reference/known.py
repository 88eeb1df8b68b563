"""Search for a crystal among the known ones, offline and atom by atom.

The file of known crystals (:mod:`crystal_core.reference.known_file`) holds their cells, so verdict, RMSD and
overlay are available on every machine. *Known* means: known in the reference set named beside it.
StructureMatcher finds the same arrangement, no atom is displaced by more than ``stol`` or by more than
``MAX_OF_BOND`` of its shortest bond, and the volumes agree within ``MAX_VOLUME_RATIO``
(:mod:`crystal_core.reference.known_compare`). If lengths differ by more than ``MAX_STRAIN``, ``lengths`` says
so, and the published energy does not apply to the cell. *Training* marks training rows and names the models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from crystal_core.errors import StructureParseError
from crystal_core.evaluation.alike import superposed
from crystal_core.reference.known_compare import (
    SECONDS,
    Compared,
    Query,
    by_distances,
    same_arrangement,
    volume_per_atom,
)
from crystal_core.reference.known_file import KnownIndex, load_known
from crystal_core.reference.pair_histogram import ordered_roles, pair_histogram
from crystal_core.structures import atomic_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core import Structure

    from crystal_core.records import Lengths, Novelty

MAX_ATOMS = 500
Method = Literal["structure matcher", "formula"]


@dataclass(frozen=True, kw_only=True)
class KnownMatch:
    """The known crystal that equals a cell.

    Attributes:
        id: from :meth:`KnownIndex.name`; ids of the Materials Project begin with mp.
        formula: reduced formula.
        space_group: number, as tabulated.
        rmsd: of the atoms, in units of (V/N)^(1/3).
        volume_ratio: volume per atom of the cell over that of the known crystal.
        strain: the largest relative difference of lengths.
        lengths: whether lengths agree; see ``Lengths``.
        e_above_hull: published energy above the hull, eV/atom; None if unknown.
        training_of: prefixes of the names of the models trained on it.
    """

    id: str
    formula: str
    space_group: int
    rmsd: float
    volume_ratio: float
    strain: float
    lengths: Lengths
    e_above_hull: float | None
    training_of: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownNeighbour:
    """The known crystal nearest to a cell.

    Attributes:
        known: both are the same crystal, or one is the other strained, which ``lengths`` tells.
        nearest_id: as :meth:`KnownIndex.name` gives it.
        formula: its reduced formula. space_group: its number.
        rmsd: between the two, in units of (V/N)^(1/3), where both have the same arrangement; given without
            ``known`` where the volumes differ too much.
        strain: the largest relative difference of lengths; given with ``rmsd``.
        lengths: whether these agree; see ``Lengths``; given with ``rmsd``.
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
    lengths: Lengths | None
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
            "lengths": self.lengths,
            "nearest_formula": self.formula,
            "nearest_space_group": self.space_group,
            "nearest_e_above_hull_ev": self.e_above_hull,
            "volume_ratio": self.volume_ratio,
            "training": self.training,
            "training_of": list(self.training_of),
            "method": self.method,
            "reference": self.reference,
        }


def known_matches(structure: Structure) -> list[KnownMatch]:
    """The known crystals that a cell is, those whose lengths agree first, then the nearest.

    Empty if it is none or cannot be compared.
    """
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
            strain=round(match.strain, 4),
            lengths=match.lengths,
            e_above_hull=index.e_above_hull(match.row),
            training_of=index.training_of(match.row),
        )
        for match in same_arrangement(index, query, by_distances(index, query))
        if match.is_known
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
    rows = by_distances(index, query)
    if not query.same_formula:
        return _neighbour(index, query, rows[0], method="formula")
    matches = same_arrangement(index, query, rows)
    same = next((match for match in matches if match.is_known), None)
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
        lengths="agree",
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


def _query(structure: Structure, index: KnownIndex) -> Query | None:
    """What of a cell is compared, and with which formula; None where it is comparable with nothing."""
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

    return Query(
        # elements only: charges and isotopes make no other crystal
        cell=Structure(Lattice(lattice), numbers.tolist(), frac_coords),
        formula=formula,
        same_formula=same_formula,
        histogram=pair_histogram(lattice, frac_coords, roles, len(elements)),
        volume_per_atom=abs(float(np.linalg.det(lattice))) / len(numbers),
    )


def _neighbour(
    index: KnownIndex,
    query: Query,
    row: int,
    *,
    method: Method = "structure matcher",
    known: bool = False,
    match: Compared | None = None,
    structure: Structure | None = None,
) -> KnownNeighbour:
    ratio = query.volume_per_atom / volume_per_atom(index, row)
    training_of = index.training_of(row)
    return KnownNeighbour(
        known=known,
        nearest_id=index.name(row),
        formula=index.reduced_formula(query.formula),
        space_group=int(index.space_groups[row]),
        rmsd=None if match is None else round(match.rmsd, 4),
        strain=None if match is None else round(match.strain, 4),
        lengths=None if match is None else match.lengths,
        volume_ratio=round(ratio, 4) if query.same_formula else None,
        e_above_hull=index.e_above_hull(row),
        training=bool(training_of),
        training_of=training_of,
        structure=index.cell(row) if structure is None else structure,
        method=method,
        reference=index.reference,
    )


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
