"""Every run on this machine: reopen it by its link, take its files, run it again, change it, delete it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import streamlit as st

from crystal_core.jobs.queue import Job, JobQueue
from crystal_core.jobs.worker import ensure_worker
from pages._ui.errors import guard
from pages._ui.plain import plain
from pages._ui.runs import as_command, as_python, summary, zip_of

PAGE = "pages/predict_structure.py"
WORDS = {
    "queued": "waiting", "running": "running", "cancelling": "stopping", "done": "done", "partial": "stopped, partly done",
    "failed": "failed", "interrupted": "interrupted",
}  # fmt: skip


def row(job: Job) -> dict[str, Any]:
    """One line of the table."""
    seconds = (job.finished or 0) - (job.started or 0)
    return {
        "when": datetime.fromtimestamp(job.created).astimezone(), "formula": job.request.get("formula", "–"), "state": WORDS.get(job.state, job.state),
        "result": summary(job), "model": job.request.get("model", "–"), "duration (s)": round(seconds) if seconds > 0 else None,
    }  # fmt: skip


def actions(job: Job) -> None:
    """What can be done with one run."""
    with st.container(horizontal=True):
        st.page_link(PAGE, label="Open", icon=":material/open_in_new:", query_params={"job": job.id})
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
    st.caption("Runs stay on this machine until you delete them. Select one.")
    chosen = st.dataframe(
        [row(job) for job in jobs], hide_index=True, on_select="rerun", selection_mode="single-row", key="runs", width="stretch",
        column_config={"when": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm")},
    )  # fmt: skip
    if chosen.selection.rows and chosen.selection.rows[0] < len(jobs):
        actions(jobs[chosen.selection.rows[0]])


with guard():
    main()
