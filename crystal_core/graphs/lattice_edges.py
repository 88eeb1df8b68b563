"""Contacts of every atom with chosen images of itself, which tell a network the cell as a whole.

They depend on the cell that describes the crystal: "cell" on its axes, "shortest" on its size alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from crystal_core.graphs.neighbours import find_neighbours

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    Array = np.ndarray

LatticeEdges = Literal["none", "shortest", "cell"]
_COLLINEAR = 1e-5
_CELL = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]])  # Matformer's six


def lattice_images(
    lattice: Float[Array, "crystals 3 3"], which: LatticeEdges
) -> Int[Array, "crystals images 3"]:
    """The images of an atom that lattice edges join it to.

    Args:
        which: "shortest" takes three: the shortest lattice vector, the next one not collinear with it, and
            the next one not coplanar with both (ComFormer: Yan et al. 2024, lattice representation).
            "cell" takes the six of Matformer (Yan et al. 2022): three axes and three face diagonals.
            "none" takes no image.
    """
    if which == "cell":
        return np.broadcast_to(_CELL, (len(lattice), *_CELL.shape))
    if which == "none" or not len(lattice):
        return np.zeros((len(lattice), 0, 3), dtype=np.int64)
    return np.stack([_shortest(cell) for cell in lattice])


def _shortest(cell: Float[Array, "3 3"]) -> Int[Array, "3 3"]:
    wanted = 32
    while True:
        neighbours = find_neighbours(cell[None], np.zeros((1, 3)), np.ones(1, np.int64), n_neighbours=wanted)
        # equal lengths stand in the order of their images, so that rounding does not choose
        order = np.lexsort((*neighbours.image.T, np.round(neighbours.distance, 4)))
        images = neighbours.image[order]
        second = _first_true(np.abs(np.cross(images, images[0])).max(axis=1) > _COLLINEAR)
        if second is not None:
            third = _first_true(np.abs(images @ np.cross(images[0], images[second])) > _COLLINEAR)
            if third is not None:
                return images[[0, second, third]]
        wanted *= 4  # a cell far longer than wide: many images along its short axes come first


def _first_true(values: Array) -> int | None:
    return int(np.argmax(values)) if values.any() else None
