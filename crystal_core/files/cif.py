"""Reader of CIF: data blocks become lists of calls, and each call gives one pymatgen structure.

Symmetry, elements and occupancies are decided here and handed to pymatgen in one plain spelling, because its parser goes
on silently (as P 1, without the row) where it does not understand them. What was read is then compared with what the
file says of itself; differences stand in ``structure.properties["notes"]``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from crystal_core.errors import StructureParseError
from crystal_core.files.cif_atoms import (
    LABEL,
    MOST_ROUNDING,
    POSITIONS,
    TYPE,
    Atom,
    atoms_of,
    crowded,
    number_of,
)
from crystal_core.files.cif_contents import TOO_MANY, Contents, formula_in, misfits
from crystal_core.files.cif_symmetry import operations_of
from crystal_core.files.cif_text import Block, blocks_of, written
from crystal_core.files.diagnosis import AGAIN, trouble_of
from crystal_core.files.limits import MAX_ATOMS, check_atom_count, check_cell

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.files.operations import Operations

CELL = tuple(
    f"_cell_{name}"
    for name in ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
)
SYSTEM = ("_symmetry_cell_setting", "_space_group_crystal_system")
_MAGNETIC = ("_space_group_symop_magn", "_space_group_magn", "_magnetic_space_group")


def read_cif(text: str) -> list[Callable[[], Structure]]:
    """Every data block that holds positions."""
    blocks = [block for block in blocks_of(text) if any(block.column(tag) for tag in POSITIONS)]
    if not blocks:
        raise StructureParseError(trouble_of(text))
    return [partial(_structure, block) for block in blocks]


def _structure(block: Block) -> Structure:
    lengths_and_angles = [number_of(block.value(tag)) for tag in CELL]
    known = [value for value in lengths_and_angles if value is not None]
    if len(known) == 6:
        # before symmetry operations multiply atoms in a cell that is no cell
        check_cell(known[:3], known[3:])
    try:
        structure, notes = _magnetic(block) if _is_magnetic(block) else _ordinary(block)
    except (MemoryError, StructureParseError):
        raise
    except Exception as error:  # the parser raises many types, and its words are no help to a chemist
        raise StructureParseError(trouble_of(block.text)) from error
    notes += misfits(_counts(structure), formula_in(block), number_of(block.value("_cell_formula_units_z")))
    structure.properties["notes"] = list(dict.fromkeys(notes))
    return structure


def _ordinary(block: Block) -> tuple[Structure, list[str]]:
    if block.torn.intersection(POSITIONS) or not (block.column(TYPE) or block.column(LABEL)):
        raise StructureParseError(trouble_of(block.text))
    atoms, notes = atoms_of(block, set(formula_in(block)))
    check_atom_count(len(atoms))
    notes += _crowding(atoms)
    matrix = _matrix(block)
    contents = Contents(block, atoms, matrix)
    operations, remarks = operations_of(block, matrix, contents)
    # before the parser spends minutes on a cell that is refused afterwards
    if len(operations) > 1 and contents.n_sites(operations) > TOO_MANY:
        raise StructureParseError(
            f"The cell has more than {MAX_ATOMS:,} atoms, the most that can be opened. Use a smaller cell."
        )
    if any(tag.startswith("_atom_site_moment") for tag in block.columns):
        remarks.append("The magnetic moments of the file are not read.")
    structure = _parsed(_plain_cif(block, atoms, operations), exact=len(operations) == 1)
    if not block.column("_atom_type_oxidation_number"):
        structure.remove_oxidation_states()
    return structure, notes + remarks


def _is_magnetic(block: Block) -> bool:
    return any(tag.startswith(_MAGNETIC) for tag in (*block.values, *block.columns))


def _magnetic(block: Block) -> tuple[Structure, list[str]]:
    """A magnetic CIF as pymatgen reads it: its operations hold time reversal as well."""
    return _parsed(block.text, exact=False), ["The magnetic moments of the file are not read."]


def _parsed(text: str, *, exact: bool) -> Structure:
    from pymatgen.io.cif import CifParser

    # 0.33339 is not a third: coordinates are snapped to special positions only where operations must meet there
    tolerance = 0.0 if exact else 1e-4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parser = CifParser.from_str(
            text, frac_tolerance=tolerance, occupancy_tolerance=1.0 + MOST_ROUNDING, check_cif=False
        )
        return parser.parse_structures(primitive=False, on_error="raise")[0]


def _plain_cif(block: Block, atoms: Sequence[Atom], operations: Operations) -> str:
    values = {tag: block.value(tag) for tag in (*CELL, *SYSTEM) if block.value(tag)}
    loops: list[dict[str, list[str]]] = [{"_space_group_symop_operation_xyz": operations.to_xyz()}]
    kinds, states = block.column("_atom_type_symbol"), block.column("_atom_type_oxidation_number")
    elements = sorted({atom.element for atom in atoms})
    if kinds and len(kinds) == len(states):
        loops.append({"_atom_type_symbol": kinds, "_atom_type_oxidation_number": [x or "0" for x in states]})
    elif {"H", "O"} <= {atom.element for atom in atoms if atom.share < 1}:
        # of a site shared by plain O and H pymatgen keeps O alone; species with a charge are kept
        loops.append({"_atom_type_symbol": elements, "_atom_type_oxidation_number": ["0"] * len(elements)})
    loops.append(
        {
            LABEL: [f"{atom.element}{k}" for k, atom in enumerate(atoms, start=1)],
            TYPE: [atom.written for atom in atoms],
            **{tag: [atom.coords[axis] for atom in atoms] for axis, tag in enumerate(POSITIONS)},
            "_atom_site_occupancy": [repr(atom.share) for atom in atoms],
        }
    )
    return written(values, loops)


def _matrix(block: Block) -> np.ndarray:
    """Rows a, b, c in Å, as the parser sees the cell, also where the crystal system stands for angles."""
    one_atom = {LABEL: ["H1"], TYPE: ["H"], **{tag: ["0"] for tag in POSITIONS}}
    values = {tag: block.value(tag) for tag in (*CELL, *SYSTEM) if block.value(tag)}
    return np.array(
        _parsed(
            written(values, [{"_space_group_symop_operation_xyz": ["x,y,z"]}, one_atom]), exact=True
        ).lattice.matrix
    )


def _crowding(atoms: Sequence[Atom]) -> list[str]:
    notes = []
    for total, site in crowded(atoms):
        names = " and ".join(atom.label for atom in site[:3])
        if total > 1 + MOST_ROUNDING:
            raise StructureParseError(
                f"{names} lie on one site, and their occupancies add up to {total:.3g}: remove one or correct them, {AGAIN}"
            )
        notes.append(f"The occupancies of {names} on one site add up to {total:.4g} and are scaled to 1.")
    return notes


def _counts(structure: Structure) -> dict[str, float]:
    return {str(symbol): float(n) for symbol, n in structure.composition.get_el_amt_dict().items()}
