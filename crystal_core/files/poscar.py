"""Readers of POSCAR, CONTCAR and XDATCAR: a list of calls, each giving one pymatgen structure.

VASP's rules hold (https://www.vasp.at/wiki/POSCAR): the title is free text, a comment may end a line, numbers
may have Fortran's exponent D, the scale is one factor, three factors, or minus the volume, and scales
Cartesian positions too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from crystal_core.errors import StructureParseError
from crystal_core.files.fortran import float_of
from crystal_core.files.limits import check_atom_count, check_vectors
from crystal_core.files.refusals import refusal
from crystal_core.files.remarks import far_positions, near_origin
from crystal_core.structures import printable

if TYPE_CHECKING:
    from pymatgen.core import Structure

_FRAME = re.compile(r"^\s*(direct|cartesian)\s+configuration\s*=", re.IGNORECASE)
# velocities and lattices of a run follow after an empty line or one of these
_VELOCITIES = re.compile(r"^\s*(lattice velocities|direct|cartesian)", re.IGNORECASE)
_FLAGS = {"t", "f", ".t.", ".f.", ".true.", ".false.", "true", "false"}  # of selective dynamics
_HEAD = ("the scale, one number or three", *(f"lattice vector {name}, three numbers" for name in "abc"))
_CORRECT = "correct it, or write the file again."
MIN_LINES = 8
_UNNAMED = "This POSCAR names no elements. Add a line of element symbols above the line of counts."


def is_poscar(lines: Sequence[str]) -> bool:
    """Whether the lines look like a POSCAR: a scale, three vectors, counts in the sixth or seventh line."""
    if len(lines) < MIN_LINES or len(_floats(lines[1])) not in (1, 3):
        return False
    return all(len(_floats(line)) >= 3 for line in lines[2:5]) and any(map(_counts, lines[5:7]))


def slip_of_poscar(lines: Sequence[str]) -> str:
    """What keeps the lines from being a POSCAR although they begin like one; empty for anything else."""
    plain = [line.split() for line in lines]
    begun = len(plain) > 3 and 0 < len(plain[1]) <= 3 and all(map(_like_number, plain[1]))
    vectors = [row for row in plain[2:5] if len(row) > 2 and all(map(_like_number, row[:3]))]
    if not begun or len(vectors) < min(2, len(plain) - 2):
        return ""
    for k, (row, what, n) in enumerate(zip(plain[1:5], _HEAD, (1, 3, 3, 3), strict=False), start=2):
        if len(_floats(lines[k - 1])) < n or (k == 2 and len(row) == 2):
            return f"Line {k} of this POSCAR should be {what}, but reads '{_shown(row)}': {_CORRECT}"
    if len(lines) < MIN_LINES:
        return f"This POSCAR ends after line {len(lines)}, before its first position: {_CORRECT}"
    return (
        f"Lines 6 and 7 of this POSCAR should be the elements and how many atoms there are of each, in whole "
        f"numbers, but read '{_shown(plain[5])}' and '{_shown(plain[6])}': {_CORRECT}"
    )


def _like_number(word: str) -> bool:
    """Whether a word stands for a number, also one that is not finite, too long to print or with a comma."""
    return bool(re.fullmatch(r"[-+]?(nan|inf(inity)?|\d*[.,]?\d*([ed][-+]?\d+)?)|\*+", word.lower()))


def _shown(words: Sequence[str]) -> str:
    return printable(" ".join(words))[:40]


def is_xdatcar(lines: Sequence[str]) -> bool:
    """Whether the lines have a POSCAR's shape and frames that are numbered."""
    return is_poscar(lines) and any(_FRAME.match(line) for line in lines[6:10])


def read_poscar(text: str) -> list[Callable[[], Structure]]:
    """The structure of a POSCAR or CONTCAR with element symbols.

    Symbols stand above the counts, at the ends of the lines, or as the whole title.
    """
    return [partial(_single, text.splitlines())]


