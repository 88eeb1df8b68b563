"""The list of atoms in a CIF: which element each row names, and with which share; what does not fit is said."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

from crystal_core.errors import StructureParseError
from crystal_core.files.cif_text import Block
from crystal_core.files.diagnosis import AGAIN

POSITIONS = ("_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z")
TYPE, LABEL = "_atom_site_type_symbol", "_atom_site_label"
MAX_NATURAL = 103  # heavier elements form no crystal: Cn or Nh is a label
MOST_ROUNDING = 0.03  # a site may be occupied 1.01 times, from rounded shares
# types of the International Tables' scattering factors that are no plain symbols
_VALENCE = {"CVAL": "C", "SIVA": "Si", "SIVAL": "Si"}
_DOUBTFUL = {"Ho", "No", "Po"}  # in capitals these may as well begin HO1, NO3, PO4
_NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?:\((\d+)\))?")
_SHARE = re.compile(r"\s*(\d*\.?\d+)(?:\(\d+\))?\s*(?:<sup>)?\s*([A-Z][a-z]?)")


@dataclass(frozen=True)
class Atom:
    """One element on one site of the list.

    Attributes:
        element: its symbol.
        written: the type of the file where a parser reads the same element from it, else the symbol.
        coords: three numbers as the file writes them.
        place: the same as numbers, in fractions of the cell.
        share: occupancy, above 0 and at most 1.
        row: number of its row, from 0.
    """

    element: str
    written: str
    label: str
    coords: tuple[str, str, str]
    place: tuple[float, float, float]
    share: float
    row: int


def atoms_of(block: Block, formula: Collection[str] = ()) -> tuple[list[Atom], list[str]]:
    """The atoms that the block lists, and notes on what was left out or interpreted.

    Args:
        formula: elements of the file's formula, which tell two readings of a label apart; empty where there is none.

    Raises:
        StructureParseError: a row names no element or several, or its occupancy is no number from 0 to 1.
    """
    columns = {tag: block.column(tag) for tag in (*POSITIONS, TYPE, LABEL, "_atom_site_occupancy")}
    dummy = block.column("_atom_site_calc_flag")
    atoms, notes, empty = list[Atom](), list[str](), 0
    for row in range(len(columns[POSITIONS[0]])):
        kind, label, occupancy = (
            columns[tag][row] if columns[tag] else "" for tag in (TYPE, LABEL, "_atom_site_occupancy")
        )
        if dummy and dummy[row].lower() == "dum":
            notes.append(f"The row {_short(label)} of the list of atoms is a dummy and is left out.")
            continue
        share = _share(occupancy, row, notes)
        if share == 0:
            empty += 1
            continue
        coords = tuple(columns[tag][row] for tag in POSITIONS)
        place = tuple(_plain(text) for text in coords)
        mixed = [found for part in kind.split(" + ") if (found := _SHARE.fullmatch(part))]
        if " + " in kind and len(mixed) == len(kind.split(" + ")):
            parts = [(found[2], found[2], float(found[1]) * share) for found in mixed]
        else:
            element, written, remark = _element(kind, label, formula)
            notes += [remark] if remark else []
            parts = [(element, written, share)]
        atoms += [
            Atom(element, written, label or element, coords, place, part, row)  # type: ignore[arg-type]
            for element, written, part in parts
        ]
    if empty:
        rows = "One row" if empty == 1 else f"{empty} rows"
        notes.append(
            f"{rows} of the list of atoms with occupancy 0 {'is' if empty == 1 else 'are'} left out."
        )
    return atoms, list(dict.fromkeys(notes))


def crowded(atoms: Collection[Atom]) -> list[tuple[float, list[Atom]]]:
    """Sites of the list whose shares add up to more than 1, with the sum."""
    sites: dict[tuple[float, ...], list[Atom]] = {}
    for atom in atoms:
        sites.setdefault(tuple(round(x % 1.0, 4) % 1.0 for x in atom.place), []).append(atom)
    sums = [(sum(atom.share for atom in site), site) for site in sites.values()]
    return [(total, site) for total, site in sums if total > 1.001]


def number_of(text: str) -> float | None:
    """A number of a CIF without its standard uncertainty, or None."""
    found = _NUMBER.fullmatch(text)
    return float(found[1]) if found else None


def _plain(text: str) -> float:
    value = number_of(text)
    if value is None:  # the diagnosis of the text says in which row
        raise ValueError(text)
    return value


def _share(text: str, row: int, notes: list[str]) -> float:
    if not text:
        return 1.0
    found = _NUMBER.fullmatch(text)
    where = f"The occupancy in row {row + 1} of the list of atoms is {_short(text)}, "
    if found is None:
        raise StructureParseError(f"{where}which is no number: write one from 0 to 1, {AGAIN}")
    share = float(found[1])
    decimals = len(found[1].split(".")[1]) if "." in found[1] else 0
    if 1 < share <= 1 + 3 * int(found[2] or 0) / 10**decimals:
        notes.append(f"An occupancy of {_short(text)} is read as 1.")
        return 1.0
    if not 0 <= share <= 1:
        raise StructureParseError(f"{where}but lies between 0 and 1: correct it, {AGAIN}")
    return share


def _element(kind: str, label: str, formula: Collection[str]) -> tuple[str, str, str]:
    """Element, type for the parser, and a note or an empty text."""
    text = kind or label
    isotope = re.fullmatch(r"\d{1,3}([A-Za-z]{1,2})", text)
    letters = re.match(r"[A-Za-z]+", isotope[1] if isotope else text)
    if letters is None:
        raise _no_element(text)
    word = letters[0]
    element = _from_type(word) if kind else _from_label(word, text, formula)
    if element == "":
        raise _no_element(text)
    remark = ""
    if element == "D":
        remark = "Deuterium is read as hydrogen, so the density is that of hydrogen."
    elif isotope:
        remark = f"The isotope {_short(text)} is read as {element}."
    elif _holds_hydrogen(word, element):
        remark = (
            f"'{_short(text)}' is read as {element}; its hydrogen has no position and is not in the crystal."
        )
    plain = re.match(rf"{element}(?![A-Za-z])", text, re.IGNORECASE)
    return element, text if plain and kind else element, remark


def _from_type(word: str) -> str:
    if word.upper() in _VALENCE:
        return _VALENCE[word.upper()]
    if _is_water(word):
        return "O"
    if len(word) <= 2 and _is_natural(word.title()):
        return word.title()
    if len(word) == 2 and word[0].upper() in "OH" and word[1].upper() in "HW":
        return word[0].upper()
    return ""


def _from_label(word: str, text: str, formula: Collection[str]) -> str:
    if _is_water(word):
        return "O"
    two, one = word[:2].title(), word[0].upper()
    readings = [name for name in (two, one) if _is_natural(name) and (name != "D" or word == "D")]
    known = [name for name in readings if name in formula]
    if known:
        return known[0]
    if len(readings) > 1 and two in _DOUBTFUL and word[:2].isupper():
        raise StructureParseError(
            f"The label '{_short(text)}' may mean {two} or {one}: add the column {TYPE} with element symbols, "
            f"{AGAIN}"
        )
    superheavy = word[1:2].islower() and two not in readings and _is_element(two)
    return "" if not readings or superheavy else readings[0]


def _is_water(word: str) -> bool:
    return word.lower().startswith("wat")


def _holds_hydrogen(word: str, element: str) -> bool:
    rest = word[len(element) :].upper()
    return _is_water(word) or (rest.startswith("H") and element != "H")


@lru_cache(maxsize=512)
def _is_element(name: str) -> bool:
    from pymatgen.core import Element

    return name not in ("T", "X") and Element.is_valid_symbol(name)


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
    cleaned = "".join(ch if ch.isprintable() else "?" for ch in text.strip())
    return cleaned if len(cleaned) <= 40 else cleaned[:40] + "…"
