"""Two to four ways to crystals side by side: same formulas and seeds, one camera, intervals."""

from __future__ import annotations

from typing import Any

import streamlit as st

from crystal_core.demos.comparisons import READY
from crystal_core.drawing.scene import frame_scene
from crystal_core.jobs.job import Job
from crystal_core.jobs.worker import ensure_worker
from crystal_core.records import Snapshot
from crystal_core.requests import from_json, to_json
from crystal_core.workflows.compare.request import ComparisonRequest
from crystal_core.workflows.compare.stages import column_states
from pages._ui.compare.form import BEGIN, ask_comparison, fields_of, mark_of, names_of
from pages._ui.compare.labs import show_pretraining_lab, show_sampler_lab
from pages._ui.compare.ready import show_ready
from pages._ui.compare.results import show_comparison, show_head
from pages._ui.compare.sending import own_comparison
from pages._ui.errors import guard
from pages._ui.forms.foot import form_parts
from pages._ui.link.browser import own_queue
from pages._ui.link.session import (
    action_button,
    apply_link,
    is_link_applied,
    mark_link_applied,
    restore_link,
    set_link,
)
from pages._ui.run.calls import seed_made_with
from pages._ui.run.progress import job_panel
from pages._ui.run.runs import find_job, first_run
from pages._ui.text import escape_markdown
from pages._ui.theme import run_panel
from pages._ui.viewer import crystal_viewer


@st.fragment
@guard()
def ask() -> None:
    """The form; what is typed reruns only this part, and the button puts the request into the queue."""
    _fill_from_link()
    fields, foot = form_parts()
    with fields:
        request = ask_comparison()
    with foot, st.container(horizontal=True, vertical_alignment="center"):
        pressed = action_button(
            "Compare",
            type="primary",
            disabled=request is None,
            key="compare",
            width=180,
            shortcut="Ctrl+Enter",
        )
        if request is not None:
            st.caption(escape_markdown(names_of(request)))
    if pressed and request is not None:
        submit(request)
        st.rerun()


def _link() -> str:
    """The identity of a link to this page."""
    return "compare|" + "|".join(
        st.query_params.get(name, "") for name in ("job", "fork", "ready", "run", "own", "formula")
    )


def _fill_from_link() -> None:
    """Fill the form from the link: a comparison to change, a ready one, a run, crystal or formula."""
    if is_link_applied(_link()):
        return
    request: dict[str, Any] = {}
    seed = ""
    job = first_run("compare", st.query_params.get("job", ""), st.query_params.get("fork", ""))
    ready = next((one for one in READY if one.name == st.query_params.get("ready")), None)
    if job is not None:
        request, seed = dict(job.request), seed_made_with(job)
    elif ready is not None:
        request, seed = to_json(ready.request), str(ready.request.seed or 0)
    elif own := st.query_params.get("own"):
        request = own_comparison(own)
        if not request:
            st.warning("This crystal was kept only in the browser tab that opened it; upload it as Files.")
    values = fields_of(request, seed)
    if formula := st.query_params.get("formula"):
        values[f"{BEGIN}formula"] = formula
    if run := find_job(st.query_params.get("run", "")):
        values |= {f"{BEGIN}0-source": "run", f"{BEGIN}0-run": run.id}
        if run.request.get("formula"):
            values[f"{BEGIN}formula"] = run.request["formula"]
    apply_link(_link(), values)


def submit(request: ComparisonRequest) -> None:
    """Into the queue, and its id into the link, which the form fits already."""
    ensure_worker()
    set_link("compare", job=own_queue().submit("compare", to_json(request)))
    mark_link_applied(_link())


def draw_snapshot(snapshot: Snapshot) -> None:
    """The cell as it stands now."""
    crystal_viewer(frame_scene(snapshot), key="live", height=320, live=True)


def show_columns(job: Job) -> None:
    """How far each column of a running comparison is."""
    names = from_json(ComparisonRequest, job.request).names
    states = column_states(names, job.stage)
    with st.container(horizontal=True, gap="small", key="columns"):
        for mark, name, state in zip(map(mark_of, range(len(names))), names, states, strict=True):
            st.markdown(f"{mark} {escape_markdown(f'{name}: {state}')}", width="content")


def show_job(job_id: str) -> None:
    """A comparison, live, finished or recorded; its form is folded in below."""
    job = find_job(job_id)
    show_head(job)
    if job is None or (job.kind != "compare" and not job.damaged):
        st.warning("This comparison was deleted or belongs to another computer.")
        ask()
        return
    with run_panel(live=job.live):
        now = job_panel(job_id, draw_snapshot, show_columns) or job
        if job.live and not now.live:
            st.rerun()  # it ended meanwhile, and the panel is that of a live run
        show_comparison(now)


def main() -> None:
    restore_link("compare")
    if job_id := st.query_params.get("job"):
        show_job(job_id)
        return
    st.title("Compare")
    compare, samplers, pretraining = st.tabs(["Compare", "Sampler lab", "Pretraining"])
    with compare:
        ask()
        show_ready()
    with samplers:
        show_sampler_lab()
    with pretraining:
        show_pretraining_lab()


with guard():
    main()
