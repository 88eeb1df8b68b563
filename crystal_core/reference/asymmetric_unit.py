"""A crystal as one point per orbit of its space group, and back to a primitive cell.

Everything is in spglib's standard setting. The cell that comes back is the primitive one of that setting: the
same crystal as the one that went in, in another cell and orientation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.structures import in_cell

if TYPE_CHECKING:
    from numpy.typing import NDArray

SYMPREC = 0.005  # Å: larger deviations from a symmetry are kept
SAME_SITE = 0.1  # Å: images of a point nearer than this are one atom
# rows: the primitive vectors of spglib's standard cells in the conventional ones, by centring translations
PRIMITIVE = {
    (): np.eye(3),
    ((0, 0.5, 0.5),): np.array([[1, 0, 0], [0, 0.5, 0.5], [0, -0.5, 0.5]]),
    ((0.5, 0, 0.5),): np.array([[0.5, 0, 0.5], [0, 1, 0], [-0.5, 0, 0.5]]),
    ((0.5, 0.5, 0),): np.array([[0.5, -0.5, 0], [0.5, 0.5, 0], [0, 0, 1]]),
    ((0.5, 0.5, 0.5),): np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]),
    ((0.333, 0.667, 0.667), (0.667, 0.333, 0.333)): np.array([[2, 1, 1], [-1, 1, 1], [-1, -2, 1]]) / 3,
    ((0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)): np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
}


@dataclass(frozen=True, kw_only=True)
class AsymmetricUnit:
    """One atom per orbit, in spglib's standard setting.

    Attributes:
        hall_number: 1..530, which setting of which space group.
        lengths: a, b, c of the conventional cell in Å. angles: alpha, beta, gamma in degrees.
        points: (orbits, 3) fractional coordinates. numbers: (orbits,) atomic numbers.
    """

    hall_number: int
    lengths: NDArray[np.float64]
    angles: NDArray[np.float64]
    points: NDArray[np.float64]
    numbers: NDArray[np.int64]


@lru_cache(maxsize=530)
def operations(hall_number: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rotations (n, 3, 3) and translations (n, 3) of the conventional cell, lattice centring included."""
    import spglib

    symmetry = spglib.get_symmetry_from_database(hall_number)
    assert symmetry is not None  # hall numbers come from spglib or from a table made with it
    return symmetry["rotations"], symmetry["translations"]


@lru_cache(maxsize=530)
def space_group_of_hall(hall_number: int) -> int:
    """Number, 1..230, of the space group of a setting."""
    import spglib

    kind = spglib.get_spacegroup_type(hall_number)
    assert kind is not None  # hall numbers come from spglib or from a table made with it
    return int(kind.number)


def asymmetric_unit(
    lattice: NDArray[Any], frac_coords: NDArray[Any], numbers: NDArray[Any], symprec: float = SYMPREC
) -> AsymmetricUnit | None:
    """The asymmetric unit of a cell; None where spglib finds no symmetry or the orbits do not close.

    Args:
        lattice: (3, 3) rows in Å. frac_coords: (atoms, 3). numbers: (atoms,) atomic numbers.
        symprec: tolerance in Å.
    """
    import spglib

    cell: Any = (lattice, frac_coords, numbers)  # arrays, where spglib's annotation has lists
    dataset = spglib.get_symmetry_dataset(cell, symprec=symprec)
    if dataset is None:
        return None
    points, types = in_cell(dataset.std_positions), dataset.std_types
    orbits = orbits_of(points, types, int(dataset.hall_number), dataset.std_lattice, symprec)
    if orbits is None:
        return None
    chosen = [first for first, _ in orbits]
    lengths, angles = cell_parameters(dataset.std_lattice)
    return AsymmetricUnit(
        hall_number=int(dataset.hall_number),
        lengths=lengths,
        angles=angles,
        points=points[chosen],
        numbers=types[chosen].astype(np.int64),
    )


