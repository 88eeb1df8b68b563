"""The worker runs the queued jobs of one device in order and records their progress; a crashing job does not stop it.

``python -m crystal_core.jobs.worker --device cpu``; pages start it through :func:`ensure_worker`. A worker that
``crystal-core serve`` has started through its pages ends with it.
"""

from __future__ import annotations

import argparse
import fcntl
import importlib
import logging
import os
import secrets
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import IO, Any

from crystal_core.errors import CrystalCoreError
from crystal_core.frames import RunUpdate
from crystal_core.jobs.queue import Job, JobQueue
from crystal_core.paths import home_dir

log = logging.getLogger(__name__)
RUNNERS = {
    "predict-structure": "crystal_core.workflows.predict_structure:run",
    "generate": "crystal_core.workflows.generate:run",
    "relax": "crystal_core.workflows.relax:run",
    "predict-property": "crystal_core.workflows.predict_properties:run",
    "learn-property": "crystal_core.workflows.learn_property:run",
    "infill": "crystal_core.workflows.infill:run",
    "compare": "crystal_core.workflows.compare.run:run",
}
OWNER = "CRYSTAL_OWNER"  # environment variable: the reading end of a pipe that its owner holds open while it lives
SNAPSHOT_SECONDS = 0.5
IDLE_SECONDS = 120.0
LOCK_SECONDS = 1.0  # a page may hold the lock for a moment while it looks for a worker
Runner = Callable[[Mapping[str, Any]], Generator[RunUpdate, None, None]]


def ensure_worker(home: Path | None = None, runners: str | None = None) -> None:
    """Start a worker for every device that has something to do, unless one holds its lock; says that a client is there.

    Runs that a dead worker has left running become interrupted.
    """
    folder = home or home_dir()
    queue = JobQueue(folder)
    queue.client_seen()
    for device in queue.workers_wanted() or ["cpu"]:
        _start(device, queue, runners)


def resume_jobs(home: Path | None = None) -> None:
    """Start the workers that waiting jobs need and mark what dead ones left running; nothing where no job is live."""
    if JobQueue(home).workers_wanted():
        ensure_worker(home)


def _start(device: str, queue: JobQueue, runners: str | None) -> None:
    folder = queue.home
    with (folder / f"worker-{device}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        queue.interrupt_orphans(device)  # under the lock: no worker of this device can be at work on them
    command = [sys.executable, "-m", "crystal_core.jobs.worker", "--device", device]
    if runners:
        command += ["--runners", runners]
    owner = _owner()
    with (folder / "worker.log").open("ab") as output:
        subprocess.Popen(
            command,
            env={**os.environ, "CRYSTAL_HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=() if owner is None else (owner,),
        )


def _owner() -> int | None:
    """The reading end of the owner's pipe, or None for a process without an owner."""
    text = os.environ.get(OWNER, "")
    try:
        return int(text) if text and stat.S_ISFIFO(os.fstat(int(text)).st_mode) else None
    except (ValueError, OSError):  # inherited from a process that did not hand the pipe on
        return None


def _end_with(owner: int, queue: JobQueue, device: str) -> None:
    """Wait until the owner has ended, then end this worker at once; its run becomes interrupted and keeps what is finished."""
    os.read(owner, 1)  # the owner never writes: this returns when its end of the pipe is closed
    try:
        queue.interrupt_orphans(device)
    finally:
        os._exit(0)


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
                    text=update.text or None,
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


def _locked(lock: IO[str]) -> bool:
    """Whether this process gets the lock of its device within :data:`LOCK_SECONDS`."""
    stop = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > stop:
                return False
            time.sleep(0.05)
        else:
            return True


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
        if not _locked(lock):
            return
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        if (owner := _owner()) is not None:
            threading.Thread(target=_end_with, args=(owner, queue, options.device), daemon=True).start()
        queue.interrupt_orphans(options.device)
        queue.sweep()
        work(queue, runners, device=options.device)


if __name__ == "__main__":
    main()
