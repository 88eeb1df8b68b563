"""Predicted properties as a CSV table: a row per crystal, a few columns per property."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crystal_core.records import LearnedProperty, NearExample, PropertyColumn, PropertyRow

LAST = ("notes", "error")
# a spreadsheet would compute a cell that begins with one; it skips a tab or a line break before the sign
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n")


def property_csv(rows: Sequence[PropertyRow], properties: Sequence[PropertyColumn]) -> str:
    """Source, formula, atoms and domain, then per property value, interval, and the nearest known value.

    Notes and the error come last.

    A property's columns are ``<name>``, ``<name>_low``, ``<name>_high``, ``<name>_std``, and, of the closest
    training crystal whose value is known, ``<name>_known`` and ``<name>_known_id``; the names carry the unit.
    """
    table = [_cells(row, properties) for row in rows]
    columns = dict.fromkeys(column for cells in table for column in cells)
    ends = [column for column in LAST if column in columns]
    names = [column for column in columns if column not in LAST]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*names, *ends], restval="", lineterminator="\n")
    writer.writerow({name: spreadsheet_text(name) for name in writer.fieldnames})  # one may name a property
    writer.writerows(table)
    return text.getvalue()


def parity_csv(learned: LearnedProperty) -> str:
    """Id, formula, true and predicted value of every crystal held out of a training."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "formula", "true", "predicted"])
    for name, formula, true, predicted in zip(
        learned["ids"], learned["formulas"], learned["true"], learned["predicted"], strict=True
    ):
        writer.writerow([spreadsheet_text(name), formula, true, predicted])
    return text.getvalue()


def known_example(row: PropertyRow, name: str) -> NearExample | None:
    """The closest training crystal whose value of a property is known."""
    return next((near for near in row.get("nearest", ()) if name in near["values"]), None)


def _cells(row: PropertyRow, properties: Sequence[PropertyColumn]) -> dict[str, Any]:
    cells: dict[str, Any] = {
        "source": spreadsheet_text(row["source"]),
        "formula": row.get("formula", ""),
        "n_atoms": row.get("n_atoms", ""),
        "domain": row.get("domain", ""),
    }
    for column in properties:
        name = column["name"]
        predicted = row.get("predictions", {}).get(name)
        if predicted is None:
            cells[name] = ""
            continue
        cells[name] = predicted["value"]
        for part in ("low", "high", "std"):
            if part in predicted:
                cells[f"{name}_{part}"] = predicted[part]
        if near := known_example(row, name):
            cells |= {f"{name}_known": near["values"][name], f"{name}_known_id": spreadsheet_text(near["id"])}
    if notes := row.get("notes"):
        cells["notes"] = spreadsheet_text(" ".join(notes))
    return cells | ({"error": spreadsheet_text(row["error"])} if "error" in row else {})


def spreadsheet_text(text: str) -> str:
    r"""The text, quoted where a spreadsheet would compute it.

    >>> spreadsheet_text("=1+1"), spreadsheet_text("\t@SUM(1)"), spreadsheet_text("NaCl-2")
    ("'=1+1", "'\t@SUM(1)", 'NaCl-2')
    """
    return f"'{text}" if text.startswith(FORMULA_SIGNS) else text
