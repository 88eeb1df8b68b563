"""Reference numbers for property predictors: published ones, and those of the baselines measured here.

``published_properties.json`` names the source of every value. ``property_baselines.json`` is written
by ``crystal-core evaluate property --model mean|composition|nearest|chgnet-features --write-card``
and by nothing else.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from crystal_core.evaluation.baseline_files import read_baselines, store_baseline

PUBLISHED = Path(__file__).with_name("published_properties.json")
BASELINES = Path(__file__).with_name("property_baselines.json")


def published_value(name: str, fold: int = 0) -> dict[str, Any] | None:
    """Value, method, protocol, source and note of the nearest published protocol, of the fold if published.

    None where no value is known.
    """
    entry = _published().get(name)
    if entry is None:
        return None
    entry = dict(entry)
    by_fold = entry.pop("by_fold", None)
    if by_fold is None:
        return entry
    return entry | {
        "value": by_fold[fold],
        "protocol": f"{entry['protocol']}, fold {fold}",
        "mean_of_folds": entry["value"],
    }


def baseline_values(name: str, rows: str) -> dict[str, Any]:
    """Baseline → its entry for a property, of those that were measured on exactly these rows.

    Args:
        rows: digest of the rows and their true values.
    """
    return {
        model: entries[name]
        for model, entries in read_baselines(BASELINES).items()
        if entries.get(name, {}).get("rows") == rows
    }


def keep_baseline(model: str, entries: dict[str, dict[str, Any]]) -> None:
    """Put a baseline's entries (property → measurement) into the file, replacing those of the same names."""
    store_baseline(model, entries, BASELINES)


@lru_cache(maxsize=1)
def _published() -> dict[str, Any]:
    return json.loads(PUBLISHED.read_text(encoding="utf-8"))["values"]
