"""A property of one's own: a table with structures and a column becomes an adapter on the shared encoder, in minutes."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_core.datasets.rows import CrystalRow, read_table, rows_of
from crystal_core.errors import RequestError
from crystal_core.paths import home_dir
from crystal_core.properties import PROPERTIES, PropertySpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

FEWEST = 50  # crystals with a value: fewer give neither a model nor an interval
HELD_OUT = 0.2  # share of the crystals, at random, where the table names no split
MOST_SAMPLES = 60_000  # crystals seen in all, on which five minutes of two cores are spent
EPOCHS = 30
MAX_ATOMS = 200


@dataclass(frozen=True, kw_only=True)
class OwnProperty:
    """What a column of a table is.

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
        """As the predictor knows it; one of ours where the column has the name of one."""
        return PROPERTIES.get(self.column) or PropertySpec(
            name=self.column,
            title=self.title or self.column,
            unit=self.unit,
            method="own data",
            logarithmic=self.logarithmic,
            decimals=3,
        )


@dataclass(frozen=True, kw_only=True)
class AdapterReport:
    """What came of a training.

    Attributes:
        name: of the checkpoint. n_train, n_held_out: crystals. mae: on the held-out ones, in the unit of the property.
        mae_of_mean: of always predicting the mean of the training values (their geometric mean for a logarithmic one).
        seconds: of training. ids, true, predicted: of the held-out crystals. skipped: id and reason of each row left out.
    """

    name: str
    n_train: int
    n_held_out: int
    mae: float
    mae_of_mean: float
    seconds: float
    ids: list[str]
    true: list[float]
    predicted: list[float]
    skipped: list[dict[str, str]]


def train_adapter(
    table: Path,
    target: OwnProperty,
    *,
    encoder: str = "crysldnet-encoder",
    name: str = "",
    folder: Path | None = None,
    rank: int = 8,
    minutes: float | None = None,
    samples: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    seed: int = 0,
    on_line: Callable[[dict[str, Any]], None] | None = None,
) -> AdapterReport:
    """Train, calibrate and install an adapter; every predictor of that encoder then has the property.

    Args:
        table: Parquet of the data schema, or CSV with a column ``cif``. Its own split is used where it names one.
        name: of the checkpoint; "crysldnet-<column>" where absent. folder: of checkpoints; the user's own where absent.
        rank: of the changes of the encoder; 0 trains heads alone. samples: crystals seen in all; 30 epochs, at most
            60,000 crystals, where absent.

    Raises:
        RequestError: no such column, or fewer than 50 crystals with a value.
        CheckpointMissing: the encoder is not installed.
    """
    import torch

    from crystal_core.device import pick_device
    from crystal_core.predictors.crysldnet.adapters import AdapterConfig
    from crystal_core.predictors.crysldnet.fit_adapter import fit_adapter
    from crystal_core.registry.store import find_card

    if threads:
        torch.set_num_threads(threads)
    rows, skipped = labelled_rows(table, target)
    train, held = split_rows(rows, seed)
    card = find_card(encoder)
    plan = samples or min(EPOCHS * len(train), MOST_SAMPLES)
    with tempfile.TemporaryDirectory() as run:
        fitted = fit_adapter(
            card,
            target.spec,
            train,
            held,
            config=AdapterConfig(rank=rank),
            samples=plan,
            minutes=minutes,
            device=pick_device(device),
            seed=seed,
            run=Path(run),
            checkpoint=(folder or home_dir() / "checkpoints") / (name or f"crysldnet-{target.column}"),
            source=table.name,
            on_line=on_line,
        )
    return AdapterReport(
        name=name or f"crysldnet-{target.column}",
        n_train=len(train),
        n_held_out=len(held),
        mae=_mean_difference(fitted.true, fitted.predicted),
        mae_of_mean=_mean_difference(fitted.true, [fitted.mean] * len(held)),
        seconds=round(fitted.seconds, 1),
        ids=[row.id for row in held],
        true=fitted.true,
        predicted=fitted.predicted,
        skipped=skipped,
    )


def labelled_rows(table: Path, target: OwnProperty) -> tuple[list[CrystalRow], list[dict[str, str]]]:
    """The rows of a table that hold a crystal and a value, and id and reason of each other row.

    Raises:
        RequestError: the file is no table, has no such column, or has too few values.
    """
    import pandas as pd

    data, bad = read_table(table)
    if target.column not in data.columns:
        numeric = [c for c in data.columns if pd.api.types.is_numeric_dtype(data[c]) and c != "n_atoms"]
        raise RequestError(
            f"{table.name} has no column '{target.column}'. Its columns of numbers are: {', '.join(numeric) or 'none'}."
        )
    data[target.column] = pd.to_numeric(data[target.column], errors="coerce").astype(float)
    rows, skipped = [], [{"id": name, "reason": reason} for name, reason in bad]
    for row in rows_of(_with_split(data), bad := []):
        reason = _reason(row, target)
        if reason:
            skipped.append({"id": row.id, "reason": reason})
        else:
            rows.append(row)
    skipped += [{"id": name, "reason": reason} for name, reason in bad]
    if len(rows) < FEWEST:
        why = f" The first row left out, {skipped[0]['id']}: {skipped[0]['reason']}." if skipped else ""
        raise RequestError(
            f"{table.name} has {len(rows)} crystals with a value of '{target.column}'; training needs at least {FEWEST}.{why}"
        )
    return rows, skipped


def _with_split(data: pd.DataFrame) -> pd.DataFrame:
    return data.assign(split=data["split"].fillna("").astype(str) if "split" in data.columns else "")


def _reason(row: CrystalRow, target: OwnProperty) -> str | None:
    value = row.labels.get(target.column, math.nan)
    if not math.isfinite(value):
        return f"no value of {target.column}"
    if target.spec.logarithmic and value <= 0:
        return f"{target.column} is {value:g}, which has no logarithm"
    if not 1 <= len(row.atomic_numbers) <= MAX_ATOMS:
        return f"{len(row.atomic_numbers)} atoms; an adapter trains on cells of 1 to {MAX_ATOMS}"
    return None


def split_rows(rows: Sequence[CrystalRow], seed: int) -> tuple[list[CrystalRow], list[CrystalRow]]:
    """Training and held-out rows: the table's own splits, or a fifth of the compositions at random.

    All rows of one composition stand on one side, so that the held-out error is not that of recognising a formula.
    """
    import numpy as np

    held = [row for row in rows if row.split == "val"]
    train = [row for row in rows if row.split in ("train", "")]
    if len(held) >= 10 and len(train) >= FEWEST // 2:
        return train, held
    usable = [row for row in rows if row.split != "test"]
    formulas = sorted({row.formula for row in usable})
    order = np.random.default_rng(seed).permutation(len(formulas))
    drawn = {formulas[i] for i in order[: max(1, round(HELD_OUT * len(formulas)))]}
    held = [row for row in usable if row.formula in drawn]
    train = [row for row in usable if row.formula not in drawn]
    if len(held) < 10 or len(train) < FEWEST // 2:
        raise RequestError(
            f"The table has {len(formulas)} compositions, too few to hold some out; add crystals of other compositions."
        )
    return train, held


def _mean_difference(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)
