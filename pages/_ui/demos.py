"""Recorded runs on the pages: a gallery that opens them, and the note that says what they are."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from crystal_core.demos import Demo, find_demo, list_demos
from crystal_core.jobs.queue import Job
from crystal_core.records import structure_from_record
from crystal_core.scene import build_scene
from pages._ui.candidates import show_results
from pages._ui.plain import plain
from pages._ui.runs import summary
from pages._ui.viewer import crystal_links


@st.cache_data(show_spinner=False)
def _demos() -> list[Demo]:
    return list_demos()


def demo_gallery(page: str) -> None:
    """One card for each recorded run; a click opens it on ``page``."""
    demos = _demos()
    opened = crystal_links([_card(demo) for demo in demos], key="demos")
    if opened is not None:
        st.switch_page(page, query_params={"demo": demos[opened].name, "formula": demos[opened].request["formula"]})


def show_demo(name: str) -> None:
    """A recorded run in full, marked as such."""
    demo = find_demo(name)
    note = f" It was {demo.weights_note}: a new run will differ." if demo.weights_note else ""
    st.info(
        plain(f"Recorded run, not one of yours: {provenance(demo)}.{note} Press Predict structure to run {demo.request['formula']} on this machine."),
        icon=":material/inventory:",
    )
    show_results(_as_job(demo))


def provenance(demo: Demo) -> str:
    """Where a recorded run comes from, in a few words."""
    return f"{demo.request['model']}, seed {demo.seed}, {demo.recorded}"


def _card(demo: Demo) -> dict[str, object]:
    best, note = demo.best, f" · {demo.weights_note}" if demo.weights_note else ""
    return {
        "scene": build_scene(structure_from_record(best)),
        "title": f"{demo.request['formula']} · {(best['space_group'] or {}).get('symbol', 'no symmetry')}",
        "caption": f"{summary(_as_job(demo))}. Recorded run: {provenance(demo)}{note}",
    }


def _as_job(demo: Demo) -> Job:
    """As the queue would hand it out, so that the same view shows it."""
    when = datetime.fromisoformat(demo.recorded).replace(tzinfo=UTC).timestamp()
    return Job(
        id=f"demo-{demo.name}", kind="predict-structure", request=dict(demo.request), state="done", created=when, started=when, finished=when,
        stage="done", step=1, n_steps=1, error=None, snapshot=None, result=dict(demo.result), trajectories=list(demo.trajectories), place=0,
    )  # fmt: skip
