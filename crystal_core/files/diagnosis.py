"""Why a CIF that a parser gave up on could not be read, in a sentence: what is missing, and what to do about it.

It looks at the text alone and only after a failure, so that it refuses nothing a parser can read.
"""

from __future__ import annotations

import re
from typing import NamedTuple

LENGTHS = tuple(f"_cell_length_{x}" for x in "abc")
ANGLES = tuple(f"_cell_angle_{x}" for x in ("alpha", "beta", "gamma"))
POSITIONS = tuple(f"_atom_site_fract_{x}" for x in "xyz")
NAMES = ("_atom_site_type_symbol", "_atom_site_label")
MAX_LINE = 2000  # characters of a row that are looked at
AGAIN = "or export the file again."

_TAG = re.compile(r"^[ \t]*(_[A-Za-z][\w.\-/\[\]%]*)", re.MULTILINE)
_VALUE = re.compile(r"'(?:[^'\n]|'(?=\S))*'|\"(?:[^\"\n]|\"(?=\S))*\"|[^\s'\"]\S*")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?(\(\d*\))?")
_END = re.compile(r"\s*(_|loop_|data_|#)", re.IGNORECASE)


class Loop(NamedTuple):
    """The table of atoms: column names in lower case, and the values of each line."""

    columns: list[str]
    rows: list[list[str]]


def trouble_of(text: str) -> str:
    """One sentence on what is wrong with a CIF and what to do, never empty."""
    tags = {tag.lower() for tag in _TAG.findall(text)}
    if not tags:
        return "This text has no CIF entries (such as '_cell_length_a 5.64'): give the file that your crystal program or database exports as CIF."
    if any(tag.startswith("_atom_site.") for tag in tags):
        return "This is a macromolecular CIF (mmCIF), which is not read here: export the crystal as an ordinary CIF."
    has_atoms = any(tag.startswith("_atom_site_") for tag in tags)
    if not has_atoms and not tags.intersection(LENGTHS):
        return "This CIF holds neither a cell (_cell_length_a) nor atoms (_atom_site_fract_x): give the CIF of the structure itself."
    return (
        _cell_trouble(text, tags)
        or _columns_trouble(tags, has_atoms)
        or _rows_trouble(text)
        or (
            f"This CIF has a cell and atoms, but its contents could not be put together: check symmetry operations and element symbols, {AGAIN}"
        )
    )


def _cell_trouble(text: str, tags: set[str]) -> str:
    for names, word in ((LENGTHS, "lengths"), (ANGLES, "angles")):
        missing = [name for name in names if name not in tags]
        if missing:
            which = (
                f"has no cell {word}"
                if len(missing) == 3
                else f"lacks {'a cell ' + word[:-1] if len(missing) == 1 else 'two cell ' + word}"
            )
            return f"This CIF {which} ({', '.join(missing)}): add {'it' if len(missing) == 1 else 'them'} {AGAIN}"
        for name in names:
            found = re.search(rf"^[ \t]*{name}\s+(\S+)", text, re.IGNORECASE | re.MULTILINE)
            if found is None or not _NUMBER.fullmatch(found[1].strip("'\"")):
                empty = found is None or _END.match(found[1])
                value = (
                    "has no value"
                    if found is None or empty
                    else f"is '{_short(found[1])}', which is no number"
                )
                return f"The entry {name} of this CIF {value}: write the number there, {AGAIN}"
    return ""


def _columns_trouble(tags: set[str], has_atoms: bool) -> str:
    missing = [name for name in POSITIONS if name not in tags]
    if missing:
        if not has_atoms:
            return f"This CIF has no atoms: add a loop with {', '.join(POSITIONS)}, {AGAIN}"
        if "_atom_site_cartn_x" in tags:
            return f"The atoms of this CIF have Cartesian positions only: give fractional ones ({', '.join(POSITIONS)}), {AGAIN}"
        return f"The list of atoms in this CIF lacks {_columns(missing)}: add {'it' if len(missing) == 1 else 'them'} {AGAIN}"
    if not tags.intersection(NAMES):
        return f"The atoms of this CIF have no elements: add the column {NAMES[0]} to their list, {AGAIN}"
    return ""


def _rows_trouble(text: str) -> str:
    loop = _loop_of_atoms(text)
    if loop is None:
        return ""
    if not loop.rows:
        return f"The list of atoms in this CIF is empty: add a row for each atom, {AGAIN}"
    return next(
        filter(None, (_row_trouble(k, row, loop.columns) for k, row in enumerate(loop.rows, start=1))), ""
    )


def _row_trouble(number: int, row: list[str], columns: list[str]) -> str:
    if len(row) != len(columns):
        words = f"Row {number} of the list of atoms in this CIF ('{_short(' '.join(row))}') has {len(row)} values for {len(columns)} columns"
        return f"{words}: complete the row, {AGAIN}"
    site = dict(zip(columns, row, strict=True))
    for name in POSITIONS:
        if not _NUMBER.fullmatch(site[name]):
            return f"The value of {name} in row {number} of the list of atoms is '{_short(site[name])}', which is no number: write the number there, {AGAIN}"
    share = site.get("_atom_site_occupancy", "1")
    if _NUMBER.fullmatch(share) and not 0 < float(share.split("(")[0]) <= 1:
        return f"The occupancy in row {number} of the list of atoms is {_short(share)}, but lies between 0 and 1: correct it, {AGAIN}"
    return ""


def _loop_of_atoms(text: str) -> Loop | None:
    """The loop with the positions; None where a row is not one line."""
    lines = text.splitlines()
    at = next((k for k, line in enumerate(lines) if line.strip().lower().startswith(POSITIONS[0])), None)
    if at is None:
        return None
    first = last = at
    while first > 0 and lines[first - 1].strip().startswith("_"):
        first -= 1
    while last + 1 < len(lines) and lines[last + 1].strip().startswith("_"):
        last += 1
    rows = []
    for line in lines[last + 1 :]:
        if _END.match(line):
            break
        if line.lstrip().startswith(";"):
            return None
        if line.strip():
            rows.append([value.strip("'\"") for value in _VALUE.findall(line[:MAX_LINE].split(" #")[0])])
    columns = [line.split()[0].lower() for line in lines[first : last + 1]]
    wrapped = sum(map(len, rows)) % len(columns) == 0 and any(len(row) != len(columns) for row in rows)
    return None if wrapped else Loop(columns, rows)


def _columns(names: list[str]) -> str:
    return f"the column{'' if len(names) == 1 else 's'} {', '.join(names)}"


def _short(text: str) -> str:
    cleaned = "".join(ch if ch.isprintable() else "?" for ch in text.strip())
    return cleaned if len(cleaned) <= 60 else cleaned[:60] + "…"
