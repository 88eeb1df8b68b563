"""A user's own property: a table with structures and a column becomes an adapter in minutes."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from crystal_core.cards import checkpoint_folder, read_card
from crystal_core.datasets.own_table import NO_NUMBERS, own_table_of
from crystal_core.datasets.rows import notes_of
from crystal_core.errors import RequestError, StructureParseError
from crystal_core.files.limits import check_density, check_vectors
from crystal_core.paths import home_dir
from crystal_core.properties import PROPERTIES, PropertySpec, property_key
from crystal_core.registry.property_cards import shipped_property
from crystal_core.registry.store import find_card
from crystal_core.requests import LARGEST_VALUE, MAX_LEARNED_ATOMS, MIN_LEARNED
from crystal_core.training.official_files import check_name

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from crystal_core.cards import ModelCard
    from crystal_core.datasets.rows import CrystalRow
    from crystal_core.predictors.crysldnet.fit_adapter import AdapterPlan, AdapterProgress

FEWEST_HELD = 10  # held-out crystals, of which the interval is calibrated
HELD_OUT = 0.2  # share of the crystals, at random, where the table names no split
MOST_SAMPLES = 60_000  # crystals seen in all, on which five minutes of two cores are spent
EPOCHS = 30
HeldOutBy = Literal["split", "composition"]


@dataclass(frozen=True, kw_only=True)
class OwnProperty:
    """The property that a column of a table holds.

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
        """The property's specification; a built-in one if the column has its name."""
        return PROPERTIES.get(self.column) or PropertySpec(
            property_key(self.column),
            self.title or self.column,
            self.unit,
            "own data",
            logarithmic=self.logarithmic,
            decimals=3,
        )


@dataclass(frozen=True, kw_only=True)
class AdapterReport:
    """The outcome of a training.

    Attributes:
        name: of the checkpoint.
        n_train, n_held_out: crystals.
        mae: on the held-out ones, in the unit of the property.
        mae_of_mean: of always predicting the mean of the training values (their geometric mean
            for a logarithmic one).
        held_out_by: "split" where the table names the held-out crystals, "composition" where
            a fifth was drawn.
        seconds: of training. ids, formulas, true, predicted: of the held-out crystals.
        skipped: id and reason of each row left out.
        remarks: id and note of each row that is used though its CIF does not fit what was read.
    """

    name: str
    n_train: int
    n_held_out: int
    mae: float
    mae_of_mean: float
    held_out_by: HeldOutBy
    seconds: float
    ids: list[str]
    formulas: list[str]
    true: list[float]
    predicted: list[float]
    skipped: list[dict[str, str]]
    remarks: list[dict[str, str]] = field(default_factory=list)


def train_adapter(
    table: Path,
    target: OwnProperty,
    *,
    encoder: str = "crysldnet-encoder",
    name: str = "",
    folder: Path | None = None,
    rank: int = 8,
    full: bool = False,
    minutes: float | None = None,
    samples: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    seed: int = 0,
    on_line: Callable[[dict[str, Any]], None] | None = None,
    on_read: Callable[[int, int], None] | None = None,
) -> AdapterReport:
    """Train, calibrate and install an adapter; every predictor of that encoder then has the property.

    Args:
        table: Parquet of the data schema, or CSV with a column ``cif``. Its own split is used
            where it names one.
        name: of the checkpoint; "crysldnet-<column>" where absent.
        folder: of checkpoints; the user's own where absent.
        rank: of the changes of the encoder; 0 trains heads alone. full: train the whole encoder instead.
        samples: crystals seen in all; 30 epochs, at most 60,000 crystals, where absent.
        on_line: gets samples, their plan and the validation error after each epoch.
        on_read: gets how many CIFs of how many are read.

    Raises:
        RequestError: no such column, fewer than 50 crystals with a value, or a shipped
            property or another checkpoint has that name.
        CheckpointMissing: the encoder is not installed.
    """
    if name:
        check_name(name)
    rows, skipped = labelled_rows(table, target, on_read)
    steps = adapter_steps(
        rows,
        target,
        encoder=encoder,
        checkpoint=(folder or home_dir() / "checkpoints") / (name or f"crysldnet-{target.spec.name}"),
        rank=rank,
        full=full,
        minutes=minutes,
        samples=samples,
        device=device,
        threads=threads,
        seed=seed,
        source=table.name,
        skipped=skipped,
    )
    while True:
        try:
            progress = next(steps)
        except StopIteration as end:
            noted = [{"id": name, "note": note} for name, note in notes_of(rows)]
            return replace(cast("AdapterReport", end.value), remarks=noted)
        if on_line and progress.validation_mae is not None:
            on_line(asdict(progress))


