"""A hurried reader on a slow machine: what the form shows is what runs."""

import pytest

from crystal_core.jobs.queue import JobQueue

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.browser


@pytest.mark.parametrize("wait", [0, 300])  # ms; the run of the page that the click began takes longer
def test_a_press_in_haste_runs_what_the_form_shows(open_page, server_home, wait):
    page = open_page("/predict_structure?formula=SrTiO3")
    before = {job.id for job in JobQueue(server_home).list_jobs(results=False)}
    page.get_by_text("Advanced").click()
    page.wait_for_timeout(wait)
    steps = page.get_by_role("spinbutton", name="Steps (0 = the sampler's default)")
    steps.fill("7")
    steps.press("Enter")
    page.get_by_role("button", name="Predict structure").click()
    page.wait_for_url("**job=*")
    (job,) = (job for job in JobQueue(server_home).list_jobs(results=False) if job.id not in before)
    values = {name: job.request[name] for name in ("formula", "n_samples", "relax", "steps")}
    assert values == {"formula": "SrTiO3", "n_samples": 4, "relax": True, "steps": 7}
    assert page.faults == []
