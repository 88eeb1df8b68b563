"""Whatever page is opened: waiting runs get a worker, and a run whose worker died is
said to be interrupted.
"""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from crystal_core.benchmarks.pages import PAGES
from crystal_core.jobs.queue import JobQueue
from crystal_core.requests import StructurePredictionRequest, to_json
from tests.pages.opening import run_page

ROOT = Path(__file__).parents[2]


@pytest.fixture
def started(tmp_path, monkeypatch):
    """The commands of the workers that pages start, which run nothing."""
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path))
    # without the rerun that follows a server's first page
    monkeypatch.setattr("pages._ui.errors.PagesManager", SimpleNamespace(uses_pages_directory=False))
    commands, run = [], subprocess.Popen

    def recorded(command, *args, **options):
        if "crystal_core.jobs.worker" in command:
            return commands.append(command)
        return run(command, *args, **options)

    monkeypatch.setattr(subprocess, "Popen", recorded)
    return commands


def submit(formula):
    return JobQueue().submit("predict-structure", to_json(StructurePredictionRequest(formula=formula)))


def opened(name, monkeypatch):
    """The app at one of its pages; AppTest itself opens other pages than the first without app.py."""
    page = st.Page
    monkeypatch.setattr(
        st,
        "Page",
        lambda path, default=False, **options: page(path, default=path == f"pages/{name}.py", **options),
    )
    return AppTest.from_file(str(ROOT / "app.py"), default_timeout=90).run()


@pytest.mark.parametrize("name", PAGES)
def test_every_page_starts_the_worker_that_waiting_runs_need(name, started, monkeypatch):
    lost, waiting = submit("MgO"), submit("ZnS")
    assert JobQueue().take().id == lost  # by a worker that is gone
    at = opened(name, monkeypatch)
    assert not at.exception and not at.error and at.title[0].value
    assert [command[command.index("--device") + 1] for command in started] == ["cpu"]
    states = {job.id: job.state for job in JobQueue().list_jobs()}
    assert states == {lost: "interrupted", waiting: "queued"}
    words = [link.proto.label for link in at.get("page_link")] if name == "home" else []
    words += at.dataframe[0].value["state"].tolist() if name == "history" else []
    assert not words or {part for line in words for part in line.split(" · ")} >= {"interrupted", "waiting"}


def test_no_page_starts_a_worker_while_nothing_waits(started, monkeypatch):
    assert not opened("history", monkeypatch).exception and not started


def test_the_bar_of_a_run_never_goes_back(started, monkeypatch):
    monkeypatch.setattr(JobQueue, "interrupt_orphans", lambda *_: 0)  # no worker runs it
    job, queue = submit("MgO"), JobQueue()
    assert queue.take().id == job
    queue.update(job, stage="energies", step=51, n_steps=100)
    at = run_page("predict_structure", job=job)
    bar = lambda: at.get("progress")[0].proto.value
    assert bar() == 51
    queue.update(job, stage="relaxing", step=55, n_steps=150)
    at.run()
    assert bar() == 51
    queue.update(job, step=120, n_steps=150)
    at.run()
    assert bar() == 80 and not at.exception
