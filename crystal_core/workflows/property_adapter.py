"""An adapter for a measured property, trained on its split's training rows, never on test rows.

A property of a Matbench task is trained on the training rows of one official fold; its card names the fold.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from crystal_core.cards import ModelCard, forget_measurements
from crystal_core.datasets.modulus_rows import SOURCE as MODULUS_SOURCE
from crystal_core.datasets.modulus_rows import modulus_training_rows
from crystal_core.datasets.property_splits import (
    MODULI,
    TABLES,
    MeasuredRows,
    PropertyTable,
    Split,
    default_rows,
    measured_rows,
)
from crystal_core.errors import RequestError
from crystal_core.paths import checkpoints_dir, data_dir
from crystal_core.properties import PROPERTIES, PropertySpec
from crystal_core.registry.property_cards import property_part
from crystal_core.registry.store import find_card
from crystal_core.workflows.adapter_rows import FEWEST_HELD, OwnProperty, reason_left_out
from crystal_core.workflows.train_adapter import AdapterReport, install_adapter, usual_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from crystal_core.datasets.rows import CrystalRow
    from crystal_core.predictors.crysldnet.adapters import AdapterConfig
    from crystal_core.predictors.crysldnet.fit_adapter import StartHeads

ENCODER = "crysldnet-encoder"


@dataclass(frozen=True, kw_only=True)
class PropertySplit:
    """The rows of one property by role; the labels of each row hold the property alone, in physical units.

    Attributes:
        fold: of Matbench, or None for another rule. protocol: which rows these are, in words.
        source: which rows train, in words.
        train, held: rows that may train and calibrate. test: rows that are measured.
    """

    spec: PropertySpec
    table: PropertyTable
    protocol: str
    fold: int | None
    source: str
    train: tuple[CrystalRow, ...]
    held: tuple[CrystalRow, ...]
    test: tuple[CrystalRow, ...]


def property_split(name: str, *, fold: int = 0, folder: Path | None = None) -> PropertySplit:
    """The training, validation and test rows of a property from the raw data.

    Args:
        fold: of Matbench, whose test rows are the test split; 0 for every other property.
        folder: of the raw data; ``CRYSTAL_DATA`` where absent.

    Raises:
        RequestError: no raw data, no such property, no folds, or too few rows.
    """
    folder = folder or data_dir()
    if folder is None:
        raise RequestError("Set CRYSTAL_DATA to the folder of the raw data, whose splits are used.")
    table = next((table for table in TABLES if name in table.properties), None)
    if table is None:
        known = ", ".join(known for table in TABLES for known in table.properties)
        raise RequestError(f"No data here measure {name}. Measured are: {known}.")
    if fold and table.rule != "matbench":
        raise RequestError(f"{name} has one split and no folds; leave --fold out.")
    held, test = _rows(folder, name, "val", fold), _rows(folder, name, "test", fold)
    if name in MODULI:
        train = measured_rows(modulus_training_rows(folder, name), (name,), table.name, test.protocol)
        source = MODULUS_SOURCE
    else:
        train = _rows(folder, name, "train", fold)
        source = f"{table.name} ({test.protocol}; training rows)"
    split_rows = PropertySplit(
        spec=PROPERTIES[name],
        table=table,
        protocol=test.protocol,
        fold=fold if table.rule == "matbench" else None,
        source=source,
        train=_labelled(train, name),
        held=_labelled(held, name),
        test=_labelled(test, name),
    )
    if len(split_rows.train) < FEWEST_HELD or len(split_rows.held) < FEWEST_HELD:
        raise RequestError(
            f"{table.name} has {len(split_rows.train)} training and {len(split_rows.held)} validation rows "
            f"of {name}; each needs at least {FEWEST_HELD}."
        )
    return split_rows


def _rows(folder: Path, name: str, split: Split, fold: int) -> MeasuredRows:
    (rows,) = default_rows(folder, (name,), split, fold=fold)
    return rows


def _labelled(measured: MeasuredRows, name: str) -> tuple[CrystalRow, ...]:
    """The rows that an adapter can take, with the measured value as their only label."""
    if name not in measured.truth:
        return ()
    rows = [
        replace(row, labels={name: float(value)})
        for row, value in zip(measured.rows, measured.truth[name], strict=True)
        if not math.isnan(value)
    ]
    return tuple(row for row in rows if reason_left_out(row, OwnProperty(column=name)) is None)


def train_property(
    name: str,
    *,
    config: AdapterConfig,
    encoder: str = ENCODER,
    fold: int = 0,
    start: str = "",
    samples: int | None = None,
    minutes: float | None = None,
    device: str = "auto",
    threads: int | None = None,
    seed: int = 0,
    on_line: Callable[[dict[str, Any]], None] | None = None,
) -> AdapterReport:
    """Train, calibrate and install ``crysldnet-<property>`` among the shipped checkpoints.

    Args:
        start: property whose shipped heads the new ones begin with; new heads where "".
        fold, on_line: as in :func:`property_split` and
            :func:`crystal_core.workflows.train_adapter.train_adapter`.

    Raises:
        RequestError: as :func:`property_split`, or ``start`` is of another kind.
        CheckpointMissing: the encoder is not installed.
    """
    from crystal_core.device import pick_device, use_threads
    from crystal_core.predictors.crysldnet.fit_adapter import AdapterPlan

    use_threads(threads)
    rows, card = property_split(name, fold=fold), find_card(encoder)
    model = card.name.removesuffix("-encoder")
    plan = AdapterPlan(
        config=config,
        samples=samples or usual_samples(len(rows.train)),
        minutes=minutes,
        device=pick_device(device),
        start=start_heads(model, start, rows.spec) if start else None,
        seed=seed,
    )
    about: dict[str, Any] = {} if rows.fold is None else {"fold": rows.fold}
    about |= {"start": start} if start else {}
    about |= {"command": _command(name, config, rows.fold, start, samples, minutes, seed)}
    steps = install_adapter(
        card,
        rows.spec,
        name,
        rows.train,
        rows.held,
        plan=plan,
        checkpoint=checkpoints_dir() / f"{model}-{name}",
        source=f"{rows.source}; {len(rows.held):,} validation rows for the intervals",
        about=about,
        texts=_texts(card, rows, plan.samples),
    )
    while True:
        try:
            progress = next(steps)
        except StopIteration as end:
            forget_measurements(checkpoints_dir() / model, of=name)  # they are of earlier weights
            return cast("AdapterReport", end.value)
        if on_line and progress.validation_mae is not None:
            on_line(asdict(progress))


def recalibrate_property(
    name: str, *, encoder: str = ENCODER, device: str = "cpu", threads: int | None = None
) -> None:
    """Measure a shipped adapter's intervals, range and spread anew on its card's rows; weights stay.

    Raises:
        RequestError: as :func:`property_split`, or no such adapter is installed.
        CheckpointMismatch: its weights changed.
    """
    from crystal_core.device import pick_device, use_threads
    from crystal_core.predictors.crysldnet.export import export_adapter, outputs_of
    from crystal_core.predictors.crysldnet.fit_adapter import adapter_rows, seen_ids
    from crystal_core.predictors.crysldnet.predictor import load_adapter, load_encoder
    from crystal_core.predictors.crysldnet.property_network import PropertyNetwork
    from crystal_core.training.checkpoint import read_shards

    use_threads(threads)
    where, card = pick_device(device), find_card(encoder)
    model = card.name.removesuffix("-encoder")
    part = property_part(model, name)
    split = property_split(name, fold=int(part.network.get("fold", 0)))
    adapter = load_adapter(part, load_encoder(card).to(where))
    rows = adapter_rows(split.spec, name, split.train, split.held, adapter.encoder.graph, where)
    outputs = outputs_of(PropertyNetwork(adapter.encoder, adapter.heads).eval(), rows.held)
    seen = seen_ids(card)
    if part.folder is None:
        raise RequestError(f"'{part.name}' is not installed.")
    about = ("encoder", "encoder_sha256", "property", "title", "unit", "logarithmic")
    export_adapter(
        part.folder,
        spec=split.spec,
        state=read_shards(part),
        outputs=(outputs.members[:, 0], outputs.log_scale[:, 0]),
        labels=(rows.train.labels[:, 0].cpu(), rows.held.labels[:, 0].cpu()),
        scale=(float(adapter.heads.mean[0]), float(adapter.heads.std[0])),
        encoder=card,
        trained_on=part.trained_on,
        network={key: value for key, value in part.network.items() if key not in about},
        texts={
            "source": part.source,
            "licence": part.licence,
            "limits": part.limits,
            "good_for": part.good_for,
        },
        examples={row.id: row.labels[name] for row in split.train if row.id in seen},
    )
    for folder in (part.folder, checkpoints_dir() / model):
        forget_measurements(folder, of=name)  # their intervals are gone


def start_heads(model: str, start: str, spec: PropertySpec) -> StartHeads:
    """The shipped heads of another property of the same predictor.

    Raises:
        RequestError: it has no such property, or one of another kind.
    """
    from crystal_core.predictors.crysldnet.fit_adapter import heads_of

    return heads_of(property_part(model, start), spec)


def seen_by_encoder(encoder: ModelCard, rows: Sequence[CrystalRow]) -> list[bool]:
    """Which rows are training crystals of the encoder by their id, with whatever labels these had."""
    from crystal_core.predictors.crysldnet.fit_adapter import seen_ids

    known = seen_ids(encoder)
    return [row.id in known for row in rows]


def _texts(card: ModelCard, rows: PropertySplit, samples: int) -> dict[str, str]:
    seen = sum(seen_by_encoder(card, rows.test))
    limits = f"Labels: {rows.spec.method}. Ordered crystals only."
    if seen:
        limits += (
            f" {seen} of the {len(rows.test)} test crystals are training crystals of {card.name}, which saw "
            f"their PBE labels and none of {rows.spec.title}."
        )
    if rows.fold is not None:
        limits += (
            f" Trained on the training rows of fold {rows.fold} alone: "
            "the test rows of the other folds are among them."
        )
    if len(rows.train) < 500:
        limits += f" Only {len(rows.train)} training crystals: expect large errors far from them."
    return {
        "source": f"trained here on the features of {card.name}: "
        f"{samples:,} crystals seen of {len(rows.train):,}",
        "licence": card.licence,
        "limits": limits,
        "good_for": f"{rows.spec.title} on the features of {card.name}.",
    }


def _command(
    name: str,
    config: AdapterConfig,
    fold: int | None,
    start: str,
    samples: int | None,
    minutes: float | None,
    seed: int,
) -> str:
    words = ["crystal-core train adapter", f"--property {name}"]
    words += [f"--fold {fold}"] if fold else []
    words += [f"--start {start}"] if start else []
    words += ["--full"] if config.full else [f"--rank {config.rank}"]
    words += [f"--samples {samples}"] if samples else []
    words += [f"--minutes {minutes:g}"] if minutes else []
    return " ".join([*words, f"--seed {seed}"])
