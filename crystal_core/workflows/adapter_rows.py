"""Which rows of a user's own table an adapter learns from, and which are held out."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crystal_core.datasets.own_table import NO_NUMBERS, own_table_of
from crystal_core.errors import RequestError, StructureParseError
from crystal_core.files.limits import check_density, check_vectors
from crystal_core.properties import PROPERTIES, PropertySpec, property_key
from crystal_core.requests import LARGEST_VALUE, MAX_LEARNED_ATOMS, MIN_LEARNED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from crystal_core.datasets.rows import CrystalRow

FEWEST_HELD = 10  # held-out crystals, of which the interval is calibrated
HELD_OUT = 0.2  # share of the crystals, at random, where the table names no split


@dataclass(frozen=True, kw_only=True)
class OwnProperty:
    """The property that a column of a table holds.

    Attributes:
        column: its name. title, unit: for display; the column's name and "" where absent.
        logarithmic: learn the logarithm; all values are then positive.
    """

    column: str
    title: str = ""
    unit: str = ""
    logarithmic: bool = False

    @property
    def spec(self) -> PropertySpec:
        """The property's specification; a built-in one if the column has its name."""
        return PROPERTIES.get(self.column) or PropertySpec(
            property_key(self.column),
            self.title or self.column,
            self.unit,
            "own data",
            logarithmic=self.logarithmic,
            decimals=3,
        )


def labelled_rows(
    table: Path, target: OwnProperty, on_read: Callable[[int, int], None] | None = None
) -> tuple[list[CrystalRow], list[dict[str, str]]]:
    """The rows of a table that hold a crystal and a value, and id and reason of each other row.

    Args:
        on_read: gets how many CIFs of how many are read.

    Raises:
        RequestError: the file is no table, has no such column, or has too few values.
    """
    if not table.is_file():
        raise RequestError(
            f"There is no file {table.name}; "
            "give a Parquet file of the data schema or a CSV with a cif column."
        )
    own = own_table_of(table.name, table.read_bytes(), on_read)
    if target.column not in own.headers:
        raise RequestError(
            f"{table.name} has no column '{target.column}'. Its columns of numbers are: "
            f"{', '.join(own.columns) or 'none'}."
        )
    if target.column in NO_NUMBERS:
        raise RequestError(
            f"'{target.column}' tells about the rows and is no property; "
            "give the column another name to learn it."
        )
    rows, skipped = [], [{"id": name, "reason": reason} for name, reason in own.skipped]
    for row in own.rows:
        reason = reason_left_out(row, target) or _no_cell(row)
        if reason:
            skipped.append({"id": row.id, "reason": reason})
        else:
            rows.append(row)
    if len(rows) < MIN_LEARNED:
        first = skipped[0] if skipped else None
        why = f" The first row left out, {first['id']}: {first['reason'].rstrip('.')}." if first else ""
        raise RequestError(
            f"{table.name} has {len(rows)} crystals with a value of '{target.column}'; training needs at "
            f"least {MIN_LEARNED}.{why}"
        )
    return rows, skipped


def _no_cell(row: CrystalRow) -> str | None:
    """Why no neighbours can be sought in the cell of a row, or None if they can."""
    try:
        check_vectors(row.lattice)
        check_density(row.volume_per_atom)
    except StructureParseError as error:
        return str(error)
    return None


def reason_left_out(row: CrystalRow, target: OwnProperty) -> str | None:
    """None if an adapter can learn from the row, else why not."""
    value = row.labels.get(target.column, math.nan)
    if not math.isfinite(value):
        return f"no value of {target.column}"
    if abs(value) > LARGEST_VALUE:
        return f"{target.column} is {value:g}, beyond {LARGEST_VALUE:g}; choose a larger unit"
    if target.spec.logarithmic and value <= 0:
        return f"{target.column} is {value:g}, which has no logarithm"
    if not 1 <= len(row.atomic_numbers) <= MAX_LEARNED_ATOMS:
        return f"{len(row.atomic_numbers)} atoms; an adapter trains on cells of 1 to {MAX_LEARNED_ATOMS}"
    return None


def split_rows(rows: Sequence[CrystalRow], seed: int) -> tuple[list[CrystalRow], list[CrystalRow]]:
    """Training and held-out rows: the table's own splits, or a fifth of the compositions at random.

    All rows of one composition are on one side, so that the held-out error is not that
    of recognising a formula.
    """
    import numpy as np

    if names_split(rows):
        return [row for row in rows if row.split in ("train", "")], [
            row for row in rows if row.split == "val"
        ]
    usable = [row for row in rows if row.split != "test"]
    formulas = sorted({_composition(row) for row in usable})
    order = np.random.default_rng(seed).permutation(len(formulas))
    drawn = {formulas[i] for i in order[: max(1, round(HELD_OUT * len(formulas)))]}
    held = [row for row in usable if _composition(row) in drawn]
    train = [row for row in usable if _composition(row) not in drawn]
    if len(held) < FEWEST_HELD or len(train) < MIN_LEARNED // 2:
        raise RequestError(
            f"The table has {len(formulas)} compositions, too few to hold some out; "
            "add crystals of other compositions."
        )
    return train, held


def _composition(row: CrystalRow) -> tuple[tuple[int, int], ...]:
    """Atomic numbers and reduced counts of elements; the table's own formula is not read."""
    counts = Counter(row.atomic_numbers.tolist())
    divisor = math.gcd(*counts.values())
    return tuple((z, n // divisor) for z, n in sorted(counts.items()))


def names_split(rows: Sequence[CrystalRow]) -> bool:
    """Whether the table names enough validation crystals, and leaves enough to train."""
    held = sum(row.split == "val" for row in rows)
    return held >= FEWEST_HELD and sum(row.split in ("train", "") for row in rows) >= MIN_LEARNED // 2
