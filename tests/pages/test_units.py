"""The formula units of the Predict structure page: which will run, which are left out, and what comes of
cells beyond a model's training.
"""

import pytest

from crystal_core.jobs.queue import JobQueue
from crystal_core.registry.store import find_card, list_cards
from crystal_core.requests import StructurePredictionRequest
from crystal_core.workflows.predict_structure import load_structure_generator, run
from tests.pages.opening import run_page, words

MODEL = "kldm-csp-mp"
pytestmark = [
    pytest.mark.usefixtures("no_worker"),
    pytest.mark.skipif(
        all(card.name != MODEL for card in list_cards("generator")), reason=f"{MODEL} is not installed"
    ),
]


def page(formula):
    return run_page("predict_structure", formula=formula)


def test_a_cell_beyond_the_training_is_a_guess_and_one_beyond_all_models_cannot_be_asked_for():
    at = page("Cu2ZnSnS4")
    assert (
        at.button_group(key="z-Cu2ZnSnS4").value == [1, 2]
        and not at.warning
        and not at.button(key="predict").disabled
    )
    at.button_group(key="z-Cu2ZnSnS4").set_value([2, 4]).run()
    assert (
        "was trained on cells of up to 20 atoms. Larger ones (32 atoms for Z = 4) "
        "take longer and are a guess." in words(at.warning)
    )
    assert not at.button(key="predict").disabled and "left out" not in words(at.caption)
    at.button_group(key="z-Cu2ZnSnS4").set_value([8]).run()
    assert (
        "Z = 8 makes a cell of 64 atoms; the models end at 60" in words(at.warning)
        and at.button(key="predict").disabled
    )
    at.selectbox(key="model").set_value("kldm-csp-perov5").run()
    assert (
        "No number of formula units of Cu2ZnSnS4 fits kldm-csp-perov5" in words(at.warning)
        and at.button(key="predict").disabled
    )
    assert not at.exception and not at.error


def test_what_is_left_out_for_its_size_is_said():
    note = "Larger cells, of Z above 2, are left out: kldm-csp-mp was trained on at most 20 atoms."
    at = page("LiFePO4")
    assert at.button_group(key="z-LiFePO4").value == [1, 2] and note in words(at.caption) and not at.warning
    at.text_input(key="formula").set_value("SrTiO3").run()
    assert "left out" not in words(at.caption) and not at.exception


def test_elements_that_the_model_does_not_know_are_refused_in_the_form_and_a_model_of_its_list_is_named():
    at = page("CsPbI3")
    at.selectbox(key="model").set_value("kldm-csp-perov5").run()
    assert "kldm-csp-perov5 was not trained on I, so it cannot place it; choose kldm-csp-mp." in words(
        at.warning
    )
    assert at.button(key="predict").disabled and "prototype'" not in words(at.warning)
    at.selectbox(key="model").set_value(MODEL).run()
    assert not at.warning and not at.button(key="predict").disabled
    at.text_input(key="formula").set_value("Po").run()
    assert (
        "was not trained on Po, so it cannot place it; no other model in the list can make this cell either."
        in words(at.warning)
    )
    assert at.button(key="predict").disabled and "Rare" not in words(at.warning) and not at.exception
    at.text_input(key="formula").set_value("TiO2").run()
    at.toggle(key="several").set_value(True).run()
    at.text_area(key="formulas").set_value("PoO2, MgO").run()
    assert "PoO2: kldm-csp-mp was not trained on Po" in words(at.warning)
    at.button(key="predict").click().run()
    assert [job.request["formula"] for job in JobQueue().list_jobs()] == ["MgO"] and not at.exception


def test_a_multiple_of_a_formula_is_asked_about():
    at = page("Ti2O4")
    assert "Ti₂O₄ is 2 × TiO₂, and Z counts TiO₂; for exactly these 6 atoms switch on “Exact cell”." in words(
        at.info
    )
    at.toggle(key="exact").set_value(True).run()
    assert "Z counts" not in words(at.info)
    at.toggle(key="exact").set_value(False).run()
    at.text_input(key="formula").set_value("C60").run()
    assert "C₆₀ is 60 × C, and Z counts C; for exactly these 60 atoms" in words(at.info)
    at.text_input(key="formula").set_value("TiO2").run()
    assert "Z counts" not in words(at.info)
    at.toggle(key="several").set_value(True).run()
    at.text_area(key="formulas").set_value("Ti2O4, MgO, Li2O2").run()
    assert (
        "Ti₂O₄ is 2 × TiO₂, Li₂O₂ is 2 × LiO, and Z counts the smaller unit; for exactly the atoms typed"
        in words(at.info)
    )
    at.toggle(key="exact").set_value(True).run()
    assert "Z counts" not in words(at.info) and not at.exception and not at.error


def test_without_a_choice_it_is_said_which_will_run():
    at = page("TiO2")
    usual = at.button_group(key="z-TiO2").value
    assert "None chosen" not in words(at.caption)
    at.button_group(key="z-TiO2").set_value([]).run()
    assert f"None chosen: Z = {', '.join(map(str, usual))} will run" in words(at.caption)
    at.button(key="predict").click().run()
    assert JobQueue().list_jobs()[0].request["z"] is None and not at.exception


def test_an_exact_cell_has_no_formula_units_to_choose():
    at = page("Ti2O4")
    at.toggle(key="exact").set_value(True).run()
    assert not [group for group in at.button_group if str(group.key).startswith("z-")] and not at.warning
    at.text_input(key="formula").set_value("Ti8O16").run()
    assert "Larger ones (24 atoms) take longer" in words(at.warning)
    at.text_input(key="formula").set_value("Ti24O48").run()
    assert "The formula makes a cell of 72 atoms" in words(at.warning) and at.button(key="predict").disabled
    at.toggle(key="exact").set_value(False).run()
    assert at.button_group(key="z-TiO2").value and not at.button(key="predict").disabled and not at.exception


def test_of_several_formulas_those_that_can_run_do():
    at = page("TiO2")
    at.toggle(key="several").set_value(True).run()
    at.text_area(key="formulas").set_value("Ti24O48, Ti8O16, MgO").run()
    assert (
        "with the numbers of formula units most frequent in training" in words(at.caption) and not at.warning
    )
    at.toggle(key="exact").set_value(True).run()
    assert "each as the exact cell" in words(at.caption)
    assert "Ti24O48: The formula makes a cell of 72 atoms" in words(
        at.warning
    ) and "Ti8O16: kldm-csp-mp was trained" in words(at.warning)
    at.button(key="predict").click().run()
    assert (
        sorted(job.request["formula"] for job in JobQueue().list_jobs()) == ["MgO", "Ti8O16"]
        and not at.exception
        and not at.error
    )


@pytest.mark.weights
def test_the_page_knows_the_size_that_the_loaded_model_knows():
    model = load_structure_generator(MODEL, "cpu")
    assert find_card(MODEL).most_atoms == model.card.most_atoms == model.codec.most_atoms == 20
    assert find_card("kldm-csp-perov5").most_atoms == 5 and find_card("prototype").most_atoms is None
    with pytest.raises(Exception, match="Z = 8 makes a cell of 64 atoms"):
        next(run(StructurePredictionRequest(formula="Cu2ZnSnS4", z=(8,), model=MODEL)))
