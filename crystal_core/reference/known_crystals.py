"""The known crystals of a formula with published energies, to look up before a prediction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crystal_core.reference.known import known_row
from crystal_core.reference.known_file import PREFIXES, load_known
from crystal_core.reference.pair_histogram import ordered_roles

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.records import Novelty

# of Perov-5 every combination of elements was computed, and few of them exist; Matbench and AFLOW
# have no comparable energies
NO_CANDIDATES = [PREFIXES.index(name) for name in ("perov5", "mb-phonons", "mb-dielectric", "aflow-row")]
MOST_READ = 30  # cells of one formula; further ones lie far above these


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownCrystal:
    """A known crystal.

    Attributes:
        id: of the Materials Project. structure: its primitive cell. space_group: number, as tabulated.
        e_above_hull: published, eV/atom; None if unknown.
        novelty: what a record says of a cell that is this crystal.
    """

    id: str
    structure: Structure
    space_group: int
    e_above_hull: float | None
    novelty: Novelty


def known_crystals(
    atomic_numbers: Sequence[int], *, wanted_groups: Collection[int] = ()
) -> list[KnownCrystal]:
    """Known crystals with the reduced formula of these atoms, lowest published energy first.

    Args:
        wanted_groups: space groups whose crystals are read even where many others lie lower.
    """
    index = load_known()
    _, elements, counts = ordered_roles(np.asarray(atomic_numbers), index.axis)
    formula = index.formula_of(elements, counts)
    if formula is None:
        return []
    rows = [row for row in index.rows(formula) if index.prefixes[row] not in NO_CANDIDATES]
    rows.sort(key=lambda row: int(index.above_hull[row]))
    selected = rows[:MOST_READ]
    selected += [row for row in rows[MOST_READ:] if int(index.space_groups[row]) in wanted_groups]
    return [_crystal(row) for row in selected]


def cells_without_energies(atomic_numbers: Sequence[int]) -> list[Structure]:
    """Primitive cells of this reduced formula in the tables that :func:`known_crystals` leaves out."""
    index = load_known()
    _, elements, counts = ordered_roles(np.asarray(atomic_numbers), index.axis)
    formula = index.formula_of(elements, counts)
    rows = () if formula is None else index.rows(formula)
    return [index.cell(row) for row in rows if index.prefixes[row] in NO_CANDIDATES]


def _crystal(row: int) -> KnownCrystal:
    neighbour = known_row(row)
    return KnownCrystal(
        id=neighbour.nearest_id,
        structure=neighbour.structure,
        space_group=neighbour.space_group,
        e_above_hull=neighbour.e_above_hull,
        novelty=neighbour.to_json(),
    )
