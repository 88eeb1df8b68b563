"""A broken CIF is refused in one sentence: what is missing, and what to do."""

import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.errors import StructureParseError
from crystal_core.files.parse import parse_text
from crystal_core.files.writers import structure_to_text


def cube():
    cell = Structure(Lattice.cubic(4.0), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return structure_to_text(cell, "cif")


def without(*words):
    return "\n".join(line for line in cube().splitlines() if not any(word in line for word in words))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (without("_cell_"), "no cell lengths (_cell_length_a, _cell_length_b, _cell_length_c): add them"),
        (without("_cell_length_a"), "lacks a cell length (_cell_length_a): add it"),
        (
            without("_cell_angle_alpha", "_cell_angle_beta"),
            "two cell angles (_cell_angle_alpha, _cell_angle_beta)",
        ),
        (
            cube().replace("_cell_length_b   4.0000000000", "_cell_length_b   four"),
            "_cell_length_b of this CIF is 'four', which is no number",
        ),
        (
            cube().replace("_cell_length_b   4.0000000000", "_cell_length_b"),
            "_cell_length_b of this CIF has no value",
        ),
        (without("_atom_site", "  Na ", "  Cl "), "no atoms: add a loop with _atom_site_fract_x"),
        (without("  Na ", "  Cl "), "is empty: add a row for each atom"),
        (without("_atom_site_fract_y"), "lacks the column _atom_site_fract_y: add it"),
        (cube().replace("fract_", "Cartn_"), "Cartesian positions only"),
        (
            without("_atom_site_label", "_atom_site_type"),
            "no elements: add the column _atom_site_type_symbol",
        ),
        (
            cube().replace("  0.5000000000  1.0", "  1.0"),
            (
                "Row 2 of the list of atoms in this CIF ('Cl Cl1 0.5000000000 0.5000000000 1.0') "
                "has 5 values for 6 columns"
            ),
        ),
        (
            cube().replace("0.5000000000  1.0", "?  1.0"),
            "_atom_site_fract_z in row 2 of the list of atoms is '?', which is no number",
        ),
        (cube().replace("  1.0\n", "  2.0\n"), "occupancy in row 1 of the list of atoms is 2.0"),
        ("data_x\nA letter about crystals.\n", "no CIF entries"),
        ("data_x\nloop_\n_pd_meas_counts\n10\n", "neither a cell (_cell_length_a) nor atoms"),
        ("data_1ABC\nloop_\n_atom_site.Cartn_x\n1\n", "macromolecular"),
        ("", "The file is empty: there is nothing to read. Export the crystal again."),
        (
            "Dear reader,\nthis is a letter.\n",
            "none of CIF, POSCAR, extended XYZ, PDB or JSON. Export the crystal in one of these formats.",
        ),
    ],
)
def test_a_broken_cif_says_in_one_sentence_what_is_missing_and_what_to_do(text, says):
    with pytest.raises(StructureParseError) as refused:
        parse_text(text, "broken.cif")
    message = str(refused.value)
    assert (
        says in message
        and "section" not in message
        and "\n" not in message
        and ("export the file again." in message or message.endswith((".", "CIF.")))
    )
