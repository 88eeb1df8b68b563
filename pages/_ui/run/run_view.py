"""A run beside its form: progress while it runs, then the results."""

from __future__ import annotations

import time
from collections.abc import Callable

import streamlit as st

from crystal_core.demos import find_demo
from crystal_core.jobs.job import Job
from crystal_core.records import Snapshot
from pages._ui.link.session import get_state, set_state
from pages._ui.run.demos import show_note
from pages._ui.run.progress import job_panel
from pages._ui.run.runs import DEMO, find_job
from pages._ui.text import escape_markdown
from pages._ui.theme import run_panel

SECONDS_TO_DRAW = 0.5  # until a browser has drawn what was sent


def show_run(
    job_id: str,
    kind: str,
    *,
    button: str,
    draw: Callable[[Snapshot], None],
    show: Callable[[Job], None],
) -> bool:
    """A run of a page's own kind, live or recorded; False, after a warning, if the link names none.

    Args:
        button: of the form, by which a recorded run is made again.
        draw: a snapshot on the way.
        show: what is finished.
    """
    job = find_job(job_id)
    begun = get_state("begun") == job_id
    set_state("begun", None)
    # a run that has ended already is drawn as a live one first: on a phone that brings the page to its top
    ended = begun and job is not None and not job.live
    with run_panel(live=job is not None and (job.live or ended)):
        if job is not None and job.kind != kind and job.damaged:
            st.error(escape_markdown(job.error))
            return True
        if job is None or job.kind != kind:
            st.warning("This run was deleted or belongs to another computer.")
            return False
        if job_id.startswith(DEMO):
            show_note(find_demo(job_id.removeprefix(DEMO)), button)
        now = job_panel(job_id, draw) or job
        if ended:
            time.sleep(SECONDS_TO_DRAW)
            st.rerun()
        if job.live and not now.live:
            st.rerun()  # it ended meanwhile, and the panel is that of a live run
        if now.result:
            show(now)
    return True
