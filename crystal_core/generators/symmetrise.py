"""Symmetrise nearly symmetric crystals exactly, and find how operations permute their atoms."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.requests import CellSymmetry
from crystal_core.structures import in_cell

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core import Structure

CLOSED = 1e-6  # fractional; operations that map symmetrised atoms less exactly than this form no group
# Å: for the requested space group in a draft, whose text has steps of 0.1 Å; refining moves atoms further
SYMMETRY_TOLERANCES = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0)
FURTHEST = 3.0  # largest distance of an image from its atom, in units of the tolerance


@dataclass(frozen=True, kw_only=True)
class Symmetrised:
    """A crystal that its operations map exactly onto itself; the sites keep their order."""

    structure: Structure
    symmetry: CellSymmetry
    space_group: int


def symmetrised(
    structure: Structure, tolerances: Sequence[float], *, space_group: int | None = None
) -> Symmetrised:
    """The exactly symmetric form of a crystal.

    Args:
        tolerances: in Å, tried in this order.
        space_group: number of the requested group, used at the first tolerance at which the crystal has it.
            If it has it at none, or without a request, the group at the first tolerance is used.

    Returns:
        The symmetrised crystal, turned as the given one; the crystal itself in P1 if the operations close at
        none of the tolerances.
    """
    first: Symmetrised | None = None
    for tolerance in tolerances:
        crystal = _at(structure, tolerance)
        if crystal is None:
            continue
        if space_group is None or crystal.space_group == space_group:
            return crystal
        first = first or crystal
    return first or Symmetrised(structure=structure, symmetry=_identity(structure), space_group=1)


def cell_symmetry(
    lattice: NDArray[Any],
    frac_coords: NDArray[Any],
    rotations: NDArray[Any],
    translations: NDArray[Any],
    *,
    furthest: float,
    label: str,
) -> CellSymmetry | None:
    """The permutations of the atoms under operations, and exact coordinates; None if they do not close.

    Args:
        lattice: rows a, b, c.
        frac_coords: (atoms, 3).
        rotations, translations: W (operations, 3, 3) and w (operations, 3) of x' = W x + w.
        furthest: largest distance of an image from its atom, in the unit of the lattice.
        label: name of the group in the result.
    """
    images = np.einsum("kij,nj->kni", rotations, frac_coords) + translations[:, None]
    difference = images[:, :, None] - frac_coords[None, None]
    difference -= np.round(difference)
    distance = np.linalg.norm(difference @ lattice, axis=-1)
    permutations = distance.argmin(-1)
    if distance.min(-1).max() > furthest or any(len(set(p)) != len(p) for p in permutations.tolist()):
        return None
    inverse = np.rint(np.linalg.inv(rotations))
    # atom i mapped back from each image: their mean is exactly symmetric
    back = np.einsum("kij,knj->kni", inverse, frac_coords[permutations] - translations[:, None]) - frac_coords
    exact = frac_coords + (back - np.round(back)).mean(0)
    rest = np.einsum("kij,nj->kni", rotations, exact) + translations[:, None] - exact[permutations]
    if np.abs(rest - np.round(rest)).max() > CLOSED:
        return None
    return CellSymmetry(
        rotations=rotations.astype(np.int64),
        translations=translations,
        permutations=permutations,
        frac_coords=in_cell(exact),
        label=label,
    )


def _at(structure: Structure, tolerance: float) -> Symmetrised | None:
    import spglib
    from pymatgen.core import Structure

    os.environ.setdefault("SPGLIB_WARNING", "OFF")  # a tolerance that finds no group is expected here
    lattice, frac_coords = np.asarray(structure.lattice.matrix), np.asarray(structure.frac_coords)
    numbers = np.asarray(structure.atomic_numbers)
    cell: Any = (lattice, frac_coords, numbers)  # arrays, where spglib's annotation has lists
    dataset = spglib.get_symmetry_dataset(cell, symprec=tolerance)
    if dataset is None:
        return None
    symmetry = cell_symmetry(
        lattice,
        frac_coords,
        dataset.rotations,
        dataset.translations,
        furthest=FURTHEST * tolerance,
        label=f"{dataset.international} ({dataset.number})",
    )
    if symmetry is None or (numbers[symmetry.permutations] != numbers).any():
        return None
    # the mean of the metric over the point group, (Wᵀ G W)_ij
    metric = np.einsum("mki,kl,mlj->ij", dataset.rotations, lattice @ lattice.T, dataset.rotations) / len(
        dataset.rotations
    )
    exact_lattice = np.linalg.cholesky(metric)
    # a metric has no orientation: the one nearest to that of the crystal
    left, _, right = np.linalg.svd(exact_lattice.T @ lattice)
    exact = Structure(exact_lattice @ left @ right, structure.species, symmetry.frac_coords)
    return Symmetrised(structure=exact, symmetry=symmetry, space_group=int(dataset.number))


def _identity(structure: Structure) -> CellSymmetry:
    return CellSymmetry(
        rotations=np.eye(3, dtype=np.int64)[None],
        translations=np.zeros((1, 3)),
        permutations=np.arange(len(structure))[None],
        frac_coords=in_cell(np.asarray(structure.frac_coords)),
        label="P1 (1)",
    )
