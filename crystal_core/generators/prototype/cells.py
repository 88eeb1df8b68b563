"""Cells with elements replaced by roles: the primitive cell, and a supercell of a given size."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.structures import in_cell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

TOLERANCE = 0.1  # Å: a translation that moves every atom this close to its like is a lattice translation


def roles_of(
    atomic_numbers: Sequence[int] | NDArray[Any],
) -> tuple[NDArray[np.int64], tuple[int, ...], tuple[int, ...]]:
    """Role of each atom (by falling count, then Z), and the element and count of each role.

    >>> roles_of([8, 22, 8])
    (array([0, 1, 0]), (8, 22), (2, 1))
    """
    elements, counts = np.unique(np.asarray(atomic_numbers), return_counts=True)
    order = np.lexsort((elements, -counts))
    rank = np.empty(len(elements), dtype=np.int64)
    rank[order] = np.arange(len(elements))
    roles = rank[np.searchsorted(elements, atomic_numbers)]
    return roles, tuple(elements[order].tolist()), tuple(counts[order].tolist())


def to_primitive(
    lattice: NDArray[Any], frac_coords: NDArray[Any], roles: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The smallest cell that repeats: lattice rows, fractional coordinates, roles.

    The input where it is primitive.

    Magnetic orderings are tabulated in supercells of 2 to 8 chemical cells; as a shape they are
    all the small one.
    """
    counts = np.bincount(roles)
    counts = counts[counts > 0]
    if np.gcd.reduce(counts) == 1:
        return lattice, frac_coords, roles
    rarest = np.flatnonzero(roles == np.argmin(np.bincount(roles)))
    same = roles[:, None] == roles[None]
    shifts = []
    for j in rarest[1:]:
        shift = frac_coords[j] - frac_coords[rarest[0]]
        difference = (frac_coords + shift)[:, None] - frac_coords[None]
        difference -= np.round(difference)
        distance = np.where(same, np.linalg.norm(difference @ lattice, axis=-1), np.inf)
        if distance.min(1).max() < TOLERANCE:
            shifts.append(shift - np.round(shift))
    m = len(shifts) + 1
    if m == 1 or any(c % m for c in counts):
        return lattice, frac_coords, roles
    steps = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T
    vectors = np.concatenate([steps, *[steps + s for s in shifts]]) @ lattice
    lengths = np.linalg.norm(vectors, axis=1)
    vectors = vectors[np.argsort(lengths)][(lengths > TOLERANCE).argmin() :]
    vectors = vectors[np.linalg.norm(vectors, axis=1) > TOLERANCE][:40]
    target = abs(np.linalg.det(lattice)) / m
    for triple in combinations(range(len(vectors)), 3):
        basis = vectors[list(triple)]
        if abs(abs(np.linalg.det(basis)) / target - 1) < 0.05:
            break
    else:
        return lattice, frac_coords, roles
    coords = in_cell(frac_coords @ lattice @ np.linalg.inv(basis))
    sites: list[int] = []
    for i in range(len(roles)):
        difference = coords[i] - coords[sites]
        difference -= np.round(difference)
        same_site = (np.linalg.norm(difference @ basis, axis=-1) < 2 * TOLERANCE) & (roles[sites] == roles[i])
        if not same_site.any():
            sites.append(i)
    if len(sites) * m != len(roles):
        return lattice, frac_coords, roles
    return basis, coords[sites], roles[sites]


def supercell(
    lattice: NDArray[Any], frac_coords: NDArray[Any], roles: NDArray[Any], copies: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """``copies`` cells in one, as near to a cube as doubling, tripling… the shortest edge allows."""
    while copies > 1:
        factor = next(p for p in (2, 3, 5, 7, 11, 13, 17, 19, copies) if copies % p == 0)
        axis = int(np.argmin(np.linalg.norm(lattice, axis=1)))
        shift = np.zeros(3)
        shift[axis] = 1.0
        scale = np.ones(3)
        scale[axis] = factor
        frac_coords = np.concatenate([(frac_coords + k * shift) / scale for k in range(factor)])
        roles = np.tile(roles, factor)
        lattice = lattice * scale[:, None]
        copies //= factor
    return lattice, frac_coords, roles
