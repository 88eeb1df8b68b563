"""Browsers share one queue: they take turns, and none fills the queue or the disk."""

import random
import sqlite3
import time

import pytest

from crystal_core.errors import RequestError
from crystal_core.jobs import database
from crystal_core.jobs.queue import JobQueue
from crystal_core.shares import Shares, variable


def browsers(home, *names):
    return [JobQueue(home, client=name) for name in names]


def test_one_run_of_another_browser_does_not_wait_for_all_of_the_first(tmp_path):
    ada, ben, shell = browsers(tmp_path, "ada", "ben", "")
    of = {ada.submit("count", {"n": n}): f"a{n}" for n in range(4)}
    of |= {ben.submit("count", {"n": n}): f"b{n}" for n in range(2)} | {shell.submit("count", {}): "s"}
    worker = JobQueue(tmp_path)
    taken = [of[job.id] for job in iter(worker.take, None)]
    assert taken == ["a0", "b0", "s", "a1", "b1", "a2", "a3"]


def test_a_clock_that_was_set_back_changes_no_turn_and_no_time(tmp_path, monkeypatch):
    ada, ben = browsers(tmp_path, "ada", "ben")
    first, second = ada.submit("count", {"n": 1}), ada.submit("count", {"n": 2})
    assert ada.take().id == first
    ada.update(first, step=5, n_steps=10)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 3600)
    other = ben.submit("count", {"n": 3})
    assert ada.get(first).eta_seconds is None
    ada.update(first, state="done", finished=time.time())
    assert ada.get(first).seconds is None
    assert [ada.take().id, ada.take().id] == [other, second]


def test_the_time_left_falls_between_two_steps_of_a_run(tmp_path, monkeypatch):
    (queue,) = browsers(tmp_path, "ada")
    began = time.time()
    run = queue.submit("count", {"n": 1})
    monkeypatch.setattr(time, "time", lambda: began)
    assert queue.take().id == run and queue.get(run).eta_seconds is None
    monkeypatch.setattr(time, "time", lambda: began + 10)
    queue.update(run, step=10, n_steps=40)
    left = {}
    for later in (0, 12, 29, 90):
        monkeypatch.setattr(time, "time", lambda later=later: began + 10 + later)
        left[later] = queue.get(run).eta_seconds
    assert left == pytest.approx({0: 30.0, 12: 18.0, 29: 1.0, 90: 0.0})
    queue.update(run, stage="still waiting")  # no step: the pace is that of the last one
    assert queue.get(run).eta_seconds == 0.0


def test_the_place_in_the_queue_is_the_order_in_which_runs_are_taken(tmp_path):
    dice = random.Random(7)
    queues = browsers(tmp_path, "ada", "ben", "eve", "")
    for n in range(24):
        dice.choice(queues).submit("count", {"n": n, "device": "cpu"})
        if n % 5 == 4:
            queues[0].take()
    waiting = sorted(
        (job for job in queues[0].list_jobs() if job.state == "queued"), key=lambda job: job.place
    )
    assert [job.place for job in waiting] == list(range(1, len(waiting) + 1))
    assert [job.id for job in iter(queues[0].take, None)] == [job.id for job in waiting]


def test_a_full_share_is_one_sentence_and_leaves_room_for_others(tmp_path, monkeypatch):
    monkeypatch.setenv(variable("waiting"), "3")
    monkeypatch.setenv(variable("waiting_in_all"), "5")
    ada, ben, eve = browsers(tmp_path, "ada", "ben", "eve")
    ada.submit_batch("count", [{"n": 1}, {"n": 2}])
    with pytest.raises(RequestError, match=r"^2 runs are waiting already; 1 more fit\.$"):
        ada.submit_batch("count", [{}, {}])
    ada.submit("count", {})
    with pytest.raises(RequestError, match=r"^3 runs are waiting already; let some finish"):
        ada.submit("count", {})
    ben.submit_batch("count", [{}, {}])
    with pytest.raises(RequestError, match=r"^5 runs of all users .* Try again when some are done\.$"):
        eve.submit("count", {})
    JobQueue(tmp_path).take()
    assert eve.submit("count", {})


def test_results_of_one_browser_may_not_fill_the_disk(tmp_path, monkeypatch):
    monkeypatch.setenv(variable("stored_mb"), "1")
    ada, ben, shell = browsers(tmp_path, "ada", "ben", "")
    noise = random.Random(1).randbytes(600_000).hex()
    run = ada.submit("count", {})
    for queue in (ada, ada):  # the same file twice is one file
        queue.update(run, state="done", result={"finished": noise})
    ada.submit("count", {})
    ada.update(run, trajectory={"label": "x", "frames": [noise[::-1]]})
    with pytest.raises(
        RequestError, match=r"hold 1 MB, .* share of this machine is 1 MB\. Delete some in History"
    ):
        ada.submit("count", {})
    assert ben.submit("count", {}) and shell.submit("count", {})
    ada.delete(run)
    assert ada.submit("count", {})


def test_rows_that_name_no_run_stop_neither_the_queue_nor_a_list(tmp_path):
    queue = JobQueue(tmp_path)
    with sqlite3.connect(tmp_path / database.FILE) as db:
        for name, owner, started in ((None, "eve", "soon"), (b"\xff", b"\x00", None), ("", 7, b"x")):
            db.execute(
                "insert into jobs (id, kind, request, state, created, started, owner) values (?, 'count', "
                "'{}', 'queued', 1, ?, ?)",
                (name, started, owner),
            )
    db.close()
    run = queue.submit("count", {"n": 1})
    assert run in {job.id for job in queue.list_jobs()}
    taken = [job.id for job in iter(queue.take, None)]
    assert run in taken and len(taken) <= 2


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", "²"])
def test_a_wrong_limit_is_one_sentence(tmp_path, monkeypatch, text):
    monkeypatch.setenv(variable("waiting"), text)
    with pytest.raises(RequestError, match=r"^CRYSTAL_SHARE_WAITING is '.*'\. Give a whole number from 1\.$"):
        JobQueue(tmp_path).submit("count", {})


def test_limits_reach_another_process_as_they_are(monkeypatch):
    from crystal_core.shares import shares

    wanted = Shares(waiting=2, waiting_in_all=9, stored_mb=70, uploads=4)
    for name, value in wanted.as_environment().items():
        monkeypatch.setenv(name, value)
    assert shares() == wanted != Shares()
