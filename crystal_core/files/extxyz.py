"""Reader of extended XYZ: every frame with lattice, energy, site values and periodicity."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.errors import StructureParseError
from crystal_core.files import ase_json
from crystal_core.files.fortran import float_of
from crystal_core.files.json_contradictions import formula_contradicted
from crystal_core.files.limits import check_atom_count, check_vectors
from crystal_core.files.occupancies import shared_sites
from crystal_core.files.refusals import refusal
from crystal_core.files.remarks import near_origin, other_unit
from crystal_core.files.site_values import sorted_values
from crystal_core.structures import amounts_in, printable

if TYPE_CHECKING:
    from pymatgen.core import Structure

_OF_METHODS = ("ref_energy", "dft_energy", "vasp_energy", "pbe_energy", "qm_energy", "mace_energy")
ENERGIES = ("energy", "free_energy", "total_energy", "rel_energy", "potential_energy", "e", *_OF_METHODS)
_STEPS = ("frame", "step", "time", "timestep", "image", "iteration", "iter", "i")  # number a frame of a path
_LABELS = ("id", "name", "label", "seed", "material_id", "mp_id", "formula")  # name a crystal by itself
_SHARES = ("occupancy", "occupancies", "occ", "sof", "site_occupancy")  # columns of occupancies
_ITEM = re.compile(
    r"""([A-Za-z_][\w-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|\{([^}]*)\}|(\[\[.*?\]\s*\]|\[[^\[\]]*\]|\S+))"""
)


def read_extxyz(text: str) -> list[Callable[[], Structure]]:
    """Every frame of an (extended) XYZ file; each must carry its lattice.

    What follows the last whole frame is one refusal.

    Raises:
        StructureParseError: the first frame is not whole.
    """
    lines = text.splitlines()
    frame_readers: list[Callable[[], Structure]] = []
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        is_count = re.fullmatch(r"\s*\d{1,9}\s*", lines[at])
        n = int(lines[at]) if is_count else 0
        if not is_count or at + 2 + n > len(lines):
            problem = (
                f"The file ends before the {n} atoms announced in line {at + 1}."
                if is_count
                else f"Line {at + 1} should be a number of atoms, but reads '{_short(lines[at])}'."
            )
            if not frame_readers:
                check_atom_count(n or 1)
                raise StructureParseError(problem)
            return [*frame_readers, refusal(f"{problem} Nothing from there on is read.")]
        frame_readers.append(partial(_frame, lines[at + 1], lines[at + 2 : at + 2 + n]))
        at += 2 + n
    return frame_readers


def _frame(comment: str, rows: Sequence[str]) -> Structure:
    from pymatgen.core import Lattice, Structure

    check_atom_count(len(rows))
    info = _info(comment)
    matrix = [_number(x) for x in re.split(r"[\s,\[\]]+", info.get("lattice", "")) if x]
    if len(matrix) not in (0, 9):
        raise StructureParseError(
            f"The Lattice of this XYZ file has {len(matrix)} numbers: write its three vectors, "
            'as in Lattice="ax ay az bx by bz cx cy cz".'
        )
    if not any(matrix):
        raise StructureParseError(
            "This XYZ file has no lattice, so it is a molecule and not a crystal. "
            'Write Lattice="ax ay az bx by bz cx cy cz" into its second line.'
        )
    columns = _columns(info)
    place = {name: first for name, (_, first, _) in columns.items()}
    label = place.get("species", place.get("z", 0))
    cells = [row.split() for row in rows]
    n_columns = max(first + width for _, first, width in columns.values())
    short = next((k for k, row in enumerate(cells, start=1) if len(row) < n_columns), 0)
    if short:
        raise StructureParseError(f"Atom {short} of this XYZ file has too few values. Complete its line.")
    species = [_symbol(row[label]) for row in cells]
    if label != place.get("z", label):
        _check_same(species, [row[place["z"]] for row in cells])
    coords = [[_number(x) for x in row[place["pos"] : place["pos"] + 3]] for row in cells]
    check_vectors(np.array(matrix).reshape(3, 3))
    lattice = Lattice([matrix[0:3], matrix[3:6], matrix[6:9]])
    given = _values(columns, cells)
    kinds = [int(kind) for kind in given.get("spacegroup_kinds", ()) if kind is not None]
    shares, remarks = ase_json.shares_of(info.get("occupancy", ""), kinds, species)
    if column := next((given.pop(name) for name in _SHARES if name in given), None):
        kept, shares = shared_sites(species, coords, column)
        if n := column.count(0):
            remarks.append(
                f"{n} atom{'' if n == 1 else 's'} with occupancy 0 {'is' if n == 1 else 'are'} left out."
            )
        coords = [coords[k] for k in kept]
        given = {name: [values[k] for k in kept] for name, values in given.items()}
    structure = Structure(lattice, shares or species, coords, coords_are_cartesian=True, to_unit_cell=True)
    values, notes = sorted_values(given, np.array(lattice.matrix))
    notes += near_origin(coords, np.array(lattice.matrix))
    structure.properties["notes"] = (
        _notes(info)
        + formula_contradicted(info, amounts_in(structure.composition))
        + _numbered({row[label] for row in cells} if "species" in place else ())
        + _surplus(info, cells, n_columns)
        + remarks
        + notes
    )
    if values:
        structure.properties["site_values"] = values
    energy = next((info[key] for key in ENERGIES if key in info), "")
    if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", energy):
        structure.properties["energy"] = float(energy)
    structure.properties["step"] = any(key in info for key in _STEPS)
    structure.properties["label"] = next((info[key] for key in _LABELS if key in info), "")
    return structure


def _info(comment: str) -> dict[str, str]:
    """Key in lower case → value; a lattice that stands twice must be the same."""
    info: dict[str, str] = {}
    for key, *values in _ITEM.findall(comment):
        name, value = key.lower(), next(filter(None, values), "")
        if name == "lattice" and info.get(name, value).split() != value.split():
            raise StructureParseError("This XYZ file gives two lattices for the same atoms. Keep one.")
        info[name] = value
    return info


def _check_same(species: Sequence[str], numbers: Sequence[str]) -> None:
    """Raise StructureParseError where an atom's symbol and its atomic number are two elements."""
    for k, (symbol, number) in enumerate(zip(species, numbers, strict=True), start=1):
        if (other := _symbol(number)) != symbol:
            raise StructureParseError(
                f"Atom {k} of this XYZ file is {symbol} by its species, but {other} by its atomic number. "
                "Correct one of them."
            )


