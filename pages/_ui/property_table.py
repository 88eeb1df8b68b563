"""A predictor's measured errors beside baselines and published values, a row per property."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crystal_core.properties import PROPERTIES, labelled, shortest
from crystal_core.workflows.documents.property_errors import PropertyError, property_errors
from crystal_core.workflows.pretraining_study import VARIANT_TITLES, studies_of

BASELINES = {
    "mean": "mean",
    "composition": "composition alone",
    "nearest": "nearest known crystal",
    "chgnet-features": "CHGNet features",
}
WAYS = {
    "start": "heads of {start}, as they are",
    "line": "heads of {start}, behind a straight line",
    "heads": "new heads alone",
    "lora": "low-rank changes and heads",
    "full": "the whole encoder and heads",
}
CHGNET = "CHGNet was trained on most of these crystals; for energies and hull distances that is a leak."


def property_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A predictor's measured errors on test rows, in the order of the property table."""
    return [_row(error) for error in property_errors(metrics)]


def _row(error: PropertyError) -> dict[str, Any]:
    covered = error.metric.get("coverage90")
    row: dict[str, Any] = {
        "property": labelled(error.spec.title, error.unit),
        "error": error.metric["metric"],
        "value (95 % interval)": error.value,
    }
    row |= {
        BASELINES.get(name, name): error.number(entry["value"]) for name, entry in error.baselines.items()
    }
    row |= {
        "n": error.metric.get("n"),
        "90 % intervals hold": f"{100 * covered:.0f} %" if covered is not None else None,
    }
    if error.published:
        row |= {"published": error.published_value, "published on": error.published["protocol"]}
    return row


def fit_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Other ways to fit a part's property, as measured by ``crystal-core evaluate adapters --write-card``."""
    rows = []
    for metric in metrics.values():
        if not isinstance(metric, Mapping) or metric.get("way") not in WAYS:
            continue
        start = PROPERTIES.get(str(metric.get("start")))
        words = WAYS[metric["way"]].format(start=start.title if start else "another property")
        if start and metric["way"] not in ("start", "line"):
            words = words.replace("new heads", "heads") + f", from those of {start.title}"
        ci95, not_seen = metric.get("ci95"), metric.get("not_seen")
        rows.append(
            {
                "trained": words,
                "labels": f"{metric['n_train']:,}",
                "error": labelled(metric["metric"], metric.get("unit", "")),
                "test": shortest(metric["value"], 3),
                "95 %": f"{shortest(ci95[0], 3)} – {shortest(ci95[1], 3)}" if ci95 else None,
                "±": shortest(metric["std"], 3) if metric.get("std") is not None else None,
                "validation": shortest(metric["validation_mae"], 3),
                "crystals new to the encoder": f"{shortest(not_seen, 3)} (n {metric['n_not_seen']})"
                if not_seen
                else None,
                "n": metric["n"],
                "protocol": metric["protocol"],
            }
        )
    return rows


def pretraining_rows(extra: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Errors after pretraining and fine-tuning: ``crystal-core evaluate pretraining --write-card``."""
    return [
        {
            "encoder": table["encoder"],
            "pretraining": VARIANT_TITLES.get(kind, kind),
            "labels": f"{labels:,}",
            "error": f"{shortest(mae, 3)} ± {shortest(std, 3)}" if std != "" else shortest(mae, 3),
            "seeds": seeds,
            "measured": table["metric"],
            "protocol": table["protocol"],
        }
        for table in studies_of(extra)
        for kind, labels, mae, std, seeds in zip(
            table["pretraining"], table["labels"], table["mae"], table["std"], table["seeds"], strict=True
        )
    ]
