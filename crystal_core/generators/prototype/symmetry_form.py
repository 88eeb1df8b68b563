"""A crystal as its asymmetric unit (Hall number, cell shape, a point per orbit), and back.

The form knows nothing of absolute size: lengths are divided by (volume / atoms)^(1/3), because a
prototype is a shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.reference.asymmetric_unit import (
    cell_parameters,
    distinct_images,
    matrix_of,
    operations,
    orbits_of,
)
from crystal_core.structures import in_cell

if TYPE_CHECKING:
    from numpy.typing import NDArray

SYMPREC = 0.1  # Å: as the Materials Project; relaxed cells are not sharper than that
SAME_POINT = 0.02  # fraction of (volume / atoms)^(1/3) below which two images of a point are one atom


@dataclass(frozen=True, kw_only=True)
class SymmetryForm:
    """The asymmetric unit in spglib's standard setting.

    Attributes:
        hall_number: 1..530, which setting of which space group.
        cell: a, b, c of the conventional cell over (volume / atoms)^(1/3), then alpha,
            beta, gamma in degrees.
        points: (orbits, 3) fractional coordinates of one atom per orbit.
        roles: (orbits,) which element of the composition sits there: 0, 1, … by falling count.
        letters: Wyckoff letter of each orbit.
        multiplicities: (orbits,) atoms of each orbit in the conventional cell.
    """

    hall_number: int
    cell: NDArray[np.float64]
    points: NDArray[np.float64]
    roles: NDArray[np.int64]
    letters: str
    multiplicities: NDArray[np.int64]


def to_form(
    lattice: NDArray[Any], frac_coords: NDArray[Any], roles: NDArray[Any], symprec: float = SYMPREC
) -> SymmetryForm | None:
    """The asymmetric unit of a cell; None where spglib finds no symmetry or the orbits do not close.

    Args:
        lattice: (3, 3) rows in Å.
        frac_coords: (atoms, 3).
        roles: (atoms,) small integers in place of elements.
    """
    import spglib

    cell: Any = (lattice, frac_coords, roles + 1)  # arrays, where spglib's annotation has lists
    dataset = spglib.get_symmetry_dataset(cell, symprec=symprec)
    if dataset is None:
        return None
    points, types = in_cell(dataset.std_positions), dataset.std_types - 1
    size = (abs(np.linalg.det(dataset.std_lattice)) / len(points)) ** (1 / 3)
    letter_of_primitive = dict(zip(dataset.mapping_to_primitive.tolist(), dataset.wyckoffs, strict=True))
    letters = [letter_of_primitive[p] for p in dataset.std_mapping_to_primitive.tolist()]
    orbits = orbits_of(points, types, int(dataset.hall_number), dataset.std_lattice, symprec)
    if orbits is None:
        return None
    chosen = [first for first, _ in orbits]
    lengths, angles = cell_parameters(dataset.std_lattice)
    return SymmetryForm(
        hall_number=int(dataset.hall_number),
        cell=np.concatenate([lengths / size, angles]),
        points=points[chosen],
        roles=types[chosen].astype(np.int64),
        letters="".join(letters[i] for i in chosen),
        multiplicities=np.array([multiplicity for _, multiplicity in orbits]),
    )


def from_form(
    form: SymmetryForm,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]] | None:
    """Primitive cell of 1 Å3 per atom: lattice rows, fractional coordinates, roles.

    None if the orbits do not close.
    """
    import spglib

    conventional = matrix_of(form.cell[:3], form.cell[3:])
    points, roles = [], []
    for point, role, multiplicity in zip(form.points, form.roles, form.multiplicities, strict=True):
        rotations, translations = operations(form.hall_number)
        # the mean over coinciding images puts a point rounded to four digits back onto its symmetry element
        orbit = distinct_images(in_cell(rotations @ point + translations), conventional, SAME_POINT * 3)
        if len(orbit) != multiplicity:
            return None
        points.append(orbit)
        roles += [int(role)] * len(orbit)
    # arrays, where spglib's annotation has lists
    cell: Any = (
        conventional,
        np.concatenate(points),
        np.array(roles) + 1,
    )
    primitive = spglib.find_primitive(cell, symprec=SAME_POINT)
    if primitive is None:
        return None
    lattice, coords, types = map(np.asarray, primitive)
    scale = (len(types) / abs(np.linalg.det(lattice))) ** (1 / 3)
    return lattice * scale, in_cell(coords), types - 1
