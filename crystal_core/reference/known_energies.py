"""Published energies above the hull of known crystals by id, and after which compound arrangements are named.

The table (``known_energies.npz``, built by :mod:`crystal_core.reference.build_known_energies`) holds labels
of the Materials
Project of 2018, from PBE with its corrections. It serves the ranking of a formula whose crystals are known;
no evaluation
may use it, because it holds validation and test rows.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TABLE = Path(__file__).parent / "known_energies.npz"
MEV = 1000.0
AFLOW_NAME = re.compile(r", AFLOW (\S+)")


class _Table(NamedTuple):
    ids: NDArray[np.int32]  # numbers of the ids mp-…, rising
    energies: NDArray[np.int16]  # meV/atom above the hull
    names: dict[str, str]  # AFLOW name → the compound it was taken from


def published_energy(material_id: str | None) -> float | None:
    """Published energy above the hull (eV/atom) of a crystal of the Materials Project; None without one."""
    if material_id is None or not material_id.startswith("mp-"):
        return None
    table, number = _table(), int(material_id.removeprefix("mp-"))
    place = int(np.searchsorted(table.ids, number))
    if place == len(table.ids) or table.ids[place] != number:
        return None
    return float(table.energies[place]) / MEV


def is_named_after(label: str, formula: str) -> bool:
    """Whether a prototype's arrangement is named after the very compound, as caesium chloride is."""
    from pymatgen.core import Composition

    told = AFLOW_NAME.search(label)
    compound = _table().names.get(told[1]) if told else None
    return (
        compound is not None and Composition(compound).reduced_formula == Composition(formula).reduced_formula
    )


@lru_cache(maxsize=1)
def _table() -> _Table:
    with np.load(TABLE, allow_pickle=False) as data:
        return _Table(
            np.cumsum(data["id_steps"]).astype(np.int32),
            data["energies"],
            dict(zip(data["names"].tolist(), data["compounds"].tolist(), strict=True)),
        )
