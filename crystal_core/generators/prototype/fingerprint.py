"""A short vector, equal for equal arrangements in any cell, origin, orientation or size."""

from __future__ import annotations

from itertools import permutations, product
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.structures import in_cell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

REACH = 1.9  # in units of (volume / atoms)^(1/3): the first two to three shells
WIDTH = 0.05
BINS = np.arange(0.45, REACH, 0.06)
MAX_PERMUTATIONS = 24


def fingerprint(
    lattice: NDArray[Any], frac_coords: NDArray[Any], roles: NDArray[Any], n_roles: int
) -> NDArray[np.float32]:
    """Smeared pair distances between roles, (n_roles, n_roles, bins), of unit length.

    Neighbours are weighted with 1/r2, so that the first shell counts most. Distances are in units of
    (volume / atoms)^(1/3): size is not part of an arrangement.
    """
    from pymatgen.optimization.neighbors import find_points_in_spheres

    cell = np.ascontiguousarray(lattice * (len(roles) / abs(np.linalg.det(lattice))) ** (1 / 3), dtype=float)
    cart = np.ascontiguousarray(in_cell(frac_coords) @ cell)
    first, second, _, distance = find_points_in_spheres(
        cart, cart, r=REACH + 2 * WIDTH, pbc=np.array([1, 1, 1], dtype=np.int64), lattice=cell, tol=1e-8
    )
    real = distance > 1e-6
    first, second, distance = first[real], second[real], distance[real]
    smeared = np.exp(-((distance[:, None] - BINS) ** 2) / (2 * WIDTH**2)) / distance[:, None] ** 2
    sums = np.zeros((n_roles * n_roles, len(BINS)))
    np.add.at(sums, roles[first] * n_roles + roles[second], smeared)
    return (sums / max(float(np.linalg.norm(sums)), 1e-12)).reshape(n_roles, n_roles, -1).astype(np.float32)


def role_permutations(counts: Sequence[int]) -> list[tuple[int, ...]]:
    """Every exchange of roles of equal count, the identity first; at most 24 (five equal counts have 120)."""
    groups: dict[int, list[int]] = {}
    for role, count in enumerate(counts):
        groups.setdefault(count, []).append(role)
    orders = []
    for choice in product(*(permutations(g) for g in groups.values())):
        order = list(range(len(counts)))
        for group, permuted in zip(groups.values(), choice, strict=True):
            for role, target in zip(group, permuted, strict=True):
                order[role] = target
        orders.append(tuple(order))
        if len(orders) == MAX_PERMUTATIONS:
            break
    return orders
