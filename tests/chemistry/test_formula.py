"""Formulas: what is understood, what is refused, and that nothing else ever happens."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Composition

from crystal_core.chemistry.formula import (
    atomic_number_of,
    default_z,
    parse_formula,
    rare_elements,
)
from crystal_core.chemistry.formula_text import formula_of
from crystal_core.errors import RequestError


@pytest.mark.parametrize(
    ("text", "unit", "n_atoms"),
    [
        ("TiO2", "TiO2", 3),
        ("Ti2O4", "TiO2", 3),
        ("Ca(OH)2", "CaO2H2", 5),
        ("CuSO4·5H2O", "CuSO9H10", 21),
        ("SrTiO₃", "SrTiO3", 5),
        (" Na Cl ", "NaCl", 2),
    ],
)
def test_formulas_are_read(text, unit, n_atoms):
    formula = parse_formula(text)
    assert (formula.reduced_formula, formula.n_atoms) == (unit, n_atoms)


def test_exact_cell_keeps_what_was_typed():
    assert parse_formula("Ti2O4").atomic_numbers_of(1, exact=True) == [8, 8, 8, 8, 22, 22]
    assert parse_formula("Ti2O4").atomic_numbers_of(1) == [8, 8, 22]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("NaCl2x", "unknown symbol"),
        ("Xx2O3", "Did you mean"),
        ("Li0.5CoO2", "Use LiCo2O4"),
        ("La0,75Sr0,25MnO3", "Use La3SrMn4O12"),
        ("Ti0.337O0.671", "Multiply it"),
        ("Na+", "neutral"),
        ("Ca(OH", "open bracket"),
        ("[TiO2)", "both alike"),
        ("Ca(OH]2", "both alike"),
        ("CaOH)", "never opened"),
        ("", "Type a formula"),
        ("Ti0", "no atoms"),
        ("Na0Cl", "no atoms of Na"),
        ("(TiO2)0", "no atoms"),
        ("NaCl·5", "one of its parts"),
        ("NaCl.", "one of its parts"),
        ("9" * 150 + "Na", "more than"),
        ("Na" + "9" * 150, "more than"),
        ("((((Na9)9)9)9)9", "more than"),
        ("Na1E10", "unknown symbol 'E'"),
        ("NaCl1e5", "unknown symbol 'e5'"),
        ("\u202eNaCl", r"unknown symbol '\?N'"),
        ("Ti\u200bO2", r"'Ti\?O2'"),
        ("C99999", "more than"),
        ("A" * 300, "longer"),
    ],
)
def test_refusals_say_what_is_wrong(text, part):
    with pytest.raises(RequestError, match=part):
        parse_formula(text)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("KBr 225", "is read as KBr225"),
        ("GaAs 2", "is read as GaAs2"),
        ("V205", "Was V2O5 meant, with the letter O"),
        ("Rb20", "Was Rb2O meant, with the letter O"),
        ("C60", ""),
        ("Li10GeP2S12", ""),
        ("BaFe12O20", ""),
    ],
)
def test_a_count_that_may_be_something_else_is_said(text, note):
    assert note in parse_formula(text).note and bool(note) == bool(parse_formula(text).note)


def test_default_z_comes_from_training_and_fits_the_model():
    assert 1 in default_z(parse_formula("SrTiO3"))
    for text in ("TiO2", "MgAl2O4", "LiFePO4", "CuSO4·5H2O"):
        formula = parse_formula(text)
        units = default_z(formula)
        assert 1 <= len(units) <= 3
        assert all(z * formula.n_atoms <= 20 for z in units) or units == (1,)


def test_elements_are_sought_in_the_small_cells_of_metals():
    assert default_z(parse_formula("Fe")) == default_z(parse_formula("Mg2")) == (1, 2, 4)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("LiFeP04", "was the letter O meant, as in LiFePO4?"),
        ("Hf02", "as in HfO2?"),
        ("Ca(0H)2", r"as in Ca\(OH\)2?"),
        ("Fe2(S04)3", r"as in Fe2\(SO4\)3?"),
        ("C0000001O00000002", "write counts without it"),
        ("Mg0", "or MgO if the letter O was meant"),
    ],
)
def test_a_zero_before_a_count_is_refused_as_a_letter(text, meant):
    with pytest.raises(RequestError, match=meant):
        parse_formula(text)


@pytest.mark.parametrize(
    "text", ["CuSO4.5H2O", "CuSO4 . 5 H2O", *(f"CuSO4{dot}5H2O" for dot in "·•∙⋅×*‧"), "CuSO4 × 5 H2O"]
)
def test_hydrates_may_have_the_dot_of_a_keyboard(text):
    assert parse_formula(text).unit == (("Cu", 1), ("S", 1), ("O", 9), ("H", 10))
    assert parse_formula("CuSO4.H2O").n_atoms == 9


@pytest.mark.parametrize(
    "text", ["Na0.5H2O", "CaSO4.0.5H2O", "CaSO4·0.5H2O", "Li0.5CoO2", "CuSO4.5H2O2", "CaSO4.5H2"]
)
def test_other_points_between_digits_are_decimal(text):
    with pytest.raises(RequestError, match="fractional"):
        parse_formula(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("TIO2", "TiO2"),
        ("srtio3", "SrTiO3"),
        ("nacl", "NaCl"),
        ("NACL", "NaCl"),
        ("lifepo4", "LiFePO4"),
        ("honi2", "HoNi2"),
        ("cshg", "CsHg"),
        ("cu2znsns4", "Cu2ZnSnS4"),
        ("ca(oh)2", "Ca(OH)2"),
        ("caso4.2h2o", "CaSO4·2H2O"),
        ("iron", "Fe"),
        ("Aluminium", "Al"),
    ],
)
def test_a_formula_in_the_wrong_case_is_spelt_out(text, meant):
    with pytest.raises(RequestError) as refusal:
        parse_formula(text)
    assert f"Did you mean {meant}?" in str(refusal.value)


@pytest.mark.parametrize("text", ["cosnos" * 6 + "xx", "cosnos" * 30, "Si04" * 40])
def test_a_long_mistake_is_answered_shortly_and_soon(text):
    began = time.process_time()
    with pytest.raises(RequestError) as refusal:
        parse_formula(text)
    assert len(str(refusal.value)) < 400 and time.process_time() - began < 5


@pytest.mark.parametrize(
    ("name", "symbol"),
    [("iron", "Fe"), ("FE", "Fe"), ("aluminum", "Al"), ("Caesium", "Cs"), ("Sodum", "Na"), ("tin", "Sn")],
)
def test_names_of_elements_are_understood_in_the_answer(name, symbol):
    with pytest.raises(RequestError) as refusal:
        atomic_number_of(name)
    assert f"Did you mean {symbol}?" in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        "LiFe2O2",
        "MgFe2O4",
        "ZnGa2O4",
        "BaFe2As2",
        "ThCr2Si2",
        "Ca(OH)2",
        "NaOH",
        "KNa255Cl256",
        "NH4Cl",
        "NH4NO3",
        "(NH4)2SO4",
        "NH4H2PO4",
        "KH2PO4",
        "NaHCO3",
        "Li3Fe2(PO4)3",
        "Pb3(PO4)2",
        "Na3V2(PO4)2F3",
        "Ca5(PO4)3Cl",
        "Ca5(PO4)3OH",
        "Cu2CO3(OH)2",
        "CaMg(CO3)2",
        "Ca3Al2(SiO4)3",
        "Al2SiO5",
        "BaB2O4",
        "Mg3(BO3)2",
        "Mg(ClO4)2",
        "K3Fe(CN)6",
        "Fe7(CN)18",
        "Mg(BH4)2",
        "LaHO",
        "SrLaTa2N2O4",
        "Pb3Cl2O2",
        "Na2He",
        "H2O",
    ],
)
def test_brackets_of_a_formula_hold_real_ions_alone(text):
    composition = Composition(text)
    assert formula_of(composition) == formula_of(composition * 2) == text


def test_fractions_are_shown_as_they_are():
    assert formula_of(Composition({"Fe": 0.6, "Ni": 0.4, "O": 1})) == "Fe0.6Ni0.4O"


PIECES = [
    "Na",
    "Cl",
    "Ti",
    "O",
    "Og",
    "Xx",
    "e",
    "E",
    "(",
    ")",
    "[",
    "]",
    "·",
    ".",
    "*",
    "0",
    "2",
    "١",
    "₂",
    "²",
    "½",
    "1e308",
    "9" * 40,
    "-",
    "+",
    "NaN",
    "inf",
    "\u202e",
    "\u200b",
    "\x00",
    "\n",
    "\ud800",
    "😀",
    "ﬁ",
    "Ⅳ",
    "<b>",
    "![x](y)",
    "%s",
    "{}",
    "\\",
    "'",
    '"',
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_hostile_formulas_end_in_a_formula_or_in_one_printable_sentence(text):
    began = time.process_time()
    try:
        formula = parse_formula(text)
    except RequestError as error:
        assert str(error).isprintable() and str(error).endswith((".", "?")) and len(str(error)) < 400
    else:
        assert formula.n_atoms >= 1 and formula.reduced_formula.isascii() and default_z(formula)
    assert time.process_time() - began < 10


@settings(max_examples=300, deadline=2000)
@given(st.text(max_size=60) | st.from_regex(r"[A-Z][a-z]?[0-9()·.\[\]A-Za-z]{0,30}", fullmatch=True))
def test_any_text_is_a_formula_or_a_sentence(text):
    try:
        formula = parse_formula(text)
    except RequestError as error:
        assert str(error).endswith((".", "?"))
    else:
        assert formula.n_atoms >= 1 and default_z(formula)


def test_elements_rare_in_training_are_named():
    assert rare_elements(parse_formula("TiO2")) == {}
    assert set(rare_elements(parse_formula("XeF2"))) == {"Xe"}
    assert rare_elements(parse_formula("RnO")) == {"Rn": 0}


def test_deuterium_is_weighed_as_such_and_computed_as_hydrogen():
    heavy, light = parse_formula("D2O"), parse_formula("H2O")
    assert heavy.unit == light.unit and heavy.molar_mass == pytest.approx(20.027, abs=2e-3)
    assert "deuterium" in heavy.note and not light.note
    assert dict(parse_formula("HDO").counts) == {"H": 2, "O": 1}


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("SIO2", "SiO2"),
        ("CO2O3", "Co2O3"),
        ("NIO(OH)", "NiO(OH)"),
        ("CSPBI3", "CsPbI3"),
        ("PBO2", "PbO2"),
        ("CUO", "CuO"),
        ("KNBO3", "KNbO3"),
        ("BIF3", "BiF3"),
    ],
)
def test_capitals_that_spell_another_compound_are_asked_about_and_not_changed(text, meant):
    formula = parse_formula(text)
    assert formula.note.startswith(f"'{text}' is read as ") and f"Was {meant} meant?" in formula.note
    assert formula.counts != parse_formula(meant).counts and not parse_formula(meant).note


@pytest.mark.parametrize(
    "text",
    [
        *("CO", "CO2", "CS2", "HF", "BN", "B4C", "B2O3", "SO2", "NH3", "NH4NO3", "C2H5OH", "PF5", "HI3"),
        *("KNO3", "KIO3", "KHCO3", "K2CO3", "KSCN", "KCN", "YVO4", "YBO3", "UO2", "UO2F2", "VOSO4", "WS2"),
    ],
)
def test_compounds_of_one_letter_elements_have_no_remark(text):
    assert parse_formula(text).note == ""


@pytest.mark.parametrize(
    "typed", ["CoCl2,6H2O", "CoCl2 , 6 H2O", "CoCl2，6H2O", "CoCl2、6H2O", "CoCl2．6H2O"]
)
def test_a_comma_before_water_is_the_dot_of_a_hydrate(typed: str) -> None:
    formula = parse_formula(typed)
    assert dict(formula.counts) == {"Co": 1, "Cl": 2, "H": 12, "O": 6}
    assert "is read as CoCl2·6H2O" in formula.note


def test_a_decimal_comma_before_water_stays_a_fraction() -> None:
    with pytest.raises(RequestError, match="fractional counts"):
        parse_formula("Na0,5H2O")
