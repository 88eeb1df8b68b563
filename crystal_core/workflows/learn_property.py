"""A user's own property as a run: crystals with values in, adapter and held-out errors out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, cast

from crystal_core import __version__
from crystal_core.cards import ModelCard
from crystal_core.chemistry.formula_text import formula_of
from crystal_core.datasets.rows import CrystalRow
from crystal_core.errors import CheckpointMissing, RequestError, StructureParseError
from crystal_core.files.records import structure_from_record
from crystal_core.frames import RunUpdate
from crystal_core.paths import home_dir
from crystal_core.records import FORMAT, LearnedProperty, PropertyColumn, Provenance, RunResult
from crystal_core.registry.store import find_card
from crystal_core.requests import MIN_LEARNED, LearnPropertyRequest, from_json, seed_or_drawn
from crystal_core.structures import atomic_numbers
from crystal_core.workflows.adapter_rows import OwnProperty, reason_left_out
from crystal_core.workflows.sampling_run import library_versions
from crystal_core.workflows.train_adapter import AdapterReport, adapter_steps

CHECKED = 100  # crystals between two moves of the progress line


def run(request: LearnPropertyRequest | Mapping[str, Any]) -> Iterator[RunUpdate]:
    """Learn the property and install it; stopping before the end installs nothing.

    Raises:
        RequestError: an option is wrong, or too few crystals can be used.
        CheckpointMissing: the model is not installed.
    """
    request = (
        request if isinstance(request, LearnPropertyRequest) else from_json(LearnPropertyRequest, request)
    )
    seed, began = seed_or_drawn(request.seed), time.monotonic()
    target = OwnProperty(
        column=request.column, title=request.title, unit=request.unit, logarithmic=request.logarithmic
    )
    card = find_card(request.model)
    encoder = card.network.get("encoder")
    if not isinstance(encoder, str):
        raise CheckpointMissing(f"'{request.model}' is no property predictor that can learn a property.")
    total, rows, skipped = len(request.crystals), [], [dict(row) for row in request.skipped]
    for i, item in enumerate(request.crystals):
        if i % CHECKED == 0:
            yield RunUpdate(stage=f"checking crystals, {i} of {total}", step=0, n_steps=1)
        row = _row(item, request.values[i], request.splits[i] if request.splits else "", target)
        if isinstance(row, str):
            skipped.append({"id": str(item["source"]), "reason": row})
        else:
            rows.append(row)
    if len(rows) < MIN_LEARNED:
        raise RequestError(
            f"Only {len(rows)} crystals can be used; learning needs at least {MIN_LEARNED}. "
            f"The first one left out, {skipped[-1]['id']}: {skipped[-1]['reason']}"
        )
    steps = adapter_steps(
        rows,
        target,
        encoder=encoder,
        checkpoint=home_dir() / "checkpoints" / f"{request.model}-{request.column}",
        rank=request.rank,
        minutes=request.minutes,
        samples=request.samples,
        device=request.device,
        threads=request.threads,
        seed=seed,
        source=request.table,
        skipped=skipped,
    )
    error, done = "", 1
    while True:
        try:
            progress = next(steps)
        except StopIteration as end:
            report: AdapterReport = end.value
            break
        if progress.validation_mae is not None:
            error = f" · error so far {progress.validation_mae:.3g} {request.unit}".rstrip()
        done = progress.of
        yield RunUpdate(
            stage=f"learning, {progress.samples:,} of {done:,} samples{error}",
            step=min(progress.samples, done),
            n_steps=done,
        )
    settings = {
        "model": request.model,
        "column": request.column,
        "rank": request.rank,
        "samples": done,
        "minutes": request.minutes,
        "seed": seed,
        "device": request.device,
        "threads": request.threads,
    }
    result: RunResult = {
        "format": FORMAT,
        "learned": _learned(report, target),
        "notes": [],
        "settings": settings,
        "provenance": _provenance(find_card(report.name), settings),
        "seconds": round(time.monotonic() - began, 2),
    }
    yield RunUpdate(stage="done", step=done, n_steps=done, result=result)


def _row(item: Mapping[str, Any], value: float, split: str, target: OwnProperty) -> CrystalRow | str:
    """The crystal as a row of a table, or why it cannot be used."""
    import numpy as np

    from crystal_core.files.parse import checked_crystal

    try:
        structure = checked_crystal(structure_from_record(item))
    except StructureParseError as error:
        return str(error)
    row = CrystalRow(
        id=str(item["source"]),
        formula=formula_of(structure.composition),
        lattice=np.array(structure.lattice.matrix),
        frac_coords=structure.frac_coords,
        atomic_numbers=np.array(atomic_numbers(structure)),
        split=split,
        labels={target.column: float(value)},
    )
    return reason_left_out(row, target) or row


def _learned(report: AdapterReport, target: OwnProperty) -> LearnedProperty:
    return {
        "name": report.name,
        "property": cast("PropertyColumn", asdict(target.spec)),
        "n_train": report.n_train,
        "n_held_out": report.n_held_out,
        "mae": _rounded(report.mae),
        "mae_of_mean": _rounded(report.mae_of_mean),
        "held_out_by": report.held_out_by,
        "ids": report.ids,
        "formulas": report.formulas,
        "true": list(map(_rounded, report.true)),
        "predicted": list(map(_rounded, report.predicted)),
        "skipped": report.skipped,
    }


def _rounded(value: float) -> float:
    """Seven digits: a float32 has no more."""
    return float(f"{value:.7g}")


def _provenance(card: ModelCard, settings: Mapping[str, Any]) -> Provenance:
    return {
        "model": card.name,
        "weights_sha256": card.weights_sha256,
        "version": __version__,
        "settings": dict(settings),
        "device": str(settings["device"]),
        "libraries": library_versions(),
        "note": "Trained on the user's table; errors are of crystals held out of that table.",
    }
