"""Properties of crystals, many at a time: runs of the queue, and what the command line shares with them."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from crystal_core import __version__
from crystal_core.chemistry.formula_text import formula_of
from crystal_core.errors import CrystalCoreError
from crystal_core.files.records import structure_from_record
from crystal_core.frames import RunUpdate
from crystal_core.properties import CrystalPredictions, Domain, Prediction, PropertySpec, chosen_properties
from crystal_core.records import FORMAT, PropertyColumn, PropertyRow, PropertyValue, Provenance, RunResult
from crystal_core.registry.property_cards import installed_parts
from crystal_core.registry.store import load_predictor
from crystal_core.requests import PropertyPredictionRequest, from_json
from crystal_core.structures import atomic_numbers, from_structures
from crystal_core.workflows.sampling_run import library_versions
from crystal_core.workflows.training_range import note_on_elements

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.protocols import PropertyPredictor

log = logging.getLogger(__name__)
CHUNK = 50  # crystals between two moves of the progress bar
SECONDS_BETWEEN_RESULTS = 5.0  # each is written to disk whole
NOT_FINITE = "The model gave no finite value for this crystal, so none is shown. Check its cell."


def load_property_predictor(name: str, device: str) -> PropertyPredictor:
    """A property predictor, kept for the next run until one of its parts is added, replaced or removed.

    Raises:
        CheckpointMissing: it is not installed.
    """
    return _loaded(name, device, installed_parts(name))


@lru_cache(maxsize=1)
def _loaded(name: str, device: str, parts: tuple[tuple[str, str], ...]) -> PropertyPredictor:  # noqa: ARG001 (a part of the key)
    return load_predictor(name, device)


def run(request: PropertyPredictionRequest | Mapping[str, Any]) -> Iterator[RunUpdate]:
    """Predict crystals in batches; finished rows are yielded every few seconds, so stopping keeps them.

    Raises:
        RequestError: an option is wrong. CheckpointMissing: the model is not installed.
    """
    from crystal_core.device import use_threads

    request = from_json(PropertyPredictionRequest, request)
    total, began = len(request.crystals), time.monotonic()
    yield RunUpdate(stage="loading the model", step=0, n_steps=total)
    predictor = load_property_predictor(request.model, request.device)
    specs = chosen_properties(request.properties, predictor.properties)
    use_threads(request.threads)
    settings = {
        "model": request.model,
        "properties": [spec.name for spec in specs],
        "device": request.device,
        "threads": request.threads,
    }
    rows: list[PropertyRow] = []
    written = began

    def result() -> RunResult:
        return {
            "format": FORMAT,
            "rows": [*rows],
            "properties": [cast("PropertyColumn", asdict(spec)) for spec in specs],
            "notes": [],
            "settings": settings,
            "provenance": _provenance(predictor, settings),
            "seconds": round(time.monotonic() - began, 2),
        }

    for first in range(0, total, CHUNK):
        rows += property_rows(request.crystals[first : first + CHUNK], predictor, specs)
        now = time.monotonic()
        due = first == 0 or now - written >= SECONDS_BETWEEN_RESULTS
        written = now if due else written
        yield RunUpdate(
            stage=f"{len(rows)} of {total} crystals",
            step=len(rows),
            n_steps=total,
            result=result() if due else None,
        )
    yield RunUpdate(stage="done", step=total, n_steps=total, result=result())


def property_rows(
    items: Sequence[Mapping[str, Any]], predictor: PropertyPredictor, specs: Sequence[PropertySpec]
) -> list[PropertyRow]:
    """One row per item, in order; one that fails to read or predict says why and loses no other."""
    rows: list[PropertyRow] = []
    readable: list[tuple[PropertyRow, Structure]] = []
    for item in items:
        row: PropertyRow = {"source": item["source"]}
        row |= cast("PropertyRow", {name: item[name] for name in ("id", "notes") if item.get(name)})
        rows.append(row)
        try:
            structure = _structure(item)
        except Exception as error:  # noqa: BLE001 (the others are to be predicted)
            row["error"] = _sentence(error)
        else:
            row |= {"formula": formula_of(structure.composition), "n_atoms": len(structure)}
            readable.append((row, structure))
    by_crystal = _predicted(
        [structure for _, structure in readable], predictor, tuple(spec.name for spec in specs)
    )
    for (row, structure), predictions in zip(readable, by_crystal, strict=True):
        if isinstance(predictions, str):
            row["error"] = predictions
        else:
            unseen = getattr(predictor, "unseen_elements", None)
            if unseen and (note := note_on_elements(predictor.card.name, atomic_numbers(structure), unseen)):
                row["notes"] = [*row.get("notes", []), note]
            row.update(_prediction_fields(predictions, specs))
    return rows


def _sentence(error: Exception) -> str:
    """Why a crystal has no prediction."""
    if isinstance(error, CrystalCoreError):
        return str(error)
    log.warning("a prediction failed", exc_info=error)
    return f"The model failed on this crystal ({type(error).__name__}), so it has no prediction."


def _structure(item: Mapping[str, Any]) -> Structure:
    from crystal_core.files.parse import checked_crystal

    if "error" in item:
        raise CrystalCoreError(item["error"])
    return checked_crystal(structure_from_record(item))


def _predicted(
    structures: Sequence[Structure], predictor: PropertyPredictor, names: tuple[str, ...]
) -> list[CrystalPredictions | str]:
    """Predictions of each crystal, or the reason for none; failing batches are halved to the culprit."""
    if not structures:
        return []
    try:
        return [*predictor.predict(from_structures(structures), names)]
    except Exception as error:  # noqa: BLE001 (whatever one crystal does to the model, the others are to be predicted)
        sentence = _sentence(error)
    if len(structures) == 1:
        return [sentence]
    middle = len(structures) // 2
    return [
        *_predicted(structures[:middle], predictor, names),
        *_predicted(structures[middle:], predictor, names),
    ]


def _prediction_fields(predicted: CrystalPredictions, specs: Sequence[PropertySpec]) -> PropertyRow:
    """The keys that the row of a predicted crystal gains."""
    chosen = {
        spec.name: predicted.predictions[spec.name] for spec in specs if spec.name in predicted.predictions
    }
    numbers = [n for p in chosen.values() for n in (p.value, p.std, p.low, p.high) if n is not None]
    if not all(map(math.isfinite, numbers)):
        return cast("PropertyRow", {"error": NOT_FINITE})
    predictions = {
        spec.name: _value(chosen[spec.name], spec.unit, predicted.domain)
        for spec in specs
        if spec.name in chosen
    }
    nearest = [
        {
            "id": near.id,
            "formula": near.formula,
            "distance": _rounded(near.distance),
            "values": {name: near.values[name] for name in chosen if name in near.values},
        }
        for near in predicted.nearest
    ]
    record = {"domain": predicted.domain, "predictions": predictions, "nearest": nearest}
    place = {} if predicted.place is None else {"place": [_rounded(x) for x in predicted.place]}
    return cast("PropertyRow", record | place)


def _value(prediction: Prediction, unit: str, domain: Domain) -> PropertyValue:
    value: PropertyValue = {"value": _rounded(prediction.value), "unit": unit, "domain": domain}
    if prediction.std is not None:
        value["std"] = _rounded(prediction.std)
    if prediction.low is not None and prediction.high is not None:
        value |= {"low": _rounded(prediction.low), "high": _rounded(prediction.high)}
    return value


def _rounded(value: float) -> float:
    """Seven digits: a float32 has no more, and the rest would fill the store."""
    return float(f"{value:.7g}")


def _provenance(predictor: PropertyPredictor, settings: Mapping[str, Any]) -> Provenance:
    """The predictor and settings behind the predictions."""
    return {
        "model": predictor.card.name,
        "weights_sha256": predictor.card.weights_sha256,
        "version": __version__,
        "settings": dict(settings),
        "device": str(getattr(predictor, "device", "cpu")),
        "libraries": library_versions(),
        "note": "Predicted by a model: estimates with calibrated 90 % intervals, no measurements.",
    }
