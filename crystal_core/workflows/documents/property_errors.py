"""Measured errors of property predictors, beside the baselines on the same rows and a published value.

The documents and the Models page lay the same numbers out in their own columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crystal_core.evaluation.property_references import baseline_values, published_value
from crystal_core.properties import PROPERTIES, PropertySpec
from crystal_core.workflows.documents.numbers import digits, measured


@dataclass(frozen=True, kw_only=True)
class PropertyError:
    """The error of one property on its test rows.

    Attributes:
        metric: the entry of the card.
        unit: of the texts. factor: turns a stored number into it.
        baselines: name → entry that was measured on the same rows.
        published: the nearest published entry of the same metric, if there is one.
    """

    spec: PropertySpec
    metric: Mapping[str, Any]
    unit: str
    factor: float
    baselines: Mapping[str, Mapping[str, Any]]
    published: Mapping[str, Any] | None

    @property
    def value(self) -> str:
        """The error with its 95 % interval."""
        return measured(self.metric, self.factor)

    def number(self, value: float) -> str:
        """A stored error of a baseline, in the unit of the texts."""
        return digits(self.factor * value, None)

    @property
    def published_value(self) -> str | None:
        """The published error and its method."""
        if self.published is None:
            return None
        return f"{self.number(self.published['value'])} ({self.published['method']})"


def property_errors(metrics: Mapping[str, Any]) -> list[PropertyError]:
    """The errors on test rows among the metrics of a card, in the order of the property table."""
    return [
        _error(spec, metric)
        for name, spec in PROPERTIES.items()
        for kind in ("mae", "roc_auc")
        if isinstance(metric := metrics.get(f"{kind}_{name}_test"), Mapping)
    ]


def _error(spec: PropertySpec, metric: Mapping[str, Any]) -> PropertyError:
    # a modulus is measured as a logarithm, whose unit is not the property's own
    own = metric.get("unit", "") == spec.unit
    published = published_value(spec.name)
    return PropertyError(
        spec=spec,
        metric=metric,
        unit=(spec.shown_unit or spec.unit) if own else metric.get("unit", ""),
        factor=spec.shown_factor if own else 1.0,
        baselines=baseline_values(spec.name, str(metric.get("rows", ""))),
        published=published if published and published["metric"] == metric["metric"] else None,
    )
