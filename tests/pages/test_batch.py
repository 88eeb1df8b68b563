"""A list of formulas on the Predict structure page: entries that are wrong, and the state and
best candidate of each.
"""

import json
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import pytest
from streamlit.testing.v1 import AppTest

from crystal_core.demos import find_demo
from crystal_core.jobs.queue import JobQueue
from crystal_core.jobs.store import BlobStore
from crystal_core.records import crystals_of
from crystal_core.requests import StructurePredictionRequest, to_json
from pages._ui.forms.batch import _zip as batch_zip
from tests.earlier_runs import earlier_run
from tests.pages.opening import run_page as page

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def home(no_worker):
    """A home of its own."""


def test_a_wrong_entry_of_a_list_explains_itself_and_the_others_remain():
    at = page("predict_structure")
    at.toggle(key="several").set_value(True).run()
    at.text_area(key="formulas").set_value("ZnS, Xx2O3\nMgAl2O4").run()
    assert (
        "Did you mean" in at.error[0].value
        and "2 formulas will run" in at.caption[0].value
        and not at.exception
    )


def test_a_batch_shows_the_state_and_the_best_candidate_of_each_formula(monkeypatch):
    monkeypatch.setattr("pages._ui.forms.batch.ensure_worker", lambda: None)
    queue = JobQueue()
    requests = [to_json(StructurePredictionRequest(formula=formula)) for formula in ("ZnS", "MgAl2O4", "MgO")]
    batch = queue.submit_batch("predict-structure", requests)
    first, second, _ = queue.list_batch(batch)
    result = dict(find_demo("zinc-sulphide").result)
    queue.update(first.id, state="done", result=result)
    queue.update(second.id, state="failed", error="The model is not for this.")
    at = page("predict_structure", batch=batch)
    # the form that made them
    assert at.toggle(key="several").value and at.text_area(key="formulas").value == "ZnS\nMgAl2O4\nMgO"
    table = at.dataframe[0].value
    assert table["state"].tolist() == ["done", "failed", "waiting"]
    assert table["remark"].tolist() == ["", "The model is not for this.", ""]
    assert table["best candidate"][0] and table["alike"][0].endswith(f"of {len(crystals_of(result))}")
    assert not at.exception
    queue.update(second.id, state="done", result=result)
    # two spellings of one formula give the same ids
    with ZipFile(BytesIO(batch_zip(queue.list_batch(batch)))) as archive:
        cifs = [name for name in archive.namelist() if name.endswith(".cif") and "symmetrised/" not in name]
        assert len(cifs) == 2 * len(crystals_of(result))
    at.query_params["batch"] = "nonsense"
    at.run()
    assert "deleted or belong" in at.warning[0].value


def test_the_chosen_candidate_stays_when_energies_change_the_order(monkeypatch):
    keys, viewed, pick = [], [], []
    monkeypatch.setattr(
        "pages._ui.run.candidates.crystal_gallery",
        lambda items, *, key, first=0, **_: keys.append(key) or (pick.pop() if pick else first),
    )
    monkeypatch.setattr("pages._ui.run.candidates.show_energies", lambda record: viewed.append(record["id"]))
    queue = JobQueue()
    job = queue.submit("predict-structure", to_json(StructurePredictionRequest(formula="TiO2")))
    result = json.loads(json.dumps(earlier_run("titanium-dioxide").result))
    groups = {record["id"]: record["group"] for record in crystals_of(result)}
    first = [record["group"] for record in crystals_of(result) if "error" not in record.get("relaxation", {})]
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=90).run()
    at.query_params["job"] = job
    at.switch_page("pages/predict_structure.py")

    def draw(sign):
        for record in crystals_of(result):
            record["score"]["value"] = sign * record["group"]
        queue.update(job, state="done", result=result)
        at.run()
        assert not at.exception
        return viewed[-1]

    # nothing was chosen: the best one that was relaxed
    assert groups[draw(-1)] == max(first) and groups[draw(1)] == 0
    assert len(set(keys)) == 1  # so that no card is drawn anew
    (members,) = [box for box in at.selectbox if str(box.key).startswith("member-")]
    second = next(name for name in groups if groups[name] == 0 and name != viewed[-1])
    members.set_value(second).run()
    assert viewed[-1] == second == draw(-1) == draw(1)
    pick.append(1)
    assert groups[draw(1)] == 1 and groups[draw(-1)] == 1


def test_a_poll_of_a_batch_reads_a_result_once_and_again_when_it_changes(monkeypatch):
    monkeypatch.setattr("pages._ui.forms.batch.ensure_worker", lambda: None)
    queue, result = JobQueue(), dict(find_demo("zinc-sulphide").result)
    requests = [to_json(StructurePredictionRequest(formula=formula)) for formula in ("ZnS", "CdS")]
    batch = queue.submit_batch("predict-structure", requests)
    first, _ = queue.list_batch(batch)
    queue.update(first.id, state="running", result=result)
    read, get = [], BlobStore.get
    monkeypatch.setattr(BlobStore, "get", lambda store, name: read.append(name) or get(store, name))
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=90).run()
    read.clear()  # of Home
    app.query_params["batch"] = batch
    at = app.switch_page("pages/predict_structure.py").run()
    assert at.dataframe[0].value["best candidate"][0]
    assert sum(name is not None for name in read) == 1
    read.clear()
    at.run()
    assert not any(read)
    queue.update(
        first.id, result=result | {"results": [part | {"candidates": []} for part in result["results"]]}
    )
    at.run()
    assert at.dataframe[0].value["best candidate"][0] == "" and sum(name is not None for name in read) == 1


@pytest.mark.parametrize("look", range(5))
def test_a_list_of_runs_that_ends_between_two_looks_of_the_page_is_over_on_all_of_it(monkeypatch, look):
    queue = JobQueue()
    batch = queue.submit_batch("predict-structure", [to_json(StructurePredictionRequest(formula="MgO"))])
    list_batch, looks = JobQueue.list_batch, []

    def end_after(self, *arguments, **options):
        jobs = list_batch(self, *arguments, **options)
        looks.append(jobs)
        for job in jobs if len(looks) > look else ():
            if job.live:
                queue.cancel(job.id)
        return jobs

    monkeypatch.setattr(JobQueue, "list_batch", end_after)
    at = page("predict_structure", batch=batch)
    offers_to_cancel = any(button.label == "Cancel all" for button in at.button)
    over = at.get("progress")[0].proto.text == "1 of 1 runs are over"
    assert over != offers_to_cancel and not at.exception
