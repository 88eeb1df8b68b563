"""The foot of a form: estimated time and the button, which stays put while the form changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from crystal_core.jobs import estimate
from crystal_core.jobs.queue import JobQueue
from pages._ui.link.session import action_button
from pages._ui.text import duration

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator


def form_parts() -> tuple[DeltaGenerator, DeltaGenerator]:
    """The places of a form's fields and of its foot, which stays in sight while a longer form scrolls.

    Both exist before the first field is drawn: a field that appears among the others then leaves the foot
    where it is in the page's tree. A button that moves there is mounted anew, and a press that had begun on
    it is lost.
    """
    return st.container(key="form-fields", gap="xsmall"), st.container(key="form-foot", gap="xxsmall")


def submit_button(label: str, requests: Sequence[Mapping[str, Any]], *, key: str, **options: Any) -> bool:
    """One line on the time of the runs and, below it, the button.

    True once it was pressed with something to run.

    The line is always there, so that the button keeps its place.

    Args:
        requests: what the button runs, as the queue stores it; empty where a field of the form is wrong.
    """
    st.caption(_time_words(requests))
    pressed = action_button(label, key=key, type="primary", width="stretch", disabled=not requests, **options)
    return pressed and bool(requests)


def _time_words(requests: Sequence[Mapping[str, Any]]) -> str:
    if not requests:
        return "Not ready: see the message above."
    known = JobQueue().list_jobs(limit=40, results=False)
    seconds = [estimate.estimate_seconds(request, known) for request in requests]
    if not all(seconds):
        return "Time not known yet: first run of this kind."
    return f"About {duration(sum(s for s in seconds if s))} on this machine."
