"""The files of one crystal: formats to exchange, a web page, inputs of DFT programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from crystal_core import to_html
from crystal_core.chemistry.formula_text import formula_of
from crystal_core.errors import CrystalCoreError
from crystal_core.evaluation.symmetry import TOLERANCES
from crystal_core.files.dft_inputs import espresso_input, vasp_files
from crystal_core.files.parse import parse_text
from crystal_core.files.records import zip_texts
from crystal_core.files.writers import structure_to_text
from pages._ui.crystal.cached import curve_of
from pages._ui.crystal.typeset import group_text
from pages._ui.text import escape_markdown

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.records import Provenance

FILES = {
    "CIF": ("cif", "cif"),
    "POSCAR": ("poscar", "vasp"),
    "extxyz": ("extxyz", "extxyz"),
    "JSON": ("json", "json"),
}


def show_files(structure: Structure, text: str, key: str, provenance: Provenance | None) -> None:
    """Download buttons of the crystal, which ``text`` names as JSON."""
    name = formula_of(structure.composition)
    st.caption(
        "All files hold the cell chosen above, with the same numbers. The web page opens without internet."
    )
    with st.container(horizontal=True):
        for label, (fmt, ending) in FILES.items():
            content = _file(text, fmt, provenance, 0.0, structure)
            st.download_button(label, content, f"{name}.{ending}", key=f"{key}-{fmt}", on_click="ignore")
        st.download_button(
            "Web page",
            lambda: to_html(parse_text(text, purpose="view")),
            f"{name}.html",
            "text/html",
            key=f"{key}-html",
            on_click="ignore",
        )
    symprec = st.select_slider(
        "Tolerance of the symmetrised CIF (Å)",
        TOLERANCES,
        0.1,
        key=f"{key}-symprec",
        help="The cell is idealised within it. A larger one finds more symmetry, and moves atoms farther.",
    )
    try:
        content = _file(text, "cif-symmetrised", provenance, symprec, structure)
        symbol = next((row["space group"] for row in curve_of(text) if row["tolerance (Å)"] == symprec), "")
        st.download_button(
            f"CIF, symmetrised: {group_text(symbol)}" if symbol else "CIF, symmetrised",
            content,
            f"{name}.sym.cif",
            key=f"{key}-cif-symmetrised",
            on_click="ignore",
        )
    except CrystalCoreError as error:
        st.caption(escape_markdown(error))
    with st.container(horizontal=True):
        vasp, refusal = _vasp(text)
        if vasp:
            st.download_button(
                "VASP input",
                vasp,
                f"{name}-vasp.zip",
                "application/zip",
                key=f"{key}-vasp",
                help="POSCAR, INCAR, KPOINTS",
                on_click="ignore",
            )
        st.download_button(
            "Quantum ESPRESSO input",
            _espresso(text, structure),
            f"{name}.pwi",
            key=f"{key}-espresso",
            help="For pw.x",
            on_click="ignore",
        )
    if refusal:
        st.caption(escape_markdown(refusal))
    st.caption(
        "Pseudopotentials are not inside: take the POTCAR or the .upf files you have a licence for, and "
        "check the cut-offs against them. Elements with an open d or f shell start ferromagnetic in the "
        "Quantum ESPRESSO input, which has no Hubbard U."
    )


@st.cache_data(max_entries=256, show_spinner=False)
def _file(text: str, fmt: str, provenance: Provenance | None, symprec: float, _structure: Structure) -> str:  # noqa: ARG001 (text names the structure)
    tolerance = {"symprec": symprec} if symprec else {}
    return structure_to_text(_structure, fmt, provenance=provenance, **tolerance)  # type: ignore[arg-type]


@st.cache_data(max_entries=64, show_spinner=False)
def _espresso(text: str, _structure: Structure) -> str:  # noqa: ARG001 (text names the structure)
    return espresso_input(_structure)


@st.cache_data(max_entries=64, show_spinner=False)
def _vasp(text: str) -> tuple[bytes, str]:
    try:
        return zip_texts(vasp_files(parse_text(text, purpose="view"))), ""
    except CrystalCoreError as error:
        return b"", str(error)
