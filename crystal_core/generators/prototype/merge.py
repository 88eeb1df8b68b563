"""One index of two tables of prototypes that share volumes and chemical distances."""

from __future__ import annotations

import numpy as np

from crystal_core.generators.prototype.index import Geometry, Pool, PrototypeIndex


def merged(first: PrototypeIndex, second: PrototypeIndex) -> PrototypeIndex:
    """The members of both; numbers of prototypes and geometries of the second go on from the first."""
    next_prototype = 1 + max(int(pool.prototype.max()) for pool in first.pools.values())
    next_geometry = 1 + max(int(pool.geometry.max()) for pool in first.pools.values())
    pools = dict(first.pools)
    for pattern, pool in second.pools.items():
        moved = Pool(
            elements=pool.elements,
            prototype=pool.prototype + next_prototype,
            geometry=pool.geometry + next_geometry,
        )
        pools[pattern] = _joined(pools[pattern], moved) if pattern in pools else moved

    def geometry(key: int) -> Geometry | None:
        return first.geometry(key) if key < next_geometry else second.geometry(key - next_geometry)

    return PrototypeIndex(
        pools,
        distance=first.distance,
        element_volumes=first.element_volumes,
        geometry=geometry,
        kind=first.kind,
        ranking=first.ranking,
    )


def _joined(first: Pool, second: Pool) -> Pool:
    return Pool(
        elements=np.concatenate([first.elements, second.elements]),
        prototype=np.concatenate([first.prototype, second.prototype]),
        geometry=np.concatenate([first.geometry, second.geometry]),
    )
