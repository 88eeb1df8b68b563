"""Which elements fit at a site: asked from the table of sites, answered in the viewer, found
again in the history.
"""

import io
import zipfile
from functools import partial
from types import SimpleNamespace

import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.errors import RequestError
from crystal_core.files.records import cell_json
from crystal_core.jobs.queue import JobQueue
from crystal_core.jobs.worker import RUNNERS, run_job
from crystal_core.requests import from_json, to_json
from crystal_core.workflows.infill import InfillRequest
from pages._ui.run.calls import as_command, as_python, zip_of
from pages._ui.run.runs import link_of, summary, title_of
from tests.pages.opening import run_page, words

viewer = partial(run_page, "viewer")

pytestmark = pytest.mark.usefixtures("no_worker")
PEROVSKITE = Structure.from_spacegroup(
    "Pm-3m", Lattice.cubic(3.9), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
)


def select(monkeypatch, *rows):
    """AppTest selects no rows."""
    chosen = SimpleNamespace(selection=SimpleNamespace(rows=list(rows)))
    monkeypatch.setattr("streamlit.dataframe", lambda *_, **__: chosen)


def answered(name, **changes):
    request = InfillRequest(crystal=cell_json(PEROVSKITE), source="SrTiO3", model=name, seed=1, **changes)
    queue = JobQueue()
    run = queue.submit("infill", to_json(request))
    run_job(queue, queue.take(), RUNNERS)
    return queue.get(run)


def test_without_a_language_model_nothing_is_offered(tiny_de_novo, monkeypatch):
    tiny_de_novo()
    select(monkeypatch, 0)
    at = viewer()
    assert not at.exception and not [b for b in at.button if "elements fit" in b.label]
    assert "which elements fit" not in words(at.caption)


def test_the_sites_of_one_element_are_asked_about(tiny_writer, monkeypatch):
    name = tiny_writer()
    select(monkeypatch, 0, 1)
    assert "sites of one element" in words(viewer().caption)
    select(monkeypatch, 2, 4)
    at = viewer()
    (toggle,) = (toggle for toggle in at.toggle if toggle.label == "At all 3 sites of O")
    toggle.set_value(True).run()
    (button,) = (button for button in at.button if button.label == "Which elements fit here?")
    button.click().run()
    (job,) = JobQueue().list_jobs()
    request = from_json(InfillRequest, job.request)
    assert (job.kind, request.sites, request.all_alike, request.model) == ("infill", (2, 4), True, name)
    assert not at.exception


def test_the_answer_is_bars_and_an_element_opens_the_crystal_with_it(tiny_writer):
    job = answered(tiny_writer(), sites=(0,))
    rows = job.result["fitting"]["rows"]
    assert job.state == "done" and sum(row["probability"] for row in rows) == pytest.approx(1, abs=1e-3)
    assert [row["probability"] for row in rows] == sorted((r["probability"] for r in rows), reverse=True)
    at = viewer(job=job.id)
    assert not at.exception and not at.error
    assert words(at.header) == "Elements that fit at Sr1 SrTiO₃"
    other = next(row["element"] for row in rows if row["element"] not in ("Sr", "Ti", "O"))
    at.button(key=f"element-{other}").click().run()
    assert other in at.query_params["element"] and not at.exception
    assert f": {other} in place of Sr" in words(at.header) and "relax it" in words(at.caption)
    at = viewer(job=job.id, element="Xx")
    assert words(at.header).endswith("SrTiO₃") and not at.exception


def test_no_element_that_is_possible_has_a_share_of_nothing(tiny_writer):
    job = answered(tiny_writer(), sites=(0,))
    rows = [row | {"probability": share} for row, share in zip(job.result["fitting"]["rows"], (0.9994, 4e-4))]
    fitting = job.result["fitting"] | {"rows": rows}
    JobQueue().update(job.id, result=job.result | {"fitting": fitting})
    at = viewer(job=job.id)
    assert [bar.proto.text for bar in at.get("progress")] == ["99.9 %", "< 0.1 %"] and not at.exception


def test_the_run_is_told_in_words_and_can_be_made_again(tiny_writer):
    job = answered(tiny_writer(), sites=(2,), all_alike=True)
    assert title_of(job) == "elements in place of O in SrTiO₃" and link_of(job)[0] == "pages/viewer.py"
    assert job.result["fitting"]["sites"] == [2, 3, 4] and summary(job).count("%") == 3
    command = as_command(job)
    assert "infill structure.json" in command and "--site 2 --all-alike --seed 1" in command
    assert "all_alike=True" in as_python(job)
    names = zipfile.ZipFile(io.BytesIO(zip_of(job))).namelist()
    assert set(names) == {"elements.csv", "structure.json", "run.json"}
    at = run_page("history")
    assert at.dataframe[0].value["request"].tolist() == [title_of(job)] and not at.exception


def test_notes_on_the_file_stand_in_the_answer(tiny_writer):
    note = "The formula of the file, SrTiO4, is another one."
    crystal = {**cell_json(PEROVSKITE), "notes": [note]}
    queue = JobQueue()
    run = queue.submit(
        "infill", to_json(InfillRequest(crystal=crystal, sites=(0,), model=tiny_writer(), seed=1))
    )
    run_job(queue, queue.take(), RUNNERS)
    assert queue.get(run).result["notes"] == [note]
    assert note in words(viewer(job=run).warning)


@pytest.mark.parametrize(("sites", "part"), [((), "at least one site"), ((5,), "between 0 and 4")])
def test_sites_that_are_not_there_are_refused(sites, part):
    with pytest.raises(RequestError, match=part):
        InfillRequest(crystal=cell_json(PEROVSKITE), sites=sites)
