"""The time that the forms foretell for a run."""

import pytest

from crystal_core.jobs.queue import JobQueue
from crystal_core.jobs.store import BlobStore
from tests.pages.opening import run_page


@pytest.mark.parametrize(("name", "button"), [("generate", "generate"), ("predict_structure", "predict")])
@pytest.mark.usefixtures("no_worker")
def test_the_time_is_told_from_runs_whose_results_nobody_reads(name, button, request, monkeypatch):
    if name == "generate":
        request.getfixturevalue("tiny_de_novo")()
    at = run_page(name)
    at.button(key=button).click().run()
    queue = JobQueue()
    job = queue.get(queue.take().id)
    queue.update(job.id, state="done", finished=job.started + 37)
    queue.update(job.id, result={"seconds": 1.0})
    at = run_page(name)
    read, get = [], BlobStore.get
    monkeypatch.setattr(BlobStore, "get", lambda store, name: read.append(get(store, name)) or read[-1])
    at.run()  # of this page alone: the first one tells of the latest runs
    text = " ".join(caption.value.replace("\\", "") for caption in at.caption)
    assert "About 37 s on this machine." in text and not any(read) and not at.exception
    assert queue.get(job.id) and any(read)  # who reads a result is seen here
