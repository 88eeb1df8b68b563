"""The time that the forms foretell for a run."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from crystal_core.jobs.queue import JobQueue
from crystal_core.jobs.store import BlobStore

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("name", "button"), [("generate", "generate"), ("predict_structure", "predict")])
def test_the_time_is_told_from_runs_whose_results_nobody_reads(name, button, request, tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("crystal_core.jobs.worker.ensure_worker", lambda *_: None)
    monkeypatch.setattr("pages._ui.run.progress.ensure_worker", lambda: None)
    monkeypatch.setattr(
        "pages._ui.errors._run_by_app", lambda: None
    )  # AppTest takes every run for a server's first, and a rerun forgets the click

    def page():
        return (
            AppTest.from_file(str(ROOT / "app.py"), default_timeout=90)
            .run()
            .switch_page(f"pages/{name}.py")
            .run()
        )

    if name == "generate":
        request.getfixturevalue("tiny_de_novo")()
    at = page()
    at.button(key=button).click().run()
    queue = JobQueue()
    job = queue.get(queue.take().id)
    queue.update(job.id, state="done", finished=job.started + 37)
    queue.update(job.id, result={"seconds": 1.0})
    at = page()
    read, get = [], BlobStore.get
    monkeypatch.setattr(BlobStore, "get", lambda store, name: read.append(get(store, name)) or read[-1])
    at.run()  # of this page alone: the first one tells of the latest runs
    told = " ".join(caption.value.replace("\\", "") for caption in at.caption)
    assert "About 37 s on this machine." in told and not any(read) and not at.exception
    assert queue.get(job.id) and any(read)  # who reads a result is seen here
