"""Numbers of files that are of another unit, no numbers at all, or contradict each other."""

import json

import pytest

from crystal_core.errors import StructureParseError
from crystal_core.files.parse import parse_each, parse_text

LENGTHS = "of the cell and not Å"


def cif(edge, *rows, head=""):
    """A cubic cell of this edge (Å) with the atoms of the rows: an element and its position."""
    cell = "\n".join(
        f"_cell_length_{x} {edge}\n_cell_angle_{y} 90" for x, y in zip("abc", ("alpha", "beta", "gamma"))
    )
    tags = ["_atom_site_type_symbol", *(f"_atom_site_fract_{x}" for x in "xyz")]
    return "\n".join(["data_x", cell, head, "loop_", *tags, *rows, ""])


def poscar(vectors=((4.2, 0, 0), (0, 4.2, 0), (0, 0, 4.2)), rows=((0, 0, 0), (0.5, 0.5, 0.5)), **lines):
    """Rubidium and iodide; ``lines``: scale, symbols, counts, kind."""
    of = {"scale": "1.0", "symbols": "Rb I", "counts": "1 1", "kind": "Direct"} | lines
    grid = [[" ".join(map(str, row)) for row in part] for part in (vectors, rows)]
    return "\n".join(["title", of["scale"], *grid[0], of["symbols"], of["counts"], of["kind"], *grid[1], ""])


def optimade(**change):
    """Rubidium iodide as a document of OPTIMADE."""
    return json.dumps(
        {
            "lattice_vectors": [[4.2, 0, 0], [0, 4.2, 0], [0, 0, 4.2]],
            "species_at_sites": ["Rb", "I"],
            "cartesian_site_positions": [[0, 0, 0], [2.1, 2.1, 2.1]],
        }
        | change
    )


def ase(iodide):
    """Rubidium iodide as ASE writes it, with the position of iodide in Å."""
    cell = [[4.2, 0, 0], [0, 4.2, 0], [0, 0, 4.2]]
    return json.dumps({"numbers": [37, 53], "positions": [[0, 0, 0], iodide], "cell": cell})


def aflow(**change):
    """Rubidium iodide as an entry of AFLOW."""
    return json.dumps(
        {
            "compound": "I1Rb1",
            "geometry": [4.2, 4.2, 4.2, 90, 90, 90],
            "species": ["I", "Rb"],
            "composition": [1, 1],
            "positions_fractional": [[0.5, 0.5, 0.5], [0, 0, 0]],
            "volume_cell": 74.09,
        }
        | change
    )


def notes(text):
    return " ".join(parse_text(text, purpose="view").properties.get("notes", []))


WHOLE_MOLECULE = cif(
    5.6,
    "C 1.0 1.0 1.0",
    "O 1.119 1.119 1.119",
    "O .881 .881 .881",
    head="_symmetry_space_group_name_H-M 'P 1'",
)


@pytest.mark.parametrize(
    "text",
    [
        cif(2.9, "Cr 0 0 0", "Cr 1.45 1.45 1.45"),
        cif(3.9, "K 0 0 0", "Ta 1.95 1.95 1.95", "F 1.95 1.95 0", "F 1.95 0 1.95", "F 0 1.95 1.95"),
        poscar(((2.9, 0, 0), (0, 2.9, 0), (0, 0, 2.9)), ((0, 0, 0), (1.45, 1.45, 1.45)), symbols="Cr Mn"),
        poscar(((0, 2.6, 2.6), (2.6, 0, 2.6), (2.6, 2.6, 0)), ((0, 0, 0), (1.3, 1.3, 1.3)), symbols="Na F"),
        json.dumps(
            {
                "lattice": [[2.9, 0, 0], [0, 2.9, 0], [0, 0, 2.9]],
                "atomic_numbers": [24, 24],
                "frac_coords": [[0, 0, 0], [1.45, 1.45, 1.45]],
            }
        ),
    ],
    ids=["CIF", "five atoms", "POSCAR", "oblique axes", "JSON"],
)
def test_lengths_among_fractions_are_said_in_a_small_cell_too(text):
    assert LENGTHS in notes(text)


