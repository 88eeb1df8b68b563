"""Limits on a file's contents, and cells that are none: each check raises one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from crystal_core.errors import StructureParseError
from crystal_core.structures import heights

MAX_ATOMS = 5000
MIN_VOLUME_PER_ATOM, MAX_VOLUME_PER_ATOM = 2.0, 500.0
MIN_THICKNESS = 1.0


def check_atom_count(n: int) -> None:
    """Raise StructureParseError unless there are 1 to 5,000 atoms."""
    if n < 1:
        raise StructureParseError("The file holds no atoms.")
    if n > MAX_ATOMS:
        raise StructureParseError(
            f"The cell has {n:,} atoms; at most {MAX_ATOMS:,} can be opened. Use a smaller cell."
        )


def check_cell(lengths: Sequence[float], angles: Sequence[float]) -> None:
    """Raise StructureParseError for lengths (Å) and angles (°) of no cell, a sliver, or less than an atom."""
    a, b, g = (math.cos(math.radians(x)) for x in angles)
    squared = 1 - a * a - b * b - g * g + 2 * a * b * g
    in_range = all(0 < x < 180 for x in angles) and all(0 < x < math.inf for x in lengths)
    if not in_range or not squared > 1e-8:
        raise StructureParseError(
            f"Lengths {_list(lengths)} Å and angles {_list(angles)}° span no cell. "
            "Check the cell of the file."
        )
    check_longest(max(lengths))
    if max(angles) <= math.pi:
        raise StructureParseError(
            f"The angles of the cell are {_list(angles)}. Check their unit: angles are read in degrees."
        )
    volume = math.prod(lengths) * math.sqrt(squared)
    check_thickness(
        [volume / (lengths[i - 2] * lengths[i - 1] * math.sin(math.radians(angles[i]))) for i in range(3)]
    )
    if volume < MIN_VOLUME_PER_ATOM:
        raise StructureParseError(f"The cell has a volume of {volume:.3g} Å³, too little for one atom.")


def check_thickness(heights: Sequence[float]) -> None:
    """Raise StructureParseError for a sliver: opposite faces of the cell closer than 1 Å."""
    thinnest = min(heights)
    if not thinnest >= MIN_THICKNESS:
        raise StructureParseError(
            f"The cell is a sliver: two opposite faces are {thinnest:.3g} Å apart, at least {MIN_THICKNESS} "
            "Å is needed. Check the lattice, or give the reduced (Niggli) cell."
        )


def check_longest(longest: float) -> None:
    """Raise StructureParseError for a cell whose longest vector (Å) is shorter than an atom."""
    if 0 < longest < MIN_THICKNESS:
        raise StructureParseError(
            f"The longest lattice vector has {longest:.3g} Å, too little for an atom. "
            "Check the unit: lengths are read in Å."
        )


def check_vectors(matrix: np.ndarray) -> None:
    """Raise StructureParseError for lattice vectors (rows, Å) that are not finite or span no cell."""
    if matrix.shape != (3, 3):
        raise StructureParseError(
            f"A lattice has three vectors, but the file gives {len(matrix)}. Complete it."
        )
    if not np.isfinite(matrix).all():
        raise StructureParseError(
            "The file holds a number that is not finite. Check its lattice and positions."
        )
    check_longest(float(np.linalg.norm(matrix, axis=1).max()))
    check_thickness(heights(matrix).tolist())


def check_density(volume_per_atom: float) -> None:
    """Raise StructureParseError unless the cell gives each atom 2 to 500 Å³."""
    if not MIN_VOLUME_PER_ATOM <= volume_per_atom <= MAX_VOLUME_PER_ATOM:
        raise StructureParseError(
            f"The cell offers {volume_per_atom:.3g} Å³ per atom; crystals have {MIN_VOLUME_PER_ATOM:g} to "
            f"{MAX_VOLUME_PER_ATOM:g}. Check the lattice and its unit (Å)."
        )


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{x:g}" for x in values)
