"""Ready comparisons: recorded ones open at once, others fill the form; and all models' samplers."""

from __future__ import annotations

from typing import Any

import streamlit as st

from crystal_core.demos.comparisons import ready_comparisons
from crystal_core.drawing.figures.comparison import sampler_lab_figure
from crystal_core.registry.store import list_cards
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
    st.subheader("Ready comparisons")
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


def show_sampler_lab() -> None:
    """Match rate and RMSE against network calls from the tables on the cards of all models."""
    cards = [card for card in list_cards("generator") if card.sampling.get("table")]
    if not cards:
        st.info("No installed model has a table of its samplers.")
        return
    _draw_lab(tuple(card.stamp for card in cards), {card.name: card.sampling["table"] for card in cards})
    st.caption(
        "Click an entry of the legend to hide its line, double-click to see it alone. A cell with roughly "
        "placed atoms can match, so read both plots: few calls match often at a large RMSE."
    )
    for card in cards:
        table = card.sampling["table"]
        st.caption(escape_markdown(f"{card.name}: {table['protocol']}. {table['command']}"))


@st.cache_data(max_entries=8, show_spinner=False)
def _draw_lab(stamps: tuple[str, ...], _tables: dict[str, Any]) -> None:  # noqa: ARG001 (the stamps name the tables)
    st.plotly_chart(sampler_lab_figure(_tables), width="stretch", key="sampler-lab")
