"""Special positions, shared and split sites of a CIF: merged exactly, kept apart, or
refused; nothing is lost.
"""

import numpy as np
import pytest
import spglib

from crystal_core.errors import StructureParseError
from crystal_core.files.parse import parse_text

HEXAGONAL = (5.088, 5.088, 9.016, 90, 90, 120)


def cif(group, cell, rows, **entries):
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    lines = ["data_x", f"_space_group_name_H-M_alt '{group}'"]
    lines += [f"_cell_{name} {value}" for name, value in zip(names, cell, strict=True)]
    lines += [f"{tag} '{value}'" for tag, value in entries.items()] + ["loop_"]
    lines += [
        f"_atom_site_{x}" for x in ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy")
    ]
    return "\n".join([*lines, *rows]) + "\n"


def read(*args, **entries):
    return parse_text(cif(*args, **entries), purpose="view")


def notes(structure):
    return " ".join(structure.properties.get("notes", []))


def group_of(structure, symprec):
    cell = (structure.lattice.matrix, structure.frac_coords, [site.specie.Z for site in structure])
    return spglib.get_symmetry_dataset(cell, symprec=symprec).number


@pytest.mark.parametrize("third", ["0.33", "0.333", "0.3333", "0.33333"])
def test_rounded_thirds_lie_exactly_on_their_axis(third):
    other = {"0.33": "0.67", "0.333": "0.667", "0.3333": "0.6667", "0.33333": "0.66667"}[third]
    rows = ["Na1 Na 0 0 0.25 1", f"Na2 Na {third} {other} 0.583 1", f"P1 P {third} {other} 0.25 1"]
    crystal = read("P 63/m m c", HEXAGONAL, rows, _chemical_formula_sum="Na3 P", _cell_formula_units_Z=2)
    assert crystal.composition.formula == "Na6 P2" and not notes(crystal)
    assert group_of(crystal, 1e-6) == 194  # exact to rounding errors
    assert np.abs(crystal[-1].frac_coords[:2] * 3 - np.round(crystal[-1].frac_coords[:2] * 3)).max() < 1e-12


def test_x_2x_and_x_x_x_to_four_decimals_merge():
    hexagonal = read("P 63/m m c", HEXAGONAL, ["O1 O 0.1718 0.3437 0.0522 1"])
    assert len(hexagonal) == 12
    cubic = read("P a -3", (6.1, 6.1, 6.1, 90, 90, 90), ["S1 S 0.3849 0.3850 0.3848 1", "Ni1 Ni 0 0 0 1"])
    assert len(cubic) == 12 and group_of(cubic, 1e-6) == 205


def test_an_atom_that_moves_beyond_rounding_is_named():
    crystal = read("P m -3 m", (4.2, 4.2, 4.2, 90, 90, 90), ["Cs1 Cs 0 0 0 1", "Br1 Br 0.5 0.5 0.5312 1"])
    assert len(crystal) == 2 and "Br1 is moved by 0.13 Å" in notes(crystal)


def test_split_positions_keep_their_contents():
    rows = ["Cs1 Cs 0 0 0 1", "Br1 Br 0.5 0.5 0.54 0.16667"]
    crystal = read(
        "P m -3 m", (4.2, 4.2, 4.2, 90, 90, 90), rows, _chemical_formula_sum="Cs Br", _cell_formula_units_Z=1
    )
    assert crystal.properties["occupancy"]["formula"] == "CsBr" and "kept as split positions" in notes(
        crystal
    )
    assert "formula" not in notes(crystal).lower()


