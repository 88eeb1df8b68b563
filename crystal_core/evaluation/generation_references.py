"""Reference numbers for generators: published ones, and those of baselines without a network.

``generation_references.json`` names the source of every published value. ``generation_baselines.json`` is
written by ``crystal-core evaluate dng --baseline NAME --write-card`` and by nothing else.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from crystal_core.evaluation.baseline_files import read_baselines, store_baseline

BASELINES = Path(__file__).with_name("generation_baselines.json")
REFERENCES = Path(__file__).with_name("generation_references.json")


def published_structure_prediction() -> list[dict[str, Any]]:
    """Published match rates: ``data, method, match_rate, source, protocol`` and, where at hand, ``rmse``.

    With one sample a row, unless ``method`` says otherwise.
    """
    return list(_read()["published_structure_prediction"])


def published_de_novo() -> list[dict[str, Any]]:
    """Published shares of valid crystals and coverage: ``data, method, structure_valid, …, source``."""
    return list(_read()["published_de_novo"])


def published_stability() -> list[dict[str, Any]]:
    """Published shares of crystals near the hull: ``method, stable, metastable, sun, msun, source``."""
    return list(_read()["published_stability"])


def de_novo_baselines() -> dict[str, dict[str, Any]]:
    """Baseline of ``evaluate dng`` → its shares with interval, rows, protocol and command."""
    return read_baselines(BASELINES)


def keep_de_novo_baseline(name: str, entry: dict[str, Any]) -> None:
    """Store the measured numbers of a baseline; earlier ones are replaced."""
    store_baseline(name, entry, BASELINES)


@lru_cache(maxsize=1)
def _read() -> dict[str, Any]:
    return json.loads(REFERENCES.read_text(encoding="utf-8"))
