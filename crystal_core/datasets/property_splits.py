"""Which rows of which table measure which property, and which of their splits a row is in.

Three rules make splits. *Published*: the ``split`` column of the table. *Matbench*: the official folds of
Matbench v0.1 (scikit-learn's ``KFold(5, shuffle=True, random_state=18012019)`` on the order of the data set),
of which one is the test split. *Hash*: for tables without a split, a hash of the id puts a tenth of the rows
into the test split and a tenth into the validation split. No row that MEGNet's or MP-20's split holds out is
in a training split.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from crystal_core.datasets.rows import MP20_TABLE, CrystalRow, held_out_ids, read_rows
from crystal_core.errors import RequestError
from crystal_core.properties import PROPERTIES

if TYPE_CHECKING:
    import numpy as np

Rule = Literal["published", "matbench", "hash"]
Split = Literal["train", "val", "test", ""]
MEGNET_TABLE = "mp2018_properties.parquet"
SPLITS: tuple[Split, ...] = ("train", "val", "test")
FOLDS = 5
MATBENCH_SEED = 18012019
# atoms of a training crystal: larger cells, a fifth of the rows, would take most of an epoch
MAX_ATOMS = 40
MODULI = ("bulk_modulus_gpa", "shear_modulus_gpa")
MAX_MODULUS_GPA = 600.0  # the table has values up to 784 and down to -3476, which no crystal has
METAL = "is_metal"
GAP = "band_gap_ev"


@dataclass(frozen=True, kw_only=True)
class PropertyTable:
    """A raw table and the properties that are measured on its rows.

    Attributes:
        name: file name. properties: names of :data:`crystal_core.properties.PROPERTIES`.
        rule: how its rows are split. protocol: the same in words, for reports and cards.
    """

    name: str
    properties: tuple[str, ...]
    rule: Rule
    protocol: str


TABLES = (
    PropertyTable(
        name=MEGNET_TABLE,
        properties=(
            "formation_energy_per_atom_ev",
            "e_above_hull_ev",
            GAP,
            METAL,
            "bulk_modulus_gpa",
            "shear_modulus_gpa",
        ),
        rule="published",
        protocol="MEGNet split of MP 2018.6.1 (published: 60,000 / 5,000 / 4,239), "
        "the rows whose structure is in MP 2025",
    ),
    PropertyTable(
        name="mp_multifidelity_gaps.parquet",
        properties=("band_gap_hse_ev", "band_gap_gllbsc_ev", "band_gap_scan_ev"),
        rule="hash",
        protocol="random tenth of the rows by a hash of the id (the source names no split)",
    ),
    PropertyTable(
        name="aflow_ael_agl.parquet",
        properties=("debye_temperature_k", "thermal_conductivity_w_per_mk", "thermal_expansion_per_k"),
        rule="published",
        protocol="AFLOW AEL/AGL, split of the bulk modulus in the source",
    ),
    PropertyTable(
        name="matbench_dielectric.parquet",
        properties=("refractive_index_n",),
        rule="matbench",
        protocol="Matbench v0.1",
    ),
    PropertyTable(
        name="matbench_phonons.parquet",
        properties=("last_phdos_peak_per_cm",),
        rule="matbench",
        protocol="Matbench v0.1",
    ),
)


@dataclass(frozen=True, kw_only=True)
class MeasuredRows:
    """Rows of one table with the true values of some properties.

    Attributes:
        source: name of the table. protocol: which of its rows these are, in words.
        truth: property → (rows,) true values in physical units, NaN where unknown.
        unreadable: id and reason of rows that hold no crystal.
    """

    source: str
    protocol: str
    rows: tuple[CrystalRow, ...]
    truth: dict[str, np.ndarray]
    unreadable: tuple[tuple[str, str], ...] = ()


def matbench_test_rows(n_rows: int, fold: int) -> np.ndarray:
    """(rows,) ascending indices of the test rows of a Matbench v0.1 fold; the other rows train.

    The permutation of ``KFold(5, shuffle=True, random_state=18012019)``, which scikit-learn draws with
    numpy's Mersenne Twister and never changes (Dunn et al. 2020, npj Computational Materials 6, 138).

    Raises:
        RequestError: there is no such fold.
    """
    import numpy as np

    if not 0 <= fold < FOLDS:
        raise RequestError(f"Matbench has the folds 0 to {FOLDS - 1}, not {fold}.")
    order = np.arange(n_rows)
    np.random.RandomState(MATBENCH_SEED).shuffle(order)
    return np.sort(np.array_split(order, FOLDS)[fold])


def id_hash(row_id: str) -> int:
    """A whole number below 2^64 that looks random and is the same at every call."""
    return int.from_bytes(hashlib.sha256(row_id.encode()).digest()[:8], "big")


def hash_split(row_id: str) -> Split:
    """The split of a row of a table without splits, by a hash of its id: a tenth test, a tenth val."""
    digit = id_hash(row_id) % 10
    return "test" if digit == 0 else "val" if digit == 1 else "train"


def property_value(row: CrystalRow, name: str) -> float:
    """The true value of a property in physical units; NaN where the row has none that can be measured on.

    A crystal whose gap is 0 is a metal. Moduli outside (0, 600] GPa are errors of the source.
    """
    if name == METAL and METAL not in row.labels:
        gap = row.labels.get(GAP)
        return math.nan if gap is None else float(gap == 0)
    value = row.labels.get(name, math.nan)
    if PROPERTIES[name].unit == "GPa" and not 0 < value <= MAX_MODULUS_GPA:
        return math.nan
    return value


def table_splits(
    table: PropertyTable, rows: Sequence[CrystalRow], held_out: set[str], fold: int
) -> list[Split]:
    """The split of every row of a whole table, in its order.

    Args:
        held_out: ids that may not train, whatever the rule says; such rows are in no split unless the
            rule holds them out.
        fold: Matbench fold that is the test split.

    Returns:
        "train", "val", "test", or "" for rows that are in none.
    """
    if table.rule == "published":
        splits: list[Split] = [next((s for s in SPLITS if s == row.split), "") for row in rows]
    elif table.rule == "hash":
        splits = [hash_split(row.id) for row in rows]
    else:
        test = set(matbench_test_rows(len(rows), fold).tolist())
        splits = [
            "test" if i in test else "val" if hash_split(row.id) == "val" else "train"
            for i, row in enumerate(rows)
        ]
    return [
        "" if split == "train" and (row.id in held_out or row.mp20_split in ("val", "test")) else split
        for row, split in zip(rows, splits, strict=True)
    ]


def default_rows(folder: Path, names: Sequence[str], split: Split, *, fold: int = 0) -> list[MeasuredRows]:
    """The rows of a split that have a true value of any of the named properties, table by table.

    Raises:
        RequestError: no such property is measured, or a table is missing.
    """
    unknown = [name for name in names if not any(name in table.properties for table in TABLES)]
    if unknown:
        known = ", ".join(name for table in TABLES for name in table.properties)
        raise RequestError(f"No data here measure {', '.join(unknown)}. Measured are: {known}.")
    chosen = [table for table in TABLES if any(name in table.properties for name in names)]
    # tables of other sources have ids of their own, which no split of the Materials Project names
    held_out = held_out_ids(path for name in (MEGNET_TABLE, MP20_TABLE) if (path := folder / name).is_file())
    tables = []
    for table in chosen:
        unreadable: list[tuple[str, str]] = []
        rows = list(read_rows(folder / table.name, unreadable=unreadable))
        if unreadable and table.rule == "matbench":
            raise RequestError(
                f"{table.name} has rows that are no crystals, so the folds are not Matbench's."
            )
        splits = table_splits(table, rows, held_out, fold)
        measured = [name for name in table.properties if name in names]
        split_rows = [row for row, own in zip(rows, splits, strict=True) if own == split]
        words = f"{table.protocol}, fold {fold} of {FOLDS}" if table.rule == "matbench" else table.protocol
        tables.append(measured_rows(split_rows, measured, table.name, words, unreadable))
    return tables


def file_rows(path: Path, names: Sequence[str], split: str) -> MeasuredRows:
    """The rows of a split ("all" for every row) of a data-schema table that have a value of a property.

    Raises:
        RequestError: the file is none, or has no such rows.
    """
    unreadable: list[tuple[str, str]] = []
    rows = list(read_rows(path, None if split == "all" else split, unreadable=unreadable))
    if not rows:
        raise RequestError(f"{path.name} has no crystals in the split '{split}'; choose another or 'all'.")
    measured = measured_rows(rows, names, path.name, f"{path.name}, split '{split}'", unreadable)
    if not measured.truth:
        raise RequestError(
            f"{path.name} has no numbers of {', '.join(names)} in the split '{split}'. "
            "Name a column after the property."
        )
    return measured


def measured_rows(
    rows: Sequence[CrystalRow],
    names: Sequence[str],
    source: str,
    protocol: str,
    unreadable: Sequence[tuple[str, str]] = (),
) -> MeasuredRows:
    """The rows with a value of any of the properties, and these values; properties without any drop out."""
    import numpy as np

    values = {name: np.array([property_value(row, name) for row in rows], dtype=np.float64) for name in names}
    places = [i for i in range(len(rows)) if any(not math.isnan(column[i]) for column in values.values())]
    return MeasuredRows(
        source=source,
        protocol=protocol,
        rows=tuple(rows[i] for i in places),
        truth={name: column[places] for name, column in values.items() if not np.isnan(column).all()},
        unreadable=tuple(unreadable),
    )
