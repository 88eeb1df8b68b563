"""Sentences of chemists and the fields they come to; what no rule takes is named, never guessed."""

import pytest

from crystal_core.errors import RequestError
from crystal_core.requests import CrystalGenerationRequest
from crystal_core.workflows.sentence import understand

LFO = {"elements": ("Li", "Fe", "O"), "contain": ("Li", "Fe", "O")}
HALOGENS = ("F", "Cl", "Br", "I")
ALKALI, EARTHS = ("Li", "Na", "K", "Rb", "Cs"), ("Be", "Mg", "Ca", "Sr", "Ba")
TITANIUM_GROUP = {"contain": ("O",), "any_of": (("Ti", "Zr", "Hf"),)}
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
        {"e_above_hull": 0.0, "contain": ("Se",), "exclude_elements": ("F", "Cl", "Br", "I", "As")},
    ),
    ("Li-containing, hull energy below 50 meV", {"e_above_hull": 0.05, "contain": ("Li",)}),
    (
        "Ehull ≤ 25 meV/atom; Eg ≥ 1.2 eV; Bi-based",
        {"e_above_hull": 0.025, "band_gap": 1.2, "contain": ("Bi",)},
    ),
    ("stable oxides within 30 meV of the hull", {"e_above_hull": 0.03, "contain": ("O",)}),
    ("E above hull from 20 to 40 meV", {"e_above_hull": 0.03}),
    ("an oxide with a gap larger than 3 eV", {"band_gap": 3.0, "contain": ("O",)}),
    ("1.1–1.7 eV band gap", {"band_gap": 1.4}),
    ("gap of 1.4 ± 0.1 eV", {"band_gap": 1.4}),
    ("1,5 eV gap", {"band_gap": 1.5}),
    ("gap 0.1 Ry", {"band_gap": 1.360569}),
    ("formation energy below −2 eV/atom, Sr3N2", {"formation_energy": -2.0, "formula": "Sr3N2"}),
    ("density 5000 kg/m3", {"density": 5.0}),
    ("a perovskite with Cs, Pb and I", {"contain": ("Cs", "Pb", "I")}),
    ("K and Br only", {"elements": ("K", "Br"), "contain": ("K", "Br")}),
    ("a ternary oxide of Ti and Ba", {"elements": ("Ti", "Ba", "O"), "contain": ("Ti", "Ba", "O")}),
    ("not an oxide, contains Fe", {"exclude_elements": ("O",), "contain": ("Fe",)}),
    ("a non-oxide of iron", {"exclude_elements": ("O",), "contain": ("Fe",)}),
    ("oxides that do not contain cobalt", {"exclude_elements": ("Co",), "contain": ("O",)}),
    ("with neither Pb nor Cd, a telluride", {"exclude_elements": ("Pb", "Cd"), "contain": ("Te",)}),
    ("oxides except those of cobalt", {"exclude_elements": ("Co",), "contain": ("O",)}),
    ("without cobalt, oxides", {"exclude_elements": ("Co",), "contain": ("O",)}),
    ("no oxides, nitrides or carbides", {"exclude_elements": ("O", "N", "C")}),
    ("Pb- and Cd-free iodides", {"exclude_elements": ("Pb", "Cd"), "contain": ("I",)}),
    (
        "noble-gas-free, no alkali metals",
        {"exclude_elements": ("He", "Ne", "Ar", "Kr", "Xe", "Li", "Na", "K", "Rb", "Cs")},
    ),
    ("no more than 10 atoms, no phosphates", {"n_atoms": (1, 10), "exclude_elements": ("P",)}),
    ("more than 5 atoms, 2 eV oxides", {"n_atoms": (6, 20), "contain": ("O",)}),
    ("SG P6₃/mmc nitride", {"space_group": "194", "contain": ("N",)}),
    (
        "CUBIC OXIDES WITHOUT COBALT",
        {"crystal_system": "cubic", "contain": ("O",), "exclude_elements": ("Co",)},
    ),
    (
        "a stable halide with space group 225",
        {"space_group": "225", "e_above_hull": 0.0, "any_of": (HALOGENS,)},
    ),
    (
        "Fe or Co oxide with a gap near 2 eV",
        {"band_gap": 2.0, "contain": ("O",), "any_of": (("Fe", "Co"),)},
    ),
    ("three lithium halides of Fe or Co", {"n": 3, "contain": ("Li",), "any_of": (("Fe", "Co"), HALOGENS)}),
    ("oxides with at least one of Ti, Zr and Hf", {"contain": ("O",), "any_of": (("Ti", "Zr", "Hf"),)}),
    ("one of Ti, Zr, Hf oxides, cubic", {"crystal_system": "cubic"} | TITANIUM_GROUP),
    ("either Fe- or Co-based nitrides", {"contain": ("N",), "any_of": (("Fe", "Co"),)}),
    ("oxides, iron, cobalt and/or nickel", {"contain": ("O",), "any_of": (("Fe", "Co", "Ni"),)}),
    ("alkali metals, alkaline earth metal hydrides", {"contain": ("H",), "any_of": (ALKALI, EARTHS)}),
    ("an alkali metal or alkaline earth chloride", {"contain": ("Cl",), "any_of": ((*ALKALI, *EARTHS),)}),
    ("lithium phosphate or sulfate", {"contain": ("Li", "O"), "any_of": (("P", "S"),)}),
    ("an oxide or an oxynitride", {"contain": ("O", "N")}),
    ("oxide or oxynitride", {"contain": ("O",)}),
    ("halides without chlorine", {"exclude_elements": ("Cl",), "any_of": (("F", "Br", "I"),)}),
    (
        "made of Li and a halogen",
        {"elements": ("Li", *HALOGENS), "contain": ("Li",), "any_of": (HALOGENS,)},
    ),
    ("CaCl2, a halide or oxide", {"formula": "CaCl2"}),
    ("oxides w/o cobalt", {"exclude_elements": ("Co",), "contain": ("O",)}),
    ("rule out lead, omit cadmium: sulfides", {"exclude_elements": ("Pb", "Cd"), "contain": ("S",)}),
    (
        "nitrides in which Re, Os and Ir are not allowed",
        {"exclude_elements": ("Re", "Os", "Ir"), "contain": ("N",)},
    ),
    ("a bromide that won't contain tin", {"exclude_elements": ("Sn",), "contain": ("Br",)}),
    ("a sulfide, thallium excluded", {"exclude_elements": ("Tl",), "contain": ("S",)}),
    ("none of As, Sb in a selenide", {"exclude_elements": ("As", "Sb"), "contain": ("Se",)}),
    ("anything but oxides of vanadium", {"exclude_elements": ("O",), "contain": ("V",)}),
    ("tin-less, zero germanium iodides", {"exclude_elements": ("Sn", "Ge"), "contain": ("I",)}),
    ("a gap of 0.9 eV to 1500 meV, oxide", {"band_gap": 1.2, "contain": ("O",)}),
    ("a gap of 900 meV to 1.5 eV, oxide", {"band_gap": 1.2, "contain": ("O",)}),
    ("a gap of 1,300 meV, sulfide", {"band_gap": 1.3, "contain": ("S",)}),
    ("a gap of 1,300 eV, sulfide", {"band_gap": 1.3, "contain": ("S",)}),
    ("a gap of 1.5e-1 eV, sulfide", {"band_gap": 0.15, "contain": ("S",)}),
    ("nitrides with 9±3 atoms", {"n_atoms": (6, 12), "contain": ("N",)}),
    ("an alkali chloride", {"any_of": (ALKALI,), "contain": ("Cl",)}),
    ("an alkali earth chloride", {"any_of": (EARTHS,), "contain": ("Cl",)}),
    ("formula S8", {"formula": "S8"}),
    ("tetragonl sulphid with barum, sapce group 123", {"space_group": "123", "contain": ("Ba", "S")}),
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
    ("sentence", "ignored"),
    [
        ("cubic oxides, not metallic", ("not metallic",)),
        ("oxides, neither cubic nor tetragonal", ("neither cubic nor tetragonal",)),
        ("non-cubic oxides, not in space group 225", ("non-cubic", "not in space group 225")),
        ("an unstable oxide with a non-zero gap", ("unstable", "non-zero gap")),
        ("oxides other than MgO", ("other than MgO",)),
        ("dynamically stable, wide-gap oxides", ("dynamically stable", "wide gap")),
        ("oxides with exactly one of Fe, Co", ("exactly one of Fe, Co",)),
        ("oxides with two of Fe, Co, Ni", ("two of Fe, Co, Ni",)),
        ("a cyanide or oxide of lithium", ("cyanide or oxide",)),
        ("TiO2, a halide", ("F, Cl, Br or I beside the formula",)),
        ("TiO2 with nitrogen", ("N beside the formula",)),
        ("a metal oxide, nothing toxic", ("metal", "nothing", "toxic")),
        ("oxides that lead to a table", ("lead", "table")),
        ("manganese(III) oxide, group IV", ("III", "group", "IV")),
        ("BCC phase of Nb and Hf, or FCC", ("BCC", "FCC")),
        ("C15 phase of Zr and V", ("C15",)),
        ("oxides of five metals", ("five", "metals")),
        ("oxides up to 650 K", ("up", "650 K")),
        ("superconductors of Y and Ba with Tc above 77 K", ("superconductors", "Tc above 77 K")),
        ("cathodes with Na above 3 V or of 3.8 V", ("cathodes", "above 3 V", "3.8 V")),
        ("oxides at 400 °C", ("400 °C",)),
    ],
)
def test_what_no_field_can_say_is_named_and_never_turned_into_a_wish(sentence, ignored):
    meaning = understand(sentence)
    assert sorted(meaning.ignored) == sorted(ignored)
    assert set(meaning.fields) <= {"contain", "crystal_system", "exclude_elements", "formula"}


