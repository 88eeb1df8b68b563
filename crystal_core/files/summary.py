"""The crystals of a run as a CSV table, a row each."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crystal_core.files.property_table import spreadsheet_text

if TYPE_CHECKING:
    from crystal_core.records import CrystalRecord

COLUMNS = (
    *("file", "formula", "n_atoms", "space_group", "space_group_number", "density_g_cm3"),
    *("volume_angstrom3", "structure_valid", "composition_valid", "plausible", "reasons"),
    *("score", "score_value", "score_unit", "group", "known", "nearest_id", "model", "notes"),
)


def summary_csv(records: Sequence[CrystalRecord]) -> str:
    """File, formula, symmetry, density, verdicts, score, nearest known crystal and model, a row a crystal."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(_row, records))
    return text.getvalue()


def _row(record: CrystalRecord) -> dict[str, Any]:
    group, score, validity = record["space_group"], record["score"], record["validity"]
    novelty: Any = record.get("novelty") or {}
    cells: dict[str, Any] = {
        "file": f"{record['id']}.cif",
        "formula": record["formula"],
        "n_atoms": record["n_atoms"],
        "space_group": group["symbol"] if group else "",
        "space_group_number": group["number"] if group else "",
        "density_g_cm3": round(record["density"], 4),
        "volume_angstrom3": round(_volume(record["lattice"]), 3),
        "structure_valid": validity["structure"],
        "composition_valid": validity["composition"],
        "plausible": validity["plausible"],
        "reasons": " ".join(validity["reasons"]),
        "score": score["name"] if score else "",
        "score_value": score["value"] if score else "",
        "score_unit": score["unit"] if score else "",
        "group": "" if record["group"] is None else record["group"],
        "known": novelty.get("known", ""),
        "nearest_id": novelty.get("nearest_id") or "",
        "model": record["provenance"].get("model", ""),
        "notes": " ".join(record.get("notes") or ()),
    }
    return {name: spreadsheet_text(cell) if isinstance(cell, str) else cell for name, cell in cells.items()}


def _volume(lattice: Sequence[Sequence[float]]) -> float:
    (a, b, c), (d, e, f), (g, h, i) = lattice
    return abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))