def read_xdatcar(text: str) -> list[Callable[[], Structure]]:
    """The frames of an XDATCAR; a cell that changes stands before each of its frames.

    Files of several runs may follow one another, each with its own numbers of atoms.
    """
    lines = text.splitlines()
    n_head = 6 if _counts(lines[5]) else 7
    check_atom_count(sum(_counts(lines[n_head - 1])))
    frames: list[Callable[[], Structure]] = []
    head, end = lines[:n_head], n_head
    for k, start in enumerate((k for k, line in enumerate(lines) if _FRAME.match(line)), start=1):
        between = [line for line in lines[end:start] if line.strip()]
        if _is_head(lines[start - n_head : start]) and len(between) <= n_head:
            head, between = lines[start - n_head : start], between[n_head:]
        end = start + 1 + sum(_counts(head[-1]))
        frame = [*head, lines[start].split()[0], *lines[start + 1 : end]]
        where = f"before frame {k}"
        frames.append(_refused_frame(where, between[0]) if between else partial(_structure, frame))
    if rest := [line for line in lines[end:] if line.strip()]:
        frames.append(_refused_frame("after the last frame", rest[0]))
    return frames


def _is_head(lines: Sequence[str]) -> bool:
    """Whether the lines are those above the positions: title, scale, vectors, optional symbols, counts."""
    numbers = [len(_floats(line)) for line in lines[1:5]]
    return numbers[0] in (1, 3) and min(numbers[1:]) >= 3 and bool(_counts(lines[-1]))


def _refused_frame(where: str, line: str) -> Callable[[], Structure]:
    return refusal(
        f"The line '{printable(line.strip())[:40]}' {where} of this XDATCAR belongs neither to "
        "a cell nor to the positions of a frame: write the file again."
    )


def _single(lines: Sequence[str]) -> Structure:
    """The structure, with notes on positions that look like a slip; the frames of a path may wander far."""
    structure = _structure(lines)
    is_cartesian = structure.properties["is_cartesian"]
    n, matrix = len(structure), np.array(structure.lattice.matrix)
    if is_cartesian:
        notes = near_origin(structure.cart_coords, matrix)
    else:
        symbols = [site.specie.symbol for site in structure]
        notes = far_positions(structure.frac_coords.tolist(), symbols, matrix)
    notes += [structure.properties["contradicted"]] if "contradicted" in structure.properties else []
    following = lines[structure.properties["end"] :]
    # of a run, only numbers and a few headings follow; a second crystal may stand after an empty line
    words = [line for line in following if line.strip() and not _floats(line)]
    extra = next((printable(line.strip())[:40] for line in words if not _VELOCITIES.match(line)), "")
    if following and len(_floats(following[0])) >= 3:
        notes.append(f"Further positions follow the {n} atoms that the POSCAR counts; they are not read.")
    elif extra:
        notes.append(
            f"The line '{extra}' follows the {n} atoms that the POSCAR counts; nothing from there on is read."
        )
    structure.properties = {"notes": notes}
    return structure


def _structure(lines: Sequence[str]) -> Structure:
    from pymatgen.core import Lattice, Structure

    plain = [re.split(r"[!#]", line, maxsplit=1)[0] for line in lines]
    matrix, scale = _cell(plain)
    at = 5 if _counts(plain[5]) else 6
    counts = _counts(plain[at])
    check_atom_count(sum(counts))
    named = plain[5].split() if at == 6 else []
    at += 1
    if plain[at].strip()[:1].lower() == "s":  # selective dynamics
        at += 1
    if len(_floats(plain[at])) >= 3:
        raise StructureParseError(
            f"Line {at + 1} of this POSCAR should say Direct or Cartesian, but holds numbers: add the line."
        )
    is_cartesian = plain[at].strip()[:1].lower() in ("c", "k")
    rows = lines[at + 1 : at + 1 + sum(counts)]
    good = next((k for k, row in enumerate(rows) if len(_floats(row)) < 3), len(rows))
    words = rows[good].split()[:3] if good < len(rows) else []
    if sum(map(_like_number, words)) > 1:
        raise StructureParseError(
            f"The row of atom {good + 1} should be a position of three numbers, but reads "
            f"'{_shown(words)}': {_CORRECT}"
        )
    if good < sum(counts):
        raise StructureParseError(
            f"The POSCAR announces {sum(counts)} atoms, but has positions for {good}: "
            "complete it, or write it again."
        )
    coords = np.array([_floats(row)[:3] for row in rows])
    check_vectors(matrix)
    ends = _ends(rows)
    symbols = _symbols(named, counts, lines[0], ends)
    others = symbols if named else _titled(lines[0], counts)
    contradicted = next(
        (k for k, (end, symbol) in enumerate(zip(ends, others, strict=False)) if end != symbol), -1
    )
    # positions scale with the cell; three factors scale x, y and z
    places = coords * scale if is_cartesian else coords
    structure = Structure(Lattice(matrix), symbols, places, coords_are_cartesian=is_cartesian)
    structure.properties = {"is_cartesian": is_cartesian, "end": at + 1 + sum(counts)}
    if contradicted >= 0:
        row = f"The row of atom {contradicted + 1} ends with {ends[contradicted]}"
        structure.properties["contradicted"] = (
            f"{row}, but the line of symbols makes it {others[contradicted]}, which is read."
            if named
            else f"{row}, which is read, but the title makes it {others[contradicted]}."
        )
    return structure


