"""The outcome of a property prediction: a table of all crystals, and one in full."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from crystal_core.drawing.scene import build_scene
from crystal_core.errors import CrystalCoreError
from crystal_core.files.property_table import property_csv
from crystal_core.files.records import structure_from_record
from crystal_core.jobs.job import Job
from crystal_core.records import PropertyColumn, PropertyRow
from crystal_core.reference.known_cells import known_cell
from pages._ui.properties.known import show_known
from pages._ui.properties.sending import histograms_of, show_card
from pages._ui.properties.words import INTERVALS, KNOWN, RANGES, label_of, name_of, note_of, table_row
from pages._ui.run.archive import timed_name
from pages._ui.run.runs import link_of, title_of
from pages._ui.tables import show_table
from pages._ui.text import escape_markdown
from pages._ui.viewer import crystal_viewer

MOST_ROWS = 10  # that are seen at once
ROW_HEIGHT = 35  # pixels
MOST_FAILED = 5  # crystals without values whose reasons stand under the table
THIS, CLOSEST = "This crystal", "Closest known"
WHAT = (
    "With calibrated 90 % intervals: of crystals held out of the training, "
    "nine of ten true values lie inside."
)


def show_predictions(job: Job, parent: Job | None) -> None:
    """Everything a finished (or partly finished) prediction tells.

    ``parent`` is the run whose crystals they are.
    """
    result = job.result or {}
    rows, columns = result["rows"], result["properties"]
    if parent is not None:
        page, query = link_of(parent)
        st.page_link(
            page,
            label=escape_markdown(f"Run: {title_of(parent)}"),
            query_params=query,
            icon=":material/arrow_back:",
        )
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        # at the left: on hover the table's own tools cover the right end of this line
        st.markdown(escape_markdown(result_words(rows)), help=WHAT, width="content")
        more = _extra_columns(job) if len(rows) > 1 else []
        _downloads(job, rows, columns)
    chosen = _table(job, rows, columns, more) if len(rows) > 1 else 0
    if len(rows) > 1:
        show_failed(rows, "the CSV")
    _show_crystal(job, rows[chosen], job.request["crystals"][chosen], columns)


def result_words(rows: list[PropertyRow]) -> str:
    """How many crystals were predicted, and how many of them the model knows the like of."""
    done = [row for row in rows if "predictions" in row]
    if len(rows) == 1:
        return "ML estimates"
    of = f"{len(done)} of {len(rows)}" if len(done) < len(rows) else f"{len(rows)}"
    counts = Counter(row["domain"] for row in done)
    places = [f"{counts[domain]} {RANGES[domain].short}" for domain in RANGES if counts[domain]]
    ranges = f"training range: {', '.join(places)}" if places else ""
    return " · ".join(filter(None, (f"{of} crystals", ranges, "ML estimates")))


def _downloads(job: Job, rows: list[PropertyRow], columns: list[PropertyColumn]) -> None:
    st.download_button(
        "CSV",
        lambda: property_csv(rows, columns),
        timed_name("properties", job.created, "csv"),
        "text/csv",
        key="csv",
        icon=":material/download:",
        on_click="ignore",
    )
    st.download_button(
        "JSON",
        lambda: json.dumps(job.result, ensure_ascii=False, indent=1),
        timed_name("properties", job.created, "json"),
        "application/json",
        key="json",
        icon=":material/download:",
        on_click="ignore",
    )


def show_failed(rows: Sequence[Mapping[str, Any]], more: str) -> None:
    """The reasons of crystals without values; a cell of the table would cut them.

    ``more`` says where the reasons of further ones stand.
    """
    failed = [row for row in rows if row.get("error")]
    for row in failed[:MOST_FAILED]:
        st.caption(escape_markdown(f"{row['source']}: {row['error']}"))
    if len(failed) > MOST_FAILED:
        st.caption(f"{len(failed) - MOST_FAILED:,} more have no values; {more} says why.")


def _extra_columns(job: Job) -> list[str]:
    """Columns of the table besides the values."""
    return st.pills(
        "Columns",
        [INTERVALS, KNOWN],
        selection_mode="multi",
        key=f"columns-{job.id}",
        label_visibility="collapsed",
        width="content",
    )


def _table(job: Job, rows: list[PropertyRow], columns: list[PropertyColumn], more: Sequence[str]) -> int:
    """The table, and the index of the crystal that is chosen in it.

    The first that was predicted until then.
    """
    number = st.column_config.NumberColumn
    formats: dict[str, Any] = {"crystal": st.column_config.TextColumn(pinned=True)}
    decimals: dict[str, int] = {}
    for column in columns:
        known = f"{column['title']}, known"
        decimals |= {label_of(column): column["decimals"], known: column["decimals"]}
        formats[f"{column['title']}, 90 %"] = st.column_config.TextColumn(alignment="right")
        formats[label_of(column)] = number(help=note_of(column))
        formats[known] = number(help="True value of the closest training crystal whose value is known.")
    state = show_table(
        [table_row(row, columns, more) for row in rows],
        on_select="rerun",
        selection_mode="single-row",
        key=f"properties-{job.id}-{len(rows)}",
        decimals=decimals,
        column_config=formats,
        height=ROW_HEIGHT * (1 + min(len(rows), MOST_ROWS)) + 3,
    )
    picked = state.selection.rows
    first = next((k for k, row in enumerate(rows) if "predictions" in row), 0)
    return picked[0] if picked and picked[0] < len(rows) else first


def _show_crystal(job: Job, row: PropertyRow, item: dict[str, Any], columns: list[PropertyColumn]) -> None:
    """One crystal beside what is predicted of it."""
    st.header(escape_markdown(name_of(row)))
    left, right = st.columns([2, 3], gap="medium")
    with right:
        show_card(row, columns, histograms_of(job.request["model"]), key=f"card-{job.id}-{row['source']}")
    with left:
        _picture(row, item, key=f"picture-{job.id}-{row['source']}")
    show_known(job.request["model"], (job.result or {})["rows"], row, columns, key=f"known-{job.id}")


def _picture(row: PropertyRow, item: dict[str, Any], *, key: str) -> None:
    """The crystal, or the closest known one where its cell is on this machine."""
    if "lattice" not in item:
        return
    near = next(iter(row.get("nearest") or []), None)
    view = THIS
    if near is not None:
        view = st.segmented_control(
            "Crystal shown",
            [THIS, CLOSEST],
            default=THIS,
            required=True,
            key=f"{key}-view",
            label_visibility="collapsed",
        )
    try:
        structure = structure_from_record(item)
    except CrystalCoreError:
        return  # the card says why
    if view == CLOSEST and near is not None:
        known = known_cell(near["id"])
        if known is None:
            st.caption("The cell of this crystal is in no table on this machine.")
            return
        structure = known
    crystal_viewer(build_scene(structure), key=f"{key}-{view == THIS}", height=340)
