"""From a crystal that is shown to the form that completes it: the button, a crystal on its way there, and the fields."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import streamlit as st

from crystal_core.chemistry.formula import formula_of
from crystal_core.drawing.style import symbol_of
from crystal_core.files.parse import MAIN_ELEMENTS
from crystal_core.files.records import cell_json, structure_from_record
from crystal_core.files.uploads import parse_uploads
from pages._ui.crystal.typeset import formula_text
from pages._ui.link.session import field, recall, remember
from pages._ui.plain import plain

TOLD = "Puts it into the form of Generate: say there what of it stays, and the rest is sampled."


def keep_parts_button() -> bool:
    """The button that asks for it; whether it was pressed."""
    return st.button(
        "Keep parts of it", icon=":material/auto_fix_high:", type="tertiary", key="complete", help=TOLD
    )


def hand_over(cell: Mapping[str, Any]) -> str:
    """Keep a crystal that belongs to no run for another page; the word by which a link names it there."""
    word = hashlib.sha256(json.dumps(cell, sort_keys=True).encode()).hexdigest()[:12]
    remember(f"handed-over-{word}", dict(cell))
    return word


def handed_over(word: str) -> dict[str, Any] | None:
    """The crystal that a link names; None once the page was opened anew, or in another browser."""
    crystal: dict[str, Any] | None = recall(f"handed-over-{word}")
    return crystal


def ask_fix() -> dict[str, Any] | None:
    """A structure to complete: the fields of the request that say what of it stays; empty without one, None where it is unreadable."""
    st.markdown("**Complete a structure**")
    upload = st.file_uploader(
        "Structure to complete (optional)",
        key="fix",
        help="CIF, POSCAR, extended XYZ or JSON. What you keep stays; the rest is sampled.",
    )
    given = recall("given")
    if upload is not None:
        (first, *_) = parse_uploads([(upload.name, upload.getvalue())])
        if first.structure is None:
            st.error(plain(first.error or "The file holds no structure."))
            return None
        if first.limitation:
            st.error(plain(first.limitation.removesuffix(MAIN_ELEMENTS)))  # nothing is shown here
            return None
        for note in first.notes:
            st.warning(plain(note))
        given = cell_json(first.structure)
    if given is None:
        return {}
    structure = structure_from_record(given)
    names = [
        f"{k}: {symbol_of(z)} ({', '.join(f'{x:.2f}' for x in f)})"
        for k, (z, f) in enumerate(zip(given["atomic_numbers"], given["frac_coords"], strict=True), 1)
    ]
    st.caption(
        plain(
            f"{formula_text(formula_of(structure.composition))}, {len(structure)} atoms. Crystals get as many, unless a number is chosen above."
        )
    )
    sites = field(
        st.multiselect,
        "Sites that stay",
        range(len(names)),
        format_func=names.__getitem__,
        key="fix-sites",
        placeholder="none",
    )
    elements = field(st.toggle, "All its elements stay", key="fix-elements")
    lattice = field(st.toggle, "Its cell stays", key="fix-lattice")
    if upload is None and st.button("Complete nothing", key="forget"):
        remember("given", None)
        st.rerun()  # beside the form, the page speaks of it too
    return {"fix": given, "fix_sites": tuple(sites), "fix_elements": elements, "fix_lattice": lattice}
