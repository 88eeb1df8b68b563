"""Targets of a generation against predicted properties: of drafts while they are written, of the crystals."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from crystal_core.evaluation.validity import check_structure
from crystal_core.properties import chosen_properties, fixed, spec_of
from crystal_core.registry.property_cards import declared_properties, is_installed
from crystal_core.registry.store import find_card
from crystal_core.structures import to_structures
from crystal_core.workflows.cell_predictions import predicted_values
from crystal_core.workflows.generation_conditions import GUIDED, PREDICTOR

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.conditions import Conditions
    from crystal_core.crystal import CrystalBatch
    from crystal_core.protocols import PropertyPredictor
    from crystal_core.records import CrystalRecord, PropertyValue, TargetSummary


@dataclass(frozen=True, kw_only=True)
class TargetJudge:
    """Judges drafts by a predictor; see :class:`~crystal_core.guides.protocol.DraftJudge`.

    A target is met within the mean absolute error of the predictor on test crystals: nearer, differences say
    nothing. Of a crystal with implausible distances the predictor knows nothing, so it is infinitely far.

    Attributes:
        errors: condition → this error, in its unit; a condition that is absent is not judged.
    """

    predictor: PropertyPredictor
    errors: Mapping[str, float]

    def distances(self, crystals: CrystalBatch, conditions: Sequence[Conditions]) -> list[float]:
        """The largest distance from a target in units of its error, for each crystal."""
        distances = [0.0] * len(conditions)
        cells: dict[int, Structure] = {}  # of the crystals that can be judged
        for i, structure in enumerate(to_structures(crystals)):
            if structure is not None and check_structure(structure).plausible:
                cells[i] = structure
            elif self.errors.keys() & conditions[i].targets.keys():
                distances[i] = math.inf
        for name, error in self.errors.items():
            judged = [i for i in cells if name in conditions[i].targets]
            values = predicted_values(self.predictor, [cells[i] for i in judged], GUIDED[name])
            for i, value in zip(judged, values, strict=True):
                apart = math.inf if value is None else abs(value - conditions[i].targets[name])
                distances[i] = max(distances[i], apart / error)
        return distances


def target_judge(names: Collection[str], device: str) -> TargetJudge | None:
    """The judge of some conditions by the usual predictor.

    None where it is not installed, or predicts none of them with a measured error.

    Args:
        names: conditions, of which those of :data:`crystal_core.conditions.PROPERTIES` are judged.
    """
    if not set(names) & GUIDED.keys() or not is_installed(PREDICTOR):
        return None
    measured = {GUIDED[name]: name for name in GUIDED if name in names}
    errors = {measured[label]: error for label, error in _errors(measured).items() if error is not None}
    if not errors:
        return None
    from crystal_core.workflows.predict_properties import load_property_predictor

    return TargetJudge(predictor=load_property_predictor(PREDICTOR, device), errors=errors)


def _errors(labels: Collection[str]) -> dict[str, float | None]:
    """Property → mean absolute error of the usual predictor on test crystals; None where not measured.

    Without properties that it does not predict.
    """
    known = {spec.name for spec in declared_properties(PREDICTOR)} if is_installed(PREDICTOR) else set()
    metrics = find_card(PREDICTOR).metrics if known else {}
    entries = {label: metrics.get(f"mae_{label}_test") for label in labels if label in known}
    return {label: None if entry is None else float(entry["value"]) for label, entry in entries.items()}


class TargetPredictions:
    """The predicted properties of a run's crystals for which it has targets.

    Args:
        targets: property → target, in its unit; those that the usual predictor does not know are left out.
    """

    def __init__(self, targets: Mapping[str, float], device: str) -> None:
        self.errors = _errors(targets) if targets else {}
        self.targets = {name: targets[name] for name in self.errors}
        self.device = device
        self._predicted: list[dict[str, PropertyValue]] = []

    def add_to(self, crystals: Sequence[CrystalRecord]) -> None:
        """Store the predictions in the records; each crystal is predicted once, by its place."""
        if self.targets and len(crystals) > len(self._predicted):
            from crystal_core.workflows.predict_properties import load_property_predictor, property_rows

            predictor = load_property_predictor(PREDICTOR, self.device)
            specs = chosen_properties(tuple(self.targets), predictor.properties)
            items = [{"source": record["id"], **record} for record in crystals[len(self._predicted) :]]
            rows = property_rows(items, predictor, specs)
            self._predicted += [row.get("predictions", {}) for row in rows]
        for record, predictions in zip(crystals, self._predicted, strict=False):
            if predictions:
                record["predictions"] = predictions

    def summary(self) -> dict[str, TargetSummary]:
        """Property → how near its target the predictions are; without those of which there is none."""
        entries: dict[str, TargetSummary] = {}
        for name, target in self.targets.items():
            values = [one[name]["value"] for one in self._predicted if name in one]
            if not values:
                continue
            entry: TargetSummary = {
                "target": target,
                "unit": spec_of(name, {}).unit,
                "median": round(median(values), 4),
                "of": len(values),
                "predictor": PREDICTOR,
            }
            if (error := self.errors[name]) is not None:
                entry |= {"error": error, "n": sum(abs(value - target) <= error for value in values)}
            entries[name] = entry
        return entries


def target_words(name: str, summary: TargetSummary) -> str:
    """A sentence on one target of a run."""
    spec = spec_of(name, {})
    unit, digits = f" {spec.unit}", spec.decimals
    begin = f"{spec.title}, target {fixed(summary['target'], digits)}{unit}: "
    middle = f"{fixed(summary['median'], digits)}{unit} in the median"
    if "n" not in summary or "error" not in summary:
        return f"{begin}{middle}, as {summary['predictor']} predicts."
    return (
        f"{begin}{summary['n']} of {summary['of']} are within {fixed(summary['error'], digits)}{unit} of it, "
        f"{middle}, as {summary['predictor']} predicts."
    )
