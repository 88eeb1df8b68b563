"""Judge drafts by their predicted properties: how far each is from the targets of its prompt."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crystal_core.errors import CrystalCoreError
from crystal_core.registry.property_cards import declared_properties, is_installed
from crystal_core.registry.store import find_card
from crystal_core.workflows.generation_conditions import GUIDED, PREDICTOR

if TYPE_CHECKING:
    from crystal_core.conditions import Conditions
    from crystal_core.crystal import CrystalBatch
    from crystal_core.protocols import PropertyPredictor


@dataclass(frozen=True, kw_only=True)
class TargetJudge:
    """Judges drafts by a predictor; see :class:`~crystal_core.guides.protocol.DraftJudge`.

    A target is met within the mean absolute error of the predictor on test crystals: nearer, differences say
    nothing.

    Attributes:
        errors: condition → this error, in its unit; a condition that is absent is not judged.
    """

    predictor: PropertyPredictor
    errors: Mapping[str, float]

    def distances(self, crystals: CrystalBatch, conditions: Sequence[Conditions]) -> list[float]:
        """The largest distance from a target in units of its error, for each crystal."""
        distances = [0.0] * len(conditions)
        for name, error in self.errors.items():
            judged = [i for i, one in enumerate(conditions) if name in one.targets]
            values = self._values([crystals[i] for i in judged], GUIDED[name])
            for i, value in zip(judged, values, strict=True):
                apart = math.inf if math.isnan(value) else abs(value - conditions[i].targets[name])
                distances[i] = max(distances[i], apart / error)
        return distances

    def _values(self, crystals: Sequence[CrystalBatch], name: str) -> list[float]:
        """A property of every crystal, in its unit; NaN for one that the predictor cannot take."""
        from crystal_core.crystal import CrystalBatch

        if not crystals:
            return []
        try:
            return list(self.predictor.values(CrystalBatch.concat(crystals), name))
        except CrystalCoreError:  # of one crystal; the others have a value
            if len(crystals) == 1:
                return [math.nan]
            return [value for one in crystals for value in self._values([one], name)]


def target_judge(names: Collection[str], device: str) -> TargetJudge | None:
    """The judge of some conditions by the usual predictor.

    None where it is not installed, or predicts none of them with a measured error.

    Args:
        names: conditions, of which those of :data:`crystal_core.conditions.PROPERTIES` are judged.
    """
    if not set(names) & GUIDED.keys() or not is_installed(PREDICTOR):
        return None
    known = {spec.name for spec in declared_properties(PREDICTOR)}
    metrics = find_card(PREDICTOR).metrics
    errors = {
        name: float(metrics[f"mae_{label}_test"]["value"])
        for name, label in GUIDED.items()
        if name in names and label in known and f"mae_{label}_test" in metrics
    }
    if not errors:
        return None
    from crystal_core.workflows.predict_properties import load_property_predictor

    return TargetJudge(predictor=load_property_predictor(PREDICTOR, device), errors=errors)
