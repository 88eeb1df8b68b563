"""Every run on this machine: reopen it by its link, take its files, run it again, change it, delete it."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import streamlit as st

from crystal_core.jobs.queue import MAX_NOTE, Job, JobQueue
from crystal_core.jobs.worker import ensure_worker
from pages._ui.errors import guard
from pages._ui.plain import plain
from pages._ui.runs import WORDS, as_command, as_python, summary, zip_of

PAGE = "pages/predict_structure.py"


def row(job: Job) -> dict[str, Any]:
    """One line of the table."""
    seconds = job.finished - job.started if job.finished and job.started else 0
    return {
        "★": "★" if job.starred else "", "when": datetime.fromtimestamp(job.created).astimezone(), "formula": job.request.get("formula", "–"), "state": WORDS.get(job.state, job.state),
        "result": summary(job), "note": job.note, "model": job.request.get("model", "–"), "duration (s)": round(seconds) if seconds > 0 else None,
    }  # fmt: skip


def matches(job: Job, formula: str, starred: bool) -> bool:
    """Whether the filter lets this run through: part of its formula, in any case, and its star."""
    return formula.strip().casefold() in str(job.request.get("formula", "")).casefold() and (job.starred or not starred)


def keep_note(job: str, key: str) -> None:
    """What was typed, into the store."""
    JobQueue().mark(job, note=st.session_state[key])


def actions(job: Job) -> None:
    """What can be done with one run."""
    st.markdown(f"**{plain(job.request.get('formula', job.kind))}** · {plain(WORDS.get(job.state, job.state))}")
    st.text_input(
        "Note", job.note, key=f"note-{job.id}", max_chars=MAX_NOTE, placeholder="What this run was for", on_change=keep_note,
        args=(job.id, f"note-{job.id}"),
    )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Remove the star" if job.starred else "Star", icon=":material/star:", key="star"):
            JobQueue().mark(job.id, starred=not job.starred)
            st.rerun()
        st.page_link(PAGE, label="Open", icon=":material/open_in_new:", query_params={"job": job.id})
        if job.batch:
            st.page_link(PAGE, label="Open its list", icon=":material/list:", query_params={"batch": job.batch})
        if st.button("Run again", key="again", help="The same request with the same seed."):
            ensure_worker()
            request = dict(job.request) | {"seed": (job.result or {}).get("settings", {}).get("seed", job.request.get("seed"))}
            st.switch_page(PAGE, query_params={"job": JobQueue().submit(job.kind, request)})
        if st.button("Change and run", key="fork", help="Opens the form with these settings."):
            st.switch_page(PAGE, query_params={"fork": job.id, "formula": job.request.get("formula", "")})
        if job.result:
            st.download_button("Download all (zip)", lambda: zip_of(job), f"{job.request.get('formula', 'run')}.zip", "application/zip", key="zip")
        if job.live:
            if st.button("Cancel", key="cancel"):
                JobQueue().cancel(job.id)
                st.rerun()
        elif st.button("Delete", key="delete"):
            confirm_delete(job)
    if job.error:
        st.error(plain(job.error))
    with st.expander("The same call from the command line or Python"):
        st.code(as_command(job), language="bash")
        st.code(as_python(job), language="python")


@st.dialog("Delete this run?")
def confirm_delete(job: Job) -> None:
    """Ask before anything is lost."""
    st.write(f"{plain(job.request.get('formula', 'This run'))}: its entry and its link will be gone.")
    if st.button("Delete", type="primary", key="really"):
        JobQueue().delete(job.id)
        st.rerun()


def main() -> None:
    st.title("History")
    jobs = JobQueue().list_jobs()
    if not jobs:
        st.info("Nothing here yet. Try TiO2.")
        st.page_link(PAGE, label="Predict a structure", icon=":material/science:")
        return
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    formula = left.text_input("Formula", key="filter", placeholder="All formulas; type a part of one")
    starred = right.toggle("Starred only", key="starred")
    jobs = [job for job in jobs if matches(job, formula, starred)]
    if not jobs:
        st.info("No run fits this filter.")
        return
    st.caption("Runs stay on this machine until you delete them. Select one.")
    listed = hashlib.sha256("".join(job.id for job in jobs).encode()).hexdigest()[:12]  # a row of another list is another run
    chosen = st.dataframe(
        [row(job) for job in jobs], hide_index=True, on_select="rerun", selection_mode="single-row", key=f"runs-{listed}", width="stretch",
        column_config={"★": st.column_config.TextColumn(width=35), "note": st.column_config.TextColumn(width=180), "when": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm")},
    )  # fmt: skip
    if chosen.selection.rows and chosen.selection.rows[0] < len(jobs):
        job = JobQueue().get(jobs[chosen.selection.rows[0]].id)
        if job:
            actions(job)


with guard():
    main()