def orbits_of(
    points: NDArray[Any], types: NDArray[Any], hall_number: int, lattice: NDArray[Any], symprec: float
) -> list[tuple[int, int]] | None:
    """First point and multiplicity of each orbit of a standard cell; None where the orbits do not close.

    Args:
        points: (atoms, 3) fractional. types: (atoms,). lattice: rows in Å. symprec: tolerance in Å.
    """
    rotations, translations = operations(hall_number)
    free = np.ones(len(points), dtype=bool)
    orbits: list[tuple[int, int]] = []
    while free.any():
        first = int(np.argmax(free))
        difference = (rotations @ points[first] + translations)[:, None] - points[None]
        distance = np.linalg.norm((difference - np.round(difference)) @ lattice, axis=-1)
        members = np.unique(distance.argmin(1))
        if distance.min(1).max() > 3 * symprec or not free[members].all():
            return None
        if (types[members] != types[first]).any():
            return None
        free[members] = False
        orbits.append((first, len(members)))
    return orbits


def without_symmetry(
    lattice: NDArray[Any], frac_coords: NDArray[Any], numbers: NDArray[Any]
) -> AsymmetricUnit:
    """Every atom of a cell as an orbit of P1."""
    lengths, angles = cell_parameters(lattice)
    return AsymmetricUnit(
        hall_number=1,
        lengths=lengths,
        angles=angles,
        points=in_cell(frac_coords),
        numbers=np.asarray(numbers),
    )


def primitive_cell(
    unit: AsymmetricUnit,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Lattice rows (3, 3) in Å, frac_coords (atoms, 3) and atomic numbers of the primitive cell."""
    basis, rotations, translations = _primitive_operations(unit.hall_number)
    lattice = basis @ matrix_of(unit.lengths, unit.angles)
    points = unit.points @ np.linalg.inv(basis)
    if len(rotations) == 1:
        return lattice, in_cell(points), unit.numbers
    coords, numbers = [], []
    for point, number in zip(points, unit.numbers.tolist(), strict=True):
        orbit = distinct_images(rotations @ point + translations, lattice)
        coords.append(orbit)
        numbers += [number] * len(orbit)
    return lattice, np.concatenate(coords), np.array(numbers)


def cell_parameters(lattice: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lengths, and angles in degrees, of lattice rows."""
    lengths = np.linalg.norm(lattice, axis=1)
    unit = lattice / lengths[:, None]
    cosines = np.array([unit[1] @ unit[2], unit[0] @ unit[2], unit[0] @ unit[1]])
    return lengths, np.degrees(np.arccos(cosines.clip(-1, 1)))


def matrix_of(lengths: NDArray[Any], angles: NDArray[Any]) -> NDArray[np.float64]:
    """Lattice rows from lengths and angles: a along x, b in the xy plane (spglib's own orientation)."""
    cos_a, cos_b, cos_g = np.cos(np.radians(angles))
    sin_g = np.sin(np.radians(angles[2]))
    y = (cos_a - cos_b * cos_g) / sin_g
    z = np.sqrt(max(0.0, 1.0 - cos_b**2 - y**2))
    return np.array([[1.0, 0, 0], [cos_g, sin_g, 0], [cos_b, y, z]]) * np.asarray(lengths)[:, None]


@lru_cache(maxsize=530)
def _primitive_operations(
    hall_number: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Primitive vectors in the conventional ones (rows); primitive operations, one per rotation."""
    rotations, translations = operations(hall_number)
    pure = (rotations == np.eye(3)).all(axis=(1, 2))
    shifts = in_cell(translations[pure]).round(3)
    centring = tuple(sorted(tuple(row) for row in shifts.tolist() if any(row)))
    basis = PRIMITIVE[centring]
    _, first = np.unique(rotations.reshape(-1, 9), axis=0, return_index=True)
    # a column of conventional coordinates is basis.T times one of primitive coordinates
    inverse = np.linalg.inv(basis.T)
    return basis, inverse @ rotations[first] @ basis.T, translations[first] @ inverse.T


def distinct_images(
    images: NDArray[Any], lattice: NDArray[Any], tolerance: float = SAME_SITE
) -> NDArray[np.float64]:
    """The distinct points among images of one; averaging coinciding ones fits their symmetry element."""
    difference = images[:, None] - images[None]
    difference -= np.round(difference)
    close = np.linalg.norm(difference @ lattice, axis=-1) < tolerance
    points, free = [], np.ones(len(images), dtype=bool)
    for i in range(len(images)):
        if free[i]:
            group = close[i] & free
            points.append(images[i] - difference[i, group].mean(0))
            free &= ~group
    return in_cell(np.array(points))
