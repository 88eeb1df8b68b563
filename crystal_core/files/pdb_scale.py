"""The lines SCALE of a PDB file: the matrix from positions in Å to fractions, compared with the cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from crystal_core.errors import StructureParseError

SCALE = ("SCALE1", "SCALE2", "SCALE3")
_PARTS = (slice(10, 20), slice(20, 30), slice(30, 40))
TOLERANCE = 0.01  # relative, of a length or an angle; the format rounds the matrix to six decimals


def lines_that_fit(head: Mapping[str, str], cell: Sequence[float]) -> list[str]:
    """The lines SCALE, which may turn the axes against those of CRYST1; empty where they state no cell.

    Args:
        head: record → line. cell: lengths in Å and angles in degrees, of CRYST1.

    Raises:
        StructureParseError: they belong to another cell.
    """
    from pymatgen.core import Lattice

    lines = [head[name] for name in SCALE if name in head]
    try:
        matrix = np.array([[float(line[part]) for part in _PARTS] for line in lines])
    except ValueError:
        return []
    # a unit matrix is what programs write that know no cell
    if matrix.shape != (3, 3) or not abs(np.linalg.det(matrix)) > 0 or np.allclose(matrix, np.eye(3)):
        return []
    stated = Lattice(np.linalg.inv(matrix).T).parameters
    if np.allclose(stated, cell, rtol=TOLERANCE, atol=0):
        return lines
    sizes = [", ".join(f"{x:.5g}" for x in parameters) for parameters in (cell, stated)]
    raise StructureParseError(
        f"CRYST1 of this PDB file gives the cell {sizes[0]}, but its lines SCALE that of {sizes[1]}: "
        "correct the cell, or delete the lines SCALE1 to SCALE3."
    )
