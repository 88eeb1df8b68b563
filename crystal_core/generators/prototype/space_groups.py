"""Wyckoff assignments by space group: known arrangements, their frequencies and cell operations."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from crystal_core.errors import CheckpointMismatch, RequestError
from crystal_core.generators.prototype.generator import TABLE, niggli
from crystal_core.generators.symmetrise import cell_symmetry

if TYPE_CHECKING:
    import random

    from numpy.typing import NDArray

    from crystal_core.cards import ModelCard
    from crystal_core.generators.prototype.library import ShippedTable
    from crystal_core.requests import CellSymmetry

EXACT, ALIKE = 0.02, 0.1  # tolerances in units of (volume / atoms)^(1/3)
# members from which an averaged arrangement is analysed again: its first member may be distorted
COMMON = 20


class SpaceGroupAssignments:
    """Arrangements of one space group, drawn as often as they occur among the members of the table.

    Args:
        table: the shipped table. number: 1..230. atom_counts: of the cells wanted; others are not looked at.
    """

    def __init__(self, table: ShippedTable, number: int, atom_counts: Collection[int]) -> None:
        self.number, self.geometry = number, table.geometry
        self._cache: dict[int, CellSymmetry | None] = {}
        self.keys: dict[int, Counter[int]] = defaultdict(Counter)
        for pattern, pool in table.pools.items():
            if sum(pattern) in atom_counts:
                self.keys[sum(pattern)].update(pool.geometry.tolist())
        for count, members in list(self.keys.items()):
            right = Counter(
                {
                    key: n
                    for key, n in members.items()
                    if table.geometry.space_group(key) == number or (n >= COMMON and self._has(key))
                }
            )
            if right:
                self.keys[count] = right
            else:
                del self.keys[count]

    @property
    def atom_counts(self) -> tuple[int, ...]:
        """Atoms per primitive cell of which there is an arrangement."""
        return tuple(sorted(self.keys))

    def draw(self, n_atoms: int, rng: random.Random) -> CellSymmetry:
        """An arrangement of so many atoms.

        Raises:
            RequestError: none of the table can be built.
        """
        members = self.keys.get(n_atoms, Counter())
        while members:
            key = rng.choices(list(members), list(members.values()))[0]
            if key not in self._cache:
                self._cache[key] = self._symmetry(key)
            symmetry = self._cache[key]
            if symmetry is not None:
                return symmetry
            del members[key]
        raise RequestError(
            f"The table of prototypes has no Wyckoff assignment of {n_atoms} atoms in space group "
            f"{self.number}; choose another number of atoms."
        )

    def _has(self, key: int) -> bool:
        geometry = self.geometry(key)
        dataset = (
            None
            if geometry is None
            else _dataset(geometry.lattice, geometry.frac_coords, geometry.roles, ALIKE)
        )
        return dataset is not None and dataset.number == self.number

    def _symmetry(self, key: int) -> CellSymmetry | None:
        geometry = self.geometry(key)
        if geometry is None:
            return None
        lattice, frac_coords = niggli(geometry.lattice, geometry.frac_coords)
        for tolerance in (EXACT, ALIKE):
            dataset = _dataset(lattice, frac_coords, geometry.roles, tolerance)
            if dataset is not None and dataset.number == self.number:
                return cell_symmetry(
                    lattice,
                    frac_coords,
                    dataset.rotations,
                    dataset.translations,
                    furthest=3 * ALIKE,
                    label=geometry.label,
                )
        return None


def assignments_of(card: ModelCard, number: int, atom_counts: Collection[int]) -> SpaceGroupAssignments:
    """The assignments of a space group in the shipped prototype table, never in a full index."""
    from crystal_core.generators.prototype.library import load_shipped_table

    if card.folder is None:
        raise CheckpointMismatch("The prototype card has no folder.")
    return SpaceGroupAssignments(load_shipped_table(card.folder / TABLE), number, atom_counts)


def _dataset(lattice: NDArray[Any], frac_coords: NDArray[Any], roles: NDArray[Any], tolerance: float) -> Any:
    import spglib

    cell: Any = (lattice, frac_coords, roles + 1)  # arrays, where spglib's annotation has lists
    return spglib.get_symmetry_dataset(cell, symprec=tolerance)
