"""One error view at the page edge: our errors are sentences.

Anything else gets an id that is in the log, never a trace.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

from crystal_core.errors import CrystalCoreError
from pages._ui.text import escape_markdown

log = logging.getLogger(__name__)


@contextmanager
def guard() -> Iterator[None]:
    """Show what goes wrong inside as one sentence. Streamlit's own control flow passes through."""
    _run_by_app()
    try:
        yield
    except CrystalCoreError as error:
        st.error(escape_markdown(error))
    except Exception as error:
        if type(error).__module__.startswith("streamlit"):
            raise
        mark = secrets.token_hex(4)
        log.exception("page failed (%s)", mark)
        st.error(
            f"Something unexpected went wrong on this page. Its trace is in the server's log under {mark}."
        )


def _run_by_app() -> None:
    """Start over through app.py where Streamlit has run a page file by itself.

    Until app.py has called ``st.navigation`` once, a new server takes every file in ``pages/`` for a page of
    its own: the first visitor of a link such as /viewer would see no navigation.
    """
    if getattr(PagesManager, "uses_pages_directory", False):
        PagesManager.uses_pages_directory = False
        st.rerun()
