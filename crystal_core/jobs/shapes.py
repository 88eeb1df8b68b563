"""The shape that requests, results and snapshots must have so that pages can show them.

Results are checked when a row is read, because one damaged row must not make a list of all rows fail. The
check covers what every view of a run reads without a default, and nothing that an earlier version did not
write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Maybe:
    """A value that may be absent or None."""

    shape: Any


NUMBER = (int, float)
CELL = {"lattice": [[NUMBER]], "atomic_numbers": [int], "frac_coords": [[NUMBER]]}
GIVEN = CELL | {"notes": Maybe([str])}
RECORD = CELL | {
    "id": str,
    "formula": str,
    "n_atoms": int,
    "density": NUMBER,
    "validity": {"structure": bool, "composition": bool, "plausible": bool, "reasons": [str]},
    "space_group": Maybe({"symbol": str, "number": int}),
    "origin": Maybe(str),
    "group": Maybe(int),
    "score": Maybe({"value": Maybe(NUMBER), "unit": str}),
    "provenance": dict,
    "energies": Maybe(dict),
    "novelty": Maybe({"known": bool}),
    "relaxation": Maybe(dict),
    "original": Maybe(CELL),
    "predictions": Maybe(dict),
}
GENERATED = RECORD | {"group": int}
CANDIDATE = GENERATED | {"z": int, "origin": str, "score": {"value": Maybe(NUMBER), "unit": str}}
COLUMN = {
    "name": str,
    "title": str,
    "unit": str,
    "method": str,
    "logarithmic": bool,
    "decimals": int,
    "shown_unit": Maybe(str),
    "shown_factor": Maybe(NUMBER),
}
PREDICTED = {
    "source": str,
    "id": Maybe(str),
    "error": Maybe(str),
    "formula": Maybe(str),
    "n_atoms": Maybe(int),
    "domain": Maybe(str),
    "predictions": Maybe(dict),
    "notes": Maybe([str]),
    "place": Maybe([NUMBER]),
    "nearest": Maybe([{"id": str, "formula": str, "distance": NUMBER, "values": dict}]),
}
LEARNED = {
    "name": str,
    "property": COLUMN,
    "n_train": int,
    "n_held_out": int,
    "mae": NUMBER,
    "mae_of_mean": NUMBER,
    "held_out_by": str,
    "ids": [str],
    "formulas": [str],
    "true": [NUMBER],
    "predicted": [NUMBER],
    "skipped": [{"id": str, "reason": str}],
}
DRAFTED = {"text": str, "problem": str}
COMPARED = {
    "letter": str,
    "name": str,
    "source": str,
    "settings": dict,
    "metrics": dict,
    "samples": [{"target": Maybe(int), "sample": Maybe(int), "id": Maybe(str)}],
    "crystals": [RECORD],
}
MADE_WITH = {"settings": {"seed": int}, "seconds": NUMBER}
REQUESTS: dict[str, Any] = {
    "predict-structure": {"formula": str, "z": Maybe([int]), "pattern": Maybe(dict)},
    "generate": {
        "n": Maybe(int),
        "elements": Maybe([str]),
        "exclude_elements": Maybe([str]),
        "n_atoms": Maybe([int]),
        "density": Maybe(NUMBER),
        "guidance": Maybe(NUMBER),
        "space_group": Maybe(str),
        "crystal_system": Maybe(str),
        "formula": Maybe(str),
        "contain": Maybe([str]),
        "any_of": Maybe([[str]]),
        "band_gap": Maybe(NUMBER),
        "formation_energy": Maybe(NUMBER),
        "e_above_hull": Maybe(NUMBER),
        "temperature": Maybe(NUMBER),
        "top_p": Maybe(NUMBER),
        "charge_balance": Maybe(bool),
        "rewrites": Maybe(int),
        "fix": Maybe(GIVEN),
        "start_from": Maybe(GIVEN),
        "redraft_sites": Maybe([int]),
        "fix_sites": Maybe([int]),
        "symmetrise": Maybe(NUMBER),
    },
    "relax": {"crystals": [GIVEN | {"id": str}]},
    "predict-property": {"crystals": [{"source": str}], "properties": Maybe([str])},
    "learn-property": {
        "crystals": [{"source": str}],
        "values": [NUMBER],
        "splits": Maybe([str]),
        "column": str,
        "title": Maybe(str),
        "unit": Maybe(str),
    },
    "infill": {"crystal": GIVEN, "sites": [int], "source": Maybe(str)},
    "compare": {"columns": [dict], "formulas": Maybe([str]), "targets": Maybe([CELL]), "n": int},
}
RESULTS: dict[str, Any] = {
    "predict-structure": MADE_WITH
    | {"results": [{"candidates": [CANDIDATE]}], "rejected": Maybe(dict), "left_out": Maybe([DRAFTED])},
    "generate": MADE_WITH
    | {
        "crystals": [GENERATED],
        "summary": {"n": int, "valid": int, "unique": int},
        "rejected": Maybe(dict),
        "failed_drafts": Maybe([DRAFTED]),
        "left_out": Maybe([DRAFTED]),
    },
    "relax": {"crystals": [RECORD]},
    "predict-property": {"rows": [PREDICTED], "properties": [COLUMN], "seconds": NUMBER},
    "learn-property": MADE_WITH | {"learned": LEARNED},
    "infill": MADE_WITH
    | {"fitting": {"present": str, "sites": [int], "rows": [{"element": str, "probability": NUMBER}]}},
    "compare": MADE_WITH
    | {
        "columns": [COMPARED],
        "paired": [{"a": str, "b": str, "metric": str, "difference": NUMBER, "ci95": Maybe([NUMBER])}],
        "differing_settings": dict,
        "metrics": [{"name": str, "title": str, "unit": str, "kind": str, "better": str, "meaning": str}],
    },
}


def is_request(kind: str, value: Any) -> bool:
    """Whether ``value`` can be the request of a run of this kind; of an unknown kind any object can."""
    return fits(value, REQUESTS.get(kind, dict))


def is_result(kind: str, value: Any) -> bool:
    """Whether ``value`` can be the result of a run of this kind; of an unknown kind any object can."""
    return fits(value, RESULTS.get(kind, dict))


def is_snapshot(kind: str, value: Any) -> bool:
    """Whether ``value`` can be drawn while a run of this kind is going on.

    Of an unknown kind any object can.
    """
    if kind not in RESULTS:
        return isinstance(value, dict)
    return fits(value, {"cells": [CELL]}) or fits(value, CELL)


def fits(value: Any, shape: Any) -> bool:
    """Whether a JSON value has a shape: a type, ``[shape]`` of all items, or a mapping of required keys.

    >>> fits({"n": 3, "more": None}, {"n": int, "elements": Maybe([str])}), fits({"n": [3]}, {"n": int})
    (True, False)
    """
    if isinstance(shape, Maybe):
        return value is None or fits(value, shape.shape)
    if isinstance(shape, Mapping):
        return isinstance(value, Mapping) and all(
            fits(value[key], part) if key in value else isinstance(part, Maybe) for key, part in shape.items()
        )
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(item, shape[0]) for item in value)
    return isinstance(value, shape)
