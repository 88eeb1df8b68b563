"""Files whose parts contradict each other or name a unit, and cells too small for their atoms."""

import json
import random

import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.entries.computed_entries import ComputedStructureEntry

from crystal_core.errors import StructureParseError
from crystal_core.files.parse import parse_each, parse_text

METRES = [[3.9e-10, 0, 0], [0, 3.9e-10, 0], [0, 0, 3.9e-10]]
PAIR = {"atomic_numbers": [37, 35], "frac_coords": [[0, 0, 0], [0.5, 0.5, 0.5]]}
OPTIMADE = {"species_at_sites": ["Rb", "Br"], "cartesian_site_positions": [[0, 0, 0], [1.95e-10] * 3]}


def dense(n=900):
    """Rubidium at 900 random places in a cell of 1.3 Å³."""
    numbers = random.Random(3)
    rows = [" ".join(f"{numbers.random():.4f}" for _ in range(3)) for _ in range(n)]
    return "\n".join(["dense", "1.1", "1 0 0", "0 1 0", "0 0 1", "Rb", str(n), "Direct", *rows])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (json.dumps({"lattice": METRES, **PAIR}), "Check the unit"),
        (json.dumps({"lattice_vectors": METRES, **OPTIMADE}), "Check the unit"),
        (json.dumps({"lattice": METRES[:2], **PAIR}), "three vectors, but the file gives 2"),
        (json.dumps({"lattice": [[4, 0, 0], [0, 4, 0], [4, 4, 0]], **PAIR}), "sliver"),
        (dense(), "Å³ per atom"),
    ],
)
def test_a_cell_that_cannot_hold_its_atoms_is_refused_before_neighbours_are_counted(text, says):
    """The search for neighbours in such a cell would need more memory than a machine has."""
    with pytest.raises(StructureParseError, match=says):
        parse_text(text, purpose="view")


CELL = [[4.2, 0, 0], [0, 4.2, 0], [0, 0, 4.2]]
JARVIS = {"lattice_mat": CELL, "elements": ["Rb", "Br"], "coords": [[0, 0, 0], [0.5, 0.5, 0.5]]}


def pymatgen(*, lattice=(), iron=(("Fe", 1.0),), second=()):
    """Iron and sulfur in pymatgen's form, with changes to its lattice, its first and its second site."""
    places = [[0, 0, 0], [0.5, 0.5, 0.5]]
    species = [[{"element": e, "occu": x, "oxidation_state": k} for k, (e, x) in enumerate(iron, start=2)]]
    species.append([{"element": "S", "occu": 1}])
    sites = [
        {"species": one, "abc": place, "xyz": [4.2 * x for x in place]}
        for one, place in zip(species, places, strict=True)
    ]
    sites[1] |= dict(second)
    return json.dumps({"lattice": {"matrix": CELL, "a": 4.2, "gamma": 90.0} | dict(lattice), "sites": sites})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (pymatgen(), ""),
        (pymatgen(lattice={"a": 4.23}), ""),
        (pymatgen(lattice={"a": 7.9}), "gives a = 7.9, but its matrix, which is read, 4.2"),
        (pymatgen(lattice={"gamma": 120}), "gives gamma = 120"),
        (pymatgen(second={"xyz": [2.1, 2.1, -2.1]}), ""),
        (pymatgen(second={"xyz": [2.1, 2.1, 1.4]}), "site 2 are 0.7 Å apart; the fractional ones are read"),
        (pymatgen(second={"abc": [2.1, 2.1, 2.1], "xyz": None}), "of the cell and not Å"),
        (json.dumps({"lattice": CELL, **PAIR, "formula": "RbBr", "n_atoms": 2}), ""),
        (json.dumps({"lattice": CELL, **PAIR, "formula": "Rb2Br"}), "formula of the file is Rb2Br"),
        (json.dumps({"lattice": CELL, **PAIR, "n_atoms": 3}), "states 3 sites, but lists 2"),
        (json.dumps({"atoms": JARVIS}), ""),
        (json.dumps({"atoms": JARVIS | {"coords": [[0, 0, 0], [2.1] * 3], "cartesian": True}}), ""),
        (json.dumps({"atoms": JARVIS | {"coords": [[0, 0, 0], [2.1] * 3]}}), "of the cell and not Å"),
    ],
)
def test_json_that_states_a_thing_twice_says_which_it_contradicts(text, says):
    crystal = parse_text(text, purpose="view")
    notes = " ".join(crystal.properties.get("notes", []))
    assert says in notes and bool(says) == bool(notes)


