"""Crystals in JSON of ASE (a database of atoms, or one Atoms object) → the plain form of other JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from crystal_core.errors import StructureParseError

NEEDED = ("cell", "numbers", "positions")
VALUES = ("initial_magmoms", "magmoms", "initial_charges", "charges", "forces")


def plain_form(data: Mapping[str, Any]) -> dict[str, Any]:
    """``lattice`` (rows in Å, with ``pbc``), ``atomic_numbers``, ``frac_coords`` and ``site_columns``.

    Raises:
        StructureParseError: there is no cell, or an array has another shape than the atoms.
    """
    cell = _array(data["cell"])
    numbers, positions = _array(data["numbers"]), _array(data["positions"])
    if cell.shape == (3,):
        cell = np.diag(cell)
    if cell.shape != (3, 3) or not abs(np.linalg.det(cell)) > 0:
        raise StructureParseError(
            "These atoms of ASE have no cell, so they are a molecule and not a crystal. Set their cell."
        )
    if numbers.ndim != 1 or positions.shape != (len(numbers), 3):
        raise StructureParseError(
            f"{numbers.size} atomic numbers but {len(positions)} positions; they must agree."
        )
    columns = {key: _array(data[key]) for key in VALUES if key in data}
    return {
        "lattice": {
            "matrix": cell.tolist(),
            "pbc": [bool(x) for x in _array(data.get("pbc", [True] * 3)).ravel()],
        },
        "atomic_numbers": numbers.tolist(),
        "frac_coords": (positions @ np.linalg.inv(cell)).tolist(),
        "site_columns": {
            key: column.tolist() for key, column in columns.items() if len(column) == len(numbers)
        },
    }


def _array(value: Any) -> np.ndarray:
    """A list of numbers, also in the shell that ASE's encoder puts around an array."""
    if isinstance(value, dict) and "array" in value:
        return _array(value["array"])
    if isinstance(value, dict) and "__ndarray__" in value:
        shape, _, flat = value["__ndarray__"]
        return np.array(flat, dtype=float).reshape([int(n) for n in shape])
    return np.array(value, dtype=float)
