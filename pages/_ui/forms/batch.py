"""Several formulas at once: the field, the table of their runs, and the result of the chosen one."""

from __future__ import annotations

from typing import Any

import streamlit as st

from crystal_core.chemistry.formula_list import MAX_BATCH, BatchLine, parse_formulas
from crystal_core.files.records import unique_name, zip_run
from crystal_core.jobs.job import Job
from crystal_core.jobs.queue import JobQueue
from crystal_core.jobs.worker import ensure_worker
from crystal_core.records import crystals_of
from pages._ui.crystal.typeset import group_of
from pages._ui.forms.units import multiple_words
from pages._ui.link.browser import own_queue
from pages._ui.link.session import action_button, field, has_changed
from pages._ui.run.archive import timed_name
from pages._ui.run.candidate_cards import shown_z
from pages._ui.run.candidates import show_results
from pages._ui.run.runs import WORDS, candidates_of, title_of
from pages._ui.text import escape_markdown
from pages._ui.theme import run_panel

POLL_SECONDS = 1.5


def ask_list(*, exact: bool) -> list[BatchLine]:
    """The field for a list of formulas, each the ``exact`` cell or not.

    What is wrong with one is said beneath, and the others remain.
    """
    text = field(
        st.text_area,
        "Formulas",
        key="formulas",
        height=140,
        help=f"One a line, or between commas; up to {MAX_BATCH}. "
        "Each becomes a run of its own with the settings below.",
    )
    lines = parse_formulas(text)
    wrong = [line for line in lines if line.error]
    for line in wrong:
        st.error(escape_markdown(line.error))
    right = [line for line in lines if line.formula]
    words = f"{len(right)} formulas" if len(right) != 1 else "1 formula"
    cells = "as the exact cell" if exact else "with the numbers of formula units most frequent in training"
    st.caption(f"{words} will run, each {cells}." + (f" {len(wrong)} left out." if wrong else ""))
    if not exact and (note := multiple_words([line.formula for line in right if line.formula])):
        st.info(escape_markdown(note))
    return right


def show_batch(batch: str) -> None:
    """The runs of a batch, and below them the result of the one that was selected."""
    jobs = JobQueue().list_batch(batch, results=False)
    if not jobs:
        st.warning("These runs were deleted or belong to another computer.")
        return
    live = any(job.live for job in jobs)
    with run_panel(live=live):
        st.fragment(_table, run_every=POLL_SECONDS if live else None)(batch, was_live=live)
        _actions(batch, jobs)
        chosen = _selected(batch, jobs)
        if chosen is None:
            st.caption("Select a row (keyboard: Shift+Space) to see its candidates.")
        elif job := JobQueue().get(chosen.id):
            _show_run(job)


def _show_run(job: Job) -> None:
    st.header(escape_markdown(title_of(job)))
    if job.error:
        st.error(escape_markdown(job.error))
    if job.result:
        show_outcome(job)
    elif job.live:
        st.caption("Nothing of this run is finished yet.")


def show_outcome(job: Job) -> None:
    """The cells of a run in words, and its outcome."""
    for note in (job.result or {}).get("notes", ()):
        st.info(escape_markdown(note))
    show_results(job)


def _table(batch: str, *, was_live: bool) -> None:
    jobs = JobQueue().list_batch(batch, results=False)  # every viewer asks often, and results are large
    live = [job for job in jobs if job.live]
    if live:
        ensure_worker()
    over = len(jobs) - len(live)
    st.progress(over / max(1, len(jobs)), text=f"{over} of {len(jobs)} runs are over")
    st.dataframe(
        [_row(job) for job in jobs],
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key=f"batch-{batch}",
        width="stretch",
    )
    if has_changed(f"batch-{batch}-shown", selected_rows(batch)) or (was_live and not live):
        st.rerun()  # what stands below the table is not part of this fragment


def _row(job: Job) -> dict[str, Any]:
    best, error = _best(job.id, job.result_stamp) if job.result_stamp else ({}, "")
    state = WORDS.get(job.state, job.state)
    done = f", {100 * job.step // job.n_steps} %" if job.state == "running" and job.n_steps else ""
    return {
        "formula": title_of(job),
        "state": state + done,
        "best candidate": best.get("best candidate", ""),
        "alike": best.get("alike", ""),
        "g/cm³": best.get("g/cm³", ""),
        "remark": job.error or error,
    }


@st.cache_data(max_entries=500, show_spinner=False)
def _best(job_id: str, stamp: str) -> tuple[dict[str, str], str]:  # noqa: ARG001 (the stamp names the result)
    """The first candidate of a run, and a fault of its result."""
    job = JobQueue().get(job_id)
    candidates = candidates_of(job) if job else []
    if not candidates:
        return {}, (job.error or "") if job else ""
    best, score = candidates[0], candidates[0]["score"]
    mark = "" if best["validity"]["plausible"] else ", implausible"
    return {
        "best candidate": f"{group_of(best)}, Z = {shown_z(best)}{mark}",
        "alike": f"{best.get('n_alike', score['value'] if score else 1)} of {len(candidates)}",
        "g/cm³": f"{best['density']:.2f}",
    }, ""


def selected_rows(batch: str) -> tuple[int, ...]:
    """Places of the rows of the table that are selected, from 0."""
    state = st.session_state.get(f"batch-{batch}")
    return tuple(state.selection.rows) if state else ()


def _selected(batch: str, jobs: list[Job]) -> Job | None:
    rows = selected_rows(batch)
    return jobs[rows[0]] if rows and rows[0] < len(jobs) else None


def _actions(batch: str, jobs: list[Job]) -> None:
    with st.container(horizontal=True):
        if any(job.live for job in jobs) and action_button("Cancel all", key="cancel-batch"):
            for job in jobs:
                own_queue().cancel(job.id)
            st.rerun()
        if any(job.result_stamp for job in jobs):
            name = timed_name("formulas", min(job.created for job in jobs))
            st.download_button(
                "Download all formulas",
                lambda: _zip(JobQueue().list_batch(batch)),
                name,
                "application/zip",
                key="zip-batch",
                help="CIF, extxyz, JSON",
                on_click="ignore",
            )


def _zip(jobs: list[Job]) -> bytes:
    results = [job.result for job in jobs if job.result]
    records = [record for result in results for record in crystals_of(result)]
    taken: set[str] = set()
    for record in records:
        record["id"] = unique_name(record["id"], taken)  # two spellings of a formula give the same ids
        taken.add(record["id"])
    return zip_run(records, {"runs": results})
