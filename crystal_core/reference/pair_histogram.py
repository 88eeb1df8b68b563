"""A few bytes per crystal that are equal for equal crystals, whatever the cell, origin, orientation or size.

They hold no coordinates and cannot be turned back into a cell: per pair of elements, how
often which distance occurs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.structures import in_cell

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_BINS = 12
# in units of (volume / atoms)^(1/3): stackings differ beyond the third shell only
BINS = np.linspace(0.45, 3.2, N_BINS)
WIDTH = 0.2  # wide enough that thermal noise, or another relaxation, moves little from bin to bin
REACH = float(BINS[-1] + 2 * WIDTH)
STEP = 0.01
GRID = (np.arange(int(REACH / STEP) + 1) + 0.5) * STEP
SMEARING = np.exp(-((GRID[:, None] - BINS) ** 2) / (2 * WIDTH**2))


def pair_histogram(
    lattice: NDArray[Any], frac_coords: NDArray[Any], roles: NDArray[Any], n_roles: int
) -> NDArray[np.uint8]:
    """Smeared distances between the elements, (pairs of roles, bins) flattened, the largest entry 255.

    Counts are per atom and weighted with 1/r; distances are in units of (volume / atoms)^(1/3).

    Args:
        lattice: (3, 3) rows in Å. frac_coords: (atoms, 3). roles: (atoms,) which element, 0 … n_roles - 1.
    """
    from pymatgen.optimization.neighbors import find_points_in_spheres

    cell = np.ascontiguousarray(lattice * (len(roles) / abs(np.linalg.det(lattice))) ** (1 / 3), dtype=float)
    cart = np.ascontiguousarray(in_cell(frac_coords) @ cell)
    periodic = np.ones(3, dtype=np.int64)
    first, second, _, distance = find_points_in_spheres(
        cart, cart, r=REACH, pbc=periodic, lattice=cell, tol=1e-8
    )
    within_reach = (distance > 1e-6) & (distance < REACH) & (roles[first] <= roles[second])
    first, second, distance = first[within_reach], second[within_reach], distance[within_reach]
    # counted on a fine grid first: smearing the grid once is much cheaper than smearing every distance
    cells = (roles[first] * n_roles + roles[second]) * len(GRID) + (distance / STEP).astype(int)
    counted = np.bincount(cells, 1 / distance, n_roles * n_roles * len(GRID)).reshape(n_roles, n_roles, -1)
    upper = counted[np.triu_indices(n_roles)] @ SMEARING
    return np.round(255 * upper / max(float(upper.max()), 1e-12)).astype(np.uint8).ravel()


def distances(query: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(others,) distance of a histogram to each row of ``others``, at unit length: 0 equal, at most √2."""
    a, b = query.astype(float), others.astype(float)
    a = a / max(float(np.linalg.norm(a)), 1e-12)
    b = b / np.maximum(np.linalg.norm(b, axis=1, keepdims=True), 1e-12)
    return np.linalg.norm(a - b, axis=1)


def ordered_roles(
    numbers: NDArray[Any], axis: NDArray[Any]
) -> tuple[NDArray[np.int64], tuple[int, ...], tuple[int, ...]]:
    """Role of each atom; element and reduced count of each role, by falling count, then along ``axis``."""
    elements, counts = np.unique(numbers, return_counts=True)
    order = np.lexsort((axis[elements], -counts))
    rank = np.argsort(order)
    divisor = int(np.gcd.reduce(counts))
    return (
        rank[np.searchsorted(elements, numbers)],
        tuple(elements[order].tolist()),
        tuple((counts[order] // divisor).tolist()),
    )
