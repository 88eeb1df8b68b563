"""The database of runs: damaged pages cost the rows on them, and a lock, a full disk and a
bad folder are sentences.
"""

import errno
import gzip
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crystal_core.errors import StorageFault
from crystal_core.jobs import database, store, worker
from crystal_core.jobs.job import ENTRY_DAMAGED
from crystal_core.jobs.queue import JobQueue

N_RUNS = 40
PAGE = 4096
CELL = {"lattice": [[3, 0, 0], [0, 3, 0], [0, 0, 3]], "atomic_numbers": [26], "frac_coords": [[0, 0, 0]]}
DAMAGE = {"zeroed": bytes(PAGE), "junk": b"\xa5" * PAGE}


def filled(home):
    """Ids of runs in a database of many pages, none of them in its log."""
    queue = JobQueue(home)
    ids = []
    for n in range(N_RUNS):
        ids.append(queue.submit("count", {"n": n, "label": "x" * 900}))
        queue.update(ids[-1], state="done", result={"finished": n})
    with sqlite3.connect(home / database.FILE) as db:
        assert db.execute("pragma wal_checkpoint(truncate)").fetchone()[0] == 0
    db.close()
    return ids


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_page_costs_the_rows_on_it_and_no_other(tmp_path, damage):
    ids = filled(tmp_path / "whole")
    whole = (tmp_path / "whole" / database.FILE).read_bytes()
    n_pages, n_damaged = len(whole) // PAGE, []
    assert n_pages > 8
    for page in range(1, n_pages):
        home = tmp_path / f"{page}"
        home.mkdir()
        broken = whole[: page * PAGE] + DAMAGE[damage] + whole[(page + 1) * PAGE :]
        (home / database.FILE).write_bytes(broken)
        jobs = JobQueue(home).list_jobs(results=False)
        assert {job.id for job in jobs} == set(ids), page
        for job in jobs:
            assert job.error == ENTRY_DAMAGED if job.damaged else job.request["n"] == ids.index(job.id)
        n_damaged.append(sum(job.damaged for job in jobs))
        job = JobQueue(home).submit("count", {"n": 1})  # the queue works on
        assert JobQueue(home).take().id == job
        if n_damaged[-1]:
            assert [path.read_bytes() for path in home.glob("jobs-damaged-*.sqlite3")] == [broken]
    # a leaf holds about four rows; the pages of an index and unused ones cost none, the root of
    # the table all details
    assert n_damaged.count(0) >= 2 and sum(0 < n <= 5 for n in n_damaged) >= 8


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_database_damaged_beyond_repair_is_one_line_and_a_new_one(tmp_path, damage):
    filled(tmp_path)
    path = tmp_path / database.FILE
    path.write_bytes(DAMAGE[damage] + path.read_bytes()[PAGE:])
    (job,) = JobQueue(tmp_path).list_jobs()
    assert job.damaged and "jobs-damaged-" in job.error and "store" in job.error
    queue = JobQueue(tmp_path)
    assert queue.sweep(older_than=-1) == 0  # lost rows may refer to them
    assert len(list((tmp_path / "store").glob("*/*"))) == N_RUNS
    queue.delete(job.id)
    assert queue.list_jobs() == [] and queue.submit("count", {})
    next(tmp_path.glob(database.SET_ASIDE)).unlink()
    assert queue.sweep(older_than=-1) == N_RUNS


def test_results_of_lost_rows_outlast_a_sweep(tmp_path):
    ids = filled(tmp_path)
    path = tmp_path / database.FILE
    whole = path.read_bytes()
    lost = ids[20]
    page = whole.index(lost.encode() + b"count") // PAGE
    path.write_bytes(whole[: page * PAGE] + bytes(PAGE) + whole[(page + 1) * PAGE :])
    queue = JobQueue(tmp_path)
    assert any(job.id == lost and job.damaged for job in queue.list_jobs(results=False))
    assert queue.sweep(older_than=-1) == 0


