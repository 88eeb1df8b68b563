"""A running job on a page: bar, stage, time left, place in the queue, cancel.

Polls only while there is something to poll.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from crystal_core.jobs.job import Job
from crystal_core.jobs.queue import JobQueue
from crystal_core.jobs.worker import ensure_worker, worker_problem
from crystal_core.records import Snapshot, crystals_of
from crystal_core.workflows.sampling_run import STAGES
from pages._ui.errors import guard
from pages._ui.link.browser import own_queue
from pages._ui.link.session import get_state, has_changed, set_state
from pages._ui.text import duration, escape_markdown, sentence_case

TEXT_HEIGHT = 380  # pixels, as high as a forming cell
ENDINGS = {
    "partial": "Stopped by you; finished parts are kept.",
    "interrupted": "This run was interrupted because its worker stopped. Finished parts are kept; "
    "run it again to get the rest.",
}
WATCH = "Shows the crystal that is being made now above the results."
NOTHING_KEPT = "Stopped by you before anything was finished."


def job_panel(
    job_id: str,
    draw_snapshot: Callable[[Snapshot], None],
    show_parts: Callable[[Job], None] | None = None,
) -> Job | None:
    """Show a job until it ends; returns it as it is now.

    Args:
        draw_snapshot: a cell on the way. show_parts: how far each part of a running job is, below its bar.
    """
    job = JobQueue().get(job_id)
    if job is None:
        return None
    # one element of the page, live or not: what follows keeps its place, so the end draws no picture anew
    with st.container():
        if job.live:
            _live(job_id, draw_snapshot, show_parts)
        elif job.state == "failed":
            st.error(escape_markdown(job.error or "The run failed."))
        elif job.damaged:
            st.error(escape_markdown(job.error))
        elif job.state == "partial" and not job.result:
            st.warning(NOTHING_KEPT)
        elif job.state in ENDINGS:
            st.warning(ENDINGS[job.state])
    return job


def part_panel(runs: Sequence[Job], draw_snapshot: Callable[[Snapshot], None]) -> bool:
    """Show the latest of the runs that work on the crystals of another; whether one is going on.

    Call it before their results are read: whatever ends later draws the page again.
    """
    if not runs:
        return False
    now = job_panel(runs[-1].id, draw_snapshot)
    if runs[-1].live and (now is None or not now.live):
        st.rerun()  # it ended since it was listed, and nothing on the page would ask again
    return runs[-1].live


@guard()  # a callback runs outside of the page, whose own guard does not see its errors
def _cancel(job_id: str) -> None:
    own_queue().cancel(job_id)


@st.fragment(run_every=0.7)
@guard()
def _live(
    job_id: str,
    draw_snapshot: Callable[[Snapshot], None],
    show_parts: Callable[[Job], None] | None = None,
) -> None:
    ensure_worker()  # starts one if the last one died, and keeps it alive while a page looks
    queue = own_queue()
    job = queue.get(job_id, results=False)  # a result is large, and seldom new
    if job is None or not job.live:
        st.rerun()
    # the bar, and beside it what can be done
    row = st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="progress")
    if job.state == "queued":
        row.progress(0.0, text=f"Waiting, place {job.place} in the queue")
        if problem := worker_problem():
            st.warning(escape_markdown(problem))
    else:
        seconds = None if job.step >= job.n_steps else job.eta_seconds  # a run that is over has none left
        left = "" if seconds is None else f" · about {duration(seconds)} left"
        row.progress(
            _farthest(job),
            text=escape_markdown(f"{sentence_case(job.stage or 'loading the model')}{left}"),
        )
    if get_state(f"stamp-{job_id}") != job.result_stamp:
        set_state(f"stamp-{job_id}", job.result_stamp)
        if has_changed(f"finished-{job_id}", _finished(queue.get(job_id))):
            st.rerun()  # what is finished stands below, outside of this fragment
    # once results stand below, a picture that comes and goes would move them
    watched = not any(get_state(f"finished-{job_id}") or ()) or row.toggle(
        "Watch", key=f"watch-{job_id}", help=WATCH
    )
    if queue.may_change(job):
        row.button(
            "Cancel",
            key=f"cancel-{job_id}",
            disabled=job.state == "cancelling",
            on_click=_cancel,
            args=(job_id,),
        )
    if show_parts is not None:
        show_parts(job)
    if not watched:
        return
    if job.text and (job.stage or "").endswith(STAGES["draft"]):
        st.caption("The first draft, as it is written:")
        st.code(job.text, language=None, height=TEXT_HEIGHT)
    elif job.snapshot:
        draw_snapshot(job.snapshot)


def _farthest(job: Job) -> float:
    """The share that is done; the bar waits where the rest turns out to be longer than expected."""
    key = f"farthest-{job.id}"
    share = max(get_state(key) or 0.0, min(1.0, job.step / max(1, job.n_steps)))
    set_state(key, share)
    return share


def _finished(job: Job | None) -> list[object]:
    """A key that changes when more of a run is finished."""
    result = (job and job.result) or {}
    crystals = [(r["id"], "energies" in r, "error" in r.get("relaxation", {})) for r in crystals_of(result)]
    return [len(result.get("rows", ())), *crystals]
