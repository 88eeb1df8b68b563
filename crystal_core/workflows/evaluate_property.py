"""Measure property predictions of a predictor or a baseline on rows with true values.

Rows come from :mod:`crystal_core.datasets.property_splits`, errors from
:mod:`crystal_core.evaluation.property_errors`.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crystal_core.datasets.modulus_rows import SOURCE as MODULUS_SOURCE
from crystal_core.datasets.modulus_rows import modulus_training_rows
from crystal_core.datasets.property_splits import MODULI, MeasuredRows, default_rows, property_value
from crystal_core.datasets.rows import CrystalRow
from crystal_core.errors import CrystalCoreError, RequestError
from crystal_core.evaluation.property_errors import Predicted, PropertyErrors, Score, measure
from crystal_core.geometry import lattice_from_parameters, wrap_unit
from crystal_core.interruption import NO_INTERRUPTION, Interruption
from crystal_core.properties import PROPERTIES, CrystalPredictions, PropertySpec
from crystal_core.structures import atomic_numbers, in_cell
from crystal_core.workflows.references import read_cells

if TYPE_CHECKING:
    from crystal_core.crystal import CrystalBatch
    from crystal_core.protocols import PropertyPredictor
    from crystal_core.training.data import PreparedCrystals
    from crystal_core.workflows.property_baselines import BaselinePredictor

log = logging.getLogger(__name__)
CHUNK = 256  # crystals handed to a predictor at once
SEED = 0  # of random subsets of rows
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Errors of one property and the rows they were measured on.

    Attributes:
        rows: number and short hash of the rows and their true values. n_rows: with those that have none.
        n_train, settings, note: of a baseline.
        not_seen: the main number over the crystals that the predictor's encoder was not trained on with other
            labels; None where that is all of them.
    """

    spec: PropertySpec
    source: str
    protocol: str
    rows: str
    n_rows: int
    errors: PropertyErrors
    n_train: int | None = None
    settings: str = ""
    note: str = ""
    not_seen: Score | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingRows:
    """The rows from which a baseline learns.

    Attributes:
        train, validation: rows of a split with their true values as labels, by property.
        source: property → name of the file or table they are from.
    """

    train: Mapping[str, Sequence[CrystalRow]]
    validation: Mapping[str, Sequence[CrystalRow]]
    source: Mapping[str, str] = field(default_factory=dict)


def limited(measured: Sequence[MeasuredRows], limit: int | None) -> list[MeasuredRows]:
    """At most ``limit`` rows of each table: a random subset, the same at every call."""
    if limit is None:
        return list(measured)
    rows = []
    for table in measured:
        chosen = np.sort(np.random.default_rng(SEED).permutation(len(table.rows))[:limit])
        rows.append(_some_rows(table, chosen, f"fixed random subset of {len(chosen)}"))
    return rows


def _some_rows(table: MeasuredRows, chosen: NDArray[np.intp], words: str) -> MeasuredRows:
    """Some rows of a table, with the properties that one of them has a value of."""
    values = {name: column[chosen] for name, column in table.truth.items()}
    return replace(
        table,
        rows=tuple(table.rows[i] for i in chosen),
        truth={name: column for name, column in values.items() if not np.isnan(column).all()},
        protocol=f"{table.protocol}, {words}",
    )


def with_cells_of(
    folder: Path, table: MeasuredRows, *, tell: Callable[[str], None] | None = None
) -> tuple[MeasuredRows, list[str]]:
    """The rows with the cells of ``<id>.cif`` in place of their own, and the ids that have no readable file.

    Args:
        tell: as in :func:`read_cells`.

    Raises:
        RequestError: no file carries the id of any row.
    """
    rows: list[CrystalRow] = []
    readable, missing = [], []
    files = [path for row in table.rows if (path := folder / f"{row.id}.cif").is_file()]
    cells = dict(zip(files, read_cells(folder.name, files, tell=tell), strict=True))
    for i, row in enumerate(table.rows):
        structure = cells.get(folder / f"{row.id}.cif")
        if structure is None or not structure.is_ordered:
            missing.append(row.id)
            continue
        readable.append(i)
        cell = np.array(structure.lattice.matrix)
        coords, numbers = in_cell(structure.frac_coords), np.array(atomic_numbers(structure))
        rows.append(replace(row, lattice=cell, frac_coords=coords, atomic_numbers=numbers))
    if not rows:
        raise RequestError(
            f"{folder.name} holds no readable crystal of {table.source}; name the files after its ids, such "
            f"as {table.rows[0].id}.cif."
        )
    values = {name: column[readable] for name, column in table.truth.items()}
    return replace(table, rows=tuple(rows), truth=values), missing