def test_a_corrected_word_and_a_limit_are_told():
    words = understand("cubc oxides with a gap above 2 eV").words
    assert "'cubc' read as cubic" in words
    assert "band gap 2 eV as the target, for the limit asked for" in words


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("hello there", "Nothing in this sentence was understood"),
        ("", "Nothing in this sentence was understood"),
        ("an oxide in space group 300", "no space group '300'"),
        ("an oxide in space group Fm9m", "no space group 'Fm9m'"),
        ("a halide without halogens", "asks for F, Cl, Br or I and rules all of them out"),
        ("an oxide of iron without iron", "asks for Fe and rules it out"),
        ("CsPbI3 without lead", "asks for Pb and rules it out"),
        ("triclinic cubic oxide", "two values of the crystal system"),
        ("hexagonal, space group 225", r"Fm-3m \(225\) is not hexagonal"),
        ("Li2O and Na2O", "two values of the formula"),
        ("a metallic oxide with a 2 eV gap", "two values of the band gap"),
        ("a stable, metastable oxide", "two values of the energy above hull"),
        ("gap of 300 kJ/mol", "in kJ/mol; write it in eV"),
        ("formation energy -3 eV per formula unit", "per formula unit; write it in eV/atom"),
        ("at most 100 meV above the hull per formula unit", "per formula unit; write it in eV/atom"),
        ("energy above hull 0.1 eV/f.u.", "per formula unit; write it in eV/atom"),
        ("not metallic", "no field can say: not metallic"),
    ],
)
def test_a_sentence_that_cannot_be_meant_is_refused(sentence, reason):
    with pytest.raises(RequestError, match=reason):
        understand(sentence)


