"""The cells of known crystals by their ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crystal_core.reference.known_file import load_known

if TYPE_CHECKING:
    from pymatgen.core import Structure


def known_cell(name: str) -> Structure | None:
    """The primitive cell of a known crystal, or None where the index does not hold this id."""
    index = load_known()
    row = index.row_of(name)
    return None if row is None else index.cell(row)
