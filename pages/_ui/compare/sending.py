"""From a run, or from a crystal of the reader's own, to the form that compares it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from crystal_core.chemistry.formula_text import formula_of
from crystal_core.files.records import structure_from_record
from crystal_core.jobs.job import Job
from crystal_core.workflows.compare.given import KINDS, column_of_files
from pages._ui.forms.completing import hand_over, handed_over
from pages._ui.run.runs import COMPARE

LABEL, ICON = "Compare", ":material/compare:"


def offer_comparison(job: Job) -> None:
    """A link that puts the crystals of a run into the form of Compare.

    Nothing while it is going on or without crystals.
    """
    if job.result and not job.live and job.kind in KINDS:
        with st.container(key="link-button", width="content"):
            st.page_link(COMPARE, label=LABEL, icon=ICON, query_params={"run": job.id})


def offer_own_comparison(cell: Mapping[str, Any]) -> None:
    """A button that puts a crystal which belongs to no run into the form of Compare."""
    if st.button(LABEL, key="compare-own", icon=ICON, type="tertiary"):
        st.switch_page(COMPARE, query_params={"own": hand_over(cell)})


def own_comparison(word: str) -> dict[str, Any]:
    """The settings of a comparison with the crystal that a link names.

    Empty where this browser does not hold it.
    """
    cell = handed_over(word)
    if cell is None:
        return {}
    structure = structure_from_record(cell)
    formula = formula_of(structure.composition)
    return {"columns": [column_of_files([structure], formula)], "formulas": [formula]}
