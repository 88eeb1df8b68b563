"""A command's work in the queue of the app: it ends as it would have ended here, and what
is finished comes back.
"""

import pytest

from crystal_core.cli._queue import submitted
from crystal_core.errors import CrystalCoreError
from crystal_core.jobs import worker
from crystal_core.jobs.queue import JobQueue
from crystal_core.records import FORMAT
from crystal_core.requests import CrystalGenerationRequest

FINISHED = {"format": FORMAT, "crystals": [{"id": "a", "notes": []}]}


@pytest.fixture
def ends_as(tmp_path, monkeypatch):
    """Lets a worker that is none finish a part, then end the job with these columns."""
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path))
    monkeypatch.setattr("time.sleep", lambda _: None)

    def install(**columns):
        moves = [{"state": "running", "result": FINISHED, "trajectory": {"label": "a"}}, columns]

        def ensure_worker():
            (job,) = JobQueue().list_jobs()
            if moves:
                JobQueue().update(job.id, **moves.pop(0))

        monkeypatch.setattr(worker, "ensure_worker", ensure_worker)
        return submitted("count", CrystalGenerationRequest())

    return install


def until_it_ends(updates, error):
    """The updates before the error, and the error."""
    seen = []
    with pytest.raises(error) as caught:
        seen.extend(updates)
    return seen, caught.value


@pytest.mark.parametrize("code", [1, 2, 3])
def test_a_failed_run_carries_its_exit_code_and_what_was_finished(ends_as, code):
    seen, error = until_it_ends(ends_as(state="failed", error="It is so.", exit_code=code), CrystalCoreError)
    assert (str(error), error.exit_code) == ("It is so.", code)
    assert seen[-1].result == FINISHED and [u.trajectory for u in seen if u.trajectory] == [{"label": "a"}]


@pytest.mark.parametrize("state", ["partial", "interrupted"])
def test_a_run_that_was_cancelled_elsewhere_is_interrupted_here(ends_as, state):
    seen, _ = until_it_ends(ends_as(state=state), KeyboardInterrupt)
    assert seen[-1].result == FINISHED


def test_a_done_run_gives_its_result(ends_as):
    assert list(ends_as(state="done"))[-1].result == FINISHED


def test_interrupting_cancels_the_run_and_keeps_what_is_finished(ends_as):
    updates = ends_as()
    seen = [next(updates), next(updates)]
    with pytest.raises(KeyboardInterrupt):
        updates.throw(KeyboardInterrupt)
    (job,) = JobQueue().list_jobs()
    assert job.state == "cancelling" and seen[-1].result == FINISHED
