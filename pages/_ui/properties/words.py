"""Predicted properties as words and numbers: table columns, card lines, strip of training values.

Pure: no drawing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crystal_core.files.property_table import known_example
from crystal_core.properties import Domain, fixed, labelled, shown_unit, shown_value
from pages._ui.crystal.typeset import formula_text

if TYPE_CHECKING:
    from crystal_core.records import NearExample, PropertyColumn, PropertyRow, PropertyValue
    from crystal_core.registry.property_cards import Histogram
    from pages._ui.run.verdict import Tone

INTERVALS, KNOWN = "90 % intervals", "Known values"
# properties whose labels are older than the geometry that the model reads
OLDER_LABELS = (
    "formation_energy_per_atom_ev",
    "e_above_hull_ev",
    "band_gap_ev",
    "is_metal",
    "bulk_modulus_gpa",
    "shear_modulus_gpa",
)


@dataclass(frozen=True, kw_only=True)
class Range:
    """How far a crystal is from the training data: table sign, words for a sum and badge, meaning."""

    sign: str
    short: str
    tone: Tone
    word: str
    meaning: str


RANGES: dict[Domain, Range] = {
    "inside": Range(
        sign="●",
        short="inside",
        tone="good",
        word="inside the training range",
        meaning="As close to a training crystal as nine of ten held-out crystals.",
    ),
    "edge": Range(
        sign="◐",
        short="at its edge",
        tone="open",
        word="edge of the training range",
        meaning="Farther from the training crystals than nine of ten held-out crystals: "
        "read the values with care.",
    ),
    "outside": Range(
        sign="○",
        short="outside",
        tone="bad",
        word="outside the training range",
        meaning="Farther from the training crystals than 99 of 100 held-out crystals: "
        "do not rely on the values.",
    ),
}
DISTANCE = (
    "1 is the usual distance between a held-out crystal and its closest training crystal, "
    "in the model's latent space."
)


def label_of(column: PropertyColumn) -> str:
    """``Band gap (PBE, eV)``; a pure number has no unit."""
    return labelled(column["title"], shown_unit(column))


def note_of(column: PropertyColumn) -> str:
    """The meaning of the learned values."""
    if column["name"] not in OLDER_LABELS:
        return f"Labels: {column['method']}."
    return f"Labels: {column['method'].removesuffix(', MP 2018')}, of MP 2018. Geometry: MP 2025."


def value_words(value: float, column: PropertyColumn) -> str:
    """A physical value in the unit that people read, with the property's digits."""
    return fixed(shown_value(value, column), column["decimals"])


def interval_words(predicted: PropertyValue, column: PropertyColumn) -> str:
    """Both ends of the interval; empty where there is none."""
    if "low" not in predicted or "high" not in predicted:
        return ""
    return f"{value_words(predicted['low'], column)} to {value_words(predicted['high'], column)}"


def example_words(near: NearExample) -> str:
    """Which crystal a known example is."""
    return f"{formula_text(near['formula'])} ({near['id']})"


def name_of(row: PropertyRow) -> str:
    """The formula of a crystal and what it is called; only the latter where that begins with the formula."""
    formula, source = row.get("formula", ""), row["source"]
    if formula and source.startswith(f"{formula} "):
        return formula_text(source)
    return " · ".join(filter(None, (formula_text(formula), source)))


def card_rows(
    row: PropertyRow, columns: Sequence[PropertyColumn], histograms: Mapping[str, Histogram]
) -> list[dict[str, Any]]:
    """The card's lines for one crystal, one per property.

    ``known`` is the true value of the closest training crystal whose value is known; ``knownOf`` names that
    crystal where it is not the closest of all.
    """
    lines = []
    for column in columns:
        predicted = row.get("predictions", {}).get(column["name"])
        if predicted is None:
            continue
        near = known_example(row, column["name"])
        histogram = histograms.get(column["name"])
        lines.append(
            {
                "title": column["title"],
                "note": note_of(column),
                "value": value_words(predicted["value"], column),
                "unit": shown_unit(column),
                "interval": interval_words(predicted, column),
                "known": value_words(near["values"][column["name"]], column) if near else "",
                "knownOf": example_words(near) if near and near != row["nearest"][0] else "",
                "strip": training_strip(histogram, predicted, logarithmic=column["logarithmic"])
                if histogram
                else None,
            }
        )
    return lines


