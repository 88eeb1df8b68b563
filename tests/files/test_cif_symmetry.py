"""A CIF that lists no operations gives the crystal of the group it names, or a sentence; never the
bare list of atoms.
"""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.errors import StructureParseError
from crystal_core.files.operations import Operations
from crystal_core.files.parse import parse_text
from crystal_core.files.settings_table import PLACE, WAYS, is_right, read_back
from crystal_core.files.space_groups import of_hall_symbol, of_symbol, settings, standard_of

SYMBOL = "_symmetry_space_group_name_H-M"
HALL = "_space_group_name_Hall"
NUMBER = "_symmetry_Int_Tables_number"
CUBIC = (5.5, 5.5, 5.5, 90, 90, 90)


def cif(cell=CUBIC, atoms=(("Cs", 0, 0, 0), ("I", 0.5, 0.5, 0.5)), operations=(), **entries):
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    lines = ["data_x", *(f"_cell_{name} {value}" for name, value in zip(names, cell, strict=True))]
    lines += [f"{tag} '{value}'" for tag, value in entries.items()]
    if operations:
        lines += ["loop_", "_symmetry_equiv_pos_as_xyz", *(f"'{text}'" for text in operations)]
    lines += ["loop_", "_atom_site_type_symbol", *(f"_atom_site_fract_{x}" for x in "xyz")]
    return "\n".join([*lines, *(" ".join(map(str, atom)) for atom in atoms)]) + "\n"


def read(*args, **entries):
    return parse_text(cif(*args, **entries), purpose="view")


def notes(structure):
    return " ".join(structure.properties.get("notes", []))


# of the 564 settings; the rest are refused, because the name fits two settings and a lone atom tells nothing
LEAST = {"symbol with extension": 564, "extension and number": 564, "Hall symbol": 564}


@pytest.mark.parametrize("way", WAYS)
def test_every_setting_of_the_table_is_read_right_or_refused(way):
    ends = dict(read_back(way))
    refused = {name: str(end) for name, end in ends.items() if isinstance(end, StructureParseError)}
    assert all("may be set as" in end and "give the symmetry operations" in end for end in refused.values())
    assert not [name for name, end in ends.items() if end is False]
    assert sum(end is True for end in ends.values()) >= LEAST.get(way, 498), refused


@pytest.mark.parametrize(
    ("written", "k"),
    [
        ("P 21/n", None),
        ("P21/n", None),
        ("P 2_1/n", None),
        ("P 2(1)/n", None),
        ("p 21/N", None),
        ("P 1 21/n 1", 82),
        ("F m 3 m", 523),
        ("Fm3m", 523),
        ("F 4/m -3 2/m", 523),
        ("P m 3 m", 517),
        ("F d -3 m :2", 526),
        ("F d -3 m Z", 526),
        ("F d -3 m (origin choice 2)", 526),
        ("Fd-3mS", 525),
        ("R -3 c :R", 461),
        ("R -3 c H", 460),
        ("H -3 c", 460),
        ("C m c a", 304),
        ("C m c b", 304),
        ("C m m b", 317),
        ("A b a 2", 203),
        ("P 4/n 21/m 2/m :1", 408),
        ("C c c a :2", 323),
    ],
)
def test_a_symbol_may_be_written_in_several_ways(written, k):
    numbers = [settings().index(setting) + 1 for setting in of_symbol(written)]
    assert numbers == ([82, 85, 88] if k is None else [k])


@pytest.mark.parametrize("written", ["", "F", "P 3 2", "P 21/q", "H 6 m", "Fm-3m:3", "P 2 1/c 3 4"])
def test_an_unknown_symbol_names_no_setting(written):
    assert of_symbol(written) == ()


def test_a_hall_symbol_with_the_letters_of_another_is_told_apart_by_its_spaces():
    assert [s.number for s in of_hall_symbol("P 32")] == [145]
    assert [s.number for s in of_hall_symbol("P 3 2")] == [149]
    assert standard_of(231) == () and [s.choice for s in standard_of(227)] == ["1", "2"]
    (untabulated,) = of_hall_symbol("-P 2yn (x,y,z+1/4)")
    assert len(untabulated.operations()) == 4 and of_hall_symbol("P 9") == ()


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({SYMBOL: "P 21/q"}, "The space group of this CIF (P 21/q) is not known"),
        ({SYMBOL: "F m -3 m", NUMBER: 227}, "(F m -3 m, number 227) contradicts itself"),
        ({SYMBOL: "R -3 c"}, "(R -3 c) does not fit the cell"),
        ({NUMBER: 231}, "(number 231) is not known"),
        ({HALL: "F 9 9 9"}, "(Hall symbol F 9 9 9) is not known"),
        ({SYMBOL: "F d -3 m"}, "may be set as F d -3 m :1 or F d -3 m :2"),
        ({"_chemical_formula_sum": "Cs I", "_cell_formula_units_Z": 4}, "names no space group"),
    ],
)
def test_what_names_no_group_for_certain_is_refused_and_never_read_as_p1(entries, says):
    cell = (9, 10, 11, 90, 90, 90) if entries.get(SYMBOL) == "R -3 c" else (14, 14, 14, 90, 90, 90)
    for purpose in ("view", "model"):
        with pytest.raises(StructureParseError) as refused:
            parse_text(cif(cell, **entries), "a.cif", purpose=purpose)
        assert says in str(refused.value) and "give the symmetry operations" in str(refused.value)
        assert "\n" not in str(refused.value)


