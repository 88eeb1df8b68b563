"""Formulas as people type and print them: markup is read through, what names no composition is said."""

import pytest

from crystal_core.chemistry.formula import (
    parse_formula,
)
from crystal_core.errors import RequestError


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("Cr(III)2O3", "oxidation states in brackets.* Leave them out: Cr2O3"),
        ("Pb(IV)O2", "Leave them out: PbO2"),
        ("Ag(I)2S", "Leave them out: Ag2S"),
        ("Cr2(III)O3", "oxidation states in brackets.* Leave them out: Cr2O3"),
        ("chromium(III) oxide", "Write the formula, e.g. Fe2O3"),
        ("15R SiC", r"polytype \(15R\). Write the formula alone: SiC"),
        ("4H ZnS", r"polytype \(4H\). Write the formula alone: ZnS"),
        ("ZnS-2H", r"polytype \(2H\). Write the formula alone: ZnS"),
        ("1T′-WTe2", r"polytype \(1T′\). Write the formula alone: WTe2"),
        ("NiSO4 hexahydrate", r"hydrate. Write its water: NiSO4·6H2O"),
        ("LiClO4 monohydrate", r"hydrate. Write its water: LiClO4·H2O"),
        ("FePO4 hydrate", r"hydrate. Write its water, e.g. FePO4·2H2O"),
        ("Ga-doped ZnO", "names a dopant"),
        ("mp-2534", "entry of a database"),
        ("θ-Al2O3", r"polymorph \(θ\). Write the formula alone: Al2O3"),
        ("c–BN", "the formula alone: BN"),
        ("Zn1-xMgxO", "leaves its composition open"),
        ("NaxWO3", "leaves its composition open"),
        ("CeO2−δ", "leaves its composition open"),
        ("SrFeO3-d", "leaves its composition open"),
        ("SrFeO3-delta", "leaves its composition open"),
        ("MnO2·nH2O", "leaves its composition open"),
        ("(Mg,Fe)2SiO4", "several elements for one site"),
        ("KNbO3-BaTiO3", "joins several substances"),
        ("LiF + NaF", "joins several substances"),
        ("ZnS:Mn", "joins several substances"),
        ("K+Cl−", "carries a charge"),
        ("CO3^2-", "carries a charge"),
        ("Al3+2O3", "carries a charge"),
        ("CuIIO", "gives oxidation states, which also read as iodine.* Leave them out: CuO"),
        ("FeIII2O3", "Leave them out: Fe2O3"),
        ("MnIVO2", "Leave them out: MnO2"),
        ("Al2O3-alpha", r"polymorph \(alpha\). Write the formula alone: Al2O3"),
        ("ZnS (wurtzite)", r"polymorph \(wurtzite\). Write the formula alone: ZnS"),
        ("CaCO3 aragonite", "Write the formula alone: CaCO3"),
        ("Sn β", "Write the formula alone: Sn"),
        ("BaTiO3 P4mm", r"space group \(P4mm\). Write the formula alone: BaTiO3"),
        ("ZrO2 P21/c", r"space group \(P21/c\)"),
        ("FeS2 (Pa-3)", r"space group \(Pa-3\)"),
        ("MgSO4+7H2O", "Write MgSO4·7H2O"),
        ("CaO, MgO", "joins several substances"),
        ("LiT", "names tritium"),
        ("Nb60Ti40 at%", "gives percentages"),
        ("55 % Nb 45 % Ti", "gives percentages"),
        ("Zr3 wt.", "gives percentages"),
        ("D2 17O", r"isotope \(17O\), which models do not tell apart. Write O alone"),
        ("6Li2·17O", r"isotope \(6Li\)"),
        ("[15N]H4Cl", r"isotope \(15N\)"),
        ("^{57}FeO", r"isotope \(57Fe\)"),
        ("¹¹B2O3", r"isotope \(¹¹B\)"),
        ("Pu-239", r"isotope \(239Pu\)"),
        ("NH3(g)", r"state of matter \(g\). Write the formula alone: NH3"),
        ("PbI2 (aq)", r"state of matter \(aq\). Write the formula alone: PbI2"),
        ("Li2□TiO4", "vacancy. Leave it out: Li2TiO4"),
        ("WO³", "has a superscript"),
        ("Ag₂O⁺", "carries a charge"),
        ("MgAl2O4+ZnFe2O4", "joins several substances"),
        ("Ni^{II}O", "Leave them out: NiO"),
        ("Co^(II)3O4", "Leave them out: Co3O4"),
        ("WO₃₋ₓ", "leaves its composition open"),
    ],
)
def test_what_names_no_single_composition_is_told_apart(text, part):
    with pytest.raises(RequestError, match=part):
        parse_formula(text)


