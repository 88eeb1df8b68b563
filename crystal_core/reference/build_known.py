"""``python -m crystal_core.reference.build_known``: the file of known crystals from the raw data sets.

Every readable row of the Materials Project tables with at most 40 atoms in the primitive cell is in it,
Perov-5 as a whole, and the crystals of three tables without ids of the Project (elemental references,
Matbench, AFLOW) that are no row of the others. Validation and test rows are in it too: it is the set that
"known" refers to, no training set. How well the verdicts do is measured by
:mod:`crystal_core.reference.measure_known`.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.datasets.prepare import training_rows
from crystal_core.datasets.rows import MP20_TABLE, MP_TABLE, PEROV5_TABLE, CrystalRow, read_rows
from crystal_core.errors import RequestError
from crystal_core.evaluation.alike import rms_distance
from crystal_core.evaluation.parallel import processes
from crystal_core.interruption import NOTHING_WRITTEN, ending_with_its_code
from crystal_core.paths import data_dir
from crystal_core.reference.asymmetric_unit import (
    AsymmetricUnit,
    asymmetric_unit,
    primitive_cell,
    without_symmetry,
)
from crystal_core.reference.known_file import ELEMENT, FILE, NO_ENERGY, PREFIXES, KnownIndex, write_known
from crystal_core.reference.packed_cells import PackedCells, pack_units
from crystal_core.reference.pair_histogram import ordered_roles

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core import Structure

N_ELEMENTS = 119
MAX_ATOMS = 40  # of the primitive cell; some tables have cells several times as large
ROWS_PER_BLOCK = 5_000
LARGE_TABLES = ("mp2018_properties.parquet", "mpts52_val_test.parquet", "mp_cgcnn36k.parquet")
PROPERTY_TABLES = (
    "mp_elasticity.parquet",
    "mp_multifidelity_gaps.parquet",
    "mp_piezo_2015.parquet",
    "mp_dielectric_2017.parquet",
)
UNNAMED_TABLES = ("matbench_phonons.parquet", "matbench_dielectric.parquet", "aflow_ael_agl.parquet")
NEAR_VOLUME = 1.1  # ratio of volumes per atom below which one formula in one space group is one crystal
ELEMENT_TABLE = "mp_element_refs.parquet"
ABOVE_HULL = "e_above_hull_ev"
IN_2020_SCHEME = (MP20_TABLE, "mpts52_val_test.parquet")  # their energies replace those of 2018
PEROV5 = "perov5-"  # begins the ids here; Perov-5 itself only numbers its rows
MODELS = {  # id prefix → name prefix of the models that its training rows trained
    "mp": ["kldm-csp-mp", "kldm-dng-mp"],
    "mvc": ["kldm-csp-mp", "kldm-dng-mp"],
    "perov5": ["kldm-csp-perov5", "kldm-dng-perov5"],
}
LICENCE = (
    "Crystals and energies: The Materials Project (A. Jain et al., APL Materials 1 (2013) 011002), CC-BY "
    "4.0, by way of fxcoudert/topology_databases (release 2025.02.12), MEGNet's and CGCNN's benchmark sets, "
    "MP-20 and MPTS-52; changed here: reduced to primitive cells, symmetrised within 0.005 Å, coordinates "
    "rounded to 1/10,080. Matbench: A. Dunn et al., npj Comput. Mater. 6 (2020) 138 (MIT). AFLOW: C. Toher "
    "et al., Phys. Rev. Mater. 1 (2017) 015401, by way of SymmetryAdvantage/WyckoffTransformer (Apache-2.0). "
    "Perov-5: I. E. Castelli et al., Energy Environ. Sci. 5 (2012) 5814, by way of CDVAE (MIT)."
)
VOLUME_ERROR = 1e-3  # relative: more than rounding to 1e-4 does


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row of the file; elements by falling count, then along the Mendeleev axis."""

    name: str
    elements: tuple[int, ...]
    counts: tuple[int, ...]
    unit: AsymmetricUnit
    space_group: int
    above_hull: float | None
    usable: bool = False

    @property
    def key(self) -> tuple[Any, ...]:
        """Rows of one formula stand together, formulas of one count pattern too."""
        return len(self.elements), self.counts, self.elements, self.unit.hall_number, self.name


