"""Connected parts of a crystal: framework, molecules and isolated atoms. Not part of the published validity."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from crystal_core.evaluation.validity import MIN_DISTANCE, compact, thickness

if TYPE_CHECKING:
    from pymatgen.core import Structure

# Of the sum of the covalent radii. Bonds of any kind are shorter, gaps between molecules longer: of 1,000 MP-20 test rows none
# has an isolated atom from 1.4 to 1.6, and seven are molecular (CO2, CH4, PbCl4 and the like); at 1.3 four have one, TlCuF3 among them.
LINK = 1.5


def finite_fragments(structure: Structure) -> list[tuple[int, ...]]:
    """The finite fragments of a crystal: sites linked to each other and to no periodic image of themselves; one site alone is an isolated atom.

    Two atoms are linked up to :data:`LINK` × the sum of their covalent radii (Cordero et al. 2008, 1.5 Å where unknown), so
    chains, layers and frameworks are no fragments. A noble-gas crystal is one of isolated atoms.

    Returns:
        site numbers, counted from 0, of each fragment; empty where all sites belong to something periodic.

    >>> from pymatgen.core import Lattice, Structure
    >>> finite_fragments(Structure(Lattice.cubic(6.0), ["O", "O", "Xe"], [[0, 0, 0], [0.2, 0, 0], [0.5, 0.5, 0.5]]))
    [(0, 1), (2,)]
    """
    from pymatgen.analysis.molecule_structure_comparator import CovalentRadius

    if thickness(structure.lattice.matrix) < MIN_DISTANCE:
        structure = compact(structure)
    radius = np.array([CovalentRadius.radius.get(site.specie.symbol, 1.5) for site in structure])
    first, second, image, distance = structure.get_neighbor_list(LINK * 2 * float(radius.max()))
    linked = distance <= LINK * (radius[first] + radius[second])
    links: dict[int, list[tuple[int, tuple[int, ...]]]] = defaultdict(list)
    for i, j, cell in zip(
        first[linked].tolist(), second[linked].tolist(), image[linked].astype(int).tolist(), strict=True
    ):
        links[i].append((j, tuple(cell)))
    fragments = []
    cells: dict[int, tuple[int, ...]] = {}  # of the copy of each site by which it was reached
    for start in range(len(structure)):
        if start in cells:
            continue
        cells[start], reached, periodic = (0, 0, 0), [start], False
        for i in reached:  # grows while it is walked
            for j, step in links[i]:
                cell = tuple(a + b for a, b in zip(cells[i], step, strict=True))
                if j not in cells:
                    cells[j] = cell
                    reached.append(j)
                periodic |= cells[j] != cell  # two copies of one site hang together
        if not periodic:
            fragments.append(tuple(sorted(reached)))
    return fragments
