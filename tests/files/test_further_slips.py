"""Slips of files that are common and easily read past: each is read right, said in a note, or
refused in a sentence.
"""

import bz2
import gzip
import json
import lzma

import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.cli._files import read_crystals
from crystal_core.errors import StructureParseError
from crystal_core.files.parse import parse_text, with_shares
from crystal_core.files.uploads import parse_uploads

TYPE, LABEL, OCCUPANCY = "type_symbol", "label", "occupancy"
GROUP = "_symmetry_space_group_name_H-M 'F m -3 m'"


def cif(*rows, columns=(TYPE,), head="", group=GROUP, tail=""):
    """Caesium and iodide on the places of rock salt, or the rows given: values of
    ``columns``, then a position.
    """
    cell = "\n".join(
        f"_cell_length_{x} 7.6\n_cell_angle_{y} 90" for x, y in zip("abc", ("alpha", "beta", "gamma"))
    )
    rows = rows or ("Cs 0 0 0", "I .5 .5 .5")
    tags = [f"_atom_site_{name}" for name in (*columns, "fract_x", "fract_y", "fract_z")]
    return "\n".join(["data_x", cell, group, head, "loop_", *tags, *rows, tail, ""])


def read(text):
    return parse_text(text, purpose="view")


def contents(structure):
    """Element → atoms in the cell, shares added up."""
    shares = (structure.properties.get("occupancy") or {}).get("shares")
    true = with_shares(structure, shares) if shares else structure
    return {e.symbol: round(n, 3) for e, n in true.composition.items()}


def notes(structure):
    return " ".join(structure.properties.get("notes", []))


def shared(*occupancies):
    """A cation site shared by caesium, rubidium and potassium with these occupancies."""
    cations = [f"{element} {x} 0 0 0" for element, x in zip(("Cs", "Rb", "K"), occupancies)]
    return cif(*cations, "I 1 .5 .5 .5", columns=(TYPE, OCCUPANCY))


@pytest.mark.parametrize(
    ("occupancies", "cations", "note"),
    [
        (("1.0004",), {"Cs": 4.0}, "1.0004 is read as 1"),
        (("1.02",), {"Cs": 4.0}, "1.02 is read as 1"),
        (("0.9997",), {"Cs": 4.0}, "0.9997"),
        (("0.5001", "0.5002"), {"Cs": 2.0, "Rb": 2.0}, "1.0003"),
        (("0.3333", "0.3333", "0.3333"), {"Cs": 1.333, "Rb": 1.333, "K": 1.333}, "0.9999"),
        (("0.25", "0.75"), {"Cs": 1.0, "Rb": 3.0}, ""),
        (("0.90", "0.09"), {"Cs": 3.6, "Rb": 0.36}, ""),
    ],
)
def test_shares_within_rounding_of_one_fill_the_site(occupancies, cations, note):
    crystal = read(shared(*occupancies))
    assert contents(crystal) == {**cations, "I": 4.0} and note in notes(crystal)
    assert bool(note) == bool(notes(crystal))
    ordered = len(occupancies) == 1
    assert ordered == ("limitation" not in crystal.properties)


@pytest.mark.parametrize("occupancies", [("1.05",), ("0.6", "0.6"), ("0,5", "0,5"), ("100",), ("50%",)])
def test_shares_beyond_rounding_are_refused(occupancies):
    with pytest.raises(StructureParseError, match="occupanc"):
        read(shared(*occupancies))


@pytest.mark.parametrize("value", [1.0004, 0.9997])
def test_a_share_of_json_within_rounding_fills_the_site(value):
    data = Structure(Lattice.cubic(4.56), ["Cs", "I"], [[0, 0, 0], [0.5, 0.5, 0.5]]).as_dict()
    data["sites"][0]["species"][0]["occu"] = value
    crystal = read(json.dumps(data))
    assert contents(crystal) == {"Cs": 1.0, "I": 1.0} and str(value) in notes(crystal)


