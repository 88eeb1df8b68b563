"""What a CIF says of its atoms outside their list, compared with it: bonds and displacement parameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crystal_core.files.cif_atoms import LABEL, Atom, number_of
from crystal_core.files.cif_sites import Sites
from crystal_core.files.cif_text import Block
from crystal_core.structures import printable

_BOND = ("_geom_bond_atom_site_label_1", "_geom_bond_atom_site_label_2", "_geom_bond_distance")
_LISTS = {
    "_atom_site_aniso_label": "displacement parameters of",
    _BOND[0]: "bonds of",
    _BOND[1]: "bonds of",
}
SAME = 0.05  # Å; a bond that is corrected for libration is longer by less
MOST_BONDS = 100  # that are looked for
SHARE_MISSING = 0.5  # of the bonds; beyond it the atoms stand elsewhere, and not a few bonds are misprinted


def misplaced(block: Block, atoms: Sequence[Atom], sites: Sites, matrix: np.ndarray) -> list[str]:
    """Notes on bonds that do not occur and on atoms that the list lacks; empty if all fits.

    Args:
        matrix: cell, rows a, b, c in Å.
    """
    return _missing_labels(block) + _missing_bonds(block, atoms, sites, matrix)


def _missing_labels(block: Block) -> list[str]:
    listed = {label.lower() for label in block.column(LABEL)}
    for tag, words in _LISTS.items() if listed else ():
        unknown = [label for label in block.column(tag) if label and label.lower() not in listed]
        if unknown:
            names = ", ".join(printable(label)[:20] for label in dict.fromkeys(unknown[:4]))
            what = f"The file gives {words} {names}, which its list of atoms lacks."
            return [f"{what} Check whether atoms are missing."]
    return []


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
