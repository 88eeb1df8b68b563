"""Legal but unusual files: read right, said in a note, or refused; each kind was once read otherwise."""

import json

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.errors import StructureParseError
from crystal_core.files.parse import parse_all, parse_text
from crystal_core.files.writers import structure_to_text

FLUORITE = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(5.46), ["Ca", "F"], [[0, 0, 0], [0.25, 0.25, 0.25]]
)
CONTENTS = {"Ca": 4, "F": 8}


def cif(group, *rows, head="", columns=(), name="data_x"):
    """Fluorite, or the rows given: symbol, position, values of ``columns``."""
    cell = "\n".join(
        f"_cell_length_{x} 5.46\n_cell_angle_{y} 90" for x, y in zip("abc", ("alpha", "beta", "gamma"))
    )
    tags = ("type_symbol", "fract_x", "fract_y", "fract_z", *columns)
    rows = rows or ("Ca 0 0 0", "F .25 .25 .25")
    return "\n".join([name, cell, group, head, "loop_", *(f"_atom_site_{tag}" for tag in tags), *rows, ""])


GROUP = "_space_group_name_H-M_alt 'F m -3 m'"


def read(text):
    return parse_text(text, purpose="view")


def contents(structure):
    return {symbol: round(n, 3) for symbol, n in structure.composition.get_el_amt_dict().items()}


def notes(structure):
    return " ".join(structure.properties.get("notes", []))


@pytest.mark.parametrize("decimals", [5, 6, 7, 8, 9])
def test_positions_on_any_grid_of_decimals_have_each_image_once(decimals):
    """Half a unit of the sixth decimal once parted equal images, and the file of 16 atoms was refused."""
    half = 5 * 10.0**-decimals
    text = "\n".join(
        ["data_x", "_cell_length_a 7.78", "_cell_length_b 7.78", "_cell_length_c 13.63"]
        + [f"_cell_angle_{x} 90" for x in ("alpha", "beta", "gamma")]
        + ["_space_group_name_H-M_alt 'I 4/m c m'", "loop_", "_atom_site_type_symbol"]
        + [f"_atom_site_fract_{x}" for x in "xyz"]
        + [f"Dy {0.6569 + half:.10f} {0.1569 + half:.10f} {0.3577 + half:.10f}", ""]
    )
    crystal = read(text)
    apart = crystal.distance_matrix + 9 * np.eye(len(crystal))
    assert len(crystal) == 16 and apart.min() > 1


def test_every_symmetrised_file_of_ours_is_read_again():
    dysprosium = Structure.from_spacegroup(
        "I4/mcm", Lattice.tetragonal(7.7813, 13.6336), ["Dy"], [[0.6569325, 0.1569325, 0.3577415]]
    )
    assert len(read(structure_to_text(dysprosium, "cif-symmetrised"))) == len(dysprosium) == 16


@pytest.mark.parametrize(
    ("group", "number"),
    [
        ("_space_group.name_Schoenflies O_h^5", 225),
        ("_space_group_name_Schoenflies 'Oh^5'", 225),
        ("_space_group_name_H-M_alt 'F m -3 m'\n_space_group_IT_number 225.0", 225),
    ],
)
def test_further_names_of_a_space_group(group, number):
    crystal = read(cif(group))
    assert (
        contents(crystal) == CONTENTS and crystal.get_space_group_info()[1] == number and not notes(crystal)
    )


@pytest.mark.parametrize(
    ("group", "why"),
    [
        ("_space_group_name_Schoenflies O_x^5", "Schoenflies symbol O_x"),
        ("_space_group_name_Schoenflies D_6h^1", "does not fit the cell"),
        ('_space_group_magn.name_BNS "F m\' -3 m"', "magnetic group"),
        ("_space_group_magn.number_OG 225.1.1621", "without its operations"),
        ("_symmetry_cell_setting cubic", "no space group"),
    ],
)
def test_a_group_that_is_not_understood_is_never_p1(group, why):
    with pytest.raises(StructureParseError, match=why):
        read(cif(group, head="_chemical_formula_sum 'Ca4 F8'"))


def test_a_cell_that_holds_a_part_of_the_formula_is_said():
    crystal = read(cif("_space_group_name_H-M_alt 'P 1'", head="_chemical_formula_sum 'Ca4 F4'"))
    assert "only 0.25 of the formula" in notes(crystal)


def test_hydrogen_that_is_attached_without_a_position_is_said():
    for n, said in (("0", False), (".", False), ("1", True)):
        text = cif(GROUP, "Ca 0 0 0 0", f"O .25 .25 .25 {n}", columns=("attached_hydrogens",))
        assert ("attaches 1 hydrogen" in notes(read(text))) == said


def test_a_name_of_a_block_may_hold_blanks():
    crystal = read(cif(GROUP, name="data_calcium fluoride (1)"))
    assert contents(crystal) == CONTENTS and not notes(crystal)
    assert contents(read(cif(GROUP, name="data_a _journal_year 1999"))) == CONTENTS


def test_a_site_that_hydrogen_and_deuterium_share_is_named_by_both():
    text = cif(GROUP, "Ca 0 0 0 1", "H .25 .25 .25 .4", "D .25 .25 .25 .6", columns=("occupancy",))
    assert "D 0.6, H 0.4" in read(text).properties["limitation"]