def _cell(lines: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Vectors in Å as rows, and the factors on x, y and z."""
    factors, vectors = _floats(lines[1]), np.array([_floats(line)[:3] for line in lines[2:5]])
    if len(factors) == 1 and factors[0] < 0:
        volume = abs(float(np.linalg.det(vectors)))
        if volume > 0:
            factors = [(-factors[0] / volume) ** (1 / 3)]
    scale = np.array(factors * 3 if len(factors) == 1 else factors)
    if not (np.isfinite(scale).all() and (scale > 0).all() and np.isfinite(vectors).all()):
        raise StructureParseError(
            "The scale of this POSCAR (line 2) is a positive factor, three of them, "
            "or minus the volume in Å³."
        )
    return vectors * scale, scale


def _ends(rows: Sequence[str]) -> list[str]:
    """The element that each row names behind its position and its flags; empty unless every row does."""
    words = [row.split()[3:] for row in rows]
    ends = [
        (row[3:] if len(row) > 2 and _FLAGS.issuperset(map(str.lower, row[:3])) else row)[-1:]
        for row in words
    ]
    elements = [_element(end[0]) if end and not _floats(end[0]) else "" for end in ends]
    return elements if all(elements) else []


def _symbols(named: Sequence[str], counts: Sequence[int], title: str, ends: Sequence[str]) -> list[str]:
    """One element symbol an atom."""
    if named and len(named) != len(counts):
        raise StructureParseError(
            f"This POSCAR names {len(named)} elements but counts {len(counts)}: correct lines 6 and 7."
        )
    if not named:
        symbols = list(ends) or _titled(title, counts)
        if not symbols:
            raise StructureParseError(_UNNAMED)
        return symbols
    elements = [_element(word) for word in named]
    if not all(elements):
        word = printable(named[elements.index("")])[:20]
        raise StructureParseError(
            f"'{word}' in this POSCAR is no chemical element. Write element symbols above the counts."
        )
    return [element for element, n in zip(elements, counts, strict=True) for _ in range(n)]


def _titled(title: str, counts: Sequence[int]) -> list[str]:
    """One element symbol an atom, from a title that names the elements alone; empty for another title."""
    named = title.split()  # where ASE writes those of a VASP 4 file
    if [re.sub(r"^[A-Za-z]+", "", word) for word in named] == list(map(str, counts)):
        named = [word.rstrip("0123456789") for word in named]  # pymatgen: with their counts
    if len(named) != len(counts) or not all(word[0].isupper() and _element(word) for word in named):
        return []
    return [_element(word) for word, n in zip(named, counts, strict=True) for _ in range(n)]


def _element(word: str) -> str:
    """The element of a symbol in any case, also of a pseudopotential's name such as ``Na_pv``.

    Empty for another word.
    """
    from pymatgen.core import Element

    symbol = re.split(r"[_/.]", word)[0].title()
    return symbol if Element.is_valid_symbol(symbol) and symbol != "X" else ""


def _counts(line: str) -> list[int]:
    words = re.split(r"[!#]", line, maxsplit=1)[0].split()
    return [int(word) for word in words] if words and all(re.fullmatch(r"\d{1,9}", w) for w in words) else []


def _floats(line: str) -> list[float]:
    """The numbers at the beginning of a line."""
    values = []
    for word in line.split():
        try:
            value = float_of(word)
        except ValueError:
            break
        if not math.isfinite(value):
            break
        values.append(value)
    return values
