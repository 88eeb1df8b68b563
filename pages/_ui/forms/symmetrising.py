"""Whether finished crystals are made exactly symmetric: a field of the Generate page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from pages._ui.link.session import field, fill

KEY = "make-symmetrise"
USUAL = 0.3  # Å, measured to keep match rate and energy of refined drafts


def fill_symmetrise(request: Mapping[str, Any]) -> None:
    """Fill the field with what a run was made with; an empty request leaves the usual tolerance."""
    fill(KEY, float(request.get("symmetrise") or 0) if request else None)


def ask_symmetrise(given: Mapping[str, Any]) -> dict[str, Any]:
    """The tolerance within which crystals are symmetrised: the field of the request.

    Blank takes 0.3 Å. Nothing is offered where sites or the cell of a structure are kept.

    Args:
        given: the fields of the request that say what is kept.
    """
    if given.get("fix_sites") or given.get("fix_lattice"):
        return {}
    tolerance = field(
        st.number_input,
        "Symmetrise within (Å, 0 = off)",
        value=None,
        step=0.05,
        key=KEY,
        placeholder=f"{USUAL:g}",
        help="Makes each crystal exactly symmetric where it nearly is, and says how far the atoms moved.",
    )
    return {"symmetrise": (USUAL if tolerance is None else tolerance) or None}
