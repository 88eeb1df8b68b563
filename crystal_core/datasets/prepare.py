"""From raw tables to one tensor file that training reads with torch, numpy and safetensors alone."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crystal_core.datasets.rows import (
    MP20_TABLE,
    MP_TABLE,
    CrystalRow,
    held_out_ids,
    notes_of,
    read_rows,
    reason_not_to_train,
)
from crystal_core.errors import RequestError
from crystal_core.evaluation.matching import MATCHER, PAIR_SECONDS
from crystal_core.evaluation.parallel import in_parallel, processes, time_limit
from crystal_core.structures import in_cell
from crystal_core.whole_files import whole_file

SPLITS = ("train", "val", "test")
# cell, coordinates (atoms, 3), atomic numbers (atoms,)
Reduced = tuple["np.ndarray", "np.ndarray", "np.ndarray"]


@dataclass(frozen=True, kw_only=True)
class PrepareReport:
    """How many crystals went where, which rows were left out, with the reason, and which are remarkable.

    Attributes:
        remarks: id and note of each row whose CIF does not fit what was read.
    """

    rows: int
    splits: dict[str, int]
    skipped: list[dict[str, str]]
    remarks: list[dict[str, str]] = field(default_factory=list)


def niggli_reduce(lattice: np.ndarray, frac_coords: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Niggli cell as (a, b, c, alpha, beta, gamma) in Å and degrees, and the coordinates in it, in [0, 1).

    Raises:
        ValueError: the lattice has no volume, or the reduction does not end.
    """
    import numpy as np
    from pymatgen.core import Lattice

    cell = Lattice(lattice)
    if not math.isfinite(cell.volume) or cell.volume < 0.1:
        raise ValueError("the cell has no volume")
    reduced = cell.get_niggli_reduced_lattice()
    coords = frac_coords @ lattice @ np.linalg.inv(reduced.matrix)
    return np.array(reduced.parameters), in_cell(coords)


def primitive_cell(
    lattice: np.ndarray, frac_coords: np.ndarray, atomic_numbers: np.ndarray, symprec: float = 0.1
) -> Reduced:
    """Lattice, coordinates and atomic numbers of spglib's primitive cell; the input if it finds none."""
    import numpy as np
    import spglib

    cell = spglib.find_primitive(
        (lattice.tolist(), frac_coords.tolist(), atomic_numbers.tolist()), symprec=symprec
    )
    if cell is None:
        return lattice, frac_coords, atomic_numbers
    return np.array(cell[0]), np.array(cell[1]), np.array(cell[2])


