"""Verdicts on generated crystals: each with its reason, and no bolder than what is known."""

import pytest

from crystal_core.chemistry.formula import parse_formula
from crystal_core.evaluation.validity import is_charge_balanced
from crystal_core.files.records import cell_json
from crystal_core.reference.hull import measured_error
from pages._ui.run.verdicts import (
    charge_balance,
    is_credible,
    newness,
    stability,
    validity_reasons,
    verdicts,
)
from tests.pages.generation import ROCK_SALT


@pytest.mark.parametrize(
    ("of", "sentence"), [(["kldm-csp"], False), ([], False), (["other", "kldm-dng"], True)]
)
def test_seen_in_training_is_said_of_the_model_that_made_it(of, sentence):
    record = cell_json(ROCK_SALT) | {
        "validity": {"structure": True, "composition": True, "plausible": True},
        "provenance": {"model": "kldm-dng-mp"},
    }
    novelty = {"known": True, "nearest_id": "mp-1", "training_of": of}
    assert (
        any(
            "training set of this model" in verdict.reason
            for verdict in verdicts(record | {"novelty": novelty})
        )
        == sentence
    )


@pytest.mark.parametrize(("known", "named"), [(True, False), (False, True)])
def test_what_it_was_compared_with_is_said_of_what_matches_nothing(known, named):
    novelty = {"known": known, "nearest_id": "mp-1", "reference": "seven thousand crystals"}
    record = cell_json(ROCK_SALT) | {
        "validity": {"structure": True, "composition": True, "plausible": True},
        "provenance": {},
        "novelty": novelty,
    }
    reason = newness(record).reason
    assert "mp-1" in reason and ("seven thousand crystals" in reason) == named


@pytest.mark.parametrize(
    ("formula", "passes", "tone", "word", "reason"),
    [
        (
            "Fe3O4",
            False,
            "open",
            "mixed valence",
            "gives every element one oxidation state; it balances with mixed valence as Fe²⁺ 2 Fe³⁺ 4 O²⁻.",
        ),
        ("KO2", False, "open", "balances otherwise", "it balances with superoxide ions as K⁺ (O₂)⁻."),
        ("LaH10", False, "open", "not charge-balanced", "as in many hydrides of metals."),
        ("Na2Cl", False, "bad", "not charge-balanced", "leaves +1"),
        ("Li3FeO2", True, "open", "uncommon charges", "balances only with uncommon oxidation states."),
        ("LiFeO2", True, "good", "charge-balanced", "passes SMACT's test and balances as Li⁺ Fe³⁺ 2 O²⁻."),
        ("FeCo", True, "good", "charge-balanced", "no charges to balance"),
        ("Si2", True, "good", "charge-balanced", "no charges to balance"),
    ],
)
def test_the_verdict_on_charges_agrees_with_the_hint_of_the_formula(formula, passes, tone, word, reason):
    numbers = parse_formula(formula).atomic_numbers_of(2)
    counts = tuple(parse_formula(formula).unit)
    assert is_charge_balanced(counts) is passes  # as published
    record = {
        "atomic_numbers": numbers,
        "validity": {
            "structure": True,
            "composition": passes,
            "reasons": [] if passes else ["As told once."],
        },
    }
    verdict = charge_balance(record)
    assert (verdict.tone, verdict.word) == (tone, word) and reason in verdict.reason
    assert is_credible(record) == (tone != "bad") and validity_reasons(record) == (
        [] if passes else [verdict.reason]
    )


def test_verdicts_on_energies_are_no_bolder_than_their_error():
    sound = {"validity": {"structure": True, "composition": True, "plausible": True, "reasons": []}}

    def energies_at(above):
        return sound | {
            "energies": {
                "e_above_hull_ev": above,
                "e_above_hull_error_ev": 0.05,
                "decomposition": {"NaCl": 1.0},
                "note": "No reference.",
            }
        }

    def place(above):
        return stability(energies_at(above))

    bias = measured_error("chgnet")["bias_ev"]  # estimates of hypothetical crystals are too low on average
    levels = [-0.2, *(level + bias for level in (0.049, 0.051, 0.149, 0.151))]
    of_known = measured_error("chgnet")["sets"]["known"]["bias_ev"]
    assert (
        of_known > bias
        and stability(energies_at(0.049 + of_known) | {"novelty": {"known": True}}).tone == "good"
    )
    assert bias < 0 and [place(above).tone for above in levels] == ["good", "good", "open", "open", "bad"]
    assert (
        "0.04 too low" in place(0.1).reason
        and "± 0.050 eV/atom" in place(0.1).reason
        and "ML estimate" in place(0.1).reason
        and "stable" not in place(0.1).word
    )
    assert place(None).tone == "open" and place(None).reason == "No reference."
    assert stability(sound | {"relaxation": {"error": "Too dense."}}).reason == "Too dense."


def test_a_lower_form_of_the_same_formula_is_no_decomposition():
    def reason(formula, above, products):
        energies = {
            "e_above_hull_ev": above,
            "e_above_hull_error_ev": 0.048,
            "decomposition": products,
            "note": "",
        }
        return stability({"formula": formula, "energies": energies}).reason

    alike = reason("LiFeO2", 0.316, {"LiFeO2": 1.0})
    assert "+0.316 ± 0.048 eV/atom against a known form of this formula (ML estimate" in alike
    assert alike.endswith("that form is lower in energy.") and "decompose" not in alike
    assert "a known form of this formula" in reason("LiO", 0.05, {"Li2O2": 1.0})
    parts = reason("Li4Fe3O7", 0.4, {"LiFeO2": 0.6, "Li2FeO3": 0.4})
    assert "against 60 % LiFeO₂ + 40 % Li₂FeO₃" in parts and parts.endswith(
        "it is predicted to decompose into them."
    )
    assert "decompose" in reason("LiFeO2", 0.4, {"Fe": 1.0})


@pytest.mark.parametrize(
    ("formula", "nearest", "others"),
    [
        ("Li4Fe3O7", "Eu4O3F7", True),
        ("NaCl", "KCl", True),
        ("Fe", "Co", True),
        ("LiFeO2", "LiCoO2", False),
        ("Fe", "Fe", False),
    ],
)
def test_a_nearest_crystal_of_other_elements_is_called_that(formula, nearest, others):
    record = {
        "formula": formula,
        "validity": {"structure": True, "composition": True, "reasons": []},
        "provenance": {},
    }
    sentence = newness(
        record
        | {
            "novelty": {
                "known": False,
                "nearest_id": "mp-1",
                "nearest_formula": nearest,
                "reference": "a set",
            }
        }
    ).reason
    assert ("nearest arrangement, of other elements: mp-1 (" in sentence) == others and (
        "the nearest is mp-1 (" in sentence
    ) != others
