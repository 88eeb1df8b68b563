"""Crystals of a generation that are relaxed from its page."""

import io
import zipfile

import pytest

from crystal_core.files.records import cell_json, crystal_record
from crystal_core.jobs.queue import JobQueue
from crystal_core.jobs.worker import RUNNERS, run_job
from crystal_core.relax.potential import is_installed
from crystal_core.requests import (
    RelaxationRequest,
    to_json,
)
from pages._ui.run.calls import zip_of
from pages._ui.run.runs import generated_of
from tests.pages.generation import ROCK_SALT, finished_run, page
from tests.pages.opening import reasons, words

pytestmark = pytest.mark.usefixtures("no_worker")


@pytest.mark.skipif(not is_installed(), reason="chgnet is not installed")
def test_relaxing_goes_through_the_queue_and_shows_before_and_after(tiny_de_novo):
    tiny_de_novo()
    run = finished_run(novelty={"known": True, "nearest_id": "mp-22862", "rmsd": None})
    at = page(job=run)
    at.button(key="relax-all").click().run()
    queue = JobQueue()
    (child,) = queue.list_children(run)
    # its twin is the same, the others are not valid
    assert child.kind == "relax" and [c["id"] for c in child.request["crystals"]] == ["kldm-1"]
    assert at.button(key="relax-all").disabled and not at.exception
    run_job(queue, queue.take(), RUNNERS)
    at.run()
    assert {"Energy (eV/atom, ML estimate)", "Above the hull (eV/atom, ML estimate)", "Atoms moved (Å)"} <= {
        metric.label for metric in at.metric
    }
    above = next(metric for metric in at.metric if metric.label.startswith("Above the hull"))
    assert "may be stable" in words(at.markdown) and "hypothetical crystals" in above.help
    # one more where the tables are at hand
    ways = next(group for group in at.button_group if str(group.key).startswith("way-kldm-1-"))
    ways.set_value("Relaxed over generated").run()
    assert "as generated" in words(at.caption) and not at.exception and not at.error
    job = queue.get(run)
    assert (
        "energies" in generated_of(job)[0]
        and generated_of(job)[0]["generated"]["lattice"] != generated_of(job)[0]["lattice"]
    )
    names = zipfile.ZipFile(io.BytesIO(zip_of(job))).namelist()
    assert {"kldm-1.cif", "kldm-4.cif", "run.extxyz", "before-relaxing.extxyz", "run.json"} <= set(names)


def test_what_is_said_of_a_relaxed_crystal_names_the_cell_it_is_said_of(tiny_de_novo):
    tiny_de_novo()
    run, queue = finished_run(novelty={"known": False, "nearest_id": None, "rmsd": None}), JobQueue()
    queue.submit(
        "relax", to_json(RelaxationRequest(crystals=({"id": "kldm-1", **cell_json(ROCK_SALT)},))), parent=run
    )
    known = {"known": True, "nearest_id": "mp-22862", "rmsd": 0.01}
    relaxed = crystal_record(ROCK_SALT, id="kldm-1", origin="noise", provenance={}, novelty=known) | {
        "original": cell_json(ROCK_SALT)
    }
    child = queue.take()
    queue.update(
        child.id,
        state="done",
        result={"crystals": [relaxed], "settings": {}, "seconds": 1.0},
        finished=child.created + 1,
    )
    record = generated_of(queue.get(run))[0]
    assert record["novelty"]["known"] and not record["generated"]["novelty"]["known"]
    at = page(job=run)
    text = words(at.markdown)
    assert not at.exception and reasons(at).count("(As generated.)") == 3 and "✓ known" in text
    at = page(job=finished_run())
    assert "✓ valid structure" in words(at.markdown) and "(As generated.)" not in reasons(at)


@pytest.mark.parametrize("look", range(4))
def test_a_relaxation_that_ends_between_two_looks_of_the_page_is_shown_on_it(tiny_de_novo, monkeypatch, look):
    tiny_de_novo()
    run, queue = finished_run(), JobQueue()
    crystal = {"id": "kldm-1", **cell_json(ROCK_SALT)}
    queue.submit("relax", to_json(RelaxationRequest(crystals=(crystal,))), parent=run)
    child = queue.take()
    relaxed = crystal_record(ROCK_SALT, id="kldm-1", origin="noise", provenance={}) | {
        "original": cell_json(ROCK_SALT)
    }
    list_children, looks = JobQueue.list_children, []

    def end_after(self, job, kind=""):
        children = list_children(self, job, kind)
        looks.append(kind)
        if len(looks) > look and any(one.live for one in children):
            result = {"crystals": [relaxed], "settings": {}, "seconds": 1.0}
            queue.update(child.id, state="done", result=result, finished=child.created + 1)
        return children

    monkeypatch.setattr(JobQueue, "list_children", end_after)
    at = page(job=run)
    if not any(button.label == "Cancel" for button in at.button):  # else the page goes on to ask
        assert "Relaxed" in next(g for g in at.button_group if str(g.key).startswith("way-kldm-1-")).options
        assert not any("going on" in button.help for button in at.button if button.help)
    at.run()
    assert "Relaxed" in next(g for g in at.button_group if str(g.key).startswith("way-kldm-1-")).options
    assert not at.exception
