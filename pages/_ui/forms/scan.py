"""A measured powder pattern in the prediction form: uploaded, or that of the run behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from crystal_core.evaluation.powder_pattern import read_pattern
from crystal_core.evaluation.xrd import WAVELENGTHS, radiation_text
from crystal_core.files.encoding import text_of
from crystal_core.files.names import clean_name
from pages._ui.link.session import field, fill, get_state, set_state
from pages._ui.text import escape_markdown

CARRIED = "pattern-of-the-run"
OPEN = "pattern-shown"  # whether its part of the form is


@dataclass(frozen=True, kw_only=True)
class AskedPattern:
    """A request's pattern and name as plain values, or None, and its purpose."""

    pattern: Mapping[str, Any] | None
    ranks: bool
    guides: bool


def carry_pattern(pattern: Mapping[str, Any] | None) -> None:
    """Keep the pattern of a run that is to be changed, in sight; None forgets the one before."""
    set_state(CARRIED, pattern)
    if pattern is not None:
        fill(OPEN, True)


def ask_pattern() -> AskedPattern:
    """The uploader and what the pattern is for.

    Raises:
        RequestError: the file is no pattern.
    """
    carried = get_state(CARRIED)
    # a state of its own: it stays open while its fields change the form
    with field(st.expander, "Powder pattern", key=OPEN, on_change="rerun"):
        upload = st.file_uploader(
            "Powder pattern to rank by (optional)",
            key="pattern",
            help="Two columns of text: 2θ in degrees, intensity. The background may stay.",
        )
        if upload is None and carried is not None:
            st.caption(escape_markdown(f"Pattern {pattern_words(carried)} of the run is used."))
            st.button("Without this pattern", key="forget-pattern", on_click=carry_pattern, args=(None,))
        none = upload is None and carried is None
        wavelength = field(
            st.selectbox,
            "Its wavelength",
            WAVELENGTHS,
            key="wavelength",
            format_func=radiation_text,
            disabled=upload is None,
        )
        ranks = field(st.toggle, "Rank by likeness to the pattern", key="rank-pattern", disabled=none)
        guides = field(
            st.toggle,
            "Let the pattern guide sampling (experimental)",
            key="guide",
            disabled=none,
            help="Guides each step towards cells whose computed pattern resembles the measured one. "
            "Cells may be less plausible.",
        )
        pattern = carried
        if upload is not None:
            name = clean_name(upload.name)
            read = read_pattern(text_of(upload.getvalue()), name, wavelength)
            pattern = read.to_json() | {"name": name}
    return AskedPattern(pattern=pattern, ranks=ranks and not none, guides=guides and not none)


def pattern_words(pattern: Mapping[str, Any]) -> str:
    """Name, range and wavelength of a pattern."""
    angles, wavelength = pattern["two_theta"], pattern.get("wavelength", "CuKa")
    return (
        f"{pattern.get('name', '')} ({angles[0]:g}–{angles[-1]:g}° 2θ, {radiation_text(wavelength)})".strip()
    )
