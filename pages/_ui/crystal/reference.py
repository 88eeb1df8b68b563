"""A known structure of the reader's own, which the candidates of any finished run are compared with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import streamlit as st

from crystal_core.chemistry.formula import parse_formula
from crystal_core.chemistry.formula_text import formula_of
from crystal_core.files.parse import is_mixed
from crystal_core.files.records import cell_json, structure_from_record
from crystal_core.files.uploads import compared
from pages._ui.crystal.typeset import formula_text
from pages._ui.forms.own_files import read_files
from pages._ui.text import escape_markdown

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.records import CrystalRecord, ReferenceMatch


def ask_reference(formula: str) -> Structure | None:
    """The structure to compare with, or None.

    Messages say what is wrong with it, what was left out, or why it cannot match ``formula``.
    """
    with st.expander("Compare with a known structure"):
        upload = st.file_uploader(
            "Known structure to compare with",
            key="reference",
            help="CIF, POSCAR, extended XYZ, PDB or JSON. The run stays as it is.",
        )
        if upload is None:
            return None
        (first, *_) = read_files([(upload.name, upload.getvalue())])
        if first.structure is None:
            st.error(escape_markdown(first.error or "The reference holds no structure."))
            return None
        if first.limitation:
            st.warning(escape_markdown(first.limitation))
        if is_mixed(first.occupancy):
            return None  # a candidate is no match of a cell that holds two elements on one site
        for note in first.notes:
            st.warning(escape_markdown(note))
        theirs = first.structure.composition.reduced_composition
        if theirs != _reduced(formula):
            named = formula_text(formula_of(first.structure.composition))
            st.warning(
                escape_markdown(
                    f"The reference is {named}, the run is of {formula_text(formula)}: "
                    "no candidate can match it."
                )
            )
        return first.structure


def with_reference(records: list[CrystalRecord], reference: Structure) -> list[CrystalRecord]:
    """The records, each with ``reference``: whether it is that crystal, and how far its atoms are away."""
    known = json.dumps(cell_json(reference))
    return [
        cast(
            "CrystalRecord",
            {**record, "reference": _compared(json.dumps(cell_json(structure_from_record(record))), known)},
        )
        for record in records
    ]


def reference_words(match: ReferenceMatch) -> str:
    """The comparison's outcome for one candidate, in a sentence."""
    if match["matches"] is None:
        return "Not compared with the reference: the comparison took too long."
    return (
        f"Matches the reference (RMSD {match['rmsd']:.3f} of the mean atomic spacing)."
        if match["matches"]
        else "Does not match the reference."
    )


def _reduced(formula: str) -> Any:
    from pymatgen.core import Composition

    return Composition(dict(parse_formula(formula).unit)).reduced_composition


@st.cache_data(max_entries=512, show_spinner="Comparing with the known structure …")
def _compared(cell: str, reference: str) -> dict[str, Any]:
    """Two cells as JSON, matched in the child: a page thread knows no time limit."""
    return compared(json.loads(cell), json.loads(reference))
