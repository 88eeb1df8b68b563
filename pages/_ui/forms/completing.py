"""A user's crystal as a start: buttons that send it to the Generate form, and its fields there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from crystal_core.chemistry.formula_text import formula_of
from crystal_core.drawing.style import symbol_of
from crystal_core.files.records import given_json, structure_from_record
from crystal_core.registry.store import runnable_cards
from pages._ui.crystal.typeset import formula_text
from pages._ui.forms.drafting import refines_drafts
from pages._ui.forms.own_files import read_files
from pages._ui.link.session import field, get_state, set_state
from pages._ui.text import escape_markdown

COMPLETE = "Opens Generate with this crystal: choose what to keep, and the rest is sampled."
REDRAFT = "Opens Generate with this crystal: a language model changes elements, then the cell is refined."


def generation_query(made_by: str = "") -> dict[str, str] | None:
    """The query with which a button that was pressed opens Generate for a crystal; None without a press.

    Args:
        made_by: the model of its run, which completes it where it can.
    """
    cards = [card for card in runnable_cards("generator") if card.task == "de novo generation"]
    # the run's own model, else the one that knows most elements
    cards.sort(key=lambda card: (card.name != made_by, -len(card.elements)))
    completes = next((card.name for card in cards if card.keeps_parts), "")
    redrafts = next((card.name for card in cards if refines_drafts(card)), "")
    query = None
    if completes and st.button(
        "Regenerate parts", icon=":material/auto_fix_high:", type="tertiary", key="complete", help=COMPLETE
    ):
        query = {"model": completes}
    if redrafts and st.button(
        "Change elements", icon=":material/swap_horiz:", type="tertiary", key="redraft", help=REDRAFT
    ):
        query = {"model": redrafts}
    return query


def hand_over(cell: Mapping[str, Any]) -> str:
    """Keep a crystal that belongs to no run for another page; the word by which a link names it there."""
    word = hashlib.sha256(json.dumps(cell, sort_keys=True).encode()).hexdigest()[:12]
    set_state(f"handed-over-{word}", dict(cell))
    return word


def handed_over(word: str) -> dict[str, Any] | None:
    """The crystal that a link names; None once the page was opened anew, or in another browser."""
    crystal: dict[str, Any] | None = get_state(f"handed-over-{word}")
    return crystal


def ask_fix() -> dict[str, Any] | None:
    """A structure to complete: the fields of the request that say what of it stays.

    Empty without one, None where it is unreadable.
    """
    st.markdown("**Complete a structure**")
    given, own = _ask_structure(
        "Structure to complete (optional)", "What you keep stays; the rest is sampled."
    )
    if given is None:
        return None if own else {}
    st.caption(
        escape_markdown(f"{_words(given)}. New crystals get the same number, unless you choose one above.")
    )
    sites = _ask_sites("Sites that stay", given, "fix-sites")
    elements = field(st.toggle, "All its elements stay", key="fix-elements")
    lattice = field(st.toggle, "Its cell stays", key="fix-lattice")
    _offer_to_forget("Complete nothing", own=own)
    return {"fix": given, "fix_sites": sites, "fix_elements": elements, "fix_lattice": lattice}


def ask_start() -> dict[str, Any] | None:
    """A crystal to start from: the fields of the request; empty without one, None where it is unreadable."""
    st.markdown("**Start from a crystal**")
    given, own = _ask_structure(
        "Crystal to start from (optional)", "The language model changes elements; then the cell is refined."
    )
    if given is None:
        return None if own else {}
    st.caption(
        escape_markdown(f"{_words(given)}. Sites of one element get the same new one; the cell is refined.")
    )
    every = field(st.toggle, "All its elements change", key="redraft-all")
    sites = () if every else _ask_sites("Sites whose element changes", given, "redraft-sites")
    _offer_to_forget("Start from nothing", own=own)
    return {"start_from": given, "redraft_sites": sites, "redraft_all": every}


def _ask_structure(label: str, what: str) -> tuple[Mapping[str, Any] | None, bool]:
    """The cell that was uploaded, or handed over by another page, and whether it was uploaded.

    None for none or an unreadable one.
    """
    upload = st.file_uploader(label, key="fix", help=f"CIF, POSCAR, extended XYZ, PDB or JSON. {what}")
    if upload is None:
        given = get_state("given")
        for note in (given or {}).get("notes", ()):
            st.warning(escape_markdown(note))
        return given, False
    (first, *_) = read_files([(upload.name, upload.getvalue())])
    if first.structure is None or first.limitation:
        st.error(escape_markdown(first.limitation or first.error or "The file holds no structure."))
        return None, True
    for note in first.notes:
        st.warning(escape_markdown(note))
    return given_json(first.structure, first.name), True


def _words(given: Mapping[str, Any]) -> str:
    structure = structure_from_record(given)
    return f"{formula_text(formula_of(structure.composition))}, {len(structure)} atoms"


def _ask_sites(label: str, given: Mapping[str, Any], key: str) -> tuple[int, ...]:
    names = [
        f"{k}: {symbol_of(z)} ({', '.join(f'{x:.2f}' for x in f)})"
        for k, (z, f) in enumerate(zip(given["atomic_numbers"], given["frac_coords"], strict=True), 1)
    ]
    chosen: Sequence[int] = field(
        st.multiselect,
        label,
        range(len(names)),
        format_func=names.__getitem__,
        key=key,
        placeholder="none",
    )
    return tuple(chosen)


def _offer_to_forget(label: str, *, own: bool) -> None:
    if not own and st.button(label, key="forget"):
        set_state("given", None)
        st.rerun()  # beside the form, the page speaks of it too