@pytest.mark.parametrize(
    "written",
    [
        "F m 3\u0305 m",
        "Fm3\u0304m",
        "F m \u03053 m",
        "Fm\u22123m",
        "F m bar3 m",
        "$Fm\\bar{3}m$",
        "Fm-3m (225)",
        "F m -3 m (No. 225)",
        "Fm-3m (#225)",
        "225",
        "Fm-3m.",
        "F m $\\overline{3}$ m",
        "<i>Fm</i>-3<i>m</i>",
    ],
)
def test_a_symbol_may_be_typeset_or_followed_by_its_number(written):
    assert contents(read(cif(group=f"_space_group_name_H-M_alt '{written}'"))) == {"Cs": 4.0, "I": 4.0}


@pytest.mark.parametrize("written", ["P 2~1~/n", "P2_{1}/n", "P2<sub>1</sub>/n", "P2₁/n"])
def test_the_subscript_of_a_screw_axis_may_be_marked(written):
    rows = ("Cs .11 .23 .31", "I .62 .14 .27")
    text = cif(*rows, group=f"_space_group_name_H-M_alt '{written}'").replace("beta 90", "beta 97")
    crystal, plain = read(text), read(text.replace(written, "P 1 21/n 1"))
    assert len(crystal) == 8 and crystal.distance_matrix == pytest.approx(plain.distance_matrix)


@pytest.mark.parametrize("written", ["Fm-3m (221)", "Fm-3m (origin 3)", "999", "F m 3\u0305\u0305 m"])
def test_a_typeset_symbol_that_contradicts_itself_is_refused(written):
    with pytest.raises(StructureParseError, match="space group"):
        read(cif(group=f"_space_group_name_H-M_alt '{written}'"))


@pytest.mark.parametrize(
    ("head", "says"),
    [
        ("_chemical_formula_sum 'Cs + I -'", ""),
        ("_chemical_formula_sum 'CS I'\n_cell_formula_units_Z 4", ""),
        ("_chemical_formula_sum 'cs i'", ""),
        ("_chemical_formula_sum 'Cs2 + I -'", "Cs2 I"),
        ("_chemical_formula_sum 'CS2 I'", "Cs2 I"),
        ("_chemical_formula_structural 'Cs2 I'", "Cs2 I"),
        ("_chemical_formula_moiety 'Cs I'", ""),
        ("_chemical_formula_moiety 'Rb I'", "Rb I"),
        ("_chemical_formula_sum 'Cs I'\n_chemical_formula_weight 386.7\n_cell_formula_units_Z 4", "weight"),
        ("_chemical_formula_sum 'Cs4 I4'\n_chemical_formula_weight 1039.2\n_cell_formula_units_Z 4", ""),
        ("_exptl_crystal_density_meas 3.8", ""),
        ("_exptl_crystal_density_meas 7.9", "measured density"),
    ],
)
def test_what_the_file_says_of_its_contents_is_compared(head, says):
    crystal = read(cif(head=head))
    assert contents(crystal) == {"Cs": 4.0, "I": 4.0}
    assert says in notes(crystal) and bool(says) == bool(notes(crystal))


@pytest.mark.parametrize(
    ("label", "element", "note"),
    [
        ("CO1", "Co", "not C"),
        ("Bq1", "B", "Bq1"),
        ("Oap", "O", ""),
        ("Co1", "Co", ""),
        ("H2O1", "H", "H2O1"),
    ],
)
def test_a_label_that_may_be_another_atom_is_said(label, element, note):
    crystal = read(cif(f"{label} 0 0 0", "F1 .5 .5 .5", columns=(LABEL,)).replace("7.6", "4.3"))
    assert (
        element in contents(crystal) and note in notes(crystal) and bool(note) == ("label" in notes(crystal))
    )


@pytest.mark.parametrize("label", ["Vac1", "vac", "Dum2"])
def test_a_label_of_no_atom_is_refused(label):
    with pytest.raises(StructureParseError, match="names no element"):
        read(cif(f"{label} 0 0 0", "F1 .5 .5 .5", columns=(LABEL,)))


