"""Connected parts of a crystal: framework, molecules and isolated atoms.

Not part of the published validity.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from crystal_core.evaluation.validity import MIN_DISTANCE, compact, thickness

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core import Structure

# Of the sum of the covalent radii. Bonds of any kind are shorter, gaps between molecules longer: of 1,000
# MP-20 test rows none has an isolated atom from 1.4 to 1.6, and seven are molecular (CO2, CH4, PbCl4 and the
# like); at 1.3 four have one, TlCuF3 among them.
LINK = 1.5


def finite_fragments(structure: Structure) -> list[tuple[int, ...]]:
    """The finite fragments of a crystal.

    Their sites are linked to each other and to no periodic image of themselves; one site alone is an
    isolated atom.

    Two atoms are linked up to :data:`LINK` × the sum of their covalent radii (Cordero et al. 2008,
    1.5 Å where unknown), so chains, layers and frameworks are no fragments. A noble-gas crystal is
    one of isolated atoms.

    Returns:
        site numbers, counted from 0, of each fragment; empty where all sites belong to something periodic.

    >>> from pymatgen.core import Lattice, Structure
    >>> frac_coords = [[0, 0, 0], [0.2, 0, 0], [0.5, 0.5, 0.5]]
    >>> finite_fragments(Structure(Lattice.cubic(6.0), ["O", "O", "Xe"], frac_coords))
    [(0, 1), (2,)]
    """
    if thickness(structure.lattice.matrix) < MIN_DISTANCE:
        structure = compact(structure)
    return [sites for sites, periods in _fragments(structure) if not periods]


def linked_directions(structure: Structure) -> NDArray[np.float64]:
    """The directions of endless chains of linked atoms: all three in a framework, two in a layer.

    Returns:
        (k, 3) orthonormal vectors, k from 0 (molecules, isolated atoms) to 3; links as
            in :func:`finite_fragments`.
    """
    periods = sorted({period for _, cells in _fragments(structure) for period in cells})
    if not periods:
        return np.zeros((0, 3))
    _, sizes, directions = np.linalg.svd(np.array(periods) @ structure.lattice.matrix)
    return np.asarray(directions[: int((sizes > 1e-6 * sizes.max()).sum())])


def _fragments(structure: Structure) -> Iterator[tuple[tuple[int, ...], set[tuple[int, ...]]]]:
    """Site numbers of each fragment, finite or not, and the cells that link it to copies of itself."""
    from pymatgen.analysis.molecule_structure_comparator import CovalentRadius

    radius = np.array([CovalentRadius.radius.get(site.specie.symbol, 1.5) for site in structure])
    first, second, image, distance = structure.get_neighbor_list(LINK * 2 * float(radius.max()))
    linked = distance <= LINK * (radius[first] + radius[second])
    links: dict[int, list[tuple[int, tuple[int, ...]]]] = defaultdict(list)
    for i, j, cell in zip(
        first[linked].tolist(), second[linked].tolist(), image[linked].astype(int).tolist(), strict=True
    ):
        links[i].append((j, tuple(cell)))
    cells: dict[int, tuple[int, ...]] = {}  # of the copy of each site by which it was reached
    for start in range(len(structure)):
        if start in cells:
            continue
        cells[start], reached = (0, 0, 0), [start]
        periods: set[tuple[int, ...]] = set()
        for i in reached:  # grows while it is walked
            for j, step in links[i]:
                cell = tuple(a + b for a, b in zip(cells[i], step, strict=True))
                if j not in cells:
                    cells[j] = cell
                    reached.append(j)
                elif cells[j] != cell:  # two copies of one site hang together
                    periods.add(tuple(a - b for a, b in zip(cell, cells[j], strict=True)))
        yield tuple(sorted(reached)), periods
