"""Rows, occupancies, elements and formula of a CIF: what does not fit the crystal that is read
is refused or noted.
"""

import json

import pytest
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.errors import StructureParseError
from crystal_core.files.parse import parse_text
from crystal_core.files.uploads import parse_uploads

HEAD = (
    "data_x\n_cell_length_a 4.1\n_cell_length_b 4.2\n_cell_length_c 4.3\n"
    "_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90\n_space_group_IT_number 1\n"
)


def cif(rows, columns=("type_symbol", "occupancy"), head=HEAD, **entries):
    """A P 1 cell; each row holds the values of ``columns`` and stands at a place of its own
    unless it names one.
    """
    lines = [f"{tag} '{value}'" for tag, value in entries.items()] + ["loop_"]
    lines += [f"_atom_site_{name}" for name in (*columns, "fract_x", "fract_y", "fract_z")]
    places = ("0 0 0", "0.5 0.5 0.5", "0.5 0.5 0", "0 0.5 0.5")
    for row, place in zip(rows, places, strict=False):
        lines.append(" ".join(row) if len(row) > len(columns) else " ".join([*row, place]))
    return head + "\n".join(lines) + "\n"


def read(*args, **entries):
    return parse_text(cif(*args, **entries), purpose="view")


def notes(structure):
    texts = structure.properties.get("notes", [])
    return " ".join(note for note in texts if "covalent radii" not in note and "bohr" not in note)


@pytest.mark.parametrize("unknown", [".", "?", "1", "1.0(2)"])
def test_an_occupancy_that_is_not_given_is_one(unknown):
    crystal = parse_text(cif([("K", unknown), ("F", "1")]))
    assert crystal.composition.formula == "K1 F1" and not notes(crystal)


@pytest.mark.parametrize(
    ("occupancy", "says"),
    [
        ("0,5", "is 0,5, which is no number"),
        ("-1", "lies between 0 and 1"),
        ("nan", "is nan, which is no number"),
        ("1.4", "lies between"),
    ],
)
def test_an_occupancy_that_is_none_is_refused(occupancy, says):
    with pytest.raises(StructureParseError, match=says):
        read([("K", occupancy), ("F", "1")])


def test_an_empty_row_and_an_occupancy_above_one_within_its_uncertainty_are_noted():
    crystal = read([("K", "1.003(2)"), ("F", "1"), ("Cl", "0")])
    assert crystal.composition.formula == "K1 F1"
    assert "occupancy of 1.003(2) is read as 1" in notes(crystal) and "occupancy 0 is left out" in notes(
        crystal
    )


def test_shares_that_add_up_to_more_than_one_are_scaled_aloud_or_refused():
    site = "0 0 0"
    crystal = read([("K", "0.505", site), ("Rb", "0.505", site), ("F", "1")])
    assert "add up to 1.01" in notes(crystal)
    with pytest.raises(StructureParseError, match="lie on one site, and their occupancies add up to 2"):
        read([("K", "1", site), ("Rb", "1", site), ("F", "1")])


def test_hydrogen_that_shares_a_site_with_oxygen_is_kept():
    crystal = read([("O", "0.25", "0 0 0"), ("H", "0.75", "0 0 0"), ("Y", "1")])
    assert crystal.properties["occupancy"]["shares"] == [{"O": 0.25, "H": 0.75}, {"Y": 1.0}]
    assert "H 0.75, O 0.25" in crystal.properties["limitation"]


@pytest.mark.parametrize("kind", ["Zz", "26", "Du", "H2O", "Cnt", "CH3", "NH4", "Lp"])
def test_a_row_that_names_no_element_is_refused_and_not_dropped(kind):
    for column in ("type_symbol", "label"):
        if column == "type_symbol" or kind not in ("CH3", "NH4"):  # which as labels begin with an element
            with pytest.raises(StructureParseError, match="names no element"):
                read([(kind,), ("F",)], (column,))


@pytest.mark.parametrize("kind", ["Fe,Ni", "Fe/Ni"])
def test_a_type_of_several_elements_without_shares_is_refused(kind):
    with pytest.raises(StructureParseError, match="names no element"):
        read([(kind,), ("F",)], ("type_symbol",))


def test_the_label_of_a_tetrahedral_site_is_no_tritium():
    with pytest.raises(StructureParseError, match="names no element"):
        read([("T1",), ("O",)], ("label",))
    tritide = read([("T",), ("Li",)], ("type_symbol",))
    assert tritide.properties["occupancy"]["formula"] == "LiT" and "tritium" in notes(tritide)


