"""How fast the app answers several readers at once while jobs run, measured on a real server."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from crystal_core.errors import CrystalCoreError, MissingExtra, RequestError
from crystal_core.jobs.queue import JobQueue
from crystal_core.paths import REPOSITORY, SERVER
from crystal_core.requests import StructurePredictionRequest, to_json
from crystal_core.service.health import SECONDS_TO_START, answers

PAGES = (
    "home",
    "generate",
    "predict_structure",
    "property_predictor",
    "compare",
    "viewer",
    "history",
    "models",
)
FORMULAS = ("TiO2", "ZnS", "MgO", "SrTiO3", "NaCl")  # of the jobs, in turn


def benchmark_pages(
    sessions: int, jobs: int, seconds: float, pages: Sequence[str] = PAGES, *, pause: float = 0.0
) -> dict[str, Any]:
    """Median, 95 % and worst time of a page, over all and for each, and the server's processor time per page.

    Every page is opened once before the clock starts: what a server imports for its first reader
    is no page's time.

    Args:
        sessions: readers, each with a connection of its own, who ask for the next page once they have one.
        jobs: predictions by the prototype library that are put into the queue first.
        seconds: how long readers begin pages. pages: their names.
        pause: mean seconds that a reader looks at a page before the next one.

    Raises:
        RequestError: an unknown page.
        MissingExtra: the app is not beside the package.
        CrystalCoreError: a page failed.
    """
    if unknown := sorted(set(pages) - set(PAGES)):
        raise RequestError(f"There is no page {', '.join(unknown)}; choose from {', '.join(PAGES)}.")
    if not SERVER.is_file():
        raise MissingExtra("The app is not beside the installed package; run this from a clone.")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        _submit(home, jobs)
        with _server(home) as (address, server):
            _read(address, 1, 0.0, pages)
            before, begun = _processor_seconds(server), time.monotonic()
            times = _read(address, sessions, seconds, pages, pause)
            wall, after = time.monotonic() - begun, _processor_seconds(server)
        done = _count_done(home)
    by_page = {page: _spread([s for name, s in times if name == page]) for page in pages}
    used = (
        {}
        if after is None or before is None
        else {"processor_seconds_per_page": (after - before) / len(times)}
    )
    return {
        "sessions": sessions,
        "jobs": jobs,
        "jobs_done": done,
        "pause_seconds": pause,
        "seconds": wall,
        "n_pages": len(times),
        **_spread([s for _, s in times]),
        **used,
        "by_page": by_page,
    }


def _spread(times: Sequence[float]) -> dict[str, float]:
    return {
        "median_seconds": float(np.median(times)),
        "p95_seconds": float(np.quantile(times, 0.95)),
        "worst_seconds": float(max(times)),
    }


def _submit(home: Path, jobs: int) -> None:
    from crystal_core.service.access import NO_ID

    queue = JobQueue(home, client=NO_ID)  # the readers' own id, so that these runs are in their lists
    for k in range(jobs):
        request = StructurePredictionRequest(
            formula=FORMULAS[k % len(FORMULAS)], model="prototype", start="prototype", seed=k
        )
        queue.submit("predict-structure", to_json(request))


def _count_done(home: Path) -> int:
    return sum(job.state == "done" for job in JobQueue(home).list_jobs(results=False))


@contextmanager
def _server(home: Path) -> Iterator[tuple[str, int]]:
    """The app on a free port: its address without the scheme, and its process.

    App and worker end with the block.
    """
    from crystal_core.jobs.owners import OWNER

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    reader, writer = os.pipe()
    command = [
        "-m",
        "streamlit",
        "run",
        str(SERVER),
        "--server.address",
        "127.0.0.1",
        "--server.port",
        str(port),
    ]
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=REPOSITORY,
        env=os.environ | {"CRYSTAL_HOME": str(home), OWNER: str(reader)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(reader,),
    )
    try:
        address = f"127.0.0.1:{port}"
        if not answers(f"http://{address}", lambda: process.poll() is not None, seconds=SECONDS_TO_START):
            raise CrystalCoreError(
                f"The app did not answer within {SECONDS_TO_START:.0f} s, so its pages were not measured."
            )
        yield address, process.pid
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()
        os.close(writer)
        os.close(reader)
        _wait_for_worker(home)


def _wait_for_worker(home: Path) -> None:
    """Wait until the worker, which ends with its owner, releases its lock and stops writing to ``home``."""
    with (home / "worker-cpu.lock").open("a") as lock:
        for _ in range(100):
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(0.1)


def _read(
    address: str, sessions: int, seconds: float, pages: Sequence[str], pause: float = 0.0
) -> list[tuple[str, float]]:
    command = ["-m", "pages._ui.load", f"ws://{address}", "--sessions", str(sessions)]
    command += ["--seconds", str(seconds), "--pause", str(pause), "--pages", ",".join(pages)]
    done = subprocess.run(
        [sys.executable, *command], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise CrystalCoreError(f"A page could not be read: {last[0]}")
    return [(page, took) for page, took in json.loads(done.stdout)]


def _processor_seconds(process: int) -> float | None:
    """Processor time of a process so far; None where the system does not tell."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
