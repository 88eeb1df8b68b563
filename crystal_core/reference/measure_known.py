"""How many equal crystals the index finds, and how often it is wrong.

Command: ``python -m crystal_core.reference.measure_known``.

*Copies*: known crystals, in another cell, orientation, origin and order of atoms, strained and with every
atom moved. *Other computations*: cells of MP-20 and of CGCNN's set, relaxed with PBE in 2018, of ids whose
cell in the index is that of the Materials Project 2025. *Pairs*: two tabulated rows of one formula, against
StructureMatcher on the raw rows without any filter before it. *Traps*: known crystals with one fault
(:mod:`crystal_core.reference.traps`).

A trap that stays: element-W-1, 20 atoms with nearly equal surroundings, 1.2 eV/atom above the hull. With one
atom half way to another it lies on itself once all atoms move a little, the furthest by 0.24 (V/N)^(1/3);
StructureMatcher allows 0.3, so by the published criterion the two are equal.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.datasets.rows import MP_TABLE, CrystalRow, read_rows
from crystal_core.errors import RequestError
from crystal_core.evaluation.alike import SAME, rms_distance
from crystal_core.evaluation.statistics import wilson
from crystal_core.paths import data_dir
from crystal_core.reference.known import known_matches
from crystal_core.reference.known_compare import MAX_STRAIN, MAX_VOLUME_RATIO
from crystal_core.reference.known_file import KnownIndex, load_known
from crystal_core.reference.traps import EXCHANGED, LEAST_STRAIN, STRAINED, spoiled, strained

if TYPE_CHECKING:
    from pymatgen.core import Structure

MEASURED = Path(__file__).parent / "known_measured.json"
OTHER_TABLES = ("mp20_exact_partial.parquet", "mp_cgcnn36k.parquet")
STRAIN, NOISE = 0.02, 0.05  # of lengths; Å that every atom moves
CELLS = (  # integer combinations of the lattice vectors: sheared cells, and cells of two and of four
    [[1, 0, 0], [1, 1, 0], [0, -1, 1]],
    [[0, 1, 0], [0, 0, 1], [1, 0, 0]],
    [[1, 1, 0], [-1, 1, 0], [0, 0, 1]],
    [[2, 0, 0], [0, 1, 0], [1, 0, 2]],
)


def main() -> None:
    """Measure on random rows, write ``known_measured.json`` (seed 0), and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1000, help="crystals of each kind")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the random rows; another one than 0 writes no file"
    )
    parser.add_argument(
        "--pairs", type=int, help="pairs of rows with one formula; as many as --rows when absent"
    )
    options = parser.parse_args()
    folder = data_dir()
    if folder is None:
        raise RequestError("Set CRYSTAL_DATA to the folder of the raw data sets.")
    n_pairs = options.rows if options.pairs is None else options.pairs
    index, rng = load_known(), np.random.default_rng(options.seed)
    rows = list(read_rows(folder / MP_TABLE))
    report: dict[str, Any] = {
        "copies": copies(index, options.rows, rng),
        "other computations": other_computations(index, folder, options.rows, rng),
        "pairs": pairs(rows, n_pairs, rng),
        "traps": traps(index, options.rows, rng),
        "protocol": (
            f"Copies: strained by up to {100 * STRAIN:.0f} %, every atom moved by {NOISE} Å, 1, 2 or 4 "
            "cells, turned, shifted, atoms shuffled. Found: the crystal itself is among the matches. Pairs: "
            "at most one random pair of a formula; equal by StructureMatcher(0.2, 0.3, 5) on the raw rows "
            f"and a ratio of volumes within {MAX_VOLUME_RATIO}. Traps: called known without a remark that "
            f"lengths differ by more than {100 * MAX_STRAIN:.0f} %; a stretched copy only as a crystal "
            f"with the lengths of its original. Random rows, seed {options.seed}; "
            "95 % Wilson intervals."
        ),
        "command": f"python -m crystal_core.reference.measure_known --rows {options.rows} --pairs {n_pairs}",
    }
    if not options.seed:
        MEASURED.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))


def copies(index: KnownIndex, n: int, rng: np.random.Generator) -> dict[str, Any]:
    """Share of disguised known crystals that are found, and the time of a verdict."""
    counts, seconds, lost = 0, [], []
    for row in rng.choice(len(index), n, replace=False).tolist():
        cell = disguised(index.cell(row), rng)
        began = time.process_time()
        matches = known_matches(cell)
        seconds.append(time.process_time() - began)
        if any(match.id == index.name(row) for match in matches):
            counts += 1
        else:
            lost.append(index.name(row))
    times = [round(1000 * float(t), 1) for t in np.percentile(seconds, [50, 95])]
    return {**rate(counts, n), "milliseconds_median_and_95": times, "missed": lost[:10]}


