"""Wyckoff positions that a CIF names, compared with the images of its atoms.

Letters depend on the setting and on the origin, so that no table is asked: only contradictions within the
file count, and those between a file and the number of images.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from crystal_core.files.cif_atoms import Atom
from crystal_core.files.cif_sites import SAME_SITE, Sites
from crystal_core.files.cif_text import Block
from crystal_core.files.operations import Operations
from crystal_core.structures import printable

TAGS = ("_atom_site_wyckoff_symbol", "_atom_site_wyckoff_label", "_atom_site_wyckoff_letter")
CENTRINGS = (2, 3, 4)  # lattice points of a conventional cell
_POSITION = re.compile(r"(\d{0,3})\s*([A-Za-z])")
_Named = tuple[Atom, int | None, str, int]  # atom, multiplicity in its name, letter, images


def wyckoff_contradictions(
    block: Block, atoms: Sequence[Atom], sites: Sites, operations: Operations, matrix: np.ndarray
) -> list[str]:
    """A note on the first Wyckoff position that does not fit the images; empty if all fit or none is named.

    Empty too where the file lists the whole cell, which may still name the positions of its group.

    Args:
        matrix: cell, rows a, b, c in Å.
    """
    column = block.column(*TAGS)
    if not column or len(operations) == 1:
        return []
    named: list[_Named] = []
    for atom, n in zip(atoms, sites.multiplicities, strict=True):
        if match := _POSITION.fullmatch(column[atom.row].strip()):
            named.append((atom, int(match[1]) if match[1] else None, match[2], n))
    return _wrong_number(named, operations) or _two_numbers(named) or _filled_twice(named, operations, matrix)


def _wrong_number(named: Sequence[_Named], operations: Operations) -> list[str]:
    """A multiplicity such as that of 4a that the images have neither in this cell nor in a centred one."""
    points = int((operations.rotations == np.eye(3, dtype=int)).all(axis=(1, 2)).sum())
    other_cells = {1 / points} if points > 1 else set(CENTRINGS)
    given = [(atom, number, letter, n) for atom, number, letter, n in named if number]
    ratios = {number / n for _, number, _, n in given}
    if len(ratios) == 1 and ratios <= {1, *other_cells}:
        return []
    for atom, number, letter, n in given:
        if number != n:
            return [
                f"The file puts {_name(atom)} on the Wyckoff position {number}{letter}, but {n} are read."
            ]
    return []


def _two_numbers(named: Sequence[_Named]) -> list[str]:
    """Two atoms on positions of one letter with different numbers of images."""
    first: dict[str, tuple[Atom, int]] = {}
    for atom, _, letter, n in named:
        other, m = first.setdefault(letter, (atom, n))
        if n != m:
            both = f"{_name(other)} and {_name(atom)} on the Wyckoff position {letter}"
            return [f"The file puts {both}, but {m} and {n} images of them are read."]
    return []


def _filled_twice(named: Sequence[_Named], operations: Operations, matrix: np.ndarray) -> list[str]:
    """Two atoms apart from each other on one position whose coordinates are all fixed."""
    first: dict[str, Atom] = {}
    for atom, _, letter, _ in named:
        other = first.setdefault(letter, atom)
        if (
            other is not atom
            and _is_fixed(atom, operations, matrix)
            and _apart(atom, other, operations, matrix)
        ):
            both = f"{_name(other)} and {_name(atom)} on the Wyckoff position {letter}"
            return [f"The file puts {both}, which has no free coordinate, but they lie apart."]
    return []


def _is_fixed(atom: Atom, operations: Operations, matrix: np.ndarray) -> bool:
    """Whether the operations that keep the atom in place keep no other point near it."""
    place = np.array(atom.place)
    near = _distances(_images(place, operations) - place, matrix) < SAME_SITE
    return bool(np.linalg.matrix_rank((operations.rotations[near] - np.eye(3)).reshape(-1, 3)) == 3)


def _apart(atom: Atom, other: Atom, operations: Operations, matrix: np.ndarray) -> bool:
    gaps = _images(np.array(atom.place), operations) - np.array(other.place)
    return bool((_distances(gaps, matrix) > SAME_SITE).all())


def _images(place: np.ndarray, operations: Operations) -> np.ndarray:
    images: np.ndarray = operations.rotations @ place + operations.translations
    return images


def _distances(gaps: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    distances: np.ndarray = np.linalg.norm((gaps - np.round(gaps)) @ matrix, axis=1)
    return distances


def _name(atom: Atom) -> str:
    return printable(atom.label)[:20]
