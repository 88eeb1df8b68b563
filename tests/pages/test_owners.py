"""Pages of two browsers over one store of runs: History tells them apart, and a shared run offers no
way to end it.
"""

from pathlib import Path
from types import SimpleNamespace

import pytest
from streamlit.testing.v1 import AppTest

from crystal_core.jobs.queue import JobQueue
from crystal_core.requests import StructurePredictionRequest, to_json
from crystal_core.service.access import CLIENT_HEADER

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("no_worker")


@pytest.fixture
def as_browser(monkeypatch):
    """Make the pages those of a browser, as the guard names it."""

    def become(name):
        monkeypatch.setattr("streamlit.context", SimpleNamespace(headers={CLIENT_HEADER: name}))

    return become


def submit(client, formula):
    return JobQueue(client=client).submit(
        "predict-structure", to_json(StructurePredictionRequest(formula=formula))
    )


def history():
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=90).run()
    return app.switch_page("pages/history.py").run()


def labels(at):
    return [button.label for button in at.button]


def test_history_lists_the_runs_of_this_browser_and_behind_a_switch_everyones(as_browser):
    submit("ada", "MgO")
    submit("ben", "ZnS")
    as_browser("ada")
    at = history()
    assert at.dataframe[0].value["request"].tolist() == ["MgO"]
    at.toggle(key="everyone").set_value(True).run()
    assert at.dataframe[0].value["request"].tolist() == ["ZnS", "MgO"] and not at.exception
    home = AppTest.from_file(str(ROOT / "app.py"), default_timeout=90).run()
    link_texts = [link.proto.label for link in home.get("page_link")]
    assert any("MgO" in label for label in link_texts) and not any("ZnS" in label for label in link_texts)


def test_where_nobody_tells_browsers_apart_all_runs_are_listed_without_a_switch():
    submit("ada", "MgO")
    at = history()
    assert at.dataframe[0].value["request"].tolist() == ["MgO"] and not at.toggle(key="starred").value
    assert [toggle.key for toggle in at.toggle] == ["starred"]


def test_a_run_of_another_browser_can_be_opened_and_repeated_but_not_ended_or_marked(as_browser, monkeypatch):
    job = submit("ben", "ZnS")
    JobQueue().update(job, state="done")
    chosen = SimpleNamespace(selection=SimpleNamespace(rows=[0]))  # AppTest selects no row
    monkeypatch.setattr("streamlit.dataframe", lambda *_, **__: chosen)
    as_browser("ben")
    assert {"Delete", "Star", "Run again"} <= set(labels(history()))
    as_browser("ada")
    at = history()
    at.toggle(key="everyone").set_value(True).run()
    assert "Run again" in labels(at) and not {"Delete", "Star"} & set(labels(at)) and not at.exception
    assert any("another browser" in caption.value for caption in at.caption)


def test_the_page_of_a_run_that_is_going_on_offers_cancel_to_its_own_browser_alone(as_browser):
    job = submit("ben", "ZnS")
    seen = {}
    for name in ("ben", "ada"):
        as_browser(name)
        at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=90).run()
        at.query_params["job"] = job
        at.switch_page("pages/predict_structure.py").run()
        seen[name] = "Cancel" in labels(at)
        assert not at.exception
    assert seen == {"ben": True, "ada": False}
