"""StructureMatcher that looks up reduced cells by their bytes.

Imported only where crystals are compared, because pymatgen takes a second.

pymatgen's own cache compares every site of a cell with every site of the cached one, which takes
longer than the reduction.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import IStructure, Structure

CELLS = 1000  # kept in memory


class ReducedMatcher(StructureMatcher):
    """Gives what StructureMatcher gives."""

    @classmethod
    def _get_reduced_structure(
        cls, struct: Structure | IStructure, primitive_cell: bool = True, niggli: bool = True
    ) -> Structure:
        if any(site.properties for site in struct):  # such as moments, which the bytes do not hold
            return super()._get_reduced_structure(struct, primitive_cell, niggli)
        return _reduced(_Exact(struct), primitive_cell, niggli).copy()


class _Exact:
    """A cell that equals another one where every number of both is the same."""

    def __init__(self, structure: Structure | IStructure) -> None:
        self.structure = structure
        species = tuple(site.species_string for site in structure)
        self.key = species, structure.lattice.matrix.tobytes(), structure.frac_coords.tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Exact) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@lru_cache(maxsize=CELLS)
def _reduced(cell: _Exact, primitive_cell: bool, niggli: bool) -> Structure:
    structure: Any = Structure.from_sites(list(cell.structure))
    if niggli:
        structure = structure.get_reduced_structure(reduction_algo="niggli")
    return structure.get_primitive_structure() if primitive_cell else structure
