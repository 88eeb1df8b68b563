"""The rows that train an adapter for a modulus: more than the encoder may see.

Nothing that is measured on MP-20 may learn from its validation and test rows, so the shared encoder sees none
of them. The moduli are measured on the MEGNet split alone, so their adapters learn from these rows, too, and
from those that equal a test row of another property.
"""

from __future__ import annotations

import math
from collections import defaultdict
from functools import lru_cache
from pathlib import Path

from crystal_core.datasets.prepare import equal_pairs
from crystal_core.datasets.property_data import reason_beyond_size
from crystal_core.datasets.property_splits import MAX_ATOMS, MEGNET_TABLE, MODULI, property_value
from crystal_core.datasets.rows import CrystalRow, read_rows

ELASTICITY_TABLE = "mp_elasticity.parquet"
SOURCE = (
    f"{MEGNET_TABLE} and {ELASTICITY_TABLE}: all rows with the label and up to {MAX_ATOMS} atoms that are "
    "neither validation nor test rows of the MEGNet split, nor equal to one (StructureMatcher); MP-20's "
    "validation and test rows are among them, so nothing is measured there"
)


def modulus_training_rows(folder: Path, name: str, *, workers: int = 2) -> list[CrystalRow]:
    """All rows with a value of a modulus that do not measure it.

    Args:
        folder: of the raw data.
        name: of :data:`MODULI`.

    Raises:
        RequestError: a table is missing or is none of the data schema.
    """
    return [row for row in _rows(folder, workers) if not math.isnan(property_value(row, name))]


@lru_cache(maxsize=1)
def _rows(folder: Path, workers: int) -> tuple[CrystalRow, ...]:
    """Training rows of both moduli."""
    rows: dict[str, CrystalRow] = {}
    measuring: dict[str, list[CrystalRow]] = defaultdict(list)
    held_out: set[str] = set()
    for table in (MEGNET_TABLE, ELASTICITY_TABLE):
        for row in read_rows(folder / table):
            held = table == MEGNET_TABLE and row.split in ("val", "test")
            if held:
                held_out.add(row.id)
            if all(math.isnan(property_value(row, modulus)) for modulus in MODULI):
                continue
            if held:
                measuring[row.formula].append(row)
            elif row.id not in held_out and reason_beyond_size(row) is None:
                rows.setdefault(row.id, row)
    twins = equal_pairs([(row, other) for row in rows.values() for other in measuring[row.formula]], workers)
    return tuple(row for row in rows.values() if row.id not in twins)