@pytest.mark.parametrize(
    "text",
    [
        WHOLE_MOLECULE,
        cif(4.2, "Rb 0 0 0", "I 1.5 .5 .5"),
        poscar(rows=((1, 1, 1), (0.5, 0.5, 1.5))),
        cif(2.9, "Cr 0 0 0", "Cr 1.02 .5 .5"),
        cif(2.9, "Cr 1.45 1.45 1.45"),
    ],
    ids=["molecule", "next cell", "POSCAR", "left unwrapped", "one atom"],
)
def test_fractions_next_to_the_cell_are_not_taken_for_lengths(text):
    assert LENGTHS not in notes(text)


@pytest.mark.parametrize(
    ("text", "is_said"),
    [
        ('2\nLattice="4.2 0 0 0 4.2 0 0 0 4.2"\nRb 0 0 0\nI .5 .5 .5\n', True),
        ('2\nLattice="4.2 0 0 0 4.2 0 0 0 4.2"\nRb 0 0 0\nI 2.1 2.1 2.1\n', False),
        (optimade(cartesian_site_positions=[[0, 0, 0], [0.5, 0.5, 0.5]]), True),
        (ase([0.5, 0.5, 0.5]), True),
        (ase([2.1, 2.1, 2.1]), False),
        (optimade(), False),
    ],
)
def test_fractions_among_lengths_are_said(text, is_said):
    assert ("in Å and not fractions" in notes(text)) == is_said


def test_positions_in_percent_are_said_where_they_put_atoms_on_one_site():
    group = "_symmetry_space_group_name_H-M 'F m -3 m'"
    with pytest.raises(StructureParseError, match=r"lie on one site.* Positions reach 50 cells"):
        parse_text(cif(5.6, "Na 0 0 0", "Cl 50 50 50", head=group))


def test_a_block_that_breaks_the_rules_is_named_and_loses_no_other():
    block = cif(4.2, "Rb 0 0 0", "I .5 .5 .5")
    texts = [block, block.replace("I .5 .5 .5", "I .5 .5 'oops").replace("data_x", "data_bad run"), block]
    first, second, third = parse_each("".join(texts))
    assert first == third and "Block 'bad" in str(second) and "oops" in str(second)


@pytest.mark.parametrize(("volume", "is_said"), [(-6.0, True), (-20.0, False)])
def test_a_cell_too_dense_for_any_crystal_is_said(volume, is_said):
    assert ("above that of any crystal" in notes(poscar(scale=str(volume)))) == is_said


@pytest.mark.parametrize(
    ("properties", "says"),
    [
        ("species:S:1:pos:R:2", "give pos with 2 columns: a position has 3"),
        ("species:S:2:pos:R:3", "give species with 2 columns"),
        ("species:S:1:forces:R:3", "name no species and positions"),
    ],
)
def test_properties_of_xyz_that_hold_no_position_are_refused(properties, says):
    lattice = 'Lattice="4.2 0 0 0 4.2 0 0 0 4.2"'
    with pytest.raises(StructureParseError, match=says):
        parse_text(f"2\n{lattice} Properties={properties}\nRb 0 0 0 0\nI 2 2 2 2\n")


def test_a_lattice_of_zeros_in_xyz_is_that_of_a_molecule():
    with pytest.raises(StructureParseError, match="has no lattice, so it is a molecule"):
        parse_text('2\nLattice="0 0 0 0 0 0 0 0 0"\nRb 0 0 0\nI 2.1 2.1 2.1\n')


