"""Verdicts as badges with their reason beside them."""

from __future__ import annotations

import streamlit as st

from pages._ui.plain import plain
from pages._ui.run.verdicts import Verdict

COLOURS = {"good": "green", "bad": "orange", "open": "gray", "known": "blue"}
SIGNS = {"good": "✓", "bad": "✗", "open": "·", "known": "✓"}


def show_verdict(verdict: Verdict, more: str = "") -> None:
    """One line: the badge, its reason, and ``more``."""
    st.markdown(
        f":{COLOURS[verdict.tone]}-badge[{SIGNS[verdict.tone]} {plain(verdict.word)}] :small[{plain(verdict.reason + more)}]"
    )
