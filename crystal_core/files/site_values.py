"""Numbers that a file gives for each site: magnetic moments, forces, charges and other columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from crystal_core.structures import printable

if TYPE_CHECKING:
    from pymatgen.core import Structure

MOMENTS = ("magmoms", "magmom", "initial_magmoms", "moment", "magnetic_moments", "spin")
FORCES = ("forces", "force", "dft_forces", "dft_force")
UNITS = {"force": "eV/Å", "u_iso_or_equiv": "Å²", "b_iso_or_equiv": "Å²", "charge": "e", "charges": "e"}
NOT_VALUES = ("species", "pos", "z", "numbers", "atomic_numbers", "id", "map_mapping", "mass", "masses")
MOST_COLUMNS = 12
MOST_MOMENT = 100.0  # µB; no atom has more, so the column holds something else


class SiteValues(TypedDict):
    """Site values of a file, in the order of its sites; they travel as JSON.

    columns: name → a number per site, None where the file has none; the magnitude of what the file gives as a
    vector.
    moments: Cartesian, µB, per site or None; empty where the file gives none.
    along_c: the file gives signed sizes only, and ``moments`` point along c or against it.
    """

    columns: dict[str, list[float | None]]
    moments: list[list[float] | None]
    along_c: bool


def site_values_of(structure: Structure) -> SiteValues:
    """The site values from a crystal's file; empty for a crystal without a file."""
    values: SiteValues | None = structure.properties.get("site_values")
    return values or {"columns": {}, "moments": [], "along_c": False}


def sorted_values(
    given: Mapping[str, Sequence[Any]], lattice: np.ndarray
) -> tuple[SiteValues | None, list[str]]:
    """Columns of a file as moments and numbers, and notes on what of them cannot be used.

    Args:
        given: name → a number, three Cartesian components or None per site; anything else is no number.
        lattice: rows a, b, c in Å.

    Returns:
        None where no column holds a number.
    """
    values: SiteValues = {"columns": {}, "moments": [], "along_c": False}
    notes: list[str] = []
    for name, column in given.items():
        key, cells = name.lower(), [_cell(value) for value in column]
        if key in NOT_VALUES or all(cell is None for cell in cells):
            if key in MOMENTS and any(value is not None for value in column):
                notes.append(f"The moments in '{_short(name)}' are no numbers or vectors and are not drawn.")
            continue
        if key in MOMENTS:
            if values["moments"]:
                notes.append(f"The file gives more than one set of moments; '{_short(name)}' is not drawn.")
                continue
            if max(_size(cell) for cell in cells) > MOST_MOMENT:
                notes.append(f"'{_short(name)}' exceeds {MOST_MOMENT:.0f} µB, so it is not drawn as moments.")
                continue
            values.update(moments_from(cells, lattice) | {"columns": values["columns"]})
            continue
        if len(values["columns"]) == MOST_COLUMNS:
            notes.append(f"Only the first {MOST_COLUMNS} columns of site values are read.")
            break
        vectors = any(isinstance(cell, list) for cell in cells)
        label = "force" if key in FORCES else f"|{_short(name)}|" if vectors else _short(name)
        numbers = [None if cell is None else _size(cell) if vectors else cell for cell in cells]
        values["columns"][label] = numbers  # type: ignore[assignment]
    return (values if values["columns"] or values["moments"] else None), notes


def moments_from(cells: Sequence[float | list[float] | None], lattice: np.ndarray) -> SiteValues:
    """Moments (µB) of a column; signed sizes become vectors along c."""
    along_c = not any(isinstance(cell, list) for cell in cells)
    axis = np.asarray(lattice[2]) / (np.linalg.norm(lattice[2]) or 1.0)
    moments = [
        None if cell is None else cell if isinstance(cell, list) else (cell * axis).tolist() for cell in cells
    ]
    return {"columns": {}, "moments": moments, "along_c": along_c}


def _cell(value: Any) -> float | list[float] | None:
    """A finite number, three of them, or None."""
    if isinstance(value, dict):
        return _from_magmom(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        parts = [_cell(part) for part in value]
        numbers = [part for part in parts if isinstance(part, float)]
        return numbers if len(parts) == len(numbers) == 3 else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _from_magmom(value: Mapping[str, Any]) -> list[float] | float | None:
    """A moment that pymatgen wrote as an object, in Cartesian axes."""
    from pymatgen.electronic_structure.core import Magmom

    moment, axis = _cell(value.get("moment")), _cell(value.get("saxis", [0.0, 0.0, 1.0]))
    if moment is None or not isinstance(axis, list) or not any(axis):
        return None
    return [float(x) for x in Magmom(moment, saxis=axis).global_moment]


def _size(cell: float | list[float] | None) -> float:
    return 0.0 if cell is None else math.hypot(*cell) if isinstance(cell, list) else abs(cell)


def _short(name: str) -> str:
    return printable(name)[:40]