def test_whether_positions_of_jarvis_are_cartesian_is_true_or_false():
    """The text "False" would count as true."""
    with pytest.raises(StructureParseError, match="write true"):
        parse_text(json.dumps({"atoms": JARVIS | {"cartesian": "False"}}))


@pytest.mark.parametrize("iron", [(("Fe", 0.6), ("Fe", 0.4)), (("Fe", 0.667), ("Fe", 0.3335))])
def test_a_site_of_one_element_in_two_charges_is_full(iron):
    assert parse_text(pymatgen(iron=iron)).composition.formula == "Fe1 S1"


def test_shares_of_one_element_in_two_charges_are_added_up_beside_another():
    crystal = parse_text(pymatgen(iron=(("Fe", 0.5), ("Fe", 0.25), ("Mg", 0.25))), purpose="view")
    assert crystal.properties["occupancy"]["shares"][0] == {"Fe": 0.75, "Mg": 0.25}


def shared_xyz(occupancy, kinds=("0", "2")):
    """Rubidium iodide as ASE writes what it read from a CIF with shared sites."""
    rows = [f"Rb 0 0 0 {kinds[0]}", f"I 2.2 2.2 2.2 {kinds[1]}"]
    properties = "Properties=species:S:1:pos:R:3:spacegroup_kinds:I:1"
    comment = f'Lattice="4.4 0 0 0 4.4 0 0 0 4.4" {properties} {occupancy} pbc="T T T"'
    return "\n".join(["2", comment, *rows, ""])


KINDS = {"0": {"Rb": 0.7, "Cs": 0.3}, "1": {"Cs": 0.3, "Rb": 0.7}, "2": {"I": 1}}
QUOTED = 'occupancy="_JSON {}"'.format(json.dumps(KINDS).replace('"', '\\"'))


def test_occupancies_that_ase_keeps_beside_the_atoms_are_read():
    crystal = parse_text(shared_xyz(QUOTED), purpose="view")
    assert crystal.properties["occupancy"]["shares"] == [{"Rb": 0.7, "Cs": 0.3}, {"I": 1.0}]


@pytest.mark.filterwarnings("ignore:scaled_positions")
def test_ase_writes_occupancies_as_they_are_read_here(tmp_path):
    from ase.spacegroup import crystal as ase_crystal

    mixed = ase_crystal(
        ["Rb", "Cs", "I"],
        [(0, 0, 0), (0, 0, 0), (0.5, 0.5, 0.5)],
        spacegroup=225,
        cellpar=[7.2] * 3 + [90] * 3,
        occupancies=[0.7, 0.3, 1.0],
    )
    mixed.write(tmp_path / "mixed.extxyz")
    crystal = parse_text((tmp_path / "mixed.extxyz").read_text(), purpose="view")
    assert crystal.properties["occupancy"]["formula"] == "Cs0.3Rb0.7I" and len(crystal) == 8


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (shared_xyz(QUOTED).replace("Rb 0", "Cs 0"), "do not fit its atoms"),
        (shared_xyz(QUOTED, ("0", "5")), "do not fit its atoms"),
        (shared_xyz(QUOTED).replace("spacegroup_kinds", "number"), "do not fit its atoms"),
        (shared_xyz(QUOTED, ("2", "2")).replace("Rb 0", "K 0"), ""),
        (shared_xyz("occupancy=0.7"), ""),
    ],
    ids=["element chosen", "kind unknown", "no kinds", "element of a full site replaced", "number"],
)
def test_other_occupancies_beside_the_atoms_leave_the_sites_full(text, says):
    crystal = parse_text(text)
    notes = " ".join(crystal.properties.get("notes", []))
    assert says in notes and bool(says) == bool(notes)


