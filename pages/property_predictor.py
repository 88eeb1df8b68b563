"""Properties of given crystals: energies, gap and moduli with uncertainty and a known example."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import streamlit as st

from crystal_core.cards import ModelCard
from crystal_core.chemistry.formula_text import formula_of
from crystal_core.files.parse import parse_text
from crystal_core.files.records import structure_from_record
from crystal_core.files.uploads import ParsedUpload
from crystal_core.jobs.job import Job
from crystal_core.jobs.queue import JobQueue
from crystal_core.registry.property_cards import declared_properties, predictor_cards
from crystal_core.requests import MAX_PREDICTED
from pages._ui.crystal.examples import EXAMPLES
from pages._ui.crystal.typeset import formula_text
from pages._ui.errors import guard
from pages._ui.forms.own_files import ask_text, ask_uploads, read_files
from pages._ui.link.browser import own_queue
from pages._ui.link.session import action_button, apply_link, field, is_link_applied, restore_link, set_link
from pages._ui.properties import learning
from pages._ui.properties.results import MOST_FAILED, show_failed, show_predictions
from pages._ui.properties.sending import KIND, item_of, own_item, submit_properties
from pages._ui.property_table import property_rows
from pages._ui.run.run_view import show_run
from pages._ui.run.runs import PROPERTIES, find_job, latest_of, title_of
from pages._ui.tables import show_table
from pages._ui.text import escape_markdown, not_installed

UPLOAD, PASTE, EXAMPLE, RUN = "Upload", "Paste", "Example", "From a run"
BEGIN = "property-"  # of this page's keys
SHOWN_ERRORS = ("property", "error", "value (95 % interval)", "n")
MOST_FILES = 1000
MOST_RUNS = 30  # that can be chosen from
# pixels; the problem takes the rest
PREVIEW = {
    name: st.column_config.Column(width=width)
    for name, width in {"crystal": 260, "formula": 130, "atoms": 70}.items()
}


@st.fragment
@guard()
def ask(cards: dict[str, ModelCard]) -> None:
    """The form: crystals, properties, the button; what is done in it reruns only this part of the page."""
    _fill_from_link(cards)
    above = st.container()  # what grows in it must not mount the button anew
    left, right = st.columns([4, 1], vertical_alignment="bottom")
    with above:
        items, parent, how, model = _ask_input(cards)
    declared = {spec.name: spec for spec in declared_properties(model)}
    with left:
        chosen = field(
            st.multiselect,
            "Properties",
            list(declared),
            format_func=lambda name: declared[name].title,
            key=f"{BEGIN}properties",
            placeholder="All",
        )
    good = sum("error" not in item for item in items)
    too_many = len(items) > MAX_PREDICTED
    if too_many:
        st.error(
            f"{len(items):,} crystals are too many for one run; "
            f"at most {MAX_PREDICTED:,} are predicted together."
        )
    with right:
        pressed = action_button(
            "Predict" if good < 2 else f"Predict {good:,} crystals",
            key=f"{BEGIN}predict",
            type="primary",
            width="stretch",
            disabled=too_many,
            shortcut="Ctrl+Enter",
        )
    if pressed and not good:
        st.error("No readable crystal yet: upload files, paste the text of one, or choose the examples.")
    elif pressed:
        job = submit_properties(items, parent, properties=tuple(chosen), model=model)
        set_link("properties", job=job)
        st.rerun()
    if how in (UPLOAD, PASTE) and items:
        show_table(_previews(items), column_config=PREVIEW)
        show_failed(items, "the column problem")


def _ask_input(cards: dict[str, ModelCard]) -> tuple[list[dict[str, Any]], str, str, str]:
    """The crystals, the id of the run they belong to or "", where they come from, and the model."""
    how = field(
        st.segmented_control,
        "Crystals",
        [UPLOAD, PASTE, EXAMPLE, RUN],
        default=UPLOAD,
        key=f"{BEGIN}how",
        required=True,
        label_visibility="collapsed",
        persist_state="session",
    )
    items, parent = _ask_crystals(how)
    model = next(iter(cards))
    if len(cards) > 1:
        model = field(st.selectbox, "Model", list(cards), key=f"{BEGIN}model")
    return items, parent, how, model


def _ask_crystals(how: str) -> tuple[list[dict[str, Any]], str]:
    """The crystals to predict, and the id of their run, or ""."""
    if how == EXAMPLE:
        examples = {name: parse_text(text) for name, text in EXAMPLES.items()}
        st.caption(escape_markdown(", ".join(map(formula_text, examples))))
        return [own_item(structure, name) for name, structure in examples.items()], ""
    if how == RUN:
        return _ask_run()
    files = ask_uploads(BEGIN, MOST_FILES) if how == UPLOAD else ask_text(BEGIN)
    return [_item(upload) for upload in read_files(files, MOST_FILES)] if files else [], ""


def _item(upload: ParsedUpload) -> dict[str, Any]:
    if upload.structure is None or upload.limitation:
        error = upload.error or upload.limitation or ""
        return {"source": upload.name, "error": error}
    return own_item(upload.structure, upload.name)


def _ask_run() -> tuple[list[dict[str, Any]], str]:
    """The crystals of a run of this machine, relaxed where that was done."""
    jobs = [job for job in own_queue().list_jobs(MOST_RUNS, results=False, own=True) if job.request]
    jobs = [
        job
        for job in jobs
        if job.kind == KIND or (job.result_stamp and not job.parent and job.kind != learning.KIND)
    ]
    if not jobs:
        st.caption("No run has crystals yet.")
        return [], ""
    titles = {job.id: f"{title_of(job)} · {_when(job)}" for job in jobs}
    name = field(
        st.selectbox,
        "Run",
        list(titles),
        format_func=lambda job: titles.get(job, job),
        key=f"{BEGIN}run",
        label_visibility="collapsed",
    )
    job = find_job(name)
    return _crystals_of(job) if job is not None else ([], "")


def _when(job: Job) -> str:
    return f"{datetime.fromtimestamp(job.created).astimezone():%d %b %H:%M}"


def _crystals_of(job: Job) -> tuple[list[dict[str, Any]], str]:
    if job.kind == KIND:
        return list(job.request["crystals"]), job.parent
    return [item_of(record) for record in latest_of(job).values()], job.id


@st.cache_data(max_entries=16, show_spinner=False)
def _previews(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The table before anything is predicted; its column of problems where not all stand under it."""
    rows = [_preview(item) for item in items]
    if sum("error" in item for item in items) > MOST_FAILED:
        return rows
    return [row | {"problem": ""} for row in rows]


