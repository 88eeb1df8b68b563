"""The formula to predict, or a list of them: the field, and what it was read as beneath."""

from __future__ import annotations

import streamlit as st

from crystal_core.chemistry.formula import Formula, parse_formula, rare_elements
from crystal_core.errors import CrystalCoreError
from pages._ui.crystal.typeset import charge_text, formula_text
from pages._ui.forms.batch import ask_list
from pages._ui.forms.units import multiple_words
from pages._ui.link.session import field, value_of
from pages._ui.text import escape_markdown


def ask_formulas(*, several: bool) -> list[Formula]:
    """The formulas to predict; an error appears beneath, and the rest of the form stays."""
    try:
        if several:
            return [line.formula for line in ask_list(exact=bool(value_of("exact"))) if line.formula]
        text = field(
            st.text_input,
            "Formula",
            key="formula",
            help="For example TiO2, SrTiO3, Ca3(PO4)2. One formula unit; "
            "how many fill the cell is chosen below.",
        )
        formula = parse_formula(text)
    except CrystalCoreError as error:
        st.error(escape_markdown(error))
        return []
    st.caption(
        escape_markdown(
            f"{formula_text(formula.reduced_formula)} · {formula.molar_mass:.2f} g/mol · "
            f"{charge_text(formula.hint)}"
        )
    )
    if formula.note:
        st.info(escape_markdown(formula.note))
    if not value_of("exact") and (message := multiple_words([formula])):
        st.info(escape_markdown(message))
    _show_domain(formula)
    return [formula]


def _show_domain(formula: Formula) -> None:
    """Warn where predictions are weak, before anything is run."""
    # what no crystal holds is refused by the models
    rare = {element: n for element, n in rare_elements(formula).items() if n}
    if rare:
        words = ", ".join(f"{element} ({n})" for element, n in rare.items())
        st.warning(f"Rare among the training crystals: {words}. Predictions are weak there.")
