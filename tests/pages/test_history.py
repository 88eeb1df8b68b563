"""The History page: runs told in words, found again on the page that shows them, and deleted."""

import json
from types import SimpleNamespace

import pytest

from crystal_core.files.records import cell_json
from crystal_core.jobs.queue import JobQueue
from crystal_core.jobs.worker import RUNNERS
from crystal_core.requests import RelaxationRequest, StructurePredictionRequest, to_json
from pages._ui.run.calls import as_command, as_python
from pages._ui.run.runs import KIND_WORDS, link_of, model_of, plain_title_of, title_of
from tests.pages.generation import ROCK_SALT, finished_run
from tests.pages.opening import run_page, words

pytestmark = pytest.mark.usefixtures("no_worker")


def test_a_run_is_told_in_words_and_found_again_on_the_page_that_shows_it(tiny_de_novo):
    tiny_de_novo()
    run = finished_run()
    queue = JobQueue()
    child = queue.get(
        queue.submit(
            "relax", to_json(RelaxationRequest(crystals=({"id": "a", **cell_json(ROCK_SALT)},))), parent=run
        )
    )
    job = queue.get(run)
    assert title_of(job) == "5 new crystals of Li-O with 2 atoms" and title_of(child) == "relaxing 1 crystal"
    assert link_of(job) == link_of(child) == ("pages/generate.py", {"job": run})
    assert "crystal-core relax a.cif" in as_command(child) and "load_potential" in as_python(child)
    at = run_page("history")
    assert at.dataframe[0].value["request"].tolist() == [title_of(child), title_of(job)] and not at.exception


@pytest.mark.parametrize(
    ("kind", "request_", "title"),
    [
        ("predict-structure", {"formula": "CuSO4 5H2O"}, "CuSO₉H₁₀ (typed: CuSO4 5H2O)"),
        ("predict-structure", {"formula": "D2O"}, "H₂O (typed: D2O)"),
        ("predict-structure", {"formula": "Ti₂O₄", "exact_cell": True}, "Ti₂O₄"),
        ("predict-structure", {"formula": "Ti2O4", "exact_cell": False}, "TiO₂ (typed: Ti2O4)"),
        ("predict-structure", {"formula": "no formula"}, "no formula"),
        ("generate", {"n": 2, "space_group": "P21/n"}, "2 new crystals in P2₁/c (typed: P21/n)"),
        ("generate", {"n": 2, "space_group": "P4_2/mnm"}, "2 new crystals in P4₂/mnm"),
        ("generate", {"n": 2, "space_group": "225"}, "2 new crystals in 225"),
        ("generate", {"n": 1, "formula": "CaSO4·2H2O"}, "1 new crystal of CaSO₆H₄ (typed: CaSO4·2H2O)"),
    ],
)
def test_a_run_is_named_by_what_was_typed_and_what_is_computed_where_they_differ(kind, request_, title):
    assert title_of(SimpleNamespace(kind=kind, request=request_)) == title


@pytest.mark.parametrize(
    ("kind", "request_", "model"),
    [
        ("generate", {"model": "one"}, "one"),
        ("compare", {"columns": [{"model": "one"}, {"model": "two"}]}, "one, two"),
        ("compare", {"columns": [{"model": "one", "steps": 5}, {"model": "one", "steps": 9}]}, "one"),
        ("compare", {"columns": [{"model": name} for name in ("a", "b", "c", "a")]}, "a, b +1"),
        ("compare", {"columns": [{"crystals": [], "name": "mine"}, {"model": "two"}]}, "two"),
        ("compare", {"columns": [{"crystals": []}, {"crystals": []}]}, "–"),
        ("compare", {"columns": None}, "–"),
        ("relax", {"crystals": [], "potential": "chgnet"}, "chgnet"),
        ("predict-structure", {}, "–"),
    ],
)
def test_a_run_names_its_models(kind, request_, model):
    assert model_of(SimpleNamespace(id="run", kind=kind, request=request_)) == model


