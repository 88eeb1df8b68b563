"""The Generate page: a form that explains itself, verdicts with reasons, relaxing, and runs found again."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from crystal_core.jobs.queue import JobQueue
from crystal_core.jobs.worker import RUNNERS, run_job
from crystal_core.relax.potential import is_installed
from crystal_core.requests import CrystalGenerationRequest, to_json
from pages._ui.runs import as_command, as_python, generated_of, title_of, zip_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("crystal_core.jobs.worker.ensure_worker", lambda *_: None)
    monkeypatch.setattr("pages._ui.relaxing.ensure_worker", lambda: None)
    monkeypatch.setattr("pages._ui.progress.ensure_worker", lambda: None)
    monkeypatch.setattr("pages._ui.errors._run_by_app", lambda: None)  # AppTest takes every run for a server's first, and a rerun forgets the click


def page(**query):
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=90).run()
    for name, value in query.items():
        app.query_params[name] = value
    return app.switch_page("pages/generate.py").run()


def words(elements):
    return " ".join(element.value.replace("\\", "") for element in elements)


def test_without_a_model_the_page_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path))
    at = page()
    assert "checkpoints/" in at.warning[0].value and not at.error and not at.exception


def test_elements_are_refused_at_their_field(tiny_de_novo):
    tiny_de_novo()
    at = page()
    assert not at.exception and not at.error
    for text, part in (("Li-Xx", "Did you mean"), ("Li-Au", "not trained on Au"), ("LiFePO4", "only elements"), ("Li", "")):
        at.text_input(key="elements").set_value(text).run()
        assert part in words(at.error) and bool(at.error) == bool(part) == at.button(key="generate").disabled
    at.text_input(key="exclude").set_value("Li").run()
    assert "leave none" in words(at.error) and not at.exception
    assert not JobQueue().list_jobs()


def test_a_link_fills_the_form_and_the_button_asks_for_what_it_says(tiny_de_novo):
    name = tiny_de_novo()
    at = page(n="3", elements="Li-Fe-O", atoms="8")
    assert at.number_input(key="make-n").value == 3 and at.number_input(key="atoms").value == 8
    assert "up to 5 atoms" in words(at.warning)
    at.text_input(key="make-seed").set_value("7").run()
    at.button(key="generate").click().run()
    (job,) = JobQueue().list_jobs()
    asked = to_json(CrystalGenerationRequest(n=3, model=name, n_atoms=(8, 8), elements=("Li", "Fe", "O"), seed=7))
    assert job.kind == "generate" and {k: list(v) if isinstance(v, tuple) else v for k, v in asked.items()} == job.request
    assert job.id in at.query_params["job"] and not at.exception and not at.error


def test_a_seed_that_is_no_number_is_refused(tiny_de_novo):
    tiny_de_novo()
    at = page()
    at.text_input(key="make-seed").set_value("blue").run()
    assert "whole number" in words(at.error) and not at.exception
