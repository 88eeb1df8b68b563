"""Runs survive what happens to pages and workers: cancel, crash, kill -9."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crystal_core.jobs import worker as jobs_worker
from crystal_core.jobs.owners import OWNER, serving
from crystal_core.jobs.queue import JobQueue

HERE = Path(__file__).parent


def start(home, owner=None):
    environment = {**os.environ, "CRYSTAL_HOME": str(home), "PYTHONPATH": str(HERE)}
    if owner is not None:
        environment[OWNER] = str(owner)
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "crystal_core.jobs.worker",
            "--device",
            "cpu",
            "--runners",
            "slow_runner:MAPPING",
        ],
        env=environment,
        pass_fds=() if owner is None else (owner,),
    )


@pytest.fixture
def worker(tmp_path):
    queue = JobQueue(tmp_path)
    queue.client_seen()
    processes = [start(tmp_path)]
    yield queue, processes
    for process in processes:
        process.kill()
        process.wait()


def until(queue, job, condition, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        run = queue.get(job)
        if condition(run):
            return run
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s; the job is {queue.get(job)}")


def test_jobs_run_in_order_and_keep_their_results(worker):
    queue, _ = worker
    first, second = (queue.submit("count", {"n": 3}) for _ in range(2))
    done = until(queue, second, lambda j: j.state == "done")
    assert done.result["finished"] == 3 and queue.get(first).finished <= done.started
    assert done.text == "written 2"  # an update without a text leaves the last one standing


def test_cancel_keeps_what_is_finished(worker):
    queue, (process,) = worker
    job = queue.submit("count", {"n": 2000, "pause": 0.02})
    until(queue, job, lambda j: j.result)
    # on a machine with few cores, pages are to be answered first
    assert os.getpriority(os.PRIO_PROCESS, process.pid) > os.getpriority(os.PRIO_PROCESS, 0)
    queue.cancel(job)
    ended = until(queue, job, lambda j: not j.live)
    assert ended.state == "partial" and 1 <= ended.result["finished"] < 2000


def test_kill_9_leaves_an_interrupted_job_and_the_next_one_runs(worker, tmp_path):
    queue, processes = worker
    lost, waiting = queue.submit("count", {"n": 2000, "pause": 0.02}), queue.submit("count", {"n": 2})
    until(queue, lost, lambda j: j.result)
    processes[0].send_signal(signal.SIGKILL)
    processes[0].wait()
    processes.append(start(tmp_path))
    assert until(queue, waiting, lambda j: not j.live).state == "done"
    ended = queue.get(lost)
    assert ended.state == "interrupted" and ended.result["finished"] >= 1


def test_a_run_whose_worker_died_is_marked_before_another_worker_is_up(worker, tmp_path, monkeypatch):
    queue, processes = worker
    lost = queue.submit("count", {"n": 2000, "pause": 0.02})
    until(queue, lost, lambda j: j.result)
    started = []
    monkeypatch.setattr(jobs_worker.subprocess, "Popen", lambda command, **_: started.append(command))
    jobs_worker.resume_jobs(tmp_path)
    assert queue.get(lost).state == "running" and not started  # its worker lives
    processes[0].send_signal(signal.SIGKILL)
    processes[0].wait()
    jobs_worker.resume_jobs(tmp_path)
    assert queue.get(lost).state == "interrupted" and queue.get(lost).result
    waiting = len(started)
    jobs_worker.resume_jobs(tmp_path)
    assert len(started) == waiting  # nothing is left to do
    queue.submit("count", {})
    jobs_worker.resume_jobs(tmp_path)
    assert len(started) == waiting + 1


def test_pages_that_come_while_a_worker_starts_start_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
    started, run = [], subprocess.Popen
    monkeypatch.setattr(
        jobs_worker.subprocess, "Popen", lambda *a, **k: started.append(run(*a, **k)) or started[-1]
    )
    queue = JobQueue(tmp_path)
    job = queue.submit("count", {"n": 3})
    try:
        for _ in range(20):
            jobs_worker.ensure_worker(tmp_path, "slow_runner:MAPPING")
        assert len(started) == 1
        assert until(queue, job, lambda j: not j.live).state == "done"
        assert jobs_worker.worker_problem(tmp_path) == ""
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_pages_that_expect_a_run_share_one_worker_which_warms_up_once_and_then_works(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
    started, run = [], subprocess.Popen
    monkeypatch.setattr(
        jobs_worker.subprocess, "Popen", lambda *a, **k: started.append(run(*a, **k)) or started[-1]
    )
    queue = JobQueue(tmp_path)
    try:
        for _ in range(20):
            jobs_worker.ensure_worker(tmp_path, "slow_runner:MAPPING", warm_up="slow_runner:warm_up")
        log = tmp_path / "worker.log"
        end = time.monotonic() + 60
        while "a step fails" not in log.read_text(encoding="utf-8") and time.monotonic() < end:
            time.sleep(0.05)
        jobs_worker.ensure_worker(tmp_path, "slow_runner:MAPPING", warm_up="slow_runner:warm_up")
        assert until(queue, queue.submit("count", {"n": 3}), lambda j: not j.live).state == "done"
        (process,) = started
        steps = (tmp_path / "steps").read_text(encoding="utf-8").splitlines()
        assert steps == [f"{process.pid} {step}" for step in range(3)]
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_job_waits_for_one_step_of_a_warm_up_at_most(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    queue, states = JobQueue(tmp_path), []

    def steps():
        jobs = [queue.submit("count", {"n": 1}) for _ in range(2)]
        yield
        states.extend(queue.get(job).state for job in jobs)
        yield

    mapping = {"count": "slow_runner:count"}
    jobs_worker.work(queue, mapping, idle_seconds=0.5, warm_up=steps())
    assert states == ["done", "done"]


def test_a_worker_that_ends_while_it_starts_is_said_and_tried_less_and_less_often(tmp_path, monkeypatch):
    (tmp_path / "sqlite3.py").write_text("raise SystemExit('this machine is broken')", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    started, run = [], subprocess.Popen
    monkeypatch.setattr(jobs_worker.subprocess, "Popen", lambda *a, **k: started.append(run(*a, **k)))
    queue = JobQueue(tmp_path / "home")
    job = queue.submit("count", {})
    for _ in range(10):
        jobs_worker.ensure_worker(queue.home)
        for process in started:
            process.wait()
    assert len(started) == jobs_worker.QUICK_STARTS
    assert "this machine is broken" in (queue.home / "worker.log").read_text(encoding="utf-8")
    problem = jobs_worker.worker_problem(queue.home)
    assert "ended 3 times" in problem and "worker.log" in problem and "\n" not in problem
    assert queue.get(job).state == "queued"
    old = time.time() - 3600
    os.utime(queue.home / "worker-cpu.starts", (old, old))
    jobs_worker.ensure_worker(queue.home)
    assert len(started) == jobs_worker.QUICK_STARTS + 1
    started[-1].wait()


def test_a_worker_ends_with_its_owner_and_marks_its_run(tmp_path):
    queue = JobQueue(tmp_path)
    queue.client_seen()
    reader, writer = os.pipe()
    process = start(tmp_path, owner=reader)
    os.close(reader)
    try:
        job = queue.submit("count", {"n": 20000, "pause": 0.02})
        until(queue, job, lambda j: j.result)
        assert process.poll() is None
        os.close(writer)
        assert process.wait(30) == 0
        ended = queue.get(job)
        assert ended.state == "interrupted" and ended.result["finished"] >= 1
    finally:
        process.kill()
        process.wait()


def test_a_worker_whose_owner_ends_works_on_for_the_other_servers_of_the_folder(tmp_path):
    first, second = JobQueue(tmp_path, client="first"), JobQueue(tmp_path, client="second")
    first.client_seen()
    reader, writer = os.pipe()
    with serving(tmp_path):
        process = start(tmp_path, owner=reader)
        os.close(reader)
        try:
            jobs = [queue.submit("count", {"n": 40, "pause": 0.02}) for queue in (first, second) * 2]
            until(first, jobs[0], lambda j: j.result)
            os.close(writer)  # the server that started the worker has ended
            for job in jobs:
                ended = until(second, job, lambda j: not j.live)
                assert (ended.state, ended.result["finished"]) == ("done", 40)
                assert first.get(job).result == ended.result
            assert process.poll() is None
        except BaseException:
            process.kill()
            raise
    assert process.wait(30) == 0  # the last server has ended


def test_two_queues_of_one_folder_have_each_job_run_once(tmp_path):
    queues = [JobQueue(tmp_path, client=name) for name in ("first", "second")]
    jobs = [queue.submit("mark", {"name": f"{k}"}) for k, queue in enumerate(queues * 3)]
    processes = [start(tmp_path), start(tmp_path)]
    try:
        for job in jobs:
            assert until(queues[0], job, lambda j: not j.live).state == "done"
    finally:
        for process in processes:
            process.kill()
            process.wait()
    marks = (tmp_path / "marks").read_text(encoding="utf-8").split()
    assert sorted(marks) == sorted(map(str, range(6)))
    assert all(queue.get(job).result["finished"] == 1 for queue in queues for job in jobs)


def test_failures_are_sentences_and_crashes_hide_their_trace(worker):
    queue, _ = worker
    refused, crashed = queue.submit("count", {"refuse": True}), queue.submit("count", {"crash_at": 2})
    refusal = until(queue, refused, lambda j: not j.live)
    assert (refusal.error, refusal.exit_code) == ("The request is refused for the test.", 2)
    ended = until(queue, crashed, lambda j: not j.live)
    assert (
        ended.state == "failed"
        and "secret" not in ended.error
        and ended.exit_code == 1
        and ended.result["finished"] == 2
    )
    assert until(queue, queue.submit("nonsense", {}), lambda j: not j.live).state == "failed"


def test_a_second_worker_of_the_device_leaves_at_once(worker, tmp_path):
    queue, _ = worker
    until(queue, queue.submit("count", {"n": 1}), lambda j: j.state == "done")
    assert start(tmp_path).wait(timeout=30) == 0


def test_waiting_jobs_know_their_place_and_can_be_deleted_when_over(tmp_path):
    queue = JobQueue(tmp_path)
    first, second = queue.submit("count", {}), queue.submit("count", {})
    assert (queue.get(first).place, queue.get(second).place) == (1, 2)
    queue.delete(second)
    assert queue.get(second) is not None  # live jobs are not deleted
    queue.cancel(second)
    queue.delete(second)
    assert queue.get(second) is None


def test_the_threads_of_one_job_are_not_those_of_the_next(tmp_path, monkeypatch):
    import torch

    from crystal_core import device
    from crystal_core.jobs.worker import run_job

    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setattr(device, "THREADS", torch.get_num_threads())
    queue = JobQueue(tmp_path)
    for request in ({}, {"refuse": True}):
        queue.submit("count", request | {"threads": device.THREADS + 1})
        run_job(queue, queue.take(), {"count": "slow_runner:count"})
        assert torch.get_num_threads() == device.THREADS
