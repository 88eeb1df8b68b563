"""The crystal system that a CIF names, compared with its space group and its cell."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from crystal_core.conditions import SPACE_GROUPS
from crystal_core.files.cif_text import Block

_TAGS = ("_space_group_crystal_system", "_symmetry_cell_setting", "_cell_setting")
_OTHER_NAMES = {  # of a system, beside its own
    "triclinic": ("anorthic",),
    "trigonal": ("rhombohedral", "hexagonal"),  # cells of trigonal groups are hexagonal as well
    "cubic": ("isometric",),
}
_TOLERANCE = 0.01  # relative, of lengths that a system makes equal, and of its angles


def system_contradicted(block: Block, numbers: Collection[int], matrix: np.ndarray) -> list[str]:
    """How the named system differs from the space group or the cell, as a sentence; empty if it does not.

    Args:
        numbers: of the space groups that the names in the file may mean; empty where it names none.
        matrix: cell, rows a, b, c in Å.
    """
    name = block.value(*_TAGS).strip().lower()
    if not any(name in _names_of(system) for system in SPACE_GROUPS):
        return []
    says = f"The file calls the crystal {name}, but "
    systems = [_system_of(number) for number in numbers if number]
    if systems:  # which was compared with the cell
        fits = any(name in _names_of(system) for system in systems)
        return [] if fits else [f"{says}the space group it names is {systems[0]}. Check both."]
    if not _has_metric(name, matrix):
        return [f"{says}its lengths and angles do not fit that system. Check the cell."]
    return []


def _system_of(number: int) -> str:
    return next(name for name, (first, last) in SPACE_GROUPS.items() if first <= number <= last)


def _names_of(system: str) -> tuple[str, ...]:
    return system, *_OTHER_NAMES.get(system, ())


def _has_metric(name: str, matrix: np.ndarray) -> bool:
    """Whether a cell can be one of the system, in any order of its axes."""
    from pymatgen.core import Lattice

    parameters = Lattice(matrix).parameters
    lengths, angles = np.array(parameters[:3]), np.array(parameters[3:])
    n_right = int(np.isclose(angles, 90, rtol=_TOLERANCE).sum())
    n_equal = sum(bool(np.isclose(lengths[k], lengths[k - 1], rtol=_TOLERANCE)) for k in range(3))
    hexagonal = n_right == 2 and n_equal and bool(np.isclose(angles, 120, rtol=_TOLERANCE).any())
    rhombohedral = n_equal == 3 and float(np.ptp(angles)) <= _TOLERANCE * float(angles.mean())
    if name in ("trigonal", "rhombohedral", "hexagonal"):
        return bool(hexagonal or (rhombohedral and name != "hexagonal"))
    needed = {
        "monoclinic": (2, 0),
        "orthorhombic": (3, 0),
        "tetragonal": (3, 1),
        "cubic": (3, 3),
        "isometric": (3, 3),
    }
    right, equal = needed.get(name, (0, 0))
    return n_right >= right and n_equal >= equal