def adapter_steps(
    rows: Sequence[CrystalRow],
    target: OwnProperty,
    *,
    encoder: str,
    checkpoint: Path,
    rank: int,
    minutes: float | None,
    samples: int | None,
    device: str,
    threads: int | None,
    seed: int,
    source: str,
    full: bool = False,
    skipped: Sequence[dict[str, str]] = (),
) -> Generator[AdapterProgress, None, AdapterReport]:
    """Train on rows whose labels hold the column, and put the checkpoint into its place when it is whole.

    Closing the iterator stops the training within a step and installs nothing.

    Args:
        checkpoint: folder to write.
        source: name of the rows, for the card. The others as in :func:`train_adapter`.

    Raises:
        RequestError, CheckpointMissing: as :func:`train_adapter`.
    """
    from crystal_core.device import pick_device, use_threads
    from crystal_core.predictors.crysldnet.adapters import AdapterConfig
    from crystal_core.predictors.crysldnet.fit_adapter import AdapterPlan

    use_threads(threads)
    card, spec = find_card(encoder), target.spec
    if shipped_property(card.name, spec.name) and checkpoint.parent == home_dir() / "checkpoints":
        raise RequestError(
            f"The predictor has a property '{spec.name}' already; "
            "give the column another name to learn it beside that one."
        )
    _check_place(checkpoint, spec.name)
    train, held = split_rows(rows, seed)
    if len({row.labels[target.column] for row in train}) < 2:
        raise RequestError(
            f"All training crystals have the same value of '{target.column}', so there is nothing to learn."
        )
    plan = AdapterPlan(
        config=AdapterConfig(rank=rank, full=full),
        samples=samples or usual_samples(len(train)),
        minutes=minutes,
        device=pick_device(device),
        seed=seed,
    )
    report = yield from install_adapter(
        card, spec, target.column, train, held, plan=plan, checkpoint=checkpoint, source=source
    )
    how: HeldOutBy = "split" if _names_split(rows) else "composition"
    return replace(report, held_out_by=how, skipped=list(skipped))


def _check_place(checkpoint: Path, name: str) -> None:
    """Raise RequestError unless the adapter may be written there: over nothing, or over its earlier self."""
    taken = checkpoint_folder(checkpoint.name)
    if taken is not None and (taken != checkpoint or read_card(taken).network.get("property") != name):
        raise RequestError(
            f"Another checkpoint is named '{checkpoint.name}'. Rename the column, or name the adapter with "
            "--export."
        )


def usual_samples(n_train: int) -> int:
    """Default number of crystals that a training sees."""
    return min(EPOCHS * n_train, MOST_SAMPLES)


def install_adapter(
    card: ModelCard,
    spec: PropertySpec,
    column: str,
    train: Sequence[CrystalRow],
    held: Sequence[CrystalRow],
    *,
    plan: AdapterPlan,
    checkpoint: Path,
    source: str,
    about: dict[str, Any] | None = None,
    texts: dict[str, str] | None = None,
) -> Generator[AdapterProgress, None, AdapterReport]:
    """Train on ``train``, calibrate on ``held``, and put the checkpoint into its place when it is whole.

    Args:
        card: of the encoder.
        column: label of the rows.
        about, texts: what the card says besides, see :func:`fit_adapter`.
    """
    from crystal_core.predictors.crysldnet.fit_adapter import fit_adapter

    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    # written beside its final place, so that one rename installs it; the checkpoint folder itself is searched
    # for cards
    with (
        tempfile.TemporaryDirectory() as run,
        tempfile.TemporaryDirectory(prefix="learning-", dir=checkpoint.parent.parent) as near,
    ):
        written = Path(near) / "checkpoint" / checkpoint.name
        fitted = yield from fit_adapter(
            card,
            spec,
            column,
            train,
            held,
            plan=plan,
            run=Path(run),
            checkpoint=written,
            source=source,
            about=about,
            texts=texts,
        )
        if checkpoint.exists():
            checkpoint.rename(Path(near) / "before")
        written.rename(checkpoint)
    return AdapterReport(
        name=checkpoint.name,
        n_train=len(train),
        n_held_out=len(held),
        mae=_mean_difference(fitted.true, fitted.predicted),
        mae_of_mean=_mean_difference(fitted.true, [fitted.mean] * len(held)),
        held_out_by="split",
        seconds=round(fitted.seconds, 1),
        ids=[row.id for row in held],
        formulas=[row.formula for row in held],
        true=fitted.true,
        predicted=fitted.predicted,
        skipped=[],
    )