def other_computations(index: KnownIndex, folder: Path, n: int, rng: np.random.Generator) -> dict[str, Any]:
    """Share of other computations' cells that match any known crystal, and the one with their id."""
    report = {}
    for table in OTHER_TABLES:
        rows = [row for row in read_rows(folder / table) if index.row_of(row.id) is not None]
        chosen = [rows[i] for i in rng.choice(len(rows), min(n, len(rows)), replace=False)]
        known = itself = 0
        lost = []
        for row in chosen:
            ids = [match.id for match in known_matches(structure_of(row))]
            known += bool(ids)
            itself += row.id in ids
            if not ids:
                lost.append(row.id)
        report[table] = {
            **rate(known, len(chosen)),
            "as_its_own_id": rate(itself, len(chosen)),
            "missed": lost[:10],
        }
    return report


def pairs(rows: Sequence[CrystalRow], n: int, rng: np.random.Generator) -> dict[str, Any]:
    """Verdicts of the index on pairs of rows of one formula, against StructureMatcher on the raw rows."""
    counted: Counter[str] = Counter()
    wrong = []
    for first, second in random_pairs(rows, n, rng):
        one, other = structure_of(first), structure_of(second)
        ratio = first.volume_per_atom / second.volume_per_atom
        equal = (
            1 / MAX_VOLUME_RATIO < ratio < MAX_VOLUME_RATIO
            and rms_distance(one, other, seconds=5, furthest=SAME["stol"]) is not None
        )
        lengths = {match.id: match.lengths for match in known_matches(one)}
        called = second.id in lengths
        counted["lengths differ"] += equal and lengths.get(second.id) == "differ"
        counted[f"{'equal' if equal else 'different'}, called {'equal' if called else 'different'}"] += 1
        if equal != called:
            wrong.append(f"{first.id} {second.id}")
    equal_found = counted["equal, called equal"]
    n_equal = equal_found + counted["equal, called different"]
    n_different = counted["different, called different"] + counted["different, called equal"]
    return {
        "equal_found": rate(equal_found, n_equal),
        "equal_with_lengths_that_differ": rate(counted["lengths differ"], n_equal),
        "different_called_equal": rate(counted["different, called equal"], n_different),
        "disagreements": wrong[:20],
    }


def traps(index: KnownIndex, n: int, rng: np.random.Generator) -> dict[str, Any]:
    """Share of spoiled known crystals that are called known without a remark on their lengths."""
    called: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    caught: list[str] = []
    for row in rng.choice(len(index), n, replace=False).tolist():
        cell = index.cell(row)
        for kind, structure in (*spoiled(cell), *strained(cell, rng)):
            totals[kind] += 1
            ids = wrongly_known(cell, kind, structure)
            if ids:
                called[kind] += 1
                caught.append(f"{kind}: {index.name(row)} as {min(ids)}")
    return {kind: rate(called[kind], totals[kind]) for kind in totals} | {"called_known": caught[:20]}


def wrongly_known(cell: Structure, kind: str, spoiled_cell: Structure) -> set[str]:
    """Ids of known crystals that a trap made of ``cell`` is wrongly said to be, lengths and all."""
    ids = {match.id for match in known_matches(spoiled_cell) if match.lengths == "agree"}
    if not ids or kind not in (EXCHANGED, *STRAINED):
        return ids
    # an exchange may give another known crystal, as of A and B in a perovskite, and a stretched copy may come
    # near to one with lengths of its own: wrong is only what the cell itself was
    most = LEAST_STRAIN - MAX_STRAIN if kind in STRAINED else np.inf
    return ids & {match.id for match in known_matches(cell) if match.strain <= most}


def disguised(cell: Structure, rng: np.random.Generator) -> Structure:
    """The same crystal in another cell, turned, shifted, strained, its atoms moved and in another order."""
    from pymatgen.core import Lattice, Structure

    other = cell * CELLS[rng.integers(len(CELLS))]
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    strain = np.eye(3) + STRAIN * (2 * rng.random((3, 3)) - 1)
    lattice = other.lattice.matrix @ strain @ rotation
    steps = rng.normal(size=(len(other), 3))
    steps *= NOISE / np.linalg.norm(steps, axis=1, keepdims=True)
    coords = other.frac_coords + rng.random(3) + steps @ np.linalg.inv(lattice)
    order = rng.permutation(len(other))
    return Structure(Lattice(lattice), [other.species[i] for i in order], coords[order])


def rate(hits: int, n: int) -> dict[str, Any]:
    """A share with its 95 % Wilson interval."""
    return {"share": round(hits / max(1, n), 4), "ci95": [round(x, 4) for x in wilson(hits, n)], "n": n}


def random_pairs(
    rows: Sequence[CrystalRow], n: int, rng: np.random.Generator
) -> list[tuple[CrystalRow, CrystalRow]]:
    """Two random rows of each of ``n`` random formulas that have several."""
    by_formula: dict[str, list[CrystalRow]] = {}
    for row in rows:
        by_formula.setdefault(row.formula, []).append(row)
    several = [group for group in by_formula.values() if len(group) > 1]
    drawn_pairs = []
    for i in rng.permutation(len(several))[:n]:
        first, second = rng.choice(len(several[i]), 2, replace=False)
        drawn_pairs.append((several[i][first], several[i][second]))
    return drawn_pairs


def structure_of(row: CrystalRow) -> Structure:
    """The cell of a row."""
    from pymatgen.core import Lattice, Structure

    return Structure(Lattice(row.lattice), row.atomic_numbers.tolist(), row.frac_coords)


if __name__ == "__main__":
    main()