@pytest.mark.parametrize("lattice", ["4.4 4.4 4.4", "4.4 4.4 4.4 90 90 90"])
def test_a_lattice_of_xyz_in_another_form_is_not_called_a_molecule(lattice):
    with pytest.raises(StructureParseError, match="numbers: write its three vectors"):
        parse_text(f'2\nLattice="{lattice}"\nRb 0 0 0\nI 2.2 2.2 2.2\n')


@pytest.mark.parametrize(
    ("unit", "says"),
    [
        ("unit=Angstrom", ""),
        ("energy_unit=eV", ""),
        ("energy_units=Hartree", "names Hartree as its unit"),
        ('units="kcal/mol"', "names kcal/mol as its unit"),
        ("units=real", "lengths are read in Å and energies in eV"),
    ],
)
def test_a_unit_that_xyz_names_is_said_unless_it_is_the_usual_one(unit, says):
    text = f'2\nLattice="4.4 0 0 0 4.4 0 0 0 4.4" energy=-3.2 {unit}\nRb 0 0 0\nI 2.2 2.2 2.2\n'
    notes = " ".join(parse_text(text).properties.get("notes", []))
    assert says in notes and bool(says) == bool(notes)


def test_positions_of_optimade_that_are_too_few_are_counted():
    data = {"lattice_vectors": CELL, "species_at_sites": ["Rb"], "cartesian_site_positions": [[0, 0, 0]] * 2}
    with pytest.raises(StructureParseError, match="1 species at sites but 2 positions"):
        parse_text(json.dumps(data))


def xyz(*rows, columns="", again=""):
    """A frame of a cubic cell of 4.4 Å, each row an element, a place and the values of ``columns``."""
    lattice = 'Lattice="4.4 0 0 0 4.4 0 0 0 4.4"'
    return "\n".join(
        [str(len(rows)), f"{lattice} {again} Properties=species:S:1:pos:R:3{columns}", *rows, ""]
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (xyz("Rb 0 0 0 37", "I 2.2 2.2 2.2 35", columns=":Z:I:1"), "Atom 2 .* is I by its species, but Br"),
        (xyz("Rb 0 0 0 53", "I 2.2 2.2 2.2 53", columns=":numbers:I:1"), "Atom 1"),
        (xyz("Rb 0 0 0", "I 2.2 2.2 2.2", again='Lattice="5 0 0 0 5 0 0 0 5"'), "two lattices"),
        (xyz("Rb 0 0 0 0.7", "I 2.2 2.2 2.2 1.6", columns=":occupancy:R:1"), "atom 2 is 1.6"),
        (xyz("Rb 0 0 0 0.7", "I 2.2 2.2 2.2 ?", columns=":occupancy:R:1"), "atom 2 is missing"),
        (xyz("Rb 0 0 0 0.7", "Cs 0 0 0 0.7", columns=":occ:R:1"), "more than 1"),
        (xyz("Rb 0 0 0 0", "Cs 2 2 2 0", columns=":sof:R:1"), "All occupancies"),
    ],
)
def test_xyz_that_names_two_elements_cells_or_atoms_for_a_place_is_refused(text, says):
    with pytest.raises(StructureParseError, match=says):
        parse_text(text, purpose="view")


def test_xyz_that_says_the_same_twice_is_read():
    again = 'Lattice="4.4 0 0 0 4.4 0 0  0 4.4"'
    crystal = parse_text(xyz("Rb 0 0 0 37", "I 2.2 2.2 2.2 53", columns=":Z:I:1", again=again))
    assert crystal.composition.formula == "Rb1 I1" and not crystal.properties.get("notes")


