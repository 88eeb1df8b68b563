"""A property of the reader's own: the form that takes a table, and what came of learning from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from crystal_core.cards import ModelCard
from crystal_core.datasets.own_table import MAX_TABLE_BYTES, OwnTable, read_own_table
from crystal_core.datasets.rows import CrystalRow, notes_of, words_on_rows
from crystal_core.drawing.figures.parity import parity_figure
from crystal_core.files.property_table import parity_csv
from crystal_core.jobs.job import Job
from crystal_core.jobs.worker import ensure_worker
from crystal_core.properties import PROPERTIES as SHIPPED
from crystal_core.properties import property_key, spec_of
from crystal_core.records import LearnedProperty
from crystal_core.registry.property_cards import own_properties, remove_own_property
from crystal_core.requests import MAX_LEARNED, MIN_LEARNED, LearnPropertyRequest, to_json
from pages._ui.errors import guard
from pages._ui.link.browser import own_queue
from pages._ui.link.session import action_button, field, get_state, set_link, set_state
from pages._ui.run.archive import timed_name
from pages._ui.run.runs import PROPERTIES
from pages._ui.text import escape_markdown

KIND = "learn-property"
BEGIN = "learn-"  # of this form's keys
FIRST = 5  # rows left out that are named
LABEL = f"A table of at least {MIN_LEARNED} crystals: Parquet, or CSV with the text of a CIF in column cif"
WHAT = (
    "Besides the crystals a column of numbers, the property. Parquet needs the columns material_id, formula, "
    "n_atoms, lattice, species and frac_coords. The table stays on this machine."
)
HELD_OUT = {
    "composition": "Held out: a fifth of the compositions, so that no formula is on both sides.",
    "split": "Held out: the crystals that the table names for validation.",
}


@st.fragment
@guard()
def ask_table(cards: dict[str, ModelCard]) -> None:
    """The form: table, column, what it is called, the button."""
    model = next(iter(cards))
    if len(cards) > 1:
        model = field(st.selectbox, "Model", list(cards), key=f"{BEGIN}model")
    table = _ask_file()
    if table is not None:
        _ask_column(table, model)
    own = own_properties(model)
    if own:
        st.header("Learned here")
    for name, card in own.items():
        with st.container(horizontal=True, vertical_alignment="center"):
            spec = spec_of(name, card.network)
            st.markdown(escape_markdown(f"{spec.title} · {card.trained_on}"), width="stretch")
            _own_actions(model, name)


def _ask_file() -> OwnTable | None:
    """The table last uploaded, which outlives its field."""
    megabytes = MAX_TABLE_BYTES // 1_000_000
    file = st.file_uploader(
        LABEL,
        type=["parquet", "csv"],
        key=f"{BEGIN}file",
        max_upload_size=megabytes,
        help=WHAT,
    )
    last_table: tuple[str, OwnTable] | None = get_state(f"{BEGIN}table")
    if file is not None and (last_table is None or last_table[0] != file.file_id):
        with st.spinner("Reading …"):
            last_table = (file.file_id, _read(file.name, file.getvalue()))
        set_state(f"{BEGIN}table", last_table)
    if file is None and last_table is not None:
        st.caption(escape_markdown(f"Still here: {last_table[1].name}"))
    return last_table[1] if last_table else None


def _read(name: str, content: bytes) -> OwnTable:
    place = st.empty()

    def move(done: int, of: int) -> None:
        if done % 20 == 0 or done == of:
            place.progress(done / of, text=f"{done:,} of {of:,} CIFs")

    table = read_own_table(name, content, move)
    place.empty()
    return table


def _ask_column(table: OwnTable, model: str) -> None:
    enough = [column for column, count in table.columns.items() if count >= MIN_LEARNED]
    if not enough:
        fullest = max(table.columns, key=lambda column: table.columns[column])
        st.error(
            escape_markdown(
                f"Learning needs a column of at least {MIN_LEARNED} numbers; the fullest, {fullest}, "
                f"has {table.columns[fullest]}. Add rows."
            )
        )
        _show_left_out(table, fullest)
        return
    column = field(
        st.selectbox,
        "Column",
        enough,
        format_func=lambda name: f"{name} · {table.columns[name]:,} values",
        key=f"{BEGIN}column",
    )
    rows = table.with_value(column)
    key = _free_key(column)
    title, unit, scale = st.columns([3, 1, 2], vertical_alignment="bottom")
    with title:
        words = field(
            st.text_input, "Title", key=f"{BEGIN}title-{key}", placeholder=column, max_chars=60, value=""
        )
    with unit:
        measure = field(
            st.text_input, "Unit", key=f"{BEGIN}unit-{key}", placeholder="none", max_chars=20, value=""
        )
    with scale:
        positive = all(row.labels[column] > 0 for row in rows)
        logarithmic = positive and field(
            st.toggle,
            "Learn the logarithm",
            key=f"{BEGIN}log-{key}",
            value=False,
            help="For values over several powers of ten.",
        )
    if key != property_key(column):
        st.caption(
            escape_markdown(
                f"The predictor has {property_key(column)} already; yours is kept apart as {key}."
            )
        )
    elif key in own_properties(model):
        st.caption(escape_markdown(f"Replaces the {key} learned before."))
    too_many = len(rows) > MAX_LEARNED
    if too_many:
        st.error(
            f"{len(rows):,} crystals are too many for one run; at most {MAX_LEARNED:,} are learned from "
            "here. The command line (crystal-core train adapter) takes more."
        )
    if action_button(
        f"Learn from {len(rows):,} crystals", key=f"{BEGIN}go", type="primary", disabled=too_many
    ):
        job = _submit(
            table,
            rows,
            column,
            column=key,
            title=words.strip() or "".join(letter for letter in column if letter.isprintable())[:60],
            unit=measure.strip(),
            logarithmic=bool(logarithmic),
            model=model,
        )
        set_link("properties", job=job)
        st.rerun()
    _show_left_out(table, column)


def _free_key(column: str) -> str:
    key = property_key(column)
    return f"{key}_own" if key in SHIPPED else key


def _show_left_out(table: OwnTable, column: str) -> None:
    for sentence in words_on_rows(table.name, [], notes_of(table.rows)):
        st.warning(escape_markdown(sentence))
    out = _left_out(table, column)
    if out:
        _show_reasons(out, len(table.rows) + len(table.skipped))


def _left_out(table: OwnTable, column: str) -> list[dict[str, str]]:
    skipped = [{"id": name, "reason": reason} for name, reason in table.skipped]
    empty = [row.id for row in table.rows if column not in row.labels]
    return skipped + [{"id": name, "reason": f"no number in {column}"} for name in empty]


def _show_reasons(out: Sequence[dict[str, str]], total: int) -> None:
    """How many rows are left out, and why the first of them are."""
    with st.expander(f"{len(out):,} of {total:,} rows left out"):
        for row in out[:FIRST]:
            st.markdown(escape_markdown(f"{row['id']}: {row['reason']}"))
        if len(out) > FIRST:
            st.caption(f"and {len(out) - FIRST:,} more")


def _submit(table: OwnTable, rows: Sequence[CrystalRow], source: str, **settings: Any) -> str:
    """Put the learning into the queue; returns its id."""
    request = LearnPropertyRequest(
        crystals=tuple(
            {
                "source": row.id,
                "lattice": row.lattice.tolist(),
                "atomic_numbers": row.atomic_numbers.tolist(),
                "frac_coords": row.frac_coords.tolist(),
            }
            for row in rows
        ),
        values=tuple(row.labels[source] for row in rows),
        splits=tuple(row.split for row in rows) if any(row.split for row in rows) else (),
        skipped=tuple(_left_out(table, source)),
        table=table.name[:200],
        **settings,
    )
    job = own_queue().submit(KIND, to_json(request))
    ensure_worker()
    return job


def show_learned(job: Job) -> None:
    """What a finished run has learned: held-out errors, drawn and in numbers, and what to do next."""
    result = job.result or {}
    learned: LearnedProperty = result["learned"]
    about, model = learned["property"], job.request.get("model", LearnPropertyRequest.model)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.header(escape_markdown(about["title"]), width="stretch")
        own = own_properties(model).get(about["name"])
        if own is not None:
            _own_actions(model, about["name"])
        st.download_button(
            "CSV",
            lambda: parity_csv(learned),
            timed_name(f"held-out-{about['name']}", job.created, "csv"),
            "text/csv",
            key="csv",
            icon=":material/download:",
            help="The held-out crystals, true and predicted.",
            on_click="ignore",
        )
    if own is None:
        st.caption("Removed from the predictor; run it again to have it back.")
    elif own.weights_sha256 != result.get("provenance", {}).get("weights_sha256"):
        st.caption("A later run has replaced it in the predictor.")
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.plotly_chart(parity_figure(learned), width="stretch", key=f"parity-{job.id}")
    with right:
        unit = f" {about['unit']}".rstrip()
        st.metric(f"Mean error, {learned['n_held_out']:,} held out", f"{learned['mae']:.3g}{unit}")
        st.metric(
            "Always the mean",
            f"{learned['mae_of_mean']:.3g}{unit}",
            help="Error of predicting the mean for every crystal.",
        )
        st.metric("Learned from", f"{learned['n_train']:,} crystals")
        st.caption(HELD_OUT[learned["held_out_by"]])
    if learned["skipped"]:
        _show_reasons(
            learned["skipped"], len(learned["skipped"]) + learned["n_train"] + learned["n_held_out"]
        )


def _own_actions(model: str, name: str) -> None:
    """The way to predict with a property learned here, and the button that removes it."""
    st.page_link(
        PROPERTIES,
        label="Predict with it",
        icon=":material/tune:",
        query_params={"property": name, "model": model},
    )
    if st.button("Remove", key=f"remove-{name}", type="tertiary", icon=":material/delete:"):
        _confirm_removal(model, name)


@st.dialog("Remove this property?")
def _confirm_removal(model: str, name: str) -> None:
    st.write(f"{escape_markdown(name)}: removes it from the predictor. Its run stays in the history.")
    if st.button("Remove", type="primary", key="really"):
        remove_own_property(model, name)
        st.rerun()