@pytest.mark.parametrize(
    ("sentence", "fields", "ignored"),
    [
        ("LiF in the NaCl structure", {"formula": "LiF"}, ("in the NaCl structure",)),
        ("optimise the LiF structure", {"formula": "LiF"}, ("optimise",)),
        ("AlAs, zinc blende", {"formula": "AlAs"}, ("zinc blende",)),
        ("cubic nickel arsenide type tellurides", {"crystal_system": "cubic", "contain": ("Te",)}, None),
        ("MnTe with the nickel arsenide structure", {"formula": "MnTe"}, None),
        ("CsCl type alloys of Cu and Zn", {"contain": ("Cu", "Zn")}, ("CsCl type", "alloys")),
    ],
)
def test_a_type_of_structure_names_no_elements_and_no_formula(sentence, fields, ignored):
    meaning = understand(sentence)
    assert meaning.fields == fields and meaning.ignored
    assert ignored is None or meaning.ignored == ignored


@pytest.mark.parametrize(
    ("sentence", "fields"),
    [
        ("-1.2 eV/atom formation energy", {"formation_energy": -1.2}),
        ("-3 to -1 eV/atom formation energy", {"formation_energy": -2.0}),
        ("a 3-4 eV band gap", {"band_gap": 3.5}),
        ("metastable, E hull of 0.03 eV/atom", {"e_above_hull": 0.03}),
        ("6 atoms or fewer", {"n_atoms": (1, 6)}),
        ("six or fewer atoms", {"n_atoms": (1, 6)}),
        ("6 atoms or more", {"n_atoms": (6, 20)}),
        ("space group P6_3mc (186)", {"space_group": "186"}),
        ("R-3c (no. 167) oxides", {"space_group": "167", "contain": ("O",)}),
        ("zirconium dioxide", {"contain": ("Zr", "O")}),
        ("tungsten disulfide and trioxide", {"contain": ("W", "S", "O")}),
        ("calcium hexaboride without tetrafluorides", {"contain": ("Ca", "B"), "exclude_elements": ("F",)}),
        ("7 disulfides", {"n": 7, "contain": ("S",)}),
        ("dichalcogenides of Mo", {"contain": ("Mo",), "any_of": (("S", "Se", "Te"),)}),
    ],
)
def test_further_ways_to_say_it(sentence, fields):
    meaning = understand(sentence)
    assert meaning.fields == fields and not meaning.ignored


def test_a_group_whose_number_is_another_one_is_refused():
    with pytest.raises(RequestError, match="two values of the space group"):
        understand("oxides in Fm-3m (221)")


@pytest.mark.parametrize(
    ("sentence", "n"),
    [
        ("8 cubic perovskites", 8),
        ("a dozen garnets", 12),
        ("two dozen spinels", 24),
        ("three hundred oxides", 300),
    ],
)
def test_numbers_before_structure_types_and_dozens_count_crystals(sentence: str, n: int) -> None:
    assert understand(sentence).fields["n"] == n


@pytest.mark.parametrize("formula", ["Nd2-xCexCuO4", "LiFe1-xMnxPO4", "YBa2Cu3O7-δ"])
def test_a_variable_composition_is_refused_by_its_name(formula: str) -> None:
    with pytest.raises(RequestError, match=f"'{formula}' leaves its composition open"):
        understand(f"4 stable crystals of {formula}")
