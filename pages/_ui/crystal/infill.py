"""Which elements fit at some sites: the button that asks a language model, the answer as bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from crystal_core.chemistry.formula_text import formula_of
from crystal_core.files.records import given_json
from crystal_core.jobs.worker import ensure_worker
from crystal_core.registry.store import runnable_cards
from crystal_core.requests import to_json
from crystal_core.workflows.infill import MODEL, InfillRequest
from pages._ui.link.browser import own_queue
from pages._ui.link.session import action_button
from pages._ui.run.runs import VIEWER

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.records import FittingElements

KIND = "infill"
MOST_ELEMENTS = 10  # elements, the likeliest
WHAT = (
    "A language model reads the crystal with every element at these sites; "
    "the likelier the text, the better the element fits."
)


def language_model() -> str:
    """The installed model that is asked; empty where there is none."""
    names = [card.name for card in runnable_cards("generator") if card.writes_drafts]
    return MODEL if MODEL in names else next(iter(names), "")


def offer_infill(structure: Structure, sites: Sequence[int], *, key: str) -> None:
    """The question for the sites that are selected; it opens its answer in the viewer.

    Nothing without a language model.
    """
    model = language_model()
    if not model or not sites:
        return
    symbols = [site.specie.symbol for site in structure]
    chosen = {symbols[site] for site in sites}
    if len(chosen) > 1:
        st.caption("Select sites of one element to ask which elements fit there.")
        return
    (symbol,) = chosen
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = action_button(
            "Which elements fit here?", icon=":material/help:", key=f"{key}-infill", help=WHAT
        )
        every = len(set(sites)) < symbols.count(symbol) and st.toggle(
            f"At all {symbols.count(symbol)} sites of {symbol}", key=f"{key}-all-alike"
        )
        like = st.toggle(
            "Like ions only", key=f"{key}-exchangeable", help="Only elements of similar charge and radius."
        )
    if pressed:
        request = InfillRequest(
            crystal=given_json(structure),
            sites=tuple(sorted(sites)),
            source=formula_of(structure.composition),
            model=model,
            all_alike=bool(every),
            exchangeable=like,
        )
        job = own_queue().submit(KIND, to_json(request))
        ensure_worker()
        st.switch_page(VIEWER, query_params={"job": job})


def choose_element(fitting: FittingElements, chosen: str) -> str:
    """Buttons with a bar each; the element that was pressed just now, else ``chosen``."""
    pressed = chosen
    with st.container(gap="xxsmall"):
        for row in fitting["rows"][:MOST_ELEMENTS]:
            symbol, share = row["element"], row["probability"]
            present = " (present)" if symbol == fitting["present"] else ""
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                if action_button(
                    f"{symbol}{present}",
                    key=f"element-{symbol}",
                    width=140,
                    type="primary" if symbol == chosen else "secondary",
                ):
                    pressed = symbol
                st.progress(min(1.0, share), text=_percent(share))
    return pressed


def _percent(share: float) -> str:
    """In tenths; what would round to nothing is not nothing."""
    return f"{100 * share:.1f} %" if share >= 0.0005 else "< 0.1 %"
