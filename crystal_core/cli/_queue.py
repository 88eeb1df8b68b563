"""Run a command through the queue of the app: submit, watch, cancel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from crystal_core.cli._run import progress
from crystal_core.errors import CrystalCoreError
from crystal_core.interruption import is_interrupted
from crystal_core.requests import to_json

if TYPE_CHECKING:
    from crystal_core.records import RunResult, Trajectory


def submitted(kind: str, request: Any) -> Iterator[Any]:
    """The updates of a run in the worker, each with what is finished; an interruption here cancels it.

    Raises:
        CrystalCoreError: what ended the run, with the exit code it would have had here, or
            the run was deleted.
        KeyboardInterrupt: it was cancelled in the app, or its worker was ended.
    """
    import time

    from crystal_core.frames import RunUpdate
    from crystal_core.jobs.queue import JobQueue
    from crystal_core.jobs.worker import ensure_worker

    jobs = JobQueue()
    name = jobs.submit(kind, to_json(request))
    try:
        while (job := jobs.get(name)) is not None and job.live:
            ensure_worker()
            yield RunUpdate(stage=job.stage, step=job.step, n_steps=max(1, job.n_steps), result=job.result)
            time.sleep(0.3)
    except (KeyboardInterrupt, GeneratorExit):
        jobs.cancel(name)
        raise
    if job is None:
        raise CrystalCoreError("The run was deleted while it was waited for.")
    if job.damaged and job.state != "failed":
        raise CrystalCoreError(job.error)
    for path in job.trajectories:
        yield RunUpdate(stage=job.stage, step=job.step, n_steps=max(1, job.n_steps), trajectory=path)
    yield RunUpdate(stage=job.state, step=job.step, n_steps=max(1, job.n_steps), result=job.result)
    if job.state == "failed":
        error = CrystalCoreError(job.error)
        error.exit_code = job.exit_code
        raise error
    if job.state != "done":
        raise KeyboardInterrupt


def work_through(
    updates: Iterator[Any], finish: Callable[[RunResult | None, list[Trajectory]], None], *, quiet: bool
) -> None:
    """Show the progress of a run and ``finish`` with its last result and its paths, whatever ends it."""
    result: RunResult | None = None
    paths: list[Trajectory] = []
    try:
        with progress(quiet=quiet) as show:
            for update in updates:
                result = update.result or result
                paths += [update.trajectory] if update.trajectory else []
                show(update.stage, update.step, update.n_steps)
    finally:
        if result is not None and is_interrupted():
            result["interrupted"] = True
        finish(result, paths)
