"""What every page shares in looks beyond the configuration's theme."""

from __future__ import annotations

import streamlit as st


def compact() -> None:
    """Less empty space above the title, numbers no larger than headings, captions dark enough to read, links that wrap."""
    st.html(
        "<style>.stMainBlockContainer { padding-top: 4.5rem; } h1 { font-size: 2.1rem !important; } h2 { font-size: 1.5rem !important; }"
        " h3 { font-size: 1.3rem !important; } [data-testid=stMetricValue] { font-size: 1.5rem; }"
        " [data-testid=stCaptionContainer] { color: inherit; opacity: 0.78; }"
        " [data-testid=stPageLink] p { white-space: normal; }"
        " @media (pointer: coarse) { [data-testid=stElementToolbar] { display: none; } }</style>"  # without a pointer it lies on the text above
    )
