"""The cost of a call of the potential, counted from the neighbours in a cell, so that no clock decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crystal_core.errors import RelaxationFailed
from crystal_core.relax.potential import CUTOFF, check_cell

if TYPE_CHECKING:
    from pymatgen.core import Structure

BOND_CUTOFF = 3.0  # Å: CHGNet works on the angles between bonds up to this length
# seconds of one core: fixed (with the bookkeeping of a step), per neighbour within CUTOFF, and per pair of
# bonds at one atom. Fitted to 2,291 calls with derivatives on an EPYC with AVX2 beside other load: nine in
# ten are within 26 % of it, while a cost by atoms alone is wrong by a factor of two to four
SECONDS_PER_CALL = (0.0135, 2.1e-5, 2.25e-5)
ENERGY_ALONE = 0.55  # of a call with derivatives


def seconds_per_call(structure: Structure) -> float:
    """Seconds of one idle core for energy and forces of a cell; next to nothing if it is refused.

    Cells of equal size differ: one of 20 atoms takes 0.02 s as a halide and 0.09 s as a dense oxide.
    """
    fixed, per_neighbour, per_angle = SECONDS_PER_CALL
    try:
        check_cell(structure)
    except RelaxationFailed:
        return fixed
    centres, _, _, distances = structure.get_neighbor_list(CUTOFF)
    bonds = np.bincount(centres[distances <= BOND_CUTOFF])
    return fixed + per_neighbour * len(centres) + per_angle * float((bonds * (bonds - 1)).sum())
