"""Charge balance in words: the ions a chemist expects, and a hint where none balance."""

import time

import pytest

from crystal_core.chemistry.charges import balance_of
from crystal_core.chemistry.formula import parse_formula


def test_charge_balance_in_words():
    assert parse_formula("TiO2").hint == "charge-balanced as Ti4+ 2 O2−"
    assert parse_formula("Mg3Sb2").hint == "charge-balanced as 3 Mg2+ 2 Sb3−"
    assert "leaves" in parse_formula("NaO5").hint and "leaves" in parse_formula("NaCl3").hint
    assert parse_formula("TiO2").molar_mass == pytest.approx(79.866, abs=0.01)


@pytest.mark.parametrize(
    ("text", "ions"),
    [
        ("LaMnO3", "La3+ Mn3+ 3 O2−"),
        ("LaTiO3", "La3+ Ti3+ 3 O2−"),
        ("VO2", "V4+ 2 O2−"),
        ("Cu2O", "2 Cu+ O2−"),
        ("LiNiO2", "Li+ Ni3+ 2 O2−"),
        ("UO2", "U4+ 2 O2−"),
        ("SnS", "Sn2+ S2−"),
        ("PbTe", "Pb2+ Te2−"),
        ("WTe2", "W4+ 2 Te2−"),
        ("LiBH4", "Li+ B3+ 4 H−"),
    ],
)
def test_metals_take_the_states_they_have_in_crystals(text, ions):
    assert parse_formula(text).hint == f"charge-balanced as {ions}"


@pytest.mark.parametrize(
    ("text", "ions"),
    [
        ("Cu2ZnSnS4", "2 Cu+ Zn2+ Sn4+ 4 S2−"),
        ("Cu2ZnSnSe4", "2 Cu+ Zn2+ Sn4+ 4 Se2−"),
        ("Cu2SnS3", "2 Cu+ Sn4+ 3 S2−"),
        ("CuFeO2", "Cu+ Fe3+ 2 O2−"),
        ("CuFeS2", "Cu+ Fe3+ 2 S2−"),
        ("CuSCN", "Cu+ S2− C4+ N3−"),
        ("CuO", "Cu2+ O2−"),
        ("Cu2O", "2 Cu+ O2−"),
        ("CuAl2O4", "Cu2+ 2 Al3+ 4 O2−"),
        ("CuSO4", "Cu2+ S6+ 4 O2−"),
        ("Cu2OSeO3", "2 Cu2+ 4 O2− Se4+"),
        ("CuInSe2", "Cu+ In3+ 2 Se2−"),
    ],
)
def test_copper_is_common_with_one_charge_as_with_two(text, ions):
    assert parse_formula(text).hint == f"charge-balanced as {ions}"