@pytest.mark.parametrize(
    ("group", "c", "x", "n"),
    [
        ("P m -3 m", 5.1, "0.1", 6),  # tenths are meant exactly
        ("P m -3 m", 5.1, "0.10", 6),
        ("P 4/m m m", 40.0, "0.06", 4),  # images 0.43 Å apart, although a hundredth of the cell is 0.45 Å
    ],
)
@pytest.mark.parametrize("share", ["0.16667", "1"])
def test_an_atom_farther_from_its_images_than_any_rounding_keeps_all_of_them(group, c, x, n, share):
    crystal = read(group, (5.1, 5.1, c, 90, 90, 90), [f"K1 K {x} 0 0 {share}", "I1 I 0.5 0.5 0.5 1"])
    assert len(crystal) == n + 1 and crystal[0].frac_coords[0] == pytest.approx(float(x))
    shares = (crystal.properties.get("occupancy") or {}).get("shares", [{"K": 1.0}] * n)
    assert sum(one.get("K", 0.0) for one in shares) == pytest.approx(n * float(share), abs=1e-3)


def test_half_hydrogens_of_ice_are_all_there():
    rows = [
        "O1 O 0.33333 0.66667 0.0629 1",
        "H1 H 0.33333 0.66667 0.1989 0.5",
        "H2 H 0.4551 0.9102 0.0182 0.5",
    ]
    cell = (4.498, 4.498, 7.338, 90, 90, 120)
    crystal = read("P 63/m m c", cell, rows, _chemical_formula_sum="H2 O", _cell_formula_units_Z=4)
    assert crystal.properties["occupancy"]["formula"] == "H2O" and not notes(crystal)


def test_a_file_that_lists_the_images_too_is_read_once():
    rows = ["K1 K 0 0 0 1", "K2 K 0 0.5 0.5 1", "F1 F 0.5 0.5 0.5 1"]
    crystal = read("F m -3 m", (5.34, 5.34, 5.34, 90, 90, 90), rows)
    assert crystal.composition.formula == "K4 F4" and "images of each other" in notes(crystal)


def test_elements_on_images_of_one_site_share_it():
    rows = ["K1 K 0 0 0 0.75", "Rb1 Rb 0 0.5 0.5 0.25", "F1 F 0.5 0.5 0.5 1"]
    crystal = read("F m -3 m", (5.4, 5.4, 5.4, 90, 90, 90), rows)
    assert len(crystal) == 8 and crystal.properties["occupancy"]["formula"] == "K0.75Rb0.25F"
    with pytest.raises(StructureParseError, match="K1 and Rb1 lie on one site"):
        read("F m -3 m", (5.4, 5.4, 5.4, 90, 90, 90), [row.replace("0.75", "1") for row in rows])


def test_the_hall_symbol_decides_where_names_contradict_each_other():
    silicon = (5.431, 5.431, 5.431, 90, 90, 90)
    crystal = read("F m -3 m", silicon, ["Si1 Si 0 0 0 1"], _space_group_name_Hall="F 4d 2 3 -1d")
    assert len(crystal) == 8 and "the Hall symbol is used" in notes(crystal)


@pytest.mark.parametrize(
    ("entry", "value", "says"),
    [
        ("_exptl_crystal_density_diffrn", "3.4", "density of 3.4 g/cm3"),
        ("_cell_volume", "140", "volume of 140"),
        ("_chemical_formula_weight", "116.2", ""),
    ],
)
def test_what_the_file_says_of_its_cell_is_compared(entry, value, says):
    crystal = read(
        "F m -3 m", (5.34, 5.34, 5.34, 90, 90, 90), ["K1 K 0 0 0 1", "F1 F 0.5 0.5 0.5 1"], **{entry: value}
    )
    assert says in notes(crystal) and bool(says) == bool(notes(crystal))
    rows = ["K1 K 0 0 0 1", "F1 F 0.5 0.5 0.5 1"]
    weight = {"_chemical_formula_weight": "58.1", "_cell_formula_units_Z": "2"}
    assert "formula weight of 58.1" in notes(read("F m -3 m", (5.34, 5.34, 5.34, 90, 90, 90), rows, **weight))


def test_the_group_that_the_atoms_have_is_compared_with_the_named_one():
    rows = ["K1 K 0 0 0 1", "F1 F 0.5 0.5 0.5 1"]
    crystal = read("P 4/m m m", (4.1, 4.1, 4.1, 90, 90, 90), rows)
    assert "names P 4/m m m, but the atoms that were read have Pm-3m (number 221)" in notes(crystal)
