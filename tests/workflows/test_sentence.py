"""Sentences of chemists and the fields they come to; what no rule takes is named, never guessed."""

import pytest

from crystal_core.errors import RequestError
from crystal_core.requests import CrystalGenerationRequest
from crystal_core.workflows.sentence import understand

LFO = {"elements": ("Li", "Fe", "O"), "contain": ("Li", "Fe", "O")}
PHRASES = [
    (
        "A stable oxide with a band gap near 2 eV, space group 225",
        {"space_group": "225", "band_gap": 2.0, "e_above_hull": 0.0, "contain": ("O",)},
    ),
    (
        "Give me ten metastable nitrides of lithium with a gap of 3.2 eV in Pnma",
        {
            "n": 10,
            "e_above_hull": 0.05,
            "band_gap": 3.2,
            "space_group": "62",
            "contain": ("Li", "N"),
        },
    ),
    ("SrTiO3, cubic, gap about 1.8 eV", {"formula": "SrTiO3", "crystal_system": "cubic", "band_gap": 1.8}),
    ("a lead-free compound with a 1.5 eV band gap", {"band_gap": 1.5, "exclude_elements": ("Pb",)}),
    (
        "metallic boride in space group P6/mmm with at most 6 atoms per cell",
        {"space_group": "191", "band_gap": 0.0, "n_atoms": (1, 6), "contain": ("B",)},
    ),
    (
        "crystals made of Li, Fe and O only, formation energy around -2.1 eV/atom",
        {"formation_energy": -2.1, **LFO},
    ),
    ("Li-Fe-O system within 50 meV/atom of the hull", {"e_above_hull": 0.05, **LFO}),
    (
        "lithium iron phosphate, orthorhombic, 28 atoms",
        {"crystal_system": "orthorhombic", "n_atoms": (28, 28), "contain": ("Li", "Fe", "P", "O")},
    ),
    (
        "bandgap between 1 and 2 eV without Pb, Cd or Hg",
        {"band_gap": 1.5, "exclude_elements": ("Pb", "Cd", "Hg")},
    ),
    ("space group Fm-3m, contains Na and Cl", {"space_group": "225", "contain": ("Na", "Cl")}),
    (
        "tetragonal TiO2 with 4 to 12 atoms",
        {"crystal_system": "tetragonal", "formula": "TiO2", "n_atoms": (4, 12)},
    ),
    ("a fluoride of calcium; energy above hull 0.02 eV", {"e_above_hull": 0.02, "contain": ("Ca", "F")}),
    ("space group no. 62 sulfides", {"space_group": "62", "contain": ("S",)}),
    ("space group P2_1/c hydroxide", {"space_group": "14", "contain": ("O", "H")}),
    ("space group number: 14, aluminium oxide", {"space_group": "14", "contain": ("Al", "O")}),
    ("Oxide of density near 5 g/cm3", {"density": 5.0, "contain": ("O",)}),
    (
        "a rhombohedral carbonate on the hull",
        {"crystal_system": "trigonal", "e_above_hull": 0.0, "contain": ("C", "O")},
    ),
    ("gap = 500 meV, fewer than eight atoms", {"band_gap": 0.5, "n_atoms": (1, 7)}),
    ("no band gap, contains copper", {"band_gap": 0.0, "contain": ("Cu",)}),
    ("5 structures of NaCl", {"n": 5, "formula": "NaCl"}),
    ("something consisting of silicon and carbon", {"elements": ("Si", "C"), "contain": ("Si", "C")}),
    ("formula Ca3(PO4)2", {"formula": "Ca3(PO4)2"}),
    ("energy above the convex hull of 0.1 eV/atom", {"e_above_hull": 0.1}),
    (
        "thermodynamically stable halogen-free selenide, no arsenic",
        {"e_above_hull": 0.0, "contain": ("Se",), "exclude_elements": ("As",)},
    ),
]


@pytest.mark.parametrize(("sentence", "fields"), PHRASES)
def test_a_sentence_comes_to_its_fields(sentence, fields):
    meaning = understand(sentence)
    assert meaning.fields == fields
    assert len(meaning.words) >= len(set(fields) - {"contain"})
    CrystalGenerationRequest(**meaning.fields)


def test_what_no_rule_takes_is_named():
    assert understand("a lead-free perovskite with a 1.5 eV band gap").ignored == ("perovskite",)
    assert understand("a hard, transparent oxide").ignored == ("hard", "transparent")
    assert understand("In a world of oxides, as hard as I can be, No 5").fields == {"contain": ("O",)}
    assert understand("A stable oxide with a band gap near 2 eV, space group 225").ignored == ()


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("hello there", "Nothing in this sentence was understood"),
        ("", "Nothing in this sentence was understood"),
        ("an oxide in space group 300", "no space group '300'"),
        ("an oxide in space group Fm9m", "no space group 'Fm9m'"),
    ],
)
def test_a_sentence_that_cannot_be_meant_is_refused(sentence, reason):
    with pytest.raises(RequestError, match=reason):
        understand(sentence)
