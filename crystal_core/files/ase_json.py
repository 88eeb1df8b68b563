"""What ASE writes as JSON: atoms, alone or in a database, and the occupancies of a CIF that it converted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crystal_core.errors import StructureParseError
from crystal_core.files.occupancies import scaled

NEEDED = ("cell", "numbers", "positions")
_STALE = (
    "The file keeps occupancies of a CIF that do not fit its atoms: every site is read as full. "
    "Check them, or give the CIF."
)
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


def shares_of(
    text: str, kinds: Sequence[int], species: Sequence[str]
) -> tuple[list[dict[str, float]], list[str]]:
    """Element → occupancy of each atom, where ASE keeps the shared sites of a CIF, and a note or none.

    ASE writes the main element of a shared site, so that atoms of another element are somebody's choice of an
    ordered cell.

    Args:
        text: ``_JSON {"0": {"Na": 0.6, "K": 0.4}, …}``, by the number of the kind; other texts are no table.
        kinds: number of the kind of each atom.
        species: the element that the file gives each atom.
    """
    if not text.startswith("_JSON"):
        return [], []
    try:
        table = {
            str(kind): {str(e): float(x) for e, x in shares.items() if x}
            for kind, shares in json.loads(text.removeprefix("_JSON").replace('\\"', '"')).items()
        }
    except (ValueError, TypeError, AttributeError):
        return [], [_STALE]
    shared = {kind: scaled(shares) for kind, shares in table.items() if list(shares.values()) != [1.0]}
    names = [str(kind) for kind in kinds]
    if not shared or (names and not shared.keys() & set(names)):
        return [], []
    if len(names) != len(species) or not set(names) <= table.keys():
        return [], [_STALE]
    sites = [shared.get(name, {element: 1.0}) for name, element in zip(names, species, strict=True)]
    fitting = [
        site
        for site, element in zip(sites, species, strict=True)
        if site and site.get(element, 0.0) >= max(site.values())
    ]
    return (fitting, []) if len(fitting) == len(species) else ([], [_STALE])


def _array(value: Any) -> np.ndarray:
    """A list of numbers, also in the shell that ASE's encoder puts around an array."""
    if isinstance(value, dict) and "array" in value:
        return _array(value["array"])
    if isinstance(value, dict) and "__ndarray__" in value:
        shape, _, flat = value["__ndarray__"]
        return np.array(flat, dtype=float).reshape([int(n) for n in shape])
    return np.array(value, dtype=float)
