"""JSON that gives a thing twice, leaves an occupancy out, or is beyond what Python reads, in sentences."""

import json

import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.errors import StructureParseError
from crystal_core.files.parse import parse_all, parse_each, parse_text

FLUORITE = {
    "lattice": [[0, 2.73, 2.73], [2.73, 0, 2.73], [2.73, 2.73, 0]],
    "atomic_numbers": [20, 9, 9],
    "frac_coords": [[0, 0, 0], [0.25, 0.25, 0.25], [0.75, 0.75, 0.75]],
}
TEXT = json.dumps(FLUORITE)
SPINS = Structure(Lattice.cubic(4.44), ["Mn2+,spin=-4.5", "S2-"], [[0, 0, 0], [0.5, 0.5, 0.5]]).as_dict()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (TEXT[:-1] + ', "atomic_numbers": [20, 17, 17]}', "atomic_numbers"),
        (f'{{"a": {TEXT}, "b": 1, "a": {TEXT.replace("2.73", "2.8")}}}', "a"),
        (json.dumps(SPINS).replace('"element": "S"', '"element": "S", "element": "Se"'), "element"),
    ],
)
def test_json_that_gives_a_crystal_twice_loses_none_silently(text, key):
    with pytest.raises(StructureParseError, match=rf"entry '{key}' twice with different values. Keep one"):
        parse_text(text)


def test_what_stands_twice_and_matters_nothing_is_no_fault():
    twice = TEXT[:-1] + ', "comment": "a", "comment": "b", "atomic_numbers": [20, 9, 9]}'
    assert parse_text(twice).composition.reduced_formula == "CaF2"


def test_a_line_that_gives_a_crystal_twice_loses_no_other_line():
    bad = TEXT[:-1] + ', "frac_coords": []}'
    first, second = parse_each(f"{bad}\n{TEXT}")
    assert "JSON of line 1 gives the entry 'frac_coords' twice" in str(first) and len(second) == 3


@pytest.mark.parametrize("share", [', "occu": null', ""])
def test_an_occupancy_that_is_missing_is_not_zero(share):
    text = json.dumps(SPINS).replace(', "occu": 1', share, 1)
    with pytest.raises(StructureParseError, match=r"no occupancy \(occu\) of Mn: write 1 for a full site"):
        parse_text(text)


def test_the_spin_beside_the_charge_of_a_species_is_a_moment():
    earlier = json.loads(json.dumps(SPINS))
    species = earlier["sites"][0]["species"][0]
    species["properties"] = {"spin": species.pop("spin")}  # as pymatgen wrote it before
    for document in (SPINS, earlier):
        values = parse_text(json.dumps(document)).properties["site_values"]
        assert values["moments"] == [[0, 0, -4.5], None]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[" * 100_000 + "]" * 100_000, "nests its lists and objects too deeply"),
        (TEXT.replace("[20,", "[" + "2" * 5000 + ","), "a number of thousands of digits"),
        (TEXT.replace("[[0, 2.73, 2.73]", "[5.46, [0, 2.73, 2.73]"), "does not have three numbers"),
        (TEXT.replace("2.73, 0]]", '"2.73", 0]]'), "'2.73' should be a number. Write it without quotes"),
    ],
)
def test_json_that_cannot_be_read_says_so_without_words_of_python(text, sentence):
    with pytest.raises(StructureParseError, match=sentence) as refused:
        parse_all(text)
    assert not any(word in str(refused.value) for word in ("recursion", "sys.", "iterable"))


@pytest.mark.parametrize("number", ["2.73D0", "0.273d+01", "2.73"])
def test_xyz_may_have_the_exponents_of_fortran(number):
    cell = f'Lattice="5.46 0 0 0 {number.replace("2.73", "5.46").replace("0.273", "0.546")} 0 0 0 5.46"'
    crystal = parse_text(f"2\n{cell}\nCs 0 0 0\nF {number} {number} {number}\n")
    assert crystal.distance_matrix[0, 1] == pytest.approx(2.73 * 3**0.5) and crystal.volume == pytest.approx(
        5.46**3
    )
