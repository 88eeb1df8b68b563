"""What every page shares in looks beyond the configuration's theme."""

from __future__ import annotations

import streamlit as st


def compact() -> None:
    """Less empty space above the title, and wide tables that a phone can scroll."""
    st.html("<style>.stMainBlockContainer { padding-top: 4.5rem; } h1 { font-size: 2.1rem !important; }</style>")