def test_the_setting_of_the_symbol_counts_and_not_the_standard_one_of_the_number():
    cell = (5.6, 7.1, 6.3, 90, 108, 90)
    entries = {SYMBOL: "P 21/n", NUMBER: 14}
    assert is_right(read(cell, (("Na", *PLACE),), **entries), 81)
    assert is_right(read(cell, (("Na", *PLACE),), **{NUMBER: 14}), 80)
    assert "only number 14" in notes(read(cell, (("Na", *PLACE),), **{NUMBER: 14}))


def test_the_cell_tells_unique_axis_and_rhombohedral_axes():
    assert is_right(read((5.6, 7.1, 6.3, 90, 90, 108), (("Na", *PLACE),), **{SYMBOL: "P 21/n"}), 84)
    assert is_right(read((7.3, 7.3, 7.3, 72, 72, 72), (("Na", *PLACE),), **{SYMBOL: "R -3"}), 436)
    assert is_right(read((7.3, 7.3, 9.3, 90, 90, 120), (("Na", *PLACE),), **{SYMBOL: "R -3"}), 435)


def test_the_formula_tells_the_origin_of_silicon():
    cell, atoms = (5.431, 5.431, 5.431, 90, 90, 90), (("Si", 0, 0, 0),)
    said = {"_chemical_formula_sum": "Si", "_cell_formula_units_Z": 8}
    crystal = read(cell, atoms, **{SYMBOL: "F d -3 m"}, **said)
    assert len(crystal) == 8 and ":1, the only setting that fits" in notes(crystal)


def test_a_file_without_any_symmetry_is_the_whole_cell_and_says_so():
    crystal = read()
    assert len(crystal) == 2 and "states no space group" in notes(crystal)


def test_a_group_beside_the_identity_alone_makes_the_crystal_of_the_group():
    crystal = read(
        (6.1, 6.1, 6.1, 90, 90, 90), (("K", 0, 0, 0), ("F", 0.5, 0.5, 0.5)), ["x,y,z"], **{SYMBOL: "F m -3 m"}
    )
    assert crystal.composition.formula == "K4 F4" and "192 operations, but lists 1" in notes(crystal)


def test_a_whole_cell_listed_under_its_group_stays_as_it_is():
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(6.1), ["K", "F"], [[0] * 3, [0.5] * 3])
    atoms = [(site.specie.symbol, *map(float, site.frac_coords)) for site in salt]
    crystal = read((6.1, 6.1, 6.1, 90, 90, 90), atoms, ["x,y,z"], **{SYMBOL: "F m -3 m"})
    assert len(crystal) == 8 and not notes(crystal)


def test_missing_products_of_the_listed_operations_are_added_aloud():
    cell = (5.6, 7.1, 6.3, 90, 108, 90)
    crystal = read(cell, (("Na", *PLACE),), ["-x,y+1/2,-z+1/2", "-x,-y,-z"])
    assert is_right(crystal, 80) and "lists 2 symmetry operations, which generate 4" in notes(crystal)


def test_listed_operations_win_over_a_name_that_differs_and_a_note_says_so():
    cell = (5.6, 7.1, 6.3, 90, 108, 90)
    listed = settings()[80].operations().to_xyz()
    crystal = read(cell, (("Na", *PLACE),), listed, **{SYMBOL: "P 1 21/n 1"})
    assert is_right(crystal, 80) and "not those of P 1 21/n 1" in notes(crystal)
    assert not notes(read(cell, (("Na", *PLACE),), listed, **{SYMBOL: "an unknown name"}))


@pytest.mark.parametrize(
    "texts", [["x,y,z", "foo,bar,baz"], ["x,y"], ["x,x,z"], ["2*x,y,z"], ["x,y,z", "x+1e9,y,z"]]
)
def test_what_is_no_operation_is_refused_by_name(texts):
    with pytest.raises(StructureParseError, match="is no symmetry operation: write it like"):
        read(operations=texts)


