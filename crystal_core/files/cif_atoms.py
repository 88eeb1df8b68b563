"""The list of atoms in a CIF: which element each row names, and with which share.

Notes name what does not fit.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache

from crystal_core.errors import StructureParseError
from crystal_core.files.cif_text import AGAIN, Block
from crystal_core.files.diagnosis import NAMES, NUMBER, POSITIONS
from crystal_core.files.occupancies import MOST_ROUNDING
from crystal_core.structures import printable

TYPE, LABEL = NAMES
OCCUPANCY = "_atom_site_occupancy"
MAX_NATURAL = 103  # heavier elements form no crystal: Cn or Nh is a label
# types of the International Tables' scattering factors that are no plain symbols
_VALENCE = {"CVAL": "C", "SIVA": "Si", "SIVAL": "Si"}
HEAVY_HYDROGEN = ("D", "T")
_EMPTY = ("vac", "dum")  # beginnings of names for what is no atom
_DOUBTFUL = {"Ho", "No", "Po"}  # in capitals these may as well begin HO1, NO3, PO4
_SHARE = re.compile(r"\s*(\d*\.?\d+)(?:\(\d+\))?\s*(?:<sup>)?\s*([A-Z][a-z]?)")


_OCCUPANCY_NAME = re.compile(r"(site_)?(s_?o_?f|occ|occupan[a-z]*|occupation[a-z]*)(_factor)?")


@dataclass(frozen=True)
class Atom:
    """One element on one site of the list.

    Attributes:
        element: its symbol; D and T are deuterium and tritium.
        place: fractions of the cell.
        precision: of ``place``, one unit of the last decimal that the file writes.
        share: occupancy, above 0 and at most 1.
        row: number of its row, from 0.
    """

    element: str
    label: str
    place: tuple[float, float, float]
    precision: float
    share: float
    row: int


def atoms_of(block: Block, formula: Collection[str] = ()) -> tuple[list[Atom], list[str]]:
    """The atoms that the block lists, and notes on what was left out or interpreted.

    Args:
        formula: elements of the file's formula, which tell two readings of a label apart; empty where there
            is none.

    Raises:
        StructureParseError: a row names no element or several, or its occupancy is no number from 0 to 1.
    """
    columns = {tag: block.column(tag) for tag in (TYPE, LABEL, OCCUPANCY, "_atom_site_calc_flag")}
    places = [block.column(tag) for tag in POSITIONS]
    atoms, notes, empty = list[Atom](), list[str](), 0
    if not columns[OCCUPANCY] and (tag := _misspelt_occupancy(block)):
        columns[OCCUPANCY] = block.column(tag)
        notes.append(
            f"The column {printable(tag)[:50]} is read as the occupancy. Check that it holds shares."
        )
    for row, coords in enumerate(zip(*places, strict=True)):
        kind, label, occupancy, flag = (column[row] if column else "" for column in columns.values())
        if flag.lower() == "dum":
            notes.append(f"The row {_short(label)} of the list of atoms is a dummy and is left out.")
            continue
        if not any(coords):
            notes.append(f"The file gives no position for {_short(label or kind)}: it is not in the crystal.")
            continue
        share = _share(occupancy, row, notes)
        if share == 0:
            empty += 1
            continue
        numbers, precision = _place(coords, row)
        mixed = [match for part in kind.split(" + ") if (match := _SHARE.fullmatch(part))]
        if " + " in kind and len(mixed) == len(kind.split(" + ")):
            parts = [(match[2], float(match[1]) * share) for match in mixed]
        else:
            element, remark = _element(kind, label, formula)
            notes += [remark] if remark else []
            parts = [(element, share)]
        atoms += [Atom(element, label or element, numbers, precision, part, row) for element, part in parts]
    attached = sum(number_of(text) or 0.0 for text in block.column("_atom_site_attached_hydrogens"))
    if attached > 0:
        notes.append(
            f"The list of atoms attaches {attached:g} hydrogen atoms without positions: "
            "they are not in the crystal."
        )
    if empty:
        rows = "One row" if empty == 1 else f"{empty} rows"
        notes.append(
            f"{rows} of the list of atoms with occupancy 0 {'is' if empty == 1 else 'are'} left out."
        )
    return atoms, list(dict.fromkeys(notes))


def number_of(text: str) -> float | None:
    """A number of a CIF without its standard uncertainty, or None."""
    match = NUMBER.fullmatch(text)
    return float(match[1]) if match else None


def _misspelt_occupancy(block: Block) -> str:
    """The column beside the positions that means the occupancy under another name; empty for none.

    Empty too where it makes every site full.
    """
    loop = block.loops.get(POSITIONS[0])
    for tag in block.columns:
        name = tag.removeprefix("_atom_site_")
        if name == tag or block.loops.get(tag) != loop or tag == OCCUPANCY:
            continue
        if _OCCUPANCY_NAME.fullmatch(name) or _is_like_occupancy(name):
            return tag if any(number_of(text) != 1 for text in block.column(tag) if text) else ""
    return ""


def _is_like_occupancy(name: str) -> bool:
    # occupancy_esd is its uncertainty
    return not name.startswith("occupancy_") and bool(get_close_matches(name, ["occupancy"], cutoff=0.8))


def _place(coords: tuple[str, ...], row: int) -> tuple[tuple[float, float, float], float]:
    """Three numbers, and one unit of their last decimal."""
    numbers, precision = [], 1e-6
    for tag, text in zip(POSITIONS, coords, strict=True):
        match = NUMBER.fullmatch(text)
        if match is None:
            raise StructureParseError(
                f"The value of {tag} in row {row + 1} of the list of atoms is '{_short(text) or '?'}', "
                f"which is no number: write the number there, {AGAIN}"
            )
        numbers.append(float(match[1]))
        digits = match[1].lower().split("e")[0].partition(".")[2]
        # 0, 0.1, 0.5 and 0.25 are meant exactly: nobody rounds to a tenth of the cell
        if digits[1:].strip("0") and digits not in ("25", "75", "125", "375", "625", "875"):
            precision = max(precision, 10.0 ** -len(digits))
    return (numbers[0], numbers[1], numbers[2]), precision


def _share(text: str, row: int, notes: list[str]) -> float:
    if not text:
        return 1.0
    match = NUMBER.fullmatch(text)
    where = f"The occupancy in row {row + 1} of the list of atoms is {_short(text)}, "
    if match is None:
        raise StructureParseError(f"{where}which is no number: write one from 0 to 1, {AGAIN}")
    share = float(match[1])
    decimals = len(match[1].split(".")[1]) if "." in match[1] else 0
    if 1 < share <= 1 + max(MOST_ROUNDING, 3 * int(match[2] or 0) / 10**decimals):
        notes.append(f"An occupancy of {_short(text)} is read as 1.")
        return 1.0
    if not 0 <= share <= 1:
        raise StructureParseError(f"{where}but lies between 0 and 1: correct it, {AGAIN}")
    return share


def _element(kind: str, label: str, formula: Collection[str]) -> tuple[str, str]:
    """Element, and a note or an empty text."""
    text = kind or label
    isotope = re.fullmatch(r"(\d{1,3})([A-Za-z]{1,2})", text)
    letters = re.match(r"[A-Za-z]+", isotope[2] if isotope else text)
    if letters is None:
        raise _no_element(text)
    # "H2O" is a molecule and not hydrogen
    rest = "" if isotope or not kind else text[letters.end() :]
    if text.upper() == "H2O" or re.search(r"[A-Za-z]", rest):
        raise _no_element(text)
    word = letters[0]
    # 'CO3' in the column of types may be cobalt or a group
    is_label = not kind or (
        len(word) == 2 and word.isupper() and rest.isdecimal() and _is_natural(word.title())
    )
    element, remark = _from_label(word, text, formula) if is_label else (_from_type(word, formula), "")
    if element == "":
        raise _no_element(text)
    if isotope and element == "H":
        element = {"1": "H", "2": "D", "3": "T"}.get(isotope[1], "H")
    if element in HEAVY_HYDROGEN:
        name = "deuterium" if element == "D" else "tritium"
        return element, "" if text == element else f"{_short(text)} is read as {name}."
    if isotope and element != "H":
        return element, f"The isotope {_short(text)} is read as {element}."
    if _holds_hydrogen(word, element):
        return element, (
            f"'{_short(text)}' is read as {element}; its hydrogen has no position and is not in the crystal."
        )
    if not kind:
        return element, remark or _mixed(text, element, formula)
    if label and (other := _other_element(label, element)):
        return (
            element,
            f"The row '{_short(label)}' of the type {_short(kind)} is read as {element}, not {other}.",
        )
    return element, remark


def _other_element(label: str, element: str) -> str:
    """The element that a label names for certain and that is not ``element``; empty otherwise."""
    match = re.match(r"([A-Z][a-z])(?![a-z])", label)
    name = match[1] if match else ""
    return name if name != element and _is_natural(name) and name[0] != element[0] else ""


def _from_type(word: str, formula: Collection[str]) -> str:
    if word == "T":  # also a name for the tetrahedral sites of a framework
        return "T" if "T" in formula or not formula else ""
    if word.upper() in _VALENCE:
        return _VALENCE[word.upper()]
    if _is_water(word):
        return "O"
    if len(word) <= 2 and _is_natural(word.title()):
        return word.title()
    if len(word) == 2 and word[0].upper() in "OH" and word[1].upper() in "HW":
        return word[0].upper()
    return ""


def _from_label(word: str, text: str, formula: Collection[str]) -> tuple[str, str]:
    """Element, and a note or an empty text."""
    if _is_water(word):
        return "O", ""
    if word.lower().startswith(_EMPTY):
        return "", ""
    two, one = word[:2].title(), word[0].upper()
    readings = [name for name in dict.fromkeys((two, one)) if _is_natural(name)]
    readings = [name for name in readings if name != "D" or word == "D"]
    known = [name for name in readings if name in formula]
    capitals = len(word) > 1 and word[:2].isupper()
    if len(known) == 1:
        return known[0], ""
    if len(readings) > 1 and two in _DOUBTFUL and capitals:
        raise StructureParseError(
            f"The label '{_short(text)}' may mean {two} or {one}: add the column {TYPE} with element "
            f"symbols, {AGAIN}"
        )
    superheavy = word[1:2].islower() and two not in readings and _is_element(two)
    if not readings or superheavy:
        return "", ""
    if len(readings) > 1 and capitals:
        return two, f"The label '{_short(text)}' is read as {two}, not {one}."
    # "Oap" and "Hw" are usual names, but "Cg1" is a centre of gravity in some programs and "Bq" a ghost
    odd = word[1:2].islower() and readings[0] == one and one not in "OH"
    # the second hydrogen of O1, or the first molecule of water
    odd = odd or text.upper().startswith("H2O")
    return readings[0], f"The label '{_short(text)}' is read as {one}." if odd else ""


def _mixed(text: str, element: str, formula: Collection[str]) -> str:
    """A note on a label of two elements, such as FeMg1 or SiAl, of which the first is read; empty for others.

    Elements that the formula of the file lacks are none: OAl1 may be an oxygen beside aluminium.
    """
    match = re.match(r"([A-Z][a-z]?)([A-Z][a-z])(?![a-z])", text)
    first, second = match.groups() if match else ("", "")
    if first != element or first == second or not _is_natural(second) or (formula and second not in formula):
        return ""
    note = f"The label '{_short(text)}' names {first} and {second}, but is read as {first} alone."
    return f"{note} Check whether its site is shared."


def _is_water(word: str) -> bool:
    return word.lower().startswith("wat")


def _holds_hydrogen(word: str, element: str) -> bool:
    rest = word[len(element) :].upper()
    return _is_water(word) or (rest.startswith("H") and element != "H")


@lru_cache(maxsize=512)
def _is_element(name: str) -> bool:
    from pymatgen.core import Element

    return name != "T" and Element.is_valid_symbol(name)


@lru_cache(maxsize=512)
def _is_natural(name: str) -> bool:
    from pymatgen.core import Element

    return _is_element(name) and Element(name).Z <= MAX_NATURAL


def _no_element(text: str) -> StructureParseError:
    return StructureParseError(
        f"'{_short(text)}' in the list of atoms names no element: give element symbols in the column {TYPE}, "
        f"{AGAIN}"
    )


def _short(text: str) -> str:
    cleaned = printable(text.strip())
    return cleaned if len(cleaned) <= 40 else cleaned[:40] + "…"