POSCAR = "CaF2\n1.0\n5.46 0 0\n0 5.46 0\n0 0 5.46\n{} F\n4 8\n{}\n"


def poscar(mode="Direct", metal="Ca", scale=1.0):
    rows = "\n".join(" ".join(f"{scale * x:.5f}" for x in site.frac_coords) for site in FLUORITE)
    return POSCAR.format(metal, mode) + rows + "\n"


def xyz(info="", metal="Ca"):
    lattice = " ".join(str(float(x)) for row in FLUORITE.lattice.matrix for x in row)
    rows = [
        f"{metal if site.specie.symbol == 'Ca' else 'F'} " + " ".join(f"{x:.4f}" for x in site.coords)
        for site in FLUORITE
    ]
    return "\n".join(
        [str(len(rows)), f'Lattice="{lattice}" Properties=species:S:1:pos:R:3 {info}', *rows, ""]
    )


@pytest.mark.parametrize("text", [poscar(metal="D"), xyz(metal="D"), cif(GROUP, "D 0 0 0", "F .25 .25 .25")])
def test_deuterium_is_said_in_every_format(text):
    assert "deuterium, which models treat as hydrogen" in notes(read(text))


def test_fractions_under_the_word_cartesian_are_said():
    assert "within 1 Å of the origin" in notes(read(poscar("Cartesian")))
    right = read(poscar("Cartesian", scale=5.46))
    assert contents(right) == CONTENTS and not notes(right)


@pytest.mark.parametrize("pbc", ["TTF", '"T T F"', "FFF", "[T, F, T]", "110", "F"])
def test_periodicity_may_be_written_without_blanks(pbc):
    assert "not periodic along every axis" in notes(read(xyz(f"pbc={pbc}")))
    assert not notes(read(xyz("pbc=TTT"))) and not notes(read(xyz("pbc=111")))


def test_energies_of_a_trajectory_may_name_their_method():
    frames = parse_all("".join(xyz(f"REF_energy={-k} kinetic_energy=9") for k in range(3)), purpose="view")
    assert [one.properties["frame"]["energy"] for one in frames] == [0.0, -1.0, -2.0]


def test_pymatgen_writes_lattices_and_sites_in_two_ways():
    data = FLUORITE.as_dict()
    lattice, sites = dict(data["lattice"]), [dict(site) for site in data["sites"]]
    lattice.pop("matrix")
    for site in sites:
        site.pop("abc")
    crystal = read(json.dumps({"lattice": lattice, "sites": sites}))
    gaps = crystal.frac_coords - FLUORITE.frac_coords
    assert np.allclose(gaps, np.round(gaps)) and np.allclose(crystal.lattice.abc, FLUORITE.lattice.abc)
    with pytest.raises(StructureParseError, match="no cell"):
        read(json.dumps({"lattice": lattice | {"alpha": 0}, "sites": sites}))


def optimade(**other):
    species = [
        {"name": name, "chemical_symbols": [name], "concentration": [1.0], "attached": ["H"] * (name == "F")}
        | {"nattached": [2] * (name == "F")}
        for name in ("Ca", "F")
    ]
    given = {
        "lattice_vectors": FLUORITE.lattice.matrix.tolist(),
        "cartesian_site_positions": FLUORITE.cart_coords.tolist(),
        "species_at_sites": [site.specie.symbol for site in FLUORITE],
        "species": [{k: v for k, v in one.items() if v} for one in species],
        "nsites": 12,
        "chemical_formula_reduced": "CaF2",
    }
    return json.dumps({"data": [{"attributes": given | other}]})


def test_what_an_optimade_document_says_of_itself_is_compared():
    assert notes(read(optimade())) == "The H2 attached to F have no positions: they are not in the crystal."
    plain = [{"name": x, "chemical_symbols": [x], "concentration": [1]} for x in ("Ca", "F")]
    assert not notes(read(optimade(species=plain)))
    assert "24 sites, but lists 12" in notes(read(optimade(nsites=24)))
    assert "BaF2, but its sites make CaF2" in notes(read(optimade(chemical_formula_reduced="BaF2")))
    together = optimade(species=plain, structure_features=["assemblies", "implicit_atoms"])
    assert "exclude each other" in notes(read(together)) and "without positions" in notes(read(together))
    open_cell = FLUORITE.lattice.matrix.tolist()
    open_cell[2] = [None, None, None]
    with pytest.raises(StructureParseError, match=r"missing \(null\)"):
        read(optimade(species=plain, lattice_vectors=open_cell))


@pytest.mark.parametrize("cartesian", [False, True])
def test_atoms_of_jarvis_are_read(cartesian):
    atoms = {
        "lattice_mat": FLUORITE.lattice.matrix.tolist(),
        "coords": (FLUORITE.cart_coords if cartesian else FLUORITE.frac_coords).tolist(),
        "elements": [f"{site.specie.symbol} " for site in FLUORITE],
        "cartesian": cartesian,
    }
    crystal = read(json.dumps([{"jid": "JVASP-0", "atoms": atoms}]))
    gaps = crystal.frac_coords - FLUORITE.frac_coords
    assert crystal.species == FLUORITE.species and np.allclose(gaps, np.round(gaps))
    with pytest.raises(StructureParseError, match="11 elements but 12 positions"):
        read(json.dumps({"atoms": atoms | {"elements": atoms["elements"][1:]}}))
