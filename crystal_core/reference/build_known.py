"""``python -m crystal_core.reference.build_known``: the index of known crystals from the raw data sets.

Every readable row of the Materials Project tables and of Perov-5 is in it, validation and test rows too: it is the set that
"known" refers to, no training set. The threshold of the verdict without tables is chosen on pairs of training rows
of the Materials Project with one formula; its agreement with the exact verdict is measured on other such pairs and on such of Perov-5.
"""

from __future__ import annotations

import argparse
import io
import json
import lzma
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from crystal_core.datasets.rows import (
    MP20_TABLE,
    MP_TABLE,
    PEROV5_TABLE,
    CrystalRow,
    held_out_ids,
    read_rows,
    reason_not_to_train,
)
from crystal_core.errors import RequestError
from crystal_core.evaluation.alike import rms_distance
from crystal_core.paths import data_dir
from crystal_core.reference.known import INDEX, PREFIXES, SECONDS, ordered_roles
from crystal_core.reference.known_cells import PEROV5
from crystal_core.reference.pair_histogram import distances, pair_histogram

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core import Structure

N_ELEMENTS = 119
MODELS = {  # by the beginning of the id: how the names of the models begin that its training rows trained, or the layers they began with
    "mp": ["kldm-csp-mp", "kldm-dng-mp"],
    "mvc": ["kldm-csp-mp", "kldm-dng-mp"],
    "perov5": ["kldm-csp-perov5", "kldm-dng-perov5"],
}
KEPT_PRECISION = (
    0.8  # of the pairs called the same, at least so many are: calling a new crystal known hides it
)


class Entry(NamedTuple):
    """One row of the index; elements by falling count, then along the Mendeleev axis."""

    name: str
    elements: tuple[int, ...]
    counts: tuple[int, ...]
    n_atoms: int
    space_group: int
    histogram: NDArray[np.uint8]


