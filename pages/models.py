"""The shipped and installed models: what they were trained on, what they reach, where they end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from crystal_core.cards import ModelCard
from crystal_core.drawing.figures.training import comparison_figure, sampler_figure, training_figure
from crystal_core.registry.store import list_cards, training_log
from pages._ui.card_tables import measured, metric_row, parts_table, refine_rows, sampling_notes, table_rows
from pages._ui.errors import guard
from pages._ui.property_table import BASELINES, CHGNET, fit_rows, pretraining_rows, property_rows
from pages._ui.tables import lettered, show_table
from pages._ui.text import escape_markdown, sentence_case


@st.cache_data(ttl=600, max_entries=128, show_spinner=False)  # parts and curves of a card may change
def show_card(stamp: str, _card: ModelCard) -> None:  # noqa: ARG001 (the stamp names the card in the cache)
    """One model in a box, drawn once for all readers."""
    card = _card
    with st.container(border=True):
        st.header(escape_markdown(card.name))
        parameters = [f"{card.parameters:,} parameters"] if card.parameters else []
        size = [f"{card.size_mb:.1f} MB"] if card.files else []
        st.write(
            escape_markdown(
                sentence_case(" · ".join([card.method, card.task, *parameters, *size, card.licence]))
            )
        )
        st.write(escape_markdown(sentence_case(card.good_for or card.trained_on)))
        if card.limits:
            st.caption(escape_markdown(f"Limits: {card.limits}"))
        show_measured(measured(card.metrics))
        log, table = training_log(card), card.sampling.get("table")
        if table:
            with st.expander("Match rate against network calls"):
                st.plotly_chart(sampler_figure(table), width="stretch", key=f"samplers-{card.name}")
                show_origin(table)
                confirmed = card.sampling.get("confirmed")
                if confirmed:
                    st.caption("The best three on more rows")
                    st.dataframe(
                        table_rows(confirmed), hide_index=True, width="stretch", key=f"confirmed-{card.name}"
                    )
                    show_origin(confirmed)
        refined = card.sampling.get("refine_table")
        if refined:
            with st.expander("Refining the nearest prototype"):
                st.dataframe(refine_rows(refined), hide_index=True, width="stretch")
                show_origin(refined)
        notes = sampling_notes(card.sampling)
        if notes:
            with st.expander("How its sampler was chosen"):
                for note in notes:
                    st.caption(escape_markdown(note))
        if log:
            with st.expander("Validation while training"):
                st.plotly_chart(training_figure(log), width="stretch", key=f"curve-{card.name}")
        if rows := pretraining_rows(card.extra):
            with st.expander("What pretraining is worth, by encoder"):
                show_lettered(rows)
        for name, compared in card.extra.get("compared", {}).items():
            with st.expander(escape_markdown(sentence_case(f"{name}, compared"))):
                st.plotly_chart(comparison_figure(compared), width="stretch", key=f"{name}-{card.name}")
                st.caption(escape_markdown(compared["words"]))
        with st.expander("Training and hashes"):
            st.json(
                {
                    "trained_on": card.trained_on,
                    "source": card.source,
                    "training": dict(card.training),
                    "files": dict(card.files),
                }
            )


def show_measured(metrics: Mapping[str, Mapping[str, Any]]) -> None:
    """The measured numbers of a card: errors by property, or one row each, and what they are made of."""
    rows, fits = property_rows(metrics), fit_rows(metrics)
    if rows:
        rows, texts = lettered(rows, "where", ["published on"])
        show_table(rows)
        show_texts("Where the published values were measured", texts)
        if any(BASELINES["chgnet-features"] in row for row in rows):
            st.caption(CHGNET)
    elif metrics and not fits:
        measured_rows = [metric_row(name, metric) for name, metric in metrics.items()]
        measured_rows, texts = lettered(measured_rows, "measured as", ["measured on", "protocol"])
        show_table(measured_rows)
        show_texts("How it was measured", texts)
    if fits:
        with st.expander("Ways to train it, compared"):
            show_lettered(fits)
    if parts := parts_table(metrics):
        with st.expander("Details: cell sizes, formulas, other measures"):
            show_table(parts)


def show_lettered(rows: Sequence[Mapping[str, Any]]) -> None:
    """A table with a letter for each protocol, and the protocols below it."""
    short, texts = lettered(rows, "measured as", ["protocol"])
    show_table(short)
    for text in texts:
        st.caption(escape_markdown(text))


def show_texts(title: str, texts: Sequence[str]) -> None:
    """What the letters of a table stand for."""
    if texts:
        with st.expander(title):
            for text in texts:
                st.caption(escape_markdown(text))


def show_origin(table: Mapping[str, Any]) -> None:
    """The origin of a table's numbers, with notes."""
    st.caption(escape_markdown(f"{table['protocol']}. {table['command']}"))
    if table.get("note"):
        st.caption(escape_markdown(table["note"]))


def variants_of(card: ModelCard, cards: Sequence[ModelCard]) -> list[ModelCard]:
    """The models named after another one, such as its ablations."""
    return [other for other in cards if other.name.startswith(f"{card.name}-")]


def main() -> None:
    st.title("Models")
    cards = list_cards()
    named_after = {variant.name for card in cards for variant in variants_of(card, cards)}
    for card in cards:
        if card.name in named_after:
            continue
        show_card(card.stamp, card)
        variants = variants_of(card, cards)
        words = "parts" if card.kind == "predictor" else "variants"
        purpose = "" if card.kind == "predictor" else ", trained to compare with"
        if variants and st.toggle(
            escape_markdown(f"Show {len(variants)} {words} of {card.name}{purpose}"),
            key=f"variants-{card.name}",
        ):
            for variant in variants:
                show_card(variant.stamp, variant)


with guard():
    main()
