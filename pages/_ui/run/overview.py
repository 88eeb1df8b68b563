"""State and summary of runs in a list; a result is read once, not at every click."""

from __future__ import annotations

import streamlit as st

from crystal_core.jobs.job import Job
from crystal_core.jobs.queue import JobQueue
from pages._ui.run.runs import NO_SUMMARY, state_words, summary


def overview(job: Job) -> tuple[str, str]:
    """State and summary of a run that was listed without its result."""
    damaged, words = (False, NO_SUMMARY) if not job.result_stamp else _read(job.id, job.result_stamp)
    return "damaged" if damaged else state_words(job), words


@st.cache_data(max_entries=1000, show_spinner=False)
def _read(job_id: str, stamp: str) -> tuple[bool, str]:  # noqa: ARG001 (the stamp is a part of the key)
    """Whether the stored result is damaged, and the summary of it."""
    job = JobQueue().get(job_id)
    return (False, NO_SUMMARY) if job is None else (job.damaged, summary(job))