SECOND_ROW = ((4.2, 0, 0), (0, "nan", 0), (0, 0, 4.2))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (poscar(SECOND_ROW), "Line 4 .* lattice vector b, three numbers, but reads '0 nan 0'"),
        (poscar(((4.2, 0, 0), (0, 4.2, 0), (0, "-inf", 4.2))), "Line 5 .* reads '0 -inf 4.2'"),
        (poscar((("*****", 0, 0), (0, 4.2, 0), (0, 0, 4.2))), r"Line 3 .* reads '\*\*\*\*\* 0 0'"),
        (poscar(((4.2, 0, 0), (0, 4.2), (0, 0, 4.2))), "Line 4 .* reads '0 4.2'"),
        (
            poscar(scale="1 2"),
            "Line 2 of this POSCAR should be the scale, one number or three, but reads '1 2'",
        ),
        (poscar(scale="nan"), "Line 2 .* the scale, one number or three, but reads 'nan'"),
        (poscar(scale="1,0"), "Line 2 .* reads '1,0'"),
        (poscar(counts="1.0 1.0"), "Lines 6 and 7 .* whole numbers, but read 'Rb I' and '1.0 1.0'"),
        (poscar(counts="1 -1"), "'1 -1'"),
        ("\n".join(poscar().split("\n")[:5]), "ends after line 5, before its first position"),
        (poscar(rows=((0, 0, 0), (0.5, "nan", 0.5))), "row of atom 2 .* reads '0.5 nan 0.5'"),
        (poscar(rows=(("****", 0, 0), (0.5, 0.5, 0.5))), r"row of atom 1 .* reads '\*\*\*\* 0 0'"),
        (poscar(counts="1 2"), "announces 3 atoms, but has positions for 2"),
    ],
)
def test_the_line_of_a_poscar_that_is_no_number_is_named(text, says):
    with pytest.raises(StructureParseError, match=says):
        parse_text(text)


@pytest.mark.parametrize(
    "text", ["Notes\n12\nof a day\nof no crystal\n", "Table\n10.0\n1 2\n3 4\n5 6\n7 8\n9 10\n11 12\n"]
)
def test_other_texts_with_a_number_in_line_two_are_no_poscar(text):
    with pytest.raises(StructureParseError) as refused:
        parse_text(text)
    assert "of this POSCAR" not in str(refused.value)


def test_files_of_two_runs_in_one_xdatcar_have_their_own_numbers_of_atoms():
    first, second = (
        poscar(rows=rows, counts=counts, kind="Direct configuration= 1")
        for rows, counts in (
            (((0, 0, 0), (0.5, 0.5, 0.5)), "1 1"),
            (((0, 0, 0), (0.5, 0.5, 0), (0, 0.5, 0.5)), "1 2"),
        )
    )
    assert [one.composition.formula for one in parse_each(first + second)] == ["Rb1 I1", "Rb1 I2"]


@pytest.mark.parametrize(
    ("head", "note"),
    [
        ("_exptl_crystal_density_diffrn 9.9", ""),
        ("_chemical_formula_sum 'Rb I'\n_cell_formula_units_Z 4", ""),
        ("_chemical_formula_sum 'Rb2 I'", ""),
        ("_exptl_crystal_density_diffrn 4760", "density of 4760 g/cm3"),
        ("_exptl_crystal_density_diffrn 2.1", "density of 2.1 g/cm3"),
        ("_exptl_crystal_density 2.1", "density of 2.1 g/cm3"),
        ("_chemical_formula_sum 'Rb I'\n_chemical_formula_weight 130.3", "its formula has 212.4"),
        ("_chemical_formula_sum 'Rb I H2 O'", ""),
    ],
)
def test_a_file_without_symmetry_is_refused_only_where_it_describes_more_atoms(head, note):
    """Each refusal says what the file describes, because not each of them gives a formula."""
    text = cif(4.2, "Rb 0 0 0", "I .5 .5 .5", head=head)
    if note:
        assert note in notes(text)
        return
    with pytest.raises(
        StructureParseError, match=r"not the whole cell .the f.* give the symmetry operations"
    ):
        parse_text(text, purpose="view")


