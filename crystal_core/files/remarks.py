"""Remarks on likely slips in a file: lengths in bohr, an ionic solid too light, a lonely atom.

These are remarks and no judgement: each says what is odd and what to check.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.evaluation.validity import check_structure
from crystal_core.structures import amounts_in, in_cell, printable

if TYPE_CHECKING:
    from pymatgen.core import Structure

MOST_LOOKED_AT = 1000  # sites
LONELY = 1.5  # times the sum of covalent radii
BOHR = 0.529177  # Å
FAR = 2.0  # cells; atoms are listed in the cell or, for whole molecules, next to it
BEYOND = 1.05  # cells; a position this far may just have been left unwrapped
SHORT_CELL = 2.0  # Å; in a shorter cell all positions lie near the origin
LIGHT = 1.0  # g/cm3
DENSE = 30.0  # g/cm3; osmium has 22.6
HEAVY_HYDROGEN = {"D": "deuterium", "T": "tritium"}
_LENGTH_UNITS = ("unit", "units", "length_unit", "unit_length", "lengthunit", "pos_unit")
UNITS = (*_LENGTH_UNITS, "energy_unit", "energy_units", "unit_energy")
USUAL = ("å", "a", "ang", "angs", "angstrom", "angstroms", "ångström", "metal", "ev")
_NOBLE = {"He", "Ne", "Ar", "Kr", "Xe", "Rn"}


def other_unit(entries: Mapping[str, Any]) -> list[str]:
    """A note on the first entry of a file that names another unit than Å or eV; empty without one."""
    for key in UNITS:
        unit = entries.get(key)
        if isinstance(unit, str) and unit and unit.lower() not in USUAL:
            what = f"The file names {printable(unit)[:20]} as its unit"
            return [f"{what}, but lengths are read in Å and energies in eV. Convert it."]
    return []


def remarks_on(structure: Structure) -> list[str]:
    """Sentences on what looks like a slip; empty for an ordinary crystal, and above 1,000 sites."""
    if len(structure) > MOST_LOOKED_AT:
        return []
    amounts = amounts_in(structure.composition)
    heavy = [name for symbol, name in HEAVY_HYDROGEN.items() if symbol in amounts]
    notes = [f"The crystal has {' and '.join(heavy)}, which models treat as hydrogen."] if heavy else []
    symbols = [max(site.species.get_el_amt_dict().items(), key=lambda one: one[1])[0] for site in structure]
    ratios = _nearest(structure, symbols)
    if ratios is None:
        return notes
    bound = np.array([symbol not in _NOBLE for symbol in symbols])
    lonely = bound & (ratios > LONELY)
    if len(structure) > 1 and lonely.any() and lonely.sum() == bound.sum() and _in_range(ratios * BOHR):
        notes.append(
            "Every atom is far from its neighbours; the distances would be usual if the lengths were in "
            "bohr. Check the unit: lengths are read in Å."
        )
    elif lonely.any():
        k = int(np.argmax(np.where(lonely, ratios, 0.0)))
        n = int(lonely.sum())
        atoms = f"{symbols[k]} (site {k + 1}) has" if n == 1 else f"{n} atoms, {symbols[k]} among them, have"
        notes.append(
            f"{atoms} no neighbour within {LONELY} times the sum of covalent radii. Check cell and positions."
        )
    if float(structure.density) > DENSE:
        notes.append(
            f"The density is {float(structure.density):.1f} g/cm3, above that of any crystal. "
            "Check the cell and its unit."
        )
    if _is_ionic(structure) and float(structure.density) < LIGHT:
        notes.append(
            f"The density is {float(structure.density):.2f} g/cm3, very low for an ionic solid. "
            "Check the cell, and whether atoms are missing."
        )
    return notes


def far_positions(
    frac_coords: Sequence[Sequence[float]], symbols: Sequence[str], matrix: np.ndarray
) -> list[str]:
    """A note on positions outside the cell that are Å read as fractions, or as far away; else empty.

    In a cell of up to 4 Å such positions reach no further than those of whole molecules. The distances tell
    them apart: fractions, read as Å, put all atoms within 2 Å.

    Args:
        frac_coords: as the file gives them, ``(atoms, 3)``.
        symbols: of their elements.
        matrix: cell, rows a, b, c in Å.
    """
    coords = np.asarray(frac_coords, dtype=float).reshape(-1, 3)
    furthest = float(np.abs(coords).max(initial=0.0))
    if not (furthest > FAR or (furthest > BEYOND and _may_be_lengths(coords, symbols, matrix))):
        return []
    return [
        (
            f"Positions reach {furthest:.4g} cells from the origin. "
            "Check that they are fractions of the cell and not Å."
        )
    ]


def near_origin(cart_coords: Sequence[Sequence[float]] | np.ndarray, matrix: np.ndarray) -> list[str]:
    """That Cartesian positions lie within 1 Å of the origin, as fractions do; empty for ordinary ones.

    Args:
        cart_coords: as the file gives them, ``(atoms, 3)`` in Å.
        matrix: cell, rows a, b, c in Å.
    """
    coords = np.asarray(cart_coords, dtype=float).reshape(-1, 3)
    furthest = float(np.abs(coords).max(initial=0.0))
    if len(coords) < 2 or not 0 < furthest <= 1.0 or np.linalg.norm(matrix, axis=1).min() < SHORT_CELL:
        return []
    return [
        "All positions lie within 1 Å of the origin. Check that they are in Å and not fractions of the cell."
    ]


def _may_be_lengths(coords: np.ndarray, symbols: Sequence[str], matrix: np.ndarray) -> bool:
    """Whether the numbers, read as Å along the axes or as Cartesian positions, keep the atoms apart."""
    from pymatgen.core import Lattice, Structure

    if not 1 < len(coords) <= MOST_LOOKED_AT:
        return False
    readings = (coords / np.linalg.norm(matrix, axis=1), coords @ np.linalg.inv(matrix))
    return any(
        check_structure(Structure(Lattice(matrix), symbols, in_cell(places))).plausible for places in readings
    )


def _nearest(structure: Structure, symbols: list[str]) -> np.ndarray | None:
    """Distance of each site to its nearest neighbour over the sum of covalent radii.

    Infinite beyond the search.
    """
    from pymatgen.analysis.molecule_structure_comparator import CovalentRadius
    from pymatgen.core import Element, Structure

    radius = CovalentRadius.radius
    radii = np.array([radius.get(Element(symbol).symbol, 1.5) for symbol in symbols])
    reach = 2 * LONELY / BOHR * float(radii.max())
    if structure.volume > 0 and len(structure) / structure.volume * reach**3 * 4.2 * len(structure) > 3e6:
        reach = 2 * LONELY * float(radii.max())
    # a site written at 9e8 cells from the origin would make the search span all cells between
    wrapped = Structure(structure.lattice, symbols, in_cell(structure.frac_coords))
    centres, points, _, distances = wrapped.get_neighbor_list(reach, exclude_self=True)
    apart = distances > 0.5  # split positions of one atom are no neighbours
    ratios = np.full(len(structure), np.inf)
    if apart.any():
        np.minimum.at(
            ratios, centres[apart], distances[apart] / (radii[centres[apart]] + radii[points[apart]])
        )
    return ratios


def _in_range(ratios: np.ndarray) -> bool:
    """Whether the shortest distances are those of bonds."""
    finite = ratios[np.isfinite(ratios)]
    return len(finite) > 0 and 0.75 < float(finite.min()) < 1.35


def _is_ionic(structure: Structure) -> bool:
    from pymatgen.core.periodic_table import Element

    elements = [Element(symbol) for symbol in structure.composition.get_el_amt_dict()]
    if any(e.symbol in ("H", "D", "T", "C", "B") for e in elements):
        return False  # hydrides, frameworks and molecules may be light
    return any(e.is_metal for e in elements) and any(e.X > 2.5 for e in elements if e.symbol not in _NOBLE)
