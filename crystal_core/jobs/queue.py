"""The queue: requests in, states and results out, in one SQLite file (WAL) that every process may open."""

from __future__ import annotations

import json
import math
import secrets
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crystal_core.errors import RequestError
from crystal_core.jobs import shapes
from crystal_core.jobs.database import connect, last_rescue, prepare, rescued, storage_faults
from crystal_core.jobs.store import NAME, BlobStore
from crystal_core.paths import home_dir, private_folder
from crystal_core.records import RunResult, Snapshot, Trajectory, upgrade_result

LIVE = ("queued", "running", "cancelling")
MAX_QUEUED = 20
GPU = Path("/dev/nvidiactl")  # exists only with an NVIDIA driver
# a row that names no known device belongs to the worker of the CPU: otherwise no worker would ever take it
DEVICE = "case when worker in ('cpu', 'cuda') then worker else 'cpu' end"
LATEST = 4e9  # seconds since 1970; later moments are damage and no calendar shows them
ENTRY_DAMAGED = "The entry of this run in the database is damaged, so its settings cannot be read. Delete this run and start it again."
RESULT_DAMAGED = "The result of this run cannot be read because its file is damaged or missing. Run it again with the same seed, or delete it."
MAX_NOTE = 500  # characters
SWEEP_AFTER = 3600.0  # seconds; a file is put shortly before its run refers to it


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run as the store knows it.

    Attributes:
        state: queued, running, cancelling, done, partial, failed or interrupted.
        result: what is finished so far, also of a cancelled or interrupted run.
        trajectories: paths for the player; those of a stored job are read when first looked at.
        place: 1 for the next job in the queue, 0 when not queued.
        starred, note: what its owner marked and wrote. batch: id of the list of runs it was asked for with, or "".
        parent: id of the run whose crystals it works on, or "".
        exit_code: of a command that failed as this run did; 1 where it did not fail.
        damaged: its request or its result cannot be read; that one is then empty or None, and ``error`` says so.
        result_stamp: changes whenever the stored result does, and tells so without reading it; "" without a result.
        text: what a language model has written of the first crystal so far; "" where none writes.
    """

    id: str
    kind: str
    request: dict[str, Any]
    state: str
    created: float
    started: float | None
    finished: float | None
    stage: str
    step: int
    n_steps: int
    error: str | None
    snapshot: Snapshot | None
    result: RunResult | None
    trajectories: Sequence[Trajectory]
    place: int
    starred: bool = False
    note: str = ""
    batch: str = ""
    parent: str = ""
    exit_code: int = 1
    damaged: bool = False
    result_stamp: str = ""
    text: str = ""

    @property
    def live(self) -> bool:
        """Still waiting or working."""
        return self.state in LIVE

    @property
    def seconds(self) -> float | None:
        """From its start to its end; None before, and where it never started."""
        return self.finished - self.started if self.finished and self.started else None

    @property
    def eta_seconds(self) -> float | None:
        """Seconds left, from the pace so far; None before there is one."""
        if self.state != "running" or not self.step or not self.started:
            return None
        return (time.time() - self.started) * (self.n_steps - self.step) / self.step


def worker_of(request: Mapping[str, Any]) -> str:
    """The device whose worker runs a request: the one it asks for; for "auto" the GPU where there is one."""
    device = request.get("device", "auto")
    return "cuda" if device == "cuda" or (device == "auto" and GPU.exists()) else "cpu"


class JobQueue:
    """The queue of one home folder (``CRYSTAL_HOME``)."""

    def __init__(self, home: Path | None = None) -> None:
        self.home = home or home_dir()
        with storage_faults(self.home):
            private_folder(self.home)
        self.blobs = BlobStore(self.home / "store")
        rescued(lambda queue: prepare(queue.home))(self)

    def submit(self, kind: str, request: Mapping[str, Any], *, parent: str = "") -> str:
        """Put a request into the queue; returns its random id.

        Args:
            parent: id of the run whose crystals it works on.

        Raises:
            RequestError: too many jobs wait already.
        """
        (job,) = self._submit(kind, [request], parent=parent)
        return job

    def submit_batch(self, kind: str, requests: Sequence[Mapping[str, Any]]) -> str:
        """Put several requests into the queue together, or none of them; returns the random id of the batch.

        Raises:
            RequestError: they do not all fit beside the jobs that wait already.
        """
        batch = secrets.token_hex(16)
        self._submit(kind, requests, batch=batch)
        return batch

    @rescued
    def _submit(
        self, kind: str, requests: Sequence[Mapping[str, Any]], *, batch: str = "", parent: str = ""
    ) -> list[str]:
        names = [secrets.token_hex(16) for _ in requests]
        with self._connect() as db:
            db.execute("begin immediate")
            waiting = db.execute("select count(*) from jobs where state = 'queued'").fetchone()[0]
            if waiting + len(requests) > MAX_QUEUED:
                room = (
                    "let some finish or cancel them first"
                    if waiting >= MAX_QUEUED
                    else f"{MAX_QUEUED - waiting} more fit"
                )
                raise RequestError(f"{waiting} runs are waiting already; {room}.")
            db.executemany(
                "insert into jobs (id, kind, request, state, created, batch, parent, worker) values (?, ?, ?, 'queued', ?, ?, ?, ?)",
                [
                    (name, kind, json.dumps(dict(request)), time.time(), batch, parent, worker_of(request))
                    for name, request in zip(names, requests, strict=True)
                ],
            )
        return names

    @rescued
    def get(self, job: str) -> Job | None:
        """The job with that id."""
        with self._connect() as db:
            row = db.execute("select * from jobs where id = ?", (job,)).fetchone()
            return self._job(db, row) if row else None

    @rescued
    def list_jobs(self, limit: int = 200, *, results: bool = True) -> list[Job]:
        """Newest first; without ``results``, which are large, those are None and nobody looks whether they are damaged."""
        with self._connect() as db:
            rows = db.execute("select * from jobs order by created desc, rowid desc limit ?", (limit,))
            return [self._job(db, row, result=results) for row in rows]

    def list_batch(self, batch: str) -> list[Job]:
        """The jobs of a batch as they were asked for, but for those whose request cannot be read."""
        return [job for job in self._members(batch) if job.request]

    def unreadable_in_batch(self, batch: str) -> int:
        """How many jobs of a batch :meth:`list_batch` leaves out because their request cannot be read."""
        return sum(not job.request for job in self._members(batch, results=False))

    @rescued
    def _members(self, batch: str, *, results: bool = True) -> list[Job]:
        with self._connect() as db:
            rows = db.execute(
                "select * from jobs where batch = ? and batch <> '' order by created, rowid", (batch,)
            )
            return [self._job(db, row, result=results) for row in rows]

    @rescued
    def list_children(self, job: str, kind: str = "") -> list[Job]:
        """The runs that work on the crystals of ``job``, as they were asked for; with ``kind`` those of one kind."""
        with self._connect() as db:
            rows = db.execute(
                "select * from jobs where parent = ? and parent <> '' and ? in ('', kind) order by created, rowid",
                (job, kind),
            )
            return [self._job(db, row) for row in rows]

    @rescued
    def cancel(self, job: str) -> None:
        """Ask a running job to stop; a waiting one ends at once."""
        with self._connect() as db:
            # one statement: between two of them the worker could take the job, which neither would then stop
            db.execute(
                "update jobs set finished = case state when 'queued' then ? else finished end, "
                "state = case state when 'queued' then 'partial' else 'cancelling' end where id = ? and state in ('queued', 'running')",
                (time.time(), job),
            )

    @rescued
    def delete(self, job: str) -> None:
        """Forget a job that is over, and what worked on its crystals.

        Raises:
            RequestError: something still works on its crystals, and would be left without the run it belongs to.
        """
        live = f"state in ({','.join('?' * len(LIVE))})"
        with self._connect() as db:
            db.execute("begin immediate")
            if db.execute(f"select count(*) from jobs where parent = ? and {live}", (job, *LIVE)).fetchone()[
                0
            ]:
                raise RequestError(
                    "Another run still works on the crystals of this one; cancel that or wait until it is done, then delete this one."
                )
            db.execute(f"delete from jobs where (id = ? or parent = ?) and not {live}", (job, job, *LIVE))

    @rescued
    def sweep(self, older_than: float = SWEEP_AFTER) -> int:
        """Remove stored results and paths that no run refers to: those of deleted runs and earlier states of results.

        After a rescue of the database older ones stay, because they may belong to a row that was lost.

        Returns:
            How many files are gone.
        """
        with self._connect() as db:
            rows = db.execute("select result, trajectories from jobs").fetchall()
        wanted = {row["result"] for row in rows} | {
            name for row in rows for name in _names(row["trajectories"])
        }
        with storage_faults(self.home):
            return self.blobs.sweep(wanted, older_than, newer_than=last_rescue(self.home))

    @rescued
    def mark(self, job: str, *, starred: bool | None = None, note: str | None = None) -> None:
        """Star a job or write its note; None leaves either as it is.

        Raises:
            RequestError: the note is too long.
        """
        if note is not None and len(note) > MAX_NOTE:
            raise RequestError(f"The note has {len(note)} characters; {MAX_NOTE} fit.")
        with self._connect() as db:
            db.execute(
                "update jobs set starred = coalesce(?, starred), note = coalesce(?, note) where id = ?",
                (starred if starred is None else int(starred), note, job),
            )

    # what the worker writes

    @rescued
    def workers_wanted(self) -> list[str]:
        """The devices whose workers have something to do."""
        with self._connect() as db:
            rows = db.execute(
                f"select distinct {DEVICE} as device from jobs where state in ({','.join('?' * len(LIVE))}) order by device",
                LIVE,
            )
            return [row["device"] for row in rows]

    @rescued
    def take(self, worker: str | None = None) -> Job | None:
        """The oldest job that waits for the worker of a device (None: of any), now running.

        A job whose entry is damaged cannot run: it is marked failed, and the next one is taken.
        """
        waiting = f"select * from jobs where state = 'queued' and {DEVICE} = coalesce(?, {DEVICE}) order by created, rowid limit 1"
        with self._connect() as db:
            db.execute("begin immediate")
            while (row := db.execute(waiting, (worker,)).fetchone()) is not None:
                job, now = self._job(db, row), time.time()
                if not job.damaged:
                    db.execute(
                        "update jobs set state = 'running', started = ? where id = ?", (now, row["id"])
                    )
                    return job
                db.execute(
                    "update jobs set state = 'failed', error = ?, finished = ? where id = ?",
                    (job.error, now, row["id"]),
                )
            return None

    @rescued
    def update(self, job: str, **columns: Any) -> None:
        """Write columns of a job; ``snapshot`` inline, ``result`` as a blob, ``trajectory`` appended as a blob."""
        with storage_faults(self.home):
            if columns.get("result") is not None:
                columns["result"] = self.blobs.put(columns["result"])
            trajectory = columns.pop("trajectory", None)
            path = None if trajectory is None else self.blobs.put(trajectory)
        if columns.get("snapshot") is not None:
            columns["snapshot"] = json.dumps(columns["snapshot"])
        columns = {k: v for k, v in columns.items() if v is not None}
        with self._connect() as db:
            db.execute(
                "begin immediate"
            )  # two writers that read the same list of paths would each lose the other's
            if path is not None:
                row = db.execute("select trajectories from jobs where id = ?", (job,)).fetchone()
                columns["trajectories"] = json.dumps([*_names(row["trajectories"] if row else None), path])
            if columns:
                db.execute(
                    f"update jobs set {', '.join(f'{k} = ?' for k in columns)} where id = ?",
                    (*columns.values(), job),
                )

    @rescued
    def state_of(self, job: str) -> str:
        """Only the state, for the worker's cancel check."""
        with self._connect() as db:
            row = db.execute("select state from jobs where id = ?", (job,)).fetchone()
            return row["state"] if row else "deleted"

    @rescued
    def interrupt_orphans(self, worker: str = "cpu") -> int:
        """Jobs that a dead worker of a device left running become interrupted, with what they had finished."""
        with self._connect() as db:
            return db.execute(
                f"update jobs set state = 'interrupted', finished = ? where state in ('running', 'cancelling') and {DEVICE} = ?",
                (time.time(), worker),
            ).rowcount

    @rescued
    def client_seen(self) -> None:
        """A page or command is there: the worker stays."""
        with self._connect() as db:
            db.execute("insert or replace into clients (id, seen) values (1, ?)", (time.time(),))

    @rescued
    def last_client(self) -> float:
        """When a page or command was last there (Unix time)."""
        with self._connect() as db:
            row = db.execute("select seen from clients where id = 1").fetchone()
            return row["seen"] if row else 0.0

    def _job(self, db: sqlite3.Connection, row: sqlite3.Row, *, result: bool = True) -> Job:
        """The job of a row; whatever cannot be read of it is left out and said in ``error``."""
        place = 0
        if row["state"] == "queued":
            before = f"select count(*) from jobs where state = 'queued' and {DEVICE} = (select {DEVICE} from jobs where id = ?) and created < ?"
            place = 1 + db.execute(before, (row["id"], row["created"])).fetchone()[0]
        kind, created = _text(row["kind"]), _moment(row["created"])
        request, snapshot = _json(row["request"]), _json(row["snapshot"])
        value = self.blobs.get(row["result"] if result else None)
        fault = ""
        if created is None or not kind or not shapes.is_request(kind, request):
            request, fault = {}, ENTRY_DAMAGED
        if result and row["result"]:
            try:
                value = upgrade_result(value) if shapes.is_result(kind, value) else None
            except RequestError as error:  # damaged beyond its shape, or of a newer version
                value, fault = None, fault or str(error)
            fault = fault or ("" if value is not None else RESULT_DAMAGED)
        return Job(
            id=row["id"],
            kind=kind,
            request=request,
            state=_text(row["state"]),
            created=created or 0.0,
            started=_moment(row["started"]),
            finished=_moment(row["finished"]),
            stage=_text(row["stage"]),
            step=_whole(row["step"], 0),
            n_steps=_whole(row["n_steps"], 0),
            error=_text(row["error"]) or fault or None,
            snapshot=snapshot if shapes.is_snapshot(kind, snapshot) else None,
            result=value,
            trajectories=self.blobs.get_later(_names(row["trajectories"])),
            place=place,
            starred=bool(row["starred"]),
            note=_text(row["note"]),
            batch=_text(row["batch"]),
            parent=_text(row["parent"]),
            exit_code=_whole(row["exit_code"], 1),
            damaged=bool(fault),
            result_stamp=self.blobs.stamp(row["result"]),
            text=_text(row["text"]),
        )

    def _connect(self) -> AbstractContextManager[sqlite3.Connection]:
        return connect(self.home)


def _json(text: Any) -> Any:
    """What a column says; None where it is empty or no JSON."""
    try:
        return json.loads(text) if text else None
    except (TypeError, ValueError, RecursionError):
        return None


def _names(text: Any) -> list[str]:
    """The names of stored values in a column; of a damaged list those that can still be made out."""
    names = _json(text)
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return names
    return NAME.findall(text) if isinstance(text, str) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _whole(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) else otherwise


def _moment(value: Any) -> float | None:
    """Seconds since 1970, or None where a column holds no such moment."""
    if not isinstance(value, (int, float)) or not math.isfinite(value) or not 0 <= value < LATEST:
        return None
    return float(value)
