"""One structure in full, shared by all pages: viewer, summary, sites, symmetry, diffraction, provenance, files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from crystal_core.evaluation.symmetry import site_table, space_group_curve
from crystal_core.evaluation.validity import check_structure
from crystal_core.evaluation.xrd import WAVELENGTHS, pattern
from crystal_core.figures.xrd import xrd_figure
from crystal_core.scene import build_scene
from crystal_core.structures import structure_to_text
from pages._ui.viewer import crystal_viewer

if TYPE_CHECKING:
    from pymatgen.core import Structure

FILES = {"CIF": ("cif", "cif"), "CIF, symmetrised": ("cif-symmetrised", "sym.cif"), "POSCAR": ("poscar", "vasp"), "extxyz": ("extxyz", "extxyz"), "JSON": ("json", "json")}


def show_structure(structure: Structure, *, key: str, provenance: Mapping[str, Any] | None = None, origin: str = "") -> None:
    """The detail view."""
    crystal_viewer(build_scene(structure), key=f"{key}-viewer")
    tabs = st.tabs(["Summary", "Sites", "Symmetry", "Diffraction", "Files", "Provenance"])
    with tabs[0]:
        _summary(structure, origin)
    with tabs[1]:
        st.dataframe(site_table(structure), hide_index=True, width="stretch")
    with tabs[2]:
        st.caption("The space group depends on how much deviation is forgiven. Models place atoms inexactly, so a tight tolerance finds P1.")
        st.dataframe(space_group_curve(structure), hide_index=True, width="stretch")
    with tabs[3]:
        radiation = st.selectbox("Radiation", WAVELENGTHS, key=f"{key}-radiation")
        st.plotly_chart(xrd_figure(pattern(structure, radiation)), width="stretch", key=f"{key}-xrd")
    with tabs[4]:
        name = structure.composition.reduced_formula
        columns = st.columns(len(FILES))
        for column, (label, (fmt, ending)) in zip(columns, FILES.items(), strict=True):
            column.download_button(label, structure_to_text(structure, fmt, provenance=provenance), f"{name}.{ending}", key=f"{key}-{fmt}", width="stretch")
    with tabs[5]:
        st.json(dict(provenance)) if provenance else st.caption("Read from a file; nothing was generated.")


def _summary(structure: Structure, origin: str) -> None:
    validity = check_structure(structure)
    if origin:
        st.caption(f"Origin: {origin}")
    curve = space_group_curve(structure, (0.1,))[0]
    a, b, c, alpha, beta, gamma = structure.lattice.parameters
    left, middle, right = st.columns(3)
    left.metric("Space group (0.1 Å)", f"{curve['space group']}")
    middle.metric("Density", f"{structure.density:.2f} g/cm³")
    right.metric("Volume", f"{structure.volume:.1f} Å³")
    st.dataframe(
        [{"a (Å)": round(a, 3), "b (Å)": round(b, 3), "c (Å)": round(c, 3), "α (°)": round(alpha, 2), "β (°)": round(beta, 2), "γ (°)": round(gamma, 2), "atoms": len(structure)}],
        hide_index=True, width="stretch",
    )  # fmt: skip
    marks = {"structure valid": validity.structure, "charge-balanced": validity.composition, "distances plausible": validity.plausible}
    st.markdown(" ".join(f":{'green' if ok else 'orange'}-badge[{'✓' if ok else '✗'} {name}]" for name, ok in marks.items()))
    for reason in validity.reasons:
        st.text(reason)
