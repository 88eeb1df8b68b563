"""Disorder groups, alternate locations of a PDB file, and multiplicities, compared with the occupancies."""

import pytest

from crystal_core.files.parse import parse_text

HEAD = """data_x
_cell_length_a 6.1
_cell_length_b 7.3
_cell_length_c 8.2
_cell_angle_alpha 81
_cell_angle_beta 95
_cell_angle_gamma 102
_space_group_name_H-M_alt 'P -1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
_atom_site_disorder_assembly
_atom_site_disorder_group
S1 S 0.1 0.2 0.3 1 . .
"""


def notes_on(*rows):
    crystal = parse_text(HEAD + "\n".join(rows) + "\n", purpose="view")
    return [note for note in crystal.properties.get("notes", []) if "The file calls" in note]


def test_full_alternatives_are_said():
    (note,) = notes_on("O1A O 0.4 0.4 0.4 1 A 1", "O1B O 0.42 0.43 0.42 1 A 2")
    assert "O1A and O1B alternatives (disorder groups 1, 2)" in note and "fully occupied" in note
    crystal = parse_text(HEAD + "O1A O 0.4 0.4 0.4 1 A 1\nO1B O 0.42 0.43 0.42 1 A 2\n", purpose="view")
    assert crystal.composition["O"] == 4


def test_an_atom_about_a_symmetry_element_fills_one_half():
    (note,) = notes_on("C1 C 0.48 0.5 0.5 1 . -1")
    assert "C1 disordered about a symmetry element (group -1)" in note
    assert not notes_on("C1 C 0.47 0.5 0.5 0.5 . -1")


@pytest.mark.parametrize(
    "rows",
    [
        ("O1A O 0.4 0.4 0.4 0.62 A 1", "O1B O 0.42 0.43 0.42 0.38 A 2"),
        ("O1 O 0.4 0.4 0.4 1 . 0", "O2 O 0.6 0.6 0.1 1 . 0"),
        # groups of two molecules, numbered on
        (
            "O1 O 0.4 0.4 0.4 0.5 . 1",
            "O2 O 0.4 0.4 0.5 0.5 . 2",
            "O3 O 0.7 0.4 0.4 0.5 . 3",
            "O4 O 0.7 0.4 0.5 0.5 . 4",
        ),
        ("O1 O 0.4 0.4 0.4 1 A 1", "O2 O 0.6 0.6 0.1 1 B 1"),
    ],
)
def test_alternatives_that_leave_room_for_each_other_are_ordinary(rows):
    assert not notes_on(*rows)


def test_full_alternate_locations_of_a_pdb_file_are_said():
    def atom(n, alternative, x, share):
        place = f"{x:8.3f}{1.0:8.3f}{1.0:8.3f}{share:6.2f}{0.0:6.2f}"
        return f"HETATM{n:5d}  O  {alternative}MOL A{n:4d}    {place}           O"

    head = "CRYST1    5.000    6.000    7.000  90.00  90.00  90.00 P 1           1"
    texts = ["\n".join([head, atom(1, "A", 1.0, share), atom(2, "B", 1.4, share)]) for share in (1.0, 0.5)]
    full, halves = (" ".join(parse_text(text, purpose="view").properties.get("notes", [])) for text in texts)
    assert "alternatives (disorder groups A, B)" in full and "alternatives" not in halves


@pytest.mark.parametrize(
    ("shares", "says"),
    [
        (("0.0208333", "0.0208333", "0.125"), True),  # 4, 4 and 24 of 192
        (("0.021", "0.0105", "0.125"), False),
        (("1", "1", "1"), False),
        (("0.5", "0.5", "0.5"), False),
    ],
)
def test_occupancies_by_multiplicity_are_said(shares, says):
    """Of K2NaAlF6 without its potassium: a, b and e of Fm-3m."""
    places = (("Al", "0 0 0"), ("Na", ".5 .5 .5"), ("F", ".22 0 0"))
    rows = [f"{name} {name} {place} {x}" for (name, place), x in zip(places, shares, strict=True)]
    cell = [f"_cell_length_{x} 8.12" for x in "abc"]
    cell += [f"_cell_angle_{x} 90" for x in ("alpha", "beta", "gamma")]
    columns = ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy")
    head = ["data_x", *cell, "_space_group_name_H-M_alt 'F m -3 m'", "loop_"]
    lines = [*head, *(f"_atom_site_{column}" for column in columns), *rows, ""]
    notes = " ".join(parse_text("\n".join(lines), purpose="view").properties.get("notes", []))
    assert ("as FullProf has them" in notes) == says


@pytest.mark.parametrize("share", ["0.5", "1"])
def test_one_half_filled_site_beside_full_ones_is_a_vacancy(share):
    rows = f"Se1 Se 0.3 0.3 0.4 1 . .\nTi1 Ti 0 0 0 {share} . .\n"
    notes = " ".join(parse_text(HEAD + rows, purpose="view").properties.get("notes", []))
    assert "FullProf" not in notes
