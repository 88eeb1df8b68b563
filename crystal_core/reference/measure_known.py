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
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from crystal_core.datasets.rows import MP_TABLE, CrystalRow, read_rows
from crystal_core.errors import RequestError
from crystal_core.evaluation.alike import SAME, rms_distance
from crystal_core.evaluation.statistics import wilson
from crystal_core.interruption import NO_INTERRUPTION, Interruption, ending_with_its_code
from crystal_core.paths import data_dir
from crystal_core.reference.known import known_matches
from crystal_core.reference.known_compare import MAX_STRAIN, MAX_VOLUME_RATIO
from crystal_core.reference.known_file import KnownIndex, load_known
from crystal_core.reference.traps import EXCHANGED, LEAST_STRAIN, STRAINED, spoiled, strained
from crystal_core.whole_files import write_whole

if TYPE_CHECKING:
    from pymatgen.core import Structure

T = TypeVar("T")
MEASURED = Path(__file__).parent / "known_measured.json"
OTHER_TABLES = ("mp20_exact_partial.parquet", "mp_cgcnn36k.parquet")
SECONDS_BETWEEN_LINES = 10.0  # of progress
STRAIN, NOISE = 0.02, 0.05  # of lengths; Å that every atom moves
CELLS = (  # integer combinations of the lattice vectors: sheared cells, and cells of two and of four
    [[1, 0, 0], [1, 1, 0], [0, -1, 1]],
    [[0, 1, 0], [0, 0, 1], [1, 0, 0]],
    [[1, 1, 0], [-1, 1, 0], [0, 0, 1]],
    [[2, 0, 0], [0, 1, 0], [1, 0, 2]],
)


def main() -> None:
    """Measure on random rows, write ``known_measured.json`` (seed 0), and print it.

    An interruption ends it with the report on the rows finished by then, which is printed only.
    """
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
    tell("reading the tables")
    index, rng = load_known(), np.random.default_rng(options.seed)
    rows = list(read_rows(folder / MP_TABLE))
    stop = Interruption(lambda: tell("Stopped; the report covers what is finished."))
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "copies": lambda: copies(index, options.rows, rng, stop),
        "other computations": lambda: other_computations(index, folder, options.rows, rng, stop),
        "pairs": lambda: pairs(rows, n_pairs, rng, stop),
        "traps": lambda: traps(index, options.rows, rng, stop),
    }
    measured = {name: measure() for name, measure in parts.items() if not stop}
    stop.end(unless=any(measured.values()))
    report: dict[str, Any] = {
        **{name: part for name, part in measured.items() if part},
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
        **stop.marks("the rows finished before the interruption, n of each part"),
    }
    if not options.seed and not stop:
        write_whole(MEASURED, json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))
    stop.end()


def copies(
    index: KnownIndex, n: int, rng: np.random.Generator, stop: Interruption = NO_INTERRUPTION
) -> dict[str, Any]:
    """Share of disguised known crystals that are found, and the time of a verdict; empty without any."""
    seconds, lost = [], []
    with stop:
        for row in counted(rng.choice(len(index), n, replace=False).tolist(), "copies"):
            cell = disguised(index.cell(row), rng)
            began = time.process_time()
            matches = known_matches(cell)
            if not any(match.id == index.name(row) for match in matches):
                lost.append(index.name(row))
            seconds.append(time.process_time() - began)
    if not seconds:
        return {}
    times = [round(1000 * float(t), 1) for t in np.percentile(seconds, [50, 95])]
    found = len(seconds) - len(lost)
    return {**rate(found, len(seconds)), "milliseconds_median_and_95": times, "missed": lost[:10]}


def other_computations(
    index: KnownIndex, folder: Path, n: int, rng: np.random.Generator, stop: Interruption = NO_INTERRUPTION
) -> dict[str, Any]:
    """Share of other computations' cells that match any known crystal, and the one with their id."""
    report = {}
    for table in OTHER_TABLES:
        found: list[tuple[str, list[str]]] = []  # id of a row, and the ids that match it
        if not stop:
            with stop:
                rows = [row for row in read_rows(folder / table) if index.row_of(row.id) is not None]
                chosen = [rows[i] for i in rng.choice(len(rows), min(n, len(rows)), replace=False)]
                for row in counted(chosen, table):
                    found.append((row.id, [match.id for match in known_matches(structure_of(row))]))
        if found:
            report[table] = {
                **rate(sum(bool(ids) for _, ids in found), len(found)),
                "as_its_own_id": rate(sum(name in ids for name, ids in found), len(found)),
                "missed": [name for name, ids in found if not ids][:10],
            }
    return report


def pairs(
    rows: Sequence[CrystalRow], n: int, rng: np.random.Generator, stop: Interruption = NO_INTERRUPTION
) -> dict[str, Any]:
    """Verdicts of the index on pairs of rows of one formula, against StructureMatcher on the raw rows."""
    verdicts: Counter[str] = Counter()
    wrong = []
    with stop:
        for first, second in counted(random_pairs(rows, n, rng), "pairs"):
            one, other = structure_of(first), structure_of(second)
            ratio = first.volume_per_atom / second.volume_per_atom
            equal = (
                1 / MAX_VOLUME_RATIO < ratio < MAX_VOLUME_RATIO
                and rms_distance(one, other, seconds=5, furthest=SAME["stol"]) is not None
            )
            lengths = {match.id: match.lengths for match in known_matches(one)}
            called = second.id in lengths
            verdicts["lengths differ"] += equal and lengths.get(second.id) == "differ"
            verdicts[f"{'equal' if equal else 'different'}, called {'equal' if called else 'different'}"] += 1
            if equal != called:
                wrong.append(f"{first.id} {second.id}")
    if not verdicts:
        return {}
    equal_found = verdicts["equal, called equal"]
    n_equal = equal_found + verdicts["equal, called different"]
    n_different = verdicts["different, called different"] + verdicts["different, called equal"]
    return {
        "equal_found": rate(equal_found, n_equal),
        "equal_with_lengths_that_differ": rate(verdicts["lengths differ"], n_equal),
        "different_called_equal": rate(verdicts["different, called equal"], n_different),
        "disagreements": wrong[:20],
    }


def traps(
    index: KnownIndex, n: int, rng: np.random.Generator, stop: Interruption = NO_INTERRUPTION
) -> dict[str, Any]:
    """Share of spoiled known crystals that are called known without a remark on their lengths."""
    called: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    caught: list[str] = []
    with stop:
        for row in counted(rng.choice(len(index), n, replace=False).tolist(), "traps"):
            cell = index.cell(row)
            for kind, structure in (*spoiled(cell), *strained(cell, rng)):
                ids = wrongly_known(cell, kind, structure)
                totals[kind] += 1
                if ids:
                    called[kind] += 1
                    caught.append(f"{kind}: {index.name(row)} as {min(ids)}")
    if not totals:
        return {}
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


def counted(items: Sequence[T], name: str) -> Iterator[T]:
    """The items, while stderr tells how many of them have been taken: at the first, then every 10 s."""
    last = -SECONDS_BETWEEN_LINES
    for k, item in enumerate(items):
        if time.monotonic() > last + SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            tell(f"{name}: {k} of {len(items)}")
        yield item


def tell(text: str) -> None:
    """A line for people, on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def structure_of(row: CrystalRow) -> Structure:
    """The cell of a row."""
    from pymatgen.core import Lattice, Structure

    return Structure(Lattice(row.lattice), row.atomic_numbers.tolist(), row.frac_coords)


if __name__ == "__main__":
    with ending_with_its_code():
        main()
