"""A row of a raw table, as the tests of several tables need it."""

from __future__ import annotations

from typing import Any

import numpy as np

SALT = (11, 17)


def row(name, *, a=4.0, species=SALT, split=None, mp20=None, formula="NaCl", **labels) -> dict[str, Any]:
    """A cubic cell of edge ``a`` in Å, its atoms along the diagonal."""
    count = len(species)
    return {
        "material_id": name,
        "split": split,
        "formula": formula,
        "n_atoms": count,
        "lattice": (np.eye(3) * a).ravel(),
        "species": np.array(species),
        "frac_coords": np.linspace(0, 0.9, 3 * count),
        "spacegroup_number": 221,
        "mp20_split": mp20,
        **labels,
    }