def test_a_comparison_in_the_list_names_its_models():
    columns = [{"model": "kldm-csp-mp"}, {"model": "crysllmgen-mp"}]
    JobQueue().submit("compare", {"columns": columns, "formulas": ["TiO2"], "n": 1})
    at = run_page("history")
    assert at.dataframe[0].value["model"].tolist() == ["kldm-csp-mp, crysllmgen-mp"] and not at.exception


def test_a_title_in_a_file_and_a_search_has_plain_digits():
    job = SimpleNamespace(kind="predict-structure", request={"formula": "TiO2"})
    assert (title_of(job), plain_title_of(job)) == ("TiO₂", "TiO2")
    compared = SimpleNamespace(kind="compare", request={"formulas": ["Mg2SiO4"], "columns": [{}, {}]})
    assert title_of(compared) == "Mg₂SiO₄: 2 columns compared"


def test_the_history_finds_runs_by_formula_and_star():
    queue = JobQueue()
    jobs = [
        queue.submit("predict-structure", to_json(StructurePredictionRequest(formula=f)))
        for f in ("MgO", "TiO2", "Mg2SiO4")
    ]
    for job in jobs:
        queue.cancel(job)
    queue.mark(jobs[0], starred=True, note="keep")
    at = run_page("history")
    for typed in ("tio2", "TiO₂"):
        at.text_input(key="filter").set_value(typed).run()
        assert at.dataframe[0].value["request"].tolist() == ["TiO₂"]
    at.text_input(key="filter").set_value("mg").run()
    assert sorted(at.dataframe[0].value["request"]) == ["MgO", "Mg₂SiO₄"]
    widths = {name: column.get("width") for name, column in json.loads(at.dataframe[0].proto.columns).items()}
    # also where the page is narrow
    assert all(widths[name] >= 90 for name in ("request", "when", "state", "result", "note", "model"))
    at.toggle(key="starred").set_value(True).run()
    assert at.dataframe[0].value[["request", "note", "★"]].values.tolist() == [["MgO", "keep", "★"]]
    at.text_input(key="filter").set_value("Na").run()
    assert "No run fits" in at.info[0].value and not at.exception


def test_the_history_shows_one_kind_of_run_on_demand():
    run, queue = finished_run(), JobQueue()
    relaxed = to_json(RelaxationRequest(crystals=({"id": "a", **cell_json(ROCK_SALT)},)))
    for kind, request in (
        ("relax", relaxed),
        ("predict-structure", to_json(StructurePredictionRequest(formula="MgO"))),
    ):
        queue.submit(kind, request)
    at = run_page("history")
    kind = at.selectbox(key="kind")
    assert kind.options == ["All", "Structure prediction", "Generation", "Relaxation"], "those that exist"
    assert len(at.dataframe[0].value) == 3
    kind.set_value("generate").run()
    assert at.dataframe[0].value["request"].tolist() == [title_of(queue.get(run))]
    at.text_input(key="filter").set_value("MgO").run()
    assert "No run fits" in at.info[0].value and not at.exception
    assert set(KIND_WORDS) == set(RUNNERS), "every kind of run has a name"


def test_deleting_a_run_tells_of_its_relaxations_and_waits_for_them(tiny_de_novo, monkeypatch):
    tiny_de_novo()
    run, queue = finished_run(), JobQueue()
    child = queue.submit(
        "relax", to_json(RelaxationRequest(crystals=({"id": "a", **cell_json(ROCK_SALT)},))), parent=run
    )
    # AppTest selects no row; the newest, the relaxation, is the first
    chosen = SimpleNamespace(selection=SimpleNamespace(rows=[1]))
    monkeypatch.setattr("streamlit.dataframe", lambda *_, **__: chosen)
    at = run_page("history")
    at.button(key="delete").click().run()
    assert "This deletes its entry and its link, and its relaxation with it" in words(at.markdown)
    really = at.button(key="really")
    at.button(key="delete").click()  # AppTest runs the whole page again, never a dialog alone
    really.click().run()
    assert "cancel that or wait" in words(at.error) and not at.exception and queue.get(run)
    queue.cancel(child)
    really = at.button(key="really")
    at.button(key="delete").click()
    really.click().run()
    assert not at.exception and queue.list_jobs() == []
