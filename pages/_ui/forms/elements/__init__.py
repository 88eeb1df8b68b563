"""The elements a crystal may hold: two fields to type into, and a periodic table that fills them."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import Any

import streamlit as st

from crystal_core.cards import ModelCard
from crystal_core.chemistry.alternatives import parse_alternatives
from crystal_core.chemistry.formula import parse_elements
from crystal_core.chemistry.training_counts import element_counts
from crystal_core.conditions import DraftOptions
from crystal_core.errors import CheckpointMissing, CrystalCoreError
from crystal_core.requests import CrystalGenerationRequest
from crystal_core.workflows.cell_plan import allowed_elements
from crystal_core.workflows.training_range import known_to_both, names_in_use
from pages._ui.link.session import action_button, field, fill, value_of
from pages._ui.text import escape_markdown

HERE = Path(__file__).parent
FORM = "form-with-elements"
_table = st.components.v2.component(
    "periodic_table",
    html='<div class="pt"></div>',
    css=(HERE / "table.css").read_text("utf-8"),
    js=(HERE / "table.js").read_text("utf-8"),
    # a dialog moves the focus among its own elements and does not look into a shadow root
    isolate_styles=False,
)


def ask_elements(card: ModelCard, options: DraftOptions) -> dict[str, Any] | None:
    """The fields of the request that name elements; None where one is wrong, with the reason beneath it.

    The fragment that draws them has the key ``FORM``.

    Args:
        options: of the drafts; their refiner places only the elements that it was trained on.
    """
    known, name = _known_elements(card, options)
    left, right = st.columns(2)
    only = field(
        left.text_input,
        "Only these elements",
        key="elements",
        placeholder="any",
        help="For example Li-Fe-O. A crystal holds some of them, or all if chosen below.",
    )
    contain = field(
        right.text_input,
        "Contains",
        key="contain",
        placeholder="any",
        help="For example O. Every crystal contains these; others may occur.",
    )
    left, right = st.columns(2)
    any_of = field(
        left.text_input,
        "At least one of",
        key="any-of",
        placeholder="any",
        help="For example F, Cl, Br, I. Several lists, such as F, Cl; Fe, Co: one of each.",
    )
    without = field(
        right.text_input, "Without", key="exclude", placeholder="none", help="For example Pb, Hg."
    )
    if action_button(
        "Periodic table", icon=":material/grid_view:", width="stretch", key="show-periodic-table"
    ):
        _choose(card, known)
    try:
        fields = {
            "elements": parse_elements(only or ""),
            "contain": parse_elements(contain or ""),
            "any_of": parse_alternatives(any_of or ""),
            "exclude_elements": parse_elements(without or ""),
        }
        allowed_elements(CrystalGenerationRequest(model=card.name, **fields), known, name)  # type: ignore[arg-type]
    except CrystalCoreError as error:
        st.error(escape_markdown(error))
        return None
    every = bool(fields["elements"]) and field(
        st.toggle,
        "Each crystal holds all of them",
        key="require-all",
        help="Off: a crystal holds some of them; those with the most are shown first.",
    )
    return fields | {"require_all": every}


def _known_elements(card: ModelCard, options: DraftOptions) -> tuple[tuple[int, ...], str]:
    """The elements that a model and the refiner of its drafts were trained on, and the name of both."""
    try:
        return known_to_both(card.elements, card, options), names_in_use(card, options)
    except CheckpointMissing:  # the form itself says which one
        return tuple(card.elements), card.name


def _draw_form() -> None:
    # by name: a click and a key right after it reach the server as one request, which reruns the dialog alone
    st.rerun(FORM)


@st.dialog("Periodic table", width="medium", on_dismiss=_draw_form)
def _choose(card: ModelCard, known: Collection[int]) -> None:
    """The table over the page, with room on a phone too.

    A click gives the two fields their text, which the form shows when the dialog closes.

    Args:
        known: atomic numbers that can be chosen.
    """

    def apply_choice() -> None:
        chosen = getattr(st.session_state["periodic-table"], "chosen", None)
        if chosen:
            fill("elements", "-".join(chosen["allowed"]))
            fill("exclude", ", ".join(chosen["excluded"]))

    counts = element_counts() if "MP-20" in card.trained_on else {}
    cells = [
        cell | {"known": cell["z"] in known, "n": counts.get(str(cell["z"]), 0) if counts else None}
        for cell in _cells()
    ]
    data = {
        "cells": cells,
        "allowed": _symbols(value_of("elements")),
        "excluded": _symbols(value_of("exclude")),
    }
    _table(key="periodic-table", data=data, on_chosen_change=apply_choice)


def _symbols(text: str | None) -> list[str]:
    try:
        return list(parse_elements(text or ""))
    except CrystalCoreError:
        return []


@lru_cache(maxsize=1)
def _cells() -> list[dict[str, Any]]:
    """The place of each element; lanthanides and actinides have rows of their own, after a gap."""
    from pymatgen.core.periodic_table import Element

    cells = []
    for element in Element:
        if element.symbol in ("D", "T"):
            continue
        apart = element.is_lanthanoid or element.is_actinoid
        row = element.row + 3 if apart else element.row
        column = (element.Z - 57) % 32 + 4 if apart else element.group
        cells.append(
            {"e": element.symbol, "z": element.Z, "name": element.long_name, "row": row, "column": column}
        )
    return cells