@pytest.mark.parametrize(
    ("text", "ions"),
    [
        ("NaCl", "Na+ Cl−"),
        ("MgO", "Mg2+ O2−"),
        ("Al2O3", "2 Al3+ 3 O2−"),
        ("SiO2", "Si4+ 2 O2−"),
        ("ZnS", "Zn2+ S2−"),
        ("GaAs", "Ga3+ As3−"),
        ("GaN", "Ga3+ N3−"),
        ("CdTe", "Cd2+ Te2−"),
        ("CsPbI3", "Cs+ Pb2+ 3 I−"),
        ("BaTiO3", "Ba2+ Ti4+ 3 O2−"),
        ("LiFePO4", "Li+ Fe2+ P5+ 4 O2−"),
        ("LiCoO2", "Li+ Co3+ 2 O2−"),
        ("MgAl2O4", "Mg2+ 2 Al3+ 4 O2−"),
        ("CaCO3", "Ca2+ C4+ 3 O2−"),
        ("BaSO4", "Ba2+ S6+ 4 O2−"),
        ("Fe2O3", "2 Fe3+ 3 O2−"),
        ("FeO", "Fe2+ O2−"),
        ("NiO", "Ni2+ O2−"),
        ("MoS2", "Mo4+ 2 S2−"),
        ("Bi2Te3", "2 Bi3+ 3 Te2−"),
        ("SnO2", "Sn4+ 2 O2−"),
        ("PbS", "Pb2+ S2−"),
        ("HgS", "Hg2+ S2−"),
        ("Ag2S", "2 Ag+ S2−"),
        ("CaF2", "Ca2+ 2 F−"),
        ("Na3AlF6", "3 Na+ Al3+ 6 F−"),
        ("KMnO4", "K+ Mn7+ 4 O2−"),
        ("K2Cr2O7", "2 K+ 2 Cr6+ 7 O2−"),
        ("La2CuO4", "2 La3+ Cu2+ 4 O2−"),
        ("CuS", "Cu2+ S2−"),
        ("Cu2S", "2 Cu+ S2−"),
        ("CuCl2", "Cu2+ 2 Cl−"),
        ("CuWO4", "Cu2+ W6+ 4 O2−"),
        ("CuFe2O4", "Cu2+ 2 Fe3+ 4 O2−"),
        ("CuCr2S4", "Cu2+ 2 Cr3+ 4 S2−"),
        ("CuTe2O5", "Cu2+ 2 Te4+ 5 O2−"),
        ("CaCu3Ti4O12", "Ca2+ 3 Cu2+ 4 Ti4+ 12 O2−"),
        ("HgBa2CuO4", "Hg2+ 2 Ba2+ Cu2+ 4 O2−"),
        ("MnWO4", "Mn2+ W6+ 4 O2−"),
        ("MnFe2O4", "Mn2+ 2 Fe3+ 4 O2−"),
        ("SnWO4", "Sn2+ W6+ 4 O2−"),
        ("PbMoO4", "Pb2+ Mo6+ 4 O2−"),
    ],
)
def test_common_compounds_hold_the_ions_of_the_textbook(text, ions):
    assert parse_formula(text).hint == f"charge-balanced as {ions}"


def test_the_order_of_the_elements_changes_no_charge():
    assert parse_formula("S4SnZnCu2").hint == "charge-balanced as 4 S2− Sn4+ Zn2+ 2 Cu+"
    assert (
        parse_formula("SnPbS3").hint == "charge-balanced as Sn4+ Pb2+ 3 S2−"
        and parse_formula("WO4Sn").hint == "charge-balanced as W6+ 4 O2− Sn2+"
    )
    balance = balance_of((("O", 8), ("Fe", 6)))
    assert balance.words() == "with mixed valence as Fe2+ 2 Fe3+ 4 O2−" and balance.ions == (
        ("Fe", 2, 1),
        ("Fe", 3, 2),
        ("O", -2, 4),
    )
    assert (
        balance_of((("Fe", 1),))
        is balance_of((("Fe", 1), ("Co", 1)))
        is balance_of((("Na", 2), ("Cl", 1)))
        is balance_of((("D", 2), ("O", 1)))
        is None
    )


def test_pairs_of_anions_are_named():
    assert parse_formula("FeS2").hint == "charge-balanced with S–S pairs as Fe2+ 2 S−"
    assert parse_formula("BaO2").hint == "charge-balanced with O–O pairs as Ba2+ 2 O−"
    assert parse_formula("TiS2").hint == "charge-balanced as Ti4+ 2 S2−"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("KO2", "superoxide ions as K+ (O2)−"),
        ("RbO3", "ozonide ions as Rb+ (O3)−"),
        ("NaN3", "azide ions as Na+ (N3)−"),
        ("Pb(N3)2", "azide ions as Pb2+ 2 (N3)−"),
        ("CsI3", "triiodide ions as Cs+ (I3)−"),
    ],
)
def test_ions_of_like_atoms_are_named(text, words):
    assert parse_formula(text).hint == f"charge-balanced with {words}"


