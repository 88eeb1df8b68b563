"""Which browser shows the page: its runs are its own, and everyone with a link may look at them."""

from __future__ import annotations

import streamlit as st

from crystal_core.jobs.queue import JobQueue
from crystal_core.service.access import CLIENT_HEADER


def browser_id() -> str:
    """The id that marks the runs of this browser.

    It is "" without an access guard: the app then has one reader.
    """
    return st.context.headers.get(CLIENT_HEADER) or ""


def own_queue() -> JobQueue:
    """The queue as this browser may change it."""
    return JobQueue(client=browser_id())
