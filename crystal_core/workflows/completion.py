"""Completion of a structure: parts to keep, and the way from the reduced cell to the given axes."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from crystal_core.files.records import structure_from_record
from crystal_core.requests import CrystalGenerationRequest, KnownParts
from crystal_core.structures import from_structures, in_cell
from crystal_core.workflows.cell_plan import held_elements

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from pymatgen.core import Structure


WHOLE = 1e-3  # largest deviation from whole numbers of the reduced axes in the original ones


def known_parts(
    request: CrystalGenerationRequest, counts: tuple[int, ...], allowed: Collection[int], seed: int
) -> KnownParts | None:
    """The given sites and lattice of cells with these atom counts.

    The kept sites of ``request.fix`` come first, then a type each of the elements that every crystal must
    hold and no kept site has, then those to be sampled. Of each list of alternatives an ``allowed`` element
    is drawn from the seed.

    Raises:
        StructureParseError: the given structure is no crystal.
    """
    if request.fix is None and not request.demands_elements:
        return None
    import torch

    from crystal_core.crystal import CrystalBatch

    if request.fix is None:
        # its types are replaced; any cell will do
        given = CrystalBatch(
            atomic_numbers=torch.ones(1, dtype=torch.long),
            frac_coords=torch.zeros(1, 3),
            lattice=5.0 * torch.eye(3)[None],
            n_atoms=torch.tensor([1]),
        )
    else:
        # the models know Niggli-reduced cells; reducing keeps the order of the sites,
        # and in_given_setting undoes it
        given = from_structures([structure_from_record(request.fix).get_reduced_structure()])
    atoms = len(given.atomic_numbers)
    sites = list(dict.fromkeys(request.fix_sites))
    order = sites + [i for i in range(atoms) if i not in sites]
    draw = random.Random(f"{seed} alternatives")  # noqa: S311 (no secret)
    crystals, places, types = [], [], []
    for count in counts:
        chosen = torch.tensor([order[i] if i < atoms else 0 for i in range(count)])
        numbers = given.atomic_numbers[chosen]
        typed = [i < len(sites) or request.fix_elements for i in range(count)]
        free = (i for i, is_given in enumerate(typed) if not is_given)
        held = {z for z, is_given in zip(numbers.tolist(), typed, strict=True) if is_given}
        for z in held_elements(request, allowed, held, typed.count(False), draw):
            place = next(free)
            numbers[place], typed[place] = z, True
        crystals.append(
            replace(
                given,
                atomic_numbers=numbers,
                frac_coords=given.frac_coords[chosen],
                n_atoms=torch.tensor([count]),
            )
        )
        places += [i < len(sites) for i in range(count)]
        types += typed
    return KnownParts(
        crystals=CrystalBatch.concat(crystals),
        places=tuple(places),
        types=tuple(types),
        lattice=request.fix_lattice,
    )


def reduction_of(given: Structure) -> NDArray[Any] | None:
    """(3, 3) whole numbers: rows of the reduced cell in the axes of ``given``; None if reduced already."""
    import numpy as np

    change = given.get_reduced_structure().lattice.matrix @ np.linalg.inv(given.lattice.matrix)
    whole = np.rint(change)
    return None if np.abs(change - whole).max() > WHOLE or (whole == np.eye(3)).all() else whole


def in_given_setting(crystal: Structure, reduction: NDArray[Any]) -> Structure:
    """A crystal sampled in a reduced cell, in the original axes; kept sites have their given coordinates."""
    from pymatgen.core import Structure

    lattice, frac_coords = in_axes(crystal.lattice.matrix, crystal.frac_coords, reduction)
    return Structure(lattice, crystal.species, frac_coords)


def in_axes(
    lattice: ArrayLike, frac_coords: ArrayLike, reduction: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Lattice (rows in Å) and coordinates in the axes before reduction, see :func:`reduction_of`."""
    import numpy as np

    return np.linalg.solve(reduction, np.asarray(lattice)), in_cell(np.asarray(frac_coords) @ reduction)
