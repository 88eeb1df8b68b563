"""The order of the crystals of a generation, and the tests that a reader can ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from crystal_core.chemistry.formula import atomic_number_of
from crystal_core.records import TargetSummary
from pages._ui.run.runs import NumberedCrystal
from pages._ui.run.verdicts import is_credible, stability

Targets = Mapping[str, TargetSummary]  # property → target and the predictor's error
Groups = dict[int | None, list[NumberedCrystal]]  # the number of a group of like crystals → its members


def requested_elements(request: Mapping[str, Any]) -> set[int]:
    """Atomic numbers of the requested elements, without excluded ones; empty where any will do."""
    symbols = set(request.get("elements") or ()) - set(request.get("exclude_elements") or ())
    return {atomic_number_of(symbol) for symbol in symbols}


def filtered(
    records: list[NumberedCrystal], groups: Groups, requested: set[int], targets: Targets
) -> list[NumberedCrystal]:
    """The crystals to show, most promising first, led by those with most of the ``requested`` elements."""
    tests: dict[str, Callable[[NumberedCrystal], bool]] = {
        "valid": is_credible,
        "distinct": lambda r: groups[r["group"]][0] is r,
        "new": lambda r: bool(r.get("novelty")) and not r["novelty"]["known"],
        "near the hull": lambda r: above_hull(r) is not None and stability(r).tone != "bad",
    }
    offered = [name for name, test in tests.items() if 0 < sum(map(test, records)) < len(records)]
    first = [name for name in ("distinct",) if name in offered]
    wanted = (
        st.pills(
            "Show only",
            offered,
            selection_mode="multi",
            default=first,
            key="only",
            format_func="Only {}".format,
            label_visibility="collapsed",
        )
        if offered
        else []
    )
    return sorted(
        (r for r in records if all(tests[name](r) for name in wanted)),
        key=lambda r: (
            -len(requested & set(r["atomic_numbers"])),
            *_promise(r, len(groups[r["group"]]), targets),
        ),
    )


def _promise(record: NumberedCrystal, n_alike: int, targets: Targets) -> tuple[Any, ...]:
    """Sort key: sound and new ones first, then by targets, by energy, and by how often they were made."""
    above = above_hull(record)
    novelty = record.get("novelty")
    return (
        not is_credible(record),
        not record["validity"]["plausible"],
        bool(novelty and novelty["known"]),
        _n_missed(record, targets),
        above is None,
        above or 0.0,
        -n_alike,
        record["number"],
    )


def _n_missed(record: NumberedCrystal, targets: Targets) -> int:
    """Targets from which the prediction for a crystal is farther than the predictor's error."""
    predictions = record.get("predictions") or {}
    return sum(
        name not in predictions or abs(predictions[name]["value"] - one["target"]) > one["error"]
        for name, one in targets.items()
        if "error" in one
    )


def above_hull(record: NumberedCrystal) -> float | None:
    """The energy above the hull, eV/atom; None without a relaxation."""
    energies = record.get("energies")
    return energies.get("e_above_hull_ev") if energies else None
