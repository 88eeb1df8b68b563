"""The store of runs: marks of its owner, and files that an earlier version wrote."""

import os
import sqlite3
import sys
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest

from crystal_core.errors import RequestError
from crystal_core.jobs import database
from crystal_core.jobs.queue import MAX_NOTE, JobQueue, torch_knows_cuda, worker_of
from crystal_core.records import FORMAT

EARLIER = """
create table jobs (
    id text primary key, kind text not null, request text not null, state text not null,
    created real not null, started real, finished real, stage text default '',
    step integer default 0, n_steps integer default 0,
    error text, snapshot text, result text, trajectories text default '[]');
create index by_state on jobs (state, created);
create table clients (id integer primary key, seen real);
insert into jobs (id, kind, request, state, created)
values ('a', 'predict-structure', '{"formula": "MgO"}', 'done', 1.0);
"""


def test_star_and_note_are_kept_and_change_apart(tmp_path):
    queue = JobQueue(tmp_path)
    job = queue.submit("count", {})
    assert (queue.get(job).starred, queue.get(job).note) == (False, "")
    queue.mark(job, starred=True)
    queue.mark(job, note="for the talk; it's 'best'")
    again = JobQueue(tmp_path).get(job)
    assert (again.starred, again.note) == (True, "for the talk; it's 'best'")
    queue.mark(job, starred=False, note="")
    assert (queue.get(job).starred, queue.get(job).note) == (False, "")
    with pytest.raises(RequestError, match="500"):
        queue.mark(job, note="x" * (MAX_NOTE + 1))


def test_the_file_of_an_earlier_version_is_taken_over_with_its_runs(tmp_path):
    with sqlite3.connect(tmp_path / "jobs.sqlite3") as db:
        db.executescript(EARLIER)
    db.close()
    for _ in range(2):
        queue = JobQueue(tmp_path)
        assert queue.get("a").request == {"formula": "MgO"} and not queue.get("a").starred
    queue.mark("a", starred=True)
    assert [job.id for job in queue.list_jobs() if job.starred] == ["a"]


def test_a_half_changed_file_is_completed(tmp_path):
    with sqlite3.connect(tmp_path / "jobs.sqlite3") as db:
        db.executescript(EARLIER)
        db.execute("alter table jobs add column note text not null default ''")
    db.close()
    assert JobQueue(tmp_path).get("a").note == ""


def test_a_batch_goes_in_together_or_not_at_all(tmp_path):
    queue = JobQueue(tmp_path)
    queue.submit("count", {})
    batch = queue.submit_batch("count", [{"n": n} for n in range(15)])
    assert [job.request["n"] for job in queue.list_batch(batch)] == list(range(15))
    assert [job.place for job in queue.list_batch(batch)] == list(range(2, 17))
    with pytest.raises(RequestError, match="16 runs are waiting already; 4 more fit"):
        queue.submit_batch("count", [{}] * 5)
    assert len(queue.list_jobs()) == 16 and queue.list_batch("") == []
    assert [queue.take().request.get("n") for _ in range(3)] == [None, 0, 1]


def test_a_job_that_is_taken_while_it_is_cancelled_stops(tmp_path, monkeypatch):
    queue, worker = JobQueue(tmp_path), JobQueue(tmp_path)
    waiting, running, done = (queue.submit("count", {}) for _ in range(3))
    queue.update(running, state="running")
    queue.update(done, state="done")

    @contextmanager
    def taken_in_between(home):
        monkeypatch.undo()
        with database.connect(home) as db:
            yield SimpleNamespace(execute=lambda *words: (db.execute(*words), worker.take()))

    for job in (waiting, running, done):
        monkeypatch.setattr("crystal_core.jobs.queue.connect", taken_in_between)
        queue.cancel(job)
    assert [worker.get(job).state for job in (waiting, running, done)] == ["partial", "cancelling", "done"]
    assert worker.get(waiting).finished and not worker.get(running).finished


def test_what_works_on_the_crystals_of_a_run_is_found_by_it_and_goes_with_it(tmp_path):
    queue = JobQueue(tmp_path)
    run = queue.submit("count", {})
    first, second = (queue.submit("count", {"k": k}, parent=run) for k in range(2))
    assert [job.id for job in queue.list_children(run)] == [first, second] and queue.get(first).parent == run
    assert queue.list_children("") == [] and queue.list_children(first) == []
    for job in (run, first, second):
        queue.cancel(job)
    queue.delete(run)
    assert queue.get(first) is None and queue.list_jobs() == []