def training_strip(
    histogram: Histogram, predicted: PropertyValue, *, logarithmic: bool = False
) -> dict[str, Any]:
    """The training values as bars with the prediction among them.

    Returns:
        ``bars`` as [left, width, height], ``tick`` and ``band`` (of the interval, or None) between 0 and 1,
        and ``words``.
    """
    edges = histogram.edges
    scale = math.log10 if logarithmic and edges[0] > 0 else float
    first, last = scale(edges[0]), scale(edges[-1])

    def place(value: float) -> float:
        return (scale(min(max(value, edges[0]), edges[-1])) - first) / (last - first)

    most = max(histogram.counts)
    places = [place(edge) for edge in edges]
    bars = [
        [round(left, 4), round(right - left, 4), round(count / most, 4)]
        for left, right, count in zip(places[:-1], places[1:], histogram.counts, strict=True)
    ]
    value, low, high = predicted["value"], predicted.get("low"), predicted.get("high")
    band = None if low is None or high is None else [round(place(low), 4), round(place(high), 4)]
    if value < edges[0]:
        words = "Below all training values"
    elif value > edges[-1]:
        words = "Above all training values"
    else:
        words = f"Above {100 * histogram.share_below(value):.0f} % of the training values"
    return {"bars": bars, "tick": round(place(value), 4), "band": band, "words": words}


def table_row(
    row: PropertyRow, columns: Sequence[PropertyColumn], extra_columns: Sequence[str] = ()
) -> dict[str, Any]:
    """One line of the table of crystals; ``shown`` adds columns for the intervals and the known values."""
    near = row.get("nearest")
    line: dict[str, Any] = {
        "crystal": row["source"],
        "formula": formula_text(row.get("formula", "")),
        "atoms": row.get("n_atoms"),
        "training range": range_words(row),
        "note": " ".join(row.get("notes", ())),
    }
    for column in columns:
        name = column["name"]
        predicted = row.get("predictions", {}).get(name)
        line[label_of(column)] = shown_value(predicted["value"], column) if predicted else None
        if INTERVALS in extra_columns:
            line[f"{column['title']}, 90 %"] = interval_words(predicted, column) if predicted else ""
        if KNOWN in extra_columns:
            known = known_example(row, name)
            line[f"{column['title']}, known"] = shown_value(known["values"][name], column) if known else None
    return line | {"closest known": example_words(near[0]) if near else ""}


def range_words(row: PropertyRow) -> str:
    """The sign and the word for how far a crystal is from the training data.

    Empty where nothing was predicted.
    """
    domain = row.get("domain")
    return f"{RANGES[domain].sign} {domain}" if domain in RANGES else ""


def run_cells(row: PropertyRow | None, columns: Sequence[PropertyColumn]) -> dict[str, Any]:
    """The columns that the table of a run gains for one of its crystals.

    None where nothing is predicted of it.
    """
    predictions = row.get("predictions", {}) if row else {}
    cells: dict[str, Any] = {
        run_label(column): shown_value(predictions[column["name"]]["value"], column)
        if column["name"] in predictions
        else None
        for column in columns
    }
    return cells | ({"training range": range_words(row) if row else ""} if columns else {})


def run_label(column: PropertyColumn) -> str:
    """The head of a property's column among those that were not predicted."""
    title = column["title"][:1].lower() + column["title"][1:]
    return labelled(title, shown_unit(column), "predicted")
