"""The phase diagram of a crystal's elements with the crystal in it, drawn on request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from crystal_core.chemistry.formula_text import formula_of
from crystal_core.drawing.figures.phase_diagram import phase_diagram_figure
from crystal_core.errors import CrystalCoreError
from crystal_core.files.parse import parse_text
from crystal_core.reference.chemical_system import chemical_system
from crystal_core.reference.hull import load_hull
from crystal_core.relax.potential import is_installed, load_potential
from pages._ui.crystal.energies import error_words
from pages._ui.crystal.typeset import formula_text
from pages._ui.text import escape_markdown

if TYPE_CHECKING:
    from pymatgen.core import Structure

KNOWN = (
    "Known compounds: DFT formation energies of the Materials Project (2020 corrections), "
    "the lowest of each formula."
)
THIS = "This crystal: CHGNet, cell as it stands, not relaxed."
NO_POTENTIAL = "This crystal is not drawn: its energy needs the package chgnet."


def show_phases(structure: Structure, text: str, key: str) -> None:
    """A switch, and the diagram behind it; why there is none is said.

    Args:
        text: the crystal as JSON.
    """
    if not st.toggle("Draw the phase diagram", key=f"{key}-phases"):
        st.caption("Known compounds of these elements, and where this crystal lies among them.")
        return
    try:
        chemical_system(structure.composition)  # before the energy, which takes seconds
        energy, words = None, NO_POTENTIAL
        if is_installed():
            try:
                energy, words = _formation_energy(text), f"{THIS} {error_words()}"
            except CrystalCoreError as error:
                words = f"This crystal is not drawn. {error}"
        system = chemical_system(structure.composition, energy)
    except CrystalCoreError as error:
        st.info(escape_markdown(error))
        return
    name = formula_text(formula_of(structure.composition))
    st.plotly_chart(
        phase_diagram_figure(system, f"{name}, this crystal"), width="stretch", key=f"{key}-phase-diagram"
    )
    if system.crystal:
        distance = system.crystal.e_above_hull
        side = "above" if distance >= 0 else "below"
        st.text(f"This crystal lies {abs(distance):.3f} eV/atom {side} the hull of known compounds.")
    st.caption(escape_markdown(f"{KNOWN} {words}"))


@st.cache_data(max_entries=32, show_spinner="Computing the energy with CHGNet …")
def _formation_energy(text: str) -> float:
    """eV/atom of the cell as it stands, 2020 scheme."""
    structure = parse_text(text, purpose="view")
    energy = float(load_potential().predict(structure, "e")["e"])
    return load_hull().formation_energy(structure.composition, energy)
