"""Files whose parts contradict each other or name a unit, and cells too small for their atoms."""

import json
import random

import pytest

from crystal_core.errors import StructureParseError
from crystal_core.files.parse import parse_text

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
