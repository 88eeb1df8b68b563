"""The fields of both generating pages for a language model and what refines its drafts."""

import shutil

import pytest

from crystal_core.cards import read_card, write_card
from crystal_core.jobs.queue import JobQueue
from crystal_core.registry.store import find_card
from crystal_core.requests import CrystalGenerationRequest, StructurePredictionRequest, to_json
from pages._ui.run.calls import as_command
from tests.pages.generation import page
from tests.pages.opening import run_page, words

pytestmark = pytest.mark.usefixtures("no_worker")
LANGUAGE_MODEL, REWRITES, OWN = "draft-back-end", "draft-rewrites", "the model's own"


@pytest.fixture
def shipped_writer(tmp_path):
    """Installs a language model under the name by which it writes for others, "tiny"."""

    def install(writer):
        folder = tmp_path / "checkpoints" / "crysllmgen-tiny"
        shutil.copytree(tmp_path / "checkpoints" / writer, folder)
        text = (folder / "card.toml").read_text(encoding="utf-8")
        (folder / "card.toml").write_text(text.replace(f'"{writer}"', '"crysllmgen-tiny"'), encoding="utf-8")
        assert read_card(folder).name == "crysllmgen-tiny"

    return install


def keys_of(at):
    """The keys of the fields shown, without the number of times that they were filled anew."""
    return {str(field.key).split("~")[0] for field in (*at.selectbox, *at.number_input)}


def field_of(fields, key):
    return next(field for field in fields if str(field.key).split("~")[0] == key)


def test_the_language_models_that_are_installed_are_offered_and_the_others_say_how_to_install_them(
    tiny_pair, shipped_writer
):
    name = tiny_pair()
    at = page(fork=JobQueue().submit("generate", to_json(CrystalGenerationRequest(n=2, model=name))))
    choice = field_of(at.selectbox, LANGUAGE_MODEL)
    assert choice.options == [OWN] and "The back end tiny needs the checkpoint" in choice.help
    shipped_writer("tiny-writer")
    at.run()
    choice = field_of(at.selectbox, LANGUAGE_MODEL)
    assert choice.options == [OWN, "tiny"] and "The back end tiny" not in choice.help
    assert "The back end smollm2 needs the checkpoint" in choice.help
    assert REWRITES not in keys_of(at), "a draft can miss nothing of this request"
    choice.set_value("tiny").run()
    at.number_input(key="make-gap").set_value(2.0).run()
    field_of(at.number_input, REWRITES).set_value(21).run()
    assert "rewrites must" in words(at.error)
    field_of(at.number_input, REWRITES).set_value(1).run()
    at.button(key="generate").click().run()
    sent = JobQueue().list_jobs()[0]
    assert (sent.request["back_end"], sent.request["rewrites"]) == ("tiny", 1) and not at.exception
    assert "--back-end tiny" in as_command(sent) and "--rewrites 1" in as_command(sent)


@pytest.mark.parametrize("link", ["fork", "job"])
def test_a_run_fills_language_model_and_rewrites_which_go_with_its_conditions(
    tiny_writer, shipped_writer, link
):
    name = tiny_writer()
    shipped_writer(name)
    request = CrystalGenerationRequest(n=2, model=name, back_end="tiny", band_gap=2.0, rewrites=0)
    at = page(**{link: JobQueue().submit("generate", to_json(request))})
    assert field_of(at.selectbox, LANGUAGE_MODEL).value == "tiny"
    assert field_of(at.number_input, REWRITES).value == 0 and "Also:" not in words(at.caption)
    at.number_input(key="make-gap").set_value(None).run()
    assert REWRITES not in keys_of(at)
    at.button(key="generate").click().run()
    sent = JobQueue().list_jobs()[0].request
    assert (sent["back_end"], sent["rewrites"]) == ("tiny", None) and not at.error and not at.exception


@pytest.mark.parametrize("name", ["generate", "predict_structure"])
def test_a_run_by_a_language_model_that_is_not_installed_here_says_so_until_another_is_chosen(
    tiny_writer, name
):
    model, queue = tiny_writer(), JobQueue()
    options = {"model": model, "back_end": "smollm2"}
    requests = {
        "generate": ("generate", CrystalGenerationRequest(n=2, **options)),
        "predict_structure": ("predict-structure", StructurePredictionRequest(formula="NaCl", **options)),
    }
    kind, request = requests[name]
    at = run_page(name, fork=queue.submit(kind, to_json(request)))
    assert "The back end smollm2 needs the checkpoint crysllmgen-smollm2" in words(at.error)
    assert REWRITES not in keys_of(at) and not at.exception
    field_of(at.selectbox, LANGUAGE_MODEL).set_value(OWN).run()
    assert not at.error
    at.button(key="generate" if name == "generate" else "predict").click().run()
    assert queue.list_jobs()[0].request["back_end"] is None and len(queue.list_jobs()) == 2


def test_a_prediction_takes_a_language_model_where_its_model_writes(tiny_pair, shipped_writer):
    pair, queue = tiny_pair(), JobQueue()
    shipped_writer("tiny-writer")
    request = StructurePredictionRequest(formula="NaCl", model=pair, back_end="tiny")
    at = run_page("predict_structure", fork=queue.submit("predict-structure", to_json(request)))
    assert field_of(at.selectbox, LANGUAGE_MODEL).value == "tiny" and not at.error
    at.button(key="predict").click().run()
    assert queue.list_jobs()[0].request["back_end"] == "tiny" and not at.exception
    field_of(at.selectbox, "model").set_value("tiny-refiner").run()
    assert LANGUAGE_MODEL not in keys_of(at), "a model from noise writes nothing"
    at.button(key="predict").click().run()
    assert queue.list_jobs()[0].request["back_end"] is None and not at.exception


def test_a_changed_run_keeps_a_refiner_that_its_card_does_not_name(tiny_pair):
    pair = tiny_pair()
    full = find_card(pair).network["refiners"]["kldm"]  # in place of its short name
    request = CrystalGenerationRequest(n=2, model=pair, refiner=full)
    at = page(fork=JobQueue().submit("generate", to_json(request)))
    assert at.selectbox(key="draft-refiner").value == full and not at.error
    at.number_input(key="make-n").set_value(3).run()
    at.button(key="generate").click().run()
    assert JobQueue().list_jobs()[0].request["refiner"] == full and not at.exception


def test_the_chosen_refiner_decides_which_elements_a_formula_may_have(tiny_pair, tmp_path):
    name = tiny_pair()
    write_card(tmp_path / "checkpoints" / "tiny-refiner", {"sampling": {"elements": [8, 11, 17, 38]}})
    at = run_page("predict_structure", formula="BaO")
    at.selectbox(key="model").set_value(name).run()
    assert f"{name} was not trained on Ba, so it cannot place it" in words(at.warning)
    assert at.button(key="predict").disabled
    (refiner,) = (field for field in at.selectbox if field.label == "Refined by")
    refiner.set_value("none").run()
    assert "not trained" not in words(at.warning) and not at.button(key="predict").disabled
    assert not at.exception
