"""How often the training crystals of MP-20 have an element, or a number of formula units.

:mod:`crystal_core.reference.build_z` writes the tables.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

COUNTS = Path(__file__).parent  # of z_counts.json and element_counts.json, which reference.build_z writes
RARE = 200  # training crystals of an element, below which it is rare


@lru_cache(maxsize=1)
def z_counts() -> dict[str, dict[str, int]]:
    """Counts of a formula unit, such as 1-1-3 → formula units per cell (as text) → training crystals."""
    return json.loads((COUNTS / "z_counts.json").read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def element_counts() -> dict[str, int]:
    """Atomic number (as text) → how many MP-20 training crystals hold the element."""
    return json.loads((COUNTS / "element_counts.json").read_text(encoding="utf-8"))
