"""The worker runs the queued jobs of one device in order and records their progress.

A crashing job does not stop it.

``python -m crystal_core.jobs.worker --device cpu``; pages start it through :func:`ensure_worker`. A worker
that ``crystal-core serve`` has started through its pages ends with the last server of its folder.
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
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from crystal_core.errors import CrystalCoreError, StorageFault
from crystal_core.frames import RunUpdate
from crystal_core.jobs.database import storage_faults
from crystal_core.jobs.job import Job
from crystal_core.jobs.owners import owner_pipe, wait_for_the_last
from crystal_core.jobs.queue import JobQueue, worker_of
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
WARM_UP = "crystal_core.workflows.warm_up:steps"
SNAPSHOT_SECONDS = 0.5
IDLE_SECONDS = 600.0  # a reader looks at a result for minutes, and a new worker would load everything again
# pages are short bursts with a user waiting: they come before runs on the same core
NICE = 10
RETRY_SECONDS = 2.0
FAULT_SECONDS = 600.0  # how long a finished result waits in memory for room on the disk
QUICK_STARTS = 3  # starts of a worker that ends at once; later attempts wait longer and longer
LONGEST_PAUSE = 60.0  # seconds
LOCK_SECONDS = 1.0  # a page may hold the lock for a moment while it looks for a worker
Runner = Callable[[Mapping[str, Any]], Generator[RunUpdate, None, None]]


def ensure_worker(home: Path | None = None, runners: str | None = None, *, warm_up: str = "") -> None:
    """Start a worker for every device that has something to do, unless one holds its lock.

    Says that a client is there.

    Runs that a dead worker has left running become interrupted.

    Args:
        warm_up: module:function, an iterator of steps that load what a first run needs; a worker that this
            starts takes them while no job waits.
    """
    folder = home or home_dir()
    queue = JobQueue(folder)
    queue.client_seen()
    for device in queue.workers_wanted() or [worker_of({})]:
        _start(device, queue, runners, warm_up)


def expect_run(home: Path | None = None) -> None:
    """Have a worker load what a first structure prediction needs, since a page that requests one is open.

    Nothing where the disk refuses; the run itself will say why.
    """
    with suppress(StorageFault):
        ensure_worker(home, warm_up=WARM_UP)


def resume_jobs(home: Path | None = None) -> None:
    """Start the workers that waiting jobs need and mark what dead ones left running.

    Nothing where no job is live.
    """
    if JobQueue(home).workers_wanted():
        ensure_worker(home)


def _start(device: str, queue: JobQueue, runners: str | None, warm_up: str) -> None:
    folder = queue.home
    with storage_faults(folder):
        _start_in(folder, device, queue, runners, warm_up)


def _start_in(folder: Path, device: str, queue: JobQueue, runners: str | None, warm_up: str) -> None:
    with (folder / f"worker-{device}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        queue.interrupt_orphans(device)  # under the lock: no worker of this device can be at work on them
        starts = folder / f"worker-{device}.starts"
        failed, when = _failed_starts(starts)
        if failed >= QUICK_STARTS and 0 <= time.time() - when < min(LONGEST_PAUSE, 2.0 ** (failed - 1)):
            return
        starts.write_text(f"{failed + 1}", encoding="ascii")
        command = [sys.executable, "-m", "crystal_core.jobs.worker", "--device", device]
        # the worker inherits the lock: while it imports its libraries, other pages would each start one more
        command += ["--lock", str(lock.fileno())]
        if runners:
            command += ["--runners", runners]
        if warm_up:
            command += ["--warm-up", warm_up]
        inherited = [lock.fileno(), owner] if (owner := owner_pipe()) is not None else [lock.fileno()]
        with (folder / "worker.log").open("ab") as output:
            subprocess.Popen(
                command,
                env={**os.environ, "CRYSTAL_HOME": str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=inherited,
            )


def worker_problem(home: Path | None = None) -> str:
    """Why waiting runs do not begin: a worker that ends while it starts; empty where none does."""
    folder = home or home_dir()
    for path in folder.glob("worker-*.starts"):
        failed, _ = _failed_starts(path)
        if failed >= QUICK_STARTS:
            return (
                f"Waiting runs do not begin, because their worker ended {failed} times while it was "
                f"starting. The reason is in {folder / 'worker.log'}; "
                "the worker is tried again from time to time."
            )
    return ""


def _failed_starts(path: Path) -> tuple[int, float]:
    """How many workers in a row were started and did not get ready, and when the last was (Unix time)."""
    try:
        return int(path.read_text(encoding="ascii")), path.stat().st_mtime
    except (OSError, ValueError):
        return 0, 0.0


def _end_with(owner: int, queue: JobQueue, device: str) -> None:
    """Wait until the owner and all servers beside it have ended, then end this worker at once.

    Its run becomes interrupted and keeps what is finished.
    """
    wait_for_the_last(owner, queue.home)
    try:
        queue.interrupt_orphans(device)
    finally:
        os._exit(0)


def work(
    queue: JobQueue,
    runners: Mapping[str, str],
    idle_seconds: float = IDLE_SECONDS,
    device: str = "cpu",
    warm_up: Iterator[object] | None = None,
) -> None:
    """Take the jobs of a device until none has come for ``idle_seconds``.

    Args:
        warm_up: steps to take while no job waits; a job waits for one of them at most.
    """
    idle_since, broken_since = time.time(), 0.0
    while True:
        now = time.time()
        idle_since = min(idle_since, now)  # the clock may be set back
        try:
            job = queue.take(device)
            broken_since = 0.0
            if job is not None:
                run_job(queue, job, runners)
                idle_since = time.time()
            elif now - max(idle_since, min(queue.last_client(), now)) > idle_seconds:
                return
            elif warm_up is None or not _warmed(warm_up):
                time.sleep(0.2)
        except StorageFault as fault:
            log.warning("%s", fault)
            _interrupt_if_possible(queue, device)
            idle_since, broken_since = time.time(), broken_since or time.time()
            if time.time() - broken_since > FAULT_SECONDS:
                return  # the next page starts a worker again
            time.sleep(RETRY_SECONDS)


def _warmed(steps: Iterator[object]) -> bool:
    """Take one step; whether there was one. A run meets what fails here again, and says why."""
    try:
        return next(steps, steps) is not steps
    except Exception:
        log.exception("warming up failed")
        return True


def _interrupt_if_possible(queue: JobQueue, device: str) -> None:
    """Mark a run whose end could not be written, because this worker has left it."""
    with suppress(StorageFault):
        queue.interrupt_orphans(device)


class JobWriter:
    """Writes what a job yields. What a full disk refuses is kept here and written with the next update."""

    def __init__(self, queue: JobQueue, job: str) -> None:
        self._queue, self._job = queue, job
        self._columns: dict[str, Any] = {}
        self._paths: list[Any] = []

    def write(self, *, trajectory: Any = None, **columns: Any) -> StorageFault | None:
        """Write columns as :meth:`JobQueue.update` does; returns why they could not be written, or None."""
        self._columns |= {name: value for name, value in columns.items() if value is not None}
        self._paths += [] if trajectory is None else [trajectory]
        try:
            self._queue.update(self._job, **self._columns)
            self._columns = {}
            while self._paths:
                self._queue.update(self._job, trajectory=self._paths[0])
                del self._paths[0]
        except StorageFault as fault:
            return fault
        return None

    def finish(self, **columns: Any) -> None:
        """Write the last columns, and wait up to :data:`FAULT_SECONDS` for a disk that refuses them.

        Raises:
            StorageFault: it still refuses everything, so the run is left as it is.
        """
        columns["finished"] = time.time()
        stop = time.monotonic() + FAULT_SECONDS
        while (fault := self.write(**columns)) is not None:
            if time.monotonic() > stop:
                # a few bytes may fit where a result does not
                self._queue.update(self._job, state="failed", error=str(fault), finished=time.time())
                return
            time.sleep(RETRY_SECONDS)

    def is_wanted(self) -> bool:
        """Whether the job is not cancelled, as far as the database can be read."""
        try:
            return self._queue.state_of(self._job) == "running"
        except StorageFault:
            return True


def run_job(queue: JobQueue, job: Job, runners: Mapping[str, str]) -> None:
    """Drive one job to its end; whatever it raises ends the job, never the worker.

    Raises:
        StorageFault: the disk refuses even to write how the job ended.
    """
    writer, has_result, last_snapshot = JobWriter(queue, job.id), False, 0.0
    try:
        updates = _runner(job.kind, runners)(job.request)
        for update in updates:
            now = time.monotonic()
            is_due = now - last_snapshot >= SNAPSHOT_SECONDS
            if is_due or update.result is not None or update.trajectory is not None:
                last_snapshot = now
                writer.write(
                    stage=update.stage,
                    step=update.step,
                    n_steps=update.n_steps,
                    result=update.result,
                    snapshot=update.snapshot,
                    trajectory=update.trajectory,
                    text=update.text or None,
                )
                has_result = has_result or update.result is not None
                if not writer.is_wanted():
                    updates.close()
                    ending: dict[str, Any] = {"state": "partial"}
                    break
        else:
            ending = {"state": "done" if has_result else "partial"}
    except CrystalCoreError as error:
        ending = {"state": "failed", "error": str(error), "exit_code": error.exit_code}
    except Exception:
        mark = secrets.token_hex(4)
        log.exception("job %s failed (%s)", job.id, mark)
        sentence = f"Something unexpected went wrong. Its trace is in the worker's log under {mark}."
        ending = {"state": "failed", "error": sentence}
    finally:
        # else the job cannot have changed them, and importing it would take seconds
        if "torch" in sys.modules:
            from crystal_core.device import restore_threads

            restore_threads()
    writer.finish(**ending)


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
    parser.add_argument(
        "--lock", type=int, help="file descriptor of the device's lock, held by who starts this"
    )
    parser.add_argument("--runners", help="module:MAPPING of job kinds to module:function")
    parser.add_argument("--warm-up", help="module:function, steps that load what a first run needs")
    options = parser.parse_args()
    # numpy's own threads fight with torch's for the same cores
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.nice(NICE)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    runners: Mapping[str, str] = RUNNERS
    if options.runners:
        module, name = options.runners.split(":")
        runners = getattr(importlib.import_module(module), name)
    queue = JobQueue()
    if options.lock is not None:
        os.set_inheritable(options.lock, False)  # a process that this one starts must not hold it longer
    with open(options.lock or queue.home / f"worker-{options.device}.lock", "a") as lock:  # noqa: PTH123 (a number)
        if not _locked(lock):
            return
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        if (owner := owner_pipe()) is not None:
            threading.Thread(target=_end_with, args=(owner, queue, options.device), daemon=True).start()
        queue.interrupt_orphans(options.device)
        (queue.home / f"worker-{options.device}.starts").unlink(missing_ok=True)
        try:
            queue.sweep()
        except StorageFault as fault:  # runs do not need the room
            log.warning("%s", fault)
        work(queue, runners, device=options.device, warm_up=_steps(options.warm_up))


def _steps(name: str | None) -> Iterator[object]:
    """The steps of a warm-up; importing its module is the first of them."""
    if name:
        module, function = name.split(":")
        yield None
        yield from getattr(importlib.import_module(module), function)()


if __name__ == "__main__":
    main()