def _preview(item: dict[str, Any]) -> dict[str, Any]:
    if "error" in item:
        return {"crystal": item["source"], "formula": "", "atoms": None, "problem": item["error"]}
    structure = structure_from_record(item)
    return {
        "crystal": item["source"],
        "formula": formula_text(formula_of(structure.composition)),
        "atoms": len(structure),
        "problem": "",
        "note": " ".join(item.get("notes", ())),
    }


def _fill_from_link(cards: dict[str, ModelCard]) -> None:
    """Fill the form from a property to predict, a run to change, or the run with the crystals."""
    if name := st.query_params.get("property", ""):
        model = st.query_params.get("model", "")
        if model in cards and name in {spec.name for spec in declared_properties(model)}:
            values = {"properties": [name], "model": model}
            apply_link(f"property|{name}|{model}", {f"{BEGIN}{key}": value for key, value in values.items()})
        return
    fork = st.query_params.get("fork", "")
    link = f"properties|{fork}"
    if not fork or is_link_applied(link):
        return
    job = JobQueue().get(fork)
    if job is None or not job.request:
        st.warning("This run was deleted or belongs to another computer.")
        return
    request = job.request if job.kind == KIND else {}
    model = str(request["model"] if request.get("model") in cards else next(iter(cards)))
    declared = {spec.name for spec in declared_properties(model)}
    values = {
        "properties": [name for name in request.get("properties") or () if name in declared],
        "model": model,
        "how": RUN,
        "run": job.id,
    }
    apply_link(link, {f"{BEGIN}{name}": value for name, value in values.items()})


def welcome(card: ModelCard) -> None:
    """The properties of a model with their errors, as long as nothing was predicted."""
    rows = property_rows(card.metrics)
    if not rows:
        return
    st.header("What is predicted, and how well")
    show_table([{name: row[name] for name in SHOWN_ERRORS} for row in rows])
    st.caption("Errors on test crystals; n: how many. Details: Models.")


def show(job: Job) -> None:
    """The results of a run, with a link back to the run of its crystals."""
    show_predictions(job, find_job(job.parent) if job.parent else None)


def main() -> None:
    restore_link("properties")
    cards, job = predictor_cards(), st.query_params.get("job")
    learners = {name: card for name, card in cards.items() if "encoder" in card.network}
    finished = find_job(job) if job else None
    own = finished is not None and finished.kind == learning.KIND
    learn = bool(learners) and "learn" in st.query_params and not job
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title("Learn a property" if learn or own else "Property predictor", width="stretch")
        if cards and (learn or own):
            st.page_link(PROPERTIES, label="Predict", icon=":material/tune:")
        elif cards and job:
            st.page_link(PROPERTIES, label="Other crystals", icon=":material/add:")
        elif learners:
            st.page_link(
                PROPERTIES,
                label="Learn a property of your own",
                icon=":material/school:",
                query_params={"learn": "own"},
            )
    if not cards:
        st.info(not_installed("property predictor"))
    if job and show_run(
        job,
        learning.KIND if own else KIND,
        button="Learn" if own else "Predict",
        draw=lambda _: None,
        show=learning.show_learned if own else show,
    ):
        return
    if learn:
        learning.ask_table(learners)
    elif cards:
        ask(cards)
        welcome(next(iter(cards.values())))


with guard():
    main()