def evaluate_model(
    predictor: PropertyPredictor,
    tables: Sequence[MeasuredRows],
    *,
    seed: int = 0,
    on_progress: Progress | None = None,
    stop: Interruption = NO_INTERRUPTION,
) -> list[Measured]:
    """The errors of a predictor on every property that it has and a table measures.

    After an interruption, on the first rows of the last table, and not on the tables after it.

    Args:
        seed: of the resampling behind the intervals.
    """
    known = {spec.name: spec for spec in predictor.properties}
    measured: list[Measured] = []
    for table in tables:
        names = tuple(name for name in table.truth if name in known)
        if not names:
            continue
        predictions = predict_rows(predictor, table.rows, names, on_progress, stop)
        part = table
        if len(predictions) < len(table.rows):
            part = _some_rows(table, np.arange(len(predictions)), f"the first {len(predictions)} rows")
        seen = np.array([row.id in getattr(predictor, "training_ids", ()) for row in part.rows])
        for name in filter(known.get, part.truth):
            column = _column(predictions, name)
            one = _measured(known[name], part, column, seed)
            if seen.any():
                rest = replace(part, truth={name: np.where(seen, np.nan, part.truth[name])})
                one = replace(one, not_seen=_measured(known[name], rest, column, seed).errors.main)
            measured.append(one)
        if stop:
            break
    return measured


def evaluate_baseline(
    predictor: BaselinePredictor,
    tables: Sequence[MeasuredRows],
    training: TrainingRows,
    *,
    limit_train: int | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
    stop: Interruption = NO_INTERRUPTION,
) -> list[Measured]:
    """Errors of a baseline that learns each property from its training rows, never a measured one.

    After an interruption, of the properties that it has learned and predicted by then.

    Args:
        limit_train: at most so many training rows of each property, and a quarter of that of validation rows.
    """
    from crystal_core.workflows.property_baselines import training_rows

    results: list[Measured] = []
    total = sum(len(table.truth) for table in tables)
    with stop:
        for table in tables:
            measured = {row.id for row in table.rows}
            for name in table.truth:
                spec = PROPERTIES[name]
                if on_progress:
                    on_progress(f"{predictor.name}: {name}", len(results), total)
                scored = [i for i, value in enumerate(table.truth[name]) if not math.isnan(value)]
                prediction = predictor.predict(
                    spec,
                    training_rows(spec, training.train.get(name, ()), measured, limit_train),
                    training_rows(
                        spec, training.validation.get(name, ()), measured, limit_train and limit_train // 4
                    ),
                    [table.rows[i] for i in scored],
                )
                source = f"training rows of {training.source.get(name, '?')}"
                values = np.full(len(table.rows), np.nan)
                values[scored] = prediction.values
                results.append(
                    replace(
                        _measured(spec, table, Predicted(values=values), seed),
                        n_train=prediction.n_train,
                        settings=prediction.settings,
                        note="; ".join(filter(None, [source, prediction.note])),
                    )
                )
    return results


def predict_rows(
    predictor: PropertyPredictor,
    rows: Sequence[CrystalRow],
    names: tuple[str, ...],
    on_progress: Progress | None = None,
    stop: Interruption = NO_INTERRUPTION,
) -> list[CrystalPredictions | None]:
    """One result per row; None where the predictor cannot take the crystal, which loses no other.

    After an interruption, of the first rows.
    """
    predictions: list[CrystalPredictions | None] = []
    with stop:
        for first in range(0, len(rows), CHUNK):
            part = rows[first : first + CHUNK]
            try:
                predictions += predictor.predict(crystals_of(part), names)
            except (CrystalCoreError, ValueError, RuntimeError, IndexError) as error:
                log.info("a batch failed (%s); its crystals are predicted one by one", error)
                predictions += [_predict_one(predictor, row, names) for row in part]
            if on_progress:
                on_progress("predicting", len(predictions), len(rows))
    return predictions


def crystals_of(rows: Sequence[CrystalRow]) -> CrystalBatch:
    """The crystals of table rows as one batch, in order."""
    import torch

    from crystal_core.crystal import CrystalBatch

    coords = np.concatenate([row.frac_coords for row in rows])
    return CrystalBatch(
        atomic_numbers=torch.as_tensor(np.concatenate([row.atomic_numbers for row in rows])),
        frac_coords=wrap_unit(torch.as_tensor(coords, dtype=torch.float32)),
        lattice=torch.as_tensor(np.stack([row.lattice for row in rows]), dtype=torch.float32),
        n_atoms=torch.tensor([len(row.atomic_numbers) for row in rows]),
    )


