"""Runs of several browsers in one queue: each sees its own, everyone may look, and nobody changes
another's.
"""

import pytest

from crystal_core.errors import RequestError
from crystal_core.jobs.queue import JobQueue


@pytest.fixture
def queues(tmp_path):
    """Two browsers and the command line."""
    return [JobQueue(tmp_path, client=name) for name in ("ada", "ben", "")]


def over(queue, **more):
    job = queue.submit("count", {}, **more)
    queue.update(job, state="done")
    return job


def test_each_lists_its_own_and_everyone_sees_all(queues):
    runs = [over(queue) for queue in queues]
    batch = queues[0].submit_batch("count", [{"n": 1}, {"n": 2}])
    in_batch = [job.id for job in queues[1].list_batch(batch)]
    ada, ben, cli = ([job.id for job in queue.list_jobs(own=True)] for queue in queues)
    assert set(ada) == {runs[0], *in_batch} and ben == [runs[1]]
    assert set(cli) == {job.id for job in queues[1].list_jobs()} == {*runs, *in_batch}
    assert queues[0].get(runs[1]).owner == "ben"  # a link shows a run to everyone


@pytest.mark.parametrize(
    ("act", "state"),
    [
        (lambda queue, job: queue.delete(job), "done"),
        (lambda queue, job: queue.cancel(job), "running"),
        (lambda queue, job: queue.mark(job, starred=True, note="mine now"), "done"),
    ],
)
def test_nobody_changes_the_run_of_another_browser(queues, act, state):
    ada, ben, cli = queues
    job = ada.submit("count", {})
    cli.update(job, state=state)
    with pytest.raises(RequestError, match="belongs to another browser"):
        act(ben, job)
    unchanged = cli.get(job)
    assert (unchanged.state, unchanged.starred, unchanged.note) == (state, False, "")
    assert ada.may_change(unchanged) and not ben.may_change(unchanged)
    act(ada, job)
    changed = cli.get(job)
    assert changed is None or (changed.state, changed.note) != (state, "")


def test_runs_without_a_browser_are_anybodys_and_the_operator_may_do_all(queues):
    ada, ben, cli = queues
    unowned, owned = over(cli), over(ada)
    ben.delete(unowned)
    cli.delete(owned)
    assert cli.list_jobs() == []


def test_a_run_stays_while_another_browser_has_worked_on_its_crystals(queues):
    ada, ben, _ = queues
    parent = over(ada)
    own, other = over(ada, parent=parent), over(ben, parent=parent)
    with pytest.raises(RequestError, match="another browser works on the crystals"):
        ada.delete(parent)
    assert {job.id for job in ada.list_jobs()} == {parent, own, other}
    ben.delete(other)
    ada.delete(parent)
    assert ada.list_jobs() == []