@pytest.mark.parametrize(
    ("label", "element", "note"),
    [
        ("K1", "K", ""),
        ("CA1", "Ca", "is read as Ca, not C"),
        ("Ow", "O", ""),
        ("OH2", "O", "hydrogen has no position"),
        ("Wat", "O", "hydrogen has no position"),
        ("MnFe1", "Mn", "names Mn and Fe, but is read as Mn alone"),
        ("SiAl", "Si", "names Si and Al, but is read as Si alone"),
        ("SiTet", "Si", ""),
        ("CaM4", "Ca", ""),
    ],
)
def test_a_label_names_its_element(label, element, note):
    crystal = read([(label,), ("F",)], ("label",))
    assert {site.specie.symbol for site in crystal} == {element, "F"} and note in notes(crystal)
    assert bool(notes(crystal)) == bool(note)


def test_a_label_is_of_one_element_where_the_formula_lacks_the_other():
    crystal = read([("OAl1",), ("Mg",)], ("label",), _chemical_formula_sum="Mg O")
    assert crystal.composition.formula == "Mg1 O1" and "names" not in notes(crystal)


def test_a_label_with_two_readings_is_decided_by_the_formula_or_refused():
    rows = [("NO1",), ("K1",)]
    with pytest.raises(StructureParseError, match="'NO1' may mean No or N"):
        read(rows, ("label",))
    assert read(rows, ("label",), _chemical_formula_sum="K N").composition.formula == "K1 N1"


def test_two_elements_written_as_one_type_share_the_site():
    crystal = read([("'0.4Fe + 0.6Ni'",), ("O",)], ("type_symbol",))
    assert crystal.properties["occupancy"]["formula"] == "Fe0.4Ni0.6O"


@pytest.mark.parametrize("kind", ["D", "2H", "D1+"])
def test_deuterium_keeps_its_name_and_mass(kind):
    crystal = read([(kind,), ("Li",)], ("type_symbol",))
    occupancy = crystal.properties["occupancy"]
    assert (
        occupancy["formula"] == "LiD"
        and occupancy["sites"] == "1 site of D"
        and occupancy["shares"][0] == {"D": 1.0}
    )
    assert occupancy["density"] == pytest.approx((6.94 + 2.014) / (4.1 * 4.2 * 4.3) * 1.66054, abs=1e-3)
    assert "deuterium" in notes(crystal) and "limitation" not in crystal.properties


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"_chemical_formula_sum": "K F"}, ""),
        ({"_chemical_formula_sum": "F K", "_cell_formula_units_Z": 1}, ""),
        ({"_chemical_formula_sum": "K2 F2", "_cell_formula_units_Z": 2}, "holds 0.5 units"),
        (
            {"_chemical_formula_sum": "K F H2 O"},
            "The formula of the file is K F H2 O, but the atoms that were read make K F",
        ),
        ({"_chemical_formula_sum": "K F H"}, "has hydrogen, but the list of atoms has none"),
        (
            {"_chemical_formula_sum": "K F", "_cell_formula_units_Z": 4},
            "gives Z = 4, but the cell that was read holds 1 units",
        ),
        ({"_chemical_formula_sum": "?"}, ""),
    ],
)
def test_formula_and_z_of_the_file_are_compared_with_the_atoms(entries, says):
    crystal = read([("K",), ("F",)], ("type_symbol",), **entries)
    assert says in notes(crystal) and bool(notes(crystal)) == bool(says)


def test_a_text_field_and_an_unquoted_symbol_are_read_for_what_they_are():
    text = cif([("K",), ("F",)], ("type_symbol",)).replace(
        "_space_group_IT_number 1",
        "_refine_details\n;\ndata_no block\nloop_\n;\n_symmetry_space_group_name_H-M P m -3 m",
    )
    text = text.replace("4.2", "4.1").replace("4.3", "4.1")
    assert parse_text("\ufeff" + text.replace("\n", "\r\n")).composition.formula == "K1 F1"


def test_an_xyz_file_that_is_no_crystal_along_an_axis_is_noted():
    frame = '1\nLattice="4 0 0 0 4 0 0 0 9" pbc="{}" Properties=species:S:1:pos:R:3\nK 0 0 0\n'
    assert "pbc T T F" in notes(parse_text(frame.format("T T F")))
    assert not notes(parse_text(frame.format("T T T")))


def test_notes_reach_uploads_and_the_command_line(tmp_path):
    text = cif([("K",), ("F",)], ("type_symbol",), _chemical_formula_sum="K F H")
    (upload,) = parse_uploads([("a.cif", text.encode())])
    assert upload.notes and list(upload.notes) == upload.structure.properties["notes"]
    for name, content in (("a.cif", text), ("b.cif", cif([("K",), ("F",)], ("type_symbol",)))):
        (tmp_path / name).write_text(content, encoding="utf-8")
    words = ["analyse", str(tmp_path / "a.cif"), str(tmp_path / "b.cif")]
    rows = json.loads(CliRunner().invoke(build_app(), [*words, "--json"]).stdout)["rows"]
    assert [row["notes"] for row in rows] == [list(upload.notes), []]
    assert "Note: The formula of the file" in CliRunner().invoke(build_app(), words).stdout