def prepared_rows(path: Path) -> dict[str, list[CrystalRow]]:
    """Split → its rows of a prepared file, with their labels.

    Raises:
        RequestError: there is no such file, or it is none.
    """
    from crystal_core.training.data import load_prepared

    return {split: _rows_of(crystals, split) for split, crystals in load_prepared(path).items()}


def digest(rows: Sequence[CrystalRow], values: np.ndarray) -> str:
    """Number and short hash of the rows that have a true value, with these values."""
    lines = [
        f"{row.id} {value:.6g}" for row, value in zip(rows, values, strict=True) if not math.isnan(value)
    ]
    return f"{len(lines)} ({hashlib.sha256(chr(10).join(lines).encode()).hexdigest()[:12]})"


def _measured(spec: PropertySpec, table: MeasuredRows, predicted: Predicted, seed: int) -> Measured:
    truth = table.truth[spec.name]
    sizes = [len(row.atomic_numbers) for row in table.rows]
    kinds = [len(set(row.atomic_numbers.tolist())) for row in table.rows]
    return Measured(
        spec=spec,
        source=table.source,
        protocol=table.protocol,
        rows=digest(table.rows, truth),
        n_rows=len(table.rows),
        errors=measure(spec, truth, predicted, sizes, n_elements=kinds, seed=seed),
    )


def _predict_one(
    predictor: PropertyPredictor, row: CrystalRow, names: tuple[str, ...]
) -> CrystalPredictions | None:
    try:
        return predictor.predict(crystals_of([row]), names)[0]
    except (CrystalCoreError, ValueError, RuntimeError, IndexError) as error:
        log.info("%s: %s", row.id, error)
        return None


def _column(predictions: Sequence[CrystalPredictions | None], name: str) -> Predicted:
    parts = [None if one is None else one.predictions.get(name) for one in predictions]

    def numbers(values: Sequence[float | None]) -> np.ndarray:
        return np.array([math.nan if value is None else value for value in values], dtype=np.float64)

    return Predicted(
        values=numbers([part.value if part else None for part in parts]),
        low=numbers([part.low if part else None for part in parts]),
        high=numbers([part.high if part else None for part in parts]),
        domain=tuple("" if one is None else one.domain for one in predictions),
    )


def _rows_of(crystals: PreparedCrystals, split: str) -> list[CrystalRow]:
    lattices = lattice_from_parameters(crystals.cell_parameters).double().numpy()
    numbers, coords = crystals.atomic_numbers.numpy(), crystals.frac_coords.double().numpy()
    labels = {name: column.double().tolist() for name, column in crystals.labels.items()}
    ends = (crystals.first_atom + crystals.n_atoms).tolist()
    return [
        CrystalRow(
            id=crystals.ids[i],
            formula=crystals.formulas[i],
            lattice=lattices[i],
            frac_coords=coords[first:end],
            atomic_numbers=numbers[first:end],
            split=split,
            labels={name: column[i] for name, column in labels.items() if not math.isnan(column[i])},
        )
        for i, (first, end) in enumerate(zip(crystals.first_atom.tolist(), ends, strict=True))
    ]


def training_pool(
    prepared: Path | None, folder: Path | None, names: Sequence[str], *, fold: int = 0
) -> TrainingRows:
    """Training and validation rows of each property, from the prepared file or the raw tables' splits.

    Raises:
        RequestError: neither is there.
    """
    splits = prepared_rows(prepared) if prepared else {}
    train: dict[str, Sequence[CrystalRow]] = {}
    validation: dict[str, Sequence[CrystalRow]] = {}
    source: dict[str, str] = {}
    for name in names:
        if prepared and _any(splits.get("train", []), name) and _any(splits.get("val", []), name):
            train[name], validation[name], source[name] = splits["train"], splits["val"], prepared.name
    missing = [name for name in names if name not in train]
    if missing and folder is None:
        raise RequestError(
            "Baselines learn from training rows: give a prepared file with --train, or set CRYSTAL_DATA to "
            "the folder of the raw data."
        )
    if missing and folder is not None:
        for rows, split in ((train, "train"), (validation, "val")):
            for table in default_rows(folder, missing, split, fold=fold):  # type: ignore[arg-type]
                for name in table.truth:
                    rows[name], source[name] = table.rows, table.source
        for name in set(missing) & set(MODULI):
            train[name], source[name] = modulus_training_rows(folder, name), MODULUS_SOURCE
    return TrainingRows(train=train, validation=validation, source=source)


def _any(rows: Sequence[CrystalRow], name: str) -> bool:
    return any(not math.isnan(property_value(row, name)) for row in rows)