def test_a_run_whose_crystals_are_being_worked_on_is_not_deleted(tmp_path):
    queue = JobQueue(tmp_path)
    run = queue.submit("count", {})
    queue.cancel(run)
    child = queue.submit("count", {}, parent=run)
    for state in ("queued", "running", "cancelling"):
        queue.update(child, state=state)
        with pytest.raises(RequestError, match="still works on the crystals"):
            queue.delete(run)
        assert {job.id for job in queue.list_jobs()} == {run, child}
    queue.update(child, state="done")
    queue.delete(run)
    assert queue.list_jobs() == []


def test_paths_of_a_run_are_read_only_when_looked_at(tmp_path, monkeypatch):
    queue = JobQueue(tmp_path)
    job = queue.submit("count", {})
    for k in range(3):
        queue.update(job, trajectory={"label": f"sample {k}", "frames": []})
    read, get = [], queue.blobs.get
    monkeypatch.setattr(queue.blobs, "get", lambda name: read.append(name) or get(name))
    run = queue.get(job)
    assert [name for name in read if name] == []
    assert [path["label"] for path in run.trajectories] == ["sample 0", "sample 1", "sample 2"] and len(
        run.trajectories
    ) == 3
    assert len([name for name in read if name]) == 3  # and each once


def test_files_that_no_run_refers_to_are_swept_when_old(tmp_path):
    queue = JobQueue(tmp_path)
    job, other = (queue.submit("predict", {"n": n}) for n in (1, 2))
    queue.update(job, result={"format": FORMAT, "seconds": 1})
    # the first result is history
    queue.update(job, result={"format": FORMAT, "seconds": 2}, trajectory={"path": 1})
    queue.update(other, result={"format": FORMAT, "seconds": 3}, state="done")
    assert queue.sweep() == 0  # all are young
    assert queue.sweep(older_than=-1) == 1
    queue.delete(other)
    assert queue.sweep(older_than=-1) == 1
    run = queue.get(job)
    assert run is not None
    assert run.result["seconds"] == 2
    assert list(run.trajectories) == [{"path": 1}]


def test_a_value_that_is_put_again_is_young_again(tmp_path):
    queue = JobQueue(tmp_path)
    name = queue.blobs.put({"crystals": 1})
    (file,) = queue.blobs.folder.glob("*/*")
    os.utime(file, (0, 0))
    assert queue.blobs.put({"crystals": 1}) == name
    assert queue.sweep() == 0


def test_each_device_has_a_worker_that_minds_its_own_jobs(tmp_path, monkeypatch):
    monkeypatch.setattr("crystal_core.jobs.queue.GPU", tmp_path / "no-gpu")
    queue = JobQueue(tmp_path)
    first, second = queue.submit("count", {"device": "cuda"}), queue.submit("count", {"device": "auto"})
    assert queue.workers_wanted() == ["cpu", "cuda"] and queue.get(second).place == 1
    assert queue.take("cpu").id == second and queue.take("cpu") is None and queue.take("cuda").id == first
    assert queue.interrupt_orphans("cuda") == 1
    assert (queue.state_of(first), queue.state_of(second)) == ("interrupted", "running")
    assert worker_of({}) == "cpu"


@pytest.fixture
def gpu_machine(tmp_path, monkeypatch):
    """A machine with a GPU, and the folder of its PyTorch's libraries."""
    monkeypatch.setattr("crystal_core.jobs.queue.GPU", tmp_path)
    torch = ModuleType("torch")
    torch.__spec__ = ModuleSpec("torch", None, is_package=True)
    torch.__spec__.submodule_search_locations.append(str(tmp_path / "torch"))
    monkeypatch.setitem(sys.modules, "torch", torch)
    torch_knows_cuda.cache_clear()
    (tmp_path / "torch" / "lib").mkdir(parents=True)
    yield tmp_path / "torch" / "lib"
    torch_knows_cuda.cache_clear()


@pytest.mark.parametrize(
    ("library", "worker"),
    [("libtorch_cuda.so", "cuda"), ("torch_cuda.dll", "cuda"), ("libtorch_cpu.so", "cpu")],
)
def test_a_pytorch_for_cpus_has_one_worker_although_there_is_a_gpu(gpu_machine, library, worker):
    (gpu_machine / library).touch()
    assert worker_of({}) == worker_of({"device": "auto"}) == worker
    assert worker_of({"device": "cpu"}) == "cpu" and worker_of({"device": "cuda"}) == "cuda"