def test_a_lock_is_one_sentence(tmp_path, monkeypatch):
    queue = JobQueue(tmp_path)
    monkeypatch.setattr(database, "LOCK_SECONDS", 0.05)
    other = sqlite3.connect(tmp_path / database.FILE)
    other.execute("begin exclusive")
    with pytest.raises(StorageFault, match="locked the database of runs"):
        queue.submit("count", {})
    other.close()
    assert queue.submit("count", {})


def test_a_full_database_is_one_sentence_and_keeps_what_is_there(tmp_path, monkeypatch):
    queue = JobQueue(tmp_path)
    job = queue.submit("count", {"n": 1})

    def full(*words, connect=sqlite3.connect, **options):
        db = connect(*words, **options)
        db.execute("pragma max_page_count = 1")  # no less than it has already
        return db

    monkeypatch.setattr(sqlite3, "connect", full)
    with pytest.raises(StorageFault, match="is full"):
        queue.submit("count", {"label": "x" * 100_000})
    assert [listed.id for listed in queue.list_jobs()] == [job]


def test_a_folder_that_is_none_is_one_sentence(tmp_path):
    (tmp_path / "home").write_text("")
    with pytest.raises(StorageFault, match="is not a folder"):
        JobQueue(tmp_path / "home")


def test_the_folder_of_runs_is_closed_to_others_and_a_shared_one_stays(tmp_path):
    new, open_to_all, shared = (tmp_path / name for name in ("a/b", "open", "shared"))
    open_to_all.mkdir()
    open_to_all.chmod(0o755)
    shared.mkdir()
    shared.chmod(0o1777)
    for home, mode in ((new, 0o700), (open_to_all, 0o700), (shared, 0o1777)):
        JobQueue(home).submit("count", {})
        assert home.stat().st_mode & 0o7777 == mode


def test_a_folder_in_place_of_a_file_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(
        worker.subprocess, "Popen", lambda *_, **__: pytest.fail("no worker without its files")
    )
    JobQueue(tmp_path).submit("count", {})
    for name in ("worker-cpu.lock", "worker.log", "store"):
        folder = tmp_path / f"home of {name}"
        (folder / name).mkdir(parents=True)
        if name != "store":
            JobQueue(folder).submit("count", {})
            with pytest.raises(StorageFault, match=f"A folder lies in .* where a file belongs: {name}"):
                worker.ensure_worker(folder)
            continue
        (folder / name).rmdir()
        (folder / name).write_text("")
        queue = JobQueue(folder)
        with pytest.raises(StorageFault, match=r"A file lies in .* where a folder belongs"):
            queue.update(queue.submit("count", {}), result={"finished": 1})


@pytest.mark.parametrize(
    ("number", "says"),
    [(errno.ENOSPC, "is full"), (errno.EROFS, "cannot be written"), (errno.EIO, "reports an error")]
    + [(number, "cannot be used") for number in (errno.ESTALE, errno.ELOOP, errno.EMFILE, errno.ENOENT)],
)
def test_whatever_the_disk_refuses_is_one_sentence(tmp_path, monkeypatch, number, says):
    queue = JobQueue(tmp_path)
    job = queue.submit("count", {})

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number), str(tmp_path / "secret" / "a.part"))

    monkeypatch.setattr(store.tempfile, "mkstemp", refuse)
    with pytest.raises(StorageFault, match=says) as fault:
        queue.update(job, result={"finished": 1})
    assert "\n" not in str(fault.value) and "secret" not in str(fault.value)


@pytest.mark.parametrize("seen", ["soon", b"\xff", 1e300, -5.0, 4e9])
def test_a_damaged_or_future_sign_of_life_stops_neither_pages_nor_the_end_of_a_worker(tmp_path, seen):
    queue = JobQueue(tmp_path)
    queue.client_seen()
    with sqlite3.connect(tmp_path / database.FILE) as db:
        db.execute("update clients set seen = ?", (seen,))
    db.close()
    worker.work(queue, {}, idle_seconds=-1.0)  # it ends
    queue.client_seen()
    assert abs(queue.last_client() - time.time()) < 60


