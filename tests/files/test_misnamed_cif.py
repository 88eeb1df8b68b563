"""CIFs that misspell the occupancy, or name a crystal system that the group or the cell contradicts.

Also CIFs within Markdown.
"""

import pytest

from crystal_core.files.parse import parse_all, parse_text

ANGLES = ("alpha", "beta", "gamma")
GROUP = "_symmetry_space_group_name_H-M 'F m -3 m'"


def cif(head=GROUP, *, column="", shares=("", ""), lengths=(6.6, 6.6, 6.6), angles=(90, 90, 90)):
    """Potassium bromide, with a further column of the list of atoms."""
    cell = [f"_cell_length_{x} {size}" for x, size in zip("abc", lengths, strict=True)]
    cell += [f"_cell_angle_{x} {angle}" for x, angle in zip(ANGLES, angles, strict=True)]
    tags = [f"_atom_site_{name}" for name in ("type_symbol", "fract_x", "fract_y", "fract_z")]
    rows = [f"K 0 0 0 {shares[0]}", f"Br .5 .5 .5 {shares[1]}"]
    return "\n".join(["data_k", *cell, head, "loop_", *tags, column, *rows, ""])


@pytest.mark.parametrize(
    "name", ["sof", "occ", "occupency", "ocupancy", "occupancies", "site_occupancy", "site_occupancy_factor"]
)
def test_a_misspelt_column_of_occupancies_is_read_and_said(name):
    crystal = parse_text(cif(column=f"_atom_site_{name}", shares=("0.4", "1")), purpose="view")
    assert crystal.properties["occupancy"]["formula"] == "K0.4Br"
    assert f"The column _atom_site_{name} is read as the occupancy" in crystal.properties["notes"][0]


@pytest.mark.parametrize(
    ("name", "shares"),
    [
        ("sof", ("1", "1.0")),
        ("occ", ("?", "?")),
        ("occupancy_esd", ("0.1", "0.1")),
        ("refinement_flags_occupancy", ("P", ".")),
        ("B_iso_or_equiv", ("0.4", "0.3")),
    ],
)
def test_other_columns_are_no_occupancies(name, shares):
    crystal = parse_text(cif(column=f"_atom_site_{name}", shares=shares))
    assert crystal.is_ordered and not crystal.properties.get("notes")


def test_the_column_of_the_standard_counts_where_both_stand():
    columns = "_atom_site_sof\n_atom_site_occupancy"
    crystal = parse_text(cif(column=columns, shares=("0.25 0.8", "0.25 1")), purpose="view")
    assert crystal.properties["occupancy"]["formula"] == "K0.8Br"


TRIGONAL = {"lengths": (4.1, 4.1, 9.6), "angles": (90, 90, 120)}


@pytest.mark.parametrize(
    ("head", "cell", "says"),
    [
        (f"{GROUP}\n_symmetry_cell_setting Cubic", {}, ""),
        (f"{GROUP}\n_cell_setting tetragonal", {}, "tetragonal, but the space group it names is cubic"),
        ("_symmetry_space_group_name_H-M 'P 1'\n_space_group_crystal_system cubic", {}, "is triclinic"),
        ("_symmetry_space_group_name_H-M 'R -3 m'\n_symmetry_cell_setting hexagonal", TRIGONAL, ""),
        ("_symmetry_space_group_name_H-M 'R -3 m'\n_symmetry_cell_setting rhombohedral", TRIGONAL, ""),
        ("_symmetry_space_group_name_H-M 'P 6/m m m'\n_cell_setting trigonal", TRIGONAL, "is hexagonal"),
        ("_cell_setting cubic", {}, ""),
        ("_cell_setting cubic", {"lengths": (6.6, 6.6, 6.9)}, "do not fit that system"),
        ("_cell_setting orthorhombic", {"angles": (90, 97, 90)}, "do not fit that system"),
        ("_cell_setting monoclinic", {"angles": (90, 97, 90)}, ""),
        ("_cell_setting trigonal", {"angles": (57, 57, 57)}, ""),
        ("_cell_setting hexagonal", {"angles": (57, 57, 57)}, "do not fit that system"),
        ("_cell_setting unknown", {}, ""),
    ],
)
def test_a_crystal_system_is_compared_with_the_group_or_the_cell(head, cell, says):
    listed = "" if "H-M" in head else "\nloop_\n_symmetry_equiv_pos_as_xyz\nx,y,z"
    notes = " ".join(parse_text(cif(head + listed, **cell), purpose="view").properties.get("notes", ()))
    assert says in notes and bool(says) == ("calls the crystal" in notes)


@pytest.mark.parametrize(
    "around",
    [
        "```cif\n{}```\n",
        "```\n{}",
        "Here is the crystal:\n\n  ~~~ cif\n{}  ~~~\nIts cell is cubic.\n",
        "{}",
    ],
)
def test_a_cif_within_a_fence_of_markdown_is_read(around):
    crystal = parse_text(around.format(cif()))
    assert crystal.composition.formula == "K4 Br4" and not crystal.properties.get("notes")


def test_all_cifs_of_a_markdown_text_are_read():
    text = f"One:\n```cif\n{cif()}```\nTwo:\n```cif\n{cif().replace('Br', 'Cl')}```\n"
    assert [one.composition.formula for one in parse_all(text)] == ["K4 Br4", "K4 Cl4"]


def test_a_fence_within_a_text_of_a_cif_is_no_end():
    remark = "_publ_section_comment\n;\n```\nsome code\n```\n;"
    assert parse_text(cif(f"{GROUP}\n{remark}")).composition.formula == "K4 Br4"
