"""Why a block of a CIF is no crystal, in a sentence: what its cell or atoms lack, and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence

from crystal_core.files.cif_text import AGAIN, Block
from crystal_core.structures import printable

LENGTHS = tuple(f"_cell_length_{x}" for x in "abc")
ANGLES = tuple(f"_cell_angle_{x}" for x in ("alpha", "beta", "gamma"))
POSITIONS = tuple(f"_atom_site_fract_{x}" for x in "xyz")
NAMES = ("_atom_site_type_symbol", "_atom_site_label")
# columns whose values belong to the position in the same row
_OF_A_ROW = (
    *NAMES,
    *POSITIONS,
    "_atom_site_occupancy",
    "_atom_site_calc_flag",
    "_atom_site_attached_hydrogens",
    "_atom_site_symmetry_multiplicity",
    "_atom_site_site_symmetry_multiplicity",
    "_atom_site_site_symmetry_order",
)
NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?:\((\d*)\))?")

UNKNOWN_PROBLEM = (
    "This CIF has a cell and atoms, but its contents could not be put together: "
    f"check symmetry operations and element symbols, {AGAIN}"
)


def problem_of(block: Block) -> str:
    """One sentence on what is wrong with cell or atoms and what to do; empty where both can be read."""
    if block.problem:
        return block.problem
    tags = block.tags
    if not tags:
        return (
            "This text has no CIF entries (such as '_cell_length_a 5.64'): "
            "give the file that your crystal program or database exports as CIF."
        )
    if block.is_macromolecular and POSITIONS[0] not in tags:
        return (
            "This is a macromolecular CIF (mmCIF), which is not read here: "
            "export the crystal as an ordinary CIF."
        )
    has_atoms = any(tag.startswith("_atom_site_") for tag in tags)
    if not has_atoms and not tags.intersection(LENGTHS):
        return (
            "This CIF holds neither a cell (_cell_length_a) nor atoms (_atom_site_fract_x): "
            "give the CIF of the structure itself."
        )
    return (
        _cell_problem(block)
        or _columns_problem(tags, has_atoms)
        or _loops_problem(block)
        or _rows_problem(block)
    )


def _cell_problem(block: Block) -> str:
    for names, word in ((LENGTHS, "lengths"), (ANGLES, "angles")):
        missing = [name for name in names if name not in block.tags]
        if missing:
            part = "a cell " + word[:-1] if len(missing) == 1 else "two cell " + word
            which = f"has no cell {word}" if len(missing) == 3 else f"lacks {part}"
            return f"This CIF {which} ({', '.join(missing)}): add {_it(missing)} {AGAIN}"
        for name in names:
            text = block.value(name)
            if not NUMBER.fullmatch(text):
                value = f"is '{_short(text)}', which is no number" if text else "has no value"
                return f"The entry {name} of this CIF {value}: write the number there, {AGAIN}"
    return ""


def _columns_problem(tags: set[str], has_atoms: bool) -> str:
    missing = [name for name in POSITIONS if name not in tags]
    if missing:
        if not has_atoms:
            return f"This CIF has no atoms: add a loop with {', '.join(POSITIONS)}, {AGAIN}"
        if "_atom_site_cartn_x" in tags:
            return (
                "The atoms of this CIF have Cartesian positions only: "
                f"give fractional ones ({', '.join(POSITIONS)}), {AGAIN}"
            )
        columns = f"the column{'' if len(missing) == 1 else 's'} {', '.join(missing)}"
        return f"The list of atoms in this CIF lacks {columns}: add {_it(missing)} {AGAIN}"
    if not tags.intersection(NAMES):
        return f"The atoms of this CIF have no elements: add the column {NAMES[0]} to their list, {AGAIN}"
    return ""


def _loops_problem(block: Block) -> str:
    own = block.loops.get(POSITIONS[0])
    apart = [tag for tag in _OF_A_ROW if tag in block.tags and block.loops.get(tag) != own]
    if not apart:
        return ""
    return (
        f"The list of atoms in this CIF has {apart[0]} apart from the positions, so that its rows may "
        f"belong to other atoms: write one loop, {AGAIN}"
    )


def _rows_problem(block: Block) -> str:
    columns = {name: _rows(block, name) for name in POSITIONS}
    if not any(columns.values()):
        return f"The list of atoms in this CIF is empty: add a row for each atom, {AGAIN}"
    if len({len(column) for column in columns.values()}) > 1:
        return (
            f"The columns of positions in this CIF are not equally long: correct the list of atoms, {AGAIN}"
        )
    # a row without any coordinate is an atom that was not located
    lost = {k for k, coords in enumerate(zip(*columns.values(), strict=True), start=1) if not any(coords)}
    for name, column in columns.items():
        for row, text in enumerate(column, start=1):
            if row not in lost and not NUMBER.fullmatch(text):
                return (
                    f"The value of {name} in row {row} of the list of atoms is '{_short(text) or '?'}', "
                    f"which is no number: write the number there, {AGAIN}"
                )
    return ""


def _rows(block: Block, tag: str) -> Sequence[str]:
    return block.columns.get(tag) or ([block.values[tag]] if tag in block.values else [])


def _it(missing: Sequence[str]) -> str:
    return "it" if len(missing) == 1 else "them"


def _short(text: str) -> str:
    cleaned = printable(text.strip())
    return cleaned if len(cleaned) <= 60 else cleaned[:60] + "…"