def main() -> None:
    """Read the tables that ``CRYSTAL_DATA`` names, measure, write ``known.npz.xz``, and print what is in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--pairs",
        type=int,
        default=20_000,
        help="formulas of which one pair of training rows is measured, at most",
    )
    asked = parser.parse_args()
    folder = data_dir()
    if folder is None:
        raise RequestError("Set CRYSTAL_DATA to the folder of the raw data sets.")
    tables = [folder / MP_TABLE, folder / MP20_TABLE]
    rows: dict[str, CrystalRow] = {}
    groups: dict[str, int] = {}
    for table in tables:
        groups = tabulated_space_groups(table) | groups
        for row in read_rows(table):
            rows.setdefault(row.id, row)
    held_out = held_out_ids(tables)
    training = {row.id for row in rows.values() if reason_not_to_train(row, held_out) is None}
    groups |= {PEROV5 + name: group for name, group in tabulated_space_groups(folder / PEROV5_TABLE).items()}
    perovskites = {
        PEROV5 + row.id: replace(row, id=PEROV5 + row.id) for row in read_rows(folder / PEROV5_TABLE)
    }
    rows |= perovskites
    held_out |= {row.id for row in perovskites.values() if row.split != "train"}
    trained_perovskites = perovskites.keys() - held_out
    sys.stderr.write(f"{len(rows)} rows\n")
    with ProcessPoolExecutor(asked.workers) as pool:
        entries = list(pool.map(entry_of, rows.values(), [groups[name] for name in rows], chunksize=200))
        pairs = same_formula_pairs([e for e in entries if e.name in training], asked.pairs)
        exact = list(pool.map(same_crystal, [(rows[a.name], rows[b.name]) for a, b in pairs], chunksize=20))
        others = same_formula_pairs([e for e in entries if e.name in trained_perovskites], asked.pairs)
        exact_others = list(
            pool.map(same_crystal, [(rows[a.name], rows[b.name]) for a, b in others], chunksize=20)
        )
    threshold = choose_threshold(pairs[::2], np.array(exact[::2]))
    agreement = measure(pairs[1::2], np.array(exact[1::2]), threshold)
    agreement["protocol"] = (
        "one random pair of training rows per formula with several; against StructureMatcher(ltol 0.2, stol 0.3, angle_tol 5); threshold chosen on "
        f"{len(pairs[::2])} other pairs, for a precision of at least {KEPT_PRECISION}. These pairs are the hard ones: the Materials Project has merged most equal crystals."
    )
    about = {
        "reference": (
            f"{len(entries) - len(perovskites):,} crystals of the Materials Project with up to 20 atoms in the cell and {len(perovskites):,} computed "
            "perovskites of Perov-5"
        ),
        "rows": (
            f"Every readable row of {MP_TABLE} (Materials Project 2025.02.12, ids below 2,000,000, at most 20 atoms, CC-BY 4.0), and those of "
            f"{MP20_TABLE} whose id is not among them; {PEROV5_TABLE} as a whole (Castelli et al. 2012, CDVAE's split). Validation and test rows are in "
            "it: it is a reference set, no training set."
        ),
        "training_rows": (
            f"{len(training):,} rows of the Materials Project are marked as training rows: in no validation or test split of these tables and at most "
            f"60 Å3 per atom; and {len(trained_perovskites):,} of Perov-5."
        ),
        "n_rows": len(entries),
        "n_training": len(training | trained_perovskites),
        "n_held_out": sum(e.name in held_out for e in entries),
        "models": MODELS,
        "threshold": threshold,
        "agreement": agreement,
        "agreement_perov5": measure(others, np.array(exact_others), threshold),
        "command": "python -m crystal_core.reference.build_known",
    }
    write(INDEX, entries, training | trained_perovskites, about)
    print(json.dumps(about | {"bytes": INDEX.stat().st_size}, indent=1, ensure_ascii=False))


def tabulated_space_groups(table: Path) -> dict[str, int]:
    """Id → space group number, as the table states it (found within 0.1 Å)."""
    import pyarrow.parquet

    columns = pyarrow.parquet.read_table(table, columns=["material_id", "spacegroup_number"]).to_pydict()
    return dict(zip(columns["material_id"], columns["spacegroup_number"], strict=True))


def entry_of(row: CrystalRow, group: int) -> Entry:
    """The row as the index keeps it."""
    roles, elements, counts = ordered_roles(row.atomic_numbers, mendeleev_axis())
    histogram = pair_histogram(row.lattice, row.frac_coords, roles, len(elements))
    return Entry(row.id, elements, counts, len(row.atomic_numbers), group, histogram)


@cache
def mendeleev_axis() -> NDArray[np.int16]:
    """(119,) Mendeleev number of each element; elements without one stand by atomic number."""
    from pymatgen.core import Element

    axis = np.arange(N_ELEMENTS, dtype=np.int16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of elements without a tabulated number
        for z in range(1, N_ELEMENTS):
            number = Element.from_Z(z).mendeleev_no
            axis[z] = z if number is None else int(number)
    return axis


def same_formula_pairs(entries: Sequence[Entry], most: int) -> list[tuple[Entry, Entry]]:
    """One random pair of each formula that has two rows or more, in random order; the same every time."""
    by_formula: dict[tuple, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_formula[entry.elements, entry.counts].append(entry)
    rng = np.random.default_rng(0)
    several = [by_formula[key] for key in sorted(by_formula) if len(by_formula[key]) > 1]
    pairs = []
    for i in rng.permutation(len(several))[:most]:
        a, b = rng.choice(len(several[i]), 2, replace=False)
        pairs.append((several[i][a], several[i][b]))
    return pairs


def same_crystal(pair: tuple[CrystalRow, CrystalRow]) -> bool:
    """The exact verdict."""
    first, second = map(_structure, pair)
    return rms_distance(first, second, seconds=SECONDS) is not None


def choose_threshold(pairs: Sequence[tuple[Entry, Entry]], exact: NDArray[np.bool_]) -> float:
    """The largest distance below which the share of equal pairs is at least :data:`KEPT_PRECISION`."""
    return _largest_precise(_apart(pairs), exact)


def measure(
    pairs: Sequence[tuple[Entry, Entry]], exact: NDArray[np.bool_], threshold: float
) -> dict[str, Any]:
    """Precision and recall of the verdict without tables."""
    called = _apart(pairs) < threshold
    hits, n_called, n_same = int((called & exact).sum()), int(called.sum()), int(exact.sum())
    return {
        "precision": round(hits / max(1, n_called), 3),
        "recall": round(hits / max(1, n_same), 3),
        "accuracy": round(float((called == exact).mean()), 3),
        "n_pairs": len(pairs),
        "n_same": n_same,
        "n_called_same": n_called,
    }


def _apart(pairs: Sequence[tuple[Entry, Entry]]) -> NDArray:
    return np.array([distances(a.histogram, b.histogram[None])[0] for a, b in pairs])


def write(path: Path, entries: Iterable[Entry], training: set[str], about: dict[str, Any]) -> None:
    """Write the index, rows of a formula side by side; the same content gives the same bytes."""
    ordered = sorted(entries, key=lambda e: (len(e.elements), e.counts, e.elements, e.name))
    keys = [(e.elements, e.counts) for e in ordered]
    first = [i for i, key in enumerate(keys) if i == 0 or key != keys[i - 1]]
    width = max(len(e.elements) for e in ordered)
    prefixes, numbers = zip(*(e.name.split("-") for e in ordered), strict=True)
    column: Callable[[Iterable[int], Any], NDArray] = lambda values, dtype: np.array(
        list(values), dtype=dtype
    )
    arrays = {
        "about": np.array(json.dumps(about, ensure_ascii=False)),
        "ids": column(map(int, numbers), np.int32),
        "prefixes": column(map(PREFIXES.index, prefixes), np.uint8),
        "space_groups": column((e.space_group for e in ordered), np.uint8),
        "n_atoms": column((e.n_atoms for e in ordered), np.uint8),
        "training": column((e.name in training for e in ordered), np.bool_),
        "start": column([*first, len(ordered)], np.int32),
        "elements": np.array([_padded(ordered[i].elements, width) for i in first], dtype=np.uint8),
        "counts": np.array([_padded(ordered[i].counts, width) for i in first], dtype=np.uint8),
        "histograms": np.concatenate([e.histogram for e in ordered]),
        "axis": mendeleev_axis(),
    }
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    path.write_bytes(lzma.compress(buffer.getvalue(), preset=9))


def _largest_precise(apart: NDArray, exact: NDArray[np.bool_]) -> float:
    """The largest distance below which the share of equal pairs is at least :data:`KEPT_PRECISION`; 0 where there is none."""
    order = np.argsort(apart)
    precision = np.cumsum(exact[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(precision >= KEPT_PRECISION)
    return round(float(apart[order][good[-1]]), 4) if len(good) else 0.0


def _padded(values: tuple[int, ...], width: int) -> list[int]:
    return [*values, *[0] * (width - len(values))]


def _structure(row: CrystalRow) -> Structure:
    from pymatgen.core import Lattice, Structure

    return Structure(Lattice(row.lattice), row.atomic_numbers.tolist(), row.frac_coords)


if __name__ == "__main__":
    main()
