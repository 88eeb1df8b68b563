"""A user's own property: a table with structures and a column becomes an adapter in minutes."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from crystal_core.cards import checkpoint_folder, read_card
from crystal_core.datasets.rows import notes_of
from crystal_core.errors import RequestError
from crystal_core.paths import home_dir
from crystal_core.properties import PropertySpec
from crystal_core.registry.property_cards import shipped_property
from crystal_core.registry.store import find_card
from crystal_core.training.official_files import check_name
from crystal_core.workflows.adapter_rows import OwnProperty, labelled_rows, names_split, split_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from crystal_core.cards import ModelCard
    from crystal_core.datasets.rows import CrystalRow
    from crystal_core.predictors.crysldnet.fit_adapter import AdapterPlan, AdapterProgress

MOST_SAMPLES = 60_000  # crystals seen in all, on which five minutes of two cores are spent
EPOCHS = 30
HeldOutBy = Literal["split", "composition"]


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
    how: HeldOutBy = "split" if names_split(rows) else "composition"
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


def _mean_difference(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)
