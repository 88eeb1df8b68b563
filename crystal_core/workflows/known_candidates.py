"""Known crystals of a formula as candidates: users want them first, evaluations leave them out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from crystal_core.evaluation.ranking import Evidence, load_weights, ranking_of
from crystal_core.files.records import SYMPREC
from crystal_core.structures import atomic_numbers
from crystal_core.workflows.candidate import Candidate

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.reference.known_crystals import KnownCrystal

# share of known crystals among candidates; the rest are arrangements unreported for the formula
SHARE = 2 / 3


def known_candidates(formula: str, cells: Mapping[int, tuple[int, ...]], n: int) -> list[Candidate]:
    """Up to ``n`` known crystals of a formula that fill one of the cells, the likeliest first.

    Args:
        formula: reduced. cells: formula units → atomic numbers.
    """
    from crystal_core.generators.prototype.aflow_names import named_cells
    from crystal_core.reference.known_crystals import known_crystals

    units = {len(atoms): z for z, atoms in cells.items()}
    some = next(iter(cells.values()), ())
    crystals = (
        known_crystals(some, wanted_groups={group for group, _ in named_cells(formula)}) if some else []
    )
    fitting = [crystal for crystal in crystals if len(crystal.structure) in units]
    order = ranking_of([evidence_of_known(crystal, formula) for crystal in fitting], load_weights())
    return [
        Candidate(units[len(fitting[i].structure)], "known", place, fitting[i].structure, known=fitting[i])
        for place, i in enumerate(order[:n])
    ]


def evidence_of_known(crystal: KnownCrystal, formula: str) -> Evidence:
    """The ranking evidence for a known crystal, without the potential's energies.

    Args:
        formula: its reduced formula.
    """
    from crystal_core.generators.prototype.aflow_names import named_cells

    size = len(crystal.structure)
    return Evidence(
        source="known",
        atoms=_primitive_size(crystal.structure),
        published=crystal.e_above_hull,
        volume=float(crystal.structure.volume) / size,
        named=(crystal.space_group, size) in named_cells(formula),
    )


def _primitive_size(structure: Structure) -> int:
    """Atoms in the primitive cell at the tolerance of the space group that is named.

    A relaxation that ends in a cell of rock salt with eight uneven atoms is no other crystal than rock salt.
    """
    import spglib

    cell = (structure.lattice.matrix.tolist(), structure.frac_coords.tolist(), atomic_numbers(structure))
    try:
        primitive = spglib.find_primitive(cell, symprec=SYMPREC)
    except spglib.SpglibError:
        return len(structure)
    return len(structure) if primitive is None else len(primitive[2])