def test_a_clock_that_is_set_back_loses_no_run_and_no_place(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    queue, now = JobQueue(tmp_path), [2e9]
    monkeypatch.setattr(time, "time", lambda: now[0])
    first = queue.submit("count", {"n": 1})
    job = queue.take()
    now[0] -= 1e6
    second = queue.submit("count", {"n": 1})
    worker.run_job(queue, job, RUNNERS)
    ended = queue.get(first)
    assert (ended.state, ended.result["finished"], ended.seconds) == ("done", 1, None)
    assert queue.get(second).place == 1 and queue.sweep() == 0
    worker.work(queue, RUNNERS, idle_seconds=-1.0)
    assert queue.get(second).state == "done" and {one.id for one in queue.list_jobs()} == {first, second}


def test_a_file_of_a_newer_version_is_used_or_refused_in_a_sentence(tmp_path):
    job = JobQueue(tmp_path).submit("count", {"n": 1})

    def newer(statement):
        with sqlite3.connect(tmp_path / database.FILE) as db:
            db.execute(statement)
            db.execute(f"pragma user_version = {database.VERSION + 1}")
        db.close()

    newer("alter table jobs add column colour text not null default 'red'")
    assert JobQueue(tmp_path).submit("count", {}) and JobQueue(tmp_path).get(job).request == {"n": 1}
    newer("alter table jobs rename column note to remark")
    with pytest.raises(StorageFault, match="made by a newer version"):
        JobQueue(tmp_path)


def test_a_request_of_a_newer_version_fails_in_a_sentence_and_the_next_one_runs(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    queue = JobQueue(tmp_path)
    runners = worker.RUNNERS | RUNNERS
    future = [
        ("dream", {"formula": "TiO2"}),
        ("predict-structure", {"formula": "TiO2", "quantum_computer": True}),
        ("generate", {"n": 1, "quantum_computer": True}),
        ("relax", {"crystals": [], "quantum_computer": True}),
        ("predict-property", {"crystals": [], "quantum_computer": True}),
        ("infill", {"crystal": CELL, "sites": [0], "quantum_computer": True}),
        ("compare", {"columns": [], "n": 1, "quantum_computer": True}),
    ]
    jobs = [queue.submit(kind, request) for kind, request in future]
    last = queue.submit("count", {"n": 1})
    worker.work(queue, runners, idle_seconds=-1.0)
    assert queue.get(last).state == "done"
    for job, (kind, _) in zip(jobs, future, strict=True):
        ended = queue.get(job)
        assert ended.state == "failed" and "Something unexpected" not in ended.error, (kind, ended.error)


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser may become somebody else")
def test_a_folder_that_may_not_be_written_is_one_sentence(tmp_path):
    home = tmp_path / "home"
    home.mkdir(mode=0o555)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    code = f"""
import os, pathlib
from crystal_core.errors import StorageFault
from crystal_core.jobs.queue import JobQueue
os.setuid(65534)
for home in ("home", "home/inner"):
    try:
        JobQueue(pathlib.Path({str(tmp_path)!r}) / home)
    except StorageFault as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("cannot be written") == 2


def test_paths_of_several_writers_are_all_kept(tmp_path):
    queue = JobQueue(tmp_path)
    job = queue.submit("count", {})
    code = (
        "import pathlib, sys; from crystal_core.jobs.queue import JobQueue; q = "
        "JobQueue(pathlib.Path(sys.argv[1]));[q.update(sys.argv[2], trajectory={'label': f'{sys.argv[3]} "
        "{k}'}) for k in range(10)]"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), job, str(n)]) for n in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert len(queue.get(job).trajectories) == 30


def test_unfinished_files_are_swept_when_they_are_old(tmp_path):
    queue = JobQueue(tmp_path)
    job = queue.submit("count", {})
    queue.update(job, state="done", result={"finished": 1})
    folder = next((tmp_path / "store").glob("*"))
    for name in ("a1b2.part", "tmpab12cd_3"):
        (folder / name).write_bytes(gzip.compress(b"{}"))
    assert queue.sweep() == 0  # somebody may still be writing them
    assert queue.sweep(older_than=-1) == 2 and queue.get(job).result


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """A queue and a list: while it holds a number, the store takes no file once so many have been synced."""
    room, synced, sync = [], [], os.fsync

    def fsync(handle):
        synced.append(handle)
        if room and len(synced) > room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(worker, "RETRY_SECONDS", 0.01)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return JobQueue(tmp_path), room


RUNNERS = {"count": "slow_runner:count"}


def test_a_run_on_a_full_disk_goes_on_and_its_result_waits_for_room(disk, monkeypatch):
    queue, room = disk
    room.append(2)
    waited = []
    monkeypatch.setattr(
        worker.time, "sleep", lambda _: waited.append(1) or (len(waited) > 8 and room.clear())
    )
    job = queue.submit("count", {"n": 5})
    worker.run_job(queue, queue.take(), RUNNERS)
    ended = queue.get(job)
    assert (ended.state, ended.result["finished"], ended.error) == ("done", 5, None) and len(waited) > 8


def test_a_disk_that_stays_full_keeps_the_last_result_that_fitted(disk, monkeypatch):
    queue, room = disk
    room.append(2)
    monkeypatch.setattr(worker, "FAULT_SECONDS", 0.05)
    job = queue.submit("count", {"n": 5})
    worker.run_job(queue, queue.take(), RUNNERS)
    ended = queue.get(job)
    assert ended.state == "failed" and "is full" in ended.error and ended.result["finished"] == 1
    room.clear()
    again = queue.submit("count", {"n": 2})
    worker.run_job(queue, queue.take(), RUNNERS)
    assert queue.get(again).state == "done"


def test_a_database_that_refuses_the_end_of_a_run_does_not_leave_it_running(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setattr(worker, "FAULT_SECONDS", -1.0)
    monkeypatch.setattr(worker, "RETRY_SECONDS", 0.01)
    queue, faults = JobQueue(tmp_path), []
    update = queue.update

    def refusing(job, **columns):
        if "state" in columns and len(faults) < 2:
            faults.append(columns)
            raise StorageFault("The disk is full.")
        update(job, **columns)

    monkeypatch.setattr(queue, "update", refusing)
    lost, following = queue.submit("count", {"n": 1}), queue.submit("count", {"n": 1})
    for _ in range(2):  # with no patience the first worker leaves at the fault
        worker.work(queue, RUNNERS, idle_seconds=0.0)
    assert [queue.get(job).state for job in (lost, following)] == ["interrupted", "done"] and faults
    assert queue.get(lost).result["finished"] == 1


def test_tables_are_made_once_and_again_in_a_file_that_lost_its_mark(tmp_path, monkeypatch):
    statements = []

    def traced(path, **options):
        db = plain(path, **options)
        db.set_trace_callback(statements.append)
        return db

    plain = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", traced)
    JobQueue(tmp_path)
    assert any("create table" in text for text in statements)
    statements.clear()
    for _ in range(3):
        JobQueue(tmp_path)
    assert statements == ["pragma user_version"] * 3
    job_id = JobQueue(tmp_path).submit("count", {"n": 1})
    with sqlite3.connect(tmp_path / database.FILE) as db:  # a file of an earlier version
        db.execute("pragma user_version = 0")
        db.execute("drop index by_owner")
        db.execute("alter table jobs drop column owner")
        assert db.execute("pragma journal_mode").fetchone() == ("wal",)
    db.close()
    assert [job.id for job in JobQueue(tmp_path, client="").list_jobs()] == [job_id]