def prepare(
    inputs: Sequence[Path],
    output: Path,
    *,
    workers: int = 2,
    held_out_from: Sequence[Path] = (),
    without_matches_of_test: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> PrepareReport:
    """Reduce, check and pack the rows of several tables into one safetensors file.

    A row given in two tables takes the geometry of the later one. Rows of no published split train, unless
    their id is in the validation or test split of any input or of ``held_out_from``. Training rows with more
    atoms than the primitive cell that the table tells of are replaced by spglib's primitive cell.

    Args:
        without_matches_of_test: leave out training rows that StructureMatcher, with the tolerances of the
            match rate, finds equal to a test row of the same formula and space group.

    The file holds ``atomic_numbers`` (atoms) uint8, ``frac_coords`` (atoms, 3) float32 in [0, 1),
    ``cell_parameters`` (crystals, 6) float32 in Å and degrees, ``n_atoms`` (crystals) int16, ``split``
    (crystals) uint8 indexing ``("train", "val", "test")``, ``source`` (crystals) uint8 indexing the
    metadata's ``sources``, one float32 column ``label.<name>`` per property (NaN = unknown) and one of the
    space group's number, and in its metadata the ids and reduced formulas.
    """
    table_of, rows, skipped = gather(
        inputs, held_out_from=held_out_from, without_matches_of_test=without_matches_of_test, workers=workers
    )
    reduced = reduce_rows(rows, workers, on_progress)
    report = write_prepared(rows, reduced, output, [path.name for path in inputs], table_of, skipped)
    return replace(report, remarks=[{"id": name, "note": note} for name, note in notes_of(rows)])


def write_prepared(
    rows: Sequence[CrystalRow],
    reduced: Sequence[Reduced | str],
    output: Path,
    sources: Sequence[str],
    table_of: Mapping[str, int],
    skipped: list[dict[str, str]],
) -> PrepareReport:
    """Write reduced rows in the form that :func:`prepare` tells of.

    Args:
        reduced: of every row, or the reason why it has none.
        sources: names of the tables.
        table_of: id → number of its table.

    Raises:
        RequestError: no row is usable.
    """
    import numpy as np
    from safetensors.numpy import save_file

    skipped = skipped + [
        {"id": row.id, "reason": item}
        for row, item in zip(rows, reduced, strict=True)
        if isinstance(item, str)
    ]
    good = [(row, item) for row, item in zip(rows, reduced, strict=True) if not isinstance(item, str)]
    if not good:
        raise RequestError("No usable rows were found in the input tables.")
    rows_good = [row for row, _ in good]
    parameters = np.stack([cell for _, (cell, _, _) in good])
    coords = np.concatenate([frac_coords for _, (_, frac_coords, _) in good]).astype(np.float32)
    species = [numbers for _, (_, _, numbers) in good]
    coords[coords >= 1.0] = 0.0  # 0.99999999 rounds to 1.0 in float32
    splits = [row.split if row.split in SPLITS else "train" for row in rows_good]
    tensors: dict[str, np.ndarray] = {
        "atomic_numbers": np.concatenate(species).astype(np.uint8),
        "frac_coords": coords,
        "cell_parameters": parameters.astype(np.float32),
        "n_atoms": np.array([len(numbers) for numbers in species], dtype=np.int16),
        "split": np.array([SPLITS.index(s) for s in splits], dtype=np.uint8),
        "source": np.array([table_of[row.id] for row in rows_good], dtype=np.uint8),
    }
    for name in sorted({name for row in rows_good for name in row.labels}):
        tensors[f"label.{name}"] = np.array(
            [row.labels.get(name, math.nan) for row in rows_good], dtype=np.float32
        )
    tensors["label.spacegroup_number"] = np.array(
        [row.space_group or math.nan for row in rows_good], dtype=np.float32
    )
    metadata = {
        "ids": json.dumps([row.id for row in rows_good]),
        "formulas": json.dumps([row.formula for row in rows_good]),
        "sources": json.dumps(list(sources)),
        "skipped": json.dumps(skipped),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(output) as file:
        save_file(tensors, file, metadata=metadata)
    return PrepareReport(rows=len(good), splits=dict(Counter(splits)), skipped=skipped)


def gather(
    inputs: Sequence[Path],
    *,
    held_out_from: Sequence[Path] = (),
    without_matches_of_test: bool = False,
    workers: int = 2,
) -> tuple[dict[str, int], list[CrystalRow], list[dict[str, str]]]:
    """The rows of several tables that may be used: held-out ones, and those that may train a model.

    Returns:
        Id → number of the table that a row was taken from; the rows; and id and reason of each row left out.

    Raises:
        RequestError: no table, or one that cannot be read.
    """
    if not inputs:
        raise RequestError("Give at least one input table.")
    held_out = held_out_ids([*inputs, *held_out_from])
    rows: dict[str, CrystalRow] = {}
    table_of: dict[str, int] = {}
    unreadable: list[tuple[str, str]] = []
    for i, path in enumerate(inputs):
        for row in read_rows(path, unreadable=unreadable):
            rows[row.id], table_of[row.id] = row, i
    gathered: list[CrystalRow] = []
    skipped = [{"id": name, "reason": reason} for name, reason in unreadable if name not in rows]
    for row in rows.values():
        held = row.split in ("val", "test")
        reason = None if held else reason_not_to_train(row, held_out)
        if reason is None and not len(row.atomic_numbers):
            reason = "no atoms"
        if reason is None:
            gathered.append(row)
        else:
            skipped.append({"id": row.id, "reason": reason})
    if without_matches_of_test:
        twins = matches_of_test(gathered, workers)
        skipped += [
            {"id": name, "reason": f"equal to {twin} of the test split"} for name, twin in twins.items()
        ]
        gathered = [row for row in gathered if row.id not in twins]
    return table_of, gathered, skipped


def training_rows(folder: Path, workers: int = 2) -> list[CrystalRow]:
    """Materials Project rows of up to 20 atoms that may train models measured on MP-20."""
    _, rows, _ = gather(
        [folder / MP_TABLE, folder / MP20_TABLE], without_matches_of_test=True, workers=workers
    )
    return [row for row in rows if row.split not in ("val", "test")]


def matches_of_test(rows: Sequence[CrystalRow], workers: int = 2) -> dict[str, str]:
    """Training row id → id of the matching test row of the same formula and space group."""
    tests: dict[tuple[str, int | None], list[CrystalRow]] = defaultdict(list)
    for row in rows:
        if row.split == "test":
            tests[row.formula, row.space_group].append(row)
    pairs = [
        (row, known)
        for row in rows
        if row.split not in ("val", "test")
        for known in tests[row.formula, row.space_group]
    ]
    return equal_pairs(pairs, workers)


def equal_pairs(pairs: Sequence[tuple[CrystalRow, CrystalRow]], workers: int = 2) -> dict[str, str]:
    """Id of a first row → id of its second, where StructureMatcher at match-rate tolerances equates them.

    Each row is reduced once, as many pairs share it.
    """
    rows = list({id(row): row for pair in pairs for row in pair}.values())
    cells = in_parallel(_primitive_niggli, rows, workers=workers)
    cell_of = {id(row): cell for row, cell in zip(rows, cells, strict=True)}
    cells_of_pairs = [[cell_of[id(pair[i])] for pair in pairs] for i in range(2)]
    equal = in_parallel(_match, *cells_of_pairs, workers=workers)
    return {row.id: known.id for (row, known), same in zip(pairs, equal, strict=True) if same}


class _Cell(NamedTuple):
    """A cell in Niggli form without its centring: lattice (3, 3), atomic numbers, fractional coordinates."""

    lattice: NDArray[np.float64]
    numbers: NDArray[np.int64]
    frac_coords: NDArray[np.float64]


def _primitive_niggli(row: CrystalRow) -> _Cell | None:
    """The cell that StructureMatcher compares; None where the reduction fails."""
    from pymatgen.core import Structure

    try:
        with time_limit(PAIR_SECONDS):
            given = Structure(row.lattice, row.atomic_numbers.tolist(), row.frac_coords)
            cell = given.get_reduced_structure("niggli").get_primitive_structure()
    except Exception:  # noqa: BLE001 (what cannot be reduced does not train)
        return None
    return _Cell(cell.lattice.matrix, np.array(cell.atomic_numbers), cell.frac_coords)


def _match(one: _Cell | None, other: _Cell | None) -> bool:
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Structure

    if one is None or other is None:
        return True
    if not np.array_equal(np.sort(one.numbers), np.sort(other.numbers)):
        return False
    try:
        with time_limit(PAIR_SECONDS):
            first, second = (Structure(c.lattice, c.numbers.tolist(), c.frac_coords) for c in (one, other))
            return StructureMatcher(**MATCHER).fit(first, second, skip_structure_reduction=True)
    except Exception:  # noqa: BLE001 (what cannot be compared does not train)
        return True


def reduce_rows(
    rows: Sequence[CrystalRow], workers: int, on_progress: Callable[[int, int], None] | None
) -> list[Reduced | str]:
    """The Niggli cell of every row, or the reason why it has none."""
    chunks = [rows[i : i + 500] for i in range(0, len(rows), 500)]
    out: list[Reduced | str] = []
    if workers <= 1 or len(chunks) == 1:
        for chunk in chunks:
            out += _reduce_chunk(chunk)
            if on_progress:
                on_progress(len(out), len(rows))
        return out
    with processes(workers) as pool:
        for part in pool.map(_reduce_chunk, chunks):
            out += part
            if on_progress:
                on_progress(len(out), len(rows))
    return out


def _reduce_chunk(rows: Sequence[CrystalRow]) -> list[Reduced | str]:
    out: list[Reduced | str] = []
    for row in rows:
        lattice, frac_coords, numbers = row.lattice, row.frac_coords, row.atomic_numbers
        if row.n_primitive and len(numbers) > row.n_primitive and row.split not in ("val", "test"):
            lattice, frac_coords, numbers = primitive_cell(lattice, frac_coords, numbers)
        try:
            out.append((*niggli_reduce(lattice, frac_coords), numbers))
        except Exception as error:  # noqa: BLE001 (one bad row must not lose the others; the reason is recorded)
            out.append(f"Niggli reduction failed: {error}")
    return out
