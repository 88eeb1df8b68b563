"""The crystal of one CIF as columns of the data schema, read as every other structure file is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crystal_core.errors import StructureParseError
from crystal_core.evaluation.parallel import time_limit
from crystal_core.files.encoding import text_of
from crystal_core.files.parse import parse_each
from crystal_core.files.reader_process import SECONDS_PER_FILE
from crystal_core.structures import atomic_numbers

if TYPE_CHECKING:
    from pymatgen.core import Structure

NOTES = "reader_notes"  # column: sentences on what in a CIF does not fit what was read
EMPTY = "its CIF is empty"


def crystal_of_cif(content: object) -> Structure:
    """The one crystal of a CIF, given as text or bytes; its properties hold notes of the reader.

    Raises:
        StructureParseError: there is none, or more than one, or none that a model can take.
    """
    text = text_of(content) if isinstance(content, bytes) else content
    if not isinstance(text, str) or not text.strip():
        raise StructureParseError(EMPTY)
    try:
        with time_limit(SECONDS_PER_FILE):
            crystals = parse_each(text)
    except TimeoutError:
        raise StructureParseError(f"reading its CIF took longer than {SECONDS_PER_FILE:g} s") from None
    if len(crystals) != 1:
        raise StructureParseError(several(len(crystals)))
    (crystal,) = crystals
    if isinstance(crystal, StructureParseError):
        raise crystal
    return crystal


def several(n: int) -> str:
    """Why a CIF with ``n`` crystals is no row."""
    return f"its CIF holds {n} crystals; give each crystal a row of its own"


def columns_of(structure: Structure, formula: str) -> dict[str, Any]:
    """The columns of the data schema, its id apart, and the notes of the reader."""
    import numpy as np

    return {
        "formula": formula,
        "n_atoms": len(structure),
        "lattice": structure.lattice.matrix.ravel(),
        "species": np.array(atomic_numbers(structure)),
        "frac_coords": structure.frac_coords.ravel(),
        NOTES: tuple(structure.properties.get("notes", ())),
    }
