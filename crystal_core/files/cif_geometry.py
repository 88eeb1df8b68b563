"""What a CIF says of its atoms outside their list, compared with it: bonds and displacement parameters."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import numpy as np

from crystal_core.chemistry.elements import periodic_table
from crystal_core.files.cif_atoms import HEAVY_HYDROGEN, LABEL, TYPE, Atom, number_of
from crystal_core.files.cif_contents import formula_in
from crystal_core.files.cif_sites import Sites
from crystal_core.files.cif_text import Block
from crystal_core.files.diagnosis import POSITIONS
from crystal_core.structures import printable

_BOND = ("_geom_bond_atom_site_label_1", "_geom_bond_atom_site_label_2", "_geom_bond_distance")
_LISTS = {
    "_atom_site_aniso_label": "displacement parameters of",
    _BOND[0]: "bonds of",
    _BOND[1]: "bonds of",
}
SAME = 0.05  # Å; a bond that is corrected for libration is longer by less
ROUNDED = 0.05  # Å; Cartesian positions are given to three decimals, fractional ones to four and more
MOST_COMPARED = 100  # atoms whose distances are
_CARTESIAN = ("_atom_site_cartn_x", "_atom_site_cartn_y", "_atom_site_cartn_z")
MOST_BONDS = 100  # that are looked for
SHARE_MISSING = 0.5  # of the bonds; beyond it the atoms stand elsewhere, and not a few bonds are misprinted


def misplaced(block: Block, atoms: Sequence[Atom], sites: Sites, matrix: np.ndarray) -> list[str]:
    """Notes on bonds that do not occur and on atoms that the list lacks; empty if all fits.

    Args:
        matrix: cell, rows a, b, c in Å.
    """
    return [
        *_missing_labels(block),
        *_missing_types(block, atoms),
        *_missing_bonds(block, atoms, sites, matrix),
        *_other_distances(block, matrix),
    ]


def _missing_labels(block: Block) -> list[str]:
    listed = {label.lower() for label in block.column(LABEL)}
    for tag, words in _LISTS.items() if listed else ():
        unknown = [label for label in block.column(tag) if label and label.lower() not in listed]
        if unknown:
            names = ", ".join(printable(label)[:20] for label in dict.fromkeys(unknown[:4]))
            what = f"The file gives {words} {names}, which its list of atoms lacks."
            return [f"{what} Check whether atoms are missing."]
    return []


def _missing_types(block: Block, atoms: Sequence[Atom]) -> list[str]:
    """Elements of the file's list of types that no atom has; the formula tells better where there is one."""
    known = {"H" if atom.element in HEAVY_HYDROGEN else atom.element for atom in atoms}
    counts = block.column("_atom_type_number_in_cell") or itertools.repeat("")
    listed = [
        kind for kind, n in zip(block.column("_atom_type_symbol"), counts, strict=False) if number_of(n) != 0
    ]
    elements = [_element_of_type(kind) for kind in listed] if not formula_in(block) else []
    absent = [element for element in dict.fromkeys(elements) if element and element not in known]
    if not absent:
        return []
    what = f"The file lists {', '.join(absent)} among its types of atoms, but no atom is of this element."
    return [f"{what} Check whether atoms are missing."]


def _element_of_type(kind: str) -> str:
    """The element of a type such as Fe3+; H for deuterium, empty for what is no element."""
    word = (re.match(r"[A-Za-z]{0,2}", kind) or [""])[0].title()
    return "H" if word in HEAVY_HYDROGEN else word if word in periodic_table() else ""


def _other_distances(block: Block, matrix: np.ndarray) -> list[str]:
    """A note where the Cartesian positions of the list contradict its fractional ones.

    The distances between listed atoms are compared, as the Cartesian axes may be turned and shifted.
    """
    rows = list(zip(*(block.column(tag) for tag in (*POSITIONS, *_CARTESIAN)), strict=False))
    numbers = [[number_of(text) for text in row] for row in rows[:MOST_COMPARED]]
    whole = [k for k, row in enumerate(numbers) if None not in row]
    values = np.array([numbers[k] for k in whole], dtype=float).reshape(-1, 6)
    labels = block.column(LABEL) or block.column(TYPE)
    read, stated = (
        np.linalg.norm(places[:, None] - places, axis=-1)
        for places in (values[:, :3] @ matrix, values[:, 3:])
    )
    wrong = np.argwhere(np.abs(read - stated) > ROUNDED + 0.001 * read)
    if not len(wrong):
        return []
    one, other = wrong[0]
    names = "–".join(printable(labels[whole[k]])[:20] for k in (one, other)) if labels else "Two atoms"
    what = f"{names} are {stated[one, other]:.2f} Å apart by the Cartesian positions of the file"
    return [f"{what}, but {read[one, other]:.2f} Å by the fractional ones, which are read."]


def _missing_bonds(block: Block, atoms: Sequence[Atom], sites: Sites, matrix: np.ndarray) -> list[str]:
    places: dict[str, list[np.ndarray]] = {}
    for place, first in zip(sites.places, sites.firsts, strict=True):
        places.setdefault(atoms[first].label, []).append(place)
    bonds = [
        (one, other, length)
        for one, other, text in zip(*(block.column(tag) for tag in _BOND), strict=False)
        if one in places and other in places and (length := number_of(text))
    ][:MOST_BONDS]
    missing = [bond for bond in bonds if not _occurs(places[bond[0]][0], places[bond[1]], bond[2], matrix)]
    if len(missing) <= SHARE_MISSING * len(bonds):
        return []
    one, other, length = missing[0]
    names = f"{printable(one)[:20]}–{printable(other)[:20]}"
    what = f"{len(missing)} of {len(bonds)} bonds of the file, {names} {length:g} Å among them, do not occur"
    return [f"{what} between the atoms that were read. Check cell, positions and symmetry."]


def _occurs(place: np.ndarray, others: Sequence[np.ndarray], length: float, matrix: np.ndarray) -> bool:
    """Whether an image of the other places lies at this distance (Å) from ``place``."""
    reach = np.ceil((length + SAME) * np.linalg.norm(np.linalg.inv(matrix), axis=0)).astype(int) + 1
    if reach.max() > 8:  # no bond
        return True
    axes = (np.arange(-n, n + 1) for n in reach)
    steps = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    gaps = np.array(others)[:, None] + steps - place
    return bool((np.abs(np.linalg.norm(gaps @ matrix, axis=-1) - length) < SAME).any())