def test_a_column_of_occupancies_in_xyz_shares_the_sites():
    rows = ("Rb 0 0 0 0.7 1", "Cs 0 0 0 0.3 2", "I 2.2 2.2 2.2 0.9 3", "Na 1 1 1 0 4")
    crystal = parse_text(xyz(*rows, columns=":Occupancy:R:1:moments:R:1"), purpose="view")
    assert crystal.properties["occupancy"]["shares"] == [{"Rb": 0.7, "Cs": 0.3}, {"I": 0.9}]
    assert crystal.properties["notes"] == ["1 atom with occupancy 0 is left out."]
    full = parse_text(xyz("Rb 0 0 0 1", "I 2.2 2.2 2.2 1", columns=":occupancy:R:1"))
    assert full.is_ordered and not full.properties.get("notes")


ATTRIBUTES = {
    "lattice_vectors": CELL,
    "species_at_sites": ["Rb", "Br"],
    "cartesian_site_positions": [[0, 0, 0], [2.1] * 3],
}
RIGHT = {
    "formula_pretty": "RbBr",
    "chemsys": "Br-Rb",
    "nelements": 2,
    "nsites": 2,
    "volume": 74.1,
    "density": 3.71,
}
WRONG = [
    ({"formula_pretty": "RbI"}, "formula of the file is RbI, but its sites make RbBr"),
    ({"chemsys": "Br-Cs"}, "chemical system of the file is Br-Cs, but its sites make Br-Rb"),
    ({"nelements": 3}, "states 3 elements, but its sites hold 2"),
    ({"nsites": 8}, "states 8 sites, but lists 2"),
    ({"volume": 148.2}, "a volume of 148.2 Å³, but the crystal that was read has 74.09"),
    ({"density": 7.4}, "a density of 7.4 g/cm3"),
    (
        {"composition": {"Rb": 1, "Br": 2}, "formula_pretty": None},
        "file (composition) is RbBr2, but its sites",
    ),
    ({"composition_reduced": {"Cs": 1.0, "Br": 1.0}}, "file (composition_reduced) is CsBr, but its sites"),
    ({"unit_cell_formula": {"Rb+": 4, "I-": 4}}, "(unit_cell_formula) is RbI, but its sites make RbBr"),
    ({"full_formula": "Rb4I4", "formula_pretty": None}, "formula of the file is Rb4I4"),
    ({"composition": {"Rb+": 4.0, "Br-": 4.0}, "unit_cell_formula": {}, "pretty_formula": "RbBr"}, ""),
    ({"composition": {"Rb": "1"}, "composition_reduced": [1], "unit_cell_formula": {"X": 1}}, ""),
    ({"volume": None, "density": "3.7", "nelements": "2", "chemsys": ["Rb"], "nsites": None}, ""),
    ({}, ""),
]


@pytest.mark.parametrize(("stated", "says"), WRONG)
@pytest.mark.parametrize(
    "document",
    [
        lambda stated: [{"material_id": "x", **stated, "structure": {"lattice": CELL, **PAIR}}],
        lambda stated: {"jid": "x", **stated, "atoms": JARVIS},
        lambda stated: {"output": {**stated, "structure": {"lattice": CELL, **PAIR}}, "volume": 9},
        lambda stated: {"data": [{"id": "x", "attributes": {**ATTRIBUTES, **stated}}]},
    ],
)
def test_what_a_document_states_beside_its_crystal_is_compared(document, stated, says):
    crystal = parse_text(json.dumps(document({**RIGHT, **stated})))
    notes = " ".join(crystal.properties.get("notes", []))
    assert says in notes and bool(says) == bool(notes)


