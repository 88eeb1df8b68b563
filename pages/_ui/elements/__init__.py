"""The elements a crystal may hold: two fields to type into, and a periodic table that fills them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import streamlit as st

from crystal_core.errors import CrystalCoreError
from crystal_core.formula import element_counts, parse_elements
from crystal_core.registry.card import ModelCard
from crystal_core.requests import CrystalGenerationRequest
from crystal_core.workflows.generate import allowed_elements
from pages._ui.plain import plain

HERE = Path(__file__).parent
_table = st.components.v2.component(
    "periodic_table", html='<div class="pt"></div>', css=(HERE / "table.css").read_text("utf-8"), js=(HERE / "table.js").read_text("utf-8")
)


def ask_elements(card: ModelCard) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Allowed and excluded symbols; None where a field is wrong, with the reason beneath it."""
    left, right = st.columns(2)
    only = left.text_input(
        "Only these elements",
        key="elements",
        placeholder="any",
        help="For example Li-Fe-O. A crystal holds some of them, unless all are asked for below.",
    )
    without = right.text_input("Without", key="exclude", placeholder="none", help="For example Pb, Hg.")
    with st.popover("Periodic table", icon=":material/grid_view:", width="stretch"):
        _choose(card)
    try:
        allowed, excluded = parse_elements(only or ""), parse_elements(without or "")
        allowed_elements(CrystalGenerationRequest(model=card.name, elements=allowed, exclude_elements=excluded), card.elements)
    except CrystalCoreError as error:
        st.error(plain(error))
        return None
    return allowed, excluded


def _choose(card: ModelCard) -> None:
    """The table; what is clicked goes into the two fields."""

    def adopt() -> None:
        chosen = getattr(st.session_state["periodic-table"], "chosen", None)
        if chosen:
            st.session_state["elements"], st.session_state["exclude"] = "-".join(chosen["allowed"]), ", ".join(chosen["excluded"])

    known, counts = set(card.elements), element_counts() if "MP-20" in card.trained_on else {}
    cells = [cell | {"known": cell["z"] in known, "n": counts.get(str(cell["z"]), 0) if counts else None} for cell in _cells()]
    data = {"cells": cells, "allowed": _typed("elements"), "excluded": _typed("exclude")}
    _table(key="periodic-table", data=data, on_chosen_change=adopt)


def _typed(key: str) -> list[str]:
    try:
        return list(parse_elements(st.session_state.get(key) or ""))
    except CrystalCoreError:
        return []


@lru_cache(maxsize=1)
def _cells() -> list[dict[str, Any]]:
    """Where each element stands: lanthanides and actinides in rows of their own, after a gap."""
    from pymatgen.core.periodic_table import Element

    cells = []
    for element in Element:
        if element.symbol in ("D", "T"):
            continue
        apart = element.is_lanthanoid or element.is_actinoid
        row = element.row + 3 if apart else element.row
        column = (element.Z - 57) % 32 + 4 if apart else element.group
        cells.append({"e": element.symbol, "z": element.Z, "name": element.long_name, "row": row, "column": column})
    return cells
