"""Wyckoff positions that a CIF names: told where they contradict the atoms, silent where a table would be
needed.
"""

import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.files.parse import parse_text
from crystal_core.files.space_groups import standard_of
from crystal_core.files.writers import structure_to_text

FLUORITE = ("F m -3 m", 225, (("Ca1", "Ca", 0, 0, 0), ("F1", "F", 0.25, 0.25, 0.25)))


def cif(letters, group=FLUORITE, edge=5.46, tag="Wyckoff_symbol", operations=True):
    symbol, number, atoms = group
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    lines = ["data_x", *(f"_cell_{name} {v}" for name, v in zip(names, [edge] * 3 + [90] * 3, strict=True))]
    lines += [f"_space_group_name_H-M_alt '{symbol}'"] if operations else []
    if operations:
        (setting,) = standard_of(number)
        texts = setting.operations().to_xyz()
        lines += ["loop_", "_space_group_symop_operation_xyz", *(f"'{text}'" for text in texts)]
    tags = ("label", "type_symbol", *(f"fract_{x}" for x in "xyz"), tag)
    lines += ["loop_", *(f"_atom_site_{tag}" for tag in tags)]
    rows = zip(atoms, letters, strict=True)
    return "\n".join([*lines, *(" ".join(map(str, [*atom, letter])) for atom, letter in rows)]) + "\n"


def notes(*args, **entries):
    return " ".join(parse_text(cif(*args, **entries), purpose="view").properties.get("notes", []))


@pytest.mark.parametrize(
    "letters", [("a", "c"), ("4a", "8c"), ("b", "c"), ("?", "."), ("1a", "2c"), ("4a", "c")]
)
@pytest.mark.parametrize("tag", ["Wyckoff_symbol", "wyckoff_label"])
def test_positions_that_fit_the_images_are_not_spoken_of(letters, tag):
    assert notes(letters, tag=tag) == ""


@pytest.mark.parametrize(
    ("letters", "says"),
    [
        (("8c", "8c"), "puts Ca1 on the Wyckoff position 8c, but 4 are read"),
        (("4a", "32f"), "puts F1 on the Wyckoff position 32f, but 8 are read"),
        (("?", "24e"), "puts F1 on the Wyckoff position 24e, but 8 are read"),
        (("c", "c"), "puts Ca1 and F1 on the Wyckoff position c, but 4 and 8 images of them are read"),
    ],
)
def test_positions_that_contradict_the_images_are_told(letters, says):
    assert says in notes(letters)


def test_a_position_without_free_coordinate_holds_one_atom():
    salt = ("F m -3 m", 225, (("K1", "K", 0, 0, 0), ("F1", "F", 0.5, 0.5, 0.5)))
    assert notes(("a", "b"), salt, edge=5.34) == ""
    said = notes(("a", "a"), salt, edge=5.34)
    assert "K1 and F1 on the Wyckoff position a, which has no free coordinate, but they lie apart" in said
    shared = ("F m -3 m", 225, (("K1", "K", 0, 0, 0), ("F1", "F", 0.5, 0.5, 0.5), ("F2", "F", 0, 0.5, 0)))
    assert "lie apart" not in notes(("a", "b", "b"), shared, edge=5.34), "two rows of one orbit"


def test_the_whole_cell_may_name_the_positions_of_its_group():
    salt = ("P 1", 1, (("K1", "K", 0, 0, 0), ("F1", "F", 0.5, 0.5, 0.5)))
    assert "Wyckoff" not in notes(("4a", "8c"), salt, edge=3.3, operations=False)


@pytest.mark.parametrize("symbol", ["R-3c", "I4_1/amd", "C2/m", "P2_1/c", "Ia-3d", "Pmmm"])
def test_what_the_writer_names_is_read_without_a_note(symbol):
    lattice = {
        "R-3c": Lattice.hexagonal(5.0, 13.1),
        "C2/m": Lattice.monoclinic(9.0, 3.4, 6.2, 104),
        "P2_1/c": Lattice.monoclinic(5.2, 6.3, 7.4, 99),
        "I4_1/amd": Lattice.tetragonal(4.1, 9.7),
        "Pmmm": Lattice.orthorhombic(5.1, 6.2, 7.3),
    }.get(symbol, Lattice.cubic(12.0))
    crystal = Structure.from_spacegroup(symbol, lattice, ["Y", "Ga"], [[0, 0, 0], [0.21, 0.17, 0.32]])
    text = structure_to_text(crystal, "cif-symmetrised")
    assert "_atom_site_Wyckoff_symbol" in text
    assert "Wyckoff" not in " ".join(parse_text(text, purpose="view").properties.get("notes", []))