def _columns(info: Mapping[str, str]) -> dict[str, tuple[str, int, int]]:
    """Name of a property in lower case → its type, its first column and how many it has."""
    words = info.get("properties", "species:S:1:pos:R:3").split(":")
    first, place = 0, {}
    for name, kind, text in zip(words[::3], words[1::3], words[2::3], strict=False):
        width = int(text) if text.isdigit() else 1
        place[name.lower()] = (kind.upper(), first, width)
        first += width
    if "numbers" in place:  # another name that ASE reads
        place.setdefault("z", place["numbers"])
    widths = {name: place[name][2] for name in ("pos", "species", "z") if name in place}
    if wrong := [
        f"{name} with {n} columns" for name, n in widths.items() if n != (3 if name == "pos" else 1)
    ]:
        raise StructureParseError(
            f"The Properties of this XYZ file give {wrong[0]}: a position has 3, and a species 1."
        )
    if "pos" not in place or not {"species", "z"} & set(place):
        raise StructureParseError("The Properties of this XYZ file name no species and positions.")
    return place


def _values(
    columns: Mapping[str, tuple[str, int, int]], cells: Sequence[Sequence[str]]
) -> dict[str, list[Any]]:
    """Name → number or vector of each atom, of the columns that hold numbers."""
    return {
        name: [_cell(row[first : first + width], width) for row in cells]
        for name, (kind, first, width) in columns.items()
        if kind in ("R", "I") and width in (1, 3) and name not in ("pos", "z")
    }


def _cell(words: Sequence[str], width: int) -> float | list[float] | None:
    try:
        numbers = [float_of(word) for word in words]
    except ValueError:
        return None
    return None if len(numbers) < width else numbers if width == 3 else numbers[0]


def _notes(info: Mapping[str, str]) -> list[str]:
    notes = other_unit(info)
    periodic = re.split(r"[\s,]+", info.get("pbc", "").upper().strip("[] "))
    periodic = list(periodic[0]) if re.fullmatch("[TF01]{3}", periodic[0]) else periodic
    if any(axis.startswith("F") or axis == "0" for axis in periodic):
        kind = (
            "a slab or a layer"
            if any(axis.startswith("T") or axis == "1" for axis in periodic)
            else "a molecule in a box"
        )
        notes.append(
            f"The file is not periodic along every axis (pbc {' '.join(periodic)[:20]}), which is {kind}; "
            "it is read as a crystal that is."
        )
    return notes


def _numbered(kinds: Collection[str]) -> list[str]:
    """A note if the species are the numbers 1, 2, … without a gap, which are rather types than elements."""
    numbers = [str(k) for k in range(1, len(kinds) + 1)]
    if not kinds or set(kinds) != set(numbers):
        return []
    elements = ", ".join(map(_symbol, numbers))
    return [
        (
            f"The species of this XYZ file are numbers from 1 to {len(kinds)}, read as atomic numbers "
            f"({elements}). If they are types, write element symbols."
        )
    ]


def _surplus(info: Mapping[str, str], cells: Sequence[Sequence[str]], n_columns: int) -> list[str]:
    """A note if rows hold more than Properties announces; without Properties, any columns may follow."""
    longer = next((k for k, row in enumerate(cells, start=1) if len(row) > n_columns), 0)
    if not longer or "properties" not in info:
        return []
    return [
        (
            f"Atom {longer} of this XYZ file has {len(cells[longer - 1])} values for {n_columns} columns of "
            "its Properties. Check its line."
        )
    ]


def _symbol(label: str) -> str:
    """Element symbol of a species or an atomic number."""
    from pymatgen.core import Element

    number = int(label) if re.fullmatch(r"\d{1,3}", label) else 0
    if 1 <= number <= 118:
        return Element.from_Z(number).symbol
    symbol = label.title() if label.isalpha() and len(label) <= 2 else ""
    if symbol and Element.is_valid_symbol(symbol):
        return symbol
    raise StructureParseError(
        f"'{_short(label)}' in this XYZ file is no chemical element. Write element symbols, e.g. Na."
    )


def _number(text: str) -> float:
    try:
        value = float_of(text)
    except ValueError:
        raise StructureParseError(
            f"'{_short(text)}' in this XYZ file should be a number. Correct it."
        ) from None
    if not math.isfinite(value):
        raise StructureParseError(
            "The file holds a number that is not finite. Check its lattice and positions."
        )
    return value


def _short(text: str) -> str:
    cleaned = printable(text.strip())
    return cleaned if len(cleaned) <= 40 else cleaned[:40] + "…"