@pytest.mark.parametrize(
    "text", ["Dy2O3", "Pb(IO3)2", "V(CO)6", "InI", "Mg(VO3)2", "K2[PtCl6]", "HI3", "PtWMo"]
)
def test_a_formula_with_similar_letters_has_no_remark(text):
    assert parse_formula(text).note == ""


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("15NH4Br", "'15NH4Br' is read as 15 times NH4Br. If 15N is meant as an isotope, write NH4Br:"),
        ("57Fe", "'57Fe' is read as 57 times Fe. If 57Fe is meant as an isotope, write Fe:"),
        ("Pu239", "'Pu239' is read as 239 atoms of Pu. If 239Pu is meant as an isotope, write Pu:"),
        ("C13O2", "If 13C is meant as an isotope, write CO2:"),
        ("Th232O2", "If 232Th is meant as an isotope, write ThO2:"),
        ("Li6H", "If 6Li is meant as an isotope, write LiH:"),
        ("40KCl", "'40KCl' is read as 40 times KCl. If 40K is meant as an isotope, write KCl:"),
    ],
)
def test_a_mass_number_that_reads_as_a_count_is_asked_about(text, part):
    note = parse_formula(text).note
    assert part in note and "?" not in note, "one question alone"


@pytest.mark.parametrize(
    "text",
    [
        "2H2O",
        "4NaCl",
        "12MgO",
        "C70",
        "B12",
        "Si136",
        "Sm2Co17",
        "Na22Ba14",
        "12CaO·7Al2O3",
        "Y2Fe17N3",
        "YB12",
        "LiC12",
        "H3S",
        "KH3",
        "K2PrN5O17",
        "LiB13C2",
    ],
)
def test_a_count_that_is_no_mass_number_has_no_remark(text):
    assert not parse_formula(text).note


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("Na.7CoO2", "Write Na0.7CoO2 for a fraction, or Na·7CoO2 for two parts"),
        ("BaO.6Fe2O3", "or BaO·6Fe2O3 for two parts"),
        ("CaSO4·½H2O", "fractional counts.* Use Ca2S2O9H2"),
        ("ZnSO4·1½H2O", "Use Zn2S2O11H6"),
        ("ZnSO4·1.5H2O", "Use Zn2S2O11H6"),
        ("Sr1/4Ba3/4TiO3", "Use SrBa3Ti4O12"),
        ("La2/3Cu3Ti4O12", "Use La2Cu9Ti12O36"),
        ("2.5CaO·SiO2", "Use Ca5O9Si2"),
    ],
)
def test_a_fraction_is_no_count_and_no_part(text, part):
    with pytest.raises(RequestError, match=part):
        parse_formula(text)


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("YMnO3.00", "YMnO3"),
        ("K1.0F1.0", "KF"),
        ("Y1,0V1,0O4", "YVO4"),
        ('"SnO2"', "SnO2"),
        ("‘SnO₂’", "SnO2"),
        ("SnO<sub>2</sub>", "SnO2"),
        (r"$\mathrm{SnO_2}$", "SnO2"),
        (r"\ce{SnO2}", "SnO2"),
        (r"$\mathrm{Al}_{2}\mathrm{O}_{3}$", "Al2O3"),
        ("{[Ni(NH3)6]}Cl2", "NiN6H18Cl2"),
        ("3CaO.Al2O3", "Ca3O6Al2"),
    ],
)
def test_typeset_and_printed_formulas_are_read(text, unit):
    assert parse_formula(text).reduced_formula == unit and not parse_formula(text).note


@pytest.mark.parametrize(
    ("text", "formula"),
    [
        ("Fe_2O_3", "Fe2O3"),
        ("Ca$_{3}$(PO$_4$)$_2$", "Ca3P2O8"),
        ("CsVI3", "CsVI3"),
        ("InI", "InI"),
        ("Zn Cd", "ZnCd"),
        ("O3 Am2", "O3Am2"),
    ],
)
def test_subscripts_of_latex_and_rare_symbols_are_read(text, formula):
    assert parse_formula(text).reduced_formula == formula


def test_a_subscript_follows_a_symbol_and_no_count():
    """CuSO4_5H2O holds five waters: neither 45 oxygens nor six."""
    with pytest.raises(RequestError, match="unknown symbol"):
        parse_formula("CuSO4_5H2O")