@pytest.mark.parametrize(
    ("rows", "head", "note"),
    [
        (("Rb 0 0 0", "I .5 .5 .5", "O .6 .5 .5"), "", ""),
        (("Rb 0 0 0", "I .5 .5 .5"), "_chemical_formula_sum 'Rb I H'", "has hydrogen, but the list"),
        (
            ("Rb 0 0 0", "I .5 .5 .5"),
            "_chemical_formula_sum 'Rb I'\n_cell_formula_units_Z 0.5",
            "gives Z = 0.5",
        ),
    ],
    ids=["atoms too close", "hydrogen not located", "too many units"],
)
def test_a_slip_that_no_operation_mends_asks_for_no_operations(rows, head, note):
    assert note in notes(cif(4.2, *rows, head=head))


@pytest.mark.parametrize("value", ["'''It's\n a salt'''", '"""a "salt" """', "'''it's'''"])
def test_triple_quotes_of_cif_2_are_read(value):
    text = cif(4.2, "Rb 0 0 0", "I .5 .5 .5", head=f"_publ_section_title {value}")
    assert parse_text("#\\#CIF_2.0\n" + text).composition.formula == "Rb1 I1"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (optimade(elements=["I", "Rb"]), ""),
        (optimade(elements=["Br", "Rb"]), "elements of the file are Br, Rb, but its sites hold I, Rb"),
        (optimade(elements=["H", "I", "Rb"], structure_features=["implicit_atoms"]), "implicit_atoms"),
        (aflow(), ""),
        (aflow(volume_cell=90.0), "volume of 90 Å³"),
        (aflow(compound="Br1Rb1"), "formula of the file is Br1Rb1"),
    ],
)
def test_json_that_contradicts_itself_on_its_contents_says_so(text, says):
    assert says in notes(text) and bool(says) == bool(notes(text))


def test_a_lattice_of_json_and_its_volume_lengths_or_angles_are_compared():
    cell = [[4.2, 0, 0], [0, 4.2, 0], [0, 0, 4.2]]
    pair = {"atomic_numbers": [37, 53], "frac_coords": [[0, 0, 0], [0.5, 0.5, 0.5]]}
    jarvis = {"lattice_mat": cell, "elements": ["Rb", "I"], "coords": pair["frac_coords"]}
    assert "volume of 99 Å³" in notes(json.dumps({"lattice": {"matrix": cell, "volume": 99}, **pair}))
    assert "gives b = 9" in notes(json.dumps({"atoms": jarvis | {"abc": [4.2, 9, 4.2]}}))
    assert "gives gamma = 120" in notes(json.dumps({"atoms": jarvis | {"angles": [90, 90, 120]}}))
    assert not notes(json.dumps({"atoms": jarvis | {"abc": [4.2] * 3, "angles": [90] * 3}}))


def test_an_entry_of_aflow_may_have_its_lists_as_texts():
    crystal = parse_text(
        aflow(
            geometry="4.2,4.2,4.2,90,90,90",
            species="I,Rb",
            composition="1,1",
            positions_fractional="0.5,0.5,0.5;0,0,0",
        )
    )
    assert [site.specie.symbol for site in crystal] == ["I", "Rb"]
    assert crystal.frac_coords.tolist() == [[0.5] * 3, [0] * 3]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"composition": [2, 1]}, "2 positions; they must agree"),
        ({"species": ["I"]}, "1 species"),
        ({"geometry": [4.2, 4.2, 4.2]}, "has 3 numbers"),
        ({"geometry": "4.2,4.2,4.2,90,90,right"}, "list of numbers"),
        ({"positions_fractional": "0,0,nan;0.5,0.5,0.5"}, "not finite"),
    ],
)
def test_an_entry_of_aflow_that_does_not_add_up_is_refused(change, says):
    with pytest.raises(StructureParseError, match=says):
        parse_text(aflow(**change))
