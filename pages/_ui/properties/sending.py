"""From a crystal or run to its predicted properties: request buttons, and existing predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

import streamlit as st

from crystal_core.files.records import given_json
from crystal_core.jobs.job import Job
from crystal_core.jobs.queue import JobQueue
from crystal_core.jobs.worker import ensure_worker
from crystal_core.properties import PROPERTIES as PROPERTIES_BY_NAME
from crystal_core.registry.property_cards import Histogram, is_installed, training_histograms
from crystal_core.requests import PropertyPredictionRequest, to_json
from pages._ui.link.browser import own_queue
from pages._ui.link.session import action_button
from pages._ui.properties import property_card
from pages._ui.properties.words import DISTANCE, RANGES, card_rows, example_words
from pages._ui.run.badges import COLOURS
from pages._ui.run.progress import part_panel
from pages._ui.run.runs import PROPERTIES, link_of
from pages._ui.text import escape_markdown

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.records import CrystalRecord, PropertyColumn, PropertyRow, PropertyValue

DEFAULT_PREDICTOR = PropertyPredictionRequest.model
KIND, ICON = "predict-property", ":material/tune:"
LABEL = "Predict properties"
WHAT = "Formation energy, band gap, moduli and more, each with its uncertainty."
CELL = ("lattice", "atomic_numbers", "frac_coords")


def item_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """A crystal of a run as a request for predictions takes it."""
    return {"source": record["id"], "id": record["id"]} | {name: record[name] for name in CELL}


def submit_properties(items: Sequence[Mapping[str, Any]], parent: str = "", **settings: Any) -> str:
    """Put a prediction into the queue; returns its id.

    Args:
        parent: id of the run whose crystals they are, or "". settings: further fields of the request.
    """
    request = PropertyPredictionRequest(crystals=tuple(items), **settings)
    job = own_queue().submit(KIND, to_json(request), parent=parent)
    ensure_worker()
    return job


def _cell_of(crystal: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(crystal.get(name) for name in CELL)


def _row_of(record: CrystalRecord, predictions: Mapping[str, PropertyValue]) -> PropertyRow:
    """The predictions in a crystal's record, as a prediction of its own has them."""
    first = next(iter(predictions.values()))
    row: PropertyRow = {"source": record["id"], "domain": first["domain"], "predictions": {**predictions}}
    return row


def predicted_of(
    job: Job, records: Sequence[CrystalRecord]
) -> tuple[dict[str, PropertyRow], list[PropertyColumn]]:
    """The predictions for a run's crystals, by their ids, and the properties.

    Those of the run's own targets, and those that were requested later. Of a cell that has changed since,
    nothing.
    """
    latest = {record["id"]: _cell_of(record) for record in records}
    rows = {
        record["id"]: _row_of(record, predictions)
        for record in records
        if (predictions := record.get("predictions")) and "original" not in record
    }
    columns: dict[str, PropertyColumn] = {
        name: cast("PropertyColumn", asdict(PROPERTIES_BY_NAME[name]))
        for row in rows.values()
        for name in row["predictions"]
        if name in PROPERTIES_BY_NAME
    }
    for child in JobQueue().list_children(job.id, KIND):
        result = child.result or {}
        for item, row in zip(child.request.get("crystals", ()), result.get("rows", ()), strict=False):
            name = item.get("id")
            if name in latest and _cell_of(item) == latest[name]:
                earlier = rows[name].get("predictions", {}) if name in rows else {}
                rows[name] = row | (
                    {"predictions": earlier | row["predictions"]} if "predictions" in row else {}
                )
                columns |= {column["name"]: column for column in result.get("properties", ())}
    return rows, list(columns.values())


def show_predicting(job: Job) -> bool:
    """The latest prediction for the run's crystals, while it is going on or if it ended early.

    Whether one is going on.
    """
    return part_panel(JobQueue().list_children(job.id, KIND), lambda _: None)


def offer_properties(
    job: Job, records: Sequence[CrystalRecord], predicted: Mapping[str, PropertyRow], *, busy: bool
) -> None:
    """A button that predicts what is not predicted of a run's crystals, and the way to what is.

    The predictions that a run makes for its own targets are of a few properties, so the button stays.
    """
    if not is_installed(DEFAULT_PREDICTOR):
        return
    missing = [item_of(record) for record in records if not _is_full(predicted.get(record["id"]))]
    children = [child for child in JobQueue().list_children(job.id, KIND) if child.result]
    with st.container(horizontal=True, vertical_alignment="center", width="content"):
        if missing and action_button(LABEL, key="properties", icon=ICON, disabled=busy, help=WHAT):
            submit_properties(missing, parent=job.id)
            st.rerun()
        if children:
            page, query = link_of(children[-1])
            st.page_link(page, label="Properties in full", icon=ICON, query_params=query)


def _is_full(row: PropertyRow | None) -> bool:
    """Whether a row is of a prediction that was requested, not of a run's own targets."""
    return row is not None and ("nearest" in row or "error" in row)


def send_crystal(item: Mapping[str, Any], parent: str = "", *, key: str) -> None:
    """A button that predicts the properties of one crystal and opens the page that shows them."""
    if is_installed(DEFAULT_PREDICTOR) and action_button(LABEL, key=key, icon=ICON, help=WHAT):
        st.switch_page(PROPERTIES, query_params={"job": submit_properties([item], parent)})


def own_item(structure: Structure, name: str) -> dict[str, Any]:
    """A crystal of the reader's own as a request for predictions takes it."""
    return {"source": name, **given_json(structure)}


def show_card(
    row: PropertyRow, columns: Sequence[PropertyColumn], histograms: Mapping[str, Histogram], *, key: str
) -> None:
    """The predictions for one crystal: its range, the closest known one, and a line per property."""
    if "error" in row:
        st.error(escape_markdown(row["error"]))
        return
    range_words = RANGES[row["domain"]]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        badge = f":{COLOURS[range_words.tone]}-badge[{range_words.sign} {range_words.word}]"
        st.markdown(badge, help=range_words.meaning, width="content")
        if near := row.get("nearest"):
            words = f"closest known: {example_words(near[0])}, distance {near[0]['distance']:.2f}"
            st.markdown(escape_markdown(words), help=DISTANCE, width="content")
    for note in row.get("notes", ()):
        st.warning(escape_markdown(note))
    lines = card_rows(row, columns, histograms)
    property_card(lines, key=key)
    if not any(line["interval"] for line in lines):
        st.caption("No uncertainty available.")


@st.cache_data(ttl=60, show_spinner=False)
def histograms_of(model: str) -> dict[str, Histogram]:
    """The training values of a model's properties, read anew once a minute."""
    return training_histograms(model)
