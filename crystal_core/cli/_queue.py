"""A command's work done by the worker of the app instead of here: submitted to the queue, watched, cancelled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def submitted(kind: str, request: Any) -> Iterator[Any]:
    """The updates of a run that the worker does; interrupting it here cancels it there, and keeps what is finished."""
    import time

    from crystal_core.errors import CrystalCoreError
    from crystal_core.jobs.queue import JobQueue
    from crystal_core.jobs.worker import ensure_worker
    from crystal_core.requests import RunUpdate, to_json

    jobs = JobQueue()
    name = jobs.submit(kind, to_json(request))
    try:
        while (job := jobs.get(name)) is not None and job.live:
            ensure_worker()
            yield RunUpdate(stage=job.stage, step=job.step, n_steps=max(1, job.n_steps))
            time.sleep(0.3)
    except (KeyboardInterrupt, GeneratorExit):
        jobs.cancel(name)
        raise
    if job is None or job.state == "failed":
        raise CrystalCoreError((job and job.error) or "The run was deleted while it was waited for.")
    for path in job.trajectories:
        yield RunUpdate(stage=job.stage, step=1, n_steps=1, trajectory=path)
    yield RunUpdate(stage="done", step=1, n_steps=1, result=job.result)
