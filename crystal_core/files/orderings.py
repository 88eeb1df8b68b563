"""Ordered cells of a crystal with shared or partly occupied sites, which models and relaxation need."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from crystal_core.errors import RequestError

if TYPE_CHECKING:
    from pymatgen.core import Structure

MOST_ATOMS = 20
MOST_ORDERINGS = 10


def orderings(
    structure: Structure, shares: Sequence[Mapping[str, float]], *, most_atoms: int = MOST_ATOMS
) -> list[Structure]:
    """Ordered cells of at most ``most_atoms`` atoms with the file's contents, lowest Ewald energy first.

    Args:
        structure: cell and sites. shares: element → occupancy of each site, in order.

    Raises:
        RequestError: no cell of that size holds whole atoms in these shares.
    """
    from pymatgen.core import Structure
    from pymatgen.transformations.standard_transformations import OrderDisorderedStructureTransformation

    disordered = Structure(structure.lattice, [dict(share) for share in shares], structure.frac_coords)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cell = disordered.get_primitive_structure(tolerance=0.01)
        larger = cell * _repeats(cell, most_atoms)
        larger.add_oxidation_state_by_guess()
        try:
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
    return [one for one in ordered if one.is_ordered and len(one) <= most_atoms]


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
