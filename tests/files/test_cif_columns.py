"""Columns of the list of atoms in a CIF: each belongs to its row, and means what its program writes."""

import gemmi
import numpy as np
import pytest

from crystal_core.errors import StructureParseError
from crystal_core.files.parse import parse_text

HEAD = """data_x
_cell_length_a 5.21
_cell_length_b 6.03
_cell_length_c 7.44
_cell_angle_alpha 90
_cell_angle_beta 98.2
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 21/c'
loop_
_symmetry_equiv_pos_as_xyz
x,y,z
-x,y+1/2,-z+1/2
-x,-y,-z
x,-y+1/2,z+1/2
"""
PLACES = {"Hf1": "Hf .12 .23 .31", "S1": "S 0 0 0", "S2": "S .6 .6 .1"}


def cif(columns="", rows=("", "", ""), tail=""):
    """Hafnium and sulfur, one of them on a centre of symmetry; ``columns`` stand before the labels."""
    tags = [*columns.split(), "label", "type_symbol", "fract_x", "fract_y", "fract_z"]
    listed = [f"{row} {label} {place}" for row, (label, place) in zip(rows, PLACES.items(), strict=True)]
    return "\n".join([HEAD + "loop_", *(f"_atom_site_{tag}" for tag in tags), *listed, tail, ""])


def notes(text):
    return " ".join(parse_text(text, purpose="view").properties.get("notes", []))


@pytest.mark.parametrize(
    ("columns", "rows", "says"),
    [
        ("symmetry_multiplicity", ("4", "2", "4"), ""),
        ("symmetry_multiplicity", ("1", "2", "1"), ""),  # SHELXL-97: orders of the site symmetries
        ("symmetry_multiplicity", ("4", "4", "4"), "S1 the multiplicity 4, but 2 are read"),
        ("symmetry_multiplicity", ("1", "1", "1"), "multiplicity 1"),
        ("site_symmetry_multiplicity", ("4", "2", "4"), ""),
        ("site_symmetry_order", ("1", "2", "1"), ""),
        ("site_symmetry_order", ("1", "1", "1"), "the site of S1 a symmetry of order 1, but 2 is read"),
    ],
)
def test_multiplicities_are_compared_as_the_program_means_them(columns, rows, says):
    said = notes(cif(columns, rows))
    assert says in said and bool(says) == bool(said)


@pytest.mark.parametrize(
    "tail",
    [
        "loop_\n_atom_site_occupancy\n1\n.5\n1",
        "loop_\n_atom_site_occupancy\n.5",
        "_atom_site_occupancy .5",
        "loop_\n_atom_site_label\n_atom_site_occupancy\nS2 1\nS1 .5\nHf1 1",
    ],
)
def test_occupancies_in_another_loop_than_the_positions_are_refused(tail):
    """Row by row they would be those of other atoms."""
    with pytest.raises(StructureParseError, match="_atom_site_occupancy apart from the positions"):
        parse_text(cif(tail=tail), purpose="view")


def test_other_values_in_another_loop_are_not_those_of_the_rows():
    values = parse_text(cif("U_iso_or_equiv", (".01", ".02", ".03"))).properties["site_values"]
    assert values["columns"]["u_iso_or_equiv"][:1] == [0.01]
    apart = parse_text(cif(tail="loop_\n_atom_site_B_iso_or_equiv\n1\n2\n3"))
    assert "site_values" not in apart.properties


def bonds(*rows):
    tags = ("atom_site_label_1", "atom_site_label_2", "distance")
    return "\n".join(["loop_", *(f"_geom_bond_{tag}" for tag in tags), *rows])


def aniso(*labels):
    rows = [f"{label} .01" for label in labels]
    return "\n".join(["loop_", "_atom_site_aniso_label", "_atom_site_aniso_U_11", *rows])


@pytest.mark.parametrize(
    ("tail", "says"),
    [
        (bonds("Hf1 S1 2.300(3)", "S1 Hf1 2.69", "Hf1 S2 1.71(1)", "S1 S1 4.79"), ""),
        (bonds("Hf1 S1 2.300", "Hf1 S1 2.69", "Hf1 S2 1.17"), ""),  # one is a misprint
        (
            bonds("Hf1 S1 2.15", "Hf1 S2 2.02", "Hf1 S2 1.71"),
            "2 of 3 bonds of the file, Hf1–S1 2.15 Å among them",
        ),
        (bonds("Hf1 O3 2.05"), "bonds of O3, which its list of atoms lacks"),
        (aniso("Hf1", "s1"), ""),
        (aniso("Hf1", "S1", "O7"), "displacement parameters of O7, which"),
    ],
)
def test_what_the_file_says_of_its_atoms_elsewhere_is_compared(tail, says):
    said = notes(cif(tail=tail))
    assert says in said and bool(says) == bool(said)


CELL = gemmi.UnitCell(5.21, 6.03, 7.44, 90, 98.2, 90)


def with_cartesian(change=lambda places: places):
    """The file with Cartesian positions beside the fractional ones."""
    fractions = [[float(x) for x in place.split()[1:]] for place in PLACES.values()]
    places = change(np.array([CELL.orthogonalize(gemmi.Fractional(*f)).tolist() for f in fractions]))
    text = cif("Cartn_x Cartn_y Cartn_z")
    for label, place in zip(PLACES, places, strict=True):
        text = text.replace(f"\n {label} ", "\n" + " ".join(f"{x:.3f}" for x in place) + f" {label} ")
    return text


@pytest.mark.parametrize(
    "change",
    [lambda places: places, lambda places: places[:, ::-1] + 3.0],
    ids=["usual", "turned and shifted"],
)
def test_cartesian_positions_may_have_axes_of_their_own(change):
    assert notes(with_cartesian(change)) == ""


def test_cartesian_positions_of_other_places_are_said():
    said = notes(with_cartesian(lambda places: places + np.array([[0, 0, 0], [0, 0, 0.4], [0, 0, 0]])))
    apart = CELL.orthogonalize(gemmi.Fractional(0.12, 0.23, 0.31)).length()
    assert f"Å apart by the Cartesian positions of the file, but {apart:.2f} Å by the fractional" in said
    assert said.startswith("Hf1–S1 are")


@pytest.mark.parametrize(
    ("head", "types", "says"),
    [
        ("", ("Hf4+", "S2-", "O2-"), "lists O among its types of atoms, but no atom"),
        ("", ("Hf", "S"), ""),
        ("", ("Hf", "S", "Cval", "?"), ""),
        ("_chemical_formula_sum 'Hf S1.5'", ("Hf", "S", "O"), ""),
    ],
)
def test_types_of_atoms_without_an_atom_are_said_where_no_formula_tells(head, types, says):
    tail = "\n".join([head, "loop_", "_atom_type_symbol", *types])
    said = notes(cif(tail=tail))
    assert says in said and bool(says) == bool(said)
