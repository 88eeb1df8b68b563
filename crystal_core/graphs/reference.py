"""The published construction step by step with pymatgen: slow, plain, the reference of the fast one."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from crystal_core.graphs.neighbours import MIN_DISTANCE

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from pymatgen.core import Structure


def reference_edges(
    structure: Structure, n_neighbours: int, tolerance: float, *, self_contacts: str = "twice"
) -> tuple[Int[np.ndarray, "edges"], Int[np.ndarray, "edges"], Float[np.ndarray, "edges 3"]]:
    """Source, target and vector (Å) of every directed edge of the graph in CrysLDNet's release."""
    radius = 4.0
    while True:
        neighbours = [
            [x for x in near if x.nn_distance > MIN_DISTANCE] for near in structure.get_all_neighbors(radius)
        ]
        if min(len(near) for near in neighbours) >= n_neighbours:
            break
        longest = max(structure.lattice.abc)
        radius = longest if radius < longest else 2 * radius
    keys: defaultdict[tuple[int, int], set[tuple[int, int, int]]] = defaultdict(set)
    for i, near in enumerate(neighbours):
        near.sort(key=lambda x: x.nn_distance)
        reach = near[n_neighbours - 1].nn_distance + tolerance
        for x in near:
            if x.nn_distance <= reach:
                a, b, c = (int(n) for n in x.image)
                pair, image = ((i, x.index), (a, b, c)) if i <= x.index else ((x.index, i), (-a, -b, -c))
                if self_contacts == "once" and i == x.index:
                    image = max(image, (-a, -b, -c))
                keys[pair].add(image)
    source, target, vector = [], [], []
    for (i, j), images in keys.items():
        for image in images:
            along = (structure.frac_coords[j] + image - structure.frac_coords[i]) @ structure.lattice.matrix
            source.extend([i, j])
            target.extend([j, i])
            vector.extend([along, -along])
    # not as found: C has two names for an integer of 64 bits, and NumPy keeps them apart
    return np.array(source, dtype=np.int64), np.array(target, dtype=np.int64), np.array(vector)
