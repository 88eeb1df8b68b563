"""From raw tables to one tensor file that training reads with torch, numpy and safetensors alone."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from crystal_core.datasets.rows import CrystalRow, held_out_ids, read_rows, reason_not_to_train
from crystal_core.errors import RequestError

if TYPE_CHECKING:
    import numpy as np

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class PrepareReport:
    """How many crystals went where, and which rows were left out, with the reason."""

    rows: int
    splits: dict[str, int]
    skipped: list[dict[str, str]]


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
    return np.array(reduced.parameters), coords % 1.0


def prepare(
    inputs: Sequence[Path],
    output: Path,
    *,
    workers: int = 2,
    held_out_from: Sequence[Path] = (),
    on_progress: Callable[[int, int], None] | None = None,
) -> PrepareReport:
    """Reduce, check and pack the rows of several tables into one safetensors file.

    A row given in two tables takes the geometry of the later one. Rows of no published split train, unless their id is
    in the validation or test split of any input or of ``held_out_from``.

    The file holds ``atomic_numbers`` (atoms) uint8, ``frac_coords`` (atoms, 3) float32 in [0, 1), ``cell_parameters``
    (crystals, 6) float32 in Å and degrees, ``n_atoms`` (crystals) int16, ``split`` (crystals) uint8 indexing
    ``("train", "val", "test")``, one float32 column ``label.<name>`` per property (NaN = unknown), and in its metadata
    the ids and reduced formulas.
    """
    import numpy as np
    from safetensors.numpy import save_file

    if not inputs:
        raise RequestError("Give at least one input table.")
    held_out = held_out_ids([*inputs, *held_out_from])
    rows: dict[str, CrystalRow] = {}
    unreadable: list[tuple[str, str]] = []
    for path in inputs:
        rows.update((row.id, row) for row in read_rows(path, unreadable=unreadable))
    kept: list[CrystalRow] = []
    skipped = [{"id": name, "reason": reason} for name, reason in unreadable if name not in rows]
    for row in rows.values():
        held = row.split in ("val", "test")
        reason = None if held else reason_not_to_train(row, held_out)
        if reason is None and not len(row.atomic_numbers):
            reason = "no atoms"
        if reason is None:
            kept.append(row)
        else:
            skipped.append({"id": row.id, "reason": reason})
    reduced = _reduce_all(kept, workers, on_progress)
    skipped += [{"id": row.id, "reason": item} for row, item in zip(kept, reduced, strict=True) if isinstance(item, str)]
    good = [(row, item) for row, item in zip(kept, reduced, strict=True) if not isinstance(item, str)]
    if not good:
        raise RequestError("No usable rows were found in the input tables.")
    rows_good = [row for row, _ in good]
    parameters = np.stack([cell for _, (cell, _) in good])
    coords = np.concatenate([frac_coords for _, (_, frac_coords) in good]).astype(np.float32)
    coords[coords >= 1.0] = 0.0  # 0.99999999 rounds to 1.0 in float32
    splits = [row.split if row.split in SPLITS else "train" for row in rows_good]
    tensors: dict[str, np.ndarray] = {
        "atomic_numbers": np.concatenate([row.atomic_numbers for row in rows_good]).astype(np.uint8),
        "frac_coords": coords,
        "cell_parameters": parameters.astype(np.float32),
        "n_atoms": np.array([len(row.atomic_numbers) for row in rows_good], dtype=np.int16),
        "split": np.array([SPLITS.index(s) for s in splits], dtype=np.uint8),
    }
    for name in sorted({name for row in rows_good for name in row.labels}):
        tensors[f"label.{name}"] = np.array([row.labels.get(name, math.nan) for row in rows_good], dtype=np.float32)
    metadata = {
        "ids": json.dumps([row.id for row in rows_good]),
        "formulas": json.dumps([row.formula for row in rows_good]),
        "sources": json.dumps([path.name for path in inputs]),
        "skipped": json.dumps(skipped),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, output, metadata=metadata)
    return PrepareReport(rows=len(good), splits=dict(Counter(splits)), skipped=skipped)


def _reduce_all(
    rows: Sequence[CrystalRow], workers: int, on_progress: Callable[[int, int], None] | None
) -> list[tuple[np.ndarray, np.ndarray] | str]:
    chunks = [rows[i : i + 500] for i in range(0, len(rows), 500)]
    out: list[tuple[np.ndarray, np.ndarray] | str] = []
    if workers <= 1 or len(chunks) == 1:
        for chunk in chunks:
            out += _reduce_chunk(chunk)
            if on_progress:
                on_progress(len(out), len(rows))
        return out
    with ProcessPoolExecutor(workers) as pool:
        for part in pool.map(_reduce_chunk, chunks):
            out += part
            if on_progress:
                on_progress(len(out), len(rows))
    return out


def _reduce_chunk(rows: Sequence[CrystalRow]) -> list[tuple[np.ndarray, np.ndarray] | str]:
    out: list[tuple[np.ndarray, np.ndarray] | str] = []
    for row in rows:
        try:
            out.append(niggli_reduce(row.lattice, row.frac_coords))
        except Exception as error:  # noqa: BLE001 (one bad row must not lose the others; the reason is recorded)
            out.append(f"Niggli reduction failed: {error}")
    return out
