"""How a language model writes its drafts: the fields of the form, shared by both pages that generate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from crystal_core.cards import ModelCard
from pages._ui.link.session import field, fill

KEYS = {"temperature": "draft-temperature", "top_p": "draft-top-p"}


def adopt_drafting(asked: Mapping[str, Any]) -> None:
    """Fill the fields with what a request says; blank where it says nothing."""
    for name, key in KEYS.items():
        fill(key, asked.get(name))


def ask_drafting(card: ModelCard) -> dict[str, Any]:
    """How a language model writes; None takes the card's value."""
    usual = card.sampling["draft"]
    left, right = st.columns(2)
    temperature = field(
        left.number_input,
        "Temperature",
        value=None,
        step=0.1,
        key=KEYS["temperature"],
        placeholder=f"{usual.get('temperature', 1):g}",
        help="Below 1: likelier, less varied drafts. Blank: the model's own.",
    )
    top_p = field(
        right.number_input,
        "Top-p",
        value=None,
        step=0.05,
        key=KEYS["top_p"],
        placeholder=f"{usual.get('top_p', 1):g}",
        help="Draws each word from the likeliest ones, whose probabilities add up to this. Blank: the model's own.",
    )
    return {"temperature": temperature, "top_p": top_p}
