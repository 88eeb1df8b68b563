"""Look at any crystal: an example, or pasted or uploaded text."""

from __future__ import annotations

import streamlit as st

from crystal_core.structures import parse_text
from pages._ui.detail import show_structure
from pages._ui.errors import guard

MAX_BYTES = 5_000_000
EXAMPLES = {
    "BaTiO3 (cubic perovskite)": """data_BaTiO3
_cell_length_a 4.01
_cell_length_b 4.01
_cell_length_c 4.01
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Ba1 Ba 0 0 0
Ti1 Ti 0.5 0.5 0.5
O1 O 0.5 0.5 0
""",
    "NaCl (rock salt)": """NaCl
1.0
5.64 0 0
0 5.64 0
0 0 5.64
Na Cl
4 4
Direct
0 0 0
0 0.5 0.5
0.5 0 0.5
0.5 0.5 0
0.5 0.5 0.5
0.5 0 0
0 0.5 0
0 0 0.5
""",
}


def main() -> None:
    st.title("Viewer")
    how = st.segmented_control("Crystal", ["Example", "Upload", "Paste"], default="Example", key="how")
    text, name = "", "pasted text"
    if how == "Upload":
        file = st.file_uploader("CIF, POSCAR, extxyz or JSON", key="file")
        if file is not None:
            if file.size > MAX_BYTES:
                st.error("The file is larger than 5 MB; a crystal structure is far smaller. Send one structure per file.")
                return
            text, name = file.getvalue().decode("utf-8", errors="replace"), file.name
    elif how == "Paste":
        text = st.text_area("Structure text", key="text", height=200)
    else:
        name = st.selectbox("Example", list(EXAMPLES), key="example")
        text = EXAMPLES[name]
    if text.strip():
        show_structure(parse_text(text, name, purpose="view"), key="viewer")


with guard():
    main()
