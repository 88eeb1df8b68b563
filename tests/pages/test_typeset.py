"""Formulas and space groups as they are printed."""

from pages._ui.crystal.typeset import charge_text, formula_text, group_text


def test_counts_are_lowered_and_nothing_else():
    assert (
        formula_text("TiO2") == "TiO₂"
        and formula_text("Ca3(PO4)2") == "Ca₃(PO₄)₂"
        and formula_text("CuSO4·5H2O") == "CuSO₄·5H₂O"
    )
    assert formula_text("Sr0.3La0.7MnO3") == "Sr₀.₃La₀.₇MnO₃"
    assert formula_text("Li10GeP2S12") == "Li₁₀GeP₂S₁₂" and formula_text("![x](3)") == "![x](3)"


def test_charges_are_raised_and_counts_before_an_ion_stay():
    assert (
        charge_text("charge-balanced as Ti4+ 2 O2−") == "charge-balanced as Ti⁴⁺ 2 O²⁻"
        and charge_text("Na+ Cl−") == "Na⁺ Cl⁻"
    )
    assert charge_text("as Pb2+ 2 (N3)− (the best leaves -1)") == "as Pb²⁺ 2 (N₃)⁻ (the best leaves -1)"


def test_screw_axes_are_lowered_and_other_axes_stay():
    assert group_text("P4_2/mnm") == "P4₂/mnm" and group_text("P2_12_12_1") == "P2₁2₁2₁"
    assert group_text("Fm-3m") == "Fm-3m" and group_text("I4/mmm") == "I4/mmm" and group_text("P1") == "P1"