def labelled_rows(
    table: Path, target: OwnProperty, on_read: Callable[[int, int], None] | None = None
) -> tuple[list[CrystalRow], list[dict[str, str]]]:
    """The rows of a table that hold a crystal and a value, and id and reason of each other row.

    Args:
        on_read: gets how many CIFs of how many are read.

    Raises:
        RequestError: the file is no table, has no such column, or has too few values.
    """
    if not table.is_file():
        raise RequestError(
            f"There is no file {table.name}; "
            "give a Parquet file of the data schema or a CSV with a cif column."
        )
    own = own_table_of(table.name, table.read_bytes(), on_read)
    if target.column not in own.headers:
        raise RequestError(
            f"{table.name} has no column '{target.column}'. Its columns of numbers are: "
            f"{', '.join(own.columns) or 'none'}."
        )
    if target.column in NO_NUMBERS:
        raise RequestError(
            f"'{target.column}' tells about the rows and is no property; "
            "give the column another name to learn it."
        )
    rows, skipped = [], [{"id": name, "reason": reason} for name, reason in own.skipped]
    for row in own.rows:
        reason = reason_left_out(row, target) or _no_cell(row)
        if reason:
            skipped.append({"id": row.id, "reason": reason})
        else:
            rows.append(row)
    if len(rows) < MIN_LEARNED:
        first = skipped[0] if skipped else None
        why = f" The first row left out, {first['id']}: {first['reason'].rstrip('.')}." if first else ""
        raise RequestError(
            f"{table.name} has {len(rows)} crystals with a value of '{target.column}'; training needs at "
            f"least {MIN_LEARNED}.{why}"
        )
    return rows, skipped


def _no_cell(row: CrystalRow) -> str | None:
    """Why no neighbours can be sought in the cell of a row, or None if they can."""
    try:
        check_vectors(row.lattice)
        check_density(row.volume_per_atom)
    except StructureParseError as error:
        return str(error)
    return None


def reason_left_out(row: CrystalRow, target: OwnProperty) -> str | None:
    """None if an adapter can learn from the row, else why not."""
    value = row.labels.get(target.column, math.nan)
    if not math.isfinite(value):
        return f"no value of {target.column}"
    if abs(value) > LARGEST_VALUE:
        return f"{target.column} is {value:g}, beyond {LARGEST_VALUE:g}; choose a larger unit"
    if target.spec.logarithmic and value <= 0:
        return f"{target.column} is {value:g}, which has no logarithm"
    if not 1 <= len(row.atomic_numbers) <= MAX_LEARNED_ATOMS:
        return f"{len(row.atomic_numbers)} atoms; an adapter trains on cells of 1 to {MAX_LEARNED_ATOMS}"
    return None


def split_rows(rows: Sequence[CrystalRow], seed: int) -> tuple[list[CrystalRow], list[CrystalRow]]:
    """Training and held-out rows: the table's own splits, or a fifth of the compositions at random.

    All rows of one composition are on one side, so that the held-out error is not that
    of recognising a formula.
    """
    import numpy as np

    if _names_split(rows):
        return [row for row in rows if row.split in ("train", "")], [
            row for row in rows if row.split == "val"
        ]
    usable = [row for row in rows if row.split != "test"]
    formulas = sorted({_composition(row) for row in usable})
    order = np.random.default_rng(seed).permutation(len(formulas))
    drawn = {formulas[i] for i in order[: max(1, round(HELD_OUT * len(formulas)))]}
    held = [row for row in usable if _composition(row) in drawn]
    train = [row for row in usable if _composition(row) not in drawn]
    if len(held) < FEWEST_HELD or len(train) < MIN_LEARNED // 2:
        raise RequestError(
            f"The table has {len(formulas)} compositions, too few to hold some out; "
            "add crystals of other compositions."
        )
    return train, held


def _composition(row: CrystalRow) -> tuple[tuple[int, int], ...]:
    """Atomic numbers and reduced counts of elements; the table's own formula is not read."""
    counts = Counter(row.atomic_numbers.tolist())
    divisor = math.gcd(*counts.values())
    return tuple((z, n // divisor) for z, n in sorted(counts.items()))


def _names_split(rows: Sequence[CrystalRow]) -> bool:
    """Whether the table names enough validation crystals, and leaves enough to train."""
    held = sum(row.split == "val" for row in rows)
    return held >= FEWEST_HELD and sum(row.split in ("train", "") for row in rows) >= MIN_LEARNED // 2


def _mean_difference(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)
