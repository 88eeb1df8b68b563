"""Columns of existing crystals: a stored run, files, or files named after known crystals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crystal_core.errors import RequestError
from crystal_core.files.records import cell_json
from crystal_core.records import RunResult, crystals_of
from crystal_core.workflows.compare.request import CELL, MAX_CRYSTALS

if TYPE_CHECKING:
    from pymatgen.core import Structure


KINDS = ("predict-structure", "generate", "relax")  # of runs that a column can show
SHOWN_SETTINGS = ("model", "sampler_used", "steps_used", "start", "rank", "relax", "seed")


def column_of_run(kind: str, result: RunResult | None, name: str) -> dict[str, Any]:
    """The JSON of a column with the crystals of a run, best or first ones first.

    Raises:
        RequestError: the run has no crystals.
    """
    records = crystals_of(result or {}) if kind in KINDS else []
    if result is None or not records:
        raise RequestError(
            f"The run {name} has no crystals to compare; "
            "choose a finished prediction, generation or relaxation."
        )
    used = result.get("settings") or {}
    settings = {key.removesuffix("_used"): used[key] for key in SHOWN_SETTINGS if used.get(key) is not None}
    crystals = [
        {
            key: record[key]
            for key in ("lattice", "atomic_numbers", "frac_coords", "energies")
            if key in record
        }
        for record in records[:MAX_CRYSTALS]
    ]
    return {"crystals": crystals, "source": "run", "name": name, "settings": settings}


def column_of_files(structures: Sequence[Structure], name: str, notes: Sequence[str] = ()) -> dict[str, Any]:
    """The JSON of a column with crystals that were read from files, and notes on the files."""
    crystals = [dict(cell_json(s)) for s in structures]
    return {"crystals": crystals, "source": "files", "name": name} | ({"notes": [*notes]} if notes else {})


def column_of_candidates(candidates: Sequence[Sequence[Structure | None]], name: str) -> dict[str, Any]:
    """The JSON of a column of candidates for known crystals, in their order; failed ones are empty lists."""
    crystals = [
        (dict.fromkeys(CELL, ()) if s is None else dict(cell_json(s))) | {"target": t, "sample": k}
        for t, part in enumerate(candidates)
        for k, s in enumerate(part)
    ]
    return {"crystals": crystals, "source": "files", "name": name}


def target_json(reference: Any) -> Mapping[str, Any]:
    """A row of a table of known crystals as a target."""
    return {"id": reference.id, **cell_json(reference.structure)}