def test_operations_are_understood_with_factors_capitals_and_decimals():
    operations = Operations.from_xyz(["-1*Y, 1*X-1*y, Z+0.333", "1/2-x,+y,.5+z"])
    assert operations.to_xyz() == ["-y,x-y,z+1/3", "-x+1/2,y,z+1/2"]
    assert Operations.from_xyz(operations.to_xyz()).is_same(operations)


def test_operations_that_generate_no_space_group_are_refused():
    with pytest.raises(StructureParseError, match="generate no space group"):
        Operations.from_xyz(["x+1/24,y,z", "y,z,x", "-x,y,z"]).closed()


def test_a_list_longer_than_any_group_is_refused_at_once():
    with pytest.raises(StructureParseError, match="The 3000 symmetry operations"):
        read(operations=[f"x+{k % 24}/24,y+{k // 24 % 24}/24,z+{k // 576}/24" for k in range(3000)])


@pytest.mark.parametrize("tag", ["_space_group_symop.operation_xyz", "_SYMMETRY_EQUIV_POS_AS_XYZ"])
def test_dotted_tags_and_capitals_are_read(tag):
    listed = settings()[81].operations().to_xyz()
    text = cif((5.6, 7.1, 6.3, 90, 108, 90), (("Na", *PLACE),), listed)
    text = (
        text.replace("_symmetry_equiv_pos_as_xyz", tag).replace("_cell_", "_CELL_").replace("data_", "DATA_")
    )
    assert is_right(parse_text(text), 81)
    assert is_right(parse_text(text.replace("_atom_site_", "_atom_site.").replace("loop_", "LOOP_")), 81)


def test_a_cell_that_symmetry_makes_too_large_is_refused_before_it_is_built():
    atoms = [("C", *row) for row in np.random.default_rng(0).random((60, 3)).round(4)]
    with pytest.raises(StructureParseError, match="more than 5,000 atoms"):
        read((40, 40, 40, 90, 90, 90), atoms, **{SYMBOL: "F m -3 m"})


@pytest.mark.parametrize(
    ("shifts", "n"),
    [
        (["1/5", "2/5", "3/5", "4/5"], 5),
        (["0.2", ".4", "0.6", "0.8"], 5),
        (["0.1429", "0.2857", "0.4286", "0.5714", "0.7143", "0.8571"], 7),
        ([f"{k}/22" for k in range(1, 22)], 22),
    ],
)
def test_translations_of_a_supercell_repeat_the_atoms(shifts, n):
    cell = (4.0 * n, 4.0, 4.0, 90, 90, 90)
    atoms = (("K", 0, 0, 0), ("Br", 0.5 / n, 0.5, 0.5))
    crystal = read(cell, atoms, ["x,y,z", *(f"x+{shift},y,z" for shift in shifts)])
    assert crystal.composition.as_dict() == {"K": n, "Br": n} and not notes(crystal)
    assert np.allclose(sorted(crystal.frac_coords[:n, 0]), np.arange(n) / n, atol=1e-12)
    assert len(crystal.get_primitive_structure()) == 2
    inverted = ["-x,-y,-z", *(f"-x+{shift},-y,-z" for shift in shifts)]
    both = read(cell, atoms, ["x,y,z", *(f"x+{shift},y,z" for shift in shifts), *inverted])
    assert both.composition == crystal.composition


def test_one_translation_of_a_supercell_generates_the_others():
    crystal = read((30.0, 6.0, 6.0, 90, 90, 90), operations=["x,y,z", "x+3/5,y,z"])
    assert len(crystal) == 10 and "lists 2 symmetry operations, which generate 5" in notes(crystal)


def test_an_origin_at_no_fraction_of_the_cell_is_read():
    crystal = read(atoms=(("Cs", 0, 0, 0), ("I", 0.4, 0.1, 0)), operations=["x,y,z", "-x+0.37,-y+0.11,-z"])
    assert np.allclose(crystal.frac_coords[1], [0.37, 0.11, 0]) and len(crystal) == 4


@pytest.mark.parametrize(
    ("operation", "part"),
    [
        ("x+0.37,y,z", "generate no space group"),
        ("-x,y+0.37,z", "generate no space group"),
        ("x+1/55,y,z", "'x+1/55,y,z' in this CIF is no symmetry operation"),
        ("x+1/0,y,z", "is no symmetry operation"),
        ("2*x,y,z+1/5", "is no symmetry operation"),
    ],
)
def test_translations_that_generate_no_group_are_refused(operation, part):
    with pytest.raises(StructureParseError, match=r"correct them|write it like") as error:
        read(operations=["x,y,z", operation])
    assert part in str(error.value)


@pytest.mark.parametrize("text", ["x+1/5,y-2/7,z+7/10", "-y+1/3,x-y,z+5/6", "z,x+0.37,-y+1/8", "x,y,z"])
def test_operations_are_written_as_they_are_read(text):
    assert Operations.from_xyz([text]).to_xyz() == [text]
