"""The worker: one process per device that takes jobs in order, writes what they tell, and survives nothing but itself.

``python -m crystal_core.jobs.worker --device cpu``; pages start it through :func:`ensure_worker`.
"""

from __future__ import annotations

import argparse
import fcntl
import importlib
import logging
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

from crystal_core.errors import CrystalCoreError
from crystal_core.frames import RunUpdate
from crystal_core.jobs.queue import Job, JobQueue
from crystal_core.paths import home_dir

log = logging.getLogger(__name__)
RUNNERS = {
    "predict-structure": "crystal_core.workflows.predict_structure:run",
    "generate": "crystal_core.workflows.generate:run",
    "relax": "crystal_core.workflows.relax:run",
}
SNAPSHOT_SECONDS = 0.5
IDLE_SECONDS = 120.0
Runner = Callable[[Mapping[str, Any]], Generator[RunUpdate, None, None]]


def ensure_worker(home: Path | None = None, runners: str | None = None) -> None:
    """Start a worker for every device that has something to do, unless one holds its lock; says that a client is there."""
    folder = home or home_dir()
    queue = JobQueue(folder)
    queue.client_seen()
    for device in queue.workers_wanted() or ["cpu"]:
        _start(device, folder, runners)


def _start(device: str, folder: Path, runners: str | None) -> None:
    with (folder / f"worker-{device}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
    command = [sys.executable, "-m", "crystal_core.jobs.worker", "--device", device]
    if runners:
        command += ["--runners", runners]
    with (folder / "worker.log").open("ab") as output:
        subprocess.Popen(
            command,
            env={**os.environ, "CRYSTAL_HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def work(
    queue: JobQueue, runners: Mapping[str, str], idle_seconds: float = IDLE_SECONDS, device: str = "cpu"
) -> None:
    """Take the jobs of a device until nobody has been there for ``idle_seconds``."""
    idle_since = time.time()
    while True:
        job = queue.take(device)
        if job is not None:
            run_job(queue, job, runners)
            idle_since = time.time()
        elif time.time() - max(idle_since, queue.last_client()) > idle_seconds:
            return
        else:
            time.sleep(0.2)


def run_job(queue: JobQueue, job: Job, runners: Mapping[str, str]) -> None:
    """Drive one job to its end; whatever it raises ends the job, never the worker."""
    has_result, last_snapshot = False, 0.0
    try:
        updates = _runner(job.kind, runners)(job.request)
        for update in updates:
            now = time.monotonic()
            fresh = update.snapshot is not None and now - last_snapshot >= SNAPSHOT_SECONDS
            if (
                fresh
                or update.result is not None
                or update.trajectory is not None
                or now - last_snapshot >= SNAPSHOT_SECONDS
            ):
                last_snapshot = now
                queue.update(
                    job.id,
                    stage=update.stage,
                    step=update.step,
                    n_steps=update.n_steps,
                    result=update.result,
                    snapshot=update.snapshot,
                    trajectory=update.trajectory,
                )
                has_result = has_result or update.result is not None
                if queue.state_of(job.id) != "running":
                    updates.close()
                    queue.update(job.id, state="partial", finished=time.time())
                    return
        queue.update(job.id, state="done" if has_result else "partial", finished=time.time())
    except CrystalCoreError as error:
        queue.update(
            job.id, state="failed", error=str(error), exit_code=error.exit_code, finished=time.time()
        )
    except Exception:
        mark = secrets.token_hex(4)
        log.exception("job %s failed (%s)", job.id, mark)
        queue.update(
            job.id,
            state="failed",
            finished=time.time(),
            error=f"Something unexpected went wrong. Its trace is in the worker's log under {mark}.",
        )
    finally:
        if (
            "torch" in sys.modules
        ):  # else the job cannot have changed them, and importing it would take seconds
            from crystal_core.device import restore_threads

            restore_threads()


def _runner(kind: str, runners: Mapping[str, str]) -> Runner:
    if kind not in runners:
        raise CrystalCoreError(f"This version cannot run jobs of the kind '{kind}'.")
    module, function = runners[kind].split(":")
    return getattr(importlib.import_module(module), function)


def main() -> None:
    """Hold the device's lock and work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runners", help="module:MAPPING of job kinds to module:function")
    options = parser.parse_args()
    os.environ.setdefault(
        "OPENBLAS_NUM_THREADS", "1"
    )  # numpy's own threads fight with torch's for the same cores
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    runners: Mapping[str, str] = RUNNERS
    if options.runners:
        module, name = options.runners.split(":")
        runners = getattr(importlib.import_module(module), name)
    queue = JobQueue()
    with (queue.home / f"worker-{options.device}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        queue.interrupt_orphans(options.device)
        queue.sweep()
        work(queue, runners, device=options.device)


if __name__ == "__main__":
    main()
