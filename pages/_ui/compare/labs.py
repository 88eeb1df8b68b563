"""What was measured of all models: their samplers, and what pretraining is worth to each encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from crystal_core.drawing.figures.comparison import sampler_lab_figure
from crystal_core.drawing.figures.pretraining import pretraining_figure
from crystal_core.registry.store import list_cards
from crystal_core.workflows.pretraining_study import VARIANT_TITLES, studies_of
from pages._ui.text import escape_markdown


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
    _show_origins({card.name: card.sampling["table"] for card in cards})


def _show_origins(tables: Mapping[str, Mapping[str, Any]]) -> None:
    """How each table, by the name of its subject, was measured, and the commands that print them."""
    for name, table in tables.items():
        st.caption(escape_markdown(f"{name}: {table['protocol']}."))
    with st.expander("Commands"):
        st.code("\n".join(table["command"] for table in tables.values()), language="bash", wrap_lines=True)


@st.cache_data(max_entries=8, show_spinner=False)
def _draw_lab(stamps: tuple[str, ...], _tables: dict[str, Any]) -> None:  # noqa: ARG001 (the stamps name the tables)
    st.plotly_chart(sampler_lab_figure(_tables), width="stretch", key="sampler-lab")


def show_pretraining_lab() -> None:
    """Errors of the encoders after each pretraining, from the cards of all property predictors."""
    studies = {card.stamp: studies_of(card.extra) for card in list_cards("predictor")}
    tables = [table for each in studies.values() for table in each]
    if not tables:
        st.info("No installed model has a comparison of pretrainings.")
        return
    figure, words = st.columns([3, 2], gap="medium")
    with figure:
        _draw_pretraining(tuple(studies), tables)
    with words:
        st.caption(
            "Bars: standard deviation over seeds. Click an entry of the legend to hide its lines. "
            + escape_markdown(f"Always the mean: {tables[0]['mae_of_mean']:.3f}.")
        )
        _show_origins({table["encoder"]: table for table in tables})


@st.cache_data(max_entries=8, show_spinner=False)
def _draw_pretraining(stamps: tuple[str, ...], _studies: Sequence[Mapping[str, Any]]) -> None:  # noqa: ARG001 (the stamps name the studies)
    st.plotly_chart(pretraining_figure(_studies, VARIANT_TITLES), width="stretch", key="pretraining-lab")
