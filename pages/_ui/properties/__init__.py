"""Predicted properties on pages: the card of one crystal. Data travel as JSON, text as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

HERE = Path(__file__).parent
_card = st.components.v2.component(
    "property_card",
    html='<div class="xp"></div>',
    css=(HERE / "card.css").read_text("utf-8"),
    js=(HERE / "card.js").read_text("utf-8"),
)


def property_card(rows: list[dict[str, Any]], *, key: str) -> None:
    """A line per property, see :func:`pages._ui.properties.words.card_rows`."""
    _card(key=key, data={"rows": rows})