@pytest.mark.parametrize(
    ("stated", "says"),
    [({"Rb": 4, "Br": 4}, ""), ({"Rb": 4, "Br": 3}, "is Rb4Br3, but its sites make RbBr")],
)
def test_the_composition_of_a_computed_entry_is_compared(stated, says):
    crystal = Structure(Lattice.cubic(4.2), ["Rb", "Br"], PAIR["frac_coords"])
    entry = ComputedStructureEntry(crystal, -6.2, entry_id="x").as_dict()
    (read,) = parse_each(json.dumps([entry | {"composition": stated}]))
    notes = " ".join(read.properties.get("notes", []))
    assert says in notes and bool(says) == bool(notes)


def test_a_document_is_not_compared_with_its_earlier_steps():
    """The volume is that of the final crystal."""
    steps = {"initial_structure": {"lattice": METRES, **PAIR}, "structure": {"lattice": CELL, **PAIR}}
    assert not parse_text(json.dumps({**RIGHT, **steps})).properties.get("notes")


PLAIN = {"lattice": CELL, **PAIR}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"cart_coords": [[0, 0, 0], [2.1, 2.1, 2.1]]}, ""),
        ({"cart_coords": [[0, 0, 0], [-2.1, 2.1, 6.3]]}, ""),  # a lattice vector away
        (
            {"cart_coords": [[0, 0, 0], [2.1, 2.1, 1.1]]},
            "positions of site 2 are 1 Å apart; the fractional ones",
        ),
        ({"positions": [[0, 0.6, 0], [2.1, 2.1, 2.1]]}, "positions of site 1 are 0.6 Å apart"),
        ({"positions": [[0, 0, 0]], "cart_coords": "none"}, ""),
        ({"pbc": [True, True, False]}, "not periodic along every axis (pbc T T F)"),
        ({"pbc": [True] * 3, "symbols": ["Rb", "Br"], "labels": ["Rb1", "Br1"]}, ""),
        ({"symbols": ["K", "Br", "Br"], "species": ["A", "X"]}, ""),
    ],
)
def test_a_plain_crystal_is_compared_with_its_other_lists(more, says):
    notes = " ".join(parse_text(json.dumps({**PLAIN, **more})).properties.get("notes", []))
    assert says in notes and bool(says) == bool(notes)


@pytest.mark.parametrize("key", ["symbols", "species", "labels"])
def test_symbols_beside_other_atomic_numbers_are_refused(key):
    with pytest.raises(
        StructureParseError, match=f"Atom 2 of this JSON is Br by its atomic number, but I by '{key}'"
    ):
        parse_text(json.dumps({**PLAIN, key: ["Rb", "I"]}))


@pytest.mark.parametrize(
    ("entry", "says"), [({"units": "bohr"}, "names bohr as its unit"), ({"unit": "Ang"}, "")]
)
def test_a_unit_beside_a_json_crystal_is_told(entry, says):
    notes = " ".join(parse_text(json.dumps({**PLAIN, **entry})).properties.get("notes", []))
    assert says in notes and bool(says) == bool(notes)


@pytest.mark.parametrize(
    ("comment", "says"),
    [
        ("formula=RbI", "formula of the file is RbI, but its sites make RbBr"),
        ("formula=Rb2Br2", ""),
        ("formula=perovskite", ""),
        ("name=RbI", ""),
    ],
)
def test_a_formula_of_extended_xyz_is_compared(comment, says):
    lines = ["2", f'Lattice="4.2 0 0 0 4.2 0 0 0 4.2" {comment}', "Rb 0 0 0", "Br 2.1 2.1 2.1"]
    notes = " ".join(parse_text("\n".join(lines)).properties.get("notes", []))
    assert says in notes and bool(says) == bool(notes)


def test_the_formula_of_heavy_water_is_that_of_its_deuterium():
    rows = ["D 0 0 0", "D 1.2 1.2 0", "O 0.6 0.6 0.6"]
    text = "\n".join(["3", 'Lattice="3 0 0 0 3 0 0 0 3" formula=D2O', *rows])
    assert "formula of the file" not in " ".join(parse_text(text).properties["notes"])