def test_a_group_in_the_column_of_types_is_told_from_an_element_by_the_formula():
    rows, head = ("CO3 0 0 0", "Cs .5 .5 .5"), "_chemical_formula_sum 'C Cs O3'"
    crystal = read(cif(*rows, head=head))
    assert contents(crystal) == {"C": 4.0, "Cs": 4.0} and "O" in notes(crystal)
    assert "not C" in notes(read(cif(*rows)))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (cif(head="_cell_length_a 5.9"), "_cell_length_a twice .7.6 and 5.9"),
        (cif(tail="loop_\n_atom_site_type_symbol\n_atom_site_fract_x\nRb .25\n"), "_atom_site_fract_x twice"),
    ],
)
def test_a_cell_or_a_list_of_atoms_that_stands_twice_is_refused(text, says):
    with pytest.raises(StructureParseError, match=says):
        read(text)


def test_another_tag_that_stands_twice_is_said_unless_both_agree():
    assert "twice" in notes(read(cif(head="_chemical_formula_sum 'Cs I'\n_chemical_formula_sum 'Rb I'")))
    assert not notes(
        read(cif(head="_cell_length_a 7.6\n_chemical_formula_sum ?\n_chemical_formula_sum 'Cs I'"))
    )


@pytest.mark.parametrize("packer", [gzip.compress, bz2.compress, lzma.compress])
def test_a_packed_file_is_read_from_an_upload_and_from_disk(packer, tmp_path):
    packed = packer(cif().encode())
    (tmp_path / "x.cif.packed").write_bytes(packed)
    (upload,) = parse_uploads([("x.cif.packed", packed)])
    ((_, from_disk),) = read_crystals(tmp_path / "x.cif.packed")
    assert contents(upload.structure) == contents(from_disk) == {"Cs": 4.0, "I": 4.0}
    (damaged,) = parse_uploads([("x.cif.packed", packed[: len(packed) // 2])])
    assert damaged.structure is None and "Pack it again" in damaged.error


def test_a_file_that_is_large_when_unpacked_is_not_unpacked_whole(tmp_path):
    bomb = gzip.compress(b"0 " * 30_000_000, compresslevel=1)
    (upload,) = parse_uploads([("bomb.gz", bomb)])
    assert "larger than 5 MB" in upload.error
    (tmp_path / "bomb.gz").write_bytes(bomb)
    ((_, sentence),) = read_crystals(tmp_path / "bomb.gz")
    assert "MB" in sentence


MODULATED = "_cell_modulation_dimension 1\nloop_\n_cell_wave_vector_seq_id\n_cell_wave_vector_z\n1 0.31"
SUPERSPACE = "x1,x2,x3,x4 -x1,-x2,-x3,-x4 x1,x2+1/2,x3+1/2,x4+1/2 -x1,1/2-x2,1/2-x3,1/2-x4".split()


@pytest.mark.parametrize(
    ("group", "n"),
    [
        (GROUP, 8),
        ("_space_group_ssg_name 'F m -3 m(00g)0s0'", 8),
        ("\n".join(["loop_", "_space_group_symop_ssg_operation_algebraic", *SUPERSPACE]), 4),
    ],
)
def test_a_modulated_crystal_is_read_as_its_basic_structure_and_said(group, n):
    crystal = read(cif(head=MODULATED, group=group))
    assert len(crystal) == n and "modulated" in notes(crystal)


def test_a_modulated_crystal_whose_group_is_not_known_is_refused():
    with pytest.raises(StructureParseError, match="space group"):
        read(cif(head=MODULATED, group="_space_group_ssg_name 'X m q m(00g)'"))


SALT = "0 0 0\n0 .5 .5\n.5 0 .5\n.5 .5 0\n.5 .5 .5\n.5 0 0\n0 .5 0\n0 0 .5\n"


def poscar(counts="4 4", rows=SALT, tail=""):
    return f"salt\n5.64\n1 0 0\n0 1 0\n0 0 1\nNa Cl\n{counts}\nDirect\n{rows}{tail}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (poscar(), ""),
        (poscar(tail="\n0.1 0.2 0.3\n" * 8), ""),
        (poscar(counts="4 3"), "Further positions follow the 7 atoms"),
        (poscar(rows=SALT.replace("0 0 .5", "0 -1 1.5")), ""),
        (poscar(rows=SALT.replace(".5", "2.82")), "reach 2.82 cells"),
        (cif("Cs 0 0 0", "I 3.8 3.8 3.8"), "reach 3.8 cells"),
    ],
)
def test_positions_that_look_like_a_slip_are_said(text, says):
    crystal = read(text)
    assert says in notes(crystal) and bool(says) == ("osition" in notes(crystal))


XYZ = "2\n{}\nCs 0 0 0\nI 2.28 2.28 2.28\n"


@pytest.mark.parametrize(
    ("lattice", "says"),
    [
        ("Lattice=[[4.56,0,0],[0,4.56,0],[0,0,4.56]] pbc=[true,true,true]", ""),
        ('Lattice="[[4.56, 0, 0], [0, 4.56, 0], [0, 0, 4.56]]"', ""),
        ('Lattice="4.56 0 0 0 4.56 0 0 0 4.56" unit=Angstrom', ""),
        ('Lattice="4.56 0 0 0 4.56 0 0 0 4.56" units=bohr', "bohr"),
        ('Lattice="0 4.56 0 4.56 0 0 0 0 4.56"', ""),
    ],
)
def test_a_lattice_of_xyz_may_be_written_in_several_ways(lattice, says):
    crystal = read(XYZ.format(lattice))
    assert crystal.volume == pytest.approx(4.56**3) and contents(crystal) == {"Cs": 1.0, "I": 1.0}
    assert says in notes(crystal) and bool(says) == bool(notes(crystal))


@pytest.mark.parametrize(
    "text", [XYZ.format('Lattice="4.56 0 0 0 4.56 0 0 0 0"'), poscar().replace("0 0 1\n", "0 0 0\n")]
)
def test_a_flat_cell_is_refused_as_one(text):
    with pytest.raises(StructureParseError, match="sliver"):
        read(text)


def test_atoms_of_ase_are_read_with_their_moments():
    array = lambda shape, kind, flat: {"__ndarray__": [shape, kind, flat]}
    atoms = {
        "numbers": array([2], "int64", [26, 8]),
        "positions": array([2, 3], "float64", [0.0, 0.0, 0.0, 2.1, 2.1, 2.1]),
        "cell": {
            "array": array([3, 3], "float64", [4.2, 0, 0, 0, 4.2, 0, 0, 0, 4.2]),
            "__ase_objtype__": "cell",
        },
        "pbc": array([3], "bool", [True, True, False]),
        "initial_magmoms": array([2], "float64", [3.7, 0.1]),
    }
    crystal = read(json.dumps({"1": atoms, "ids": [1], "nextid": 2}))
    assert contents(crystal) == {"Fe": 1.0, "O": 1.0} and "not periodic" in notes(crystal)
    assert crystal.properties["site_values"]["moments"][0][2] == pytest.approx(3.7)
    with pytest.raises(StructureParseError, match="no cell"):
        read(json.dumps({**atoms, "cell": array([3, 3], "float64", [0.0] * 9)}))


def test_rounded_thirds_leave_nothing_vacant():
    sites = read(shared("0.333", "0.333", "0.333")).properties["occupancy"]["sites"]
    assert sites == "4 sites of Cs 0.333, K 0.333, Rb 0.333"
    assert "vacant 0.01" in read(shared("0.90", "0.09")).properties["occupancy"]["sites"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("7.6", "0.76", "longest lattice vector has 0.76 Å.* Check the unit"),
        ("_cell_angle_alpha 90", "_cell_angle_alpha 1.5708", "span no cell|sliver"),
        (" 90", " 1.5708", "angles of the cell are 1.5708, 1.5708, 1.5708.* read in degrees"),
    ],
)
def test_a_cell_in_other_units_names_the_unit(old, new, says):
    with pytest.raises(StructureParseError, match=says):
        read(cif().replace(old, new))
