"""The History page: runs told in words, found again on the page that shows them, and deleted."""

from types import SimpleNamespace

import pytest

from crystal_core.files.records import cell_json
from crystal_core.jobs.queue import JobQueue
from crystal_core.requests import (
    RelaxationRequest,
    to_json,
)
from pages._ui.run.calls import as_command, as_python
from pages._ui.run.runs import link_of, title_of
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
        ("predict-structure", {"formula": "CuSO4 5H2O"}, "CuSO9H10 (typed: CuSO4 5H2O)"),
        ("predict-structure", {"formula": "D2O"}, "H2O (typed: D2O)"),
        ("predict-structure", {"formula": "Ti₂O₄", "exact_cell": True}, "Ti2O4"),
        ("predict-structure", {"formula": "Ti2O4", "exact_cell": False}, "TiO2 (typed: Ti2O4)"),
        ("predict-structure", {"formula": "no formula"}, "no formula"),
        ("generate", {"n": 2, "space_group": "P21/n"}, "2 new crystals in P2_1/c (typed: P21/n)"),
        ("generate", {"n": 2, "space_group": "225"}, "2 new crystals in 225"),
        ("generate", {"n": 1, "formula": "CaSO4·2H2O"}, "1 new crystal of CaSO6H4 (typed: CaSO4·2H2O)"),
    ],
)
def test_a_run_is_named_by_what_was_typed_and_what_is_computed_where_they_differ(kind, request_, title):
    assert title_of(SimpleNamespace(kind=kind, request=request_)) == title


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