def main() -> None:
    """Read the tables that ``CRYSTAL_DATA`` names, write ``known.zip``, and print what is in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    folder = data_dir()
    if folder is None:
        raise RequestError("Set CRYSTAL_DATA to the folder of the raw data sets.")
    rows = list(gathered_rows(folder))
    sys.stderr.write(f"{len(rows)} rows\n")
    with processes(options.workers) as pool:
        entries_of_rows = [e for e in pool.map(entry_of, rows, chunksize=200) if e is not None]
        unnamed = [row for name in UNNAMED_TABLES for row in read_rows(folder / name)]
        further = [
            e for e in pool.map(entry_of, map(without_labels, unnamed), chunksize=200) if e is not None
        ]
    entries = with_unnamed(with_new_elements(entries_of_rows, folder), further)
    sys.stderr.write(f"{len(entries)} crystals\n")
    usable = usable_ids(folder, options.workers)
    write(FILE, [replace(entry, usable=entry.name in usable) for entry in entries])
    print(json.dumps(KnownIndex(FILE).about | {"bytes": FILE.stat().st_size}, indent=1, ensure_ascii=False))


def gathered_rows(folder: Path) -> Iterator[CrystalRow]:
    """Rows of the Materials Project, each id once, with energies above the hull; then those of Perov-5."""
    newer: dict[str, float] = {}
    for name in IN_2020_SCHEME:
        newer |= {
            row.id: row.labels[ABOVE_HULL] for row in read_rows(folder / name) if ABOVE_HULL in row.labels
        }
    older = {
        row.id: row.labels[ABOVE_HULL]
        for row in read_rows(folder / LARGE_TABLES[0])
        if ABOVE_HULL in row.labels
    }
    energies = older | newer
    seen: set[str] = set()
    for name in (MP_TABLE, MP20_TABLE, *LARGE_TABLES, *PROPERTY_TABLES):
        for row in read_rows(folder / name):
            if row.id not in seen and row.id.split("-")[0] in PREFIXES:
                seen.add(row.id)
                yield replace(row, labels={ABOVE_HULL: energies[row.id]} if row.id in energies else {})
    for row in read_rows(folder / PEROV5_TABLE):
        yield replace(row, id=PEROV5 + row.id, labels={})


def usable_ids(folder: Path, workers: int) -> set[str]:
    """Ids of the rows that trained the shipped models."""
    trained = {row.id for row in training_rows(folder, workers)}
    return trained | {PEROV5 + row.id for row in read_rows(folder / PEROV5_TABLE, "train")}


def entry_of(row: CrystalRow) -> Entry | None:
    """The row as the file keeps it; None where its primitive cell is too large or none."""
    numbers = np.asarray(row.atomic_numbers)
    if not len(numbers) or not 1e-3 < row.volume_per_atom < 1e4:
        return None
    _, elements, counts = ordered_roles(numbers, mendeleev_axis())
    for unit in (
        asymmetric_unit(row.lattice, row.frac_coords, numbers),
        without_symmetry(row.lattice, row.frac_coords, numbers),
    ):
        if unit is None:
            continue
        try:
            stored = PackedCells(pack_units([unit], [elements])).unit(0, elements)
        except ValueError:
            # the primitive cell of solid hydrogen can be shorter than the columns hold, the tabulated one not
            continue
        primitive = primitive_cell(stored)
        if len(primitive[2]) <= MAX_ATOMS and is_whole(row, primitive):
            return Entry(
                name=row.id,
                elements=elements,
                counts=counts,
                unit=unit,
                space_group=row.space_group or 1,
                above_hull=row.labels.get(ABOVE_HULL),
            )
    return None


def is_whole(row: CrystalRow, cell: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]) -> bool:
    """Whether a cell (lattice, coordinates, numbers) has the composition and volume per atom of a row."""
    lattice, _, numbers = cell
    copies, rest = divmod(len(row.atomic_numbers), len(numbers))
    counts = [np.bincount(part, minlength=N_ELEMENTS) for part in (row.atomic_numbers, numbers)]
    if rest or (counts[0] != copies * counts[1]).any():
        return False
    volume = abs(float(np.linalg.det(lattice))) / len(numbers)
    return abs(volume / row.volume_per_atom - 1) < VOLUME_ERROR


def with_new_elements(entries: Sequence[Entry], folder: Path) -> list[Entry]:
    """The entries and unmatched elemental references, with energies against the lowest elemental form."""
    known: dict[int, list[Structure]] = defaultdict(list)
    for entry in entries:
        if len(entry.elements) == 1:
            known[entry.elements[0]].append(_structure(*primitive_cell(entry.unit)))
    rows = list(read_rows(folder / ELEMENT_TABLE))
    lowest: dict[int, float] = {}
    for row in rows:
        z, energy = int(row.atomic_numbers[0]), row.labels["energy_per_atom_ev"]
        lowest[z] = min(energy, lowest.get(z, np.inf))
    complete = list(entries)
    for row in rows:
        z = int(row.atomic_numbers[0])
        cell = _structure(row.lattice, row.frac_coords, row.atomic_numbers)
        if len(cell) > MAX_ATOMS or any(
            rms_distance(cell, other, seconds=5) is not None for other in known[z]
        ):
            continue
        above = row.labels["energy_per_atom_ev"] - lowest[z]
        number = row.id.rpartition("-")[2]
        new = entry_of(replace(row, id=f"{PREFIXES[ELEMENT]}-{number}", labels={ABOVE_HULL: above}))
        if new is not None:
            complete.append(new)
    return complete


def without_labels(row: CrystalRow) -> CrystalRow:
    """The row of a table without ids of the Materials Project; its number in the table is the id."""
    table, _, number = row.id.rpartition("-")
    return replace(row, id=f"{table}-{int(number)}", labels={})


def with_unnamed(entries: Sequence[Entry], further: Sequence[Entry]) -> list[Entry]:
    """The entries, and those of ``further`` that are none of them nor of one another."""
    of_formula: dict[tuple[Any, ...], list[tuple[int, Structure]]] = defaultdict(list)
    formulas = {(entry.elements, entry.counts) for entry in further}
    for entry in entries:
        if (entry.elements, entry.counts) in formulas:
            cell = _structure(*primitive_cell(entry.unit))
            of_formula[entry.elements, entry.counts].append((entry.space_group, cell))
    complete = list(entries)
    for entry in further:
        cell = _structure(*primitive_cell(entry.unit))
        known = of_formula[entry.elements, entry.counts]
        if any(group == entry.space_group and _near_volumes(cell, other) for group, other in known):
            continue
        if any(rms_distance(cell, other, seconds=5) is not None for _, other in known):
            continue
        known.append((entry.space_group, cell))
        complete.append(entry)
    return complete


def _near_volumes(one: Structure, other: Structure) -> bool:
    ratio = (one.volume / len(one)) / (other.volume / len(other))
    return 1 / NEAR_VOLUME < ratio < NEAR_VOLUME


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


def write(path: Path, entries: Iterable[Entry]) -> None:
    """Write the file."""
    ordered = sorted(entries, key=lambda entry: entry.key)
    formulas = [(entry.counts, entry.elements) for entry in ordered]
    first = [i for i, formula in enumerate(formulas) if i == 0 or formula != formulas[i - 1]]
    width = max(len(entry.elements) for entry in ordered)
    starts = [0]
    for i in first:
        if i - starts[-1] >= ROWS_PER_BLOCK:
            starts.append(i)
    prefixes, numbers = zip(*(_id_parts(entry.name) for entry in ordered), strict=True)
    energies = [
        NO_ENERGY if e.above_hull is None else min(max(round(1000 * e.above_hull), 0), NO_ENERGY - 1)
        for e in ordered
    ]
    columns: dict[str, NDArray[Any]] = {
        "elements": np.array([_padded(ordered[i].elements, width) for i in first], dtype=np.uint8),
        "counts": np.array([_padded(ordered[i].counts, width) for i in first], dtype=np.uint8),
        "axis": mendeleev_axis(),
        "rows": np.diff([*first, len(ordered)]).astype(np.uint16),
        "space_groups": np.array([e.space_group for e in ordered], dtype=np.uint8),
        "above_hull": np.array(energies, dtype=np.uint16),
        "usable": np.array([e.usable for e in ordered], dtype=np.uint8),
        "blocks": np.array(starts, dtype=np.int32),
        "ids": np.array(numbers, dtype=np.int32),
        "prefixes": np.array(prefixes, dtype=np.uint8),
    }
    blocks = []
    for begin, end in zip(starts, [*starts[1:], len(ordered)], strict=True):
        part = ordered[begin:end]
        blocks.append(pack_units([e.unit for e in part], [e.elements for e in part]))
    write_known(path, about(ordered), columns, blocks)


def about(entries: Sequence[Entry]) -> dict[str, Any]:
    """The file's description of itself."""
    of = [PREFIXES[_id_parts(entry.name)[0]] for entry in entries]
    perovskites, references, aflow = of.count("perov5"), of.count("element"), of.count("aflow-row")
    matbench = of.count("mb-phonons") + of.count("mb-dielectric")
    return {
        "reference": (
            f"{len(of) - perovskites - aflow:,} crystals of the Materials Project and {aflow:,} of AFLOW "
            f"with up to {MAX_ATOMS} atoms in the primitive cell and {perovskites:,} "
            "computed perovskites of Perov-5"
        ),
        "licence": LICENCE,
        "rows": (
            f"Every readable row of {', '.join((MP_TABLE, MP20_TABLE, *LARGE_TABLES, *PROPERTY_TABLES))} "
            f"with an id of the Materials Project and at most {MAX_ATOMS} atoms in the primitive cell, each "
            f"id once, from the first of these tables; {references} elemental references, {matbench} rows of "
            f"Matbench (crystals of the Materials Project without ids) and {aflow} of AFLOW that match no "
            f"such row; {PEROV5_TABLE} as a whole. Validation and test rows are in it: "
            "it is a reference set, no training set."
        ),
        "energies": (
            "Published energies above the hull: that of MP-20 or MPTS-52 where there is one, else that of "
            f"the Materials Project of 2018; of {sum(e.above_hull is not None for e in entries):,} crystals. "
            "Of an elemental reference: its total energy against the lowest one of its element."
        ),
        "training_rows": "Rows marked usable trained the shipped models: in no validation or test split, "
        "equal to no test row, at most 60 Å3 per atom.",
        "n_rows": len(entries),
        "n_training": sum(entry.usable for entry in entries),
        "models": MODELS,
        "command": "python -m crystal_core.reference.build_known",
    }


def _id_parts(name: str) -> tuple[int, int]:
    prefix, _, number = name.rpartition("-")
    return PREFIXES.index(prefix), int(number)


def _padded(values: tuple[int, ...], width: int) -> list[int]:
    return [*values, *[0] * (width - len(values))]


def _structure(lattice: NDArray[Any], frac_coords: NDArray[Any], numbers: NDArray[Any]) -> Structure:
    from pymatgen.core import Lattice, Structure

    return Structure(Lattice(lattice), np.asarray(numbers).tolist(), frac_coords)


if __name__ == "__main__":
    with ending_with_its_code(NOTHING_WRITTEN):
        main()