@pytest.mark.parametrize(
    ("text", "ions"),
    [
        ("OsO4", "Os8+ 4 O2−"),
        ("RuO4", "Ru8+ 4 O2−"),
        ("AuCl", "Au+ Cl−"),
        ("AuI", "Au+ I−"),
        ("AuCl3", "Au3+ 3 Cl−"),
        ("GaCl", "Ga+ Cl−"),
        ("SiO", "Si2+ O2−"),
        ("NpO2", "Np4+ 2 O2−"),
        ("NH4ClO4", "N3− 4 H+ Cl7+ 4 O2−"),
        ("Na3V2(PO4)2F3", "3 Na+ 2 V3+ 2 P5+ 8 O2− 3 F−"),
        ("SnPS3", "Sn2+ P4+ 3 S2−"),
    ],
)
def test_rare_states_are_known_where_they_occur(text, ions):
    assert parse_formula(text).hint == f"charge-balanced as {ions}"


@pytest.mark.parametrize(
    ("text", "ions"),
    [
        ("KCN", "K+ (CN)−"),
        ("CuCN", "Cu+ (CN)−"),
        ("K3Fe(CN)6", "3 K+ Fe3+ 6 (CN)−"),
        ("KAu(CN)2", "K+ Au+ 2 (CN)−"),
        ("K4Fe(CN)6·3H2O", "4 K+ Fe2+ 6 H+ 3 O2− 6 (CN)−"),
    ],
)
def test_cyanide_is_one_ion(text, ions):
    assert parse_formula(text).hint == f"charge-balanced with cyanide ions as {ions}"


@pytest.mark.parametrize(
    "text", ["MgB2", "CaB6", "Fe3C", "FeSi2", "NaSi", "K4P6", "Ag2F", "Rb9O2", "P4S3", "TiO5", "MgO3"]
)
def test_where_no_oxidation_states_balance_it_is_a_hint_and_no_alarm(text):
    hint = parse_formula(text).hint
    assert (
        hint.startswith("no common oxidation states balance")
        and ", as in " in hint
        and "not charge-balanced" not in hint
    )
    assert ("boride" in hint) == ("B" in text) and ("bonds" not in hint or "there may be bonds" in hint)


def test_many_elements_of_many_states_are_answered_at_once():
    began = time.monotonic()
    assert "charge-balanced" in parse_formula("MnFeCNSClCrOs").hint
    assert time.monotonic() - began < 10


def test_a_neutral_atom_has_a_zero_and_no_sign():
    assert parse_formula("CH2F2").hint == "charge-balanced as C0 2 H+ 2 F−"


def test_alloys_have_no_charges_to_balance():
    assert parse_formula("Ni3Al").hint == parse_formula("FeCo").hint == "an alloy: no charges to balance"


@pytest.mark.parametrize(
    ("text", "ions"),
    [
        ("Fe3O4", "Fe2+ 2 Fe3+ 4 O2−"),
        ("Mn3O4", "Mn2+ 2 Mn3+ 4 O2−"),
        ("Pb3O4", "2 Pb2+ Pb4+ 4 O2−"),
        ("Bi3P2O10", "5 Bi3+ Bi5+ 4 P5+ 20 O2−"),
        ("LiMn2O4", "Li+ Mn3+ Mn4+ 4 O2−"),
        ("Ti4O7", "2 Ti3+ 2 Ti4+ 7 O2−"),
        ("YBa2Cu3O7", "Y3+ 2 Ba2+ 2 Cu2+ Cu3+ 7 O2−"),
        ("Sb2O4", "Sb3+ Sb5+ 4 O2−"),
        ("La3Ni2O7", "3 La3+ Ni2+ Ni3+ 7 O2−"),
        ("BaBiO3", "2 Ba2+ Bi3+ Bi5+ 6 O2−"),
        ("Sn2S3", "Sn2+ Sn4+ 3 S2−"),
        ("TlSe", "Tl+ Tl3+ 2 Se2−"),
        ("NaV2O5", "Na+ V4+ V5+ 5 O2−"),
        ("CsAuCl3", "2 Cs+ Au+ Au3+ 6 Cl−"),
        ("Fe4[Fe(CN)6]3", "3 Fe2+ 4 Fe3+ 18 (CN)−"),
        ("NH4NO3", "N3− N5+ 4 H+ 3 O2−"),
    ],
)
def test_two_valences_of_one_metal_may_balance(text, ions):
    assert parse_formula(text).hint == f"charge-balanced with mixed valence as {ions}"
