"""The formats of structure files: the content identifies each, because names lie, and each has its reader.

A reader gives a list of calls, and each call gives one pymatgen structure: one bad crystal of a file loses no
other, and a reader itself raises only where the whole file makes no sense. Nothing here runs code found in a
file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from crystal_core.errors import StructureParseError
from crystal_core.files.cif import read_cif
from crystal_core.files.extxyz import read_extxyz
from crystal_core.files.json_crystals import read_json
from crystal_core.files.pdb import MARK as PDB_MARK
from crystal_core.files.pdb import read_pdb
from crystal_core.files.poscar import is_poscar, is_xdatcar, read_poscar, read_xdatcar, slip_of_poscar
from crystal_core.files.unsupported import is_table, only_begins_like_xyz, unsupported

if TYPE_CHECKING:
    from pymatgen.core import Structure

Format = Literal["cif", "poscar", "xdatcar", "extxyz", "pdb", "json"]

READERS: dict[Format, Callable[[str], list[Callable[[], Structure]]]] = {
    "cif": read_cif,
    "poscar": read_poscar,
    "xdatcar": read_xdatcar,
    "extxyz": read_extxyz,
    "pdb": read_pdb,
    "json": read_json,
}
# formats of which a long path is thinned
TRAJECTORIES: tuple[Format, ...] = ("xdatcar", "extxyz", "pdb")

_CIF_MARK = re.compile(r"^\s*(data_\S*\s*$|_cell[._]length_a\b|loop_\s*$)", re.IGNORECASE | re.MULTILINE)


def detect_format(text: str) -> Format:
    """Which of the formats the text is, judged by content.

    Raises:
        StructureParseError: none of them.
    """
    stripped = text.lstrip()
    if not stripped:
        raise StructureParseError("The file is empty: there is nothing to read. Export the crystal again.")
    # the title line of a POSCAR is free: it may be empty, or look like the beginning of another format
    lines = text[:100_000].splitlines()[:12]
    if is_poscar(lines):
        return "xdatcar" if is_xdatcar(lines) else "poscar"
    if stripped[0] in "{[":
        return "json"
    if _CIF_MARK.search(text) and not is_table(text):
        return "cif"
    if PDB_MARK.search(text):
        return "pdb"
    if re.fullmatch(r"\d+", stripped.splitlines()[0].strip()) and not only_begins_like_xyz(text):
        return "extxyz"
    raise StructureParseError(
        unsupported(text)
        or slip_of_poscar(lines)
        or "This is none of CIF, POSCAR, extended XYZ, PDB or JSON. "
        "Export the crystal in one of these formats."
    )
