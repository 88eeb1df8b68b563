"""Ordered cells of a crystal with shared or partly occupied sites, which models and relaxation need."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from crystal_core.errors import RequestError
from crystal_core.files.parse import with_shares

if TYPE_CHECKING:
    from pymatgen.core import Structure

MOST_ATOMS = 20
MOST_ORDERINGS = 10
SAME_PLACES = 0.05  # RMSD in units of (V/N)^(1/3)


def orderings(
    structure: Structure, shares: Sequence[Mapping[str, float]], *, most_atoms: int = MOST_ATOMS
) -> list[Structure]:
    """Different ordered cells of at most ``most_atoms`` atoms, lowest Ewald energy first.

    They have the file's contents, but for shares rounded to whole atoms, such as 0.67 to two thirds.

    Args:
        structure: cell and sites. shares: element → occupancy of each site, in order.

    Raises:
        RequestError: no cell of that size holds whole atoms in these shares.
    """
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.transformations.standard_transformations import OrderDisorderedStructureTransformation

    disordered = with_shares(structure, shares)
    if disordered.is_ordered:  # only isotopes of hydrogen shared its sites
        return [disordered]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cell = disordered.get_primitive_structure(tolerance=0.01)
        larger = _in_whole_atoms(cell * _repeats(cell, most_atoms))
        try:
            larger.add_oxidation_state_by_element(_charges(larger))
            ranked = OrderDisorderedStructureTransformation(algo=2).apply_transformation(
                larger, return_ranked_list=MOST_ORDERINGS
            )
        except (ValueError, RuntimeError, IndexError) as error:
            raise RequestError(
                "No ordered cell was found for these shares. Order the sites in a crystal program."
            ) from error
    ordered: list[Structure] = [dict(one)["structure"] for one in ranked]  # type: ignore[arg-type]
    for one in ordered:
        one.remove_oxidation_states()
    whole = [one for one in ordered if one.is_ordered and len(one) <= most_atoms]
    # the places are those of one lattice: equal orderings lie exactly on each other
    return [group[0] for group in StructureMatcher(stol=SAME_PLACES, scale=False).group_structures(whole)]


def _in_whole_atoms(cell: Structure) -> Structure:
    """The cell with shares that make whole atoms of each kind of site, exactly."""
    from pymatgen.core import Structure

    kinds = Counter(site.species for site in cell)
    species = [
        {
            element: round(share * kinds[site.species]) / kinds[site.species]
            for element, share in site.species.items()
        }
        for site in cell
    ]
    return Structure(cell.lattice, species, cell.frac_coords)


def _charges(cell: Structure) -> dict[str, float]:
    """Balanced oxidation state of each element, of mixed valence if need be; all 0 where none balance."""
    from pymatgen.core import Composition

    # six sixths are 0.9999999999999999, and the guess takes whole numbers alone
    counts = {symbol: round(n) for symbol, n in cell.composition.get_el_amt_dict().items()}
    guesses = Composition(counts).oxi_state_guesses()
    return dict(guesses[0]) if guesses else dict.fromkeys(counts, 0.0)


def _repeats(cell: Structure, most_atoms: int) -> tuple[int, int, int]:
    """Repetitions along a, b and c of the smallest block in which every share is a whole number of atoms."""
    kinds: dict[tuple[tuple[str, float], ...], int] = {}
    for site in cell:
        kind = tuple(sorted((str(s), round(float(x), 3)) for s, x in site.species.items()))
        kinds[kind] = kinds.get(kind, 0) + 1
    for size in range(1, most_atoms + 1):
        whole = all(
            abs(size * n * x - round(size * n * x)) < 0.02 for kind, n in kinds.items() for _, x in kind
        )
        if whole and size * float(cell.composition.num_atoms) <= most_atoms + 1e-6:
            return min(
                (
                    (a, b, size // (a * b))
                    for a in range(1, size + 1)
                    for b in range(1, size + 1)
                    if size % (a * b) == 0
                ),
                key=lambda n: max(k * x for k, x in zip(n, cell.lattice.abc, strict=True)),
            )
    raise RequestError(
        f"No cell of up to {most_atoms} atoms holds whole atoms in these shares. "
        "Order the sites in a crystal program."
    )
