"""Ready comparisons: recorded ones open at once, others fill the form."""

from __future__ import annotations

from typing import Any

import streamlit as st

from crystal_core.demos.comparisons import ready_comparisons
from pages._ui.run.runs import COMPARE, DEMO
from pages._ui.text import escape_markdown

IN_A_ROW = 3


@st.cache_data(ttl=600, show_spinner=False)
def _ready() -> list[dict[str, Any]]:
    """Title, words and link of each recorded comparison, read once: a recorded run is a large file."""
    ready = []
    for one in ready_comparisons():
        demo = one.recorded
        note = (
            ""
            if demo is None
            else f"Recorded {demo.recorded}" + (f", {demo.weights_note}" if demo.weights_note else "")
        )
        query = {"job": f"{DEMO}{one.name}"} if demo else {"ready": one.name}
        ready.append(
            {
                "title": one.title,
                "words": one.words,
                "note": note,
                "query": query,
                "recorded": demo is not None,
            }
        )
    return ready


def show_ready() -> None:
    """A card for each comparison whose models are installed."""
    ready = _ready()
    if not ready:
        return
    st.header("Ready comparisons")
    places = [place for _ in range(0, len(ready), IN_A_ROW) for place in st.columns(IN_A_ROW)]
    for column, one in zip(places, ready, strict=False):
        with column.container(border=True, height="stretch"):
            st.markdown(f"**{escape_markdown(one['title'])}**")
            st.caption(escape_markdown(one["words"]))
            if one["note"]:
                st.caption(escape_markdown(one["note"]))
            label = "Open" if one["recorded"] else "Set up"
            icon = ":material/play_circle:" if one["recorded"] else ":material/edit:"
            st.page_link(COMPARE, label=label, icon=icon, query_params=one["query"])
