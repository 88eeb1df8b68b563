"""The crystals and labels that train property predictors, merged from raw tables without test rows.

One row per material: the geometry of the first table that has it, and the labels of all. Labels of one
property that were computed in different ways keep names of their own, because their zero points differ.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from crystal_core.datasets.prepare import PrepareReport, equal_pairs, reduce_rows, write_prepared
from crystal_core.datasets.property_splits import MAX_ATOMS, MAX_MODULUS_GPA, MODULI
from crystal_core.datasets.rows import MAX_VOLUME_PER_ATOM, CrystalRow, read_rows
from crystal_core.errors import RequestError


@dataclass(frozen=True, kw_only=True)
class PropertyTable:
    """One table.

    Attributes:
        labels: its column → name of the label. file: name below the data folder.
        benchmark: its val and test rows are held out as such. Without it, rows that it calls val or
            test are left out.
        held: none of its rows trains; training rows equal to one of them are left out as well.
    """

    file: str
    labels: Mapping[str, str]
    benchmark: bool = False
    held: bool = False


_MP2018 = {name: name for name in ("formation_energy_per_atom_ev", "band_gap_ev", "e_above_hull_ev", *MODULI)}
_AFLOW = {
    name: name for name in ("debye_temperature_k", "thermal_conductivity_w_per_mk", "thermal_expansion_per_k")
}
TABLES = (
    PropertyTable(file="mp2018_properties.parquet", labels=_MP2018, benchmark=True),
    PropertyTable(file="mp_le20.parquet", labels=_MP2018),
    PropertyTable(
        file="mp20.parquet",
        labels={
            "formation_energy_per_atom_ev": "mp20_formation_energy_per_atom_ev",
            "band_gap_ev": "mp20_band_gap_ev",
            "e_above_hull_ev": "mp20_e_above_hull_ev",
        },
    ),
    PropertyTable(file="mp_elasticity.parquet", labels={name: name for name in MODULI}),
    PropertyTable(
        file="mp_cgcnn36k.parquet",
        labels={
            "formation_energy_per_atom_ev": "cgcnn_formation_energy_per_atom_ev",
            "band_gap_ev": "cgcnn_band_gap_ev",
        },
    ),
    PropertyTable(file="aflow_ael_agl.parquet", labels=_AFLOW, benchmark=True),
    PropertyTable(file="matbench_dielectric.parquet", labels={}, held=True),
    PropertyTable(file="matbench_phonons.parquet", labels={}, held=True),
)


@dataclass(frozen=True, kw_only=True)
class PropertyRows:
    """The rows by role, and id and reason of each row left out."""

    train: list[CrystalRow]
    validation: list[CrystalRow]
    test: list[CrystalRow]
    table_of: dict[str, int]
    skipped: list[dict[str, str]]


def prepare_properties(
    folder: Path,
    output: Path,
    *,
    workers: int = 2,
    max_atoms: int = MAX_ATOMS,
    on_progress: Callable[[int, int], None] | None = None,
) -> PrepareReport:
    """Write training and validation rows as ``prepare`` does, with all labels by name and "is_metal".

    Test rows are not written. A training row is left out if it is a validation or test row of the MEGNet
    split, of AFLOW's split or of MP-20, or equal (StructureMatcher, tolerances of the match rate) to a test
    row, or to any row of a Matbench task, of the same formula.

    Args:
        folder: with the tables of :data:`TABLES`.

    Raises:
        RequestError: a table is missing or is none of the data schema.
    """
    rows = gather_properties(folder, max_atoms=max_atoms)
    tests: dict[str, list[CrystalRow]] = defaultdict(list)
    for row in rows.test:
        tests[row.formula].append(row)
    pairs = [(row, test) for row in rows.train for test in tests[row.formula]]
    twins = equal_pairs(pairs, workers)
    rows_to_write = [row for row in rows.train if row.id not in twins] + rows.validation
    skipped = rows.skipped + [
        {"id": name, "reason": f"equal to the held-out {twin}"} for name, twin in twins.items()
    ]
    reduced = reduce_rows(rows_to_write, workers, on_progress)
    return write_prepared(
        rows_to_write, reduced, output, [table.file for table in TABLES], rows.table_of, skipped
    )


def gather_properties(folder: Path, *, max_atoms: int = MAX_ATOMS) -> PropertyRows:
    """Merge the tables and give every material its role; twins are not looked for here.

    Raises:
        RequestError: a table is missing or is none of the data schema.
    """
    merged: dict[str, CrystalRow] = {}
    table_of: dict[str, int] = {}
    roles: dict[str, str] = {}
    for i, table in enumerate(TABLES):
        for row in read_rows(folder / table.file):
            labels = _labels(row, table)
            known = merged.get(row.id)
            role = _role(row, table)
            if known is None:
                merged[row.id] = replace(row, labels=labels)
                table_of[row.id], roles[row.id] = i, role
                continue
            merged[row.id] = replace(known, labels={**labels, **known.labels})
            roles[row.id] = min(role, roles[row.id], key=_ORDER.index)
    by_role: dict[str, list[CrystalRow]] = defaultdict(list)
    skipped: list[dict[str, str]] = []
    for name, row in merged.items():
        reason = reason_beyond_size(row, max_atoms) if roles[name] == "train" else None
        if roles[name] == "held":
            reason = "in a validation or test split"
        if reason:
            skipped.append({"id": name, "reason": reason})
        split = roles[name] if roles[name] in ("val", "test") else "train"
        if reason is None or roles[name] == "held":
            by_role[roles[name]].append(replace(row, split=split))
    if not by_role["train"]:
        raise RequestError("The tables hold no row that may train a property predictor.")
    return PropertyRows(
        train=by_role["train"],
        validation=by_role["val"],
        test=by_role["test"] + by_role["held"],
        table_of=table_of,
        skipped=skipped,
    )


_ORDER = ("test", "held", "val", "train")  # a row with two roles has the first of them


def _role(row: CrystalRow, table: PropertyTable) -> str:
    if table.held:
        return "held"
    if table.benchmark and row.split in ("val", "test"):
        return row.split
    if row.split in ("val", "test") or row.mp20_split in ("val", "test"):
        return "held"
    return "train"


def _labels(row: CrystalRow, table: PropertyTable) -> dict[str, float]:
    labels = {name: row.labels[column] for column, name in table.labels.items() if column in row.labels}
    for name in MODULI:
        if name in labels and not 0 < labels[name] <= MAX_MODULUS_GPA:
            del labels[name]
    if "band_gap_ev" in labels:
        labels["is_metal"] = float(labels["band_gap_ev"] <= 0)
    return labels


def reason_beyond_size(row: CrystalRow, max_atoms: int = MAX_ATOMS) -> str | None:
    """None if a crystal is of a size that trains, else why not."""
    if not len(row.atomic_numbers):
        return "no atoms"
    if len(row.atomic_numbers) > max_atoms:
        return f"more than {max_atoms} atoms"
    if row.volume_per_atom > MAX_VOLUME_PER_ATOM:
        return f"more than {MAX_VOLUME_PER_ATOM:.0f} Å3 per atom"
    return None


def label_counts(path: Path) -> dict[str, dict[str, int]]:
    """Split → label → how many rows of a prepared file have it."""
    from crystal_core.training.data import load_prepared

    return {
        split: {name: int(values.isfinite().sum()) for name, values in rows.labels.items()}
        for split, rows in load_prepared(path).items()
    }
