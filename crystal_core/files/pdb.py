"""Reader of PDB files with a cell (CRYST1): gemmi reads records, the CIF reader applies symmetry.

gemmi takes what it can from a damaged line, so the columns of each atom are checked first. The models of
a file are frames.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from crystal_core.errors import StructureParseError
from crystal_core.files.cif import structure_of_block
from crystal_core.files.cif_atoms import OCCUPANCY
from crystal_core.files.cif_disorder import GROUP as DISORDER_GROUP
from crystal_core.files.cif_symmetry import OpenSetting
from crystal_core.files.cif_text import Block
from crystal_core.files.diagnosis import ANGLES, LENGTHS, NAMES, POSITIONS
from crystal_core.files.limits import check_atom_count
from crystal_core.files.pdb_scale import SCALE, lines_that_fit
from crystal_core.structures import is_element, printable

if TYPE_CHECKING:
    import gemmi
    from pymatgen.core import Structure

# "ATOM  -1: X=" is of WIEN2k
MARK = re.compile(r"^(CRYST1|ATOM  (?! *-?\d+:)|HETATM)", re.MULTILINE)
ATOMS = ("ATOM  ", "HETATM")
PLACE = (slice(30, 38), slice(38, 46), slice(46, 54))
SHARE, ELEMENT, NAME, ALTERNATIVE = slice(54, 60), slice(76, 78), slice(12, 16), slice(16, 17)
CELL = (slice(6, 15), slice(15, 24), slice(24, 33), slice(33, 40), slice(40, 47), slice(47, 54))
GROUP = slice(55, 66)
NO_CELL = (
    "This PDB file has no cell, so it is a molecule and not a crystal. "
    "Write its lengths and angles into a line CRYST1."
)


def read_pdb(text: str) -> list[Callable[[], Structure]]:
    """Every model of the file; the last CRYST1 before a model is its cell.

    Raises:
        StructureParseError: it holds no atoms.
    """
    head: dict[str, str] = {}
    models: list[tuple[dict[str, str], list[tuple[int, str]], list[str]]] = []
    atoms: list[tuple[int, str]] = []
    is_open = False  # whether a model began that has not ended
    for number, line in enumerate(text.splitlines(), start=1):
        record = line[:6].rstrip()
        if record == "CRYST1":  # what SCALE said belongs to the cell before
            head = {record: line}
        elif record in SCALE:
            head[record] = line
        elif line.startswith(ATOMS):
            atoms.append((number, line))
        elif record == "MODEL":
            is_open = True
        elif record in ("ENDMDL", "END") and (atoms or is_open):
            models.append(({**head}, atoms, []))
            atoms, is_open = [], False
    if atoms or is_open:
        notes = ["The file ends within a model, so atoms may be missing."] if is_open else []
        models.append(({**head}, atoms, notes))
    if not any(atoms for _, atoms, _ in models):
        raise StructureParseError("This PDB file lists no atoms: it needs lines ATOM or HETATM.")
    return [partial(_model, *model) for model in models]


def _model(head: Mapping[str, str], atoms: Sequence[tuple[int, str]], remarks: Sequence[str]) -> Structure:
    if not atoms:
        raise StructureParseError("This model of the PDB file lists no atoms.")
    check_atom_count(len(atoms))
    cell, group = _cell(head)
    scale = lines_that_fit(head, cell)
    for number, line in atoms:
        _check_atom(number, line)
    import gemmi

    # one chain, and a residue for each line, because gemmi sorts atoms by these
    plain = [f"{line[:21]}A{k:4d} {line[27:]}" for k, (_, line) in enumerate(atoms)]
    read = gemmi.read_pdb_string("\n".join([head["CRYST1"], *scale, *plain, "END", ""]))
    places = [
        (chain_residue_atom.atom, read.cell.fractionalize(chain_residue_atom.atom.pos))
        for chain_residue_atom in (read[0].all() if len(read) else ())
    ]
    if len(places) != len(atoms):
        raise StructureParseError(
            f"This PDB file lists {len(atoms)} atoms, but {len(places)} of them can be read. Export it again."
        )
    notes = [*remarks]
    shares = [line[SHARE].strip() or "1" for _, line in atoms]
    if not any(map(float, shares)):
        notes.append("All occupancies of this PDB file are 0; they are read as 1.")
        shares = ["1"] * len(atoms)
    if not all(line[ELEMENT].strip() for _, line in atoms):
        notes.append(
            "The file has no elements in columns 77 and 78; they are taken from the names of its atoms."
        )
    if not group:
        notes.append("The file names no space group; its atoms are read as the whole cell.")
    elements = [_element(*one, atom) for one, (atom, _) in zip(atoms, places, strict=True)]
    columns = {
        NAMES[0]: elements,
        NAMES[1]: [f"{element}{k}" for k, element in enumerate(elements, start=1)],
        OCCUPANCY: shares,
        DISORDER_GROUP: [line[ALTERNATIVE].strip() for _, line in atoms],
    } | {tag: [f"{place[k]:.6f}" for _, place in places] for k, tag in enumerate(POSITIONS)}
    values = dict(zip((*LENGTHS, *ANGLES), map(str, cell), strict=True))
    values["_symmetry_space_group_name_h-m"] = _symbol(group, cell)
    try:
        return structure_of_block(Block(values=values, columns=columns, notes=notes))
    except OpenSetting as error:
        raise StructureParseError(
            f"The space group of this PDB file, {printable(group)}, has several origins, and the atoms do "
            "not tell which one is meant: give a CIF with the symmetry operations."
        ) from error


def _cell(head: Mapping[str, str]) -> tuple[list[float], str]:
    """Lengths in Å and angles in degrees, and the symbol of the space group."""
    line = head.get("CRYST1", "")
    if not line:
        raise StructureParseError(NO_CELL)
    numbers = [_number(line[part]) for part in CELL]
    cell = [x for x in numbers if x is not None]
    if len(cell) < len(CELL):
        raise StructureParseError(
            f"The line CRYST1 of this PDB file ({printable(line.strip())[:60]}) should have three lengths "
            "and three angles in columns 7 to 54: correct it, or export the file again."
        )
    if cell[:3] == [1, 1, 1]:  # what the format writes where there is no crystal
        raise StructureParseError(NO_CELL)
    return cell, line[GROUP].strip()


def _check_atom(number: int, line: str) -> None:
    """Raise StructureParseError unless positions and occupancy stand in their columns."""
    share = line[SHARE].strip()
    if any(_number(line[part]) is None for part in PLACE) or (share and _number(share) is None):
        raise StructureParseError(
            f"Line {number} of this PDB file ({printable(line.strip())[:60]}) should have the position in "
            "columns 31 to 54 and the occupancy in columns 55 to 60: correct it, or export the file again."
        )


def _element(number: int, line: str, atom: gemmi.Atom) -> str:
    """The symbol in columns 77 and 78, or else that of the atom's name where only one is possible."""
    given, name = line[ELEMENT].strip(), re.sub(r"[^A-Za-z]", "", line[NAME])
    symbol = atom.element.name
    if given:
        # gemmi takes the name where it does not know what stands in these columns
        readings = {symbol} if symbol.upper() == given.upper() else set()
    else:
        two = name[:2].title()
        readings = {symbol} | ({two} if _is_symbol(two) else set())
        if name[1:2].islower():
            readings &= {two}
    if len(readings) == 1 and _is_symbol(symbol := readings.pop()):
        return symbol
    element = printable(given or line[NAME].strip())[:20]
    what = f"may mean {' or '.join(sorted(readings))}" if len(readings) > 1 else "names no element"
    raise StructureParseError(
        f"'{element}' in line {number} of this PDB file {what}: write element symbols into columns 77 and 78."
    )


def _is_symbol(text: str) -> bool:
    from pymatgen.core import Element

    return Element.is_valid_symbol(text) and is_element(Element(text).Z)


def _symbol(group: str, cell: Sequence[float]) -> str:
    """The full symbol, with an extension where the file or its cell tells it; P 1 where it names none."""
    import gemmi

    if not group:
        return "P 1"
    space_group = gemmi.find_spacegroup_by_name(group, cell[3], cell[5])
    if space_group is None:
        raise StructureParseError(
            f"The space group of this PDB file, '{printable(group)}', is not known: write a Hermann–Mauguin "
            "symbol, e.g. P 21 21 21."
        )
    # gemmi would take the first of two origins, which programs seldom mean
    has_open_origin = space_group.ext in ("1", "2") and ":" not in group
    return str(space_group.hm if has_open_origin else space_group.xhm())


def _number(text: str) -> float | None:
    """A plain decimal number, also with an exponent; None for anything else."""
    if not re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None
